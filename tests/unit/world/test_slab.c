/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/test_slab.c: small blocks of one size side by side.
 */
#include <string.h>

#include "unit.h"
#include "world/os/slab.h"

#define BLOCKS 2000

static uint8_t *blocks[BLOCKS];

static void
fill(struct slabs *s, size_t size)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = slab_take(s, size);
		assert_non_null(blocks[i]);
		assert_int_equal((uintptr_t)blocks[i] % 8, 0);
		memset(blocks[i], (int)(i & 0xff), size);
	}
}

static void
assert_kept(size_t size, size_t from, size_t step)
{
	for (size_t i = from; i < BLOCKS; i += step) {
		for (size_t k = 0; k < size; k++)
			assert_int_equal(blocks[i][k], i & 0xff);
	}
}

static void
blocks_of_each_size_are_apart(void **state)
{
	(void)state;
	for (size_t size = SLAB_MIN; size <= SLAB_MAX; size += 3) {
		struct slabs s = { { NULL } };

		fill(&s, size);
		assert_kept(size, 0, 1);
		for (size_t i = 0; i < BLOCKS; i += 2)
			slab_give(&s, blocks[i], size);
		assert_kept(size, 1, 2);
		for (size_t i = 0; i < BLOCKS; i += 2) {
			blocks[i] = slab_take(&s, size);
			memset(blocks[i], (int)(i & 0xff), size);
		}
		assert_kept(size, 0, 1);
		for (size_t i = 0; i < BLOCKS; i++)
			slab_give(&s, blocks[i], size);
		slab_fini(&s);
	}
}

/* All but the last empty slab of a size are given back: what is left is one
 * slab, whose blocks come again. */
static void
empty_slabs_are_given_back(void **state)
{
	struct slabs s = { { NULL } };
	uint8_t *again[2];

	(void)state;
	fill(&s, 104);
	for (size_t i = 0; i < BLOCKS; i++)
		slab_give(&s, blocks[i], 104);
	for (size_t i = 0; i < 2; i++)
		again[i] = slab_take(&s, 104);
	assert_int_equal((uintptr_t)again[0] / SLAB_ALIGN,
	                 (uintptr_t)again[1] / SLAB_ALIGN);
	slab_give(&s, again[0], 104);
	slab_give(&s, again[1], 104);
	slab_fini(&s);
	for (size_t i = 0; i < SLAB_CLASSES; i++)
		assert_null(s.room[i]);
}

static void
knows_what_is_small(void **state)
{
	(void)state;
	assert_false(slab_may(SLAB_MIN - 1));
	assert_true(slab_may(SLAB_MIN));
	assert_true(slab_may(SLAB_MAX));
	assert_false(slab_may(SLAB_MAX + 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_of_each_size_are_apart),
		cmocka_unit_test(empty_slabs_are_given_back),
		cmocka_unit_test(knows_what_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
