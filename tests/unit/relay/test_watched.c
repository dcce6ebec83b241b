/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_watched.c: what is watched at a node of a cluster has gone
 * to another one: EXEC answers nil, whatever its own keys are.
 */
#include "scene.h"

static char
	seen[400]; /* first letters of what servers were asked for clients */

static void
saw(const struct peer *p, const struct resp_cmd *q)
{
	size_t n = strlen(seen);

	(void)p;
	if (peer_is(q, 0, "watch") || peer_is(q, 0, "unwatch") ||
	    peer_is(q, 0, "multi") || peer_is(q, 0, "exec") ||
	    peer_is(q, 0, "discard"))
		(void)snprintf(seen + n, sizeof(seen) - n, "%.1s",
		               (const char *)q->argv[0].p);
}

static void
start(bool of_nodes)
{
	scene_of_nodes = of_nodes;
	begin(0);
	run.peers.saw = saw;
	seen[0] = '\0';
	settle();
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

static void
it_is_asked_for_before_exec(void **state)
{
	(void)state;
	start(true);
	say(1, "WATCH w\r\nWATCH v\r\nMULTI\r\nGET a\r\nEXEC\r\nGET b\r\n");
	settle();
	got_is(1, "$1\r\nw\r\n$1\r\nv\r\n+OK\r\n+QUEUED\r\n*1\r\n:0\r\n"
	          "$1\r\nb\r\n");
	assert_string_equal(seen, "WWMWWUE");
	say(1, "MULTI\r\nGET a\r\nEXEC\r\n"); /* it watches nothing */
	say(1, "WATCH w\r\nUNWATCH\r\nMULTI\r\nGET a\r\nEXEC\r\n");
	settle();
	assert_string_equal(seen, "WWMWWUEMEWUME");
	finish();
	start(false); /* no cluster */
	say(1, "WATCH w\r\nMULTI\r\nGET a\r\nEXEC\r\n");
	settle();
	assert_string_equal(seen, "WME");
	finish();
}

static void
it_has_gone(void **state)
{
	static const char *const said[] = { "-MOVED 1 h:1\r\n",
		                            "-ASK 1 h:1\r\n",
		                            "-TRYAGAIN later\r\n" };

	(void)state;
	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		start(true);
		say(1, "WATCH w\r\n");
		settle();
		run.peers.watch_strays = said[i];
		say(1, "MULTI\r\nGET a\r\nEXEC\r\n");
		settle();
		run.peers.watch_strays = NULL;
		assert_string_equal(seen, "WMWUD");
		say(1, "MULTI\r\nGET a\r\nEXEC\r\n");
		settle();
		got_is(1, "$1\r\nw\r\n+OK\r\n+QUEUED\r\n*-1\r\n"
		          "+OK\r\n+QUEUED\r\n*1\r\n:0\r\n");
		finish();
	}
}

/* What is queued strays while EXEC waits behind it. */
static void
the_node_has_gone(void **state)
{
	(void)state;
	start(true);
	say(1, "WATCH w\r\nGET a\r\n");
	settle();
	run.peers.astray = "-MOVED 1 h:1\r\n";
	say(1, "MULTI\r\nGET a\r\nEXEC\r\n");
	for (int i = 0; i < 3; i++)
		turn(10 * MS);
	run.peers.astray = NULL;
	settle();
	got_is(1, "$1\r\nw\r\n$1\r\na\r\n+OK\r\n+QUEUED\r\n*-1\r\n");
	finish();
}

/* The question has no connection: EXEC is an error, and nothing stays open. */
static void
nobody_answers(void **state)
{
	struct span got;

	(void)state;
	start(true);
	say(1, "SELECT 1\r\nWATCH w\r\nMULTI\r\nGET a\r\n");
	settle();
	got_is(1, "+OK\r\n$1\r\nw\r\n+OK\r\n+QUEUED\r\n");
	turn(70000 * MS); /* a connection that nobody used is closed */
	settle();
	run.nobody_listens = true;
	say(1, "EXEC\r\n");
	for (int i = 0; i < 8; i++)
		settle();
	got = buf_span(&run.got[1]);
	assert_true(span_has_prefix(got, SPAN("-ERR godwit: ")));
	buf_clear(&run.got[1]);
	run.nobody_listens = false;
	say(1, "GET a\r\n");
	settle();
	got_is(1, "$1\r\na\r\n");
	assert_string_equal(seen, "WM");
	finish();
}

/* A hold begins in each moment of it; it waits for the answers, not for ever. */
static void
a_hold_comes(void **state)
{
	(void)state;
	for (int at = 0; at < 8; at++) {
		start(true);
		say(1, "WATCH w\r\nMULTI\r\nGET a\r\n");
		settle();
		say(1, "EXEC\r\n");
		for (int i = 0; i < at; i++)
			turn(1 * MS);
		run.drained = 0;
		run.epoch++;
		mail(MAIL_HOLD, SIDE_OLD, 0, ACK_AUTHORITY);
		settle();
		assert_int_equal(run.drained, 1);
		mail(MAIL_RELEASE, SIDE_NEW, 0, ACK_AUTHORITY);
		settle();
		got_is(1, "$1\r\nw\r\n+OK\r\n+QUEUED\r\n*1\r\n:0\r\n");
		finish();
	}
}

static void
there_is_a_bound(void **state)
{
	char line[3010];

	(void)state;
	memset(line, 'k', sizeof(line));
	memcpy(line, "WATCH ", 6);
	memcpy(line + 3000, "\r\n", 3);
	start(true);
	for (size_t i = 0; i < RELAY_TX_KEEP_MAX / 3030; i++) {
		say(1, line);
		settle();
		assert_true(span_has_prefix(buf_span(&run.got[1]), SPAN("$")));
		buf_clear(&run.got[1]);
	}
	say(1, line);
	settle();
	got_is(1, "-ERR godwit: so many keys that are watched on a node of a "
	          "cluster\r\n");
	say(1, "UNWATCH\r\n");
	say(1, "WATCH w\r\n");
	settle();
	got_is(1, "+OK\r\n$1\r\nw\r\n");
	finish();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_asked_for_before_exec),
		cmocka_unit_test(it_has_gone),
		cmocka_unit_test(the_node_has_gone),
		cmocka_unit_test(nobody_answers),
		cmocka_unit_test(a_hold_comes),
		cmocka_unit_test(there_is_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
