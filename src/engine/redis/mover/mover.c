/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/mover.c: keeps the other side in step with the authority.
 *
 * Events only fill buffers and take replies apart; the work is done once a batch
 * (EV_BATCH), copies' replies first, then the stream, so that a copy and the
 * units behind it are seen in the right order.
 */
#include "engine/redis/mover/mover.h"

#include <stdarg.h>

#include "base/check.h"
#include "engine/redis/mover/state.h"

static machine_step_f step;
static machine_fini_f fini;
static machine_show_f show;

const struct machine mover_machine = {
	.name = "mover",
	.self_size = sizeof(struct mover),
	.step = step,
	.fini = fini,
	.show = show,
};

/* ---- stages ------------------------------------------------------------ */

#define BIT(s)  (1u << STAGE_##s)
#define LATE_MS 2000 /* so late it is not in step */

static const struct {
	const char *name;
	enum move_phase phase;
	uint32_t next;
} stages[STAGE_N] = {
	[STAGE_IDLE] = { "idle", MOVE_IDLE, BIT(DIAL) | BIT(STOPPED) },
	[STAGE_DIAL] = { "dial", MOVE_ATTACHING,
	                 BIT(FEED) | BIT(BROKEN) | BIT(STOPPED) },
	[STAGE_FEED] = { "feed", MOVE_ATTACHING,
	                 BIT(FILL) | BIT(WATCH) | BIT(BROKEN) | BIT(STOPPED) },
	[STAGE_FILL] = { "fill", MOVE_COPYING,
	                 BIT(WATCH) | BIT(BROKEN) | BIT(STOPPED) },
	[STAGE_WATCH] = { "watch", MOVE_CATCHING_UP,
	                  BIT(CATCH) | BIT(BROKEN) | BIT(STOPPED) },
	[STAGE_CATCH] = { "catch", MOVE_CATCHING_UP,
	                  BIT(STEP) | BIT(BROKEN) | BIT(STOPPED) },
	[STAGE_STEP] = { "step", MOVE_IN_STEP,
	                 BIT(CATCH) | BIT(BROKEN) | BIT(STOPPED) },
	[STAGE_BROKEN] = { "broken", MOVE_BROKEN, BIT(DIAL) | BIT(STOPPED) },
	[STAGE_STOPPED] = { "stopped", MOVE_IDLE, 0 },
};

void
mover_tell_phase(struct mover *m)
{
	struct mail mail = {
		.kind = MAIL_MOVE_PHASE,
		.side = m->from,
		.phase = stages[m->stage].phase,
		.token = m->exposed,
	};

	atomic_store_explicit(&m->conf->board->move_phase, mail.phase,
	                      memory_order_relaxed);
	m->port->ops->mail(m->port, &mail);
}

void
mover_stage(struct mover *m, enum stage to)
{
	enum move_phase was = stages[m->stage].phase;

	if (to == m->stage)
		return;
	REQUIRE((stages[m->stage].next & (1u << to)) != 0);
	m->stage = to;
	if (stages[to].phase != was)
		mover_tell_phase(m);
}

/* ---- words to the control half ------------------------------------------ */

static void vtell(struct mover *m, enum err_code code, uint64_t retry_ms,
                  const char *fmt, va_list ap)
	__attribute__((format(printf, 4, 0)));

static void
vtell(struct mover *m, enum err_code code, uint64_t retry_ms, const char *fmt,
      va_list ap)
{
	struct mail mail = { .kind = MAIL_TROUBLE,
		             .side = m->from,
		             .flag = (uint32_t)code,
		             .position = retry_ms };
	struct buf text;
	size_t n;

	buf_init(&text, m->port->mem);
	buf_putv(&text, fmt, ap);
	n = buf_len(&text);
	if (n > sizeof(mail.text) - 1)
		n = sizeof(mail.text) - 1;
	if (n > 0)
		memcpy(mail.text, buf_span(&text).p, n);
	buf_fini(&text);
	for (size_t i = 0; i < n; i++)
		if ((uint8_t)mail.text[i] < ' ')
			mail.text[i] = ' ';
	/* The same again within a few seconds says nothing new. */
	if (strcmp(mail.text, m->trouble) == 0 &&
	    m->port->now_ns < m->trouble_ns + 5 * SECOND)
		return;
	memcpy(m->trouble, mail.text, sizeof(m->trouble));
	m->trouble_ns = m->port->now_ns;
	m->port->ops->mail(m->port, &mail);
}

void
mover_trouble(struct mover *m, enum err_code code, uint32_t retry_ms,
              const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vtell(m, code, retry_ms, fmt, ap);
	va_end(ap);
}

void
mover_fail(struct mover *m, enum err_code code, const char *fmt, ...)
{
	uint64_t wait = 100 * MS;
	va_list ap;

	if (m->failed)
		return;
	m->failed = true;
	for (uint32_t i = 0; i < m->failures && wait < 5 * SECOND; i++)
		wait *= 2;
	if (wait > 5 * SECOND)
		wait = 5 * SECOND;
	m->failures++;
	m->retry_ns = m->port->now_ns + wait;
	va_start(ap, fmt);
	vtell(m, code, wait / MS, fmt, ap);
	va_end(ap);
}

void
mover_history(const struct mover *m, enum side side, uint32_t db, char *to)
{
	char digits[12];
	size_t n = sizeof(digits);
	size_t len = strlen(m->history[side]);

	memcpy(to, m->history[side], len);
	to[len++] = ':';
	do {
		digits[--n] = (char)('0' + db % 10);
		db /= 10;
	} while (db != 0);
	memcpy(to + len, digits + n, sizeof(digits) - n);
	to[len + sizeof(digits) - n] = '\0';
}

static void
tell_position(struct mover *m, enum side side, struct place p)
{
	struct mail mail = {
		.kind = MAIL_PROGRESS,
		.side = side,
		.position = p.at,
		.token = m->from,
	};

	mover_history(m, side, p.db, mail.text);
	m->port->ops->mail(m->port, &mail);
}

/* Both resume points: what has passed, and how far the other side's stream was
 * looked at (and so what it had). Not while a switch decides whose the keys are:
 * the points of a mover that gets some are the control's then. */
void
mover_tell_progress(struct mover *m)
{
	enum side to = side_other(m->from);
	struct place p = m->passed[m->from];

	if (!m->fill_done || p.at == 0 || p.at == m->told_at || m->frozen ||
	    m->margin == UINT64_MAX)
		return;
	m->told_at = p.at;
	if (m->has_note && m->note_until_ns == UINT64_MAX)
		m->note_until_ns = m->port->now_ns + 5 * SECOND;
	if (m->history[to][0] != '\0' && m->watched[to].at != 0)
		tell_position(m, to, m->watched[to]);
	tell_position(m, m->from, p);
}

/* ---- the board ----------------------------------------------------------- */

/* Before anything is sent that is ahead of `passed`. */
void
mover_unsettle(struct mover *m)
{
	struct board *b = m->conf->board;

	if ((atomic_load_explicit(&b->unsettled, memory_order_relaxed) & 1) ==
	    1)
		return;
	atomic_fetch_add(&b->unsettled, 1);
}

/* Bytes of the feed that are not passed. */
static uint64_t
lag_bytes(const struct mover *m)
{
	const struct feed *f = &m->feed[m->from];
	uint64_t seen = f->pos + (f->by_marks ? 0 : buf_len(&f->rx));
	uint64_t passed = m->passed[m->from].at;

	return seen > passed && passed != 0 ? seen - passed : 0;
}

/* How long ago came the first of them? */
static uint64_t
lag_ms(const struct mover *m)
{
	struct lag_sample s;

	if (lag_bytes(m) == 0 || buf_len(&m->samples) == 0)
		return 0;
	memcpy(&s, buf_span(&m->samples).p, sizeof(s));
	return m->port->now_ns > s.ns ? (m->port->now_ns - s.ns) / MS : 0;
}

static void
in_step(struct mover *m)
{
	m->failures = 0;
	if (m->conf->one_shot)
		attach_note_drop(m);
	mover_stage(m, STAGE_STEP);
	moved_settle(m);
	mover_tell_progress(m);
}

/* Even again when nothing is pending and passed has caught up with each copy. */
void
mover_settle(struct mover *m)
{
	struct board *b = m->conf->board;
	uint64_t passed = m->passed[m->from].at;

	if ((m->stage != STAGE_CATCH && m->stage != STAGE_STEP) ||
	    !library_is_there(m))
		return;
	if (m->stage == STAGE_CATCH && mark_is_close(m))
		in_step(m);
	if (pend_todo(&m->pend) > 0 || passed < m->pend.at_max ||
	    passed < m->margin || m->probes_done < m->settle_after)
		return;
	if ((atomic_load_explicit(&b->unsettled, memory_order_relaxed) & 1) ==
	    1) {
		atomic_fetch_add(&b->unsettled, 1);
		m->port->ops->poke(m->port);
	}
	if (m->stage == STAGE_CATCH && lag_ms(m) <= LATE_MS)
		in_step(m);
}

void
mover_publish(struct mover *m, struct place p)
{
	struct board *b = m->conf->board;
	struct lag_sample s;

	if (p.at <= m->passed[m->from].at)
		return;
	ENSURE(p.at <= m->feed[m->from].pos);
	m->passed[m->from] = p;
	atomic_store(&b->passed[m->from], p.at);
	m->port->ops->poke(m->port);
	while (buf_len(&m->samples) > 0) {
		memcpy(&s, buf_span(&m->samples).p, sizeof(s));
		if (s.at > p.at)
			break;
		buf_take(&m->samples, sizeof(s));
	}
}

static void
on_heartbeat(struct mover *m, const struct mail *mail)
{
	struct conn *c = &m->cmd[side_other(m->from)];

	if (!c->is_ready || m->margin == UINT64_MAX)
		return; /* no way back now; the control asks again */
	m->heartbeat = mail->token;
	if (m->feed[c->side].by_marks) {
		mark_heartbeat(m, c->side);
		return;
	}
	beat_put(m, c, mail->token);
}

static void
on_stop(struct mover *m)
{
	mover_tell_progress(m);
	if (m->told_at != 0)
		attach_note_drop(m);
	attach_reset(m, true);
	mover_stage(m, STAGE_STOPPED);
	m->port->ops->mail(m->port, &(struct mail){ .kind = MAIL_STOPPED });
}

static void
on_mail(struct mover *m, const struct mail *mail)
{
	if (m->stage == STAGE_STOPPED)
		return;
	switch (mail->kind) {
	case MAIL_MOVE:
		if (!m->was_started) {
			m->from = mail->side;
			m->was_started = true;
		}
		break;
	case MAIL_MOVE_PAUSE: m->paused = true; break;
	case MAIL_MOVE_RESUME: m->paused = false; break;
	case MAIL_BARRIER: switch_barrier(m, mail); break;
	case MAIL_SCOPE: switch_scope(m, mail); break;
	case MAIL_SLOTS: moved_mail(m, mail); break;
	case MAIL_THAW: switch_thaw(m); break;
	case MAIL_FLIP: switch_flip(m, mail); break;
	case MAIL_HEARTBEAT: on_heartbeat(m, mail); break;
	case MAIL_EXPOSED: attach_exposed(m, mail); break;
	case MAIL_STOP: on_stop(m); break;
	case MAIL_SEAT:
		if (m->stage != STAGE_IDLE && m->stage != STAGE_STOPPED)
			mover_fail(m, ERR_LOST,
			           "%s: another node has its slots now",
			           m->conf->side[mail->side].label);
		break;
	case MAIL_BOTH:
	case MAIL_ROUTE:
	case MAIL_HOLD:
	case MAIL_RELEASE:
	case MAIL_BEHIND:
	case MAIL_ROUTE_ACK:
	case MAIL_DRAINED:
	case MAIL_WARM:
	case MAIL_WARMED:
	case MAIL_LATE:
	case MAIL_BEHIND_ACK:
	case MAIL_MARKED:
	case MAIL_DIFFERENT:
	case MAIL_CLIENTS:
	case MAIL_CLIENTS_DONE:
	case MAIL_CLIENTS_TAKEN:
	case MAIL_MONITOR:
	case MAIL_LINES:
	case MAIL_CANCEL:
	case MAIL_MOVE_PHASE:
	case MAIL_PASSED:
	case MAIL_PROGRESS:
	case MAIL_STALE:
	case MAIL_NOT_CARRIED:
	case MAIL_HEARTBEAT_BACK:
	case MAIL_PAIR:
	case MAIL_ASTRAY:
	case MAIL_DOOR:
	case MAIL_VIEW:
	case MAIL_PAIR_ACK:
	case MAIL_TROUBLE:
	case MAIL_STOPPED: break;
	}
}

#define SAMPLES_MANY (4096 * sizeof(struct lag_sample))

/* ---- links ----------------------------------------------------------------- */

static struct conn *
conn_of(struct mover *m, const struct link *l)
{
	for (int i = 0; i < SIDE_N; i++)
		if (m->cmd[i].link == l)
			return &m->cmd[i];
	return NULL;
}

static struct feed *
feed_of(struct mover *m, const struct link *l)
{
	for (int i = 0; i < SIDE_N; i++)
		if (m->feed[i].link == l)
			return &m->feed[i];
	return m->bulk_feed.link == l ? &m->bulk_feed : NULL;
}

static void
on_down(struct mover *m, const struct event *ev)
{
	struct conn *c = conn_of(m, ev->link);
	struct feed *f = feed_of(m, ev->link);
	enum side side;

	if (c == NULL && f == NULL)
		return;
	side = c != NULL ? c->side : f->side;
	if (c != NULL)
		c->link = NULL;
	else
		f->link = NULL;
	if (f == &m->bulk_feed) {
		bool done = m->bulk.is_done;

		feed_close(m, f);
		if (done)
			return; /* the server ends an rdb-only connection */
	}
	mover_fail(m, ERR_LOST, "%s: %s", m->conf->side[side].label,
	           ev->err != NULL ? ev->err->text : "connection lost");
}

static void
on_bytes(struct mover *m, const struct event *ev)
{
	struct conn *c = conn_of(m, ev->link);
	struct feed *f = feed_of(m, ev->link);

	if (c != NULL) {
		conn_bytes(m, c, ev->bytes);
		return;
	}
	if (f == NULL)
		return;
	feed_bytes(m, f, ev->bytes);
	if (f == &m->feed[m->from] && f->state == FEED_STREAM && !f->by_marks) {
		struct lag_sample s = { f->pos + buf_len(&f->rx),
			                m->port->now_ns };
		size_t n = buf_len(&m->samples);
		struct lag_sample last = { 0, 0 };

		if (n > 0)
			memcpy(&last, m->samples.p + m->samples.end - sizeof(s),
			       sizeof(last));
		/* One a millisecond is enough, and less when many wait. */
		if (m->margin != UINT64_MAX &&
		    (n == 0 ||
		     s.ns - last.ns > (n < SAMPLES_MANY ? MS : SECOND)))
			buf_put(&m->samples, &s, sizeof(s));
	}
}

/* ---- once a batch ------------------------------------------------------------ */

static void
gauges(struct mover *m)
{
	struct board *b = m->conf->board;
	const struct feed *f = &m->feed[m->from];
	uint64_t seen = f->pos + (f->by_marks ? 0 : buf_len(&f->rx));
	uint64_t lag = lag_bytes(m);
	uint64_t late = lag_ms(m);

	if (m->stage == STAGE_STEP && !m->barrier &&
	    (late > LATE_MS || pend_todo(&m->pend) > 5000 ||
	     !library_is_there(m)))
		mover_stage(m, STAGE_CATCH);
	atomic_store_explicit(&b->told_ns, m->port->now_ns,
	                      memory_order_relaxed);
	atomic_store_explicit(&b->stream_position, seen, memory_order_relaxed);
	atomic_store_explicit(&b->lag_bytes, lag, memory_order_relaxed);
	atomic_store_explicit(&b->lag_ms, late, memory_order_relaxed);
	atomic_store_explicit(&b->lag_records,
	                      lag == 0 ? 0 : m->units_seen - m->units_passed,
	                      memory_order_relaxed);
	atomic_store_explicit(&b->pending_records, pend_todo(&m->pend),
	                      memory_order_relaxed);
	atomic_store_explicit(&b->mover_mem, m->port->mem->used,
	                      memory_order_relaxed);
}

/* A snapshot without a disk is over for the server only when it sees an ACK after
 * its child has ended: until the first byte of the stream ask often. */
static void
hurry_feeds(struct mover *m)
{
	bool any = false;

	for (int i = 0; i < SIDE_N; i++)
		any |= m->feed[i].state == FEED_STREAM && !m->feed[i].is_ready;
	if (!any)
		return;
	if (m->port->now_ns >= m->hurry_ns) {
		m->hurry_ns = m->port->now_ns + 10 * MS;
		for (int i = 0; i < SIDE_N; i++)
			if (m->feed[i].state == FEED_STREAM &&
			    !m->feed[i].is_ready)
				feed_ack(m, &m->feed[i], m->feed[i].pos);
	}
	port_wake(m->port, m->hurry_ns);
}

static void
tick(struct mover *m)
{
	if (m->port->now_ns < m->second_ns)
		return;
	m->second_ns = m->port->now_ns + SECOND;
	for (int i = 0; i < SIDE_N; i++) {
		struct feed *f = &m->feed[i];
		bool from = (enum side)i == m->from;

		if (f->by_marks)
			mark_tick(m, f);
		else if (f->state == FEED_STREAM)
			feed_ack(m, f,
			         from && m->passed[i].at > 0 ? m->passed[i].at
			                                     : f->pos);
	}
	/* Nothing to the bulk: it may be closed there with bytes on the way, and
	 * whoever writes to a closed connection loses them. */
	mover_tell_progress(m);
	if (m->has_note && m->port->now_ns > m->note_until_ns &&
	    m->stage >= STAGE_CATCH && m->stage <= STAGE_STEP)
		attach_note_drop(m);
	conn_check_silence(m);
}

static void
work(struct mover *m)
{
	const struct conn *out = &m->cmd[side_other(m->from)];
	struct feed *f = &m->feed[m->from];
	size_t waiting = conn_backlog(out);

	if (m->stage == STAGE_STOPPED)
		return;
	/* Rule 7: what cannot be sent, or waits too long for a copy, becomes
	 * dirty keys; the authority's buffers must not grow. */
	if (waiting > 2 * m->limits.writer_tx ||
	    buf_len(&f->rx) > m->limits.stream_rx ||
	    m->port->now_ns < m->held_off_ns)
		m->is_pressed = true;
	else if (waiting < m->limits.writer_tx / 2)
		m->is_pressed = false;
	tick(m);
	for (int i = 0; i < 3 && !m->failed; i++)
		attach_run(m);
	if (!m->failed)
		bulk_run(m);
	if (!m->failed)
		tail_run(m);
	if (!m->failed)
		watch_run(m);
	if (!m->failed && m->stage >= STAGE_FILL && m->stage <= STAGE_STEP) {
		tail_verify(m);
		copy_run(m);
		sweep_run(m);
		library_run(m);
		watch_probe(m);
		mover_settle(m);
		switch_check(m);
	}
	hurry_feeds(m);
	gauges(m);
	port_wake(m->port, m->second_ns);
}

static void
step(void *self, struct port *p, const struct event *ev)
{
	struct mover *m = self;
	struct conn *c;
	struct feed *f;

	m->port = p;
	switch (ev->kind) {
	case EV_START: mover_start(m); break;
	case EV_UP:
		c = conn_of(m, ev->link);
		f = feed_of(m, ev->link);
		if (c != NULL)
			conn_up(m, c);
		else if (f != NULL)
			feed_up(m, f);
		break;
	case EV_BYTES: on_bytes(m, ev); break;
	case EV_DRAINED: copy_resume(m); break;
	case EV_DOWN: on_down(m, ev); break;
	case EV_MAIL: on_mail(m, ev->mail); break;
	case EV_BATCH: work(m); break;
	case EV_ACCEPT:
	case EV_EOF:
	case EV_TIMER:
	case EV_BOARD: break;
	}
	if (m->failed) {
		attach_reset(m, false);
		mover_stage(m, STAGE_BROKEN);
		port_wake(p, m->retry_ns);
	}
}

/* ---- life -------------------------------------------------------------------- */

static size_t
or_default(size_t v, size_t dflt)
{
	return v != 0 ? v : dflt;
}

void
mover_init(void *self, void *conf)
{
	struct mover *m = self;
	const struct mover_conf *c = conf;

	m->conf = c;
	m->scope = c->scope;
	moved_init(m);
	m->in_cluster = c->side[0].own_tag[0] != '\0';
	m->stage = STAGE_IDLE;
	m->fill_done = c->fill_done;
	m->fill_begun = c->refill;
	m->keep_extra = c->keep_extra;
	/* Which records are kept is known to no journal: find them again. */
	m->rebuild = c->fill_done && c->keep_extra && !c->one_shot &&
	             c->copy_mode != MOVER_FILL_NONE;
	m->exposed = c->exposed;
	m->need_rescan = c->exposed != 0 && c->fill_done;
	m->united_many = m->rebuild && c->rule == MOVER_RULE_MERGE;
	m->limits.rdb_max = c->limits.rdb_max;
	m->limits.marks = or_default(c->limits.marks, 600000);
	m->limits.stream_rx = or_default(c->limits.stream_rx, (size_t)16 << 20);
	m->limits.writer_tx = or_default(c->limits.writer_tx, (size_t)4 << 20);
	m->limits.turn = or_default(c->limits.turn, TURN_BYTES);
	m->limits.chunk_min = or_default(c->limits.chunk_min, (size_t)1 << 20);
	m->limits.window = or_default(c->limits.window, (size_t)16 << 20);
	for (int i = 0; i < SIDE_N; i++) {
		struct span text = span_str(c->history[i]);
		uint64_t db = 0;

		m->cmd[i].side = (enum side)i;
		m->feed[i].side = (enum side)i;
		m->server[i].saved_delay = -1;
		m->server[i].sync_delay = -1;
		/* "<40 hex>:<db>"; without the database it is of no use */
		if (text.n < 42 || text.p[40] != ':' ||
		    !words_number(span_skip(text, 41), &db))
			continue;
		memcpy(m->history[i], text.p, 40);
		m->passed[i] = (struct place){ c->position[i], (uint32_t)db };
		m->confirmed[i] = m->passed[i];
		m->watched[i] = m->passed[i];
	}
	m->bulk_feed.is_bulk = true;
}

void
mover_start(struct mover *m)
{
	struct mem *mem = m->port->mem;

	for (int i = 0; i < SIDE_N; i++) {
		buf_init(&m->cmd[i].rx, mem);
		buf_init(&m->cmd[i].wants, mem);
		buf_init(&m->cmd[i].keys, mem);
		buf_init(&m->cmd[i].late, mem);
		buf_init(&m->feed[i].rx, mem);
		foreign_init(&m->foreign[i], mem);
	}
	buf_init(&m->bulk_feed.rx, mem);
	buf_init(&m->bulk.flushes, mem);
	buf_init(&m->bulk.pairs, mem);
	buf_init(&m->bulk.big_key, mem);
	buf_init(&m->probes, mem);
	buf_init(&m->samples, mem);
	buf_init(&m->keys, mem);
	buf_init(&m->spread, mem);
	buf_init(&m->swaps, mem);
	buf_init(&m->swapped, mem);
	buf_init(&m->marker, mem);
	buf_init(&m->wrong, mem);
	buf_init(&m->lowered, mem);
	buf_init(&m->lower_room, mem);
	pend_init(&m->pend, mem, m->port->entropy(m->port));
	chunk_init(m);
	map_init(&m->kept, mem, 0, m->port->entropy(m->port));
	map_init(&m->united, mem, 1, m->port->entropy(m->port));
	map_init(&m->plain, mem, 0, m->port->entropy(m->port));
	m->margin = m->conf->ignore_uncertain && m->fill_done ? 0 : UINT64_MAX;
	m->second_ns = m->port->now_ns + SECOND;
	m->copy_size = 100;
	m->flights_max = 1;
}

static void
fini(void *self, struct port *p)
{
	struct mover *m = self;

	m->port = p;
	if (m->pend.map.mem == NULL)
		return; /* never started */
	attach_reset(m, false);
	for (int i = 0; i < SIDE_N; i++)
		foreign_begin(&m->foreign[i], 0);
	pend_fini(&m->pend);
	map_fini(&m->kept);
	map_fini(&m->united);
	map_fini(&m->plain);
	buf_fini(&m->keys);
	buf_fini(&m->wrong);
	buf_fini(&m->lowered);
	buf_fini(&m->lower_room);
	buf_fini(&m->swaps);
	buf_fini(&m->swapped);
	buf_fini(&m->marker);
}

static void
show(const void *self, struct buf *text)
{
	const struct mover *m = self;
	const struct feed *f = &m->feed[m->from];
	const struct feed *o = &m->feed[side_other(m->from)];

	buf_putf(text, "mover %s from %s: passed %llu s %llu margin %llu\n",
	         stages[m->stage].name, side_name(m->from),
	         (unsigned long long)m->passed[m->from].at,
	         (unsigned long long)f->pos, (unsigned long long)m->margin);
	buf_putf(text,
	         "  rx %zu, other feed %llu rx %zu, marks %zu (queued %zu "
	         "reading %zu ahead %zu), probes %llu of %llu\n",
	         buf_len(&f->rx), (unsigned long long)o->pos, buf_len(&o->rx),
	         pend_count(&m->pend), m->pend.queued.n, m->pend.reading.n,
	         m->pend.ahead.n, (unsigned long long)m->probes_done,
	         (unsigned long long)m->probes_sent);
	for (int i = 0; i < CHUNKS; i++) {
		const struct chunk *c = &m->chunks.at[i];

		if (c->phase != CHUNK_FREE)
			buf_putf(text,
			         "  chunk phase %u last %llu cursor %llu elems "
			         "%zu queued %zu reading %zu ahead %zu\n",
			         c->phase, (unsigned long long)c->last,
			         (unsigned long long)c->cursor, c->elems.count,
			         c->queued.n, c->reading.n, c->ahead.n);
	}
	buf_putf(text, "  asking %zu, big %zu, found %zu, buckets %zu + %zu\n",
	         m->pend.asking.n, m->pend.big.n, m->pend.found_n,
	         m->pend.buckets.now.n, m->pend.buckets.next.n);
	buf_putf(text, "  wants old %zu new %zu%s%s%s%s\n",
	         conn_wants(&m->cmd[SIDE_OLD]), conn_wants(&m->cmd[SIDE_NEW]),
	         m->barrier ? " barrier" : "", m->frozen ? " frozen" : "",
	         m->is_pressed ? " pressed" : "", m->quiet ? " quiet" : "");
}
