/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_relay.c: the whole relay in a world made of the input.
 *
 * Each byte of the input is an event: clients come, speak (commands that are
 * whole, cut or garbage), go; servers connect, answer (rightly, as an error, or
 * with any bytes), go; mails and time. No crash, and at the end no byte of
 * memory is held.
 */
#include "engine/redis/relay/relay.h"
#include "wire/resp.h"
#include "world.h"

struct fake {
	struct world w; /* first */
	struct board board;
	struct board reverse;
	struct traffic traffic;
	struct relay_conf conf;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
say_as_client(struct fake *f, struct buf *b)
{
	static const char *const words[] = {
		"GET",
		"SET",
		"MULTI",
		"EXEC",
		"DISCARD",
		"WATCH",
		"UNWATCH",
		"BLPOP",
		"XREAD",
		"BLOCK",
		"STREAMS",
		"$",
		"k",
		"0",
		"1",
		"EVALSHA",
		"SCRIPT",
		"LOAD",
		"SUBSCRIBE",
		"UNSUBSCRIBE",
		"SELECT",
		"AUTH",
		"HELLO",
		"2",
		"CLIENT",
		"ID",
		"SETNAME",
		"SCAN",
		"HSCAN",
		"MGET",
		"RESET",
		"QUIT",
		"PSUBSCRIBE",
		"PING",
		"EVAL",
		"CONFIG",
		"NOSUCH",
		"ZUNIONSTORE",
		"1e3",
		"INCR",
		"n",
		"DBSIZE",
		"SORT",
		"BY",
		"STORE",
		"PUBLISH",
		"n*",
		"3",
		"PUNSUBSCRIBE",
		"ON",
		"OFF",
		"TRACKING",
		"CACHING",
		"YES",
		"BCAST",
		"SSUBSCRIBE",
		"SUNSUBSCRIBE",
		"SPUBLISH",
	};
	uint8_t n = world_next(&f->w) % 6;

	resp_put_array(b, n);
	for (uint8_t i = 0; i < n; i++)
		resp_put_bulk_str(b, words[world_next(&f->w) %
		                           (sizeof(words) / sizeof(words[0]))]);
}

static void
say_as_server(struct fake *f, struct buf *b)
{
	static const char *const replies[] = {
		"+OK\r\n",
		"+QUEUED\r\n",
		":7\r\n",
		"$-1\r\n",
		"*-1\r\n",
		"$3\r\nabc\r\n",
		"-ERR no\r\n",
		"-NOSCRIPT no\r\n",
		"*3\r\n$6\r\nmaster\r\n:99\r\n*0\r\n",
		"*2\r\n$2\r\n12\r\n*1\r\n$1\r\nk\r\n",
		"*3\r\n$9\r\nsubscribe\r\n$1\r\nk\r\n:2\r\n",
		"*3\r\n$11\r\nunsubscribe\r\n$1\r\nk\r\n:1\r\n",
		"*3\r\n$7\r\nmessage\r\n$1\r\nk\r\n$1\r\nv\r\n",
		"*3\r\n$7\r\nmessage\r\n$15\r\n__godwit:marker\r\n$1\r\n1\r\n",
		"*4\r\n$5\r\nflags\r\n*2\r\n+on\r\n+nopass\r\n"
		"$9\r\npasswords\r\n*0\r\n",
		"%1\r\n$2\r\nid\r\n:9\r\n",
		"_\r\n",
		"~2\r\n#t\r\n,1.5\r\n",
		">2\r\n$10\r\ninvalidate\r\n_\r\n",
		"*3\r\n$10\r\nssubscribe\r\n$1\r\nk\r\n:1\r\n",
		"*3\r\n$12\r\nsunsubscribe\r\n$1\r\nk\r\n:0\r\n",
		"*3\r\n$8\r\nsmessage\r\n$1\r\nk\r\n$1\r\nv\r\n",
	};

	for (uint8_t n = world_next(&f->w) % 4 + 1; n > 0; n--)
		buf_put_str(b, replies[world_next(&f->w) %
		                       (sizeof(replies) / sizeof(replies[0]))]);
}

static void
speak(struct fake *f, int i, uint8_t how)
{
	struct buf b;

	buf_init(&b, &f->w.heap.mem);
	if (how % 8 == 0) {
		for (uint8_t n = world_next(&f->w) % 32; n > 0; n--) {
			uint8_t c = world_next(&f->w);

			buf_put(&b, &c, 1);
		}
	} else if (f->w.client[i]) {
		say_as_client(f, &b);
	} else {
		say_as_server(f, &b);
	}
	if (how % 8 == 1 && buf_len(&b) > 1)
		b.end -= world_next(&f->w) % buf_len(&b);
	world_bytes(&f->w, i, buf_span(&b));
	buf_fini(&b);
}

/* Of the whole process; never freed, as routes may point to it. */
static const struct rules *
some_rules(uint8_t sticky)
{
	static struct rules *made[3];
	static struct heap heap;
	static const struct rules_term terms[] = {
		{ .rule = 0, .fact = FACT_KEY, .word = "k" },
		{ .rule = 0, .fact = FACT_COMMAND, .word = "get" },
		{ .rule = 1, .fact = FACT_CLIENT, .word = "n" },
	};
	struct rules_in in = { .term = terms,
		               .term_n = 3,
		               .rule_n = 2,
		               .ppm = { 1000000, 500000 },
		               .else_ppm = 250000,
		               .sticky = (enum sticky)(sticky % 3) };

	if (made[sticky % 3] == NULL) {
		if (heap.mem.resize == NULL)
			heap = heap_make();
		made[sticky % 3] = rules_build(&heap.mem, &in);
	}
	return made[sticky % 3];
}

/* None, or a split: two that part the words above, one of everything. */
static const struct scope *
some_scope(uint8_t which)
{
	static struct scope *made[4];
	static struct heap heap;
	static const struct span prefix[] = { SPAN("n"), SPAN("1") };
	struct scope_in in = { .prefix = prefix };

	which %= 8;
	if (which < 4)
		return NULL;
	which -= 4;
	in.prefix_n = which < 2 ? which + 1 : 0;
	in.ppm = which == 2 ? 500000 : 1000000;
	if (made[which] == NULL) {
		if (heap.mem.resize == NULL)
			heap = heap_make();
		made[which] = scope_build(&heap.mem, &in);
	}
	return made[which];
}

static void
mail(struct fake *f)
{
	static const enum mail_kind kinds[] = { MAIL_ROUTE, MAIL_HOLD,
		                                MAIL_RELEASE, MAIL_BEHIND };
	uint8_t v = world_next(&f->w);
	struct mail m = { .kind = kinds[v & 3], .epoch = 1, .flag = v >> 7 };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	m.deadline_ns =
		f->w.port.now_ns + (uint64_t)world_next(&f->w) * 1000000;
	m.route = (struct route){ .authority = (enum side)(v >> 2 & 1),
		                  .read_ppm = v & 8 ? 1000000 : 0,
		                  .ack = v & 16 ? ACK_BOTH : ACK_AUTHORITY,
		                  .ack_timeout_ms = 10 };
	if (v & 32)
		m.route.shadow = (struct route_shadow){ .ppm = 1000000,
			                                .inflight = 4,
			                                .bytes = 4096,
			                                .timeout_ms = 100 };
	if (v & 64)
		m.route.rules = some_rules(v);
	m.route.strict = (v & 96) == 96;
	m.route.scope = some_scope(world_next(&f->w));
	if (m.route.scope != NULL)
		m.route.authority = SIDE_OLD;
	/* The authority moves only by a release. */
	if (m.kind == MAIL_ROUTE)
		m.route.authority = SIDE_OLD;
	world_tell(&f->w, &ev);
}

static void
one(struct fake *f)
{
	uint8_t op = world_next(&f->w);
	int i = world_next(&f->w) % WORLD_LINKS;
	struct event ev = { .kind = EV_BOARD };

	switch (op % 8) {
	case 0:
		ev.kind = EV_ACCEPT;
		ev.link = world_link(&f->w, true, NULL);
		if (ev.link != NULL)
			world_tell(&f->w, &ev);
		break;
	case 1: world_up(&f->w, i); break;
	case 2:
		if (op & 0x40)
			world_eof(&f->w, i);
		else
			world_down(&f->w, i);
		break;
	case 3: mail(f); break;
	case 4:
		world_pass_time(&f->w, (uint64_t)world_next(&f->w) * 20000000);
		break;
	case 5:
		atomic_store(&f->board.passed[0], world_next(&f->w));
		atomic_store(&f->board.passed[1], world_next(&f->w));
		atomic_store(&f->board.unsettled, world_next(&f->w) & 3);
		atomic_store(&f->reverse.passed[1],
		             atomic_load(&f->board.passed[1]));
		world_tell(&f->w, &ev);
		break;
	default: speak(f, i, op >> 3);
	}
	if (op & 0x80)
		world_batch(&f->w);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct fake f;

	memset(&f, 0, sizeof(f));
	world_begin(&f.w, &relay_machine, data, n);
	f.conf.board = &f.board;
	f.conf.reverse = &f.reverse;
	f.conf.traffic = &f.traffic;
	memcpy(f.conf.side[0].own_user, "g", 2);
	memcpy(f.conf.side[0].reader_user, "r", 2);
	memcpy(f.conf.side[0].writer_user, "w", 2);
	memcpy(f.conf.side[1].writer_user, "w", 2);
	relay_init(f.w.self, &f.conf);
	world_start(&f.w);
	while (f.w.n > 0)
		one(&f);
	world_end(&f.w);
	return 0;
}
