/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latencies in microseconds, counted in buckets.
 */
#include "base/hist.h"
#include "core/traffic.h"
#include "unit.h"

_Static_assert(HIST_BUCKETS == TRAFFIC_BUCKETS,
               "traffic counts in our buckets");

static void
test_buckets_join(void **state)
{
	(void)state;
	/* Each bucket begins where the one before ended. */
	for (uint32_t b = 0; b + 1 < HIST_BUCKETS; b++) {
		assert_int_equal(hist_bucket(hist_value(b)), b);
		assert_int_equal(hist_bucket(hist_value(b) + 1), b + 1);
	}
	assert_int_equal(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
	assert_true(hist_value(HIST_BUCKETS - 1) > 16000000);
	UNIT_FAILS((void)hist_value(HIST_BUCKETS));
}

static void
test_error_is_bounded(void **state)
{
	(void)state;
	for (uint64_t us = 16; us < 16000000; us += 1 + us / 50) {
		uint64_t told = hist_value(hist_bucket(us));

		assert_true(told >= us);
		assert_true((double)(told - us) <=
		            (us < 4096 ? 0.125 : 0.25) * (double)us);
	}
}

static void
test_percentiles(void **state)
{
	uint64_t counts[HIST_BUCKETS] = { 0 };

	(void)state;
	assert_int_equal(hist_percentile(counts, 500000), 0);
	for (uint64_t us = 0; us < 10; us++)
		counts[hist_bucket(us)] += 1;
	assert_int_equal(hist_total(counts), 10);
	assert_int_equal(hist_percentile(counts, 0), 0);
	assert_int_equal(hist_percentile(counts, 500000), 4);
	assert_int_equal(hist_percentile(counts, 500001), 5);
	assert_int_equal(hist_percentile(counts, 990000), 9);
	assert_int_equal(hist_percentile(counts, 1000000), 9);
	counts[3] = UINT64_MAX / 2; /* no overflow */
	assert_int_equal(hist_percentile(counts, 999999), 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets_join),
		cmocka_unit_test(test_error_is_bounded),
		cmocka_unit_test(test_percentiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
