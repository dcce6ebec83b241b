/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/scan.c: every key of a side, by SCAN.
 *
 * SOURCE marks each key of the authority (COPY does the rest); GHOSTS looks, after
 * a gap in the stream, for keys that only the other side has.
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

static enum side
scan_side(const struct mover *m)
{
	return m->scan.phase == SCAN_SOURCE ? m->from : side_other(m->from);
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
	else
		s->phase = SCAN_DONE;
}

void
scan_run(struct mover *m)
{
	struct scan *s = &m->scan;
	enum side side = scan_side(m);
	struct conn *c = &m->cmd[side];
	const struct server *sv = &m->server[side];
	struct buf *b;

	if (s->phase == SCAN_OFF || s->phase == SCAN_DONE || s->is_asked ||
	    m->paused || m->failed || m->pend.queued.n > SCAN_QUEUE ||
	    s->exists_n > SCAN_QUEUE)
		return;
	if (s->db_at >= sv->db_n) {
		next_phase(m);
		return;
	}
	conn_select(m, c, sv->dbs[s->db_at]);
	b = conn_out(m, c);
	resp_put_array(b, 4);
	resp_put_bulk_str(b, "SCAN");
	resp_put_bulk_u64(b, s->cursor);
	resp_put_bulk_str(b, "COUNT");
	resp_put_bulk_u64(b, s->count);
	(void)conn_want(m, c, WANT_SCAN, 1);
	s->is_asked = true;
}

static void
on_source_key(struct mover *m, uint32_t db, struct span key)
{
	struct mark *k;

	if (is_ours(key) || pend_find(&m->pend, db, key) != NULL)
		return;
	mover_unsettle(m);
	k = pend_mark(&m->pend, db, key, tail_place(m), 0);
	if (k == NULL) {
		mover_fail(m, ERR_NOMEM, "out of memory");
		return;
	}
	k->compare = m->scan.compare;
	k->is_fill = !m->scan.compare || m->rebuild;
}

static void
on_other_key(struct mover *m, uint32_t db, struct span key)
{
	struct conn *c = &m->cmd[m->from];
	struct buf *b;

	if (is_ours(key) || pend_find(&m->pend, db, key) != NULL)
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
	uint32_t db = m->server[c->side].dbs[s->db_at];
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
	if (conn_take_key(c, &db, &key) && span_eq(reply, SPAN(":0\r\n")))
		tail_mark(m, db, key, tail_place(m), 0);
}
