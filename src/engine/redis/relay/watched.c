/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/watched.c: does a node still have what is watched there?
 *
 * A slot that leaves a node takes its keys with it, and who watches one of them sees
 * it go. A key that was not there cannot go: it may be made on the other node, and
 * EXEC on this one would pass, if its own keys are still here. So before EXEC the
 * node is asked for each WATCH again, on a connection that watches nothing else:
 * where the keys have gone it says MOVED or ASK, and the watch is lost.
 *
 *   NONE ─[watched_ask]→ ASKED ─[watched_answer: the last one]→ KNOWN
 *     ↑                                                           │
 *     └────────────────[watched_forget: EXEC was sent]────────────┘
 *
 * A change that somebody was told of before EXEC came is seen. One that is made
 * while it is asked may be passed over: it has no order with EXEC.
 *
 * Limits: WATCHED_MAX bytes of WATCH a session.
 */
#include "engine/redis/relay/watched.h"

#include "engine/redis/relay/detour.h"

/* As much as of a transaction that crosses a switch. */
#define WATCHED_MAX RELAY_TX_KEEP_MAX

static bool
is_node(const struct relay *r, const struct session *s)
{
	return r->conf->side[s->at].at.by_cluster;
}

bool
watched_may_add(const struct relay *r, const struct session *s, struct span raw)
{
	size_t n =
		s->watching && s->wide != NULL ? buf_len(&s->wide->watched) : 0;

	return !is_node(r, s) || n + raw.n <= WATCHED_MAX;
}

void
watched_add(struct relay *r, struct session *s, struct span raw)
{
	struct wide *w;

	if (!is_node(r, s))
		return;
	w = session_wide(r, s);
	if (w == NULL)
		return;
	buf_put_span(&w->watched, raw);
	w->watched_n++;
	if (buf_failed(&w->watched))
		session_close(r, s, NULL);
}

void
watched_forget(struct session *s)
{
	struct wide *w = s->wide;

	if (w == NULL)
		return;
	buf_release(&w->watched);
	w->watched_n = 0;
	w->watched_left = 0;
	w->watched_state = WATCHED_NONE;
}

/* WATCH with its keys, then UNWATCH, so that it keeps nothing there. */
static enum dispatched
ask(struct relay *r, struct session *s, struct lane *lane)
{
	struct wide *w = s->wide;
	struct span rest = buf_span(&w->watched);
	struct resp_cmd *q = &r->cmd2;

	while (rest.n > 0) {
		resp_cmd_init(q);
		if (resp_cmd_feed(q, rest) != WIRE_PART)
			NEVER("what was watched is whole");
		if (lane->node != 0 && w->asking)
			(void)lane_ask(r, lane, PEND_IGNORE,
			               SPAN("*1\r\n$6\r\nASKING\r\n"));
		buf_put(&lane->link->tx, rest.p, q->used);
		(void)lane_pend(r, lane, s, PEND_WATCHED);
		rest = span_skip(rest, q->used);
	}
	(void)lane_ask(r, lane, PEND_IGNORE, SPAN("*1\r\n$7\r\nUNWATCH\r\n"));
	w->watched_left = w->watched_n;
	w->watched_state = WATCHED_ASKED;
	return DISPATCH_WAIT;
}

enum dispatched
watched_ask(struct relay *r, struct session *s)
{
	struct lane *lane;

	if (!s->watching || s->watch_lost || s->wide == NULL ||
	    s->wide->watched_n == 0 || s->wide->watched_state == WATCHED_KNOWN)
		return DISPATCHED;
	if (s->inflight > 0)
		return DISPATCH_WAIT;
	lane = lane_shared_of(r, s, (enum side)s->at);
	if (lane == NULL) {
		session_close(r, s, "ERR godwit: out of memory");
		return DISPATCH_CLOSED;
	}
	lane->idle_ns = r->port->now_ns;
	if (lane_is_open(lane))
		return ask(r, s, lane);
	lane_want(r, lane);
	session_wait(r, s, &lane->waiters);
	return DISPATCH_WAIT;
}

void
watched_answer(struct session *s, struct span reply)
{
	struct wide *w = s->wide;

	if (w == NULL || w->watched_state != WATCHED_ASKED)
		return;
	s->watch_lost |= reply.n > 0 && reply.p[0] == '-';
	w->watched_left--;
	if (w->watched_left == 0)
		w->watched_state = WATCHED_KNOWN;
}
