/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_scan.c: SQL text as tokens.
 */
#include "engine/postgres/sql_scan.h"

#include "base/utf8.h"
#include "engine/postgres/sql_text.h"

/* What a byte may be. */
enum {
	IS_LETTER = 1, /* begins a name */
	IS_DIGIT = 2,
	IS_OPERATOR = 4,
	IS_BLANK = 8,
	IS_OTHER = 16,
};

#define CASES(c) [c] = IS_LETTER, [(c) | 32] = IS_LETTER

static const uint8_t is[256] = {
	CASES('A'),          CASES('B'),          CASES('C'),
	CASES('D'),          CASES('E'),          CASES('F'),
	CASES('G'),          CASES('H'),          CASES('I'),
	CASES('J'),          CASES('K'),          CASES('L'),
	CASES('M'),          CASES('N'),          CASES('O'),
	CASES('P'),          CASES('Q'),          CASES('R'),
	CASES('S'),          CASES('T'),          CASES('U'),
	CASES('V'),          CASES('W'),          CASES('X'),
	CASES('Y'),          CASES('Z'),          ['_'] = IS_LETTER,
	['0'] = IS_DIGIT,    ['1'] = IS_DIGIT,    ['2'] = IS_DIGIT,
	['3'] = IS_DIGIT,    ['4'] = IS_DIGIT,    ['5'] = IS_DIGIT,
	['6'] = IS_DIGIT,    ['7'] = IS_DIGIT,    ['8'] = IS_DIGIT,
	['9'] = IS_DIGIT,    ['+'] = IS_OPERATOR, ['-'] = IS_OPERATOR,
	['*'] = IS_OPERATOR, ['/'] = IS_OPERATOR, ['<'] = IS_OPERATOR,
	['>'] = IS_OPERATOR, ['='] = IS_OPERATOR, ['~'] = IS_OPERATOR,
	['!'] = IS_OPERATOR, ['@'] = IS_OPERATOR, ['#'] = IS_OPERATOR,
	['%'] = IS_OPERATOR, ['^'] = IS_OPERATOR, ['&'] = IS_OPERATOR,
	['|'] = IS_OPERATOR, ['`'] = IS_OPERATOR, ['?'] = IS_OPERATOR,
	[' '] = IS_BLANK,    ['\t'] = IS_BLANK,   ['\n'] = IS_BLANK,
	['\r'] = IS_BLANK,   ['\f'] = IS_BLANK,   ['('] = IS_OTHER,
	[')'] = IS_OTHER,    [';'] = IS_OTHER,    ['['] = IS_OTHER,
	[']'] = IS_OTHER,    [','] = IS_OTHER,    [':'] = IS_OTHER,
	['.'] = IS_OTHER,
};

#define ONES  0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

/* Eight bytes, all of ASCII, and none of them a backslash or NUL. */
static bool
is_plain(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return ((v | (v - ONES) | ((v ^ ONES * '\\') - ONES)) & HIGHS) == 0;
}

bool
sql_scan_init(struct sql_scan *s, struct span text)
{
	struct span rest = text;

	*s = (struct sql_scan){ .text = text };
	while (rest.n > 0) {
		size_t n =
			rest.n >= 8 && is_plain(rest.p) ? 8 : utf8_char(rest);

		if (n == 0 || rest.p[0] == '\\' || rest.p[0] == '\0')
			return false;
		rest = span_skip(rest, n);
	}
	return true;
}

static uint8_t
byte_at(const struct sql_scan *s, size_t ahead)
{
	return s->text.n - s->at > ahead ? s->text.p[s->at + ahead] : 0;
}

static bool
is_digit(uint8_t c)
{
	return is[c] == IS_DIGIT;
}

static bool
begins_name(uint8_t c)
{
	return is[c] == IS_LETTER;
}

static bool
is_operator(uint8_t c)
{
	return is[c] == IS_OPERATOR;
}

/* False: a comment has no end. */
static bool
skip_blank(struct sql_scan *s)
{
	while (s->at < s->text.n) {
		size_t end = is[byte_at(s, 0)] == IS_BLANK
		                     ? s->at + 1
		                     : sql_comment_end(s->text, s->at);

		if (end == s->at)
			return true;
		if (end > s->text.n)
			return false;
		s->at = end;
	}
	return true;
}

/* Two quotes in a string are one of its own. */
static enum sql_kind
take_string(struct sql_scan *s)
{
	const uint8_t *quote;

	do {
		s->at++;
		quote = memchr(s->text.p + s->at, '\'', s->text.n - s->at);
		if (quote == NULL)
			return SQL_UNSURE;
		s->at = (size_t)(quote - s->text.p) + 1;
	} while (byte_at(s, 0) == '\'');
	return SQL_VALUE;
}

static enum sql_kind
take_quoted(struct sql_scan *s, struct sql_token *t)
{
	t->is_quoted = true;
	s->at++;
	while (s->at < s->text.n && byte_at(s, 0) != '"') {
		uint8_t c = byte_at(s, 0);

		if (c >= 0x80 || t->name_n == SQL_NAME_MAX)
			return SQL_UNSURE;
		t->name[t->name_n++] = (char)c;
		s->at++;
	}
	s->at++;
	if (s->at > s->text.n || t->name_n == 0 || byte_at(s, 0) == '"')
		return SQL_UNSURE;
	return SQL_NAME;
}

static enum sql_kind
take_name(struct sql_scan *s, struct sql_token *t)
{
	const uint8_t *p = s->text.p + s->at;
	size_t left = s->text.n - s->at;
	size_t n = 0;

	while (n < left && (is[p[n]] & (IS_LETTER | IS_DIGIT)) != 0) {
		if (n == SQL_NAME_MAX)
			return SQL_UNSURE;
		t->name[n] =
			(char)((uint8_t)(p[n] - 'A') < 26 ? p[n] + 32 : p[n]);
		n++;
	}
	s->at += n;
	t->name_n = n;
	if (n < left && (p[n] == '$' || p[n] >= 0x80))
		return SQL_UNSURE;
	if (n == 1 && t->name[0] == 'u' && byte_at(s, 0) == '&' &&
	    (byte_at(s, 1) == '"' || byte_at(s, 1) == '\''))
		return SQL_UNSURE;
	return SQL_NAME;
}

/* 12, 1.5, .5, 1e-3: other ways of writing them differ by version. */
static enum sql_kind
take_number(struct sql_scan *s)
{
	while (is_digit(byte_at(s, 0)))
		s->at++;
	if (byte_at(s, 0) == '.') {
		s->at++;
		while (is_digit(byte_at(s, 0)))
			s->at++;
	}
	if ((byte_at(s, 0) | 32) == 'e') {
		size_t sign = byte_at(s, 1) == '-' || byte_at(s, 1) == '+';

		if (!is_digit(byte_at(s, 1 + sign)))
			return SQL_UNSURE;
		s->at += 1 + sign;
		while (is_digit(byte_at(s, 0)))
			s->at++;
	}
	if (begins_name(byte_at(s, 0)) || byte_at(s, 0) == '.' ||
	    byte_at(s, 0) == '$')
		return SQL_UNSURE;
	return SQL_VALUE;
}

static enum sql_kind
take_parameter(struct sql_scan *s)
{
	s->at++;
	if (!is_digit(byte_at(s, 0)))
		return SQL_UNSURE;
	while (is_digit(byte_at(s, 0)))
		s->at++;
	return begins_name(byte_at(s, 0)) || byte_at(s, 0) == '$' ? SQL_UNSURE
	                                                          : SQL_VALUE;
}

static enum sql_kind
take_operator(struct sql_scan *s)
{
	while (is_operator(byte_at(s, 0)) &&
	       !(byte_at(s, 0) == '-' && byte_at(s, 1) == '-') &&
	       !(byte_at(s, 0) == '/' && byte_at(s, 1) == '*'))
		s->at++;
	return SQL_OPERATOR;
}

static enum sql_kind
take(struct sql_scan *s, struct sql_token *t)
{
	uint8_t c = byte_at(s, 0);

	if (c == '\'')
		return take_string(s);
	if (c == '"')
		return take_quoted(s, t);
	if (c == '$')
		return take_parameter(s);
	if (begins_name(c))
		return take_name(s, t);
	if (is_digit(c) || (c == '.' && is_digit(byte_at(s, 1))))
		return take_number(s);
	if (is_operator(c))
		return take_operator(s);
	if (is[c] != IS_OTHER)
		return SQL_UNSURE;
	s->at++;
	return c == '(' ? SQL_OPEN : c == ';' ? SQL_SEMICOLON : SQL_OTHER;
}

void
sql_scan_next(struct sql_scan *s, struct sql_token *ret)
{
	size_t from;

	ret->is_quoted = false;
	ret->name_n = 0;
	ret->kind = SQL_UNSURE;
	ret->text = (struct span){ NULL, 0 };
	/* Most have one space in front. */
	if (byte_at(s, 0) == ' ')
		s->at++;
	if ((is[byte_at(s, 0)] & (IS_LETTER | IS_DIGIT)) != 0 ||
	    skip_blank(s)) {
		from = s->at;
		ret->kind = from == s->text.n ? SQL_END : take(s, ret);
		ret->text = span_of(s->text.p + from, s->at - from);
	}
	ret->name[ret->name_n] = '\0';
	if (ret->kind == SQL_UNSURE) {
		/* The same again. */
		s->text.n = 1;
		s->text.p = (const uint8_t *)"{";
		s->at = 0;
	}
}

bool
sql_token_is(const struct sql_token *t, const char *list)
{
	return sql_is_listed(span_of(t->name, t->name_n), list);
}
