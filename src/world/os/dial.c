/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/dial.c: from a struct address to a socket that is connecting.
 */
#include "world/os/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "world/os/seat.h"
#include "world/os/sentinel.h"

/* A server that vanished without a word: an idle connection notices after
 * 15 + 3 * 5 s; bytes that nobody acknowledges are given up after two minutes
 * (a server may well be busy for one). */
#define KEEP_IDLE_S     15
#define KEEP_INTERVAL_S 5
#define KEEP_COUNT      3
#define UNHEARD_MS      120000

void
dial_name(const struct address *to, char ret_name[DIAL_NAME_MAX])
{
	const char *form = "%s:%u";

	if (to->port == 0 || to->by_sentinel)
		form = "%s";
	else if (memchr(to->host, ':', strnlen(to->host, sizeof(to->host))))
		form = "[%s]:%u";
		/* One of three constant forms. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(ret_name, DIAL_NAME_MAX, form, to->host,
	               (unsigned)to->port);
#pragma GCC diagnostic pop
}

static int
resolve_path(struct dial *d, const struct address *to, struct err *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = strnlen(to->host, sizeof(to->host));

	if (n == 0 || n >= sizeof(un.sun_path))
		return err_set(err, ERR_BAD,
		               "the path of a Unix socket has 1 to %zu bytes",
		               sizeof(un.sun_path) - 1);
	memcpy(un.sun_path, to->host, n);
	memcpy(&d->at[0], &un, sizeof(un));
	d->len[0] = sizeof(un);
	d->n = 1;
	return 0;
}

static bool
resolve_numeric(struct dial *d, const struct address *to)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET,
		                   .sin_port = htons(to->port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
		                    .sin6_port = htons(to->port) };

	if (inet_pton(AF_INET, to->host, &in4.sin_addr) == 1) {
		memcpy(&d->at[0], &in4, sizeof(in4));
		d->len[0] = sizeof(in4);
	} else if (inet_pton(AF_INET6, to->host, &in6.sin6_addr) == 1) {
		memcpy(&d->at[0], &in6, sizeof(in6));
		d->len[0] = sizeof(in6);
	} else {
		return false;
	}
	d->n = 1;
	return true;
}

static int
resolve_name(struct dial *d, const struct address *to, struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		                  .ai_flags = AI_ADDRCONFIG };
	struct addrinfo *all = NULL;
	char port[8];
	int rc;

	(void)snprintf(port, sizeof(port), "%u", (unsigned)to->port);
	rc = getaddrinfo(to->host, port, &hints, &all);
	if (rc != 0)
		return err_set(err, ERR_LOST, "cannot look up %s: %s", to->host,
		               gai_strerror(rc));
	for (struct addrinfo *a = all; a != NULL && d->n < DIAL_MAX;
	     a = a->ai_next) {
		if (a->ai_addrlen > sizeof(d->at[0]))
			continue;
		memcpy(&d->at[d->n], a->ai_addr, a->ai_addrlen);
		d->len[d->n++] = a->ai_addrlen;
	}
	freeaddrinfo(all);
	return d->n > 0 ? 0
	                : err_set(err, ERR_LOST, "%s has no address", to->host);
}

/* Of one server. */
static int
resolve(struct dial *d, const struct address *to, struct err *err)
{
	if (to->port == 0)
		return resolve_path(d, to, err);
	if (to->host[0] == 0)
		return err_set(err, ERR_BAD, "the address has no host");
	if (resolve_numeric(d, to))
		return 0;
	return resolve_name(d, to, err);
}

int
dial_resolve(struct dial *d, const struct address *to, struct err *err)
{
	struct address master;
	int rc;

	REQUIRE(memchr(to->host, 0, sizeof(to->host)) != NULL);
	*d = (struct dial){ .n = 0 };
	if (!to->by_sentinel) {
		master = seat_of(to);
		return resolve(d, &master, err);
	}
	rc = sentinel_master(to, &master, err);
	return rc == 0 ? resolve(d, &master, err) : rc;
}

static void
set_int(int fd, int level, int option, int value)
{
	/* Comfort, not correctness: a socket that refuses it still works. */
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

bool
dial_more(const struct dial *d)
{
	return d->next < d->n;
}

int
dial_next(struct dial *d, bool *ret_up, int *ret_errno)
{
	struct sockaddr *at = (struct sockaddr *)&d->at[d->next];
	socklen_t len = d->len[d->next];
	int fd;

	REQUIRE(dial_more(d));
	d->next++;
	*ret_up = false;
	fd = socket(at->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
	            0);
	if (fd < 0) {
		*ret_errno = errno;
		return -1;
	}
	if (at->sa_family != AF_UNIX) {
		set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
		set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S);
		set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S);
		set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT);
		set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNHEARD_MS);
	}
	if (connect(fd, at, len) == 0) {
		*ret_up = true;
		return fd;
	}
	if (errno == EINPROGRESS || errno == EINTR)
		return fd;
	*ret_errno = errno;
	(void)close(fd);
	return -1;
}

/* Loopback's simultaneous open with oneself. */
static bool
is_own_peer(int fd)
{
	struct sockaddr_storage a = { .ss_family = AF_UNSPEC };
	struct sockaddr_storage b = { .ss_family = AF_UNSPEC };
	socklen_t an = sizeof(a);
	socklen_t bn = sizeof(b);

	return getsockname(fd, (struct sockaddr *)&a, &an) == 0 &&
	       getpeername(fd, (struct sockaddr *)&b, &bn) == 0 &&
	       a.ss_family != AF_UNIX && an == bn && memcmp(&a, &b, an) == 0;
}

int
dial_outcome(int fd)
{
	int e = 0;
	socklen_t n = sizeof(e);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) != 0)
		return errno;
	if (e == 0 && is_own_peer(fd))
		return ECONNREFUSED;
	return e;
}
