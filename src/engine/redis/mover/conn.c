/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/conn.c: a command connection: pipeline out, replies in.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

void
conn_open(struct mover *m, enum side side)
{
	struct conn *c = &m->cmd[side];

	REQUIRE(c->link == NULL);
	c->side = side;
	c->is_ready = false;
	c->db = 0;
	c->is_passing = false;
	c->is_held = false;
	c->fills = 0;
	c->asked = 0;
	c->answered = 0;
	c->copy = (struct copy_read){ 0 };
	c->heard_ns = m->port->now_ns;
	c->link = m->port->ops->open(m->port, &m->conf->side[side].at, c);
	if (c->link == NULL)
		mover_fail(m, ERR_NOMEM, "%s: no memory for a connection",
		           m->conf->side[side].label);
}

void
conn_close(struct mover *m, struct conn *c, bool flush)
{
	if (c->link != NULL)
		m->port->ops->close(m->port, c->link, flush);
	c->link = NULL;
	c->is_ready = false;
	c->is_passing = false;
	c->is_held = false;
	buf_release(&c->rx);
	buf_release(&c->wants);
	buf_release(&c->keys);
	buf_release(&c->late);
}

struct buf *
conn_out(struct mover *m, struct conn *c)
{
	REQUIRE(c->link != NULL);
	if (c->is_passing || c->is_held)
		return &c->late;
	port_touch(m->port, c->link);
	return &c->link->tx;
}

void
conn_hold(struct mover *m, struct conn *c, bool on)
{
	struct buf *tx;

	if (c->link == NULL || c->is_held == on)
		return;
	REQUIRE(!c->is_passing); /* the bulk and copies are never at a time */
	c->is_held = on;
	if (on || buf_len(&c->late) == 0)
		return;
	tx = &c->link->tx;
	port_touch(m->port, c->link);
	if (buf_failed(&c->late)) {
		buf_fini(&c->late);
		mover_fail(m, ERR_NOMEM, "no memory for a turn of the copy");
	} else if (buf_len(tx) == 0 && !buf_failed(tx)) {
		/* As it is: copying it would take twice its memory. */
		struct buf was = *tx;

		*tx = c->late;
		c->late = was;
	} else {
		buf_put_span(tx, buf_span(&c->late));
		buf_release(&c->late);
	}
}

size_t
conn_backlog(const struct conn *c)
{
	if (c->link == NULL)
		return 0;
	return buf_len(&c->link->tx) + buf_len(&c->late);
}

struct want *
conn_want(struct mover *m, struct conn *c, enum want_kind kind, uint32_t n)
{
	struct want w = { .kind = (uint8_t)kind, .n = n };

	(void)m;
	buf_put(&c->wants, &w, sizeof(w));
	REQUIRE(!buf_failed(&c->wants));
	c->asked++;
	return (struct want *)(void *)(c->wants.p + c->wants.end - sizeof(w));
}

void
conn_fill(struct conn *c, struct want *w)
{
	w->is_fill = true;
	c->fills++;
}

void
conn_key(struct conn *c, struct want *w, uint32_t db, struct span key)
{
	uint32_t n = (uint32_t)key.n;

	buf_put(&c->keys, &db, sizeof(db));
	buf_put(&c->keys, &n, sizeof(n));
	buf_put_span(&c->keys, key);
	REQUIRE(!buf_failed(&c->keys));
	w->keys_n++;
}

static struct want *
want_first(struct conn *c)
{
	if (buf_len(&c->wants) == 0)
		return NULL;
	return (struct want *)(void *)(c->wants.p + c->wants.off);
}

bool
conn_take_key(struct conn *c, uint32_t *ret_db, struct span *ret_key)
{
	struct want *w = want_first(c);
	struct span in = buf_span(&c->keys);
	uint32_t n;

	if (w == NULL || w->keys_n == 0)
		return false;
	w->keys_n--;
	REQUIRE(in.n >= 8);
	memcpy(ret_db, in.p, 4);
	memcpy(&n, in.p + 4, 4);
	REQUIRE(in.n >= 8 + (size_t)n);
	*ret_key = span_of(in.p + 8, n);
	/* Taken bytes stay where they are until the next put. */
	c->keys.off += 8 + n;
	return true;
}

void
conn_select(struct mover *m, struct conn *c, uint32_t db)
{
	struct buf *b;

	if (c->db == db)
		return;
	c->db = db;
	b = conn_out(m, c);
	resp_put_array(b, 2);
	resp_put_bulk_str(b, "SELECT");
	resp_put_bulk_u64(b, db);
	(void)conn_want(m, c, WANT_SKIP, 1);
}

/* name: at least 64 bytes. */
void
mover_name(const struct mover *m, char *name)
{
	struct span tail = span_str(whose_name(m));
	size_t n = strlen(m->conf->id);

	REQUIRE(n <= sizeof(m->conf->id) - 1);
	memcpy(name, "godwit:", 7);
	memcpy(name + 7, m->conf->id, n);
	memcpy(name + 7 + n, tail.p, tail.n);
	name[7 + n + tail.n] = '\0';
}

void
login_put(struct mover *m, enum side side, struct buf *b, uint32_t *n)
{
	const struct side_conf *sc = &m->conf->side[side];
	bool own = sc->own_user[0] != '\0';
	const char *user = own ? sc->own_user : sc->url_user;
	const char *pass = own ? sc->own_pass : sc->url_pass;
	char name[64];

	*n = 0;
	if (user[0] != '\0') {
		resp_put_cmd(b, "AUTH", user, pass, NULL);
		++*n;
	} else if (pass[0] != '\0') {
		resp_put_cmd(b, "AUTH", pass, NULL);
		++*n;
	}
	mover_name(m, name);
	resp_put_cmd(b, "CLIENT", "SETNAME", name, NULL);
	++*n;
}

void
conn_up(struct mover *m, struct conn *c)
{
	uint32_t n;

	c->heard_ns = m->port->now_ns;
	login_put(m, c->side, conn_out(m, c), &n);
	(void)conn_want(m, c, WANT_LOGIN, n);
	server_ask(m, c);
}

/* Where the reply at the front of in ends; 0: not there yet. */
static size_t
reply_len(struct mover *m, struct conn *c, struct span in)
{
	int64_t n;

	if (in.p[0] == '+' || in.p[0] == '-' || in.p[0] == ':') {
		const uint8_t *end = memchr(in.p, '\n', in.n);

		return end == NULL ? 0 : (size_t)(end - in.p) + 1;
	}
	n = resp_reply_len(in);
	if (n < 0) {
		mover_fail(m, ERR_PROTO, "%s: not a Redis reply",
		           m->conf->side[c->side].label);
		return 0;
	}
	return (size_t)n;
}

static void
want_pop(struct conn *c)
{
	struct want *w = want_first(c);
	uint32_t db;
	struct span key;

	if (w->n > 1) {
		w->n--;
		return;
	}
	while (conn_take_key(c, &db, &key))
		;
	c->fills -= w->is_fill;
	c->answered++;
	if (buf_len(&c->keys) == 0)
		buf_clear(&c->keys);
	buf_take(&c->wants, sizeof(struct want));
}

/* An error line without '-' and CRLF. */
static struct span
error_text(struct span reply)
{
	return span_of(reply.p + 1, reply.n >= 3 ? reply.n - 3 : 0);
}

/* The first error inside the reply of EXEC; n 0: none. A nil reply is one. */
static struct span
error_inside(struct span reply)
{
	struct resp_item item;

	if (reply.p[0] == '-')
		return error_text(reply);
	while (reply.n > 0 && resp_read(&reply, &item) == WIRE_PART)
		if (item.type == RESP_ERROR)
			return item.text;
	return (struct span){ NULL, 0 };
}

static void
on_write(struct mover *m, struct conn *c, struct want *w, struct span text)
{
	if (text.n > 0) {
		dirty_error(m, w, c, text);
		return;
	}
	/* So late that it may have been dead on arrival: RESTORE says OK to
	 * that without a trace in the feed. */
	if (w->expires_ms != 0 && w->keys_n > 0 && m->margin != UINT64_MAX &&
	    w->expires_ms < m->port->wall_ms + NEAR_MS / 3) {
		struct span key;
		uint32_t db;

		if (conn_take_key(c, &db, &key))
			spread_repair(m, db, key);
	}
}

static void
on_exec(struct mover *m, struct conn *c, struct want *w, struct span text)
{
	if (text.n > 0 && w->is_library)
		library_owe(m);
	on_write(m, c, w, text);
}

static void
on_login_error(struct mover *m, struct conn *c, struct span text)
{
	mover_fail(m, ERR_AUTH, "%s: login refused: %.*s",
	           m->conf->side[c->side].label,
	           (int)(text.n < 80 ? text.n : 80), (const char *)text.p);
}

static void
on_barrier_error(struct mover *m, struct conn *c, struct span text)
{
	mover_fail(m, ERR_REFUSED,
	           "%s: refused a command without keys (%.*s); allow it",
	           m->conf->side[c->side].label,
	           (int)(text.n < 60 ? text.n : 60), (const char *)text.p);
}

static void
on_reply(struct mover *m, struct conn *c, struct want *w, struct span reply)
{
	struct span bad = { NULL, 0 };

	if (reply.p[0] == '-')
		bad = error_text(reply);
	switch ((enum want_kind)w->kind) {
	case WANT_QUIET:
		if (bad.n > 0 && w->is_library)
			library_owe(m);
		break;
	case WANT_SKIP:
		if (bad.n > 0 && !span_has_prefix(bad, SPAN("EXECABORT")))
			dirty_error(m, w, c, bad);
		break;
	case WANT_LOGIN:
		if (bad.n > 0)
			on_login_error(m, c, bad);
		break;
	case WANT_ID: (void)words_number(error_text(reply), &c->id); break;
	case WANT_CLIENTS: server_clients(m, c, reply); break;
	case WANT_NOTE: attach_note(m, c, reply); break;
	case WANT_DELAY: server_delay(m, c->side, reply); break;
	case WANT_INFO: server_info(m, c->side, reply); break;
	case WANT_DBS: (void)server_grow(m, c->side, reply); break;
	case WANT_CONFIG: server_config(m, c->side, reply); break;
	case WANT_WRITE: on_write(m, c, w, bad); break;
	case WANT_EXEC: on_exec(m, c, w, error_inside(reply)); break;
	case WANT_PROBE: watch_answer(m, reply); break;
	case WANT_MARGIN: {
		int64_t at = role_offset(reply);

		if (at < 0) {
			mover_fail(m, ERR_REFUSED, "%s: ROLE refused",
			           m->conf->side[c->side].label);
			break;
		}
		m->margin = m->conf->ignore_uncertain ? 0 : (uint64_t)at;
		break;
	}
	case WANT_SCAN: scan_reply(m, c, reply); break;
	case WANT_EXISTS: scan_exists(m, c, reply); break;
	case WANT_EDGE: sweep_edge(m, reply); break;
	case WANT_TRACK: mark_tracked(m, c, reply); break;
	case WANT_DUMP_FUNCTIONS: library_dump(m, reply); break;
	case WANT_FORMAT: lower_format(m, c->side, reply); break;
	case WANT_LIBRARY_LIST: library_list(m, reply); break;
	case WANT_LIBRARIES: library_restored(m, bad); break;
	case WANT_SIZE: chunk_size(m, reply); break;
	case WANT_CHUNK: chunk_reply(m, w, reply); break;
	case WANT_BARRIER:
		if (bad.n > 0)
			on_barrier_error(m, c, bad);
		break;
	case WANT_COPY:
	case WANT_JUDGE: NEVER("read piece by piece");
	}
}

/* Take one reply, or a part of a copy, from in. 0: more bytes are needed. */
static size_t
eat(struct mover *m, struct conn *c, struct span in)
{
	struct want *w = want_first(c);
	size_t n;

	if (buf_len(&c->wants) == 0) {
		mover_fail(m, ERR_PROTO, "%s: a reply nobody asked for",
		           m->conf->side[c->side].label);
		return 0;
	}
	if (w->kind == WANT_COPY || w->kind == WANT_JUDGE) {
		n = copy_bytes(m, c, w, in);
		if (!m->failed && w->n == 0) {
			w->n = 1;
			want_pop(c);
		}
		return n;
	}
	/* The one reply that comes a million times. */
	if (w->kind == WANT_WRITE && w->expires_ms == 0 && in.n >= 5 &&
	    memcmp(in.p, "+OK\r\n", 5) == 0) {
		want_pop(c);
		return 5;
	}
	n = reply_len(m, c, in);
	if (n == 0 || m->failed)
		return 0;
	on_reply(m, c, w, span_of(in.p, n));
	if (m->failed)
		return 0;
	want_pop(c);
	return n;
}

void
conn_bytes(struct mover *m, struct conn *c, struct span in)
{
	bool kept = buf_len(&c->rx) > 0;
	size_t used = 0;

	c->heard_ns = m->port->now_ns;
	if (kept) {
		buf_put_span(&c->rx, in);
		if (buf_failed(&c->rx)) {
			mover_fail(m, ERR_NOMEM, "%s: reply too long",
			           m->conf->side[c->side].label);
			return;
		}
		in = buf_span(&c->rx);
	}
	while (used < in.n) {
		size_t n = eat(m, c, span_skip(in, used));

		if (m->failed)
			return;
		if (n == 0)
			break;
		used += n;
	}
	if (kept)
		buf_take(&c->rx, used);
	else
		buf_put_span(&c->rx, span_skip(in, used));
}

/* A message that comes back in that side's stream. */
static void
prod(struct mover *m, enum side side)
{
	struct conn *c = &m->cmd[side];

	if (!c->is_ready)
		return;
	beat_ping(m, c);
}

/* Connections that hang without being lost. */
void
conn_check_silence(struct mover *m)
{
	/* We may be the ones who do not listen. */
	bool full = conn_backlog(&m->cmd[side_other(m->from)]) > 0;

	for (int i = 0; i < SIDE_N && !m->failed; i++) {
		const struct conn *c = &m->cmd[i];
		const struct feed *f = &m->feed[i];
		uint64_t now = m->port->now_ns;

		if (c->link != NULL && conn_wants(c) > 0 && !full &&
		    now > c->heard_ns + 30 * SECOND)
			mover_fail(m, ERR_TIMEOUT,
			           "%s: no answer for 30 seconds",
			           m->conf->side[i].label);
		else if (f->state == FEED_STREAM &&
		         now > f->heard_ns + 60 * SECOND)
			mover_fail(m, ERR_TIMEOUT,
			           "%s: its stream is silent for 60 seconds",
			           m->conf->side[i].label);
		else if (f->state == FEED_STREAM && !f->by_marks &&
		         now > f->heard_ns + 45 * SECOND)
			prod(m, (enum side)i);
	}
}
