/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/watch.c: the other side's own stream, and the watermark.
 *
 * The other side is a master of its own and deletes what expires by its clock.
 * Its feed shows that: a deletion with the verb that we never use is its own,
 * and the key is copied again (rule 9). `passed` moves when a ROLE, sent behind
 * what was applied, was answered with t, and the feed was read up to t.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

#define PROBES_MAX 64

/* The first SELECT, or our own message, tells the stream's database. */
void
watch_seek_db(struct mover *m, struct feed *f, const struct resp_cmd *cmd)
{
	const struct word *w;
	uint64_t v;

	if (cmd->argc == 0 || f->is_ready)
		return;
	w = words_find(cmd->argv[0]);
	if (w->cls == WORD_SELECT && cmd->argc == 2 &&
	    words_number(cmd->argv[1], &v)) {
		f->db = (uint32_t)v;
	} else if (span_is_word(cmd->argv[0], SPAN("publish")) &&
	           cmd->argc == 3 &&
	           span_eq(cmd->argv[1], SPAN("__godwit:db")) &&
	           words_number(cmd->argv[2], &v) && v == f->nonce) {
		/* Said in database 0, so that is selected now. */
		f->db = 0;
		f->is_ready = true;
	}
	(void)m;
}

static void
on_beat(struct mover *m, const struct resp_cmd *cmd)
{
	uint64_t v;

	if (mark_is_on(m))
		mark_heartbeat(m, m->from);
	else if (beat_read(m, cmd, &v) && v == m->heartbeat)
		beat_put(m, &m->cmd[m->from], v);
}

static bool
is_emptying(const struct resp_cmd *cmd)
{
	uint8_t cls = words_find(cmd->argv[0])->cls;

	return cls == WORD_FLUSHDB || cls == WORD_FLUSHALL ||
	       cls == WORD_SWAPDB;
}

void
watch_command(struct mover *m, struct feed *f, const struct resp_cmd *cmd,
              struct span request)
{
	size_t pos = 0;
	struct span arg;
	uint64_t v;

	if (cmd->argc == 0)
		return;
	if (span_is_word(cmd->argv[0], SPAN("select")) && cmd->argc == 2 &&
	    words_number(cmd->argv[1], &v)) {
		f->db = (uint32_t)v;
	} else if (span_is_word(cmd->argv[0], SPAN("publish")) ||
	           (m->in_cluster && span_is_word(cmd->argv[0], SPAN("set")))) {
		on_beat(m, cmd);
	} else if (span_is_word(cmd->argv[0], SPAN("replconf"))) {
		feed_ack(m, f, f->pos);
	} else if (whose_is_shared(m) && is_emptying(cmd)) {
		whose_emptied(m, f);
	} else if (words_find(cmd->argv[0])->cls == WORD_SWAPDB) {
		swap_heard(m);
	} else if (whose_is_own_deletion(m, f->side, cmd->argv[0]) &&
	           !m->conf->no_target_feed) {
		(void)resp_cmd_walk(request, &pos, &arg);
		while (resp_cmd_walk(request, &pos, &arg)) {
			if (whose_is_other(m, arg)) {
				whose_note(m, f, f->db, arg);
				continue;
			}
			spread_repair(m, f->db, arg);
			atomic_fetch_add_explicit(&m->conf->board->repaired, 1,
			                          memory_order_relaxed);
		}
	}
}

void
watch_run(struct mover *m)
{
	struct feed *f = &m->feed[side_other(m->from)];
	struct span bytes;
	bool multi;

	if (f->state != FEED_STREAM)
		return;
	if (f->by_marks)
		mark_run(m, f);
	while (!f->by_marks && !m->frozen && !m->failed &&
	       feed_unit(m, f, &bytes, &multi)) {
		struct resp_cmd cmd;
		struct span one;
		size_t pos = 0;

		while (feed_walk(bytes, &pos, &cmd, &one)) {
			if (f->is_ready)
				watch_command(m, f, &cmd, one);
			else
				watch_seek_db(m, f, &cmd);
		}
		feed_take(f, bytes.n);
		/* Each probe is settled before what comes behind it in the
		 * feed is looked at: repairs get the right bound. */
		watch_confirm(m);
	}
	watch_confirm(m);
}

/* How far its feed was looked at, when every copy that was due for it is written:
 * from there on it may be read again after a loss. */
static struct place
watched_now(const struct mover *m, const struct feed *f)
{
	const struct mark *held = m->pend.stream.first;

	if (m->pend.repair.n > 0 || bucket_count(&m->pend.buckets) > 0 ||
	    (held != NULL && held->since.at == 0))
		return (struct place){ 0 };
	return (struct place){ f->pos, f->db };
}

void
watch_probe(struct mover *m)
{
	struct conn *c = &m->cmd[side_other(m->from)];
	struct probe p = { .s = tail_place(m),
		           .floor = pend_floor(&m->pend),
		           .watched = watched_now(m, &m->feed[c->side]),
		           .units = m->units_seen };

	if (!m->need_probe || m->frozen || m->margin == UINT64_MAX ||
	    !c->is_ready || m->probes_sent - m->probes_done >= PROBES_MAX)
		return;
	m->need_probe = false;
	m->probes_sent++;
	resp_put_cmd(conn_out(m, c),
	             m->feed[c->side].by_marks ? "PING" : "ROLE", NULL);
	(void)conn_want(m, c, WANT_PROBE, 1);
	buf_put(&m->probes, &p, sizeof(p));
	REQUIRE(!buf_failed(&m->probes));
}

/* *3 $6 master :offset *n ...; -1: a replica, or an error. */
int64_t
role_offset(struct span reply)
{
	struct resp_item item;

	if (resp_read(&reply, &item) != WIRE_PART || item.type != RESP_ARRAY ||
	    item.number < 2 || resp_read(&reply, &item) != WIRE_PART ||
	    !span_eq(item.text, SPAN("master")) ||
	    resp_read(&reply, &item) != WIRE_PART || item.type != RESP_INT)
		return -1;
	return item.number;
}

void
watch_answer(struct mover *m, struct span reply)
{
	struct feed *f = &m->feed[side_other(m->from)];
	int64_t t = f->by_marks ? 0 : role_offset(reply);
	size_t at = m->probes_answered * sizeof(struct probe);
	struct probe *p;

	if (t < 0) {
		mover_fail(m, ERR_REFUSED,
		           "%s: is not a master any more; make it one",
		           m->conf->side[side_other(m->from)].label);
		return;
	}
	REQUIRE(at < buf_len(&m->probes));
	p = (struct probe *)(void *)(m->probes.p + m->probes.off + at);
	if (f->by_marks) {
		/* The next marker: this one may have been written before. */
		f->want = (f->asked > f->pos ? f->asked : f->pos) + 1;
		p->t = f->want;
	} else {
		p->t = (uint64_t)t;
	}
	m->probes_answered++;
	watch_confirm(m);
}

/* Something on the other side is not as the probes under way believe. */
void
watch_clip(struct mover *m)
{
	size_t n = buf_len(&m->probes) / sizeof(struct probe);
	struct probe *p;

	if (n == 0)
		return; /* no block, no address */
	p = (struct probe *)(void *)(m->probes.p + m->probes.off);
	for (size_t i = 0; i < n; i++)
		if (p[i].floor.at > m->settled.at)
			p[i].floor = m->settled;
}

void
watch_confirm(struct mover *m)
{
	const struct feed *f = &m->feed[side_other(m->from)];

	while (m->probes_answered > 0) {
		struct probe p;
		struct place now = pend_floor(&m->pend);

		memcpy(&p, buf_span(&m->probes).p, sizeof(p));
		if (!m->conf->one_shot && (!f->is_ready || f->pos < p.t))
			break;
		buf_take(&m->probes, sizeof(p));
		m->probes_answered--;
		m->probes_done++;
		ENSURE(p.s.at >= m->settled.at);
		m->settled = p.s;
		m->units_passed = p.units;
		if (p.floor.at < p.s.at)
			p.s = p.floor;
		if (now.at < p.s.at)
			p.s = now;
		m->confirmed[f->side] = (struct place){ p.t, f->db };
		if (f->by_marks)
			m->watched[f->side] = m->confirmed[f->side];
		else if (p.watched.at > m->watched[f->side].at)
			m->watched[f->side] = p.watched;
		mover_publish(m, p.s);
	}
	spread_trim(m);
	swap_trim(m);
	mover_settle(m);
}
