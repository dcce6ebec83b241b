/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/reply.c: what the servers answer.
 *
 * Replies of one session that stand behind each other leave in one copy.
 */
#include "base/hist.h"
#include "engine/redis/relay/astray.h"
#include "engine/redis/relay/clients.h"
#include "engine/redis/relay/nopass.h"
#include "engine/redis/relay/queued.h"
#include "engine/redis/relay/script.h"
#include "engine/redis/relay/shadow.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"
#include "engine/redis/relay/track.h"
#include "engine/redis/relay/watched.h"

static void
count_latency(struct relay *r, struct lane *lane)
{
	uint64_t ns = r->port->clock_ns(r->port) - lane->sample_ns;
	_Atomic uint32_t *slot;

	lane->sample_ns = 0;
	if (r->traffic == NULL)
		return;
	slot = &r->traffic->latency[lane->side][hist_bucket(ns / 1000)];
	atomic_store_explicit(
		slot, atomic_load_explicit(slot, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

static void
count_error(struct relay *r, const struct lane *lane, const struct pending *e)
{
	r->n.errors[lane->side]++;
	if (e->flags & PEND_F_READ)
		r->n.read_errors[lane->side]++;
}

/* A latency is taken only of what a server answers at once. */
static inline void
end_sample(struct relay *r, struct lane *lane, enum pending_kind kind)
{
	if (lane->sample_ns == 0 || lane->sample_at != lane->fifo.head)
		return;
	if (kind == PEND_BLOCK || kind == PEND_LAST)
		lane->sample_ns = 0;
	else
		count_latency(r, lane);
}

/* The entry at the front is answered. */
static inline void
end_entry(struct relay *r, struct lane *lane, struct pending *e)
{
	struct session *s = e->s;

	if (e->flags & PEND_F_KEPT)
		buf_take(&lane->keep, e->kept);
	end_sample(r, lane, PEND_PASS);
	lane->fifo.head++;
	if (s == NULL)
		return;
	s->inflight--;
	if (s->inflight == 0 || s->parked || s->link == NULL || s->eof)
		session_replied(r, s);
}

static void
big_reply(struct session *s)
{
	s->big = 64;
}

/* n bytes of the reply to the front entry, which may end there. */
static inline void
pass(struct relay *r, struct lane *lane, const struct pending *e,
     struct span bytes)
{
	struct session *s = e->s;

	lane->reply_n += bytes.n;
	if (s == NULL || s->link == NULL)
		return;
	if (__builtin_expect(s->withheld > 0 || s->mute, 0) ||
	    ((e->flags & PEND_F_WRITE) && ack_is_on(r))) {
		if (s->mute)
			return;
		ack_withhold(r, s, lane, bytes);
		return;
	}
	buf_put(&s->link->tx, bytes.p, bytes.n);
	port_touch(r->port, s->link);
	r->n.bytes_out += bytes.n;
	if (buf_len(&s->link->tx) > RELAY_SLOW_TX)
		session_say(r, s, span_of(bytes.p, 0)); /* limits, pace */
}

/* ---- replies that are read whole --------------------------------------- */

static bool
is_error(struct span reply)
{
	return reply.n > 0 && reply.p[0] == '-';
}

static void
read_reply(struct relay *r, struct lane *lane, struct pending e,
           struct span request, struct span reply)
{
	struct session *s = e.s;

	s->on_reader--;
	if (is_error(reply))
		count_error(r, lane, &e);
	if (s->link == NULL) {
		r->n.unused[lane->side]++;
		s->must_retry = false;
		return;
	}
	if (!s->must_retry && !is_error(reply) &&
	    (lane->valid || causal_is_valid(r, e.mark))) {
		r->n.reads[lane->side]++;
		session_say(r, s, reply);
		if (reply.n > RELAY_BIG_REPLY)
			big_reply(s);
		return;
	}
	r->n.unused[lane->side]++;
	r->n.read_retries++;
	s->must_retry = s->on_reader > 0;
	dispatch_again(r, s, request, PEND_F_READ);
}

static void
sha_reply(struct relay *r, struct lane *lane, struct pending e,
          struct span request, struct span reply)
{
	struct session *s = e.s;
	struct span body;
	struct resp_cmd *q = &r->cmd2;

	resp_cmd_init(q);
	if (span_has_prefix(reply, SPAN("-NOSCRIPT")) && s->inflight == 0 &&
	    s->link != NULL && !(e.flags & PEND_F_RETRY) &&
	    lane->link != NULL && resp_cmd_feed(q, request) == WIRE_PART &&
	    q->argc > 1) {
		body = script_find(r, q->argv[1]);
		if (body.p != NULL) {
			struct buf *b = &lane->link->tx;

			resp_put_array(b, 3);
			resp_put_bulk(b, SPAN("SCRIPT"));
			resp_put_bulk(b, SPAN("LOAD"));
			resp_put_bulk(b, body);
			(void)lane_pend(r, lane, NULL, PEND_IGNORE);
			(void)dispatch_send(r, s, lane, request, PEND_SHA,
			                    e.flags | PEND_F_RETRY);
			return;
		}
	}
	pass(r, lane, &e, reply);
	lane->reply_n = 0;
}

static void
load_reply(struct relay *r, struct lane *lane, struct pending e,
           struct span request, struct span reply)
{
	struct resp_cmd *q = &r->cmd2;
	struct resp_item it;
	struct span look = reply;

	resp_cmd_init(q);
	if (!is_error(reply) && resp_cmd_feed(q, request) == WIRE_PART &&
	    q->argc == 3) {
		(void)script_remember(r, q->argv[2]);
		if (resp_read(&look, &it) == WIRE_PART && it.type == RESP_BULK)
			script_share(r, it.text);
	}
	pass(r, lane, &e, reply);
	lane->reply_n = 0;
}

/* Of a node, and not to be given out again. */
static void
node_reply(struct relay *r, struct lane *lane, struct pending e,
           struct span request, struct span reply)
{
	if (astray_is_watched(r, &e, request, reply)) {
		e.s->watch_lost = false;
		session_say(r, e.s, session_nil_array(e.s));
		return;
	}
	if (e.flags & PEND_F_SHADOW)
		shadow_passed(r, &e, reply, true);
	pass(r, lane, &e, reply);
	lane->reply_n = 0;
	if ((e.flags & PEND_F_LATE) && e.s->link != NULL)
		pubsub_go_on(r, e.s);
}

static void
exec_reply(struct relay *r, struct lane *lane, struct pending e,
           struct span reply)
{
	struct buf b;

	buf_init(&b, r->mem);
	queued_answer(r, e.s, lane, reply, &b);
	if (!buf_failed(&b))
		pass(r, lane, &e, buf_span(&b));
	else if (e.s->link != NULL)
		session_close(r, e.s, NULL);
	buf_fini(&b);
	lane->reply_n = 0;
}

static void
whole_of_session(struct relay *r, struct lane *lane, struct pending e,
                 struct span request, struct span reply)
{
	struct session *s = e.s;

	switch ((enum pending_kind)e.kind) {
	case PEND_READ: read_reply(r, lane, e, request, reply); break;
	case PEND_SHA: sha_reply(r, lane, e, request, reply); break;
	case PEND_LOAD: load_reply(r, lane, e, request, reply); break;
	case PEND_NODE: node_reply(r, lane, e, request, reply); break;
	case PEND_SCAN: scan_answer(r, s, lane, reply, e.flags); break;
	case PEND_HELLO: local_hello(r, s, lane, e.mark != 0, reply); break;
	case PEND_AUTH:
	case PEND_PROVE:
		local_authed(r, s, lane->cred, (enum pending_kind)e.kind,
		             reply);
		break;
	case PEND_MULTI: tx_answer(r, s, lane, reply); break;
	case PEND_EXEC: exec_reply(r, lane, e, reply); break;
	case PEND_SELECT:
		local_selected(r, s, lane, (uint32_t)e.mark, reply);
		break;
	case PEND_AGAIN: tx_again(r, s, lane, reply); break;
	case PEND_BAD:
		if (s->wide != NULL && s->wide->refusal_text != NULL &&
		    s->link != NULL)
			session_sayf(r, s, "-%s\r\n", s->wide->refusal_text);
		break;
	case PEND_DROP: session_say(r, s, session_nil_array(s)); break;
	case PEND_BLOCK: block_reply(r, s, lane, reply); break;
	case PEND_LAST: block_last(r, s, reply); break;
	case PEND_MAY: clients_allowed(r, s, reply); break;
	case PEND_CONFIG: server_configured(r, s, request, reply); break;
	case PEND_TRACK: track_answer(r, s, lane, request, reply); break;
	case PEND_WATCHED: watched_answer(s, reply); break;
	case PEND_TRACKED:
	case PEND_PASS:
	case PEND_IGNORE:
	case PEND_GREET:
	case PEND_ID:
	case PEND_ROLE:
	case PEND_ROLE_FOR:
	case PEND_LOADED:
	case PEND_NOPASS:
	case PEND_UNBLOCK:
	case PEND_SHADOW:
	case PEND_SHADOW_ROLE:
	case PEND_WHOLE:
	case PEND_USER: break;
	}
	if (s->link == NULL || s->inflight == 0 || s->parked || s->eof)
		session_replied(r, s);
}

/* A whole reply to Godwit itself. */
static void
whole_of_ours(struct relay *r, struct lane *lane, const struct pending *e,
              struct span reply)
{
	switch ((enum pending_kind)e->kind) {
	case PEND_GREET: lane_greeted(r, lane, reply); break;
	case PEND_ID: lane_got_id(r, lane, reply); break;
	case PEND_ROLE:
	case PEND_ROLE_FOR: causal_role(r, lane, e, reply); break;
	case PEND_USER: causal_user(r, e->mark, reply); break;
	case PEND_SHADOW_ROLE: shadow_role(r, e, reply); break;
	case PEND_WHOLE: split_position(r, e->mark, reply); break;
	case PEND_TRACKED: track_began(r, lane, reply); break;
	case PEND_NOPASS: nopass_answer(r, lane, reply); break;
	case PEND_SHADOW:
	case PEND_LOADED: script_loaded(r, (enum side)lane->side); break;
	case PEND_UNBLOCK: lane->no_unblock = is_error(reply); break;
	case PEND_TRACK:
	case PEND_WATCHED:
	case PEND_PASS:
	case PEND_NODE:
	case PEND_IGNORE:
	case PEND_READ:
	case PEND_SHA:
	case PEND_LOAD:
	case PEND_SCAN:
	case PEND_HELLO:
	case PEND_AUTH:
	case PEND_PROVE:
	case PEND_AGAIN:
	case PEND_MULTI:
	case PEND_EXEC:
	case PEND_SELECT:
	case PEND_BAD:
	case PEND_DROP:
	case PEND_BLOCK:
	case PEND_LAST:
	case PEND_CONFIG:
	case PEND_MAY: break;
	}
}

/* Asked on another lane than that of the authority, or for Godwit: nobody gives it
 * out again there. */
static bool
is_aside(const struct pending *e)
{
	return e->kind == PEND_READ || e->kind == PEND_WATCHED;
}

/* True: it is not for its client now, or the client is gone. */
static bool
whole_of_node(struct relay *r, struct lane *lane, const struct pending *e,
              struct span request, struct span reply)
{
	struct session *s = e->s;
	bool strays = !is_aside(e) && is_error(reply) && astray_is(e, reply);

	if (!strays && (!astray_is_on(s) || is_aside(e)))
		return false;
	if (!strays && (e->flags & PEND_F_MARK))
		mark_done(r, lane, request);
	if (e->flags & PEND_F_KEPT)
		buf_take(&lane->keep, e->kept);
	lane->sample_ns = 0;
	lane->fifo.head++;
	s->inflight--;
	if (s->link == NULL)
		session_replied(r, s);
	else if (!strays)
		astray_keep(r, lane, e, request, reply);
	else if (!astray_take(r, lane, e, request, reply))
		whole_of_session(r, lane, *e, request, reply);
	if (s->link == NULL || !astray_is_on(s))
		session_replied(r, s); /* EXEC may wait behind it */
	else if (s->inflight == 0)
		astray_settle(r, s);
	if (lane->left && lane->link != NULL && ring_n(&lane->fifo) == 0)
		lane_end(r, lane, false);
	return true;
}

static void
whole(struct relay *r, struct lane *lane, struct span reply)
{
	struct pending e = *ring_first(&lane->fifo);
	struct buf kept;

	buf_init(&kept, r->mem);
	if (e.flags & PEND_F_KEPT) {
		/* A copy: handling the reply may send again, which appends. */
		buf_put(&kept, buf_span(&lane->keep).p, e.kept);
		if (buf_failed(&kept) && e.s != NULL)
			session_close(r, e.s, NULL);
		if (lane->link == NULL) { /* that of e.s alone */
			buf_fini(&kept);
			return;
		}
	}
	if (__builtin_expect(lane->is_node, 0) && e.s != NULL &&
	    whole_of_node(r, lane, &e, buf_span(&kept), reply)) {
		buf_fini(&kept);
		return;
	}
	if (e.flags & PEND_F_MARK)
		mark_done(r, lane, buf_span(&kept));
	if (is_error(reply) && e.s != NULL && !is_aside(&e))
		count_error(r, lane, &e);
	if (e.flags & PEND_F_KEPT)
		buf_take(&lane->keep, e.kept);
	end_sample(r, lane, (enum pending_kind)e.kind);
	lane->fifo.head++;
	if (e.s != NULL) {
		e.s->inflight--;
		whole_of_session(r, lane, e, buf_span(&kept), reply);
	} else {
		whole_of_ours(r, lane, &e, reply);
	}
	buf_fini(&kept);
}

static void
broken(struct relay *r, struct lane *lane, const char *why)
{
	struct err err;

	(void)err_set(&err, ERR_PROTO, "%s: %s",
	              r->conf->side[lane->side].label, why);
	r->port->ops->close(r->port, lane->link, false);
	lane_lost(r, lane, &err);
}

/* Bytes of a reply that is read whole; done: they are its end. */
static void
collect(struct relay *r, struct lane *lane, struct pending *e,
        struct span bytes, bool done)
{
	struct buf part;

	if (done && buf_len(&lane->part) == 0) {
		whole(r, lane, bytes);
		return;
	}
	if (buf_len(&lane->part) == 0 && e->kind == PEND_READ)
		lane->valid = causal_is_valid(r, e->mark) && bytes.n > 0 &&
		              bytes.p[0] != '-';
	buf_put_span(&lane->part, bytes);
	if (buf_failed(&lane->part)) {
		buf_fini(&lane->part);
		broken(r, lane, "no memory for its answer");
		return;
	}
	if (!done)
		return;
	part = lane->part;
	buf_init(&lane->part, r->mem);
	whole(r, lane, buf_span(&part));
	buf_fini(&part);
	lane->valid = false;
}

/* What others are told of such bytes, before the client. */
static __attribute__((noinline)) void
note(struct relay *r, struct lane *lane, const struct pending *e,
     struct span in, bool done)
{
	if ((e->flags & PEND_F_MARK) && lane->reply_n == 0)
		mark_done(r, lane, span_of(buf_span(&lane->keep).p, e->kept));
	if (e->flags & PEND_F_SHADOW)
		shadow_passed(r, e, in, done);
}

/* Bytes of a reply to the front entry went to its client; done: all of it. */
static inline void
passed(struct relay *r, struct lane *lane, struct pending *e, bool done)
{
	if (lane->link == NULL || !done)
		return; /* its client was closed, or more is to come */
	if (lane->reply_n > RELAY_BIG_REPLY && e->s != NULL)
		big_reply(e->s);
	lane->reply_n = 0;
	end_entry(r, lane, e);
}

/* The same where messages wait for the end of the reply. */
static __attribute__((noinline)) void
pass_before_messages(struct relay *r, struct lane *lane, struct pending *e,
                     struct span in, bool done)
{
	struct session *s = e->s;

	if (e->flags & (PEND_F_MARK | PEND_F_SHADOW))
		note(r, lane, e, in, done);
	pass(r, lane, e, in);
	passed(r, lane, e, done);
	if (done && s != NULL)
		pubsub_go_on(r, s);
}

/* Bytes of a reply that goes to its client as it comes. */
static inline void
pass_on(struct relay *r, struct lane *lane, struct pending *e, struct span in,
        bool done)
{
	const unsigned rare = PEND_F_MARK | PEND_F_SHADOW | PEND_F_LATE;

	if (__builtin_expect(e->flags & rare, 0)) {
		if (e->flags & PEND_F_LATE) {
			pass_before_messages(r, lane, e, in, done);
			return;
		}
		note(r, lane, e, in, done);
	}
	pass(r, lane, e, in);
	passed(r, lane, e, done);
}

/* A push at the front, or the rest of one, is nobody's answer. Answers how many of the bytes it is; 0: the lane is no more. */
static __attribute__((noinline)) size_t
skip_push(struct relay *r, struct lane *lane, struct span in)
{
	size_t used = 0;
	enum wire_rc rc = resp_skip_feed(&lane->skip, in, &used);

	lane->in_push = rc == WIRE_MORE;
	if (rc >= 0) {
		track_push(r, lane, span_of(in.p, used), rc == WIRE_PART);
		return used;
	}
	broken(r, lane, "it does not speak the protocol");
	return 0;
}

/* An error of a node, and what comes behind one, is read as a whole. */
static void
look_at_node(const struct lane *lane, struct pending *e, struct span in)
{
	if (e->s != NULL && e->kind == PEND_PASS && lane->reply_n == 0 &&
	    (in.p[0] == '-' || astray_is_on(e->s)))
		e->kind = PEND_NODE;
}

void
reply_bytes(struct relay *r, struct lane *lane, struct span in)
{
	if (__builtin_expect(lane->in_push, 0))
		in = span_skip(in, skip_push(r, lane, in));
	if (lane->link == NULL)
		return;
	while (in.n > 0) {
		struct pending *e = ring_first(&lane->fifo);
		size_t used = 0;
		bool done;
		enum wire_rc rc;

		if (__builtin_expect(in.p[0] == '>', 0) &&
		    resp_skip_is_between(&lane->skip)) {
			in = span_skip(in, skip_push(r, lane, in));
			if (lane->link == NULL)
				return;
			continue;
		}
		if (e == NULL) {
			broken(r, lane, "it said something nobody asked for");
			return;
		}
		if (__builtin_expect(lane->is_node, 0))
			look_at_node(lane, e, in);
		if (lane->reply_n == 0 && in.p[0] == '-' && e->s != NULL &&
		    e->kind == PEND_PASS)
			count_error(r, lane, e);
		rc = resp_skip_feed(&lane->skip, in, &used);
		if (rc < 0) {
			broken(r, lane, "it does not speak the protocol");
			return;
		}
		done = rc == WIRE_PART;
		if (e->kind == PEND_PASS) {
			pass_on(r, lane, e, span_of(in.p, used), done);
		} else if (e->kind == PEND_SHADOW) {
			shadow_bytes(r, lane, span_of(in.p, used), done);
		} else {
			collect(r, lane, e, span_of(in.p, used), done);
		}
		if (lane->link == NULL)
			return;
		in = span_skip(in, used);
	}
}
