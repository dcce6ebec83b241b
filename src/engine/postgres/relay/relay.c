/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/relay.c: the machine: events in, calls to the nouns.
 */
#include "engine/postgres/relay/relay.h"

#include "base/hist.h"
#include "engine/postgres/relay/inside.h"

#define TICK_NS  1000000000ull
#define RETRY_NS (10 * MILLI)
#define RARE_NS  (10 * MILLI)

static machine_step_f step;
static machine_fini_f fini;
static machine_show_f show;

const struct machine pg_relay_machine = {
	.name = "relay",
	.self_size = sizeof(struct pg_relay),
	.step = step,
	.fini = fini,
	.show = show,
};

void
pg_relay_init(void *self, void *conf)
{
	struct pg_relay *r = self;

	r->conf = conf;
	r->route = r->conf->first_route;
	r->held = r->conf->held;
	r->told = r->conf->held;
}

/* ---- counters ----------------------------------------------------------- */

#define PUT(field, v) \
	atomic_store_explicit(&t->field, (v), memory_order_relaxed)

static void
publish_rare(struct pg_relay *r, struct traffic *t)
{
	uint32_t up[SIDE_N] = { 0, 0 };
	uint32_t busy = 0;
	uint32_t waiting = 0;

	list_each(pg_session, s, all, &r->sessions) {
		up[s->b.side] += s->b.link != NULL;
		busy += s->status != PG_IDLE;
		waiting += s->waits;
	}
	up[side_other(r->route.authority)] += (uint32_t)r->reads.readers.n;
	list_each(pg_pooled, x, all, &r->pool)
		up[x->side]++;
	list_each(pg_server, x, all, &r->turns.servers)
		up[x->side] += x->link != NULL;
	for (int i = 0; r->shadow != NULL && i < SIDE_N * PG_SHADOW_CONNS; i++)
		up[i % SIDE_N] +=
			r->shadow->conn[i % SIDE_N][i / SIDE_N].c.link != NULL;
	PUT(upstreams[0], up[0]);
	PUT(upstreams[1], up[1]);
	PUT(in_transaction, busy);
	PUT(held, r->held ? waiting : 0);
	PUT(mem, r->mem->used);
}

static void
publish_shadow(const struct pg_relay *r, struct traffic *t)
{
	const struct pg_shadow_counts *n = &r->shadowed;

	PUT(shadow_sent, n->sent);
	PUT(shadow_same, n->same);
	PUT(shadow_different, n->different);
	PUT(shadow_rechecked, n->rechecked);
	PUT(shadow_unstable, n->unstable);
	PUT(shadow_noise, n->noise);
	for (int k = 0; k < SHADOW_DROP_N; k++)
		PUT(shadow_dropped[k], n->dropped[k]);
}

static void
publish(struct pg_relay *r)
{
	struct traffic *t = r->conf->traffic;

	if (t == NULL)
		return;
	PUT(requests, r->n.requests);
	for (int i = 0; i < SIDE_N; i++) {
		PUT(writes[i], r->n.answered[i]);
		PUT(lost[i], r->n.lost[i]);
		PUT(reads[i], r->reads.answered[i]);
		PUT(unused[i], r->reads.unused[i]);
	}
	PUT(read_retries, r->reads.retried);
	PUT(told_ns, r->port->now_ns);
	publish_shadow(r, t);
	PUT(refused, r->n.refused);
	PUT(withheld, r->acks.waited);
	PUT(bytes_in, r->n.bytes_in);
	PUT(bytes_out, r->n.bytes_out);
	PUT(clients, (uint32_t)r->clients.n);
	PUT(generation, r->route.generation);
	PUT(hold_last_ns, r->hold_last_ns);
	PUT(hold_max_ns, r->hold_max_ns);
	if (r->held || r->rare_ns + RARE_NS <= r->port->now_ns) {
		r->rare_ns = r->port->now_ns;
		publish_rare(r, t);
	}
}

/* One a millisecond of each side; a turn of the loop is fine enough for what is judged by
 * it (--auto). */
void
pg_relay_time(struct pg_session *s, enum side side)
{
	struct pg_relay *r = s->r;
	uint64_t now = r->port->now_ns;
	_Atomic uint32_t *slot;

	if (!s->is_timed)
		return;
	s->is_timed = false;
	if (now - r->timed_ns[side] < MILLI || r->conf->traffic == NULL)
		return;
	r->timed_ns[side] = now;
	slot = &r->conf->traffic->latency[side][hist_bucket(
		(now - s->asked_ns) / 1000)];
	atomic_store_explicit(
		slot, atomic_load_explicit(slot, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

/* ---- cancel requests ------------------------------------------------------ */

void
pg_relay_send_cancel(struct pg_relay *r, struct pg_cancel *c, enum side s)
{
	c->link = r->port->ops->open(r->port, &r->conf->side[s].at, c);
	if (c->link == NULL) {
		if (c->server != NULL)
			c->server->cancels--;
		mem_free(r->mem, c, sizeof(*c));
		return;
	}
	pg_cancels_push(&r->cancels, c);
}

static void
drop_cancel(struct pg_relay *r, struct pg_cancel *c)
{
	if (c->server != NULL)
		c->server->cancels--;
	pg_cancels_remove(&r->cancels, c);
	mem_free(r->mem, c, sizeof(*c));
}

/* The server closes the connection when it has done it. */
static void
put_cancel(struct pg_relay *r, struct pg_cancel *c)
{
	struct pg_key key = { .process = c->process,
		              .secret = span_of(c->secret, c->secret_n) };

	pg_put_cancel(&c->link->tx, key);
	port_touch(r->port, c->link);
}

/* ---- mails ------------------------------------------------------------------ */

static void
ack_route(struct pg_relay *r)
{
	struct mail m = { .kind = MAIL_ROUTE_ACK,
		          .who = r->conf->who,
		          .epoch = r->route.epoch };

	m.route = r->route;
	r->port->ops->mail(r->port, &m);
}

static void
answer(struct pg_relay *r, enum mail_kind kind, uint32_t flag)
{
	struct mail m = { .kind = kind,
		          .who = r->conf->who,
		          .epoch = r->route.epoch,
		          .flag = flag };

	r->port->ops->mail(r->port, &m);
}

/* Other sides: the one that stays gets another name. */
static void
pair(struct pg_relay *r, const struct mail *m)
{
	pg_warm_drop_all(r);
	list_each(pg_session, s, all, &r->sessions)
		pg_away_stop(s);
	pg_reads_forget(r);
	pg_acks_pair(r);
	r->conf = m->pair;
	r->route = m->route;
	list_each(pg_session, s, all, &r->sessions) {
		if (s->b.link != NULL && s->b.side == m->side)
			s->b.side = (enum side)m->token;
	}
	r->held = r->conf->held;
	pg_server_rename(r, m->side, (enum side)m->token);
	pg_turn_forget(r);
	pg_apart_route(r);
	pg_reads_route(r);
	pg_pool_drop_all(r);
	pg_turn_drop_idle(r);
	pg_conn_close(&r->ask);
	pg_auth_lost(r);
	answer(r, MAIL_PAIR_ACK, 0);
}

static void
stop(struct pg_relay *r)
{
	r->stops = true;
	pg_pool_drop_all(r);
	pg_turn_drop_idle(r);
	r->stop_ns = r->port->now_ns + PG_RELAY_STOP_NS;
}

static void
on_mail(struct pg_relay *r, const struct mail *m)
{
	switch ((int)m->kind) {
	case MAIL_ROUTE:
		r->route = m->route;
		pg_apart_route(r);
		pg_reads_route(r);
		pg_acks_route(r);
		ack_route(r);
		break;
	case MAIL_WARM: pg_warm_begin(r, m->token); break;
	case MAIL_HOLD: pg_hold_begin(r, m); break;
	case MAIL_RELEASE: pg_hold_end(r, m); break;
	case MAIL_BEHIND:
		r->reads.is_behind = m->flag != 0;
		pg_reads_route(r);
		pg_acks_behind(r, m->flag);
		answer(r, MAIL_BEHIND_ACK, m->flag);
		break;
	case MAIL_PAIR: pair(r, m); break;
	case MAIL_VIEW: pg_view_take(r, m->pair); break;
	case MAIL_CANCEL: (void)pg_cancel_own(r, m->token); break;
	case MAIL_STOP: stop(r); break;
	default: break;
	}
}

/* ---- events ------------------------------------------------------------------- */

static void
on_up(struct pg_relay *r, struct link *l)
{
	enum pg_owner *o = l->owner;

	if (l->owner == &r->ask) {
		if (pg_conn_up(&r->ask) != 0)
			pg_auth_lost(r);
		return;
	}
	if (*o == OWNER_BACKEND)
		pg_backend_up(l->owner);
	else if (*o == OWNER_READER)
		pg_reader_up(l->owner);
	else if (*o == OWNER_LOOK)
		pg_look_up(r, l->owner);
	else if (*o == OWNER_ACK)
		pg_ack_ask_up(r, l->owner);
	else if (*o == OWNER_MIRROR)
		pg_mirror_up(l->owner);
	else if (*o == OWNER_KEEPER)
		pg_keeper_up(l->owner);
	else if (*o == OWNER_APART)
		pg_apart_up(r);
	else if (*o == OWNER_CANCEL)
		put_cancel(r, l->owner);
}

static void
wake(struct pg_relay *r, struct pg_sleeper *x, struct span bytes)
{
	struct pg_session *s = pg_sleeper_wake(r, x);

	if (s != NULL)
		pg_session_take(s, bytes);
}

static void
on_bytes(struct pg_relay *r, const struct event *ev)
{
	enum pg_owner *o = ev->link->owner;

	if (ev->link->owner == &r->ask) {
		if (pg_conn_take(&r->ask, ev->bytes, pg_auth_hear, r) != 0)
			pg_auth_lost(r);
		return;
	}
	if (*o == OWNER_CLIENT)
		pg_session_take(ev->link->owner, ev->bytes);
	else if (*o == OWNER_BACKEND)
		pg_backend_take(ev->link->owner, ev->bytes);
	else if (*o == OWNER_READER)
		pg_reader_take(ev->link->owner, ev->bytes);
	else if (*o == OWNER_LOOK)
		pg_look_take(r, ev->link->owner, ev->bytes);
	else if (*o == OWNER_ACK)
		pg_ack_ask_take(r, ev->link->owner, ev->bytes);
	else if (*o == OWNER_SERVER)
		pg_server_bytes(ev->link->owner, ev->bytes);
	else if (*o == OWNER_MIRROR)
		pg_mirror_take(ev->link->owner, ev->bytes);
	else if (*o == OWNER_KEEPER)
		pg_keeper_take(ev->link->owner, ev->bytes);
	else if (*o == OWNER_APART)
		pg_apart_hear(r, ev->bytes);
	else if (*o == OWNER_POOLED)
		pg_pool_bytes(ev->link->owner, ev->bytes);
	else if (*o == OWNER_SLEEPER)
		wake(r, ev->link->owner, ev->bytes);
}

static void
on_down(struct pg_relay *r, const struct event *ev)
{
	enum pg_owner *o = ev->link->owner;

	if (ev->link->owner == &r->ask) {
		pg_conn_down(&r->ask, ev->err);
		pg_auth_lost(r);
		return;
	}
	if (*o == OWNER_CLIENT)
		pg_session_left(ev->link->owner);
	else if (*o == OWNER_BACKEND)
		pg_backend_down(ev->link->owner, ev->err);
	else if (*o == OWNER_READER)
		pg_reader_down(ev->link->owner, ev->err);
	else if (*o == OWNER_LOOK)
		pg_look_down(r, ev->link->owner, ev->err);
	else if (*o == OWNER_ACK)
		pg_ack_ask_down(r, ev->link->owner, ev->err);
	else if (*o == OWNER_SERVER)
		pg_server_down(ev->link->owner);
	else if (*o == OWNER_MIRROR)
		pg_mirror_down(ev->link->owner, ev->err);
	else if (*o == OWNER_KEEPER)
		pg_keeper_down(ev->link->owner, ev->err);
	else if (*o == OWNER_APART)
		pg_apart_down(r, ev->err);
	else if (*o == OWNER_POOLED)
		pg_pool_down(ev->link->owner);
	else if (*o == OWNER_SLEEPER)
		pg_sleeper_drop(r, ev->link->owner, false);
	else
		drop_cancel(r, ev->link->owner);
}

/* A peer has taken what was for it: the other one is read again. */
static void
on_drained(struct pg_relay *r, struct link *l)
{
	enum pg_owner *o = l->owner;

	if (l->owner == &r->ask)
		return;
	if (*o == OWNER_BACKEND) {
		struct pg_backend *b = l->owner;

		pg_session_pump(b->s);
	} else if (*o == OWNER_CLIENT) {
		struct pg_session *s = l->owner;

		if (!s->b.slow || s->b.link == NULL)
			return;
		s->b.slow = false;
		r->port->ops->read(r->port, s->b.link, true);
	}
}

static void
retry(struct pg_relay *r)
{
	if (!r->retries || r->held)
		return;
	r->retries = false;
	list_each(pg_session, s, all, &r->sessions) {
		if ((s->waits || s->at == SESSION_LOGIN) && s->b.link == NULL &&
		    !pg_turn_waits(&s->turn))
			pg_session_pump(s);
	}
}

/* Those that are quiet end at once, the others with their transaction. */
static void
end_sessions(struct pg_relay *r)
{
	bool late = r->port->now_ns >= r->stop_ns;

	list_each(pg_client, c, all, &r->clients) {
		if (c->owner == OWNER_SLEEPER)
			(void)pg_sleeper_wake(r, (void *)c);
	}
	list_each(pg_session, s, all, &r->sessions) {
		if (late || pg_session_is_quiet(s) || s->at != SESSION_OPEN)
			pg_session_end(s, SPAN("57P01"),
			               "terminating connection due to "
			               "administrator command");
	}
	if (r->clients.n > 0)
		return;
	r->stops = false;
	answer(r, MAIL_STOPPED, 0);
}

static void
work(struct pg_relay *r)
{
	uint64_t now = r->port->now_ns;

	retry(r);
	pg_reads_work(r);
	pg_acks_work(r);
	pg_apart_work(r);
	pg_shadow_work(r);
	if (r->held)
		pg_hold_look(r);
	pg_hold_locks(r);
	pg_warm_look(r);
	if (r->stops)
		end_sessions(r);
	if (r->pool.n > 0)
		pg_pool_drop_old(r);
	pg_turn_work(r);
	if (now >= r->sleep_ns)
		pg_sleepers_work(r);
	r->port->skips_board = r->acks.out.n == 0 && r->reads.out.n == 0;
	r->port->lends = pg_acks_may_lend(r) && r->reads.out.n == 0 &&
	                 !r->held && !r->stops && !r->locking && !r->warms;
	publish(r);
	port_wake(r->port,
	          now + (r->retries || r->held || r->stops || r->locking ||
	                                 r->warms || r->dozes ||
	                                 r->turns.waiting_n > 0
	                         ? RETRY_NS
	                 : r->turns.behind_n > 0 ? PG_AHEAD_NS
	                                         : TICK_NS));
}

static void
step(void *self, struct port *p, const struct event *ev)
{
	struct pg_relay *r = self;

	r->port = p;
	switch (ev->kind) {
	case EV_START:
		r->mem = p->mem;
		pg_found_init(&r->nothing, r->mem);
		buf_init(&r->lent_rx, r->mem);
		buf_init(&r->lent_due, r->mem);
		r->ask.id = r->conf->id;
		r->ask.what = "relay";
		pg_conn_init(&r->ask, p);
		buf_init(&r->quiet, r->mem);
		pg_reads_init(r);
		pg_reads_route(r);
		pg_acks_init(r);
		pg_apart_init(r);
		r->turns.seed[0] = p->entropy(p);
		r->turns.seed[1] = p->entropy(p);
		break;
	case EV_ACCEPT: pg_session_accept(r, ev->link); break;
	case EV_UP: on_up(r, ev->link); break;
	case EV_BYTES: on_bytes(r, ev); break;
	case EV_DRAINED: on_drained(r, ev->link); break;
	case EV_EOF: break;
	case EV_DOWN: on_down(r, ev); break;
	case EV_MAIL: on_mail(r, ev->mail); break;
	case EV_TIMER:
	case EV_BOARD: break;
	case EV_BATCH: work(r); break;
	}
}

static void
fini(void *self, struct port *p)
{
	struct pg_relay *r = self;

	r->port = p;
	list_each(pg_client, c, all, &r->clients) {
		if (c->owner == OWNER_SLEEPER)
			pg_sleeper_drop(r, (void *)c, true);
		else
			pg_session_free((void *)c);
	}
	list_each(pg_cancel, c, all, &r->cancels) {
		p->ops->close(p, c->link, false);
		drop_cancel(r, c);
	}
	pg_reads_fini(r);
	pg_acks_fini(r);
	pg_apart_fini(r);
	pg_turn_drop_idle(r);
	pg_pool_drop_all(r);
	pg_conn_close(&r->ask);
	pg_conn_fini(&r->ask);
	buf_fini(&r->quiet);
	buf_fini(&r->lent_rx);
	buf_fini(&r->lent_due);
	pg_keys_fini(&r->keys, r->mem);
}

static void
show(const void *self, struct buf *text)
{
	const struct pg_relay *r = self;

	buf_putf(text, "relay: %s has authority, %zu sessions%s\n",
	         side_name(r->route.authority), r->clients.n,
	         r->held ? ", held" : "");
	if (r->reads.is_on)
		buf_putf(text,
		         "reads elsewhere: %zu under way, %llu repeated, %llu "
		         "were writes%s\n",
		         r->reads.out.n, (unsigned long long)r->reads.retried,
		         (unsigned long long)r->reads.guarded,
		         r->reads.verdicts.names.is_opaque ? "; none can be"
		                                           : "");
}
