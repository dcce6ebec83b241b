/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_shard.c: shard channels. A server may end a subscription
 * by itself, before, behind or in place of what was asked; each confirmation
 * reaches the client once, and its count is that of shard channels.
 */
#include "scene.h"

#define IN(name, n)    "*3\r\n$10\r\nssubscribe\r\n$1\r\n" name "\r\n:" n "\r\n"
#define OUT(name, n)   "*3\r\n$12\r\nsunsubscribe\r\n$1\r\n" name "\r\n:" n "\r\n"
#define PLAIN(name, n) "*3\r\n$9\r\nsubscribe\r\n$1\r\n" name "\r\n:" n "\r\n"

static void
got_is(int c, const char *text)
{
	struct span got = buf_span(&run.got[c]);

	if (!span_eq(got, span_str(text)))
		fail_msg("client %d got %.*s, not %s", c, (int)got.n,
		         (const char *)got.p, text);
	buf_clear(&run.got[c]);
}

/* A connection that has subscribed to the marker and the client's channels. */
static int
sub_link(bool is_new)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.w.links[i] != NULL && run.peers.at[i].channels > 0 &&
		    run.peers.at[i].is_new == is_new)
			return i;
	}
	fail_msg("nobody is subscribed");
	return -1;
}

static void
start(const char *words)
{
	begin(0);
	settle();
	say(0, words);
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
server_says(int link, const char *text)
{
	world_bytes(&run.w, link, span_str(text));
	batch();
}

static void
counts_are_apart(void **state)
{
	(void)state;
	start("SSUBSCRIBE a b\r\nSUBSCRIBE a\r\nSUNSUBSCRIBE a\r\n"
	      "UNSUBSCRIBE a\r\nSUNSUBSCRIBE x\r\n");
	got_is(0,
	       IN("a", "1") IN("b", "2") PLAIN("a", "1")
	               OUT("a", "1") "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n" OUT(
			       "x", "1"));
	server_says(sub_link(false),
	            "*3\r\n$8\r\nsmessage\r\n$1\r\nb\r\n$1\r\nm\r\n");
	got_is(0, "*3\r\n$8\r\nsmessage\r\n$1\r\nb\r\n$1\r\nm\r\n");
	say(0, "GET k\r\nSUNSUBSCRIBE\r\n");
	settle();
	/* The fake does not know which ones there are. */
	got_is(0, "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / "
	          "(P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this "
	          "context\r\n");
	server_says(sub_link(false), OUT("b", "0"));
	got_is(0, OUT("b", "0"));
	say(0, "GET k\r\n");
	settle();
	got_is(0, "$1\r\nk\r\n");
	finish();
}

static void
the_server_ends_one(void **state)
{
	int link;

	(void)state;
	start("SSUBSCRIBE a b c\r\n");
	buf_clear(&run.got[0]);
	link = sub_link(false);
	server_says(link, OUT("a", "2"));
	got_is(0, OUT("a", "2"));
	server_says(link, OUT("a", "2")); /* nobody knows it any more */
	got_is(0, "");
	/* While something else is asked: it is not the answer. */
	say(0, "SSUBSCRIBE d\r\n");
	batch();
	buf_clear(&run.outs[link]);
	server_says(link, OUT("b", "1"));
	server_says(link, IN("d", "2"));
	got_is(0, OUT("b", "1") IN("d", "2"));
	/* While the same is asked: both reach the client. */
	say(0, "SUNSUBSCRIBE c\r\n");
	batch();
	buf_clear(&run.outs[link]);
	server_says(link, OUT("d", "1"));
	server_says(link, OUT("c", "0"));
	got_is(0, OUT("d", "1") OUT("c", "0"));
	say(0, "GET k\r\n");
	settle();
	got_is(0, "$1\r\nk\r\n");
	finish();
}

static void
the_other_side_ends_one(void **state)
{
	int link;

	(void)state;
	start("SSUBSCRIBE a\r\n");
	buf_clear(&run.got[0]);
	link = sub_link(true);
	server_says(link, OUT("a", "0"));
	got_is(0, "");
	/* It would be deaf: another one is subscribed. */
	assert_true(run.w.links[link] == NULL ||
	            run.peers.at[link].channels == 0);
	settle();
	assert_true(run.peers.at[sub_link(true)].channels >= 2);
	server_says(sub_link(false), OUT("a", "0"));
	got_is(0, OUT("a", "0"));
	finish();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_are_apart),
		cmocka_unit_test(the_server_ends_one),
		cmocka_unit_test(the_other_side_ends_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
