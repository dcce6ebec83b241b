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

/*
 * The number from p up to CR LF. WIRE_PART: *ret_v, and *ret_next is behind the
 * line. As strict as the server: no plus sign, no leading zero, no "-0". A wrong
 * byte is WIRE_BAD as soon as it is there, whatever follows.
 */
static inline enum wire_rc
resp_number_slow(const uint8_t *p, const uint8_t *end, int64_t *ret_v,
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

static inline enum wire_rc
resp_number(const uint8_t *p, const uint8_t *end, int64_t *ret_v,
            const uint8_t **ret_next)
{
	/* One or two digits are nearly all there is. */
	if (end - p >= 4) {
		unsigned a = (unsigned)p[0] - '0';
		unsigned b = (unsigned)p[1] - '0';

		if (a <= 9 && resp_is_crlf(p + 1)) {
			*ret_v = a;
			*ret_next = p + 3;
			return WIRE_PART;
		}
		if (a - 1 <= 8 && b <= 9 && resp_is_crlf(p + 2)) {
			*ret_v = (int64_t)(a * 10 + b);
			*ret_next = p + 4;
			return WIRE_PART;
		}
	}
	return resp_number_slow(p, end, ret_v, ret_next);
}
