/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/verify_page.c: a page of keys, read on both sides at the same time.
 *
 * Requests go to both sides before either is read, and the next page's SCAN
 * goes out with the heads of this one, so that both servers work while we look.
 * Head and value of a key are read one after the other, and the two sides at
 * slightly different moments: on live sides that can make equal keys look
 * different, which is what the second look (verify_doubt.c) is for.
 */
#include <stdlib.h>

#include "control/verify_parts.h"

bool
page_is_big(const struct value *x)
{
	return x->bytes > VERIFY_SMALL_BYTES && x->type != VALUE_NONE &&
	       x->type != VALUE_OTHER;
}

int
page_stopped(const struct verify *v, struct err *err)
{
	if (v->conf->stop != NULL && atomic_load(v->conf->stop))
		return err_set(err, ERR_ABORTED, "the comparison was stopped");
	return 0;
}

static void
ask_scan(struct peer *p, struct span cursor)
{
	resp_put_array(&p->out, 4);
	resp_put_bulk(&p->out, SPAN("SCAN"));
	resp_put_bulk(&p->out, cursor);
	resp_put_bulk(&p->out, SPAN("COUNT"));
	resp_put_bulk_u64(&p->out, VERIFY_PAGE);
}

/* A SCAN reply, copied: cursor and keys stay valid in *page. */
static int
keep_page(struct peer *p, struct span reply, struct buf *page, struct err *err)
{
	struct resp_item item;
	struct span in = reply;

	if (resp_read(&in, &item) == WIRE_PART && item.type == RESP_ERROR) {
		(void)reply_refused(item.text, err);
		return peer_wrap(p, err);
	}
	buf_clear(page);
	buf_put_span(page, reply);
	if (buf_failed(page))
		return err_set(err, ERR_NOMEM, "no memory for a page of keys");
	return 0;
}

/* Godwit's own, or of the other pass? */
static bool
is_skipped(const struct verify *v, struct span key)
{
	enum side side = v->is_back ? SIDE_NEW : SIDE_OLD;

	if (v->conf->slots != NULL) {
		uint32_t slot = hash_slot(key);

		if ((v->conf->slots[slot / 8] >> (slot % 8) & 1) == 0)
			return true;
	}
	return span_has_prefix(key, span_str(VERIFY_OWN)) ||
	       (v->conf->scope != NULL &&
	        scope_side(v->conf->scope, key) != side);
}

/* Cursor and keys of a kept page; our own keys are left out. */
static int
open_page(struct verify *v, const struct peer *p, const struct buf *page,
          struct span *ret_cursor, size_t *ret_n, struct err *err)
{
	struct span in = buf_span(page);
	struct resp_item item;
	struct resp_item cursor;
	size_t n = 0;

	if (!value_item(&in, RESP_ARRAY, &item) || item.number != 2 ||
	    !value_item(&in, RESP_BULK, &cursor) ||
	    !value_item(&in, RESP_ARRAY, &item)) {
		return peer_broken(p, "the answer to SCAN is broken", err);
	}
	*ret_cursor = cursor.text;
	if ((size_t)item.number > v->items_cap) {
		size_t cap = (size_t)item.number;
		struct item *more = realloc(v->items, cap * sizeof(*more));

		if (more == NULL)
			return err_set(err, ERR_NOMEM,
			               "no memory for a page of keys");
		v->items = more;
		v->items_cap = cap;
	}
	for (int64_t i = 0, all = item.number; i < all; i++) {
		if (!value_item(&in, RESP_BULK, &item)) {
			return peer_broken(p, "the answer to SCAN is broken",
			                   err);
		}
		if (is_skipped(v, item.text))
			continue;
		v->items[n].key = item.text;
		n++;
	}
	*ret_n = n;
	return 0;
}

static void
ask_heads(struct peer *p, const struct item *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		value_ask_head(&p->out, items[i].key, p->no_expiretime);
}

static int
read_heads(struct peer *p, struct span *in, uint32_t side, struct item *items,
           size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++)
		if (value_read_head(in, p->no_expiretime, p->time_ms,
		                    &items[i].v[side], err) < 0)
			return peer_wrap(p, err);
	return 0;
}

/* Is the whole value of this item to be read? sides: 1 authority, 2 other. */
static bool
wants_body(const struct item *it, uint32_t sides)
{
	for (uint32_t side = 0; side < 2; side++)
		if ((sides & (1u << side)) != 0 &&
		    (it->v[side].type == VALUE_NONE ||
		     page_is_big(&it->v[side])))
			return false;
	return true;
}

static uint64_t
body_bytes(const struct item *it, uint32_t sides)
{
	uint64_t x = (sides & 1) != 0 ? it->v[0].bytes : 0;
	uint64_t y = (sides & 2) != 0 ? it->v[1].bytes : 0;

	return x > y ? x : y;
}

static int
read_bodies(struct verify *v, uint32_t side, struct item *items, size_t n,
            uint32_t sides, uint32_t asked, struct err *err)
{
	struct peer *p = &v->peer[side];
	struct span in;
	int rc = peer_recv(p, asked, &in, err);

	for (size_t i = 0; rc == 0 && i < n; i++)
		if (wants_body(&items[i], sides) &&
		    value_read_body(&in, &v->rule, &items[i].v[side], err) < 0)
			rc = peer_wrap(p, err);
	return rc;
}

/* Ask for the values of one slice, from items on; *ret_asked: how many. Answers
 * how many items the slice has. */
static size_t
ask_slice(struct verify *v, const struct item *items, size_t n, uint32_t sides,
          uint32_t *ret_asked)
{
	uint64_t bytes = 0;
	size_t i;

	*ret_asked = 0;
	for (i = 0; i < n && bytes < VERIFY_SLICE_BYTES; i++) {
		const struct item *it = &items[i];

		if (!wants_body(it, sides))
			continue;
		if ((sides & 1) != 0)
			value_ask_body(&v->peer[0].out, it->v[0].type, it->key,
			               v->rule.field_ttl[0]);
		if ((sides & 2) != 0)
			value_ask_body(&v->peer[1].out, it->v[1].type, it->key,
			               v->rule.field_ttl[1]);
		bytes += body_bytes(it, sides);
		(*ret_asked)++;
	}
	return i;
}

/* The values of items, in slices of bounded size, on the given sides. */
static int
read_values(struct verify *v, struct item *items, size_t n, uint32_t sides,
            struct err *err)
{
	int rc = 0;

	while (rc == 0 && n > 0) {
		uint32_t asked;
		size_t some = ask_slice(v, items, n, sides, &asked);

		if (asked > 0 && (sides & 1) != 0)
			rc = peer_send(&v->peer[0], err);
		if (rc == 0 && asked > 0 && (sides & 2) != 0)
			rc = peer_send(&v->peer[1], err);
		if (rc == 0 && asked > 0 && (sides & 1) != 0)
			rc = read_bodies(v, 0, items, some, sides, asked, err);
		if (rc == 0 && asked > 0 && (sides & 2) != 0)
			rc = read_bodies(v, 1, items, some, sides, asked, err);
		items += some;
		n -= some;
	}
	return rc;
}

int
page_read(struct verify *v, uint32_t side, struct item *items, size_t n,
          struct err *err)
{
	struct peer *p = &v->peer[side];
	struct span in;
	int rc = p->no_expiretime ? peer_learn(p, err) : 0;

	if (rc < 0)
		return rc;
	ask_heads(p, items, n);
	if ((rc = peer_call(p, (uint32_t)n * VALUE_HEAD_REPLIES, &in, err)) <
	            0 ||
	    (rc = read_heads(p, &in, side, items, n, err)) < 0)
		return rc;
	return read_values(v, items, n, 1u << side, err);
}

int
page_run_big(struct verify *v, struct big *b, struct err *err)
{
	struct buf *const out[2] = { &v->peer[0].out, &v->peer[1].out };
	uint32_t n[2];
	int rc = 0;

	while (rc == 0 && big_ask(b, out, n)) {
		struct span reply[2] = { SPAN(""), SPAN("") };

		for (uint32_t side = 0; rc == 0 && side < 2; side++)
			if (n[side] > 0)
				rc = peer_send(&v->peer[side], err);
		for (uint32_t side = 0; rc == 0 && side < 2; side++)
			if (n[side] > 0)
				rc = peer_recv(&v->peer[side], n[side],
				               &reply[side], err);
		if (rc == 0)
			rc = big_take(b, reply, err);
		if (rc == 0)
			rc = page_stopped(v, err);
	}
	return rc;
}

/* A key too big to be read whole. */
static int
compare_big(struct verify *v, const struct item *it, struct err *err)
{
	enum value_diff diff;
	struct big b;
	int rc;

	big_init(&b, &v->mem, it->v[0].type, it->key, body_bytes(it, 3),
	         &v->rule);
	rc = page_run_big(v, &b, err);
	diff = b.diff;
	big_fini(&b);
	if (rc == 0 && diff != DIFF_NONE)
		rc = doubt_add(v, it->key, err);
	return rc;
}

static int
judge_items(struct verify *v, size_t n, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct item *it = &v->items[i];

		if (value_cmp_head(&it->v[0], &it->v[1], &v->rule) !=
		            DIFF_NONE ||
		    it->v[0].type == VALUE_NONE) {
			if (it->v[0].type != it->v[1].type ||
			    it->v[0].type != VALUE_NONE)
				rc = doubt_add(v, it->key, err);
			continue;
		}
		if (page_is_big(&it->v[0]) || page_is_big(&it->v[1]))
			rc = compare_big(v, it, err);
		else if (value_cmp(&it->v[0], &it->v[1], &v->rule) != DIFF_NONE)
			rc = doubt_add(v, it->key, err);
	}
	return rc;
}

/* Heads of the page's keys on both sides; the next page's SCAN goes along. */
static int
read_page_heads(struct verify *v, size_t n, struct span cursor, bool has_more,
                struct err *err)
{
	struct span in[2];
	uint32_t replies = (uint32_t)n * VALUE_HEAD_REPLIES;
	int rc = 0;

	for (uint32_t side = 0; rc == 0 && side < 2; side++) {
		ask_heads(&v->peer[side], v->items, n);
		if (side == 0 && has_more)
			ask_scan(&v->peer[0], cursor);
		rc = peer_send(&v->peer[side], err);
	}
	for (uint32_t side = 0; rc == 0 && side < 2; side++) {
		rc = peer_recv(&v->peer[side],
		               replies + (side == 0 && has_more), &in[side],
		               err);
		if (rc == 0)
			rc = read_heads(&v->peer[side], &in[side], side,
			                v->items, n, err);
	}
	if (rc == 0 && has_more)
		rc = keep_page(&v->peer[0], in[0], &v->page[1], err);
	return rc;
}

/* The first page of a walk. */
static int
first_page(struct verify *v, struct peer *p, struct err *err)
{
	struct span reply;
	int rc;

	ask_scan(p, SPAN("0"));
	if ((rc = peer_call(p, 1, &reply, err)) < 0)
		return rc;
	return keep_page(p, reply, &v->page[0], err);
}

/* The page that came along becomes the one in hand. */
static void
turn_page(struct verify *v)
{
	struct buf t = v->page[0];

	v->page[0] = v->page[1];
	v->page[1] = t;
}

static int
learn_clocks(struct verify *v, struct err *err)
{
	for (uint32_t side = 0; side < 2; side++)
		if (v->peer[side].no_expiretime &&
		    peer_learn(&v->peer[side], err) < 0)
			return -(int)err->code;
	return 0;
}

int
page_compare_all(struct verify *v, struct err *err)
{
	int rc = first_page(v, &v->peer[0], err);

	while (rc == 0) {
		struct span cursor = SPAN("0");
		bool has_more;
		size_t n = 0;

		if ((rc = page_stopped(v, err)) < 0 ||
		    (rc = open_page(v, &v->peer[0], &v->page[0], &cursor, &n,
		                    err)) < 0 ||
		    (rc = learn_clocks(v, err)) < 0)
			break;
		has_more = !span_eq(cursor, SPAN("0"));
		if ((rc = read_page_heads(v, n, cursor, has_more, err)) < 0 ||
		    (rc = read_values(v, v->items, n, 3, err)) < 0 ||
		    (rc = judge_items(v, n, err)) < 0)
			break;
		v->ret->compared += n;
		if (v->conf->progress != NULL)
			atomic_store(v->conf->progress, v->ret->compared);
		if (!has_more)
			break;
		turn_page(v);
	}
	return rc;
}

/* Some keys of the page are not on the authority: which? */
static int
find_extra(struct verify *v, size_t n, struct err *err)
{
	struct peer *p = &v->peer[0];
	struct resp_item item;
	struct span in;
	int rc;

	for (size_t i = 0; i < n; i++) {
		resp_put_array(&p->out, 2);
		resp_put_bulk(&p->out, SPAN("EXISTS"));
		resp_put_bulk(&p->out, v->items[i].key);
	}
	rc = peer_call(p, (uint32_t)n, &in, err);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (!value_item(&in, RESP_INT, &item)) {
			return peer_broken(p, "the answer to EXISTS is broken",
			                   err);
		}
		if (item.number == 0)
			v->items[i].v[1].bytes = UINT64_MAX;
		else
			v->items[i].v[1].bytes = 0;
	}
	for (size_t i = 0; rc == 0 && i < n; i++)
		if (v->items[i].v[1].bytes == UINT64_MAX)
			rc = doubt_add(v, v->items[i].key, err);
	return rc;
}

/* Ask the authority how many of the page's keys it has, and the other side for
 * its next page. */
static int
check_extra(struct verify *v, size_t n, struct span cursor, bool has_more,
            struct err *err)
{
	struct peer *p = &v->peer[0];
	struct resp_item item = { .number = 0 };
	/* A cluster takes keys of one slot at a time: find_extra() alone. */
	bool at_once = n > 0 && p->conf->own_tag[0] == '\0';
	struct span in;
	int rc = 0;

	if (at_once) {
		resp_put_array(&p->out, n + 1);
		resp_put_bulk(&p->out, SPAN("EXISTS"));
		for (size_t i = 0; i < n; i++)
			resp_put_bulk(&p->out, v->items[i].key);
		rc = peer_send(p, err);
	}
	if (rc == 0 && has_more) {
		ask_scan(&v->peer[1], cursor);
		rc = peer_send(&v->peer[1], err);
	}
	if (rc == 0 && at_once)
		rc = peer_recv(p, 1, &in, err);
	if (rc == 0 && at_once && !value_item(&in, RESP_INT, &item)) {
		return peer_broken(p, "the answer to EXISTS is broken", err);
	}
	if (rc == 0 && has_more)
		rc = peer_recv(&v->peer[1], 1, &in, err);
	if (rc == 0 && has_more)
		rc = keep_page(&v->peer[1], in, &v->page[1], err);
	if (rc == 0 && (uint64_t)item.number < n)
		rc = find_extra(v, n, err);
	return rc;
}

int
page_extra_all(struct verify *v, struct err *err)
{
	int rc = first_page(v, &v->peer[1], err);

	while (rc == 0) {
		struct span cursor = SPAN("0");
		bool has_more;
		size_t n = 0;

		if ((rc = page_stopped(v, err)) < 0 ||
		    (rc = open_page(v, &v->peer[1], &v->page[0], &cursor, &n,
		                    err)) < 0)
			break;
		has_more = !span_eq(cursor, SPAN("0"));
		rc = check_extra(v, n, cursor, has_more, err);
		if (!has_more)
			break;
		turn_page(v);
	}
	return rc;
}
