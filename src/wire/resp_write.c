/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/resp_write.c: values, appended to a buf.
 */
#include <stdarg.h>

#include "base/num.h"
#include "wire/resp.h"
#include "wire/resp_number.h"

#define HEAD_MAX (1 + NUM_TEXT_MAX + 2)

/* The type, a number and CR LF; answers how many bytes. */
static size_t
head(uint8_t *to, uint8_t type, size_t v)
{
	size_t n;

	to[0] = type;
	n = 1 + num_put_u64(to + 1, v);
	resp_put_crlf(to + n);
	return n + 2;
}

void
resp_put_head(struct buf *b, char type, size_t n)
{
	uint8_t *to = buf_room(b, HEAD_MAX);

	if (to != NULL)
		buf_grew(b, head(to, (uint8_t)type, n));
}

void
resp_put_array(struct buf *b, size_t n)
{
	resp_put_head(b, '*', n);
}

void
resp_put_bulk(struct buf *b, struct span s)
{
	uint8_t *to = buf_room(b, HEAD_MAX + s.n + 2);
	size_t n;

	if (to == NULL)
		return;
	n = head(to, '$', s.n);
	if (s.n > 0)
		memcpy(to + n, s.p, s.n);
	resp_put_crlf(to + n + s.n);
	buf_grew(b, n + s.n + 2);
}

void
resp_put_bulk_str(struct buf *b, const char *s)
{
	resp_put_bulk(b, span_str(s));
}

void
resp_put_bulk_u64(struct buf *b, uint64_t v)
{
	uint8_t text[NUM_TEXT_MAX];

	resp_put_bulk(b, span_of(text, num_put_u64(text, v)));
}

void
resp_put_bulk_i64(struct buf *b, int64_t v)
{
	uint8_t text[NUM_TEXT_MAX];

	resp_put_bulk(b, span_of(text, num_put_i64(text, v)));
}

void
resp_put_verbatim(struct buf *b, struct span s)
{
	resp_put_head(b, '=', s.n + 4);
	buf_put(b, "txt:", 4);
	buf_put_span(b, s);
	buf_put(b, "\r\n", 2);
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
	buf_put(b, ":", 1);
	buf_put_i64(b, v);
	buf_put(b, "\r\n", 2);
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
