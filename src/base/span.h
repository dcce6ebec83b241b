/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/span.h: bytes that belong to somebody else.
 *
 * Owns:   nothing; valid until the owner's named next call.
 * Thread: a value.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Callers must look at what such a function answers. */
#define MUST __attribute__((warn_unused_result))

struct span {
	const uint8_t *p;
	size_t n;
};

/* A span over a string literal. */
#define SPAN(lit) ((struct span){ (const uint8_t *)(lit), sizeof(lit) - 1 })

static inline struct span
span_of(const void *p, size_t n)
{
	return (struct span){ p, n };
}

static inline struct span
span_str(const char *s)
{
	return span_of(s, strlen(s));
}

static inline bool
span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool
span_holds(struct span s, struct span part)
{
	for (size_t i = 0; i + part.n <= s.n; i++) {
		if (memcmp(s.p + i, part.p, part.n) == 0)
			return true;
	}
	return false;
}

/* Equal when ASCII case is ignored; b must already be lower case. */
static inline bool
span_is_word(struct span a, struct span b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++) {
		uint8_t c = a.p[i];

		if (c >= 'A' && c <= 'Z')
			c = (uint8_t)(c + 32);
		if (c != b.p[i])
			return false;
	}
	return true;
}

static inline struct span
span_skip(struct span s, size_t n)
{
	/* NULL + 0 is undefined in C; the compiler makes one addition of it. */
	return (struct span){ n > 0 ? s.p + n : s.p, s.n - n };
}

static inline bool
span_has_prefix(struct span s, struct span prefix)
{
	return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0;
}
