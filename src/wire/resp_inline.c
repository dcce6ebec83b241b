/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/resp_inline.c: the words of an inline command.
 */
#include "wire/resp_inline.h"

#include "base/num.h"

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
	if (s.p[1] == 'x' && s.n >= 4 && num_hex(s.p[2]) >= 0 &&
	    num_hex(s.p[3]) >= 0) {
		*ret_c = (uint8_t)(num_hex(s.p[2]) * 16 + num_hex(s.p[3]));
		return 4;
	}
	*ret_c = plain_escape(s.p[1]);
	return 2;
}

/* A byte of the word, decoded. */
static void
add(struct resp_word *word, uint8_t *to, uint8_t c)
{
	if (to != NULL)
		to[word->n] = c;
	word->n++;
}

/* From behind an opening quote to its closing one, where *s ends up. */
static bool
read_quoted(struct span *s, uint8_t quote, struct resp_word *word, uint8_t *to)
{
	while (s->n > 0 && s->p[0] != quote) {
		uint8_t c;
		size_t step = read_char(*s, quote, &c);

		add(word, to, c);
		*s = span_skip(*s, step);
	}
	return s->n == 1 || (s->n > 1 && is_space(s->p[1]));
}

int
resp_word_next(struct span *line, struct resp_word *ret, uint8_t *to)
{
	struct span s = *line;
	const uint8_t *first;

	while (s.n > 0 && is_space(s.p[0]))
		s = span_skip(s, 1);
	if (s.n == 0)
		return 0;
	first = s.p[0] == '"' || s.p[0] == '\'' ? s.p + 1 : s.p;
	ret->n = 0;
	while (s.n > 0 && !is_end(s.p[0])) {
		uint8_t c = s.p[0];

		s = span_skip(s, 1);
		if (c != '"' && c != '\'') {
			add(ret, to, c);
			continue;
		}
		if (!read_quoted(&s, c, ret, to))
			return -1;
		ret->raw = span_of(first, (size_t)(s.p - first));
		*line = span_skip(s, 1);
		return 1;
	}
	ret->raw = span_of(first, (size_t)(s.p - first));
	*line = s;
	return 1;
}
