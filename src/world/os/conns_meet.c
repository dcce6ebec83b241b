/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/conns_meet.c: how connections begin: dialed or accepted, and TLS.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "world/os/conns_parts.h"
#include "world/os/descriptors.h"

static int
watch(struct conns *cs, struct conn *c)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = c,
	};

	return epoll_ctl(cs->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev);
}

/* ---- connecting -------------------------------------------------------- */

/* Try addresses until one is under way; the last failure is the cause. */
static void
dial_on(struct conns *cs, struct conn *c, int cause)
{
	while (dial_more(c->more->dial)) {
		bool up = false;

		c->fd = dial_next(c->more->dial, &up, &cause);
		if (c->fd < 0)
			continue;
		if (watch(cs, c) != 0) {
			cause = errno;
			conns_drop_fd(c);
			continue;
		}
		if (up) {
			c->came_up = true;
			conns_put_ready(cs, c);
		}
		return;
	}
	conns_fail(cs, c, cause);
}

static bool
keep_name(struct conns *cs, struct conn *c, const struct address *to)
{
	char name[DIAL_NAME_MAX];

	dial_name(to, name);
	c->more->name = mem_alloc(cs->port->mem, strlen(name) + 1);
	if (c->more->name == NULL)
		return false;
	memcpy(c->more->name, name, strlen(name) + 1);
	return true;
}

/* What a connection to be dialed needs. False: no memory. */
static bool
equip(struct conns *cs, struct conn *c, const struct address *to)
{
	if (!conns_need_more(cs, c) || !keep_name(cs, c, to))
		return false;
	c->more->dial = mem_zero(cs->port->mem, sizeof(*c->more->dial));
	if (to->tls != NULL)
		c->more->tls = tls_connect(to->tls, to->host);
	return c->more->dial != NULL &&
	       (to->tls == NULL || c->more->tls != NULL);
}

struct link *
conns_open(struct conns *cs, const struct address *to, void *owner)
{
	struct conn *c = conns_new(cs, -1, owner);

	if (c == NULL)
		return NULL;
	c->state = CONN_CONNECTING;
	if (!equip(cs, c, to)) {
		conns_kill(cs, c);
		return NULL;
	}
	conns_put_timed(cs, c);
	if (dial_resolve(c->more->dial, to, NULL) != 0) {
		conns_fail(cs, c, CAUSE_NAME);
		return &c->link;
	}
	dial_on(cs, c, 0);
	if (c->state == CONN_DOWN &&
	    (c->cause == EMFILE || c->cause == ENFILE)) {
		conns_kill(cs, c);
		return NULL;
	}
	cs->port->is_short |= descriptors_are_fewer(c->fd);
	return &c->link;
}

/* Usable: to the machine, or (already closed by it) on with the flush. */
static void
up(struct conns *cs, struct conn *c)
{
	c->writable = true;
	if (c->state == CONN_FLUSHING) {
		port_touch(cs->port, &c->link);
		return;
	}
	conns_drop_timed(cs, c);
	c->state = CONN_UP;
	c->was_up = true;
	c->link.is_up = true;
	c->link.is_secure = conn_tls(c) != NULL;
	if (buf_len(&c->link.tx) > 0)
		port_touch(cs->port, &c->link);
	conns_tell(cs, EV_UP, c);
}

/* IPv4 as ::ffff:a.b.c.d; other families are not known. */
static void
peer_of(const struct sockaddr_storage *from, struct cidr_address *ret)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	*ret = (struct cidr_address){ .is_known = false };
	if (from->ss_family == AF_INET) {
		memcpy(&in, from, sizeof(in));
		ret->b[10] = 0xff;
		ret->b[11] = 0xff;
		memcpy(ret->b + 12, &in.sin_addr, 4);
		ret->is_known = true;
	} else if (from->ss_family == AF_INET6) {
		memcpy(&in6, from, sizeof(in6));
		memcpy(ret->b, &in6.sin6_addr, 16);
		ret->is_known = true;
	}
}

static uint16_t
port_of(const struct sockaddr_storage *from)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (from->ss_family == AF_INET) {
		memcpy(&in, from, sizeof(in));
		return ntohs(in.sin_port);
	}
	if (from->ss_family == AF_INET6) {
		memcpy(&in6, from, sizeof(in6));
		return ntohs(in6.sin6_port);
	}
	return 0;
}

struct origin
conns_origin(const struct link *l)
{
	const struct conn *c = (const struct conn *)(const void *)l;
	struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
	socklen_t n = sizeof(from);
	struct origin ret;

	if (c->fd < 0 || getpeername(c->fd, (struct sockaddr *)&from, &n) != 0)
		from.ss_family = AF_UNSPEC; /* it is lost already */
	peer_of(&from, &ret.at);
	ret.port = port_of(&from);
	return ret;
}

/* A client is there. */
static void
greet(struct conns *cs, struct conn *c, uint32_t tag,
      const struct sockaddr_storage *from)
{
	struct cidr_address peer;
	struct event ev = {
		.kind = EV_ACCEPT, .tag = tag, .link = &c->link, .peer = &peer
	};

	peer_of(from, &peer);
	conns_drop_timed(cs, c);
	c->state = CONN_UP;
	c->was_up = true;
	c->writable = true;
	c->link.is_up = true;
	c->link.is_secure = conn_tls(c) != NULL;
	cs->step(cs->self, cs->port, &ev);
}

/* A client that cannot do TLS our way: our end, and its end is waited for, so
 * that it reads what OpenSSL has said before the kernel resets it. */
static void
turn_away(struct conns *cs, struct conn *c)
{
	c->state = CONN_PARTING;
	conns_put_timed(cs, c);
	c->readable = true;
	if (shutdown(c->fd, SHUT_WR) != 0)
		conns_kill(cs, c);
	else
		conns_put_ready(cs, c);
}

/* The machine knows it already, and forgets it. */
static void
tell_lost(struct conns *cs, struct conn *c)
{
	struct err err = { .code = ERR_NONE };
	struct event ev = { .kind = EV_DOWN, .link = &c->link, .err = &err };

	if (c->state == CONN_FLUSHING) /* it has */
		return;
	(void)tls_why(conn_tls(c), &err);
	(void)err_wrap(&err, "client");
	cs->step(cs->self, cs->port, &ev);
	c->link.owner = NULL;
}

/* The handshake is done; from now on it is like any other. */
static void
shaken(struct conns *cs, struct conn *c)
{
	struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
	socklen_t n = sizeof(from);

	/* Bytes may have come with the handshake's last ones. */
	c->readable = true;
	conns_put_ready(cs, c);
	if (conn_name(c) != NULL) {
		up(cs, c);
		return;
	}
	if (c->was_up) {
		c->writable = true;
		port_touch(cs->port, &c->link);
		if (c->state == CONN_FLUSHING)
			return;
		conns_drop_timed(cs, c);
		c->state = CONN_UP;
		c->link.is_up = true;
		c->link.is_secure = true;
		return;
	}
	if (getpeername(c->fd, (struct sockaddr *)&from, &n) != 0)
		from.ss_family = AF_UNSPEC; /* it is lost already */
	greet(cs, c, c->more->tag, &from);
}

/* The next step of the handshake. */
void
conns_shake(struct conns *cs, struct conn *c)
{
	enum tls_rc rc;

	if (cs->shakes >= CONNS_SHAKES) {
		conns_put_ready(cs, c);
		return;
	}
	cs->shakes++;
	rc = tls_shake(c->more->tls);
	if (rc == TLS_AGAIN)
		return;
	c->shaking = false;
	if (rc == TLS_FAILED && conn_name(c) == NULL) {
		if (c->was_up)
			tell_lost(cs, c);
		if (c->state != CONN_GONE)
			turn_away(cs, c);
	} else if (rc == TLS_FAILED) {
		conns_fail(cs, c, CAUSE_TLS);
	} else {
		shaken(cs, c);
	}
}

void
conns_connected(struct conns *cs, struct conn *c)
{
	c->came_up = false;
	conns_drop_dial(cs, c);
	if (conn_tls(c) == NULL) {
		up(cs, c);
		return;
	}
	tls_use_fd(c->more->tls, c->fd);
	c->shaking = true;
	conns_shake(cs, c);
}

void
conns_dialed(struct conns *cs, struct conn *c)
{
	int cause = dial_outcome(c->fd);

	if (cause == 0) {
		conns_connected(cs, c);
		return;
	}
	conns_drop_fd(c);
	if (c->state == CONN_FLUSHING)
		conns_kill(cs, c);
	else
		dial_on(cs, c, cause);
}

void
conns_secure(struct conns *cs, struct link *l, struct span seen)
{
	struct conn *c = conn_of(l);
	struct span out = buf_span(&l->tx);
	ssize_t n = 0;

	if (c->state != CONN_UP)
		return;
	REQUIRE(l->may_secure && c->more->tls == NULL);
	l->may_secure = false;
	c->more->tls = tls_accept(c->more->offers);
	if (c->more->tls == NULL ||
	    (seen.n > 0 && !tls_feed(c->more->tls, seen))) {
		conns_fail(cs, c, CAUSE_MEMORY);
		return;
	}
	/* A few bytes, the first ones: they fit the socket. */
	if (out.n > 0)
		n = send(c->fd, out.p, out.n, MSG_NOSIGNAL);
	if (n < 0 || (size_t)n < out.n) {
		conns_fail(cs, c, n < 0 ? errno : EPIPE);
		return;
	}
	buf_take(&l->tx, out.n);
	tls_use_fd(c->more->tls, c->fd);
	c->state = CONN_CONNECTING;
	l->is_up = false;
	c->shaking = true;
	conns_put_timed(cs, c);
	conns_put_ready(cs, c);
}

/* Will it be begun by the machine? */
static bool
is_later(const struct conns_gate *g)
{
	return g->tls == NULL || g->is_asked;
}

void
conns_accept(struct conns *cs, int fd, const struct conns_gate *g,
             const struct sockaddr_storage *from)
{
	struct conn *c = conns_new(cs, fd, NULL);

	if (c == NULL) {
		(void)close(fd);
		return;
	}
	c->state = CONN_CONNECTING;
	if (g->tls != NULL && conns_need_more(cs, c)) {
		c->more->tls = g->is_asked ? NULL : tls_accept(g->tls);
		c->more->offers = g->tls;
	}
	if (watch(cs, c) != 0 ||
	    (g->tls != NULL &&
	     (c->more == NULL || (!g->is_asked && c->more->tls == NULL)))) {
		conns_kill(cs, c);
		return;
	}
	c->link.may_secure = g->tls != NULL && g->is_asked;
	if (is_later(g)) {
		greet(cs, c, g->tag, from);
		return;
	}
	tls_use_fd(c->more->tls, fd);
	c->more->tag = g->tag;
	c->shaking = true; /* its first event comes at once */
	conns_put_timed(cs, c);
}
