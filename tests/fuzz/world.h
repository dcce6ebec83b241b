/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/world.h: a port without a kernel, for fuzzing a whole machine.
 *
 * Links are slots; what the machine closes stays until the batch is over, as in
 * the real loop. The input is taken byte by byte; at its end each byte is 0.
 */
#pragma once

#include "base/check.h"
#include "engine/engine.h"
#include "heap.h"

#ifndef WORLD_LINKS
#define WORLD_LINKS 24
#endif

struct world {
	struct port port; /* first */
	struct heap heap;
	struct link *links[WORLD_LINKS];
	struct buf sent[WORLD_LINKS]; /* what left, when keep_sent */
	bool gone[WORLD_LINKS];       /* closed by the machine     */
	bool ended[WORLD_LINKS];      /* says no more              */
	bool client[WORLD_LINKS];
	uint16_t to[WORLD_LINKS]; /* port of whom it was opened to */
	bool keep_sent;
	const struct link *falling; /* in its own EV_DOWN */
	const struct machine *machine;
	void *self;
	const uint8_t *p;
	size_t n;
};

static inline uint8_t
world_next(struct world *w)
{
	if (w->n == 0)
		return 0;
	w->n--;
	return *w->p++;
}

static inline struct link *
world_link(struct world *w, bool client, void *owner)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		struct link *l;

		if (w->links[i] != NULL)
			continue;
		l = mem_zero(&w->heap.mem, sizeof(*l));
		buf_init(&l->tx, &w->heap.mem);
		buf_init(&w->sent[i], &w->heap.mem);
		l->owner = owner;
		l->is_up = client;
		w->links[i] = l;
		w->gone[i] = false;
		w->ended[i] = false;
		w->client[i] = client;
		return l;
	}
	return NULL;
}

static inline struct link *
world_open(struct port *p, const struct address *to, void *owner)
{
	struct world *w = (struct world *)(void *)p;
	struct link *l = world_link(w, false, owner);

	for (int i = 0; i < WORLD_LINKS && l != NULL; i++) {
		if (w->links[i] == l)
			w->to[i] = to->port;
	}
	return l;
}

static inline void
world_close(struct port *p, struct link *l, bool flush)
{
	struct world *w = (struct world *)(void *)p;

	(void)flush;
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (w->links[i] == l) {
			REQUIRE(!w->gone[i] || w->falling == l);
			w->gone[i] = true;
			l->owner = NULL;
			l->is_up = false;
		}
	}
}

static inline void
world_read(struct port *p, struct link *l, bool on)
{
	(void)p;
	l->read_off = !on;
}

static inline void
world_mail(struct port *p, const struct mail *m)
{
	(void)p;
	(void)m;
}

static inline void
world_poke(struct port *p)
{
	(void)p;
}

static inline uint64_t
world_clock(struct port *p)
{
	return p->now_ns;
}

static inline uint64_t
world_entropy(struct port *p)
{
	return p->now_ns * UINT64_C(0x9e3779b97f4a7c15);
}

static inline void
world_tell(struct world *w, const struct event *ev)
{
	w->machine->step(w->self, &w->port, ev);
}

static inline void
world_bury(struct world *w, int i)
{
	buf_fini(&w->links[i]->tx);
	buf_fini(&w->sent[i]);
	mem_free(&w->heap.mem, w->links[i], sizeof(*w->links[i]));
	w->links[i] = NULL;
}

/* EV_BATCH; then what the machine said leaves, and what it closed is freed. */
static inline void
world_batch(struct world *w)
{
	struct event ev = { .kind = EV_BATCH };

	world_tell(w, &ev);
	while (w->port.dirty != NULL) {
		struct link *l = w->port.dirty;

		w->port.dirty = l->next_dirty;
		l->dirty = false;
		for (int i = 0; i < WORLD_LINKS && w->keep_sent; i++) {
			if (w->links[i] == l)
				buf_put_span(&w->sent[i], buf_span(&l->tx));
		}
		buf_release(&l->tx);
	}
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (w->links[i] != NULL && w->gone[i])
			world_bury(w, i);
	}
}

static inline void
world_up(struct world *w, int i)
{
	struct event ev = { .kind = EV_UP, .link = w->links[i] };

	if (w->links[i] == NULL || w->gone[i] || w->links[i]->is_up)
		return;
	w->links[i]->is_up = true;
	world_tell(w, &ev);
}

static inline void
world_down(struct world *w, int i)
{
	struct err err = { .code = ERR_LOST };
	struct event ev = { .kind = EV_DOWN, .link = w->links[i], .err = &err };

	if (w->links[i] == NULL || w->gone[i])
		return;
	w->links[i]->is_up = false;
	w->gone[i] = true;
	w->falling = w->links[i];
	world_tell(w, &ev);
	w->falling = NULL;
}

/* The peer says no more: EV_EOF, or EV_DOWN for who does not want it. */
static inline void
world_eof(struct world *w, int i)
{
	struct event ev = { .kind = EV_EOF, .link = w->links[i] };

	if (w->links[i] == NULL || w->gone[i] || w->ended[i] ||
	    !w->links[i]->is_up || w->links[i]->read_off)
		return;
	if (!w->links[i]->want_eof) {
		world_down(w, i);
		return;
	}
	w->ended[i] = true;
	world_tell(w, &ev);
}

static inline void
world_bytes(struct world *w, int i, struct span bytes)
{
	struct event ev = { .kind = EV_BYTES,
		            .link = w->links[i],
		            .bytes = bytes };

	if (w->links[i] != NULL && !w->gone[i] && w->links[i]->is_up &&
	    !w->ended[i] && !w->links[i]->read_off && bytes.n > 0)
		world_tell(w, &ev);
}

static inline void
world_pass_time(struct world *w, uint64_t ns)
{
	struct event ev = { .kind = EV_TIMER };

	w->port.now_ns += ns;
	w->port.wall_ms += (int64_t)(ns / 1000000);
	if (w->port.wake_ns > w->port.now_ns)
		return;
	w->port.wake_ns = UINT64_MAX;
	world_tell(w, &ev);
}

static inline void
world_begin(struct world *w, const struct machine *machine, const uint8_t *p,
            size_t n)
{
	static const struct port_ops ops = { world_open, world_close,
		                             world_read, world_mail,
		                             world_poke, NULL,
		                             NULL };

	memset(w, 0, sizeof(*w));
	w->heap = heap_make();
	w->p = p;
	w->n = n;
	w->machine = machine;
	w->port = (struct port){ .ops = &ops,
		                 .mem = &w->heap.mem,
		                 .now_ns = 1,
		                 .wake_ns = UINT64_MAX,
		                 .entropy = world_entropy,
		                 .clock_ns = world_clock };
	w->self = mem_zero(&w->heap.mem, machine->self_size);
}

static inline void
world_start(struct world *w)
{
	struct event ev = { .kind = EV_START };

	world_tell(w, &ev);
}

/* The machine's end. Everything it held must be back. */
static inline void
world_end(struct world *w)
{
	world_batch(w);
	w->machine->fini(w->self, &w->port);
	w->port.dirty = NULL;
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (w->links[i] != NULL)
			world_bury(w, i);
	}
	mem_free(&w->heap.mem, w->self, w->machine->self_size);
	REQUIRE(w->heap.mem.used == 0);
}
