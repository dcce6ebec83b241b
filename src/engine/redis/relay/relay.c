/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/relay.c: the machine: events in, calls to the nouns.
 */
#include "engine/redis/relay/relay.h"

#include "engine/redis/relay/astray.h"
#include "engine/redis/relay/clients.h"
#include "engine/redis/relay/detour.h"
#include "engine/redis/relay/door.h"
#include "engine/redis/relay/nopass.h"
#include "engine/redis/relay/script.h"
#include "engine/redis/relay/shadow.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"

#define TICK_NS  1000000000ull
#define RARE_NS  10000000ull
#define LEND_MAX 4 /* replies: some 10 us of another thread's time */

void
relay_init(void *self, void *conf)
{
	struct relay *r = self;
	const struct relay_conf *c = conf;

	REQUIRE(c->who < RELAY_WORKERS_MAX);
	r->conf = c;
	r->first_who = c->who;
	r->board = c->board;
	r->traffic = c->traffic;
	r->route = hold_trim(&c->first_route);
	r->rule_now = 1;
	r->batch = 1;
	command_index_init(&r->commands);
}

void
relay_warm(struct relay *r)
{
	if (r->board != NULL && r->conf->side[0].own_user[0] != '\0') {
		(void)lane_admin(r, SIDE_OLD);
		(void)lane_admin(r, SIDE_NEW);
	}
	if (split_is_on(r)) {
		(void)lane_writer(r, SIDE_OLD, 0, false);
		(void)lane_writer(r, SIDE_NEW, 0, false);
	} else if (!r->hold.on) {
		(void)lane_shared(r, r->route.authority, NULL, 0, false);
	}
}

static void
start(struct relay *r)
{
	buf_init(&r->scratch, r->mem);
	buf_init(&r->lines, r->mem);
	map_init(&r->scripts, r->mem, SCRIPT_SIZE, 0);
	if (r->board != NULL)
		r->history = atomic_load(&r->board->history);
	r->hold.on = r->conf->held;
	r->hold.told = r->conf->held;
	r->hold.began_ns = r->port->now_ns;
	(void)door_init(r); /* without memory it lets nobody in */
	relay_warm(r);
	port_wake(r->port, r->port->now_ns + TICK_NS);
}

/* ---- counters ---------------------------------------------------------- */

#define PUT(field, v) \
	atomic_store_explicit(&t->field, (v), memory_order_relaxed)

static void
publish_rare(struct relay *r, struct traffic *t)
{
	uint32_t up[SIDE_N] = { 0, 0 };
	uint32_t multi = 0;

	list_each(lane, l, all, &r->lanes) {
		up[l->side] += l->link != NULL;
		multi += l->kind == LANE_OWN && l->mine != NULL &&
		         (l->mine->multi || l->mine->watching);
	}
	PUT(upstreams[0], up[0]);
	PUT(upstreams[1], up[1]);
	PUT(in_transaction, multi);
	PUT(hold_last_ns, r->hold.last_ns);
	PUT(hold_max_ns, r->hold.max_ns);
	PUT(generation, r->route.generation);
	PUT(mem, r->mem->used);
}

static void
publish_shadow(const struct counts *n, struct traffic *t)
{
	PUT(shadow_sent, n->shadow_sent);
	PUT(shadow_same, n->shadow_same);
	PUT(shadow_different, n->shadow_different);
	PUT(shadow_rechecked, n->shadow_rechecked);
	PUT(shadow_unstable, n->shadow_unstable);
	for (int i = 0; i < SHADOW_DROP_N; i++)
		PUT(shadow_dropped[i], n->shadow_dropped[i]);
}

static void
publish(struct relay *r)
{
	struct traffic *t = r->traffic;
	const struct counts *n = &r->n;

	if (t == NULL)
		return;
	PUT(requests, n->requests);
	for (int i = 0; i < SIDE_N; i++) {
		PUT(reads[i], n->reads[i]);
		PUT(writes[i], n->writes[i]);
		PUT(errors[i], n->errors[i]);
		PUT(lost[i], n->lost[i]);
		PUT(unused[i], n->unused[i]);
		PUT(read_errors[i], n->read_errors[i]);
	}
	PUT(told_ns, r->port->now_ns);
	PUT(read_retries, n->read_retries);
	PUT(refused, n->refused);
	PUT(withheld, n->withheld);
	PUT(scripts, n->scripts);
	PUT(auth_failed, n->auth_failed);
	PUT(bytes_in, n->bytes_in);
	PUT(bytes_out, n->bytes_out);
	if (n->shadow_sent > 0)
		publish_shadow(n, t);
	PUT(clients, r->clients);
	PUT(blocked, r->blocked);
	PUT(subscribed, r->subscribed);
	PUT(held, (uint32_t)r->hold.held.l.n);
	if (r->hold.on || r->rare_ns + RARE_NS <= r->port->now_ns) {
		r->rare_ns = r->port->now_ns;
		publish_rare(r, t);
	}
}

/* ---- mails ------------------------------------------------------------- */

static void
behind(struct relay *r, const struct mail *m)
{
	struct mail back = { .kind = MAIL_BEHIND_ACK,
		             .who = r->conf->who,
		             .epoch = m->epoch,
		             .flag = m->flag };

	r->behind = m->flag != 0;
	clients_watch(r);
	r->unbound = m->flag == 2;
	r->late_told = m->flag == 1; /* it is known already */
	r->port->ops->mail(r->port, &back);
	if (r->unbound)
		ack_unbind(r);
}

static void
stop_check(struct relay *r)
{
	struct mail m; /* large: not filled on the way of each batch */
	bool busy = false;

	if (!r->stopping || r->stopped)
		return;
	list_each(session, s, all, &r->sessions) {
		busy |= s->link != NULL &&
		        (s->inflight > 0 || s->withheld > 0) &&
		        (s->wide == NULL || s->wide->block == NULL);
	}
	if (busy && r->port->now_ns < r->stop_ns) {
		port_wake(r->port, r->stop_ns);
		return;
	}
	list_each(session, s, all, &r->sessions) {
		session_close(r, s,
		              s->link != NULL && buf_len(&s->link->tx) > 0
		                      ? ""
		                      : NULL);
	}
	r->stopped = true;
	m = (struct mail){ .kind = MAIL_STOPPED, .who = r->conf->who };
	r->port->ops->mail(r->port, &m);
}

static void
mail(struct relay *r, const struct mail *m)
{
	switch (m->kind) {
	case MAIL_ROUTE: hold_route(r, &m->route); break;
	case MAIL_HOLD: hold_begin(r, m); break;
	case MAIL_RELEASE: hold_end(r, m); break;
	case MAIL_BEHIND: behind(r, m); break;
	case MAIL_PAIR: pair_begin(r, m); break;
	case MAIL_SEAT: astray_seat(r, m->side); break;
	case MAIL_DOOR: door_adopt(r, m->pair); break;
	case MAIL_CLIENTS:
	case MAIL_CLIENTS_DONE:
	case MAIL_CLIENTS_TAKEN: clients_mail(r, m); break;
	case MAIL_MONITOR:
	case MAIL_LINES: monitor_mail(r, m); break;
	case MAIL_STOP:
		r->stopping = true;
		r->stop_ns = r->port->now_ns + RELAY_STOP_NS;
		r->hold.on = true; /* nothing new is given out */
		r->hold.told = true;
		break;
	case MAIL_VIEW:
	case MAIL_CANCEL:
	case MAIL_ROUTE_ACK:
	case MAIL_DRAINED:
	case MAIL_WARM:
	case MAIL_WARMED:
	case MAIL_LATE:
	case MAIL_BEHIND_ACK:
	case MAIL_MARKED:
	case MAIL_DIFFERENT:
	case MAIL_PAIR_ACK:
	case MAIL_ASTRAY:
	case MAIL_MOVE:
	case MAIL_MOVE_PAUSE:
	case MAIL_MOVE_RESUME:
	case MAIL_BARRIER:
	case MAIL_THAW:
	case MAIL_FLIP:
	case MAIL_SCOPE:
	case MAIL_BOTH:
	case MAIL_HEARTBEAT:
	case MAIL_SLOTS:
	case MAIL_EXPOSED:
	case MAIL_MOVE_PHASE:
	case MAIL_PASSED:
	case MAIL_PROGRESS:
	case MAIL_STALE:
	case MAIL_NOT_CARRIED:
	case MAIL_HEARTBEAT_BACK:
	case MAIL_TROUBLE:
	case MAIL_STOPPED: break;
	}
}

/* ---- events ------------------------------------------------------------ */

static bool
is_lane(const struct link *l)
{
	const uint8_t *owner = l->owner;

	return owner != NULL && *owner == OWNER_LANE;
}

static void
bytes(struct relay *r, struct link *l, struct span in)
{
	if (is_lane(l)) {
		struct lane *lane = l->owner;

		if (lane->kind == LANE_SUB && lane->state == LANE_READY)
			pubsub_bytes(r, lane, in);
		else
			reply_bytes(r, lane, in);
	} else if (l->owner != NULL) {
		session_bytes(r, l->owner, in);
	}
}

static void
drained(struct relay *r, struct link *l)
{
	if (is_lane(l)) {
		struct lane *lane = l->owner;

		session_wake(r, &lane->waiters);
	} else if (l->owner != NULL) {
		session_drained(r, l->owner);
	}
}

static void
down(struct relay *r, struct link *l, const struct err *err)
{
	if (is_lane(l))
		lane_lost(r, l->owner, err);
	else if (l->owner != NULL)
		session_gone(r, l->owner);
}

static void
up(struct relay *r, struct link *l)
{
	struct lane *lane = l->owner;

	if (!is_lane(l))
		return;
	lane_up(r, lane);
}

static void
accept_client(struct relay *r, const struct event *ev)
{
	struct link *l = ev->link;
	struct session *s = r->stopping ? NULL : session_new(r, l);

	if (s == NULL) {
		r->port->ops->close(r->port, l, false);
		return;
	}
	l->owner = s;
	s->proxied = r->conf->proxy;
	l->want_eof = true;
}

static void
free_session_if_done(struct relay *r, struct session *s)
{
	if (s->inflight == 0 && s->withheld == 0)
		session_free(r, s);
}

static void
run(struct relay *r)
{
	struct session *s;

	while ((s = r->run_first) != NULL) {
		r->run_first = s->next_run;
		if (r->run_first == NULL)
			r->run_last = NULL;
		s->runnable = false;
		if (s->link == NULL)
			free_session_if_done(r, s);
		else
			session_resume(r, s);
	}
	if (r->reap)
		lane_reap(r);
}

/* Most batches have nothing to do here but the probe and the counters: one look
 * at each of what would need more. */

static inline bool
has_waiting(const struct relay *r)
{
	return r->leave_ns != 0 || r->whole.l.l.n != 0 ||
	       (r->scripts_ns[SIDE_OLD] | r->scripts_ns[SIDE_NEW]) != 0 ||
	       r->shadow != NULL || r->watchful || r->leaving ||
	       r->astray_ns != 0;
}

static inline bool
is_changing(const struct relay *r)
{
	return r->own.on || r->pair.on || r->hold.on || r->stopping;
}

/* Most of the time nobody waits for a position, and the mover, which tells one for
 * each write, need not wake us. */
static inline bool
waits_for_board(const struct relay *r)
{
	return r->route.ack == ACK_BOTH || r->whole.l.l.n != 0 ||
	       r->shadow != NULL || is_changing(r);
}

/* A few replies that wait for the board and for nothing else: whoever tells the
 * position may send them. More are worth a thread of their own. */
static inline bool
lends(const struct relay *r)
{
	return r->withheld > 0 && r->withheld <= LEND_MAX &&
	       r->whole.l.l.n == 0 && r->shadow == NULL && !is_changing(r);
}

static void
batch(struct relay *r)
{
	run(r);
	if (__builtin_expect(has_waiting(r), 0)) {
		block_tick(r);
		split_tick(r);
		script_tick(r);
		shadow_check(r);
		clients_tick(r);
		monitor_flush(r);
		astray_tick(r);
	}
	causal_probe(r);
	if (__builtin_expect(is_changing(r), 0)) {
		pubsub_own_check(r);
		pair_check(r);
		hold_check(r);
		stop_check(r);
	}
	publish(r);
	r->port->skips_board = !waits_for_board(r);
	r->port->lends = lends(r);
	r->batch++;
}

static void
timer(struct relay *r)
{
	if (r->board != NULL)
		ack_release(r);
	shadow_check(r);
	lane_tick(r);
	if (!r->stopping)
		pubsub_check(r);
	nopass_tick(r);
	if (causal_wants_users(r) &&
	    r->asked_user_ns + TICK_NS <= r->port->now_ns) {
		r->asked_user_ns = r->port->now_ns;
		causal_ask_user(r); /* rights may change */
	}
	port_wake(r->port, r->port->now_ns + TICK_NS);
}

static void
step(void *self, struct port *p, const struct event *ev)
{
	struct relay *r = self;

	r->port = p;
	r->mem = p->mem;
	switch (ev->kind) {
	case EV_START: start(r); break;
	case EV_ACCEPT: accept_client(r, ev); break;
	case EV_UP: up(r, ev->link); break;
	case EV_BYTES: bytes(r, ev->link, ev->bytes); break;
	case EV_DRAINED: drained(r, ev->link); break;
	case EV_EOF:
		if (ev->link->owner != NULL && !is_lane(ev->link))
			session_eof(r, ev->link->owner);
		break;
	case EV_DOWN: down(r, ev->link, ev->err); break;
	case EV_MAIL: mail(r, ev->mail); break;
	case EV_TIMER: timer(r); break;
	case EV_BOARD:
		if (r->board != NULL)
			ack_release(r);
		break;
	case EV_BATCH: batch(r); break;
	}
	if (r->run_first != NULL || r->reap)
		run(r);
}

static void
fini(void *self, struct port *p)
{
	struct relay *r = self;

	r->port = p;
	r->mem = p->mem;
	p->worker_n = 0; /* the others may be gone */
	r->withheld = 0;
	list_each(session, s, all, &r->sessions) {
		s->inflight = 0;
		s->withheld = 0;
		session_close(r, s, NULL);
	}
	shadow_reset(r);
	list_each(lane, l, all, &r->lanes) {
		l->seg_head = l->seg_tail;
		if (!l->dead)
			lane_end(r, l, false);
	}
	list_each(session, s, all, &r->sessions) {
		s->inflight = 0;
		s->runnable = false;
		session_free(r, s);
	}
	lane_reap(r);
	clients_fini(r);
	script_fini(r);
	detour_fini(r);
	door_fini(r);
	buf_fini(&r->scratch);
}

static void
show(const void *self, struct buf *text)
{
	const struct relay *r = self;

	buf_putf(text,
	         "relay %u: %u clients, authority %s, generation %llu%s\n",
	         r->conf->who, r->clients, side_name(r->route.authority),
	         (unsigned long long)r->route.generation,
	         r->hold.on ? ", holding" : "");
	list_each(lane, l, all, &r->lanes) {
		buf_putf(text,
		         "  lane kind %u side %s state %u db %u resp%d: %u "
		         "under way, %u users, %zu wait\n",
		         l->kind, side_name((enum side)l->side), l->state,
		         l->db, l->resp3 ? 3 : 2, ring_n(&l->fifo), l->users,
		         l->waiters.l.n);
	}
}

const struct machine relay_machine = {
	.name = "relay",
	.self_size = sizeof(struct relay),
	.step = step,
	.fini = fini,
	.show = show,
};
