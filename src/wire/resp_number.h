/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/resp_number.h: the decimal numbers of RESP lines (private to resp_*.c).
 */
#pragma once

#include "wire/wire.h"

#define RESP_DIGITS_MAX 18 /* of a length; always fits int64_t */

static inline bool
resp_is_crlf(const uint8_t *p)
{
	return memcmp(p, "\r\n", 2) == 0;
}

static inline void
resp_put_crlf(uint8_t *to)
{
	to[0] = '\r';
	to[1] = '\n';
}

/*
 * The number from p up to CR LF. WIRE_PART: *ret_v, and *ret_next is behind the
 * line. As strict as the server: no plus sign, no leading zero, no "-0". A wrong
 * byte is WIRE_BAD as soon as it is there, whatever follows.
 */
static inline enum wire_rc
resp_number(const uint8_t *p, const uint8_t *end, int64_t *ret_v,
            const uint8_t **ret_next)
{
	bool negative = p < end && *p == '-';
	const uint8_t *first = negative ? p + 1 : p;
	int64_t v = 0;

	for (p = first; p < end && *p != '\r'; p++) {
		if (*p < '0' || *p > '9' || p - first >= RESP_DIGITS_MAX)
			return WIRE_BAD;
		if (v == 0 && (p > first || (negative && *p == '0')))
			return WIRE_BAD;
		v = v * 10 + (*p - '0');
	}
	if (p == end)
		return WIRE_MORE;
	if (p == first)
		return WIRE_BAD;
	if (end - p < 2)
		return WIRE_MORE;
	if (p[1] != '\n')
		return WIRE_BAD;
	*ret_v = negative ? -v : v;
	*ret_next = p + 2;
	return WIRE_PART;
}

/*
 * The same for what nearly all lines are: a whole, plain number below 10^9.
 * Answers what is behind the line, or NULL: then ask resp_number(). Written for
 * few instructions: every request and reply passes here.
 */
static inline const uint8_t *
resp_number_fast(const uint8_t *p, const uint8_t *end, uint32_t *ret_v)
{
	uint32_t v;

	if (end - p < 3)
		return NULL;
	v = (uint32_t)*p++ - '0';
	if (v > 9)
		return NULL;
	if (*p != '\r') {
		if (v == 0)
			return NULL;
		do {
			uint32_t d = (uint32_t)*p++ - '0';

			if (d > 9 || v >= 100000000 || end - p < 2)
				return NULL;
			v = v * 10 + d;
		} while (*p != '\r');
	}
	if (p[1] != '\n')
		return NULL;
	*ret_v = v;
	return p + 2;
}
