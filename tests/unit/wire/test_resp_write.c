/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RESP2 values, appended to a buf.
 */
#include "unit.h"
#include "wire/resp.h"

static struct heap heap;
static struct buf b;

/* What was put since the last call. */
static void
assert_put(struct span want)
{
	assert_true(span_eq(buf_span(&b), want));
	buf_clear(&b);
}

static void
test_writers(void **state)
{
	(void)state;
	resp_put_array(&b, 12);
	assert_put(SPAN("*12\r\n"));
	resp_put_bulk(&b, SPAN("a\0b"));
	assert_put(SPAN("$3\r\na\0b\r\n"));
	resp_put_bulk(&b, span_of(NULL, 0));
	assert_put(SPAN("$0\r\n\r\n"));
	resp_put_bulk_str(&b, "ten bytes.");
	assert_put(SPAN("$10\r\nten bytes.\r\n"));
	resp_put_bulk_u64(&b, UINT64_MAX);
	assert_put(SPAN("$20\r\n18446744073709551615\r\n"));
	resp_put_bulk_i64(&b, -7);
	assert_put(SPAN("$2\r\n-7\r\n"));
	resp_put_nil(&b);
	resp_put_nil_array(&b);
	assert_put(SPAN("$-1\r\n*-1\r\n"));
	resp_put_int(&b, INT64_MIN);
	resp_put_int(&b, 0);
	assert_put(SPAN(":-9223372036854775808\r\n:0\r\n"));
	resp_put_status(&b, "OK");
	assert_put(SPAN("+OK\r\n"));
	resp_put_cmd(&b, "SET", "k", "", NULL);
	assert_put(SPAN("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"));
}

static void
test_errors_are_one_line(void **state)
{
	(void)state;
	resp_put_errorf(&b, "ERR %s", "a\r\n+OK\r\nb");
	assert_put(SPAN("-ERR a  +OK  b\r\n"));
	/* Bytes before it are not touched, wherever the block starts. */
	resp_put_status(&b, "12345");
	buf_take(&b, 5);
	resp_put_errorf(&b, "X\n");
	assert_put(SPAN("5\r\n-X \r\n"));
}

static void
test_no_memory(void **state)
{
	(void)state;
	for (size_t i = 1; i < 3; i++) {
		buf_fini(&b);
		heap.refuse_at = i;
		resp_put_array(&b, 1);
		resp_put_bulk(&b, SPAN("abc"));
		resp_put_errorf(&b, "%0300d", 1);
		resp_put_cmd(&b, "A", NULL);
		assert_true(buf_failed(&b));
	}
	heap.refuse_at = 0;
	buf_fini(&b);
	assert_int_equal(heap.mem.used, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writers),
		cmocka_unit_test(test_errors_are_one_line),
		cmocka_unit_test(test_no_memory),
	};

	heap = heap_make();
	buf_init(&b, &heap.mem);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
