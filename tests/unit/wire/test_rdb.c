/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Redis snapshot as a stream of values. (Transcripts and cuts:
 * tests/golden/rdb; against a live server: tests/golden/live_rdb.py.)
 */
#include "base/buf.h"
#include "base/hash.h"
#include "base/rng.h"
#include "unit.h"
#include "wire/rdb.h"

static uint8_t scratch[RDB_SCRATCH_MIN];

static void
test_footer(void **state)
{
	/* DUMP of "v" by redis-server 7.0.15, and LOAD takes nothing else. */
	struct span want = SPAN("\x00\x01v\x0a\x00\x91\x08\xce\xb2\x19\x38\x8a"
	                        "\xce");
	uint8_t footer[10];

	(void)state;
	rdb_footer(10, hash_crc64(0, span_of(want.p, 3)), footer);
	assert_memory_equal(footer, want.p + 3, 10);
}

static void
test_limits(void **state)
{
	struct rdb r;

	(void)state;
	UNIT_FAILS(rdb_init(&r, 63, scratch, sizeof(scratch)));
	UNIT_FAILS(rdb_init(&r, 64, scratch, sizeof(scratch) - 1));
}

/* Feed everything in pieces; the elements of big strings are joined in out. */
static void
feed_all(struct rdb *r, struct span in, struct rng *rng, struct buf *out,
         size_t *ret_window)
{
	struct rdb_part part;
	size_t from = 0;
	size_t to = 0;

	*ret_window = 0;
	for (;;) {
		size_t used = 0;
		enum wire_rc rc = rdb_feed(r, span_of(in.p + from, to - from),
		                           &part, &used);

		assert_true(rc >= 0);
		from += used;
		if (rc == WIRE_MORE) {
			size_t n = 1 + rng_below(rng, 5000);

			if (to - from > *ret_window)
				*ret_window = to - from;
			assert_true(to < in.n);
			to = in.n - to < n ? in.n : to + n;
			continue;
		}
		if (part.kind == RDB_ELEM)
			buf_put_span(out, part.elem[0]);
		if (part.kind == RDB_BIG_END)
			assert_true(part.complete);
		if (part.kind == RDB_END)
			return;
	}
}

/* 4 MiB of packed and of plain bytes through a window of 16 KiB. */
static void
test_big_string(void **state)
{
	struct heap heap = heap_make();
	size_t full = 4 * 1024 * 1024;
	size_t window = 0;
	uint8_t head[32];
	struct rng rng;
	struct buf in;
	struct buf out;
	struct buf want;
	struct rdb r;

	(void)state;
	rng_init(&rng, 4);
	buf_init(&in, &heap.mem);
	buf_init(&out, &heap.mem);
	buf_init(&want, &heap.mem);
	/* Runs: 8 new bytes, then 264 from up to 8192 before. */
	while (buf_len(&want) + 272 <= full) {
		size_t most = buf_len(&want) < 8184 ? buf_len(&want) : 8184;
		size_t back = 1 + rng_below(&rng, most + 8);

		head[0] = 7;
		for (int i = 1; i < 9; i++)
			head[i] = (uint8_t)rng_next(&rng);
		buf_put(&want, head + 1, 8);
		for (int i = 0; i < 264; i++) {
			uint8_t c = buf_span(&want).p[buf_len(&want) - back];

			buf_put(&want, &c, 1);
		}
		head[9] = (uint8_t)(7u << 5 | (back - 1) >> 8);
		head[10] = 255;
		head[11] = (uint8_t)(back - 1);
		buf_put(&in, head, 12);
	}
	full = buf_len(&in);
	assert_true(full > 100000);
	{
		struct buf file;

		buf_init(&file, &heap.mem);
		/* k: packed; l: the packed bytes as a plain string. */
		buf_put(&file, "REDIS0004\0\1k\xc3", 13);
		for (int half = 0; half < 2; half++) {
			size_t n = half == 0 ? full : buf_len(&want);

			head[0] = 0x80;
			for (int i = 0; i < 4; i++)
				head[1 + i] = (uint8_t)(n >> (24 - 8 * i));
			buf_put(&file, head, 5);
		}
		buf_put_span(&file, buf_span(&in));
		buf_put(&file, "\0\1l\x80", 4);
		for (int i = 0; i < 4; i++)
			head[i] = (uint8_t)(full >> (24 - 8 * i));
		buf_put(&file, head, 4);
		buf_put_span(&file, buf_span(&in));
		buf_put(&file, "\xff", 1);
		buf_put_span(&want, buf_span(&in));
		rdb_init(&r, 16384, scratch, sizeof(scratch));
		feed_all(&r, buf_span(&file), &rng, &out, &window);
		assert_true(span_eq(buf_span(&out), buf_span(&want)));
		/* What has to be kept stays small, whatever the string. */
		assert_true(window < 16384 + 5000);
		buf_fini(&file);
	}
	buf_fini(&in);
	buf_fini(&out);
	buf_fini(&want);
	assert_int_equal(heap.mem.used, 0);
}

/* A value that grows in the window byte by byte costs linear time. */
static void
test_growing_window(void **state)
{
	struct heap heap = heap_make();
	struct rdb_part part;
	size_t used = 0;
	struct buf file;
	struct rdb r;

	(void)state;
	buf_init(&file, &heap.mem);
	buf_put(&file, "REDIS0004\2\1s\x80\0\3\0\0", 17);
	for (uint32_t i = 0; i < 196608; i++)
		buf_put(&file, "\5mmmmm", 6);
	rdb_init(&r, 4 * 1024 * 1024, scratch, sizeof(scratch));
	assert_int_equal(rdb_feed(&r, span_of(file.p, 9), &part, &used),
	                 WIRE_PART);
	for (size_t n = 9; n < file.end; n++)
		assert_int_equal(
			rdb_feed(&r, span_of(file.p + 9, n - 9), &part, &used),
			WIRE_MORE);
	assert_int_equal(
		rdb_feed(&r, span_of(file.p + 9, file.end - 9), &part, &used),
		WIRE_PART);
	assert_int_equal(part.kind, RDB_VALUE);
	assert_int_equal(part.body.n, 5 + 196608 * 6);
	buf_fini(&file);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_footer),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_big_string),
		cmocka_unit_test(test_growing_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
