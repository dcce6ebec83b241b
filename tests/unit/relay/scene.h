/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/scene.h: a relay between two sides of server.h, with clients,
 * in a world that can be out of memory. One a process.
 */
#pragma once

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>
// clang-format on

/* Enough for each lane: one that finds no link is another story. */
#define WORLD_LINKS 40

#include "engine/redis/relay/relay.h"
#include "server.h"
#include "world.h"

#define CLIENTS  8
#define PORT_OLD 1
#define PORT_NEW 2
#define MS       UINT64_C(1000000)

struct run {
	struct world w;   /* first */
	struct heap heap; /* what the machine has */
	struct board board;
	struct board reverse;
	const struct scope *scope; /* of the next route */
	uint32_t drained;          /* MAIL_DRAINED      */
	struct traffic traffic;
	struct relay_conf conf;
	struct peers peers;
	struct buf outs[WORLD_LINKS];
	int client[CLIENTS]; /* slot of its link, -1: closed */
	struct buf got[CLIENTS];
	bool doomed[WORLD_LINKS];
	bool nobody_listens; /* no connection is made */
	uint64_t epoch;
};

static struct run run;
#define PORT_AWAY 77 /* of a node that no side has */

static bool scene_of_nodes; /* of a cluster: both sides */

/* What the relay says to control. */
static inline void
scene_mail(struct port *p, const struct mail *m)
{
	(void)p;
	run.drained += m->kind == MAIL_DRAINED;
}

/* ---- a world that can be out of memory --------------------------------- */

static inline struct link *
scarce_open(struct port *p, const struct address *to, void *owner)
{
	struct link *l;

	if (run.heap.refuse_at > 0 && --run.heap.refuse_at == 0)
		return NULL; /* it takes memory as well */
	l = world_open(p, to, owner);
	if (l != NULL)
		buf_init(&l->tx, &run.heap.mem);
	return l;
}

static inline void
fresh_peer(int i)
{
	struct peer *p = &run.peers.at[i];

	buf_fini(&p->in);
	*p = (struct peer){ .is_new = run.w.to[i] == PORT_NEW,
		            .is_away = run.w.to[i] == PORT_AWAY };
	buf_init(&p->in, &run.w.heap.mem);
	buf_clear(&run.outs[i]);
}

/* The bytes of link i leave, or it fails. */
static inline void
flush(int i)
{
	struct buf *tx = &run.w.links[i]->tx;

	if (buf_failed(tx)) {
		run.doomed[i] = !run.w.gone[i];
		buf_fini(tx);
		return;
	}
	if (!run.w.client[i])
		peer_bytes(&run.peers, i, buf_span(tx), run.outs);
	for (int c = 0; c < CLIENTS; c++) {
		if (run.client[c] == i)
			buf_put_span(&run.got[c], buf_span(tx));
	}
	buf_release(tx);
}

static inline void
batch(void)
{
	struct event ev = { .kind = EV_BATCH };
	struct world *w = &run.w;

	world_tell(w, &ev);
	while (w->port.dirty != NULL) {
		struct link *l = w->port.dirty;

		w->port.dirty = l->next_dirty;
		l->dirty = false;
		for (int i = 0; i < WORLD_LINKS; i++) {
			if (w->links[i] == l && (l->is_up || w->gone[i]))
				flush(i);
		}
	}
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (w->links[i] == NULL || !w->gone[i])
			continue;
		for (int c = 0; c < CLIENTS; c++) {
			if (run.client[c] == i)
				run.client[c] = -1;
		}
		world_bury(w, i);
	}
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.doomed[i])
			world_down(w, i);
		run.doomed[i] = false;
	}
}

/* Bytes of a server come cut, so that replies have to be collected. */
static inline void
in_halves(int i, struct span bytes)
{
	size_t half = bytes.n / 2;

	world_bytes(&run.w, i, span_of(bytes.p, half));
	if (run.w.links[i] != NULL)
		world_bytes(&run.w, i, span_skip(bytes, half));
}

/* What can happen by itself happens, one step of it. */
static inline void
turn(uint64_t ns)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		struct buf out = run.outs[i];

		if (run.w.links[i] == NULL || run.w.client[i])
			continue;
		if (!run.w.links[i]->is_up && !run.w.gone[i]) {
			if (run.nobody_listens)
				continue;
			fresh_peer(i);
			world_up(&run.w, i);
			continue;
		}
		buf_init(&run.outs[i], &run.w.heap.mem);
		in_halves(i, buf_span(&out));
		buf_fini(&out);
	}
	batch();
	world_pass_time(&run.w, ns);
}

/* All of it. */
static inline void
settle(void)
{
	for (int i = 0; i < 40; i++)
		turn(35 * MS);
}

static inline void
say(int c, const char *inline_words)
{
	char line[4000];
	int n = snprintf(line, sizeof(line), "%s", inline_words);

	if (run.client[c] >= 0)
		world_bytes(&run.w, run.client[c], span_of(line, (size_t)n));
	batch();
}

static inline void
mail(enum mail_kind kind, enum side authority, uint32_t ppm, enum ack_mode ack)
{
	struct mail m = { .kind = kind, .epoch = run.epoch };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	m.deadline_ns = run.w.port.now_ns + 100 * MS;
	m.route = (struct route){ .authority = authority,
		                  .read_ppm = ppm,
		                  .ack = ack,
		                  .scope = run.scope };
	world_tell(&run.w, &ev);
	batch();
}

static inline void
begin(size_t refuse_at)
{
	static const struct port_ops ops = { scarce_open, world_close,
		                             world_read,  scene_mail,
		                             world_poke,  NULL,
		                             NULL };

	memset(&run, 0, sizeof(run));
	run.heap = heap_make();
	world_begin(&run.w, &relay_machine, NULL, 0);
	run.w.port.ops = &ops;
	run.w.port.mem = &run.heap.mem;
	for (int i = 0; i < WORLD_LINKS; i++) {
		buf_init(&run.outs[i], &run.w.heap.mem);
		buf_init(&run.peers.at[i].in, &run.w.heap.mem);
	}
	run.conf.board = &run.board;
	run.conf.reverse = &run.reverse;
	run.conf.traffic = &run.traffic;
	run.conf.side[SIDE_OLD].at.port = PORT_OLD;
	run.conf.side[SIDE_NEW].at.port = PORT_NEW;
	for (int s = 0; s < SIDE_N; s++) {
		run.conf.side[s].at.by_cluster = scene_of_nodes;
		memcpy(run.conf.side[s].own_user, "g", 2);
		memcpy(run.conf.side[s].reader_user, "r", 2);
		memcpy(run.conf.side[s].writer_user, "w", 2);
	}
	relay_init(run.w.self, &run.conf);
	world_start(&run.w);
	batch();
	for (int c = 0; c < CLIENTS; c++) {
		struct event ev = { .kind = EV_ACCEPT };

		buf_init(&run.got[c], &run.w.heap.mem);
		ev.link = world_link(&run.w, true, NULL);
		buf_init(&ev.link->tx, &run.heap.mem);
		for (int i = 0; i < WORLD_LINKS; i++) {
			if (run.w.links[i] == ev.link)
				run.client[c] = i;
		}
		world_tell(&run.w, &ev);
	}
	run.heap.refuse_at = refuse_at;
}

static inline void
end(void)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		buf_fini(&run.outs[i]);
		buf_fini(&run.peers.at[i].in);
	}
	run.heap.refuse_at = 0;
	run.w.machine->fini(run.w.self, &run.w.port);
	run.w.port.dirty = NULL;
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.w.links[i] != NULL)
			world_bury(&run.w, i);
	}
	assert_int_equal(run.heap.mem.used, 0);
	mem_free(&run.w.heap.mem, run.w.self, relay_machine.self_size);
}
