/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/feed.c: a side's change stream, transaction by transaction.
 *
 * The authority's is applied to the other side. The other side's own feed runs as
 * well: what comes there with our origin is what we applied; anything else, while
 * that side is shut, was written by somebody who came in nevertheless, and is kept
 * in the connection, unread, until that side has authority or the migration ends.
 *
 * What it takes to apply a transaction is decided at its beginning: after a BEGIN
 * comes its ORIGIN, if it has one, before any change.
 */
#include "base/check.h"
#include "engine/postgres/mover/state.h"

void
pg_feed_start(struct pg_mover *m, struct pg_feed *f)
{
	static const uint8_t version = 1;
	struct buf names;
	struct pg_option o[] = {
		{ SPAN("proto_version"), SPAN("1") },
		{ SPAN("publication_names"), { NULL, 0 } },
		{ SPAN("messages"), SPAN("true") },
	};

	buf_init(&names, m->port->mem);
	pg_put_ident(&names, span_str(m->slot));
	o[1].value = buf_span(&names);
	pg_output_init(&f->out, version);
	f->in_tx = false;
	f->runs = false;
	pg_put_start_replication(&f->c.link->tx, span_str(m->slot),
	                         (struct pg_lsn){ f->start }, o, 3);
	if (buf_failed(&names))
		pg_mover_fail(m, ERR_NOMEM, "out of memory");
	buf_fini(&names);
	pg_conn_asked(&f->c);
}

/* Is what this feed carries applied? */
static bool
rules(const struct pg_mover *m, const struct pg_feed *f)
{
	return f->side == m->from;
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
	f->skips = false;
	f->is_empty = true;
	f->commit_lsn = p->lsn.v;
	f->commit_us = p->time_us;
	if (rules(m, f))
		pg_apply_begin(m, target(m, f));
}

static void
on_commit(struct pg_mover *m, struct pg_feed *f, const struct pg_output_part *p)
{
	f->in_tx = false;
	f->read = p->end.v;
	if (!rules(m, f) || f->is_empty) {
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
	if (span_eq(p->name, SPAN("godwit:beat")) && rules(m, f))
		m->beat_back = number_of(p->content);
	if (span_eq(p->name, SPAN("godwit:ddl")) && rules(m, f) && !f->skips) {
		pg_ddl_take(m, target(m, f), p->content);
		f->is_empty = f->is_empty && !target(m, f)->is_open;
	}
	if (span_eq(p->name, SPAN("godwit:heart")) && !rules(m, f)) {
		struct mail mail = { .kind = MAIL_HEARTBEAT_BACK,
			             .token = number_of(p->content) };

		atomic_store(&m->conf->board->reverse_proven_ns,
		             m->port->now_ns);
		m->port->ops->mail(m->port, &mail);
	}
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
	if (f->skips || r->is_own || pg_since_has(m, f, p->oid))
		return true;
	if (!rules(m, f)) {
		/* A marker that was put right before the switch. */
		if (r->is_mark)
			return true;
		f->is_foreign = true;
		pg_mover_foreign(m, f, r);
		return false;
	}
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
	if (!rules(m, f)) {
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
		f->skips = span_eq(p->name, span_str(m->slot));
		return true;
	case PG_CHANGE_MESSAGE: on_message(m, f, p); return true;
	case PG_CHANGE_RELATION:
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
	if (!rules(m, f))
		return true;
	if (!f->in_tx && (m->stands || m->paused_apply))
		return false;
	return target(m, f)->is_ready && pg_apply_has_room(target(m, f));
}

static bool
on_data(struct pg_mover *m, struct pg_feed *f, const struct pg_stream *s)
{
	struct pg_output_part p;
	struct pg_output before = f->out;
	bool is_word;

	if (!pg_output_read(&f->out, s->data, &p)) {
		pg_mover_fail(m, ERR_PROTO, "%s: a change that is none",
		              m->conf->side[f->side].label);
		return true;
	}
	is_word = p.kind == PG_CHANGE_RELATION || p.kind == PG_CHANGE_TYPE;
	if (!is_word && !may_read(m, f)) {
		f->out = before;
		return false;
	}
	if (s->at.v > f->seen)
		f->seen = s->at.v;
	return on_part(m, f, &p);
}

static void
on_keepalive(struct pg_mover *m, struct pg_feed *f, const struct pg_stream *s)
{
	if (s->end.v > f->seen)
		f->seen = s->end.v;
	/* Between transactions: nothing of ours lies before it. */
	if (!f->in_tx && s->end.v > f->read)
		f->read = s->end.v;
	pg_mover_moved(m);
	if (s->wants_answer)
		pg_feed_tell(m, f);
}

void
pg_feed_tell(struct pg_mover *m, struct pg_feed *f)
{
	struct pg_stream s = { .kind = PG_STREAM_STATUS,
		               .clock_us = (m->port->wall_ms / 1000 -
		                            PG_EPOCH_UNIX_S) *
		                           1000000,
		               .written = { f->read },
		               .flushed = { f->done },
		               .applied = { f->done } };

	if (!f->runs || f->c.link == NULL)
		return;
	f->told = f->done;
	f->told_ns = m->port->now_ns;
	pg_put_stream(&f->c.link->tx, &s);
	port_touch(m->port, f->c.link);
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
		pg_mover_fail(m, ERR_REFUSED, "%s: %s",
		              m->conf->side[f->side].label, f->c.said);
		return true;
	case PG_COPY_DATA: break;
	default: return true;
	}
	if (!pg_read_stream(msg->body, &s)) {
		pg_mover_fail(m, ERR_PROTO, "%s: a stream that is none",
		              m->conf->side[f->side].label);
		return true;
	}
	if (s.kind == PG_STREAM_KEEPALIVE)
		on_keepalive(m, f, &s);
	else if (s.kind == PG_STREAM_DATA)
		return on_data(m, f, &s);
	return true;
}

void
pg_feed_forget(struct pg_mover *m, struct pg_feed *f)
{
	pg_conn_close(&f->c);
	pg_relation_forget(m, f);
	f->runs = false;
	f->in_tx = false;
	f->skips = false;
	f->is_foreign = false;
	f->read = 0;
	f->seen = 0;
}
