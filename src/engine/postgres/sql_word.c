/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_word.c: SQL text as words.
 */
#include "engine/postgres/sql_word.h"

#include "engine/postgres/sql_text.h"

void
sql_words_init(struct sql_words *s, struct span text)
{
	*s = (struct sql_words){ .text = text };
}

static uint8_t
byte_at(const struct sql_words *s, size_t ahead)
{
	return s->text.n - s->at > ahead ? s->text.p[s->at + ahead] : 0;
}

static bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool
begins_name(uint8_t c)
{
	return ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || c >= 0x80;
}

static bool
is_of_name(uint8_t c)
{
	return begins_name(c) || is_digit(c) || c == '$';
}

static bool
is_blank(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void
skip_blank(struct sql_words *s)
{
	while (s->at < s->text.n) {
		size_t end = is_blank(byte_at(s, 0))
		                     ? s->at + 1
		                     : sql_comment_end(s->text, s->at);

		if (end == s->at)
			return;
		s->at = end < s->text.n ? end : s->text.n;
	}
}

/* Up to the quote that ends it; two of them are one of its own. */
static void
take_string(struct sql_words *s, struct sql_word *ret, bool escapes)
{
	size_t from = ++s->at;

	ret->kind = SQL_WORD_STRING;
	while (s->at < s->text.n) {
		uint8_t c = byte_at(s, 0);

		if (c == '\'' && byte_at(s, 1) != '\'')
			break;
		s->at += c == '\'' || (c == '\\' && escapes) ? 2 : 1;
	}
	if (s->at > s->text.n)
		s->at = s->text.n;
	ret->inside = span_of(s->text.p + from, s->at - from);
	s->at += s->at < s->text.n;
}

static void
put(struct sql_word *ret, uint8_t c)
{
	if (ret->n < SQL_WORD_MAX)
		ret->name[ret->n++] = (char)c;
}

static void
take_quoted(struct sql_words *s, struct sql_word *ret)
{
	ret->kind = SQL_WORD_NAME;
	ret->is_quoted = true;
	s->at++;
	while (s->at < s->text.n) {
		uint8_t c = byte_at(s, 0);

		s->at++;
		if (c == '"' && byte_at(s, 0) != '"')
			return;
		s->at += c == '"';
		put(ret, c);
	}
}

static void
take_name(struct sql_words *s, struct sql_word *ret)
{
	ret->kind = SQL_WORD_NAME;
	while (s->at < s->text.n && is_of_name(byte_at(s, 0))) {
		uint8_t c = byte_at(s, 0);

		put(ret, c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c);
		s->at++;
	}
	if (ret->n != 1 || s->at == s->text.n)
		return;
	/* E'', B'', X'', N'', U&'', U&"" */
	if (byte_at(s, 0) == '\'' && strchr("ebxn", ret->name[0]) != NULL) {
		bool escapes = ret->name[0] == 'e';

		ret->n = 0;
		take_string(s, ret, escapes);
	} else if (ret->name[0] == 'u' && byte_at(s, 0) == '&' &&
	           (byte_at(s, 1) == '\'' || byte_at(s, 1) == '"')) {
		ret->n = 0;
		s->at++;
		if (byte_at(s, 0) == '"')
			take_quoted(s, ret);
		else
			take_string(s, ret, false);
	}
}

/* $1, or $tag$ .. $tag$. */
static void
take_dollar(struct sql_words *s, struct sql_word *ret)
{
	size_t n = 1;
	struct span tag;

	if (begins_name(byte_at(s, 1))) {
		while (is_of_name(byte_at(s, n)) && byte_at(s, n) != '$')
			n++;
	}
	if (byte_at(s, n) != '$') {
		s->at++;
		while (is_digit(byte_at(s, 0)))
			s->at++;
		return;
	}
	tag = span_of(s->text.p + s->at, n + 1);
	s->at += tag.n;
	ret->kind = SQL_WORD_STRING;
	ret->inside = span_of(s->text.p + s->at, 0);
	while (s->text.n - s->at >= tag.n &&
	       !span_eq(span_of(s->text.p + s->at, tag.n), tag))
		s->at++;
	if (s->text.n - s->at < tag.n)
		s->at = s->text.n;
	ret->inside.n = (size_t)(s->text.p + s->at - ret->inside.p);
	s->at += s->at < s->text.n ? tag.n : 0;
}

/* 12, 1.5, .5, 1e-3, 0x1f, 1_000 */
static void
take_number(struct sql_words *s)
{
	while (is_of_name(byte_at(s, 0)) || byte_at(s, 0) == '.') {
		uint8_t c = byte_at(s, 0);

		s->at++;
		if ((c | 32) == 'e' &&
		    (byte_at(s, 0) == '-' || byte_at(s, 0) == '+'))
			s->at++;
	}
}

static enum sql_word_kind
mark_kind(uint8_t c)
{
	switch (c) {
	case '(': return SQL_WORD_OPEN;
	case ')': return SQL_WORD_CLOSE;
	case ',': return SQL_WORD_COMMA;
	case '.': return SQL_WORD_DOT;
	case ';': return SQL_WORD_SEMICOLON;
	default: return SQL_WORD_OTHER;
	}
}

static void
take(struct sql_words *s, struct sql_word *ret)
{
	uint8_t c = byte_at(s, 0);

	ret->kind = SQL_WORD_OTHER;
	if (c == '\'') {
		take_string(s, ret, false);
	} else if (c == '"') {
		take_quoted(s, ret);
	} else if (c == '$') {
		take_dollar(s, ret);
	} else if (begins_name(c)) {
		take_name(s, ret);
	} else if (is_digit(c) || (c == '.' && is_digit(byte_at(s, 1)))) {
		take_number(s);
	} else if (c == ':' && byte_at(s, 1) == ':') {
		s->at += 2;
		ret->kind = SQL_WORD_CAST;
	} else {
		s->at++;
		ret->kind = mark_kind(c);
	}
}

void
sql_words_next(struct sql_words *s, struct sql_word *ret)
{
	ret->kind = SQL_WORD_END;
	ret->is_quoted = false;
	ret->inside = span_of(s->text.p, 0);
	ret->n = 0;
	skip_blank(s);
	if (s->at < s->text.n)
		take(s, ret);
	ret->name[ret->n] = '\0';
}

bool
sql_word_is(const struct sql_word *w, const char *list)
{
	return w->kind == SQL_WORD_NAME && !w->is_quoted &&
	       sql_is_listed(span_of(w->name, w->n), list);
}
