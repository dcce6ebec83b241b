/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/scan.c: every key of a side, by SCAN.
 *
 * SOURCE marks each key of the authority (COPY does the rest); GHOSTS looks, after
 * a gap in the stream, for keys that only the other side has. For sweep.c both, but
 * only for keys of dirty buckets. Where such keys are to stay EXTRA remembers them.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

#define SCAN_QUEUE 4000 /* keys waiting for a copy; more is not asked for */
#define SCAN_COUNT 500

void
scan_start(struct mover *m, bool compare, bool sweep)
{
	m->scan = (struct scan){
		.phase = SCAN_SOURCE,
		.compare = compare,
		.sweep = sweep && !m->keep_extra,
		.count = SCAN_COUNT,
	};
}

void
scan_start_buckets(struct mover *m)
{
	/* Who had records of his own keeps them: nothing is dirty there that
	 * was not removed at once (tail.c). */
	scan_start(m, true, true);
	m->scan.by_bucket = true;
}

void
scan_start_db(struct mover *m, uint32_t db)
{
	scan_start(m, true, false);
	m->scan.by_db = true;
	m->scan.db = db;
}

static enum side
scan_side(const struct mover *m)
{
	return m->scan.phase == SCAN_SOURCE ? m->from : side_other(m->from);
}

bool
scan_has_extra(const struct mover *m)
{
	return m->keep_extra && !m->conf->one_shot && !mark_is_on(m);
}

void
scan_start_extra(struct mover *m)
{
	m->scan = (struct scan){ .phase = SCAN_EXTRA, .count = SCAN_COUNT };
}

/* Nothing is left to be asked for in this phase. */
static void
next_phase(struct mover *m)
{
	struct scan *s = &m->scan;

	if (s->exists_n > 0)
		return;
	s->db_at = 0;
	s->cursor = 0;
	if (s->phase == SCAN_SOURCE && s->sweep)
		s->phase = SCAN_GHOSTS;
	else if (s->phase == SCAN_SOURCE && m->stage == STAGE_FILL &&
	         scan_has_extra(m))
		s->phase = SCAN_EXTRA;
	else
		s->phase = SCAN_DONE;
}

static const uint32_t *
scan_dbs(const struct mover *m, enum side side, uint32_t *ret_n)
{
	if (m->scan.by_bucket) {
		*ret_n = m->pend.buckets.db_n;
		return m->pend.buckets.dbs;
	}
	if (m->scan.by_db) {
		*ret_n = 1;
		return &m->scan.db;
	}
	*ret_n = m->server[side].db_n;
	return m->server[side].dbs;
}

/* Enough waits for a copy. EXTRA adds nothing to that. */
static bool
is_full(const struct mover *m)
{
	if (m->scan.phase == SCAN_EXTRA)
		return false;
	return m->pend.queued.n > SCAN_QUEUE ||
	       (m->scan.by_bucket && pend_count(&m->pend) > m->limits.marks);
}

void
scan_run(struct mover *m)
{
	struct scan *s = &m->scan;
	enum side side = scan_side(m);
	struct conn *c = &m->cmd[side];
	uint32_t n;
	const uint32_t *dbs = scan_dbs(m, side, &n);
	struct buf *b;

	if (s->phase == SCAN_OFF || s->phase == SCAN_DONE || s->is_asked ||
	    (moved_is_paused(m) && !s->by_bucket) || m->failed || is_full(m) ||
	    s->exists_n > SCAN_QUEUE)
		return;
	if (s->db_at >= n) {
		next_phase(m);
		return;
	}
	conn_select(m, c, dbs[s->db_at]);
	b = conn_out(m, c);
	resp_put_array(b, 4);
	resp_put_bulk_str(b, "SCAN");
	resp_put_bulk_u64(b, s->cursor);
	resp_put_bulk_str(b, "COUNT");
	resp_put_bulk_u64(b, s->count);
	(void)conn_want(m, c, WANT_SCAN, 1);
	s->is_asked = true;
}

/* Is this key to be looked at? The sweep takes those of dirty buckets, the fill
 * leaves them to it. */
static bool
is_wanted(struct mover *m, uint32_t db, struct span key)
{
	const struct buckets *b = &m->pend.buckets;

	if (whose_is_other(m, key) || pend_find(&m->pend, db, key) != NULL ||
	    (m->scan.by_gained && !moved_is_gained(m, key)))
		return false;
	if (!m->scan.by_bucket)
		return !bucket_has(b, db, key);
	return bucket_is_now(b, db, key) && !dirty_is_kept(m, db, key);
}

/* No unit of the stream may bring this key back after a loss: nothing passes
 * before it is copied. NULL: out of memory. */
static struct mark *
mark(struct mover *m, uint32_t db, struct span key)
{
	struct mark *k;

	mover_unsettle(m);
	k = pend_mark(&m->pend, db, key, tail_place(m), 0);
	if (k == NULL)
		mover_fail(m, ERR_NOMEM, "out of memory");
	else if (m->scan.by_bucket)
		pend_hold(&m->pend, k);
	else
		pend_found(&m->pend, k);
	return k;
}

static void
on_source_key(struct mover *m, uint32_t db, struct span key)
{
	struct mark *k;

	if (!is_wanted(m, db, key))
		return;
	k = mark(m, db, key);
	if (k == NULL)
		return;
	k->compare = m->scan.compare;
	k->is_fill = !m->scan.compare || m->rebuild;
}

static void
on_other_key(struct mover *m, uint32_t db, struct span key)
{
	struct conn *c = &m->cmd[m->from];
	struct buf *b;

	if (!is_wanted(m, db, key))
		return;
	conn_select(m, c, db);
	b = conn_out(m, c);
	resp_put_array(b, 2);
	resp_put_bulk_str(b, "EXISTS");
	resp_put_bulk(b, key);
	conn_key(c, conn_want(m, c, WANT_EXISTS, 1), db, key);
	m->scan.exists_n++;
}

/* *2 cursor *n keys */
void
scan_reply(struct mover *m, struct conn *c, struct span reply)
{
	struct scan *s = &m->scan;
	struct resp_item item;
	uint32_t n_dbs;
	uint32_t db = scan_dbs(m, c->side, &n_dbs)[s->db_at];
	uint64_t cursor;
	int64_t n;

	if (resp_read(&reply, &item) != WIRE_PART || item.type != RESP_ARRAY ||
	    resp_read(&reply, &item) != WIRE_PART ||
	    !words_number(item.text, &cursor) ||
	    resp_read(&reply, &item) != WIRE_PART || item.type != RESP_ARRAY) {
		mover_fail(m, ERR_REFUSED, "%s: SCAN refused",
		           m->conf->side[c->side].label);
		return;
	}
	s->is_asked = false;
	for (n = item.number; n > 0; n--) {
		if (resp_read(&reply, &item) != WIRE_PART || m->failed)
			return;
		if (s->phase == SCAN_SOURCE)
			on_source_key(m, db, item.text);
		else
			on_other_key(m, db, item.text);
	}
	s->cursor = cursor;
	if (cursor == 0)
		s->db_at++;
}

void
scan_exists(struct mover *m, struct conn *c, struct span reply)
{
	struct span key;
	uint32_t db;

	REQUIRE(m->scan.exists_n > 0);
	m->scan.exists_n--;
	if (!conn_take_key(c, &db, &key) || !span_eq(reply, SPAN(":0\r\n")) ||
	    pend_find(&m->pend, db, key) != NULL)
		return;
	if (m->scan.phase == SCAN_EXTRA)
		dirty_extra(m, db, key);
	else
		(void)mark(m, db, key);
}
