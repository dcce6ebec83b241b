/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/sha1.c: the names of scripts.
 */
#include "engine/redis/sha1.h"

static uint32_t
rotate(uint32_t v, unsigned by)
{
	return (v << by) | (v >> (32 - by));
}

static uint32_t
mix(unsigned t, const uint32_t v[5])
{
	if (t < 20)
		return ((v[1] & v[2]) | (~v[1] & v[3])) + 0x5a827999u;
	if (t < 40)
		return (v[1] ^ v[2] ^ v[3]) + 0x6ed9eba1u;
	if (t < 60)
		return ((v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3])) +
		       0x8f1bbcdcu;
	return (v[1] ^ v[2] ^ v[3]) + 0xca62c1d6u;
}

static void
block(uint32_t h[5], const uint8_t *p)
{
	uint32_t w[80];
	uint32_t v[5];

	for (size_t t = 0; t < 16; t++)
		w[t] = (uint32_t)p[t * 4] << 24 | (uint32_t)p[t * 4 + 1] << 16 |
		       (uint32_t)p[t * 4 + 2] << 8 | p[t * 4 + 3];
	for (size_t t = 16; t < 80; t++)
		w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
	memcpy(v, h, sizeof(v));
	for (unsigned t = 0; t < 80; t++) {
		uint32_t next = rotate(v[0], 5) + mix(t, v) + v[4] + w[t];

		v[4] = v[3];
		v[3] = v[2];
		v[2] = rotate(v[1], 30);
		v[1] = v[0];
		v[0] = next;
	}
	for (unsigned i = 0; i < 5; i++)
		h[i] += v[i];
}

void
sha1(struct span s, uint8_t ret[SHA1_N])
{
	uint32_t h[5] = { 0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u,
		          0xc3d2e1f0u };
	uint8_t last[128] = { 0 };
	uint64_t bits = (uint64_t)s.n * 8;
	size_t left = s.n % 64;
	size_t n = left < 56 ? 64 : 128;

	for (size_t at = 0; at + 64 <= s.n; at += 64)
		block(h, s.p + at);
	if (left > 0)
		memcpy(last, s.p + (s.n - left), left);
	last[left] = 0x80;
	for (unsigned i = 0; i < 8; i++)
		last[n - 1 - i] = (uint8_t)(bits >> (8 * i));
	block(h, last);
	if (n == 128)
		block(h, last + 64);
	for (unsigned i = 0; i < SHA1_N; i++)
		ret[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}
