/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/astray.c: requests that a node of a cluster did not take.
 */
#include "engine/redis/relay/astray.h"

#include "engine/redis/relay/detour.h"
#include "engine/redis/relay/queued.h"

#define AGAIN_NS   20000000ull   /* between two tries of a request */
#define BOUNCE_NS  100000000ull  /* from node to node, and back at once */
#define EPISODE_NS 1000000000ull /* without: the next one is another matter */

/* A request that no client has a reason for: its argument is an answer. */
#define SAID SPAN("\0godwit\0said")

bool
astray_is(const struct pending *e, struct span reply)
{
	if (e->kind == PEND_BLOCK && span_has_prefix(reply, SPAN("-UNBLOCKED")))
		return true; /* a master that gives way ends all of them */
	return span_has_prefix(reply, SPAN("-MOVED ")) ||
	       span_has_prefix(reply, SPAN("-ASK ")) ||
	       span_has_prefix(reply, SPAN("-TRYAGAIN ")) ||
	       span_has_prefix(reply, SPAN("-CLUSTERDOWN "));
}

/* The connection takes nothing more; it ends with its last answer. */
static void
leave(struct relay *r, struct lane *lane)
{
	if (lane->left)
		return;
	lane->left = true;
	r->leaving = true;
	session_wake(r, &lane->waiters);
	if (lane->state != LANE_READY || ring_n(&lane->fifo) == 0)
		lane_end(r, lane, false);
}

static void
tell(struct relay *r, enum side side)
{
	struct mail m = { .kind = MAIL_ASTRAY,
		          .who = r->conf->who,
		          .side = side };

	if (r->board == NULL || r->astray_told_ns[side] > r->port->now_ns)
		return;
	r->astray_told_ns[side] = r->port->now_ns + AGAIN_NS;
	r->port->ops->mail(r->port, &m);
}

/* Has s waited too long? */
static bool
is_over(struct relay *r, struct wide *w)
{
	uint64_t now = r->port->now_ns;

	if (w->astray_last_ns + EPISODE_NS < now)
		w->astray_since_ns = now;
	w->astray_last_ns = now;
	return w->astray_since_ns + RELAY_ASTRAY_NS < now;
}

static void
wait(struct relay *r, struct session *s)
{
	session_wait(r, s, &r->astray);
	if (r->astray_ns == 0)
		r->astray_ns = r->port->now_ns + AGAIN_NS;
	port_wake(r->port, r->astray_ns);
}

/* Its outcome is known, but not how to go on. */
static void
give_up(struct relay *r, struct lane *lane, struct session *s)
{
	r->n.lost[lane->side]++;
	session_close(r, s, NULL);
}

/* A blocked one is issued again as after a switch. */
static bool
take_blocked(struct relay *r, struct session *s, struct span reply)
{
	if (!block_again(s, reply))
		return false;
	if (s->wide->hurries)
		session_run(r, s);
	else
		wait(r, s);
	return true;
}

/* ---- transactions -------------------------------------------------------- */

static bool
is_exec(struct relay *r, struct span request)
{
	struct resp_cmd *q = &r->cmd2;

	resp_cmd_init(q);
	return resp_cmd_feed(q, request) == WIRE_PART && q->argc > 0 &&
	       span_is_word(q->argv[0], SPAN("exec"));
}

/* Is it never a part of one, though it comes in it? */
static bool
is_apart(const struct resp_cmd *q)
{
	return span_is_word(q->argv[0], SPAN("multi")) ||
	       span_is_word(q->argv[0], SPAN("watch"));
}

/* What the body has no longer is asked again, whatever was said to it. Behind an
 * EXEC its marks are kept (mark.c). */
static void
unqueue(struct relay *r, struct session *s, struct span request)
{
	struct wide *w = s->wide;
	struct resp_cmd *q = &r->cmd2;

	resp_cmd_init(q);
	if (resp_cmd_feed(q, request) != WIRE_PART)
		NEVER("what was queued is whole");
	buf_put_span(&w->marks, span_skip(request, q->used));
	if (buf_failed(&w->marks)) {
		session_close(r, s, NULL);
		return;
	}
	request = span_of(request.p, q->used);
	REQUIRE(buf_len(&w->body) >= request.n);
	w->body.end -= (uint32_t)request.n;
	w->tx_astray = true;
	if (!is_apart(q))
		queued_skip(s); /* it is counted again */
	astray_put(r, s, request);
}

/* e is a part of one. With a WATCH it fails as if a key had changed. */
static void
take_queued(struct relay *r, struct lane *lane, const struct pending *e,
            struct span request)
{
	struct session *s = e->s;
	struct wide *w = s->wide;

	/* It was not kept, was too long for it, or is behind others. */
	if (request.n == 0 || (!w->body_ok && !w->tx_watched) ||
	    (astray_is_on(s) && !w->tx_astray)) {
		give_up(r, lane, s);
	} else if (w->body_ok) {
		unqueue(r, s, request);
	} else if (is_exec(r, request)) {
		w->queued_n = 0;
		queued_back(r, s);
		session_say(r, s, session_nil_array(s));
	} else {
		s->multi_lost = s->multi; /* tx.c: QUEUED, then nil */
		s->watch_lost = true;
		session_say(r, s, SPAN("+QUEUED\r\n"));
	}
}

bool
astray_is_watched(struct relay *r, const struct pending *e, struct span request,
                  struct span reply)
{
	return e->in_tx && e->s->watch_lost && request.n > 0 &&
	       span_has_prefix(reply, SPAN("-EXECABORT")) &&
	       is_exec(r, request);
}

/* e was queued again (tx_again) and is still in the body. */
static bool
is_queued_again(const struct pending *e)
{
	return e->kind == PEND_IGNORE && e->s->wide->body_ok;
}

/* All was answered: it is open nowhere, and begins again (tx.c). */
static void
break_tx(struct relay *r, struct session *s)
{
	s->wide->tx_astray = false;
	s->wide->exec_sent = false;
	queued_back(r, s);
	s->multi = true;
	s->multi_lost = true;
}

/* Where slots move one request after the other strays for a moment: each has its
 * own time. A transaction, or who blocks, is not told from the one before, unless that
 * was a while ago. */
static bool
is_news(const struct relay *r, const struct lane *lane, const struct pending *e,
        bool has_node)
{
	const struct wide *w = e->s->wide;

	if (r->detours == NULL)
		return false;
	return has_node ? lane->node == 0 &&
	                          w->bounced_ns + BOUNCE_NS < r->port->now_ns
	                : !e->again;
}

/* A transaction is still open there, or a key watched. */
static bool
is_open_there(const struct pending *e, bool of_tx)
{
	return e->kind == PEND_BLOCK || of_tx || e->s->watching;
}

static void
uncount(struct relay *r, const struct lane *lane, const struct pending *e)
{
	if (e->flags & PEND_F_WRITE)
		r->n.writes[lane->side]--;
	else if (e->flags & PEND_F_READ)
		r->n.reads[lane->side]--;
}

bool
astray_take(struct relay *r, struct lane *lane, const struct pending *e,
            struct span request, struct span reply)
{
	struct session *s = e->s;
	struct wide *w = s->link != NULL ? session_wide(r, s) : NULL;
	bool of_tx = e->in_tx || (w != NULL && is_queued_again(e));
	struct detour to;
	bool known = detour_find(r, lane, reply, &to);

	if (!known)
		tell(r, (enum side)lane->side);
	if ((reply.p[1] == 'M' && !known) || is_open_there(e, of_tx))
		leave(r, lane);
	if (w == NULL)
		return true; /* its client is gone */
	if (is_news(r, lane, e, of_tx || e->kind == PEND_BLOCK))
		w->astray_last_ns = 0; /* another episode */
	if (lane->node != 0)
		w->bounced_ns = r->port->now_ns;
	w->hurries = known && lane->node == 0;
	if (!astray_is_on(s) && is_over(r, w)) {
		if (of_tx && s->multi)
			tx_spoiled(s);
		return false;
	}
	uncount(r, lane, e);
	/* A transaction and who blocks have one node. */
	if (e->kind == PEND_BLOCK || of_tx)
		detour_turn(s, &to);
	if (e->kind == PEND_BLOCK)
		return take_blocked(r, s, reply);
	if (is_queued_again(e)) {
		w->tx_astray = true;
		return true;
	}
	if (e->in_tx) {
		take_queued(r, lane, e, request);
		return true;
	}
	if ((e->flags & PEND_F_KEPT) == 0 ||
	    (s->part != NULL && s->part->streaming)) {
		give_up(r, lane, s);
		return true;
	}
	/* What was watched there is not any more. */
	s->watch_lost |= s->watching;
	s->watching = false;
	detour_put(r, &w->astray, &to);
	astray_put(r, s, request);
	return true;
}

bool
astray_may_keep(struct relay *r, struct session *s, size_t n)
{
	struct wide *w = session_try_wide(r, s);

	if (w == NULL)
		return false;
	if (n <= w->big_kept)
		return true;
	if (n - w->big_kept > RELAY_BIG_KEPT_MAX - r->big_kept)
		return false;
	r->big_kept += n - w->big_kept;
	w->big_kept = n;
	return true;
}

bool
astray_keeps(struct relay *r, struct session *s, const struct sending *m)
{
	const uint64_t kinds =
		UINT64_C(1) << PEND_PASS | UINT64_C(1) << PEND_SHA |
		UINT64_C(1) << PEND_SCAN | UINT64_C(1) << PEND_EXEC;

	return m->raw.n > 0 && (kinds >> m->kind & 1) != 0 &&
	       (m->asked.n <= RELAY_BIG_REQUEST ||
	        astray_may_keep(r, s, m->asked.n));
}

void
astray_kept(struct relay *r, struct session *s)
{
	if (s->wide == NULL || s->multi || astray_is_on(s) ||
	    (s->part != NULL && buf_len(&s->part->buf) > 0))
		return;
	if (s->wide->exec_sent)
		tx_forget(s);
	r->big_kept -= s->wide->big_kept;
	s->wide->big_kept = 0;
}

void
astray_put(struct relay *r, struct session *s, struct span request)
{
	struct wide *w = session_wide(r, s);

	if (w == NULL)
		return;
	buf_put_span(&w->astray, request);
	if (buf_failed(&w->astray))
		session_close(r, s, NULL);
	else if (s->inflight == 0)
		astray_settle(r, s);
}

void
astray_keep(struct relay *r, struct lane *lane, const struct pending *e,
            struct span request, struct span reply)
{
	struct session *s = e->s;
	struct buf *b = &s->wide->astray;

	if (is_queued_again(e) && s->wide->tx_astray)
		return;
	if (e->in_tx && s->wide->tx_astray && request.n > 0) {
		unqueue(r, s, request);
		return;
	}
	if (e->kind == PEND_SCAN && !e->in_tx && request.n > 0) {
		buf_put_span(b, request); /* a read: it is asked again */
		if (buf_failed(b))
			session_close(r, s, NULL);
		return;
	}
	if (e->in_tx ||
	    (e->kind != PEND_NODE && e->kind != PEND_SHA &&
	     e->kind != PEND_LOAD) ||
	    (s->part != NULL && s->part->streaming)) {
		give_up(r, lane, s);
		return;
	}
	resp_put_array(b, 2);
	resp_put_bulk(b, SAID);
	resp_put_bulk(b, reply);
	if (buf_failed(b))
		session_close(r, s, NULL);
}

void
astray_settle(struct relay *r, struct session *s)
{
	struct buf *b = &s->wide->astray;

	if (s->part != NULL && s->part->streaming) {
		session_close(r, s, NULL);
		return;
	}
	if (s->wide->tx_astray)
		break_tx(r, s);
	if (s->part != NULL)
		buf_put_span(b, buf_span(&s->part->buf));
	if (buf_failed(b) || !session_refill(r, s, b)) {
		session_close(r, s, NULL);
		return;
	}
	if (s->wide->hurries)
		session_run(r, s);
	else
		wait(r, s);
}

enum dispatched
astray_say(struct relay *r, struct session *s, const struct resp_cmd *q)
{
	struct lane *lane;

	if (q->argc != 2 || !span_eq(q->argv[0], SAID))
		return DISPATCH_NO;
	if (s->inflight > 0)
		return DISPATCH_WAIT;
	if (!ack_is_on(r)) {
		session_say(r, s, q->argv[1]);
	} else {
		lane = dispatch_lane(r, s, false);
		if (lane == NULL)
			return s->link == NULL ? DISPATCH_CLOSED
			                       : DISPATCH_WAIT;
		ack_withhold(r, s, lane, q->argv[1]);
		causal_want(r, lane);
	}
	return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
}

/* ---- another node -------------------------------------------------------- */

/* Its client has state there, or hears of it from the node itself. */
static bool
is_held(const struct lane *lane)
{
	const struct session *s = lane->mine;

	return lane->kind == LANE_SUB ||
	       (s != NULL && (s->multi || s->watching || s->tracking ||
	                      (s->part != NULL && s->part->streaming) ||
	                      (s->wide != NULL && s->wide->block != NULL)));
}

static void
dial_again(struct relay *r, struct lane *lane)
{
	struct err err;

	(void)err_set(&err, ERR_LOST, "%s: another node has its slots now",
	              r->conf->side[lane->side].label);
	if (lane->link != NULL) {
		r->port->ops->close(r->port, lane->link, false);
		lane_lost(r, lane, &err);
	}
	lane->retry_ns = 0;
	lane->pause_ns = 0;
	if (!lane->dead && (lane->kind == LANE_ADMIN || lane->waiters.l.n > 0))
		lane_want(r, lane);
}

void
astray_seat(struct relay *r, enum side side)
{
	list_each(lane, l, all, &r->lanes) {
		if (l->side != side || l->dead || is_held(l))
			continue;
		if (l->state == LANE_READY &&
		    (l->kind == LANE_SHARED || l->kind == LANE_OWN))
			leave(r, l);
		else
			dial_again(r, l);
	}
	if (side == r->route.authority)
		detour_forget(r);
	r->astray_ns = 0;
	session_wake(r, &r->astray);
}

void
astray_tick(struct relay *r)
{
	if (r->astray_ns != 0 && r->astray_ns <= r->port->now_ns) {
		r->astray_ns = 0;
		session_wake(r, &r->astray);
	}
	if (!r->leaving)
		return;
	r->leaving = false;
	list_each(lane, l, all, &r->lanes) {
		if (!l->left || l->dead)
			continue;
		if (ring_n(&l->fifo) == 0)
			lane_end(r, l, false);
		else
			r->leaving = true;
	}
}
