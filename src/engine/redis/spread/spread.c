/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/spread.c: the machine: events in, calls to the nouns.
 */
#include "engine/redis/spread/spread.h"

#include "engine/redis/spread/inside.h"

#define TICK_NS 1000000000ull /* the counters are told at least so often */
#define RARE_NS 10000000ull   /* between two looks at all clients        */

void
spread_init(void *self, void *conf)
{
	struct spread *s = self;
	const struct spread_conf *c = conf;

	REQUIRE(c->n > 0 && c->n <= SPREAD_MAX);
	for (uint32_t i = 0; i < HASH_SLOTS; i++)
		REQUIRE(c->owner[i] < c->n);
	s->conf = c;
	s->owner = c->owner;
	command_index_init(&s->commands);
	rule_init(&s->rules, &s->commands);
}

/* ---- counters ----------------------------------------------------------- */

#define PUT(field, v) \
	atomic_store_explicit(&t->field, (v), memory_order_relaxed)

static void
publish_rare(struct spread *s, struct traffic *t)
{
	uint32_t blocked = 0;
	uint32_t subscribed = 0;
	uint32_t multi = 0;
	uint32_t held = 0;

	list_each(client, c, all, &s->clients) {
		blocked += client_is_blocked(c);
		subscribed += c->sub.on;
		multi += c->tx.state != TX_NONE || c->tx.watching;
		held += c->parked;
	}
	PUT(blocked, blocked);
	PUT(subscribed, subscribed);
	PUT(in_transaction, multi);
	PUT(held, held);
	PUT(mem, s->port->mem->used);
}

static void
publish(struct spread *s)
{
	struct traffic *t = s->conf->traffic;

	if (t == NULL)
		return;
	PUT(requests, s->n.requests);
	PUT(errors[SIDE_OLD], s->n.errors);
	PUT(lost[SIDE_OLD], s->n.lost);
	PUT(refused, s->n.refused);
	PUT(bytes_in, s->n.bytes_in);
	PUT(bytes_out, s->n.bytes_out);
	PUT(clients, (uint32_t)s->clients.n);
	if (s->told_ns + RARE_NS <= s->port->now_ns) {
		s->told_ns = s->port->now_ns;
		publish_rare(s, t);
	}
	PUT(told_ns, s->port->now_ns);
}

/* ---- the end ------------------------------------------------------------ */

static void
stop(struct spread *s)
{
	if (s->stopping)
		return;
	s->stopping = true;
	s->stop_ns = s->port->now_ns + SPREAD_STOP_NS;
	list_each(client, c, all, &s->clients) {
		client_go(c);
	}
}

static void
stop_check(struct spread *s)
{
	struct mail m;

	if (!s->stopping || s->stopped)
		return;
	if (s->clients.n > 0 && s->port->now_ns < s->stop_ns) {
		port_wake(s->port, s->stop_ns);
		return;
	}
	list_each(client, c, all, &s->clients) {
		client_end(c, "");
	}
	s->stopped = true;
	m = (struct mail){ .kind = MAIL_STOPPED, .who = s->conf->who };
	s->port->ops->mail(s->port, &m);
}

static void
reap(struct spread *s)
{
	list_each(client, c, grave, &s->graves) {
		client_free(c);
	}
}

/* ---- events ------------------------------------------------------------- */

static bool
is_branch(const struct link *l)
{
	const uint8_t *owner = l->owner;

	return *owner == OWNER_BRANCH;
}

static void
down(struct link *l)
{
	struct client *c = l->owner;

	if (is_branch(l)) {
		branch_down(l->owner);
		return;
	}
	c->link = NULL;
	client_end(c, NULL);
}

/* Of a link that somebody owns. */
static void
told(struct spread *s, const struct event *ev)
{
	struct link *l = ev->link;
	struct branch *b = l->owner;

	if (l->owner == NULL)
		return;
	switch (ev->kind) {
	case EV_UP: port_touch(s->port, l); break;
	case EV_BYTES:
		if (is_branch(l))
			branch_bytes(b, ev->bytes);
		else
			client_bytes(l->owner, ev->bytes);
		break;
	case EV_DRAINED: client_go(is_branch(l) ? b->c : l->owner); break;
	case EV_EOF:
		if (!is_branch(l))
			client_eof(l->owner);
		break;
	case EV_DOWN: down(l); break;
	case EV_START:
	case EV_ACCEPT:
	case EV_MAIL:
	case EV_TIMER:
	case EV_BOARD:
	case EV_BATCH: NEVER("it has no link");
	}
}

static void
step(void *self, struct port *p, const struct event *ev)
{
	struct spread *s = self;

	s->port = p;
	switch (ev->kind) {
	case EV_START:
		buf_init(&s->scratch, p->mem);
		p->skips_board = true;
		port_wake(p, p->now_ns + TICK_NS);
		break;
	case EV_ACCEPT: client_accept(s, ev->link, ev->peer); break;
	case EV_UP:
	case EV_BYTES:
	case EV_DRAINED:
	case EV_EOF:
	case EV_DOWN: told(s, ev); break;
	case EV_MAIL:
		if (ev->mail->kind == MAIL_STOP)
			stop(s);
		break;
	case EV_TIMER: port_wake(p, p->now_ns + TICK_NS); break;
	case EV_BOARD: break;
	case EV_BATCH:
		stop_check(s);
		publish(s);
		break;
	}
	reap(s);
}

static void
fini(void *self, struct port *p)
{
	struct spread *s = self;

	s->port = p;
	list_each(client, c, all, &s->clients) {
		client_end(c, NULL);
	}
	reap(s);
	buf_fini(&s->scratch);
}

static void
show(const void *self, struct buf *text)
{
	const struct spread *s = self;

	buf_putf(text, "spread %u: %zu clients, %u instances%s\n", s->conf->who,
	         s->clients.n, s->conf->n, s->stopping ? ", stopping" : "");
	list_each(client, c, all, &s->clients) {
		buf_putf(text, "  client: %u under way, transaction %u%s%s\n",
		         ring_n(&c->asks), c->tx.state,
		         c->sub.on ? ", subscribed" : "",
		         c->parked ? ", waiting" : "");
	}
}

const struct machine spread_machine = {
	.name = "spread",
	.self_size = sizeof(struct spread),
	.step = step,
	.fini = fini,
	.show = show,
};
