/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_turn.c: who has a server, for how long, and what the next one
 * finds there.
 */
#include "turns.h"

static void
by_turns(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	for (int i = 0; i < 3; i++) {
		bytes(c, READ);
		got(s, READ);
		answers(s, "TCZ");
		assert_string_equal(types(c), "TCZ");
		bytes(d, READ);
		got(s, READ);
		answers(s, "TCZ");
		assert_string_equal(types(d), "TCZ");
	}
	assert_int_equal(dialed(), -1);
	end();
}

static void
a_transaction_keeps_it(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_query(c, "BEGIN");
	answers(s, "Cz");
	(void)types(s);
	bytes(d, READ);
	assert_string_equal(types(s), "");
	say_query(c, "SELECT 2");
	assert_string_equal(types(s), "Q");
	answers(s, "Ex");
	assert_string_equal(types(s), "");
	say_query(c, "ROLLBACK");
	answers(s, "CZ");
	(void)types(c);
	assert_true(has_sent(s, SPAN("ROLLBACK")));
	assert_true(has_sent(s, SPAN("SELECT 1")));
	/* Nothing of it has asked a sequence. */
	assert_false(has_sent(s, SPAN("DISCARD")));
	answers(s, "TCZ");
	assert_string_equal(types(d), "TCZ");
	end();
}

/* What a sequence said last is nobody else's. */
static void
sequences_are_discarded(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_query(c, "INSERT INTO t VALUES (1)");
	answers(s, "CZ");
	(void)types(c);
	buf_clear(&run.w.sent[s]);
	bytes(d, READ);
	assert_true(has_sent(s, SPAN("DISCARD SEQUENCES")));
	/* Which has an answer of its own; and what the server says of itself there
	 * is for the client. */
	say(s, 'S',
	    SPAN("a.b\0"
	         "2\0"));
	answers(s, "CZTCZ");
	assert_string_equal(types(d), "STCZ");
	end();
}

/* Who stops in the middle of a message keeps nobody from the server. */
static void
half_a_message_takes_nothing(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	bytes(c, span_of(READ.p, READ.n - 3));
	assert_string_equal(types(s), "");
	bytes(d, READ);
	assert_string_equal(types(s), "Q");
	answers(s, "TCZ");
	assert_string_equal(types(d), "TCZ");
	bytes(c, span_skip(READ, READ.n - 3));
	got(s, READ);
	answers(s, "TCZ");
	assert_string_equal(types(c), "TCZ");
	/* Who may have something of its own is asked for it all the same. */
	bytes(c, WILD);
	answers(s, "CZ");
	(void)types(c);
	(void)types(s);
	bytes(c, span_of(READ.p, 3));
	bytes(d, READ);
	assert_true(has_sent(s, SPAN("godwit_census")));
	end();
}

/* What is no message is refused at once. */
static void
no_message_is_waited_for(void **state)
{
	const struct span odd[] = { SPAN("?\0\0\0\20"), SPAN("Q\0\0\0\3"),
		                    SPAN("S\177\377\377\377") };
	int s, c;

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		begin_turns(1);
		c = first(&s);
		bytes(c, odd[i]);
		world_batch(&run.w);
		assert_false(is_there(c));
		end();
	}
}

/* Of a long one the first bytes are enough. */
static void
so_much_of_a_message_does(void **state)
{
	static uint8_t big[PG_RELAY_WHOLE_MAX] = { 'Q', 0, 16, 0, 0 };
	int s, c;

	(void)state;
	begin_turns(1);
	c = first(&s);
	bytes(c, span_of(big, sizeof(big) - 1));
	world_batch(&run.w);
	assert_int_equal(buf_len(&run.w.sent[s]), 0);
	bytes(c, span_of(big, 1));
	world_batch(&run.w);
	assert_int_equal(buf_len(&run.w.sent[s]), sizeof(big));
	end();
}

/* What a server says of its parameters while nobody has it is told to who gets it. */
static void
parameters_are_told(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say(s, 'S',
	    SPAN("a.b\0"
	         "2\0"));
	world_batch(&run.w);
	for (int i = 0; i < 2; i++) {
		bytes(i == 0 ? d : c, READ);
		answers(s, "TCZ");
		assert_string_equal(types(i == 0 ? d : c), "STCZ");
		bytes(i == 0 ? d : c, READ);
		answers(s, "TCZ");
		assert_string_equal(types(i == 0 ? d : c), "TCZ");
	}
	end();
}

/* Who was given a server, made ready for it, says something there before it goes on to
 * the next one who waits. */
static void
each_has_its_turn(void **state)
{
	int s, c[4];

	(void)state;
	begin_turns(1);
	c[0] = first(&s);
	for (int i = 1; i < 4; i++)
		c[i] = another();
	bytes(c[0], WILD);
	answers(s, "CZ");
	(void)types(c[0]);
	(void)types(s);
	for (int i = 1; i < 4; i++)
		bytes(c[i], READ);
	assert_string_equal(types(s), "Q");
	say(s, 'T', SPAN("\0\0"));
	has(s, "s", "a.b", "1");
	answers(s, "CZ");
	bytes(c[0], READ);
	for (int i = 1; i < 5; i += 3) {
		/* Another dress. */
		assert_true(has_sent(s, i == 1 ? SPAN("RESET ALL")
		                               : SPAN("set_config")));
		assert_string_equal(types(s), "Q");
		answers(s, "CZ");
		/* Reads of those who are dressed alike come behind each other. */
		assert_string_equal(types(s), i == 1 ? "QQQ" : "Q");
		answers(s, i == 1 ? "CZCZCZ" : "CZ");
	}
	for (int i = 0; i < 4; i++)
		assert_string_equal(types(c[i]), "CZ");
	end();
}

static void
what_cannot_go_stays(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	run.conf.pool_wait_ms = 50;
	c = first(&s);
	d = another();
	say_query(c, "LISTEN x");
	answers(s, "CZ");
	(void)types(s);
	bytes(d, READ);
	assert_string_equal(types(s), "Q");
	say(s, 'T', SPAN("\0\0"));
	has(s, "l", "x", "");
	answers(s, "CZ");
	assert_string_equal(types(s), "");
	world_pass_time(&run.w, 60 * MS);
	world_batch(&run.w);
	assert_false(is_there(d));
	/* It hears what it listens for. */
	(void)types(c);
	say(s, 'A', SPAN("\0\0\0\1x\0\0"));
	assert_string_equal(types(c), "A");
	end();
}

/* Its last server was asked for the catalog when it wanted it, so it had another one,
 * and changed what it is: then the first one is not as it left it. */
static void
its_own_of_before_is_looked_at(void **state)
{
	int s, s2, c, d;

	(void)state;
	begin_turns(2);
	c = first(&s);
	d = another();
	/* Behind it s is asked for the catalog again, and is nobody's meanwhile. */
	world_pass_time(&run.w, 6000 * MS);
	say_parse(c, "", "SELECT 1");
	say_sync(c);
	(void)types(s);
	answers(s, "1Z");
	assert_string_equal(types(s), "Q");
	say_parse(c, "", "SELECT 2");
	say_sync(c);
	s2 = opens_one();
	assert_string_equal(types(s2), "PS");
	answers(s2, "1Z");
	say_query(d, "BEGIN");
	assert_true(has_sent(s2, SPAN("BEGIN")));
	answers(s2, "Cz");
	say(s, 'C', B("SELECT 0"));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
	/* s has its first one: the last one is meant. */
	say_bind(c, "");
	say_sync(c);
	world_batch(&run.w);
	assert_true(has_sent(s, SPAN("SELECT 2")));
	end();
}

/* The death of a server that nobody has is nobody's. */
static void
an_idle_one_may_die(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(2);
	c = first(&s);
	d = another();
	say(s, 'E', B("SFATAL\0C57P01\0Mgone\0"));
	world_batch(&run.w);
	assert_false(is_there(s));
	assert_string_equal(types(c), "");
	bytes(d, READ);
	s = opens_one();
	got(s, READ);
	answers(s, "CZ");
	assert_string_equal(types(d), "CZ");
	/* Without a word as well. */
	world_down(&run.w, s);
	world_batch(&run.w);
	bytes(c, READ);
	s = opens_one();
	got(s, READ);
	answers(s, "CZ");
	assert_string_equal(types(c), "CZ");
	assert_true(is_there(c) && is_there(d));
	end();
}

/* A server that is shut, or just begins, is tried again; nobody is told. */
static void
a_login_is_tried_again(void **state)
{
	int s, c;

	(void)state;
	begin_turns(2);
	c = first(&s);
	world_down(&run.w, s);
	world_batch(&run.w);
	bytes(c, READ);
	for (int i = 0; i < 3; i++) {
		s = dialed();
		assert_true(s >= 0);
		if (i == 1) {
			world_down(&run.w, s);
		} else {
			up(s);
			say(s, 'E', B("SFATAL\0C57P03\0Mstarts\0"));
		}
		world_batch(&run.w);
		assert_true(is_there(c));
		assert_string_equal(types(c), "");
		world_pass_time(&run.w, 20 * MS);
		world_batch(&run.w);
	}
	s = opens_one();
	got(s, READ);
	answers(s, "CZ");
	assert_string_equal(types(c), "CZ");
	end();
}

/* Who may have something of its own and says nothing is asked after a while: then the
 * server is free, and its death is nobody's. */
static void
who_is_silent_is_asked(void **state)
{
	int s, c;

	(void)state;
	begin_turns(2);
	c = first(&s);
	bytes(c, WILD);
	answers(s, "CZ");
	(void)types(s);
	(void)types(c);
	world_pass_time(&run.w, 3000 * MS);
	world_batch(&run.w);
	assert_true(has_sent(s, SPAN("godwit_census")));
	(void)types(s);
	say(s, 'T', SPAN("\0\0"));
	has(s, "s", "a.b", "1");
	answers(s, "CZ");
	world_down(&run.w, s);
	world_batch(&run.w);
	assert_true(is_there(c));
	bytes(c, READ);
	s = dialed();
	assert_true(s >= 0);
	up(s);
	buf_clear(&run.w.sent[s]);
	lets_in(s);
	world_batch(&run.w);
	assert_true(has_sent(s, SPAN("set_config('a.b','1',false)")));
	end();
}

/* While a cancel is on its way nobody else has the server. */
static void
a_cancel_meets_nobody_else(void **state)
{
	int s, c, d, k, x;
	uint8_t key[12] = { 4, 210, 22, 46 };

	(void)state;
	begin_turns(2);
	c = first(&s);
	k = comes();
	starts(k);
	/* Its key stands in front of the ReadyForQuery. */
	{
		struct span told;

		world_batch(&run.w);
		told = buf_span(&run.w.sent[k]);
		memcpy(key + 4, told.p + told.n - 14, 8);
	}
	(void)types(k);
	d = another();
	(void)c;
	bytes(k, READ);
	got(s, READ);
	x = comes();
	say(x, 0, span_of(key, sizeof(key)));
	world_batch(&run.w);
	answers(s, "CZ");
	assert_string_equal(types(k), "CZ");
	x = dialed();
	assert_true(x >= 0);
	up(x);
	bytes(d, READ);
	/* Another server: that one may be hit. */
	assert_string_equal(types(s), "");
	world_down(&run.w, x);
	world_batch(&run.w);
	end();
}

static void
who_goes_leaves_nothing(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	bytes(c, WILD);
	answers(s, "CZ");
	(void)types(s);
	bytes(c, BYE);
	got(s, SPAN("Q\0\0\0\020DISCARD ALL\0"));
	bytes(d, READ);
	assert_string_equal(types(s), "");
	answers(s, "CZ");
	world_pass_time(&run.w, 20 * MS);
	world_batch(&run.w);
	got(s, READ);
	/* In the middle of something it leaves no server at all. */
	bytes(d, BYE);
	world_batch(&run.w);
	assert_false(is_there(s));
	end();
}

/* It goes while it is asked what it has, and the catalog is due: what is answered first is
 * not the catalog's, and nobody has the server before all is. */
static void
who_goes_while_asked(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	bytes(c, WILD);
	(void)types(s);
	world_pass_time(&run.w, 6000 * MS);
	bytes(d, READ);
	answers(s, "CZ");
	assert_string_equal(types(s), "Q");
	world_down(&run.w, c);
	world_batch(&run.w);
	got(s, SPAN("Q\0\0\0\020DISCARD ALL\0"));
	answers(s, "TCZ");
	world_pass_time(&run.w, 20 * MS);
	world_batch(&run.w);
	assert_string_equal(types(s), "");
	answers(s, "CZ");
	world_pass_time(&run.w, 20 * MS);
	world_batch(&run.w);
	assert_true(is_there(s));
	got(s, READ);
	answers(s, "CZ");
	/* Now the catalog. */
	is_asked(s);
	assert_string_equal(types(d), "CZ");
	end();
}

/* ---- ack both -------------------------------------------------------------------- */

static int probe;

static void
waits_for_new(void)
{
	struct mail m = { .kind = MAIL_ROUTE, .epoch = 1 };
	struct event ev = { .kind = EV_MAIL, .mail = &m };
	int names;

	m.route = (struct route){ .authority = SIDE_OLD,
		                  .epoch = 1,
		                  .ack = ACK_BOTH,
		                  .ack_timeout_ms = 1000 };
	world_tell(&run.w, &ev);
	world_batch(&run.w);
	probe = dialed();
	up(probe);
	names = dialed();
	up(names);
	lets_in(probe);
	lets_in(names);
	world_batch(&run.w);
	answers(names, "CZ");
	buf_clear(&run.w.sent[probe]);
}

/* The log ends at 0/64, and new has that. */
static void
new_has_it(void)
{
	struct event ev = { .kind = EV_BOARD };

	say(probe, 'D',
	    SPAN("\0\1\0\0\0\4"
	         "0/64"));
	answers(probe, "CZ");
	atomic_store(&run.board.passed[SIDE_OLD], 0x64);
	world_tell(&run.w, &ev);
	world_batch(&run.w);
}

/* Whichever way a write is said its answer waits, and its server with it. */
static void
a_write_that_waits_keeps_it(void **state)
{
	int s, c, d;

	(void)state;
	for (int way = 0; way < 4; way++) {
		begin_turns(1);
		c = first(&s);
		d = another();
		waits_for_new();
		if (way == 1 || way == 3) {
			say_parse(c, way == 1 ? "s" : "",
			          "INSERT INTO t VALUES (1)");
			say_sync(c);
			answers(s, way == 1 ? "31tnZ" : "1Z");
			assert_string_equal(types(c), "1Z");
			/* Another turn. */
			bytes(d, READ);
			answers(s, "CZCZ");
			(void)types(s);
			(void)types(d);
		}
		if (way == 0) {
			say_query(c, "INSERT INTO t VALUES (1)");
			answers(s, "CZ");
		} else {
			if (way == 2)
				say_parse(c, "", "INSERT INTO t VALUES (1)");
			say_bind(c, way == 1 ? "s" : "");
			say_execute(c);
			say_sync(c);
			answers(s, way == 1 ? "2CZ" : "12CZ");
		}
		(void)types(s);
		bytes(d, READ);
		assert_string_equal(types(s), "");
		assert_false(has_sent(c, SPAN("SELECT 1")));
		assert_string_equal(types(probe), "Q");
		(void)types(c);
		new_has_it();
		assert_true(has_sent(c, SPAN("SELECT 1")));
		world_pass_time(&run.w, 20 * MS);
		world_batch(&run.w);
		answers(s, "CZ");
		assert_true(has_sent(s, SPAN("SELECT 1")));
		end();
	}
}

/* Who only reads in a transaction does not wait. */
static void
a_read_does_not(void **state)
{
	int s, c;

	(void)state;
	begin_turns(1);
	c = first(&s);
	waits_for_new();
	say_query(c, "BEGIN");
	answers(s, "Cz");
	say_parse(c, "", "SELECT 1");
	say_bind(c, "");
	say_execute(c);
	say_sync(c);
	answers(s, "12Cz");
	say_query(c, "COMMIT");
	answers(s, "CZ");
	assert_string_equal(types(c), "CZ12CZCZ");
	end();
}

/* A migration is over: new's servers are old's from then on, and are counted as such. */
static void
servers_go_with_their_side(void **state)
{
	struct relay_conf conf;
	struct mail m = { .kind = MAIL_PAIR,
		          .side = SIDE_NEW,
		          .token = SIDE_OLD,
		          .pair = &conf };
	struct event ev = { .kind = EV_MAIL, .mail = &m };
	int s, c, d;

	(void)state;
	begin_turns(1);
	tell_mail(MAIL_ROUTE, SIDE_NEW);
	c = first(&s);
	d = another();
	say_query(c, "BEGIN");
	answers(s, "Cz");
	conf = run.conf;
	conf.side[SIDE_OLD] = run.conf.side[SIDE_NEW];
	world_tell(&run.w, &ev);
	world_batch(&run.w);
	/* That one is all there may be. */
	bytes(d, READ);
	world_batch(&run.w);
	assert_int_equal(dialed(), -1);
	/* It goes with its client, and makes room. */
	bytes(c, BYE);
	world_batch(&run.w);
	assert_false(is_there(s));
	s = opens_one();
	assert_string_equal(types(s), "Q");
	answers(s, "CZ");
	assert_string_equal(types(d), "CZ");
	end();
}

/* Who waited while nobody could log in without a server, and says nothing then, keeps it
 * from nobody. */
static void
a_login_that_waited(void **state)
{
	int s, c, d, e;

	(void)state;
	begin_turns(1);
	c = comes();
	starts(c);
	s = dialed();
	d = comes();
	starts(d);
	up(s);
	lets_in(s);
	world_batch(&run.w);
	assert_string_equal(types(d), "RSKZ");
	say(s, 'C', B("SELECT 0"));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
	buf_clear(&run.w.sent[s]);
	e = another();
	bytes(e, READ);
	got(s, READ);
	answers(s, "CZ");
	assert_string_equal(types(e), "CZ");
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_login_that_waited),
		cmocka_unit_test(by_turns),
		cmocka_unit_test(a_transaction_keeps_it),
		cmocka_unit_test(sequences_are_discarded),
		cmocka_unit_test(half_a_message_takes_nothing),
		cmocka_unit_test(no_message_is_waited_for),
		cmocka_unit_test(so_much_of_a_message_does),
		cmocka_unit_test(parameters_are_told),
		cmocka_unit_test(each_has_its_turn),
		cmocka_unit_test(what_cannot_go_stays),
		cmocka_unit_test(its_own_of_before_is_looked_at),
		cmocka_unit_test(an_idle_one_may_die),
		cmocka_unit_test(a_login_is_tried_again),
		cmocka_unit_test(who_is_silent_is_asked),
		cmocka_unit_test(a_cancel_meets_nobody_else),
		cmocka_unit_test(who_goes_leaves_nothing),
		cmocka_unit_test(who_goes_while_asked),
		cmocka_unit_test(a_write_that_waits_keeps_it),
		cmocka_unit_test(a_read_does_not),
		cmocka_unit_test(servers_go_with_their_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
