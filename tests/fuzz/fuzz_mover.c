/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_mover.c: the whole mover between two servers made of the
 * input.
 *
 * The servers read what they are asked and answer it as a server would, until
 * the input says otherwise: another reply, a cut one, any bytes, an end. So a
 * search gets through the handshake into the copy and the stream. Some movers
 * are one of two in a split. No crash, no failed check, and at the end no byte of
 * memory is held.
 */
#include <stdio.h>

#include "core/scope.h"
#include "engine/redis/mover/mover.h"
#include "wire/resp.h"
#include "world.h"

#define ID "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd"

struct server {
	bool is_feed; /* behind PSYNC: only stream bytes           */
	bool multi;
	uint32_t queued;
	uint64_t offset;
	struct buf later; /* answers of EXEC                          */
};

struct play {
	struct world w; /* first */
	struct board board;
	struct mover_conf conf;
	struct server server[WORLD_LINKS];
	struct heap heap; /* of the scopes, which live longer than the mover */
	struct scope *scopes[3]; /* no key, half of them, all */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
put_bulk(struct buf *b, const char *s)
{
	resp_put_bulk(b, span_of((const uint8_t *)s, strlen(s)));
}

static void
put_info(struct play *f, int i, struct buf *b)
{
	struct buf text;
	uint8_t v = world_next(&f->w);

	buf_init(&text, &f->w.heap.mem);
	buf_putf(&text,
	         "redis_version:%s\r\nrun_id:%u" ID "\r\nrole:%s\r\n"
	         "master_replid:%s\r\nmaster_replid2:%s\r\n"
	         "master_repl_offset:%u\r\nsecond_repl_offset:-1\r\n"
	         "repl_backlog_active:%u\r\n"
	         "repl_backlog_first_byte_offset:1\r\nloading:0\r\n"
	         "db0:keys=%u,expires=0,avg_ttl=0\r\ndb3:keys=1\r\n",
	         v & 1 ? "6.2.1" : "7.0.15", f->w.to[i],
	         (v & 65) == 65 ? "slave" : "master", ID, ID, 100u + v,
	         v >> 1 & 1, v & 15);
	resp_put_bulk(b, buf_span(&text));
	buf_fini(&text);
}

/* A snapshot: a few values that are right, and one of the input's. */
static void
put_rdb(struct play *f, struct buf *b)
{
	static const uint8_t head[] = "REDIS0010\xfe\x00\x00\x01k\x01v";
	static const uint8_t set[] = "\x02\x01s\x02\x01"
				     "a\x01"
				     "b";
	static const uint8_t ttl[] = "\xfc\xff\xff\x00\x00\x00\x00\x00\x00\x00"
				     "\x01t\x01v";
	static const uint8_t end[9] = { 0xff };
	struct buf rdb;
	uint8_t v = world_next(&f->w);

	buf_init(&rdb, &f->w.heap.mem);
	buf_put(&rdb, head, sizeof(head) - 1);
	if (v & 1)
		buf_put(&rdb, set, sizeof(set) - 1);
	if (v & 2)
		buf_put(&rdb, ttl, sizeof(ttl) - 1);
	for (uint8_t n = v & 4 ? world_next(&f->w) % 48 : 0; n > 0; n--) {
		uint8_t c = world_next(&f->w);

		buf_put(&rdb, &c, 1);
	}
	buf_put(&rdb, end, sizeof(end));
	if (v & 8) {
		buf_putf(b, "$EOF:%s\r\n", ID);
		buf_put_span(b, buf_span(&rdb));
		buf_put_str(b, ID);
	} else {
		buf_putf(b, "$%zu\r\n", buf_len(&rdb));
		buf_put_span(b, buf_span(&rdb));
	}
	buf_fini(&rdb);
}

static void
put_psync(struct play *f, struct server *sv, struct buf *b)
{
	uint8_t v = world_next(&f->w);

	sv->is_feed = true;
	switch (v % 4) {
	case 0: buf_put_str(b, "+CONTINUE\r\n"); break;
	case 1: buf_put_str(b, "+CONTINUE " ID "\r\n"); break;
	default:
		buf_put_str(b, v & 16 ? "\n+FULLRESYNC " ID " 100\r\n\n"
		                      : "+FULLRESYNC " ID " 100\r\n");
		put_rdb(f, b);
	}
}

static void
put_scan(struct play *f, struct buf *b, bool pairs)
{
	uint8_t v = world_next(&f->w);

	resp_put_array(b, 2);
	put_bulk(b, v & 1 ? "5" : "0");
	resp_put_array(b, (v & 6u) * (pairs ? 2 : 1));
	for (uint8_t i = 0; i < (v & 6u) * (pairs ? 2 : 1); i++)
		put_bulk(b, i & 1 ? "1" : v & 8 ? "k" : "__godwit:fence");
}

static bool
is(struct span s, const char *word)
{
	return span_is_word(s, span_of((const uint8_t *)word, strlen(word)));
}

/* What a server says to q. */
static void
answer(struct play *f, int i, const struct resp_cmd *q, struct buf *b)
{
	static const char *const types[] = { "+string\r\n", "+hash\r\n",
		                             "+set\r\n",    "+zset\r\n",
		                             "+list\r\n",   "+stream\r\n",
		                             "+none\r\n" };
	struct server *sv = &f->server[i];
	struct span c = q->argv[0];

	if (is(c, "role")) {
		sv->offset += world_next(&f->w);
		buf_putf(b, "*3\r\n$6\r\nmaster\r\n:%llu\r\n*0\r\n",
		         (unsigned long long)(100 + sv->offset));
	} else if (is(c, "info")) {
		put_info(f, i, b);
	} else if (is(c, "scan")) {
		put_scan(f, b, false);
	} else if (is(c, "hscan") || is(c, "zscan") || is(c, "sscan")) {
		put_scan(f, b, !is(c, "sscan"));
	} else if (is(c, "type")) {
		buf_put_str(b, types[world_next(&f->w) % 7]);
	} else if (is(c, "dump")) {
		if (world_next(&f->w) & 1)
			resp_put_nil(b);
		else
			put_bulk(b, "\x05\x01vxx12345678");
	} else if (is(c, "memory")) {
		resp_put_int(b, world_next(&f->w) & 1 ? 100000000 : 60);
	} else if (is(c, "pexpiretime")) {
		resp_put_int(b, (int64_t)world_next(&f->w) % 4 - 2);
	} else if (is(c, "config") && q->argc > 2) {
		resp_put_array(b, 2);
		resp_put_bulk(b, q->argv[2]);
		put_bulk(b, "5");
	} else if (is(c, "client") && q->argc == 2) {
		if (is(q->argv[1], "id"))
			resp_put_int(b, 7);
		else
			put_bulk(b, "id=7 addr=1:1 name=godwit:x flags=N\n");
	} else if (is(c, "get") || is(c, "function")) {
		resp_put_nil(b);
	} else if (is(c, "exists") || is(c, "del") || is(c, "unlink") ||
	           is(c, "publish")) {
		resp_put_int(b, world_next(&f->w) & 1);
	} else if (is(c, "psync")) {
		put_psync(f, sv, b);
	} else {
		resp_put_status(b, "OK");
	}
}

/* The same with MULTI in the middle. */
static void
serve(struct play *f, int i, const struct resp_cmd *q, struct buf *b)
{
	struct server *sv = &f->server[i];

	if (is(q->argv[0], "multi")) {
		sv->multi = true;
		sv->queued = 0;
		buf_clear(&sv->later);
		resp_put_status(b, "OK");
	} else if (is(q->argv[0], "exec") && sv->multi) {
		sv->multi = false;
		resp_put_array(b, sv->queued);
		buf_put_span(b, buf_span(&sv->later));
	} else if (sv->multi) {
		sv->queued++;
		answer(f, i, q, &sv->later);
		resp_put_status(b, "QUEUED");
	} else {
		answer(f, i, q, b);
	}
}

static void
put_stream(struct play *f, struct buf *b)
{
	static const char *const units[] = {
		"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n",
		"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
		"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n",
		"*1\r\n$5\r\nMULTI\r\n",
		"*1\r\n$4\r\nEXEC\r\n",
		"*1\r\n$4\r\nPING\r\n",
		"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n",
		"*3\r\n$7\r\nPUBLISH\r\n$11\r\n__godwit:hb\r\n$1\r\n1\r\n",
		"*3\r\n$7\r\nPUBLISH\r\n$11\r\n__godwit:db\r\n$1\r\n3\r\n",
		"*1\r\n$8\r\nFLUSHALL\r\n",
		"*3\r\n$6\r\nRENAME\r\n$1\r\nk\r\n$1\r\nl\r\n",
		"*3\r\n$3\r\nSET\r\n$14\r\n__godwit:fence\r\n$1\r\n3\r\n",
		"*4\r\n$4\r\nHSET\r\n$1\r\nh\r\n$1\r\nf\r\n$1\r\nv\r\n",
		"*3\r\n$6\r\nSWAPDB\r\n$1\r\n0\r\n$1\r\n3\r\n",
		"*2\r\n$6\r\nNOSUCH\r\n$1\r\nk\r\n",
		"\n",
	};

	for (uint8_t n = world_next(&f->w) % 6 + 1; n > 0; n--)
		buf_put_str(b, units[world_next(&f->w) %
		                     (sizeof(units) / sizeof(units[0]))]);
}

static void
put_odd(struct play *f, struct buf *b)
{
	static const char *const odd[] = {
		"-ERR no\r\n",   "-NOPERM no\r\n", "-LOADING wait\r\n",
		"-OOM full\r\n", "*-1\r\n",        "$-1\r\n",
		":-3\r\n",       "*0\r\n",         "-BUSYKEY there\r\n",
		"+x\r\n",        "-NOAUTH no\r\n", "*1\r\n*1\r\n:1\r\n",
	};
	uint8_t v = world_next(&f->w);

	if (v < 128) {
		buf_put_str(b, odd[v % (sizeof(odd) / sizeof(odd[0]))]);
		return;
	}
	for (uint8_t n = v % 32; n > 0; n--) {
		uint8_t c = world_next(&f->w);

		buf_put(b, &c, 1);
	}
}

/* Server i says something: the answers to all that it was asked, or more. */
static void
speak(struct play *f, int i, uint8_t how)
{
	struct server *sv = &f->server[i];
	struct buf *sent = &f->w.sent[i];
	struct resp_cmd q;
	struct buf b;

	buf_init(&b, &f->w.heap.mem);
	while (!sv->is_feed && buf_len(sent) > 0) {
		resp_cmd_init(&q);
		if (resp_cmd_feed(&q, buf_span(sent)) != WIRE_PART)
			break;
		if (q.argc > 0 && how == 7)
			put_odd(f, &b); /* in place of the first */
		else if (q.argc > 0)
			serve(f, i, &q, &b);
		how = how == 7 ? 0 : how;
		buf_take(sent, q.used);
	}
	if (sv->is_feed && buf_len(&b) == 0) {
		buf_clear(sent);
		if (how == 7)
			put_odd(f, &b);
		else
			put_stream(f, &b);
	} else if (how == 6) {
		put_odd(f, &b);
	}
	if (how == 5 && buf_len(&b) > 1)
		b.end -= world_next(&f->w) % buf_len(&b);
	world_bytes(&f->w, i, buf_span(&b));
	buf_fini(&b);
}

static void
mail(struct play *f)
{
	static const enum mail_kind kinds[] = {
		MAIL_MOVE,    MAIL_MOVE_PAUSE, MAIL_MOVE_RESUME, MAIL_BARRIER,
		MAIL_BARRIER, MAIL_THAW,       MAIL_FLIP,        MAIL_HEARTBEAT,
	};
	uint8_t v = world_next(&f->w);
	struct mail m = { .kind = kinds[v % 8],
		          .epoch = 1,
		          .token = 1,
		          .side = (enum side)(v >> 3 & 1),
		          .position = v & 16 ? 0 : 100u + world_next(&f->w) };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	if (v % 8 == 4 && f->scopes[0] != NULL) {
		m.kind = MAIL_SCOPE;
		m.flag = v >> 3 & 1;
		m.scope = v >> 6 == 3 ? NULL : f->scopes[v >> 6];
		m.token = m.position;
	}
	if (v % 8 == 7 && (v & 64) != 0) {
		m.kind = MAIL_EXPOSED;
		m.token = v;
		/* The run id of one of the servers, or of none. */
		(void)snprintf(m.text, sizeof(m.text), "%u" ID, v >> 4 & 3);
		m.text[40] = '\0';
	}
	if (v == 255)
		m.kind = MAIL_STOP;
	world_tell(&f->w, &ev);
}

/* New links begin without a past. */
static void
batch(struct play *f)
{
	bool was[WORLD_LINKS];

	for (int i = 0; i < WORLD_LINKS; i++)
		was[i] = f->w.links[i] != NULL && !f->w.gone[i];
	world_batch(&f->w);
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (was[i] && f->w.links[i] != NULL)
			continue;
		buf_fini(&f->server[i].later);
		f->server[i] = (struct server){ .is_feed = false };
		buf_init(&f->server[i].later, &f->w.heap.mem);
	}
}

static void
one(struct play *f)
{
	uint8_t op = world_next(&f->w);
	int i = op >> 5;

	switch (op & 7) {
	case 0:
		world_pass_time(&f->w, (uint64_t)world_next(&f->w) << 23);
		break;
	case 1: mail(f); break;
	case 2:
		if ((op & 24) == 24)
			world_down(&f->w, i);
		else
			world_up(&f->w, i);
		break;
	default: /* all of them, or one */
		for (int k = 0; k < WORLD_LINKS; k++) {
			if (f->w.links[k] == NULL || (i < 4 && i != k))
				continue;
			world_up(&f->w, k);
			speak(f, k, op & 7);
		}
	}
	batch(f);
}

static void
set_up(struct play *f)
{
	uint8_t v = world_next(&f->w);

	f->conf.board = &f->board;
	atomic_store(&f->board.unsettled, 1);
	f->conf.rule = (enum mover_rule)(v % 3);
	f->conf.copy_mode = (enum mover_fill)(v / 3 % 3);
	f->conf.one_shot = v >= 224;
	f->conf.refill = (v & 16) != 0;
	f->conf.keep_extra = (v & 32) != 0;
	f->conf.limits.marks = 64;
	f->conf.limits.stream_rx = 4096;
	f->conf.limits.writer_tx = 4096;
	f->conf.limits.window = 1024;
	if ((v & 192) == 64) {
		memcpy(f->conf.history[0], ID ":0", sizeof(ID ":0"));
		f->conf.position[0] = 100;
		f->conf.fill_done = true;
		f->conf.exposed = v >> 4 & 1;
	}
	f->heap = heap_make();
	if ((v & 192) == 128) {
		for (uint32_t i = 0; i < 3; i++) {
			struct scope_in in = { .ppm = i * 500000, .salt = 7 };

			f->scopes[i] = scope_build(&f->heap.mem, &in);
		}
		f->conf.scope_side = (enum side)(v & 1);
		f->conf.scope = f->scopes[v >> 1 & 1];
	}
	memcpy(f->conf.id, "x", 2);
	f->conf.side[1].at.port = 1;
	memcpy(f->conf.side[0].label, "old", 4);
	memcpy(f->conf.side[1].label, "new", 4);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct play f;
	struct mail begin = { .kind = MAIL_MOVE };
	struct event ev = { .kind = EV_MAIL, .mail = &begin };

	memset(&f, 0, sizeof(f));
	world_begin(&f.w, &mover_machine, data, n);
	f.w.keep_sent = true;
	for (int i = 0; i < WORLD_LINKS; i++)
		buf_init(&f.server[i].later, &f.w.heap.mem);
	set_up(&f);
	begin.side = f.conf.scope_side;
	mover_init(f.w.self, &f.conf);
	world_start(&f.w);
	world_tell(&f.w, &ev);
	batch(&f);
	while (f.w.n > 0)
		one(&f);
	for (int i = 0; i < WORLD_LINKS; i++)
		buf_fini(&f.server[i].later);
	world_end(&f.w);
	for (int i = 0; i < 3; i++)
		scope_free(f.scopes[i]);
	return 0;
}
