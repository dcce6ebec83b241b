/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/mmdb.c: what a MaxMind database file says of an address.
 *
 * The file: a binary tree over the bits of addresses; 16 zero bytes; the data
 * section, whose offsets the tree's leaves name; a marker; a map about the file.
 */
#include "wire/mmdb.h"

#define SEPARATOR_N 16
#define ABOUT_MAX   ((size_t)128 * 1024) /* where the marker is looked for */
#define HOPS_MAX    16                   /* pointers to pointers */

enum type {
	TYPE_POINTER = 1,
	TYPE_TEXT = 2,
	TYPE_U16 = 5,
	TYPE_U32 = 6,
	TYPE_MAP = 7,
	TYPE_U64 = 9,
	TYPE_ARRAY = 11,
	TYPE_BOOLEAN = 14,
};

/* A value's head: its type and size; pos is behind it. Pointers: size is the
 * offset that is pointed to. */
struct head {
	uint32_t type;
	uint32_t size;
};

/* The next n bytes as a number; false: the section ends. */
static bool
number(struct span s, size_t *pos, size_t n, uint32_t *ret)
{
	uint32_t v = 0;

	if (n > s.n || *pos > s.n - n)
		return false;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | s.p[*pos + i];
	*pos += n;
	*ret = v;
	return true;
}

static bool
pointer(struct span s, size_t *pos, uint32_t control, struct head *ret)
{
	static const uint32_t base[4] = { 0, 2048, 526336, 0 };
	uint32_t width = control >> 3 & 3;
	uint32_t high = width == 3 ? 0 : control & 7;
	uint32_t low;

	if (!number(s, pos, width + 1, &low))
		return false;
	ret->type = TYPE_POINTER;
	ret->size = (width == 3 ? 0 : high << (8 * (width + 1))) + low +
	            base[width];
	return true;
}

static bool
read_head(struct span s, size_t *pos, struct head *ret)
{
	static const uint32_t base[3] = { 29, 285, 65821 };
	uint32_t control;
	uint32_t more;

	if (!number(s, pos, 1, &control))
		return false;
	ret->type = control >> 5;
	if (ret->type == TYPE_POINTER)
		return pointer(s, pos, control, ret);
	if (ret->type == 0) {
		if (!number(s, pos, 1, &ret->type))
			return false;
		ret->type += 7;
	}
	ret->size = control & 31;
	if (ret->size >= 29) {
		uint32_t n = ret->size - 28;

		if (!number(s, pos, n, &more))
			return false;
		ret->size = base[n - 1] + more;
	}
	return true;
}

/* Over one value and all that it holds. */
static bool
skip(struct span s, size_t *pos)
{
	uint64_t left = 1;
	struct head h;

	while (left > 0) {
		if (!read_head(s, pos, &h))
			return false;
		left--;
		if (h.type == TYPE_MAP)
			left += 2 * (uint64_t)h.size;
		else if (h.type == TYPE_ARRAY)
			left += h.size;
		else if (h.type != TYPE_POINTER && h.type != TYPE_BOOLEAN) {
			if (h.size > s.n - *pos)
				return false;
			*pos += h.size;
		}
		if (left > s.n) /* each value has at least a byte */
			return false;
	}
	return true;
}

/* The head of what is at pos, behind all pointers. */
static bool
resolve(struct span s, size_t *pos, struct head *ret)
{
	for (int i = 0; i < HOPS_MAX; i++) {
		if (!read_head(s, pos, ret))
			return false;
		if (ret->type != TYPE_POINTER)
			return true;
		*pos = ret->size;
	}
	return false;
}

static bool
read_text(struct span s, size_t pos, struct span *ret)
{
	struct head h;

	if (!resolve(s, &pos, &h) || h.type != TYPE_TEXT || h.size > s.n - pos)
		return false;
	*ret = span_of(s.p + pos, h.size);
	return true;
}

/* The value of a key of the map at *pos; false: none. */
static bool
member(struct span s, size_t *pos, struct span key)
{
	struct head map;

	if (!resolve(s, pos, &map) || map.type != TYPE_MAP)
		return false;
	for (uint32_t i = 0; i < map.size; i++) {
		struct span name;
		bool is_text = read_text(s, *pos, &name);

		if (!is_text || !skip(s, pos))
			return false;
		if (span_eq(name, key))
			return true;
		if (!skip(s, pos))
			return false;
	}
	return false;
}

/* ---- the file ---------------------------------------------------------- */

static bool
about(struct span s, const char *key, uint32_t *ret)
{
	size_t pos = 0;
	struct head h;

	return member(s, &pos, span_str(key)) && resolve(s, &pos, &h) &&
	       (h.type == TYPE_U16 || h.type == TYPE_U32 ||
	        h.type == TYPE_U64) &&
	       h.size <= 4 && number(s, &pos, h.size, ret);
}

/* What is behind the last marker; empty: there is none. */
static struct span
find_about(struct span file)
{
	static const struct {
		uint8_t b[14];
	} mark = { { 0xab, 0xcd, 0xef, 'M', 'a', 'x', 'M', 'i', 'n', 'd', '.',
		     'c', 'o', 'm' } };
	size_t n = sizeof(mark.b);
	size_t lowest = file.n > ABOUT_MAX ? file.n - ABOUT_MAX : 0;

	for (size_t at = file.n; at >= lowest + n; at--) {
		if (memcmp(file.p + at - n, mark.b, n) == 0)
			return span_of(file.p + at, file.n - at);
	}
	return span_of(NULL, 0);
}

/* One side of a node. */
static uint32_t
record(const struct mmdb *db, uint32_t node, uint32_t bit)
{
	const uint8_t *p = db->file.p + (size_t)node * (db->record_bits / 4);

	switch (db->record_bits) {
	case 24:
		p += (size_t)3 * bit;
		return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
	case 28:
		if (bit == 0)
			return (uint32_t)(p[3] & 0xf0) << 20 |
			       (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 |
			       p[2];
		return (uint32_t)(p[3] & 0x0f) << 24 | (uint32_t)p[4] << 16 |
		       (uint32_t)p[5] << 8 | p[6];
	default:
		p += (size_t)4 * bit;
		return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
		       (uint32_t)p[2] << 8 | p[3];
	}
}

enum wire_rc
mmdb_open(struct span file, struct mmdb *ret)
{
	struct span info = find_about(file);
	uint32_t version = 0;
	size_t tree;

	*ret = (struct mmdb){ .file = file };
	if (info.n == 0 || !about(info, "node_count", &ret->nodes) ||
	    !about(info, "record_size", &ret->record_bits) ||
	    !about(info, "ip_version", &version))
		return WIRE_BAD;
	if ((ret->record_bits != 24 && ret->record_bits != 28 &&
	     ret->record_bits != 32) ||
	    (version != 4 && version != 6) || ret->nodes == 0)
		return WIRE_BAD;
	tree = (size_t)ret->nodes * (ret->record_bits / 4);
	if (tree + SEPARATOR_N > file.n - info.n)
		return WIRE_BAD;
	ret->data = span_of(file.p + tree + SEPARATOR_N,
	                    file.n - info.n - tree - SEPARATOR_N);
	ret->is_v6 = version == 6;
	for (int i = 0; ret->is_v6 && i < 96 && ret->first_v4 < ret->nodes; i++)
		ret->first_v4 = record(ret, ret->first_v4, 0);
	return WIRE_PART;
}

struct span
mmdb_find(const struct mmdb *db, const uint8_t address[16], const char *path)
{
	static const uint8_t v4[12] = {
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255
	};
	bool is_v4 = memcmp(address, v4, sizeof(v4)) == 0;
	uint32_t at = is_v4 ? db->first_v4 : 0;
	size_t pos;
	struct span text = { NULL, 0 };

	if (!is_v4 && !db->is_v6)
		return text;
	for (uint32_t i = is_v4 ? 96 : 0; i < 128 && at < db->nodes; i++)
		at = record(db, at,
		            (uint32_t)address[i / 8] >> (7 - i % 8) & 1u);
	if (at <= db->nodes || at - db->nodes < SEPARATOR_N)
		return text;
	pos = at - db->nodes - SEPARATOR_N;
	while (*path != '\0') {
		size_t n = 0;

		while (path[n] != '\0' && path[n] != '.')
			n++;
		if (!member(db->data, &pos, span_of(path, n)))
			return text;
		path += n + (path[n] == '.');
	}
	if (!read_text(db->data, pos, &text))
		return span_of(NULL, 0);
	return text;
}
