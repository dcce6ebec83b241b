/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/chunk.c: big hashes, sets and sorted sets, piece by piece.
 * See chunk.h for the order of things and why it is right.
 * Source: redis.io/docs/latest/commands/scan: an element that is there from the
 * first call to the last is returned.
 */
#include "engine/redis/mover/chunk.h"

#include "base/check.h"
#include "base/hash.h"
#include "engine/redis/mover/state.h"

#define ASK_MAX     500    /* sizes asked for at a time                     */
#define RESTARTS    3      /* then it is read whole                         */
#define PIECE_BYTES 131072 /* aim of one piece's reply                     */
#define PIECE_FIRST 500
#define PIECE_MIN   16
#define PIECE_MAX   2000
#define REREAD_MAX  500 /* elements in one read                          */
#define ELEMS_MAX   200000
#define ELEMS_BYTES ((size_t)24 << 20)

/* ---- commands about named elements --------------------------------------- */

/* From argument 2 (behind the options) on in groups of `step`; each group is
 * about the element at place `elem` of it and about nothing else. step 0: about
 * the key's expiry. */
struct verb {
	const char *name;
	uint8_t step;
	uint8_t elem;
	bool has_options;
};

static const struct verb verbs[] = {
	{ "hset", 2, 0, false },         { "hmset", 2, 0, false },
	{ "hsetnx", 2, 0, false },       { "hincrby", 2, 0, false },
	{ "hincrbyfloat", 2, 0, false }, { "hdel", 1, 0, false },
	{ "sadd", 1, 0, false },         { "srem", 1, 0, false },
	{ "zadd", 2, 1, true },          { "zincrby", 2, 1, false },
	{ "zrem", 1, 0, false },         { "geoadd", 3, 2, true },
	{ "expire", 0, 0, false },       { "pexpire", 0, 0, false },
	{ "expireat", 0, 0, false },     { "pexpireat", 0, 0, false },
	{ "persist", 0, 0, false },
};

static const struct verb *
verb_find(struct span name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (span_is_word(name, span_str(verbs[i].name)))
			return &verbs[i];
	return NULL;
}

static bool
is_option(struct span arg)
{
	static const char *const words[] = { "nx", "xx", "gt",
		                             "lt", "ch", "incr" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (span_is_word(arg, span_str(words[i])))
			return true;
	return false;
}

/* Where the groups begin; 0: there are none. *ret_args: arguments before. */
static size_t
groups_at(const struct verb *v, struct span request, uint32_t *ret_args)
{
	struct span arg;
	size_t pos = 0;
	size_t before;

	if (!resp_cmd_walk(request, &pos, &arg) ||
	    !resp_cmd_walk(request, &pos, &arg))
		return 0;
	*ret_args = 2;
	for (;;) {
		before = pos;
		if (!v->has_options || !resp_cmd_walk(request, &pos, &arg) ||
		    !is_option(arg))
			return before;
		++*ret_args;
	}
}

/* The next group: its bytes and its element. */
static bool
group_next(const struct verb *v, struct span request, size_t *pos,
           struct span *ret_bytes, struct span *ret_elem)
{
	size_t start = *pos;
	struct span arg;

	for (uint8_t i = 0; i < v->step; i++) {
		if (!resp_cmd_walk(request, pos, &arg))
			return false;
		if (i == v->elem)
			*ret_elem = arg;
	}
	*ret_bytes = span_of(request.p + start, *pos - start);
	return v->step > 0;
}

/* ---- life of a chunk ------------------------------------------------------ */

void
chunk_init(struct mover *m)
{
	for (int i = 0; i < CHUNKS; i++)
		map_init(&m->chunks.at[i].elems, m->port->mem,
		         sizeof(struct elem), m->port->entropy(m->port));
}

static void
free_slot(struct mover *m, struct chunk *c)
{
	map_fini(&c->elems);
	c->queued = (struct elem_turn_list){ 0 };
	c->reading = (struct elem_turn_list){ 0 };
	c->ahead = (struct elem_turn_list){ 0 };
	c->k = NULL;
	c->phase = CHUNK_FREE;
	c->is_asked = false;
	REQUIRE(m->chunks.n > 0);
	m->chunks.n--;
}

void
chunk_reset(struct mover *m)
{
	for (int i = 0; i < CHUNKS; i++)
		if (m->chunks.at[i].phase != CHUNK_FREE)
			free_slot(m, &m->chunks.at[i]);
	m->chunks.off = false;
}

/* All of the key again; whole: in one read. */
static void
restart(struct mover *m, struct chunk *c, bool whole)
{
	struct mark *k = c->k;

	if (c->phase >= CHUNK_SCAN) {
		k->is_fill = false;
		k->compare = false;
	}
	if (k->restarts < UINT8_MAX)
		k->restarts++;
	pend_requeue(&m->pend, k, whole || k->restarts > RESTARTS);
	free_slot(m, c);
}

/* The slot that takes care of this key's elements. */
static struct chunk *
chunk_of(struct mover *m, const struct mark *k)
{
	for (int i = 0; i < CHUNKS; i++)
		if (m->chunks.at[i].phase >= CHUNK_SCAN &&
		    m->chunks.at[i].k == k)
			return &m->chunks.at[i];
	return NULL;
}

static struct conn *
writer(struct mover *m)
{
	return &m->cmd[side_other(m->from)];
}

/* A command of ours to the other side; the rest of its arguments follow. */
static struct buf *
put_write(struct mover *m, const struct chunk *c, const char *verb, size_t args)
{
	struct conn *out = writer(m);
	struct span key = mark_key(&m->pend, c->k);
	uint32_t db = mark_db(c->k);
	struct buf *b;

	/* What is ahead of `passed` must not be read by clients. */
	REQUIRE((atomic_load(&m->conf->board->unsettled) & 1) == 1);
	conn_select(m, out, db);
	b = conn_out(m, out);
	resp_put_array(b, 2 + args);
	resp_put_bulk_str(b, verb);
	resp_put_bulk(b, key);
	conn_key(out, conn_want(m, out, WANT_WRITE, 1), db, key);
	return b;
}

static void
put_remove(struct mover *m, const struct chunk *c)
{
	bool lazy = m->server[side_other(m->from)].lazy_expire;

	(void)put_write(m, c, lazy ? "DEL" : "UNLINK", 0);
}

/* ---- sizes ---------------------------------------------------------------- */

static uint32_t *
small_entry(struct mover *m, const struct mark *k, uint32_t *ret_tag)
{
	uint64_t h = hash_bytes(mark_key(&m->pend, k),
	                        m->pend.map.seed + mark_db(k));

	*ret_tag = (uint32_t)(h >> 32) | 1;
	return &m->chunks.small[h % CHUNK_SMALL];
}

static bool
may_chunk(const struct mover *m, const struct mark *k)
{
	return m->limits.chunk_min != SIZE_MAX && !m->chunks.off &&
	       !m->conf->naive && !k->merge && !(m->rebuild && k->is_fill);
}

bool
chunk_is_sized(struct mover *m, struct mark *k)
{
	uint32_t tag;

	if (k->is_sized || !may_chunk(m, k))
		return true;
	if (*small_entry(m, k, &tag) == tag)
		k->is_sized = true;
	return k->is_sized;
}

static void
ask_size(struct mover *m, struct mark *k)
{
	struct conn *c = &m->cmd[m->from];
	struct buf *b;

	pend_ask(&m->pend, k);
	conn_select(m, c, mark_db(k));
	b = conn_out(m, c);
	resp_put_array(b, 5);
	resp_put_bulk_str(b, "MEMORY");
	resp_put_bulk_str(b, "USAGE");
	resp_put_bulk(b, mark_key(&m->pend, k));
	resp_put_bulk_str(b, "SAMPLES");
	resp_put_bulk_str(b, "1");
	(void)conn_want(m, c, WANT_SIZE, 1);
}

void
chunk_size(struct mover *m, struct span reply)
{
	struct mark *k = m->pend.asking.first;
	struct resp_item item;
	uint64_t size = 0;
	uint32_t tag;
	uint32_t *entry;

	REQUIRE(k != NULL);
	if (resp_read(&reply, &item) == WIRE_PART && item.type == RESP_INT)
		size = (uint64_t)item.number;
	else if (item.type == RESP_ERROR)
		m->chunks.off = true; /* not allowed: read everything whole */
	if (size < m->limits.chunk_min / 4) {
		entry = small_entry(m, k, &tag);
		*entry = tag;
	}
	pend_sized(&m->pend, k, size >= m->limits.chunk_min && may_chunk(m, k));
}

/* ---- reads ----------------------------------------------------------------- */

/* Behind MULTI and one read. */
static void
put_exec(struct mover *m, struct chunk *c)
{
	struct conn *in = &m->cmd[m->from];
	struct buf *b = conn_out(m, in);

	resp_put_cmd(b, "ROLE", NULL);
	resp_put_cmd(b, "EXEC", NULL);
	(void)conn_want(m, in, WANT_SKIP, 3);
	conn_want(m, in, WANT_CHUNK, 1)->expires_ms = (int64_t)c->serial;
	c->is_asked = true;
}

static struct buf *
put_multi(struct mover *m, const struct chunk *c)
{
	struct conn *in = &m->cmd[m->from];
	struct buf *b;

	conn_select(m, in, mark_db(c->k));
	b = conn_out(m, in);
	resp_put_cmd(b, "MULTI", NULL);
	return b;
}

static void
ask_piece(struct mover *m, struct chunk *c)
{
	static const char *const names[] = { "HSCAN", "SSCAN", "ZSCAN" };
	struct buf *b = put_multi(m, c);

	resp_put_array(b, 5);
	resp_put_bulk_str(b, names[c->kind]);
	resp_put_bulk(b, mark_key(&m->pend, c->k));
	resp_put_bulk_u64(b, c->cursor);
	resp_put_bulk_str(b, "COUNT");
	resp_put_bulk_u64(b, c->count);
	put_exec(m, c);
}

static struct span
elem_name(const struct chunk *c, const struct elem *x)
{
	return map_key(&c->elems,
	               (const struct map_entry *)(const void *)x - 1);
}

static void
ask_elems(struct mover *m, struct chunk *c)
{
	static const char *const names[] = { "HMGET", "SMISMEMBER", "ZMSCORE" };
	struct buf *b = put_multi(m, c);
	size_t n = c->queued.n < REREAD_MAX ? c->queued.n : REREAD_MAX;

	resp_put_array(b, 2 + n);
	resp_put_bulk_str(b, names[c->kind]);
	resp_put_bulk(b, mark_key(&m->pend, c->k));
	for (; n > 0; n--) {
		struct elem *x = elem_turn_pop(&c->queued);

		x->state = ELEM_READING;
		x->skipped = 0;
		elem_turn_push(&c->reading, x);
		resp_put_bulk(b, elem_name(c, x));
	}
	put_exec(m, c);
}

static void
ask_clock(struct mover *m, struct chunk *c)
{
	struct buf *b = put_multi(m, c);

	resp_put_array(b, 2);
	resp_put_bulk_str(b, "PEXPIRETIME");
	resp_put_bulk(b, mark_key(&m->pend, c->k));
	put_exec(m, c);
	c->phase = CHUNK_CLOCK;
}

/* TYPE on the authority, EXISTS on the other side. */
static void
ask_word(struct mover *m, struct chunk *c, struct conn *of, const char *word)
{
	struct buf *b;

	conn_select(m, of, mark_db(c->k));
	b = conn_out(m, of);
	resp_put_array(b, 2);
	resp_put_bulk_str(b, word);
	resp_put_bulk(b, mark_key(&m->pend, c->k));
	conn_want(m, of, WANT_CHUNK, 1)->expires_ms = (int64_t)c->serial;
	c->is_asked = true;
}

/* Elements are read again only when the stream makes no new ones dirty. */
static bool
is_live(struct mover *m, const struct chunk *c)
{
	uint64_t s = tail_place(m).at;

	return m->margin != UINT64_MAX && s >= m->margin && s >= c->last;
}

static void
go_on(struct mover *m, struct chunk *c)
{
	if (c->k->is_stale) {
		restart(m, c, false);
		return;
	}
	if (c->is_asked)
		return;
	if (c->phase == CHUNK_SCAN) {
		ask_piece(m, c);
	} else if (c->phase == CHUNK_SETTLE && is_live(m, c)) {
		if (c->queued.n > 0)
			ask_elems(m, c);
		else if (c->elems.count == 0 && !m->is_pressed)
			ask_clock(m, c);
	}
}

static void
start(struct mover *m, struct chunk *c)
{
	uint64_t seed = c->elems.seed;

	REQUIRE(c->phase == CHUNK_FREE);
	*c = (struct chunk){ .phase = CHUNK_TYPE,
		             .k = m->pend.big.first,
		             .is_first = m->pend.big.first->is_fill,
		             .count = PIECE_FIRST,
		             .serial = ++m->chunks.serial };
	map_init(&c->elems, m->port->mem, sizeof(struct elem), seed);
	m->chunks.n++;
	pend_take(&m->pend, c->k);
	ask_word(m, c, &m->cmd[m->from], "TYPE");
}

/* Not in the first copy: there every unit makes elements dirty. */
static bool
may_start(const struct mover *m)
{
	return m->pend.big.n > 0 && m->margin != UINT64_MAX;
}

void
chunk_run(struct mover *m)
{
	const struct conn *out = writer(m);
	struct mark *k;

	while ((k = m->pend.queued.first) != NULL &&
	       m->pend.asking.n < ASK_MAX && !chunk_is_sized(m, k))
		ask_size(m, k);
	if (m->port->now_ns > m->chunks.small_ns) {
		m->chunks.small_ns = m->port->now_ns + 10 * SECOND;
		memset(m->chunks.small, 0, sizeof(m->chunks.small));
	}
	for (int i = 0; i < CHUNKS; i++) {
		struct chunk *c = &m->chunks.at[i];

		if (conn_backlog(out) >= m->limits.writer_tx / 4)
			return;
		if (c->phase == CHUNK_FREE && may_start(m))
			start(m, c);
		else if (c->phase != CHUNK_FREE)
			go_on(m, c);
	}
}

/* ---- replies ---------------------------------------------------------------- */

static void
count_bytes(struct mover *m, const struct chunk *c, uint64_t bytes,
            uint64_t records)
{
	struct board *b = m->conf->board;

	if (!c->is_first)
		return;
	atomic_fetch_add_explicit(&b->copied_bytes, bytes,
	                          memory_order_relaxed);
	atomic_fetch_add_explicit(&b->copied_records, records,
	                          memory_order_relaxed);
}

static void
begin_scan(struct mover *m, struct chunk *c)
{
	c->phase = CHUNK_SCAN;
	pend_chunk(&m->pend, c->k);
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
	} else {
		restart(m, c, true);
		return;
	}
	if (k->is_fill && !k->compare && m->conf->rule != MOVER_RULE_REPLACE) {
		c->phase = CHUNK_CLAIM;
		ask_word(m, c, writer(m), "EXISTS");
		return;
	}
	put_remove(m, c);
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
		restart(m, c, true);
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
	b = put_write(m, c, names[c->kind], n);
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

static bool
on_piece(struct mover *m, struct chunk *c, struct span *in)
{
	struct resp_item item;
	struct span items;
	size_t was = in->n;
	size_t n;
	uint64_t bytes;
	uint64_t count;

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
	bytes = was - in->n + 1;
	count_bytes(m, c, bytes, 0);
	count = c->count * (uint64_t)PIECE_BYTES / bytes + 1;
	if (count > 2 * (uint64_t)c->count)
		count = 2 * (uint64_t)c->count;
	c->count = count < PIECE_MIN   ? PIECE_MIN
	           : count > PIECE_MAX ? PIECE_MAX
	                               : (uint32_t)count;
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
	b = put_write(m, c, (there ? set : drop)[c->kind], n * per);
	for (; x != NULL; x = x->turn.next) {
		REQUIRE(resp_read(&in, &item) == WIRE_PART);
		if (is_there(&item) != there)
			continue;
		if (there && c->kind == CHUNK_ZSET)
			resp_put_bulk(b, item.text);
		resp_put_bulk(b, elem_name(c, x));
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
		resp_put_bulk_i64(put_write(m, c, "PEXPIREAT", 1),
		                  c->expires_ms);
	free_slot(m, c);
	pend_chunked(&m->pend, k);
	/* Only a probe sent from now on proves that it is there. */
	m->settle_after = m->probes_sent + 1;
	m->need_probe = true;
}

static void
pass_one(struct mover *m, struct chunk *c, uint64_t s)
{
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
		c->last = at;
		if (c->cursor != 0)
			return;
		c->phase = CHUNK_SETTLE;
		count_bytes(m, c, 0, 1);
		return;
	case CHUNK_SETTLE: elems_read(m, c, at); return;
	case CHUNK_CLOCK:
		if (c->expires_ms == -2) {
			restart(m, c, false); /* it is gone */
			return;
		}
		c->phase = CHUNK_TIMED;
		c->expires_at = at;
		pass_one(m, c, tail_place(m).at);
		return;
	case CHUNK_FREE:
	case CHUNK_TYPE:
	case CHUNK_CLAIM:
	case CHUNK_TIMED: break;
	}
	NEVER("no piece is read then");
}

/* *2, what was read, ROLE. */
static void
on_exec(struct mover *m, struct chunk *c, struct span reply)
{
	struct resp_item item;
	bool ok = false;
	int64_t at;

	if (resp_read(&reply, &item) != WIRE_PART || item.type != RESP_ARRAY ||
	    item.number != 2) {
		/* Not allowed? Then in one read. */
		restart(m, c, true);
		return;
	}
	if (c->phase == CHUNK_SCAN)
		ok = on_piece(m, c, &reply);
	else if (c->phase == CHUNK_SETTLE)
		ok = on_elems(m, c, &reply);
	else if (c->phase == CHUNK_CLOCK)
		ok = on_clock(c, &reply);
	if (!ok) {
		/* Of another type by now, or not as expected. */
		restart(m, c, false);
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
		restart(m, c, false);
	else if (c->phase == CHUNK_TYPE)
		on_type(m, c, reply);
	else if (c->phase == CHUNK_CLAIM)
		on_claim(m, c, reply);
	else
		on_exec(m, c, reply);
}

/* ---- the stream ---------------------------------------------------------------- */

/* Is the stream's unit only to mark? */
static bool
only_marks(const struct mover *m, uint64_t end)
{
	return m->margin == UINT64_MAX || m->is_pressed || end <= m->margin;
}

static struct unit_key *
keys_of(struct mover *m, size_t *ret_n)
{
	*ret_n = buf_len(&m->keys) / sizeof(struct unit_key);
	return (struct unit_key *)(void *)m->keys.p;
}

/* The chunk that a key belongs to, if it has one. */
static struct chunk *
chunk_at(struct mover *m, uint32_t db, struct span key)
{
	const struct mark *k = pend_find(&m->pend, db, key);

	return k == NULL ? NULL : chunk_of(m, k);
}

bool
chunk_has(struct mover *m, uint32_t db, struct span key)
{
	return m->chunks.n > 0 && chunk_at(m, db, key) != NULL;
}

/* A command on a key in chunks: must it wait? */
static bool
must_wait(struct mover *m, const struct chunk *c, const struct verb *v,
          struct span request, uint64_t end)
{
	struct span bytes;
	struct span name;
	uint32_t args;
	size_t pos = groups_at(v, request, &args);

	if (only_marks(m, end))
		return false;
	if (c->phase == CHUNK_CLOCK)
		return true;
	if (c->reading.n == 0)
		return false;
	while (group_next(v, request, &pos, &bytes, &name)) {
		const struct elem *x = map_get(&c->elems, name);

		if (x != NULL && x->state == ELEM_READING)
			return true;
	}
	return false;
}

/* One command: keys written as a whole are to be copied again. False: wait. */
static bool
look(struct mover *m, const struct resp_cmd *cmd, struct span request,
     uint32_t db, uint64_t end)
{
	const struct verb *v = verb_find(cmd->argv[0]);
	const struct word *w = words_find(cmd->argv[0]);
	struct words_key wk;
	struct words_at at = { 0 };

	while (words_key(w, request, cmd->argc, db, &at, &wk)) {
		struct chunk *c;

		if ((wk.use & WORD_WRITE) == 0 ||
		    (c = chunk_at(m, wk.db, wk.key)) == NULL)
			continue;
		if (v == NULL || c->k->is_stale)
			restart(m, c, false);
		else if (must_wait(m, c, v, request, end))
			return false;
	}
	return true;
}

static void
follow_select(const struct resp_cmd *cmd, uint32_t *db)
{
	uint64_t v;

	if (cmd->argc == 2 && span_is_word(cmd->argv[0], SPAN("select")) &&
	    words_number(cmd->argv[1], &v))
		*db = (uint32_t)v;
}

bool
chunk_look(struct mover *m, struct span unit, uint32_t db, uint64_t end)
{
	struct resp_cmd cmd;
	struct span one;
	size_t pos = 0;
	size_t n;
	struct unit_key *uk = keys_of(m, &n);

	if (m->chunks.n == 0)
		return true;
	while (feed_walk(unit, &pos, &cmd, &one)) {
		if (cmd.argc == 0)
			continue;
		follow_select(&cmd, &db);
		if (!look(m, &cmd, one, db, end))
			return false;
	}
	for (size_t i = 0; i < n; i++)
		uk[i].is_chunk = uk[i].mark != NULL &&
		                 (uk[i].w.use & WORD_WRITE) != 0 &&
		                 chunk_of(m, uk[i].mark) != NULL;
	return true;
}

/* The element has to be read after `end`. */
static void
mark_elem(struct chunk *c, struct span name, uint64_t end)
{
	bool is_new = false;
	struct map_entry *e = map_put(&c->elems, name, &is_new);
	struct elem *x;

	if (e == NULL || c->elems.count > ELEMS_MAX ||
	    c->elems.bytes > ELEMS_BYTES) {
		c->k->is_stale = true;
		if (e == NULL)
			return;
	}
	x = map_value(e);
	if (is_new) {
		x->state = ELEM_QUEUED;
		elem_turn_push(&c->queued, x);
	} else if (x->state == ELEM_READING) {
		if (end > x->skipped)
			x->skipped = end;
	} else if (x->state == ELEM_AHEAD && x->at < end) {
		elem_turn_remove(&c->ahead, x);
		x->state = ELEM_QUEUED;
		elem_turn_push(&c->queued, x);
	}
}

/* Does the unit's write to this element go on at once? Else it is covered. */
static bool
is_open(struct mover *m, struct chunk *c, struct span name, uint64_t end)
{
	const struct elem *x;

	if (only_marks(m, end) || c->phase == CHUNK_SCAN || end <= c->last) {
		mark_elem(c, name, end);
		return false;
	}
	x = map_get(&c->elems, name);
	if (x != NULL && x->state == ELEM_AHEAD && x->at < end)
		mark_elem(c, name, end);
	return x == NULL;
}

/* The groups that may go on, as a command for the other side. */
static void
do_command(struct mover *m, struct chunk *c, const struct verb *v,
           struct span request, uint64_t end)
{
	struct conn *out = writer(m);
	struct span bytes;
	struct span name;
	uint32_t args = 0;
	size_t start = groups_at(v, request, &args);
	size_t pos = start;
	size_t head = 0;
	size_t open = 0;
	struct buf *b;

	/* The expiry is read at the end; what is read then may not be late. */
	if (only_marks(m, end) &&
	    (c->phase == CHUNK_CLOCK || c->phase == CHUNK_TIMED)) {
		c->phase = CHUNK_SETTLE;
		c->is_asked = false;
		c->serial = ++m->chunks.serial;
	}
	buf_clear(&m->wrong);
	while (group_next(v, request, &pos, &bytes, &name)) {
		if (!is_open(m, c, name, end))
			continue;
		buf_put_span(&m->wrong, bytes);
		open++;
	}
	if (open == 0)
		return;
	REQUIRE(!buf_failed(&m->wrong));
	while (request.p[head++] != '\n')
		;
	conn_select(m, out, mark_db(c->k));
	b = conn_out(m, out);
	resp_put_array(b, args + open * v->step);
	buf_put_span(b, span_of(request.p + head, start - head));
	buf_put_span(b, buf_span(&m->wrong));
	conn_key(out, conn_want(m, out, WANT_WRITE, 1), mark_db(c->k),
	         mark_key(&m->pend, c->k));
}

void
chunk_unit(struct mover *m, struct span unit, uint32_t db, uint64_t end)
{
	struct resp_cmd cmd;
	struct span one;
	size_t pos = 0;

	if (m->chunks.n == 0)
		return;
	while (feed_walk(unit, &pos, &cmd, &one)) {
		const struct verb *v;
		struct chunk *c;

		if (cmd.argc == 0)
			continue;
		follow_select(&cmd, &db);
		v = verb_find(cmd.argv[0]);
		if (v == NULL || cmd.argc < 2)
			continue;
		c = chunk_at(m, db, cmd.argv[1]);
		if (c != NULL)
			do_command(m, c, v, one, end);
	}
}

/* ---- barriers and the end of the first copy ------------------------------------ */

void
chunk_flush(struct mover *m, uint32_t db)
{
	for (int i = 0; i < CHUNKS; i++) {
		struct chunk *c = &m->chunks.at[i];

		if (c->phase >= CHUNK_SCAN &&
		    (db == DB_ALL || mark_db(c->k) == db))
			restart(m, c, false);
	}
}

void
chunk_hold(struct mover *m)
{
	list_each(mark, k, turn, &m->pend.big)
		pend_hold(&m->pend, k);
}
