/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_mover.c: the whole PostgreSQL mover between two servers made of
 * the input.
 *
 * The servers read what they are asked and answer it as a server would, until the
 * input says otherwise: another message, a cut one, any bytes, an end. So a search
 * gets through the login into the copy and the stream. No crash, no failed check, and
 * at the end no byte of memory is held.
 */
#define WORLD_LINKS 16
#include "crypt_fake.h"
#include "engine/postgres/mover/mover.h"
#include "wire/pg_front.h"
#include "world.h"

struct server {
	bool is_up;    /* its startup was answered                 */
	bool streams;  /* START_REPLICATION was                    */
	bool takes_in; /* COPY FROM STDIN                          */
};

struct play {
	struct world w; /* first */
	struct board board;
	struct mover_conf conf;
	struct server server[WORLD_LINKS];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char ready[] = "Z\0\0\0\5I";
static const char done[] = "C\0\0\0\015UPDATE 1\0";

static bool
has(struct span s, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= s.n; i++) {
		if (memcmp(s.p + i, word, n) == 0)
			return true;
	}
	return false;
}

static void
put_bytes(struct play *f, struct buf *b)
{
	for (uint8_t n = world_next(&f->w) % 32; n > 0; n--) {
		uint8_t c = world_next(&f->w);

		buf_put(b, &c, 1);
	}
}

static void
put_value(struct buf *b, const char *s)
{
	pg_put_value(b, span_of((const uint8_t *)s, strlen(s)));
}

static void
put_row(struct buf *b, uint16_t n, const char *const *v)
{
	size_t at = pg_put_begin(b, 'D');

	pg_put_u16(b, n);
	for (uint16_t i = 0; i < n; i++)
		put_value(b, v[i]);
	pg_put_end(b, at);
}

static void
put_tables(struct play *f, struct buf *b)
{
	static const char *const rows[][8] = {
		{ "a.b", "\"c\"", "1", "7", "1", "1", "11", "a.b" },
		{ "a.d", "\"c\",\"d\"", "20000", "1000", "0", "2", "12",
		  "a.d" },
		{ "a.e", "", "0", "0", "1", "3", "13", "a.e" },
		{ "a.f", "", "1", "1", "1", "4", "0", "a.f" },
	};

	for (uint8_t n = world_next(&f->w) % 5; n > 0; n--)
		put_row(b, 8, rows[world_next(&f->w) % 4]);
}

/* What new says of an earlier process's copy. */
static void
put_chunks(struct play *f, struct buf *b)
{
	static const char *const rows[][8] = {
		{ "1", "11", "11", "0/10", "0/10", "0", "7", "0" },
		{ "2", "12", "12", "0/10", "0/10", "-1", "7", "8192,0" },
		{ "2", "12", "12", "0/10", "0/10", "16384", "7", "16384" },
		{ "3", "13", "14", "0/10", "0/30", "0", "0", "0" },
		{ "4", "0", "0", "0/40", "0/40", "0", "1", "0,9999999999" },
		{ "9", "1", "1", "0/10", "0/10", "0", "1", "," },
		{ "1", "11", "11", "x", "0/10", "0", "7", "" },
	};

	for (uint8_t n = world_next(&f->w) % 5; n > 0; n--)
		put_row(b, 8, rows[world_next(&f->w) % 7]);
}

/* One message of pgoutput, inside of CopyData. */
static void
put_change(struct play *f, struct buf *b)
{
	static const struct span words[] = {
		SPAN("B\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\1"),
		SPAN("C\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\10\0\0\0\0\0\0\0\0"),
		SPAN("C\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\2\10\0\0\0\0\0\0\0\0"),
		SPAN("O\0\0\0\0\0\0\0\0godwit_x\0"),
		SPAN("O\0\0\0\0\0\0\0\0other\0"),
		SPAN("R\0\0\0\1s\0t\0d\0\2\1a\0\0\0\0\27\377\377\377\377"
		     "\0b\0\0\0\0\31\377\377\377\377"),
		SPAN("R\0\0\0\1s\0t\0f\0\2\1a\0\0\0\0\27\377\377\377\377"
		     "\1b\0\0\0\0\31\377\377\377\377"),
		SPAN("R\0\0\0\2godwit_x\0marker\0d\0\0"),
		SPAN("R\0\0\0\2s\0u\0f\0\0"),
		SPAN("I\0\0\0\1N\0\2t\0\0\0\1xn"),
		SPAN("I\0\0\0\2N\0\0"),
		SPAN("U\0\0\0\1N\0\2t\0\0\0\1xu"),
		SPAN("U\0\0\0\1N\0\1t\0\0\0\1x"),
		SPAN("U\0\0\0\1K\0\2t\0\0\0\1xnN\0\2t\0\0\0\1yt\0\0\0\0"),
		SPAN("U\0\0\0\1O\0\2nuN\0\2nt\0\0\0\1z"),
		SPAN("D\0\0\0\1K\0\2t\0\0\0\1xn"),
		SPAN("D\0\0\0\2O\0\0"),
		SPAN("T\0\0\0\2\3\0\0\0\1\0\0\0\2"),
		SPAN("T\0\0\0\1\0\0\0\0\2"),
		SPAN("Y\0\0\0\1s\0t\0"),
		SPAN("M\1\0\0\0\0\0\0\1\0godwit:beat\0\0\0\0\1\061"),
		SPAN("M\1\0\0\0\0\0\0\1\0godwit:heart\0\0\0\0\1\067"),
		SPAN("M\0\0\0\0\0\0\0\1\0x\0\0\0\0\0"),
	};
	size_t at = pg_put_begin(b, 'd');
	uint8_t v = world_next(&f->w);

	if (v < 8) {
		buf_put_str(b, "k");
		pg_put_u64(b, v * UINT64_C(256));
		pg_put_u64(b, 0);
		buf_put(b, v & 1 ? "\1" : "\0", 1);
		pg_put_end(b, at);
		return;
	}
	buf_put_str(b, "w");
	pg_put_u64(b, v);
	pg_put_u64(b, v);
	pg_put_u64(b, 0);
	if (v < 16)
		put_bytes(f, b);
	else
		buf_put_span(b, words[v % (sizeof(words) / sizeof(words[0]))]);
	pg_put_end(b, at);
}

static void
answer_query(struct play *f, struct server *sv, struct span q, struct buf *b)
{
	static const char *const slot[] = { "godwit_x", "0/10", "snap",
		                            "pgoutput" };
	static const char *const at[] = { "0/20" };
	static const char *const kept[] = { "7/1", "snap", "0/10", "0" };
	static const char *const held[] = { "snap", "7/1", "1" };
	static const char *const stale[] = { "snap", "7/1", "0" };
	static const char *const left[][2] = { { "1", "1" },
		                               { "1", "0" },
		                               { "0", "0" } };
	static const char *const since[] = { "1", "0/30" };

	if (has(q, "CREATE_REPLICATION_SLOT")) {
		put_row(b, 4, slot);
	} else if (has(q, "START_REPLICATION")) {
		sv->streams = true;
		buf_put(b, "W\0\0\0\7\0\0\0", 8);
		return;
	} else if (has(q, "COPY (")) {
		buf_put(b, "H\0\0\0\7\0\0\0", 8);
		for (uint8_t n = world_next(&f->w) % 4; n > 0; n--)
			buf_put(b, "d\0\0\0\6ab", 7);
		buf_put(b, "c\0\0\0\4", 5);
	} else if (has(q, "FROM STDIN")) {
		sv->takes_in = true;
		buf_put(b, "G\0\0\0\7\0\0\0", 8);
		return;
	} else if (has(q, "SELECT holder")) {
		if (world_next(&f->w) & 3)
			put_row(b, 4, kept);
	} else if (has(q, "wal_status")) {
		put_row(b, 2, left[world_next(&f->w) % 3]);
	} else if (has(q, "min(node)")) {
		put_chunks(f, b);
	} else if (has(q, "SELECT t, min(lsn)")) {
		put_row(b, 2, since);
	} else if (has(q, "pg_export_snapshot()")) {
		put_row(b, 3, world_next(&f->w) & 7 ? held : stale);
	} else if (has(q, "PERFORM pg_sleep")) {
		return;
	} else if (has(q, "pg_relation_size")) {
		put_tables(f, b);
	} else if (has(q, "session_progress") && (world_next(&f->w) & 1)) {
		put_row(b, 1, at);
	}
	buf_put(b, done, sizeof(done) - 1);
	buf_put(b, ready, sizeof(ready) - 1);
}

static void
put_odd(struct play *f, struct buf *b)
{
	static const struct span odd[] = {
		SPAN("E\0\0\0\023SERROR\0C42P07\0\0"),
		SPAN("E\0\0\0\023SERROR\0C55000\0\0"),
		SPAN("N\0\0\0\016SNOTICE\0\0\0"),
		SPAN("Z\0\0\0\5I"),
		SPAN("C\0\0\0\015UPDATE 0\0"),
		SPAN("G\0\0\0\7\0\0\0"),
		SPAN("D\0\0\0\6\0\0"),
		SPAN("D\0\0\0\012\0\1\377\377\377\377"),
		SPAN("c\0\0\0\4"),
		SPAN("R\0\0\0\014\0\0\0\5salt"),
		SPAN("R\0\0\0\027\0\0\0\012SCRAM-SHA-256\0\0"),
		SPAN("D\0\0\0\022\0\3\377\377\377\377\377\377\377\377"
		     "\377\377\377\377"),
	};
	uint8_t v = world_next(&f->w);

	if (v < 128)
		buf_put_span(b, odd[v % (sizeof(odd) / sizeof(odd[0]))]);
	else
		put_bytes(f, b);
}

/* One message of the mover; what is left of it. */
static size_t
serve(struct play *f, struct server *sv, struct span in, struct buf *b)
{
	static const char hello[] = "R\0\0\0\010\0\0\0\0"
				    "K\0\0\0\014\0\0\0\1\0\0\0\2";
	size_t head = sv->is_up ? 1 : 0;
	size_t n;

	if (in.n < head + 4)
		return 0;
	n = head + pg_get_u32(in.p + head);
	REQUIRE(n <= in.n && n >= head + 4);
	if (!sv->is_up) {
		sv->is_up = true;
		buf_put(b, hello, sizeof(hello) - 1);
		buf_put(b, ready, sizeof(ready) - 1);
		return n;
	}
	switch (in.p[0]) {
	case 'Q': answer_query(f, sv, span_of(in.p + 5, n - 5), b); break;
	case 'P': buf_put(b, "1\0\0\0\4", 5); break;
	case 'B': buf_put(b, "2\0\0\0\4", 5); break;
	case 'E': buf_put(b, done, sizeof(done) - 1); break;
	case 'c':
		if (!sv->takes_in)
			break;
		sv->takes_in = false;
		buf_put(b, done, sizeof(done) - 1);
		buf_put(b, ready, sizeof(ready) - 1);
		break;
	default: break;
	}
	return n;
}

/* Server i answers what it was asked, or says more. */
static void
speak(struct play *f, int i, uint8_t how)
{
	struct server *sv = &f->server[i];
	struct buf *sent = &f->w.sent[i];
	struct buf b;
	size_t n;

	buf_init(&b, &f->w.heap.mem);
	if (how == 7)
		put_odd(f, &b);
	while ((n = serve(f, sv, buf_span(sent), &b)) > 0)
		buf_take(sent, n);
	if (sv->streams) {
		for (uint8_t k = world_next(&f->w) % 8; k > 0; k--)
			put_change(f, &b);
	}
	if (how == 6)
		put_odd(f, &b);
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
		          .token = v,
		          .side = (enum side)(v >> 3 & 1),
		          .position = v & 16 ? 0 : world_next(&f->w) };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	if (v == 255)
		m.kind = MAIL_STOP;
	if (v >= 240 && v < 250) {
		m.kind = MAIL_BOTH;
		m.flag = v & 1;
	}
	world_tell(&f->w, &ev);
}

static void
drained(struct play *f)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		struct event ev = { .kind = EV_DRAINED, .link = f->w.links[i] };

		if (ev.link == NULL || f->w.gone[i] || !ev.link->is_up ||
		    !ev.link->want_drained || buf_len(&ev.link->tx) > 0)
			continue;
		ev.link->want_drained = false;
		world_tell(&f->w, &ev);
	}
}

/* New links begin without a past. */
static void
batch(struct play *f)
{
	world_batch(&f->w);
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (f->w.links[i] == NULL)
			f->server[i] = (struct server){ .is_up = false };
	}
}

static void
one(struct play *f)
{
	uint8_t op = world_next(&f->w);
	int i = op >> 4;

	switch (op & 7) {
	case 0:
		world_pass_time(&f->w, (uint64_t)world_next(&f->w) << 23);
		break;
	case 1: mail(f); break;
	case 2:
		if ((op & 8) != 0)
			world_down(&f->w, i);
		else
			drained(f);
		break;
	default: /* all of them, or one */
		for (int k = 0; k < WORLD_LINKS; k++) {
			if (f->w.links[k] == NULL || ((op & 8) && i != k))
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
	f->conf.refill = (v & 16) != 0;
	f->conf.fill_done = (v & 192) == 64;
	f->conf.build = v & 1 ? "SET x = 1;\nALTER TABLE ONLY a.b\n    ADD "
	                        "CONSTRAINT c PRIMARY KEY (c);\n-- x\nCREATE "
	                        "INDEX i ON a.b (';');\nSELECT $a$;$a$;\n"
	                      : NULL;
	memcpy(f->conf.id, "x", 2);
	memcpy(f->conf.side[0].own_user, "g", 2);
	memcpy(f->conf.side[0].own_pass, "p", 2);
	memcpy(f->conf.side[1].url_user, "u", 2);
	memcpy(f->conf.side[0].label, "old", 4);
	memcpy(f->conf.side[1].label, "new", 4);
	f->w.port.crypt = &fake;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct play f;
	struct mail begin = { .kind = MAIL_MOVE };
	struct event ev = { .kind = EV_MAIL, .mail = &begin };

	memset(&f, 0, sizeof(f));
	world_begin(&f.w, &pg_mover_machine, data, n);
	f.w.keep_sent = true;
	set_up(&f);
	pg_mover_init(f.w.self, &f.conf);
	world_start(&f.w);
	world_tell(&f.w, &ev);
	batch(&f);
	while (f.w.n > 0)
		one(&f);
	world_end(&f.w);
	return 0;
}
