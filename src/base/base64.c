/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/base64.c: bytes as letters, and strictly back.
 */
#include "base/base64.h"

static const char letters[2][65] = {
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

size_t
base64_put(enum base64 kind, struct span in, char *ret)
{
	const char *a = letters[kind];
	size_t at = 0;

	for (size_t i = 0; i < in.n; i += 3) {
		size_t left = in.n - i;
		uint32_t v = (uint32_t)in.p[i] << 16;

		v |= left > 1 ? (uint32_t)in.p[i + 1] << 8 : 0;
		v |= left > 2 ? (uint32_t)in.p[i + 2] : 0;
		ret[at++] = a[v >> 18];
		ret[at++] = a[v >> 12 & 63];
		if (left > 1)
			ret[at++] = a[v >> 6 & 63];
		else if (kind == BASE64_PLAIN)
			ret[at++] = '=';
		if (left > 2)
			ret[at++] = a[v & 63];
		else if (kind == BASE64_PLAIN)
			ret[at++] = '=';
	}
	ret[at] = '\0';
	return at;
}

static int
value_of(enum base64 kind, uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == (uint8_t)letters[kind][62])
		return 62;
	if (c == (uint8_t)letters[kind][63])
		return 63;
	return -1;
}

ptrdiff_t
base64_get(enum base64 kind, struct span in, uint8_t *ret, size_t cap)
{
	size_t n = in.n;
	size_t at = 0;
	uint32_t v = 0;
	unsigned bits = 0;

	if (kind == BASE64_PLAIN) {
		if (n % 4 != 0)
			return -1;
		for (int i = 0; i < 2 && n > 0 && in.p[n - 1] == '='; i++)
			n--;
	}
	if (n % 4 == 1)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int d = value_of(kind, in.p[i]);

		if (d < 0)
			return -1;
		v = v << 6 | (uint32_t)d;
		bits += 6;
		if (bits < 8)
			continue;
		bits -= 8;
		if (at == cap)
			return -1;
		ret[at++] = (uint8_t)(v >> bits);
		v &= (1u << bits) - 1;
	}
	return v == 0 ? (ptrdiff_t)at : -1;
}
