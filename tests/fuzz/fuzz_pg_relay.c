/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_relay.c: the whole PostgreSQL relay in a world made of the
 * input.
 *
 * Each byte of the input is an event: clients come, speak (messages that are whole,
 * cut or garbage), go; servers connect, answer (rightly, late, too often, with any
 * bytes), go; mails and time. No crash, and at the end no byte of memory is held.
 */
#include <stdio.h>

#define WORLD_LINKS 16
#include "crypt_fake.h"
#include "engine/postgres/relay/inside.h"
#include "engine/view.h"
#include "world.h"

struct play {
	struct world w; /* first */
	struct board board;
	struct traffic traffic;
	struct relay_conf conf;
	uint64_t drawn;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct span client_words[] = {
	SPAN("Q\0\0\0\015SELECT 1\0"),
	SPAN("Q\0\0\0\024SET a.b TO 'x';\0"),
	SPAN("Q\0\0\0\012BEGIN\0"),
	SPAN("Q\0\0\0\013COMMIT\0"),
	SPAN("Q\0\0\0\014TABLE t\0"),
	SPAN("P\0\0\0\015\0BEGIN\0\0\0"
	     "B\0\0\0\014\0\0\0\0\0\0\0\0"
	     "E\0\0\0\011\0\0\0\0\0"
	     "S\0\0\0\4"),
	SPAN("P\0\0\0\020t\0TABLE t\0\0\0"
	     "B\0\0\0\015\0t\0\0\0\0\0\0\0"
	     "E\0\0\0\011\0\0\0\0\0"),
	SPAN("P\0\0\0\020\0SELECT 1\0\0\0"
	     "B\0\0\0\014\0\0\0\0\0\0\0\0"
	     "D\0\0\0\6P\0"
	     "E\0\0\0\011\0\0\0\0\0"
	     "S\0\0\0\4"),
	SPAN("B\0\0\0\014\0\0\0\0\0\0\0\0"
	     "E\0\0\0\011\0\0\0\0\0"
	     "S\0\0\0\4"),
	SPAN("P\0\0\0\022s\0SELECT 1\0\0\0\0"),
	SPAN("P\0\0\0\021s\0SELECT 2\0\0\0"),
	SPAN("P\0\0\0\032\0set_config($1, $2)\0\0\0"),
	SPAN("B\0\0\0\024\0s\0\0\0\0\1\0\0\0\3a.b\0\0"),
	SPAN("D\0\0\0\6P\0"),
	SPAN("E\0\0\0\011\0\0\0\0\0"),
	SPAN("C\0\0\0\7Ss\0"),
	SPAN("S\0\0\0\4"),
	SPAN("H\0\0\0\4"),
	SPAN("d\0\0\0\6ab"),
	SPAN("c\0\0\0\4"),
	SPAN("f\0\0\0\6x\0"),
	SPAN("F\0\0\0\016\0\0\0\1\0\0\0\0\0\0"),
	SPAN("X\0\0\0\4"),
	SPAN("p\0\0\0\7pw\0"),
	SPAN("p\0\0\0\070SCRAM-SHA-256\0\0\0\0\042n,,n=,r="
	     "abcdefghijklmnopqrstuvwxyz"),
	SPAN("p\0\0\0\023c=biws,r=abc,p="),
	SPAN("\0\0\0\010\004\322\026\057"),
	SPAN("\0\0\0\020\004\322\026\056\0\0\0\0\0\0\0\1"),
	SPAN("\0\0\0\050\0\3\0\0user\0a\0database\0d\0options\0-c x\0\0"),
	SPAN("\0\0\0\020\0\3\0\0user\0b\0\0"),
};

static const struct span server_words[] = {
	SPAN("R\0\0\0\010\0\0\0\0"),
	SPAN("R\0\0\0\010\0\0\0\3"),
	SPAN("R\0\0\0\014\0\0\0\5salt"),
	SPAN("R\0\0\0\027\0\0\0\012SCRAM-SHA-256\0\0"),
	SPAN("R\0\0\0\052\0\0\0\013r=abcdefghijkl,s=c2FsdA==,i=4096xx"),
	SPAN("R\0\0\0\014\0\0\0\014v=ab"),
	SPAN("S\0\0\0\011a\0b\0\0"),
	SPAN("K\0\0\0\014\0\0\0\1\0\0\0\2"),
	SPAN("Z\0\0\0\5I"),
	SPAN("Z\0\0\0\5T"),
	SPAN("T\0\0\0\032\0\1a\0\0\0\1\1\0\1\0\0\0\027\0\4\377\377\377\377\0\0"),
	SPAN("Z\0\0\0\5E"),
	SPAN("C\0\0\0\015SELECT 1\0"),
	SPAN("1\0\0\0\4"),
	SPAN("2\0\0\0\4"),
	SPAN("3\0\0\0\4"),
	SPAN("s\0\0\0\4"),
	SPAN("G\0\0\0\7\0\0\0"),
	SPAN("H\0\0\0\7\0\0\0"),
	SPAN("c\0\0\0\4"),
	SPAN("d\0\0\0\5x"),
	SPAN("E\0\0\0\023SFATAL\0C57P01\0\0"),
	SPAN("N\0\0\0\016SNOTICE\0\0\0"),
	SPAN("A\0\0\0\014\0\0\0\1a\0b\0"),
	/* A census: setting, statements, channel, lock, what stays, users. */
	SPAN("D\0\0\0\025\0\3\0\0\0\1s\0\0\0\1a\0\0\0\1b"),
	SPAN("D\0\0\0\045\0\3\0\0\0\1p\0\0\0\1a\0\0\0\021PREPARE a AS x;y;"),
	SPAN("D\0\0\0\041\0\3\0\0\0\1n\0\0\0\1s\0\0\0\015{23,7}select "),
	SPAN("D\0\0\0\024\0\3\0\0\0\1l\0\0\0\1a\0\0\0\0"),
	SPAN("D\0\0\0\024\0\3\0\0\0\1a\0\0\0\0017\0\0\0\0"),
	SPAN("D\0\0\0\024\0\3\0\0\0\1x\0\0\0\1t\0\0\0\0"),
	SPAN("D\0\0\0\024\0\3\0\0\0\1u\0\0\0\1o\0\0\0\0"),
	SPAN("D\0\0\0\023\0\3\377\377\377\377\377\377\377\377\0\0\0\1x"),
	/* A verifier. */
	SPAN("D\0\0\0\207\0\1\0\0\0\175SCRAM-SHA-256$4096:"
	     "c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
	     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
};

static void
speak(struct play *f, int i, uint8_t how)
{
	struct buf b;
	const struct span *words = f->w.client[i] ? client_words : server_words;
	size_t n = f->w.client[i]
	                   ? sizeof(client_words) / sizeof(client_words[0])
	                   : sizeof(server_words) / sizeof(server_words[0]);

	buf_init(&b, &f->w.heap.mem);
	if (how % 8 == 0) {
		for (uint8_t k = world_next(&f->w) % 32; k > 0; k--) {
			uint8_t c = world_next(&f->w);

			buf_put(&b, &c, 1);
		}
	} else {
		for (uint8_t k = world_next(&f->w) % 4 + 1; k > 0; k--)
			buf_put_span(&b, words[world_next(&f->w) % n]);
	}
	if (how % 8 == 1 && buf_len(&b) > 1)
		b.end -= world_next(&f->w) % buf_len(&b);
	world_bytes(&f->w, i, buf_span(&b));
	buf_fini(&b);
}

/* An answer of one row to a question that was mirrored; which one, the data says. */
static void
put_mirrored(struct play *f, struct buf *b, const struct pg_mirror *m)
{
	uint8_t v = world_next(&f->w);

	if (!m->is_open) {
		buf_put_span(b, SPAN("D\0\0\0\021\0\2\0\0\0\1o\0\0\0\2on"));
		return;
	}
	/* In a snapshot, whose end is the next answer. */
	if (m->due == 3)
		buf_put_span(b, SPAN("C\0\0\0\012BEGIN\0Z\0\0\0\5T"));
	buf_put_span(b, SPAN("T\0\0\0\032\0\1a\0\0\0\1\1\0\1\0\0\0\027\0\4"
	                     "\377\377\377\377\0\0"));
	if (v % 4 < 3)
		buf_put_span(b, SPAN("D\0\0\0\013\0\1\0\0\0\1"));
	if (v % 4 < 3)
		buf_put(b, v % 4 == 0 ? "1" : "2", 1);
}

/* What a good server would say now, so that what follows a login is reached. */
static void
help(struct play *f, int i)
{
	struct link *l = f->w.links[i];
	struct buf b;
	enum pg_owner o;
	bool logs_in;

	if (l == NULL || f->w.gone[i] || f->w.client[i] || !l->is_up ||
	    l->owner == &((struct pg_relay *)f->w.self)->ask)
		return;
	o = *(enum pg_owner *)l->owner;
	if (o == OWNER_CANCEL)
		return;
	if (o == OWNER_MIRROR)
		logs_in = ((struct pg_mirror *)l->owner)->c.state ==
		          PG_CONN_LOGIN;
	else if (o == OWNER_KEEPER)
		logs_in = ((struct pg_keeper *)l->owner)->c.state ==
		          PG_CONN_LOGIN;
	else
		logs_in = o == OWNER_BACKEND
		                  ? ((struct pg_backend *)l->owner)->at ==
		                            BACKEND_LOGIN
		          : o == OWNER_READER
		                  ? ((struct pg_reader *)l->owner)->at ==
		                            READER_LOGIN
		          : o == OWNER_ACK
		                  ? ((struct pg_ack_ask *)l->owner)->c.state ==
		                            PG_CONN_LOGIN
		          : o == OWNER_APART
		                  ? ((struct pg_relay *)f->w.self)
		                                    ->apart.c.state ==
		                            PG_CONN_LOGIN
		                  : ((struct pg_look *)l->owner)->c.state ==
		                            PG_CONN_LOGIN;
	buf_init(&b, &f->w.heap.mem);
	if (logs_in) {
		buf_put_span(&b, SPAN("R\0\0\0\010\0\0\0\0"));
	} else if (o == OWNER_BACKEND) {
		buf_put_span(&b,
		             SPAN("D\0\0\0\024\0\3\0\0\0\1u\0\0\0\1o\0\0\0\0"));
	} else if (o == OWNER_MIRROR) {
		put_mirrored(f, &b, l->owner);
	} else if (o == OWNER_KEEPER) {
		buf_put_span(&b, SPAN("D\0\0\0\015\0\1\0\0\0\0031-1"));
	} else if (o == OWNER_READER) {
		buf_put_span(&b, SPAN("D\0\0\0\021\0\2\0\0\0\1o\0\0\0\2on"));
	} else {
		buf_put_span(&b, SPAN("D\0\0\0\015\0\1\0\0\0\0030/1"));
		buf_put_span(
			&b,
			SPAN("D\0\0\0\026\0\3\0\0\0\1g\0\0\0\003now\0\0\0\0"));
		buf_put_span(&b,
		             SPAN("D\0\0\0\031\0\3\0\0\0\1t\0\0\0\1t\0\0\0\5"
		                  "s\1s\1t"));
	}
	if (!logs_in)
		buf_put_span(&b, SPAN("C\0\0\0\015SELECT 1\0"));
	buf_put_span(&b, SPAN("Z\0\0\0\5I"));
	world_bytes(&f->w, i, buf_span(&b));
	buf_fini(&b);
}

static struct rules *rules; /* of heap, which outlives each run */
static struct heap heap;

static void
make_rules(void)
{
	static const struct rules_term word = { 0, FACT_SCHEMA, "s" };
	struct rules_in in = {
		.term = &word, .term_n = 1, .rule_n = 1, .ppm = { 1000000 }
	};

	if (rules != NULL)
		return;
	heap = heap_make();
	rules = rules_build(&heap.mem, &in);
	REQUIRE(rules != NULL);
}

static void
mail(struct play *f)
{
	static const enum mail_kind kinds[] = { MAIL_ROUTE, MAIL_HOLD,
		                                MAIL_RELEASE, MAIL_BEHIND };
	uint8_t v = world_next(&f->w);
	struct mail m = { .kind = kinds[v & 3], .epoch = v, .flag = v >> 7 };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	if (v == 255)
		m.kind = MAIL_STOP;
	/* The authority moves only by a release. */
	m.route = ((struct pg_relay *)f->w.self)->route;
	m.route.scope = NULL;
	if (m.kind == MAIL_RELEASE)
		m.route.authority = (enum side)(v >> 2 & 1);
	/* Some tables are new's, for those who take turns. */
	m.route.moved = m.kind != MAIL_HOLD && (v & 0x90) == 0x90;
	m.route.rules = rules;
	m.route.read_ppm = v & 64 && m.route.moved == 0 ? 1000000 : 0;
	m.route.ack = v & 32 ? ACK_BOTH : ACK_AUTHORITY;
	m.route.strict = (v & 16) != 0;
	m.route.ack_timeout_ms = 10;
	if (m.kind == MAIL_BEHIND)
		m.flag = (v >> 2) % 3;
	/* Positions are passed, or are not. */
	for (int s = 0; s < SIDE_N; s++)
		atomic_store(&f->board.passed[s], v & 8 ? 0 : UINT64_MAX / 2);
	m.route.shadow = (struct route_shadow){ .ppm = v & 4 ? 1000000 : 0,
		                                .inflight = 2 + (v >> 7),
		                                .bytes = 2000,
		                                .timeout_ms = 3000 };
	m.route.epoch = v;
	world_tell(&f->w, &ev);
}

/* What an operator sees, whatever state it is in. */
static void
look(struct play *f)
{
	static union view_row rows[5];

	for (int k = 0; k < VIEW_N; k++) {
		struct view view = { .row = rows, .max = 1 + 2 * (uint32_t)k };
		struct view_ask ask = { .kind = (enum view_kind)k,
			                .into = &view };
		struct mail m = { .kind = MAIL_VIEW, .pair = &ask };
		struct event ev = { .kind = EV_MAIL, .mail = &m };

		world_tell(&f->w, &ev);
		REQUIRE(view.is_done && view.n <= view.max);
	}
}

static void
drained(struct play *f, int i)
{
	struct event ev = { .kind = EV_DRAINED, .link = f->w.links[i] };

	if (ev.link == NULL || f->w.gone[i] || !ev.link->want_drained ||
	    !ev.link->is_up || buf_len(&ev.link->tx) > 0)
		return;
	ev.link->want_drained = false;
	world_tell(&f->w, &ev);
}

static void
one(struct play *f)
{
	uint8_t op = world_next(&f->w);
	int i = world_next(&f->w) % WORLD_LINKS;
	struct event ev = { .kind = EV_ACCEPT };

	switch (op % 8) {
	case 0:
		ev.link = world_link(&f->w, true, NULL);
		if (ev.link != NULL)
			world_tell(&f->w, &ev);
		break;
	case 1: world_up(&f->w, i); break;
	case 2: world_down(&f->w, i); break;
	case 3: mail(f); break;
	case 4:
		world_pass_time(&f->w, (uint64_t)world_next(&f->w) * 20000000);
		break;
	case 5:
		drained(f, i);
		world_up(&f->w, i);
		help(f, i);
		break;
	default: speak(f, i, op >> 3);
	}
	look(f);
	if (op & 0x80)
		world_batch(&f->w);
}

/* Never the same twice in a run: cancel keys are drawn until one is new. */
static uint64_t
entropy(struct port *p)
{
	struct play *f = (struct play *)(void *)p;

	return hash_mix(++f->drawn);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct play f;
	static uint64_t away;

	make_rules();
	memset(&f, 0, sizeof(f));
	world_begin(&f.w, &pg_relay_machine, data, n);
	f.conf.board = &f.board;
	f.board.passed[0] = UINT64_MAX / 2;
	f.board.passed[1] = UINT64_MAX / 2;
	f.conf.traffic = &f.traffic;
	memcpy(f.conf.id, "x", 2);
	f.w.port.crypt = &fake;
	f.w.port.entropy = entropy;
	memcpy(f.conf.side[0].own_user, "g", 2);
	memcpy(f.conf.side[1].own_user, "g", 2);
	memcpy(f.conf.side[0].database, "d", 2);
	memcpy(f.conf.side[1].database, "e", 2);
	/* By turns, for some. */
	if (n > 0 && data[n - 1] % 4 == 1) {
		f.conf.pool = RELAY_POOL_TRANSACTION;
		f.conf.pool_max = 2;
		f.conf.pool_wait_ms = 5000;
	}
	pg_relay_init(f.w.self, &f.conf);
	world_start(&f.w);
	while (f.w.n > 0)
		one(&f);
	/* A search that never comes so far proves nothing. */
	away += ((struct pg_relay *)f.w.self)->reads.answered[1];
	if (getenv("AWAY") != NULL && away > 0)
		(void)fprintf(stderr, "%llu\n", (unsigned long long)away);
	world_end(&f.w);
	return 0;
}
