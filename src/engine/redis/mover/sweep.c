/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/sweep.c: works off the buckets of dirty keys (rule 7 of
 * redis_peers.md 6.3).
 *
 *   OFF --[bits are set, room for marks]--> SCAN --[both sides read]--> EDGE
 *    ^                                                                   |
 *    +------[the stream has come to the edge: the bits go]---- PASS <----+
 *
 * SCAN goes over the keys of the authority, then of the other side, and marks
 * those of buckets that were set at the beginning. EDGE asks for the authority's
 * offset behind that. While a bit is set each unit on its keys marks what it
 * writes. So when the stream is at the edge, a key of a bucket is marked, or was
 * copied, or no unit wrote it since the beginning: then the authority's value was
 * the same all the time, SCAN has found it if there is one, and has found the
 * other side's if there is none. Else both sides have none. So the bits can go.
 *
 * The marks hold `passed` back, because the unit that made the key dirty may be
 * long before them.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

/* Records that only the other side has cannot be told from those that were removed
 * here: so it goes now, and comes back if the sweep finds it. */
static bool
remove_now(struct mover *m, uint32_t db, struct span key)
{
	struct conn *c = &m->cmd[side_other(m->from)];
	struct buf *b;

	/* The stream is not read on at twice a writer's limit (mover.c): what was
	 * read by then may still come here, so there is room for as much again. */
	if (!c->is_ready || conn_backlog(c) > 4 * m->limits.writer_tx)
		return false;
	conn_select(m, c, db);
	b = conn_out(m, c);
	resp_put_array(b, 2);
	resp_put_bulk_str(b, m->server[c->side].lazy_expire ? "DEL" : "UNLINK");
	resp_put_bulk(b, key);
	(void)conn_want(m, c, WANT_QUIET, 1);
	return true;
}

bool
sweep_put(struct mover *m, uint32_t db, struct span key, struct place since)
{
	struct buckets *b = &m->pend.buckets;
	bool is_fill = m->stage <= STAGE_FILL;

	if (bucket_count(b) == 0)
		mover_trouble(m, ERR_LIMIT, 0,
		              "%s: more than %zu keys wait for a copy; %s",
		              m->conf->side[m->from].label, m->limits.marks,
		              is_fill && m->conf->rule != MOVER_RULE_REPLACE
		                      ? "records that differ are replaced"
		                      : "looking for the others by a scan");
	/* The fill leaves a whole bucket out: no unit would bring it back. */
	if (is_fill)
		since = (struct place){ 0, 0 };
	if (m->keep_extra && !remove_now(m, db, key))
		return false;
	return bucket_put(b, db, key, since);
}

/* Is there room for what will be found? */
static bool
is_room(const struct mover *m)
{
	return pend_count(&m->pend) <= m->limits.marks / 2;
}

void
sweep_reset(struct mover *m)
{
	m->sweep = (struct sweep){ 0 };
}

void
sweep_edge(struct mover *m, struct span reply)
{
	int64_t at = role_offset(reply);

	if (at < 0) {
		mover_fail(m, ERR_REFUSED, "%s: ROLE refused",
		           m->conf->side[m->from].label);
		return;
	}
	REQUIRE(m->sweep.phase == SWEEP_EDGE);
	m->sweep.edge = (uint64_t)at;
	m->sweep.phase = SWEEP_PASS;
}

static void
ask_edge(struct mover *m)
{
	struct conn *c = &m->cmd[m->from];

	if (mark_is_on(m)) {
		m->sweep.edge = board_mark(m->conf->board);
		m->sweep.phase = SWEEP_PASS;
		return;
	}
	resp_put_cmd(conn_out(m, c), "ROLE", NULL);
	(void)conn_want(m, c, WANT_EDGE, 1);
	m->sweep.phase = SWEEP_EDGE;
}

void
sweep_run(struct mover *m)
{
	struct buckets *b = &m->pend.buckets;

	if (m->margin == UINT64_MAX || m->frozen || m->failed)
		return;
	switch (m->sweep.phase) {
	case SWEEP_OFF:
		if (b->next.n == 0 || tail_place(m).at < m->margin ||
		    !is_room(m))
			return;
		bucket_turn(b);
		scan_start_buckets(m);
		m->sweep.phase = SWEEP_SCAN;
		break;
	case SWEEP_SCAN:
		if (m->scan.phase == SCAN_DONE)
			ask_edge(m);
		else
			scan_run(m);
		break;
	case SWEEP_EDGE: break;
	case SWEEP_PASS:
		if (tail_place(m).at < m->sweep.edge)
			return;
		bucket_done(b);
		m->scan.phase = SCAN_OFF;
		m->sweep.phase = SWEEP_OFF;
		m->need_probe = true;
		break;
	}
}
