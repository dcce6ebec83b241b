/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/chunk_order.c: big strings, lists and streams, from their
 * beginning to their end.
 *
 * Their elements have no names that stay (a list's move with each LPUSH), but an
 * order. The other side holds a prefix of the value: the first bytes, elements or
 * entries that the authority had at the processed position s. The next piece is
 * read at offset a, and is joined to it exactly when the stream has come to a.
 * Meanwhile, what a unit does to the prefix is done to it at once, the rest is
 * ignored (chunk_tail.c, chunk_order_tail.c). For that no unit on the key may pass
 * between the question and the answer: it waits.
 *
 *   string   MULTI; GETRANGE k have ..; STRLEN k; ROLE; EXEC    -> SETRANGE
 *            The first one makes room for all of it: a string that grows is moved
 *            again and again, and needs twice its memory meanwhile.
 *   list     MULTI; LRANGE k from ..; LLEN k; ROLE; EXEC        -> RPUSH
 *            from is a bit before the end of the prefix: elements may be popped
 *            at its head before a. What is there twice is dropped.
 *   stream   MULTI; XRANGE k (id + COUNT n; XINFO STREAM k; ROLE; EXEC
 *            -> XADD, XTRIM MINID (entries that were trimmed meanwhile); at the
 *            end XSETID. With groups in one DUMP: a pending entry whose message is
 *            gone, and when a consumer was seen, cannot be written by commands.
 */
#include "base/check.h"
#include "engine/redis/mover/chunk.h"
#include "engine/redis/mover/state.h"

#define STRING_PIECE ((size_t)256 << 10)
#define ORDER_FIRST  16 /* elements of the first piece */
#define GUARD_MIN    16

void
order_begin(struct mover *m, struct chunk *c)
{
	c->count = ORDER_FIRST;
	c->guard = GUARD_MIN;
	c->len = -1;
	c->is_sure = true;
	buf_init(&c->piece, m->port->mem);
}

bool
order_is_touched(const struct chunk *c)
{
	return c->have > 0 || !c->is_sure || c->has_piece || c->is_asked ||
	       c->after_n > 0 || c->phase != CHUNK_SCAN;
}

static uint64_t
from_of(const struct chunk *c)
{
	return c->have > c->guard ? c->have - c->guard : 0;
}

static void
put_key_cmd(struct mover *m, const struct chunk *c, struct buf *b,
            const char *verb, size_t args)
{
	resp_put_array(b, 2 + args);
	resp_put_bulk_str(b, verb);
	resp_put_bulk(b, mark_key(&m->pend, c->k));
}

void
order_ask(struct mover *m, struct chunk *c)
{
	struct buf *b = chunk_put_multi(m, c);

	c->from = from_of(c);
	if (c->kind == CHUNK_STRING) {
		c->asked = STRING_PIECE;
		put_key_cmd(m, c, b, "GETRANGE", 2);
		resp_put_bulk_u64(b, c->have);
		resp_put_bulk_u64(b, c->have + c->asked - 1);
		put_key_cmd(m, c, b, "STRLEN", 0);
	} else if (c->kind == CHUNK_LIST) {
		c->asked = c->count + (c->have - c->from);
		put_key_cmd(m, c, b, "LRANGE", 2);
		resp_put_bulk_u64(b, c->from);
		resp_put_bulk_u64(b, c->from + c->asked - 1);
		put_key_cmd(m, c, b, "LLEN", 0);
	} else {
		c->asked = c->count;
		put_key_cmd(m, c, b, "XRANGE", 4);
		if (c->after_n == 0)
			resp_put_bulk_str(b, "-");
		else
			resp_put_bulk(b, span_of(c->after, c->after_n));
		resp_put_bulk_str(b, "+");
		resp_put_bulk_str(b, "COUNT");
		resp_put_bulk_u64(b, c->asked);
		resp_put_array(b, 3);
		resp_put_bulk_str(b, "XINFO");
		resp_put_bulk_str(b, "STREAM");
		resp_put_bulk(b, mark_key(&m->pend, c->k));
	}
	chunk_put_exec(m, c, 2);
}

/* ---- the answer ----------------------------------------------------------- */

/* One whole value from the front of *in; n 0: there is none. */
static struct span
value_of(struct span *in)
{
	int64_t n = in->n == 0 ? 0 : resp_reply_len(*in);
	struct span v = span_of(in->p, n > 0 ? (size_t)n : 0);

	*in = span_skip(*in, v.n);
	return v;
}

bool
order_take(struct mover *m, struct chunk *c, struct span *in)
{
	struct span value = value_of(in);
	struct span more = value_of(in);

	if (value.n == 0 || more.n == 0 || more.p[0] == '-' ||
	    value.p[0] != (c->kind == CHUNK_STRING ? '$' : '*'))
		return false;
	chunk_count(m, c, value.n, 0);
	buf_clear(&c->piece);
	buf_put_span(&c->piece, value);
	buf_put_span(&c->piece, more);
	if (buf_failed(&c->piece))
		return false;
	chunk_adapt(c, value.n);
	c->has_piece = true;
	return true;
}

/* All of it is there; the stream is at the offset of the last piece. */
static void
complete(struct mover *m, struct chunk *c)
{
	c->last = c->piece_at;
	c->phase = CHUNK_SETTLE;
	buf_release(&c->piece);
	chunk_count(m, c, 0, 1);
}

static void
put_at(struct mover *m, struct chunk *c, uint64_t at, struct span bytes)
{
	struct buf *b = chunk_write(m, c, "SETRANGE", 2);

	resp_put_bulk_u64(b, at);
	resp_put_bulk(b, bytes);
}

static void
join_string(struct mover *m, struct chunk *c, struct span in)
{
	struct resp_item item;
	struct resp_item length;

	REQUIRE(resp_read(&in, &item) == WIRE_PART);
	REQUIRE(resp_read(&in, &length) == WIRE_PART);
	if (c->have == 0 && length.number > 0)
		put_at(m, c, (uint64_t)length.number - 1, span_of("", 1));
	if (item.text.n > 0)
		put_at(m, c, c->have, item.text);
	c->have += item.text.n;
	if (c->have == 0)
		chunk_restart(m, c, false);
	else if (item.text.n < c->asked)
		complete(m, c);
}

static void
join_list(struct mover *m, struct chunk *c, struct span in)
{
	struct resp_item item;
	struct span items;
	struct buf *b;
	uint64_t n;
	uint64_t skip;

	REQUIRE(c->is_sure);
	REQUIRE(resp_read(&in, &item) == WIRE_PART);
	n = (uint64_t)item.number;
	skip = c->have - c->from;
	items = in;
	for (uint64_t i = 0; i < n; i++) {
		if (i == skip && c->have >= c->from)
			items = in;
		REQUIRE(resp_read(&in, &item) == WIRE_PART);
	}
	if (resp_read(&in, &item) != WIRE_PART || item.type != RESP_INT ||
	    item.number == 0) {
		chunk_restart(m, c, false);
		return;
	}
	c->len = item.number;
	if (c->from > c->have) { /* so many were popped: a gap */
		c->guard = 2 * (c->from - c->have) + GUARD_MIN;
		return;
	}
	if (n > skip) {
		b = chunk_write(m, c, "RPUSH", n - skip);
		for (uint64_t i = skip; i < n; i++) {
			REQUIRE(resp_read(&items, &item) == WIRE_PART);
			resp_put_bulk(b, item.text);
		}
		c->have += n - skip;
	}
	if (c->have == (uint64_t)c->len)
		complete(m, c);
	else if (c->have > (uint64_t)c->len)
		chunk_restart(m, c, true); /* not as expected */
}

/* What XINFO STREAM says. */
struct stream_info {
	struct span last, deleted, first;
	int64_t length, added, groups;
};

static bool
info_read(struct span in, struct stream_info *ret)
{
	struct resp_item name;
	struct resp_item item;
	int64_t n;

	*ret = (struct stream_info){ .length = -1, .added = -1, .groups = -1 };
	if (resp_read(&in, &item) != WIRE_PART || item.type != RESP_ARRAY)
		return false;
	for (n = item.number / 2; n > 0; n--) {
		struct span value;

		if (resp_read(&in, &name) != WIRE_PART)
			return false;
		value = value_of(&in);
		if (resp_read(&value, &item) != WIRE_PART)
			return false;
		if (span_eq(name.text, SPAN("length")))
			ret->length = item.number;
		else if (span_eq(name.text, SPAN("entries-added")))
			ret->added = item.number;
		else if (span_eq(name.text, SPAN("groups")))
			ret->groups = item.number;
		else if (span_eq(name.text, SPAN("last-generated-id")))
			ret->last = item.text;
		else if (span_eq(name.text, SPAN("max-deleted-entry-id")))
			ret->deleted = item.text;
		else if (span_eq(name.text, SPAN("first-entry")) &&
		         item.type == RESP_ARRAY && item.number == 2 &&
		         resp_read(&value, &item) == WIRE_PART)
			ret->first = item.text;
	}
	return ret->added >= 0 && ret->groups >= 0 && ret->last.n > 0 &&
	       ret->deleted.n > 0;
}

/* Entries to the other side; *in moves behind them. */
static bool
put_entries(struct mover *m, struct chunk *c, struct span *in, uint64_t n)
{
	struct resp_item id;
	struct resp_item item;

	for (; n > 0; n--) {
		struct buf *b;

		if (resp_read(in, &item) != WIRE_PART || item.number != 2 ||
		    resp_read(in, &id) != WIRE_PART ||
		    id.text.n >= sizeof(c->after) ||
		    resp_read(in, &item) != WIRE_PART ||
		    item.type != RESP_ARRAY || item.number < 2)
			return false;
		b = chunk_write(m, c, "XADD", 1 + (size_t)item.number);
		resp_put_bulk(b, id.text);
		for (int64_t i = item.number; i > 0; i--) {
			REQUIRE(resp_read(in, &item) == WIRE_PART);
			resp_put_bulk(b, item.text);
		}
		c->after[0] = '(';
		memcpy(c->after + 1, id.text.p, id.text.n);
		c->after_n = (uint8_t)(id.text.n + 1);
	}
	return true;
}

static void
join_stream(struct mover *m, struct chunk *c, struct span in)
{
	struct span entries = value_of(&in);
	struct resp_item item;
	struct stream_info info;
	struct buf *b;
	uint64_t n;

	REQUIRE(resp_read(&entries, &item) == WIRE_PART);
	n = (uint64_t)item.number;
	if (!info_read(in, &info) || info.groups != 0) {
		chunk_restart(m, c, true);
		return;
	}
	if (info.length <= 0 || info.first.n == 0) {
		chunk_restart(m, c, false);
		return;
	}
	if (!put_entries(m, c, &entries, n)) {
		chunk_restart(m, c, true);
		return;
	}
	b = chunk_write(m, c, "XTRIM", 3);
	resp_put_bulk_str(b, "MINID");
	resp_put_bulk_str(b, "=");
	resp_put_bulk(b, info.first);
	if (n >= c->asked)
		return;
	b = chunk_write(m, c, "XSETID", 5);
	resp_put_bulk(b, info.last);
	resp_put_bulk_str(b, "ENTRIESADDED");
	resp_put_bulk_i64(b, info.added);
	resp_put_bulk_str(b, "MAXDELETEDID");
	resp_put_bulk(b, info.deleted);
	complete(m, c);
}

void
order_join(struct mover *m, struct chunk *c)
{
	struct span in = buf_span(&c->piece);

	REQUIRE(c->has_piece && c->phase == CHUNK_SCAN);
	c->has_piece = false;
	if (c->kind == CHUNK_LIST)
		join_list(m, c, in);
	else if (c->kind == CHUNK_STRING)
		join_string(m, c, in);
	else
		join_stream(m, c, in);
}

/* Only the other side knows how long the prefix is now. */
void
order_count(struct mover *m, struct chunk *c)
{
	/* An answer that is under way already is too old. */
	c->serial = ++m->chunks.serial;
	c->phase = CHUNK_COUNT;
	chunk_ask(m, c, &m->cmd[side_other(m->from)], "LLEN");
}

void
order_counted(struct mover *m, struct chunk *c, struct span reply)
{
	struct resp_item item;

	c->phase = CHUNK_SCAN;
	if (resp_read(&reply, &item) != WIRE_PART || item.type != RESP_INT) {
		chunk_restart(m, c, true);
		return;
	}
	c->have = (uint64_t)item.number;
	c->is_sure = true;
	if (c->has_piece && tail_place(m).at >= c->piece_at)
		order_join(m, c);
}
