/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_copy.c: the binary format of PostgreSQL's COPY, as bytes.
 */
#include "wire/pg_copy.h"

#include "base/check.h"

#define SIGNATURE   SPAN("PGCOPY\n\377\r\n\0")
#define HEADER_SIZE 19

enum state {
	HEADER,    /* signature, flags, length of the extension */
	EXTENSION, /* left bytes of it                          */
	ROW,       /* the count of columns                      */
	LENGTH,    /* the length of the next value              */
	VALUE,     /* left bytes of it                          */
	END,
	DEAD,
};

void
pg_copy_init(struct pg_copy *c)
{
	*c = (struct pg_copy){ .state = HEADER };
}

bool
pg_copy_is_done(const struct pg_copy *c)
{
	return c->state == END;
}

/* Collect a head of n bytes. NULL: more is needed. */
static const uint8_t *
collect(struct pg_copy *c, struct span in, size_t n, size_t *used)
{
	size_t want = n - c->head_n;

	if (c->head_n == 0 && in.n >= n) {
		*used += n;
		return in.p;
	}
	want = in.n < want ? in.n : want;
	if (want > 0)
		memcpy(c->head + c->head_n, in.p, want);
	c->head_n = (uint8_t)(c->head_n + want);
	*used += want;
	if (c->head_n < n)
		return NULL;
	c->head_n = 0;
	return c->head;
}

static enum wire_rc
feed_header(struct pg_copy *c, struct span in, size_t *used)
{
	const uint8_t *p = collect(c, in, HEADER_SIZE, used);
	struct span sign = SIGNATURE;

	if (p == NULL)
		return WIRE_MORE;
	if (memcmp(p, sign.p, sign.n) != 0)
		return WIRE_BAD;
	c->flags = pg_get_u32(p + 11);
	c->left = pg_get_u32(p + 15);
	if ((c->flags & PG_COPY_CRITICAL) != 0 || c->left > INT32_MAX)
		return WIRE_BAD;
	if (c->left > PG_COPY_EXTENSION_MAX)
		return WIRE_BIG;
	c->state = EXTENSION;
	return WIRE_PART;
}

static enum wire_rc
feed_extension(struct pg_copy *c, struct span in, struct pg_copy_part *part,
               size_t *used)
{
	size_t n = in.n < c->left ? in.n : c->left;

	c->left -= (uint32_t)n;
	*used += n;
	if (c->left > 0)
		return WIRE_MORE;
	c->state = ROW;
	*part = (struct pg_copy_part){ .kind = PG_COPY_HEADER,
		                       .flags = c->flags };
	return WIRE_PART;
}

static enum wire_rc
feed_row(struct pg_copy *c, struct span in, struct pg_copy_part *part,
         size_t *used)
{
	const uint8_t *p = collect(c, in, 2, used);
	uint16_t n;

	if (p == NULL)
		return WIRE_MORE;
	n = pg_get_u16(p);
	if (n == UINT16_MAX) {
		c->state = END;
		*part = (struct pg_copy_part){ .kind = PG_COPY_END };
		return WIRE_PART;
	}
	if (n > INT16_MAX)
		return WIRE_BAD;
	c->columns = n;
	c->column = 0;
	c->state = n > 0 ? LENGTH : ROW;
	*part = (struct pg_copy_part){ .kind = PG_COPY_ROW, .columns = n };
	return WIRE_PART;
}

/* The value of a column has ended. */
static void
next_column(struct pg_copy *c)
{
	c->column++;
	c->state = c->column < c->columns ? LENGTH : ROW;
}

static void
fill(const struct pg_copy *c, enum pg_copy_kind kind, struct pg_copy_part *part)
{
	*part = (struct pg_copy_part){
		.kind = kind,
		.columns = c->columns,
		.column = c->column,
		.size = c->size,
		.left = c->left,
	};
}

static enum wire_rc
feed_value(struct pg_copy *c, struct span in, struct pg_copy_part *part,
           size_t *used)
{
	size_t n = in.n < c->left ? in.n : c->left;

	if (n == 0 && c->left > 0)
		return WIRE_MORE;
	c->left -= (uint32_t)n;
	*used += n;
	fill(c, PG_COPY_VALUE, part);
	part->bytes = span_of(in.p, n);
	if (c->left == 0)
		next_column(c);
	return WIRE_PART;
}

static enum wire_rc
feed_length(struct pg_copy *c, struct span in, struct pg_copy_part *part,
            size_t *used)
{
	const uint8_t *p = collect(c, in, 4, used);
	uint32_t n;

	if (p == NULL)
		return WIRE_MORE;
	n = pg_get_u32(p);
	if (n == UINT32_MAX) {
		c->size = 0;
		c->left = 0;
		fill(c, PG_COPY_NULL, part);
		next_column(c);
		return WIRE_PART;
	}
	if (n > PG_VALUE_MAX)
		return WIRE_BAD;
	c->size = n;
	c->left = n;
	c->state = VALUE;
	return feed_value(c, span_skip(in, *used), part, used);
}

enum wire_rc
pg_copy_feed(struct pg_copy *c, struct span in, struct pg_copy_part *part,
             size_t *ret_used)
{
	enum wire_rc rc = WIRE_BAD;

	*ret_used = 0;
	switch ((enum state)c->state) {
	case HEADER:
		rc = feed_header(c, in, ret_used);
		if (rc != WIRE_PART)
			break;
		in = span_skip(in, *ret_used);
		rc = feed_extension(c, in, part, ret_used);
		break;
	case EXTENSION: rc = feed_extension(c, in, part, ret_used); break;
	case ROW: rc = feed_row(c, in, part, ret_used); break;
	case LENGTH: rc = feed_length(c, in, part, ret_used); break;
	case VALUE: rc = feed_value(c, in, part, ret_used); break;
	case END: rc = in.n == 0 ? WIRE_MORE : WIRE_BAD; break;
	case DEAD: break;
	}
	if (rc < 0)
		c->state = DEAD;
	return rc;
}

void
pg_put_copy_header(struct buf *b)
{
	buf_put_span(b, SIGNATURE);
	pg_put_u32(b, 0);
	pg_put_u32(b, 0);
}

void
pg_put_copy_row(struct buf *b, uint16_t columns)
{
	REQUIRE(columns <= INT16_MAX);
	pg_put_u16(b, columns);
}

void
pg_put_copy_end(struct buf *b)
{
	pg_put_u16(b, UINT16_MAX);
}
