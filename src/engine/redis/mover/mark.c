/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/mark.c: Mode M: a server that gives no stream to replicas.
 * Source: redis/src/tracking.c of 7.0.
 *
 *   cmd[side]   CLIENT TRACKING ON REDIRECT <id of feed> BCAST NOLOOP
 *   feed[side]  HELLO 3; > invalidate [keys], whoever wrote them, but for us
 *
 * A key that was changed is marked, and COPY (copy.c) takes its state: nothing is
 * ever replayed. Positions are numbers that are drawn from the board by whoever
 * wants to know when all that it has seen is on the other side. A marker key that
 * is written on the feed's own connection comes back there behind all keys that
 * were changed before it: so f->pos may go to the highest number drawn before the
 * marker was sent. The other side's feed works alike (its own expiry, eviction,
 * other writers); its positions are its own, counted on, until the sides change.
 *
 * The server sends the keys of one round of its loop together, behind all replies
 * of that round: the marker counts when its SET was answered before. Which database
 * a key is in it does not say: it is marked in all that either side has, and with
 * each marker the list is asked for; keys of one that is new are looked for there.
 */
#include "base/check.h"
#include "base/hash.h"
#include "core/marks.h"
#include "engine/redis/mover/state.h"

#define MARKER   "__godwit:seen"
#define ROUND_NS (MS / 2)  /* between two markers */
#define IDLE_NS  (10 * MS) /* between two looks at the board */
#define BUSY_NS  (50 * MS) /* for so long after something, look more often */
#define AGAIN_NS SECOND    /* after a marker that was refused */

#define CLOSE_KEYS 1000
#define CLOSE_NS   (200 * MS)

/* ---- attaching ------------------------------------------------------------ */

void
mark_up(struct mover *m, struct feed *f)
{
	struct buf *b = &f->link->tx;

	login_put(m, f->side, b, &f->replies);
	resp_put_cmd(b, "HELLO", "3", NULL);
	resp_put_cmd(b, "CLIENT", "ID", NULL);
	f->replies += 2;
	f->state = FEED_LOGIN;
	f->asked = 0;
	f->want = 0;
	f->again_ns = 0;
	f->unit_n = 0;
	f->is_answered = false;
	f->is_nudged = false;
	resp_skip_init(&f->skip);
}

/* The replies before the stream; the last one is the connection's id. */
static void
on_greeting(struct mover *m, struct feed *f, struct span reply)
{
	struct conn *c = &m->cmd[f->side];
	struct buf *b;
	uint64_t id;

	if (reply.p[0] == '-') {
		mover_fail(m, ERR_AUTH, "%s: login refused: %.*s",
		           m->conf->side[f->side].label,
		           (int)(reply.n < 80 ? reply.n - 2 : 80),
		           (const char *)reply.p);
		return;
	}
	if (--f->replies > 0)
		return;
	if (reply.n < 4 ||
	    !words_number(span_of(reply.p + 1, reply.n - 3), &id)) {
		mover_fail(m, ERR_PROTO, "%s: not a Redis reply",
		           m->conf->side[f->side].label);
		return;
	}
	f->state = FEED_ASKED;
	b = conn_out(m, c);
	resp_put_array(b, 7);
	resp_put_bulk_str(b, "CLIENT");
	resp_put_bulk_str(b, "TRACKING");
	resp_put_bulk_str(b, "ON");
	resp_put_bulk_str(b, "REDIRECT");
	resp_put_bulk_u64(b, id);
	resp_put_bulk_str(b, "BCAST");
	resp_put_bulk_str(b, "NOLOOP");
	(void)conn_want(m, c, WANT_TRACK, 1);
}

/* Whatever is changed from here on is told. */
void
mark_tracked(struct mover *m, struct conn *c, struct span reply)
{
	struct feed *f = &m->feed[c->side];

	if (reply.p[0] == '-') {
		mover_fail(m, ERR_REFUSED,
		           "%s: neither PSYNC nor CLIENT TRACKING is allowed "
		           "(%.*s); allow one of them",
		           m->conf->side[c->side].label,
		           (int)(reply.n < 60 ? reply.n - 2 : 60),
		           (const char *)reply.p);
		return;
	}
	if (f->state != FEED_ASKED)
		return;
	f->state = FEED_STREAM;
	f->is_ready = true;
	f->db = 0;
	f->pos = board_mark(m->conf->board);
	memcpy(f->history, m->server[f->side].replid, sizeof(f->history));
}

/* ---- what changed ---------------------------------------------------------- */

static void
suspect(struct mover *m, const struct feed *f, const char *why)
{
	atomic_store(&m->conf->board->suspects, 1);
	m->need_rescan = true;
	mover_fail(m, ERR_POSTPONED, "%s: %s; comparing every key",
	           m->conf->side[f->side].label, why);
}

static void
on_changed(struct mover *m, struct feed *f, uint32_t db, struct span key)
{
	if (f->side == m->from) {
		dirty_mark(m, db, key, tail_place(m), UINT64_MAX);
		m->units_seen++;
		return;
	}
	if (m->conf->no_target_feed)
		return;
	spread_repair(m, db, key);
	atomic_fetch_add_explicit(&m->conf->board->repaired, 1,
	                          memory_order_relaxed);
}

static bool
has_db(const struct server *sv, uint32_t db)
{
	for (uint32_t i = 0; i < sv->db_n; i++)
		if (sv->dbs[i] == db)
			return true;
	return false;
}

/* The server does not say in which database: in all. */
static void
on_key(struct mover *m, struct feed *f, struct span key)
{
	const struct server *a = &m->server[SIDE_OLD];
	const struct server *b = &m->server[SIDE_NEW];

	if (whose_is_other(m, key) ||
	    (m->conf->drop_marks && hash_bytes(key, f->pos) % 16 == 0))
		return;
	if (f->side == m->from && span_eq(key, SPAN("__godwit:mark"))) {
		/* The verifier's: to come behind all that was before it. */
		m->verify_at = board_mark(m->conf->board);
		return;
	}
	for (uint32_t i = 0; i < a->db_n && !m->failed; i++)
		on_changed(m, f, a->dbs[i], key);
	for (uint32_t i = 0; i < b->db_n && !m->failed; i++)
		if (!has_db(a, b->dbs[i]))
			on_changed(m, f, b->dbs[i], key);
	if (!has_db(a, 0) && !has_db(b, 0) && !m->failed)
		on_changed(m, f, 0, key);
}

/* Databases that were empty until now: what was written there before we knew. */
static void
on_grown(struct mover *m, struct feed *f, struct span text)
{
	uint32_t before = m->server[f->side].db_n;
	uint32_t n;

	if (text.n == 0 || text.p[0] == '-')
		return;
	n = server_grow(m, f->side, text);
	/* The first copy will come to them. */
	if (f->side != m->from || m->stage < STAGE_CATCH)
		return;
	for (uint32_t i = before; i < before + n; i++) {
		if (m->grown_n == sizeof(m->grown) / sizeof(m->grown[0])) {
			suspect(m, f, "many databases are new");
			return;
		}
		m->grown[m->grown_n++] = m->server[f->side].dbs[i];
	}
}

/* Scan new databases one after the other. True: it is not at its end. */
static bool
grow(struct mover *m)
{
	struct scan *s = &m->scan;

	if (s->by_db && s->phase == SCAN_DONE && !s->is_asked)
		*s = (struct scan){ .phase = SCAN_OFF };
	if (m->grown_n > 0 && s->phase == SCAN_OFF &&
	    m->sweep.phase == SWEEP_OFF)
		scan_start_db(m, m->grown[--m->grown_n]);
	if (s->by_db)
		scan_run(m);
	return m->grown_n > 0 || s->by_db;
}

/* What relays have seen and the server does not tell. */
static void
on_mark(struct mover *m, const struct marks_item *it)
{
	if (it->side != m->from)
		return; /* its client was answered before the flip */
	if (it->kind == MARK_FUNCTIONS) {
		if (m->stage >= STAGE_FILL)
			library_owe(m);
		return;
	}
	if (whose_is_other(m, span_of(it->key, it->n)))
		return;
	dirty_mark(m, it->db, span_of(it->key, it->n), tail_place(m),
	           UINT64_MAX);
}

static void
take_marks(struct mover *m, const struct feed *f)
{
	struct board *b = m->conf->board;
	struct marks_item it;

	for (uint32_t i = 0; i < b->ring_n; i++) {
		while (!m->failed && marks_take(&b->rings[i], &it))
			on_mark(m, &it);
		if (!m->failed && marks_lost(&b->rings[i]))
			suspect(m, f, "more changes than there was room for");
	}
}

/* What the markers prove beside the position. */
static void
on_heartbeat(struct mover *m, const struct feed *f)
{
	uint64_t token = m->heartbeat;

	if (m->heartbeat_at[f->side] == 0 || f->pos < m->heartbeat_at[f->side])
		return;
	m->heartbeat_at[f->side] = 0;
	if (token == 0)
		return;
	if (f->side == m->from) {
		m->heartbeat = 0;
		atomic_store_explicit(&m->conf->board->reverse_proven_ns,
		                      m->port->now_ns, memory_order_relaxed);
		m->port->ops->mail(m->port,
		                   &(struct mail){ .kind = MAIL_HEARTBEAT_BACK,
		                                   .token = token });
	} else if (mark_is_on(m)) {
		mark_heartbeat(m, m->from);
	} else {
		beat_put(m, &m->cmd[m->from], token);
	}
}

static void
on_marker(struct mover *m, struct feed *f)
{
	bool moved = f->asked > f->pos && (f->side != m->from || !grow(m));

	if (moved)
		f->pos = f->asked;
	f->asked = 0;
	if (f->side == m->from && moved) {
		pend_pass(&m->pend, f->pos);
		m->need_probe = true;
	}
	on_heartbeat(m, f);
}

/* ">2 invalidate [keys]"; no keys: all of them. */
static void
on_push(struct mover *m, struct feed *f, struct span in)
{
	struct resp_item item;
	int64_t n;

	in = span_skip(in, 4); /* >2 CR LF */
	if (resp_read(&in, &item) != WIRE_PART ||
	    !span_eq(item.text, SPAN("invalidate")))
		return;
	if (resp_read(&in, &item) != WIRE_PART || item.type != RESP_ARRAY) {
		if (f->side != m->from && m->own_flushes > 0)
			m->own_flushes--;
		else
			suspect(m, f, "a database was emptied");
		return;
	}
	for (n = item.number; n > 0 && !m->failed; n--) {
		if (resp_read(&in, &item) != WIRE_PART)
			break;
		if (span_eq(item.text, SPAN(MARKER)))
			f->is_seen |= f->is_answered;
		else
			on_key(m, f, item.text);
	}
}

static void
on_message(struct mover *m, struct feed *f, struct span in)
{
	if (in.p[0] == '>') {
		if (f->state == FEED_STREAM && in.n > 4)
			on_push(m, f, in);
	} else if (f->state == FEED_LOGIN) {
		on_greeting(m, f, in);
	} else if (in.p[0] == '-') {
		f->replies -= f->replies > 0;
		/* The position stays where it is, and everybody sees that. */
		mover_trouble(m, ERR_REFUSED, 1000, "%s: its marker: %.*s",
		              m->conf->side[f->side].label,
		              (int)(in.n < 80 ? in.n - 2 : 80),
		              (const char *)in.p);
		f->asked = 0;
		f->again_ns = m->port->now_ns + AGAIN_NS;
	} else if (in.p[0] == '=' || in.p[0] == '$') {
		f->replies -= f->replies > 0;
		on_grown(m, f, in);
		f->is_listed = f->asked != 0;
	} else {
		f->replies -= f->replies > 0;
		f->is_answered = f->asked != 0;
	}
	if (!m->failed && f->asked != 0 && f->is_answered && f->is_listed &&
	    f->is_seen)
		on_marker(m, f);
}

/* What is complete at the front of rx. */
static void
take(struct mover *m, struct feed *f)
{
	while (!m->failed && f->link != NULL) {
		struct span in = buf_span(&f->rx);
		enum wire_rc rc;
		size_t used = 0;

		if (in.n == f->unit_n)
			return;
		rc = resp_skip_feed(&f->skip, span_skip(in, f->unit_n), &used);
		f->unit_n += used;
		if (rc < 0) {
			mover_fail(m, ERR_PROTO, "%s: not a Redis reply",
			           m->conf->side[f->side].label);
			return;
		}
		if (rc != WIRE_PART)
			return;
		on_message(m, f, span_of(in.p, f->unit_n));
		if (m->failed)
			return;
		buf_take(&f->rx, f->unit_n);
		f->unit_n = 0;
	}
}

void
mark_bytes(struct mover *m, struct feed *f, struct span in)
{
	buf_put_span(&f->rx, in);
	if (buf_failed(&f->rx)) {
		mover_fail(m, ERR_NOMEM, "%s: tracking: out of memory",
		           m->conf->side[f->side].label);
		return;
	}
	if (f->state == FEED_LOGIN)
		take(m, f);
}

/* ---- markers ---------------------------------------------------------------- */

static void
ask(struct mover *m, struct feed *f)
{
	struct buf *b = &f->link->tx;
	struct lag_sample s;

	/* Late answers to a marker that was given up are no answers to this. */
	if (f->asked != 0 || f->replies > 0 ||
	    (f->want <= f->pos && !f->is_nudged))
		return;
	if (m->port->now_ns < f->again_ns) {
		port_wake(m->port, f->again_ns);
		return;
	}
	f->again_ns = m->port->now_ns + ROUND_NS;
	f->asked = f->want > f->pos ? f->want : f->pos;
	f->is_nudged = false;
	f->is_answered = false;
	f->is_listed = false;
	f->is_seen = false;
	f->replies = 2;
	port_touch(m->port, f->link);
	resp_put_array(b, 5);
	resp_put_bulk_str(b, "SET");
	resp_put_bulk_str(b, MARKER);
	resp_put_bulk_u64(b, f->asked);
	resp_put_bulk_str(b, "EX");
	resp_put_bulk_str(b, "60");
	resp_put_cmd(b, "INFO", "keyspace", NULL);
	s = (struct lag_sample){ f->asked, m->port->now_ns };
	if (f->side == m->from && m->margin != UINT64_MAX)
		buf_put(&m->samples, &s, sizeof(s));
}

void
mark_run(struct mover *m, struct feed *f)
{
	uint64_t drawn;

	if (m->frozen || m->failed)
		return;
	take(m, f);
	if (m->failed)
		return;
	if (f->side == m->from) {
		if (m->stage >= STAGE_CATCH && m->stage <= STAGE_STEP)
			(void)grow(m);
		/* In this order: a mark is put before its number is drawn. */
		drawn = atomic_load(&m->conf->board->marks);
		take_marks(m, f);
		if (m->failed)
			return;
		if (drawn > f->pos && drawn != f->want) {
			f->want = drawn;
			m->busy_ns = m->port->now_ns + BUSY_NS;
		}
		port_wake(m->port,
		          m->port->now_ns + (m->port->now_ns < m->busy_ns
		                                     ? MS
		                                     : IDLE_NS));
	}
	ask(m, f);
}

/* Once a second: does it still answer? */
void
mark_tick(struct mover *m, struct feed *f)
{
	(void)m;
	if (f->state == FEED_STREAM)
		f->is_nudged = true;
}

/* Prove that this side's changes are told. */
void
mark_heartbeat(struct mover *m, enum side side)
{
	struct feed *f = &m->feed[side];

	f->want = (f->asked > f->pos ? f->asked : f->pos) + 1;
	if (side == m->from)
		f->want = board_mark(m->conf->board);
	m->heartbeat_at[side] = f->want;
}

/* Nobody may write there now: its positions are those of the board from here. */
void
mark_freeze(struct mover *m, struct feed *f)
{
	_Atomic uint64_t *marks = &m->conf->board->marks;
	uint64_t now = board_mark(m->conf->board);

	while (now < f->pos &&
	       !atomic_compare_exchange_weak(marks, &now, f->pos))
		;
	if (now < f->pos)
		now = f->pos;
	f->pos = now;
	f->want = now;
	f->asked = 0;
}

/* Without a stream, or without a bulk, some key is dirty nearly always while
 * clients write; in step is whoever is not behind. */
bool
mark_is_close(const struct mover *m)
{
	struct lag_sample s = { .ns = m->port->now_ns };

	if ((!mark_is_on(m) && m->conf->copy_mode != MOVER_FILL_NONE) ||
	    m->conf->one_shot || m->margin == UINT64_MAX ||
	    m->passed[m->from].at < m->margin ||
	    pend_todo(&m->pend) > CLOSE_KEYS)
		return false;
	if (buf_len(&m->samples) > 0)
		memcpy(&s, buf_span(&m->samples).p, sizeof(s));
	return m->port->now_ns < s.ns + CLOSE_NS;
}
