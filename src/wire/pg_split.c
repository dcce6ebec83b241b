/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_split.c: the statements of a simple query, without understanding them.
 */
#include "wire/pg_split.h"

#include "base/check.h"

enum token {
	TOKEN_END,
	TOKEN_SPACE,
	TOKEN_COMMENT,
	TOKEN_SEMICOLON,
	TOKEN_OPEN,
	TOKEN_CLOSE,
	TOKEN_WORD,
	TOKEN_OTHER, /* strings, quoted names, numbers, operators */
};

/* Where we are in one text. */
struct lex {
	const uint8_t *p;
	size_t n;
	size_t at;
	bool standard_strings;
	bool is_open; /* the last token does not end */
};

/* How far a statement is on its way to CREATE [OR REPLACE] FUNCTION. */
enum create {
	CREATE_NO,
	CREATE_FIRST, /* nothing yet        */
	CREATE_SEEN,  /* CREATE             */
	CREATE_OR,    /* CREATE OR          */
	CREATE_THIS,  /* CREATE OR REPLACE  */
	CREATE_BODY,  /* a function or procedure: BEGIN opens a body */
};

/* The byte at that offset; 0: behind the end. */
static uint8_t
peek(const struct lex *l, size_t at)
{
	return at < l->n ? l->p[at] : 0;
}

static bool
is_space(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
is_newline(uint8_t c)
{
	return c == '\n' || c == '\r';
}

static bool
is_word_start(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       c >= 0x80;
}

static bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static size_t
line_end(const struct lex *l, size_t at)
{
	while (at < l->n && !is_newline(l->p[at]))
		at++;
	return at;
}

static void
skip_block(struct lex *l)
{
	size_t depth = 0;

	while (l->at < l->n) {
		uint8_t c = l->p[l->at];
		uint8_t next = peek(l, l->at + 1);

		if (c == '/' && next == '*') {
			depth++;
			l->at += 2;
		} else if (c == '*' && next == '/') {
			l->at += 2;
			if (--depth == 0)
				return;
		} else {
			l->at++;
		}
	}
	l->is_open = true;
}

/* Behind a closed string: spaces with a new line among them (and comments to the
 * end of a line), then a quote go on with it. */
static bool
goes_on(struct lex *l)
{
	bool new_line = false;
	size_t at = l->at;

	for (;;) {
		uint8_t c = peek(l, at);

		if (at < l->n && is_space(c)) {
			new_line = new_line || is_newline(c);
			at++;
		} else if (c == '-' && peek(l, at + 1) == '-') {
			at = line_end(l, at);
		} else {
			break;
		}
	}
	if (!new_line || peek(l, at) != '\'')
		return false;
	l->at = at + 1;
	return true;
}

enum escape {
	ESCAPE_NONE,   /* the first quote ends it: B'', X'' */
	ESCAPE_DOUBLE, /* two quotes are one                */
	ESCAPE_BACK,   /* a backslash as well               */
};

/* Behind the first quote; to behind the last one. */
static void
skip_string(struct lex *l, enum escape escape)
{
	while (l->at < l->n) {
		uint8_t c = l->p[l->at++];

		if (c == '\\' && escape == ESCAPE_BACK) {
			if (l->at < l->n)
				l->at++;
		} else if (c == '\'') {
			if (escape != ESCAPE_NONE && peek(l, l->at) == '\'')
				l->at++;
			else if (!goes_on(l))
				return;
		}
	}
	l->is_open = true;
}

/* Behind the first quote. */
static void
skip_name(struct lex *l)
{
	while (l->at < l->n) {
		if (l->p[l->at++] != '"')
			continue;
		if (peek(l, l->at) != '"')
			return;
		l->at++;
	}
	l->is_open = true;
}

/* At a dollar sign. False: it begins no quote. */
static bool
skip_dollars(struct lex *l)
{
	size_t end = l->at + 1;
	size_t n;

	if (is_word_start(peek(l, end))) {
		while (is_word_start(peek(l, end)) || is_digit(peek(l, end)))
			end++;
	}
	if (peek(l, end) != '$')
		return false;
	n = end + 1 - l->at;
	for (size_t at = end + 1; at + n <= l->n; at++) {
		const uint8_t *p = memchr(l->p + at, '$', l->n - at);

		if (p == NULL)
			break;
		at = (size_t)(p - l->p);
		if (at + n <= l->n && memcmp(p, l->p + l->at, n) == 0) {
			l->at = at + n;
			return true;
		}
	}
	l->at = l->n;
	l->is_open = true;
	return true;
}

/* A word; or, when it is the letter before a quote, the string. */
static enum token
skip_word(struct lex *l)
{
	size_t from = l->at;
	uint8_t letter = (uint8_t)(l->p[from] | 0x20);
	uint8_t next;

	while (is_word_start(peek(l, l->at)) || is_digit(peek(l, l->at)) ||
	       peek(l, l->at) == '$')
		l->at++;
	next = peek(l, l->at);
	if (l->at - from != 1)
		return TOKEN_WORD;
	if (letter == 'u' && next == '&') {
		next = peek(l, l->at + 1);
		if (next == '\'' || next == '"')
			l->at += 2;
		if (next == '\'')
			skip_string(l, ESCAPE_DOUBLE);
		else if (next == '"')
			skip_name(l);
		else
			return TOKEN_WORD;
		return TOKEN_OTHER;
	}
	if (next != '\'' || (letter != 'e' && letter != 'b' && letter != 'x'))
		return TOKEN_WORD;
	l->at++;
	skip_string(l, letter == 'e' ? ESCAPE_BACK : ESCAPE_NONE);
	return TOKEN_OTHER;
}

static enum token
next_token(struct lex *l)
{
	uint8_t c = peek(l, l->at);
	uint8_t next = peek(l, l->at + 1);

	if (l->at == l->n)
		return TOKEN_END;
	if (is_space(c)) {
		while (l->at < l->n && is_space(l->p[l->at]))
			l->at++;
		return TOKEN_SPACE;
	}
	if (c == '-' && next == '-') {
		l->at = line_end(l, l->at);
		return TOKEN_COMMENT;
	}
	if (c == '/' && next == '*') {
		skip_block(l);
		return TOKEN_COMMENT;
	}
	if (is_word_start(c))
		return skip_word(l);
	if (c == '$' && skip_dollars(l))
		return TOKEN_OTHER;
	l->at++;
	switch (c) {
	case ';': return TOKEN_SEMICOLON;
	case '(': return TOKEN_OPEN;
	case ')': return TOKEN_CLOSE;
	case '"': skip_name(l); break;
	case '\'':
		skip_string(l,
		            l->standard_strings ? ESCAPE_DOUBLE : ESCAPE_BACK);
		break;
	default: break;
	}
	return TOKEN_OTHER;
}

/* A comment without its marks and the spaces inside them. */
static struct span
inside(struct span s)
{
	bool is_block = s.p[0] == '/';

	s = span_skip(s, 2);
	if (is_block && s.n >= 2 && s.p[s.n - 1] == '/' && s.p[s.n - 2] == '*')
		s.n -= 2;
	while (s.n > 0 && is_space(s.p[0]))
		s = span_skip(s, 1);
	while (s.n > 0 && is_space(s.p[s.n - 1]))
		s.n--;
	return s;
}

static enum create
step_create(enum create now, struct span word)
{
	bool is_routine = span_is_word(word, SPAN("function")) ||
	                  span_is_word(word, SPAN("procedure"));

	switch (now) {
	case CREATE_FIRST:
		return span_is_word(word, SPAN("create")) ? CREATE_SEEN
		                                          : CREATE_NO;
	case CREATE_SEEN:
		if (span_is_word(word, SPAN("or")))
			return CREATE_OR;
		return is_routine ? CREATE_BODY : CREATE_NO;
	case CREATE_OR:
		return span_is_word(word, SPAN("replace")) ? CREATE_THIS
		                                           : CREATE_NO;
	case CREATE_THIS: return is_routine ? CREATE_BODY : CREATE_NO;
	case CREATE_NO:
	case CREATE_BODY: break;
	}
	return now;
}

/* Nesting inside one statement: a semicolon ends it at 0 and 0 only. */
struct depth {
	enum create create;
	size_t brackets;
	size_t bodies;
};

static void
step_word(struct depth *d, struct span word)
{
	if (d->create != CREATE_BODY) {
		d->create = step_create(d->create, word);
		return;
	}
	if (d->brackets > 0)
		return;
	if (span_is_word(word, SPAN("begin")) ||
	    (d->bodies > 0 && span_is_word(word, SPAN("case"))))
		d->bodies++;
	else if (d->bodies > 0 && span_is_word(word, SPAN("end")))
		d->bodies--;
}

static void
step_depth(struct depth *d, enum token token, struct span text)
{
	if (token == TOKEN_WORD)
		step_word(d, text);
	else if (d->create == CREATE_FIRST)
		d->create = CREATE_NO;
	if (token == TOKEN_OPEN)
		d->brackets++;
	else if (token == TOKEN_CLOSE && d->brackets > 0)
		d->brackets--;
}

void
pg_split_init(struct pg_split *s, struct span text, bool standard_strings)
{
	*s = (struct pg_split){ .text = text,
		                .standard_strings = standard_strings };
}

bool
pg_split_next(struct pg_split *s, struct pg_statement *ret)
{
	struct lex l = { .p = s->text.p,
		         .n = s->text.n,
		         .at = s->at,
		         .standard_strings = s->standard_strings };
	struct depth d = { .create = CREATE_FIRST };

	*ret = (struct pg_statement){ .is_open = false };
	for (;;) {
		size_t from = l.at;
		enum token token = next_token(&l);
		struct span text = span_of(l.p, 0);

		if (token != TOKEN_END)
			text = span_of(l.p + from, l.at - from);
		if (token == TOKEN_END ||
		    (token == TOKEN_SEMICOLON && d.brackets == 0 &&
		     d.bodies == 0 && ret->text.n > 0))
			break;
		if (token == TOKEN_SPACE ||
		    (token == TOKEN_SEMICOLON && ret->text.n == 0))
			continue;
		if (token == TOKEN_COMMENT) {
			if (ret->text.n == 0 && ret->comment.p == NULL)
				ret->comment = inside(text);
			continue;
		}
		if (ret->text.n == 0) {
			ret->text = text;
			if (token == TOKEN_WORD)
				ret->word = text;
		}
		ret->text.n = (size_t)(text.p + text.n - ret->text.p);
		step_depth(&d, token, text);
	}
	s->at = l.at;
	ret->is_open = l.is_open || d.brackets > 0 || d.bodies > 0;
	ENSURE(s->at <= s->text.n);
	return ret->text.n > 0;
}

bool
pg_split_next_of_script(struct pg_split *p, struct pg_statement *ret)
{
	const struct span t = p->text;

	while (p->at < t.n &&
	       (t.p[p->at] <= ' ' || t.p[p->at] == '\\' ||
	        span_has_prefix(span_skip(t, p->at), SPAN("--")))) {
		if (t.p[p->at] > ' ') {
			while (p->at < t.n && t.p[p->at] != '\n')
				p->at++;
		} else {
			p->at++;
		}
	}
	return pg_split_next(p, ret);
}

struct span
pg_comment_of(struct span text)
{
	struct lex l = { .p = text.p, .n = text.n };

	for (;;) {
		size_t from = l.at;
		enum token token = next_token(&l);

		if (token == TOKEN_COMMENT)
			return inside(span_of(l.p + from, l.at - from));
		if (token != TOKEN_SPACE)
			return span_of(NULL, 0);
	}
}
