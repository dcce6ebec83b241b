/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_bytes.c: numbers, texts and bytes of PostgreSQL's messages.
 */
#include "wire/pg_bytes.h"

struct span
pg_take_text(struct pg_take *t)
{
	struct span s = { NULL, 0 };
	const uint8_t *end = NULL;

	if (t->rest.n > 0)
		end = memchr(t->rest.p, 0, t->rest.n);
	if (end == NULL) {
		t->bad = true;
		t->rest.n = 0;
		return s;
	}
	s = span_of(t->rest.p, (size_t)(end - t->rest.p));
	t->rest = span_skip(t->rest, s.n + 1);
	return s;
}

void
pg_put_text(struct buf *b, struct span s)
{
	if (s.n > 0 && memchr(s.p, 0, s.n) != NULL)
		b->failed = true;
	buf_put_span(b, s);
	pg_put_u8(b, 0);
}

size_t
pg_put_begin(struct buf *b, uint8_t type)
{
	pg_put_head(b, type, 0);
	return buf_len(b);
}

void
pg_put_end(struct buf *b, size_t begun)
{
	size_t n = buf_len(b) - begun + 4;

	if (buf_failed(b))
		return;
	if (n > UINT32_MAX)
		b->failed = true;
	else
		pg_set_u32(b->p + b->off + begun - 4, (uint32_t)n);
}
