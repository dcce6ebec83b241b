/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_astray.c: a node of a cluster does not take what it is
 * asked, for a while: no client is told, and each request is executed once.
 */
#include "scene.h"

static const char *const words[] = { "-MOVED 1 h:1\r\n", "-ASK 1 h:1\r\n",
	                             "-TRYAGAIN later\r\n",
	                             "-CLUSTERDOWN no\r\n" };

#define WORDS (sizeof(words) / sizeof(words[0]))

/* Keys and words of transactions in the order in which nodes saw them, since the
 * last MULTI. */
static char seen[400];
static const char zeros[1000];
static size_t longest; /* value of a SET              */
static int cursors;    /* of SSCAN but 0 that were seen */
static int sevens;     /* ... that are 7              */

static void
saw(const struct peer *p, const struct resp_cmd *q)
{
	size_t n;

	if (peer_is(q, 0, "set") && q->argv[2].n > longest)
		longest = q->argv[2].n;
	if (peer_is(q, 0, "sscan") && !peer_is(q, 2, "0")) {
		cursors++;
		sevens += peer_is(q, 2, "7");
	}
	if (peer_is(q, 0, "multi"))
		seen[0] = '\0';
	n = strlen(seen);
	if (peer_is(q, 0, "multi") || peer_is(q, 0, "exec") ||
	    (peer_is(q, 0, "ping") && p->multi)) /* else Godwit's own */
		(void)snprintf(seen + n, sizeof(seen) - n, "%.1s",
		               (const char *)q->argv[0].p);
	else if (peer_is(q, 0, "get"))
		(void)snprintf(seen + n, sizeof(seen) - n, "%.*s",
		               (int)q->argv[1].n, (const char *)q->argv[1].p);
}

static void
start(void)
{
	scene_of_nodes = true;
	begin(0);
	run.peers.saw = saw;
	seen[0] = '\0';
	longest = 0;
	cursors = 0;
	sevens = 0;
	settle();
}

static void
turns(int n)
{
	for (int i = 0; i < n; i++)
		turn(35 * MS);
}

/* Once the client is read. */
static void
bring(int c, struct span bytes)
{
	for (int i = 0; i < 20 && run.client[c] >= 0; i++) {
		if (!run.w.links[run.client[c]]->read_off)
			break;
		turns(1);
	}
	if (run.client[c] < 0)
		return;
	assert_false(run.w.links[run.client[c]]->read_off);
	world_bytes(&run.w, run.client[c], bytes);
	batch();
}

/* SET of a value of n bytes, in two packets. */
static void
set(int c, size_t n)
{
	struct buf b;

	buf_init(&b, &run.w.heap.mem);
	buf_putf(&b, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%zu\r\n", n);
	for (size_t i = 0; i < n; i += 1000)
		buf_put(&b, zeros, n - i < 1000 ? n - i : 1000);
	buf_put_str(&b, "\r\n");
	assert_false(buf_failed(&b));
	bring(c, span_of(b.p, buf_len(&b) / 2 + 70));
	turns(2);
	bring(c, span_skip(buf_span(&b), buf_len(&b) / 2 + 70));
	buf_fini(&b);
}

static void
finish(void)
{
	for (int c = 0; c < CLIENTS; c++)
		buf_fini(&run.got[c]);
	end();
}

static void
got_is(int c, const char *text)
{
	struct span got = buf_span(&run.got[c]);

	if (!span_eq(got, span_str(text)))
		fail_msg("client %d got %.*s, not %s", c, (int)got.n,
		         (const char *)got.p, text);
	buf_clear(&run.got[c]);
}

/* Word by word; the node strays from word `at` on, for so many turns. */
static void
go(size_t at, const char *said, int for_turns)
{
	static const char *const asked[] = { "MULTI\r\n", "GET a\r\n",
		                             "PING\r\n", "GET b\r\n",
		                             "EXEC\r\n" };
	static const char *const told[] = { "+OK\r\n", "+QUEUED\r\n",
		                            "+QUEUED\r\n", "+QUEUED\r\n",
		                            "*3\r\n:0\r\n:1\r\n:2\r\n" };

	for (size_t i = 0; i < 5; i++) {
		if (i == at)
			run.peers.astray = said;
		say(0, asked[i]);
		if (i == at)
			turns(for_turns);
		if (i == at)
			run.peers.astray = NULL;
		settle();
		got_is(0, told[i]);
	}
}

static void
a_transaction_begins_again(void **state)
{
	(void)state;
	for (size_t at = 0; at < 5; at++) {
		for (size_t i = 0; i < WORDS; i++) {
			for (int n = 1; n < 30; n += 4) {
				start();
				go(at, words[i], n);
				assert_string_equal(seen, "MaPbE");
				assert_true(run.client[0] >= 0);
				finish();
			}
		}
	}
}

/* It strays, is right again and strays again, and a new node has the seat. */
static void
a_transaction_begins_again_and_again(void **state)
{
	struct mail m = { .kind = MAIL_SEAT, .side = SIDE_OLD };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	(void)state;
	start();
	say(0, "MULTI\r\nGET a\r\n");
	settle();
	for (int i = 0; i < 40; i++) {
		run.peers.astray = i % 3 == 0 ? words[(size_t)i % WORDS] : NULL;
		if (i == 5)
			say(0, "GET b\r\n");
		if (i == 11)
			world_tell(&run.w, &ev);
		if (i == 15)
			say(0, "GET c\r\nEXEC\r\n");
		turns(2);
	}
	run.peers.astray = NULL;
	settle();
	got_is(0, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
	          "*3\r\n:0\r\n:1\r\n:2\r\n");
	assert_string_equal(seen, "MabcE");
	finish();
}

static void
a_pipeline_keeps_its_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < WORDS; i++) {
		start();
		say(1, "GET a\r\n");
		settle();
		run.peers.astray = words[i];
		say(1, "GET a\r\nPING\r\nGET b\r\nMULTI\r\nGET c\r\nEXEC\r\n"
		       "ECHO x\r\n");
		turns(7);
		run.peers.astray = NULL;
		settle();
		got_is(1, "$1\r\na\r\n$1\r\na\r\n+OK\r\n$1\r\nb\r\n+OK\r\n"
		          "+QUEUED\r\n*1\r\n:0\r\n$1\r\nx\r\n");
		finish();
	}
}

static void
a_watch_is_lost_with_its_node(void **state)
{
	(void)state;
	start();
	say(1, "WATCH w\r\nMULTI\r\nGET a\r\n");
	settle();
	run.peers.astray = words[0];
	say(1, "EXEC\r\n");
	turns(3);
	run.peers.astray = NULL;
	settle();
	say(1, "MULTI\r\nGET a\r\nEXEC\r\n");
	settle();
	got_is(1, "$1\r\nw\r\n+OK\r\n+QUEUED\r\n*-1\r\n"
	          "+OK\r\n+QUEUED\r\n*1\r\n:0\r\n");
	finish();
}

/* Cursors go to the node without the tag, each time. */
static void
a_scan_is_asked_again(void **state)
{
	(void)state;
	for (size_t i = 0; i < WORDS; i++) {
		start();
		run.peers.astray = words[i];
		say(1, "GET a\r\nSSCAN s 0\r\nSCAN 0\r\nGET b\r\n");
		say(2, "SSCAN s 896\r\n");
		turns(4);
		run.peers.astray = NULL;
		settle();
		got_is(1, "$1\r\na\r\n*2\r\n$3\r\n896\r\n*1\r\n$1\r\nk\r\n"
		          "*2\r\n$3\r\n896\r\n*1\r\n$1\r\nk\r\n"
		          "$1\r\nb\r\n");
		got_is(2, "*2\r\n$3\r\n896\r\n*1\r\n$1\r\nk\r\n");
		assert_true(cursors > 1);
		assert_int_equal(cursors, sevens);
		finish();
	}
}

/* Answers that are Godwit's: those of CLIENT and SELECT. */
static void
a_transaction_with_own_answers_begins_again(void **state)
{
	static const char *const asked[] = {
		"MULTI\r\n", "CLIENT SETNAME n\r\n", "GET a\r\n",
		"MULTI\r\n", "SELECT 0\r\n",         "GET b\r\n",
		"PING\r\n",  "CLIENT GETNAME\r\n",   "EXEC\r\n",
	};
	const size_t n = sizeof(asked) / sizeof(asked[0]);

	(void)state;
	for (size_t at = 0; at < n * WORDS; at++) {
		start();
		for (size_t i = 0; i < n; i++) {
			if (i == at / WORDS)
				run.peers.astray = words[at % WORDS];
			bring(0, span_str(asked[i]));
			if (i == at / WORDS)
				turns(5);
			run.peers.astray = NULL;
			if (at % 2 == 0)
				settle();
		}
		settle();
		got_is(0, "+OK\r\n+QUEUED\r\n+QUEUED\r\n"
		          "-ERR MULTI calls can not be nested\r\n"
		          "+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
		          "*6\r\n+OK\r\n:1\r\n:2\r\n:3\r\n:4\r\n"
		          "$1\r\nn\r\n");
		say(0, "MULTI\r\nCLIENT GETNAME\r\nEXEC\r\n");
		settle();
		got_is(0, "+OK\r\n+QUEUED\r\n*1\r\n$1\r\nn\r\n");
		finish();
	}
}

/* Another request with a key before a transaction, in one packet. */
static void
a_transaction_behind_others_begins_again(void **state)
{
	(void)state;
	start();
	say(0, "WATCH a\r\nGET a\r\nUNWATCH\r\n");
	settle();
	got_is(0, "$1\r\na\r\n$1\r\na\r\n+OK\r\n");
	set(0, 100000);
	settle();
	got_is(0, "$1\r\nk\r\n");
	run.peers.astray = words[0];
	say(0, "GET a\r\nMULTI\r\nGET b\r\nEXEC\r\nECHO x\r\n");
	turns(3);
	run.peers.astray = NULL;
	settle();
	got_is(0, "$1\r\na\r\n+OK\r\n+QUEUED\r\n*1\r\n:0\r\n$1\r\nx\r\n");
	finish();
}

static void
a_big_request_is_kept(void **state)
{
	(void)state;
	for (size_t i = 0; i < WORDS; i++) {
		start();
		run.peers.astray = words[i];
		set(1, 3000000);
		say(1, "GET a\r\n");
		turns(4);
		run.peers.astray = NULL;
		settle();
		got_is(1, "$1\r\nk\r\n$1\r\na\r\n");
		assert_int_equal(longest, 3000000);
		finish();
	}
}

static void
a_long_transaction_is_kept(void **state)
{
	(void)state;
	for (size_t at = 0; at < 7; at++) {
		start();
		for (size_t i = 0; i < 7; i++) {
			if (i == at)
				run.peers.astray = words[i % WORDS];
			if (i == 0)
				bring(1, SPAN("MULTI\r\n"));
			else if (i < 6)
				set(1, 90000);
			else
				bring(1, SPAN("EXEC\r\n"));
			turns(3);
			run.peers.astray = NULL;
		}
		settle();
		got_is(1, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
		          "+QUEUED\r\n+QUEUED\r\n"
		          "*5\r\n:0\r\n:1\r\n:2\r\n:3\r\n:4\r\n");
		finish();
	}
}

/* One client may keep nearly all there is; another one's big request is not
 * kept then, and is again when the first one is ready. */
static void
what_is_kept_has_a_bound(void **state)
{
	(void)state;
	start();
	bring(1, SPAN("MULTI\r\n"));
	set(1, RELAY_BIG_KEPT_MAX - 1000000);
	settle();
	run.peers.astray = words[0];
	set(2, 3000000);
	set(3, 30000);
	turns(3);
	assert_int_equal(run.client[2], -1);
	run.peers.astray = NULL;
	settle();
	got_is(3, "$1\r\nk\r\n");
	bring(1, SPAN("EXEC\r\n"));
	settle();
	got_is(1, "+OK\r\n+QUEUED\r\n*1\r\n:0\r\n");
	set(1, RELAY_BIG_KEPT_MAX + 1000000);
	settle();
	got_is(1, "$1\r\nk\r\n");
	run.peers.astray = words[0];
	set(4, RELAY_BIG_KEPT_MAX - 1000000);
	turns(3);
	run.peers.astray = NULL;
	settle();
	got_is(4, "$1\r\nk\r\n");
	finish();
}

/* Nobody has the keys for too long: clients are told, also by EXEC. */
static void
nobody_waits_for_ever(void **state)
{
	(void)state;
	start();
	say(2, "MULTI\r\nGET a\r\n");
	settle();
	run.peers.astray = words[0];
	say(1, "GET a\r\n");
	say(2, "EXEC\r\n");
	for (int i = 0; i < 3; i++) {
		settle();
		assert_int_equal(buf_len(&run.got[1]), 0);
	}
	for (int i = 0; i < 6; i++)
		settle();
	got_is(1, words[0]);
	got_is(2, "+OK\r\n+QUEUED\r\n-EXECABORT Transaction discarded "
	          "because of previous errors.\r\n");
	run.peers.astray = NULL;
	say(1, "GET a\r\n");
	say(2, "GET a\r\n");
	settle();
	got_is(1, "$1\r\na\r\n");
	got_is(2, "$1\r\na\r\n");
	finish();
}

/* ---- the node that is named ---------------------------------------------- */

static void
saw_where(const struct peer *p, const struct resp_cmd *q)
{
	size_t n = strlen(seen);

	if (p->is_away && n + 2 < sizeof(seen) && !peer_is(q, 0, "client"))
		(void)snprintf(seen + n, sizeof(seen) - n, "%c",
		               q->argv[0].p[0]);
}

/* ASK: each of these requests goes there behind ASKING, in its order, at once. */
static void
who_is_asked_answers(void **state)
{
	(void)state;
	start();
	run.peers.saw = saw_where;
	run.peers.must_ask = true;
	run.peers.astray = "-ASK 5 h:77\r\n";
	say(1, "GET a\r\nECHO x\r\nGET b\r\n");
	turns(5);
	got_is(1, "$1\r\na\r\n$1\r\nx\r\n$1\r\nb\r\n");
	assert_string_equal(seen, "AGAG");
	run.peers.astray = NULL;
	say(1, "GET c\r\n");
	turns(5);
	got_is(1, "$1\r\nc\r\n");
	assert_string_equal(seen, "AGAG");
	finish();
}

static void
a_transaction_is_asked_as_a_whole(void **state)
{
	(void)state;
	start();
	run.peers.saw = saw_where;
	run.peers.must_ask = true;
	run.peers.astray = "-ASK 5 h:77\r\n";
	say(1, "MULTI\r\nGET a\r\nGET b\r\nEXEC\r\n");
	settle();
	got_is(1, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:0\r\n:1\r\n");
	assert_string_equal(seen, "AMGGE");
	finish();
}

/* MOVED to a node that is not known waits for the control half; to one that is, it
 * is remembered. The slot of a key "foo" is 12182. */
static void
a_moved_slot_is_remembered(void **state)
{
	static struct nodes nodes;

	(void)state;
	start();
	run.conf.side[SIDE_OLD].nodes = &nodes;
	run.peers.saw = saw_where;
	run.peers.astray = "-MOVED 12182 h:77\r\n";
	say(1, "GET foo\r\n");
	turns(3);
	got_is(1, "");
	nodes_put(&nodes, "h", PORT_AWAY, true);
	turns(3);
	got_is(1, "$3\r\nfoo\r\n");
	assert_true(nodes_is_away(&nodes, 12182));
	assert_false(nodes_is_away(&nodes, 5));
	run.peers.astray = NULL;
	say(1, "GET foo\r\nGET a\r\n");
	say(2, "GET {foo}1\r\n");
	turns(5);
	got_is(1, "$3\r\nfoo\r\n$1\r\na\r\n");
	got_is(2, "$6\r\n{foo}1\r\n");
	assert_string_equal(seen, "GGG");
	finish();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_transaction_begins_again),
		cmocka_unit_test(a_transaction_begins_again_and_again),
		cmocka_unit_test(a_pipeline_keeps_its_order),
		cmocka_unit_test(a_watch_is_lost_with_its_node),
		cmocka_unit_test(a_scan_is_asked_again),
		cmocka_unit_test(a_transaction_with_own_answers_begins_again),
		cmocka_unit_test(a_transaction_behind_others_begins_again),
		cmocka_unit_test(a_big_request_is_kept),
		cmocka_unit_test(a_long_transaction_is_kept),
		cmocka_unit_test(what_is_kept_has_a_bound),
		cmocka_unit_test(nobody_waits_for_ever),
		cmocka_unit_test(who_is_asked_answers),
		cmocka_unit_test(a_transaction_is_asked_as_a_whole),
		cmocka_unit_test(a_moved_slot_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
