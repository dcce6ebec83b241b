/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-string keys to values, in order of arrival.
 */
#include <stdio.h>

#include "base/map.h"
#include "base/rng.h"
#include "unit.h"

static struct span
key_of(char *text, uint64_t v)
{
	int n = snprintf(text, 32, "key:%llu", (unsigned long long)v);

	return span_of(text, (size_t)n);
}

static void
test_put_get_remove(void **state)
{
	struct heap heap = heap_make();
	bool is_new = false;
	struct map_entry *e;
	struct map m;

	(void)state;
	map_init(&m, &heap.mem, sizeof(uint32_t), 7);
	assert_null(map_get(&m, SPAN("a")));
	assert_false(map_remove(&m, SPAN("a")));
	e = map_put(&m, SPAN("a"), &is_new);
	assert_true(is_new);
	assert_int_equal(*(uint32_t *)map_value(e), 0);
	*(uint32_t *)map_value(e) = 5;
	assert_ptr_equal(map_put(&m, SPAN("a"), &is_new), e);
	assert_false(is_new);
	assert_int_equal(*(uint32_t *)map_get(&m, SPAN("a")), 5);
	assert_non_null(map_put(&m, span_of(NULL, 0), NULL));
	assert_non_null(map_put(&m, SPAN("a\0b"), NULL));
	assert_int_equal(map_count(&m), 3);
	/* The key in hand may be the entry's own. */
	assert_true(map_remove(&m, map_key(&m, e)));
	assert_null(map_find(&m, SPAN("a")));
	assert_non_null(map_find(&m, SPAN("a\0b")));
	map_fini(&m);
	assert_int_equal(heap.mem.used, 0);
}

static void
test_order(void **state)
{
	struct heap heap = heap_make();
	char got[64] = "";
	struct map m;

	(void)state;
	map_init(&m, &heap.mem, 0, 7);
	for (const char *c = "abcdef"; *c != '\0'; c++)
		assert_non_null(map_put(&m, span_of(c, 1), NULL));
	map_renew(&m, map_find(&m, SPAN("b")));
	map_renew(&m, map_find(&m, SPAN("b")));
	assert_true(map_remove(&m, SPAN("d")));
	map_each(e, &m) {
		(void)strncat(got, (const char *)map_key(&m, e).p, 1);
		if (e->key_n == 1 && *map_key(&m, e).p == 'c')
			map_drop(&m, e);
		else if (map_count(&m) < 40)
			assert_non_null(map_put(&m, SPAN("new"), NULL));
	}
	assert_string_equal(got, "acefbn");
	assert_ptr_equal(m.first, map_find(&m, SPAN("a")));
	assert_ptr_equal(m.last, map_find(&m, SPAN("new")));
	map_clear(&m);
	assert_int_equal(map_count(&m), 0);
	assert_null(map_find(&m, SPAN("a")));
	assert_non_null(map_put(&m, SPAN("again"), NULL));
	map_fini(&m);
	assert_int_equal(heap.mem.used, 0);
}

static void
test_many(void **state)
{
	struct heap heap = heap_make();
	char text[32];
	struct map m;

	(void)state;
	map_init(&m, &heap.mem, 8, 7);
	for (uint64_t i = 0; i < 100000; i++) {
		struct map_entry *e = map_put(&m, key_of(text, i), NULL);

		assert_non_null(e);
		*(uint64_t *)map_value(e) = i;
	}
	/* At most 100 bytes an entry, key (9) and value (8) included. */
	assert_true(m.bytes / 100000 < 100);
	assert_int_equal(m.bytes, heap.mem.used);
	for (uint64_t i = 0; i < 100000; i++)
		assert_int_equal(*(uint64_t *)map_get(&m, key_of(text, i)), i);
	for (uint64_t i = 0; i < 100000; i += 2)
		assert_true(map_remove(&m, key_of(text, i)));
	for (uint64_t i = 0; i < 100000; i++)
		assert_int_equal(map_get(&m, key_of(text, i)) != NULL, i % 2);
	map_fini(&m);
	assert_int_equal(heap.mem.used, 0);
}

/* Against an array of what should be there. */
static void
test_random(void **state)
{
	struct heap heap = heap_make();
	static bool there[512];
	char text[32];
	size_t count = 0;
	struct rng rng;
	struct map m;

	(void)state;
	rng_init(&rng, 3);
	map_init(&m, &heap.mem, 1, 7);
	for (int i = 0; i < 200000; i++) {
		uint64_t v = rng_below(&rng, 512);
		struct span key = key_of(text, v);

		if (rng_chance(&rng, 500000)) {
			bool is_new = false;

			assert_non_null(map_put(&m, key, &is_new));
			assert_int_equal(is_new, !there[v]);
			count += is_new;
			there[v] = true;
		} else {
			assert_int_equal(map_remove(&m, key), there[v]);
			count -= there[v];
			there[v] = false;
		}
		assert_int_equal(map_count(&m), count);
	}
	map_fini(&m);
	assert_int_equal(heap.mem.used, 0);
}

static void
test_no_memory(void **state)
{
	struct heap heap = heap_make();
	char text[32];
	struct map m;

	(void)state;
	map_init(&m, &heap.mem, 8, 7);
	heap.refuse_at = 1;
	assert_null(map_put(&m, SPAN("a"), NULL));
	heap.refuse_at = 2;
	assert_null(map_put(&m, SPAN("a"), NULL));
	assert_int_equal(map_count(&m), 0);
	heap.refuse_at = 0;
	/* Buckets that cannot grow make chains longer, nothing else. */
	for (uint64_t i = 0; i < 1000; i++) {
		heap.refuse_at = m.count >= m.bucket_n && i >= 16 ? 1 : 0;
		assert_non_null(map_put(&m, key_of(text, i), NULL));
	}
	assert_int_equal(m.bucket_n, 16);
	for (uint64_t i = 0; i < 1000; i++)
		assert_non_null(map_get(&m, key_of(text, i)));
	map_fini(&m);
	assert_int_equal(heap.mem.used, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_get_remove),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
