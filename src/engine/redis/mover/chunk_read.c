/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/chunk_read.c: the replies to what chunk.c asks.
 */
#include "base/check.h"
#include "engine/redis/mover/chunk.h"
#include "engine/redis/mover/state.h"

#define PIECE_BYTES 131072 /* aim of one piece's reply */
#define PIECE_MIN   16
#define PIECE_MAX   2000
#define LIST_MAX    20000

/* ---- replies ---------------------------------------------------------------- */

void
chunk_count(struct mover *m, const struct chunk *c, uint64_t bytes,
            uint64_t records)
{
	if (c->is_first)
		board_copied(m->conf->board, records, bytes);
}

static struct conn *
writer(struct mover *m)
{
	return &m->cmd[side_other(m->from)];
}

static void
begin_scan(struct mover *m, struct chunk *c)
{
	c->phase = CHUNK_SCAN;
	pend_chunk(&m->pend, c->k);
	if (chunk_is_ordered(c))
		order_begin(m, c);
}

static void
on_type(struct mover *m, struct chunk *c, struct span text)
{
	const struct mark *k = c->k;

	/* Fields of hashes may expire on their own from 7.4 on. */
	if (span_eq(text, SPAN("+hash\r\n")) &&
	    m->server[m->from].version < 70400) {
		c->kind = CHUNK_HASH;
	} else if (span_eq(text, SPAN("+set\r\n"))) {
		c->kind = CHUNK_SET;
	} else if (span_eq(text, SPAN("+zset\r\n"))) {
		c->kind = CHUNK_ZSET;
	} else if (span_eq(text, SPAN("+string\r\n"))) {
		c->kind = CHUNK_STRING;
	} else if (span_eq(text, SPAN("+list\r\n"))) {
		c->kind = CHUNK_LIST;
	} else if (span_eq(text, SPAN("+stream\r\n"))) {
		c->kind = CHUNK_STREAM;
	} else {
		chunk_restart(m, c, true);
		return;
	}
	if (k->is_fill && !k->compare && m->conf->rule != MOVER_RULE_REPLACE) {
		c->phase = CHUNK_CLAIM;
		chunk_ask(m, c, writer(m), "EXISTS");
		return;
	}
	chunk_remove(m, c);
	begin_scan(m, c);
}

/* The rule is to keep what is there: only a key that is not can be written
 * piece by piece. */
static void
on_claim(struct mover *m, struct chunk *c, struct span text)
{
	if (span_eq(text, SPAN(":0\r\n")))
		begin_scan(m, c);
	else
		chunk_restart(m, c, true);
}

/* n elements (pairs but for sets) from *in to the other side. */
static void
write_piece(struct mover *m, const struct chunk *c, struct span in, size_t n)
{
	static const char *const names[] = { "HSET", "SADD", "ZADD" };
	struct resp_item item;
	struct resp_item score;
	struct buf *b;

	if (n == 0)
		return;
	b = chunk_write(m, c, names[c->kind], n);
	for (size_t i = 0; i < n; i++) {
		REQUIRE(resp_read(&in, &item) == WIRE_PART);
		if (c->kind == CHUNK_ZSET) {
			REQUIRE(resp_read(&in, &score) == WIRE_PART);
			resp_put_bulk(b, score.text);
			i++;
		}
		resp_put_bulk(b, item.text);
	}
}

void
chunk_adapt(struct chunk *c, size_t bytes)
{
	uint64_t min = chunk_is_ordered(c) ? 1 : PIECE_MIN;
	uint64_t max = c->kind == CHUNK_LIST ? LIST_MAX : PIECE_MAX;
	uint64_t n = c->count * (uint64_t)PIECE_BYTES / (bytes + 1) + 1;

	if (n > 2 * (uint64_t)c->count)
		n = 2 * (uint64_t)c->count;
	c->count = (uint32_t)(n < min ? min : n > max ? max : n);
}

static bool
on_piece(struct mover *m, struct chunk *c, struct span *in)
{
	struct resp_item item;
	struct span items;
	size_t was = in->n;
	size_t n;

	if (resp_read(in, &item) != WIRE_PART || item.type != RESP_ARRAY ||
	    item.number != 2 || resp_read(in, &item) != WIRE_PART ||
	    !words_number(item.text, &c->cursor) ||
	    resp_read(in, &item) != WIRE_PART || item.type != RESP_ARRAY)
		return false;
	n = (size_t)item.number;
	if (c->kind != CHUNK_SET && n % 2 != 0)
		return false;
	items = *in;
	for (size_t i = 0; i < n; i++)
		if (resp_read(in, &item) != WIRE_PART || item.type != RESP_BULK)
			return false;
	write_piece(m, c, items, n);
	chunk_count(m, c, was - in->n, 0);
	chunk_adapt(c, was - in->n);
	return true;
}

/* Is this element there? RESP_BULK: with this value. */
static bool
is_there(const struct resp_item *item)
{
	return item->type == RESP_BULK ||
	       (item->type == RESP_INT && item->number == 1);
}

/* The elements of c->reading: those there, or those gone, in one command. */
static void
write_elems(struct mover *m, const struct chunk *c, struct span in, size_t n,
            bool there)
{
	static const char *const set[] = { "HSET", "SADD", "ZADD" };
	static const char *const drop[] = { "HDEL", "SREM", "ZREM" };
	const struct elem *x = c->reading.first;
	size_t per = there && c->kind != CHUNK_SET ? 2 : 1;
	struct resp_item item;
	struct buf *b;

	if (n == 0)
		return;
	b = chunk_write(m, c, (there ? set : drop)[c->kind], n * per);
	for (; x != NULL; x = x->turn.next) {
		REQUIRE(resp_read(&in, &item) == WIRE_PART);
		if (is_there(&item) != there)
			continue;
		if (there && c->kind == CHUNK_ZSET)
			resp_put_bulk(b, item.text);
		resp_put_bulk(b, chunk_name(c, x));
		if (there && c->kind == CHUNK_HASH)
			resp_put_bulk(b, item.text);
	}
}

static bool
on_elems(struct mover *m, struct chunk *c, struct span *in)
{
	struct resp_item item;
	struct span items;
	size_t n = c->reading.n;
	size_t there = 0;

	if (resp_read(in, &item) != WIRE_PART || item.type != RESP_ARRAY ||
	    item.number != (int64_t)n)
		return false;
	items = *in;
	for (size_t i = 0; i < n; i++) {
		if (resp_read(in, &item) != WIRE_PART)
			return false;
		there += is_there(&item);
	}
	write_elems(m, c, items, there, true);
	write_elems(m, c, items, n - there, false);
	return true;
}

static void
drop_elem(struct chunk *c, struct elem *x)
{
	map_drop(&c->elems, (struct map_entry *)(void *)x - 1);
}

/* All of c->reading was read at `at`. */
static void
elems_read(struct mover *m, struct chunk *c, uint64_t at)
{
	uint64_t s = tail_place(m).at;

	while (c->reading.first != NULL) {
		struct elem *x = elem_turn_pop(&c->reading);

		if (x->skipped > at) {
			x->state = ELEM_QUEUED;
			elem_turn_push(&c->queued, x);
		} else if (at <= s) {
			drop_elem(c, x);
		} else {
			x->state = ELEM_AHEAD;
			x->at = at;
			elem_turn_push(&c->ahead, x);
		}
	}
}

/* The other side has what the authority had at s. */
static void
finish(struct mover *m, struct chunk *c)
{
	struct mark *k = c->k;

	if (c->expires_ms > 0)
		resp_put_bulk_i64(chunk_write(m, c, "PEXPIREAT", 1),
		                  c->expires_ms);
	chunk_free(m, c);
	pend_chunked(&m->pend, k);
	/* Only a probe sent from now on proves that it is there. */
	m->settle_after = m->probes_sent + 1;
	m->need_probe = true;
}

static void
pass_one(struct mover *m, struct chunk *c, uint64_t s)
{
	if (c->has_piece && c->phase == CHUNK_SCAN && s >= c->piece_at &&
	    !c->k->is_stale) {
		order_join(m, c);
		return;
	}
	while (c->ahead.first != NULL && c->ahead.first->at <= s)
		drop_elem(c, elem_turn_pop(&c->ahead));
	if (c->phase != CHUNK_TIMED || s < c->expires_at)
		return;
	if (c->k->is_stale)
		return;
	if (c->elems.count > 0)
		c->phase = CHUNK_SETTLE;
	else
		finish(m, c);
}

void
chunk_pass(struct mover *m, uint64_t s)
{
	if (m->chunks.n == 0)
		return;
	for (int i = 0; i < CHUNKS; i++)
		if (m->chunks.at[i].phase >= CHUNK_SCAN)
			pass_one(m, &m->chunks.at[i], s);
}

static bool
on_clock(struct chunk *c, struct span *in)
{
	struct resp_item item;

	if (resp_read(in, &item) != WIRE_PART || item.type != RESP_INT)
		return false;
	c->expires_ms = item.number;
	return true;
}

/* What follows from a piece read at `at`. */
static void
piece_done(struct mover *m, struct chunk *c, uint64_t at)
{
	switch ((enum chunk_phase)c->phase) {
	case CHUNK_SCAN:
		if (chunk_is_ordered(c)) {
			c->piece_at = at;
			pass_one(m, c, tail_place(m).at);
			return;
		}
		c->last = at;
		if (c->cursor != 0)
			return;
		c->phase = CHUNK_SETTLE;
		chunk_count(m, c, 0, 1);
		return;
	case CHUNK_SETTLE: elems_read(m, c, at); return;
	case CHUNK_CLOCK:
		if (c->expires_ms == -2) {
			chunk_restart(m, c, false); /* it is gone */
			return;
		}
		c->phase = CHUNK_TIMED;
		c->expires_at = at;
		pass_one(m, c, tail_place(m).at);
		return;
	case CHUNK_FREE:
	case CHUNK_TYPE:
	case CHUNK_CLAIM:
	case CHUNK_COUNT:
	case CHUNK_TIMED: break;
	}
	NEVER("no piece is read then");
}

/* *2, what was read, ROLE; more for lists and streams. */
static void
on_exec(struct mover *m, struct chunk *c, struct span reply)
{
	struct resp_item item;
	bool ok = false;
	int64_t at;

	if (resp_read(&reply, &item) != WIRE_PART || item.type != RESP_ARRAY ||
	    item.number < 2) {
		/* Not allowed? Then in one read. */
		chunk_restart(m, c, true);
		return;
	}
	if (c->phase == CHUNK_SCAN && chunk_is_ordered(c))
		ok = order_take(m, c, &reply);
	else if (c->phase == CHUNK_SCAN)
		ok = on_piece(m, c, &reply);
	else if (c->phase == CHUNK_SETTLE)
		ok = on_elems(m, c, &reply);
	else if (c->phase == CHUNK_CLOCK)
		ok = on_clock(c, &reply);
	if (!ok) {
		/* Of another type by now, or not as expected. */
		chunk_restart(m, c, false);
		return;
	}
	at = role_offset(reply);
	if (at < 0) {
		mover_fail(m, ERR_REFUSED,
		           "%s: is not a master any more; make it one",
		           m->conf->side[m->from].label);
		return;
	}
	pend_piece(&m->pend, (uint64_t)at);
	piece_done(m, c, (uint64_t)at);
}

void
chunk_reply(struct mover *m, const struct want *w, struct span reply)
{
	struct chunk *c = NULL;

	for (int i = 0; i < CHUNKS; i++)
		if (m->chunks.at[i].phase != CHUNK_FREE &&
		    m->chunks.at[i].serial == (uint64_t)w->expires_ms)
			c = &m->chunks.at[i];
	if (c == NULL)
		return; /* it was started again meanwhile */
	c->is_asked = false;
	if (c->k->is_stale)
		chunk_restart(m, c, false);
	else if (c->phase == CHUNK_TYPE)
		on_type(m, c, reply);
	else if (c->phase == CHUNK_CLAIM)
		on_claim(m, c, reply);
	else if (c->phase == CHUNK_COUNT)
		order_counted(m, c, reply);
	else
		on_exec(m, c, reply);
}
