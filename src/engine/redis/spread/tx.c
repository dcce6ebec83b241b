/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/tx.c: transactions, each on one instance.
 *
 *   NONE ─[MULTI]→ OPEN ─[a key]→ ASKED ─[+OK]→ BOUND ─[EXEC, DISCARD]→ NONE
 *     └─[MULTI behind WATCH]──────→ ASKED ─[error]→ REFUSED ─[EXEC]→ NONE
 *
 * MULTI is answered here, since nobody knows yet whose it is. The first key says
 * so: MULTI goes there, and nothing is sent behind it before it was answered
 * well, for it would be executed singly. Then come the requests without a key,
 * which were answered +QUEUED here, and what the client sends.
 */
#include "engine/redis/spread/inside.h"

#define MULTI   SPAN("*1\r\n$5\r\nMULTI\r\n")
#define DISCARD SPAN("*1\r\n$7\r\nDISCARD\r\n")
#define ABORTED \
	"-EXECABORT Transaction discarded because of previous errors.\r\n"

_Static_assert(SPREAD_QUEUED_MAX < SPREAD_ASKS_MAX, "all of it fits the ring");

/* Where a request of a transaction belongs. */
enum place {
	PLACE_ANY,  /* has no key: kept until there is an instance       */
	PLACE_ONE,  /* *at                                               */
	PLACE_HERE, /* the server has to say something about it, any one */
	PLACE_DONE, /* it was answered                                   */
	PLACE_MORE,
};

void
tx_clear(struct client *c)
{
	buf_fini(&c->tx.queue);
	c->tx = (struct tx){ .state = TX_NONE };
	buf_init(&c->tx.queue, c->s->port->mem);
}

void
tx_answered(struct client *c, bool good, struct span line)
{
	struct tx *t = &c->tx;

	if (t->state != TX_ASKED)
		return;
	if (good) {
		t->state = TX_BOUND;
	} else if (line.n == 0) { /* it was the client's, which knows */
		tx_clear(c);
	} else {
		size_t n = line.n - 2;

		n = n < sizeof(t->why) - 1 ? n : sizeof(t->why) - 1;
		memcpy(t->why, line.p, n);
		t->why[n] = '\0';
		t->state = TX_REFUSED;
		t->spoiled = true;
	}
}

/* ---- outside ------------------------------------------------------------ */

static enum take
begin(struct client *c, const struct asked *a)
{
	struct tx *t = &c->tx;
	enum take take;

	if (!t->watching) {
		t->state = TX_OPEN;
		ask_text(c, SPAN("+OK\r\n"), 0);
		return TAKE_DONE;
	}
	take = route_forward(c, a, t->watch, ASK_F_MULTI);
	if (take == TAKE_DONE) {
		t->state = TX_ASKED;
		t->at = t->watch;
		c->stall = true;
	}
	return take;
}

static enum take
watch(struct client *c, const struct asked *a)
{
	struct tx *t = &c->tx;
	struct owners o;
	enum take take;

	if (!rule_owners(c->s, a->row, a->q, a->raw, &o))
		return TAKE_MORE;
	if (!owners_are_several(&o) && t->watching && t->watch != o.first) {
		o.other = o.first;
		o.first = t->watch;
		return parts_across(c, a, &o);
	}
	if (owners_are_several(&o))
		return parts_across(c, a, &o);
	take = route_forward(c, a, o.first, 0);
	if (take == TAKE_DONE) {
		t->watching = true;
		t->watch = o.first;
	}
	return take;
}

static enum take
outside(struct client *c, const struct asked *a)
{
	struct tx *t = &c->tx;
	enum take take;

	if (!a->whole)
		return TAKE_MORE;
	if (a->row->handler == COMMAND_MULTI)
		return begin(c, a);
	if (a->row->handler == COMMAND_WATCH)
		return watch(c, a);
	take = route_forward(c, a, t->watching ? t->watch : HOME, 0);
	if (take == TAKE_DONE && a->row->handler == COMMAND_UNWATCH)
		t->watching = false;
	return take;
}

/* ---- inside ------------------------------------------------------------- */

static enum place
spoil(struct client *c)
{
	c->tx.spoiled = true;
	return PLACE_DONE;
}

static enum place
by_keys(struct client *c, const struct asked *a, uint8_t *ret_at)
{
	struct tx *t = &c->tx;
	struct owners o;

	if (!rule_owners(c->s, a->row, a->q, a->raw, &o))
		return PLACE_MORE;
	if (o.patterns && c->n > 1) {
		(void)route_refuse(c,
		                   "%s with a pattern in BY or GET: its "
		                   "keys may be on several instances",
		                   a->row->name);
		return spoil(c);
	}
	if (owners_are_several(&o)) {
		(void)parts_across(c, a, &o);
		return spoil(c);
	}
	/* A script without keys runs at home, as outside. */
	if (o.n == 0 && a->row->numkeys == 0 && a->rule != RULE_HOME)
		return PLACE_ANY;
	*ret_at = a->rule == RULE_HOME ? HOME : o.first;
	if ((t->state != TX_BOUND) || *ret_at == t->at)
		return PLACE_ONE;
	o.first = t->at;
	o.other = *ret_at;
	(void)parts_across(c, a, &o);
	return spoil(c);
}

static enum place
place(struct client *c, const struct asked *a, uint8_t *ret_at)
{
	if (a->row == NULL || a->row->handler == COMMAND_REFUSE ||
	    a->row->handler == COMMAND_CONTAINER ||
	    a->row->handler == COMMAND_MULTI)
		return PLACE_HERE;
	switch (a->rule) {
	case RULE_ALL:
	case RULE_ONE:
	case RULE_SCAN:
		if (c->n == 1)
			return PLACE_HERE;
		break;
	case RULE_NEVER:
	case RULE_SUB:
	case RULE_SHARD:
	case RULE_VIEW: break;
	case RULE_KEYS:
	case RULE_HOME:
	case RULE_PARTS:
	case RULE_BLOCK:
	case RULE_TX:
	case RULE_QUIT: return by_keys(c, a, ret_at);
	}
	(void)route_refuse(c, "%s inside MULTI", a->row->name);
	return spoil(c);
}

static enum take
queue(struct client *c, const struct asked *a)
{
	struct tx *t = &c->tx;

	if (!a->whole)
		return TAKE_MORE;
	if (t->queued == SPREAD_QUEUED_MAX ||
	    buf_len(&t->queue) + a->raw.n > SPREAD_QUEUE_MAX) {
		t->spoiled = true;
		return route_refuse(c, "so many requests without a key before "
		                       "the first key of a MULTI");
	}
	buf_put_span(&t->queue, a->raw);
	if (buf_failed(&t->queue)) {
		client_end(c, "ERR godwit: out of memory");
		return TAKE_DONE;
	}
	t->queued++;
	ask_text(c, SPAN("+QUEUED\r\n"), 0);
	return TAKE_DONE;
}

/* MULTI to an instance; the request waits for the answer. */
static enum take
bind(struct client *c, uint8_t at)
{
	struct ask ask = { .kind = ASK_DROP, .at = at, .flags = ASK_F_MULTI };

	if (!branch_has_room(&c->branch[at]))
		return TAKE_WAIT;
	c->tx.state = TX_ASKED;
	c->tx.at = at;
	c->stall = true;
	ask_send(c, ask, MULTI);
	return TAKE_WAIT;
}

/* What was queued here goes to the instance, which answers as we did. */
static void
unqueue(struct client *c)
{
	struct tx *t = &c->tx;
	struct span rest = buf_span(&t->queue);
	struct ask ask = { .kind = ASK_DROP, .at = t->at };
	struct resp_cmd q;

	while (rest.n > 0 && !c->dead) {
		resp_cmd_init(&q);
		if (resp_cmd_feed(&q, rest) != WIRE_PART)
			NEVER("what was queued is whole");
		ask_send(c, ask, span_of(rest.p, q.used));
		rest = span_skip(rest, q.used);
	}
	t->queued = 0;
	buf_release(&t->queue);
}

static enum take
forward(struct client *c, const struct asked *a)
{
	if (!branch_has_room(&c->branch[c->tx.at]))
		return TAKE_WAIT;
	unqueue(c);
	return c->dead ? TAKE_DONE : route_forward(c, a, c->tx.at, 0);
}

static enum take
end(struct client *c, const struct asked *a)
{
	struct tx *t = &c->tx;
	struct ask gone = { .kind = ASK_DROP, .at = t->at };
	bool exec = a->row->handler == COMMAND_EXEC;
	enum take take = TAKE_DONE;

	if (!a->whole)
		return TAKE_MORE;
	if (t->state == TX_BOUND && (!exec || !t->spoiled)) {
		take = forward(c, a);
	} else if (exec && t->spoiled) {
		if (t->state == TX_BOUND)
			ask_send(c, gone, DISCARD);
		if (!c->dead)
			ask_text(c, SPAN(ABORTED), 0);
	} else if (exec && t->queued > 0) {
		return bind(c, HOME);
	} else {
		ask_text(c, exec ? SPAN("*0\r\n") : SPAN("+OK\r\n"), 0);
	}
	if (take == TAKE_DONE)
		tx_clear(c);
	return take;
}

static enum take
inside(struct client *c, const struct asked *a)
{
	struct tx *t = &c->tx;
	uint8_t at = t->state == TX_BOUND ? t->at : HOME;
	enum place where;

	if (t->state == TX_ASKED)
		return TAKE_WAIT;
	if (a->row != NULL && (a->row->handler == COMMAND_EXEC ||
	                       a->row->handler == COMMAND_DISCARD))
		return end(c, a);
	if (t->state == TX_REFUSED) {
		if (!a->whole)
			return TAKE_MORE;
		ask_textf(c, 0, "%s", t->why);
		return TAKE_DONE;
	}
	where = place(c, a, &at);
	if (where == PLACE_DONE)
		return TAKE_DONE;
	if (where == PLACE_MORE)
		return TAKE_MORE;
	if (t->state == TX_OPEN)
		return where == PLACE_ANY ? queue(c, a) : bind(c, at);
	return forward(c, a);
}

enum take
tx_take(struct client *c, const struct asked *a)
{
	return c->tx.state == TX_NONE ? outside(c, a) : inside(c, a);
}
