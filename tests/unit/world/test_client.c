/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/test_client.c: one request, one answer, before the deadline.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net.h"
#include "unit.h"
#include "world/os/client.h"
#include "world/os/loop.h"

#define SPAN_EQ(s, text) assert_true(span_eq((s), SPAN(text)))

struct peer {
	pthread_t thread;
	int fd;
	void (*run)(int fd);
};

static void *
peer_main(void *arg)
{
	struct peer *p = arg;
	int c = net_accept(p->fd);

	p->run(c);
	(void)close(c);
	return NULL;
}

static struct address
peer_start(struct peer *p, void (*run)(int fd))
{
	struct address at = { .host = "127.0.0.1" };

	p->fd = net_listen(&at.port, 8);
	p->run = run;
	assert_int_equal(pthread_create(&p->thread, NULL, peer_main, p), 0);
	return at;
}

static void
peer_end(struct peer *p)
{
	(void)pthread_join(p->thread, NULL);
	(void)close(p->fd);
}

static void
wait_end(int fd)
{
	char c;

	while (net_recv_some(fd, &c, 1) > 0)
		;
}

static void
answer_in_pieces(int fd)
{
	char in[6];

	net_recv(fd, in, sizeof(in));
	net_send(fd, "+PO", 3);
	net_sleep_ms(10);
	net_send(fd, "NG\r\n*2\r\n$1\r\na", 13);
	net_sleep_ms(10);
	net_send(fd, "\r\n:5\r\n", 6);
	net_recv(fd, in, 1);
	net_send(fd, "+OK\r\n", 5);
	wait_end(fd);
}

static void
replies_are_put_together(void **state)
{
	struct err err = { .code = ERR_NONE };
	struct peer p;
	struct address at = peer_start(&p, answer_in_pieces);
	struct client *c = client_open(&at, 1000, &err);
	struct span r;

	(void)state;
	assert_non_null(c);
	assert_int_equal(client_call(c, SPAN("PING\r\n"), 2, 1000, &r, &err),
	                 0);
	SPAN_EQ(r, "+PONG\r\n*2\r\n$1\r\na\r\n:5\r\n");
	assert_int_equal(client_call(c, SPAN("x"), 1, 1000, &r, &err), 0);
	SPAN_EQ(r, "+OK\r\n");
	client_close(c);
	peer_end(&p);
}

static void
answer_ahead(int fd)
{
	char in[2];

	net_recv(fd, in, 2);
	net_send(fd, "+1\r\n+2\r\n+3\r\n", 12);
	wait_end(fd);
}

static void
more_replies_stay_for_later(void **state)
{
	struct err err = { .code = ERR_NONE };
	struct peer p;
	struct address at = peer_start(&p, answer_ahead);
	struct client *c = client_open(&at, 1000, &err);
	struct span r;

	(void)state;
	assert_non_null(c);
	assert_int_equal(client_send(c, SPAN("a"), 1000, &err), 0);
	assert_int_equal(client_send(c, SPAN("b"), 1000, &err), 0);
	assert_int_equal(client_recv(c, 1, 1000, &r, &err), 0);
	SPAN_EQ(r, "+1\r\n");
	assert_int_equal(client_recv(c, 2, 1000, &r, &err), 0);
	SPAN_EQ(r, "+2\r\n+3\r\n");
	client_close(c);
	peer_end(&p);
}

#define BIG ((size_t)16 * 1024 * 1024)

/* Answers before it has read everything: both pipes are full at a time. */
static void
echo_as_bulk(int fd)
{
	static uint8_t some[65536];
	char head[32];
	size_t left = BIG;

	net_send(fd, head,
	         (size_t)snprintf(head, sizeof(head), "$%zu\r\n", BIG));
	while (left > 0) {
		size_t n = net_recv_some(fd, some, sizeof(some));

		net_send(fd, some, n);
		left -= n;
	}
	net_send(fd, "\r\n", 2);
	wait_end(fd);
}

static void
two_full_pipes_do_not_wait_for_each_other(void **state)
{
	struct err err = { .code = ERR_NONE };
	struct peer p;
	struct address at = peer_start(&p, echo_as_bulk);
	struct client *c = client_open(&at, 1000, &err);
	uint8_t *out = malloc(BIG);
	struct span r;

	(void)state;
	assert_non_null(c);
	assert_non_null(out);
	for (uint32_t i = 0; i < BIG; i++)
		out[i] = (uint8_t)(i * 7 >> 3);
	assert_int_equal(client_call(c, span_of(out, BIG), 1, 20000, &r, &err),
	                 0);
	assert_int_equal(r.n, BIG + 13);
	assert_memory_equal(r.p + 11, out, BIG);
	free(out);
	client_close(c);
	peer_end(&p);
}

static void
silence_is_a_timeout(void **state)
{
	struct err err = { .code = ERR_NONE };
	struct peer p;
	struct address at = peer_start(&p, wait_end);
	struct client *c = client_open(&at, 1000, &err);
	uint64_t before = os_mono_ns();
	struct span r;

	(void)state;
	assert_non_null(c);
	assert_int_equal(client_call(c, SPAN("x"), 1, 50, &r, &err),
	                 -ERR_TIMEOUT);
	assert_in_range(os_mono_ns() - before, 50000000, 2000000000);
	assert_non_null(strstr(err.text, "127.0.0.1:"));
	/* The late answer must not be taken for the next one's. */
	assert_int_equal(client_call(c, SPAN("x"), 1, 50, &r, &err), -ERR_LOST);
	client_close(c);
	peer_end(&p);
}

static void
half_an_answer(int fd)
{
	char c;

	net_recv(fd, &c, 1);
	net_send(fd, "$5\r\nab", 6);
}

static void
an_end_in_the_middle_is_lost(void **state)
{
	struct err err = { .code = ERR_NONE };
	struct peer p;
	struct address at = peer_start(&p, half_an_answer);
	struct client *c = client_open(&at, 1000, &err);
	struct span r;

	(void)state;
	assert_non_null(c);
	assert_int_equal(client_call(c, SPAN("x"), 1, 1000, &r, &err),
	                 -ERR_LOST);
	client_close(c);
	peer_end(&p);
}

static void
speak_http(int fd)
{
	char c;

	net_recv(fd, &c, 1);
	net_send(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	wait_end(fd);
}

static void
another_protocol_is_named(void **state)
{
	struct err err = { .code = ERR_NONE };
	struct peer p;
	struct address at = peer_start(&p, speak_http);
	struct client *c = client_open(&at, 1000, &err);
	struct span r;

	(void)state;
	assert_non_null(c);
	assert_int_equal(client_call(c, SPAN("x"), 1, 1000, &r, &err),
	                 -ERR_PROTO);
	client_close(c);
	peer_end(&p);
}

static void
refusal_names_address_and_cause(void **state)
{
	struct address at = { .host = "127.0.0.1", .port = net_closed_port() };
	struct address path = { .host = "/nonexistent/redis.sock" };
	struct address name = { .host = "no-such-host.invalid", .port = 1 };
	struct err err = { .code = ERR_NONE };
	char want[64];

	(void)state;
	assert_null(client_open(&at, 1000, &err));
	(void)snprintf(want, sizeof(want), "127.0.0.1:%u: Connection refused",
	               (unsigned)at.port);
	assert_non_null(strstr(err.text, want));
	assert_int_equal(err.code, ERR_LOST);
	assert_null(client_open(&path, 1000, &err));
	assert_non_null(strstr(err.text, "/nonexistent/redis.sock"));
	assert_null(client_open(&name, 1000, &err));
	assert_non_null(strstr(err.text, "no-such-host.invalid"));
}

static void
a_unix_socket_works(void **state)
{
	struct err err = { .code = ERR_NONE };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct address at = { .port = 0 };
	struct peer p = { .run = answer_ahead };
	struct client *c;
	struct span r;

	(void)state;
	(void)snprintf(at.host, sizeof(at.host), "/tmp/godwit-test-%d.sock",
	               (int)getpid());
	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", at.host);
	p.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(p.fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(p.fd, 1), 0);
	assert_int_equal(pthread_create(&p.thread, NULL, peer_main, &p), 0);
	c = client_open(&at, 1000, &err);
	assert_non_null(c);
	assert_int_equal(client_call(c, SPAN("ab"), 3, 1000, &r, &err), 0);
	client_close(c);
	peer_end(&p);
	(void)unlink(at.host);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_are_put_together),
		cmocka_unit_test(more_replies_stay_for_later),
		cmocka_unit_test(two_full_pipes_do_not_wait_for_each_other),
		cmocka_unit_test(silence_is_a_timeout),
		cmocka_unit_test(an_end_in_the_middle_is_lost),
		cmocka_unit_test(another_protocol_is_named),
		cmocka_unit_test(refusal_names_address_and_cause),
		cmocka_unit_test(a_unix_socket_works),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
