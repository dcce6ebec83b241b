/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/attach.c: from nothing to in step (drawing in state.h).
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

#define VERSION_MIN 60000u /* ACL: without it there is no fence */

static enum side
other(const struct mover *m)
{
	return side_other(m->from);
}

void
attach_reset(struct mover *m, bool flush)
{
	/* Nobody watches the other side now. */
	mover_unsettle(m);
	if (mark_is_on(m) && m->fill_done && !flush)
		atomic_store(&m->conf->board->suspects, 1);
	for (int i = 0; i < SIDE_N; i++) {
		/* Unsent writes must die with a lost connection: they would
		 * arrive behind what the next one sends. */
		if (flush)
			server_restore(m, (enum side)i);
		feed_close(m, &m->feed[i]);
		conn_close(m, &m->cmd[i], flush);
		m->cmd[i].copy = (struct copy_read){ 0 };
	}
	bulk_stop(m);
	m->scan.phase = SCAN_OFF;
	m->filled = 0;
	sweep_reset(m);
	chunk_reset(m);
	pend_clear(&m->pend);
	/* What is kept is known until the process ends. */
	if (!m->fill_done) {
		map_clear(&m->kept);
		map_clear(&m->united);
		map_clear(&m->plain);
	}
	buf_release(&m->probes);
	buf_release(&m->samples);
	buf_release(&m->spread);
	buf_release(&m->swaps);
	m->swaps_heard = 0;
	m->lone_end = 0;
	m->probes_answered = 0;
	m->probes_done = m->probes_sent;
	m->settle_after = 0;
	m->copies_flying = 0;
	m->quiet = false;
	m->frozen = false;
	m->margin = UINT64_MAX;
	m->margin_asked = false;
	m->own_flushes = 0;
	m->grown_n = 0;
	if (mark_is_on(m))
		m->verify_at = 0;
	m->heartbeat_at[SIDE_OLD] = 0;
	m->heartbeat_at[SIDE_NEW] = 0;
	library_reset(m);
	m->need_probe = false;
	m->settled = m->passed[m->from];
	m->failed = false;
}

static void
start_dial(struct mover *m)
{
	mover_stage(m, STAGE_DIAL);
	m->pend.by_state = mark_is_on(m);
	mover_unsettle(m);
	m->settled = m->passed[m->from];
	conn_open(m, SIDE_OLD);
	if (!m->failed)
		conn_open(m, SIDE_NEW);
}

/* Is what the server has now a continuation of this history? */
static bool
is_related(const struct server *sv, const char *history)
{
	return strcmp(sv->replid, history) == 0 ||
	       strcmp(sv->replid2, history) == 0;
}

/* Has it what it had at this place of its history, and nothing else? One that was
 * restarted has another id. It may have lost its last writes, although what came
 * behind has pushed its offset further; and until its fence was made again
 * anybody could write there. */
static bool
has_still(const struct server *sv, const char *history, uint64_t at)
{
	return strcmp(sv->replid, history) == 0 && sv->offset >= at;
}

/* The other side must still have what it confirmed, and tell what it deleted by
 * itself since. */
static void
check_other(struct mover *m)
{
	const struct server *o = &m->server[other(m)];
	const char *history = m->history[other(m)];
	const char *label = m->conf->side[other(m)].label;
	bool by_marks = m->conf->board->by_marks[other(m)];

	if (!m->fill_done || m->need_rescan || history[0] == '\0')
		return;
	if (!has_still(o, history, by_marks ? 0 : m->confirmed[other(m)].at)) {
		m->need_rescan = true;
		mover_trouble(m, ERR_DIVERGED, 0,
		              "%s: restarted, and may have lost what it had; "
		              "comparing every key",
		              label);
	} else if (!by_marks && m->watched[other(m)].at != 0 &&
	           !server_has(o, history, m->watched[other(m)].at)) {
		m->need_rescan = true;
		mover_trouble(
			m, ERR_LOST, 0,
			"%s: its stream has a gap, and what expired there "
			"meanwhile is not known; comparing every key",
			label);
	}
}

/* It was attached before its fence was made again, and anybody could write there
 * meanwhile. */
void
attach_exposed(struct mover *m, const struct mail *mail)
{
	struct span now = span_str(m->server[other(m)].run_id);

	if (mail->side != m->from && !span_eq(now, span_str(mail->text))) {
		/* One that is attached later: look_at_exposed(). */
		m->exposed_next = mail->token;
		memcpy(m->exposed_id, mail->text, sizeof(m->exposed_id) - 1);
		return;
	}
	m->exposed = mail->token;
	if (mail->side == m->from) {
		mover_tell_phase(m); /* what it has is the truth */
		return;
	}
	if (m->stage == STAGE_IDLE || (m->need_rescan && m->stage < STAGE_FILL))
		return;
	m->need_rescan = true;
	if (m->stage != STAGE_BROKEN)
		mover_fail(m, ERR_DIVERGED,
		           "%s: was open until now, and anybody could write "
		           "there; comparing every key",
		           m->conf->side[other(m)].label);
}

static void
look_at_exposed(struct mover *m)
{
	/* Another one than both: control will say so. */
	if (m->exposed_next == 0 ||
	    strcmp(m->exposed_id, m->server[other(m)].run_id) != 0)
		return;
	m->exposed = m->exposed_next;
	m->exposed_next = 0;
	m->need_rescan |= m->fill_done || m->fill_begun;
}

/* Both servers have said who they are. */
static void
check_servers(struct mover *m)
{
	const struct server *a = &m->server[m->from];
	const struct server *o = &m->server[other(m)];

	if (strcmp(a->run_id, o->run_id) == 0 && a->run_id[0] != '\0')
		mover_fail(m, ERR_USAGE,
		           "%s and %s are the same server; name two",
		           m->conf->side[SIDE_OLD].label,
		           m->conf->side[SIDE_NEW].label);
	else if (a->is_loading || o->is_loading)
		mover_fail(m, ERR_POSTPONED, "%s: still loading its data",
		           m->conf->side[a->is_loading ? m->from : other(m)]
		                   .label);
	else if (a->is_replica || o->is_replica)
		mover_fail(m, ERR_REFUSED,
		           "%s: is a replica; name its master, or promote it",
		           m->conf->side[a->is_replica ? m->from : other(m)]
		                   .label);
	else if (a->version < VERSION_MIN || o->version < VERSION_MIN)
		mover_fail(m, ERR_REFUSED, "%s: Redis 6.0 or newer is needed",
		           m->conf->side[a->version < VERSION_MIN ? m->from
		                                                  : other(m)]
		                   .label);
	else {
		look_at_exposed(m);
		check_other(m);
	}
}

/* The stream could not be continued: is the authority's data still there? */
static bool
is_collapsed(const struct mover *m)
{
	uint64_t before = m->server[other(m)].keys;

	/* Without a bulk the other side says nothing about this one. */
	if (m->last_keys > before || m->conf->copy_mode == MOVER_FILL_NONE)
		before = m->last_keys;

	return !is_related(&m->server[m->from], m->history[m->from]) &&
	       m->server[m->from].keys * 10 < before;
}

/* A replica was promoted that lacked this end of the stream: bytes of it; 0: none. */
static uint64_t
lost_bytes(const struct mover *m)
{
	const struct server *a = &m->server[m->from];
	uint64_t at = m->passed[m->from].at;

	return strcmp(a->replid2, m->history[m->from]) == 0 &&
	                       at >= a->second_offset
	               ? at - a->second_offset + 1
	               : 0;
}

/* Its stream goes on at another place than where we were. */
static void
on_gap(struct mover *m)
{
	struct board *b = m->conf->board;
	uint64_t lost = lost_bytes(m);

	if (is_collapsed(m)) {
		mover_fail(m, ERR_DIVERGED,
		           "%s: restarted without its data (%llu keys, the "
		           "other side has %llu); restore it, nothing was "
		           "changed on the other side",
		           m->conf->side[m->from].label,
		           (unsigned long long)m->server[m->from].keys,
		           (unsigned long long)m->server[other(m)].keys);
		return;
	}
	if (lost > 0) /* whatever else was said already */
		mover_trouble(
			m, ERR_LOST, 0,
			"%s: a replica was promoted without the last %llu "
			"bytes, acknowledged writes are lost there; its "
			"stream has a gap; comparing every key",
			m->conf->side[m->from].label, (unsigned long long)lost);
	else if (!m->need_rescan)
		mover_trouble(m, ERR_LOST, 0,
		              "%s: its stream has a gap; comparing every key",
		              m->conf->side[m->from].label);
	if (mark_is_on(m))
		atomic_store(&b->suspects, 1);
	m->need_rescan = true;
	m->fill_done = false;
	m->passed[m->from] = (struct place){ 0 };
	atomic_store(&b->passed[m->from], 0);
}

/* The authority's stream is attached. */
static void
on_feed(struct mover *m)
{
	struct feed *f = &m->feed[m->from];

	if (!f->is_resumed) {
		if (m->fill_done && !whose_is_none(m))
			on_gap(m);
		if (m->failed)
			return;
		atomic_fetch_add(&m->conf->board->history, 1);
		m->port->ops->poke(m->port);
		m->settled = (struct place){ f->pos, f->db };
	}
	memcpy(m->history[m->from], f->history, sizeof(f->history));
	m->last_keys = m->server[m->from].keys;
	atomic_store_explicit(&m->conf->board->total_records,
	                      m->server[m->from].keys, memory_order_relaxed);
	if (whose_is_none(m)) {
		m->fill_done = true;
		m->need_rescan = false;
		m->rebuild = false;
	}
	if (m->conf->copy_mode == MOVER_FILL_NONE && !m->need_rescan &&
	    !m->fill_begun && !m->fill_done) {
		m->fill_done = true;
		atomic_store_explicit(&m->conf->board->copy_ended_ns,
		                      m->port->now_ns, memory_order_relaxed);
	}
	if (m->fill_done && !m->rebuild && !moved_fills(m)) {
		mover_stage(m, STAGE_WATCH);
		return;
	}
	atomic_store_explicit(&m->conf->board->copied_records, 0,
	                      memory_order_relaxed);
	atomic_store_explicit(&m->conf->board->copied_bytes, 0,
	                      memory_order_relaxed);
	atomic_store_explicit(&m->conf->board->copy_started_ns, m->port->now_ns,
	                      memory_order_relaxed);
	mover_stage(m, STAGE_FILL);
}

void
attach_note(struct mover *m, struct conn *c, struct span reply)
{
	struct resp_item item;
	struct span id = span_str(m->conf->id);

	/* Who goes the other way in a split compares in any case. */
	if (!whose_is_home(m) || resp_read(&reply, &item) != WIRE_PART ||
	    item.type != RESP_BULK || item.text.n < id.n + 6 ||
	    !span_has_prefix(item.text, id))
		return;
	m->has_note = true;
	m->note_side = c->side;
	m->note_until_ns = UINT64_MAX;
	if (c->side == m->from || m->fill_done)
		return;
	m->fill_begun = true;
	m->keep_extra |= span_eq(span_skip(item.text, id.n), SPAN(":extra"));
}

void
attach_note_put(struct mover *m)
{
	struct conn *c = &m->cmd[other(m)];
	struct span id = span_str(m->conf->id);
	char name[OWN_NAME];
	struct buf *b;

	m->has_note = true;
	m->note_side = c->side;
	m->note_until_ns = UINT64_MAX;
	conn_select(m, c, 0);
	b = conn_out(m, c);
	resp_put_array(b, 3);
	resp_put_bulk_str(b, "SET");
	resp_put_bulk_str(b, whose_own(m, FILL_NOTE, name));
	buf_put(b, "$", 1);
	buf_put_u64(b, id.n + 6);
	buf_put(b, "\r\n", 2);
	buf_put_span(b, id);
	buf_put_str(b, m->keep_extra ? ":extra\r\n" : ":empty\r\n");
	(void)conn_want(m, c, WANT_QUIET, 1);
}

/* The resume point is known to the control: the note has done its work. */
void
attach_note_drop(struct mover *m)
{
	struct conn *c = &m->cmd[m->note_side];
	char name[OWN_NAME];

	if (!m->has_note || m->frozen || !c->is_ready)
		return;
	m->has_note = false;
	conn_select(m, c, 0);
	resp_put_cmd(conn_out(m, c),
	             m->server[c->side].lazy_expire ? "DEL" : "UNLINK",
	             whose_own(m, FILL_NOTE, name), NULL);
	(void)conn_want(m, c, WANT_QUIET, 1);
}

/* The stream is attached: what was written before in a database that was empty
 * when the server was asked who it is is known to neither, so a scan must look
 * there, too. */
static void
ask_databases(struct mover *m)
{
	struct conn *c = &m->cmd[m->from];

	resp_put_cmd(conn_out(m, c), "INFO", "keyspace", NULL);
	(void)conn_want(m, c, WANT_DBS, 1);
}

static void
fill_start(struct mover *m)
{
	bool again = m->need_rescan || m->fill_begun || !whose_is_home(m);
	bool scan = again || m->conf->copy_mode == MOVER_FILL_SCAN ||
	            m->bulk.is_refused || m->conf->naive || mark_is_on(m);

	if (moved_fills(m)) {
		scan_start(m, true, true);
		m->scan.by_gained = true;
		return;
	}
	if (m->rebuild && !again) {
		if (m->conf->rule == MOVER_RULE_NONE)
			scan_start(m, true, false);
		else if (scan_has_extra(m))
			scan_start_extra(m);
		else
			m->scan.phase = SCAN_DONE;
		return;
	}
	m->rebuild = false;
	/* The keys of a part's other side may be those of others. */
	if (!again && !m->conf->is_part &&
	    m->server[other(m)].keys > m->conf->own_keys)
		m->keep_extra = true;
	if (again && m->keep_extra && m->conf->rule == MOVER_RULE_NONE)
		mover_trouble(
			m, ERR_DIVERGED, 0,
			"%s: the first copy was interrupted; records that "
			"differ are replaced",
			m->conf->side[other(m)].label);
	m->fill_begun = true;
	atomic_store(&m->conf->board->copy_way, scan ? 2 : 1);
	if (whose_is_home(m))
		attach_note_put(m);
	if (scan)
		scan_start(m, again, again);
	else
		bulk_start(m);
}

static void
fill_end(struct mover *m)
{
	bulk_stop(m);
	chunk_hold(m);
	m->scan.phase = SCAN_OFF;
	/* All keys were copied or compared: what the other side did before is no
	 * question any more, and must not be asked again (swap_heard). */
	if (!m->rebuild && !m->scan.by_gained)
		m->watched[other(m)] = (struct place){ 0 };
	if (!m->rebuild)
		moved_filled(m);
	m->scan.by_gained = false;
	/* Not by that of which keys are kept. */
	m->need_rescan = m->moved.has_gained;
	m->rebuild = false;
	m->fill_done = true;
	atomic_store(&m->conf->board->suspects, 0);
	atomic_store_explicit(&m->conf->board->copy_ended_ns, m->port->now_ns,
	                      memory_order_relaxed);
	mover_stage(m, STAGE_WATCH);
}

/* Is all sent that the first copy sends? */
static bool
is_filled(const struct mover *m)
{
	if (m->scan.phase != SCAN_DONE &&
	    (m->scan.phase != SCAN_OFF || !m->bulk.is_used))
		return false;
	return m->bulk.is_used ? m->bulk.is_done : m->pend.found_n == 0;
}

static void
run_fill(struct mover *m)
{
	struct conn *out = &m->cmd[other(m)];

	if (!m->functions_asked) {
		ask_databases(m);
		m->functions_asked = true;
		library_ask(m);
	}
	if (moved_is_paused(m) || !m->functions_done)
		return;
	if (m->bulk.is_used && m->bulk.is_refused) {
		/* No snapshot from this server: read key by key instead. */
		bulk_stop(m);
		m->scan.phase = SCAN_OFF;
	}
	if (!m->bulk.is_used && m->scan.phase == SCAN_OFF)
		fill_start(m);
	if (m->failed)
		return;
	if (m->bulk.is_used && m->bulk.is_done && m->scan.phase == SCAN_OFF &&
	    scan_has_extra(m))
		scan_start_extra(m);
	scan_run(m);
	if (!is_filled(m))
		return;
	/* Not when nothing is under way: others keep the writer busy. */
	if (m->filled == 0)
		m->filled = out->asked + 1;
	if (out->answered + 1 >= m->filled)
		fill_end(m);
}

static void
run_watch(struct mover *m)
{
	struct feed *f = &m->feed[other(m)];
	struct conn *c = &m->cmd[m->from];

	if (!m->conf->one_shot && f->state == FEED_OFF)
		feed_open(m, f);
	if (!m->conf->one_shot && !f->is_ready)
		return;
	if (!m->margin_asked && mark_is_on(m)) {
		m->margin_asked = true;
		m->margin = board_mark(m->conf->board);
	}
	if (!m->margin_asked) {
		m->margin_asked = true;
		resp_put_cmd(conn_out(m, c), "ROLE", NULL);
		(void)conn_want(m, c, WANT_MARGIN, 1);
	}
	if (m->margin == UINT64_MAX)
		return;
	if (!m->conf->one_shot)
		memcpy(m->history[other(m)], f->history, sizeof(f->history));
	/* What it deleted while nobody looked is not known. */
	if (!m->conf->one_shot && !f->is_resumed)
		m->watched[other(m)] = (struct place){ f->pos, f->db };
	if (!m->conf->one_shot && whose_is_home(m))
		swap_home(m);
	m->need_probe = true;
	mover_stage(m, STAGE_CATCH);
}

void
attach_run(struct mover *m)
{
	switch (m->stage) {
	case STAGE_BROKEN:
		/* While a switch decides nothing may be written to the side
		 * that it may open (I10): its end comes by mail. */
		if (m->barrier && m->answered)
			break;
		if (m->port->now_ns >= m->retry_ns)
			start_dial(m);
		else
			port_wake(m->port, m->retry_ns);
		break;
	case STAGE_IDLE:
		if (m->was_started)
			start_dial(m);
		break;
	case STAGE_DIAL:
		if (!m->cmd[SIDE_OLD].is_ready || !m->cmd[SIDE_NEW].is_ready)
			break;
		check_servers(m);
		if (m->failed)
			break;
		mover_stage(m, STAGE_FEED);
		feed_open(m, &m->feed[m->from]);
		break;
	case STAGE_FEED:
		if (m->feed[m->from].is_ready)
			on_feed(m);
		break;
	case STAGE_FILL: run_fill(m); break;
	case STAGE_WATCH: run_watch(m); break;
	case STAGE_CATCH:
	case STAGE_STEP:
	case STAGE_STOPPED: break;
	case STAGE_N: NEVER("not a stage");
	}
}
