/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/tx.c: transactions.
 *
 * From WATCH or MULTI to EXEC or DISCARD a session has a lane of its own, and
 * everything is passed on, so that errors at queueing are the server's own.
 * When a switch cannot wait for the end of a transaction it is discarded there
 * (tx_break). What was queued is kept (RELAY_TX_KEEP_MAX) and queued again where
 * the authority is then, before the client's next command: MULTI first, and the
 * rest once that was answered well, so that nothing of it can run singly. With a
 * WATCH before it, or when it is too long, what follows is answered +QUEUED here
 * and EXEC answers nil, which is what a client sees whose WATCH failed. A WATCH
 * without MULTI is lost likewise: the next MULTI is relayed, but its EXEC becomes
 * DISCARD and nil.
 */
#include "engine/redis/relay/astray.h"
#include "engine/redis/relay/queued.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/watched.h"

#define KEEP_IDLE 4096 /* bytes of the body that stay between two */
#define ABORT_TEXT \
	"-EXECABORT Transaction discarded because of previous errors.\r\n"

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

/* In a transaction, but never a part of it. */
static enum dispatched
pass_nested(struct relay *r, struct session *s, struct span raw)
{
	enum dispatched ret = pass_own(r, s, raw, PEND_PASS, 0);

	if (ret == DISPATCHED)
		queued_skip(s);
	return ret;
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

/* ---- what was queued ---------------------------------------------------- */

void
tx_forget(struct session *s)
{
	if (s->wide == NULL)
		return;
	s->wide->exec_sent = false;
	s->wide->body_ok = false;
	if (s->wide->body.cap > KEEP_IDLE)
		buf_fini(&s->wide->body);
	else
		buf_clear(&s->wide->body);
}

void
tx_keep(struct relay *r, struct session *s, const struct lane *lane,
        struct span raw)
{
	struct wide *w = s->wide;
	size_t n;

	if (w == NULL)
		return;
	w->queued_n++;
	if (!w->body_ok)
		return;
	n = buf_len(&w->body) + raw.n;
	if (n <= RELAY_TX_KEEP_MAX ||
	    (lane != NULL && lane->is_node && astray_may_keep(r, s, n))) {
		buf_put_span(&w->body, raw);
		if (!buf_failed(&w->body))
			return;
	}
	buf_fini(&w->body);
	w->body_ok = false;
}

enum dispatched
tx_begin_again(struct relay *r, struct session *s)
{
	enum dispatched ret;

	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	ret = pass_own(r, s, SPAN("*1\r\n$5\r\nMULTI\r\n"), PEND_AGAIN, 0);
	return ret == DISPATCHED ? DISPATCH_WAIT : ret;
}

void
tx_again(struct relay *r, struct session *s, struct lane *lane,
         struct span reply)
{
	struct span rest;
	struct span one;
	struct buf b;

	if (s->link == NULL)
		return;
	if (reply.n == 0 || reply.p[0] != '+') {
		tx_forget(s); /* it may not: EXEC answers nil */
		return;
	}
	rest = buf_span(&s->wide->body);
	buf_init(&b, r->mem);
	while (rest.n > 0) {
		struct resp_cmd *q = &r->cmd2;
		size_t used;

		resp_cmd_init(q);
		if (resp_cmd_feed(q, rest) != WIRE_PART)
			NEVER("what was queued is whole");
		used = q->used;
		one = queued_as_sent(r, lane, q, span_of(rest.p, used), &b);
		if (buf_failed(&b))
			session_close(r, s, "ERR godwit: out of memory");
		if (s->link == NULL ||
		    dispatch_send(r, s, lane, one, PEND_IGNORE, 0) !=
		            DISPATCHED)
			break;
		buf_clear(&b);
		rest = span_skip(rest, used);
	}
	buf_fini(&b);
	if (rest.n > 0)
		return;
	s->multi_lost = false;
}

/* ---- without a server --------------------------------------------------- */

/* Is it this command, whatever its form? */
static bool
is_command(struct relay *r, const struct resp_cmd *q, struct span raw,
           struct span word)
{
	struct buf b;
	bool is;

	if (!q->is_inline)
		return q->argc > 0 && span_is_word(q->argv[0], word);
	buf_init(&b, r->mem);
	resp_put_inline(&b, raw);
	resp_cmd_init(&r->cmd2);
	is = resp_cmd_feed(&r->cmd2, buf_span(&b)) == WIRE_PART &&
	     r->cmd2.argc > 0 && span_is_word(r->cmd2.argv[0], word);
	buf_fini(&b);
	return is;
}

static void
end_lost(struct session *s)
{
	s->multi = false;
	s->multi_lost = false;
	s->multi_refused = false;
	s->watch_lost = false;
	tx_forget(s);
	if (s->wide != NULL) {
		s->wide->marks_lost = false;
		buf_release(&s->wide->marks);
	}
}

bool
tx_failed(struct relay *r, struct session *s, const struct resp_cmd *q,
          struct span raw)
{
	if (!s->multi)
		return is_command(r, q, raw, SPAN("multi"));
	if (is_command(r, q, raw, SPAN("exec")) ||
	    is_command(r, q, raw, SPAN("discard"))) {
		if (!s->multi_lost)
			tx_break(r, s); /* it is open on its lane */
		end_lost(s);
	} else if (s->multi_lost) {
		s->multi_refused = true; /* as an error at queueing would */
		tx_forget(s);
	}
	return false;
}

void
tx_refuse(struct relay *r, struct session *s, bool more)
{
	if (!more) {
		/* Its commands may be on their way, or it goes on without a
		 * transaction: nobody can tell. */
		session_close(r, s, "");
		return;
	}
	s->multi = true;
	s->multi_lost = true;
	s->multi_refused = true;
	s->watch_lost = false;
	tx_forget(s);
}

void
tx_spoiled(struct session *s)
{
	s->multi_lost = true;
	s->multi_refused = true;
	tx_forget(s);
}

/* The transaction was discarded by a switch, or never begun. */
static enum dispatched
after_break(struct relay *r, struct session *s, const struct command *c)
{
	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	if (tx_is_kept(s) && c->handler != COMMAND_DISCARD)
		return tx_begin_again(r, s);
	switch (c->handler) {
	case COMMAND_EXEC:
		session_say(r, s,
		            s->multi_refused ? SPAN(ABORT_TEXT)
		                             : session_nil_array(s));
		end_lost(s);
		break;
	case COMMAND_DISCARD:
		end_lost(s);
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
	default:
		session_say(r, s,
		            s->multi_refused
		                    ? SPAN("-ERR godwit: MULTI before it was "
		                           "refused\r\n")
		                    : SPAN("+QUEUED\r\n"));
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
	if (c->handler == COMMAND_EXEC) {
		ret = watched_ask(r, s);
		if (ret != DISPATCHED)
			return ret;
	}
	if (c->handler == COMMAND_EXEC && s->watch_lost)
		ret = pass_own(r, s, SPAN("*1\r\n$7\r\nDISCARD\r\n"), PEND_DROP,
		               0);
	else if (c->handler == COMMAND_EXEC)
		ret = pass_own(r, s, raw,
		               queued_exec(s) ? PEND_EXEC : PEND_PASS,
		               PEND_F_WRITE);
	else
		ret = pass_own(r, s, raw, PEND_PASS, 0);
	if (ret == DISPATCHED) {
		mark_exec(r, s, s->lane,
		          c->handler == COMMAND_EXEC && !s->watch_lost);
		s->multi = false;
		s->watching = false;
		s->watch_lost = false;
		watched_forget(s);
		if (s->lane->is_node && s->wide->body_ok)
			s->wide->exec_sent = true; /* it may not take it */
		else
			tx_forget(s);
	}
	return ret;
}

/* A nested one is wrong and changes nothing. */
static enum dispatched
begin_multi(struct relay *r, struct session *s, struct span raw)
{
	enum dispatched ret;

	if (s->multi)
		return pass_nested(r, s, raw);
	if (session_wide(r, s) == NULL)
		return DISPATCH_CLOSED;
	if (!queued_may_begin(r, s))
		return DISPATCH_WAIT;
	ret = pass_own(r, s, raw, PEND_MULTI, 0);
	if (ret == DISPATCHED) {
		s->multi = true;
		s->wide->body_ok = !s->watching && !s->watch_lost;
		s->wide->tx_watched = !s->wide->body_ok;
	}
	return ret;
}

static enum dispatched
watch(struct relay *r, struct session *s, struct span raw)
{
	enum dispatched ret;

	if (!watched_may_add(r, s, raw))
		return dispatch_refuse(r, s,
		                       "ERR godwit: so many keys that are "
		                       "watched on a node of a cluster");
	ret = pass_own(r, s, raw, PEND_PASS, 0);
	if (ret != DISPATCHED)
		return ret;
	if (!s->watching)
		watched_forget(s);
	s->watching = true;
	watched_add(r, s, raw);
	return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
}

enum dispatched
tx_dispatch(struct relay *r, struct session *s, const struct command *c,
            const struct resp_cmd *q, struct span raw)
{
	enum dispatched ret;

	(void)q;
	if (s->multi_lost)
		return after_break(r, s, c);
	/* What is before it on a node's lane may have to go out again. */
	if (s->inflight > 0 && !s->multi && s->lane != NULL && s->lane->is_node)
		return DISPATCH_WAIT;
	switch (c->handler) {
	case COMMAND_MULTI: return begin_multi(r, s, raw);
	case COMMAND_EXEC:
	case COMMAND_DISCARD: return end_multi(r, s, c, raw);
	case COMMAND_WATCH:
		return s->multi ? pass_nested(r, s, raw) : watch(r, s, raw);
	case COMMAND_UNWATCH:
		if (!s->watching && !s->multi) {
			ret = pass_shared(r, s, raw);
		} else {
			ret = pass_own(r, s, raw, PEND_PASS, 0);
			if (ret == DISPATCHED && !s->multi) {
				s->watching = false;
				watched_forget(s);
			}
		}
		if (ret == DISPATCHED && !s->multi)
			s->watch_lost = false;
		return ret;
	default: NEVER("not a command of transactions");
	}
}

/* MULTI was answered. When it was refused there is no transaction, unless a
 * later one is under way, which tells for itself. A fence that is lifted late
 * refuses MULTI and then takes what follows: that must not run singly. */
void
tx_answer(struct relay *r, struct session *s, struct lane *lane,
          struct span reply)
{
	bool is_error = reply.n > 0 && reply.p[0] == '-';
	bool refused = is_error;

	for (uint32_t i = 0; i < ring_n(&lane->fifo) && refused; i++)
		refused = ring_at(&lane->fifo, i)->kind != PEND_MULTI;
	if (refused) {
		s->multi = false;
		tx_forget(s);
	}
	session_say(r, s, reply);
	if (!is_error)
		r->fence_doubt = false;
	else if (refused && r->fence_doubt && s->link != NULL &&
	         span_has_prefix(reply, SPAN("-NOPERM")))
		tx_refuse(r, s,
		          s->inflight == 0 && !s->watching && s->part != NULL &&
		                  buf_len(&s->part->buf) > 0);
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
