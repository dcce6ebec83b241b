/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/base64.h: bytes as letters, and strictly back.
 *
 * Two alphabets: the common one with padding, and that of URLs and tokens
 * without. Source: RFC 4648, sections 4 and 5.
 *
 * Thread: pure functions.
 */
#pragma once

#include "base/span.h"

enum base64 {
	BASE64_PLAIN, /* + and /, padded with =     */
	BASE64_URL,   /* - and _, never padded      */
};

/* Room for n bytes, NUL included. */
#define BASE64_LEN(n) (((n) + 2) / 3 * 4 + 1)

/* Writes text and NUL; ret has room for BASE64_LEN(in.n). Answers its length. */
size_t base64_put(enum base64 kind, struct span in, char *ret);

/* Number of bytes, or -1: a foreign letter, a wrong length, missing or needless
 * padding, bits left over that are not zero, or more than cap bytes. */
ptrdiff_t base64_get(enum base64 kind, struct span in, uint8_t *ret,
                     size_t cap) MUST;
