/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_resp3.c: two protocols side by side; what a server says
 * without being asked is nobody's answer; a message is never in a reply.
 */
#include "scene.h"

#define PUSH ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"

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

/* The connection of clients that speaks RESP3 (or the newest to a side). */
static int
resp3_link(bool is_new)
{
	for (int i = WORLD_LINKS - 1; i >= 0; i--) {
		if (run.w.links[i] != NULL && !run.w.client[i] &&
		    run.peers.at[i].resp3 && run.peers.at[i].is_new == is_new)
			return i;
	}
	fail_msg("no connection speaks RESP3");
	return -1;
}

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
each_client_is_answered_in_its_protocol(void **state)
{
	(void)state;
	begin(0);
	settle();
	say(0, "GET nil\r\n");
	say(1, "HELLO 3\r\nGET nil\r\nGET a\r\nCLIENT GETNAME\r\n");
	say(2, "HELLO 3\r\nHELLO 2\r\nGET nil\r\n");
	settle();
	say(0, "GET nil\r\n");
	say(1, "RESET\r\nGET nil\r\nHELLO\r\n");
	settle();
	got_is(0, "$-1\r\n$-1\r\n");
	buf_take(&run.got[1], strlen("%1\r\n$2\r\nid\r\n:128\r\n"));
	got_is(1, "_\r\n$1\r\na\r\n_\r\n+RESET\r\n$-1\r\n"
	          "*2\r\n$2\r\nid\r\n:128\r\n");
	buf_take(&run.got[2], strlen("%1\r\n$2\r\nid\r\n:192\r\n"
	                             "*2\r\n$2\r\nid\r\n:192\r\n"));
	got_is(2, "$-1\r\n");
	finish();
}

/* Over a switch, and on the side that it has never asked before. */
static void
a_session_keeps_its_protocol(void **state)
{
	(void)state;
	begin(0);
	settle();
	say(1, "HELLO 3\r\n");
	say(2, "HELLO 3\r\nWATCH w\r\n");
	settle();
	buf_clear(&run.got[1]);
	buf_clear(&run.got[2]);
	run.epoch = 1;
	mail(MAIL_HOLD, SIDE_OLD, 0, ACK_AUTHORITY);
	say(1, "GET nil\r\n");
	settle();
	assert_int_equal(run.drained, 1);
	mail(MAIL_RELEASE, SIDE_NEW, 0, ACK_AUTHORITY);
	settle();
	say(2, "MULTI\r\nGET x\r\nEXEC\r\n");
	settle();
	got_is(1, "_\r\n");
	got_is(2, "+OK\r\n+QUEUED\r\n_\r\n");
	assert_true(resp3_link(true) >= 0);
	finish();
}

/* Wherever it is cut. */
static void
a_push_is_nobodys_answer(void **state)
{
	static const char text[] =
		PUSH "$1\r\na\r\n" PUSH PUSH "_\r\n$1\r\nb\r\n" PUSH;
	int at;

	(void)state;
	begin(0);
	settle();
	say(1, "HELLO 3\r\n");
	settle();
	buf_clear(&run.got[1]);
	at = resp3_link(false);
	for (size_t cut = 0; cut < sizeof(text); cut++) {
		say(1, "GET a\r\nGET nil\r\nGET b\r\n");
		buf_clear(&run.outs[at]);
		world_bytes(&run.w, at, span_of(text, cut));
		batch();
		world_bytes(&run.w, at,
		            span_of(text + cut, sizeof(text) - 1 - cut));
		batch();
		got_is(1, "$1\r\na\r\n_\r\n$1\r\nb\r\n");
	}
	say(1, "GET c\r\n");
	settle();
	got_is(1, "$1\r\nc\r\n");
	finish();
}

static void
a_message_waits_for_the_end_of_a_reply(void **state)
{
	static const char reply[] = "%1\r\n$1\r\nk\r\n$5\r\nvalue\r\n";
	static const char message[] =
		"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n";
	int at;
	int sub;

	(void)state;
	begin(0);
	settle();
	say(1, "HELLO 3\r\nSUBSCRIBE c\r\nHELLO 2\r\n");
	settle();
	buf_take(&run.got[1], strlen("%1\r\n$2\r\nid\r\n:128\r\n"));
	got_is(1, ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
	          "-ERR godwit refuses another protocol while the client is "
	          "subscribed\r\n");
	at = resp3_link(false);
	sub = sub_link(false);
	for (size_t cut = 1; cut < sizeof(reply) - 1; cut++) {
		say(1, "GET a\r\nGET b\r\n");
		buf_clear(&run.outs[at]);
		world_bytes(&run.w, sub, span_of(message, sizeof(message) - 1));
		world_bytes(&run.w, at, span_of(reply, cut));
		batch();
		world_bytes(&run.w, sub, span_of(message, sizeof(message) - 1));
		world_bytes(&run.w, sub, span_of(message, sizeof(message) - 1));
		batch();
		world_bytes(&run.w, at,
		            span_of(reply + cut, sizeof(reply) - 1 - cut));
		world_bytes(&run.w, at, SPAN("_\r\n"));
		world_bytes(&run.w, sub, span_of(message, sizeof(message) - 1));
		batch();
		got_is(1, ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
		          "%1\r\n$1\r\nk\r\n$5\r\nvalue\r\n"
		          ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
		          ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
		          "_\r\n"
		          ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n");
	}
	finish();
}

/* Its answers and confirmations keep the order of its requests. */
static void
a_subscriber_may_ask_anything(void **state)
{
	(void)state;
	begin(0);
	settle();
	say(1, "HELLO 3\r\n");
	settle();
	buf_clear(&run.got[1]);
	say(1, "GET a\r\nSUBSCRIBE c\r\nGET b\r\nSUBSCRIBE d\r\nSUBSCRIBE e\r\n"
	       "GET nil\r\nPING x\r\nUNSUBSCRIBE d\r\nMULTI\r\nSUBSCRIBE f\r\n"
	       "DISCARD\r\n");
	settle();
	got_is(1, "$1\r\na\r\n"
	          ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
	          "$1\r\nb\r\n"
	          ">3\r\n$9\r\nsubscribe\r\n$1\r\nd\r\n:2\r\n"
	          ">3\r\n$9\r\nsubscribe\r\n$1\r\ne\r\n:3\r\n"
	          "_\r\n$1\r\nx\r\n"
	          ">3\r\n$11\r\nunsubscribe\r\n$1\r\nd\r\n:2\r\n"
	          "+OK\r\n-ERR godwit refuses subscribe inside MULTI\r\n"
	          "+OK\r\n");
	finish();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_client_is_answered_in_its_protocol),
		cmocka_unit_test(a_session_keeps_its_protocol),
		cmocka_unit_test(a_push_is_nobodys_answer),
		cmocka_unit_test(a_message_waits_for_the_end_of_a_reply),
		cmocka_unit_test(a_subscriber_may_ask_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
