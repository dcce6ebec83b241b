/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_pg_stream.c: the messages of replication.
 */
#include "unit.h"
#include "wire/pg_stream.h"

static void
again(struct span raw)
{
	struct heap heap = heap_make();
	struct pg_stream m;
	struct buf b;

	buf_init(&b, &heap.mem);
	assert_true(pg_read_stream(span_skip(raw, 5), &m));
	pg_put_stream(&b, &m);
	assert_true(span_eq(buf_span(&b), raw));
	buf_fini(&b);
	/* Not with a byte less, unless it is the payload's. */
	raw.n--;
	if (m.kind == PG_STREAM_DATA)
		raw.n = 5 + PG_STREAM_DATA_N - 1;
	assert_false(pg_read_stream(span_skip(raw, 5), &m));
}

static void
test_messages(void **state)
{
	struct pg_stream m;

	(void)state;
	assert_true(
		pg_read_stream(SPAN("w\0\0\0\0\0\0\1\2\0\0\0\1\0\0\0\0"
	                            "\377\377\377\377\377\377\377\376hello"),
	                       &m));
	assert_int_equal(m.at.v, 0x102);
	assert_int_equal(m.end.v, 0x100000000);
	assert_int_equal(m.clock_us, -2);
	assert_true(span_eq(m.data, SPAN("hello")));
	assert_true(pg_read_stream(SPAN("k\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\6\1"),
	                           &m));
	assert_int_equal(m.end.v, 5);
	assert_true(m.wants_answer);
	again(SPAN("d\0\0\0\x1fw"
	           "\0\0\0\0\0\0\1\2\0\0\0\0\0\0\1\3\0\0\0\0\0\0\0\1ab"));
	again(SPAN("d\0\0\0\x16k\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\6\0"));
	again(SPAN("d\0\0\0\x26r\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\4"
	           "\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\6\1"));
	again(SPAN("d\0\0\0\x1dh\0\0\0\0\0\0\0\5\0\0\0\4\0\0\0\3"
	           "\0\0\0\2\0\0\0\1"));
	assert_false(pg_read_stream(SPAN(""), &m));
	assert_false(pg_read_stream(SPAN("x12345678"), &m));
	assert_false(pg_read_stream(SPAN("k\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\6\2"),
	                            &m));
}

static void
test_start(void **state)
{
	const struct pg_option options[] = {
		{ SPAN("proto_version"), SPAN("2") },
		{ SPAN("publication_names"), SPAN("\"it's\\\"") },
	};
	struct heap heap = heap_make();
	struct buf b;

	(void)state;
	buf_init(&b, &heap.mem);
	pg_put_start_replication(&b, SPAN("s1"),
	                         (struct pg_lsn){ 0x1500000abc }, options, 2);
	assert_true(span_eq(span_skip(buf_span(&b), 5),
	                    SPAN("START_REPLICATION SLOT \"s1\" LOGICAL 15/ABC "
	                         "(\"proto_version\" '2', "
	                         "\"publication_names\" '\"it''s\\\"')\0")));
	assert_int_equal(buf_span(&b).p[0], 'Q');
	assert_int_equal(buf_span(&b).p[4], buf_len(&b) - 1);
	buf_fini(&b);
	pg_put_start_replication(&b, SPAN("s1"), (struct pg_lsn){ 0 }, NULL, 0);
	assert_true(span_eq(span_skip(buf_span(&b), 5),
	                    SPAN("START_REPLICATION SLOT \"s1\" LOGICAL 0/0"
	                         "\0")));
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
