/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/chunk.c: big values, piece by piece.
 * See chunk.h for the order of things and why it is right.
 * Source: redis.io/docs/latest/commands/scan: an element that is there from the
 * first call to the last is returned.
 */
#include "engine/redis/mover/chunk.h"

#include "base/check.h"
#include "base/hash.h"
#include "engine/redis/mover/state.h"

#define ASK_MAX     500 /* sizes asked for at a time                     */
#define RESTARTS    3   /* then it is read whole                         */
#define PIECE_FIRST 500
#define REREAD_MAX  500 /* elements in one read                          */

/* ---- life of a chunk ------------------------------------------------------ */

void
chunk_init(struct mover *m)
{
	for (int i = 0; i < CHUNKS; i++)
		map_init(&m->chunks.at[i].elems, m->port->mem,
		         sizeof(struct elem), m->port->entropy(m->port));
}

void
chunk_free(struct mover *m, struct chunk *c)
{
	map_fini(&c->elems);
	buf_release(&c->piece);
	c->has_piece = false;
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
			chunk_free(m, &m->chunks.at[i]);
	m->chunks.off = false;
}

/* All of the key again; whole: in one read. */
void
chunk_restart(struct mover *m, struct chunk *c, bool whole)
{
	struct mark *k = c->k;

	if (c->phase >= CHUNK_SCAN) {
		k->is_fill = false;
		k->compare = false;
	}
	if (k->restarts < UINT8_MAX)
		k->restarts++;
	pend_requeue(&m->pend, k, whole || k->restarts > RESTARTS);
	chunk_free(m, c);
}

/* The slot that takes care of this key's elements. */
struct chunk *
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
struct buf *
chunk_write(struct mover *m, const struct chunk *c, const char *verb,
            size_t args)
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

void
chunk_remove(struct mover *m, const struct chunk *c)
{
	bool lazy = m->server[side_other(m->from)].lazy_expire;

	(void)chunk_write(m, c, lazy ? "DEL" : "UNLINK", 0);
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

/* Before 7.0 the other half of the commands that this needs is not there. */
static bool
may_chunk(const struct mover *m, const struct mark *k)
{
	return m->limits.chunk_min != SIZE_MAX && !m->chunks.off &&
	       !m->conf->naive && !k->merge && !(m->rebuild && k->is_fill) &&
	       !older_is_any(m);
}

bool
chunk_is_sized(struct mover *m, struct mark *k)
{
	uint32_t tag;

	if (k->is_sized || mark_is_on(m) || !may_chunk(m, k))
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

void
chunk_put_exec(struct mover *m, struct chunk *c, uint32_t reads)
{
	struct conn *in = &m->cmd[m->from];
	struct buf *b = conn_out(m, in);

	resp_put_cmd(b, "ROLE", NULL);
	resp_put_cmd(b, "EXEC", NULL);
	(void)conn_want(m, in, WANT_SKIP, 2 + reads);
	conn_want(m, in, WANT_CHUNK, 1)->expires_ms = (int64_t)c->serial;
	c->is_asked = true;
}

struct buf *
chunk_put_multi(struct mover *m, const struct chunk *c)
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
	struct buf *b = chunk_put_multi(m, c);

	resp_put_array(b, 5);
	resp_put_bulk_str(b, names[c->kind]);
	resp_put_bulk(b, mark_key(&m->pend, c->k));
	resp_put_bulk_u64(b, c->cursor);
	resp_put_bulk_str(b, "COUNT");
	resp_put_bulk_u64(b, c->count);
	chunk_put_exec(m, c, 1);
}

struct span
chunk_name(const struct chunk *c, const struct elem *x)
{
	return map_key(&c->elems,
	               (const struct map_entry *)(const void *)x - 1);
}

static void
ask_elems(struct mover *m, struct chunk *c)
{
	static const char *const names[] = { "HMGET", "SMISMEMBER", "ZMSCORE" };
	struct buf *b = chunk_put_multi(m, c);
	size_t n = c->queued.n < REREAD_MAX ? c->queued.n : REREAD_MAX;

	resp_put_array(b, 2 + n);
	resp_put_bulk_str(b, names[c->kind]);
	resp_put_bulk(b, mark_key(&m->pend, c->k));
	for (; n > 0; n--) {
		struct elem *x = elem_turn_pop(&c->queued);

		x->state = ELEM_READING;
		x->skipped = 0;
		elem_turn_push(&c->reading, x);
		resp_put_bulk(b, chunk_name(c, x));
	}
	chunk_put_exec(m, c, 1);
}

static void
ask_clock(struct mover *m, struct chunk *c)
{
	struct buf *b = chunk_put_multi(m, c);

	resp_put_array(b, 2);
	resp_put_bulk_str(b, "PEXPIRETIME");
	resp_put_bulk(b, mark_key(&m->pend, c->k));
	chunk_put_exec(m, c, 1);
	c->phase = CHUNK_CLOCK;
}

/* TYPE on the authority, EXISTS on the other side. */
void
chunk_ask(struct mover *m, struct chunk *c, struct conn *of, const char *word)
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
		chunk_restart(m, c, false);
		return;
	}
	if (c->is_asked)
		return;
	if (c->phase == CHUNK_SCAN && chunk_is_ordered(c)) {
		if (!c->has_piece && !m->is_pressed && is_live(m, c))
			order_ask(m, c);
	} else if (c->phase == CHUNK_SCAN) {
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
	chunk_ask(m, c, &m->cmd[m->from], "TYPE");
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

/* ---- barriers and the end of the first copy ------------------------------------ */

void
chunk_flush(struct mover *m, uint32_t db)
{
	for (int i = 0; i < CHUNKS; i++) {
		struct chunk *c = &m->chunks.at[i];

		if (c->phase >= CHUNK_SCAN &&
		    (db == DB_ALL || mark_db(c->k) == db))
			chunk_restart(m, c, false);
	}
}

void
chunk_hold(struct mover *m)
{
	list_each(mark, k, turn, &m->pend.big)
		pend_hold(&m->pend, k);
}
