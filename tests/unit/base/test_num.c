/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers as decimal text.
 */
#include <stdio.h>
#include <string.h>

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
test_integers_are_read(void **state)
{
	static const char *const no[] = { "",
		                          "-",
		                          "+1",
		                          "01",
		                          " 1",
		                          "1 ",
		                          "-0",
		                          "1.5",
		                          "0x1",
		                          "9223372036854775808",
		                          "-9223372036854775809",
		                          "99999999999999999999",
		                          "18446744073709551617",
		                          "111111111111111111111" };
	uint8_t text[NUM_TEXT_MAX];
	struct rng rng;
	int64_t got;

	(void)state;
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(num_get_i64((const uint8_t *)no[i], strlen(no[i]),
		                         &got));
	rng_init(&rng, 7);
	for (int i = 0; i < 20000; i++) {
		int64_t v = (int64_t)rng_next(&rng) >> rng_below(&rng, 64);

		got = v + 1;
		assert_true(num_get_i64(text, num_put_i64(text, v), &got));
		assert_true(got == v);
	}
	assert_true(num_get_i64(text, num_put_i64(text, INT64_MIN), &got));
	assert_true(got == INT64_MIN);
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
		cmocka_unit_test(test_integers_are_read),
		cmocka_unit_test(test_doubles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
