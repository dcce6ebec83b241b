/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of a Redis client. (Transcripts and cuts: tests/golden/resp_cmd.)
 */
#include "unit.h"
#include "wire/resp.h"

static enum wire_rc
feed(struct resp_cmd *c, const char *text)
{
	resp_cmd_init(c);
	return resp_cmd_feed(c, span_str(text));
}

static void
assert_bad(const char *text, const char *why)
{
	struct resp_cmd c;

	assert_int_equal(feed(&c, text), WIRE_BAD);
	assert_string_equal(c.why, why);
}

static void
test_words_of_redis(void **state)
{
	(void)state;
	assert_bad("*x\r\n", "Protocol error: invalid multibulk length");
	assert_bad("*1\r\nx", "Protocol error: expected '$', got 'x'");
	assert_bad("*1\r\n\r", "Protocol error: expected '$', got ' '");
	assert_bad("*1\r\n$-1\r\n", "Protocol error: invalid bulk length");
	assert_bad("*1\r\n$536870913\r\n",
	           "Protocol error: invalid bulk length");
	assert_bad("a \"b\r\n", "Protocol error: unbalanced quotes in request");
}

static void
test_long_inline(void **state)
{
	static uint8_t text[RESP_INLINE_MAX + 10];
	struct resp_cmd c;

	(void)state;
	memset(text, 'a', sizeof(text));
	resp_cmd_init(&c);
	assert_int_equal(resp_cmd_feed(&c, span_of(text, RESP_INLINE_MAX)),
	                 WIRE_MORE);
	assert_int_equal(resp_cmd_feed(&c, span_of(text, RESP_INLINE_MAX + 1)),
	                 WIRE_BAD);
	assert_string_equal(c.why, "Protocol error: too big inline request");
	text[RESP_INLINE_MAX - 1] = '\n';
	resp_cmd_init(&c);
	assert_int_equal(resp_cmd_feed(&c, span_of(text, sizeof(text))),
	                 WIRE_PART);
	assert_int_equal(c.argv[0].n, RESP_INLINE_MAX - 1);
}

/* What is known of a request that is still arriving. */
static void
test_unfinished(void **state)
{
	struct span s = SPAN("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nxyz");
	struct resp_cmd c;

	(void)state;
	resp_cmd_init(&c);
	assert_int_equal(resp_cmd_feed(&c, s), WIRE_MORE);
	assert_int_equal(c.args_seen, 2);
	assert_true(span_eq(resp_cmd_arg(&c, s, 0), SPAN("SET")));
	assert_true(span_eq(resp_cmd_arg(&c, s, 1), SPAN("k")));
	assert_int_equal(c.need, s.n - 3 + 102);
	UNIT_FAILS((void)resp_cmd_arg(&c, s, 2));
}

static void
test_walk_all(void **state)
{
	struct heap heap = heap_make();
	struct resp_cmd c;
	struct span arg;
	struct buf b;
	size_t pos = 0;
	uint32_t n = 0;

	(void)state;
	buf_init(&b, &heap.mem);
	resp_put_array(&b, 1000);
	for (uint64_t i = 0; i < 1000; i++)
		resp_put_bulk_u64(&b, i);
	resp_cmd_init(&c);
	assert_int_equal(resp_cmd_feed(&c, buf_span(&b)), WIRE_PART);
	assert_int_equal(c.argc, 1000);
	while (resp_cmd_walk(buf_span(&b), &pos, &arg)) {
		if (n == 0)
			assert_true(span_eq(arg, SPAN("0")));
		n++;
	}
	assert_int_equal(n, 1000);
	assert_true(span_eq(arg, SPAN("999")));
	pos = 0;
	assert_false(resp_cmd_walk(SPAN("PING\r\n"), &pos, &arg));
	buf_fini(&b);
}

/* 1 MiB in single bytes takes linear time: this would run for minutes. */
static void
test_byte_by_byte(void **state)
{
	struct heap heap = heap_make();
	struct resp_cmd c;
	struct buf b;
	uint8_t *big;
	size_t n = 1024 * 1024;

	(void)state;
	big = malloc(n);
	assert_non_null(big);
	memset(big, '\n', n);
	buf_init(&b, &heap.mem);
	resp_put_array(&b, 3);
	resp_put_bulk_str(&b, "SET");
	resp_put_bulk(&b, span_of(big, n));
	resp_put_bulk_str(&b, "v");
	resp_cmd_init(&c);
	for (size_t i = 0; i < buf_len(&b); i++)
		assert_int_equal(resp_cmd_feed(&c, span_of(buf_span(&b).p, i)),
		                 WIRE_MORE);
	assert_int_equal(resp_cmd_feed(&c, buf_span(&b)), WIRE_PART);
	assert_true(span_eq(c.argv[1], span_of(big, n)));
	assert_true(span_eq(c.argv[2], SPAN("v")));
	buf_fini(&b);
	free(big);
}

static void
test_put_inline(void **state)
{
	struct heap heap = heap_make();
	struct buf b;

	(void)state;
	buf_init(&b, &heap.mem);
	resp_put_inline(&b, SPAN("set  'it\\'s' \"\\x00\\n\" x\"y\"\r\n"));
	assert_true(
		span_eq(buf_span(&b), SPAN("*4\r\n$3\r\nset\r\n$4\r\nit's\r\n"
	                                   "$2\r\n\0\n\r\n$2\r\nxy\r\n")));
	buf_clear(&b);
	resp_put_inline(&b, SPAN("  \r\n"));
	assert_int_equal(buf_len(&b), 0);
	heap.refuse_at = 1;
	buf_release(&b);
	resp_put_inline(&b, SPAN("PING\r\n"));
	assert_true(buf_failed(&b));
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_of_redis),
		cmocka_unit_test(test_long_inline),
		cmocka_unit_test(test_unfinished),
		cmocka_unit_test(test_walk_all),
		cmocka_unit_test(test_byte_by_byte),
		cmocka_unit_test(test_put_inline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
