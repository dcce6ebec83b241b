/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/dispatch.c: where a request goes.
 *
 * A request is taken (DISPATCHED) or stays in front (DISPATCH_WAIT) until
 * something changes: the session's replies came, a lane is ready, a hold ends.
 * Then it is looked at again from the beginning.
 */
#include "base/hash.h"
#include "engine/redis/relay/astray.h"
#include "engine/redis/relay/clients.h"
#include "engine/redis/relay/detour.h"
#include "engine/redis/relay/door.h"
#include "engine/redis/relay/queued.h"
#include "engine/redis/relay/script.h"
#include "engine/redis/relay/shadow.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"
#include "engine/redis/relay/track.h"
#include "engine/redis/relay/unknown.h"

#define OWN_PREFIX KEYS_OWN_PREFIX
#define SAMPLE_NS  1000000ull /* between two latencies where little comes */

static enum dispatched
refuse_text(struct relay *r, struct session *s, struct span text)
{
	struct wide *w;

	if (tx_is_kept(s) && (!split_is_on(r) || split_body(r, s)))
		return tx_begin_again(r, s); /* to be spoiled there */
	if (s->inflight > 0)
		return DISPATCH_WAIT; /* one text at a time */
	if (s->multi && !s->multi_lost) {
		w = session_wide(r, s);
		if (w == NULL)
			return DISPATCH_CLOSED;
		if (w->refusal_text == NULL)
			w->refusal_text = mem_alloc(r->mem, REFUSAL_MAX);
		if (w->refusal_text == NULL) {
			session_close(r, s, NULL);
			return DISPATCH_CLOSED;
		}
		if (text.n >= REFUSAL_MAX)
			text.n = REFUSAL_MAX - 1;
		memcpy(w->refusal_text, text.p, text.n);
		w->refusal_text[text.n] = '\0';
		return tx_spoil(r, s);
	}
	r->n.refused++;
	session_sayf(r, s, "-%.*s\r\n", (int)text.n, (const char *)text.p);
	return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
}

enum dispatched
dispatch_refuse(struct relay *r, struct session *s, const char *fmt, ...)
{
	struct buf b;
	va_list ap;
	enum dispatched ret;

	buf_init(&b, r->mem);
	va_start(ap, fmt);
	buf_putv(&b, fmt, ap);
	va_end(ap);
	if (buf_failed(&b)) {
		session_close(r, s, NULL);
		ret = DISPATCH_CLOSED;
	} else {
		ret = refuse_text(r, s, buf_span(&b));
	}
	buf_fini(&b);
	return ret;
}

/* ---- keys -------------------------------------------------------------- */

/* A request and whose it is. */
struct asked {
	struct session *s;
	const struct command *c;
	const struct resp_cmd *q;
};

/* Does the assignment take a read of this key to the other side? */
static inline bool
is_taken(struct relay *r, const struct asked *a, struct span key)
{
	if (__builtin_expect(r->route.rules != NULL, 0))
		return rule_takes(r, a->s, a->c, key);
	return route_takes(&r->route, hash_bytes(key, 0));
}

/* Does no key belong to Godwit, and (ret_taken) does the assignment take all of
 * them (at least one) to the other side? */
static bool
check_keys(struct relay *r, const struct asked *a, struct span raw,
           bool *ret_taken)
{
	const struct resp_cmd *q = a->q;
	struct keys k = keys_of(a->c, q);
	struct span arg;
	size_t pos = 0;
	bool any = false;
	bool all = true;

	for (uint32_t i = 0; i < q->argc; i++) {
		if (i < RESP_SPANS && q->argc <= RESP_SPANS)
			arg = q->argv[i];
		else if (!resp_cmd_walk(raw, &pos, &arg))
			break;
		if (!keys_have(&k, i))
			continue;
		if (key_is_ours(arg))
			return false;
		any = true;
		if (ret_taken != NULL && all)
			all = is_taken(r, a, arg) && !detour_is_away(r, arg);
	}
	if (ret_taken != NULL)
		*ret_taken = any && all;
	return true;
}

/* ---- lanes ------------------------------------------------------------- */

bool
dispatch_is_held(struct relay *r, struct session *s)
{
	if (!r->hold.on || (s->multi && !s->multi_lost))
		return false;
	session_wait(r, s, &r->hold.held);
	return true;
}

static struct lane *
usable(struct relay *r, struct session *s, struct lane *lane)
{
	if (lane == NULL)
		return NULL;
	if (lane->state == LANE_READY && !lane->link->is_up) {
		/* Lost in this batch; EV_DOWN follows. */
	} else if (lane->state == LANE_READY) {
		if (__builtin_expect(s->tracking && !lane->tracks, 0))
			track_begin(r, s, lane);
		if (buf_len(&lane->link->tx) <= RELAY_LANE_TX_MAX)
			return lane;
		lane->link->want_drained = true;
		port_touch(r->port, lane->link);
	} else {
		lane_want(r, lane);
	}
	session_wait(r, s, &lane->waiters);
	return NULL;
}

struct lane *
dispatch_lane(struct relay *r, struct session *s, bool own)
{
	struct lane *lane = s->lane;

	own = own || s->multi || s->watching || s->tracking;
	if (lane != NULL && !lane->dead && !lane->left) {
		if (lane->kind == LANE_OWN && lane->mine == s &&
		    ((s->multi && !s->multi_lost) || s->watching ||
		     (own && detour_suits(s, lane))))
			return usable(r, s, lane);
		if (!own && lane->kind == LANE_SHARED &&
		    (lane->cred == s->cred || lane->as_writer) &&
		    detour_suits(s, lane))
			return usable(r, s, lane);
	}
	if (s->inflight > 0 || s->withheld > 0)
		return NULL;
	lane_attach(r, s, NULL);
	r->nopass.came |= s->cred == NULL && s->id >= r->nopass.known_id;
	if (own)
		lane = lane_own(r, s);
	else if (split_is_on(r))
		lane = lane_writer(r, (enum side)s->at, s->db, s->resp3);
	else
		lane = lane_shared_of(r, s, (enum side)s->at);
	if (lane == NULL) {
		session_close(r, s, "ERR godwit: out of memory");
		return NULL;
	}
	lane_attach(r, s, lane);
	return usable(r, s, lane);
}

/* Keep a request, to send it again. False: no memory, nothing is kept. */
static bool
keep(struct lane *lane, struct span raw)
{
	bool failed;

	buf_put_span(&lane->keep, raw);
	failed = buf_failed(&lane->keep);
	lane->keep.failed = false; /* it has all that it had before */
	return !failed;
}

/* The request at the end of the lane may be the one whose latency is taken: one
 * of 16, and one a millisecond, so that few are enough where few come. */
static inline void
sample(const struct relay *r, struct lane *lane)
{
	uint64_t now = r->port->now_ns;

	if ((lane->sent_n++ & 15) != 0 && now - lane->sampled_ns < SAMPLE_NS)
		return;
	if (lane->sample_ns != 0)
		return; /* one at a time */
	lane->sampled_ns = now;
	lane->sample_at = lane->fifo.tail - 1;
	lane->sample_ns = r->port->clock_ns(r->port);
}

static inline __attribute__((always_inline)) enum dispatched
put(struct relay *r, struct session *s, struct lane *lane,
    const struct sending *m)
{
	bool kept;
	struct pending *e;
	struct span raw = m->raw;
	uint8_t flags = m->flags;

	if (__builtin_expect(lane->is_node, 0) && astray_keeps(r, s, m))
		flags |= PEND_F_KEPT;
	if (__builtin_expect(lane->node != 0, 0))
		detour_ask(r, s, lane, (enum pending_kind)m->kind);
	kept = (flags & PEND_F_KEPT) != 0;
	if (kept && !keep(lane, m->asked)) {
		session_close(r, s, "ERR godwit: out of memory");
		return DISPATCH_CLOSED;
	}
	e = ring_push(&lane->fifo, r->mem);
	if (__builtin_expect(e == NULL, 0)) {
		if (kept)
			lane->keep.end -= (uint32_t)m->asked.n;
		session_close(r, s, "ERR godwit: out of memory");
		return DISPATCH_CLOSED;
	}
	e->s = s;
	e->mark = 0;
	e->kept = kept ? (uint32_t)m->asked.n : 0;
	e->kind = m->kind;
	e->flags = flags;
	e->in_tx = s->multi && !s->multi_lost;
	e->again = detour_is_again(s);
	if (e->in_tx)
		tx_keep(r, s, lane, m->asked);
	buf_put(&lane->link->tx, raw.p, raw.n);
	port_touch(r->port, lane->link);
	s->inflight++;
	s->burst += (uint32_t)raw.n;
	causal_sent(r, s, lane);
	sample(r, lane);
	if (flags & PEND_F_WRITE)
		r->n.writes[lane->side]++;
	else if (flags & PEND_F_READ)
		r->n.reads[lane->side]++;
	return DISPATCHED;
}

enum dispatched
dispatch_send(struct relay *r, struct session *s, struct lane *lane,
              struct span raw, enum pending_kind kind, uint8_t flags)
{
	struct sending m = { raw, raw, (uint8_t)kind, flags };

	return put(r, s, lane, &m);
}

enum dispatched
dispatch_send_as(struct relay *r, struct session *s, struct lane *lane,
                 const struct sending *m)
{
	return put(r, s, lane, m);
}

void
dispatch_again(struct relay *r, struct session *s, struct span raw,
               uint8_t flags)
{
	struct lane *lane = lane_shared_of(r, s, r->route.authority);

	/* In order: whatever of s is still under way on the other side will be
	 * repeated behind this as well (must_retry); then it goes on here. */
	if (lane != NULL && lane->state != LANE_READY &&
	    (lane->is_node || astray_is_on(s))) {
		astray_put(r, s, raw);
		return;
	}
	if (lane == NULL || lane->state != LANE_READY) {
		session_close(r, s, NULL);
		return;
	}
	if (s->on_reader == 0)
		lane_follow(r, s, lane);
	(void)dispatch_send(r, s, lane, raw, PEND_PASS, flags);
}

/* ---- reads on the other side ------------------------------------------- */

/* True: sent there, or (*ret) it has to wait. */
static bool
try_reader(struct relay *r, struct session *s, struct span raw,
           enum dispatched *ret)
{
	struct lane *lane = s->lane;
	struct lane *home;
	struct pending *e;

	/* Nobody knows of which position the messages are that it has seen. */
	if (s->multi || s->watching || s->big > 0 || s->must_retry ||
	    s->tracking || sub_of(s) != NULL || !causal_may_read(r, s))
		return false;
	if (lane == NULL || lane->kind != LANE_READER) {
		if (s->inflight > 0 || s->withheld > 0)
			return false;
	}
	/* Where it is repeated when the other side's answer is no good. */
	home = lane_shared_of(r, s, r->route.authority);
	if (home == NULL || home->state != LANE_READY)
		return false;
	home->idle_ns = r->port->now_ns;
	lane = lane_reader(r, side_other(r->route.authority), s->db, s->resp3);
	if (!lane_is_open(lane) || buf_len(&lane->link->tx) > RELAY_LANE_TX_MAX)
		return false;
	if (s->lane != lane && s->inflight > 0)
		return false;
	if (!keep(lane, raw))
		return false;
	lane_attach(r, s, lane);
	e = lane_pend(r, lane, s, PEND_READ);
	if (e == NULL) {
		lane->keep.end -= (uint32_t)raw.n;
		return false;
	}
	e->flags = PEND_F_KEPT | PEND_F_READ;
	e->kept = (uint32_t)raw.n;
	e->mark = causal_mark(r);
	buf_put_span(&lane->link->tx, raw);
	s->on_reader++;
	s->burst += (uint32_t)raw.n;
	sample(r, lane);
	*ret = DISPATCHED;
	return true;
}

/* ---- plain requests ---------------------------------------------------- */

static enum pending_kind
kind_of(const struct command *c, uint8_t *flags)
{
	switch (c->handler) {
	case COMMAND_EVALSHA: *flags |= PEND_F_KEPT; return PEND_SHA;
	case COMMAND_SCRIPT_LOAD: *flags |= PEND_F_KEPT; return PEND_LOAD;
	default: return PEND_PASS;
	}
}

/* FCALL, FUNCTION LOAD and so on, for r->n.scripts; its name begins with f. */
static bool
uses_program(const struct command *c)
{
	struct span name = span_of((const uint8_t *)c->name, c->name_n);

	return span_has_prefix(name, SPAN("fcall")) ||
	       (c->kind == COMMAND_WRITE &&
	        span_has_prefix(name, SPAN("function|")));
}

/* May it go on? taken: it is a read that the assignment gives to the other
 * side. */
static bool
look_at_keys(struct relay *r, const struct asked *a, struct span raw,
             bool *ret_taken)
{
	const struct command *c = a->c;
	const struct resp_cmd *q = a->q;
	bool may_move = c->kind == COMMAND_READ && r->route.read_ppm > 0;

	if (c->numkeys == COMMAND_KEYS_ANY && keys_mention_ours(raw))
		return false;
	if (c->first == 1 && c->last == 1 && c->numkeys == 0) {
		if (q->argc < 2)
			return true;
		if (may_move)
			*ret_taken = is_taken(r, a, q->argv[1]) &&
			             !detour_is_away(r, q->argv[1]);
		return !key_is_ours(q->argv[1]);
	}
	if (c->name[0] == 'f')
		r->n.scripts += uses_program(c);
	if (c->first == 0 && c->numkeys == 0)
		return true;
	return check_keys(r, a, raw, may_move ? ret_taken : NULL);
}

/* Not PLAIN: what its reply is for. */
static enum pending_kind
special(struct relay *r, const struct session *s, const struct command *c,
        const struct resp_cmd *q, uint8_t *flags)
{
	if (c->handler == COMMAND_EVAL) {
		r->n.scripts +=
			script_is_kept(q) && !script_remember(r, q->argv[1]);
		return PEND_PASS;
	}
	if (c->handler == COMMAND_EVALSHA && q->argc > 1) {
		r->n.scripts += script_keeps(r, q->argv[1]) != 1;
		script_share(r, q->argv[1]);
	} else if (c->handler == COMMAND_SCRIPT_LOAD && q->argc > 2)
		r->n.scripts += !script_remember(r, q->argv[2]);
	if (s->multi)
		return PEND_PASS;
	if (c->handler == COMMAND_SCRIPT_FLUSH)
		script_forget(r);
	return kind_of(c, flags);
}

static enum dispatched
plain(struct relay *r, struct session *s, const struct command *c,
      const struct resp_cmd *q, struct span raw)
{
	enum dispatched ret = DISPATCH_WAIT;
	enum pending_kind kind = PEND_PASS;
	uint8_t flags = 0;
	bool taken = false;
	struct asked a = { s, c, q };
	struct lane *lane;

	if (c->kind == COMMAND_WRITE)
		flags = PEND_F_WRITE;
	else if (c->kind == COMMAND_READ)
		flags = PEND_F_READ;
	if (!look_at_keys(r, &a, raw, &taken))
		return dispatch_refuse(
			r, s,
			"ERR godwit: names that begin with " OWN_PREFIX
			" are Godwit's own");
	if (taken && try_reader(r, s, raw, &ret))
		return ret;
	lane = dispatch_lane(r, s, s->big > 0);
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	if (__builtin_expect(c->handler != COMMAND_PLAIN, 0))
		kind = special(r, s, c, q, &flags);
	if (s->big > 0)
		s->big--;
	if (s->multi) /* counted with EXEC */
		flags &= (uint8_t) ~(PEND_F_WRITE | PEND_F_READ);
	if (__builtin_expect(mark_wants(r, c), 0)) {
		if (s->multi)
			mark_collect(r, s, raw);
		else
			flags |= PEND_F_KEPT | PEND_F_MARK;
	}
	ret = dispatch_send(r, s, lane, raw, kind, flags);
	if (__builtin_expect(r->route.shadow.ppm > 0, 0) && ret == DISPATCHED &&
	    kind == PEND_PASS && c->kind == COMMAND_READ)
		shadow_mirror(r, s, c, raw);
	return ret;
}

enum dispatched
dispatch_plain(struct relay *r, struct session *s, const struct command *c,
               const struct resp_cmd *q, struct span raw)
{
	return plain(r, s, c, q, raw);
}

/* ---- one request ------------------------------------------------------- */

/* Handled by Godwit in a way that a transaction cannot hold. */
static bool
is_apart(const struct command *c)
{
	static const uint64_t apart =
		UINT64_C(1) << COMMAND_AUTH | UINT64_C(1) << COMMAND_SELECT |
		UINT64_C(1) << COMMAND_HELLO | UINT64_C(1) << COMMAND_SETNAME |
		UINT64_C(1) << COMMAND_GETNAME |
		UINT64_C(1) << COMMAND_CLIENTID |
		UINT64_C(1) << COMMAND_CLIENTINFO |
		UINT64_C(1) << COMMAND_SUBSCRIBE |
		UINT64_C(1) << COMMAND_UNSUBSCRIBE |
		UINT64_C(1) << COMMAND_CLIENTS |
		UINT64_C(1) << COMMAND_MONITOR |
		UINT64_C(1) << COMMAND_CLIENTREPLY |
		UINT64_C(1) << COMMAND_NOEVICT | UINT64_C(1) << COMMAND_SCAN |
		UINT64_C(1) << COMMAND_SCANKEY |
		UINT64_C(1) << COMMAND_TRACKING;

	return (apart >> c->handler & 1) != 0;
}

static enum dispatched
handle(struct relay *r, struct session *s, const struct command *c,
       const struct resp_cmd *q, struct span raw)
{
	if (s->multi && queued_takes(r, s, c))
		return queued_dispatch(r, s, c, q, raw);
	if (s->multi && queued_is_plain(s, c))
		return plain(r, s, c, q, raw);
	if (s->multi && is_apart(c))
		return dispatch_refuse(
			r, s, "ERR godwit refuses %s inside MULTI", c->name);
	switch ((enum command_handler)c->handler) {
	case COMMAND_PLAIN:
	case COMMAND_EVAL:
	case COMMAND_EVALSHA:
	case COMMAND_SCRIPT_LOAD:
	case COMMAND_SCRIPT_FLUSH:
	case COMMAND_PING: return plain(r, s, c, q, raw);
	case COMMAND_REFUSE:
		return dispatch_refuse(r, s, "ERR godwit refuses %s: %s",
		                       c->name, c->why);
	case COMMAND_CONTAINER: return unknown_refuse(r, s, c, q, raw);
	case COMMAND_AUTH:
	case COMMAND_SELECT:
	case COMMAND_HELLO:
	case COMMAND_QUIT:
	case COMMAND_RESET:
	case COMMAND_SETNAME:
	case COMMAND_GETNAME:
	case COMMAND_CLIENTID:
	case COMMAND_CLIENTINFO: return local_dispatch(r, s, c, q, raw);
	case COMMAND_MULTI:
	case COMMAND_EXEC:
	case COMMAND_DISCARD:
	case COMMAND_WATCH:
	case COMMAND_UNWATCH: return tx_dispatch(r, s, c, q, raw);
	case COMMAND_SUBSCRIBE:
	case COMMAND_UNSUBSCRIBE: return pubsub_dispatch(r, s, c, q, raw);
	case COMMAND_SCAN:
	case COMMAND_SCANKEY: return scan_dispatch(r, s, c, q, raw);
	case COMMAND_TRACKING: return track_dispatch(r, s, c, q, raw);
	case COMMAND_CLIENTS: return clients_dispatch(r, s, c, q, raw);
	case COMMAND_MONITOR: return monitor_dispatch(r, s);
	case COMMAND_INFO: return info_dispatch(r, s, c, q, raw);
	case COMMAND_CLIENTREPLY:
	case COMMAND_NOEVICT: return clients_reply(r, s, c, q);
	case COMMAND_ALONE:
	case COMMAND_CONFIG:
	case COMMAND_DEBUG:
	case COMMAND_MIGRATE:
	case COMMAND_KILL:
	case COMMAND_USERS:
	case COMMAND_WAIT: return server_dispatch(r, s, c, q, raw);
	case COMMAND_BLOCK_LAST:
	case COMMAND_BLOCK_FIRST:
	case COMMAND_BLOCK_WORD: return block_enter(r, s, c, q, raw);
	}
	NEVER("a handler outside its enum");
}

/* What keeps a request from its handler; few meet it. DISPATCH_NO: nothing. */
static __attribute__((noinline)) enum dispatched
stopped(struct relay *r, struct session *s, const struct command *c,
        const struct resp_cmd *q, struct span raw)
{
	if (s->multi_lost && c->handler != COMMAND_QUIT &&
	    c->handler != COMMAND_RESET)
		return tx_dispatch(r, s, c, q, raw);
	if (r->behind && r->route.strict && c->kind == COMMAND_WRITE &&
	    c->handler != COMMAND_EXEC)
		return dispatch_refuse(
			r, s,
			"TRYAGAIN godwit: the other side is behind, and "
			"both_required refuses writes until it has "
			"caught up");
	return DISPATCH_NO;
}

/* A number of words that the command does not take. */
static __attribute__((noinline)) enum dispatched
wrong_words(struct relay *r, struct session *s, const struct command *c,
            const struct resp_cmd *q, struct span raw)
{
	static const struct command wrong = { .kind = COMMAND_ADMIN,
		                              .handler = COMMAND_PLAIN };

	if (s->barred)
		return dispatch_refuse(
			r, s, "ERR wrong number of arguments for '%s' command",
			c->name);
	/* The server says what is wrong with it. */
	return plain(r, s, &wrong, q, raw);
}

/* What is known of it decides. */
static inline __attribute__((always_inline)) enum dispatched
sorted(struct relay *r, struct session *s, const struct command *c,
       const struct resp_cmd *q, struct span raw)
{
	if (__builtin_expect(c->handler == COMMAND_PLAIN, 1))
		return plain(r, s, c, q, raw);
	if (c->handler > COMMAND_CONTAINER && !command_takes(c, q->argc))
		return wrong_words(r, s, c, q, raw);
	return handle(r, s, c, q, raw);
}

/* Something is to be asked first, or noted. */
static __attribute__((noinline)) enum dispatched
watched(struct relay *r, struct session *s, const struct command *c,
        const struct resp_cmd *q, struct span raw)
{
	enum dispatched ret;

	if (!clients_may_go(r, s, c, q))
		return DISPATCH_WAIT;
	ret = stopped(r, s, c, q, raw);
	if (ret == DISPATCH_NO)
		ret = sorted(r, s, c, q, raw);
	if (ret == DISPATCHED)
		clients_went(r, s, c, raw);
	return ret;
}

static inline enum dispatched
command(struct relay *r, struct session *s, const struct command *c,
        const struct resp_cmd *q, struct span raw)
{
	s->last = command_place(c);
	if (__builtin_expect(s->multi_lost || r->watchful, 0))
		return watched(r, s, c, q, raw);
	return sorted(r, s, c, q, raw);
}

static __attribute__((noinline)) enum dispatched
command_in_split(struct relay *r, struct session *s, const struct command *c,
                 const struct resp_cmd *q, struct span raw)
{
	enum dispatched ret = split_dispatch(r, s, c, q, raw);

	return ret != DISPATCH_NO ? ret : command(r, s, c, q, raw);
}

enum dispatched
dispatch_command(struct relay *r, struct session *s, const struct command *c,
                 const struct resp_cmd *q, struct span raw)
{
	if (__builtin_expect(split_is_on(r), 0))
		return command_in_split(r, s, c, q, raw);
	return command(r, s, c, q, raw);
}

static inline const struct command *
row_of(const struct relay *r, const struct resp_cmd *q)
{
	/* COMMAND alone is a command; other containers alone are wrong, and the
	 * server says so. */
	const struct command *c = command_find(&r->commands, q->argv[0]);
	const struct command *sub;

	if (c == NULL || c->handler != COMMAND_CONTAINER)
		return c;
	if (q->argc == 1)
		return command_at(command_none);
	sub = command_find_sub(&r->commands, c, q->argv[1]);
	return sub != NULL ? sub : c;
}

const struct command *
dispatch_row(const struct relay *r, const struct resp_cmd *q)
{
	return row_of(r, q);
}

/* What a node is to execute is kept until it has answered. */
static bool
is_in_exec(struct session *s)
{
	if (!s->wide->exec_sent)
		return false;
	if (s->inflight > 0)
		return true;
	tx_forget(s);
	return false;
}

/* Must it wait, whatever it is? */
static bool
is_blocked(struct relay *r, struct session *s)
{
	if (s->waits_in != NULL || s->inflight >= s->window ||
	    (s->burst > RELAY_BURST_MAX && s->inflight > 0) ||
	    session_unsent(s) > RELAY_SLOW_TX ||
	    (s->wide != NULL && (s->wide->block != NULL || is_in_exec(s))))
		return true;
	return r->hold.on && dispatch_is_held(r, s);
}

static enum dispatched
dispatch_array(struct relay *r, struct session *s, const struct resp_cmd *q,
               struct span raw)
{
	const struct command *c = row_of(r, q);

	if (__builtin_expect(s->barred, 0) && door_bars(c))
		return dispatch_refuse(r, s, "NOAUTH Authentication required.");
	if (c == NULL) {
		enum dispatched ret = astray_say(r, s, q);

		if (ret == DISPATCH_NO)
			ret = detour_steer(r, s, q);

		return ret != DISPATCH_NO ? ret
		                          : unknown_refuse(r, s, NULL, q, raw);
	}
	if (s->wide != NULL && s->wide->sub != NULL)
		return pubsub_first(r, s, c, q, raw);
	if (__builtin_expect(r->detours != NULL, 0))
		return detour_dispatch(r, s, c, q, raw);
	return dispatch_command(r, s, c, q, raw);
}

static enum dispatched
dispatch_inline(struct relay *r, struct session *s, struct span raw)
{
	struct buf b;
	enum dispatched ret = DISPATCHED;

	buf_init(&b, r->mem);
	resp_put_inline(&b, raw);
	resp_cmd_init(&r->cmd2);
	if (buf_failed(&b)) {
		session_close(r, s, NULL);
		ret = DISPATCH_CLOSED;
	} else if (buf_len(&b) > 0 &&
	           resp_cmd_feed(&r->cmd2, buf_span(&b)) == WIRE_PART) {
		struct resp_cmd q = r->cmd2;

		ret = dispatch_array(r, s, &q, buf_span(&b));
	}
	buf_fini(&b);
	return ret;
}

enum dispatched
dispatch(struct relay *r, struct session *s, const struct resp_cmd *q,
         struct span raw)
{
	if (q->argc == 0)
		return DISPATCHED;
	if (is_blocked(r, s))
		return DISPATCH_WAIT;
	if (q->is_inline)
		return dispatch_inline(r, s, raw);
	return dispatch_array(r, s, q, raw);
}

enum dispatched
dispatch_stream(struct relay *r, struct session *s, const struct resp_cmd *q,
                struct span head)
{
	const struct command *c;
	struct lane *lane;
	uint8_t flags = 0;
	struct span name;

	if (q->args_seen < 1 || s->barred)
		return DISPATCH_NO; /* not known enough */
	name = resp_cmd_arg(q, head, 0);
	c = command_find(&r->commands, name);
	if (c == NULL || c->handler != COMMAND_PLAIN || c->first <= 0 ||
	    q->args_seen <= (uint32_t)c->first || s->multi || s->watching ||
	    s->watch_lost || s->multi_lost || !pubsub_may_stream(s))
		return DISPATCH_NO;
	if (key_is_ours(resp_cmd_arg(q, head, (uint32_t)c->first)))
		return DISPATCH_NO; /* refused when it is whole */
	if (c->last != c->first || c->numkeys != 0)
		return DISPATCH_NO; /* other keys may follow */
	if (s->waits_in != NULL || dispatch_is_held(r, s) ||
	    (s->wide != NULL && s->wide->block != NULL))
		return DISPATCH_WAIT;
	if (split_is_on(r) &&
	    split_stream(r, s, c, resp_cmd_arg(q, head, (uint32_t)c->first)) !=
	            DISPATCHED)
		return DISPATCH_NO;
	detour_to_key(r, s, resp_cmd_arg(q, head, (uint32_t)c->first));
	lane = dispatch_lane(r, s, true);
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	if (s->big == 0)
		s->big = 64;
	if (lane->is_node && astray_may_keep(r, s, q->need))
		return DISPATCH_NO;
	if (c->kind == COMMAND_WRITE)
		flags = PEND_F_WRITE;
	return dispatch_send(r, s, lane, span_of(head.p, 0), PEND_PASS, flags);
}
