/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/num.c: numbers as decimal text.
 */
#include "base/num.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

size_t
num_put_u64(uint8_t *to, uint64_t v)
{
	uint8_t text[20];
	size_t at = sizeof(text);

	do {
		text[--at] = (uint8_t)('0' + v % 10);
		v /= 10;
	} while (v != 0);
	memcpy(to, text + at, sizeof(text) - at);
	return sizeof(text) - at;
}

size_t
num_put_i64(uint8_t *to, int64_t v)
{
	if (v >= 0)
		return num_put_u64(to, (uint64_t)v);
	to[0] = '-';
	return 1 + num_put_u64(to + 1, 0 - (uint64_t)v);
}

bool
num_get_i64(const uint8_t *from, size_t n, int64_t *ret)
{
	uint8_t again[NUM_TEXT_MAX];
	bool minus = n > 0 && from[0] == '-';
	uint64_t v = 0;

	if (n == 0 || n > 20)
		return false;
	for (size_t i = minus ? 1 : 0; i < n; i++) {
		if (from[i] < '0' || from[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(from[i] - '0');
	}
	*ret = (int64_t)(minus ? 0 - v : v);
	return num_put_i64(again, *ret) == n && memcmp(again, from, n) == 0;
}

/* The pure half may name vsnprintf only. */
static int __attribute__((format(printf, 3, 4)))
format(char *to, size_t n, const char *fmt, ...)
{
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = vsnprintf(to, n, fmt, ap);
	va_end(ap);
	return ret;
}

size_t
num_put_double(uint8_t *to, double v)
{
	char text[NUM_TEXT_MAX];
	int n = format(text, sizeof(text), "%.17g", v);

	ENSURE(n > 0 && n < NUM_TEXT_MAX);
	memcpy(to, text, (size_t)n);
	return (size_t)n;
}
