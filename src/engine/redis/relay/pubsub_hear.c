/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/pubsub_hear.c: what the servers say to subscribers.
 *
 * Messages, and confirmations of what was asked. A server ends a subscription by
 * itself when a shard channel's slot goes to another node: a confirmation that
 * nobody asked for.
 */
#include "engine/redis/relay/sub.h"

#define PREFIX  "__godwit:"
#define ITEMS_N 4

/* A message or confirmation of RESP2 as its client's protocol has it. */
static void
put_push(struct buf *b, const struct session *s, struct span message)
{
	if (!s->resp3) {
		buf_put_span(b, message);
		return;
	}
	buf_put_str(b, ">");
	buf_put_span(b, span_skip(message, 1));
}

static void
deliver(struct relay *r, struct lane *lane, struct span message)
{
	struct session *s = lane->mine;
	struct sub *u = sub_of(s);

	if (u->own && lane == u->live && u->live_done)
		return; /* its own connection has it */
	if (lane == u->live && u->early)
		return; /* of the time before it had the authority */
	if (lane == u->old || (lane == u->live && u->old == NULL)) {
		if (s->resp3) { /* one push in two pieces */
			sub_say(r, s, SPAN(">"));
			message = span_skip(message, 1);
		}
		sub_say(r, s, message);
	} else if (lane == u->live || pubsub_shadow_counts(r, u, lane)) {
		put_push(&u->held, s, message);
		if (buf_len(&u->held) > RELAY_SUB_HOLD_MAX ||
		    buf_failed(&u->held))
			session_close(r, s, NULL);
	}
}

/* A name is there, or is not any more, and so on the shadow; false: the session
 * is closed. */
static bool
note(struct relay *r, struct session *s, struct sub_verb v, struct span name)
{
	struct sub *u = sub_of(s);
	struct map *m = &u->names[v.kind];

	if (name.p == NULL)
		return true; /* there was nothing to leave */
	if (v.leaves) {
		(void)map_remove(m, name);
	} else if (map_put(m, name, NULL) == NULL) {
		session_close(r, s, NULL); /* a switch would forget it */
		return false;
	}
	sub_send_one(r, u->shadow, v, name);
	return true;
}

/* A confirmation: (un)subscribed to name. */
static void
confirmed(struct relay *r, struct session *s, struct sub_verb v,
          struct span name)
{
	struct buf b;

	if (!note(r, s, v, name))
		return;
	buf_init(&b, r->mem);
	sub_put_confirmed(&b, s, span_str(sub_verb_name(v)), name);
	resp_put_int(&b, (int64_t)sub_shown(sub_of(s), v.kind));
	session_push_buf(r, s, &b);
}

/* The server has ended it. On the shadow there is nothing to be told; it begins
 * again, for it would be deaf. */
static void
ended(struct relay *r, struct lane *lane, struct sub_verb v, struct span name)
{
	struct session *s = lane->mine;
	struct sub *u = sub_of(s);
	bool known =
		name.p != NULL && map_find(&u->names[v.kind], name) != NULL;
	struct buf b;

	if (!v.leaves || !known)
		return;
	if (lane == u->shadow && !u->own)
		sub_end_lane(r, &u->shadow);
	if (lane != u->live || !note(r, s, v, name))
		return;
	buf_init(&b, r->mem);
	sub_put_confirmed(&b, s, span_str(sub_verb_name(v)), name);
	resp_put_int(&b, (int64_t)sub_shown(u, v.kind));
	if (buf_failed(&b))
		session_close(r, s, NULL);
	else
		sub_say(r, s, buf_span(&b));
	buf_fini(&b);
}

/* The first entry got one of its replies, or (whole) all of them. */
static bool
take_entry(struct relay *r, struct lane *lane, bool all)
{
	struct pending *e = ring_first(&lane->fifo);
	bool shown;

	if (e == NULL)
		return false;
	shown = e->kind == PEND_PASS;
	if (!all && e->mark > 1) {
		e->mark--;
		return shown;
	}
	lane->fifo.head++;
	if (e->s != NULL) {
		e->s->inflight--;
		session_replied(r, e->s);
	}
	return shown;
}

/* The guard's answers are for Godwit, except the one that it may not. */
static void
guard_says(struct relay *r, struct lane *lane, bool whole, struct span reply)
{
	struct session *s = lane->mine;
	struct sub *u = sub_of(s);
	const struct pending *e = ring_first(&lane->fifo);
	bool last =
		e != NULL && e->kind == PEND_PASS && (whole || e->mark <= 1);

	if (last && whole)
		buf_fini(&u->asked);
	else if (last)
		sub_guard_agrees(r, s);
	if (lane->mine == NULL || lane->link == NULL)
		return;
	if (take_entry(r, lane, whole) && whole)
		session_say(r, s, reply);
}

/* +OK of a name, or an error instead of confirmations. */
static void
one_line(struct relay *r, struct lane *lane, struct span reply)
{
	struct sub *u = sub_of(lane->mine);

	if (lane == u->guard)
		guard_says(r, lane, true, reply);
	else if (lane == u->shadow && lane->as_reader && reply.p[0] == '-')
		sub_end_lane(r, &u->shadow); /* it would be deaf */
	else if (take_entry(r, lane, true) && lane->mine->link != NULL)
		session_say(r, lane->mine, reply);
}

static void
one_confirmation(struct relay *r, struct lane *lane, const struct resp_item *it,
                 struct span reply)
{
	const struct pending *e = ring_first(&lane->fifo);
	struct span name =
		it[2].type == RESP_NIL ? span_of(NULL, 0) : it[2].text;
	struct sub_verb v;

	if (!sub_verb_find(it[1].text, &v))
		return;
	if (e == NULL || e->kept != sub_verb_code(v))
		ended(r, lane, v, name);
	else if (lane == sub_of(lane->mine)->guard)
		guard_says(r, lane, false, reply);
	else if (take_entry(r, lane, false))
		confirmed(r, lane->mine, v, name);
}

static void
one_push(struct relay *r, struct lane *lane, struct span reply)
{
	struct resp_item it[ITEMS_N + 1];
	struct span rest = reply;
	struct span verb;
	int n = 0;

	while (n < ITEMS_N + 1 && resp_read(&rest, &it[n]) == WIRE_PART)
		n++;
	if (n == 0)
		return;
	if (it[0].type != RESP_ARRAY || n < 3 || it[1].type != RESP_BULK) {
		one_line(r, lane, reply);
		return;
	}
	verb = it[1].text;
	if (n == 4 && (span_eq(verb, SPAN("message")) ||
	               span_eq(verb, SPAN("smessage")))) {
		if (span_eq(it[2].text, SPAN(SUB_MARKER)))
			pubsub_marker(r, lane, it[3].text);
		else
			deliver(r, lane, reply);
	} else if (span_eq(verb, SPAN("pmessage")) && n == 5) {
		if (!span_has_prefix(it[3].text, SPAN(PREFIX)))
			deliver(r, lane, reply);
	} else if (span_eq(verb, SPAN("pong"))) {
		if (take_entry(r, lane, true))
			session_say(r, lane->mine, reply);
	} else if (n == 4) {
		one_confirmation(r, lane, it, reply);
	}
}

void
pubsub_bytes(struct relay *r, struct lane *lane, struct span in)
{
	while (in.n > 0 && lane->link != NULL && lane->mine != NULL &&
	       sub_of(lane->mine) != NULL) {
		size_t used = 0;
		enum wire_rc rc = resp_skip_feed(&lane->skip, in, &used);
		struct buf part;

		if (rc < 0) {
			session_close(r, lane->mine, NULL);
			return;
		}
		if (rc == WIRE_PART && buf_len(&lane->part) == 0) {
			one_push(r, lane, span_of(in.p, used));
		} else {
			buf_put(&lane->part, in.p, used);
			if (buf_failed(&lane->part)) {
				session_close(r, lane->mine, NULL);
				return;
			}
			if (rc == WIRE_PART) {
				part = lane->part;
				buf_init(&lane->part, r->mem);
				one_push(r, lane, buf_span(&part));
				buf_fini(&part);
			}
		}
		in = span_skip(in, used);
	}
}
