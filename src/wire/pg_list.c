/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_list.c: the lists inside PostgreSQL's messages.
 */
#include "wire/pg_list.h"

#include "base/check.h"

struct pg_numbers
pg_take_numbers(struct pg_take *t, uint8_t width)
{
	struct pg_numbers list = { .n = pg_take_u16(t), .width = width };

	list.items = pg_take_bytes(t, (size_t)list.n * width);
	if (t->bad)
		list.n = 0;
	return list;
}

void
pg_put_numbers(struct buf *b, struct pg_numbers list)
{
	REQUIRE(list.items.n == (size_t)list.n * list.width);
	pg_put_u16(b, list.n);
	buf_put_span(b, list.items);
}

uint32_t
pg_number_at(struct pg_numbers list, size_t i)
{
	const uint8_t *p;

	REQUIRE(i < list.n);
	p = list.items.p + i * list.width;
	return list.width == 2 ? pg_get_u16(p) : pg_get_u32(p);
}

uint32_t
pg_format_of(struct pg_numbers formats, size_t i)
{
	if (formats.n == 0)
		return 0;
	if (formats.n == 1)
		return pg_number_at(formats, 0);
	return i < formats.n ? pg_number_at(formats, i) : 0;
}

/* One value: its length is -1 (NULL) or that of its bytes. */
static struct pg_value
take_value(struct pg_take *t)
{
	int32_t n = pg_take_i32(t);
	struct pg_value v = { .is_null = n == -1 };

	if (n < -1)
		t->bad = true;
	else if (n > 0)
		v.bytes = pg_take_bytes(t, (size_t)n);
	else
		v.bytes = span_of(t->rest.p, 0);
	return v;
}

struct pg_values
pg_take_values(struct pg_take *t)
{
	struct pg_values list = { .n = pg_take_u16(t) };
	struct span all = t->rest;

	for (size_t i = 0; i < list.n && !t->bad; i++)
		(void)take_value(t);
	if (t->bad)
		return (struct pg_values){ .n = 0 };
	list.items = span_of(all.p, all.n - t->rest.n);
	return list;
}

void
pg_put_values(struct buf *b, struct pg_values list)
{
	pg_put_u16(b, list.n);
	buf_put_span(b, list.items);
}

bool
pg_value_next(struct span *rest, struct pg_value *ret)
{
	struct pg_take t = pg_take_from(*rest);

	if (rest->n == 0)
		return false;
	*ret = take_value(&t);
	REQUIRE(!t.bad);
	*rest = t.rest;
	return true;
}

void
pg_put_value(struct buf *b, struct span bytes)
{
	if (bytes.n > PG_VALUE_MAX) {
		b->failed = true;
		return;
	}
	pg_put_u32(b, (uint32_t)bytes.n);
	buf_put_span(b, bytes);
}

void
pg_put_null(struct buf *b)
{
	pg_put_u32(b, UINT32_MAX);
}

struct span
pg_take_pairs(struct pg_take *t)
{
	struct span all = t->rest;

	while (!t->bad) {
		if (pg_take_text(t).n == 0)
			break;
		(void)pg_take_text(t);
	}
	return t->bad ? span_of(NULL, 0)
	              : span_of(all.p, all.n - t->rest.n - 1);
}

bool
pg_pair_next(struct span *rest, struct pg_pair *ret)
{
	struct pg_take t = pg_take_from(*rest);

	if (rest->n == 0)
		return false;
	ret->name = pg_take_text(&t);
	ret->value = pg_take_text(&t);
	REQUIRE(!t.bad);
	*rest = t.rest;
	return true;
}

struct span
pg_pair_find(struct span pairs, struct span name)
{
	struct span found = { NULL, 0 };
	struct pg_pair pair;

	while (pg_pair_next(&pairs, &pair)) {
		if (span_eq(pair.name, name))
			found = pair.value;
	}
	return found;
}

struct span
pg_take_texts(struct pg_take *t)
{
	struct span all = t->rest;

	while (!t->bad && pg_take_text(t).n > 0)
		continue;
	return t->bad ? span_of(NULL, 0)
	              : span_of(all.p, all.n - t->rest.n - 1);
}

struct span
pg_take_n_texts(struct pg_take *t, size_t n)
{
	struct span all = t->rest;

	for (size_t i = 0; i < n && !t->bad; i++)
		(void)pg_take_text(t);
	return t->bad ? span_of(NULL, 0) : span_of(all.p, all.n - t->rest.n);
}

bool
pg_text_next(struct span *rest, struct span *ret)
{
	struct pg_take t = pg_take_from(*rest);

	if (rest->n == 0)
		return false;
	*ret = pg_take_text(&t);
	REQUIRE(!t.bad);
	*rest = t.rest;
	return true;
}

bool
pg_text_come(struct span *rest, struct span *ret)
{
	const uint8_t *end = rest->n > 0 ? memchr(rest->p, 0, rest->n) : NULL;

	if (end == NULL)
		return false;
	*ret = span_of(rest->p, (size_t)(end - rest->p));
	*rest = span_skip(*rest, ret->n + 1);
	return true;
}
