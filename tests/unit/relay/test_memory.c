/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_memory.c: each allocation of a long scenario is refused
 * in turn. Whatever fails, no client gets a reply that is another's: reply i is
 * the one of the run with enough memory, or an error of Godwit's own, or the
 * client is closed; and all memory comes back. Beside it, what depends on
 * fractions of a second.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>
// clang-format on

#include "engine/redis/relay/relay.h"
#include "server.h"
#include "world.h"

#define CLIENTS   8
#define PORT_OLD  1
#define PORT_NEW  2
#define MS        UINT64_C(1000000)
#define MAX_RUNS  20000
#define BODY      "return 'a body of some length, so that it needs memory'"
#define BODY_SHA1 "8c6c5c0d27ed0bb61cda453a5af6bcc62c6b767d"

struct run {
	struct world w;   /* first */
	struct heap heap; /* what the machine has */
	struct board board;
	struct traffic traffic;
	struct relay_conf conf;
	struct peers peers;
	struct buf outs[WORLD_LINKS];
	int client[CLIENTS]; /* slot of its link, -1: closed */
	struct buf got[CLIENTS];
	bool doomed[WORLD_LINKS];
	uint64_t epoch;
};

static struct run run;

/* ---- a world that can be out of memory --------------------------------- */

static struct link *
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

static void
fresh_peer(int i)
{
	struct peer *p = &run.peers.at[i];

	buf_fini(&p->in);
	*p = (struct peer){ .is_new = run.w.to[i] == PORT_NEW };
	buf_init(&p->in, &run.w.heap.mem);
	buf_clear(&run.outs[i]);
}

/* The bytes of link i leave, or it fails. */
static void
flush(int i)
{
	struct buf *tx = &run.w.links[i]->tx;

	if (buf_failed(tx)) {
		run.doomed[i] = !run.w.gone[i];
		buf_fini(tx);
		return;
	}
	if (!run.w.client[i])
		peer_bytes(&run.peers, i, buf_span(tx), run.outs);
	for (int c = 0; c < CLIENTS; c++) {
		if (run.client[c] == i)
			buf_put_span(&run.got[c], buf_span(tx));
	}
	buf_release(tx);
}

static void
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
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (w->links[i] == NULL || !w->gone[i])
			continue;
		for (int c = 0; c < CLIENTS; c++) {
			if (run.client[c] == i)
				run.client[c] = -1;
		}
		world_bury(w, i);
	}
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.doomed[i])
			world_down(w, i);
		run.doomed[i] = false;
	}
}

/* Bytes of a server come cut, so that replies have to be collected. */
static void
in_halves(int i, struct span bytes)
{
	size_t half = bytes.n / 2;

	world_bytes(&run.w, i, span_of(bytes.p, half));
	if (run.w.links[i] != NULL)
		world_bytes(&run.w, i, span_skip(bytes, half));
}

/* What can happen by itself happens, one step of it. */
static void
turn(uint64_t ns)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		struct buf out = run.outs[i];

		if (run.w.links[i] == NULL || run.w.client[i])
			continue;
		if (!run.w.links[i]->is_up && !run.w.gone[i]) {
			fresh_peer(i);
			world_up(&run.w, i);
			continue;
		}
		buf_init(&run.outs[i], &run.w.heap.mem);
		in_halves(i, buf_span(&out));
		buf_fini(&out);
	}
	batch();
	world_pass_time(&run.w, ns);
}

/* All of it. */
static void
settle(void)
{
	for (int i = 0; i < 40; i++)
		turn(35 * MS);
}

static void
say(int c, const char *inline_words)
{
	char line[4000];
	int n = snprintf(line, sizeof(line), "%s", inline_words);

	if (run.client[c] >= 0)
		world_bytes(&run.w, run.client[c], span_of(line, (size_t)n));
	batch();
}

static void
mail(enum mail_kind kind, enum side authority, uint32_t ppm, enum ack_mode ack)
{
	struct mail m = { .kind = kind, .epoch = run.epoch };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	m.deadline_ns = run.w.port.now_ns + 100 * MS;
	m.route = (struct route){ .authority = authority,
		                  .read_ppm = ppm,
		                  .ack = ack };
	world_tell(&run.w, &ev);
	batch();
}

/* ---- the scenario ------------------------------------------------------ */

static void
begin(size_t refuse_at)
{
	static const struct port_ops ops = { scarce_open, world_close,
		                             world_read, world_mail,
		                             world_poke };

	memset(&run, 0, sizeof(run));
	run.heap = heap_make();
	world_begin(&run.w, &relay_machine, NULL, 0);
	run.w.port.ops = &ops;
	run.w.port.mem = &run.heap.mem;
	for (int i = 0; i < WORLD_LINKS; i++) {
		buf_init(&run.outs[i], &run.w.heap.mem);
		buf_init(&run.peers.at[i].in, &run.w.heap.mem);
	}
	run.conf.board = &run.board;
	run.conf.traffic = &run.traffic;
	run.conf.side[SIDE_OLD].at.port = PORT_OLD;
	run.conf.side[SIDE_NEW].at.port = PORT_NEW;
	for (int s = 0; s < SIDE_N; s++) {
		memcpy(run.conf.side[s].own_user, "g", 2);
		memcpy(run.conf.side[s].reader_user, "r", 2);
	}
	relay_init(run.w.self, &run.conf);
	world_start(&run.w);
	batch();
	for (int c = 0; c < CLIENTS; c++) {
		struct event ev = { .kind = EV_ACCEPT };

		buf_init(&run.got[c], &run.w.heap.mem);
		ev.link = world_link(&run.w, true, NULL);
		buf_init(&ev.link->tx, &run.heap.mem);
		for (int i = 0; i < WORLD_LINKS; i++) {
			if (run.w.links[i] == ev.link)
				run.client[c] = i;
		}
		world_tell(&run.w, &ev);
	}
	run.heap.refuse_at = refuse_at;
}

static void
before_the_switch(void)
{
	say(0, "GET a1\r\nGET a2\r\nGET \"a 3\"\r\nSELECT 2\r\nGET a4\r\n"
	       "SELECT 0\r\nCLIENT ID\r\nNOSUCH x\r\n");
	say(1, "MULTI\r\nSET x y\r\nGET b2\r\n");
	say(2, "SCRIPT LOAD \"" BODY "\"\r\nEVAL \"" BODY "\" 0 x\r\n");
	say(3, "SUBSCRIBE a b\r\n");
	say(4, "BLPOP q 0\r\n");
	say(5, "HELLO 2\r\nAUTH app pw\r\nCLIENT SETNAME me\r\n"
	       "CLIENT GETNAME\r\nGET f1\r\nSCAN 0\r\n");
	say(6, "WATCH w\r\nGET g1\r\nUNWATCH\r\nGET g2\r\n");
	settle();
	say(2, "EVALSHA " BODY_SHA1 " 0 first\r\n");
	settle();
	mail(MAIL_ROUTE, SIDE_OLD, 1000000, ACK_BOTH);
	atomic_store(&run.board.passed[0], UINT64_C(1) << 40);
	atomic_store(&run.board.passed[1], UINT64_C(1) << 40);
	settle();
	say(7, "GET h1\r\nGET h2\r\n");
	settle();
	say(7, "SET h3 v\r\nGET h4\r\nGET h5\r\n");
	say(0, "SET h6 v\r\nINCR h7\r\nGET h8\r\n");
	settle();
	/* Answers of the other side that are no good any more. */
	say(7, "GET l1\r\nGET l2\r\nGET l3\r\n");
	atomic_store(&run.board.unsettled, 2);
	settle();
	atomic_store(&run.board.passed[0], 0);
	say(7, "SET h9 v\r\nCLIENT ID\r\nSET i1 v\r\n");
	settle();
	atomic_store(&run.board.passed[0], UINT64_C(1) << 41);
	world_tell(&run.w, &(struct event){ .kind = EV_BOARD });
	settle();
}

static void
after_the_switch(void)
{
	run.epoch = 1;
	mail(MAIL_HOLD, SIDE_OLD, 0, ACK_AUTHORITY);
	say(0, "GET j1\r\n");
	settle();
	mail(MAIL_RELEASE, SIDE_NEW, 0, ACK_AUTHORITY);
	settle();
	say(1, "GET b3\r\nEXEC\r\nGET b4\r\n");
	say(3, "SUBSCRIBE c\r\nPING\r\n");
	say(6, "MULTI\r\nGET g3\r\nEXEC\r\n");
	say(0, "GET j2\r\nQUIT\r\n");
	settle();
	say(3, "UNSUBSCRIBE a b c\r\nGET d1\r\n");
	if (run.client[7] >= 0) {
		say(7, "GET k1\r\n");
		if (run.client[7] >= 0)
			world_eof(&run.w, run.client[7]);
	}
	settle();
}

static void
end(void)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		buf_fini(&run.outs[i]);
		buf_fini(&run.peers.at[i].in);
	}
	run.heap.refuse_at = 0;
	run.w.machine->fini(run.w.self, &run.w.port);
	run.w.port.dirty = NULL;
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.w.links[i] != NULL)
			world_bury(&run.w, i);
	}
	assert_int_equal(run.heap.mem.used, 0);
	mem_free(&run.w.heap.mem, run.w.self, relay_machine.self_size);
}

/* ---- what they got ----------------------------------------------------- */

static bool
may_differ(struct span reply)
{
	return span_has_prefix(reply, SPAN("-ERR godwit")) ||
	       span_has_prefix(reply, SPAN("-EXECABORT")) ||
	       span_has_prefix(reply, SPAN("-NOSCRIPT")) ||
	       span_eq(reply, SPAN("*-1\r\n"));
}

/* The reply at the front, taken from all; false: there is no whole one. */
static bool
next_reply(struct span *all, struct span *ret)
{
	struct resp_skip skip;
	size_t used = 0;

	resp_skip_init(&skip);
	if (all->n == 0 || resp_skip_feed(&skip, *all, &used) != WIRE_PART)
		return false;
	*ret = span_of(all->p, used);
	*all = span_skip(*all, used);
	return true;
}

static void
compare(int c, struct span right, size_t k)
{
	struct span got = buf_span(&run.got[c]);
	struct span a;
	struct span b;

	while (next_reply(&got, &b)) {
		if (!next_reply(&right, &a)) {
			/* Last words before it was closed. */
			if (!may_differ(b) || run.client[c] >= 0)
				fail_msg("allocation %zu: client %d got more: "
				         "%.*s",
				         k, c, (int)b.n, (const char *)b.p);
			continue;
		}
		if (!span_eq(a, b) && !may_differ(b))
			fail_msg("allocation %zu: client %d got %.*s, not "
			         "%.*s",
			         k, c, (int)b.n, (const char *)b.p, (int)a.n,
			         (const char *)a.p);
	}
	if (got.n > 0 && run.client[c] >= 0)
		fail_msg("allocation %zu: client %d got half a reply", k, c);
	if (right.n > 0 && run.client[c] >= 0)
		fail_msg("allocation %zu: client %d waits for ever for %.*s", k,
		         c, (int)right.n, (const char *)right.p);
}

static void
no_refusal_makes_a_wrong_reply(void **state)
{
	struct buf right[CLIENTS];
	struct heap keep = heap_make();
	size_t closed = 0;
	size_t k = 0;
	bool refused = true;

	(void)state;
	begin(0);
	before_the_switch();
	after_the_switch();
	for (int c = 0; c < CLIENTS; c++) {
		buf_init(&right[c], &keep.mem);
		buf_put_span(&right[c], buf_span(&run.got[c]));
		if (getenv("SHOW") != NULL)
			printf("client %d\n%.*s\n", c, (int)buf_len(&right[c]),
			       (const char *)buf_span(&right[c]).p);
		assert_true(buf_len(&right[c]) > 0);
		buf_fini(&run.got[c]);
	}
	assert_true(atomic_load(&run.traffic.reads[SIDE_NEW]) > 0);
	assert_int_equal(atomic_load(&run.traffic.read_retries), 3);
	end();
	while (refused && k++ < MAX_RUNS) {
		begin(k);
		before_the_switch();
		after_the_switch();
		refused = run.heap.refuse_at == 0;
		for (int c = 0; c < CLIENTS; c++) {
			compare(c, buf_span(&right[c]), k);
			closed += run.client[c] < 0;
			buf_fini(&run.got[c]);
		}
		end();
	}
	assert_false(refused);
	assert_true(k > 200);
	assert_true(closed > k); /* some pay for it */
	for (int c = 0; c < CLIENTS; c++)
		buf_fini(&right[c]);
}

/* ---- a read behind the stream ------------------------------------------ */

static uint64_t
reads(enum side side)
{
	return atomic_load(&run.traffic.reads[side]);
}

/* It waits for nothing: the authority answers what the stream has not passed. */
static void
a_read_behind_the_stream_goes_at_once(void **state)
{
	(void)state;
	begin(0);
	settle();
	mail(MAIL_ROUTE, SIDE_OLD, 1000000, ACK_AUTHORITY);
	settle();
	atomic_store(&run.board.passed[0], 0);
	say(7, "SET x v\r\n");
	settle();
	say(7, "GET x\r\n");
	assert_int_equal(reads(SIDE_OLD), 1);
	settle();
	atomic_store(&run.board.passed[0], UINT64_C(1) << 40);
	say(7, "GET x\r\n");
	settle();
	assert_int_equal(reads(SIDE_OLD), 1);
	assert_int_equal(reads(SIDE_NEW), 1);
	for (int c = 0; c < CLIENTS; c++)
		buf_fini(&run.got[c]);
	end();
}

/* ---- a server that comes back ------------------------------------------ */

/* Neither server can be reached for so long. */
static void
nobody_is_there(int seconds)
{
	for (int n = 0; n < seconds * 20; n++) {
		for (int i = 0; i < WORLD_LINKS; i++) {
			if (run.w.links[i] != NULL && !run.w.client[i])
				world_down(&run.w, i);
		}
		batch();
		world_pass_time(&run.w, 50 * MS);
	}
}

/* Godwit's own connection, which has tried in vain for long, does not let the
 * clients wait once another one has found the server. */
static void
one_connection_finds_the_server_for_all(void **state)
{
	(void)state;
	begin(0);
	settle();
	say(2, "SCRIPT LOAD \"" BODY "\"\r\n");
	mail(MAIL_ROUTE, SIDE_OLD, 1000000, ACK_AUTHORITY);
	settle();
	nobody_is_there(10);
	say(0, "SELECT 3\r\nGET a\r\n");
	for (int i = 0; i < 20; i++)
		turn(MS / 4);
	assert_true(span_eq(buf_span(&run.got[0]), SPAN("+OK\r\n$1\r\na\r\n")));
	for (int c = 0; c < CLIENTS; c++)
		buf_fini(&run.got[c]);
	end();
}

/* ---- a fence that is lifted late --------------------------------------- */

/* MULTI is refused by it, and what follows would be allowed: it must not run
 * singly. */
static void
nothing_of_a_refused_transaction_runs(void **state)
{
	(void)state;
	begin(0);
	settle();
	run.epoch = 1;
	mail(MAIL_HOLD, SIDE_OLD, 0, ACK_AUTHORITY);
	mail(MAIL_RELEASE, SIDE_OLD, 0, ACK_AUTHORITY);
	run.peers.is_fenced = true;
	say(0, "MULTI\r\n");
	say(1, "GET a\r\nWATCH a\r\n");
	settle();
	say(1, "MULTI\r\n");
	settle();
	run.peers.is_fenced = false;
	say(0, "SET x y\r\nEXEC\r\n");
	say(1, "SET x y\r\nEXEC\r\n");
	settle();
	assert_int_equal(atomic_load(&run.traffic.writes[SIDE_OLD]), 0);
	assert_true(run.client[0] < 0 && run.client[1] < 0);
	/* It is open, as the next one shows: who may never is told so only. */
	say(2, "MULTI\r\nSET x y\r\nEXEC\r\n");
	settle();
	run.peers.is_fenced = true;
	say(3, "MULTI\r\n");
	settle();
	say(3, "GET b\r\n");
	settle();
	assert_true(span_eq(buf_span(&run.got[3]),
	                    SPAN("-NOPERM not now\r\n$1\r\nb\r\n")));
	for (int c = 0; c < CLIENTS; c++)
		buf_fini(&run.got[c]);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_read_behind_the_stream_goes_at_once),
		cmocka_unit_test(one_connection_finds_the_server_for_all),
		cmocka_unit_test(nothing_of_a_refused_transaction_runs),
		cmocka_unit_test(no_refusal_makes_a_wrong_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
