/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/hist.h: latencies in microseconds, counted in 128 buckets.
 *
 *   0 .. 15 us          one bucket each
 *   16 us .. 4.1 ms     8 buckets an octave (an answer is at most 12.5 % high)
 *   4.1 ms .. 16.8 s    4 buckets an octave (at most 25 % high)
 *   beyond              the last bucket
 *
 * The counters are the caller's own array (core/traffic.h has atomic ones).
 *
 * Thread: pure functions.
 */
#pragma once

#include <stdint.h>

#define HIST_BUCKETS 128

/* The bucket of a latency. */
static inline uint32_t
hist_bucket(uint64_t us)
{
	uint32_t top;

	if (us < 16)
		return (uint32_t)us;
	top = 63 - (uint32_t)__builtin_clzll(us);
	if (top < 12)
		return 16 + (top - 4) * 8 + ((us >> (top - 3)) & 7);
	if (top < 24)
		return 80 + (top - 12) * 4 + ((us >> (top - 2)) & 3);
	return HIST_BUCKETS - 1;
}

/* The highest latency of a bucket in us; for the last one the highest it is
 * exact for. Never lower than what was counted, except beyond the range. */
uint64_t hist_value(uint32_t bucket);

uint64_t hist_total(const uint64_t counts[HIST_BUCKETS]);

/* The latency in us that ppm of a million samples do not exceed (990000: p99);
 * 0 when nothing was counted. */
uint64_t hist_percentile(const uint64_t counts[HIST_BUCKETS], uint32_t ppm);
