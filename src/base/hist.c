/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/hist.c: latencies in microseconds, counted in 128 buckets.
 */
#include "base/hist.h"

#include "base/check.h"

uint64_t
hist_value(uint32_t bucket)
{
	uint32_t top;
	uint64_t part;

	REQUIRE(bucket < HIST_BUCKETS);
	if (bucket < 16)
		return bucket;
	if (bucket < 80) {
		top = 4 + (bucket - 16) / 8;
		part = 8 + (bucket - 16) % 8;
		return ((part + 1) << (top - 3)) - 1;
	}
	top = 12 + (bucket - 80) / 4;
	part = 4 + (bucket - 80) % 4;
	return ((part + 1) << (top - 2)) - 1;
}

uint64_t
hist_total(const uint64_t counts[HIST_BUCKETS])
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < HIST_BUCKETS; i++)
		n += counts[i];
	return n;
}

uint64_t
hist_percentile(const uint64_t counts[HIST_BUCKETS], uint32_t ppm)
{
	uint64_t total = hist_total(counts);
	uint64_t want;
	uint64_t seen = 0;

	REQUIRE(ppm <= 1000000);
	if (total == 0)
		return 0;
	/* The rank, rounded up, without overflow of total * ppm. */
	want = total / 1000000 * ppm +
	       (total % 1000000 * ppm + 999999) / 1000000;
	if (want == 0)
		want = 1;
	for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
		seen += counts[i];
		if (seen >= want)
			return hist_value(i);
	}
	NEVER("a rank beyond the total");
}
