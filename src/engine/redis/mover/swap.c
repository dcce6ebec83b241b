/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/swap.c: two databases change places (SWAPDB in the stream).
 *
 * When the bulk is over it is passed on in its turn: every key that is right on
 * the other side is right afterwards. A key that is pending in one of the two was
 * not right in one of them, so it is copied again in both. A key that the other side
 * has deleted by itself may be known by its old database only; so swaps are
 * remembered until their probe is settled, and a repair is one in both.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

struct swap {
	uint64_t probe; /* settled with this one: forget it */
	uint32_t a;
	uint32_t b;
};

/* Names as pend's map has them: 4 bytes of database, 4 of length, the key. */
static bool
collect(struct mover *m, const struct swap *w, struct buf *names)
{
	map_each(e, &m->pend.map) {
		const struct mark *k = map_value(e);
		struct span key = mark_key(&m->pend, k);
		uint32_t n = (uint32_t)key.n;

		if (mark_db(k) != w->a && mark_db(k) != w->b)
			continue;
		buf_put(names, &n, sizeof(n));
		buf_put_span(names, key);
	}
	return !buf_failed(names);
}

static void
mark_both(struct mover *m, const struct swap *w, struct span names)
{
	uint32_t n;

	while (names.n > 0 && !m->failed) {
		struct span key;

		memcpy(&n, names.p, sizeof(n));
		key = span_of(names.p + sizeof(n), n);
		/* The older bound of the mark that was there is not kept. */
		(void)dirty_hold(m, w->a, key);
		if (!m->failed)
			(void)dirty_hold(m, w->b, key);
		names = span_skip(names, sizeof(n) + n);
	}
}

/* Not in a cluster, which has one database. Godwit's own keys are in database 0: those that a swap took with it come back,
 * or go when there are others by now. */
static void
bring_home(struct mover *m, enum side side, uint32_t db)
{
	struct conn *c = &m->cmd[side];

	conn_select(m, c, db);
	resp_put_cmd(conn_out(m, c), "MOVE", "__godwit:fence", "0", NULL);
	resp_put_cmd(conn_out(m, c), "MOVE", "__godwit:fill", "0", NULL);
	(void)conn_want(m, c, WANT_SKIP, 2);
	resp_put_cmd(conn_out(m, c), "UNLINK", "__godwit:fence",
	             "__godwit:fill", "__godwit:mark", "__godwit:mark-back",
	             NULL);
	(void)conn_want(m, c, WANT_SKIP, 1);
}

void
swap_home(struct mover *m)
{
	for (int side = 0; side < SIDE_N; side++) {
		const struct server *sv = &m->server[side];

		for (uint32_t i = 0; i < sv->db_n; i++) {
			if (sv->dbs[i] != 0 && m->cmd[side].is_ready)
				bring_home(m, (enum side)side, sv->dbs[i]);
		}
	}
}

void
swap_end(struct mover *m, uint32_t a, uint32_t b)
{
	if (a == b || (a != 0 && b != 0))
		return;
	for (int side = 0; side < SIDE_N; side++)
		if (m->cmd[side].is_ready)
			bring_home(m, (enum side)side, a == 0 ? b : a);
}

bool
swap_read(struct span request, uint32_t ret[2])
{
	struct span arg;
	size_t pos = 0;
	uint64_t v[2];
	int n = 0;

	for (int i = 0; resp_cmd_walk(request, &pos, &arg); i++) {
		if (i == 0)
			continue;
		if (n == 2 || !words_number(arg, &v[n]) || v[n] >= DB_ALL)
			return false;
		ret[n] = (uint32_t)v[n];
		n++;
	}
	return n == 2;
}

bool
swap_can(struct mover *m, uint64_t end)
{
	return m->stage >= STAGE_CATCH && end > m->margin &&
	       bucket_count(&m->pend.buckets) == 0 &&
	       map_count(&m->kept) == 0 &&
	       (m->conf->rule == MOVER_RULE_REPLACE ||
	        pend_count(&m->pend) == 0) &&
	       pend_count(&m->pend) < m->limits.marks / 4;
}

void
swap_begin(struct mover *m, uint32_t a, uint32_t b)
{
	struct swap w = { .probe = m->probes_sent + 1, .a = a, .b = b };

	buf_put(&m->swaps, &w, sizeof(w));
	REQUIRE(!buf_failed(&m->swaps));
	if (a == b)
		return;
	mover_unsettle(m);
	chunk_flush(m, a);
	chunk_flush(m, b);
	buf_clear(&m->swapped);
	if (!collect(m, &w, &m->swapped)) {
		buf_fini(&m->swapped);
		dirty_overflow(m);
		return;
	}
	mark_both(m, &w, buf_span(&m->swapped));
	buf_release(&m->swapped);
}

/* Each of ours is heard once, in order and before its probe. Also when one of a
 * process that died came between: then the last of ours is the one too many. */
void
swap_heard(struct mover *m)
{
	if (m->swaps_heard < buf_len(&m->swaps) / sizeof(struct swap)) {
		m->swaps_heard++;
		return;
	}
	m->need_rescan = true;
	mover_fail(m, ERR_POSTPONED,
	           "%s: a SWAPDB that is not Godwit's; comparing everything",
	           m->conf->side[side_other(m->from)].label);
}

void
swap_trim(struct mover *m)
{
	struct swap w;

	while (buf_len(&m->swaps) > 0) {
		memcpy(&w, buf_span(&m->swaps).p, sizeof(w));
		if (w.probe > m->probes_done)
			return;
		buf_take(&m->swaps, sizeof(w));
		if (m->swaps_heard > 0)
			m->swaps_heard--;
	}
}

size_t
swap_places(const struct mover *m, uint32_t db, uint32_t ret[SWAP_PLACES_MAX])
{
	struct span in = buf_span(&m->swaps);
	struct swap w;
	size_t n = 1;

	ret[0] = db;
	for (; in.n > 0; in = span_skip(in, sizeof(w))) {
		bool a = false;
		bool b = false;

		memcpy(&w, in.p, sizeof(w));
		for (size_t i = 0; i < n; i++) {
			a |= ret[i] == w.a;
			b |= ret[i] == w.b;
		}
		if (a == b)
			continue;
		if (n == SWAP_PLACES_MAX)
			return 0;
		ret[n++] = a ? w.b : w.a;
	}
	return n;
}
