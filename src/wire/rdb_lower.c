/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb_lower.c: a value as an older version of the format says it.
 * Source: redis/src/rdb.h, rdb.c of Redis 5.0, 6.2, 7.0 and 7.2; payloads of 8.0.2
 *
 *   type                          since   said as
 *   16 hash, 20 set as listpack   10, 11  4 hash, 2 set: plain strings
 *   17 sorted set as listpack     10      3 sorted set, scores as text
 *   18 list of listpacks          10      1 list: plain strings
 *   19, 21 stream                 10, 11  15, 19: what the older one does not
 *                                         know is left out
 *   24, 25 hash, fields' expiry   12      4 hash, when no field has one; else
 *                                         there is no way to say it
 */
#include "base/hash.h"
#include "wire/rdb_layout.h"
#include "wire/rdb_pack.h"
#include "wire/rdb_string.h"

#define TYPES_N 26

/* The version that brought the type; 0: none of ours. */
static const uint8_t since[TYPES_N] = {
	[0] = 1,   [1] = 1,   [2] = 1,   [3] = 1,   [4] = 1,   [5] = 8,
	[7] = 8,   [9] = 2,   [10] = 2,  [11] = 2,  [12] = 2,  [13] = 4,
	[14] = 7,  [15] = 9,  [16] = 10, [17] = 10, [18] = 10, [19] = 10,
	[20] = 11, [21] = 11, [24] = 12, [25] = 12,
};

struct lower {
	struct span in;
	struct buf *out;  /* NULL: only look */
	struct buf *room; /* for what was packed by LZF */
	enum wire_rc rc;
	uint8_t slots[RDB_SLOTS * RDB_SLOT];
};

static void
take(struct lower *l, uint64_t n, bool keep)
{
	if (l->rc != WIRE_PART || n > l->in.n) {
		l->rc = WIRE_BAD;
		return;
	}
	if (keep && l->out != NULL)
		buf_put(l->out, l->in.p, (size_t)n);
	l->in = span_skip(l->in, (size_t)n);
}

static uint64_t
take_len(struct lower *l, bool keep)
{
	uint64_t v = 0;
	size_t n = 0;

	if (l->rc != WIRE_PART || rdb_len(l->in, &v, &n) != WIRE_PART) {
		l->rc = WIRE_BAD;
		return 0;
	}
	take(l, n, keep);
	return v;
}

static bool
string_head(struct lower *l, struct rdb_string *ret)
{
	if (l->rc != WIRE_PART || rdb_string_head(l->in, ret) != WIRE_PART ||
	    ret->data_n > l->in.n - ret->head_n) {
		l->rc = WIRE_BAD;
		return false;
	}
	return true;
}

/* A string as it stands there. */
static void
take_string(struct lower *l)
{
	struct rdb_string str;

	if (string_head(l, &str))
		take(l, str.head_n + str.data_n, true);
}

/* A string decoded; valid until the next one. */
static struct span
take_decoded(struct lower *l)
{
	struct rdb_string str;
	struct rdb_space space = { .slots = l->slots };
	struct span ret = { NULL, 0 };

	if (!string_head(l, &str))
		return ret;
	if (str.coding == RDB_LZF) {
		buf_clear(l->room);
		space.p = str.full_n < RDB_LEN_MAX
		                  ? buf_room(l->room, (size_t)str.full_n)
		                  : NULL;
		space.n = (size_t)str.full_n;
		if (space.p == NULL)
			l->rc = WIRE_BIG;
	}
	if (l->rc == WIRE_PART)
		l->rc = rdb_string_decode(l->in, &str, &space, &ret);
	take(l, str.head_n + str.data_n, false);
	return ret;
}

static void
put_len(struct lower *l, uint64_t n)
{
	uint8_t b[9] = { 0x81 };
	int bytes = 8;

	if (l->out == NULL)
		return;
	if (n < 64) {
		b[0] = (uint8_t)n;
		buf_put(l->out, b, 1);
		return;
	}
	if (n <= UINT32_MAX) {
		b[0] = 0x80;
		bytes = 4;
	}
	for (int i = 0; i < bytes; i++)
		b[1 + i] = (uint8_t)(n >> (8 * (bytes - 1 - i)));
	buf_put(l->out, b, 1 + (size_t)bytes);
}

static void
put_text(struct lower *l, struct span s)
{
	put_len(l, s.n);
	if (l->out != NULL)
		buf_put_span(l->out, s);
}

/* A score as text: its length in one byte; the highest stand for infinity. */
static void
put_score(struct lower *l, struct span s)
{
	uint8_t n = (uint8_t)s.n;

	if (s.n == 0 || s.n > 252) {
		l->rc = WIRE_BAD;
		return;
	}
	if (span_eq(s, SPAN("inf")) || span_eq(s, SPAN("-inf"))) {
		n = s.p[0] == '-' ? 255 : 254;
		s.n = 0;
	}
	buf_put(l->out, &n, 1);
	buf_put_span(l->out, s);
}

/* The entries of a listpack; put: say each. Answers how many. */
static uint64_t
walk(struct lower *l, struct span pack, bool put, bool scored)
{
	uint8_t slot[RDB_SLOT];
	uint64_t count = 0;
	struct span s;
	size_t at = 0;
	enum wire_rc rc = WIRE_MORE;

	while (l->rc == WIRE_PART &&
	       (rc = rdb_pack_next(RDB_LISTPACK, pack, &at, slot, &s)) ==
	               WIRE_PART) {
		if (put && scored && count % 2 == 1)
			put_score(l, s);
		else if (put)
			put_text(l, s);
		count++;
	}
	if (rc != WIRE_MORE)
		l->rc = WIRE_BAD;
	return count;
}

/* A set, hash or sorted set that is one listpack. */
static void
lower_pack(struct lower *l, bool pairs, bool scored)
{
	struct span pack = take_decoded(l);
	uint64_t n;

	if (l->rc != WIRE_PART)
		return;
	n = walk(l, pack, false, scored);
	if (pairs && n % 2 == 1)
		l->rc = WIRE_BAD;
	put_len(l, pairs ? n / 2 : n);
	(void)walk(l, pack, true, scored);
}

/* A hash whose fields may have an expiry: none of them has. */
static void
lower_fields(struct lower *l)
{
	uint64_t n;

	take(l, 8, false);
	n = take_len(l, true);
	for (; n > 0 && l->rc == WIRE_PART; n--) {
		if (take_len(l, false) != 0 && l->rc == WIRE_PART) {
			l->rc = WIRE_BIG;
			return;
		}
		take_string(l);
		take_string(l);
	}
}

/* Fields, values and expiries in one listpack. */
static void
lower_field_pack(struct lower *l)
{
	uint8_t slot[RDB_SLOT];
	struct span pack;
	struct span s;
	size_t at = 0;
	uint64_t n = 0;
	enum wire_rc rc = WIRE_MORE;

	take(l, 8, false);
	pack = take_decoded(l);
	if (l->rc == WIRE_PART)
		n = walk(l, pack, false, false);
	if (n % 3 != 0)
		l->rc = WIRE_BAD;
	put_len(l, n / 3);
	for (uint64_t i = 0; l->rc == WIRE_PART && i < n; i++) {
		rc = rdb_pack_next(RDB_LISTPACK, pack, &at, slot, &s);
		if (rc != WIRE_PART)
			l->rc = WIRE_BAD;
		else if (i % 3 != 2)
			put_text(l, s);
		else if (!span_eq(s, SPAN("0")))
			l->rc = WIRE_BIG;
	}
}

/* The items of a list of listpacks and single items. */
static uint64_t
list_items(struct lower *l, bool put)
{
	uint64_t nodes = take_len(l, false);
	uint64_t count = 0;

	for (; nodes > 0 && l->rc == WIRE_PART; nodes--) {
		uint64_t form = take_len(l, false);

		if (form == 1) {
			take_string(l);
			count++;
		} else if (form == 2) {
			struct span pack = take_decoded(l);

			if (l->rc == WIRE_PART)
				count += walk(l, pack, put, false);
		} else {
			l->rc = WIRE_BAD;
		}
	}
	return count;
}

static void
lower_list(struct lower *l)
{
	struct lower look = *l;
	uint64_t n;

	look.out = NULL;
	n = list_items(&look, false);
	l->rc = look.rc;
	put_len(l, n);
	(void)list_items(l, true);
}

static void
stream_group(struct lower *l, uint8_t type, uint32_t version)
{
	uint64_t n;

	take_string(l);
	(void)take_len(l, true);
	(void)take_len(l, true);
	(void)take_len(l, version >= 10); /* entries read */
	n = take_len(l, true);
	for (; n > 0 && l->rc == WIRE_PART; n--) {
		take(l, 24, true); /* id, time */
		(void)take_len(l, true);
	}
	n = take_len(l, true);
	for (; n > 0 && l->rc == WIRE_PART; n--) {
		uint64_t ids;

		take_string(l);
		take(l, 8, true); /* seen */
		if (type == 21)
			take(l, 8, false); /* active */
		ids = take_len(l, true);
		take(l, ids <= l->in.n / 16 ? ids * 16 : UINT64_MAX, true);
	}
}

static void
lower_stream(struct lower *l, uint8_t type, uint32_t version)
{
	uint64_t n = take_len(l, true);

	for (; n > 0 && l->rc == WIRE_PART; n--) {
		take_string(l);
		take_string(l);
	}
	for (int i = 0; i < 3; i++) /* length, last id */
		(void)take_len(l, true);
	for (int i = 0; i < 5; i++) /* first, greatest deleted, added */
		(void)take_len(l, version >= 10);
	n = take_len(l, true);
	for (; n > 0 && l->rc == WIRE_PART; n--)
		stream_group(l, type, version);
}

static uint8_t
older(uint8_t type, uint32_t version)
{
	switch (type) {
	case 16: return 4;
	case 17: return 3;
	case 18: return 1;
	case 19: return 15;
	case 20: return 2;
	case 21: return version >= 10 ? 19 : 15;
	case 24:
	case 25: return 4;
	default: return type;
	}
}

static void
lower_body(struct lower *l, uint8_t type, uint32_t version)
{
	switch (type) {
	case 16: lower_pack(l, true, false); break;
	case 17: lower_pack(l, true, true); break;
	case 18: lower_list(l); break;
	case 19:
	case 21: lower_stream(l, type, version); break;
	case 20: lower_pack(l, false, false); break;
	case 24: lower_fields(l); break;
	case 25: lower_field_pack(l); break;
	default: l->rc = WIRE_BIG; break;
	}
	if (l->rc == WIRE_PART && l->in.n > 0)
		l->rc = WIRE_BAD;
}

bool
rdb_is_known(uint8_t type, uint32_t version)
{
	return type < TYPES_N && since[type] != 0 && since[type] <= version;
}

enum wire_rc
rdb_lower(uint8_t type, struct span body, uint32_t version, struct buf *room,
          struct buf *ret)
{
	struct lower l = {
		.in = body, .out = ret, .room = room, .rc = WIRE_PART
	};
	uint8_t footer[10];
	size_t before = buf_len(ret);
	struct span made;
	uint8_t as = type;

	if (version < RDB_LOWER_MIN)
		return WIRE_BIG;
	if (rdb_is_known(type, version)) {
		buf_put(ret, &as, 1);
		buf_put_span(ret, body);
	} else {
		as = older(type, version);
		buf_put(ret, &as, 1);
		lower_body(&l, type, version);
	}
	made = span_skip(buf_span(ret), before);
	if (l.rc != WIRE_PART || buf_failed(ret))
		return l.rc != WIRE_PART ? l.rc : WIRE_BIG;
	rdb_footer(version, hash_crc64(0, made), footer);
	buf_put(ret, footer, sizeof(footer));
	return buf_failed(ret) ? WIRE_BIG : WIRE_PART;
}

bool
rdb_payload(struct span payload, uint32_t *ret_version, struct span *ret_body)
{
	if (payload.n < 10)
		return false;
	*ret_version = (uint32_t)rdb_le(payload.p + payload.n - 10, 2);
	*ret_body = span_of(payload.p, payload.n - 10);
	return true;
}
