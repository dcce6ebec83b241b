/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/nopass.c: clients that never said AUTH, and a password that
 * is set while they are here.
 *
 * A server lets in whoever connects while its user default needs no password, and
 * keeps such a connection when one is set. Clients share connections, so one
 * that comes later must not get one of before. Once a second, while clients
 * come without AUTH, a fresh connection is asked PING:
 *
 *   open ─[NOAUTH: nopass_answer]→ shut: who came before the last answer that was
 *     ↑                              │    well, and all connections there are, are
 *     │                              │    vouched; all others get fresh ones, of
 *     └──[any other answer: PONG]────┘    which the server says what it says
 *
 * A client that came in the last second before a password counts as one that came
 * after it.
 *
 * Thread: that of the relay.
 */
#include "engine/redis/relay/nopass.h"

#include "engine/redis/relay/split.h"

void
nopass_tick(struct relay *r)
{
	struct nopass *n = &r->nopass;

	if (n->lane != NULL) {
		lane_want(r, n->lane); /* nothing, unless it is down */
		return;
	}
	if (r->door != NULL || split_is_on(r) || r->hold.on || r->stopping ||
	    !n->came)
		return;
	n->came = false;
	n->asked_id = session_next_id(r);
	n->lane = lane_proof(r, r->route.authority, NULL);
}

void
nopass_up(struct relay *r, struct lane *lane)
{
	if (lane == r->nopass.lane)
		(void)lane_ask(r, lane, PEND_NOPASS,
		               SPAN("*1\r\n$4\r\nPING\r\n"));
}

static void
shut(struct relay *r)
{
	list_each(session, s, all, &r->sessions) {
		if (s->cred == NULL && s->id < r->nopass.known_id)
			s->vouched = true;
	}
	list_each(lane, l, all, &r->lanes) {
		if ((l->kind == LANE_SHARED || l->kind == LANE_OWN) &&
		    l->cred == NULL && !l->as_writer)
			l->vouched = true;
	}
}

void
nopass_answer(struct relay *r, struct lane *lane, struct span reply)
{
	struct nopass *n = &r->nopass;
	bool is_shut = span_has_prefix(reply, SPAN("-NOAUTH"));
	bool is_open = span_has_prefix(reply, SPAN("+PONG")) ||
	               span_has_prefix(reply, SPAN("-NOPERM"));

	if (is_shut && !n->is_shut)
		shut(r);
	if (is_shut || is_open)
		n->is_shut = is_shut;
	if (is_open)
		n->known_id = n->asked_id;
	n->lane = NULL;
	lane_end(r, lane, false);
}

void
nopass_lost(struct relay *r, struct lane *lane)
{
	if (lane != r->nopass.lane)
		return;
	r->nopass.lane = NULL;
	lane->dead = true;
	r->reap = true;
}
