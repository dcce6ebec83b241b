/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/sha256.h: the hash of a password, and a comparison that tells no time.
 *
 * Thread: pure functions.
 * Source: FIPS 180-4, section 6.2.
 */
#pragma once

#include "base/span.h"

#define SHA256_N 32

void sha256(struct span s, uint8_t ret[SHA256_N]);

/* Takes as long for any two. */
bool sha256_same(const uint8_t a[SHA256_N], const uint8_t b[SHA256_N]);
