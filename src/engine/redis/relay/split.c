/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/split.c: requests while each key has a side of its own.
 *
 * A request goes to the side of its keys (s->at); with keys of both it is refused.
 * Whoever has no key goes home: to route.authority. A session still uses one lane
 * at a time, so a pipeline that changes sides waits for the replies before.
 *
 * MULTI is answered here and opened on the side of its first key, by what tx.c
 * has for a transaction that crosses a switch: as lost, with a body that may be
 * queued again. What looks at all keys is asked at home behind a question to
 * the other side:
 *
 *   NONE ─→ ASKING ─[split_position]→ PASSING ─[the reverse board]→ PASSED ─→ sent
 *
 * Lanes are Godwit's writer's: the users of applications are fenced on both sides.
 */
#include "engine/redis/relay/split.h"

#include "engine/redis/relay/queued.h"
#include "engine/redis/relay/script.h"

#define BODY_MAX  4096        /* requests without a key that wait for one */
#define AGAIN_NS  50000000ull /* a question without an answer             */
#define LATER_NS  10000000ull /* nobody can be asked now                  */
#define SHOWN_MAX 40          /* bytes of a key in an error               */

/* What the keys of a request say. */
struct sides {
	bool has[SIDE_N];
	struct span key[SIDE_N]; /* the first of each */
	bool patterns;           /* keys that nobody can know */
	bool refused;            /* look_at_body(): one of them is */
	bool is_home;            /* ... is for home alone          */
};

struct shown {
	char text[SHOWN_MAX + 4];
};

static struct shown
show(struct span key)
{
	struct shown ret;
	size_t n = key.n < SHOWN_MAX ? key.n : SHOWN_MAX;

	for (size_t i = 0; i < n; i++) {
		uint8_t c = key.p[i];

		ret.text[i] = (char)(c < 32 || c > 126 ? '?' : c);
	}
	ret.text[n] = '\0';
	if (n < key.n)
		memcpy(ret.text + n, "...", 4);
	return ret;
}

static void
add(const struct relay *r, struct sides *k, struct span key)
{
	enum side side = scope_side(r->route.scope, key);

	if (!k->has[side])
		k->key[side] = key;
	k->has[side] = true;
}

static bool
is_named(const struct command *c, struct span name)
{
	return span_eq(span_of((const uint8_t *)c->name, c->name_n), name);
}

/* Its arguments are channels: subscribers are at home. */
static bool
has_channels(const struct command *c)
{
	return command_is_publish(c) || c->handler == COMMAND_SUBSCRIBE ||
	       c->handler == COMMAND_UNSUBSCRIBE;
}

static struct sides
look(const struct relay *r, const struct command *c, const struct resp_cmd *q,
     struct span raw)
{
	struct sides ret = { .patterns = false };
	struct keys k;
	struct span arg;
	size_t pos = 0;

	if (has_channels(c))
		return ret;
	if (c->first == 1 && c->last == 1 && c->numkeys == 0) {
		if (q->argc > 1)
			add(r, &ret, q->argv[1]);
		return ret;
	}
	if (c->first == 0 && c->numkeys == 0 &&
	    c->handler != COMMAND_BLOCK_WORD)
		return ret;
	k = keys_all(c, q, raw);
	ret.patterns = k.patterns;
	for (uint32_t i = 0; i < q->argc; i++) {
		if (q->argc <= RESP_SPANS)
			arg = q->argv[i];
		else if (!resp_cmd_walk(raw, &pos, &arg))
			break;
		if (keys_have(&k, i))
			add(r, &ret, arg);
	}
	return ret;
}

static bool
is_both(const struct sides *k)
{
	return k->has[SIDE_OLD] && k->has[SIDE_NEW];
}

static bool
is_none(const struct sides *k)
{
	return !k->has[SIDE_OLD] && !k->has[SIDE_NEW];
}

/* The side of its keys; home when there are none. */
static enum side
side_of(const struct relay *r, const struct sides *k)
{
	enum side other = side_other(r->route.authority);

	return k->has[other] ? other : r->route.authority;
}

/* ---- what is refused ---------------------------------------------------- */

#define CROSS_HINT                                                      \
	"; ask for them one by one, or name keys that belong together " \
	"with one {tag}"

static enum dispatched
refuse_cross(struct relay *r, struct session *s, const struct sides *k)
{
	struct shown a = show(k->key[SIDE_OLD]);
	struct shown b = show(k->key[SIDE_NEW]);

	return dispatch_refuse(r, s,
	                       "CROSSSLOT godwit: for now '%s' is old's and "
	                       "'%s' is new's" CROSS_HINT,
	                       a.text, b.text);
}

/* A transaction (or WATCH) is on one side and this key on the other. */
static enum dispatched
refuse_elsewhere(struct relay *r, struct session *s, enum side at,
                 struct span key)
{
	struct shown a = show(key);

	return dispatch_refuse(r, s,
	                       "CROSSSLOT godwit: for now '%s' is %s's and the "
	                       "first key of this %s is %s's" CROSS_HINT,
	                       a.text, side_name(side_other(at)),
	                       s->multi ? "transaction" : "WATCH",
	                       side_name(at));
}

static enum dispatched
refuse_why(struct relay *r, struct session *s, const struct command *c,
           const char *why)
{
	return dispatch_refuse(r, s,
	                       "ERR godwit refuses %s while writes move key by "
	                       "key: %s",
	                       c->name, why);
}

/* The reason, or NULL. */
static const char *
why_not(const struct command *c, const struct sides *k)
{
	switch (c->handler) {
	case COMMAND_EVAL:
	case COMMAND_EVALSHA:
		return "in a transaction its keys cannot be known";
	case COMMAND_SCRIPT_LOAD:
	case COMMAND_SCRIPT_FLUSH: return "it is for both sides";
	default: break;
	}
	if (k->patterns)
		return "its patterns name keys that cannot be known";
	if (c->handler != COMMAND_PLAIN || c->first != 0)
		return NULL;
	if (c->name[0] == 'f' &&
	    (is_named(c, SPAN("fcall")) || is_named(c, SPAN("fcall_ro"))))
		return "the keys of a function cannot be known";
	if (c->kind == COMMAND_WRITE && c->numkeys == 0)
		return "it would change keys of both sides";
	return NULL;
}

static bool
is_script(const struct command *c)
{
	return c->handler == COMMAND_EVAL || c->handler == COMMAND_EVALSHA ||
	       c->handler == COMMAND_SCRIPT_LOAD;
}

/* Outside of a transaction: one that keeps to the keys it names goes where these
 * are. One that was never seen is asked for as the server does. */
static enum dispatched
look_at_script(struct relay *r, struct session *s, const struct command *c,
               const struct resp_cmd *q)
{
	uint8_t at = c->handler == COMMAND_SCRIPT_LOAD ? 2 : 1;
	int keeps = 0;

	if (q->argc <= at)
		return DISPATCH_NO; /* the server says what is wrong */
	if (c->handler == COMMAND_EVALSHA)
		keeps = script_keeps(r, q->argv[at]);
	else
		keeps = script_remember(r, q->argv[at]);
	if (keeps < 0)
		return dispatch_refuse(
			r, s, "NOSCRIPT No matching script. Please use EVAL.");
	if (keeps == 0)
		return refuse_why(r, s, c,
		                  "it may touch other keys than those in KEYS; "
		                  "name each key of redis.call as KEYS[..]");
	return DISPATCH_NO;
}

/* Does it look at all keys? */
static bool
is_whole(const struct command *c)
{
	if (c->handler == COMMAND_SCAN)
		return true;
	return c->handler == COMMAND_PLAIN && c->first == 0 &&
	       (is_named(c, SPAN("keys")) || is_named(c, SPAN("dbsize")) ||
	        is_named(c, SPAN("randomkey")));
}

/* ---- who may ------------------------------------------------------------- */

/* Whose rights the lanes have: default's, also as the upstream of another name. */
static bool
is_served(const struct relay *r, const struct session *s)
{
	return cred_is_default(r, s) ||
	       (s->cred != NULL &&
	        span_eq(cred_user(r, s->cred), SPAN("default")));
}

/* Without AUTH only where the server's default user has no password: the lanes
 * are logged in. */
static enum dispatched
admit(struct relay *r, struct session *s)
{
	if (!is_served(r, s))
		return dispatch_refuse(
			r, s,
			"NOPERM godwit: while writes move key by key only the "
			"user default is served: no other user's rights can "
			"be kept");
	if (s->cred != NULL || r->entry == ENTRY_OPEN)
		return DISPATCH_NO;
	if (r->entry == ENTRY_CLOSED)
		return dispatch_refuse(r, s, "NOAUTH Authentication required.");
	(void)lane_admin(r, r->route.authority); /* asks when it is ready */
	session_wait(r, s, &r->whole.l);
	return DISPATCH_WAIT;
}

static bool
needs_no_user(const struct command *c, const struct resp_cmd *q)
{
	return c->handler == COMMAND_AUTH || c->handler == COMMAND_QUIT ||
	       c->handler == COMMAND_RESET ||
	       (c->handler == COMMAND_HELLO && q->argc > 4);
}

void
split_entry(struct relay *r, enum entry entry)
{
	r->entry = (uint8_t)entry;
	list_each(session, s, wait, &r->whole.l.l) {
		if (s->wide != NULL && s->wide->whole != WHOLE_NONE)
			continue;
		session_unwait(s);
		session_run(r, s);
	}
}

/* ---- transactions -------------------------------------------------------- */

/* MULTI: it is opened with its first key. */
static enum dispatched
open_later(struct relay *r, struct session *s)
{
	struct wide *w;

	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	w = session_wide(r, s);
	if (w == NULL)
		return DISPATCH_CLOSED;
	tx_forget(s);
	(void)queued_may_begin(r, s); /* nothing is under way */
	s->multi = true;
	s->multi_lost = true;
	s->multi_refused = false;
	w->body_ok = !s->watch_lost;
	session_say(r, s, SPAN("+OK\r\n"));
	return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
}

static struct sides
look_at_body(struct relay *r, struct span body)
{
	struct sides ret = { .patterns = false };

	while (body.n > 0 && !is_both(&ret)) {
		struct resp_cmd *q = &r->cmd2;
		const struct command *c;
		struct sides one;

		resp_cmd_init(q);
		if (resp_cmd_feed(q, body) != WIRE_PART)
			NEVER("what was queued is whole");
		c = dispatch_row(r, q);
		one = c == NULL ? (struct sides){ .patterns = false }
		                : look(r, c, q, span_of(body.p, q->used));
		for (int i = 0; i < SIDE_N; i++) {
			if (one.has[i] && !ret.has[i])
				ret.key[i] = one.key[i];
			ret.has[i] |= one.has[i];
		}
		/* It may have been queued before there was a split. */
		ret.refused |=
			c == NULL || why_not(c, &one) != NULL || is_whole(c);
		ret.is_home |= c != NULL && command_is_publish(c);
		body = span_skip(body, q->used);
	}
	return ret;
}

/* May it be queued before anybody knows on which side? */
static bool
may_wait_for_key(const struct session *s, const struct command *c,
                 const struct sides *k, struct span raw)
{
	return (c->handler == COMMAND_PLAIN || c->handler == COMMAND_PING ||
	        c->handler == COMMAND_INFO) &&
	       is_none(k) && c->first == 0 && why_not(c, k) == NULL &&
	       !is_whole(c) && buf_len(&s->wide->body) + raw.n <= BODY_MAX;
}

/* Its keys have parted, or it asks for more than a side has. */
static bool
is_hopeless(const struct relay *r, const struct sides *body)
{
	return is_both(body) || body->refused ||
	       (body->is_home && body->has[side_other(r->route.authority)]);
}

bool
split_body(struct relay *r, struct session *s)
{
	struct sides body = look_at_body(r, buf_span(&s->wide->body));

	s->at = (uint8_t)side_of(r, &body);
	if (is_hopeless(r, &body))
		tx_forget(s);
	return tx_is_kept(s);
}

/* A transaction that no server knows: s->at is where tx.c opens it. */
static enum dispatched
reopen(struct relay *r, struct session *s, const struct command *c,
       const struct sides *k, struct span raw)
{
	struct sides body;

	if (!tx_is_kept(s) || c->handler == COMMAND_DISCARD)
		return DISPATCH_NO; /* tx.c answers */
	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	body = look_at_body(r, buf_span(&s->wide->body));
	if (is_hopeless(r, &body)) {
		tx_forget(s);
	} else if (!is_none(&body) || body.is_home) {
		s->at = (uint8_t)side_of(r, &body);
	} else if (may_wait_for_key(s, c, k, raw)) {
		tx_keep(r, s, NULL, raw);
		session_say(r, s, SPAN("+QUEUED\r\n"));
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
	} else if (!is_both(k)) {
		s->at = (uint8_t)side_of(r, k);
	}
	return DISPATCH_NO;
}

/* MULTI is open on the lane, or a WATCH. */
static enum dispatched
inside(struct relay *r, struct session *s, const struct command *c,
       const struct sides *k)
{
	enum side at = (enum side)s->lane->side;
	const char *why = why_not(c, k);
	bool is_home = at == r->route.authority;

	s->at = (uint8_t)at;
	if (c->handler == COMMAND_WATCH && s->multi)
		return DISPATCH_NO; /* the server says what is wrong */
	if (why != NULL)
		return refuse_why(r, s, c, why);
	if (is_whole(c) && s->multi)
		return refuse_why(r, s, c,
		                  "inside MULTI nothing can look at all keys");
	if (!is_home && (is_whole(c) || command_is_publish(c)))
		return refuse_why(r, s, c,
		                  "it is for old, and this transaction or "
		                  "WATCH is on new");
	if (is_both(k))
		return refuse_cross(r, s, k);
	if (k->has[side_other(at)])
		return refuse_elsewhere(r, s, at, k->key[side_other(at)]);
	return DISPATCH_NO;
}

/* ---- what looks at all keys ---------------------------------------------- */

static enum dispatched
whole(struct relay *r, struct session *s)
{
	struct wide *w;

	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	w = session_wide(r, s);
	if (w == NULL)
		return DISPATCH_CLOSED;
	if (w->whole == WHOLE_PASSED) {
		w->whole = WHOLE_NONE; /* for this once */
		return DISPATCH_NO;
	}
	if (r->conf->reverse == NULL)
		return dispatch_refuse(r, s,
		                       "ERR godwit: nothing carries new's "
		                       "writes to old");
	if (w->whole == WHOLE_NONE) {
		w->whole = WHOLE_ASKING;
		w->whole_n = r->whole.n + 1;
	}
	session_wait(r, s, &r->whole.l);
	return DISPATCH_WAIT;
}

/* One question serves all that wait. */
static void
ask(struct relay *r)
{
	enum side other = side_other(r->route.authority);
	struct lane *admin = lane_admin(r, other);
	struct pending *e;

	if (!lane_is_open(admin))
		return;
	e = lane_ask(r, admin, PEND_WHOLE, causal_question(r, other));
	if (e == NULL)
		return;
	e->mark = ++r->whole.n;
	r->whole.asked_ns = r->port->now_ns;
}

void
split_position(struct relay *r, uint64_t number, struct span reply)
{
	enum side other = side_other(r->route.authority);
	uint64_t pos;

	if (!causal_position(r, other, reply, &pos))
		return; /* asked again in a while */
	list_each(session, s, wait, &r->whole.l.l) {
		struct wide *w = s->wide;

		if (w == NULL || w->whole != WHOLE_ASKING ||
		    w->whole_n > number)
			continue;
		w->whole = WHOLE_PASSING;
		w->whole_pos = pos;
	}
}

static void
too_late(struct relay *r, struct session *s)
{
	enum side home = r->route.authority;
	bool asks = s->wide != NULL && s->wide->whole != WHOLE_NONE;
	enum side who = asks ? side_other(home) : home;

	buf_clear(&r->scratch);
	resp_put_errorf(&r->scratch, "ERR godwit: %s is not reachable%s",
	                r->conf->side[who].label,
	                asks ? ", or what it did has not passed to the other "
	                       "side"
	                     : "");
	session_unwait(s);
	if (buf_failed(&r->scratch)) {
		buf_fini(&r->scratch);
		session_close(r, s, NULL);
	} else {
		session_fail_input(r, s, buf_span(&r->scratch));
	}
}

/* Positions of before mean nothing now. */
static bool
look_at_history(struct relay *r)
{
	uint64_t h = atomic_load(&r->conf->reverse->history);
	bool same = h == r->whole.history;

	r->whole.history = h;
	return same;
}

/* s waits: what may become of it? True: a question has to be asked for it. */
static bool
look_at(struct relay *r, struct session *s, uint64_t passed, bool same)
{
	struct wide *w = s->wide;

	if (session_waited_ns(r, s) >= RELAY_WAIT_NS) {
		too_late(r, s);
		return false;
	}
	session_wake_late(r, s);
	if (w == NULL || w->whole == WHOLE_NONE)
		return false;
	if (w->whole == WHOLE_PASSING && !same) {
		w->whole = WHOLE_ASKING;
		w->whole_n = r->whole.n + 1;
	}
	if (w->whole == WHOLE_PASSING && w->whole_pos <= passed) {
		w->whole = WHOLE_PASSED;
		session_unwait(s);
		session_run(r, s);
	}
	if (w->whole != WHOLE_ASKING)
		return false;
	return w->whole_n > r->whole.n ||
	       r->whole.asked_ns + AGAIN_NS <= r->port->now_ns;
}

void
split_tick(struct relay *r)
{
	enum side other = side_other(r->route.authority);
	struct board *b = r->conf->reverse;
	uint64_t passed;
	bool same;
	bool any = false;

	if (r->whole.l.l.n == 0)
		return;
	passed = b == NULL ? 0 : atomic_load(&b->passed[other]);
	same = b == NULL || look_at_history(r);
	list_each(session, s, wait, &r->whole.l.l)
		any |= look_at(r, s, passed, same);
	if (any)
		ask(r);
	if (r->whole.l.l.n > 0)
		port_wake(r->port, r->port->now_ns + LATER_NS);
}

/* ---- one request --------------------------------------------------------- */

/* The server would name Godwit's user. */
static enum dispatched
say_default(struct relay *r, struct session *s)
{
	if (s->inflight > 0)
		return DISPATCH_WAIT;
	session_say(r, s, SPAN("$7\r\ndefault\r\n"));
	return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
}

/* Neither in a transaction nor watching. */
static enum dispatched
outside(struct relay *r, struct session *s, const struct command *c,
        const struct resp_cmd *q, const struct sides *k)
{
	bool script = is_script(c);
	const char *why = script ? NULL : why_not(c, k);

	if (why != NULL)
		return refuse_why(r, s, c, why);
	if (script) {
		enum dispatched said = look_at_script(r, s, c, q);

		if (said != DISPATCH_NO)
			return said;
	}
	if (is_both(k))
		return refuse_cross(r, s, k);
	s->at = (uint8_t)side_of(r, k);
	if (!is_none(k))
		return DISPATCH_NO;
	if (c->handler == COMMAND_MULTI)
		return open_later(r, s);
	if (is_whole(c))
		return whole(r, s);
	if (c->handler == COMMAND_PING && s->inflight > 0 && s->lane != NULL)
		s->at = s->lane->side; /* anybody can answer */
	if (c->name[0] == 'a' && is_named(c, SPAN("acl|whoami")))
		return say_default(r, s);
	return DISPATCH_NO;
}

enum dispatched
split_dispatch(struct relay *r, struct session *s, const struct command *c,
               const struct resp_cmd *q, struct span raw)
{
	struct sides k;
	enum dispatched ret;

	s->at = (uint8_t)r->route.authority;
	if (!needs_no_user(c, q)) {
		ret = admit(r, s);
		if (ret != DISPATCH_NO)
			return ret;
	}
	if (c->handler == COMMAND_QUIT || c->handler == COMMAND_RESET)
		return DISPATCH_NO;
	if (c->handler == COMMAND_MULTI && q->argc > 1 && !s->multi)
		return DISPATCH_NO; /* the server says what is wrong */
	k = look(r, c, q, raw);
	if (s->multi && s->multi_lost)
		return reopen(r, s, c, &k, raw);
	if ((s->multi || s->watching) && s->lane != NULL)
		return inside(r, s, c, &k);
	return outside(r, s, c, q, &k);
}

enum dispatched
split_stream(struct relay *r, struct session *s, const struct command *c,
             struct span key)
{
	if (!is_served(r, s) || (s->cred == NULL && r->entry != ENTRY_OPEN) ||
	    why_not(c, &(struct sides){ .patterns = false }) != NULL)
		return DISPATCH_NO;
	s->at = (uint8_t)(command_is_publish(c)
	                          ? r->route.authority
	                          : scope_side(r->route.scope, key));
	return DISPATCHED;
}

bool
split_block(struct relay *r, struct session *s, struct span raw)
{
	struct resp_cmd *q = &r->cmd2;
	const struct command *c;
	struct sides k = { .patterns = false };

	resp_cmd_init(q);
	if (resp_cmd_feed(q, raw) != WIRE_PART)
		NEVER("what blocks is whole");
	c = dispatch_row(r, q);
	if (c != NULL)
		k = look(r, c, q, raw);
	s->at = (uint8_t)side_of(r, &k);
	return !is_both(&k);
}

void
split_adopt(struct relay *r)
{
	list_each(session, s, all, &r->sessions) {
		s->at = (uint8_t)r->route.authority;
		if (s->waits_in == &r->whole.l) {
			session_unwait(s);
			session_run(r, s);
		}
		split_forget(s);
	}
}
