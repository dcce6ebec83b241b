/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_flow.c: what is said passes as it is, on any cut; who says
 * what nobody may say is told so and ends; cancels find their backend.
 */
#include "scene.h"

static const struct span words[] = {
	WORD("Q\0\0\0\015SELECT 1\0"),
	WORD("P\0\0\0\021s\0SELECT 2\0\0\0"),
	WORD("B\0\0\0\015\0s\0\0\0\0\0\0\0"),
	WORD("D\0\0\0\6P\0"),
	WORD("E\0\0\0\011\0\0\0\0\0"),
	WORD("S\0\0\0\4"),
	WORD("F\0\0\0\016\0\0\0\1\0\0\0\0\0\0"),
};

static void
a_login_passes(void **state)
{
	int c, s;

	(void)state;
	begin();
	c = comes();
	say(c, 0, SPAN("\4\322\26\57")); /* SSLRequest: not here */
	got(c, SPAN("N"));
	starts(c);
	s = dialed();
	assert_int_equal(run.w.to[s], PORT_OLD);
	up(s);
	got(s, SPAN("\0\0\0\37\0\3\0\0user\0ann\0database\0app\0\0"));
	say(s, 'R', SPAN("\0\0\0\3"));
	got(c, SPAN("R\0\0\0\010\0\0\0\3"));
	say(c, 'p', B("pw"));
	got(s, SPAN("p\0\0\0\7pw\0"));
	say(s, 'R', SPAN("\0\0\0\0"));
	say(s, 'N', B("SNOTICE\0"));
	say(s, 'S', B("a\0b"));
	got(c,
	    SPAN("R\0\0\0\010\0\0\0\0N\0\0\0\015SNOTICE\0\0S\0\0\0\010a\0b\0"));
	/* Keys are Godwit's own. */
	say(s, 'K', SPAN("\0\0\0\7keys"));
	say(s, 'Z', SPAN("I"));
	assert_string_equal(types(c), "KZ");
	end();
}

#define SSL_ASKS "\0\0\0\010\4\322\26\57"

static int
comes_to_tls(void)
{
	int c = comes();

	run.w.links[c]->may_secure = true;
	return c;
}

/* A client of an interlay with a certificate asks for TLS, or begins with it. What
 * stands behind the question in clear is refused, and so is who does not ask. */
static void
tls_is_asked_for(void **state)
{
	static const uint8_t hello[] = { 0x16, 3, 1, 0, 9, 1 };
	int c;

	(void)state;
	begin();
	c = comes_to_tls();
	say(c, 0, SPAN("\4\322\26\60")); /* GSSENCRequest */
	got(c, SPAN("N"));
	for (size_t i = 0; i < 8; i++)
		bytes(c, span_of(&SSL_ASKS[i], 1));
	got(c, SPAN("S"));
	assert_int_equal(run.secured, 1);
	assert_int_equal(run.seen, 0);
	starts(c);
	assert_true(dialed() >= 0);

	c = comes_to_tls();
	bytes(c, span_of(hello, sizeof(hello)));
	assert_int_equal(run.secured, 2);
	assert_int_equal(run.seen, sizeof(hello));

	c = comes_to_tls();
	bytes(c, SPAN(SSL_ASKS "\0"));
	world_batch(&run.w);
	assert_int_equal(run.secured, 2);
	assert_false(is_there(c));

	c = comes_to_tls();
	starts(c);
	assert_int_equal(run.secured, 2);
	assert_false(is_there(c));

	c = comes_to_tls();
	say(c, 0, SPAN("\4\322\26\60"));
	say(c, 0, SPAN("\4\322\26\60"));
	assert_false(is_there(c));
	end();
}

/* Requests and answers as they are, in pieces of n bytes. */
static void
pass_in_pieces(size_t n)
{
	static const struct span answer =
		WORD("D\0\0\0\020\0\1\0\0\0\6abcdefC\0\0\0\6x\0Z\0\0\0\5I");
	int s, c = opens(&s);

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		for (size_t at = 0; at < words[i].n; at += n) {
			struct span rest = span_skip(words[i], at);

			bytes(c, span_of(rest.p, rest.n < n ? rest.n : n));
		}
		got(s, words[i]);
		if (words[i].p[0] != 'Q' && words[i].p[0] != 'S' &&
		    words[i].p[0] != 'F')
			continue;
		for (size_t at = 0; at < answer.n; at += n) {
			struct span rest = span_skip(answer, at);

			bytes(s, span_of(rest.p, rest.n < n ? rest.n : n));
		}
		got(c, answer);
	}
	say(c, 'X', SPAN(""));
	assert_true(left_with(s, SPAN("X\0\0\0\4")));
	assert_false(is_there(c));
}

static void
messages_pass_on_any_cut(void **state)
{
	(void)state;
	for (size_t n = 1; n < 30; n++) {
		begin();
		pass_in_pieces(n);
		end();
	}
}

static void
what_comes_ahead_waits_for_the_login(void **state)
{
	int c, s;

	(void)state;
	begin();
	c = comes();
	starts(c);
	bytes(c, words[0]);
	s = dialed();
	up(s);
	buf_clear(&run.w.sent[s]);
	lets_in(s);
	got(s, words[0]);
	end();
}

/* ---- what nobody may say --------------------------------------------------- */

static void
garbage_of_a_client_ends_it(void **state)
{
	static const struct span odd[] = {
		WORD("y\0\0\0\4"),           /* no such type      */
		WORD("Q\0\0\0\3"),           /* shorter than long */
		WORD("Q\377\377\377\377"),   /* longer than all   */
		WORD("S\0\1\206\241"),       /* a Sync of 100 kB  */
		WORD("Z\0\0\0\5I"),          /* a server's        */
		WORD("R\0\0\0\010\0\0\0\0"), /* a server's        */
	};
	int s, c;

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		begin();
		c = opens(&s);
		bytes(c, words[0]);
		bytes(c, odd[i]);
		assert_true(left_with(c, SPAN("C08P01")));
		assert_false(is_there(s));
		end();
	}
}

static void
garbage_at_the_start_ends_it(void **state)
{
	static const struct span odd[] = {
		WORD("\0\0\0\7\0\3\0\0"),            /* too short        */
		WORD("\0\1\0\0\0\3\0\0"),            /* too long         */
		WORD("\0\0\0\010\0\2\0\0"),          /* version 2        */
		WORD("\0\0\0\011\0\3\0\0\0"),        /* nobody           */
		WORD("\0\0\0\017\0\3\0\0user\0a\0"), /* no end           */
		WORD("GET / HTTP/1.1\r\n\r\n"),
	};
	int c;

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		begin();
		c = comes();
		bytes(c, odd[i]);
		assert_false(is_there(c));
		assert_int_equal(dialed(), -1);
		end();
	}
}

static void
garbage_of_a_server_ends_the_session(void **state)
{
	static const struct span odd[] = {
		WORD("Q\0\0\0\4"),
		WORD("Z\0\0\0\3I"),
		WORD("HTTP/1.1 400"),
	};
	int s, c;

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		begin();
		c = opens(&s);
		bytes(c, words[0]);
		bytes(s, odd[i]);
		assert_true(left_with(c, SPAN("C08006")));
		assert_false(is_there(s));
		end();
	}
}

/* ---- cancel ------------------------------------------------------------------ */

static void
a_cancel_finds_its_backend(void **state)
{
	uint8_t key[8];
	uint8_t request[12] = { 4, 210, 22, 46 };
	int s, x, c;

	(void)state;
	begin();
	c = comes();
	starts(c);
	s = dialed();
	up(s);
	lets_in(s);
	world_batch(&run.w);
	{
		struct span sent = buf_span(&run.w.sent[c]);

		/* R (9), S (18), K (13), Z (6). */
		assert_int_equal(sent.n, 9 + 18 + 13 + 6);
		assert_int_equal(sent.p[27], 'K');
		memcpy(key, sent.p + 32, 8);
	}
	assert_memory_not_equal(key, "\0\0\0\7keys", 8);
	for (int right = 0; right < 2; right++) {
		memcpy(request + 4, key, 8);
		request[11] ^= (uint8_t)(right == 0);
		x = comes();
		say(x, 0, span_of(request, sizeof(request)));
		assert_false(is_there(x));
		s = dialed();
		assert_int_equal(s >= 0, right);
	}
	assert_int_equal(run.w.to[s], PORT_OLD);
	up(s);
	got(s, SPAN("\0\0\0\020\4\322\26\56\0\0\0\7keys"));
	world_down(&run.w, s);
	end();
}

/* ---- who does not read --------------------------------------------------------- */

static void
a_client_that_does_not_read_stops_its_server(void **state)
{
	static uint8_t big[70000];
	struct event ev = { .kind = EV_DRAINED };
	int s, c;

	(void)state;
	begin();
	c = opens(&s);
	bytes(c, words[0]);
	for (int i = 0; i < 20; i++)
		say(s, 'd', span_of(big, sizeof(big)));
	assert_true(run.w.links[s]->read_off);
	assert_true(run.w.links[c]->want_drained);
	assert_true(buf_len(&run.w.links[c]->tx) <
	            PG_RELAY_TX_MAX + 2 * sizeof(big));
	buf_release(&run.w.links[c]->tx);
	ev.link = run.w.links[c];
	ev.link->want_drained = false;
	world_tell(&run.w, &ev);
	assert_false(run.w.links[s]->read_off);
	end();
}

static void
a_server_that_does_not_read_stops_its_client(void **state)
{
	static uint8_t big[70000];
	struct event ev = { .kind = EV_DRAINED };
	int s, c;

	(void)state;
	begin();
	c = opens(&s);
	for (int i = 0; i < 20; i++)
		say(c, 'd', span_of(big, sizeof(big)));
	assert_true(run.w.links[c]->read_off);
	assert_true(run.w.links[s]->want_drained);
	buf_release(&run.w.links[s]->tx);
	ev.link = run.w.links[s];
	ev.link->want_drained = false;
	world_tell(&run.w, &ev);
	assert_false(run.w.links[c]->read_off);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_login_passes),
		cmocka_unit_test(tls_is_asked_for),
		cmocka_unit_test(messages_pass_on_any_cut),
		cmocka_unit_test(what_comes_ahead_waits_for_the_login),
		cmocka_unit_test(garbage_of_a_client_ends_it),
		cmocka_unit_test(garbage_at_the_start_ends_it),
		cmocka_unit_test(garbage_of_a_server_ends_the_session),
		cmocka_unit_test(a_cancel_finds_its_backend),
		cmocka_unit_test(a_client_that_does_not_read_stops_its_server),
		cmocka_unit_test(a_server_that_does_not_read_stops_its_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
