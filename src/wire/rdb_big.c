/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb_big.c: values that are read element by element.
 *
 * start ─[string]→ PLAIN or LZF ─→ end
 *       ─[list, set, hash, zset]→ ITEMS ─→ end
 *       ─[quicklist]→ NODES ⇄ NODE ─→ end
 *       ─[other]→ SKIP ─→ end (not complete)
 * ITEMS and NODES ─[an element does not fit]→ SKIP
 */
#include "wire/rdb_big.h"

#include "base/check.h"
#include "base/num.h"
#include "wire/rdb_layout.h"
#include "wire/rdb_pack.h"

enum {
	TYPE_STRING = 0,
	TYPE_LIST = 1,
	TYPE_SET = 2,
	TYPE_ZSET = 3,
	TYPE_HASH = 4,
	TYPE_ZSET_2 = 5,
	TYPE_QUICKLIST = 14,
	TYPE_QUICKLIST_2 = 18,
};

#define NODE_PLAIN  1 /* the node is one item             */
#define NODE_PACKED 2 /* the node is a listpack of items  */
#define STEPS_MAX   3 /* steps of one element             */

/* The steps of one element, found in the window. */
struct unit {
	struct span step[STEPS_MAX];
	uint8_t what[STEPS_MAX]; /* enum rdb_step                 */
	uint64_t v[STEPS_MAX];
	uint32_t n;
	size_t size;
};

static int
more(struct rdb *r, uint64_t need)
{
	r->need = (size_t)need;
	return WIRE_MORE;
}

static enum rdb_form
form_of(uint8_t type)
{
	switch (type) {
	case TYPE_STRING: return RDB_STRING;
	case TYPE_LIST:
	case TYPE_QUICKLIST:
	case TYPE_QUICKLIST_2: return RDB_LIST;
	case TYPE_SET: return RDB_SET;
	case TYPE_ZSET:
	case TYPE_ZSET_2: return RDB_ZSET;
	case TYPE_HASH: return RDB_HASH;
	default: return RDB_OPAQUE;
	}
}

static int
start_string(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	struct rdb_string str;

	if (rdb_string_head(span_skip(in, r->body), &str) != WIRE_PART)
		return WIRE_BAD;
	REQUIRE(str.coding != RDB_INT);
	part->bytes = str.full_n;
	r->bytes_left = str.data_n;
	r->full_left = str.full_n;
	r->past_n = 0;
	r->out_n = 0;
	r->state = str.coding == RDB_LZF ? RDB_BIG_LZF : RDB_BIG_PLAIN;
	*used = r->body + str.head_n;
	return WIRE_PART;
}

int
rdb_big_start(struct rdb *r, struct span in, struct rdb_part *part,
              size_t *ret_used)
{
	bool nodes = r->type == TYPE_QUICKLIST || r->type == TYPE_QUICKLIST_2;
	uint64_t count = 0;
	size_t n = 0;

	part->kind = RDB_BIG;
	part->form = form_of(r->type);
	r->form = (uint8_t)part->form;
	r->lost = false;
	r->pc = 0;
	r->depth = 0;
	if (part->form == RDB_STRING)
		return start_string(r, in, part, ret_used);
	if (part->form == RDB_OPAQUE) {
		r->lost = true;
		r->bytes_left = 0;
		r->state = RDB_BIG_SKIP;
		*ret_used = r->body;
		return WIRE_PART;
	}
	if (rdb_len(span_skip(in, r->body), &count, &n) != WIRE_PART)
		return WIRE_BAD;
	r->elems_left = count;
	r->state = nodes ? RDB_BIG_NODES : RDB_BIG_ITEMS;
	part->count = nodes ? 0 : count;
	*ret_used = r->body + n;
	return WIRE_PART;
}

static int
end_big(struct rdb *r, struct rdb_part *part)
{
	part->kind = RDB_BIG_END;
	part->form = (enum rdb_form)r->form;
	part->complete = !r->lost;
	rdb_next_record(r);
	return WIRE_PART;
}

static int
give(struct rdb *r, struct rdb_part *part, uint32_t elem_n)
{
	part->kind = RDB_ELEM;
	part->form = (enum rdb_form)r->form;
	part->elem_n = elem_n;
	return WIRE_PART;
}

/* The element in hand does not fit: pass over it and all that follow. */
static int
lose(struct rdb *r)
{
	r->lost = true;
	r->pc = 1;
	r->depth = 1;
	r->loops[0] = r->elems_left;
	r->bytes_left = 0;
	r->state = RDB_BIG_SKIP;
	return RDB_AGAIN;
}

static int
feed_plain(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	size_t want = r->window_max < RDB_RANGE ? r->window_max : RDB_RANGE;

	if (r->bytes_left == 0)
		return end_big(r, part);
	if (r->bytes_left < want)
		want = (size_t)r->bytes_left;
	if (in.n < want)
		return more(r, want);
	part->elem[0] = span_of(in.p, want);
	r->bytes_left -= want;
	*used = want;
	return give(r, part, 1);
}

/*
 * The scratch holds the last bytes that were given (runs may refer to them) and
 * behind them those that come next.
 */
static int
feed_lzf(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	struct rdb_space space = rdb_space(r);
	struct span s = in;
	size_t enough;
	size_t at;

	if (r->bytes_left == 0)
		return r->full_left == 0 ? end_big(r, part) : WIRE_BAD;
	if (r->past_n > RDB_LZF_PAST) {
		memmove(space.p, space.p + r->past_n - RDB_LZF_PAST,
		        RDB_LZF_PAST);
		r->past_n = RDB_LZF_PAST;
	}
	if (s.n > r->bytes_left)
		s.n = (size_t)r->bytes_left;
	at = r->past_n + r->out_n;
	enough = r->past_n + space.n - RDB_LZF_PAST - RDB_LZF_RUN;
	*used = s.n;
	if (rdb_lzf(&s, space.p, &at, space.n, enough) < 0)
		return WIRE_BAD;
	*used -= s.n;
	r->bytes_left -= *used;
	r->out_n = at - r->past_n;
	if (r->out_n > r->full_left)
		return WIRE_BAD;
	if (at < enough && r->bytes_left > 0) {
		/* A run that is cut by the end of the string is none. */
		return s.n == r->bytes_left ? WIRE_BAD : more(r, s.n + 1);
	}
	part->elem[0] = span_of(space.p + r->past_n, r->out_n);
	r->full_left -= r->out_n;
	r->past_n = at;
	r->out_n = 0;
	return give(r, part, 1);
}

/* Find the steps of the next element. WIRE_PART, WIRE_MORE, WIRE_BAD, or
 * WIRE_BIG when it is longer than the window. */
static int
find_unit(struct rdb *r, struct span in, struct unit *u)
{
	const uint8_t *layout = rdb_layout(r->type);
	size_t at = 0;

	u->n = 0;
	for (uint8_t pc = 1; layout[pc] != RDB_STEP_NEXT; pc++) {
		struct span s = span_skip(in, at);
		uint64_t n = 0;
		enum wire_rc rc;

		REQUIRE(u->n < STEPS_MAX);
		rc = rdb_step_size(layout[pc], s, &n, &u->v[u->n]);
		if (rc == WIRE_MORE)
			return more(r, in.n + 1);
		if (rc != WIRE_PART)
			return rc;
		if (n > r->window_max - at)
			return WIRE_BIG;
		if (n > s.n)
			return more(r, at + n);
		u->what[u->n] = layout[pc];
		u->step[u->n] = span_of(s.p, (size_t)n);
		u->n++;
		at += (size_t)n;
	}
	u->size = at;
	return WIRE_PART;
}

static int
decode_string(struct span s, struct rdb_space *space, struct span *ret)
{
	struct rdb_string str;
	enum wire_rc rc = rdb_string_head(s, &str);

	REQUIRE(rc == WIRE_PART);
	return rdb_string_decode(s, &str, space, ret);
}

static struct span
decode_double(struct span s, struct rdb_space *space)
{
	uint8_t *to = space->slots + (size_t)RDB_SLOT * space->slot++;
	uint64_t bits = rdb_le(s.p, 8);
	double v;

	memcpy(&v, &bits, sizeof(v));
	return span_of(to, num_put_double(to, v));
}

static struct span
decode_score(struct span s)
{
	switch (s.p[0]) {
	case 253: return SPAN("nan");
	case 254: return SPAN("inf");
	case 255: return SPAN("-inf");
	default: return span_skip(s, 1);
	}
}

static int
feed_item(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	struct rdb_space space = rdb_space(r);
	struct unit u = { .n = 0 };
	int rc;

	if (r->elems_left == 0)
		return end_big(r, part);
	rc = find_unit(r, in, &u);
	for (uint32_t i = 0; rc == WIRE_PART && i < u.n; i++) {
		struct span *ret = &part->elem[i];

		if (u.what[i] == RDB_STEP_STRING)
			rc = decode_string(u.step[i], &space, ret);
		else if (u.what[i] == RDB_STEP_RAW8)
			*ret = decode_double(u.step[i], &space);
		else
			*ret = decode_score(u.step[i]);
	}
	if (rc == WIRE_BIG)
		return lose(r);
	if (rc != WIRE_PART)
		return rc;
	r->elems_left--;
	*used = u.size;
	return give(r, part, u.n);
}

/* The head of a list's node. */
static int
feed_nodes(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	struct rdb_space space = rdb_space(r);
	struct span blob = { NULL, 0 };
	struct unit u = { .n = 0 };
	int rc;

	if (r->elems_left == 0)
		return end_big(r, part);
	rc = find_unit(r, in, &u);
	if (rc == WIRE_PART)
		rc = decode_string(u.step[u.n - 1], &space, &blob);
	if (rc == WIRE_BIG)
		return lose(r);
	if (rc != WIRE_PART)
		return rc;
	if (u.n == 2 && u.v[0] == NODE_PLAIN) {
		part->elem[0] = blob;
		r->elems_left--;
		*used = u.size;
		return give(r, part, 1);
	}
	if (u.n == 2 && u.v[0] != NODE_PACKED)
		return WIRE_BAD;
	r->blob_in_scratch = rdb_in_scratch(r, blob.p);
	r->blob = (size_t)(blob.p - (r->blob_in_scratch ? r->scratch : in.p));
	r->blob_n = blob.n;
	r->bytes_left = r->blob_in_scratch ? 0 : u.size;
	r->at = 0;
	r->state = RDB_BIG_NODE;
	*used = r->blob_in_scratch ? u.size : 0;
	return RDB_AGAIN;
}

/* The next item of a node; its bytes stay in the window or the scratch. */
static int
feed_node(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	enum rdb_pack pack =
		r->type == TYPE_QUICKLIST ? RDB_ZIPLIST : RDB_LISTPACK;
	const uint8_t *base = r->blob_in_scratch ? r->scratch : in.p;
	int rc;

	REQUIRE(r->blob_in_scratch || in.n >= r->bytes_left);
	rc = rdb_pack_next(pack, span_of(base + r->blob, r->blob_n), &r->at,
	                   rdb_space(r).slots, &part->elem[0]);
	if (rc == WIRE_PART)
		return give(r, part, 1);
	if (rc != WIRE_MORE)
		return rc;
	*used = (size_t)r->bytes_left;
	r->elems_left--;
	r->state = RDB_BIG_NODES;
	return RDB_AGAIN;
}

static int
feed_skip(struct rdb *r, struct span in, struct rdb_part *part, size_t *used)
{
	const uint8_t *layout = rdb_layout(r->type);

	for (;;) {
		size_t rest = in.n - *used;
		uint64_t v = 0;
		enum wire_rc rc;

		if (r->bytes_left > rest) {
			r->bytes_left -= rest;
			*used = in.n;
			return more(r, 1);
		}
		*used += (size_t)r->bytes_left;
		r->bytes_left = 0;
		if (layout[r->pc] == RDB_STEP_END)
			break;
		rc = rdb_step_size(layout[r->pc], span_skip(in, *used),
		                   &r->bytes_left, &v);
		if (rc == WIRE_MORE) {
			r->bytes_left = 0;
			return more(r, in.n - *used + 1);
		}
		if (rc != WIRE_PART)
			return rc;
		rdb_step_done(r, layout, v);
	}
	if (r->type != RDB_TYPE_MODULE_AUX)
		return end_big(r, part);
	part->kind = RDB_MODULE_AUX;
	rdb_next_record(r);
	return WIRE_PART;
}

int
rdb_big_feed(struct rdb *r, struct span in, struct rdb_part *part,
             size_t *ret_used)
{
	switch ((enum rdb_state)r->state) {
	case RDB_BIG_PLAIN: return feed_plain(r, in, part, ret_used);
	case RDB_BIG_LZF: return feed_lzf(r, in, part, ret_used);
	case RDB_BIG_ITEMS: return feed_item(r, in, part, ret_used);
	case RDB_BIG_NODES: return feed_nodes(r, in, part, ret_used);
	case RDB_BIG_NODE: return feed_node(r, in, part, ret_used);
	case RDB_BIG_SKIP: return feed_skip(r, in, part, ret_used);
	case RDB_AT_HEADER:
	case RDB_AT_RECORD:
	case RDB_AT_VALUE:
	case RDB_AT_END:
	case RDB_DEAD: break;
	}
	NEVER("not a big value's state");
}
