/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that grow at the end and are taken from the front.
 */
#include "base/buf.h"
#include "base/rng.h"
#include "unit.h"

static void
assert_bytes(const struct buf *b, const char *want)
{
	assert_true(span_eq(buf_span(b), span_str(want)));
}

static void
test_puts(void **state)
{
	struct heap heap = heap_make();
	struct buf b;

	(void)state;
	buf_init(&b, &heap.mem);
	assert_int_equal(buf_len(&b), 0);
	buf_put(&b, NULL, 0);
	assert_null(b.p);
	buf_put_str(&b, "a");
	buf_put_u64(&b, 0);
	buf_put_u64(&b, UINT64_MAX);
	buf_put_i64(&b, INT64_MIN);
	buf_put_i64(&b, 7);
	buf_putf(&b, "%s-%d", "x", 5);
	assert_bytes(&b, "a018446744073709551615-92233720368547758087x-5");
	buf_fini(&b);
	assert_int_equal(heap.mem.used, 0);
}

static void
test_long_format(void **state)
{
	struct heap heap = heap_make();
	char text[1001];
	struct buf b;

	(void)state;
	for (size_t n = 250; n <= 260; n++) {
		buf_init(&b, &heap.mem);
		memset(text, 'y', n);
		text[n] = '\0';
		buf_putf(&b, "%s", text);
		assert_bytes(&b, text);
		buf_fini(&b);
	}
}

static void
test_take_resets(void **state)
{
	struct heap heap = heap_make();
	struct buf b;

	(void)state;
	buf_init(&b, &heap.mem);
	buf_put_str(&b, "hello");
	buf_take(&b, 2);
	assert_bytes(&b, "llo");
	assert_int_equal(b.off, 2);
	buf_take(&b, 3);
	assert_int_equal(b.off, 0);
	assert_int_equal(b.end, 0);
	assert_non_null(b.p);
	UNIT_FAILS(buf_take(&b, 1));
	assert_non_null(buf_room(&b, BUF_KEEP + 1));
	buf_grew(&b, BUF_KEEP + 1);
	buf_take(&b, BUF_KEEP + 1);
	assert_null(b.p);
	assert_int_equal(heap.mem.used, 0);
	buf_fini(&b);
}

static void
test_growth(void **state)
{
	struct heap heap = heap_make();
	struct buf b;

	(void)state;
	buf_init(&b, &heap.mem);
	for (size_t i = 0; i < 100000; i++)
		buf_put(&b, "0123456789", 10);
	/* Doubled, so never more than twice what is needed. */
	assert_true(b.cap < 2000000);
	/* A buf that is read as fast as it is written does not grow. */
	buf_release(&b);
	for (size_t i = 0; i < 100000; i++) {
		buf_put(&b, "0123456789", 10);
		if (i > 0)
			buf_take(&b, 10);
	}
	assert_int_equal(b.cap, 256);
	assert_bytes(&b, "0123456789");
	buf_fini(&b);
	assert_int_equal(heap.mem.used, 0);
}

static void
test_sticky(void **state)
{
	struct heap heap = heap_make();
	struct buf b;

	(void)state;
	buf_init(&b, &heap.mem);
	buf_put_str(&b, "kept");
	heap.refuse_at = 1;
	assert_null(buf_room(&b, 1000));
	assert_true(buf_failed(&b));
	/* There is room for this one, but it would leave a hole. */
	buf_put_str(&b, "x");
	buf_putf(&b, "%d", 1);
	assert_null(buf_room(&b, 1));
	assert_bytes(&b, "kept");
	assert_null(buf_room(&b, SIZE_MAX - 10));
	buf_fini(&b);
	assert_false(buf_failed(&b));
	assert_null(buf_room(&b, BUF_MAX + 1));
	buf_fini(&b);
	assert_null(buf_room(&b, SIZE_MAX - 10));
	buf_fini(&b);
}

/* Against a plain array that nothing is ever taken from. */
static void
test_random(void **state)
{
	struct heap heap = heap_make();
	static uint8_t all[1 << 20];
	size_t from = 0;
	size_t to = 0;
	struct rng rng;
	struct buf b;

	(void)state;
	rng_init(&rng, 42);
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)rng_next(&rng);
	buf_init(&b, &heap.mem);
	while (to < sizeof(all)) {
		size_t n = rng_below(&rng, 3000);

		if (n > sizeof(all) - to)
			n = sizeof(all) - to;
		buf_put(&b, all + to, n);
		to += n;
		n = rng_below(&rng, to - from + 1);
		buf_take(&b, n);
		from += n;
		assert_true(
			span_eq(buf_span(&b), span_of(all + from, to - from)));
	}
	assert_false(buf_failed(&b));
	buf_fini(&b);
	assert_int_equal(heap.mem.used, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_puts),
		cmocka_unit_test(test_long_format),
		cmocka_unit_test(test_take_resets),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_sticky),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
