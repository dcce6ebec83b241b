/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/tx.c: transactions.
 *
 * From WATCH or MULTI to EXEC or DISCARD a session has a lane of its own, and
 * everything is passed on, so that errors at queueing are the server's own.
 * When a switch cannot wait for the end of a transaction it is discarded there
 * (tx_break): what follows is answered +QUEUED here and EXEC answers nil, which
 * is what a client sees whose WATCH failed. A WATCH without MULTI is lost
 * likewise: the next MULTI is relayed, but its EXEC becomes DISCARD and nil.
 */
#include "engine/redis/relay/inside.h"

static enum dispatched
pass_own(struct relay *r, struct session *s, struct span raw,
         enum pending_kind kind, uint8_t flags)
{
	struct lane *lane = dispatch_lane(r, s, true);

	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	return dispatch_send(r, s, lane, raw, kind, flags);
}

static enum dispatched
pass_shared(struct relay *r, struct session *s, struct span raw)
{
	struct lane *lane = dispatch_lane(r, s, false);

	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	return dispatch_send(r, s, lane, raw, PEND_PASS, 0);
}

enum dispatched
tx_spoil(struct relay *r, struct session *s)
{
	/* An unknown command spoils a transaction as any error would. */
	if (s->inflight > 0)
		return DISPATCH_WAIT; /* one text at a time */
	r->n.refused++;
	return pass_own(r, s, SPAN("*1\r\n$14\r\ngodwit.refused\r\n"), PEND_BAD,
	                0);
}

/* The transaction was discarded by a switch. */
static enum dispatched
after_break(struct relay *r, struct session *s, const struct command *c)
{
	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	switch (c->handler) {
	case COMMAND_EXEC:
		s->multi = false;
		s->multi_lost = false;
		session_say(r, s, SPAN("*-1\r\n"));
		break;
	case COMMAND_DISCARD:
		s->multi = false;
		s->multi_lost = false;
		session_say(r, s, SPAN("+OK\r\n"));
		break;
	case COMMAND_MULTI:
		session_say(r, s,
		            SPAN("-ERR MULTI calls can not be nested\r\n"));
		break;
	case COMMAND_WATCH:
		session_say(r, s,
		            SPAN("-ERR WATCH inside MULTI is not allowed\r\n"));
		break;
	case COMMAND_REFUSE:
		session_sayf(r, s, "-ERR godwit refuses %s: %s\r\n", c->name,
		             c->why);
		break;
	default: session_say(r, s, SPAN("+QUEUED\r\n"));
	}
	return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
}

static enum dispatched
end_multi(struct relay *r, struct session *s, const struct command *c,
          struct span raw)
{
	enum dispatched ret;

	if (!s->multi)
		return pass_shared(r, s, raw); /* the server says so */
	if (c->handler == COMMAND_EXEC && s->watch_lost)
		ret = pass_own(r, s, SPAN("*1\r\n$7\r\nDISCARD\r\n"), PEND_DROP,
		               0);
	else
		ret = pass_own(r, s, raw, PEND_PASS,
		               c->handler == COMMAND_EXEC ? PEND_F_WRITE : 0);
	if (ret == DISPATCHED) {
		s->multi = false;
		s->watching = false;
		s->watch_lost = false;
	}
	return ret;
}

enum dispatched
tx_dispatch(struct relay *r, struct session *s, const struct command *c,
            const struct resp_cmd *q, struct span raw)
{
	enum dispatched ret;

	(void)q;
	if (s->multi_lost)
		return after_break(r, s, c);
	switch (c->handler) {
	case COMMAND_MULTI:
		/* A nested one is wrong and changes nothing. */
		ret = pass_own(r, s, raw, s->multi ? PEND_PASS : PEND_MULTI, 0);
		if (ret == DISPATCHED)
			s->multi = true;
		return ret;
	case COMMAND_EXEC:
	case COMMAND_DISCARD: return end_multi(r, s, c, raw);
	case COMMAND_WATCH:
		ret = pass_own(r, s, raw, PEND_PASS, 0);
		if (ret == DISPATCHED && !s->multi)
			s->watching = true;
		return ret;
	case COMMAND_UNWATCH:
		if (!s->watching && !s->multi) {
			ret = pass_shared(r, s, raw);
		} else {
			ret = pass_own(r, s, raw, PEND_PASS, 0);
			if (ret == DISPATCHED && !s->multi)
				s->watching = false;
		}
		if (ret == DISPATCHED && !s->multi)
			s->watch_lost = false;
		return ret;
	default: NEVER("not a command of transactions");
	}
}

/* MULTI was answered. When it was refused there is no transaction, unless a
 * later one is under way, which tells for itself. */
void
tx_answer(struct relay *r, struct session *s, struct lane *lane,
          struct span reply)
{
	bool refused = reply.n > 0 && reply.p[0] == '-';

	for (uint32_t i = 0; i < ring_n(&lane->fifo) && refused; i++)
		refused = ring_at(&lane->fifo, i)->kind != PEND_MULTI;
	if (refused)
		s->multi = false;
	session_say(r, s, reply);
}

void
tx_break(struct relay *r, struct session *s)
{
	struct lane *lane = s->lane;

	if (lane == NULL || s->inflight > 0)
		return;
	if (s->multi)
		s->multi_lost = true;
	else
		s->watch_lost = true;
	s->watching = false;
	if (s->withheld == 0)
		lane_attach(r, s, NULL);
	if (lane->kind == LANE_OWN && !lane->dead)
		lane_end(r, lane, true);
	if (s->parked)
		session_run(r, s);
}
