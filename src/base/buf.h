/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/buf.h: bytes that grow at the end and are taken from the front.
 *
 * Writers are sticky: buf_put*() never fails in the middle; ask buf_failed()
 * once at the end. A failed buf keeps the bytes it had.
 *
 * Owns:   its block, from the struct mem it was made with.
 * Limits: BUF_MAX bytes; beyond it a put fails.
 * Thread: one at a time.
 */
#pragma once

#include <stdarg.h>

#include "base/mem.h"

#define BUF_KEEP ((size_t)64 * 1024) /* an empty buf keeps at most this */
#define BUF_MAX  ((size_t)UINT32_MAX)

struct buf {
	struct mem *mem;
	uint8_t *p;   /* the block; NULL while nothing was ever put     */
	uint32_t off; /* first byte not yet taken                       */
	uint32_t end; /* one past the last byte put                     */
	uint32_t cap; /* size of the block                              */
	bool failed;  /* an allocation was refused; sticky till buf_fini */
};

void buf_init(struct buf *b, struct mem *mem);
void buf_fini(struct buf *b); /* gives the block back; b is empty, usable */

static inline size_t
buf_len(const struct buf *b)
{
	return (size_t)(b->end - b->off);
}

static inline struct span
buf_span(const struct buf *b)
{
	/* NULL + 0 is not C. */
	return (struct span){ b->off == 0 ? b->p : b->p + b->off, buf_len(b) };
}

static inline bool
buf_failed(const struct buf *b)
{
	return b->failed;
}

/* Room for n more bytes at the end, or NULL (then failed). Call buf_grew(). May
 * move the bytes: spans of this buf are no longer valid afterwards. */
uint8_t *buf_room(struct buf *b, size_t n);

static inline void
buf_grew(struct buf *b, size_t n)
{
	b->end += (uint32_t)n;
}

void buf_put_slow(struct buf *b, const void *p, size_t n);

static inline void
buf_put(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	if (b->p == NULL || b->cap - b->end < n || b->failed) {
		buf_put_slow(b, p, n);
		return;
	}
	memcpy(b->p + b->end, p, n);
	b->end += (uint32_t)n;
}

void buf_put_span(struct buf *b, struct span s);
void buf_put_str(struct buf *b, const char *s);
void buf_put_u64(struct buf *b, uint64_t v); /* decimal */
void buf_put_i64(struct buf *b, int64_t v);  /* decimal */
void buf_putf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void buf_putv(struct buf *b, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

/* Take n bytes from the end. */
void buf_drop_end(struct buf *b, size_t n);
/* Take n bytes from the front. An empty buf starts again at its block's start;
 * a block above BUF_KEEP bytes is given back when the buf becomes empty. */
void buf_take(struct buf *b, size_t n);
void buf_clear(struct buf *b); /* empty; keeps the block */
/* Empty and without a block (idle connections hold no memory). */
void buf_release(struct buf *b);
