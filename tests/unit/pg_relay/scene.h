/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/scene.h: a relay of PostgreSQL between clients and two servers,
 * all of them played by the test, word by word. One a process.
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

#include "crypt_fake.h"
#include "engine/postgres/relay/relay.h"
#include "wire/pg_bytes.h"
#include "world.h"

#define PORT_OLD 1
#define PORT_NEW 2
#define MS       UINT64_C(1000000)

/* For what is static. */
#define WORD(text)                                        \
	{                                                 \
		(const uint8_t *)(text), sizeof(text) - 1 \
	}
/* A body with its last NUL. */
#define B(text) span_of(text, sizeof(text))

struct run {
	struct world w;   /* first */
	struct heap heap; /* what the machine has */
	struct board board;
	struct traffic traffic;
	struct relay_conf conf;
	uint64_t drawn;
	uint32_t drained; /* MAIL_DRAINED   */
	uint32_t acked;   /* MAIL_ROUTE_ACK */
	uint32_t late;    /* MAIL_LATE      */
	struct mail told; /* the last MAIL_DIFFERENT */
	uint32_t secured; /* links that asked for TLS          */
	size_t seen;      /* bytes of a handshake given with it */
};

static struct run run;

static inline void
scene_mail(struct port *p, const struct mail *m)
{
	(void)p;
	run.drained += m->kind == MAIL_DRAINED;
	run.late += m->kind == MAIL_LATE;
	run.acked += m->kind == MAIL_ROUTE_ACK;
	if (m->kind == MAIL_DIFFERENT)
		run.told = *m;
}

static inline struct link *
scene_open(struct port *p, const struct address *to, void *owner)
{
	struct link *l;

	if (run.heap.refuse_at > 0 && --run.heap.refuse_at == 0)
		return NULL; /* it takes memory as well */
	l = world_open(p, to, owner);
	if (l != NULL)
		buf_init(&l->tx, &run.heap.mem);
	return l;
}

/* Never the same twice: keys are drawn until one is new. */
static inline uint64_t
scene_entropy(struct port *p)
{
	(void)p;
	return hash_mix(++run.drawn);
}

/* The handshake is done at once. */
static inline void
scene_secure(struct port *p, struct link *l, struct span seen)
{
	(void)p;
	REQUIRE(l->may_secure);
	l->may_secure = false;
	l->is_secure = true;
	run.secured++;
	run.seen = seen.n;
}

static inline void
begin(void)
{
	static const struct port_ops ops = { scene_open,  world_close,
		                             world_read,  scene_mail,
		                             world_poke,  NULL,
		                             scene_secure };

	memset(&run, 0, sizeof(run));
	run.heap = heap_make();
	world_begin(&run.w, &pg_relay_machine, NULL, 0);
	run.w.keep_sent = true;
	run.w.port.ops = &ops;
	run.w.port.mem = &run.heap.mem;
	run.w.port.crypt = &fake;
	run.w.port.entropy = scene_entropy;
	run.conf.board = &run.board;
	run.conf.traffic = &run.traffic;
	memcpy(run.conf.id, "x", 2);
	run.conf.side[SIDE_OLD].at.port = PORT_OLD;
	run.conf.side[SIDE_NEW].at.port = PORT_NEW;
	memcpy(run.conf.side[SIDE_OLD].database, "app", 4);
	memcpy(run.conf.side[SIDE_NEW].database, "moved", 6);
	for (int i = 0; i < SIDE_N; i++)
		memcpy(run.conf.side[i].own_user, "godwit-x", 9);
	pg_relay_init(run.w.self, &run.conf);
	world_start(&run.w);
	world_batch(&run.w);
}

static inline void
end(void)
{
	run.heap.refuse_at = 0;
	world_batch(&run.w);
	run.w.machine->fini(run.w.self, &run.w.port);
	run.w.port.dirty = NULL;
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.w.links[i] != NULL)
			world_bury(&run.w, i);
	}
	assert_int_equal(run.heap.mem.used, 0);
	mem_free(&run.w.heap.mem, run.w.self, pg_relay_machine.self_size);
	assert_int_equal(run.w.heap.mem.used, 0);
}

/* ---- links, by their slot ------------------------------------------------ */

static inline int
comes(void)
{
	struct event ev = { .kind = EV_ACCEPT };

	ev.link = world_link(&run.w, true, NULL);
	REQUIRE(ev.link != NULL);
	buf_init(&ev.link->tx, &run.heap.mem);
	world_tell(&run.w, &ev);
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.w.links[i] == ev.link)
			return i;
	}
	return -1;
}

static inline bool
is_there(int i)
{
	return i >= 0 && run.w.links[i] != NULL && !run.w.gone[i];
}

/* The youngest connection to a server that is not up yet. -1: none. */
static inline int
dialed(void)
{
	for (int i = WORLD_LINKS - 1; i >= 0; i--) {
		if (is_there(i) && !run.w.client[i] && !run.w.links[i]->is_up)
			return i;
	}
	return -1;
}

static inline void
bytes(int i, struct span s)
{
	if (is_there(i))
		world_bytes(&run.w, i, s);
}

/* A message; type 0: a packet before the session. */
static inline void
say(int i, char type, struct span body)
{
	uint8_t length[4];
	struct buf b;

	buf_init(&b, &run.w.heap.mem);
	pg_set_u32(length, (uint32_t)body.n + 4);
	buf_put(&b, &type, type != 0);
	buf_put(&b, length, 4);
	buf_put_span(&b, body);
	bytes(i, buf_span(&b));
	buf_fini(&b);
}

/* What was sent to link i is this, and nothing else; and forget it. */
static inline void
got(int i, struct span want)
{
	struct span s;

	world_batch(&run.w);
	assert_true(run.w.links[i] != NULL);
	s = buf_span(&run.w.sent[i]);
	if (!span_eq(s, want)) {
		print_message("link %d got %zu bytes, not %zu:\n", i, s.n,
		              want.n);
		for (size_t k = 0; k < s.n; k++)
			print_message(s.p[k] >= ' ' && s.p[k] < 127 ? "%c"
			                                            : "\\%o",
			              s.p[k]);
		fail_msg("see above");
	}
	buf_clear(&run.w.sent[i]);
}

/* The types of the messages that were sent to i, in a static text. */
static inline const char *
types(int i)
{
	static char text[100];
	struct span s;
	size_t n = 0;

	world_batch(&run.w);
	assert_true(run.w.links[i] != NULL);
	s = buf_span(&run.w.sent[i]);
	while (s.n >= 5 && n + 1 < sizeof(text)) {
		text[n++] = (char)s.p[0];
		s = span_skip(s, 1 + pg_get_u32(s.p + 1));
	}
	assert_int_equal(s.n, 0);
	text[n] = '\0';
	buf_clear(&run.w.sent[i]);
	return text;
}

/* It was closed, and this is among its last words (they are in tx still). */
static inline bool
left_with(int i, struct span text)
{
	struct span s = buf_span(&run.w.links[i]->tx);

	for (size_t at = 0; !is_there(i) && at + text.n <= s.n; at++) {
		if (memcmp(s.p + at, text.p, text.n) == 0)
			return true;
	}
	return false;
}

static inline void
up(int i)
{
	if (is_there(i))
		world_up(&run.w, i);
	world_batch(&run.w);
}

/* ---- what happens always the same ----------------------------------------- */

static inline void
starts(int c)
{
	static const char pairs[] = "\0\3\0\0user\0ann\0database\0app\0";

	say(c, 0, B(pairs));
}

/* The server lets it in. */
static inline void
lets_in(int s)
{
	say(s, 'R', SPAN("\0\0\0\0"));
	say(s, 'S', B("TimeZone\0UTC"));
	say(s, 'K', SPAN("\0\0\0\7keys"));
	say(s, 'Z', SPAN("I"));
}

/* A session that is open: its client, and its server in *ret. */
static inline int
opens(int *ret)
{
	int c = comes();

	starts(c);
	*ret = dialed();
	up(*ret);
	lets_in(*ret);
	if (is_there(c))
		(void)types(c);
	if (is_there(*ret))
		buf_clear(&run.w.sent[*ret]);
	return c;
}

static inline void
tell_mail(enum mail_kind kind, enum side authority)
{
	struct mail m = { .kind = kind, .epoch = 1 };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	m.route = (struct route){ .authority = authority, .epoch = 1 };
	world_tell(&run.w, &ev);
	world_batch(&run.w);
}

/* The server answers the question of what a session has: nothing. */
static inline void
has_nothing(int s)
{
	say(s, 'T', SPAN("\0\0"));
	say(s, 'C', B("SELECT 0"));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
}
