/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_session.c: sessions as a whole: what each client is told.
 *
 * The input is a list of events: clients come, ask (whole, cut, in pipelines, or
 * any bytes), stop reading, go; servers connect, answer (rightly, or any bytes),
 * fall silent, are lost; mails, time, boards, memory that is refused. Demanded:
 *   - each whole request gets one answer, its own, in order, or the client is
 *     closed; at the end nobody waits (session.h);
 *   - no write is executed twice, none on a side without authority;
 *   - a link is not touched after it was closed;
 *   - memory is bounded, small again when all have gone, and all back at the end.
 * Where bytes are wild, numbers of answers are still right.
 */
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
	bool stopped;
	bool calm; /* nothing has happened that excuses an error */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

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

/* ---- clients ----------------------------------------------------------- */

static void
put_key_cmd(struct buf *b, const char *name, uint16_t id, const char *more)
{
	char key[16];
	size_t n = session_key(key, id);

	resp_put_array(b, more == NULL ? 2 : 3);
	resp_put_bulk_str(b, name);
	resp_put_bulk(b, span_of(key, n));
	if (more != NULL)
		resp_put_bulk_str(b, more);
}

static void
put_script(struct buf *b, bool by_sha, uint16_t id)
{
	char key[16];
	size_t n = session_key(key, id);

	resp_put_array(b, 4);
	resp_put_bulk_str(b, by_sha ? "EVALSHA" : "EVAL");
	resp_put_bulk_str(b,
	                  by_sha ? "8c6c5c0d27ed0bb61cda453a5af6bcc62c6b767d"
	                         : "return 'a body of some length, so that it "
	                           "needs memory'");
	resp_put_bulk_str(b, "1");
	resp_put_bulk(b, span_of(key, n));
}

static void
put_big(struct buf *b, uint16_t id)
{
	char key[16];
	size_t n = session_key(key, id);
	uint8_t *room;

	resp_put_array(b, 3);
	resp_put_bulk_str(b, "SET");
	resp_put_bulk(b, span_of(key, n));
	buf_putf(b, "$%zu\r\n", BIG);
	room = buf_room(b, BIG);
	memset(room, 'v', BIG);
	buf_grew(b, BIG);
	buf_put_str(b, "\r\n");
}

static void
put_words(struct buf *b, const char *words)
{
	buf_put_str(b, words);
	buf_put_str(b, "\r\n");
}

struct fixed {
	const char *words;
	enum asks asks;
};

static const struct fixed fixed[] = {
	{ "MULTI", ASKS_MULTI },     { "EXEC", ASKS_EXEC },
	{ "DISCARD", ASKS_DISCARD }, { "UNWATCH", ASKS_OK },
	{ "SELECT 0", ASKS_OK },     { "SELECT 1", ASKS_OK },
	{ "PING", ASKS_PONG },       { "CLIENT ID", ASKS_INT },
	{ "SCAN 0", ASKS_ARRAY },    { "DBSIZE", ASKS_INT },
	{ "NOSUCH", ASKS_ERROR },    { "CLIENT SETNAME me", ASKS_OK },
	{ "AUTH app pw", ASKS_OK },  { "RESET", ASKS_RESET },
	{ "WATCH w", ASKS_OK },      { "CONFIG NOSUCH", ASKS_ERROR },
	{ "HELLO 2", ASKS_ARRAY },   { "MULTI", ASKS_MULTI },
	{ "EXEC", ASKS_EXEC },       { "QUIT", ASKS_QUIT },
	{ "SUBSCRIBE a", ASKS_ANY }, { "UNSUBSCRIBE a", ASKS_ANY },
};

/* One request, as a draw says. */
static void
ask(struct client *c, struct buf *b, uint8_t draw)
{
	struct sent *s = &c->m.sent[c->m.sent_n];
	const struct fixed *fix =
		&fixed[draw % (sizeof(fixed) / sizeof(fixed[0]))];

	if (c->m.sent_n == SESSION_SENT || f.next_id >= IDS_MAX)
		return;
	c->m.sent_n++;
	*s = (struct sent){ ASKS_ECHO, ++f.next_id };
	switch (draw >> 5) {
	case 0:
	case 1: put_key_cmd(b, "GET", s->id, NULL); break;
	case 2:
	case 3: put_key_cmd(b, "SET", s->id, "v"); break;
	case 4:
		if (draw % 8 == 0) {
			put_big(b, s->id);
		} else if (draw % 8 < 4) {
			s->asks = ASKS_SCRIPT;
			put_script(b, draw & 1, s->id);
		} else {
			s->asks = ASKS_BLOCK;
			put_key_cmd(b, "BLPOP", s->id, draw & 1 ? "0" : "0.2");
		}
		break;
	default:
		s->asks = (uint8_t)fix->asks;
		c->m.chats |= fix->asks == ASKS_ANY;
		put_words(b, fix->words);
	}
}

static void
say(struct client *c, struct span bytes)
{
	show("client ->", (int)(c - f.client), bytes);
	if (c->is_wild)
		count_wild(c, bytes);
	tell_bytes(c->slot, bytes);
}

/* What it says now; a part of it may come later. */
static void
speak(struct client *c, uint8_t how)
{
	struct buf b;

	if (c->slot < 0 || f.w.gone[c->slot] || !f.w.links[c->slot]->is_up ||
	    f.w.links[c->slot]->read_off || f.w.ended[c->slot])
		return;
	buf_init(&b, &f.w.heap.mem);
	buf_put_span(&b, buf_span(&c->rest));
	buf_clear(&c->rest);
	if (c->is_wild && how % 4 == 0) {
		for (uint8_t n = world_next(&f.w) % 40; n > 0; n--) {
			uint8_t byte = world_next(&f.w);

			buf_put(&b, &byte, 1);
		}
	} else {
		for (uint8_t n = how % 4 + 1; n > 0; n--)
			ask(c, &b, world_next(&f.w));
	}
	if (how % 16 == 15 && buf_len(&b) > 1) {
		size_t all = buf_len(&b);
		size_t kept = all * (world_next(&f.w) % 16) / 16 + 1;

		if (kept < all) {
			buf_put_span(&c->rest, span_skip(buf_span(&b), kept));
			b.end -= all - kept;
		}
	}
	say(c, buf_span(&b));
	buf_fini(&b);
}

static void
come(uint8_t how)
{
	struct event ev = { .kind = EV_ACCEPT };
	struct client *c = client_at(-1);

	if (c == NULL)
		return;
	ev.link = world_link(&f.w, true, NULL);
	if (ev.link == NULL)
		return;
	buf_init(&ev.link->tx, &f.heap.mem);
	buf_clear(&c->rest);
	buf_clear(&c->got);
	buf_clear(&c->said);
	c->m = (struct session_model){ 0 };
	c->whole = 0;
	c->answers = 0;
	c->bad = false;
	c->stalled = false;
	c->is_wild = f.is_hostile && (how & 1);
	resp_cmd_init(&c->reader);
	c->slot = slot_of(ev.link);
	world_tell(&f.w, &ev);
}

static void
unstall(struct client *c)
{
	if (c->slot < 0 || !c->stalled)
		return;
	c->stalled = false;
	if (!f.w.gone[c->slot])
		port_touch(&f.w.port, f.w.links[c->slot]);
}

/* ---- mails ------------------------------------------------------------- */

/* The keys with n are new's, or half of all, or all. */
static const struct scope *
some_scope(uint8_t which)
{
	static struct scope *made[3];
	static struct heap heap;
	static const struct span prefix[] = { SPAN("n") };
	struct scope_in in = { .prefix = prefix };

	which %= 3;
	in.prefix_n = which == 0;
	in.ppm = which == 1 ? 500000 : 1000000;
	if (made[which] == NULL) {
		heap.mem.resize = heap_resize;
		made[which] = scope_build(&heap.mem, &in);
	}
	return made[which];
}

static void
send(struct mail *m)
{
	struct event ev = { .kind = EV_MAIL, .mail = m };

	m->route = f.route;
	m->epoch = f.epoch;
	show(m->kind == MAIL_ROUTE     ? "route"
	     : m->kind == MAIL_HOLD    ? "hold"
	     : m->kind == MAIL_RELEASE ? "release"
	     : m->kind == MAIL_PAIR    ? "pair"
	                               : "mail",
	     f.at[f.route.authority],
	     f.route.scope != NULL ? SPAN("split") : SPAN(""));
	world_tell(&f.w, &ev);
}

static void
change_route(uint8_t v)
{
	struct mail m = { .kind = MAIL_ROUTE };

	if (!f.is_pair || f.pairing)
		return;
	f.route.read_ppm = v & 1 ? 1000000 : v & 2 ? 500000 : 0;
	f.route.ack = v & 4 ? ACK_BOTH : ACK_AUTHORITY;
	f.route.ack_timeout_ms = 10;
	f.route.strict = (v & 24) == 24;
	f.route.shadow = (struct route_shadow){ 0 };
	if (v & 32)
		f.route.shadow = (struct route_shadow){ .ppm = 1000000,
			                                .inflight = 4,
			                                .bytes = 4096,
			                                .timeout_ms = 100 };
	send(&m);
}

static void
hold(uint8_t v)
{
	struct mail m = { .kind = MAIL_HOLD };

	if (!f.is_pair || f.pairing)
		return;
	f.epoch++;
	f.hold = true;
	m.deadline_ns = f.w.port.now_ns + (uint64_t)v * MS;
	send(&m);
}

/* Where it was, the other side, or a split. */
static void
release(uint8_t v)
{
	struct mail m = { .kind = MAIL_RELEASE };

	if (!f.hold)
		return;
	f.hold = false;
	/* The fence of the side that has it may be lifted a moment later. */
	f.servers.is_fenced = v & 64;
	f.calm &= !f.servers.is_fenced;
	if (f.route.scope != NULL) {
		f.route.scope = NULL;
	} else if (v % 4 == 1 && f.route.authority == SIDE_OLD) {
		f.calm = false;
		f.route.scope = some_scope(v >> 2);
		f.was_split = true;
	} else if (v % 4 > 1) {
		f.calm = false;
		f.route.authority = side_other(f.route.authority);
	}
	send(&m);
}

static void
behind(uint8_t v)
{
	struct mail m = { .kind = MAIL_BEHIND, .flag = v % 3 };

	f.calm = false;
	if (f.is_pair && !f.pairing)
		send(&m);
}

static struct relay_conf *
next_conf(void)
{
	struct relay_conf *conf = &f.confs[f.confs_n++];

	*conf = (struct relay_conf){ .traffic = &f.traffic,
		                     .reverse = &f.reverse };
	for (int s = 0; s < SIDE_N; s++) {
		memcpy(conf->side[s].own_user, "g", 2);
		memcpy(conf->side[s].reader_user, "r", 2);
		memcpy(conf->side[s].writer_user, "w", 2);
		conf->side[s].at.port = (uint16_t)f.at[s];
		conf->side[s].tag = (uint8_t)(f.at[s] + 1);
	}
	if (f.is_pair)
		conf->board = &f.board;
	return conf;
}

/* A migration comes to the interlay, or it is over. */
static void
pair(void)
{
	struct mail m = { .kind = MAIL_PAIR,
		          .side = f.route.authority,
		          .token = SIDE_OLD };

	if (f.pairing || f.hold || f.route.scope != NULL || f.confs_n == CONFS)
		return;
	if (f.route.authority == SIDE_NEW) {
		int was = f.at[SIDE_OLD];

		f.at[SIDE_OLD] = f.at[SIDE_NEW];
		f.at[SIDE_NEW] = was;
	}
	f.is_pair = !f.is_pair;
	f.pairing = true;
	f.route = (struct route){ .authority = SIDE_OLD, .epoch = f.epoch };
	m.pair = next_conf();
	send(&m);
}

static void
look_at_board(uint8_t v)
{
	struct event ev = { .kind = EV_BOARD };

	atomic_store(&f.board.passed[0], world_next(&f.w));
	atomic_store(&f.board.passed[1], world_next(&f.w));
	atomic_store(&f.board.unsettled, v & 3);
	atomic_store(&f.reverse.passed[1], atomic_load(&f.board.passed[1]));
	world_tell(&f.w, &ev);
}

/* ---- events ------------------------------------------------------------ */

static void
mail(uint8_t v)
{
	uint8_t more = world_next(&f.w);

	switch (v % 6) {
	case 0: change_route(more); break;
	case 1: hold(more); break;
	case 2: release(more); break;
	case 3: behind(more); break;
	case 4: pair(); break;
	default: look_at_board(more);
	}
}

static void
wild_server(int i)
{
	uint8_t bytes[32];
	uint8_t n = world_next(&f.w) % sizeof(bytes);

	for (uint8_t k = 0; k < n; k++)
		bytes[k] = world_next(&f.w);
	if (f.is_hostile && f.is_peer[i])
		tell_bytes(i, span_of(bytes, n));
}

static void
trouble(uint8_t v, int i)
{
	struct client *c = &f.client[i % CLIENTS];

	f.calm &= v % 8 == 2 || v % 8 == 3;
	switch (v % 8) {
	case 0: down(i); break;
	case 1:
		if (f.w.links[i] != NULL && !f.w.gone[i])
			world_eof(&f.w, i);
		break;
	case 2: c->stalled = c->slot >= 0; break;
	case 3: unstall(c); break;
	case 4: f.heap.refuse_at = 1 + world_next(&f.w) % 64; break;
	case 5: mute(i, !f.mute[i]); break;
	case 6: f.servers.is_fenced = false; break;
	default: wild_server(i);
	}
}

static void
one(void)
{
	uint8_t op = world_next(&f.w);
	int i = world_next(&f.w) % WORLD_LINKS;

	switch (op % 8) {
	case 0: come(op >> 3); break;
	case 1:
	case 2: speak(&f.client[i % CLIENTS], op >> 3); break;
	case 3: serve(i, op & 0x40 ? SIZE_MAX : (size_t)(op >> 3) + 1); break;
	case 4: mail(op >> 3); break;
	case 5: trouble(op >> 3, i); break;
	case 6: unblock(i); break;
	default: turn((uint64_t)(op >> 3) * 20 * MS);
	}
	if (op & 0x80)
		batch();
}

/* ---- the end ----------------------------------------------------------- */

/* Everything works again. */
static void
heal(void)
{
	struct mail thaw = { .kind = MAIL_BEHIND, .flag = 0 };

	f.heap.refuse_at = 0;
	f.servers.is_fenced = false;
	for (int i = 0; i < WORLD_LINKS; i++) {
		mute(i, false);
		if (f.is_hostile && f.is_peer[i])
			down(i);
	}
	batch();
	release(0);
	if (f.is_pair && !f.pairing)
		send(&thaw);
	atomic_store(&f.board.passed[0], UINT64_C(1) << 40);
	atomic_store(&f.board.passed[1], UINT64_C(1) << 40);
	atomic_store(&f.reverse.passed[1], UINT64_C(1) << 40);
	atomic_store(&f.board.unsettled, 0);
	for (int c = 0; c < CLIENTS; c++)
		unstall(&f.client[c]);
	batch();
}

static void
finish_words(struct client *c)
{
	struct buf rest = c->rest;

	if (c->slot < 0 || f.w.gone[c->slot] || buf_len(&rest) == 0 ||
	    f.w.links[c->slot]->read_off)
		return;
	buf_init(&c->rest, &f.w.heap.mem);
	say(c, buf_span(&rest));
	buf_fini(&rest);
}

static void
settle(int turns)
{
	for (int t = 0; t < turns; t++) {
		struct event ev = { .kind = EV_BOARD };

		for (int c = 0; c < CLIENTS; c++)
			finish_words(&f.client[c]);
		for (int i = 0; i < WORLD_LINKS; i++)
			unblock(i);
		world_tell(&f.w, &ev);
		turn(60 * MS);
	}
}

/* Nobody waits for ever. */
static void
check_answers(void)
{
	for (int i = 0; i < CLIENTS; i++) {
		struct client *c = &f.client[i];

		if (c->slot < 0 || c->m.chats || c->is_wild || f.is_hostile)
			continue;
		if (c->m.answered != c->m.sent_n || buf_len(&c->got) > 0)
			(void)fprintf(stderr,
			              "client %d waits: %u of %u answered, "
			              "%zu bytes of the next\n",
			              i, c->m.answered, c->m.sent_n,
			              buf_len(&c->got));
		REQUIRE(c->m.answered == c->m.sent_n);
		REQUIRE(buf_len(&c->got) == 0);
	}
}

static void
stop_or_leave(bool stops)
{
	struct mail m = { .kind = MAIL_STOP };

	if (stops) {
		send(&m);
		settle(80);
		REQUIRE(f.stopped);
		return;
	}
	for (int i = 0; i < CLIENTS; i++) {
		if (f.client[i].slot >= 0)
			down(f.client[i].slot);
	}
	batch();
	settle(40);
	if (f.heap.mem.used > IDLE)
		(void)fprintf(stderr, "%zu bytes for nobody\n",
		              f.heap.mem.used);
	REQUIRE(f.heap.mem.used <= IDLE);
}

static void
begin(const uint8_t *data, size_t n)
{
	static const struct port_ops ops = { fuzz_open, fuzz_close, fuzz_read,
		                             fuzz_mail, world_poke };

	memset(&f, 0, sizeof(f));
	world_begin(&f.w, &relay_machine, data, n);
	f.heap = heap_make();
	f.w.port.ops = &ops;
	f.w.port.mem = &f.heap.mem;
	f.servers.ran = ran;
	f.at[SIDE_OLD] = 1;
	f.at[SIDE_NEW] = 2;
	for (int c = 0; c < CLIENTS; c++) {
		f.client[c].slot = -1;
		buf_init(&f.client[c].rest, &f.w.heap.mem);
		buf_init(&f.client[c].got, &f.w.heap.mem);
		buf_init(&f.client[c].said, &f.w.heap.mem);
	}
}

static void
end(void)
{
	f.w.machine->fini(f.w.self, &f.w.port);
	f.w.port.dirty = NULL;
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (f.w.links[i] == NULL)
			continue;
		if (!f.w.gone[i])
			buf_fini(&f.w.links[i]->tx);
		bury(i);
	}
	REQUIRE(f.heap.mem.used == 0);
	for (int c = 0; c < CLIENTS; c++) {
		buf_fini(&f.client[c].rest);
		buf_fini(&f.client[c].got);
		buf_fini(&f.client[c].said);
	}
	mem_free(&f.w.heap.mem, f.w.self, relay_machine.self_size);
	REQUIRE(f.w.heap.mem.used == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint8_t kind;

	begin(data, n);
	kind = world_next(&f.w);
	f.is_hostile = kind % 4 == 3;
	f.calm = !f.is_hostile;
	f.is_pair = (kind & 4) == 0;
	relay_init(f.w.self, next_conf());
	world_start(&f.w);
	batch();
	while (f.w.n > 0)
		one();
	heal();
	settle(70);
	check_answers();
	stop_or_leave(kind & 8);
	end();
	return 0;
}
