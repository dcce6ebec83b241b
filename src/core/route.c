/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/route.c: one immutable routing decision.
 *
 * Assignment v1: a key's bucket is the upper half of a mix of salt and hash; it
 * is taken when it lies below the share's part of the 2^32 buckets. The bucket
 * does not depend on the share, which makes the assignment monotone.
 */
#include "core/route.h"

#include "base/check.h"
#include "base/hash.h"

#define PPM_ALL 1000000u

bool
route_share_takes(uint64_t salt, uint32_t ppm, uint64_t hash)
{
	uint64_t bucket = hash_mix(hash ^ hash_mix(salt)) >> 32;

	REQUIRE(ppm <= PPM_ALL);
	return bucket < ((uint64_t)ppm << 32) / PPM_ALL;
}

bool
route_takes(const struct route *r, uint64_t key_hash)
{
	return route_share_takes(r->salt, r->read_ppm, key_hash);
}
