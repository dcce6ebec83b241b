/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb.c: a Redis snapshot (RDB) as a stream of values.
 *
 *   "REDIS" "0011"   records ...   0xff   CRC64
 *   HEADER           RECORD               END
 *
 *   record   opcode (244 and up) and its fields, or
 *            type, key (string), value (rdb_layout.c)
 *                                VALUE, or the BIG states of rdb_big.c
 *
 * A value that is not whole yet is walked on from r->at when more bytes came,
 * so that a growing window costs linear time.
 */
#include "wire/rdb.h"

#include "base/check.h"
#include "base/hash.h"
#include "wire/rdb_big.h"
#include "wire/rdb_layout.h"
#include "wire/rdb_string.h"

enum opcode {
	OP_SLOT_INFO = 244, /* of a cluster's node: slot, keys, expires */
	OP_FUNCTION2 = 245,
	OP_MODULE_AUX = RDB_TYPE_MODULE_AUX,
	OP_IDLE = 248,
	OP_FREQ = 249,
	OP_AUX = 250,
	OP_RESIZEDB = 251,
	OP_EXPIRETIME_MS = 252,
	OP_EXPIRETIME = 253,
	OP_SELECTDB = 254,
	OP_EOF = 255,
};

#define OP_MIN        244
#define HEADER_N      9
#define CHECKSUM_FROM 5 /* the format version that brought the checksum */

void
rdb_init(struct rdb *r, size_t window_max, uint8_t *scratch, size_t scratch_n)
{
	REQUIRE(window_max >= 64);
	REQUIRE(scratch_n >= RDB_SCRATCH_MIN);
	*r = (struct rdb){
		.window_max = window_max,
		.scratch_n = scratch_n,
		.state = RDB_AT_HEADER,
	};
	r->scratch = scratch;
}

void
rdb_next_record(struct rdb *r)
{
	r->state = RDB_AT_RECORD;
	r->expires_ms = -1;
	r->idle_s = -1;
	r->freq = -1;
}

struct rdb_space
rdb_space(const struct rdb *r)
{
	size_t n = r->scratch_n - (size_t)RDB_SLOT * RDB_SLOTS;

	return (struct rdb_space){
		.p = r->scratch,
		.n = n,
		.slots = r->scratch + n,
	};
}

static int
more(struct rdb *r, uint64_t need)
{
	r->need = (size_t)need;
	return WIRE_MORE;
}

static int
feed_header(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	static const char magic[] = "REDIS";
	uint32_t version = 0;

	for (size_t i = 0; i < in.n && i < HEADER_N; i++) {
		uint8_t c = in.p[i];

		if (i < 5 ? c != (uint8_t)magic[i] : c < '0' || c > '9')
			return WIRE_BAD;
		if (i >= 5)
			version = version * 10 + (uint32_t)(c - '0');
	}
	if (in.n < HEADER_N)
		return more(r, HEADER_N);
	r->version = version;
	if (version == 0)
		return WIRE_BAD;
	if (version > RDB_VERSION_MAX)
		return WIRE_BIG;
	part->kind = RDB_HEADER;
	*used = HEADER_N;
	rdb_next_record(r);
	return WIRE_PART;
}

/* A string that has to be whole in the window, decoded. *at: where it starts,
 * then where it ends. */
static int
whole_string(struct rdb *r, struct span in, size_t *at, struct rdb_space *space,
             struct span *ret)
{
	struct span s = span_skip(in, *at);
	struct rdb_string str;
	enum wire_rc rc = rdb_string_head(s, &str);

	if (rc == WIRE_MORE)
		return more(r, in.n + 1);
	if (rc != WIRE_PART)
		return rc;
	if (str.data_n > r->window_max)
		return WIRE_BIG;
	if (s.n < str.head_n + str.data_n)
		return more(r, *at + str.head_n + str.data_n);
	*at += str.head_n + (size_t)str.data_n;
	return rdb_string_decode(s, &str, space, ret);
}

/* Opcodes that say something about the value that follows. */
static int
feed_hint(struct rdb *r, struct span in, size_t *used)
{
	uint64_t v = 0;
	size_t n = 0;
	enum wire_rc rc;

	switch (in.p[0]) {
	case OP_EXPIRETIME_MS: n = 8; break;
	case OP_EXPIRETIME: n = 4; break;
	case OP_FREQ: n = 1; break;
	default:
		rc = rdb_len(span_skip(in, 1), &v, &n);
		if (rc == WIRE_MORE)
			n = in.n;
		else if (rc != WIRE_PART || v > INT64_MAX)
			return WIRE_BAD;
	}
	if (in.n < 1 + n)
		return more(r, 1 + n);
	*used = 1 + n;
	switch (in.p[0]) {
	case OP_EXPIRETIME_MS:
		r->expires_ms = rdb_le_signed(in.p + 1, 8);
		break;
	case OP_EXPIRETIME:
		r->expires_ms = rdb_le_signed(in.p + 1, 4) * 1000;
		break;
	case OP_FREQ: r->freq = in.p[1]; break;
	default: r->idle_s = (int64_t)v;
	}
	return RDB_AGAIN;
}

/* SELECTDB and RESIZEDB: one or two numbers. */
static int
feed_numbers(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	uint64_t v[2] = { 0, 0 };
	size_t want = in.p[0] == OP_RESIZEDB ? 2 : 1;
	size_t at = 1;

	for (size_t i = 0; i < want; i++) {
		size_t n = 0;
		enum wire_rc rc = rdb_len(span_skip(in, at), &v[i], &n);

		if (rc == WIRE_MORE)
			return more(r, in.n + 1);
		if (rc != WIRE_PART)
			return rc;
		at += n;
	}
	*used = at;
	if (want == 2) {
		part->kind = RDB_SIZES;
		part->keys_n = v[0];
		part->expires_n = v[1];
		return WIRE_PART;
	}
	if (v[0] > INT32_MAX)
		return WIRE_BAD;
	part->kind = RDB_SELECT;
	part->db = (uint32_t)v[0];
	return WIRE_PART;
}

/* SLOT_INFO: of no use here. */
static int
feed_slot(struct rdb *r, struct span in, size_t *used)
{
	size_t at = 1;

	for (int i = 0; i < 3; i++) {
		uint64_t v = 0;
		size_t n = 0;
		enum wire_rc rc = rdb_len(span_skip(in, at), &v, &n);

		if (rc == WIRE_MORE)
			return more(r, in.n + 1);
		if (rc != WIRE_PART)
			return rc;
		at += n;
	}
	*used = at;
	return RDB_AGAIN;
}

/* AUX and FUNCTION2: two strings, one string. */
static int
feed_strings(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	struct rdb_space space = rdb_space(r);
	size_t at = 1;
	int rc = WIRE_PART;

	part->kind = RDB_FUNCTION;
	if (in.p[0] == OP_AUX) {
		part->kind = RDB_AUX;
		rc = whole_string(r, in, &at, &space, &part->key);
	}
	if (rc == WIRE_PART)
		rc = whole_string(r, in, &at, &space, &part->body);
	if (rc == WIRE_PART)
		*used = at;
	return rc;
}

static int
feed_eof(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	size_t n = r->version >= CHECKSUM_FROM ? 9 : 1;

	if (in.n < n)
		return more(r, n);
	if (n == 9 && r->verify) {
		uint64_t want = rdb_le(in.p + 1, 8);

		/* A server with rdbchecksum off writes 0. */
		if (want != 0 && want != hash_crc64(r->crc, span_of(in.p, 1)))
			return WIRE_BAD;
	}
	part->kind = RDB_END;
	*used = n;
	r->state = RDB_AT_END;
	return WIRE_PART;
}

/* Walk the value; the window starts at its type byte. */
static int
feed_value(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	const uint8_t *layout = rdb_layout(r->type);

	while (layout[r->pc] != RDB_STEP_END) {
		uint64_t n = 0;
		uint64_t v = 0;
		enum wire_rc rc = rdb_step_size(layout[r->pc],
		                                span_skip(in, r->at), &n, &v);

		/* Judged by whole lengths only, so that cuts change nothing. */
		if (rc == WIRE_MORE)
			return more(r, in.n + 1);
		if (rc != WIRE_PART)
			return rc;
		if (n > r->window_max - (r->at - r->body))
			return rdb_big_start(r, in, part, used);
		if (n > in.n - r->at)
			return more(r, r->at + n);
		r->at += (size_t)n;
		rdb_step_done(r, layout, v);
	}
	part->kind = RDB_VALUE;
	part->body = span_of(in.p + r->body, r->at - r->body);
	*used = r->at;
	rdb_next_record(r);
	return WIRE_PART;
}

/* What the parts VALUE and BIG say about the key. */
static void
describe(const struct rdb *r, struct span in, struct rdb_part *part)
{
	const uint8_t *base = r->key_in_scratch ? r->scratch : in.p;

	part->key = span_of(base + r->key_at, r->key_n);
	part->expires_ms = r->expires_ms;
	part->idle_s = r->idle_s;
	part->freq = r->freq;
}

/* The type byte and the key. */
static int
feed_key(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	struct rdb_space space = rdb_space(r);
	struct span key;
	size_t at = 1;
	int rc;

	r->type = in.p[0];
	if (rdb_layout(r->type) == NULL)
		return WIRE_BAD;
	rc = whole_string(r, in, &at, &space, &key);
	if (rc != WIRE_PART)
		return rc;
	r->key_in_scratch = rdb_in_scratch(r, key.p);
	r->key_at = (size_t)(key.p - (r->key_in_scratch ? r->scratch : in.p));
	r->key_n = key.n;
	r->body = at;
	r->at = at;
	r->pc = 0;
	r->depth = 0;
	r->state = RDB_AT_VALUE;
	describe(r, in, part);
	return feed_value(r, in, part, used);
}

static int
feed_record(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	if (in.n == 0)
		return more(r, 1);
	if (in.p[0] < OP_MIN)
		return feed_key(r, in, part, used);
	switch (in.p[0]) {
	case OP_EXPIRETIME_MS:
	case OP_EXPIRETIME:
	case OP_FREQ:
	case OP_IDLE: return feed_hint(r, in, used);
	case OP_SELECTDB:
	case OP_RESIZEDB: return feed_numbers(r, in, part, used);
	case OP_SLOT_INFO: return feed_slot(r, in, used);
	case OP_AUX:
	case OP_FUNCTION2: return feed_strings(r, in, part, used);
	case OP_EOF: return feed_eof(r, in, part, used);
	case OP_MODULE_AUX:
		*used = 1;
		r->type = RDB_TYPE_MODULE_AUX;
		r->pc = 0;
		r->depth = 0;
		r->bytes_left = 0;
		r->state = RDB_BIG_SKIP;
		return RDB_AGAIN;
	default: return WIRE_BAD;
	}
}

static int
feed_once(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	switch ((enum rdb_state)r->state) {
	case RDB_AT_HEADER: return feed_header(r, in, part, used);
	case RDB_AT_RECORD: return feed_record(r, in, part, used);
	case RDB_AT_VALUE:
		describe(r, in, part);
		return feed_value(r, in, part, used);
	case RDB_AT_END: return WIRE_MORE;
	case RDB_DEAD: return WIRE_BAD;
	case RDB_BIG_PLAIN:
	case RDB_BIG_LZF:
	case RDB_BIG_ITEMS:
	case RDB_BIG_NODES:
	case RDB_BIG_NODE:
	case RDB_BIG_SKIP: return rdb_big_feed(r, in, part, used);
	}
	NEVER("a state outside its enum");
}

enum wire_rc
rdb_feed(struct rdb *r, struct span in, struct rdb_part *part, size_t *ret_used)
{
	int rc;

	*part = (struct rdb_part){
		.version = r->version,
		.expires_ms = -1,
		.idle_s = -1,
		.freq = -1,
	};
	*ret_used = 0;
	do {
		struct span rest = span_skip(in, *ret_used);
		size_t n = 0;

		rc = feed_once(r, rest, part, &n);
		REQUIRE(n <= rest.n);
		if (r->verify)
			r->crc = hash_crc64(r->crc, span_of(rest.p, n));
		*ret_used += n;
	} while (rc == RDB_AGAIN);
	part->type = r->type;
	part->version = r->version;
	if (rc < 0) {
		r->state = RDB_DEAD;
		*ret_used = 0;
	}
	return (enum wire_rc)rc;
}

static void
put_le(uint8_t *to, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(v >> (8 * i));
}

void
rdb_footer(uint32_t version, uint64_t crc_of_type_and_body,
           uint8_t ret_footer[10])
{
	put_le(ret_footer, version, 2);
	put_le(ret_footer + 2,
	       hash_crc64(crc_of_type_and_body, span_of(ret_footer, 2)), 8);
}
