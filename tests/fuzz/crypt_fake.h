/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/crypt_fake.h: stand-ins for the hashes of a login.
 */
#pragma once

#include "base/check.h"
#include "base/hash.h"
#include "wire/pg_scram.h"

static inline void
spread(uint64_t v, uint8_t *ret, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i % 8 == 0)
			v = hash_mix(v + i + 1);
		ret[i] = (uint8_t)(v >> i % 8 * 8);
	}
}

static inline bool
fake_md5(struct span in, uint8_t ret[CRYPT_MD5])
{
	spread(hash_bytes(in, 1), ret, CRYPT_MD5);
	return true;
}

static inline bool
fake_sha256(struct span in, uint8_t ret[CRYPT_SHA256])
{
	spread(hash_bytes(in, 2), ret, CRYPT_SHA256);
	return true;
}

static inline bool
fake_hmac(struct span key, struct span in, uint8_t ret[CRYPT_SHA256])
{
	spread(hash_bytes(in, hash_bytes(key, 3)), ret, CRYPT_SHA256);
	return true;
}

static inline bool
fake_stretch(struct span password, struct span salt, uint32_t rounds,
             uint8_t ret[CRYPT_SHA256])
{
	REQUIRE(rounds >= 1 && rounds <= PG_SCRAM_ROUNDS_MAX);
	spread(hash_bytes(password, hash_bytes(salt, rounds)), ret,
	       CRYPT_SHA256);
	return true;
}

static const struct crypt fake = { fake_md5, fake_sha256, fake_hmac,
	                           fake_stretch };
