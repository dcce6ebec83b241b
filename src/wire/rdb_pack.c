/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb_pack.c: the entries of a listpack or ziplist.
 *
 *   listpack   bytes u32, count u16, entries, 0xff
 *              entry: coding, data, length of both (backwards)
 *   ziplist    bytes u32, tail u32, count u16, entries, 0xff
 *              entry: length of the one before, coding, data
 */
#include "wire/rdb_pack.h"

#include "base/num.h"
#include "wire/rdb_string.h"

#define LISTPACK_HEAD 6
#define ZIPLIST_HEAD  10
#define PACK_END      0xff

/* What an entry's coding says: head_n bytes, then n bytes of string or number,
 * or (n 0 and is_number) the number itself. */
struct entry {
	size_t head_n;
	size_t n;
	bool is_number;
	int64_t number;
};

static struct entry
text(size_t head_n, uint64_t n)
{
	return (struct entry){ .head_n = head_n, .n = (size_t)n };
}

static struct entry
stored(size_t n)
{
	return (struct entry){ .head_n = 1, .n = n, .is_number = true };
}

static struct entry
number(size_t head_n, int64_t v)
{
	return (struct entry){ .head_n = head_n,
		               .is_number = true,
		               .number = v };
}

/* Bytes of the coding that starts with c. */
static size_t
listpack_head(uint8_t c)
{
	if (c == 0xf0)
		return 5;
	return (c & 0xe0) == 0xc0 || (c & 0xf0) == 0xe0 ? 2 : 1;
}

static bool
listpack_entry(const uint8_t *p, struct entry *ret)
{
	int64_t v;

	if (p[0] < 0x80) {
		*ret = number(1, p[0]);
	} else if (p[0] < 0xc0) {
		*ret = text(1, p[0] & 63);
	} else if (p[0] < 0xe0) {
		v = (p[0] & 31) << 8 | p[1];
		*ret = number(2, v >= 4096 ? v - 8192 : v);
	} else if (p[0] < 0xf0) {
		*ret = text(2, (uint64_t)(p[0] & 15) << 8 | p[1]);
	} else {
		switch (p[0]) {
		case 0xf0: *ret = text(5, rdb_le(p + 1, 4)); break;
		case 0xf1: *ret = stored(2); break;
		case 0xf2: *ret = stored(3); break;
		case 0xf3: *ret = stored(4); break;
		case 0xf4: *ret = stored(8); break;
		default: return false;
		}
	}
	return true;
}

/* Bytes of the backward length of an entry of n bytes. */
static size_t
listpack_back(size_t n)
{
	if (n <= 127)
		return 1;
	if (n < 16383)
		return 2;
	if (n < 2097151)
		return 3;
	return n < 268435455 ? 4 : 5;
}

static size_t
ziplist_head(uint8_t c)
{
	if (c >> 6 == 1)
		return 2;
	return c >> 6 == 2 ? 5 : 1;
}

static bool
ziplist_entry(const uint8_t *p, struct entry *ret)
{
	switch (p[0] >> 6) {
	case 0: *ret = text(1, p[0]); return true;
	case 1: *ret = text(2, (uint64_t)(p[0] & 63) << 8 | p[1]); return true;
	case 2: *ret = text(5, rdb_be(p + 1, 4)); return true;
	default: break;
	}
	switch (p[0]) {
	case 0xc0: *ret = stored(2); return true;
	case 0xd0: *ret = stored(4); return true;
	case 0xe0: *ret = stored(8); return true;
	case 0xf0: *ret = stored(3); return true;
	case 0xfe: *ret = stored(1); return true;
	default: break;
	}
	if (p[0] < 0xf1 || p[0] > 0xfd)
		return false;
	*ret = number(1, (p[0] & 15) - 1);
	return true;
}

/* The coding of the entry at s; false when it is none or cut off. */
static bool
read_entry(enum rdb_pack pack, struct span s, struct entry *ret)
{
	if (s.n == 0)
		return false;
	if (pack == RDB_LISTPACK) {
		if (s.n < listpack_head(s.p[0]))
			return false;
		return listpack_entry(s.p, ret);
	}
	if (s.n < ziplist_head(s.p[0]))
		return false;
	return ziplist_entry(s.p, ret);
}

enum wire_rc
rdb_pack_next(enum rdb_pack pack, struct span s, size_t *at, uint8_t *slot,
              struct span *ret)
{
	size_t back = 0;
	struct entry e;

	if (*at == 0) {
		*at = pack == RDB_LISTPACK ? LISTPACK_HEAD : ZIPLIST_HEAD;
		if (s.n < *at || rdb_le(s.p, 4) != s.n)
			return WIRE_BAD;
	}
	if (*at >= s.n)
		return WIRE_BAD;
	s = span_skip(s, *at);
	if (s.p[0] == PACK_END)
		return s.n == 1 ? WIRE_MORE : WIRE_BAD;
	if (pack == RDB_ZIPLIST) {
		size_t before = s.p[0] == 0xfe ? 5 : 1;

		if (s.n < before)
			return WIRE_BAD;
		s = span_skip(s, before);
		*at += before;
	}
	if (!read_entry(pack, s, &e))
		return WIRE_BAD;
	if (s.n - e.head_n < e.n)
		return WIRE_BAD;
	if (pack == RDB_LISTPACK)
		back = listpack_back(e.head_n + e.n);
	*at += e.head_n + e.n + back;
	*ret = span_of(s.p + e.head_n, e.n);
	if (!e.is_number)
		return WIRE_PART;
	if (e.n > 0)
		e.number = rdb_le_signed(ret->p, e.n);
	*ret = span_of(slot, num_put_i64(slot, e.number));
	return WIRE_PART;
}
