/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/relay.c: a blind byte relay, the price of being in the path at all.
 *
 * One thread, one epoll, one server connection a client; what one end says is
 * written to the other, unread. It knows no protocol and keeps bytes only when
 * the other end does not take them. Not part of Godwit: a yardstick.
 *
 *     relay LISTEN-PORT SERVER-PORT        (both on 127.0.0.1)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK (64 * 1024)

struct end {
	struct end *other;
	char *kept; /* bytes this end did not take yet */
	size_t n;
	int fd;
	bool gone;
};

static char shared[CHUNK];
static int epoll_fd;
static struct end *graves; /* through `other`; freed after the batch */

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static struct sockaddr_in
loopback(const char *port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

/* What an end waits for: input unless its peer is full, room when it is. */
static void
watch(struct end *e, int op)
{
	struct epoll_event ev = { .data.ptr = e };

	ev.events =
		(e->other->n == 0 ? EPOLLIN : 0u) | (e->n > 0 ? EPOLLOUT : 0u);
	if (epoll_ctl(epoll_fd, op, e->fd, &ev) != 0)
		die("epoll_ctl");
}

static void
hang_up(struct end *e)
{
	struct end *o = e->other;

	if (e->gone)
		return;
	e->gone = o->gone = true;
	(void)close(e->fd);
	(void)close(o->fd);
	free(e->kept);
	free(o->kept);
	o->other = graves;
	e->other = o;
	graves = e;
}

static struct end *
end_new(int fd)
{
	struct end *e = calloc(1, sizeof(*e));
	int one = 1;

	if (e == NULL)
		die("calloc");
	e->fd = fd;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return e;
}

static void
welcome(int listen_fd, const struct sockaddr_in *server)
{
	int c = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK);
	int s;
	struct end *a;
	struct end *b;

	if (c < 0)
		return;
	s = socket(AF_INET, SOCK_STREAM, 0);
	if (s < 0 ||
	    connect(s, (const struct sockaddr *)server, sizeof(*server)) != 0)
		die("connect to the server");
	a = end_new(c);
	b = end_new(s);
	a->other = b;
	b->other = a;
	watch(a, EPOLL_CTL_ADD);
	watch(b, EPOLL_CTL_ADD);
}

/* From e to its other end. */
static void
pass(struct end *e)
{
	struct end *o = e->other;
	ssize_t got = recv(e->fd, shared, sizeof(shared), MSG_DONTWAIT);
	ssize_t sent;

	if (got <= 0) {
		if (got == 0 || errno != EAGAIN)
			hang_up(e);
		return;
	}
	sent = send(o->fd, shared, (size_t)got, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent == got)
		return;
	if (sent < 0 && errno != EAGAIN) {
		hang_up(e);
		return;
	}
	if (sent < 0)
		sent = 0;
	o->n = (size_t)(got - sent);
	o->kept = malloc(o->n);
	if (o->kept == NULL)
		die("malloc");
	memcpy(o->kept, shared + sent, o->n);
	watch(e, EPOLL_CTL_MOD);
	watch(o, EPOLL_CTL_MOD);
}

static void
pass_kept(struct end *e)
{
	ssize_t sent = send(e->fd, e->kept, e->n, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0) {
		if (errno != EAGAIN)
			hang_up(e);
		return;
	}
	e->n -= (size_t)sent;
	memmove(e->kept, e->kept + sent, e->n);
	if (e->n > 0)
		return;
	free(e->kept);
	e->kept = NULL;
	watch(e, EPOLL_CTL_MOD);
	watch(e->other, EPOLL_CTL_MOD);
}

static void
bury(void)
{
	while (graves != NULL) {
		struct end *e = graves;

		graves = e->other;
		free(e);
	}
}

static int
open_listener(const char *port)
{
	struct sockaddr_in at = loopback(port);
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    listen(fd, 4096) != 0)
		die("listen");
	return fd;
}

int
main(int argc, char **argv)
{
	struct epoll_event evs[256];
	struct epoll_event own = { .events = EPOLLIN, .data.ptr = NULL };
	struct sockaddr_in server;
	int fd;

	if (argc != 3) {
		(void)fprintf(stderr, "usage: relay LISTEN-PORT SERVER-PORT\n");
		return 2;
	}
	server = loopback(argv[2]);
	fd = open_listener(argv[1]);
	epoll_fd = epoll_create1(0);
	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &own) != 0)
		die("epoll");
	for (;;) {
		int n = epoll_wait(epoll_fd, evs, 256, -1);

		for (int i = 0; i < n; i++) {
			struct end *e = evs[i].data.ptr;

			if (e == NULL) {
				welcome(fd, &server);
				continue;
			}
			if (!e->gone && (evs[i].events & EPOLLOUT))
				pass_kept(e);
			if (e->gone || !(evs[i].events & ~(unsigned)EPOLLOUT))
				continue;
			if (e->other->n == 0)
				pass(e);
			else if (evs[i].events & (EPOLLHUP | EPOLLERR))
				hang_up(e);
		}
		bury();
	}
}
