/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/pubsub.c: subscribers.
 *
 * A subscriber has a connection of its own to the authority (live) and one to
 * the other side (shadow, Godwit's reader), subscribed to the same. Messages of
 * live are delivered, those of shadow are dropped. How they change their places
 * in a switch is in pubsub_flip.c.
 *
 * A live that was a shadow may hear everything. What its client asks for later
 * is therefore asked first on a connection of the client's own (guard), which
 * leaves it again at once; only what was allowed there is asked on live.
 *
 * What is subscribed is what the server has confirmed. The entries of a lane
 * count the confirmations that each request still has to get (mark).
 *
 * These connections speak RESP2 whatever the client speaks. For one of RESP3 what
 * they say becomes a push (`>`), never in the middle of a reply, and its other
 * requests go where everybody's go: one place at a time, so its answers and
 * confirmations keep the order of its requests.
 */
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"
#include "engine/redis/relay/unknown.h"

#define MARKER  SUB_MARKER
#define PREFIX  "__godwit:"
#define ITEMS_N 4

void
pubsub_free(struct relay *r, struct session *s)
{
	struct sub *u = sub_of(s);

	if (u == NULL)
		return;
	s->wide->sub = NULL;
	r->subscribed--;
	sub_end_lane(r, &u->live);
	sub_end_lane(r, &u->shadow);
	sub_end_lane(r, &u->old);
	sub_end_lane(r, &u->guard);
	map_fini(&u->channels);
	map_fini(&u->patterns);
	buf_fini(&u->held);
	buf_fini(&u->late);
	buf_fini(&u->asked);
	mem_free(r->mem, u, sizeof(*u));
}

static struct sub *
new_sub(struct relay *r, struct session *s)
{
	struct wide *w = session_wide(r, s);
	struct sub *u = w == NULL ? NULL : mem_zero(r->mem, sizeof(*u));

	if (u == NULL) {
		session_close(r, s, NULL);
		return NULL;
	}
	map_init(&u->channels, r->mem, 0, s->id);
	map_init(&u->patterns, r->mem, 0, s->id);
	buf_init(&u->held, r->mem);
	buf_init(&u->late, r->mem);
	buf_init(&u->asked, r->mem);
	u->live = lane_sub(r, s, r->route.authority, false);
	if (r->conf->side[0].reader_user[0] != '\0')
		u->shadow =
			lane_sub(r, s, side_other(r->route.authority), true);
	w->sub = u;
	r->subscribed++;
	return u;
}

/* ---- RESP3 -------------------------------------------------------------- */

static uint32_t
asks_on(const struct lane *lane)
{
	uint32_t n = 0;

	if (lane == NULL)
		return 0;
	for (uint32_t i = lane->fifo.head; i != lane->fifo.tail; i++)
		n += lane->fifo.p[i & (lane->fifo.cap - 1)].s != NULL;
	return n;
}

uint32_t
sub_asks(const struct sub *u)
{
	return asks_on(u->live) + asks_on(u->guard);
}

/* The request of which its client has got the first part of the answer, and not
 * yet the last. */
static struct pending *
half_answered(const struct session *s)
{
	struct lane *lane = s->lane;
	struct pending *e = lane == NULL ? NULL : ring_first(&lane->fifo);

	return e != NULL && e->s == s && lane->reply_n > 0 ? e : NULL;
}

void
sub_say(struct relay *r, struct session *s, struct span pushes)
{
	struct sub *u = sub_of(s);
	struct pending *e = u == NULL ? NULL : half_answered(s);

	if (e == NULL) {
		session_say(r, s, pushes);
		return;
	}
	e->flags |= PEND_F_LATE;
	buf_put_span(&u->late, pushes);
	if (buf_len(&u->late) > RELAY_SUB_HOLD_MAX || buf_failed(&u->late))
		session_close(r, s, NULL);
}

void
pubsub_go_on(struct relay *r, struct session *s)
{
	struct sub *u = s == NULL ? NULL : sub_of(s);

	if (u == NULL || s->link == NULL)
		return;
	session_say(r, s, buf_span(&u->late));
	u = sub_of(s); /* saying may have closed the session */
	if (u != NULL)
		buf_release(&u->late);
}

bool
pubsub_may_stream(const struct session *s)
{
	const struct sub *u = sub_of(s);

	return u == NULL || (s->resp3 && sub_asks(u) == 0);
}

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

/* The head of a confirmation of Godwit's own, and the name; p NULL: none. */
static void
put_confirmed(struct buf *b, const struct session *s, struct span verb,
              struct span name)
{
	resp_put_head(b, s->resp3 ? '>' : '*', 3);
	resp_put_bulk(b, verb);
	if (name.p != NULL)
		resp_put_bulk(b, name);
	else if (s->resp3)
		buf_put_str(b, "_\r\n");
	else
		resp_put_nil(b);
}

/* ---- requests to the servers ------------------------------------------- */

/* (P)SUBSCRIBE or (P)UNSUBSCRIBE of all names in the map, for ourselves. */
static void
send_all(struct relay *r, struct lane *lane, struct map *names,
         const char *verb, struct session *s)
{
	struct buf *tx = &lane->link->tx;
	struct pending *e;

	if (map_count(names) == 0)
		return;
	resp_put_array(tx, map_count(names) + 1);
	resp_put_bulk_str(tx, verb);
	map_each(at, names)
		resp_put_bulk(tx, map_key(names, at));
	e = lane_pend(r, lane, s, s == NULL ? PEND_IGNORE : PEND_PASS);
	if (e != NULL)
		e->mark = map_count(names);
}

static void
send_one(struct relay *r, struct lane *lane, const char *verb, struct span name)
{
	struct buf *tx;
	struct pending *e;

	if (lane == NULL || lane->state != LANE_READY || !lane->link->is_up)
		return; /* everything is sent when it becomes ready */
	tx = &lane->link->tx;
	resp_put_array(tx, 2);
	resp_put_bulk_str(tx, verb);
	resp_put_bulk(tx, name);
	e = lane_pend(r, lane, NULL, PEND_IGNORE);
	if (e != NULL)
		e->mark = 1;
}

void
pubsub_ready(struct relay *r, struct lane *lane)
{
	struct sub *u = lane->mine == NULL ? NULL : sub_of(lane->mine);

	if (u == NULL || lane == u->guard)
		return;
	send_one(r, lane, "SUBSCRIBE", SPAN(MARKER));
	send_all(r, lane, &u->channels, "SUBSCRIBE", NULL);
	send_all(r, lane, &u->patterns, "PSUBSCRIBE", NULL);
}

/* ---- requests of the client -------------------------------------------- */

static bool
has_word(const struct command *c, const char *word)
{
	return strcmp(c->name, word) == 0;
}

static enum dispatched
done(const struct session *s)
{
	return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
}

/* UNSUBSCRIBE of one who is not subscribed. */
static enum dispatched
nothing_to_leave(struct relay *r, struct session *s, const struct command *c,
                 struct span raw)
{
	struct sub *u = sub_of(s);
	struct buf b;
	struct span arg;
	size_t pos = 0;
	uint32_t n = 0;

	buf_init(&b, r->mem);
	while (resp_cmd_walk(raw, &pos, &arg)) {
		if (n++ == 0)
			continue;
		put_confirmed(&b, s, span_str(c->name), arg);
		resp_put_int(&b, 0);
	}
	if (n == 1) {
		put_confirmed(&b, s, span_str(c->name), span_of(NULL, 0));
		resp_put_int(&b, u == NULL ? 0 : (int64_t)sub_count(u));
	}
	session_say_buf(r, s, &b);
	return done(s);
}

static enum dispatched
pass(struct relay *r, struct session *s, uint32_t argc, struct span raw)
{
	struct sub *u = sub_of(s);
	struct pending *e = lane_pend(r, u->live, s, PEND_PASS);

	if (e == NULL) {
		session_close(r, s, NULL);
		return DISPATCH_CLOSED;
	}
	e->mark = argc > 1 ? argc - 1 : 1;
	buf_put_span(&u->live->link->tx, raw);
	return DISPATCHED;
}

/* ---- the guard --------------------------------------------------------- */

/* A lane of the session's own on the authority, when it is ready. */
static bool
is_lane_ready(struct relay *r, struct session *s, struct lane **at)
{
	struct lane *lane = *at;

	if (lane == NULL)
		lane = *at = lane_sub(r, s, r->route.authority, false);
	if (lane == NULL) {
		session_close(r, s, "ERR godwit: out of memory");
		return false;
	}
	if (lane->state == LANE_READY && lane->link->is_up)
		return true;
	lane_want(r, lane);
	session_wait(r, s, &lane->waiters);
	return false;
}

/* May the client hear this? The request goes on with guard_says(). */
static enum dispatched
ask_guard(struct relay *r, struct session *s, const struct command *c,
          const struct resp_cmd *q, struct span raw)
{
	struct sub *u = sub_of(s);
	struct buf *tx;
	struct pending *e;
	struct span arg;
	size_t pos = 0;

	if (s->inflight > 0)
		return DISPATCH_WAIT;
	if (!is_lane_ready(r, s, &u->guard))
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	buf_put_span(&u->asked, raw);
	e = lane_pend(r, u->guard, s, PEND_PASS);
	if (e != NULL) {
		e->mark = q->argc > 1 ? q->argc - 1 : 1;
		e = lane_pend(r, u->guard, NULL, PEND_IGNORE);
	}
	if (e == NULL || buf_failed(&u->asked)) {
		session_close(r, s, NULL);
		return DISPATCH_CLOSED;
	}
	e->mark = q->argc > 1 ? q->argc - 1 : 1;
	tx = &u->guard->link->tx;
	buf_put_span(tx, raw);
	resp_put_array(tx, q->argc);
	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (i == 0)
			resp_put_bulk_str(tx, has_word(c, "psubscribe")
			                              ? "PUNSUBSCRIBE"
			                              : "UNSUBSCRIBE");
		else
			resp_put_bulk(tx, arg);
	}
	return DISPATCHED;
}

/* All of it is allowed: now for real. */
static void
guard_agrees(struct relay *r, struct session *s)
{
	struct sub *u = sub_of(s);
	struct buf asked = u->asked;

	buf_init(&u->asked, r->mem);
	if (u->live == NULL || u->live->state != LANE_READY ||
	    !u->live->link->is_up)
		session_close(r, s, NULL); /* lost in this batch */
	else
		(void)pass(r, s, resp_cmd_count(buf_span(&asked)),
		           buf_span(&asked));
	buf_fini(&asked);
}

static enum dispatched
subscription(struct relay *r, struct session *s, const struct command *c,
             const struct resp_cmd *q, struct span raw)
{
	struct sub *u = sub_of(s);
	struct span arg;
	size_t pos = 0;
	bool leaves = c->handler == COMMAND_UNSUBSCRIBE;

	if (split_is_on(r) && pubsub_own_wants(r, u)) {
		/* Its connection is fenced; once in a while is enough. */
		if (!r->own.on && r->own.until_ns <= r->port->now_ns)
			pubsub_own_begin(r, r->route.authority);
		session_wait(r, s, &r->whole.l);
		return DISPATCH_WAIT;
	}
	while (resp_cmd_walk(raw, &pos, &arg)) {
		if (!span_has_prefix(arg, SPAN(PREFIX)))
			continue;
		session_say(r, s,
		            SPAN("-ERR godwit: channels that begin with " PREFIX
		                 " are Godwit's own\r\n"));
		return done(s);
	}
	if (leaves && q->argc == 1) {
		struct map *m = has_word(c, "unsubscribe") ? &u->channels
		                                           : &u->patterns;

		if (s->inflight > 0)
			return DISPATCH_WAIT; /* what is there is not sure */
		if (map_count(m) == 0)
			return nothing_to_leave(r, s, c, raw);
		send_all(r, u->live, m, c->name, s);
		return DISPATCHED;
	}
	if (!leaves && u->live->as_reader)
		return ask_guard(r, s, c, q, raw);
	return pass(r, s, q->argc, raw);
}

/* What the live lane answers. */
static enum dispatched
on_live(struct relay *r, struct session *s, const struct command *c,
        const struct resp_cmd *q, struct span raw)
{
	if (c->handler == COMMAND_PING && s->inflight > 0)
		return DISPATCH_WAIT; /* still subscribed? */
	if (!is_lane_ready(r, s, &sub_of(s)->live))
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	if (c->handler == COMMAND_PING)
		return pass(r, s, 1, raw);
	return subscription(r, s, c, q, raw);
}

/* A subscriber may not; the words are the server's, and its order of checks. */
static void
not_now(struct relay *r, struct session *s, const struct command *c,
        const struct resp_cmd *q)
{
	const char *head = "ERR";

	if (c->name_n == 0) /* a container alone */
		c = command_find(&r->commands, q->argv[0]);
	if (c->handler == COMMAND_EXEC)
		head = "EXECABORT Transaction discarded because of:";
	if (c->handler == COMMAND_CONTAINER && q->argc > 1)
		unknown_say(r, s, c, q);
	else if (!command_takes(c, q->argc))
		session_sayf(r, s,
		             "-%s wrong number of arguments for '%s' command"
		             "\r\n",
		             head, c->name);
	else
		session_sayf(r, s,
		             "-%s Can't execute '%s': only (P|S)SUBSCRIBE / "
		             "(P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
		             "allowed in this context\r\n",
		             head, c->name);
}

static bool
is_subscription(const struct command *c)
{
	return c->handler == COMMAND_SUBSCRIBE ||
	       c->handler == COMMAND_UNSUBSCRIBE;
}

enum dispatched
pubsub_first(struct relay *r, struct session *s, const struct command *c,
             const struct resp_cmd *q, struct span raw)
{
	struct sub *u = sub_of(s);

	if (!s->resp3)
		return pubsub_dispatch(r, s, c, q, raw);
	if (!is_subscription(c)) {
		if (buf_len(&u->asked) > 0 || sub_asks(u) > 0)
			return DISPATCH_WAIT;
		/* Nor has it messages: they wait for answers only. */
		if (sub_count(u) == 0 && s->inflight == 0)
			pubsub_free(r, s);
	}
	return dispatch_command(r, s, c, q, raw);
}

/* Nothing of it is under way but what its own connections are asked. */
static bool
may_ask_own(const struct session *s, const struct sub *u)
{
	uint32_t asks = u == NULL ? 0 : sub_asks(u);

	if (u != NULL && !s->resp3)
		return true;
	return s->inflight == asks && s->withheld == 0;
}

enum dispatched
pubsub_dispatch(struct relay *r, struct session *s, const struct command *c,
                const struct resp_cmd *q, struct span raw)
{
	struct sub *u = sub_of(s);

	if (!may_ask_own(s, u))
		return DISPATCH_WAIT;
	if (u == NULL) {
		if (c->handler == COMMAND_UNSUBSCRIBE)
			return nothing_to_leave(r, s, c, raw);
		if (!s->resp3)
			lane_attach(r, s, NULL);
		u = new_sub(r, s);
		if (u == NULL)
			return DISPATCH_CLOSED;
	}
	if (buf_len(&u->asked) > 0)
		return DISPATCH_WAIT;
	if (is_subscription(c) || (c->handler == COMMAND_PING &&
	                           (sub_count(u) > 0 || s->inflight > 0)))
		return on_live(r, s, c, q, raw);
	if (s->inflight > 0)
		return DISPATCH_WAIT;
	if (sub_count(u) == 0 || c->handler == COMMAND_QUIT ||
	    c->handler == COMMAND_RESET) {
		pubsub_free(r, s);
		return dispatch_command(r, s, c, q, raw);
	}
	not_now(r, s, c, q);
	return done(s);
}

/* ---- what the servers say ---------------------------------------------- */

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

/* A confirmation: (un)subscribed to name. */
static void
confirmed(struct relay *r, struct lane *lane, struct span verb,
          struct span name, bool shown)
{
	struct session *s = lane->mine;
	struct sub *u = sub_of(s);
	bool pattern = verb.p[0] == 'p';
	bool leaves = span_has_prefix(verb, SPAN("unsub")) ||
	              span_has_prefix(verb, SPAN("punsub"));
	struct map *m = pattern ? &u->patterns : &u->channels;
	struct buf b;

	if (!shown)
		return;
	if (leaves) {
		(void)map_remove(m, name);
		send_one(r, u->shadow, pattern ? "PUNSUBSCRIBE" : "UNSUBSCRIBE",
		         name);
	} else if (map_put(m, name, NULL) != NULL) {
		send_one(r, u->shadow, pattern ? "PSUBSCRIBE" : "SUBSCRIBE",
		         name);
	} else {
		session_close(r, s, NULL); /* a switch would forget it */
		return;
	}
	buf_init(&b, r->mem);
	put_confirmed(&b, s, verb, name);
	resp_put_int(&b, (int64_t)sub_count(u));
	session_say_buf(r, s, &b);
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
		guard_agrees(r, s);
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
	struct span name =
		it[2].type == RESP_NIL ? span_of(NULL, 0) : it[2].text;

	if (lane == sub_of(lane->mine)->guard) {
		guard_says(r, lane, false, reply);
	} else {
		bool shown = take_entry(r, lane, false);

		confirmed(r, lane, it[1].text, name, shown);
	}
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
	if (span_eq(verb, SPAN("message")) && n == 4) {
		if (span_eq(it[2].text, SPAN(MARKER)))
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

/* ---- losses ------------------------------------------------------------ */

void
pubsub_lost(struct relay *r, struct lane *lane)
{
	struct session *s = lane->mine;
	struct sub *u = s == NULL ? NULL : sub_of(s);

	if (u != NULL && u->old == lane) {
		pubsub_end_old(r, s);
		return;
	}
	if (u != NULL && u->guard == lane) {
		u->guard = NULL;
		if (buf_len(&u->asked) > 0) {
			r->n.lost[lane->side]++;
			session_close(r, s, NULL);
		} else if (s->waits_in == &lane->waiters) {
			session_unwait(s);
			session_fail_front(r, s,
			                   SPAN("-ERR godwit: the connection "
			                        "for subscriptions was "
			                        "lost\r\n"));
		}
	} else if (u != NULL && u->shadow == lane) {
		u->shadow = NULL; /* opened again by pubsub_check */
		u->own = false;
	} else if (u != NULL && u->live == lane) {
		bool told = u->marked == r->mark_epoch && r->hold.on;
		bool asks = sub_asks(u) > 0;

		u->live = NULL;
		if (asks || (!told && sub_count(u) > 0)) {
			/* What it asked for has an unknown outcome. */
			r->n.lost[lane->side]++;
			session_close(r, s, NULL);
		} else if (!told &&
		           (!s->resp3 || s->waits_in == &lane->waiters)) {
			session_fail_front(r, s,
			                   SPAN("-ERR godwit: the connection "
			                        "for subscriptions was "
			                        "lost\r\n"));
		}
	}
	if (!lane->dead)
		lane_end(r, lane, false);
}
