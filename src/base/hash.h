/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/hash.h: numbers made from bytes.
 *
 * Thread: pure functions.
 */
#pragma once

#include "base/span.h"

/* A fast, well mixed 64-bit hash (XXH3); not for adversaries unless the seed is
 * secret. The value is the same on every machine and in every version. */
uint64_t hash_bytes(struct span s, uint64_t seed);

/* A 64-bit value mixed so that each bit of v changes half of the answer. */
static inline uint64_t
hash_mix(uint64_t v)
{
	v ^= v >> 30;
	v *= 0xbf58476d1ce4e5b9u;
	v ^= v >> 27;
	v *= 0x94d049bb133111ebu;
	return v ^ (v >> 31);
}

/* CRC-64/REDIS (Jones polynomial, reflected, no final xor), as behind DUMP
 * payloads and RDB files. Starts with crc 0 and goes on with what it answered:
 * hash_crc64(hash_crc64(0, a), b) is the CRC of a followed by b. */
uint64_t hash_crc64(uint64_t crc, struct span s);

#define HASH_SLOTS 16384

/* The Redis Cluster slot of a key: CRC-16/XMODEM of what stands between the
 * first '{' and the next '}' when that is not empty, else of the whole key. */
uint32_t hash_slot(struct span key);
