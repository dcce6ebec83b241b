/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/crypt.h: the hashes that logging in needs, from whoever runs the pure half.
 *
 * The world's ones are in world/os/crypt.h. Each answers false when the library
 * refuses (MD5 where it is forbidden, no memory).
 *
 * Thread: any.
 */
#pragma once

#include "base/span.h"

#define CRYPT_MD5    16
#define CRYPT_SHA256 32

struct crypt {
	bool (*md5)(struct span in, uint8_t ret[CRYPT_MD5]);
	bool (*sha256)(struct span in, uint8_t ret[CRYPT_SHA256]);
	bool (*hmac_sha256)(struct span key, struct span in,
	                    uint8_t ret[CRYPT_SHA256]);
	/* PBKDF2 with HMAC-SHA-256, one block: Hi() of RFC 5802. */
	bool (*stretch)(struct span password, struct span salt, uint32_t rounds,
	                uint8_t ret[CRYPT_SHA256]);
};

/* In a time that does not depend on where they differ. */
static inline bool
crypt_is_same(const uint8_t *a, const uint8_t *b, size_t n)
{
	unsigned differ = 0;

	for (size_t i = 0; i < n; i++)
		differ |= (unsigned)(a[i] ^ b[i]);
	return differ == 0;
}

/* Survives the optimizer. */
static inline void
crypt_wipe(void *p, size_t n)
{
	volatile uint8_t *at = p;

	while (n-- > 0)
		*at++ = 0;
}
