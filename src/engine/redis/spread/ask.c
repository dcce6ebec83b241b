/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/ask.c: the requests under way of one client.
 */
#include "engine/redis/spread/inside.h"

#define RING_MIN 16

static bool
grow(struct client *c)
{
	struct ring *r = &c->asks;
	uint32_t cap = r->cap == 0 ? RING_MIN : r->cap * 2;
	uint32_t n = ring_n(r);
	struct ask *p = mem_alloc(c->s->port->mem, cap * sizeof(*p));

	if (p == NULL)
		return false;
	for (uint32_t i = 0; i < n; i++)
		p[(r->head + i) & (cap - 1)] =
			r->p[(r->head + i) & (r->cap - 1)];
	mem_free(c->s->port->mem, r->p, r->cap * sizeof(*p));
	r->p = p;
	r->cap = cap;
	return true;
}

bool
ask_put(struct client *c, struct ask a)
{
	struct ring *r = &c->asks;

	if (ring_n(r) == r->cap && !grow(c)) {
		client_end(c, "ERR godwit: out of memory");
		return false;
	}
	r->p[r->tail++ & (r->cap - 1)] = a;
	if (a.flags & ASK_F_LAST)
		c->last = true;
	return true;
}

void
ask_fini(struct client *c)
{
	mem_free(c->s->port->mem, c->asks.p, c->asks.cap * sizeof(struct ask));
	c->asks = (struct ring){ .cap = 0 };
}

void
ask_text(struct client *c, struct span text, uint8_t flags)
{
	struct ask a = { .kind = ASK_TEXT,
		         .flags = flags,
		         .n = (uint32_t)text.n };

	buf_put_span(&c->texts, text);
	if (buf_failed(&c->texts)) {
		client_end(c, NULL);
		return;
	}
	if (!ask_put(c, a))
		return; /* it is dead */
}

void
ask_textf(struct client *c, uint8_t flags, const char *fmt, ...)
{
	struct buf *b = spread_scratch(c->s);
	va_list ap;

	va_start(ap, fmt);
	buf_putv(b, fmt, ap);
	va_end(ap);
	buf_put(b, "\r\n", 2);
	if (buf_failed(b)) {
		client_end(c, NULL);
		return;
	}
	ask_text(c, buf_span(b), flags);
}

void
ask_send(struct client *c, struct ask a, struct span raw)
{
	if (ask_put(c, a))
		branch_put(&c->branch[a.at], raw);
}
