/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/feed.c: a side's change stream, transaction by transaction.
 *
 * What comes goes into a spool, and is read from there: at once, or when the other side
 * can take it. The authority's is applied to the other side; in a split, where each side
 * rules its own tables, both are. The other side's own feed runs in any case: what comes there with our origin is what we applied; anything else,
 * while that side is shut, was written by somebody who came in nevertheless, and is
 * kept, unread, until that side has authority or the migration ends.
 *
 * What it takes to apply a transaction is decided at its beginning: after a BEGIN
 * comes its ORIGIN, if it has one, before any change.
 */
#include "base/check.h"
#include "engine/postgres/mover/state.h"

/* The stream is kept on disk when what came so long ago is not applied. */
#define SPOOL_WAIT_NS (1 * SECOND)
#define SPOOL_SYNC_NS (500 * MILLI)
#define FEED_TELL_NS  (1 * SECOND)
#define FEED_RETRY_NS (500 * MILLI)

static uint64_t
later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void
pg_feed_start(struct pg_mover *m, struct pg_feed *f)
{
	struct buf names;
	struct pg_option o[] = {
		{ SPAN("proto_version"), SPAN("1") },
		{ SPAN("publication_names"), { NULL, 0 } },
		{ SPAN("messages"), SPAN("true") },
	};

	buf_init(&names, m->port->mem);
	pg_put_ident(&names, span_str(m->slot));
	o[1].value = buf_span(&names);
	f->runs = false;
	pg_put_start_replication(
		&f->c.link->tx, span_str(m->slot),
		(struct pg_lsn){ later(f->start, f->spool.whole) }, o, 3);
	if (buf_failed(&names))
		pg_mover_fail(m, ERR_NOMEM, "out of memory");
	buf_fini(&names);
	pg_conn_asked(&f->c);
}

/* Else it only comes. */
static bool
is_read(const struct pg_mover *m)
{
	return m->stage == STAGE_STREAM || m->stage == STAGE_IN_STEP;
}

/* Is what this feed carries applied? */
bool
pg_feed_applies(const struct pg_mover *m, enum side s)
{
	return s == m->from || m->is_both;
}

static bool
applies(const struct pg_mover *m, const struct pg_feed *f)
{
	return pg_feed_applies(m, f->side);
}

static struct pg_apply *
target(struct pg_mover *m, const struct pg_feed *f)
{
	return &m->apply[side_other(f->side)];
}

/* ---- what is inside a transaction ------------------------------------------ */

static void
on_begin(struct pg_mover *m, struct pg_feed *f, const struct pg_output_part *p)
{
	f->in_tx = true;
	/* It is there already. */
	f->skips = applies(m, f) && p->lsn.v < f->start;
	f->is_empty = true;
	f->commit_lsn = p->lsn.v;
	f->commit_us = p->time_us;
	if (applies(m, f))
		pg_apply_begin(m, target(m, f));
}

static void
on_commit(struct pg_mover *m, struct pg_feed *f, const struct pg_output_part *p)
{
	f->in_tx = false;
	f->read = later(f->read, p->end.v);
	if (!applies(m, f) || f->is_empty) {
		pg_mover_moved(m);
		return;
	}
	pg_apply_commit(target(m, f), p->end.v, p->time_us);
	atomic_fetch_add(&m->conf->board->stream_units, 1);
}

static uint64_t
number_of(struct span s)
{
	uint64_t v = 0;

	for (size_t i = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	return v;
}

/* Our own words: how late the stream is, and that the way back works. */
static void
on_message(struct pg_mover *m, struct pg_feed *f,
           const struct pg_output_part *p)
{
	if (span_eq(p->name, SPAN("godwit:beat")) && applies(m, f)) {
		m->beat[f->side].read = number_of(p->content);
		m->beat[f->side].lsn = f->commit_lsn;
	}
	if (span_eq(p->name, SPAN("godwit:heart")) && f->side != m->from) {
		struct mail mail = { .kind = MAIL_HEARTBEAT_BACK,
			             .token = number_of(p->content) };

		atomic_store(&m->conf->board->reverse_proven_ns,
		             m->port->now_ns);
		m->port->ops->mail(m->port, &mail);
	}
}

/* A row of Godwit's own tables on the side that rules: a change of its schema, rows
 * to be mended. What is to be done stands in the last column. */
static void
on_words(struct pg_mover *m, struct pg_feed *f, const struct pg_relation *r,
         const struct pg_output_part *p)
{
	struct span rest = p->new.items;
	struct pg_cell c = { .kind = PG_CELL_NULL };

	if (f->skips || !applies(m, f) || p->kind != PG_CHANGE_INSERT)
		return;
	while (pg_cell_next(&rest, &c))
		continue;
	if (c.kind == PG_CELL_NULL)
		return;
	if (r->is_ddl)
		pg_ddl_take(m, target(m, f), c.bytes);
	else
		pg_mend_take(m, target(m, f), c.bytes);
	f->is_empty = f->is_empty && !target(m, f)->is_open;
}

/* False: not now. */
static bool
on_change(struct pg_mover *m, struct pg_feed *f, const struct pg_output_part *p)
{
	struct pg_relation *r = pg_relation_find(f, p->oid);

	if (r == NULL) {
		pg_mover_fail(m, ERR_PROTO,
		              "%s: a change of a table that was not named",
		              m->conf->side[f->side].label);
		return true;
	}
	if (r->is_ddl || r->is_mend) {
		on_words(m, f, r, p);
		return true;
	}
	if (f->skips || r->is_own || pg_since_has(m, f, p->oid))
		return true;
	if (!applies(m, f)) {
		/* A marker that was put right before the switch. */
		if (r->is_mark)
			return true;
		f->is_foreign = true;
		pg_mover_foreign(m, f, r);
		return false;
	}
	if (r->is_mixed)
		pg_mixed_change(m, target(m, f), r, p);
	else
		pg_apply_change(m, target(m, f), r, p);
	/* An UPDATE may say nothing. */
	if (target(m, f)->is_open)
		f->is_empty = false;
	return true;
}

static bool
on_truncate(struct pg_mover *m, struct pg_feed *f,
            const struct pg_output_part *p)
{
	if (f->skips)
		return true;
	if (!applies(m, f)) {
		f->is_foreign = true;
		pg_mover_foreign(m, f, NULL);
		return false;
	}
	f->is_empty = !target(m, f)->is_open;
	pg_apply_truncate(m, f, target(m, f), p);
	f->is_empty = !target(m, f)->is_open;
	return true;
}

/* A transaction begins when none is open; what it consists of, when one is. */
static bool
is_in_order(const struct pg_feed *f, const struct pg_output_part *p)
{
	switch ((int)p->kind) {
	case PG_CHANGE_BEGIN: return !f->in_tx;
	case PG_CHANGE_COMMIT:
	case PG_CHANGE_INSERT:
	case PG_CHANGE_UPDATE:
	case PG_CHANGE_DELETE:
	case PG_CHANGE_TRUNCATE: return f->in_tx;
	default: return true;
	}
}

static bool
on_part(struct pg_mover *m, struct pg_feed *f, const struct pg_output_part *p)
{
	if (!is_in_order(f, p)) {
		pg_mover_fail(m, ERR_PROTO, "%s: changes in no order",
		              m->conf->side[f->side].label);
		return true;
	}
	switch (p->kind) {
	case PG_CHANGE_BEGIN: on_begin(m, f, p); return true;
	case PG_CHANGE_COMMIT: on_commit(m, f, p); return true;
	case PG_CHANGE_ORIGIN:
		f->skips = f->skips || span_eq(p->name, span_str(m->slot));
		return true;
	case PG_CHANGE_MESSAGE: on_message(m, f, p); return true;
	case PG_CHANGE_RELATION:
		pg_batch_say(m, target(m, f));
		if (!pg_relation_learn(m, f, p))
			pg_mover_fail(m, ERR_NOMEM, "out of memory");
		return true;
	case PG_CHANGE_INSERT:
	case PG_CHANGE_UPDATE:
	case PG_CHANGE_DELETE: return on_change(m, f, p);
	case PG_CHANGE_TRUNCATE: return on_truncate(m, f, p);
	case PG_CHANGE_TYPE: return true;
	case PG_CHANGE_STREAM_START:
	case PG_CHANGE_STREAM_STOP:
	case PG_CHANGE_STREAM_COMMIT:
	case PG_CHANGE_STREAM_ABORT:
	case PG_CHANGE_BEGIN_PREPARE:
	case PG_CHANGE_PREPARE:
	case PG_CHANGE_STREAM_PREPARE:
	case PG_CHANGE_COMMIT_PREPARED:
	case PG_CHANGE_ROLLBACK_PREPARED: break;
	}
	pg_mover_fail(m, ERR_PROTO, "%s: a message that was not asked for",
	              m->conf->side[f->side].label);
	return true;
}

/* ---- the stream itself ------------------------------------------------------- */

/* May the next transaction be read? Whatever has begun is read to its end. */
static bool
may_read(struct pg_mover *m, struct pg_feed *f)
{
	if (!applies(m, f))
		return true;
	if (!f->in_tx && (m->stands[f->side] || m->paused_apply))
		return false;
	return target(m, f)->is_ready && pg_apply_has_room(target(m, f));
}

/* False: not now. */
static bool
on_data(struct pg_mover *m, struct pg_feed *f, struct span payload)
{
	struct pg_output_part p;
	struct pg_output before = f->out;
	bool is_word;

	if (!pg_output_read(&f->out, payload, &p)) {
		f->is_bad = true;
		pg_mover_fail(m, ERR_PROTO, "%s: a change that is none",
		              m->conf->side[f->side].label);
		return false;
	}
	is_word = p.kind == PG_CHANGE_RELATION || p.kind == PG_CHANGE_TYPE;
	if (!is_word && !may_read(m, f)) {
		f->out = before;
		return false;
	}
	return on_part(m, f, &p);
}

void
pg_feed_read(struct pg_mover *m, struct pg_feed *f)
{
	enum spool_rc rc;
	struct span payload;
	uint64_t at;

	while ((rc = spool_peek(&f->spool, &payload, &at)) == SPOOL_SOME) {
		if (payload.n == 9 && payload.p[0] == 'k')
			f->read = later(f->read, spool_get_u64(payload.p + 1));
		else if (!on_data(m, f, payload) || m->failed)
			return;
		spool_skip(&f->spool, payload.n);
	}
	if (rc == SPOOL_BAD) {
		f->is_bad = true;
		pg_mover_fail(m, ERR_IO,
		              "%s: its spool is not as it was written: %s",
		              m->conf->side[f->side].label,
		              f->spool.disk->ops->why(f->spool.disk));
		return;
	}
	/* Between transactions: nothing of ours lies before it. */
	if (!f->in_tx && !f->spool.in_tx) {
		f->read = later(f->read, f->idle);
		pg_mover_moved(m);
	}
}

/* How far the server may forget: on the other side, or on our disk. */
static uint64_t
flushed(const struct pg_mover *m, const struct pg_feed *f)
{
	return applies(m, f) ? later(f->done, f->spool.durable) : f->done;
}

void
pg_feed_tell(struct pg_mover *m, struct pg_feed *f)
{
	uint64_t to = flushed(m, f);
	struct pg_stream s = { .kind = PG_STREAM_STATUS,
		               .clock_us = (m->port->wall_ms / 1000 -
		                            PG_EPOCH_UNIX_S) *
		                           1000000,
		               .written = { later(f->read, to) },
		               .flushed = { to },
		               .applied = { f->done } };

	if (!f->runs || f->c.link == NULL)
		return;
	f->told = to;
	f->told_ns = m->port->now_ns;
	pg_put_stream(&f->c.link->tx, &s);
	port_touch(m->port, f->c.link);
}

static void
on_stream(struct pg_mover *m, struct pg_feed *f, const struct pg_stream *s)
{
	uint64_t at = s->kind == PG_STREAM_DATA ? s->at.v : s->end.v;

	f->seen = later(f->seen, at);
	if (s->kind == PG_STREAM_DATA) {
		spool_put(&f->spool, at, s->data);
		return;
	}
	if (!f->spool.in_tx)
		f->idle = later(f->idle, at);
	if (s->wants_answer)
		pg_feed_tell(m, f);
}

bool
pg_feed_hear(struct pg_mover *m, struct pg_feed *f,
             const struct pg_message *msg)
{
	struct pg_stream s;

	switch (msg->type) {
	case PG_COPY_BOTH_RESPONSE:
		f->runs = true;
		pg_feed_tell(m, f);
		return true;
	case PG_ERROR_RESPONSE:
		f->is_bad = true;
		if (is_read(m))
			pg_mover_fail(m, ERR_REFUSED, "%s: %s",
			              m->conf->side[f->side].label, f->c.said);
		return true;
	case PG_COPY_DATA: break;
	default: return true;
	}
	if (f->is_bad)
		return true;
	if (pg_read_stream(msg->body, &s) &&
	    (s.kind == PG_STREAM_DATA || s.kind == PG_STREAM_KEEPALIVE)) {
		on_stream(m, f, &s);
		return true;
	}
	f->is_bad = true;
	pg_mover_fail(m, ERR_PROTO, "%s: a stream that is none",
	              m->conf->side[f->side].label);
	return true;
}

/* ---- its spool ------------------------------------------------------------------ */

/* Has nothing of what came SPOOL_WAIT_NS ago been applied? */
static bool
is_late(struct pg_mover *m, struct pg_feed *f)
{
	if (!spool_is_used(&f->spool) || f->done >= f->mark) {
		f->mark = later(f->spool.whole, f->done + 1);
		f->mark_ns = m->port->now_ns;
	}
	return m->port->now_ns >= f->mark_ns + SPOOL_WAIT_NS;
}

static void
keep(struct pg_mover *m, struct pg_feed *f)
{
	struct pg_spool *s = &f->spool;
	bool was_stuck = s->is_stuck;

	f->sync_ns = m->port->now_ns + SPOOL_SYNC_NS;
	spool_put_idle(s, f->idle);
	spool_flush(s);
	spool_sync(s);
	if (s->is_stuck)
		pg_mover_note(m, "the spool %s; %s keeps its log meanwhile",
		              s->disk->ops->why(s->disk),
		              m->conf->side[f->side].label);
	else if (was_stuck)
		pg_mover_note(m, "the spool has room again");
}

void
pg_feed_tend(struct pg_mover *m, struct pg_feed *f)
{
	struct pg_spool *s = &f->spool;
	struct link *l = f->c.link;

	if (s->failed) {
		f->is_bad = true;
		pg_mover_fail(m, ERR_NOMEM, "out of memory");
		return;
	}
	spool_look(s);
	spool_done(s, f->done);
	if (spool_is_used(s) && spool_is_read(s) && !s->in_tx &&
	    f->done >= s->whole)
		spool_reset(s);
	if (is_late(m, f) && applies(m, f) && s->disk != NULL &&
	    m->port->now_ns >= f->sync_ns)
		keep(m, f);
	if (l != NULL && l->read_off != spool_is_full(s))
		m->port->ops->read(m->port, l, !spool_is_full(s));
	if (flushed(m, f) > f->told &&
	    ((m->is_awaited && applies(m, f)) ||
	     m->port->now_ns >= f->told_ns + FEED_TELL_NS))
		pg_feed_tell(m, f);
}

static void
keep_one(struct pg_mover *m, struct pg_feed *f)
{
	if (f->is_bad && !is_read(m))
		pg_feed_forget(m, f);
	if (is_read(m) || m->port->now_ns < f->retry_ns)
		return;
	if (f->c.link == NULL) {
		f->retry_ns = m->port->now_ns + FEED_RETRY_NS;
		if (pg_conn_open(&f->c) != 0)
			pg_mover_fail(m, ERR_NOMEM, "out of memory");
	} else if (f->c.state == PG_CONN_IDLE && !f->runs)
		pg_feed_start(m, f);
}

void
pg_feed_keep(struct pg_mover *m)
{
	if (!m->streams || m->stage == STAGE_IDLE || m->stage >= STAGE_STOPPED)
		return;
	for (int s = 0; s < SIDE_N; s++) {
		if (applies(m, &m->feed[s]))
			keep_one(m, &m->feed[s]);
	}
}

static void
load_one(struct pg_mover *m, struct pg_feed *f)
{
	if (f->is_loaded)
		return;
	if (!applies(m, f))
		spool_clear(&f->spool);
	else if (!spool_load(&f->spool)) {
		pg_mover_fail(m, ERR_IO, "%s: its spool cannot be read: %s",
		              m->conf->side[f->side].label,
		              f->spool.disk->ops->why(f->spool.disk));
		return;
	}
	f->is_loaded = true;
}

void
pg_feed_load(struct pg_mover *m)
{
	load_one(m, &m->feed[m->from]);
	load_one(m, &m->feed[side_other(m->from)]);
}

static void
begin_again(struct pg_mover *m, struct pg_feed *f)
{
	pg_batch_forget(target(m, f));
	pg_relation_forget(m, f);
	pg_output_init(&f->out, 1);
	f->in_tx = false;
	f->skips = false;
	f->is_foreign = false;
	f->read = f->done;
}

void
pg_feed_rest(struct pg_mover *m, struct pg_feed *f)
{
	if (spool_rewind(&f->spool))
		begin_again(m, f);
	else
		pg_feed_forget(m, f);
}

void
pg_feed_forget(struct pg_mover *m, struct pg_feed *f)
{
	pg_conn_close(&f->c);
	spool_end(&f->spool);
	begin_again(m, f);
	f->runs = false;
	f->is_bad = false;
	f->seen = 0;
	f->idle = 0;
}
