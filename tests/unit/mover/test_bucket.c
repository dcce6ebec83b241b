/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/mover/test_bucket.c: dirty keys for which there is no room.
 */
#include "engine/redis/mover/pend.h"
#include "unit.h"

static struct mem mem;

static struct place
at(uint64_t v)
{
	return (struct place){ v, 0 };
}

static uint64_t
floor_of(const struct buckets *b)
{
	struct place p = { UINT64_MAX, 0 };

	bucket_floor(b, &p);
	return p.at;
}

static void
test_turn(void **state)
{
	struct buckets b;
	struct span k = SPAN("key");

	(void)state;
	mem = (struct mem){ .resize = unit_resize };
	bucket_init(&b, &mem, 7);
	assert_false(bucket_has(&b, 0, k));
	assert_true(floor_of(&b) == UINT64_MAX);
	assert_true(bucket_put(&b, 0, k, at(50)));
	assert_true(bucket_put(&b, 0, k, at(60)));
	assert_true(bucket_has(&b, 0, k));
	assert_false(bucket_has(&b, 1, k)); /* with this seed */
	assert_false(bucket_is_now(&b, 0, k));
	assert_int_equal(bucket_count(&b), 1);
	assert_true(floor_of(&b) == 50);
	assert_true(bucket_put(&b, 0, k, at(40)));
	assert_true(floor_of(&b) == 40);
	bucket_turn(&b);
	assert_true(bucket_is_now(&b, 0, k));
	assert_true(bucket_put(&b, 3, SPAN("other"), at(70)));
	assert_false(bucket_is_now(&b, 3, SPAN("other")));
	assert_int_equal(bucket_count(&b), 2);
	assert_int_equal(b.db_n, 2);
	assert_true(floor_of(&b) == 40);
	bucket_done(&b);
	assert_false(bucket_has(&b, 0, k));
	assert_true(bucket_has(&b, 3, SPAN("other")));
	assert_true(floor_of(&b) == 70);
	assert_int_equal(b.db_n, 2);
	bucket_clear(&b);
	assert_int_equal(b.db_n, 0);
	assert_int_equal(bucket_count(&b), 0);
	assert_int_equal(mem.used, 0);
}

static void
test_many(void **state)
{
	struct buckets b;
	char name[24];
	size_t strange = 0;

	(void)state;
	mem = (struct mem){ .resize = unit_resize };
	bucket_init(&b, &mem, 9);
	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "k:%d", i);
		assert_true(bucket_put(&b, 0, span_str(name), at(1)));
	}
	for (int i = 0; i < 200000; i++) {
		snprintf(name, sizeof(name), "k:%d", i);
		if (i < 100000)
			assert_true(bucket_has(&b, 0, span_str(name)));
		else
			strange += bucket_has(&b, 0, span_str(name));
	}
	/* About 9.5 % of the bits are set; so many strangers are met. */
	assert_in_range(bucket_count(&b), 90000, 100000);
	assert_in_range(strange, 8000, 11000);
	bucket_clear(&b);
	assert_int_equal(mem.used, 0);
}

static void
test_bounds(void **state)
{
	struct buckets b;

	(void)state;
	mem = (struct mem){ .resize = unit_resize, .limit = 1000 };
	bucket_init(&b, &mem, 1);
	assert_false(bucket_put(&b, 0, SPAN("k"), at(1)));
	assert_int_equal(bucket_count(&b), 0);
	mem.limit = 0;
	for (uint32_t db = 1; db <= BUCKET_DBS - 1; db++)
		assert_true(bucket_put(&b, db, SPAN("k"), at(1)));
	assert_true(bucket_put(&b, 0, SPAN("k"), at(1)));
	assert_false(bucket_put(&b, 999, SPAN("k"), at(1)));
	assert_true(bucket_put(&b, 255, SPAN("j"), at(1)));
	bucket_clear(&b);
	assert_int_equal(mem.used, 0);
}

/* The buckets count among what is pending, and bound what may pass. */
static void
test_pend(void **state)
{
	struct pend p;
	struct mark *k;

	(void)state;
	mem = (struct mem){ .resize = unit_resize };
	pend_init(&p, &mem, 3);
	k = pend_mark(&p, 0, SPAN("a"), at(100), 0);
	assert_non_null(k);
	assert_true(bucket_put(&p.buckets, 0, SPAN("b"), at(30)));
	assert_int_equal(pend_todo(&p), 2);
	assert_true(pend_floor(&p).at == 30);
	pend_found(&p, pend_mark(&p, 0, SPAN("c"), at(110), 0));
	assert_int_equal(p.found_n, 1);
	assert_true(pend_floor(&p).at == 0);
	/* Somebody writes it: the fill need not wait for it, `passed` must. */
	assert_non_null(pend_mark(&p, 0, SPAN("c"), at(120), 125));
	assert_int_equal(p.found_n, 0);
	assert_true(pend_floor(&p).at == 0);
	pend_read(&p, pend_find(&p, 0, SPAN("c")));
	pend_copied(&p, pend_find(&p, 0, SPAN("c")), 130, 140);
	assert_true(pend_floor(&p).at == 30);
	pend_found(&p, pend_mark(&p, 0, SPAN("d"), at(150), 0));
	pend_read(&p, pend_find(&p, 0, SPAN("d")));
	pend_copied(&p, pend_find(&p, 0, SPAN("d")), 160, 140);
	assert_int_equal(p.found_n, 0);
	bucket_turn(&p.buckets);
	bucket_done(&p.buckets);
	assert_true(pend_floor(&p).at == 100);
	pend_fini(&p);
	assert_int_equal(mem.used, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turn),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_pend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
