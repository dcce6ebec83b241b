/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/resp_inline.c: the words of an inline command.
 */
#include "wire/resp_inline.h"

static bool
is_space(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Ends a word that is not inside quotes. */
static bool
is_end(uint8_t c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static int
hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static uint8_t
plain_escape(uint8_t c)
{
	switch (c) {
	case 'n': return '\n';
	case 'r': return '\r';
	case 't': return '\t';
	case 'b': return '\b';
	case 'a': return '\a';
	default: return c;
	}
}

/* One character at s inside quotes: how many bytes it takes there. */
static size_t
read_char(struct span s, uint8_t quote, uint8_t *ret_c)
{
	*ret_c = s.p[0];
	if (s.p[0] != '\\' || s.n < 2)
		return 1;
	if (quote == '\'') {
		if (s.p[1] != '\'')
			return 1;
		*ret_c = '\'';
		return 2;
	}
	if (s.p[1] == 'x' && s.n >= 4 && hex_digit(s.p[2]) >= 0 &&
	    hex_digit(s.p[3]) >= 0) {
		*ret_c = (uint8_t)(hex_digit(s.p[2]) * 16 + hex_digit(s.p[3]));
		return 4;
	}
	*ret_c = plain_escape(s.p[1]);
	return 2;
}

int
resp_word_next(struct span *line, struct resp_word *ret, uint8_t *to)
{
	struct span s = *line;
	uint8_t quote = 0;
	const uint8_t *first;

	while (s.n > 0 && is_space(s.p[0]))
		s = span_skip(s, 1);
	if (s.n == 0)
		return 0;
	first = s.p[0] == '"' || s.p[0] == '\'' ? s.p + 1 : s.p;
	ret->n = 0;
	for (;;) {
		size_t step = 1;
		uint8_t c;

		if (s.n == 0 || (quote == 0 && is_end(s.p[0]))) {
			if (quote != 0)
				return -1;
			break;
		}
		c = s.p[0];
		if (quote == 0 && (c == '"' || c == '\'')) {
			quote = c;
			s = span_skip(s, 1);
			continue;
		}
		if (quote != 0 && c == quote) {
			if (s.n > 1 && !is_space(s.p[1]))
				return -1;
			break;
		}
		if (quote != 0)
			step = read_char(s, quote, &c);
		if (to != NULL)
			to[ret->n] = c;
		ret->n++;
		s = span_skip(s, step);
	}
	ret->raw = span_of(first, (size_t)(s.p - first));
	*line = quote != 0 ? span_skip(s, 1) : s;
	return 1;
}
