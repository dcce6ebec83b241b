/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where one reply ends. (Transcripts and cuts: tests/golden/resp_skip.)
 */
#include "unit.h"
#include "wire/resp.h"

static void
test_many_in_one(void **state)
{
	struct span in = SPAN("+OK\r\n:1\r\n$3\r\nabc\r\n*2\r\n:1\r\n$-1\r\n+");
	static const char types[] = "+:$*";
	static const size_t sizes[] = { 5, 4, 9, 13 };
	struct resp_skip s;
	size_t used = 0;

	(void)state;
	resp_skip_init(&s);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(resp_skip_feed(&s, in, &used), WIRE_PART);
		assert_int_equal(used, sizes[i]);
		assert_int_equal(s.type, types[i]);
		in = span_skip(in, used);
	}
	assert_int_equal(resp_skip_feed(&s, in, &used), WIRE_MORE);
	assert_int_equal(used, 1);
	assert_int_equal(s.todo, 1);
	/* Nothing is no end of a reply either. */
	assert_int_equal(resp_skip_feed(&s, span_of(NULL, 0), &used),
	                 WIRE_MORE);
	assert_int_equal(resp_skip_feed(&s, SPAN("x\r\n+"), &used), WIRE_PART);
	assert_int_equal(used, 3);
}

static void
test_dead_stays_dead(void **state)
{
	struct resp_skip s;
	size_t used = 0;

	(void)state;
	resp_skip_init(&s);
	assert_int_equal(resp_skip_feed(&s, SPAN("?"), &used), WIRE_BAD);
	assert_int_equal(resp_skip_feed(&s, SPAN("+OK\r\n"), &used), WIRE_BAD);
}

/* Nesting costs no memory and no recursion. */
static void
test_deep(void **state)
{
	struct resp_skip s;
	size_t used = 0;

	(void)state;
	resp_skip_init(&s);
	for (int i = 0; i < 1000000; i++)
		assert_int_equal(resp_skip_feed(&s, SPAN("*1\r\n"), &used),
		                 WIRE_MORE);
	assert_int_equal(resp_skip_feed(&s, SPAN(":1\r\n"), &used), WIRE_PART);
	assert_int_equal(s.type, '*');
}

static void
test_reply_len(void **state)
{
	(void)state;
	assert_int_equal(resp_reply_len(SPAN("+OK\r\n+OK\r\n")), 5);
	assert_int_equal(resp_reply_len(SPAN("+OK\r")), 0);
	assert_int_equal(resp_reply_len(SPAN("")), 0);
	assert_int_equal(resp_reply_len(SPAN("!")), 0);
	assert_int_equal(resp_reply_len(SPAN("?")), WIRE_BAD);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_in_one),
		cmocka_unit_test(test_dead_stays_dead),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_reply_len),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
