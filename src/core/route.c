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
route_takes(const struct route *r, uint64_t key_hash)
{
	uint64_t bucket = hash_mix(key_hash ^ hash_mix(r->salt)) >> 32;

	REQUIRE(r->read_ppm <= PPM_ALL);
	return bucket < ((uint64_t)r->read_ppm << 32) / PPM_ALL;
}
