/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/server.c: a connection that sessions have by turns.
 *
 *   LOGIN ──→ of a session ──[taken back]──→ idle ──[given]──→ of a session
 *                   │                          ↑ [Ready]   │ [old, an error, gone]
 *                   └──[its client went]──→ is reset       └──→ closed
 *
 * A CancelRequest that is on its way may hit whoever has it next, so nobody has,
 * until the server has closed that connection.
 */
#include "engine/postgres/relay/inside.h"

void
pg_block_give(struct buf *b, struct buf *lent)
{
	if (b->p == NULL || buf_len(b) > 0)
		return;
	if (lent->p != NULL || buf_failed(b)) {
		buf_release(b);
		return;
	}
	buf_clear(b);
	*lent = *b;
	buf_init(b, lent->mem);
}

void
pg_block_take(struct buf *b, struct buf *lent)
{
	if (b->p != NULL || lent->p == NULL || buf_failed(b))
		return;
	*b = *lent;
	buf_init(lent, b->mem);
}

struct pg_server *
pg_server_new(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_server *x = mem_zero(r->mem, sizeof(*x));

	if (x == NULL)
		return NULL;
	x->owner = OWNER_SERVER;
	x->r = r;
	x->s = s;
	x->ahead.is_read = true;
	x->place = s->turn.place;
	x->side = (uint8_t)pg_apart_side(s);
	x->place->server_n[x->side]++;
	x->place->refs++;
	x->born_ns = r->port->now_ns;
	x->number = ++r->turns.numbers;
	pg_idle_init(&x->in, r->mem);
	buf_init(&x->says, r->mem);
	map_init(&x->has, r->mem, sizeof(uint64_t), r->turns.seed[1]);
	pg_servers_push(&r->turns.servers, x);
	s->turn.server = x;
	s->turn.since_ns = r->port->now_ns;
	return x;
}

void
pg_server_rename(struct pg_relay *r, enum side from, enum side to)
{
	list_each(pg_server, x, all, &r->turns.servers) {
		if (x->side != from)
			continue;
		x->place->server_n[from]--;
		x->place->server_n[to]++;
		x->side = (uint8_t)to;
	}
}

bool
pg_server_is_idle(const struct pg_server *x)
{
	return x->s == NULL && x->resets == 0 && x->cancels == 0;
}

void
pg_server_free(struct pg_server *x)
{
	struct pg_relay *r = x->r;

	pg_ahead_release(x);
	list_each(pg_cancel, c, all, &r->cancels) {
		if (c->server == x)
			c->server = NULL;
	}
	if (x->s == NULL && x->link != NULL)
		pg_conn_part(r->port, x->link);
	if (x->link != NULL)
		r->turns.idle_n--;
	if (x->loads)
		pg_place_done(r, x->place, false);
	map_fini(&x->has);
	pg_own_key_drop(&x->key, r->mem);
	pg_idle_fini(&x->in);
	buf_fini(&x->says);
	if (x->group != NULL) {
		x->group->server_n--;
		pg_group_leave(r, x->group);
	}
	x->place->server_n[x->side]--;
	pg_place_leave(r, x->place);
	pg_servers_remove(&r->turns.servers, x);
	mem_free(r->mem, x, sizeof(*x));
}

void
pg_server_says(struct pg_server *x, struct span body)
{
	pg_params_put(&x->says, body);
	x->said = pg_params_digest(&x->says, x->r->turns.seed[0]);
}

void
pg_server_take_back(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_backend *b = &s->b;
	struct pg_server *x = s->turn.server;
	bool asks = b->at == BACKEND_CENSUS;

	x->s = NULL;
	x->link = b->link;
	x->link->owner = x;
	x->link->want_drained = false;
	x->in.in = b->in;
	pg_own_key_move(&x->key, &b->key);
	x->last = ++r->turns.numbers;
	s->turn.said = x->said;
	s->turn.ticket = x->last;
	x->since_ns = r->port->now_ns;
	r->turns.idle_n++;
	s->turn.server = NULL;
	b->link = NULL;
	b->at = BACKEND_OFF;
	buf_release(&b->word);
	buf_clear(&s->turn.due);
	pg_block_give(&s->turn.due, &r->lent_due);
	/* Answers that are on their way would be taken for the catalog's. */
	if (!asks && x->ahead.n == 0 && pg_place_wants(r, x->place))
		pg_place_ask(x);
}

void
pg_server_give(struct pg_server *x, struct pg_session *s)
{
	struct pg_backend *b = &s->b;

	REQUIRE(pg_server_is_idle(x) && b->link == NULL);
	b->link = x->link;
	b->link->owner = b;
	b->side = (enum side)x->side;
	b->in = x->in.in;
	b->type = 0;
	b->is_ours = false;
	b->slow = false;
	pg_own_key_move(&b->key, &x->key);
	x->link = NULL;
	x->s = s;
	x->ahead.is_read = true;
	s->r->turns.idle_n--;
	s->turn.server = x;
	pg_block_take(&s->turn.due, &s->r->lent_due);
	s->turn.since_ns = s->r->port->now_ns;
	/* It was told something while nobody had it, or is not what the one before
	 * was. */
	if (s->turn.said != x->said)
		pg_params_keep_all(s, &x->says);
	s->turn.said = x->said;
	s->waits_ns = 0;
	s->waits = false;
}

void
pg_server_reset(struct pg_server *x, uint32_t due)
{
	if (x->resets == 0)
		x->resets = due;
	pg_put_query(&x->link->tx, SPAN("DISCARD ALL"));
	x->resets++;
	x->dress = 0;
	x->is_touched = false;
	x->is_numbered = false;
	x->last = 0;
	map_fini(&x->has);
	port_touch(x->r->port, x->link);
}

static bool
reads(const void *self, uint8_t type)
{
	const struct pg_server *x = self;

	return type == PG_READY || type == PG_ERROR_RESPONSE ||
	       type == PG_PARAMETER_STATUS || (x->loads && type == PG_DATA_ROW);
}

static bool
hear(void *self, uint8_t type, struct span body)
{
	struct pg_server *x = self;
	enum pg_transaction t;

	switch (type) {
	case PG_READY:
		if (x->resets == 0 || !pg_read_ready(body, &t) || t != PG_IDLE)
			return false;
		if (--x->resets > 0 || !x->loads)
			return true;
		x->loads = false;
		pg_place_done(x->r, x->place, !x->failed);
		return true;
	case PG_PARAMETER_STATUS: pg_server_says(x, body); return true;
	case PG_DATA_ROW:
		if (x->loads)
			pg_place_row(x->place, body);
		return true;
	default:
		/* The census' own may fail, what it is asked may be refused. */
		x->failed = true;
		return x->loads;
	}
}

void
pg_server_bytes(struct pg_server *x, struct span bytes)
{
	if (!pg_idle_take(&x->in, bytes, reads, hear, x))
		pg_server_free(x);
}

void
pg_server_down(struct pg_server *x)
{
	x->r->turns.idle_n--;
	x->link = NULL;
	pg_server_free(x);
}
