/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_ahead.c: reads behind the one under way: whose answer is whose,
 * whatever comes between.
 */
#include "engine/postgres/relay/inside.h"
#include "turns.h"

#define OTHER SPAN("Q\0\0\0\015SELECT 2\0")

/* One server; c's read is under way, and d's is sent behind it. */
static int
two(int *ret_s, int *ret_d)
{
	int c;

	begin_turns(1);
	c = first(ret_s);
	*ret_d = another();
	bytes(c, READ);
	got(*ret_s, READ);
	bytes(*ret_d, OTHER);
	got(*ret_s, OTHER);
	return c;
}

/* The answers come at once, and each is of who asked; nothing is said twice. */
static void
each_gets_its_own(void **state)
{
	int s, d;
	int c = two(&s, &d);

	(void)state;
	say(s, 'T', SPAN("\0\0"));
	answers(s, "CZEZ");
	assert_string_equal(types(c), "TCZ");
	assert_string_equal(types(d), "EZ");
	assert_string_equal(types(s), "");
	/* Both may go on. */
	bytes(d, READ);
	got(s, READ);
	answers(s, "CZ");
	assert_string_equal(types(d), "CZ");
	end();
}

/* In three pieces, and three behind each other; a fourth has to wait. */
static void
so_many_behind_one(void **state)
{
	int s, d, more[4];
	int c = two(&s, &d);
	static const uint8_t answer[] = { 'C', 0, 0, 0, 6, 'x', 0,
		                          'Z', 0, 0, 0, 5, 'I' };

	(void)state;
	for (int i = 0; i < 4; i++) {
		more[i] = another();
		bytes(more[i], READ);
		assert_string_equal(types(s), i < 2 ? "Q" : "");
	}
	bytes(s, span_of(answer, 9));
	assert_string_equal(types(c), "C");
	bytes(s, span_of(answer + 9, 4));
	assert_string_equal(types(c), "Z");
	/* There is room for one more. */
	assert_string_equal(types(s), "Q");
	answers(s, "CZCZCZCZ");
	assert_string_equal(types(d), "CZ");
	for (int i = 0; i < 3; i++)
		assert_string_equal(types(more[i]), "CZ");
	assert_string_equal(types(s), "Q");
	answers(s, "CZ");
	assert_string_equal(types(more[3]), "CZ");
	end();
}

/* What is no read goes behind nobody, and nobody behind it. */
static void
only_reads(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_query(c, "INSERT INTO t VALUES (1)");
	(void)types(s);
	bytes(d, READ);
	assert_string_equal(types(s), "");
	answers(s, "CZ");
	assert_string_equal(types(s), "QQ");
	answers(s, "CZ");
	say_query(c, "BEGIN");
	assert_string_equal(types(s), "");
	answers(s, "CZ");
	assert_string_equal(types(d), "CZ");
	assert_string_equal(types(s), "Q");
	bytes(d, READ);
	assert_string_equal(types(s), "");
	answers(s, "Cz");
	assert_string_equal(types(s), "");
	end();
}

/* Who comes first is first: behind a BEGIN that waits nobody overtakes it. */
static void
nobody_overtakes(void **state)
{
	int s, c, d, e;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	e = another();
	bytes(c, READ);
	(void)types(s);
	say_query(d, "BEGIN");
	bytes(e, READ);
	assert_string_equal(types(s), "");
	answers(s, "CZ");
	assert_string_equal(types(s), "Q");
	answers(s, "Cz");
	assert_string_equal(types(d), "CZ");
	assert_string_equal(types(s), "");
	end();
}

/* The one in front says more, which has to wait: its answers would come behind. */
static void
the_first_is_silent(void **state)
{
	int s, d;
	int c = two(&s, &d);

	(void)state;
	bytes(c, READ);
	assert_string_equal(types(s), "");
	answers(s, "CZ");
	assert_string_equal(types(c), "CZ");
	/* Its second one is behind d's now. */
	got(s, READ);
	answers(s, "TCZCZ");
	assert_string_equal(types(d), "TCZ");
	assert_string_equal(types(c), "CZ");
	end();
}

/* The one behind goes: its answer is nobody's. */
static void
the_second_goes(void **state)
{
	int s, d;
	int c = two(&s, &d);
	int e = another();

	(void)state;
	bytes(e, READ);
	(void)types(s);
	bytes(d, BYE);
	world_down(&run.w, d);
	world_batch(&run.w);
	answers(s, "CZ");
	assert_string_equal(types(c), "CZ");
	answers(s, "EZEZ");
	assert_string_equal(types(c), "");
	assert_string_equal(types(e), "");
	/* Who was behind it is asked for anew. */
	got(s, READ);
	answers(s, "TCZ");
	assert_string_equal(types(e), "TCZ");
	end();
}

/* The server is lost with the one in front: the other one has lost nothing. */
static void
the_server_goes(void **state)
{
	int s, d;
	int c = two(&s, &d);

	(void)state;
	world_down(&run.w, s);
	world_batch(&run.w);
	assert_false(is_there(c));
	s = opens_one();
	got(s, OTHER);
	answers(s, "TCZ");
	assert_string_equal(types(d), "TCZ");
	end();
}

/* The one in front goes, and takes its server along. */
static void
the_first_goes(void **state)
{
	int s, d;
	int c = two(&s, &d);

	(void)state;
	world_down(&run.w, c);
	world_batch(&run.w);
	s = opens_one();
	got(s, OTHER);
	answers(s, "TCZ");
	assert_string_equal(types(d), "TCZ");
	end();
}

/* One that takes long: who is behind gets the next server that is free. */
static void
one_takes_long(void **state)
{
	int s, t, c, d, e;

	(void)state;
	begin_turns(2);
	c = first(&s);
	d = another();
	e = another();
	say_query(d, "BEGIN");
	answers(s, "Cz");
	(void)types(d);
	(void)types(s);
	bytes(c, READ);
	t = opens_one();
	got(t, READ);
	bytes(e, OTHER);
	got(t, OTHER);
	say_query(d, "COMMIT");
	world_pass_time(&run.w, PG_AHEAD_NS * 2);
	world_batch(&run.w);
	(void)types(s);
	answers(s, "CZ");
	got(s, OTHER);
	answers(s, "TCZ");
	assert_string_equal(types(e), "TCZ");
	/* What was sent for it before is nobody's. */
	answers(t, "CZEZ");
	assert_string_equal(types(c), "CZ");
	assert_string_equal(types(e), "");
	bytes(c, READ);
	answers(t, "TCZ");
	answers(s, "TCZ");
	assert_string_equal(types(c), "TCZ");
	end();
}

/* Who was behind waits as long as others, from its request on: it had said nothing for
 * longer than that. */
static void
its_wait_begins_with_its_request(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	run.conf.pool_wait_ms = 1000;
	c = first(&s);
	d = another();
	world_pass_time(&run.w, 2000 * MS);
	bytes(c, READ);
	got(s, READ);
	/* In two parts, so it is not in the queue before it is sent. */
	bytes(d, span_of(OTHER.p, 7));
	bytes(d, span_skip(OTHER, 7));
	got(s, OTHER);
	world_pass_time(&run.w, PG_AHEAD_NS * 2);
	world_batch(&run.w);
	assert_string_equal(types(d), "");
	assert_true(is_there(d));
	answers(s, "CZTCZ");
	got(s, OTHER);
	answers(s, "TCZ");
	assert_string_equal(types(d), "TCZ");
	end();
}

/* A hold: what was sent behind is nobody's, and is said again behind the release. */
static void
a_hold_comes(void **state)
{
	int s, d;
	int c = two(&s, &d);

	(void)state;
	tell_mail(MAIL_HOLD, SIDE_OLD);
	answers(s, "CZEZ");
	assert_string_equal(types(c), "CZ");
	assert_string_equal(types(d), "");
	(void)types(s);
	has_nothing(s);
	assert_int_equal(run.drained, 1);
	tell_mail(MAIL_RELEASE, SIDE_OLD);
	got(s, OTHER);
	answers(s, "TCZ");
	assert_string_equal(types(d), "TCZ");
	end();
}

/* A client who is let in without a server, and its CancelRequest. */
static int
another_with_key(uint8_t ret[12])
{
	static const uint8_t lead[4] = { 4, 210, 22, 46 };
	struct span told;
	int c = comes();

	starts(c);
	/* Its key stands in front of the ReadyForQuery. */
	world_batch(&run.w);
	told = buf_span(&run.w.sent[c]);
	memcpy(ret, lead, sizeof(lead));
	memcpy(ret + 4, told.p + told.n - 14, 8);
	(void)types(c);
	return c;
}

/* A cancel for the one in front may hit the other one: that is asked for anew. */
static void
a_cancel_hits_nobody_else(void **state)
{
	uint8_t key[12];
	int s, c, d, x, y;

	(void)state;
	begin_turns(1);
	(void)first(&s);
	c = another_with_key(key);
	d = another();
	bytes(c, READ);
	got(s, READ);
	bytes(d, OTHER);
	got(s, OTHER);
	x = comes();
	say(x, 0, span_of(key, sizeof(key)));
	y = dialed();
	up(y);
	/* It is done, and nobody knows at what. */
	world_down(&run.w, y);
	world_batch(&run.w);
	answers(s, "CZ");
	assert_string_equal(types(c), "CZ");
	answers(s, "EZ");
	assert_string_equal(types(d), "");
	got(s, OTHER);
	answers(s, "TCZ");
	assert_string_equal(types(d), "TCZ");
	end();
}

/* One behind is canceled: its client is told at once, the server nothing; and what was sent
 * is nobody's. */
static void
the_second_is_canceled(void **state)
{
	uint8_t key[12];
	int s, c, d, x;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another_with_key(key);
	bytes(c, READ);
	got(s, READ);
	bytes(d, OTHER);
	got(s, OTHER);
	x = comes();
	say(x, 0, span_of(key, sizeof(key)));
	assert_int_equal(dialed(), -1);
	assert_string_equal(types(d), "EZ");
	answers(s, "CZ");
	assert_string_equal(types(c), "CZ");
	answers(s, "TCZ");
	assert_string_equal(types(c), "");
	assert_string_equal(types(d), "");
	assert_string_equal(types(s), "");
	bytes(d, READ);
	got(s, READ);
	answers(s, "CZ");
	assert_string_equal(types(d), "CZ");
	end();
}

/* By the extended protocol, with and without a name that the server has. */
static void
by_the_other_protocol(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	for (int i = 0; i < 2; i++) {
		int k = i == 0 ? c : d;

		say_parse(k, "s", "SELECT 1");
		say_sync(k);
		assert_string_equal(types(s), "CPDS");
		answers(s, "31tTZ");
		assert_string_equal(types(k), "1Z");
	}
	for (int i = 0; i < 2; i++) {
		int k = i == 0 ? c : d;

		say_bind(k, "s");
		say_execute(k);
		say_sync(k);
		assert_string_equal(types(s), "BES");
	}
	answers(s, "2CZ2CZ");
	assert_string_equal(types(c), "2CZ");
	assert_string_equal(types(d), "2CZ");
	for (int i = 0; i < 2; i++) {
		int k = i == 0 ? c : d;

		say_parse(k, "", "SELECT 1");
		say_bind(k, "");
		say_execute(k);
		say_sync(k);
		assert_string_equal(types(s), "PBES");
	}
	answers(s, "12CZ1EZ");
	assert_string_equal(types(c), "12CZ");
	assert_string_equal(types(d), "1EZ");
	assert_string_equal(types(s), "");
	end();
}

/* One Sync, and all before it: a transaction that begins so is no place for another's. */
static void
all_of_a_request_counts(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	for (int i = 0; i < 2; i++) {
		say_parse(c, "", i == 0 ? "BEGIN" : "SELECT 1");
		say_bind(c, "");
		say_execute(c);
	}
	say_sync(c);
	assert_string_equal(types(s), "PBEPBES");
	bytes(d, OTHER);
	assert_string_equal(types(s), "");
	answers(s, "12C12Cz");
	say_query(c, "COMMIT");
	assert_string_equal(types(s), "Q");
	answers(s, "CZ");
	got(s, OTHER);
	answers(s, "CZ");
	assert_string_equal(types(d), "CZ");
	/* Of the next one that was not said. */
	bytes(c, READ);
	got(s, READ);
	bytes(d, OTHER);
	got(s, OTHER);
	end();
}

/* Its statement without a name is not the one that the copy behind it has left there. */
static void
the_second_leaves_its_statement(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	for (int i = 0; i < 2; i++) {
		int k = i == 0 ? c : d;

		say_parse(k, "", i == 0 ? "SELECT 1" : "SELECT 2");
		say_bind(k, "");
		say_execute(k);
		say_sync(k);
		assert_string_equal(types(s), "PBES");
	}
	say_bind(c, "");
	say_execute(c);
	say_sync(c);
	bytes(d, BYE);
	world_down(&run.w, d);
	world_batch(&run.w);
	answers(s, "12CZ");
	assert_string_equal(types(c), "12CZ");
	assert_true(has_sent(s, SPAN("SELECT 1")));
	assert_string_equal(types(s), "PBES");
	answers(s, "12CZ12CZ");
	assert_string_equal(types(c), "2CZ");
	end();
}

/* From now on reads may go to new; Godwit's own questions are answered: nothing is known. */
static void
reads_go_away(void)
{
	struct mail m = { .kind = MAIL_ROUTE, .epoch = 1 };
	struct event ev = { .kind = EV_MAIL, .mail = &m };
	int s;

	m.route = (struct route){ .authority = SIDE_OLD,
		                  .epoch = 1,
		                  .read_ppm = 1000000 };
	world_tell(&run.w, &ev);
	world_batch(&run.w);
	while ((s = dialed()) >= 0) {
		up(s);
		buf_clear(&run.w.sent[s]);
		lets_in(s);
		world_batch(&run.w);
		answers(s, "CZ");
	}
}

/* What was sent ahead before that is answered as it would have been, and nothing comes in
 * between; behind that reads wait for their turns. */
static void
reads_that_go_elsewhere(void **state)
{
	int s, d, e;
	int c = two(&s, &d);

	(void)state;
	e = another();
	bytes(e, READ);
	got(s, READ);
	reads_go_away();
	bytes(d, READ);
	bytes(c, READ);
	assert_string_equal(types(s), "");
	answers(s, "CZ");
	assert_string_equal(types(c), "CZ");
	assert_string_equal(types(s), "");
	answers(s, "CZ");
	assert_string_equal(types(d), "CZ");
	assert_string_equal(types(s), "");
	answers(s, "CZ");
	assert_string_equal(types(e), "CZ");
	end();
}

/* Who waits already, with a half of it, gets a server for that: nobody waits behind one who
 * asks for none. */
static void
half_of_a_read_that_waits(void **state)
{
	struct pg_relay *r;
	int s, c, d, e;

	(void)state;
	begin_turns(1);
	r = run.w.self;
	c = first(&s);
	d = another();
	e = another();
	reads_go_away();
	say_query(c, "BEGIN");
	answers(s, "Cz");
	(void)types(s);
	/* Behind a switch, before all locks are there again. */
	r->locking = true;
	say_parse(d, "", "SELECT 1");
	world_batch(&run.w);
	bytes(e, READ);
	say_query(c, "COMMIT");
	assert_string_equal(types(s), "Q");
	answers(s, "CZ");
	assert_true(has_sent(s, SPAN("SELECT 1")));
	assert_string_equal(types(s), "P");
	say_bind(d, "");
	say_execute(d);
	say_sync(d);
	assert_string_equal(types(s), "BES");
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_gets_its_own),
		cmocka_unit_test(so_many_behind_one),
		cmocka_unit_test(only_reads),
		cmocka_unit_test(nobody_overtakes),
		cmocka_unit_test(reads_that_go_elsewhere),
		cmocka_unit_test(half_of_a_read_that_waits),
		cmocka_unit_test(the_first_is_silent),
		cmocka_unit_test(the_second_goes),
		cmocka_unit_test(the_server_goes),
		cmocka_unit_test(the_first_goes),
		cmocka_unit_test(one_takes_long),
		cmocka_unit_test(its_wait_begins_with_its_request),
		cmocka_unit_test(a_hold_comes),
		cmocka_unit_test(a_cancel_hits_nobody_else),
		cmocka_unit_test(the_second_is_canceled),
		cmocka_unit_test(by_the_other_protocol),
		cmocka_unit_test(all_of_a_request_counts),
		cmocka_unit_test(the_second_leaves_its_statement),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
