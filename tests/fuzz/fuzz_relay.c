/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_relay.c: the whole relay in a world made of the input.
 *
 * Each byte of the input is an event: clients come, speak (commands that are
 * whole, cut or garbage), go; servers connect, answer (rightly, as an error, or
 * with any bytes), go; mails and time. No crash, and at the end no byte of
 * memory is held.
 */
#include "base/check.h"
#include "engine/redis/relay/relay.h"
#include "heap.h"
#include "wire/resp.h"

#define LINKS 24

struct fake {
	struct port port; /* first */
	struct heap heap;
	struct link *links[LINKS];
	bool gone[LINKS]; /* closed by the machine */
	bool client[LINKS];
	struct board board;
	struct traffic traffic;
	struct relay_conf conf;
	void *self;
	const uint8_t *p;
	size_t n;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint8_t
next(struct fake *f)
{
	if (f->n == 0)
		return 0;
	f->n--;
	return *f->p++;
}

static struct link *
new_link(struct fake *f, bool client, void *owner)
{
	for (int i = 0; i < LINKS; i++) {
		struct link *l;

		if (f->links[i] != NULL)
			continue;
		l = mem_zero(&f->heap.mem, sizeof(*l));
		buf_init(&l->tx, &f->heap.mem);
		l->owner = owner;
		l->is_up = client;
		f->links[i] = l;
		f->gone[i] = false;
		f->client[i] = client;
		return l;
	}
	return NULL;
}

static struct fake *
of(struct port *p)
{
	return (struct fake *)(void *)p;
}

static struct link *
fake_open(struct port *p, const struct address *to, void *owner)
{
	(void)to;
	return new_link(of(p), false, owner);
}

static void
fake_close(struct port *p, struct link *l, bool flush)
{
	struct fake *f = of(p);

	(void)flush;
	for (int i = 0; i < LINKS; i++) {
		if (f->links[i] == l) {
			REQUIRE(!f->gone[i]);
			f->gone[i] = true;
			l->owner = NULL;
			l->is_up = false;
		}
	}
}

static void
fake_read(struct port *p, struct link *l, bool on)
{
	(void)p;
	l->read_off = !on;
}

static void
fake_mail(struct port *p, const struct mail *m)
{
	(void)p;
	(void)m;
}

static void
fake_poke(struct port *p)
{
	(void)p;
}

static uint64_t
fake_clock(struct port *p)
{
	return p->now_ns;
}

static const struct port_ops ops = { fake_open, fake_close, fake_read,
	                             fake_mail, fake_poke };

static void
tell(struct fake *f, const struct event *ev)
{
	relay_machine.step(f->self, &f->port, ev);
}

static void
bury(struct fake *f, int i)
{
	struct link *l = f->links[i];

	buf_fini(&l->tx);
	mem_free(&f->heap.mem, l, sizeof(*l));
	f->links[i] = NULL;
}

static void
batch(struct fake *f)
{
	struct event ev = { .kind = EV_BATCH };

	tell(f, &ev);
	while (f->port.dirty != NULL) {
		struct link *l = f->port.dirty;

		f->port.dirty = l->next_dirty;
		l->dirty = false;
		buf_release(&l->tx);
	}
	for (int i = 0; i < LINKS; i++) {
		if (f->links[i] != NULL && f->gone[i])
			bury(f, i);
	}
}

static void
say_as_client(struct fake *f, struct buf *b)
{
	static const char *const words[] = {
		"GET",     "SET",     "MULTI",       "EXEC",      "DISCARD",
		"WATCH",   "UNWATCH", "BLPOP",       "XREAD",     "BLOCK",
		"STREAMS", "$",       "k",           "0",         "1",
		"EVALSHA", "SCRIPT",  "LOAD",        "SUBSCRIBE", "UNSUBSCRIBE",
		"SELECT",  "AUTH",    "HELLO",       "2",         "CLIENT",
		"ID",      "SETNAME", "SCAN",        "HSCAN",     "MGET",
		"RESET",   "QUIT",    "PSUBSCRIBE",  "PING",      "EVAL",
		"CONFIG",  "NOSUCH",  "ZUNIONSTORE",
	};
	uint8_t n = next(f) % 6;

	resp_put_array(b, n);
	for (uint8_t i = 0; i < n; i++)
		resp_put_bulk_str(
			b, words[next(f) % (sizeof(words) / sizeof(words[0]))]);
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
	};

	for (uint8_t n = next(f) % 4 + 1; n > 0; n--)
		buf_put_str(b, replies[next(f) %
		                       (sizeof(replies) / sizeof(replies[0]))]);
}

static void
speak(struct fake *f, int i, uint8_t how)
{
	struct event ev = { .kind = EV_BYTES, .link = f->links[i] };
	struct buf b;

	if (f->links[i]->read_off || !f->links[i]->is_up)
		return;
	buf_init(&b, &f->heap.mem);
	if (how % 8 == 0) {
		for (uint8_t n = next(f) % 32; n > 0; n--) {
			uint8_t c = next(f);

			buf_put(&b, &c, 1);
		}
	} else if (f->client[i]) {
		say_as_client(f, &b);
	} else {
		say_as_server(f, &b);
	}
	if (how % 8 == 1 && buf_len(&b) > 1)
		b.end -= next(f) % buf_len(&b);
	ev.bytes = buf_span(&b);
	if (ev.bytes.n > 0)
		tell(f, &ev);
	buf_fini(&b);
}

static void
mail(struct fake *f)
{
	static const enum mail_kind kinds[] = { MAIL_ROUTE, MAIL_HOLD,
		                                MAIL_RELEASE, MAIL_BEHIND };
	uint8_t v = next(f);
	struct mail m = { .kind = kinds[v & 3], .epoch = 1, .flag = v >> 7 };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	m.deadline_ns = f->port.now_ns + (uint64_t)next(f) * 1000000;
	m.route = (struct route){ .authority = (enum side)(v >> 2 & 1),
		                  .read_ppm = v & 8 ? 1000000 : 0,
		                  .ack = v & 16 ? ACK_BOTH : ACK_AUTHORITY,
		                  .ack_timeout_ms = 10 };
	/* The authority moves only by a release. */
	if (m.kind == MAIL_ROUTE)
		m.route.authority = SIDE_OLD;
	tell(f, &ev);
}

static void
one(struct fake *f)
{
	uint8_t op = next(f);
	int i = next(f) % LINKS;
	struct event ev = { .kind = EV_BATCH, .link = f->links[i] };
	struct err err = { .code = ERR_LOST };
	bool alive = f->links[i] != NULL && !f->gone[i];

	switch (op % 8) {
	case 0:
		ev.kind = EV_ACCEPT;
		ev.link = new_link(f, true, NULL);
		if (ev.link != NULL)
			tell(f, &ev);
		break;
	case 1:
		ev.kind = EV_UP;
		if (alive && !f->links[i]->is_up) {
			f->links[i]->is_up = true;
			tell(f, &ev);
		}
		break;
	case 2:
		ev.kind = EV_DOWN;
		ev.err = &err;
		if (alive) {
			f->links[i]->is_up = false;
			f->gone[i] = true;
			tell(f, &ev);
		}
		break;
	case 3: mail(f); break;
	case 4:
		f->port.now_ns += (uint64_t)next(f) * 20000000;
		ev.kind = EV_TIMER;
		f->port.wake_ns = UINT64_MAX;
		tell(f, &ev);
		break;
	case 5:
		atomic_store(&f->board.passed[0], next(f));
		atomic_store(&f->board.passed[1], next(f));
		atomic_store(&f->board.unsettled, next(f) & 3);
		ev.kind = EV_BOARD;
		tell(f, &ev);
		break;
	default:
		if (alive)
			speak(f, i, op >> 3);
	}
	if (op & 0x80)
		batch(f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct fake f;
	struct event ev = { .kind = EV_START };

	memset(&f, 0, sizeof(f));
	f.heap = heap_make();
	f.p = data;
	f.n = n;
	f.port = (struct port){ .ops = &ops,
		                .mem = &f.heap.mem,
		                .now_ns = 1,
		                .wake_ns = UINT64_MAX,
		                .clock_ns = fake_clock };
	f.conf.board = &f.board;
	f.conf.traffic = &f.traffic;
	memcpy(f.conf.side[0].own_user, "g", 2);
	memcpy(f.conf.side[0].reader_user, "r", 2);
	f.self = mem_zero(&f.heap.mem, relay_machine.self_size);
	relay_init(f.self, &f.conf);
	tell(&f, &ev);
	while (f.n > 0)
		one(&f);
	batch(&f);
	relay_machine.fini(f.self, &f.port);
	f.port.dirty = NULL;
	for (int i = 0; i < LINKS; i++) {
		if (f.links[i] != NULL)
			bury(&f, i);
	}
	mem_free(&f.heap.mem, f.self, relay_machine.self_size);
	REQUIRE(f.heap.mem.used == 0);
	return 0;
}
