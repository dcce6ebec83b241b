/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/reader.c: connections to the side without authority.
 *
 * That side is shut, so Godwit's role logs in; then it becomes the session's user, with
 * the settings that the authority told of. READ ONLY is set last, and looked at; what
 * could change it is never sent there.
 *
 *   LOGIN ──→ RESTORES ──→ OPEN: of its session, until that ends
 *                 ↑          │    by turns: of a read, then nobody's
 *                 └──────────┘ by turns: of one who has other settings
 */
#include "base/hash.h"
#include "engine/postgres/relay/guard.h"
#include "engine/postgres/relay/inside.h"

#define OWN_TYPE     16384u
/* record and record[]: numbers of types are inside of the binary form. */
#define TYPE_RECORD  2249u
#define TYPE_RECORDS 2287u
#define RETRY_NS     (1000 * MILLI)
#define LOOK_NS      (1000 * MILLI)

/* What its session is; never 0. */
static uint64_t
dress_of(const struct pg_session *s)
{
	return hash_bytes(buf_span(&s->state.found->settings), 0) | 1;
}

static void
copy(struct buf *to, struct span what)
{
	buf_clear(to);
	buf_put_span(to, what);
}

/* What it is to become is kept: whoever it is opened for may have gone by then. */
static bool
keep_dress(struct pg_reader *x, const struct pg_session *s)
{
	x->dress = dress_of(s);
	x->is_guarded = false;
	copy(&x->settings, buf_span(&s->state.found->settings));
	copy(&x->user, buf_span(&s->state.found->user));
	return !buf_failed(&x->settings) && !buf_failed(&x->user);
}

void
pg_reader_close(struct pg_reader *x)
{
	struct pg_relay *r = x->r;

	pg_conn_leave(&x->c);
	pg_conn_fini(&x->c);
	if (x->of != NULL)
		x->of->x = NULL;
	if (x->place != NULL)
		pg_place_leave(r, x->place);
	buf_fini(&x->startup);
	buf_fini(&x->settings);
	buf_fini(&x->user);
	pg_readers_remove(&r->reads.readers, x);
	mem_free(r->mem, x, sizeof(*x));
}

void
pg_reader_drop(struct pg_away *rd)
{
	if (rd->x != NULL)
		pg_reader_close(rd->x);
}

/* Is all that its startup packet sets told by the census? Not options, which may be
 * anything, nor settings of people's own making. */
static bool
is_told(const struct pg_session *s)
{
	struct span rest = pg_session_startup(s);
	struct pg_pair p;

	while (pg_pair_next(&rest, &p)) {
		if (span_eq(p.name, SPAN("options")) ||
		    span_holds(p.name, SPAN(".")))
			return false;
	}
	return true;
}

/* For what s is now; NULL: not now. It is nobody's. */
static struct pg_reader *
open_for(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_reader *x;

	if (r->port->now_ns < r->reads.retry_reader_ns)
		return NULL;
	x = mem_zero(r->mem, sizeof(*x));
	if (x == NULL)
		return NULL;
	x->owner = OWNER_READER;
	x->r = r;
	x->number = ++r->turns.numbers;
	x->c.id = r->conf->id;
	x->c.what = "read";
	x->c.side = &r->conf->side[side_other(r->route.authority)];
	pg_conn_init(&x->c, r->port);
	buf_init(&x->startup, r->mem);
	buf_init(&x->settings, r->mem);
	buf_init(&x->user, r->mem);
	pg_readers_push(&r->reads.readers, x);
	if (pg_turn_is_on(r)) {
		x->place = s->turn.place;
		x->place->refs++;
		x->is_anys = is_told(s);
	}
	copy(&x->startup, pg_session_startup(s));
	if (buf_failed(&x->startup) || !keep_dress(x, s) ||
	    pg_conn_open(&x->c) != 0) {
		pg_reader_close(x);
		return NULL;
	}
	x->c.link->owner = x;
	x->at = READER_LOGIN;
	return x;
}

/* The session's own words, as Godwit's role, for the database of that side. */
void
pg_reader_up(struct pg_reader *x)
{
	const struct side_conf *side = x->c.side;
	struct span rest = buf_span(&x->startup);
	struct pg_pair p;
	struct buf pairs;

	buf_init(&pairs, x->r->mem);
	pg_put_pair(&pairs, SPAN("user"),
	            span_str(side->own_user[0] != '\0' ? side->own_user
	                                               : side->url_user));
	pg_put_pair(&pairs, SPAN("database"), span_str(side->database));
	while (pg_pair_next(&rest, &p)) {
		if (!x->is_anys && !span_eq(p.name, SPAN("database")) &&
		    !span_eq(p.name, SPAN("user")))
			pg_put_pair(&pairs, p.name, p.value);
	}
	pg_put_pair(&pairs, SPAN("default_transaction_read_only"), SPAN("on"));
	pg_put_startup(&x->c.link->tx, PG_VERSION_3_0, buf_span(&pairs));
	port_touch(x->r->port, x->c.link);
	x->is_bad = buf_failed(&pairs);
	buf_fini(&pairs);
	if (x->is_bad)
		pg_reader_close(x);
}

/* It becomes what was kept; is_fresh: nobody had it before. */
static void
restore(struct pg_reader *x, bool is_fresh)
{
	struct buf sql;

	buf_init(&sql, x->r->mem);
	/* READ ONLY is of the login, so it is never off meanwhile. */
	if (!is_fresh)
		buf_put_str(&sql, "RESET SESSION AUTHORIZATION; RESET ROLE; "
		                  "RESET ALL; ");
	buf_put_span(&sql, buf_span(&x->settings));
	x->at = READER_RESTORES;
	x->is_bad = !pg_guard_ask(&x->c, buf_span(&sql), 0) || buf_failed(&sql);
	buf_fini(&sql);
}

/* It is what the session is, or it cannot be. */
static void
restored(struct pg_reader *x)
{
	x->is_bad = x->c.state_5[0] != '\0' || !x->is_guarded;
	if (x->is_bad && x->of != NULL)
		x->of->s->reading.like = LIKE_NO;
	else if (x->is_bad)
		x->r->reads.retry_reader_ns = x->r->port->now_ns + RETRY_NS;
	x->at = READER_OPEN;
	x->since_ns = x->r->port->now_ns;
}

/* ---- by turns ------------------------------------------------------------------- */

static bool
is_for(const struct pg_reader *x, const struct pg_session *s)
{
	if (x->place != s->turn.place)
		return false;
	return x->is_anys
	               ? is_told(s)
	               : span_eq(buf_span(&x->startup), pg_session_startup(s));
}

static bool
is_idle(const struct pg_reader *x)
{
	return x->of == NULL && x->at == READER_OPEN;
}

/* One that may log in for s, if need be instead of another one's. */
static void
open_more(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_reader *other = NULL;
	uint32_t n = 0;

	list_each(pg_reader, x, all, &r->reads.readers) {
		if (x->place != s->turn.place)
			continue;
		/* One comes: that is enough. */
		if (x->at == READER_LOGIN)
			return;
		n++;
		if (is_idle(x) && !is_for(x, s))
			other = x;
	}
	if (n >= r->conf->pool_max && other != NULL) {
		pg_reader_close(other);
		n--;
	}
	if (n < r->conf->pool_max)
		(void)open_for(s);
}

/* Is there one that s may get in time? */
static bool
may_turn(struct pg_session *s)
{
	bool ret = false;
	bool idle = false;

	list_each(pg_reader, x, all, &s->r->reads.readers) {
		if (!is_for(x, s))
			continue;
		ret = ret || x->at == READER_OPEN;
		idle = idle || is_idle(x);
	}
	if (!idle)
		open_more(s);
	return ret;
}

/* An idle one that is dressed alike, or any that may be dressed. */
static struct pg_reader *
turn(struct pg_away *rd)
{
	struct pg_session *s = rd->s;
	uint64_t dress = dress_of(s);
	struct pg_reader *found = NULL;

	list_each(pg_reader, x, all, &s->r->reads.readers) {
		if (is_idle(x) && is_for(x, s) &&
		    (found == NULL || x->dress == dress))
			found = x;
	}
	if (found == NULL)
		return NULL;
	found->of = rd;
	rd->x = found;
	if (found->dress != dress) {
		if (!keep_dress(found, s)) {
			pg_reader_close(found);
			return NULL;
		}
		restore(found, false);
	}
	return rd->x;
}

void
pg_reader_work(struct pg_relay *r)
{
	uint64_t now = r->port->now_ns;
	uint64_t idle = r->conf->pool_idle_ms > 0
	                        ? r->conf->pool_idle_ms * MILLI
	                        : PG_RELAY_POOL_NS;

	if (!pg_turn_is_on(r) || now < r->reads.looked_ns + LOOK_NS)
		return;
	r->reads.looked_ns = now;
	list_each(pg_reader, x, all, &r->reads.readers) {
		if (is_idle(x) && now > x->since_ns + idle)
			pg_reader_close(x);
	}
}

/* ---- for a read ----------------------------------------------------------------- */

bool
pg_reader_may(struct pg_away *rd)
{
	struct pg_session *s = rd->s;

	if (pg_turn_is_on(s->r))
		return s->turn.place != NULL && may_turn(s);
	if (rd->x != NULL && rd->x->at == READER_OPEN &&
	    rd->x->dress != dress_of(s))
		pg_reader_close(rd->x);
	if (rd->x == NULL) {
		rd->x = open_for(s);
		if (rd->x != NULL)
			rd->x->of = rd;
	}
	return rd->x != NULL && rd->x->at == READER_OPEN;
}

struct pg_reader *
pg_reader_of(struct pg_away *rd)
{
	struct pg_reader *x = rd->x;

	if (x == NULL && pg_turn_is_on(rd->s->r))
		x = turn(rd);
	return x != NULL && x->at == READER_OPEN && !x->is_bad ? x : NULL;
}

void
pg_reader_rest(struct pg_away *rd)
{
	struct pg_reader *x = rd->x;

	if (x == NULL || !pg_turn_is_on(rd->s->r))
		return;
	/* An answer is on its way that nobody wants. */
	if (x->at == READER_OPEN && x->c.state != PG_CONN_IDLE) {
		pg_reader_close(x);
		return;
	}
	x->of = NULL;
	rd->x = NULL;
	x->since_ns = x->r->port->now_ns;
}

/* ---- answers ------------------------------------------------------------------------ */

void
pg_reader_ask(struct pg_away *rd)
{
	struct pg_conn *c = &rd->x->c;

	buf_put_span(&c->link->tx, buf_span(&rd->ask));
	c->state_5[0] = '\0';
	buf_clear(&rd->answer);
	pg_conn_asked(c);
}

/* Numbers of tables and types of people's own are that server's: tables are left
 * out, types cannot be. */
static void
hear_fields(struct pg_away *rd, const struct pg_message *m)
{
	struct pg_fields fields;
	struct pg_field f;
	struct buf items;
	struct span rest;

	if (!pg_read_fields(m->body, &fields)) {
		rd->failed = true;
		return;
	}
	/* What the client was told of them does not hold: the authority says so. */
	if (rd->shape != 0 && pg_due_shape(rd->s, m->body) != rd->shape)
		rd->failed = true;
	buf_init(&items, rd->s->r->mem);
	rest = fields.items;
	while (pg_field_next(&rest, &f)) {
		f.table = 0;
		f.column = 0;
		if (f.type >= OWN_TYPE ||
		    (f.format != 0 &&
		     (f.type == TYPE_RECORD || f.type == TYPE_RECORDS))) {
			pg_reads_refuse(rd->s->r, rd->digest);
			rd->failed = true;
		}
		pg_put_field(&items, &f);
	}
	fields.items = buf_span(&items);
	if (!rd->hides_fields)
		pg_put_fields(&rd->answer, fields);
	rd->failed = rd->failed || buf_failed(&items);
	buf_fini(&items);
}

static void
hear_error(struct pg_away *rd)
{
	const char *code = rd->x->c.state_5;

	rd->failed = true;
	/* Read only; not known there; not possible there: not again. */
	if (strcmp(code, "25006") == 0)
		rd->s->r->reads.guarded++;
	if (strcmp(code, "25006") == 0 || memcmp(code, "42", 2) == 0 ||
	    memcmp(code, "0A", 2) == 0)
		pg_reads_refuse(rd->s->r, rd->digest);
}

static void
hear_answer(struct pg_away *rd, const struct pg_message *m)
{
	enum pg_transaction t;

	switch (m->type) {
	case PG_PARSE_COMPLETE:
		if (!rd->hides_parse)
			buf_put_span(&rd->answer, m->raw);
		break;
	case PG_ROW_DESCRIPTION: hear_fields(rd, m); break;
	case PG_NO_DATA:
		if (!rd->hides_fields)
			buf_put_span(&rd->answer, m->raw);
		break;
	case PG_PARAMETER_STATUS:
	case PG_NOTIFICATION: break;
	case PG_ERROR_RESPONSE: hear_error(rd); break;
	case PG_READY:
		if (!pg_read_ready(m->body, &t) || t != PG_IDLE)
			rd->failed = true;
		buf_put_span(&rd->answer, m->raw);
		rd->at = READ_ENDED;
		break;
	case PG_BIND_COMPLETE:
	case PG_COMMAND_COMPLETE:
	case PG_DATA_ROW:
	case PG_NOTICE_RESPONSE:
		if (!rd->failed)
			buf_put_span(&rd->answer, m->raw);
		break;
	default: rd->failed = true; break;
	}
	if (buf_len(&rd->answer) > PG_READ_ANSWER_MAX && !rd->failed) {
		pg_reads_refuse(rd->s->r, rd->digest);
		rd->failed = true;
	}
}

static bool
hear(void *self, struct pg_conn *c, const struct pg_message *m)
{
	struct pg_reader *x = self;

	(void)c;
	switch (x->at) {
	case READER_LOGIN:
		if (m->type == PG_READY)
			restore(x, true);
		break;
	case READER_RESTORES:
		pg_guard_hear(m, buf_span(&x->user), &x->is_guarded);
		if (m->type == PG_READY)
			restored(x);
		break;
	case READER_OPEN:
		if (x->of != NULL && x->of->at == READ_OUT)
			hear_answer(x->of, m);
		break;
	case READER_OFF: break;
	}
	return true;
}

/* What it was to read goes to the authority. */
static void
lost(struct pg_reader *x)
{
	struct pg_away *rd = x->of;
	struct pg_relay *r = x->r;

	pg_reader_close(x);
	r->reads.retry_reader_ns = r->port->now_ns + RETRY_NS;
	if (rd == NULL || rd->at != READ_OUT)
		return;
	rd->failed = true;
	rd->at = READ_ENDED;
}

void
pg_reader_take(struct pg_reader *x, struct span bytes)
{
	struct pg_away *rd = x->of;

	if (pg_conn_take(&x->c, bytes, hear, x) != 0) {
		lost(x);
	} else if (x->is_bad) {
		pg_reader_close(x);
	} else if (rd != NULL && rd->at == READ_OUT && rd->failed &&
	           x->c.state_5[0] == '\0') {
		/* An answer of a megabyte and no end: it is given up early. */
		pg_reader_close(x);
		rd->at = READ_ENDED;
	}
	if (rd != NULL)
		pg_away_settle(rd);
}

void
pg_reader_down(struct pg_reader *x, const struct err *err)
{
	struct pg_away *rd = x->of;

	pg_conn_down(&x->c, err);
	lost(x);
	if (rd != NULL)
		pg_away_settle(rd);
}
