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
 * count the confirmations that each request still has to get (mark), and of which
 * verb (kept).
 *
 * Shard channels (SSUBSCRIBE) are heard on the same connections, so a switch moves
 * them at the same marker as all others.
 *
 * These connections speak RESP2 whatever the client speaks. For one of RESP3 what
 * they say becomes a push (`>`), never in the middle of a reply, and its other
 * requests go where everybody's go: one place at a time, so its answers and
 * confirmations keep the order of its requests.
 */
#include "engine/redis/relay/clients.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"
#include "engine/redis/relay/unknown.h"

#define MARKER SUB_MARKER
#define PREFIX "__godwit:"

static const char *const verbs[SUB_KIND_N][2] = {
	[SUB_CHANNEL] = { "subscribe", "unsubscribe" },
	[SUB_PATTERN] = { "psubscribe", "punsubscribe" },
	[SUB_SHARD] = { "ssubscribe", "sunsubscribe" },
};

const char *
sub_verb_name(struct sub_verb v)
{
	return verbs[v.kind][v.leaves];
}

bool
sub_verb_find(struct span word, struct sub_verb *ret)
{
	for (int kind = 0; kind < SUB_KIND_N; kind++) {
		for (int leaves = 0; leaves < 2; leaves++) {
			*ret = (struct sub_verb){ (enum sub_kind)kind,
				                  leaves != 0 };
			if (span_is_word(word, span_str(verbs[kind][leaves])))
				return true;
		}
	}
	return false;
}

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
	for (int i = 0; i < SUB_KIND_N; i++)
		map_fini(&u->names[i]);
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
	for (int i = 0; i < SUB_KIND_N; i++)
		map_init(&u->names[i], r->mem, 0, s->id);
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
		session_push(r, s, pushes);
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
	session_push(r, s, buf_span(&u->late));
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

void
sub_put_confirmed(struct buf *b, const struct session *s, struct span verb,
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

/* All names of a kind, for ourselves (s NULL) or for the client. */
static void
send_all(struct relay *r, struct lane *lane, struct sub_verb v,
         struct session *s)
{
	struct map *names = &sub_of(lane->mine)->names[v.kind];
	struct buf *tx = &lane->link->tx;
	struct pending *e;

	if (map_count(names) == 0)
		return;
	resp_put_array(tx, map_count(names) + 1);
	resp_put_bulk_str(tx, sub_verb_name(v));
	map_each(at, names)
		resp_put_bulk(tx, map_key(names, at));
	e = lane_pend(r, lane, s, s == NULL ? PEND_IGNORE : PEND_PASS);
	if (e == NULL)
		return;
	e->mark = map_count(names);
	e->kept = sub_verb_code(v);
}

void
sub_send_one(struct relay *r, struct lane *lane, struct sub_verb v,
             struct span name)
{
	struct buf *tx;
	struct pending *e;

	if (!lane_is_open(lane))
		return; /* everything is sent when it becomes ready */
	tx = &lane->link->tx;
	resp_put_array(tx, 2);
	resp_put_bulk_str(tx, sub_verb_name(v));
	resp_put_bulk(tx, name);
	e = lane_pend(r, lane, NULL, PEND_IGNORE);
	if (e == NULL)
		return;
	e->mark = 1;
	e->kept = sub_verb_code(v);
}

void
pubsub_ready(struct relay *r, struct lane *lane)
{
	static const struct sub_verb in[SUB_KIND_N] = {
		{ SUB_CHANNEL, false },
		{ SUB_PATTERN, false },
		{ SUB_SHARD, false },
	};
	struct sub *u = lane->mine == NULL ? NULL : sub_of(lane->mine);
	struct map *shards;

	if (u == NULL || lane == u->guard)
		return;
	sub_send_one(r, lane, in[SUB_CHANNEL], SPAN(MARKER));
	send_all(r, lane, in[SUB_CHANNEL], NULL);
	send_all(r, lane, in[SUB_PATTERN], NULL);
	/* A node of a cluster takes those of one slot at a time. */
	shards = &u->names[SUB_SHARD];
	map_each(at, shards)
		sub_send_one(r, lane, in[SUB_SHARD], map_key(shards, at));
}

/* ---- requests of the client -------------------------------------------- */

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
	struct sub_verb v;
	struct buf b;
	struct span arg;
	size_t pos = 0;
	uint32_t n = 0;

	REQUIRE(sub_verb_find(span_str(c->name), &v));
	buf_init(&b, r->mem);
	while (resp_cmd_walk(raw, &pos, &arg)) {
		if (n++ == 0)
			continue;
		sub_put_confirmed(&b, s, span_str(c->name), arg);
		resp_put_int(&b, 0);
	}
	if (n == 1) {
		sub_put_confirmed(&b, s, span_str(c->name), span_of(NULL, 0));
		resp_put_int(&b, u == NULL ? 0 : (int64_t)sub_shown(u, v.kind));
	}
	session_push_buf(r, s, &b);
	return done(s);
}

/* n: confirmations that it will get. */
static enum dispatched
pass(struct relay *r, struct session *s, uint32_t n, struct span raw)
{
	struct sub *u = sub_of(s);
	struct pending *e = lane_pend(r, u->live, s, PEND_PASS);
	struct sub_verb v;
	struct span word;
	size_t pos = 0;

	if (e == NULL) {
		session_close(r, s, NULL);
		return DISPATCH_CLOSED;
	}
	e->mark = n;
	if (resp_cmd_walk(raw, &pos, &word) && sub_verb_find(word, &v))
		e->kept = sub_verb_code(v);
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
	if (lane_is_open(lane))
		return true;
	lane_want(r, lane);
	session_wait(r, s, &lane->waiters);
	return false;
}

/* An entry of the guard's for each name of the request. */
static bool
pend_guard(struct relay *r, struct lane *guard, struct session *s,
           const struct resp_cmd *q, struct sub_verb v)
{
	struct pending *e =
		lane_pend(r, guard, s, s == NULL ? PEND_IGNORE : PEND_PASS);

	if (e == NULL)
		return false;
	e->mark = q->argc - 1;
	e->kept = sub_verb_code(v);
	return true;
}

/* May the client hear this? The request goes on with guard_says(). */
static enum dispatched
ask_guard(struct relay *r, struct session *s, struct sub_verb v,
          const struct resp_cmd *q, struct span raw)
{
	struct sub *u = sub_of(s);
	struct sub_verb away = { v.kind, true };
	struct buf *tx;
	struct span arg;
	size_t pos = 0;

	if (s->inflight > 0)
		return DISPATCH_WAIT;
	if (!is_lane_ready(r, s, &u->guard))
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	buf_put_span(&u->asked, raw);
	if (!pend_guard(r, u->guard, s, q, v) ||
	    !pend_guard(r, u->guard, NULL, q, away) || buf_failed(&u->asked)) {
		session_close(r, s, NULL);
		return DISPATCH_CLOSED;
	}
	tx = &u->guard->link->tx;
	buf_put_span(tx, raw);
	resp_put_array(tx, q->argc);
	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (i == 0)
			resp_put_bulk_str(tx, sub_verb_name(away));
		else
			resp_put_bulk(tx, arg);
	}
	return DISPATCHED;
}

void
sub_guard_agrees(struct relay *r, struct session *s)
{
	struct sub *u = sub_of(s);
	struct buf asked = u->asked;

	buf_init(&u->asked, r->mem);
	if (u->live == NULL || u->live->state != LANE_READY ||
	    !u->live->link->is_up)
		session_close(r, s, NULL); /* lost in this batch */
	else
		(void)pass(r, s, resp_cmd_count(buf_span(&asked)) - 1,
		           buf_span(&asked));
	buf_fini(&asked);
}

/* Of all names of a kind. */
static enum dispatched
leave_all(struct relay *r, struct session *s, const struct command *c,
          struct sub_verb v, struct span raw)
{
	struct sub *u = sub_of(s);
	size_t n = map_count(&u->names[v.kind]);

	if (s->inflight > 0)
		return DISPATCH_WAIT; /* what is there is not sure */
	if (n == 0)
		return nothing_to_leave(r, s, c, raw);
	if (v.kind == SUB_SHARD)
		return pass(r, s, (uint32_t)n, raw);
	send_all(r, u->live, v, s); /* all but the marker's channel */
	return DISPATCHED;
}

static enum dispatched
subscription(struct relay *r, struct session *s, const struct command *c,
             const struct resp_cmd *q, struct span raw)
{
	struct sub *u = sub_of(s);
	struct sub_verb v;
	struct span arg;
	size_t pos = 0;

	REQUIRE(sub_verb_find(span_str(c->name), &v));
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
	if (v.leaves && q->argc == 1)
		return leave_all(r, s, c, v, raw);
	if (!v.leaves && u->live->as_reader)
		return ask_guard(r, s, v, q, raw);
	return pass(r, s, q->argc - 1, raw);
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
	enum dispatched ret;

	if (!s->resp3) {
		if (r->watchful && !clients_may_go(r, s, c, q))
			return DISPATCH_WAIT;
		ret = pubsub_dispatch(r, s, c, q, raw);
		if (ret == DISPATCH_NO)
			return dispatch_command(r, s, c, q, raw);
		if (ret == DISPATCHED && r->watchful)
			clients_went(r, s, c, raw);
		return ret;
	}
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
	    (c->handler == COMMAND_RESET && command_takes(c, q->argc))) {
		pubsub_free(r, s);
		return DISPATCH_NO;
	}
	not_now(r, s, c, q);
	return done(s);
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
