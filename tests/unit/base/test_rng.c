/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers that look random and can be repeated from their seed.
 */
#include "base/rng.h"
#include "unit.h"

static void
test_repeats(void **state)
{
	struct rng a;
	struct rng b;

	(void)state;
	rng_init(&a, 1);
	rng_init(&b, 1);
	for (int i = 0; i < 1000; i++)
		assert_true(rng_next(&a) == rng_next(&b));
	rng_init(&b, 2);
	assert_true(rng_next(&a) != rng_next(&b));
}

static void
test_first_value(void **state)
{
	struct rng r = { { 1, 2, 3, 4 } };

	(void)state;
	/* From the authors' C code with this state. */
	assert_true(rng_next(&r) == 11520);
	assert_true(rng_next(&r) == 0);
	assert_true(rng_next(&r) == 1509978240);
}

static void
test_even(void **state)
{
	uint32_t seen[7] = { 0 };
	uint32_t hits = 0;
	struct rng r;

	(void)state;
	rng_init(&r, 9);
	for (int i = 0; i < 70000; i++) {
		seen[rng_below(&r, 7)]++;
		hits += rng_chance(&r, 250000);
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 9600, 10400);
	assert_in_range(hits, 17000, 18000);
	assert_false(rng_chance(&r, 0));
	assert_true(rng_chance(&r, 1000000));
	UNIT_FAILS((void)rng_below(&r, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repeats),
		cmocka_unit_test(test_first_value),
		cmocka_unit_test(test_even),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
