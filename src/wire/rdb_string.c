/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb_string.c: lengths and strings of an RDB.
 */
#include "wire/rdb_string.h"

#include "base/check.h"
#include "base/num.h"
#include "wire/rdb.h"

#define CODE_LZF    3
#define TYPE_STRING 0

/* A length, or the code of a string that is not plain. */
static enum wire_rc
len_or_code(struct span s, uint64_t *ret_v, size_t *ret_n, bool *ret_code)
{
	size_t n;

	if (s.n == 0)
		return WIRE_MORE;
	*ret_code = false;
	switch (s.p[0] >> 6) {
	case 0:
		*ret_v = s.p[0];
		*ret_n = 1;
		return WIRE_PART;
	case 1:
		if (s.n < 2)
			return WIRE_MORE;
		*ret_v = (uint64_t)(s.p[0] & 63) << 8 | s.p[1];
		*ret_n = 2;
		return WIRE_PART;
	case 2:
		if (s.p[0] > 0x81)
			return WIRE_BAD;
		n = s.p[0] == 0x80 ? 4 : 8;
		if (s.n < 1 + n)
			return WIRE_MORE;
		*ret_v = rdb_be(s.p + 1, n);
		*ret_n = 1 + n;
		return WIRE_PART;
	default:
		*ret_v = s.p[0] & 63;
		*ret_n = 1;
		*ret_code = true;
		return WIRE_PART;
	}
}

enum wire_rc
rdb_len(struct span s, uint64_t *ret_v, size_t *ret_n)
{
	bool is_code = false;
	enum wire_rc rc = len_or_code(s, ret_v, ret_n, &is_code);

	return rc == WIRE_PART && is_code ? WIRE_BAD : rc;
}

/* The two lengths of an LZF string, behind the code byte. */
static enum wire_rc
lzf_head(struct span s, struct rdb_string *ret)
{
	size_t a = 0;
	size_t b = 0;
	enum wire_rc rc = rdb_len(span_skip(s, 1), &ret->data_n, &a);

	if (rc != WIRE_PART)
		return rc;
	rc = rdb_len(span_skip(s, 1 + a), &ret->full_n, &b);
	if (rc != WIRE_PART)
		return rc;
	if (ret->data_n > RDB_LEN_MAX || ret->full_n > RDB_LEN_MAX)
		return WIRE_BAD;
	ret->coding = RDB_LZF;
	ret->head_n = 1 + a + b;
	return WIRE_PART;
}

enum wire_rc
rdb_string_head(struct span s, struct rdb_string *ret)
{
	bool is_code = false;
	uint64_t v = 0;
	enum wire_rc rc = len_or_code(s, &v, &ret->head_n, &is_code);

	if (rc != WIRE_PART)
		return rc;
	if (is_code && v == CODE_LZF)
		return lzf_head(s, ret);
	if (is_code && v > CODE_LZF)
		return WIRE_BAD;
	if (v > RDB_LEN_MAX)
		return WIRE_BAD;
	ret->coding = is_code ? RDB_INT : RDB_PLAIN;
	ret->data_n = is_code ? UINT64_C(1) << v : v;
	ret->full_n = is_code ? 0 : v;
	return WIRE_PART;
}

enum wire_rc
rdb_string_decode(struct span s, const struct rdb_string *str,
                  struct rdb_space *space, struct span *ret)
{
	struct span data = span_of(s.p + str->head_n, (size_t)str->data_n);
	uint8_t *to;
	size_t n = 0;

	REQUIRE(s.n >= str->head_n + str->data_n);
	switch (str->coding) {
	case RDB_PLAIN: *ret = data; return WIRE_PART;
	case RDB_INT:
		REQUIRE(space->slot < RDB_SLOTS);
		to = space->slots + (size_t)RDB_SLOT * space->slot++;
		n = num_put_i64(to, rdb_le_signed(data.p, data.n));
		*ret = span_of(to, n);
		return WIRE_PART;
	case RDB_LZF:
		if (str->full_n > space->n)
			return WIRE_BIG;
		if (rdb_lzf(&data, space->p, &n, (size_t)str->full_n,
		            SIZE_MAX) < 0 ||
		    data.n != 0 || n != str->full_n)
			return WIRE_BAD;
		*ret = span_of(space->p, n);
		space->p += n;
		space->n -= n;
		return WIRE_PART;
	}
	NEVER("a coding outside its enum");
}

/* Copy n bytes from `back` bytes before; the ranges may overlap on purpose. */
static void
repeat(uint8_t *to, size_t back, size_t n)
{
	const uint8_t *from = to - back;

	if (back >= n) {
		memcpy(to, from, n);
		return;
	}
	while (n-- > 0)
		*to++ = *from++;
}

/*
 * 000nnnnn + n+1 bytes            these bytes
 * nnnooooo oooooooo               n+2 bytes from o+1 bytes before
 * 111ooooo mmmmmmmm oooooooo      m+9 bytes from o+1 bytes before
 */
enum wire_rc
rdb_lzf(struct span *in, uint8_t *out, size_t *at, size_t cap, size_t enough)
{
	const uint8_t *p = in->p;
	const uint8_t *end = in->p + in->n;
	size_t o = *at;
	enum wire_rc rc = WIRE_MORE;

	while (p < end && o < enough) {
		size_t n = *p >> 5;
		size_t head = n == 0 ? 1 : (n == 7 ? 3 : 2);
		size_t back;

		if (n == 0) {
			n = (size_t)*p + 1;
			if ((size_t)(end - p) < 1 + n)
				break;
			if (cap - o < n) {
				rc = WIRE_BAD;
				break;
			}
			memcpy(out + o, p + 1, n);
			p += 1 + n;
			o += n;
			continue;
		}
		if ((size_t)(end - p) < head)
			break;
		n += n == 7 ? (size_t)p[1] + 2 : 2;
		back = ((size_t)(*p & 31) << 8 | p[head - 1]) + 1;
		if (back > o || cap - o < n) {
			rc = WIRE_BAD;
			break;
		}
		repeat(out + o, back, n);
		p += head;
		o += n;
	}
	*in = span_of(p, (size_t)(end - p));
	*at = o;
	return rc;
}

bool
rdb_text(uint8_t type, struct span body, uint8_t *room, size_t n,
         struct span *ret)
{
	uint8_t slots[RDB_SLOTS * RDB_SLOT];
	struct rdb_space space = { .p = room, .n = n, .slots = slots };
	struct rdb_string str;

	if (type != TYPE_STRING || rdb_string_head(body, &str) != WIRE_PART ||
	    body.n != str.head_n + str.data_n || (n < RDB_SLOT) ||
	    rdb_string_decode(body, &str, &space, ret) != WIRE_PART)
		return false;
	if (str.coding == RDB_INT) {
		memcpy(room, ret->p, ret->n);
		ret->p = room;
	}
	return true;
}
