/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/resp_write.c: RESP2 values, appended to a buf.
 */
#include <stdarg.h>

#include "wire/resp.h"

/* type, decimal and CR LF into at most 23 bytes; answers how many. */
static size_t
head(uint8_t *to, uint8_t type, bool negative, uint64_t v)
{
	uint8_t text[20];
	size_t at = sizeof(text);
	size_t n = 0;

	do {
		text[--at] = (uint8_t)('0' + v % 10);
		v /= 10;
	} while (v != 0);
	to[n++] = type;
	if (negative)
		to[n++] = '-';
	memcpy(to + n, text + at, sizeof(text) - at);
	n += sizeof(text) - at;
	memcpy(to + n, "\r\n", 2);
	return n + 2;
}

#define HEAD_MAX 24

static void
put_head(struct buf *b, uint8_t type, bool negative, uint64_t v)
{
	uint8_t *to = buf_room(b, HEAD_MAX);

	if (to != NULL)
		buf_grew(b, head(to, type, negative, v));
}

void
resp_put_array(struct buf *b, size_t n)
{
	put_head(b, '*', false, n);
}

void
resp_put_bulk(struct buf *b, struct span s)
{
	uint8_t *to = buf_room(b, HEAD_MAX + s.n + 2);
	size_t n;

	if (to == NULL)
		return;
	n = head(to, '$', false, s.n);
	if (s.n > 0)
		memcpy(to + n, s.p, s.n);
	memcpy(to + n + s.n, "\r\n", 2);
	buf_grew(b, n + s.n + 2);
}

void
resp_put_bulk_str(struct buf *b, const char *s)
{
	resp_put_bulk(b, span_str(s));
}

static void
put_bulk_number(struct buf *b, bool negative, uint64_t v)
{
	uint8_t text[HEAD_MAX];
	size_t n = head(text, ' ', negative, v);

	resp_put_bulk(b, span_of(text + 1, n - 3));
}

void
resp_put_bulk_u64(struct buf *b, uint64_t v)
{
	put_bulk_number(b, false, v);
}

static uint64_t
magnitude(int64_t v)
{
	return v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
}

void
resp_put_bulk_i64(struct buf *b, int64_t v)
{
	put_bulk_number(b, v < 0, magnitude(v));
}

void
resp_put_nil(struct buf *b)
{
	buf_put(b, "$-1\r\n", 5);
}

void
resp_put_nil_array(struct buf *b)
{
	buf_put(b, "*-1\r\n", 5);
}

void
resp_put_int(struct buf *b, int64_t v)
{
	put_head(b, ':', v < 0, magnitude(v));
}

void
resp_put_status(struct buf *b, const char *s)
{
	buf_put(b, "+", 1);
	buf_put_str(b, s);
	buf_put(b, "\r\n", 2);
}

void
resp_put_errorf(struct buf *b, const char *fmt, ...)
{
	size_t from = buf_len(b) + 1;
	va_list ap;

	buf_put(b, "-", 1);
	va_start(ap, fmt);
	buf_putv(b, fmt, ap);
	va_end(ap);
	if (buf_failed(b))
		return;
	for (size_t i = from; i < buf_len(b); i++) {
		uint8_t *c = b->p + b->off + i;

		if (*c == '\r' || *c == '\n')
			*c = ' ';
	}
	buf_put(b, "\r\n", 2);
}

void
resp_put_cmd(struct buf *b, ...)
{
	va_list ap;
	size_t n = 0;

	va_start(ap, b);
	while (va_arg(ap, const char *) != NULL)
		n++;
	va_end(ap);
	resp_put_array(b, n);
	va_start(ap, b);
	while (n-- > 0)
		resp_put_bulk_str(b, va_arg(ap, const char *));
	va_end(ap);
}
