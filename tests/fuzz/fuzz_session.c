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
#include "stage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

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
	{ "MULTI", ASKS_MULTI },
	{ "EXEC", ASKS_EXEC },
	{ "DISCARD", ASKS_DISCARD },
	{ "UNWATCH", ASKS_OK },
	{ "SELECT 0", ASKS_OK },
	{ "SELECT 1", ASKS_OK },
	{ "PING", ASKS_PONG },
	{ "CLIENT ID", ASKS_INT },
	{ "SCAN 0", ASKS_ARRAY },
	{ "DBSIZE", ASKS_INT },
	{ "NOSUCH", ASKS_ERROR },
	{ "CLIENT SETNAME me", ASKS_OK },
	{ "AUTH app pw", ASKS_OK },
	{ "RESET", ASKS_RESET },
	{ "WATCH w", ASKS_OK },
	{ "CONFIG NOSUCH", ASKS_ERROR },
	{ "HELLO 2", ASKS_RESP2 },
	{ "HELLO 3", ASKS_RESP3 },
	{ "CLIENT TRACKING ON", ASKS_OK },
	{ "QUIT", ASKS_QUIT },
	{ "SUBSCRIBE a", ASKS_ANY },
	{ "UNSUBSCRIBE a", ASKS_ANY },
	{ "SSUBSCRIBE a", ASKS_ANY },
	{ "SUNSUBSCRIBE a", ASKS_ANY },
	{ "SUNSUBSCRIBE", ASKS_ANY },
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
		conf->side[s].at.by_cluster = f.of_nodes;
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

/* Nodes give their keys away, or have them again; a new one has the seat. */
static void
stray(uint8_t v, int i)
{
	static const char *const words[] = { "-MOVED 1 h:1\r\n",
		                             "-ASK 1 h:1\r\n",
		                             "-TRYAGAIN later\r\n",
		                             "-CLUSTERDOWN no\r\n" };
	struct mail m = { .kind = MAIL_SEAT,
		          .side = i & 4 ? SIDE_NEW : SIDE_OLD };

	f.servers.is_fenced = false;
	f.servers.astray = v & 8 ? words[i % 4] : NULL;
	if (f.of_nodes && (v & 8) == 0)
		send(&m);
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
	case 6: stray(v, i); break;
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
	f.servers.astray = NULL;
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
		                             fuzz_mail, world_poke, NULL,
		                             NULL };

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
	f.of_nodes = kind & 16;
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
