/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/digest.h: hashes, codes and chance, in the few forms used here.
 *
 * Thread: any. What the library refuses (it never should) ends the process: no
 * answer would be better than a wrong one.
 */
#pragma once

#include "base/span.h"

#define DIGEST_SIZE 32 /* SHA-256 */

void digest_sha256(struct span in, uint8_t ret[DIGEST_SIZE]);
void digest_hmac(const uint8_t key[DIGEST_SIZE], struct span in,
                 uint8_t ret[DIGEST_SIZE]);
/* A key of its own for each use: HKDF-SHA256, without a salt. */
void digest_derive(const uint8_t key[DIGEST_SIZE], const char *use,
                   uint8_t ret[DIGEST_SIZE]);

/* In a time that does not depend on where they differ. */
bool digest_is_equal(const uint8_t a[DIGEST_SIZE],
                     const uint8_t b[DIGEST_SIZE]);

void digest_random(void *ret, size_t n); /* for secrets */
void digest_clear(void *p, size_t n);    /* survives the optimizer */

/* Lower-case hex: ret has room for 2 * n + 1; and back, false: not n bytes. */
void digest_hex(const void *p, size_t n, char *ret);
bool digest_unhex(const char *text, void *ret, size_t n) MUST;
