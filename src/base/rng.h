/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/rng.h: numbers that look random and can be repeated from their seed.
 * Source: xoshiro256** 1.0 and splitmix64, https://prng.di.unimi.it/
 *
 * Not for secrets. Thread: one at a time for each struct rng.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

struct rng {
	uint64_t s[4];
};

static inline void
rng_init(struct rng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15u;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		r->s[i] = z ^ (z >> 31);
	}
}

static inline uint64_t
rng_rotate(uint64_t v, unsigned by)
{
	return (v << by) | (v >> (64 - by));
}

static inline uint64_t
rng_next(struct rng *r)
{
	uint64_t ret = rng_rotate(r->s[1] * 5, 7) * 9;
	uint64_t t = r->s[1] << 17;

	r->s[2] ^= r->s[0];
	r->s[3] ^= r->s[1];
	r->s[1] ^= r->s[2];
	r->s[0] ^= r->s[3];
	r->s[2] ^= t;
	r->s[3] = rng_rotate(r->s[3], 45);
	return ret;
}

/* Evenly from [0, n); n > 0. */
static inline uint64_t
rng_below(struct rng *r, uint64_t n)
{
	uint64_t v;

	REQUIRE(n > 0);
	/* Values under 2^64 mod n would make some answers likelier. */
	do {
		v = rng_next(r);
	} while (v < (0 - n) % n);
	return v % n;
}

/* True ppm times in a million. */
static inline bool
rng_chance(struct rng *r, uint32_t ppm)
{
	return rng_below(r, 1000000) < ppm;
}
