/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/mover.c: keeps another PostgreSQL database in step.
 *
 * Events only take messages apart; what is due next is looked at once a batch.
 * Whatever fails closes everything: the slot, the target's own word of how far it
 * has come, and begun copies that are begun again make the next try exact.
 */
#include "engine/postgres/mover/mover.h"

#include <stdarg.h>

#include "base/check.h"
#include "engine/postgres/mover/state.h"

#define BEAT_NS      (200 * MILLI)
#define PROGRESS_NS  (1 * SECOND)
#define RETRY_MIN_NS (100 * MILLI)
#define RETRY_MAX_NS (5 * SECOND)

static machine_step_f step;
static machine_fini_f fini;
static machine_show_f show;

const struct machine pg_mover_machine = {
	.name = "mover",
	.self_size = sizeof(struct pg_mover),
	.step = step,
	.fini = fini,
	.show = show,
};

static const struct {
	const char *name;
	enum move_phase phase;
} stages[STAGE_N] = {
	[STAGE_IDLE] = { "idle", MOVE_IDLE },
	[STAGE_DIAL] = { "dial", MOVE_ATTACHING },
	[STAGE_SET_UP] = { "set_up", MOVE_ATTACHING },
	[STAGE_LOOK] = { "look", MOVE_ATTACHING },
	[STAGE_EMPTY] = { "empty", MOVE_ATTACHING },
	[STAGE_WIPE] = { "wipe", MOVE_ATTACHING },
	[STAGE_SLOT] = { "slot", MOVE_ATTACHING },
	[STAGE_HOLD] = { "hold", MOVE_ATTACHING },
	[STAGE_TABLES] = { "tables", MOVE_ATTACHING },
	[STAGE_COPY] = { "copy", MOVE_COPYING },
	[STAGE_BUILD] = { "build", MOVE_COPYING },
	[STAGE_BACK] = { "back", MOVE_CATCHING_UP },
	[STAGE_STREAM] = { "stream", MOVE_CATCHING_UP },
	[STAGE_IN_STEP] = { "in_step", MOVE_IN_STEP },
	[STAGE_BROKEN] = { "broken", MOVE_BROKEN },
	[STAGE_STOPPED] = { "stopped", MOVE_IDLE },
};

/* ---- words to the control half ------------------------------------------ */

static void
tell_phase(struct pg_mover *m)
{
	struct mail mail = { .kind = MAIL_MOVE_PHASE,
		             .side = m->from,
		             .phase = stages[m->stage].phase };

	atomic_store(&m->conf->board->move_phase, mail.phase);
	m->port->ops->mail(m->port, &mail);
}

static void put_text(struct mail *mail, struct pg_mover *m, const char *fmt,
                     va_list ap) __attribute__((format(printf, 3, 0)));

static void
put_text(struct mail *mail, struct pg_mover *m, const char *fmt, va_list ap)
{
	struct buf text;
	size_t n;

	buf_init(&text, m->port->mem);
	buf_putv(&text, fmt, ap);
	n = buf_len(&text) < sizeof(mail->text) ? buf_len(&text)
	                                        : sizeof(mail->text) - 1;
	if (n > 0)
		memcpy(mail->text, buf_span(&text).p, n);
	buf_fini(&text);
	for (size_t i = 0; i < n; i++) {
		if ((uint8_t)mail->text[i] < ' ')
			mail->text[i] = ' ';
	}
}

/* The same again within a few seconds says nothing new. */
static void
say(struct pg_mover *m, const struct mail *mail)
{
	if (strcmp(mail->text, m->trouble) == 0 &&
	    m->port->now_ns < m->trouble_ns + 5 * SECOND)
		return;
	memcpy(m->trouble, mail->text, sizeof(m->trouble));
	m->trouble_ns = m->port->now_ns;
	m->port->ops->mail(m->port, mail);
}

void
pg_mover_fail(struct pg_mover *m, enum err_code code, const char *fmt, ...)
{
	struct mail mail = { .kind = MAIL_TROUBLE,
		             .side = m->from,
		             .flag = (uint32_t)code };
	va_list ap;

	/* What comes of the first is not told. */
	if (m->failed)
		return;
	m->failed = true;
	va_start(ap, fmt);
	put_text(&mail, m, fmt, ap);
	va_end(ap);
	say(m, &mail);
}

void
pg_mover_lost(struct pg_mover *m, const struct pg_conn *c, int rc)
{
	pg_mover_fail(m, (enum err_code)(-rc), "%s: %s", c->side->label,
	              c->said[0] != '\0' ? c->said : "the connection was lost");
}

void
pg_mover_note(struct pg_mover *m, const char *fmt, ...)
{
	struct mail mail = { .kind = MAIL_TROUBLE,
		             .side = m->from,
		             .flag = ERR_DIVERGED };
	va_list ap;

	va_start(ap, fmt);
	put_text(&mail, m, fmt, ap);
	va_end(ap);
	say(m, &mail);
}

void
pg_mover_owe(struct pg_mover *m, const char *fmt, ...)
{
	struct mail mail = { .kind = MAIL_NOT_CARRIED, .side = m->from };
	va_list ap;

	va_start(ap, fmt);
	put_text(&mail, m, fmt, ap);
	va_end(ap);
	m->port->ops->mail(m->port, &mail);
}

void
pg_mover_foreign(struct pg_mover *m, const struct pg_feed *f,
                 const struct pg_relation *r)
{
	struct span t = r != NULL ? buf_span(&r->target) : SPAN("its tables");

	/* Right behind a switch it is the new authority's own. */
	if (m->stands[SIDE_OLD] || m->stands[SIDE_NEW])
		return;
	pg_mover_note(m, "%s: somebody else wrote to %.*s while it was shut",
	              m->conf->side[f->side].label, (int)t.n,
	              (const char *)t.p);
}

/* ---- stages --------------------------------------------------------------- */

void
pg_mover_stage(struct pg_mover *m, enum stage to)
{
	enum move_phase was = stages[m->stage].phase;

	m->stage = to;
	memset(m->ask_at, 0, sizeof(m->ask_at));
	m->at = 0;
	if (stages[to].phase != was)
		tell_phase(m);
	if (to == STAGE_WIPE) {
		m->streams = false;
		for (int s = 0; s < SIDE_N; s++) {
			pg_feed_forget(m, &m->feed[s]);
			spool_clear(&m->feed[s].spool);
			m->feed[s].is_loaded = true;
			m->feed[s].start = 0;
			m->feed[s].done = 0;
		}
	} else if (to == STAGE_SLOT) {
		/* They log in while the slot is made. */
		pg_keep_dial(m);
		pg_copy_dial(m, PG_LANES_EARLY);
	} else if (to == STAGE_BACK) {
		pg_attach_dial(m);
	} else if (to == STAGE_COPY)
		pg_copy_begin(m);
	else if (to == STAGE_BUILD)
		pg_build_begin(m);
}

/* The authority's stream may go on to be kept. */
static void
forget_all(struct pg_mover *m, bool streams)
{
	for (int s = 0; s < SIDE_N; s++) {
		struct pg_feed *f = &m->feed[s];

		pg_conn_close(&m->ask[s]);
		if (streams && pg_feed_applies(m, f->side) && f->runs &&
		    f->c.link != NULL && !f->is_bad)
			pg_feed_rest(m, f);
		else
			pg_feed_forget(m, f);
		pg_apply_forget(m, &m->apply[s]);
	}
	pg_conn_close(&m->snap);
	pg_conn_close(&m->hold);
	pg_copy_forget(m);
	pg_build_forget(m);
	map_clear(&m->since);
	pg_there_forget(m);
	m->since_min = 0;
	m->since_max = 0;
	m->has_slot = false;
	m->snapshot[0] = '\0';
	m->chunks_open = 0;
	for (int s = 0; s < SIDE_N; s++) {
		struct pg_beat *b = &m->beat[s];

		m->stands[s] = false;
		b->token = b->back;
		b->base = b->token;
		b->read = 0;
	}
}

static void
dial(struct pg_mover *m)
{
	atomic_store(&m->conf->board->unsettled,
	             atomic_load(&m->conf->board->unsettled) | 1);
	atomic_store(&m->conf->board->total_records, 0);
	atomic_store(&m->conf->board->copied_records, 0);
	atomic_store(&m->conf->board->copied_bytes, 0);
	for (int s = 0; s < SIDE_N; s++) {
		if (pg_conn_open(&m->ask[s]) != 0)
			pg_mover_fail(m, ERR_NOMEM, "out of memory");
	}
	pg_mover_stage(m, STAGE_DIAL);
}

static void
broken(struct pg_mover *m)
{
	uint64_t wait = RETRY_MIN_NS << (m->tries < 6 ? m->tries : 6);

	forget_all(m, m->streams);
	m->failed = false;
	m->tries++;
	m->retry_ns =
		m->port->now_ns + (wait < RETRY_MAX_NS ? wait : RETRY_MAX_NS);
	if (m->stage != STAGE_STOPPED && m->stage != STAGE_IDLE)
		pg_mover_stage(m, STAGE_BROKEN);
	port_wake(m->port, m->retry_ns);
}

/* ---- positions -------------------------------------------------------------- */

static void
pass_barrier(struct pg_mover *m, enum side s)
{
	const struct pg_feed *f = &m->feed[s];
	struct mail mail = { .kind = MAIL_PASSED,
		             .epoch = m->barrier_epoch,
		             .side = s,
		             .position = m->feed[side_other(s)].read,
		             .token = f->done,
		             .text = "pg",
		             .history = "pg" };

	if (m->barrier[s] == 0 || m->stands[s] || f->done < m->barrier[s])
		return;
	m->stands[s] = true;
	m->port->ops->mail(m->port, &mail);
}

static void
moved(struct pg_mover *m, enum side s)
{
	struct pg_feed *f = &m->feed[s];
	struct pg_apply *a = &m->apply[side_other(s)];
	struct pg_beat *b = &m->beat[s];
	bool applies = pg_feed_applies(m, s);
	bool is_empty = applies ? a->due_n == 0 && !a->is_open : !f->is_foreign;

	if (is_empty && !f->in_tx && f->read > f->done)
		f->done = f->read;
	else if (applies && !f->in_tx)
		pg_apply_raise(a, f->read);
	if (atomic_exchange(&m->conf->board->passed[s], f->done) != f->done &&
	    applies)
		m->port->ops->poke(m->port);
	if (b->read == b->token && f->done >= b->lsn)
		b->back = b->read;
}

void
pg_mover_moved(struct pg_mover *m)
{
	for (int s = 0; s < SIDE_N; s++)
		moved(m, (enum side)s);
	for (int s = 0; s < SIDE_N; s++)
		pass_barrier(m, (enum side)s);
}

static void
tell_progress(struct pg_mover *m)
{
	struct mail mail = { .kind = MAIL_PROGRESS,
		             .text = "pg",
		             .token = m->from };

	m->progress_ns = m->port->now_ns + PROGRESS_NS;
	/* It would say that the bulk is complete. */
	if (!m->fill_done)
		return;
	for (int s = 0; s < SIDE_N; s++) {
		mail.side = (enum side)s;
		mail.position = m->feed[s].done;
		m->port->ops->mail(m->port, &mail);
	}
}

/* What is told of a side's stream; NULL: nobody wants to know. */
static struct board *
board_of(const struct pg_mover *m, enum side s)
{
	if (s == m->from)
		return m->conf->board;
	return m->is_both ? m->conf->reverse : NULL;
}

/* The stream is as late as the oldest beat that is under way. */
static void
beat(struct pg_mover *m, enum side s)
{
	uint64_t now = m->port->now_ns;
	struct pg_beat *t = &m->beat[s];
	bool under_way = t->back < t->token;
	struct board *b = board_of(m, s);

	if (b != NULL && under_way && now - t->ns > BEAT_NS)
		atomic_store(&b->lag_ms, (now - t->ns) / MILLI);
	else if (b != NULL && !under_way)
		atomic_store(&b->lag_ms, 0);
	if (!pg_feed_applies(m, s) || under_way || now < t->ns + BEAT_NS ||
	    m->stands[s])
		return;
	if (pg_attach_emit(m, s, "godwit:beat", t->token + 1)) {
		t->token++;
		t->ns = now;
	}
}

static void
gauge(struct pg_mover *m, enum side s)
{
	struct board *b = board_of(m, s);
	const struct pg_feed *f = &m->feed[s];
	uint64_t lag = f->seen > f->done ? f->seen - f->done : 0;

	if (b == NULL)
		return;
	atomic_store(&b->told_ns, m->port->now_ns);
	atomic_store(&b->stream_position, f->seen);
	atomic_store(&b->lag_bytes, lag);
	atomic_store(&b->pending_records, m->stage == STAGE_IN_STEP ? 0 : 1);
	if (f->spool.disk != NULL)
		atomic_store(&b->spool_bytes,
		             f->spool.disk->ops->bytes(f->spool.disk));
}

static void
gauges(struct pg_mover *m)
{
	gauge(m, SIDE_OLD);
	gauge(m, SIDE_NEW);
	atomic_store(&m->conf->board->mover_mem, m->port->mem->used);
}

/* All that was asked of the streams that are applied has come back. */
static bool
has_beaten(const struct pg_mover *m)
{
	for (int s = 0; s < SIDE_N; s++) {
		const struct pg_beat *b = &m->beat[s];

		if (pg_feed_applies(m, (enum side)s) &&
		    (b->token <= b->base || b->back != b->token))
			return false;
	}
	return true;
}

static void
settle(struct pg_mover *m)
{
	struct board *b = m->conf->board;

	m->tries = 0;
	atomic_store(&b->unsettled, (atomic_load(&b->unsettled) | 1) + 1);
	pg_mover_stage(m, STAGE_IN_STEP);
	tell_progress(m);
}

static void
run_stream(struct pg_mover *m)
{
	uint64_t now = m->port->now_ns;
	bool runs = m->feed[0].runs && m->feed[1].runs &&
	            m->apply[0].is_ready && m->apply[1].is_ready;

	for (int s = 0; s < SIDE_N; s++) {
		pg_feed_read(m, &m->feed[s]);
		pg_apply_flush(m, &m->apply[side_other((enum side)s)]);
	}
	if (m->failed)
		return;
	pg_mover_moved(m);
	if (!runs)
		return;
	pg_sets_ask(m, SIDE_OLD);
	pg_sets_ask(m, SIDE_NEW);
	beat(m, m->from);
	if (m->heart_token != 0 &&
	    pg_attach_emit(m, side_other(m->from), "godwit:heart",
	                   m->heart_token))
		m->heart_token = 0;
	beat(m, side_other(m->from));
	if (m->stage == STAGE_STREAM && has_beaten(m) && !pg_build_waits(m))
		settle(m);
	if (m->stage == STAGE_IN_STEP)
		pg_build_fully(m);
	if (now >= m->progress_ns)
		tell_progress(m);
}

/* ---- mails --------------------------------------------------------------------- */

static void
stop(struct pg_mover *m)
{
	struct mail mail = { .kind = MAIL_STOPPED };

	if (m->stage >= STAGE_STREAM && m->stage <= STAGE_IN_STEP)
		tell_progress(m);
	for (int s = 0; s < SIDE_N; s++)
		pg_feed_tell(m, &m->feed[s]);
	forget_all(m, false);
	m->stage = STAGE_STOPPED;
	tell_phase(m);
	m->port->ops->mail(m->port, &mail);
}

/* Nothing stands any more. */
static void
thaw(struct pg_mover *m)
{
	for (int s = 0; s < SIDE_N; s++) {
		m->barrier[s] = 0;
		m->stands[s] = false;
	}
}

/* From now on what this side's stream carries is applied. */
static void
begin_to_apply(struct pg_mover *m, enum side s)
{
	struct pg_beat *b = &m->beat[s];

	m->feed[s].is_foreign = false;
	b->token++;
	b->back = b->token;
	b->base = b->token;
	b->read = 0;
	b->ns = 0;
}

static void
flip(struct pg_mover *m, enum side to)
{
	thaw(m);
	m->is_both = false;
	if (m->from == to)
		return;
	m->from = to;
	begin_to_apply(m, to);
	if (m->stage == STAGE_IN_STEP)
		pg_mover_stage(m, STAGE_STREAM);
}

/* A split begins, goes on or ends; the authority stays. */
static void
divide(struct pg_mover *m, bool is_both)
{
	bool was = m->is_both;

	m->is_both = is_both;
	if (is_both && !was)
		begin_to_apply(m, side_other(m->from));
}

static void
on_mail(struct pg_mover *m, const struct mail *mail)
{
	switch ((int)mail->kind) {
	case MAIL_MOVE:
		m->from = mail->side;
		m->is_both = m->conf->is_both;
		if (m->stage == STAGE_IDLE)
			dial(m);
		break;
	case MAIL_MOVE_PAUSE: m->paused = true; break;
	case MAIL_MOVE_RESUME: m->paused = false; break;
	case MAIL_BARRIER:
		m->barrier[mail->side] = mail->position;
		m->barrier_epoch = mail->epoch;
		pass_barrier(m, mail->side);
		break;
	case MAIL_THAW: thaw(m); break;
	case MAIL_BOTH: divide(m, mail->flag != 0); break;
	case MAIL_FLIP: flip(m, mail->side); break;
	case MAIL_HEARTBEAT: m->heart_token = mail->token; break;
	case MAIL_STOP: stop(m); break;
	default: break;
	}
}

/* ---- events --------------------------------------------------------------------- */

static bool
hear(void *self, struct pg_conn *c, const struct pg_message *msg)
{
	struct pg_mover *m = self;

	for (int s = 0; s < SIDE_N; s++) {
		if (c == &m->feed[s].c)
			return pg_feed_hear(m, &m->feed[s], msg);
	}
	if (m->failed)
		return true;
	for (int s = 0; s < SIDE_N; s++) {
		if (c == &m->ask[s])
			return pg_attach_hear(m, (enum side)s, msg);
		if (c == &m->apply[s].c)
			return pg_apply_hear(m, &m->apply[s], msg);
	}
	if (c == &m->snap)
		return pg_attach_slot(m, msg);
	if (c == &m->hold)
		return pg_keep_hear(m, msg);
	for (int i = 0; i < PG_MOVER_LANES; i++) {
		struct pg_lane *l = &m->lane[i];

		if (c == &l->from || c == &l->to)
			return m->stage == STAGE_COPY
			               ? pg_copy_hear(m, l, c, msg)
			               : pg_build_hear(m, l, c, msg);
	}
	return true;
}

static void
work(struct pg_mover *m)
{
	uint64_t now = m->port->now_ns;
	enum stage was;

	if (m->stage == STAGE_BROKEN && now >= m->retry_ns)
		dial(m);
	/* A stage that ends waits for nothing: the next one begins at once. */
	do {
		was = m->stage;
		if (m->stage == STAGE_COPY)
			pg_copy_next(m);
		if (m->stage == STAGE_BUILD ||
		    (m->stage == STAGE_STREAM && pg_build_waits(m)))
			pg_build_next(m);
		pg_attach_next(m);
	} while (m->stage != was && !m->failed);
	if (m->stage == STAGE_STREAM || m->stage == STAGE_IN_STEP)
		run_stream(m);
	pg_feed_keep(m);
	for (int s = 0; s < SIDE_N; s++)
		pg_feed_tend(m, &m->feed[s]);
	if (m->failed)
		broken(m);
	gauges(m);
	if (m->stage != STAGE_IDLE && m->stage != STAGE_STOPPED)
		port_wake(m->port, now + 50 * MILLI);
}

static void
step(void *self, struct port *p, const struct event *ev)
{
	struct pg_mover *m = self;
	struct pg_conn *c = ev->link != NULL ? ev->link->owner : NULL;
	int rc = 0;

	m->port = p;
	switch (ev->kind) {
	case EV_START: pg_mover_start(m); break;
	case EV_UP: rc = pg_conn_up(c); break;
	case EV_BYTES: rc = pg_conn_take(c, ev->bytes, hear, m); break;
	case EV_DRAINED: pg_copy_drained(m); break;
	case EV_DOWN:
		pg_conn_down(c, ev->err);
		rc = -ERR_LOST;
		break;
	case EV_MAIL: on_mail(m, ev->mail); break;
	case EV_BATCH: work(m); break;
	case EV_ACCEPT:
	case EV_EOF:
	case EV_TIMER:
	case EV_BOARD: break;
	}
	if (rc == 0 || c == NULL)
		return;
	/* It is not needed yet, and is begun again. */
	if (c == &m->feed[m->from].c && m->stage != STAGE_STREAM &&
	    m->stage != STAGE_IN_STEP)
		pg_feed_forget(m, &m->feed[m->from]);
	else if (!pg_build_lost(m, c))
		pg_mover_lost(m, c, rc);
}

/* ---- life ------------------------------------------------------------------------ */

void
pg_mover_init(void *self, void *conf)
{
	struct pg_mover *m = self;
	static const char head[] = "godwit_";
	size_t n = sizeof(head) - 1;

	m->conf = conf;
	m->fill_done = m->conf->fill_done;
	m->refills = m->conf->refill;
	memcpy(m->slot, head, n);
	for (const char *p = m->conf->id; *p != '\0' && n < 62; p++)
		m->slot[n++] = *p;
	m->slot[n] = '\0';
}

static void
set_conn(struct pg_mover *m, struct pg_conn *c, enum side s, const char *what)
{
	c->side = &m->conf->side[s];
	c->id = m->conf->id;
	c->what = what;
	pg_conn_init(c, m->port);
}

void
pg_mover_start(struct pg_mover *m)
{
	uint64_t seed = m->port->entropy(m->port);

	for (int s = 0; s < SIDE_N; s++) {
		struct pg_feed *f = &m->feed[s];
		struct pg_apply *a = &m->apply[s];

		f->side = (enum side)s;
		f->c.is_replication = true;
		pg_output_init(&f->out, 1);
		a->side = (enum side)s;
		a->c.is_replica = true;
		set_conn(m, &m->ask[s], (enum side)s, "mover");
		set_conn(m, &f->c, (enum side)s, "feed");
		set_conn(m, &a->c, (enum side)s, "apply");
		spool_init(&f->spool, m->port->mem, m->conf->spool[s], seed);
		map_init(&f->relations, m->port->mem,
		         sizeof(struct pg_relation), seed);
		map_init(&a->statements, m->port->mem, sizeof(uint32_t), seed);
		buf_init(&a->images, m->port->mem);
		buf_init(&a->key, m->port->mem);
		buf_init(&a->whole, m->port->mem);
		a->due = mem_alloc(m->port->mem,
		                   PG_APPLY_RING * sizeof(*a->due));
		if (a->due == NULL)
			pg_mover_fail(m, ERR_NOMEM, "out of memory");
	}
	buf_init(&m->loose, m->port->mem);
	set_conn(m, &m->hold, SIDE_OLD, "hold");
	set_conn(m, &m->snap, SIDE_OLD, "slot");
	m->snap.is_replication = true;
	map_init(&m->since, m->port->mem, sizeof(uint64_t), seed);
	map_init(&m->there, m->port->mem, sizeof(struct pg_there), seed);
	for (int i = 0; i < PG_MOVER_LANES; i++) {
		m->lane[i].to.is_replica = true;
		set_conn(m, &m->lane[i].from, SIDE_OLD, "copy");
		set_conn(m, &m->lane[i].to, SIDE_NEW, "copy");
	}
}

static void
fini(void *self, struct port *p)
{
	struct pg_mover *m = self;

	m->port = p;
	forget_all(m, false);
	for (int s = 0; s < SIDE_N; s++) {
		pg_conn_fini(&m->ask[s]);
		pg_conn_fini(&m->feed[s].c);
		pg_conn_fini(&m->apply[s].c);
		map_fini(&m->feed[s].relations);
		spool_fini(&m->feed[s].spool);
		map_fini(&m->apply[s].statements);
		buf_fini(&m->apply[s].images);
		buf_fini(&m->apply[s].key);
		buf_fini(&m->apply[s].whole);
		mem_free(p->mem, m->apply[s].due,
		         PG_APPLY_RING * sizeof(struct pg_due));
	}
	buf_fini(&m->loose);
	pg_conn_fini(&m->hold);
	pg_conn_fini(&m->snap);
	map_fini(&m->since);
	map_fini(&m->there);
	for (int i = 0; i < PG_MOVER_LANES; i++) {
		pg_conn_fini(&m->lane[i].from);
		pg_conn_fini(&m->lane[i].to);
	}
}

static void
show(const void *self, struct buf *text)
{
	const struct pg_mover *m = self;

	buf_putf(text,
	         "mover: %s, %s has authority%s, %u tables, %llu waited for\n",
	         stages[m->stage].name, side_name(m->from),
	         m->is_both ? " but for the tables that are the other side's"
	                    : "",
	         m->table_n,
	         (unsigned long long)m->apply[side_other(m->from)].due_n);
	for (int s = 0; s < SIDE_N; s++)
		buf_putf(text, "  %s: read %llu, done %llu, seen %llu%s%s\n",
		         side_name((enum side)s),
		         (unsigned long long)m->feed[s].read,
		         (unsigned long long)m->feed[s].done,
		         (unsigned long long)m->feed[s].seen,
		         spool_is_read(&m->feed[s].spool) ? "" : ", late",
		         m->feed[s].is_foreign ? ", foreign" : "");
}
