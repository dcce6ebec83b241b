/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/conns.c: all connections of one loop.
 */
#include "world/os/conns.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "world/os/conns_parts.h"

/* ---- birth and death --------------------------------------------------- */

struct conn *
conns_new(struct conns *cs, int fd, void *owner)
{
	struct conn *c = mem_zero(cs->port->mem, sizeof(*c));

	if (c == NULL)
		return NULL;
	buf_init(&c->link.tx, cs->port->mem);
	c->link.owner = owner;
	c->fd = fd;
	conn_list_push(&cs->calm, c);
	cs->n++;
	return c;
}

bool
conns_need_more(struct conns *cs, struct conn *c)
{
	if (c->more == NULL)
		c->more = mem_zero(cs->port->mem, sizeof(*c->more));
	return c->more != NULL;
}

void
conns_drop_dial(struct conns *cs, struct conn *c)
{
	if (conn_dial(c) == NULL)
		return;
	mem_free(cs->port->mem, c->more->dial, sizeof(*c->more->dial));
	c->more->dial = NULL;
}

void
conns_drop_fd(struct conn *c)
{
	struct tls *tls = conn_tls(c);

	if (tls != NULL) {
		(void)tls_bye(tls); /* as far as the kernel takes it */
		tls_use_fd(tls, -1);
	}
	if (c->fd >= 0)
		(void)close(c->fd); /* epoll forgets it by itself */
	c->fd = -1;
}

/* To the graves. */
void
conns_kill(struct conns *cs, struct conn *c)
{
	REQUIRE(c->state != CONN_GONE);
	c->state = CONN_GONE;
	c->shaking = false;
	c->link.is_up = false;
	conns_drop_fd(c);
	conn_list_remove(conns_list_of(cs, c), c);
	c->timed = false;
	c->next = cs->graves;
	cs->graves = c;
	cs->n--;
}

static void
free_conn(struct conns *cs, struct conn *c)
{
	struct mem *mem = cs->port->mem;

	struct conn_more *m = c->more;

	buf_fini(&c->link.tx);
	if (m != NULL) {
		tls_free(m->tls);
		conns_drop_dial(cs, c);
		if (m->name != NULL)
			mem_free(mem, m->name, strlen(m->name) + 1);
		mem_free(mem, m, sizeof(*m));
	}
	mem_free(mem, c, sizeof(*c));
}

void
conns_bury(struct conns *cs)
{
	struct conn *kept = NULL;

	while (cs->graves != NULL) {
		struct conn *c = cs->graves;

		cs->graves = c->next;
		if (c->ready || c->link.dirty) {
			c->next = kept;
			kept = c;
		} else {
			free_conn(cs, c);
		}
	}
	cs->graves = kept;
}

int
conns_init(struct conns *cs, struct err *err)
{
	REQUIRE(cs->port != NULL && cs->step != NULL);
	cs->rx = mem_alloc(cs->port->mem, CONNS_RX);
	if (cs->rx == NULL)
		return err_set(err, ERR_NOMEM, "no memory for a read buffer");
	return 0;
}

void
conns_fini(struct conns *cs)
{
	while (cs->calm.first != NULL)
		conns_kill(cs, cs->calm.first);
	while (cs->timed.first != NULL)
		conns_kill(cs, cs->timed.first);
	while (cs->graves != NULL) {
		struct conn *c = cs->graves;

		cs->graves = c->next;
		free_conn(cs, c);
	}
	cs->ready_first = NULL;
	cs->ready_last = NULL;
	cs->port->dirty = NULL;
	mem_free(cs->port->mem, cs->rx, CONNS_RX);
	cs->rx = NULL;
}

/* ---- what the machine hears -------------------------------------------- */

void
conns_tell(struct conns *cs, enum event_kind kind, struct conn *c)
{
	struct event ev = { .kind = kind, .link = &c->link };

	cs->step(cs->self, cs->port, &ev);
}

static void
cause_text(const struct conn *c, struct err *err)
{
	const char *name = conn_name(c) != NULL ? conn_name(c) : "client";

	switch (c->cause) {
	case CAUSE_END:
		(void)err_set(err, ERR_LOST,
		              "%s: the peer closed the connection", name);
		break;
	case CAUSE_TLS:
		(void)tls_why(conn_tls(c), err);
		(void)err_wrap(err, "%s", name);
		break;
	case CAUSE_LATE:
		(void)err_set(err, ERR_TIMEOUT, "%s: no %s within %d ms", name,
		              c->shaking ? "answer to TLS" : "connection",
		              DIAL_TIMEOUT_MS);
		break;
	case CAUSE_MEMORY:
		(void)err_set(err, ERR_NOMEM,
		              "%s: no memory for what it should be sent", name);
		break;
	case CAUSE_NAME:
		(void)err_set(err, ERR_LOST, "%s: the name has no address",
		              name);
		break;
	default:
		(void)err_set(err,
		              c->cause == ETIMEDOUT ? ERR_TIMEOUT : ERR_LOST,
		              c->was_up ? "%s: %s" : "cannot connect to %s: %s",
		              name, strerrordesc_np(c->cause));
	}
}

static void
tell_down(struct conns *cs, struct conn *c)
{
	struct err err = { .code = ERR_NONE };
	struct event ev = { .kind = EV_DOWN, .link = &c->link, .err = &err };

	cause_text(c, &err);
	conns_kill(cs, c);
	cs->step(cs->self, cs->port, &ev);
}

/* The connection is lost. The machine hears it in the next batch. */
void
conns_fail(struct conns *cs, struct conn *c, int cause)
{
	/* Of a client in its handshake the machine has not heard yet. */
	if (c->state == CONN_FLUSHING || c->state == CONN_PARTING ||
	    (c->shaking && conn_name(c) == NULL && !c->was_up)) {
		conns_kill(cs, c);
		return;
	}
	REQUIRE(c->state == CONN_UP || c->state == CONN_CONNECTING);
	c->state = CONN_DOWN;
	c->link.is_up = false;
	c->cause = (uint8_t)(cause == EPROTO && conn_tls(c) != NULL ? CAUSE_TLS
	                                                            : cause);
	conns_drop_timed(cs, c);
	conns_drop_dial(cs, c);
	conns_drop_fd(c);
	conns_put_ready(cs, c);
}

/* ---- reading ----------------------------------------------------------- */

static void
got(struct conns *cs, struct conn *c, size_t n)
{
	struct event ev = {
		.kind = EV_BYTES,
		.link = &c->link,
		.bytes = { cs->rx, n },
	};

	/* A short read took all there was, except the peer's end. */
	c->readable = n == CONNS_RX || c->ended || c->broken;
	cs->step(cs->self, cs->port, &ev);
	if (c->readable && !c->link.read_off && c->state == CONN_UP)
		conns_put_ready(cs, c);
}

/* The peer sends no more. */
static void
got_end(struct conns *cs, struct conn *c)
{
	if (!c->link.want_eof || c->broken) {
		conns_fail(cs, c, c->broken ? c->cause : CAUSE_END);
		return;
	}
	c->eof = true;
	c->readable = false;
	conns_tell(cs, EV_EOF, c);
}

static ssize_t
take_in(struct conns *cs, struct conn *c)
{
	struct tls *tls = conn_tls(c);
	ssize_t n;

	if (tls == NULL)
		return recv(c->fd, cs->rx, CONNS_RX, 0);
	n = tls_read(tls, cs->rx, CONNS_RX);
	if (tls_is_over(tls))
		c->ended = true;
	if (tls_read_waits(tls))
		c->writable = false;
	return n;
}

static void
read_some(struct conns *cs, struct conn *c)
{
	ssize_t n = take_in(cs, c);

	if (n > 0)
		got(cs, c, (size_t)n);
	else if (n == 0)
		got_end(cs, c);
	else if (errno == EINTR)
		conns_put_ready(cs, c);
	else if (errno != EAGAIN)
		conns_fail(cs, c, c->broken ? c->cause : errno);
	else if (c->broken)
		conns_fail(cs, c, c->cause);
	else
		c->readable = false;
}

/* Read away what a peer still says after our end, so that its kernel does not
 * meet a reset before it has read our last bytes. */
static void
read_away(struct conns *cs, struct conn *c)
{
	ssize_t n = recv(c->fd, cs->rx, CONNS_RX, 0);

	c->readable = false;
	if (n > 0 || (n < 0 && errno == EINTR)) {
		c->readable = true;
		conns_put_ready(cs, c);
	} else if (n == 0 || errno != EAGAIN) {
		conns_kill(cs, c);
	}
}

void
conns_read(struct conns *cs, struct link *l, bool on)
{
	struct conn *c = conn_of(l);

	l->read_off = !on;
	if (on && c->readable && c->state == CONN_UP)
		conns_put_ready(cs, c);
}

/* ---- writing ----------------------------------------------------------- */

/* All bytes of a closed link are out: say our end, wait for the peer's (which
 * may have been read already). */
static void
part(struct conns *cs, struct conn *c)
{
	if (conn_tls(c) != NULL && !tls_bye(conn_tls(c))) {
		c->writable = false; /* flush_one() comes again */
		return;
	}
	c->state = CONN_PARTING;
	if (shutdown(c->fd, SHUT_WR) != 0 || c->eof)
		conns_kill(cs, c);
	else if (c->readable)
		conns_put_ready(cs, c);
}

/* Bytes that came in before the break still belong to the machine. */
static void
write_failed(struct conns *cs, struct conn *c, int cause)
{
	c->writable = false;
	buf_release(&c->link.tx);
	if (c->state != CONN_UP || c->link.read_off || c->eof) {
		conns_fail(cs, c, cause);
		return;
	}
	c->broken = true;
	c->cause = (uint8_t)cause;
	c->readable = true;
	conns_put_ready(cs, c);
}

/* False: the write failed, look no further. */
static bool
write_some(struct conns *cs, struct conn *c)
{
	struct buf *tx = &c->link.tx;
	struct tls *tls = conn_tls(c);
	struct span s = buf_span(tx);
	ssize_t n = tls == NULL ? send(c->fd, s.p, s.n, MSG_NOSIGNAL)
	                        : tls_write(tls, s.p, s.n);

	if (n < 0 && errno == EINTR)
		n = 0;
	else if (n < 0 && errno == EAGAIN) {
		n = 0;
		c->writable = false;
	} else if (n < 0) {
		write_failed(cs, c, errno);
		return false;
	} else if ((size_t)n < s.n) {
		c->writable = false;
	}
	buf_take(tx, (size_t)n);
	if (buf_len(tx) == 0)
		buf_release(tx);
	else if (c->writable)
		conns_put_ready(cs, c); /* interrupted */
	return true;
}

static void
flush_one(struct conns *cs, struct conn *c)
{
	if (c->state != CONN_UP && c->state != CONN_FLUSHING)
		return;
	if (buf_failed(&c->link.tx)) {
		conns_fail(cs, c, CAUSE_MEMORY);
		return;
	}
	if (c->broken) {
		buf_release(&c->link.tx);
		return;
	}
	if (c->writable && buf_len(&c->link.tx) > 0 && !write_some(cs, c))
		return;
	if (c->state == CONN_FLUSHING && conn_dial(c) == NULL && !c->shaking &&
	    buf_len(&c->link.tx) == 0) {
		part(cs, c);
	} else if (c->link.want_drained && buf_len(&c->link.tx) < LINK_LOW) {
		c->drained = true;
		conns_put_ready(cs, c);
	}
}

/* The dirty links, first touched first. */
static struct link *
take_dirty(struct port *p)
{
	struct link *first = NULL;

	while (p->dirty != NULL) {
		struct link *l = p->dirty;

		p->dirty = l->next_dirty;
		l->next_dirty = first;
		first = l;
	}
	return first;
}

void
conns_flush(struct conns *cs)
{
	struct link *first;

	while ((first = take_dirty(cs->port)) != NULL) {
		while (first != NULL) {
			struct link *l = first;

			first = l->next_dirty;
			l->next_dirty = NULL;
			l->dirty = false;
			flush_one(cs, conn_of(l));
		}
	}
}

/* ---- closing ----------------------------------------------------------- */

void
conns_close(struct conns *cs, struct link *l, bool flush)
{
	struct conn *c = conn_of(l);

	if (c->state == CONN_GONE) /* inside its own EV_DOWN */
		return;
	REQUIRE(c->state <= CONN_DOWN); /* else: closed twice */
	c->link.is_up = false;
	c->link.owner = NULL;
	c->link.want_drained = false;
	if (!flush || c->state == CONN_DOWN || c->broken ||
	    (c->state == CONN_CONNECTING && buf_len(&l->tx) == 0)) {
		conns_kill(cs, c);
		return;
	}
	c->state = CONN_FLUSHING; /* conn_dial(c): connecting still */
	conns_put_timed(cs, c);
	port_touch(cs->port, l);
}

/* ---- events ------------------------------------------------------------ */

/* Events of a link whose end was read: what is left is its loss. */
static void
event_after_eof(struct conns *cs, struct conn *c, uint32_t events)
{
	if (events & (EPOLLHUP | EPOLLERR)) {
		int cause = dial_outcome(c->fd);

		conns_fail(cs, c, cause == 0 ? CAUSE_END : cause);
	} else if ((events & EPOLLOUT) && !c->writable) {
		c->writable = true;
		port_touch(cs->port, &c->link);
	}
}

/* What TLS wants beside: its handshake; a read that waits for room, a write that
 * waits for bytes. True: this was all. */
static bool
tls_event(struct conns *cs, struct conn *c, uint32_t events)
{
	if (c->shaking) {
		conns_shake(cs, c);
		return true;
	}
	if (tls_read_waits(c->more->tls) && (events & EPOLLOUT))
		c->readable = true;
	if (tls_write_waits(c->more->tls) && (events & EPOLLIN)) {
		c->writable = true;
		port_touch(cs->port, &c->link);
	}
	return false;
}

void
conns_event(struct conns *cs, struct conn *c, uint32_t events)
{
	if (c->state == CONN_GONE || c->state == CONN_DOWN)
		return;
	if (c->eof && c->state == CONN_UP) {
		event_after_eof(cs, c, events);
		return;
	}
	if (conn_dial(c) != NULL) {
		conns_dialed(cs, c);
		if (conn_dial(c) != NULL || c->state != CONN_UP)
			return;
	} else if (conn_tls(c) != NULL && tls_event(cs, c, events)) {
		return;
	}
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->ended = true;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR) && !c->writable) {
		c->writable = true;
		port_touch(cs->port, &c->link);
	}
	if (c->state == CONN_PARTING && c->readable)
		read_away(cs, c);
	else if (c->state == CONN_UP && c->readable && !c->link.read_off)
		read_some(cs, c);
	else if (c->state == CONN_UP && (events & EPOLLERR))
		conns_fail(cs, c, dial_outcome(c->fd)); /* reading is off */
}

static void
run_ready(struct conns *cs, struct conn *c)
{
	if (c->state == CONN_DOWN) {
		tell_down(cs, c);
		return;
	}
	if (c->came_up &&
	    (c->state == CONN_CONNECTING || c->state == CONN_FLUSHING))
		conns_connected(cs, c);
	else if (c->shaking)
		conns_shake(cs, c);
	if (c->state == CONN_PARTING && c->readable)
		read_away(cs, c);
	if (c->drained && c->state == CONN_UP) {
		c->drained = false;
		c->link.want_drained = false;
		conns_tell(cs, EV_DRAINED, c);
	}
	if (c->state == CONN_UP && c->broken && c->link.read_off)
		conns_fail(cs, c, c->cause);
	else if (c->state == CONN_UP && c->readable && !c->link.read_off)
		read_some(cs, c);
	else if (c->writable && buf_len(&c->link.tx) > 0)
		port_touch(cs->port, &c->link);
}

void
conns_run_ready(struct conns *cs)
{
	struct conn *c = cs->ready_first;

	cs->shakes = 0;
	cs->ready_first = NULL;
	cs->ready_last = NULL;
	while (c != NULL) {
		struct conn *next = c->next_ready;

		c->ready = false;
		c->next_ready = NULL;
		run_ready(cs, c);
		c = next;
	}
}

void
conns_expire(struct conns *cs)
{
	while (cs->timed.first != NULL &&
	       cs->timed.first->deadline_ns <= cs->port->now_ns)
		conns_fail(cs, cs->timed.first, CAUSE_LATE);
}

bool
conns_is_ready(const struct conns *cs)
{
	return cs->ready_first != NULL;
}

uint64_t
conns_deadline_ns(const struct conns *cs)
{
	return cs->timed.first == NULL ? UINT64_MAX
	                               : cs->timed.first->deadline_ns;
}
