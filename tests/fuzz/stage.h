/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/stage.h: where fuzz_session.c plays: links that may not be touched
 * after their end, servers of peer.h behind them, clients that count and judge.
 */
#pragma once

#include <sanitizer/asan_interface.h>
#include <stdio.h>

#include "engine/redis/relay/relay.h"
#include "peer.h"
#include "session.h"
#include "world.h"

#define CLIENTS  6
#define MS       UINT64_C(1000000)
#define CONFS    12
#define IDS_MAX  4000
#define BIG      ((size_t)70000)
/* What the machine may hold: for each byte it was told, and beside. */
#define PER_BYTE 24
#define BESIDE   ((size_t)4 * 1024 * 1024)
#define IDLE     ((size_t)512 * 1024)

struct client {
	int slot; /* of its link, -1: none */
	bool is_wild;
	bool stalled;
	struct buf rest; /* of a request that was cut */
	struct buf got;
	struct buf said; /* of a wild one */
	struct session_model m;
	uint32_t whole;   /* of a wild one: its requests ... */
	uint32_t answers; /* ... and their answers           */
	bool bad;         /* ... the rest of its words has no meaning */
	struct resp_cmd reader;
};

struct fuzz {
	struct world w;   /* first */
	struct heap heap; /* the machine's */
	struct board board;
	struct board reverse;
	struct traffic traffic;
	struct relay_conf confs[CONFS];
	uint32_t confs_n;
	struct peer peer[WORLD_LINKS];
	bool is_peer[WORLD_LINKS];
	bool mute[WORLD_LINKS]; /* the server stands still */
	bool doomed[WORLD_LINKS];
	struct servers servers;
	struct client client[CLIENTS];
	uint16_t next_id;
	uint8_t executed[IDS_MAX + 1];
	size_t told; /* bytes that the machine got */
	struct route route;
	bool is_pair;   /* two sides */
	bool pairing;   /* MAIL_PAIR is not acknowledged */
	int at[SIDE_N]; /* which server is a side: 1 or 2 */
	bool hold;
	uint64_t epoch;
	bool was_split; /* keys had sides of their own */
	bool is_hostile;
	bool of_nodes; /* the servers are nodes of clusters */
	bool stopped;
	bool calm; /* nothing has happened that excuses an error */
};

static struct fuzz f;

/* SHOW=1: what clients, servers and control say. */
static void
show(const char *who, int i, struct span bytes)
{
	static int on = -1;

	if (on < 0)
		on = getenv("SHOW") != NULL;
	if (on == 0)
		return;
	(void)fprintf(stderr, "%s %d: ", who, i);
	for (size_t k = 0; k < bytes.n && k < 400; k++) {
		uint8_t c = bytes.p[k];

		if (c == '\r')
			continue;
		(void)fputc(c == '\n'           ? ' '
		            : c < 32 || c > 126 ? '?'
		                                : c,
		            stderr);
	}
	(void)fputc('\n', stderr);
}

/* ---- links ------------------------------------------------------------- */

static int
slot_of(const struct link *l)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (f.w.links[i] == l)
			return i;
	}
	return -1;
}

static struct client *
client_at(int slot)
{
	for (int c = 0; c < CLIENTS; c++) {
		if (f.client[c].slot == slot)
			return &f.client[c];
	}
	return NULL;
}

static void
undirty(struct link *l)
{
	struct link **at = &f.w.port.dirty;

	while (*at != NULL && *at != l)
		at = &(*at)->next_dirty;
	if (*at == l)
		*at = l->next_dirty;
	l->dirty = false;
}

/* From here on it is nobody's: each look at it is a fault. */
static void
seal(int i)
{
	ASAN_POISON_MEMORY_REGION(f.w.links[i], sizeof(struct link));
}

static struct link *
fuzz_open(struct port *p, const struct address *to, void *owner)
{
	struct link *l;
	int i;

	if (f.heap.refuse_at > 0 && --f.heap.refuse_at == 0)
		return NULL;
	l = world_open(p, to, owner);
	if (l == NULL)
		return NULL;
	i = slot_of(l);
	show("            server opens", i * 10 + to->port, SPAN(""));
	buf_init(&l->tx, &f.heap.mem);
	peer_init(&f.peer[i], &f.w.heap.mem, to->port);
	f.is_peer[i] = true;
	f.mute[i] = false;
	return l;
}

static void hear(struct client *c, struct span bytes);

static void
fuzz_close(struct port *p, struct link *l, bool flush)
{
	int i = slot_of(l);
	struct client *c;

	(void)p;
	REQUIRE(i >= 0 && (!f.w.gone[i] || f.w.falling == l));
	show("close", i, flush ? SPAN("flush") : SPAN(""));
	c = client_at(i);
	if (flush && c != NULL && !c->stalled && !buf_failed(&l->tx) &&
	    f.w.falling != l)
		hear(c, buf_span(&l->tx));
	undirty(l);
	buf_fini(&l->tx);
	l->owner = NULL;
	l->is_up = false;
	f.w.gone[i] = true;
	if (f.w.falling != l)
		seal(i);
}

static void
fuzz_read(struct port *p, struct link *l, bool on)
{
	(void)p;
	l->read_off = !on;
}

static void
fuzz_mail(struct port *p, const struct mail *m)
{
	(void)p;
	if (m->kind == MAIL_PAIR_ACK)
		f.pairing = false;
	f.stopped |= m->kind == MAIL_STOPPED;
}

static void
bury(int i)
{
	struct client *c = client_at(i);

	ASAN_UNPOISON_MEMORY_REGION(f.w.links[i], sizeof(struct link));
	if (c != NULL)
		c->slot = -1;
	if (f.is_peer[i])
		peer_fini(&f.peer[i]);
	f.is_peer[i] = false;
	f.doomed[i] = false;
	world_bury(&f.w, i);
}

/* ---- what clients hear ------------------------------------------------- */

static void
fail(const struct client *c, struct span reply)
{
	(void)fprintf(stderr, "client %d, request %u of %u (id %u): %.*s\n",
	              (int)(c - f.client), c->m.answered, c->m.sent_n,
	              c->m.answered > 0 ? c->m.sent[c->m.answered - 1].id : 0,
	              (int)(reply.n < 200 ? reply.n : 200),
	              (const char *)reply.p);
	NEVER("an answer that the client must not get");
}

static void
hear(struct client *c, struct span bytes)
{
	show("                          client <-", (int)(c - f.client), bytes);
	buf_put_span(&c->got, bytes);
	for (;;) {
		struct span all = buf_span(&c->got);
		int64_t n = all.n > 0 ? resp_reply_len(all) : 0;

		if (n == 0)
			return;
		if (n < 0) {
			/* Only what a server said could be no answer. */
			REQUIRE(f.is_hostile);
			buf_clear(&c->got);
			return;
		}
		/* Who tracks is told so when it loses its lane: no answer. */
		if (session_is(span_of(all.p, (size_t)n),
		               ">2\r\n$10\r\ninvalidate\r\n_\r\n")) {
			REQUIRE(c->m.resp3 || c->is_wild || f.is_hostile ||
			        c->m.chats);
			buf_take(&c->got, (size_t)n);
			continue;
		}
		c->answers++;
		c->m.calm = f.calm;
		if (!f.is_hostile && !c->is_wild &&
		    !session_reply(&c->m, span_of(all.p, (size_t)n)))
			fail(c, span_of(all.p, (size_t)n));
		buf_take(&c->got, (size_t)n);
	}
}

/* Counts the requests of a wild client. */
static void
count_wild(struct client *c, struct span bytes)
{
	buf_put_span(&c->said, bytes);
	while (!c->bad && buf_len(&c->said) > 0) {
		enum wire_rc rc = resp_cmd_feed(&c->reader, buf_span(&c->said));

		if (rc == WIRE_MORE)
			return;
		if (rc != WIRE_PART) {
			c->bad = true;
			c->whole++; /* it may be told so */
			return;
		}
		if (c->reader.argc > 0) {
			struct span name = c->reader.argv[0];

			c->whole++;
			c->m.chats |= c->reader.has_escapes ||
			              (name.n > 8 &&
			               (name.p[name.n - 1] | 32) == 'e');
		}
		buf_take(&c->said, c->reader.used);
		resp_cmd_init(&c->reader);
	}
}

/* Bytes of link i leave. */
static void
flush(int i)
{
	struct link *l = f.w.links[i];
	struct client *c = client_at(i);
	struct peer *peers[WORLD_LINKS];

	if (buf_failed(&l->tx)) {
		f.doomed[i] = true;
		return;
	}
	if ((c != NULL && c->stalled) || (f.is_peer[i] && f.mute[i]))
		return;
	if (c != NULL) {
		hear(c, buf_span(&l->tx));
		/* What was flushed is too late for a wrong count. */
		if (c->is_wild && !c->m.chats)
			REQUIRE(c->answers <= c->whole + 1);
	} else if (f.is_peer[i] && l->is_up) {
		for (int k = 0; k < WORLD_LINKS; k++)
			peers[k] = f.is_peer[k] && !f.w.gone[k] ? &f.peer[k]
			                                        : NULL;
		show("            server <-", i * 10 + f.peer[i].server,
		     buf_span(&l->tx));
		peer_bytes(&f.servers, &f.peer[i], buf_span(&l->tx), i, peers,
		           WORLD_LINKS);
	} else {
		return; /* it is not connected yet */
	}
	buf_release(&l->tx);
	if (l->want_drained) {
		struct event ev = { .kind = EV_DRAINED, .link = l };

		l->want_drained = false;
		world_tell(&f.w, &ev);
	}
}

static void
down(int i)
{
	struct link *l = f.w.links[i];
	struct err err = { .code = ERR_LOST };
	struct event ev = { .kind = EV_DOWN, .link = l, .err = &err };

	if (l == NULL || f.w.gone[i])
		return;
	show("down", i, SPAN(""));
	undirty(l);
	l->is_up = false;
	f.w.gone[i] = true;
	f.w.falling = l;
	world_tell(&f.w, &ev);
	f.w.falling = NULL;
	undirty(l);
	buf_fini(&l->tx);
	seal(i);
}

static void
batch(void)
{
	struct event ev = { .kind = EV_BATCH };

	world_tell(&f.w, &ev);
	while (f.w.port.dirty != NULL) {
		struct link *l = f.w.port.dirty;

		f.w.port.dirty = l->next_dirty;
		l->dirty = false;
		flush(slot_of(l));
	}
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (f.w.links[i] == NULL)
			continue;
		if (f.doomed[i] && !f.w.gone[i])
			down(i);
		f.doomed[i] = false;
		if (f.w.gone[i])
			bury(i);
	}
	REQUIRE(f.heap.mem.used <= BESIDE + f.told * PER_BYTE);
}

/* ---- servers ----------------------------------------------------------- */

static void
ran(void *mine, int server, struct span key, bool is_write)
{
	uint16_t id = session_id(key);

	(void)mine;
	if (!is_write || id == 0 || f.is_hostile)
		return;
	REQUIRE(++f.executed[id] == 1);
	REQUIRE(f.was_split || server == f.at[f.route.authority]);
}

static void
tell_bytes(int i, struct span bytes)
{
	if (f.w.links[i] == NULL || f.w.gone[i] || !f.w.links[i]->is_up ||
	    f.w.links[i]->read_off || f.w.ended[i] || bytes.n == 0)
		return;
	f.told += bytes.n;
	if (f.is_peer[i])
		show("            server ->", i * 10 + f.peer[i].server, bytes);
	world_bytes(&f.w, i, bytes);
}

/* Server i connects, or says what it has to say: all of it, or a part. */
static void
serve(int i, size_t most)
{
	struct peer *p = &f.peer[i];
	struct buf out;

	if (f.w.links[i] == NULL || f.w.gone[i] || !f.is_peer[i])
		return;
	if (!f.w.links[i]->is_up) {
		world_up(&f.w, i);
		if (f.w.links[i] != NULL && !f.w.gone[i] &&
		    buf_len(&f.w.links[i]->tx) > 0)
			port_touch(&f.w.port, f.w.links[i]);
		return;
	}
	if (f.mute[i] || f.w.links[i]->read_off || buf_len(&p->out) == 0)
		return;
	buf_init(&out, &f.w.heap.mem);
	if (most > buf_len(&p->out))
		most = buf_len(&p->out);
	buf_put(&out, buf_span(&p->out).p, most);
	buf_take(&p->out, most);
	tell_bytes(i, buf_span(&out));
	buf_fini(&out);
}

/* A server that stands still reads nothing and says nothing. */
static void
mute(int i, bool on)
{
	f.mute[i] = on;
	if (!on && f.is_peer[i] && !f.w.gone[i])
		port_touch(&f.w.port, f.w.links[i]);
}

static void
unblock(int i)
{
	struct peer *p = &f.peer[i];

	if (f.w.links[i] == NULL || f.w.gone[i] || !f.is_peer[i] || !p->blocked)
		return;
	peer_unblock(p, true);
	/* What came behind it is read now. */
	if (!f.w.links[i]->dirty)
		port_touch(&f.w.port, f.w.links[i]);
}

static void
turn(uint64_t ns)
{
	for (int i = 0; i < WORLD_LINKS; i++)
		serve(i, SIZE_MAX);
	batch();
	world_pass_time(&f.w, ns);
}
