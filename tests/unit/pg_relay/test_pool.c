/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_pool.c: a backend whose client went is the next one's, with
 * nothing of the first; and never anybody else's.
 */
#include "scene.h"

#define QUERY SPAN("Q\0\0\0\015SELECT 1\0")
#define BYE   SPAN("X\0\0\0\4")
#define RESET SPAN("Q\0\0\0\020DISCARD ALL\0")

static void
begin_with(uint32_t n)
{
	begin();
	run.conf.pool_max = n;
}

/* A client has come and gone: the slot of its backend, which is told to forget it. */
static int
leaves_one(void)
{
	int s, c = opens(&s);

	bytes(c, QUERY);
	say(s, 'S', B("TimeZone\0Mars"));
	say(s, 'Z', SPAN("I"));
	(void)types(c);
	(void)types(s);
	bytes(c, BYE);
	assert_false(is_there(c));
	assert_true(is_there(s));
	return s;
}

static void
forgets(int s)
{
	got(s, RESET);
	say(s, 'S', B("TimeZone\0UTC"));
	say(s, 'C', B("DISCARD ALL"));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
}

static void
the_next_one_has_it(void **state)
{
	int s, c;

	(void)state;
	begin_with(4);
	s = leaves_one();
	forgets(s);
	for (int i = 0; i < 3; i++) {
		c = comes();
		starts(c);
		assert_int_equal(dialed(), -1);
		world_batch(&run.w);
		/* UTC, as the server said at its first login. */
		assert_true(span_has_prefix(
			buf_span(&run.w.sent[c]),
			SPAN("R\0\0\0\010\0\0\0\0S\0\0\0\021TimeZone\0UTC\0K")));
		assert_string_equal(types(c), "RSKZ");
		bytes(c, QUERY);
		got(s, QUERY);
		say(s, 'Z', SPAN("I"));
		assert_string_equal(types(c), "Z");
		bytes(c, BYE);
		forgets(s);
	}
	end();
}

static void
who_asks_along_is_answered(void **state)
{
	static const char packet[] =
		"\0\0\0\037\0\3\0\0user\0ann\0database\0app\0\0"
		"Q\0\0\0\015SELECT 1";
	int s, c;

	(void)state;
	begin_with(4);
	s = leaves_one();
	forgets(s);
	c = comes();
	bytes(c, B(packet));
	assert_string_equal(types(c), "RSKZ");
	got(s, QUERY);
	end();
}

static void
another_ones_is_not_taken(void **state)
{
	static const struct span pairs[] = {
		WORD("\0\3\0\0user\0bob\0database\0app\0\0"),
		WORD("\0\3\0\0user\0ann\0database\0ap\0\0"),
		WORD("\0\3\0\0user\0ann\0database\0app\0options\0x\0\0"),
	};
	int s, c;

	(void)state;
	begin_with(4);
	s = leaves_one();
	forgets(s);
	for (size_t i = 0; i < 3; i++) {
		c = comes();
		say(c, 0, pairs[i]);
		assert_true(dialed() >= 0);
		up(dialed());
		assert_string_equal(types(c), "");
	}
	end();
}

static void
one_that_has_not_forgotten_is_not_taken(void **state)
{
	int s, c;

	(void)state;
	begin_with(4);
	s = leaves_one();
	got(s, RESET);
	c = comes();
	starts(c);
	assert_true(dialed() >= 0);
	assert_string_equal(types(c), "");
	end();
}

static void
what_is_of_no_use_is_closed(void **state)
{
	static const struct span odd[] = {
		WORD("E\0\0\0\010Cx\0\0"),
		WORD("Z\0\0\0\5T"),
		WORD("HTTP/1.1"),
	};
	int s;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		begin_with(4);
		s = leaves_one();
		got(s, RESET);
		bytes(s, odd[i]);
		assert_true(left_with(s, BYE));
		end();
		/* Also while it waits. */
		begin_with(4);
		s = leaves_one();
		forgets(s);
		bytes(s, odd[i]);
		assert_true(left_with(s, BYE));
		end();
	}
}

static void
a_session_in_the_middle_leaves_none(void **state)
{
	int s, c;

	(void)state;
	for (int kind = 0; kind < 3; kind++) {
		begin_with(4);
		c = opens(&s);
		bytes(c, kind == 2 ? SPAN("P\0\0\0\010\0\0\0\0") : QUERY);
		if (kind == 1)
			say(s, 'Z', SPAN("T"));
		(void)types(s);
		bytes(c, BYE);
		assert_true(left_with(s, BYE));
		end();
	}
}

static void
no_more_than_so_many_stay(void **state)
{
	int s[3], c[3];

	(void)state;
	begin_with(2);
	for (int i = 0; i < 3; i++)
		c[i] = opens(&s[i]);
	for (int i = 0; i < 3; i++)
		bytes(c[i], BYE);
	assert_true(is_there(s[0]) && is_there(s[1]));
	assert_true(left_with(s[2], BYE));
	end();
}

static void
none_outlives_a_hold(void **state)
{
	int s[2];

	(void)state;
	begin_with(4);
	s[0] = leaves_one();
	forgets(s[0]);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	assert_int_equal(run.drained, 1);
	assert_false(is_there(s[0]));
	tell_mail(MAIL_RELEASE, SIDE_NEW);
	s[1] = leaves_one();
	assert_int_equal(run.w.to[s[1]], PORT_NEW);
	end();
}

static void
none_waits_for_ever(void **state)
{
	int s;

	(void)state;
	begin_with(4);
	s = leaves_one();
	forgets(s);
	world_pass_time(&run.w, PG_RELAY_POOL_NS / 2);
	world_batch(&run.w);
	assert_true(is_there(s));
	world_pass_time(&run.w, PG_RELAY_POOL_NS);
	world_batch(&run.w);
	assert_false(is_there(s));
	end();
}

static void
who_was_asked_for_a_password_leaves_none(void **state)
{
	int s, c;

	(void)state;
	begin_with(4);
	c = comes();
	starts(c);
	s = dialed();
	up(s);
	say(s, 'R', SPAN("\0\0\0\3"));
	say(c, 'p', B("pw"));
	lets_in(s);
	(void)types(c);
	bytes(c, BYE);
	assert_false(is_there(s));
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_one_has_it),
		cmocka_unit_test(who_asks_along_is_answered),
		cmocka_unit_test(another_ones_is_not_taken),
		cmocka_unit_test(one_that_has_not_forgotten_is_not_taken),
		cmocka_unit_test(what_is_of_no_use_is_closed),
		cmocka_unit_test(a_session_in_the_middle_leaves_none),
		cmocka_unit_test(no_more_than_so_many_stay),
		cmocka_unit_test(none_outlives_a_hold),
		cmocka_unit_test(none_waits_for_ever),
		cmocka_unit_test(who_was_asked_for_a_password_leaves_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
