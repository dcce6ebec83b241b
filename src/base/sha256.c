/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/sha256.c: SHA-256.
 */
#include "base/sha256.h"

#include <string.h>

#define BLOCK 64

static const uint32_t first[8] = {
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
	0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const uint32_t rounds[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
	0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
	0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
	0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
	0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
	0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
	0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t
rotate(uint32_t v, unsigned n)
{
	return v >> n | v << (32 - n);
}

static void
eat(uint32_t h[8], const uint8_t *p)
{
	uint32_t w[64];
	uint32_t v[8];

	for (size_t i = 0; i < 16; i++)
		w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
		       (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
	for (size_t i = 16; i < 64; i++) {
		uint32_t a = w[i - 15];
		uint32_t b = w[i - 2];

		w[i] = w[i - 16] + w[i - 7] +
		       (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
		       (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
	}
	memcpy(v, h, sizeof(v));
	for (size_t i = 0; i < 64; i++) {
		uint32_t e = v[4];
		uint32_t a = v[0];
		uint32_t t = v[7] + rounds[i] + w[i] +
		             (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
		             ((e & v[5]) ^ (~e & v[6]));
		uint32_t u = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
		             ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));

		memmove(&v[1], &v[0], 7 * sizeof(v[0]));
		v[4] += t;
		v[0] = t + u;
	}
	for (size_t i = 0; i < 8; i++)
		h[i] += v[i];
}

void
sha256(struct span s, uint8_t ret[SHA256_N])
{
	uint8_t end[2 * BLOCK] = { 0 };
	size_t whole = s.n / BLOCK * BLOCK;
	size_t left = s.n - whole;
	size_t end_n = left < BLOCK - 8 ? BLOCK : 2 * BLOCK;
	uint64_t bits = (uint64_t)s.n * 8;
	uint32_t h[8];

	memcpy(h, first, sizeof(h));
	for (size_t i = 0; i < whole; i += BLOCK)
		eat(h, s.p + i);
	if (left > 0)
		memcpy(end, s.p + whole, left);
	end[left] = 0x80;
	for (size_t i = 0; i < 8; i++)
		end[end_n - 1 - i] = (uint8_t)(bits >> (8 * i));
	for (size_t i = 0; i < end_n; i += BLOCK)
		eat(h, end + i);
	for (size_t i = 0; i < SHA256_N; i++)
		ret[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

bool
sha256_same(const uint8_t a[SHA256_N], const uint8_t b[SHA256_N])
{
	unsigned differs = 0;

	for (size_t i = 0; i < SHA256_N; i++)
		differs |= (unsigned)(a[i] ^ b[i]);
	return differs == 0;
}
