/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/custom.c: settings that applications make up ("app.user").
 *
 * A server lists them nowhere, but answers for a name. So names are collected from
 * what passes: `SET a.b`, set_config('a.b', ..), and, where set_config() gets its name
 * as a parameter, from values that look like one. A name too many costs nothing.
 */
#include "engine/postgres/relay/inside.h"
#include "wire/pg_text.h"

#define NAME_MAX 63

static bool
is_letter(uint8_t c)
{
	return (c | 32) >= 'a' && (c | 32) <= 'z';
}

static bool
is_part(uint8_t c)
{
	return is_letter(c) || c == '_' || c == '$' || c >= 0x80 ||
	       (c >= '0' && c <= '9');
}

/* The bytes of a name with a dot in it at the front; n 0: there is none. */
static struct span
take_name(struct span s)
{
	size_t n = 0;
	bool dotted = false;

	while (n < s.n && (is_part(s.p[n]) || s.p[n] == '.')) {
		dotted = dotted || s.p[n] == '.';
		n++;
	}
	return span_of(s.p, dotted && n <= NAME_MAX ? n : 0);
}

static void
note(struct pg_session *s, struct span name)
{
	if (name.n == 0)
		return;
	/* Without memory, or with too many of them, it cannot move. */
	if (map_count(&s->custom) >= PG_RELAY_CUSTOM_MAX ||
	    map_put(&s->custom, name, NULL) == NULL)
		s->is_lossy = true;
}

static struct span
skip_space(struct span s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] <= ' ')
		n++;
	return span_skip(s, n);
}

/* A word at the front, whatever its case; true: *s is behind it. */
static bool
take_word(struct span *s, struct span word)
{
	if (s->n < word.n || !span_is_word(span_of(s->p, word.n), word) ||
	    (s->n > word.n && is_part(s->p[word.n])))
		return false;
	*s = skip_space(span_skip(*s, word.n));
	return true;
}

static void
look(struct pg_session *s, struct span rest)
{
	if (take_word(&rest, SPAN("set"))) {
		if (!take_word(&rest, SPAN("session")))
			(void)take_word(&rest, SPAN("local"));
		note(s, take_name(rest));
		return;
	}
	if (!take_word(&rest, SPAN("set_config")) || rest.n == 0 ||
	    rest.p[0] != '(')
		return;
	rest = skip_space(span_skip(rest, 1));
	if (rest.n > 0 && rest.p[0] == '\'')
		note(s, take_name(span_skip(rest, 1)));
	else
		s->names_by_value = true;
}

void
pg_custom_scan(struct pg_session *s, struct span text)
{
	for (size_t i = 0; i + 4 < text.n; i++) {
		if ((text.p[i] | 32) == 's' &&
		    (i == 0 || !is_part(text.p[i - 1])) &&
		    (text.p[i + 1] | 32) == 'e')
			look(s, span_skip(text, i));
	}
}

void
pg_custom_bind(struct pg_session *s, struct span body)
{
	struct pg_bind b;
	struct pg_value v;
	struct span rest;

	if (!pg_read_bind(body, &b))
		return;
	rest = b.values.items;
	while (pg_value_next(&rest, &v)) {
		if (!v.is_null && take_name(v.bytes).n == v.bytes.n)
			note(s, v.bytes);
	}
}

static void
put_name(struct span name, struct buf *sql)
{
	buf_put_str(sql, " UNION ALL SELECT 's', ");
	pg_put_literal(sql, name);
	buf_put_str(sql, ", pg_catalog.current_setting(");
	pg_put_literal(sql, name);
	buf_put_str(sql, ", true) WHERE pg_catalog.current_setting(");
	pg_put_literal(sql, name);
	buf_put_str(sql, ", true) IS NOT NULL");
}

void
pg_custom_put(struct pg_session *s, struct buf *sql)
{
	map_each(e, &s->custom)
		put_name(map_key(&s->custom, e), sql);
	if (s->turn.place == NULL)
		return;
	/* Those that stand in functions. */
	map_each(e, &s->turn.place->custom) {
		struct span name = map_key(&s->turn.place->custom, e);

		if (map_find(&s->custom, name) == NULL)
			put_name(name, sql);
	}
}
