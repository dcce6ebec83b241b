/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_alias.c: statements of the protocol that many clients have on
 * few servers; each answer is its message's, whatever fails in front of it.
 */
#include "turns.h"

/* Another client has the server, in a transaction that goes on: the next one opens
 * another server, or waits. */
static void
takes(int c, int s)
{
	say_query(c, "BEGIN");
	assert_string_equal(types(s), "Q");
	answers(s, "Cz");
	(void)types(c);
}

static void
is_shared_by_name(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_parse(c, "s", "SELECT 1");
	say_bind(c, "s");
	say_execute(c);
	say_sync(c);
	assert_true(has_sent(s, SPAN("godwit_")));
	/* A Close in front, and a Describe: those answers are Godwit's. */
	assert_string_equal(types(s), "CPDBES");
	answers(s, "31tT2CZ");
	assert_string_equal(types(c), "12CZ");
	/* The other one's, by another name: the server's Parse, for certain. */
	say_parse(d, "t", "SELECT 1");
	say_sync(d);
	assert_string_equal(types(s), "CPDS");
	answers(s, "31tTZ");
	assert_string_equal(types(d), "1Z");
	/* It is there: nothing is made again. */
	say_bind(c, "s");
	say_execute(c);
	say_sync(c);
	assert_string_equal(types(s), "BES");
	answers(s, "2CZ");
	assert_string_equal(types(c), "2CZ");
	end();
}

/* The names of a Bind come in pieces; one whose names have no end is the server's to
 * refuse. */
static void
a_bind_in_pieces(void **state)
{
	int s, c;

	(void)state;
	begin_turns(2);
	c = first(&s);
	say_parse(c, "s", "SELECT 1");
	say_sync(c);
	answers(s, "31tTZ");
	(void)types(s);
	bytes(c, SPAN("B\0\0\0\015"));
	bytes(c, SPAN("\0s"));
	assert_string_equal(types(s), "");
	bytes(c, SPAN("\0\0\0\0\0\0\0"));
	say_sync(c);
	assert_string_equal(types(s), "BS");
	answers(s, "2Z");
	(void)types(c);
	bytes(c, SPAN("B\0\0\0\006xx"));
	say_sync(c);
	assert_string_equal(types(s), "BS");
	answers(s, "EZ");
	assert_string_equal(types(c), "EZ");
	end();
}

static void
is_made_again_elsewhere(void **state)
{
	int s, s2, c, d;

	(void)state;
	begin_turns(2);
	c = first(&s);
	d = another();
	say_parse(c, "s", "SELECT 1");
	say_sync(c);
	answers(s, "31tTZ");
	(void)types(s);
	(void)types(c);
	takes(d, s);
	say_bind(c, "s");
	say_execute(c);
	say_sync(c);
	s2 = opens_one();
	/* Its answer first: is it what the client knows? */
	assert_string_equal(types(s2), "CPDH");
	assert_string_equal(types(c), "");
	answers(s2, "31tT");
	assert_string_equal(types(s2), "BES");
	answers(s2, "2CZ");
	assert_string_equal(types(c), "2CZ");
	end();
}

static void
other_columns_are_an_error(void **state)
{
	int s, s2, c, d;

	(void)state;
	begin_turns(2);
	c = first(&s);
	d = another();
	say_parse(c, "s", "SELECT 1");
	say_sync(c);
	answers(s, "31tTZ");
	(void)types(s);
	(void)types(c);
	takes(d, s);
	say_bind(c, "s");
	say_execute(c);
	say_sync(c);
	s2 = opens_one();
	(void)types(s2);
	answers(s2, "31tn");
	/* An Execute of nothing fails where the Bind would have. */
	assert_string_equal(types(s2), "EES");
	answers(s2, "E");
	assert_true(has_sent(c, SPAN("0A000")));
	assert_string_equal(types(c), "E");
	answers(s2, "Z");
	assert_string_equal(types(c), "Z");
	end();
}

/* The server passes over a Query between an error of the extended protocol and its
 * Sync. */
static void
a_query_behind_an_error_has_no_answer(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_parse(c, "s", "SELECT no");
	say_query(c, "SELECT 2");
	say_parse(c, "t", "SELECT 3");
	say_sync(c);
	assert_string_equal(types(s), "CPDCQCPDS");
	answers(s, "3EZ");
	assert_string_equal(types(c), "EZ");
	/* It is quiet: the next one has the server, behind one answer and no more. */
	bytes(d, READ);
	got(s, READ);
	answers(s, "CZ");
	assert_string_equal(types(d), "CZ");
	/* What was prepared behind the error is not there, here and nowhere. */
	say_bind(c, "t");
	say_sync(c);
	assert_false(has_sent(s, SPAN("godwit_")));
	assert_string_equal(types(s), "BS");
	answers(s, "EZ");
	assert_string_equal(types(c), "EZ");
	end();
}

static void
a_query_behind_a_known_error_has_none_as_well(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_parse(c, "", "SELECT no");
	answers(s, "E");
	assert_string_equal(types(c), "E");
	say_query(c, "SELECT 2");
	say_parse(c, "t", "SELECT 3");
	assert_string_equal(types(s), "PQCPD");
	/* Nobody has the server before the Sync. */
	bytes(d, READ);
	assert_string_equal(types(s), "");
	say_sync(c);
	assert_string_equal(types(s), "SQ");
	answers(s, "Z");
	assert_string_equal(types(c), "Z");
	answers(s, "CZ");
	assert_string_equal(types(d), "CZ");
	end();
}

/* A Query's own error ends nothing but the Query. */
static void
a_query_that_fails_fails_alone(void **state)
{
	int s, c;

	(void)state;
	begin_turns(1);
	c = first(&s);
	say_parse(c, "s", "SELECT 1");
	say_query(c, "SELECT no");
	say_parse(c, "t", "SELECT 2");
	say_bind(c, "t");
	say_sync(c);
	assert_string_equal(types(s), "CPDCQCPDBS");
	answers(s, "31tT3EZ31tT2Z");
	assert_string_equal(types(c), "1EZ12Z");
	say_bind(c, "s");
	say_sync(c);
	assert_string_equal(types(s), "BS");
	answers(s, "2Z");
	assert_string_equal(types(c), "2Z");
	end();
}

/* It makes an end of what came before: no Sync has to follow. */
static void
a_query_needs_no_sync(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_parse(c, "s", "SELECT 1");
	bytes(c, READ);
	assert_string_equal(types(s), "CPDCQ");
	answers(s, "31tT3CZ");
	assert_string_equal(types(c), "1CZ");
	bytes(d, READ);
	got(s, READ);
	end();
}

/* DEALLOCATE of a name of ours leaves the statements behind it as they are. */
static void
deallocate_keeps_what_follows(void **state)
{
	int s, c;

	(void)state;
	begin_turns(1);
	c = first(&s);
	say_parse(c, "s", "SELECT 1");
	say_sync(c);
	answers(s, "31tTZ");
	(void)types(s);
	(void)types(c);
	say_query(c, "DEALLOCATE s; INSERT INTO t VALUES (1)");
	assert_true(has_sent(s, SPAN("DEALLOCATE godwit_")));
	assert_true(has_sent(s, SPAN("; INSERT INTO t VALUES (1)")));
	end();
}

/* One that fails leaves the names as they are, of all or of one. */
static void
a_deallocate_that_fails(void **state)
{
	static const char *const all[] = { "DEALLOCATE ALL", "DISCARD ALL",
		                           "DEALLOCATE s" };
	int s, c;

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		begin_turns(1);
		c = first(&s);
		say_parse(c, "s", "SELECT 1");
		say_sync(c);
		answers(s, "31tTZ");
		say_query(c, all[i]);
		answers(s, "EZ");
		(void)types(s);
		(void)types(c);
		say_bind(c, "s");
		say_sync(c);
		assert_true(has_sent(s, SPAN("godwit_")));
		(void)types(s);
		answers(s, "31tT");
		answers(s, "2Z");
		/* By the other protocol, and it is done. */
		say_parse(c, "", all[i]);
		say_bind(c, "");
		say_execute(c);
		say_sync(c);
		answers(s, "12EZ");
		say_bind(c, "s");
		say_sync(c);
		assert_true(has_sent(s, SPAN("godwit_")));
		answers(s, "31tT");
		answers(s, "2Z");
		(void)types(s);
		say_query(c, all[i]);
		answers(s, "CZ");
		(void)types(s);
		say_bind(c, "s");
		say_sync(c);
		assert_false(has_sent(s, SPAN("godwit_")));
		end();
	}
}

/* Somebody made an end of all statements where nobody could see it: others are told so
 * once, and then they are made again. */
static void
what_is_gone_is_made_again(void **state)
{
	static const char gone[] = "SERROR\0C26000\0Mnone\0";
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_parse(c, "s", "SELECT 1");
	say_sync(c);
	answers(s, "31tTZ");
	(void)types(s);
	(void)types(c);
	say_query(d, "/* x */ DEALLOCATE ALL");
	answers(s, "CZ");
	(void)types(s);
	/* d may have something of its own, and is asked; c waits for it. */
	say_bind(c, "s");
	say_sync(c);
	assert_string_equal(types(s), "Q");
	has_nothing(s);
	assert_true(has_sent(s, SPAN("RESET ALL")));
	assert_string_equal(types(s), "Q");
	answers(s, "CZ");
	assert_string_equal(types(s), "CPDH");
	answers(s, "31tT");
	assert_string_equal(types(s), "BS");
	/* A function's doing. */
	say(s, 'E', B(gone));
	answers(s, "Z");
	(void)types(c);
	say_bind(c, "s");
	say_sync(c);
	assert_string_equal(types(s), "CPDH");
	end();
}

/* The statement without a name is the client's own, whoever had the server meanwhile. */
static void
the_one_without_a_name(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_parse(c, "", "SELECT 1");
	say_sync(c);
	assert_string_equal(types(s), "PS");
	answers(s, "1Z");
	assert_string_equal(types(c), "1Z");
	say_parse(d, "", "SELECT 2");
	say_sync(d);
	answers(s, "1Z");
	(void)types(s);
	say_bind(c, "");
	say_sync(c);
	assert_true(has_sent(s, SPAN("SELECT 1")));
	assert_string_equal(types(s), "PBS");
	answers(s, "12Z");
	assert_string_equal(types(c), "2Z");
	/* And who has none has none. */
	say_query(d, "SELECT 3");
	answers(s, "CZ");
	(void)types(s);
	(void)types(d);
	say_parse(c, "", "SELECT 4");
	say_sync(c);
	answers(s, "1Z");
	(void)types(s);
	say_bind(d, "");
	say_sync(d);
	assert_string_equal(types(s), "CBS");
	answers(s, "3EZ");
	assert_string_equal(types(d), "EZ");
	end();
}

/* Nobody else had the server, but Godwit asked it for the catalog, and a simple query makes
 * an end of the statement without a name. */
static void
a_question_of_ours_ends_it(void **state)
{
	int s, c;

	(void)state;
	begin_turns(1);
	c = first(&s);
	world_pass_time(&run.w, 6000 * MS);
	say_parse(c, "", "SELECT 1");
	say_sync(c);
	assert_string_equal(types(s), "PS");
	answers(s, "1Z");
	is_asked(s);
	say_bind(c, "");
	say_sync(c);
	assert_true(has_sent(s, SPAN("SELECT 1")));
	assert_string_equal(types(s), "PBS");
	answers(s, "12Z");
	assert_string_equal(types(c), "1Z2Z");
	/* Nobody has asked it since. */
	say_bind(c, "");
	say_sync(c);
	assert_string_equal(types(s), "BS");
	end();
}

/* Its Bind may leave something behind, in another turn than its Parse. */
static void
its_bind_counts_as_well(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_parse(c, "", "SELECT set_config('a.b', '1', false)");
	say_sync(c);
	answers(s, "1Z");
	(void)types(s);
	/* d waits: c is asked what it has, and has nothing yet. */
	bytes(d, READ);
	assert_string_equal(types(s), "QPS");
	answers(s, "TCZ1Z");
	assert_string_equal(types(s), "Q");
	answers(s, "CCCZ");
	got(s, READ);
	answers(s, "CZ");
	say_bind(c, "");
	say_execute(c);
	say_sync(c);
	assert_string_equal(types(s), "PBES");
	answers(s, "12CZ");
	bytes(d, READ);
	/* It is asked again. */
	assert_string_equal(types(s), "QPS");
	end();
}

/* A Sync that was sent ahead of a COPY has no answer. */
static void
a_copy_keeps_the_order(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_parse(c, "", "COPY t FROM STDIN");
	say_bind(c, "");
	say_execute(c);
	say_sync(c);
	answers(s, "12G");
	(void)types(s);
	assert_string_equal(types(c), "12G");
	say(c, 'd', SPAN("1\n"));
	say(c, 'c', span_of("", 0));
	say_sync(c);
	assert_string_equal(types(s), "dcS");
	/* One answer, for the second. */
	answers(s, "CZ");
	assert_string_equal(types(c), "CZ");
	bytes(d, READ);
	/* c may have something: it is asked. */
	assert_string_equal(types(s), "QPS");
	answers(s, "TCZ1Z");
	end();
}

/* What nobody says in a COPY: how many answers come is not known, so nobody else has
 * that server ever. */
static void
an_odd_copy_keeps_its_server(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_parse(c, "", "COPY t FROM STDIN");
	say_bind(c, "");
	say_execute(c);
	say_sync(c);
	answers(s, "12G");
	say(c, 'd', SPAN("x\n"));
	say_sync(c); /* passed over, or not */
	say(c, 'c', span_of("", 0));
	say_sync(c);
	(void)types(s);
	answers(s, "EZ");
	bytes(d, READ);
	(void)types(s);
	answers(s, "Z");
	assert_string_equal(types(c), "12GEZZ");
	assert_string_equal(types(s), "");
	assert_string_equal(types(d), "");
	bytes(c, BYE);
	world_batch(&run.w);
	assert_false(is_there(s));
	world_pass_time(&run.w, 20 * MS);
	world_batch(&run.w);
	s = opens_one();
	got(s, READ);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_shared_by_name),
		cmocka_unit_test(a_bind_in_pieces),
		cmocka_unit_test(is_made_again_elsewhere),
		cmocka_unit_test(other_columns_are_an_error),
		cmocka_unit_test(a_query_behind_an_error_has_no_answer),
		cmocka_unit_test(a_query_behind_a_known_error_has_none_as_well),
		cmocka_unit_test(a_query_that_fails_fails_alone),
		cmocka_unit_test(a_query_needs_no_sync),
		cmocka_unit_test(deallocate_keeps_what_follows),
		cmocka_unit_test(a_deallocate_that_fails),
		cmocka_unit_test(what_is_gone_is_made_again),
		cmocka_unit_test(the_one_without_a_name),
		cmocka_unit_test(a_question_of_ours_ends_it),
		cmocka_unit_test(its_bind_counts_as_well),
		cmocka_unit_test(a_copy_keeps_the_order),
		cmocka_unit_test(an_odd_copy_keeps_its_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
