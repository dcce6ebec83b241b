/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/client.c: one client, from its coming to its end.
 *
 * Nothing here is freed at once: a closed client is freed when the step is over,
 * so whoever calls may still look at c->dead.
 */
#include "engine/redis/spread/inside.h"

static size_t
size_of(const struct client *c)
{
	return sizeof(*c) + c->n * sizeof(c->branch[0]);
}

static void
init(struct client *c)
{
	struct mem *mem = c->s->port->mem;

	buf_init(&c->rx.kept, mem);
	buf_init(&c->texts, mem);
	buf_init(&c->orders, mem);
	buf_init(&c->tx.queue, mem);
	resp_cmd_init(&c->cmd);
	for (uint32_t i = 0; i < c->n; i++) {
		struct branch *b = &c->branch[i];

		b->owner = OWNER_BRANCH;
		b->at = (uint8_t)i;
		b->c = c;
		buf_init(&b->rx.kept, mem);
	}
}

void
client_accept(struct spread *s, struct link *l, const struct cidr_address *peer)
{
	struct cidr_address at = { .is_known = false };
	struct client *c = NULL;
	struct buf *b;
	bool good = true;

	if (!s->stopping)
		c = mem_zero(s->port->mem,
		             sizeof(*c) + s->conf->n * sizeof(c->branch[0]));
	if (c == NULL) {
		s->port->ops->close(s->port, l, false);
		return;
	}
	c->owner = OWNER_CLIENT;
	c->s = s;
	c->n = s->conf->n;
	c->link = l;
	c->proto = 2;
	c->proxied = s->conf->proxy;
	init(c);
	l->owner = c;
	l->want_eof = true;
	client_all_push(&s->clients, c);
	if (c->proxied)
		return;
	if (peer != NULL)
		at = *peer;
	b = spread_scratch(s);
	branch_header(b, &at);
	good = !buf_failed(b) && branch_open(c, buf_span(b));
	if (!good)
		client_end(c, "ERR godwit: no connection to the instances");
}

void
client_end(struct client *c, const char *why)
{
	struct spread *s = c->s;

	if (c->dead)
		return;
	c->dead = true;
	/* In the middle of an answer words would be taken for a value. */
	if (why != NULL && why[0] != '\0' && c->link != NULL && !c->midway)
		resp_put_errorf(&c->link->tx, "%s", why);
	if (c->link != NULL)
		s->port->ops->close(s->port, c->link, why != NULL);
	c->link = NULL;
	for (uint32_t i = 0; i < c->n; i++)
		branch_close(&c->branch[i]);
	c->rx.now = span_of(NULL, 0);
	client_all_remove(&s->clients, c);
	client_grave_push(&s->graves, c);
}

void
client_free(struct client *c)
{
	struct gather *g = &c->g;

	REQUIRE(c->dead);
	if (g->begun) {
		buf_fini(&g->part);
		buf_fini(&g->kept);
		buf_fini(&g->error);
	}
	ask_fini(c);
	buf_fini(&c->rx.kept);
	buf_fini(&c->texts);
	buf_fini(&c->orders);
	buf_fini(&c->tx.queue);
	client_grave_remove(&c->s->graves, c);
	mem_free(c->s->port->mem, c, size_of(c));
}

/* ---- the end ------------------------------------------------------------ */

bool
client_is_blocked(struct client *c)
{
	struct ask *a = ring_first(&c->asks);

	return a != NULL && (a->flags & ASK_F_BLOCK) != 0;
}

/* Is nothing under way that ends by itself? */
static bool
is_done(struct client *c)
{
	uint32_t n = ring_n(&c->asks);

	return n == 0 ||
	       (n == 1 && (client_is_blocked(c) || c->input == INPUT_STREAM));
}

static void
finish(struct client *c)
{
	if ((!c->broken && !c->s->stopping && !c->eof) || !is_done(c))
		return;
	if (c->eof && !c->broken && !c->s->stopping) {
		if (c->parked && !client_is_blocked(c))
			return; /* it asked before it ended */
		if (c->sub.on && c->sub.mark == MARK_NONE)
			sub_ask(c); /* until its requests were answered */
		if (c->sub.on && c->sub.mark == MARK_ASKED)
			return;
	}
	client_end(c, "");
}

/* ---- whatever can be done ----------------------------------------------- */

static void
pace(struct client *c)
{
	bool off = c->last ||
	           (c->parked && buf_len(&c->rx.kept) > SPREAD_AHEAD_MAX);

	for (uint32_t i = 0; i < c->n; i++)
		branch_pace(&c->branch[i]);
	if (off == c->read_off)
		return;
	c->read_off = off;
	c->s->port->ops->read(c->s->port, c->link, !off);
}

static bool
settle(struct client *c)
{
	bool good = feed_settle(&c->rx);

	for (uint32_t i = 0; i < c->n; i++)
		good &= feed_settle(&c->branch[i].rx);
	return good;
}

void
client_go(struct client *c)
{
	do {
		answer_pump(c);
	} while (!c->dead && request_run(c));
	if (!c->dead)
		finish(c);
	if (c->dead)
		return;
	if (settle(c))
		pace(c);
	else
		client_end(c, NULL);
}

void
client_bytes(struct client *c, struct span in)
{
	c->s->n.bytes_in += in.n;
	feed_come(&c->rx, in);
	if (c->proxied)
		request_proxy(c);
	if (!c->dead)
		client_go(c);
}

void
client_eof(struct client *c)
{
	c->eof = true;
	client_go(c);
}

void
branch_bytes(struct branch *b, struct span in)
{
	feed_come(&b->rx, in);
	client_go(b->c);
}

void
branch_down(struct branch *b)
{
	b->link = NULL;
	b->c->broken = true;
	client_go(b->c);
}
