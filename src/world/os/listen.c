/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/listen.c: sockets that clients connect to.
 *
 * TCP_NODELAY and SO_KEEPALIVE are set here once: on Linux an accepted socket
 * inherits them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "world/os/loop.h"

#define LISTEN_BACKLOG 4096
/* Clients idle for long are normal; a vanished one is noticed in 6 minutes. */
#define CLIENT_IDLE_S  300

struct place {
	struct sockaddr_storage at;
	socklen_t len;
};

static int
parse_port(const char *text, uint16_t *ret)
{
	char *end = NULL;
	unsigned long v;

	if (text[0] < '0' || text[0] > '9')
		return -ERR_BAD;
	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno != 0 || *end != 0 || v > 65535)
		return -ERR_BAD;
	*ret = (uint16_t)v;
	return 0;
}

/* "127.0.0.1:6400", ":6400", "[::1]:6400", "localhost:6400". */
static int
parse_place(const char *where, struct place *ret, struct err *err)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	const char *colon = strrchr(where, ':');
	char host[64] = "127.0.0.1";
	size_t n = colon == NULL ? 0 : (size_t)(colon - where);
	uint16_t port = 0;
	bool v6 = n >= 2 && where[0] == '[' && where[n - 1] == ']';

	if (colon == NULL || parse_port(colon + 1, &port) != 0)
		return err_set(err, ERR_USAGE,
		               "\"%s\" is not an address to listen on; write "
		               "it like 127.0.0.1:6400",
		               where);
	if (n - (v6 ? 2 : 0) >= sizeof(host))
		return err_set(err, ERR_USAGE, "\"%s\": the host is too long",
		               where);
	if (n > 0)
		(void)snprintf(host, sizeof(host), "%.*s",
		               (int)(n - (v6 ? 2 : 0)), where + (v6 ? 1 : 0));
	if (strcmp(host, "localhost") == 0)
		(void)snprintf(host, sizeof(host), "127.0.0.1");
	in4.sin_port = htons(port);
	in6.sin6_port = htons(port);
	if (!v6 && inet_pton(AF_INET, host, &in4.sin_addr) == 1) {
		memcpy(&ret->at, &in4, sizeof(in4));
		ret->len = sizeof(in4);
	} else if (v6 && inet_pton(AF_INET6, host, &in6.sin6_addr) == 1) {
		memcpy(&ret->at, &in6, sizeof(in6));
		ret->len = sizeof(in6);
	} else {
		return err_set(err, ERR_USAGE,
		               "\"%s\": listen on a numeric address, like "
		               "127.0.0.1:6400 or [::1]:6400",
		               where);
	}
	return 0;
}

static uint16_t
place_port(const struct place *p)
{
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;

	if (p->at.ss_family == AF_INET) {
		memcpy(&in4, &p->at, sizeof(in4));
		return ntohs(in4.sin_port);
	}
	memcpy(&in6, &p->at, sizeof(in6));
	return ntohs(in6.sin6_port);
}

static bool
set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

/* A listening socket, or -1 with errno. */
static int
open_one(const struct place *p)
{
	int fd = socket(p->at.ss_family,
	                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int saved;

	if (fd < 0)
		return -1;
	(void)set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	(void)set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	(void)set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, CLIENT_IDLE_S);
	if (set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
	    set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1) &&
	    bind(fd, (const struct sockaddr *)&p->at, p->len) == 0 &&
	    listen(fd, LISTEN_BACKLOG) == 0)
		return fd;
	saved = errno;
	(void)close(fd);
	errno = saved;
	return -1;
}

/* Is the port free for us alone? SO_REUSEPORT alone would let a second Godwit
 * of the same user share the clients of the first. */
static bool
is_taken(const struct place *p)
{
	int fd = socket(p->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool taken;

	if (fd < 0)
		return false;
	(void)set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	taken = bind(fd, (const struct sockaddr *)&p->at, p->len) != 0 &&
	        errno == EADDRINUSE;
	(void)close(fd);
	return taken;
}

/* ---- a path ------------------------------------------------------------- */

/* A socket that nobody listens on was left behind by a process that was
 * killed. */
static bool
is_stale(const struct sockaddr_un *un)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool stale =
		fd >= 0 &&
		connect(fd, (const struct sockaddr *)un, sizeof(*un)) != 0 &&
		errno == ECONNREFUSED;

	if (fd >= 0)
		(void)close(fd);
	return stale;
}

/* 0600 from the beginning: Linux makes the file with the socket's mode. */
static int
bind_path(int fd, const struct sockaddr_un *un)
{
	if (fchmod(fd, S_IRUSR | S_IWUSR) != 0)
		return -1;
	return bind(fd, (const struct sockaddr *)un, sizeof(*un));
}

static int
fail_path(int fd, const char *where, struct err *err)
{
	enum err_code code = errno == EADDRINUSE ? ERR_EXISTS : ERR_IO;

	(void)err_set(err, code, "cannot listen on %s: %s", where,
	              errno == EADDRINUSE ? "another process listens there"
	                                  : strerrordesc_np(errno));
	if (fd >= 0)
		(void)close(fd);
	return -(int)code;
}

static int
open_path(const char *where, uint32_t n, int *ret_fds, struct err *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	uint32_t done = 1;
	int fd;

	if (strlen(where) >= sizeof(un.sun_path))
		return err_set(err, ERR_USAGE,
		               "\"%s\": the path of a socket has at most %zu "
		               "bytes",
		               where, sizeof(un.sun_path) - 1);
	memcpy(un.sun_path, where, strlen(where));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail_path(fd, where, err);
	if (is_stale(&un))
		(void)unlink(where);
	if (bind_path(fd, &un) != 0 || listen(fd, LISTEN_BACKLOG) != 0)
		return fail_path(fd, where, err);
	ret_fds[0] = fd;
	/* One queue; each loop takes of it. */
	for (; done < n; done++) {
		ret_fds[done] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (ret_fds[done] < 0)
			break;
	}
	if (done == n)
		return 0;
	while (done > 1)
		(void)close(ret_fds[--done]);
	return fail_path(fd, where, err);
}

bool
listen_is_path(const char *where)
{
	return where[0] == '/';
}

void
listen_forget(const char *where)
{
	if (listen_is_path(where))
		(void)unlink(where);
}

int
listen_open(const char *where, uint32_t n, int *ret_fds, uint16_t *ret_port,
            struct err *err)
{
	struct place p = { .len = 0 };
	uint32_t done = 0;

	REQUIRE(n > 0);
	if (listen_is_path(where)) {
		*ret_port = 0;
		return open_path(where, n, ret_fds, err);
	}
	if (parse_place(where, &p, err) != 0)
		return -ERR_USAGE;
	if (is_taken(&p))
		return err_set(err, ERR_EXISTS,
		               "cannot listen on %s: another process has this "
		               "port; stop it or choose another with --listen",
		               where);
	for (; done < n; done++) {
		ret_fds[done] = open_one(&p);
		if (ret_fds[done] < 0)
			break;
		if (done == 0 &&
		    getsockname(ret_fds[0], (struct sockaddr *)&p.at, &p.len) !=
		            0)
			NEVER("a bound socket has no name");
	}
	*ret_port = place_port(&p);
	if (done == n)
		return 0;
	(void)err_set(err, errno == EADDRINUSE ? ERR_EXISTS : ERR_IO,
	              "cannot listen on %s: %s", where, strerrordesc_np(errno));
	while (done > 0)
		(void)close(ret_fds[--done]);
	return err != NULL ? -(int)err->code : -ERR_IO;
}
