/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/spread/scene.h: a spread in front of three instances that are bytes,
 * with clients, in a world that can be out of memory. One a process.
 *
 * An instance answers what a test needs, when it is told to: each request by what
 * it names, so an answer that came to the wrong place shows.
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

#include "base/hash.h"
#include "engine/redis/spread/spread.h"
#include "wire/proxy2.h"
#include "wire/resp.h"
#include "world.h"

#define INSTANCES 3
#define CLIENTS   4
#define MS        UINT64_C(1000000)

/* What an instance's end of a connection knows. */
struct end {
	struct buf in;
	struct buf out;
	struct buf header; /* the PROXY v2 header that came first */
	bool multi;
	uint32_t queued;
	uint32_t channels;
	uint32_t shards;
};

struct run {
	struct world w;   /* first */
	struct heap heap; /* what the machine has */
	struct traffic traffic;
	struct spread_conf conf;
	struct end end[WORLD_LINKS];
	int client[CLIENTS]; /* slot of its link, -1: closed */
	struct buf got[CLIENTS];
	bool mute[INSTANCES]; /* takes requests, its answers wait  */
	bool rude[INSTANCES]; /* says no to everything             */
	const char *cursor;   /* that SCAN answers                 */
	const char *asked;    /* a command that all answer ...     */
	const char *answer;   /* ... with these bytes              */
	struct buf seen;      /* requests, "i:NAME argument\n"     */
	uint32_t stopped;     /* MAIL_STOPPED                      */
	bool doomed[WORLD_LINKS];
};

static struct run run;
/* What clients are shown from the next begin() on. */
static struct topology shown;

/* ---- an instance -------------------------------------------------------- */

static inline int
instance_of(int slot)
{
	return run.w.to[slot] - 1;
}

static inline bool
is_word(const struct resp_cmd *q, const char *word)
{
	return span_is_word(q->argv[0], span_of(word, strlen(word)));
}

static inline void
answer_keys(const struct resp_cmd *q, struct buf *out)
{
	resp_put_array(out, q->argc - 1);
	for (uint32_t i = 1; i < q->argc; i++)
		resp_put_bulk(out, q->argv[i]);
}

static inline void
answer_sub(struct end *e, const struct resp_cmd *q, struct buf *out)
{
	static const char *const verbs[2][2] = {
		{ "subscribe", "unsubscribe" },
		{ "ssubscribe", "sunsubscribe" },
	};
	bool shard = is_word(q, "ssubscribe") || is_word(q, "sunsubscribe");
	bool away = is_word(q, "unsubscribe") || is_word(q, "sunsubscribe");

	for (uint32_t i = 1; i < q->argc; i++) {
		uint32_t *n = shard ? &e->shards : &e->channels;

		*n += away ? 0 : 1;
		*n -= away && *n > 0;
		resp_put_array(out, 3);
		resp_put_bulk_str(out, verbs[shard][away]);
		resp_put_bulk(out, q->argv[i]);
		resp_put_int(out, *n);
	}
}

static inline void
answer_ping(const struct end *e, const struct resp_cmd *q, struct buf *out)
{
	if (e->channels + e->shards > 0) {
		resp_put_array(out, 2);
		resp_put_bulk_str(out, "pong");
		resp_put_bulk(out, q->argc > 1 ? q->argv[1] : SPAN(""));
	} else if (q->argc > 1) {
		resp_put_bulk(out, q->argv[1]);
	} else {
		resp_put_status(out, "PONG");
	}
}

static inline bool
is_ok(const struct resp_cmd *q)
{
	static const char *const words[] = { "set",     "mset",     "auth",
		                             "select",  "flushall", "watch",
		                             "unwatch", "discard" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (is_word(q, words[i]))
			return true;
	}
	return false;
}

static inline void
answer_tx(struct end *e, const struct resp_cmd *q, struct buf *out)
{
	if (is_word(q, "exec")) {
		resp_put_array(out, e->queued);
		for (uint32_t i = 0; i < e->queued; i++)
			resp_put_int(out, i);
		e->multi = false;
	} else if (is_word(q, "discard")) {
		resp_put_status(out, "OK");
		e->multi = false;
	} else if (e->multi) {
		e->queued++;
		resp_put_status(out, "QUEUED");
	} else {
		resp_put_status(out, "OK");
		e->multi = true;
		e->queued = 0;
	}
}

static inline void
answer_one(int slot, const struct resp_cmd *q)
{
	struct end *e = &run.end[slot];
	struct buf *out = &e->out;
	int at = instance_of(slot);

	buf_putf(&run.seen, "%d:%.*s %.*s\n", at, (int)q->argv[0].n,
	         (const char *)q->argv[0].p,
	         q->argc > 1 ? (int)q->argv[1].n : 0,
	         q->argc > 1 ? (const char *)q->argv[1].p : "");
	if (run.asked != NULL && is_word(q, run.asked)) {
		buf_put_str(out, run.answer);
	} else if (run.rude[at]) {
		resp_put_errorf(out, "ERR rude");
	} else if (e->multi || is_word(q, "multi")) {
		answer_tx(e, q, out);
	} else if (is_ok(q)) {
		resp_put_status(out, "OK");
	} else if (is_word(q, "reset")) {
		e->channels = 0;
		resp_put_status(out, "RESET");
	} else if (is_word(q, "hello") && q->argc > 1 &&
	           q->argv[1].p[0] == '3') {
		buf_put_str(out, "%1\r\n+proto\r\n:3\r\n");
	} else if (is_word(q, "mget")) {
		answer_keys(q, out);
	} else if (is_word(q, "del") || is_word(q, "exists")) {
		resp_put_int(out, (int64_t)q->argc - 1);
	} else if (is_word(q, "dbsize")) {
		resp_put_int(out, at + 1);
	} else if (is_word(q, "wait")) {
		resp_put_int(out, 3 - at);
	} else if (is_word(q, "keys")) {
		resp_put_array(out, (size_t)at);
		for (int i = 0; i < at; i++)
			resp_put_bulk_u64(out, (uint64_t)(10 * at + i));
	} else if (is_word(q, "randomkey")) {
		resp_put_nil(out);
	} else if (is_word(q, "scan")) {
		buf_putf(out, "*2\r\n$%zu\r\n%s\r\n*1\r\n$1\r\n%d\r\n",
		         strlen(run.cursor), run.cursor, at);
	} else if (is_word(q, "subscribe") || is_word(q, "unsubscribe") ||
	           is_word(q, "ssubscribe") || is_word(q, "sunsubscribe")) {
		answer_sub(e, q, out);
	} else if (is_word(q, "ping")) {
		answer_ping(e, q, out);
	} else if (!is_word(q, "blpop")) {
		resp_put_bulk(out, q->argc > 1 ? q->argv[1] : SPAN("?"));
	}
}

/* Bytes came to an instance. */
static inline void
instance_bytes(int slot, struct span bytes)
{
	struct end *e = &run.end[slot];
	struct resp_cmd q;
	struct proxy2 h;

	buf_put_span(&e->in, bytes);
	if (buf_len(&e->header) == 0) {
		if (proxy2_read(buf_span(&e->in), &h) != WIRE_PART)
			return;
		buf_put(&e->header, buf_span(&e->in).p, h.n);
		buf_take(&e->in, h.n);
	}
	resp_cmd_init(&q);
	while (buf_len(&e->in) > 0 &&
	       resp_cmd_feed(&q, buf_span(&e->in)) == WIRE_PART) {
		answer_one(slot, &q);
		buf_take(&e->in, q.used);
		resp_cmd_init(&q);
	}
}

/* ---- a world that can be out of memory ---------------------------------- */

static inline void
scene_mail(struct port *p, const struct mail *m)
{
	(void)p;
	run.stopped += m->kind == MAIL_STOPPED;
}

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
fresh_end(int i)
{
	struct end *e = &run.end[i];

	buf_fini(&e->in);
	buf_fini(&e->out);
	buf_fini(&e->header);
	*e = (struct end){ .multi = false };
	buf_init(&e->in, &run.w.heap.mem);
	buf_init(&e->out, &run.w.heap.mem);
	buf_init(&e->header, &run.w.heap.mem);
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
		instance_bytes(i, buf_span(tx));
	for (int c = 0; c < CLIENTS; c++) {
		if (run.client[c] == i)
			buf_put_span(&run.got[c], buf_span(tx));
	}
	buf_release(tx);
}

static inline void
drained(int i)
{
	struct event ev = { .kind = EV_DRAINED, .link = run.w.links[i] };

	if (run.w.links[i] == NULL || run.w.gone[i] ||
	    !run.w.links[i]->want_drained)
		return;
	run.w.links[i]->want_drained = false;
	world_tell(&run.w, &ev);
}

static inline void
bury_gone(void)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.w.links[i] == NULL || !run.w.gone[i])
			continue;
		for (int c = 0; c < CLIENTS; c++) {
			if (run.client[c] == i)
				run.client[c] = -1;
		}
		world_bury(&run.w, i);
	}
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
	bury_gone();
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.doomed[i])
			world_down(w, i);
		run.doomed[i] = false;
	}
	for (int i = 0; i < WORLD_LINKS; i++)
		drained(i);
}

/* Bytes of an instance come cut, so that answers have to be pieced together. */
static inline void
in_halves(int i, struct span bytes)
{
	size_t half = bytes.n / 2;

	world_bytes(&run.w, i, span_of(bytes.p, half));
	if (run.w.links[i] != NULL)
		world_bytes(&run.w, i, span_skip(bytes, half));
}

static inline void
turn(void)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		struct buf out = run.end[i].out;

		if (run.w.links[i] == NULL || run.w.client[i])
			continue;
		if (!run.w.links[i]->is_up && !run.w.gone[i]) {
			fresh_end(i);
			world_up(&run.w, i);
			continue;
		}
		if (run.mute[instance_of(i)] || run.w.links[i]->read_off)
			continue;
		buf_init(&run.end[i].out, &run.w.heap.mem);
		in_halves(i, buf_span(&out));
		buf_fini(&out);
	}
	batch();
}

/* All that can happen by itself. */
static inline void
settle(void)
{
	for (int i = 0; i < 40; i++)
		turn();
}

static inline void
say(int c, const char *bytes)
{
	if (run.client[c] >= 0)
		world_bytes(&run.w, run.client[c],
		            span_of(bytes, strlen(bytes)));
	batch();
}

/* The slot of the client's connection to an instance; -1: none. Clients come one
 * after the other, so it is the c-th of that instance. */
static inline int
branch_of(int c, int at)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.w.links[i] != NULL && !run.w.client[i] &&
		    !run.w.gone[i] && instance_of(i) == at && c-- == 0)
			return i;
	}
	return -1;
}

static inline void
expect(int c, const char *text)
{
	settle();
	buf_put(&run.got[c], "", 1);
	assert_string_equal((const char *)buf_span(&run.got[c]).p, text);
	buf_clear(&run.got[c]);
}

static inline void
connect_client(int c, const struct cidr_address *peer)
{
	struct event ev = { .kind = EV_ACCEPT, .peer = peer };

	ev.link = world_link(&run.w, true, NULL);
	buf_init(&ev.link->tx, &run.heap.mem);
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.w.links[i] == ev.link)
			run.client[c] = i;
	}
	world_tell(&run.w, &ev);
}

/* Keys that begin with 0, 1, 2 in braces belong to that instance: "{0}x". */
static inline void
part_slots(void)
{
	for (uint32_t i = 0; i < HASH_SLOTS; i++)
		run.conf.owner[i] = 0;
	run.conf.owner[hash_slot(SPAN("1"))] = 1;
	run.conf.owner[hash_slot(SPAN("2"))] = 2;
}

static inline void
begin_with(size_t refuse_at, bool proxy)
{
	static const struct port_ops ops = { scarce_open, world_close,
		                             world_read,  scene_mail,
		                             world_poke,  NULL,
		                             NULL };

	memset(&run, 0, sizeof(run));
	run.heap = heap_make();
	world_begin(&run.w, &spread_machine, NULL, 0);
	run.w.port.ops = &ops;
	run.w.port.mem = &run.heap.mem;
	run.cursor = "0";
	buf_init(&run.seen, &run.w.heap.mem);
	run.conf.n = INSTANCES;
	run.conf.proxy = proxy;
	run.conf.topology = shown;
	run.conf.traffic = &run.traffic;
	for (uint16_t i = 0; i < INSTANCES; i++) {
		run.conf.instance[i].at.port = i + 1;
		(void)snprintf(run.conf.instance[i].label, SPREAD_LABEL_MAX,
		               "I%u", i);
	}
	part_slots();
	for (int i = 0; i < WORLD_LINKS; i++)
		fresh_end(i);
	for (int c = 0; c < CLIENTS; c++) {
		run.client[c] = -1;
		buf_init(&run.got[c], &run.w.heap.mem);
	}
	spread_init(run.w.self, &run.conf);
	world_start(&run.w);
	run.heap.refuse_at = refuse_at;
}

static inline void
begin(void)
{
	begin_with(0, false);
	for (int c = 0; c < CLIENTS; c++)
		connect_client(c, NULL);
	settle();
}

static inline void
end(void)
{
	run.heap.refuse_at = 0;
	run.w.machine->fini(run.w.self, &run.w.port);
	run.w.port.dirty = NULL;
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.w.links[i] != NULL)
			world_bury(&run.w, i);
		fresh_end(i);
		buf_fini(&run.end[i].in);
	}
	for (int c = 0; c < CLIENTS; c++)
		buf_fini(&run.got[c]);
	buf_fini(&run.seen);
	assert_int_equal(run.heap.mem.used, 0);
	mem_free(&run.w.heap.mem, run.w.self, spread_machine.self_size);
	assert_int_equal(run.w.heap.mem.used, 0);
}
