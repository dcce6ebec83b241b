/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers as decimal text.
 */
#include <stdio.h>

#include "base/num.h"
#include "base/rng.h"
#include "unit.h"

static void
test_integers(void **state)
{
	uint8_t got[NUM_TEXT_MAX];
	char want[NUM_TEXT_MAX];
	struct rng rng;

	(void)state;
	rng_init(&rng, 5);
	for (int i = 0; i < 20000; i++) {
		uint64_t v = rng_next(&rng) >> rng_below(&rng, 64);
		int n = snprintf(want, sizeof(want), "%llu",
		                 (unsigned long long)v);

		assert_int_equal(num_put_u64(got, v), n);
		assert_memory_equal(got, want, (size_t)n);
		n = snprintf(want, sizeof(want), "%lld", -(long long)(v >> 1));
		assert_int_equal(num_put_i64(got, -(int64_t)(v >> 1)), n);
		assert_memory_equal(got, want, (size_t)n);
	}
	assert_int_equal(num_put_u64(got, UINT64_MAX), 20);
	assert_int_equal(num_put_i64(got, INT64_MIN), 20);
	assert_memory_equal(got, "-9223372036854775808", 20);
}

static void
test_doubles(void **state)
{
	uint8_t got[NUM_TEXT_MAX];
	struct rng rng;
	size_t n;

	(void)state;
	rng_init(&rng, 6);
	for (int i = 0; i < 20000; i++) {
		uint64_t bits = rng_next(&rng);
		double again;
		double v;

		memcpy(&v, &bits, sizeof(v));
		if (v != v)
			continue;
		n = num_put_double(got, v);
		assert_true(n < NUM_TEXT_MAX);
		got[n] = '\0';
		again = strtod((const char *)got, NULL);
		assert_memory_equal(&again, &v, sizeof(v));
	}
	n = num_put_double(got, -1.0 / 0.0);
	assert_memory_equal(got, "-inf", n);
	n = num_put_double(got, 3);
	assert_int_equal(n, 1);
	assert_int_equal(got[0], '3');
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers),
		cmocka_unit_test(test_doubles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
