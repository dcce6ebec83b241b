/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_spread.c: the whole spread in a world made of the input.
 *
 * Each byte of the input is an event: clients come, speak (requests that are
 * whole, cut or garbage), go; instances connect, answer (rightly, as an error, or
 * with any bytes), go; time, and the order to stop. No crash, and at the end no
 * byte of memory is held.
 */
#include "base/check.h"
#include "base/hash.h"
#include "engine/redis/spread/spread.h"
#include "wire/proxy2.h"
#include "wire/resp.h"
#include "world.h"

struct fake {
	struct world w; /* first */
	struct traffic traffic;
	struct spread_conf conf;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The header of a proxy that says nothing. */
static const uint8_t local[16] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
	                           0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
	                           0x20, 0,    0,    0 };

/* ---- what clients say ---------------------------------------------------- */

static void
say_words(struct fake *f, struct buf *b)
{
	static const char *const words[] = {
		"GET",   "SET",    "MULTI",  "EXEC",    "BLPOP",  "XREAD",
		"BLOCK", "a",      "b",      "c",       "0",      "2",
		"17",    "SCRIPT", "EXISTS", "SELECT",  "HELLO",  "3",
		"SCAN",  "MGET",   "MSET",   "DEL",     "KEYS",   "PING",
		"EVAL",  "NOSUCH", "SORT",   "PUBLISH", "CONFIG", "WAIT",
	};
	uint8_t n = world_next(&f->w) % 6;

	resp_put_array(b, n);
	for (uint8_t i = 0; i < n; i++)
		resp_put_bulk_str(b, words[world_next(&f->w) %
		                           (sizeof(words) / sizeof(words[0]))]);
}

/* Each line is a whole request. */
static void
say_line(struct fake *f, struct buf *b)
{
	static const char *const lines[] = {
		"GET a",
		"GET b",
		"GET c",
		"SET a 1",
		"MGET a b c a",
		"MSET a 1 b 2 c 3",
		"MSET a 1 b",
		"DEL a b c",
		"EXISTS b c",
		"MSETNX a 1 b 2",
		"DBSIZE",
		"KEYS *",
		"SCAN 0",
		"SCAN 17",
		"SCAN 1 COUNT 5",
		"RANDOMKEY",
		"SCRIPT EXISTS x y",
		"SCRIPT LOAD x",
		"FLUSHALL",
		"SELECT 1",
		"AUTH pw",
		"HELLO 2",
		"HELLO 3",
		"RESET",
		"MULTI",
		"EXEC",
		"DISCARD",
		"WATCH a",
		"WATCH b c",
		"UNWATCH",
		"SUBSCRIBE x y",
		"UNSUBSCRIBE",
		"PING",
		"QUIT",
		"BLPOP a 0",
		"BLPOP a b 0",
		"XREAD BLOCK 0 STREAMS b $",
		"EVAL x 2 a b",
		"EVAL x 0",
		"PUBLISH x y",
		"SORT a BY w_*",
		"NOSUCH a",
		"CLIENT SETNAME me",
		"CONFIG SET a b",
		"GET",
		"SSUBSCRIBE a",
		"SSUBSCRIBE a b c",
		"SUNSUBSCRIBE",
		"SUNSUBSCRIBE b c",
		"SPUBLISH a m",
		"PUBSUB SHARDNUMSUB a",
		"PUBSUB SHARDCHANNELS",
		"CLUSTER SLOTS",
		"CLUSTER SHARDS",
		"CLUSTER NODES",
		"CLUSTER INFO",
		"CLUSTER MEET a 1",
		"CLUSTER NOSUCH",
		"CLUSTER GETKEYSINSLOT 7 1",
		"CLUSTER REPLICAS x",
		"CLUSTER HELP",
		"READONLY",
		"INFO",
	};

	buf_put_str(
		b,
		lines[world_next(&f->w) % (sizeof(lines) / sizeof(lines[0]))]);
	buf_put_str(b, "\r\n");
}

static void
say_garbage(struct fake *f, struct buf *b)
{
	for (uint8_t n = world_next(&f->w) % 32; n > 0; n--) {
		uint8_t c = world_next(&f->w);

		buf_put(b, &c, 1);
	}
}

/* ---- what instances say -------------------------------------------------- */

static void
say_anything(struct fake *f, struct buf *b)
{
	static const char *const replies[] = {
		"+OK\r\n",
		"+QUEUED\r\n",
		":7\r\n",
		":9223372036854775807\r\n",
		"$-1\r\n",
		"*-1\r\n",
		"*0\r\n",
		"$3\r\nabc\r\n",
		"-ERR no\r\n",
		"-NOPERM no 'ping'\r\n",
		"-MOVED 1 a:1\r\n",
		"-ASK 1 a:1\r\n",
		"*1\r\n:0\r\n",
		"*2\r\n$1\r\nx\r\n$-1\r\n",
		"*2\r\n$2\r\n12\r\n*1\r\n$1\r\nk\r\n",
		"*2\r\n$20\r\n18446744073709551615\r\n*0\r\n",
		"*3\r\n$9\r\nsubscribe\r\n$1\r\nk\r\n:2\r\n",
		"*3\r\n$7\r\nmessage\r\n$1\r\nk\r\n$1\r\nv\r\n",
		"%1\r\n$5\r\nproto\r\n:3\r\n",
		">2\r\n$1\r\na\r\n:1\r\n",
		"*1000000000000000\r\n",
		"*3\r\n$10\r\nssubscribe\r\n$1\r\na\r\n:1\r\n",
		"*3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:0\r\n",
		">3\r\n$10\r\nssubscribe\r\n$1\r\na\r\n:3\r\n",
		">3\r\n$12\r\nsunsubscribe\r\n$-1\r\n:0\r\n",
		"*3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$1\r\nv\r\n",
		">3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$1\r\nv\r\n",
		">3\r\n$8\r\nsmess",
	};

	buf_put_str(b, replies[world_next(&f->w) %
	                       (sizeof(replies) / sizeof(replies[0]))]);
}

static bool
is(const struct resp_cmd *q, const char *word)
{
	return span_is_word(q->argv[0], span_of(word, strlen(word)));
}

/* What an instance would say, in one of the forms it has. */
static void
say_rightly(const struct resp_cmd *q, uint8_t how, struct buf *b)
{
	if (is(q, "mget") || is(q, "keys")) {
		resp_put_array(b, q->argc - 1);
		for (uint32_t i = 1; i < q->argc && i < RESP_SPANS; i++)
			resp_put_bulk(b, q->argv[i]);
	} else if (is(q, "del") || is(q, "exists") || is(q, "dbsize")) {
		resp_put_int(b, how);
	} else if (is(q, "scan")) {
		resp_put_array(b, 2);
		resp_put_bulk_u64(b, (uint64_t)(how / 64) << (how % 64));
		resp_put_array(b, 0);
	} else if (is(q, "script") && q->argc == 4) {
		buf_putf(b, "*2\r\n:%d\r\n:%d\r\n", how & 1, how >> 1 & 1);
	} else if (is(q, "randomkey") && (how & 1)) {
		resp_put_nil(b);
	} else if (is(q, "hello")) {
		buf_put_str(b, how & 2   ? "*2\r\n$4\r\nmode\r\n"
		                           "$10\r\nstandalone\r\n"
		               : how & 1 ? "%1\r\n+p\r\n:3\r\n"
		                         : "*0\r\n");
	} else if (is(q, "info")) {
		buf_put_str(b, how & 1 ? "=23\r\ntxt:cluster_enabled:0\r\n\r\n"
		                       : "$12\r\nredis_mode:x\r\n");
	} else if (is(q, "cluster") && (how & 3)) {
		buf_put_str(b,
		            how & 1 ? "-NOPERM no\r\n" : "-ERR disabled\r\n");
	} else if (is(q, "subscribe") || is(q, "unsubscribe")) {
		buf_put_str(b, how & 1 ? ">3\r\n" : "*3\r\n");
		buf_put_str(b, "$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
	} else if (is(q, "ssubscribe") || is(q, "sunsubscribe")) {
		for (uint32_t i = 1; i < q->argc && i < RESP_SPANS; i++) {
			buf_put_str(b, how & 1 ? ">3\r\n" : "*3\r\n");
			resp_put_bulk(b, q->argv[0]);
			resp_put_bulk(b, q->argv[i]);
			resp_put_int(b, how / 2 % 4);
		}
	} else if (is(q, "pubsub")) {
		buf_put_str(b, how & 1 ? "*2\r\n$1\r\na\r\n:1\r\n" : "*0\r\n");
	} else if (is(q, "ping") && q->argc > 1) {
		if (how & 1)
			buf_put_str(b, "*2\r\n$4\r\npong\r\n");
		resp_put_bulk(b, q->argv[1]);
	} else if (is(q, "exec")) {
		buf_put_str(b, "*1\r\n*1\r\n+OK\r\n");
	} else if (is(q, "get")) {
		resp_put_bulk(b, q->argv[0]);
	} else {
		buf_put_str(b, "+OK\r\n");
	}
}

/* The first request that link i was sent is answered. */
static void
serve(struct fake *f, int i, struct buf *b)
{
	struct buf *in = &f->w.sent[i];
	uint8_t how = world_next(&f->w);
	struct proxy2 h;
	struct resp_cmd q;

	if (buf_len(in) == 0)
		return;
	if (proxy2_read(buf_span(in), &h) == WIRE_PART)
		buf_take(in, h.n);
	resp_cmd_init(&q);
	if (resp_cmd_feed(&q, buf_span(in)) != WIRE_PART)
		return;
	if (how < 230 && q.argc > 0)
		say_rightly(&q, how, b);
	else
		say_anything(f, b);
	buf_take(in, q.used);
}

/* ---- links --------------------------------------------------------------- */

/* The k-th living link of that kind, and round; -1: none. */
static int
some_link(const struct fake *f, bool client, uint8_t k)
{
	int found = -1;

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < WORLD_LINKS; i++) {
			if (f->w.links[i] == NULL || f->w.gone[i] ||
			    f->w.client[i] != client)
				continue;
			found = i;
			if (k-- == 0)
				return i;
		}
		if (found < 0)
			return -1;
	}
	return found;
}

/* Whole, or cut in two. */
static void
bytes(struct fake *f, int i, struct span s, uint8_t cut)
{
	size_t n = cut == 0 ? 0 : s.n % cut;

	world_bytes(&f->w, i, span_of(s.p, n));
	if (f->w.links[i] != NULL)
		world_bytes(&f->w, i, span_skip(s, n));
}

static void
speak(struct fake *f, bool client, uint8_t how)
{
	int i = some_link(f, client, world_next(&f->w) % 16);
	struct buf b;

	if (i < 0)
		return;
	buf_init(&b, &f->w.heap.mem);
	for (uint8_t n = how % 4 + 1; n > 0; n--) {
		if (how == 31)
			say_garbage(f, &b);
		else if (client && how % 5 == 4)
			say_words(f, &b);
		else if (client)
			say_line(f, &b);
		else if (how == 30)
			say_anything(f, &b);
		else
			serve(f, i, &b);
	}
	bytes(f, i, buf_span(&b), how / 4);
	buf_fini(&b);
}

/* A request that is passed on as it comes, and too much of it. */
static void
speak_long(struct fake *f, int i, uint8_t how)
{
	static uint8_t block[33000];
	static const char *const heads[] = {
		"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$66000\r\n",
		"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\nx\r\n$1\r\nb\r\n$66000\r\n",
		"*3\r\n$4\r\nECHO\r\n$90000000\r\n",
		"*3\r\n$4\r\nMSET\r\n$1\r\na\r\n$90000000\r\n",
		"*4\r\n$4\r\nMGET\r\n$90000000\r\n",
	};

	if (i < 0)
		return;
	memset(block, 'x', sizeof(block));
	if (how & 1) {
		const char *h = heads[world_next(&f->w) % 5];

		world_bytes(&f->w, i, span_of(h, strlen(h)));
	}
	world_bytes(&f->w, i,
	            span_of(block, 132u * (world_next(&f->w) % 250u)));
	if (how & 8)
		world_bytes(&f->w, i, SPAN("\r\n"));
}

/* Each instance answers what it was asked. */
static void
serve_all(struct fake *f)
{
	uint8_t how = world_next(&f->w);

	for (int i = 0; i < WORLD_LINKS; i++) {
		struct buf b;

		if (f->w.links[i] == NULL || f->w.gone[i] || f->w.client[i])
			continue;
		buf_init(&b, &f->w.heap.mem);
		for (uint8_t n = how % 4 + 1; n > 0; n--)
			serve(f, i, &b);
		bytes(f, i, buf_span(&b), how / 4);
		buf_fini(&b);
	}
}

static void
drained(struct fake *f, int i)
{
	struct event ev = { .kind = EV_DRAINED, .link = f->w.links[i] };

	if (f->w.links[i] == NULL || f->w.gone[i] ||
	    !f->w.links[i]->want_drained)
		return;
	f->w.links[i]->want_drained = false;
	world_tell(&f->w, &ev);
}

static void
stop(struct fake *f)
{
	struct mail m = { .kind = MAIL_STOP };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	if (world_next(&f->w) == 77)
		world_tell(&f->w, &ev);
}

static void
accept_one(struct fake *f)
{
	struct cidr_address peer = { .b = { [10] = 0xff, [11] = 0xff, 10 } };
	struct event ev = { .kind = EV_ACCEPT };
	uint8_t how = world_next(&f->w);

	peer.is_known = how & 1;
	peer.b[0] = how & 2;
	ev.peer = how & 4 ? NULL : &peer;
	ev.link = world_link(&f->w, true, NULL);
	if (ev.link == NULL)
		return;
	world_tell(&f->w, &ev);
	if (f->conf.proxy && (how & 8))
		for (int i = 0; i < WORLD_LINKS; i++) {
			if (f->w.links[i] == ev.link)
				world_bytes(&f->w, i, span_of(local, 16));
		}
	for (int i = 0; i < WORLD_LINKS && (how & 240); i++)
		world_up(&f->w, i);
}

static void
lose(struct fake *f, uint8_t op)
{
	int i = some_link(f, op & 0x10, world_next(&f->w));

	if (i < 0)
		return;
	if (op & 0x20)
		world_eof(&f->w, i);
	else
		world_down(&f->w, i);
}

static void
one(struct fake *f)
{
	uint8_t op = world_next(&f->w);

	switch (op % 8) {
	case 0:
		if (op & 0x40)
			accept_one(f);
		else
			stop(f);
		break;
	case 1:
		for (int i = 0; i < WORLD_LINKS; i++) {
			world_up(&f->w, i);
			drained(f, i);
		}
		break;
	case 2:
		if ((op & 0x40) == 0)
			lose(f, op);
		break;
	case 3:
		world_pass_time(&f->w, (uint64_t)world_next(&f->w) * 20000000);
		break;
	case 4:
		if (op & 0x40)
			speak_long(f, some_link(f, true, 0), op >> 3);
		break;
	case 5: speak(f, true, op >> 3); break;
	case 6: speak(f, false, op >> 3); break;
	default: serve_all(f); break;
	}
	if (op & 0x80)
		world_batch(&f->w);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct fake f;
	struct err err;
	uint8_t how;

	memset(&f, 0, sizeof(f));
	world_begin(&f.w, &spread_machine, data, n);
	f.w.keep_sent = true;
	how = world_next(&f.w);
	f.conf.n = how % 3 + 1;
	f.conf.across = how & 16 ? SPREAD_REFUSE : SPREAD_HANDLE;
	f.conf.proxy = (how & 96) == 96;
	f.conf.by_slot = (how & 128) != 0;
	if (how & 8 && topology_add(&f.conf.topology, SPAN("a:1"), &err) != 0)
		NEVER("it is an address");
	if (how & 4 && topology_add(&f.conf.topology, SPAN("b:1"), &err) != 0)
		NEVER("it is one, too");
	f.conf.traffic = &f.traffic;
	for (uint32_t i = 0; i < HASH_SLOTS; i++)
		f.conf.owner[i] = (uint8_t)(i % f.conf.n);
	spread_init(f.w.self, &f.conf);
	world_start(&f.w);
	accept_one(&f);
	while (f.w.n > 0)
		one(&f);
	world_end(&f.w);
	return 0;
}
