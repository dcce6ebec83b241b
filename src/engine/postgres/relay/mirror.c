/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/mirror.c: connections on which reads are asked once more.
 *
 * Few, to each side, for all sessions: Godwit's role logs in and becomes a session's
 * user with its settings; sessions that are alike share one (guard.h).
 */
#include "base/hash.h"
#include "engine/postgres/relay/guard.h"
#include "engine/postgres/relay/inside.h"
#include "wire/pg_text.h"

#define RETRY_NS (1000 * MILLI)

/* ---- kinds ------------------------------------------------------------------ */

/* A session's words at its startup that go along. */
static void
put_own_pairs(const struct pg_session *s, struct buf *to)
{
	struct span rest = pg_session_startup(s);
	struct pg_pair p;

	while (pg_pair_next(&rest, &p)) {
		if (!span_eq(p.name, SPAN("database")) &&
		    !span_eq(p.name, SPAN("user")) &&
		    !span_eq(p.name, SPAN("application_name")))
			pg_put_pair(to, p.name, p.value);
	}
}

static void
kind_free(struct pg_shadow *x, struct pg_kind *k)
{
	struct mem *mem = k->pairs.mem;

	pg_kinds_remove(&x->kinds, k);
	buf_fini(&k->pairs);
	buf_fini(&k->settings);
	buf_fini(&k->user);
	mem_free(mem, k, sizeof(*k));
}

/* Room for one more: the oldest that nobody uses goes. */
static bool
make_room(struct pg_shadow *x)
{
	if (x->kinds.n < PG_SHADOW_KINDS)
		return true;
	list_each(pg_kind, k, all, &x->kinds) {
		if (k->users == 0) {
			kind_free(x, k);
			return true;
		}
	}
	return false;
}

static struct pg_kind *
kind_new(struct pg_session *s, uint64_t key)
{
	struct pg_shadow *x = s->r->shadow;
	struct pg_kind *k;

	if (!make_room(x))
		return NULL;
	k = mem_zero(s->r->mem, sizeof(*k));
	if (k == NULL)
		return NULL;
	k->key = key;
	buf_init(&k->pairs, s->r->mem);
	buf_init(&k->settings, s->r->mem);
	buf_init(&k->user, s->r->mem);
	put_own_pairs(s, &k->pairs);
	buf_put_span(&k->settings, buf_span(&s->state.found->settings));
	buf_put_span(&k->user, buf_span(&s->state.found->user));
	pg_kinds_push(&x->kinds, k);
	if (buf_failed(&k->pairs) || buf_failed(&k->settings) ||
	    buf_failed(&k->user)) {
		kind_free(x, k);
		return NULL;
	}
	return k;
}

struct pg_kind *
pg_kind_of(struct pg_session *s)
{
	uint64_t seed = s->r->reads.seed[0];
	uint64_t key = hash_bytes(pg_session_startup(s), seed) ^
	               hash_bytes(buf_span(&s->state.found->settings), ~seed);
	struct pg_kind *ret = NULL;

	list_each(pg_kind, k, all, &s->r->shadow->kinds) {
		if (k->key == key)
			ret = k;
	}
	if (ret == NULL)
		ret = kind_new(s, key);
	if (ret != NULL)
		ret->users++;
	return ret;
}

void
pg_kind_leave(struct pg_shadow *x, struct pg_kind *k)
{
	(void)x;
	REQUIRE(k->users > 0);
	k->users--;
}

/* ---- connections ---------------------------------------------------------------- */

void
pg_mirror_init(struct pg_relay *r)
{
	for (int s = 0; s < SIDE_N; s++) {
		for (int i = 0; i < PG_SHADOW_CONNS; i++) {
			struct pg_mirror *m = &r->shadow->conn[s][i];

			m->owner = OWNER_MIRROR;
			m->r = r;
			m->side = (enum side)s;
			m->c.id = r->conf->id;
			m->c.what = "shadow";
			pg_conn_init(&m->c, r->port);
		}
	}
}

/* It is not what it was, and asks nothing. */
static struct pg_ask *
forget(struct pg_mirror *m)
{
	struct pg_ask *a = m->ask;

	if (m->kind != NULL)
		pg_kind_leave(m->r->shadow, m->kind);
	m->kind = NULL;
	m->ask = NULL;
	m->is_open = false;
	m->due = 0;
	if (a != NULL)
		a->conn = NULL;
	return a;
}

void
pg_mirror_close(struct pg_mirror *m)
{
	pg_conn_leave(&m->c);
	(void)forget(m);
}

void
pg_mirror_fini(struct pg_relay *r)
{
	struct pg_shadow *x = r->shadow;

	for (int s = 0; s < SIDE_N; s++) {
		for (int i = 0; i < PG_SHADOW_CONNS; i++) {
			pg_mirror_close(&x->conn[s][i]);
			pg_conn_fini(&x->conn[s][i].c);
		}
	}
	list_each(pg_kind, k, all, &x->kinds)
		kind_free(x, k);
}

static void
lost(struct pg_mirror *m, enum shadow_drop why)
{
	struct pg_relay *r = m->r;
	struct pg_ask *a = forget(m);

	r->shadow->retry_ns[m->side] = r->port->now_ns + RETRY_NS;
	if (a != NULL)
		pg_shadow_lost(r, a, why);
}

static void
open_one(struct pg_mirror *m, struct pg_kind *k)
{
	struct pg_relay *r = m->r;

	if (r->port->now_ns < r->shadow->retry_ns[m->side])
		return;
	pg_mirror_close(m);
	m->c.side = &r->conf->side[m->side];
	if (pg_conn_open(&m->c) != 0)
		return;
	m->c.link->owner = m;
	m->kind = k;
	k->users++;
	m->used_ns = r->port->now_ns;
}

void
pg_mirror_up(struct pg_mirror *m)
{
	const struct side_conf *side = m->c.side;
	struct pg_relay *r = m->r;
	struct buf pairs;
	struct buf name;

	buf_init(&pairs, r->mem);
	buf_init(&name, r->mem);
	buf_putf(&name, "godwit:%s:%s", m->c.id, m->c.what);
	pg_put_pair(&pairs, SPAN("user"),
	            span_str(side->own_user[0] != '\0' ? side->own_user
	                                               : side->url_user));
	pg_put_pair(&pairs, SPAN("database"), span_str(side->database));
	pg_put_pair(&pairs, SPAN("application_name"), buf_span(&name));
	buf_put_span(&pairs, buf_span(&m->kind->pairs));
	pg_put_pair(&pairs, SPAN("default_transaction_read_only"), SPAN("on"));
	pg_put_startup(&m->c.link->tx, PG_VERSION_3_0, buf_span(&pairs));
	if (buf_failed(&pairs) || buf_failed(&name))
		pg_mirror_close(m);
	else
		port_touch(r->port, m->c.link);
	buf_fini(&pairs);
	buf_fini(&name);
}

/* It becomes what the session is. */
static void
restore(struct pg_mirror *m)
{
	m->is_guarded = false;
	m->due = 1;
	if (!pg_guard_ask(&m->c, buf_span(&m->kind->settings),
	                  m->r->route.shadow.timeout_ms))
		pg_mirror_close(m);
}

static void
hear_restored(struct pg_mirror *m, const struct pg_message *msg)
{
	pg_guard_hear(msg, buf_span(&m->kind->user), &m->is_guarded);
	if (msg->type != PG_READY || m->due == 0)
		return;
	m->due = 0;
	if (m->c.state_5[0] == '\0' && m->is_guarded) {
		m->is_open = true;
		return;
	}
	/* Godwit's role may not be that user, or there is none. */
	m->kind->is_bad = true;
	pg_mirror_close(m);
}

static void
hear_answer(struct pg_mirror *m, const struct pg_message *msg)
{
	struct pg_ask *a = m->ask;

	if (a != NULL && m->due == m->mine) {
		if (msg->type == PG_ERROR_RESPONSE)
			memcpy(m->code, m->c.state_5, sizeof(m->code));
		if (msg->type != PG_PARAMETER_STATUS &&
		    msg->type != PG_NOTIFICATION &&
		    msg->type != PG_NOTICE_RESPONSE)
			pg_shadow_hear(m->r, a, msg->raw);
	}
	/* It may have been given up. */
	if (msg->type != PG_READY || m->due == 0 || --m->due > 0)
		return;
	a = m->ask;
	m->ask = NULL;
	if (a != NULL) {
		a->conn = NULL;
		pg_shadow_heard(m->r, a, m->code);
	}
}

static bool
hear(void *self, struct pg_conn *c, const struct pg_message *msg)
{
	struct pg_mirror *m = self;

	(void)c;
	if (m->is_open) {
		hear_answer(m, msg);
	} else if (m->due > 0) {
		hear_restored(m, msg);
	} else if (msg->type == PG_READY) {
		restore(m);
	}
	return true;
}

void
pg_mirror_take(struct pg_mirror *m, struct span bytes)
{
	if (pg_conn_take(&m->c, bytes, hear, m) != 0)
		lost(m, SHADOW_DROP_DOWN);
}

void
pg_mirror_down(struct pg_mirror *m, const struct err *err)
{
	pg_conn_down(&m->c, err);
	lost(m, SHADOW_DROP_DOWN);
}

/* ---- asking ----------------------------------------------------------------------- */

static bool
is_busy(const struct pg_mirror *m)
{
	return m->ask != NULL || m->due > 0 || !m->is_open ||
	       m->c.state != PG_CONN_IDLE;
}

/* One that is of this kind and free. *ret_spare: one that may be made so, or NULL. */
static struct pg_mirror *
find(struct pg_relay *r, const struct pg_kind *k, enum side side,
     struct pg_mirror **ret_spare)
{
	*ret_spare = NULL;
	for (int i = 0; i < PG_SHADOW_CONNS; i++) {
		struct pg_mirror *m = &r->shadow->conn[side][i];

		if (m->kind == k && !is_busy(m))
			return m;
		/* One comes: that is enough. */
		if (m->kind == k && !m->is_open) {
			*ret_spare = NULL;
			return NULL;
		}
	}
	for (int i = 0; i < PG_SHADOW_CONNS; i++) {
		struct pg_mirror *m = &r->shadow->conn[side][i];

		if (m->kind == NULL) {
			*ret_spare = m;
			return NULL;
		}
		if (!is_busy(m) && m->kind != k &&
		    (*ret_spare == NULL || m->used_ns < (*ret_spare)->used_ns))
			*ret_spare = m;
	}
	return NULL;
}

/* In a snapshot: the question between two others. */
static void
put_question(struct pg_mirror *m, const struct pg_ask *a)
{
	struct buf *tx = &m->c.link->tx;
	struct buf sql;

	m->due = 1;
	m->mine = 1;
	if (a->at != ASK_TWICE) {
		buf_put_span(tx, buf_span(&a->request));
		return;
	}
	buf_init(&sql, m->r->mem);
	buf_put_str(&sql, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
	                  "SET TRANSACTION SNAPSHOT ");
	pg_put_literal(&sql, span_str(m->r->shadow->keeper.name));
	pg_put_query(tx, buf_span(&sql));
	buf_put_span(tx, buf_span(&a->request));
	pg_put_query(tx, SPAN("ROLLBACK"));
	tx->failed = tx->failed || buf_failed(&sql);
	buf_fini(&sql);
	m->due = 3;
	m->mine = 2;
}

bool
pg_mirror_ask(struct pg_relay *r, struct pg_ask *a, enum side side)
{
	struct pg_mirror *spare;
	struct pg_mirror *m = find(r, a->kind, side, &spare);

	if (m == NULL) {
		if (spare != NULL)
			open_one(spare, a->kind);
		return false;
	}
	put_question(m, a);
	m->ask = a;
	m->code[0] = '\0';
	m->c.state_5[0] = '\0';
	m->used_ns = r->port->now_ns;
	a->conn = m;
	pg_conn_asked(&m->c);
	return true;
}
