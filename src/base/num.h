/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/num.h: numbers as text.
 *
 * Thread: pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUM_TEXT_MAX 32 /* bytes the longest of these may write */

/* Each writes the number at to, without a NUL behind it, and answers how many
 * bytes that were. */
size_t num_put_u64(uint8_t *to, uint64_t v);
size_t num_put_i64(uint8_t *to, int64_t v);

/* Reads what num_put_i64() writes, and nothing else (no "+1", "01", " 1", "-0"):
 * the strictness of the servers. *ret is set when it answers true. */
bool num_get_i64(const uint8_t *from, size_t n, int64_t *ret);

/* With 17 significant digits, so that reading it gives the same double; inf and
 * -inf by name. */
size_t num_put_double(uint8_t *to, double v);

/* The value of a hexadecimal digit of either case, or -1. */
static inline int
num_hex(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}
