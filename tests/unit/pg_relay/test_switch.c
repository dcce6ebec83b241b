/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_switch.c: sessions stand still between two transactions,
 * and go over.
 */
#include "scene.h"

#define QUERY SPAN("Q\0\0\0\015SELECT 1\0")

/* The question of what a session has was put to its server, and answered. */
static void
is_asked(int s)
{
	assert_string_equal(types(s), "Q");
	has_nothing(s);
}

/* ... which makes an end of the statement without a name: it is made again. */
static void
is_asked_behind_parse(int s)
{
	assert_string_equal(types(s), "QPS");
	has_nothing(s);
	assert_int_equal(run.drained, 0);
	say(s, '1', SPAN(""));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
}

/* Who listens is asked twice. */
static void
listens(int s)
{
	for (int i = 0; i < 2; i++) {
		assert_int_equal(run.drained, 0);
		assert_string_equal(types(s), "Q");
		say(s, 'D', SPAN("\0\3\0\0\0\1s\0\0\0\1a\0\0\0\1b"));
		say(s, 'D', SPAN("\0\3\0\0\0\1n\0\0\0\1s\0\0\0\012{}SELECT 2"));
		say(s, 'D', SPAN("\0\3\0\0\0\1l\0\0\0\1x\0\0\0\0"));
		say(s, 'Z', SPAN("I"));
		world_batch(&run.w);
	}
	assert_int_equal(run.drained, 1);
}

static void
a_quiet_session_stands_still(void **state)
{
	int s, t, c;

	(void)state;
	begin();
	c = opens(&s);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	assert_int_equal(run.drained, 0);
	is_asked(s);
	assert_int_equal(run.drained, 1);
	assert_string_equal(types(c), "");
	/* What is asked now waits. */
	bytes(c, QUERY);
	got(s, SPAN(""));
	tell_mail(MAIL_RELEASE, SIDE_NEW);
	assert_int_equal(run.acked, 1);
	assert_false(is_there(s));
	t = dialed();
	assert_int_equal(run.w.to[t], PORT_NEW);
	up(t);
	got(t, SPAN("\0\0\0\41\0\3\0\0user\0ann\0database\0moved\0\0"));
	lets_in(t);
	got(t, QUERY);
	got(c, SPAN(""));
	say(t, 'C', B("SELECT 1"));
	say(t, 'Z', SPAN("I"));
	assert_string_equal(types(c), "CZ");
	end();
}

static void
a_switch_that_is_given_up_lets_it_go_on(void **state)
{
	int s, c;

	(void)state;
	begin();
	c = opens(&s);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	is_asked(s);
	bytes(c, QUERY);
	got(s, SPAN(""));
	tell_mail(MAIL_RELEASE, SIDE_OLD);
	assert_true(is_there(s));
	got(s, QUERY);
	end();
}

/* The side that won may be opened late: until then it refuses who logs in, and is
 * asked again in peace. */
static void
a_login_waits_until_the_new_side_is_open(void **state)
{
	int c, t;

	(void)state;
	begin();
	world_pass_time(&run.w, 100 * MS);
	c = comes();
	starts(c);
	up(dialed());
	tell_mail(MAIL_HOLD, SIDE_OLD);
	tell_mail(MAIL_RELEASE, SIDE_NEW);
	for (int i = 0; i < 30; i++) {
		t = dialed();
		assert_int_equal(run.w.to[t], PORT_NEW);
		up(t);
		say(t, 'E',
		    B("SFATAL\0C28000\0Mrole \"ann\" is not permitted to log "
		      "in\0"));
		world_batch(&run.w);
		assert_false(is_there(t));
		assert_int_equal(dialed(), -1);
		world_pass_time(&run.w, 12 * MS);
		world_batch(&run.w);
	}
	assert_string_equal(types(c), "");
	t = dialed();
	up(t);
	lets_in(t);
	assert_string_equal(types(c), "RSKZ");
	/* Whom it really does not let in hears of it, soon. */
	world_pass_time(&run.w, 2000 * MS);
	world_batch(&run.w);
	c = comes();
	starts(c);
	t = dialed();
	up(t);
	say(t, 'E', B("SFATAL\0C28000\0Mrole \"ann\" is not permitted\0"));
	assert_string_equal(types(c), "E");
	end();
}

/* A login that passes through: its client has heard a question of the server's, body. */
static int
begins_to_log_in(int *ret, struct span body)
{
	int c = comes();
	int asks;

	starts(c);
	*ret = dialed();
	up(*ret);
	buf_clear(&run.w.sent[*ret]);
	say(*ret, 'R', body);
	world_batch(&run.w);
	/* No verifier is found. */
	asks = dialed();
	if (asks >= 0) {
		up(asks);
		lets_in(asks);
		say(asks, 'C', B("SELECT 0"));
		say(asks, 'Z', SPAN("I"));
	}
	got(c, body.p[3] == 3 ? SPAN("R\0\0\0\10\0\0\0\3")
	                      : SPAN("R\0\0\0\027\0\0\0\012SCRAM-SHA-256\0\0"));
	return c;
}

/* Who has not answered the server's question yet answers that of the other one. */
static void
a_question_is_asked_again_by_the_other_side(void **state)
{
	const struct span asks[] = { SPAN("\0\0\0\3"),
		                     SPAN("\0\0\0\012SCRAM-SHA-256\0\0") };
	int s, t, c;

	(void)state;
	for (int i = 0; i < 8; i++) {
		bool is_early = (i & 2) != 0; /* it answers in the hold */
		bool is_ended = (i & 4) != 0; /* and the fence ends it  */

		begin();
		c = begins_to_log_in(&s, asks[i & 1]);
		tell_mail(MAIL_HOLD, SIDE_OLD);
		world_pass_time(&run.w, 60 * MS);
		world_batch(&run.w);
		assert_int_equal(run.drained, 1);
		if (is_early)
			say(c, 'p', B("mine"));
		assert_string_equal(types(s), "");
		if (is_ended) {
			say(s, 'E', B("SFATAL\0C57P01\0Mterminating\0"));
			world_batch(&run.w);
			assert_false(is_there(s));
		}
		tell_mail(MAIL_RELEASE, SIDE_NEW);
		world_pass_time(&run.w, 12 * MS);
		world_batch(&run.w);
		t = dialed();
		assert_true(t >= 0 && run.w.to[t] == PORT_NEW);
		up(t);
		buf_clear(&run.w.sent[t]);
		say(t, 'R', asks[i & 1]);
		world_batch(&run.w);
		if (!is_early) {
			assert_string_equal(types(t), "");
			say(c, 'p', B("mine"));
		}
		got(t, SPAN("p\0\0\0\011mine\0"));
		got(c, SPAN(""));
		lets_in(t);
		assert_string_equal(types(c), "RSKZ");
		end();
	}
	/* It is given up: its own server has the answer. */
	begin();
	c = begins_to_log_in(&s, asks[0]);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	say(c, 'p', B("mine"));
	assert_string_equal(types(s), "");
	tell_mail(MAIL_RELEASE, SIDE_OLD);
	assert_string_equal(types(s), "p");
	end();
	/* The other one asks in another way. */
	begin();
	c = begins_to_log_in(&s, asks[1]);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	tell_mail(MAIL_RELEASE, SIDE_NEW);
	t = dialed();
	up(t);
	say(t, 'R', SPAN("\0\0\0\5salt"));
	assert_true(left_with(c, SPAN("57P03")));
	end();
}

#define HASH  \
	"md5" \
	"0123456789abcdef0123456789abcdef"

/* What a client whose password is kept as HASH, or another one, says to a salt. */
static struct span
answers_to(const char *salt, bool is_good)
{
	static char text[PG_MD5_MAX];
	static const char other[] = "md5"
				    "00000000000000000000000000000000";

	assert_int_equal(pg_md5_answer(&fake, span_str(is_good ? HASH : other),
	                               (const uint8_t *)salt, text),
	                 0);
	return span_of(text, sizeof(text));
}

/* A server that asks for md5, and the hash that it keeps. */
static int
is_asked_for_md5(int *ret)
{
	int c = comes();
	int asks;

	starts(c);
	*ret = dialed();
	up(*ret);
	buf_clear(&run.w.sent[*ret]);
	say(*ret, 'R', SPAN("\0\0\0\5salt"));
	world_batch(&run.w);
	asks = dialed();
	up(asks);
	lets_in(asks);
	say(asks, 'D', SPAN("\0\1\0\0\0\43" HASH));
	say(asks, 'C', B("SELECT 1"));
	say(asks, 'Z', SPAN("I"));
	got(c, SPAN("R\0\0\0\14\0\0\0\5salt"));
	return c;
}

/* Who is in the middle of a login by md5 is asked once, by one server's salt, and is let in
 * by the other one. */
static void
a_salt_is_of_one_server(void **state)
{
	int s, t, c;

	(void)state;
	for (int i = 0; i < 4; i++) {
		bool is_early = (i & 1) != 0; /* it answers in the hold */
		bool is_ended = (i & 2) != 0; /* and the fence ends it  */

		begin();
		c = is_asked_for_md5(&s);
		tell_mail(MAIL_HOLD, SIDE_OLD);
		world_pass_time(&run.w, 60 * MS);
		world_batch(&run.w);
		assert_int_equal(run.drained, 1);
		if (is_early)
			say(c, 'p', answers_to("salt", true));
		assert_string_equal(types(s), is_early ? "p" : "");
		if (is_ended) {
			say(s, 'E', B("SFATAL\0C28000\0Mnot permitted\0"));
			world_batch(&run.w);
			assert_false(is_there(s));
		}
		tell_mail(MAIL_RELEASE, SIDE_NEW);
		world_pass_time(&run.w, 12 * MS);
		world_batch(&run.w);
		if (!is_early)
			say(c, 'p', answers_to("salt", true));
		world_batch(&run.w);
		t = dialed();
		assert_true(t >= 0 && run.w.to[t] == PORT_NEW);
		up(t);
		buf_clear(&run.w.sent[t]);
		say(t, 'R', SPAN("\0\0\0\5else"));
		world_batch(&run.w);
		assert_true(span_holds(buf_span(&run.w.sent[t]),
		                       answers_to("else", true)));
		assert_string_equal(types(t), "p");
		lets_in(t);
		assert_string_equal(types(c), "RSKZ");
		end();
	}
	/* With another password it is let in nowhere. */
	begin();
	c = is_asked_for_md5(&s);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	tell_mail(MAIL_RELEASE, SIDE_NEW);
	say(c, 'p', answers_to("salt", false));
	assert_true(left_with(c, SPAN("28P01")));
	world_batch(&run.w);
	assert_int_equal(dialed(), -1);
	end();
	/* Without a switch. */
	for (int i = 0; i < 2; i++) {
		begin();
		c = is_asked_for_md5(&s);
		say(c, 'p', i == 0 ? answers_to("salt", true) : B("md5short"));
		if (i == 0) {
			assert_string_equal(types(s), "p");
			lets_in(s);
			assert_string_equal(types(c), "RSKZ");
		} else {
			assert_true(left_with(c, SPAN("28P01")));
		}
		end();
	}
}

static void
an_open_transaction_is_waited_for(void **state)
{
	int s, c;

	(void)state;
	begin();
	c = opens(&s);
	bytes(c, QUERY);
	say(s, 'Z', SPAN("T"));
	tell_mail(MAIL_HOLD, SIDE_OLD);
	(void)types(s);
	/* It may go to its end. */
	bytes(c, QUERY);
	got(s, QUERY);
	say(s, 'Z', SPAN("E"));
	world_batch(&run.w);
	bytes(c, QUERY);
	got(s, QUERY);
	assert_int_equal(run.drained, 0);
	say(s, 'Z', SPAN("I"));
	is_asked(s);
	assert_int_equal(run.drained, 1);
	bytes(c, QUERY);
	got(s, SPAN(""));
	end();
}

/* Behind an error a server passes over everything up to a Sync. */
static void
an_error_ends_at_its_sync(void **state)
{
	static const struct span parse = WORD("P\0\0\0\013\0bad\0\0\0"),
				 sync = WORD("S\0\0\0\4");
	int s, c;

	(void)state;
	begin();
	c = opens(&s);
	bytes(c, parse);
	got(s, parse);
	say(s, 'E', B("SERROR\0C42601\0"));
	assert_string_equal(types(c), "E");
	tell_mail(MAIL_HOLD, SIDE_OLD);
	assert_string_equal(types(s), "");
	/* Its Sync has not been said: more of it may come. */
	bytes(c, parse);
	bytes(c, sync);
	assert_string_equal(types(s), "PS");
	assert_int_equal(run.drained, 0);
	say(s, 'Z', SPAN("I"));
	is_asked_behind_parse(s);
	assert_int_equal(run.drained, 1);
	end();
}

static void
syncs_are_counted(void **state)
{
	static const struct span group = WORD("P\0\0\0\010\0\0\0\0S\0\0\0\4");
	int s, c;

	(void)state;
	begin();
	c = opens(&s);
	for (int i = 0; i < 3; i++)
		bytes(c, group);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	for (int i = 0; i < 3; i++) {
		(void)types(s);
		assert_int_equal(run.drained, 0);
		say(s, '1', SPAN(""));
		say(s, 'Z', SPAN("I"));
	}
	is_asked_behind_parse(s);
	assert_int_equal(run.drained, 1);
	end();
}

static void
a_message_that_is_cut_is_waited_for(void **state)
{
	int s, c;

	(void)state;
	begin();
	c = opens(&s);
	bytes(c, SPAN("d\0\0\0\010ab"));
	tell_mail(MAIL_HOLD, SIDE_OLD);
	got(s, SPAN("d\0\0\0\010ab"));
	assert_int_equal(run.drained, 0);
	end();
}

static void
what_a_session_has_goes_along(void **state)
{
	static const struct span parse = WORD("P\0\0\0\021s\0SELECT 2\0\0\0");
	int s, t, c;

	(void)state;
	begin();
	c = opens(&s);
	bytes(c, parse);
	bytes(c, SPAN("S\0\0\0\4"));
	say(s, '1', SPAN(""));
	say(s, 'Z', SPAN("I"));
	(void)types(s);
	(void)types(c);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	listens(s);
	tell_mail(MAIL_RELEASE, SIDE_NEW);
	/* Who listens goes over at once. */
	t = dialed();
	up(t);
	buf_clear(&run.w.sent[t]);
	lets_in(t);
	assert_string_equal(types(t), "QPS");
	bytes(c, QUERY);
	got(t, SPAN(""));
	say(t, 'C', B("x"));
	say(t, 'A', B("\0\0\0\1x\0"));
	say(t, 'Z', SPAN("I"));
	got(t, SPAN(""));
	say(t, '1', SPAN(""));
	say(t, 'Z', SPAN("I"));
	got(t, QUERY);
	/* Of all that it gets what was heard. */
	assert_string_equal(types(c), "A");
	end();
}

static void
a_statement_without_a_name_goes_along(void **state)
{
	static const struct span parse = WORD("P\0\0\0\020\0SELECT 2\0\0\0"),
				 sync = WORD("S\0\0\0\4");
	int s, t, c;

	(void)state;
	for (int killed = 0; killed < 2; killed++) {
		begin();
		c = opens(&s);
		bytes(c, parse);
		bytes(c, sync);
		say(s, 'Z', SPAN("I"));
		if (killed) {
			bytes(c, QUERY);
			say(s, 'Z', SPAN("I"));
		}
		(void)types(s);
		(void)types(c);
		tell_mail(MAIL_HOLD, SIDE_OLD);
		if (killed)
			is_asked(s);
		else
			is_asked_behind_parse(s);
		assert_int_equal(run.drained, 1);
		tell_mail(MAIL_RELEASE, SIDE_NEW);
		bytes(c, sync);
		t = dialed();
		up(t);
		buf_clear(&run.w.sent[t]);
		lets_in(t);
		assert_string_equal(types(t), killed ? "S" : "PS");
		/* The server need not like it. */
		if (!killed) {
			say(t, 'E', B("SERROR\0C42601\0"));
			say(t, 'Z', SPAN("I"));
			got(t, sync);
		}
		say(t, 'Z', SPAN("I"));
		assert_string_equal(types(c), "Z");
		end();
	}
}

/* A query that its server passed over has no answer: the session is asked, and what the
 * question makes an end of is made again. */
static void
a_session_of_which_nothing_is_sure_is_asked(void **state)
{
	static const struct span bad = WORD("P\0\0\0\013\0bad\0\0\0"),
				 good = WORD("P\0\0\0\020\0SELECT 2\0\0\0"),
				 sync = WORD("S\0\0\0\4");
	int s, c;

	(void)state;
	begin();
	c = opens(&s);
	bytes(c, bad);
	bytes(c, QUERY);
	bytes(c, sync);
	bytes(c, good);
	bytes(c, sync);
	assert_string_equal(types(s), "PQSPS");
	say(s, 'E', B("SERROR\0C42601\0"));
	say(s, 'Z', SPAN("I"));
	say(s, '1', SPAN(""));
	say(s, 'Z', SPAN("I"));
	assert_string_equal(types(c), "EZ1Z");
	tell_mail(MAIL_HOLD, SIDE_OLD);
	assert_string_equal(types(s), "");
	world_pass_time(&run.w, 40 * MS);
	assert_string_equal(types(s), "QPS");
	say(s, 'T',
	    SPAN("\0\1godwit_census\0\0\0\0\0\0\0\0\0\0\027\0\4\377\377\377"
	         "\377\0\0"));
	say(s, 'C', B("SELECT 0"));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
	assert_int_equal(run.drained, 0);
	say(s, '1', SPAN(""));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
	assert_int_equal(run.drained, 1);
	assert_string_equal(types(c), "");
	end();
}

static void
what_cannot_go_is_named(void **state)
{
	int s, c;

	(void)state;
	begin();
	c = opens(&s);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	(void)types(s);
	say(s, 'D', SPAN("\0\3\0\0\0\1x\0\0\0\11my tables\0\0\0\0"));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
	assert_int_equal(run.drained, 1);
	{
		struct mail m = { .kind = MAIL_RELEASE, .epoch = 1 };
		struct event ev = { .kind = EV_MAIL, .mail = &m };

		m.route.authority = SIDE_NEW;
		world_tell(&run.w, &ev);
	}
	assert_true(left_with(c, SPAN("C57P01")));
	assert_true(left_with(c, SPAN("my tables")));
	end();
}

/* pgjdbc takes anything but a notification between two requests for an error. */
static void
other_parameters_are_told_in_front_of_an_answer(void **state)
{
	int s, t, c;

	(void)state;
	begin();
	c = opens(&s);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	listens(s);
	tell_mail(MAIL_RELEASE, SIDE_NEW);
	t = dialed();
	up(t);
	buf_clear(&run.w.sent[t]);
	say(t, 'S', B("server_version\00018"));
	say(t, 'S', B("TimeZone\0Mars"));
	lets_in(t);
	say(t, 'S', B("a\0b"));
	say(t, 'S', B("a\0c"));
	say(t, 'C', B("x"));
	say(t, 'Z', SPAN("I"));
	say(t, 'Z', SPAN("I"));
	(void)types(t);
	got(c, SPAN(""));
	say(t, 'A', B("\0\0\0\1x\0"));
	assert_string_equal(types(c), "A");
	bytes(c, QUERY);
	got(c, SPAN(""));
	say(t, 'Z', SPAN("I"));
	/* TimeZone is UTC again, as it was. */
	got(c, SPAN("S\0\0\0\026server_version\00018\0"
	            "S\0\0\0\010a\0c\0Z\0\0\0\5I"));
	end();
}

static void
a_fence_that_ends_a_quiet_backend_is_no_error(void **state)
{
	int s, t, c;

	(void)state;
	begin();
	c = opens(&s);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	is_asked(s);
	say(s, 'E', B("SFATAL\0C57P01\0"));
	world_down(&run.w, s);
	got(c, SPAN(""));
	tell_mail(MAIL_RELEASE, SIDE_NEW);
	bytes(c, QUERY);
	t = dialed();
	assert_int_equal(run.w.to[t], PORT_NEW);
	up(t);
	buf_clear(&run.w.sent[t]);
	lets_in(t);
	got(t, QUERY);
	end();
}

static void
a_server_that_goes_says_why(void **state)
{
	int s, c;

	(void)state;
	begin();
	c = opens(&s);
	say(s, 'E', B("SFATAL\0C57P01\0"));
	got(c, SPAN(""));
	world_down(&run.w, s);
	assert_true(left_with(c, SPAN("E\0\0\0\023SFATAL\0C57P01\0\0")));
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quiet_session_stands_still),
		cmocka_unit_test(a_switch_that_is_given_up_lets_it_go_on),
		cmocka_unit_test(a_login_waits_until_the_new_side_is_open),
		cmocka_unit_test(a_question_is_asked_again_by_the_other_side),
		cmocka_unit_test(a_salt_is_of_one_server),
		cmocka_unit_test(an_open_transaction_is_waited_for),
		cmocka_unit_test(an_error_ends_at_its_sync),
		cmocka_unit_test(syncs_are_counted),
		cmocka_unit_test(a_message_that_is_cut_is_waited_for),
		cmocka_unit_test(what_a_session_has_goes_along),
		cmocka_unit_test(a_statement_without_a_name_goes_along),
		cmocka_unit_test(a_session_of_which_nothing_is_sure_is_asked),
		cmocka_unit_test(what_cannot_go_is_named),
		cmocka_unit_test(
			other_parameters_are_told_in_front_of_an_answer),
		cmocka_unit_test(a_fence_that_ends_a_quiet_backend_is_no_error),
		cmocka_unit_test(a_server_that_goes_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
