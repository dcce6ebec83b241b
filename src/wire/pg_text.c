/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_text.c: names, literals and positions of PostgreSQL as SQL text.
 */
#include "wire/pg_text.h"

#include "base/num.h"

static const char hex_upper[] = "0123456789ABCDEF";
static const char hex_lower[] = "0123456789abcdef";

/* Without zeros in front. */
static size_t
print_half(uint32_t v, char *to)
{
	size_t n = 0;

	for (int shift = 28; shift >= 0; shift -= 4) {
		uint32_t digit = v >> shift & 15;

		if (digit != 0 || n > 0 || shift == 0)
			to[n++] = hex_upper[digit];
	}
	return n;
}

size_t
pg_lsn_print(struct pg_lsn lsn, char ret[PG_LSN_TEXT_MAX])
{
	size_t n = print_half((uint32_t)(lsn.v >> 32), ret);

	ret[n++] = '/';
	n += print_half((uint32_t)lsn.v, ret + n);
	ret[n] = '\0';
	return n;
}

static bool
parse_half(const uint8_t *p, size_t n, uint32_t *ret)
{
	uint32_t v = 0;

	if (n < 1 || n > 8)
		return false;
	for (size_t i = 0; i < n; i++) {
		int digit = num_hex(p[i]);

		if (digit < 0)
			return false;
		v = v << 4 | (uint32_t)digit;
	}
	*ret = v;
	return true;
}

bool
pg_lsn_parse(struct span text, struct pg_lsn *ret)
{
	const uint8_t *slash = NULL;
	uint32_t high;
	uint32_t low;
	size_t n;

	if (text.n > 0)
		slash = memchr(text.p, '/', text.n);
	if (slash == NULL)
		return false;
	n = (size_t)(slash - text.p);
	if (!parse_half(text.p, n, &high) ||
	    !parse_half(slash + 1, text.n - n - 1, &low))
		return false;
	ret->v = (uint64_t)high << 32 | low;
	return true;
}

/* Bytes with each `quote` (and, if asked, each backslash) twice. */
static void
put_doubled(struct buf *b, struct span s, uint8_t quote, bool backslash)
{
	size_t from = 0;

	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c == 0)
			b->failed = true;
		if (c != quote && (c != '\\' || !backslash))
			continue;
		buf_put(b, s.p + from, i + 1 - from);
		from = i;
	}
	if (from < s.n)
		buf_put(b, s.p + from, s.n - from);
}

void
pg_put_ident(struct buf *b, struct span name)
{
	if (name.n == 0)
		b->failed = true;
	buf_put(b, "\"", 1);
	put_doubled(b, name, '"', false);
	buf_put(b, "\"", 1);
}

void
pg_put_literal(struct buf *b, struct span text)
{
	if (text.n > 0 && memchr(text.p, '\\', text.n) != NULL)
		buf_put(b, "E", 1);
	buf_put(b, "'", 1);
	put_doubled(b, text, '\'', true);
	buf_put(b, "'", 1);
}

void
pg_put_plain(struct buf *b, struct span text)
{
	buf_put(b, "'", 1);
	put_doubled(b, text, '\'', false);
	buf_put(b, "'", 1);
}

void
pg_put_bytea(struct buf *b, struct span bytes)
{
	uint8_t *to;

	buf_put_str(b, "E'\\\\x");
	if (bytes.n > BUF_MAX / 2) {
		b->failed = true;
		return;
	}
	to = buf_room(b, 2 * bytes.n + 1);
	if (to == NULL)
		return;
	for (size_t i = 0; i < bytes.n; i++) {
		to[2 * i] = (uint8_t)hex_lower[bytes.p[i] >> 4];
		to[2 * i + 1] = (uint8_t)hex_lower[bytes.p[i] & 15];
	}
	to[2 * bytes.n] = '\'';
	buf_grew(b, 2 * bytes.n + 1);
}
