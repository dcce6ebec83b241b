/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/net.c: plain blocking sockets for the tests' own end.
 */
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void
must(bool ok, const char *what)
{
	if (ok)
		return;
	(void)fprintf(stderr, "net: %s: %s\n", what, strerrordesc_np(errno));
	abort();
}

static struct sockaddr_in
loopback(uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

int
net_connect(uint16_t port)
{
	struct sockaddr_in a = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0, "socket");
	must(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0, "connect");
	return fd;
}

int
net_listen(uint16_t *ret_port, int backlog)
{
	struct sockaddr_in a = loopback(0);
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0, "socket");
	must(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0, "bind");
	must(listen(fd, backlog) == 0, "listen");
	must(getsockname(fd, (struct sockaddr *)&a, &n) == 0, "getsockname");
	*ret_port = ntohs(a.sin_port);
	return fd;
}

uint16_t
net_closed_port(void)
{
	uint16_t port;

	(void)close(net_listen(&port, 1));
	return port;
}

static void
await(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	must(poll(&p, 1, NET_WAIT_MS) > 0, "poll: nothing came");
}

int
net_accept(int fd)
{
	int c;

	await(fd, POLLIN);
	c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	must(c >= 0, "accept");
	return c;
}

void
net_send(int fd, const void *p, size_t n)
{
	const uint8_t *at = p;

	while (n > 0) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);

		must(sent > 0, "send");
		at += sent;
		n -= (size_t)sent;
	}
}

size_t
net_recv_some(int fd, void *p, size_t n)
{
	ssize_t got;

	await(fd, POLLIN);
	got = recv(fd, p, n, 0);
	must(got >= 0, "recv");
	return (size_t)got;
}

void
net_recv(int fd, void *p, size_t n)
{
	uint8_t *at = p;

	while (n > 0) {
		size_t got = net_recv_some(fd, at, n);

		must(got > 0, "recv: the peer closed too early");
		at += got;
		n -= got;
	}
}

void
net_sleep_ms(uint32_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000,
		              .tv_nsec = (long)(ms % 1000) * 1000000 };

	(void)nanosleep(&t, NULL);
}

bool
net_until(const _Atomic uint32_t *counter, uint32_t n)
{
	for (uint32_t i = 0; i < NET_WAIT_MS; i++) {
		if (atomic_load(counter) >= n)
			return true;
		net_sleep_ms(1);
	}
	return false;
}
