/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_text.c: what both readers of SQL read alike.
 */
#include "engine/postgres/sql_text.h"

static bool
is_pair(struct span text, size_t at, uint8_t first, uint8_t second)
{
	return text.n - at >= 2 && text.p[at] == first &&
	       text.p[at + 1] == second;
}

/* Behind what two slashes and stars enclose, which may lie in each other. */
static size_t
block_end(struct span text, size_t at)
{
	size_t depth = 0;

	while (at < text.n) {
		if (is_pair(text, at, '/', '*')) {
			depth++;
			at++;
		} else if (is_pair(text, at, '*', '/')) {
			depth--;
			at++;
		}
		at++;
		if (depth == 0)
			return at;
	}
	return text.n + 1;
}

size_t
sql_comment_end(struct span text, size_t at)
{
	if (is_pair(text, at, '/', '*'))
		return block_end(text, at);
	if (is_pair(text, at, '-', '-')) {
		while (at < text.n && text.p[at] != '\n' && text.p[at] != '\r')
			at++;
	}
	return at;
}

bool
sql_is_listed(struct span name, const char *list)
{
	size_t n = name.n;

	if (n == 0 || memchr(name.p, ' ', n) != NULL)
		return false;
	for (const char *p = list; *p != '\0'; p++) {
		size_t i = 0;

		if (*p != ' ' || p[1] != (char)name.p[0])
			continue;
		while (i < n && p[1 + i] == (char)name.p[i])
			i++;
		if (i == n && p[1 + n] == ' ')
			return true;
	}
	return false;
}
