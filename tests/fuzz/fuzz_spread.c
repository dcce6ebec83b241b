/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_spread.c: the whole spread in a world made of the input.
 *
 * Each byte of the input is an event: clients come, speak (commands that are
 * whole, cut or garbage), go; instances connect, answer (rightly, as an error, or
 * with any bytes), go; time, and the order to stop. No crash, and at the end no
 * byte of memory is held.
 */
#include "base/hash.h"
#include "engine/redis/spread/spread.h"
#include "wire/resp.h"
#include "world.h"

struct fake {
	struct world w; /* first */
	struct traffic traffic;
	struct spread_conf conf;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
say_as_client(struct fake *f, struct buf *b)
{
	static const char *const words[] = {
		"GET",      "SET",         "MULTI",  "EXEC",        "DISCARD",
		"WATCH",    "UNWATCH",     "BLPOP",  "XREAD",       "BLOCK",
		"STREAMS",  "$",           "a",      "b",           "c",
		"d",        "0",           "1",      "2",           "17",
		"EVALSHA",  "SCRIPT",      "LOAD",   "EXISTS",      "SELECT",
		"AUTH",     "HELLO",       "3",      "CLIENT",      "SETNAME",
		"SCAN",     "MGET",        "MSET",   "DEL",         "KEYS",
		"DBSIZE",   "RESET",       "QUIT",   "PSUBSCRIBE",  "PING",
		"EVAL",     "RANDOMKEY",   "NOSUCH", "ZUNIONSTORE", "FLUSHALL",
		"FUNCTION", "UNSUBSCRIBE", "SORT",   "BY",          "STORE",
		"PUBLISH",  "SUBSCRIBE",   "n*",     "MSETNX",      "WAIT",
		"CONFIG",
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
		":9223372036854775807\r\n",
		"$-1\r\n",
		"*-1\r\n",
		"*0\r\n",
		"$3\r\nabc\r\n",
		"-ERR no\r\n",
		"-NOPERM no 'ping'\r\n",
		"*1\r\n:0\r\n",
		"*2\r\n$1\r\nx\r\n$-1\r\n",
		"*2\r\n$2\r\n12\r\n*1\r\n$1\r\nk\r\n",
		"*2\r\n$20\r\n18446744073709551615\r\n*0\r\n",
		"*3\r\n$9\r\nsubscribe\r\n$1\r\nk\r\n:2\r\n",
		"*3\r\n$7\r\nmessage\r\n$1\r\nk\r\n$1\r\nv\r\n",
		"%1\r\n$5\r\nproto\r\n:3\r\n",
		">2\r\n$1\r\na\r\n:1\r\n",
		"*1000000000000000\r\n",
	};

	for (uint8_t n = world_next(&f->w) % 4 + 1; n > 0; n--)
		buf_put_str(b, replies[world_next(&f->w) %
		                       (sizeof(replies) / sizeof(replies[0]))]);
}

/* The answer of the spread's own PING, in one form or the other. */
static void
say_token(struct fake *f, struct buf *b, bool subscribed)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t v = f->w.port.entropy(&f->w.port);

	buf_put_str(b, subscribed ? "*2\r\n$4\r\npong\r\n$16\r\n" : "$16\r\n");
	for (int i = 0; i < 16; i++) {
		buf_put(b, &digits[v & 15], 1);
		v >>= 4;
	}
	buf_put_str(b, "\r\n");
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
		for (uint8_t n = world_next(&f->w) % 4 + 1; n > 0; n--)
			say_as_client(f, &b);
	} else if (how % 8 == 2) {
		say_token(f, &b, how & 8);
	} else {
		say_as_server(f, &b);
	}
	if (how % 8 == 1 && buf_len(&b) > 1)
		b.end -= world_next(&f->w) % buf_len(&b);
	world_bytes(&f->w, i, buf_span(&b));
	buf_fini(&b);
}

/* A request that is passed on as it comes, and too much of it. */
static void
speak_long(struct fake *f, int i, uint8_t how)
{
	static uint8_t block[100000];
	static const char *const heads[] = {
		"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$120000\r\n",
		"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\nx\r\n$1\r\nb\r\n$70000\r\n",
		"*3\r\n$4\r\nECHO\r\n$90000000\r\n",
		"*3\r\n$4\r\nMSET\r\n$1\r\na\r\n$90000000\r\n",
		"*4\r\n$4\r\nMGET\r\n$90000000\r\n",
	};

	memset(block, 'x', sizeof(block));
	if (how & 1) {
		const char *h = heads[how / 2 % 5];

		world_bytes(&f->w, i, span_of(h, strlen(h)));
	}
	world_bytes(&f->w, i,
	            span_of(block, 400u * (world_next(&f->w) % 250u)));
	if (how & 64)
		world_bytes(&f->w, i, SPAN("\r\n"));
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
	if (ev.link != NULL)
		world_tell(&f->w, &ev);
}

static void
one(struct fake *f)
{
	uint8_t op = world_next(&f->w);
	int i = world_next(&f->w) % WORLD_LINKS;

	switch (op % 8) {
	case 0: accept_one(f); break;
	case 1: world_up(&f->w, i); break;
	case 2:
		if (op & 0x40)
			world_eof(&f->w, i);
		else if (op & 0x20)
			world_down(&f->w, i);
		break;
	case 3: stop(f); break;
	case 4:
		world_pass_time(&f->w, (uint64_t)world_next(&f->w) * 20000000);
		drained(f, i);
		break;
	case 5: speak_long(f, i, op >> 1); break;
	default: speak(f, i, op >> 3);
	}
	if (op & 0x80)
		world_batch(&f->w);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct fake f;
	uint8_t how;

	memset(&f, 0, sizeof(f));
	world_begin(&f.w, &spread_machine, data, n);
	how = world_next(&f.w);
	f.conf.n = how % 3 + 1;
	f.conf.across = how & 16 ? SPREAD_REFUSE : SPREAD_HANDLE;
	f.conf.proxy = how & 32;
	f.conf.traffic = &f.traffic;
	for (uint32_t i = 0; i < HASH_SLOTS; i++)
		f.conf.owner[i] = (uint8_t)(i % f.conf.n);
	spread_init(f.w.self, &f.conf);
	world_start(&f.w);
	while (f.w.n > 0)
		one(&f);
	world_end(&f.w);
	return 0;
}
