/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/hold.c: a switch, as the relay sees it.
 *
 *   (open) ─[hold_begin]→ HOLDING ─[hold_check: all quiet]→ told DRAINED
 *     ↑                      │                                │
 *     └──────────────────────┴──────────[hold_end]────────────┘
 *
 * While it is on, nothing new is given out; what runs ends; open transactions
 * may go on until break_ns; blocked clients are unblocked where they are and
 * their commands are issued again after it (block.c).
 */
#include "engine/redis/relay/detour.h"
#include "engine/redis/relay/script.h"
#include "engine/redis/relay/shadow.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"

#define ASK_AGAIN_NS 2000000ull

/* Connections to the side that may get the authority, as far as its fence lets
 * us: connected and authenticated. */
static void
warm(struct relay *r)
{
	enum side other = side_other(r->route.authority);

	(void)lane_admin(r, other);
	if (split_is_on(r))
		return; /* Godwit's lanes are open; others if it ends */
	list_each(lane, l, all, &r->lanes) {
		if (l->kind == LANE_SHARED && !l->dead &&
		    l->side == r->route.authority && l->users > 0)
			(void)lane_shared_like(r, l, other);
	}
}

void
hold_begin(struct relay *r, const struct mail *m)
{
	uint64_t now = r->port->now_ns;

	r->hold.epoch = m->epoch;
	r->hold.told = false;
	if (!r->hold.on)
		r->hold.began_ns = now;
	r->hold.on = true;
	r->hold.break_ns = m->deadline_ns == 0 ? now
	                   : m->deadline_ns > now
	                           ? now + (m->deadline_ns - now) / 4 * 3
	                           : now;
	r->mark_told = false;
	r->mark_epoch = m->epoch;
	port_wake(r->port, r->hold.break_ns);
	r->entry = ENTRY_UNKNOWN; /* as it is when the hold began */
	causal_ask_user(r);
	warm(r);
	script_preload(r, side_other(r->route.authority));
	list_each(session, s, all, &r->sessions) {
		if (s->link == NULL)
			continue;
		if (s->watching && !s->multi)
			tx_break(r, s);
		session_read_all(r, s);
	}
	block_ask(r);
	r->hold.ask_ns = now + ASK_AGAIN_NS;
	pubsub_hold(r);
}

static bool
is_quiet(struct relay *r)
{
	list_each(lane, l, all, &r->lanes) {
		if (l->kind != LANE_ADMIN && l->kind != LANE_SUB &&
		    l->kind != LANE_SHADOW && l->state >= LANE_GREETING &&
		    ring_n(&l->fifo) > 0 &&
		    (split_is_on(r) || l->side == r->route.authority ||
		     l->kind == LANE_READER))
			return false;
		if (l->kind == LANE_SUB && l->mine != NULL &&
		    l->mine->inflight > 0 && l->side == r->route.authority)
			return false; /* SUBSCRIBE is not confirmed yet */
	}
	return true;
}

/* A big request that its client does not go on with: the server has not begun
 * it, and when its connection ends it never will. */
static bool
stalls(const struct relay *r, const struct session *s)
{
	return s->part != NULL && s->part->streaming &&
	       s->part->moved_ns < r->hold.began_ns;
}

/* Transactions that stand open (nothing of them under way), and requests that
 * are still coming. */
static uint32_t
open_transactions(struct relay *r, bool end_them)
{
	uint32_t n = 0;

	list_each(session, s, all, &r->sessions) {
		bool streams = s->part != NULL && s->part->streaming;

		if (s->link == NULL)
			continue;
		if (s->watching && !s->multi) {
			tx_break(r, s);
		} else if (s->multi && !s->multi_lost) {
			if (end_them)
				tx_break(r, s);
			n += s->multi && !s->multi_lost;
		}
		n += streams;
	}
	return n;
}

static void
end_stalled(struct relay *r)
{
	list_each(session, s, all, &r->sessions) {
		if (s->link == NULL || !stalls(r, s))
			continue;
		r->n.lost[r->route.authority]++;
		session_close(r, s, NULL);
	}
}

void
hold_check(struct relay *r)
{
	struct mail m; /* large: not filled on the way of each batch */
	uint64_t now = r->port->now_ns;

	if (!r->hold.on)
		return;
	if (!r->mark_told)
		pubsub_check(r);
	if (r->hold.told)
		return;
	if (now >= r->hold.ask_ns) {
		block_ask(r);
		r->hold.ask_ns = now + ASK_AGAIN_NS;
	}
	if (now < r->hold.break_ns)
		port_wake(r->port, r->hold.break_ns);
	if (r->blocked > 0)
		port_wake(r->port, r->hold.ask_ns);
	if (now >= r->hold.break_ns) {
		end_stalled(r);
		block_end(r);
	}
	if (!is_quiet(r) || open_transactions(r, now >= r->hold.break_ns) > 0)
		return;
	/* EVALSHA inside MULTI cannot be repeated with its body. */
	if (now < r->hold.break_ns &&
	    script_is_loading(r, side_other(r->route.authority)))
		return;
	/* However long it takes: a message that nobody hears is lost. */
	if (pubsub_is_settling(r, now >= r->hold.break_ns))
		return;
	r->hold.told = true;
	m = (struct mail){ .kind = MAIL_DRAINED,
		           .who = r->conf->who,
		           .epoch = r->hold.epoch };
	r->port->ops->mail(r->port, &m);
}

static void
ack_route(struct relay *r)
{
	struct mail m = { .kind = MAIL_ROUTE_ACK,
		          .who = r->conf->who,
		          .epoch = r->route.epoch };

	m.route = r->route;
	r->port->ops->mail(r->port, &m);
}

/* Does the lane belong to clients, and not to the route of now? */
static bool
is_stale(const struct relay *r, const struct lane *l)
{
	switch ((enum lane_kind)l->kind) {
	case LANE_SHARED:
	case LANE_OWN: return !lane_is_of_route(r, l);
	case LANE_READER:
		return split_is_on(r) || l->side == r->route.authority;
	case LANE_PROOF:
		return !split_is_on(r) || l->side != r->route.authority;
	case LANE_SHADOW:
	case LANE_ADMIN:
	case LANE_SUB: break;
	}
	return false;
}

void
hold_leave(struct relay *r)
{
	list_each(session, s, all, &r->sessions) {
		if (s->lane == NULL || s->inflight > 0 || !is_stale(r, s->lane))
			continue;
		if ((s->multi && !s->multi_lost) || s->watching)
			tx_break(r, s);
		if (s->withheld == 0)
			lane_attach(r, s, NULL);
	}
	list_each(lane, l, all, &r->lanes) {
		if (!l->dead && is_stale(r, l))
			lane_leave(r, l);
		else if (l->side == r->route.authority &&
		         l->state == LANE_WARM && l->kind != LANE_PROOF)
			lane_settle(r, l);
	}
}

/* Other keys are new's; what no hold has waited for has an unknown outcome. */
static void
leave_scope(struct relay *r)
{
	list_each(session, s, all, &r->sessions) {
		if ((s->multi && !s->multi_lost) || s->watching)
			tx_break(r, s);
	}
	list_each(lane, l, all, &r->lanes) {
		if ((l->kind == LANE_SHARED || l->kind == LANE_OWN) &&
		    l->as_writer && !l->dead && ring_n(&l->fifo) > 0)
			lane_leave(r, l);
	}
}

struct route
hold_trim(const struct route *route)
{
	struct route ret = *route;

	if (route->scope == NULL)
		return ret;
	ret.read_ppm = 0;
	ret.shadow.ppm = 0;
	ret.rules = NULL;
	ret.ack = ACK_AUTHORITY;
	return ret;
}

static void
adopt(struct relay *r, const struct route *route, bool lossy)
{
	enum side before = r->route.authority;
	const struct scope *scope = r->route.scope;
	struct route_shadow shadow = r->route.shadow;

	r->route = hold_trim(route);
	route = &r->route;
	r->rule_now++;
	if (route->authority != before || route->shadow.ppm == 0 ||
	    memcmp(&route->shadow, &shadow, sizeof(shadow)) != 0)
		shadow_reset(r);
	if (route->authority != before || route->scope != scope)
		split_adopt(r);
	if (route->authority != before) {
		detour_forget(r);
		causal_new_era(r);
		if (lossy)
			ack_drop_side(r, before);
		else
			ack_release_side(r, before);
	}
	if (route->ack != ACK_BOTH) {
		r->late_told = false;
		ack_release_all(r);
	}
	if (route->authority != before ||
	    (route->scope == NULL) != (scope == NULL))
		hold_leave(r);
	else if (route->scope != scope)
		leave_scope(r);
	if (route->authority == before &&
	    (route->scope == NULL) != (scope == NULL))
		pubsub_own_begin(r, before);
	if (route->authority != before)
		pubsub_flip(r);
	causal_ask_user(r);
	if (route->shadow.ppm > 0 && r->board != NULL) {
		(void)lane_shadow(r, SIDE_OLD, 0, false);
		(void)lane_shadow(r, SIDE_NEW, 0, false);
	}
	if (causal_is_on(r) && r->board != NULL && route->read_ppm > 0)
		(void)lane_reader(r, side_other(route->authority), 0, false);
	if (split_is_on(r)) {
		(void)lane_writer(r, SIDE_OLD, 0, false);
		(void)lane_writer(r, SIDE_NEW, 0, false);
	}
}

void
hold_route(struct relay *r, const struct route *route)
{
	if (!split_is_on(r) && route->scope != NULL)
		r->entry = ENTRY_UNKNOWN;
	adopt(r, route, false);
	ack_route(r);
}

void
hold_end(struct relay *r, const struct mail *m)
{
	bool was = r->hold.on;

	r->hold.on = false;
	r->fence_doubt |= was;
	adopt(r, &m->route, m->flag != 0);
	if (was) {
		r->hold.last_ns = r->port->now_ns - r->hold.began_ns;
		if (r->hold.last_ns > r->hold.max_ns)
			r->hold.max_ns = r->hold.last_ns;
	}
	r->hold.told = false;
	list_each(session, s, all, &r->sessions) {
		if ((s->wide != NULL && s->wide->block != NULL) || s->tracking)
			session_run(r, s);
	}
	session_wake(r, &r->hold.held);
	ack_route(r);
}
