/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/buf.c: bytes that grow at the end and are taken from the front.
 *
 *   p          p+off            p+end        p+cap
 *   |  taken   |  the bytes     |  room      |
 */
#include "base/buf.h"

#include <stdio.h>

#include "base/check.h"
#include "base/num.h"

#define BUF_MIN 256

void
buf_init(struct buf *b, struct mem *mem)
{
	REQUIRE(mem != NULL);
	*b = (struct buf){ .mem = mem };
}

void
buf_fini(struct buf *b)
{
	buf_release(b);
	b->failed = false;
}

void
buf_release(struct buf *b)
{
	mem_free(b->mem, b->p, b->cap);
	b->p = NULL;
	b->off = 0;
	b->end = 0;
	b->cap = 0;
}

void
buf_clear(struct buf *b)
{
	b->off = 0;
	b->end = 0;
}

/* A new block of at least len + n bytes with the untaken bytes at its start. */
static bool
grow(struct buf *b, size_t n)
{
	size_t len = buf_len(b);
	size_t cap = b->cap < BUF_MIN ? BUF_MIN : b->cap;
	uint8_t *p;

	if (n > BUF_MAX - len)
		return false;
	while (cap < len + n)
		cap *= 2;
	if (cap > BUF_MAX)
		cap = BUF_MAX;
	if (b->off == 0) {
		p = mem_resize(b->mem, b->p, b->cap, cap);
		if (p == NULL)
			return false;
	} else {
		p = mem_alloc(b->mem, cap);
		if (p == NULL)
			return false;
		REQUIRE(b->p != NULL); /* something was taken from it */
		memcpy(p, b->p + b->off, len);
		mem_free(b->mem, b->p, b->cap);
	}
	b->p = p;
	b->cap = (uint32_t)cap;
	b->off = 0;
	b->end = (uint32_t)len;
	return true;
}

uint8_t *
buf_room(struct buf *b, size_t n)
{
	size_t len = buf_len(b);

	if (b->failed)
		return NULL;
	if (b->p != NULL && b->cap - b->end >= n)
		return b->p + b->end;
	/* Moving is cheap while at least half of the block was taken. */
	if (b->p != NULL && b->off >= len && b->cap - len >= n) {
		memmove(b->p, b->p + b->off, len);
		b->off = 0;
		b->end = (uint32_t)len;
		return b->p + b->end;
	}
	if (!grow(b, n)) {
		b->failed = true;
		return NULL;
	}
	ENSURE(b->cap - b->end >= n);
	return b->p + b->end;
}

void
buf_put_slow(struct buf *b, const void *p, size_t n)
{
	uint8_t *to = buf_room(b, n);

	if (to == NULL)
		return;
	memcpy(to, p, n);
	b->end += (uint32_t)n;
}

void
buf_put_span(struct buf *b, struct span s)
{
	buf_put(b, s.p, s.n);
}

void
buf_put_str(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void
buf_put_u64(struct buf *b, uint64_t v)
{
	uint8_t text[NUM_TEXT_MAX];

	buf_put(b, text, num_put_u64(text, v));
}

void
buf_put_i64(struct buf *b, int64_t v)
{
	uint8_t text[NUM_TEXT_MAX];

	buf_put(b, text, num_put_i64(text, v));
}

void
buf_putf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_putv(b, fmt, ap);
	va_end(ap);
}

void
buf_putv(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	char text[256];
	uint8_t *to;
	int n;

	va_copy(again, ap);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	if (n < 0) {
		b->failed = true;
	} else if ((size_t)n < sizeof(text)) {
		buf_put(b, text, (size_t)n);
	} else {
		to = buf_room(b, (size_t)n + 1);
		if (to != NULL) {
			(void)vsnprintf((char *)to, (size_t)n + 1, fmt, again);
			b->end += (uint32_t)n;
		}
	}
	va_end(again);
}

void
buf_drop_end(struct buf *b, size_t n)
{
	REQUIRE(n <= buf_len(b));
	b->end -= (uint32_t)n;
}

void
buf_take(struct buf *b, size_t n)
{
	REQUIRE(n <= buf_len(b));
	b->off += (uint32_t)n;
	if (b->off < b->end)
		return;
	if (b->cap > BUF_KEEP)
		buf_release(b);
	else
		buf_clear(b);
}
