/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/pool.c: backends that wait for another client.
 *
 * A client that says goodbye between two transactions leaves its backend, which is
 * told to forget the session (DISCARD ALL). The next client with the same startup
 * packet gets it, once it has proved who it is: where the server asked for nothing,
 * nothing is asked; where it wanted SCRAM, the role's verifier is read and Godwit is
 * the server for the client, as at every login. Other ways to log in keep none.
 *
 *   client goes ──→ RESETS ─[Ready]→ READY ──→ the next client
 *                     │ [error]        │ [60 s, a hold, the server goes]
 *                     └──→ closed ←────┘
 */
#include "engine/postgres/relay/inside.h"

static void
drop(struct pg_pooled *x, bool is_there)
{
	struct pg_relay *r = x->r;

	if (is_there)
		pg_conn_part(r->port, x->link);
	pg_own_key_drop(&x->key, r->mem);
	pg_idle_fini(&x->in);
	buf_fini(&x->startup);
	buf_fini(&x->says);
	pg_pool_remove(&r->pool, x);
	mem_free(r->mem, x, sizeof(*x));
}

/* ---- a client goes --------------------------------------------------------- */

static bool
may_stay(const struct pg_session *s)
{
	const struct pg_relay *r = s->r;
	const struct pg_backend *b = &s->b;

	return !pg_turn_is_on(r) && r->pool.n < r->conf->pool_max && !r->held &&
	       !r->stops && s->at == SESSION_OPEN && b->at == BACKEND_OPEN &&
	       b->side == r->route.authority && pg_session_is_quiet(s) &&
	       pg_frame_is_between(&b->in) && !b->slow &&
	       (s->auth.has_keys || !s->auth.was_asked) &&
	       !buf_failed(&s->says) && !buf_failed(&b->link->tx);
}

void
pg_pool_keep(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_backend *b = &s->b;
	struct pg_pooled *x;

	if (!may_stay(s) || (x = mem_zero(r->mem, sizeof(*x))) == NULL)
		return;
	x->owner = OWNER_POOLED;
	x->r = r;
	x->link = b->link;
	x->link->owner = x;
	x->link->want_drained = false;
	x->side = b->side;
	x->number = ++r->turns.numbers;
	x->born_ns = b->born_ns;
	x->by_scram = s->auth.has_keys;
	pg_idle_init(&x->in, r->mem);
	x->in.in = b->in;
	pg_own_key_move(&x->key, &b->key);
	x->startup = s->startup;
	x->says = s->says;
	buf_init(&s->startup, r->mem);
	buf_init(&s->says, r->mem);
	b->link = NULL;
	b->at = BACKEND_OFF;
	pg_put_query(&x->link->tx, SPAN("DISCARD ALL"));
	port_touch(r->port, x->link);
	pg_pool_push(&r->pool, x);
}

static bool
reads(const void *self, uint8_t type)
{
	(void)self;
	return type == PG_READY || type == PG_PARAMETER_STATUS ||
	       type == PG_ERROR_RESPONSE;
}

static bool
hear(void *self, uint8_t type, struct span body)
{
	struct pg_pooled *x = self;
	enum pg_transaction t;

	if (type == PG_PARAMETER_STATUS)
		pg_params_put(&x->says, body);
	if (type == PG_READY) {
		if (x->is_ready || !pg_read_ready(body, &t) || t != PG_IDLE)
			return false;
		x->is_ready = true;
		x->since_ns = x->r->port->now_ns;
	}
	return type != PG_ERROR_RESPONSE && !buf_failed(&x->says);
}

void
pg_pool_bytes(struct pg_pooled *x, struct span bytes)
{
	if (!pg_idle_take(&x->in, bytes, reads, hear, x))
		drop(x, true);
}

void
pg_pool_down(struct pg_pooled *x)
{
	drop(x, false);
}

void
pg_pool_drop_all(struct pg_relay *r)
{
	list_each(pg_pooled, x, all, &r->pool)
		drop(x, true);
}

void
pg_pool_drop_old(struct pg_relay *r)
{
	uint64_t idle = r->conf->pool_idle_ms > 0
	                        ? r->conf->pool_idle_ms * MILLI
	                        : PG_RELAY_POOL_NS;

	list_each(pg_pooled, x, all, &r->pool) {
		if (x->is_ready && (r->port->now_ns - x->since_ns > idle ||
		                    r->pool.n > r->conf->pool_max))
			drop(x, true);
	}
}

/* ---- a client comes -------------------------------------------------------- */

/* The youngest one: the others may grow old. */
static struct pg_pooled *
find(const struct pg_session *s)
{
	struct pg_pooled *found = NULL;

	list_each(pg_pooled, x, all, &s->r->pool) {
		if (x->is_ready && x->side == s->r->route.authority &&
		    pg_frame_is_between(&x->in.in) &&
		    span_eq(buf_span(&x->startup), pg_session_startup(s)))
			found = x;
	}
	return found;
}

void
pg_pool_let_in(struct pg_session *s, struct span says)
{
	struct pg_authentication ok = { .code = PG_AUTH_OK };
	struct buf *tx = &s->client->tx;
	uint8_t secret[4];
	struct pg_key key = { .process = s->c.process,
		              .secret = span_of(secret, sizeof(secret)) };

	pg_set_u32(secret, s->c.secret);
	pg_put_authentication(tx, &ok);
	buf_put_span(&s->params, says);
	pg_params_give(s);
	pg_put_key(tx, key);
	pg_put_ready(tx, PG_IDLE);
	port_touch(s->r->port, s->client);
}

static void
take(struct pg_session *s, struct pg_pooled *x)
{
	struct pg_backend *b = &s->b;

	b->link = x->link;
	b->link->owner = b;
	b->side = x->side;
	b->born_ns = x->born_ns;
	b->in = x->in.in;
	b->at = BACKEND_OPEN;
	b->is_ours = false;
	b->slow = false;
	b->due = 0;
	pg_own_key_move(&b->key, &x->key);
	buf_fini(&s->says);
	s->says = x->says;
	buf_init(&x->says, s->r->mem);
	s->auth.at = AUTH_OVER;
	s->at = SESSION_OPEN;
	s->waits_ns = 0;
	s->waits = false;
	drop(x, false);
	pg_pool_let_in(s, buf_span(&s->says));
}

enum pool_rc
pg_pool_begin(struct pg_session *s)
{
	struct pg_pooled *x;

	if (s->at != SESSION_LOGIN || s->auth.at != AUTH_NEW)
		return POOL_NONE;
	x = find(s);
	if (x == NULL)
		return POOL_NONE;
	if (!x->by_scram) {
		take(s, x);
		return POOL_TAKEN;
	}
	pg_pool_ask(s);
	return POOL_ASKS;
}

void
pg_pool_ask(struct pg_session *s)
{
	s->auth.is_alone = true;
	s->auth.was_asked = true;
	s->auth.wants_scram = true;
	s->auth.at = AUTH_ASKS;
	pg_auth_next(s->r);
}

bool
pg_pool_proved(struct pg_session *s)
{
	struct pg_pooled *x;

	if (pg_turn_is_on(s->r))
		return pg_turn_proved(s);
	x = find(s);
	s->auth.is_alone = false;
	if (x == NULL)
		return s->r->held || pg_backend_open(s);
	take(s, x);
	return true;
}
