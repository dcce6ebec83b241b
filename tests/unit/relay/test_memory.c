/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_memory.c: each allocation of a long scenario is refused
 * in turn. Whatever fails, no client gets a reply that is another's: reply i is
 * the one of the run with enough memory, or an error of Godwit's own, or the
 * client is closed; and all memory comes back. Beside it, what depends on
 * fractions of a second.
 */
#include "scene.h"

#define MAX_RUNS  20000
#define BODY      "return 'a body of some length, so that it needs memory'"
#define BODY_SHA1 "8c6c5c0d27ed0bb61cda453a5af6bcc62c6b767d"

/* ---- the scenario ------------------------------------------------------ */

static void
before_the_switch(void)
{
	say(0, "GET a1\r\nGET a2\r\nGET \"a 3\"\r\nSELECT 2\r\nGET a4\r\n"
	       "SELECT 0\r\nCLIENT ID\r\nNOSUCH x\r\n");
	say(1, "MULTI\r\nSET x y\r\nGET b2\r\n");
	say(2, "HELLO 3\r\nSCRIPT LOAD \"" BODY "\"\r\nEVAL \"" BODY
	       "\" 0 x\r\nGET nil\r\n");
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
	say(2, "SUBSCRIBE e\r\nGET m1\r\nGET nil\r\nUNSUBSCRIBE\r\n"
	       "HELLO 2\r\nGET nil\r\nHELLO 3\r\n"
	       "CLIENT TRACKING ON\r\nCLIENT CACHING YES\r\n");
	settle();
	say(2, "GET m2\r\n");
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

/* The keys that begin with n are new's for a while. */
static void
in_a_split(void)
{
	const struct span prefix = SPAN("n");
	static struct scope *scope;
	static struct heap heap;

	if (scope == NULL) {
		heap = heap_make();
		scope = scope_build(
			&heap.mem,
			&(struct scope_in){ .prefix = &prefix, .prefix_n = 1 });
	}
	run.epoch = 1;
	run.scope = scope;
	atomic_store(&run.reverse.passed[SIDE_NEW], UINT64_C(1) << 40);
	mail(MAIL_HOLD, SIDE_OLD, 0, ACK_AUTHORITY);
	say(0, "GET n1\r\n");
	settle();
	mail(MAIL_RELEASE, SIDE_OLD, 0, ACK_AUTHORITY);
	settle();
	say(0, "GET o1\r\nGET n2\r\nGET o2\r\nMGET o n\r\nDBSIZE\r\n");
	say(6, "MULTI\r\nPING\r\nGET n3\r\nCLIENT ID\r\nEXEC\r\n");
	say(2, "WATCH n4\r\nGET n4\r\nMULTI\r\nGET n5\r\nEXEC\r\n");
	say(3, "SUBSCRIBE d\r\nUNSUBSCRIBE d\r\n");
	say(7, "MULTI\r\n");
	settle();
	say(7, "SET n6 v\r\nEXEC\r\nEVAL x 0\r\n");
	settle();
	run.scope = NULL;
	mail(MAIL_HOLD, SIDE_OLD, 0, ACK_AUTHORITY);
	settle();
	mail(MAIL_RELEASE, SIDE_OLD, 0, ACK_AUTHORITY);
	settle();
	say(0, "GET n7\r\n");
	settle();
}

static void
after_the_switch(void)
{
	run.epoch = 2;
	mail(MAIL_HOLD, SIDE_OLD, 0, ACK_AUTHORITY);
	say(0, "GET j1\r\n");
	settle();
	mail(MAIL_RELEASE, SIDE_NEW, 0, ACK_AUTHORITY);
	settle();
	say(1, "GET b3\r\nEXEC\r\nGET b4\r\n");
	say(3, "SUBSCRIBE c\r\nPING\r\n");
	say(6,
	    "MULTI\r\nGET g3\r\nCLIENT ID\r\nCLIENT SETNAME b\r\nSELECT 3\r\n"
	    "EXEC\r\nWATCH w\r\nSELECT 2\r\nUNWATCH\r\n");
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

/* ---- what they got ----------------------------------------------------- */

static bool
may_differ(struct span reply)
{
	return span_has_prefix(reply, SPAN("-ERR godwit")) ||
	       span_has_prefix(reply, SPAN("-EXECABORT")) ||
	       span_has_prefix(reply, SPAN("-NOSCRIPT")) ||
	       span_eq(reply, SPAN("*-1\r\n"));
}

/* Whoever tracks is told so each time it loses its lane. */
static bool
is_invalidation(struct span reply)
{
	return span_eq(reply, SPAN(">2\r\n$10\r\ninvalidate\r\n_\r\n"));
}

/* The reply at the front, taken from all; false: there is no whole one. */
static bool
next_reply(struct span *all, struct span *ret)
{
	struct resp_skip skip;
	size_t used = 0;

	do {
		resp_skip_init(&skip);
		if (all->n == 0 ||
		    resp_skip_feed(&skip, *all, &used) != WIRE_PART)
			return false;
		*ret = span_of(all->p, used);
		*all = span_skip(*all, used);
	} while (is_invalidation(*ret));
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
	if (next_reply(&right, &a) && run.client[c] >= 0)
		fail_msg("allocation %zu: client %d waits for ever for %.*s", k,
		         c, (int)a.n, (const char *)a.p);
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
	in_a_split();
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
		in_a_split();
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
