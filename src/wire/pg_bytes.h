/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_bytes.h: numbers, texts and bytes of PostgreSQL's messages.
 *
 * Both directions are sticky: take, take, take, then ask pg_took_all() or bad
 * once. What is taken beyond the end is 0 or empty and makes the rest bad.
 *
 * Owns:   nothing; spans point into what is taken from.
 * Thread: a value.
 */
#pragma once

#include "base/buf.h"

struct pg_take {
	struct span rest;
	bool bad;
};

static inline struct pg_take
pg_take_from(struct span body)
{
	return (struct pg_take){ .rest = body };
}

/* Everything was there, and nothing is left. */
static inline bool
pg_took_all(const struct pg_take *t)
{
	return !t->bad && t->rest.n == 0;
}

static inline struct span
pg_take_bytes(struct pg_take *t, size_t n)
{
	struct span s = { NULL, 0 };

	if (n > t->rest.n) {
		t->bad = true;
		t->rest.n = 0;
		return s;
	}
	s = span_of(t->rest.p, n);
	t->rest = span_skip(t->rest, n);
	return s;
}

static inline uint16_t
pg_get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t
pg_get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static inline uint8_t
pg_take_u8(struct pg_take *t)
{
	struct span s = pg_take_bytes(t, 1);

	return s.n == 1 ? s.p[0] : 0;
}

static inline uint16_t
pg_take_u16(struct pg_take *t)
{
	struct span s = pg_take_bytes(t, 2);

	return s.n == 2 ? pg_get_u16(s.p) : 0;
}

static inline uint32_t
pg_take_u32(struct pg_take *t)
{
	struct span s = pg_take_bytes(t, 4);

	return s.n == 4 ? pg_get_u32(s.p) : 0;
}

static inline int32_t
pg_take_i32(struct pg_take *t)
{
	return (int32_t)pg_take_u32(t);
}

static inline uint64_t
pg_take_u64(struct pg_take *t)
{
	uint64_t high = pg_take_u32(t);

	return high << 32 | pg_take_u32(t);
}

static inline int64_t
pg_take_i64(struct pg_take *t)
{
	return (int64_t)pg_take_u64(t);
}

/* A text without its NUL. */
struct span pg_take_text(struct pg_take *t);

static inline void
pg_set_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static inline void
pg_put_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

static inline void
pg_put_u16(struct buf *b, uint16_t v)
{
	uint8_t p[2] = { (uint8_t)(v >> 8), (uint8_t)v };

	buf_put(b, p, sizeof(p));
}

static inline void
pg_put_u32(struct buf *b, uint32_t v)
{
	uint8_t p[4];

	pg_set_u32(p, v);
	buf_put(b, p, sizeof(p));
}

static inline void
pg_put_u64(struct buf *b, uint64_t v)
{
	pg_put_u32(b, (uint32_t)(v >> 32));
	pg_put_u32(b, (uint32_t)v);
}

/* A text and its NUL. One with a NUL inside is no text: b fails. */
void pg_put_text(struct buf *b, struct span s);

/* The head of a message whose body, of n bytes, follows. */
static inline void
pg_put_head(struct buf *b, uint8_t type, uint32_t n)
{
	pg_put_u8(b, type);
	pg_put_u32(b, n + 4);
}

/* A message of a size not yet known: begin, put, end with what begin said. */
size_t pg_put_begin(struct buf *b, uint8_t type);
void pg_put_end(struct buf *b, size_t begun);

/* A message without a body. */
static inline void
pg_put_empty(struct buf *b, uint8_t type)
{
	pg_put_head(b, type, 0);
}
