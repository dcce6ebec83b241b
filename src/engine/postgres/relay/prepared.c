/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/prepared.c: statements that go with a session.
 *
 * What the server says is right. A Parse that it refused, or a Close that it passed
 * over behind an error, has changed nothing there; and the text that it tells of an
 * SQL PREPARE is all that came with it in one message, of which only the PREPARE may
 * be said again.
 */
#include "engine/postgres/relay/inside.h"
#include "wire/pg_split.h"

/* Bytes of space and comments in front. */
static size_t
blank(struct span s)
{
	size_t n = 0;

	while (n < s.n) {
		if (s.p[n] <= ' ')
			n++;
		else if (s.n - n > 1 && s.p[n] == '-' && s.p[n + 1] == '-')
			while (n < s.n && s.p[n] != '\n')
				n++;
		else
			break;
	}
	return n;
}

/* Is it `PREPARE name ...`? Names as the server keeps them. */
static bool
prepares(const struct pg_statement *st, struct span name)
{
	struct span s;
	uint8_t c;

	if (!span_is_word(st->word, SPAN("prepare")))
		return false;
	s = span_skip(st->text, st->word.n);
	s = span_skip(s, blank(s));
	if (s.n > name.n + 1 && s.p[0] == '"')
		return memcmp(s.p + 1, name.p, name.n) == 0 &&
		       s.p[name.n + 1] == '"';
	if (s.n <= name.n || !span_is_word(span_of(s.p, name.n), name))
		return false;
	c = s.p[name.n];
	return c <= ' ' || c == '(' || c == '-' || c == '/';
}

bool
pg_prepared_find(struct span text, struct span name, struct span *ret)
{
	struct pg_statement st;
	struct pg_split split;
	uint32_t n = 0;

	if (name.n == 0)
		return false;
	pg_split_init(&split, text, true);
	while (pg_split_next(&split, &st)) {
		if (!prepares(&st, name))
			continue;
		*ret = st.text;
		n++;
	}
	return n == 1;
}

/* "{23,25}" as the types of a Parse. */
static struct span
take_types(struct span s, struct buf *ret)
{
	uint32_t v = 0;
	bool any = false;

	while (s.n > 0) {
		uint8_t c = s.p[0];

		s = span_skip(s, 1);
		if (c >= '0' && c <= '9') {
			v = v * 10 + (uint32_t)(c - '0');
			any = true;
			continue;
		}
		if (any)
			pg_put_u32(ret, v);
		v = 0;
		any = false;
		if (c == '}')
			break;
	}
	return s;
}

bool
pg_prepared_is(const struct buf *raw, struct span told)
{
	struct pg_parse p;
	size_t at = 0;

	while (at < told.n && told.p[at] != '}')
		at++;
	told = span_skip(told, at < told.n ? at + 1 : at);
	return pg_read_parse(span_skip(buf_span(raw), 5), &p) &&
	       span_eq(p.text, told);
}

void
pg_prepared_put(struct buf *ret, struct span name, struct span told)
{
	struct pg_parse p = { .name = name };
	struct buf types;

	buf_init(&types, ret->mem);
	p.text = take_types(told, &types);
	p.types = (struct pg_numbers){ .width = 4,
		                       .n = (uint16_t)(buf_len(&types) / 4),
		                       .items = buf_span(&types) };
	pg_put_parse(ret, &p);
	ret->failed = ret->failed || buf_failed(&types);
	buf_fini(&types);
}
