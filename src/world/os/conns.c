/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/conns.c: all connections of one loop.
 */
#include "world/os/conns.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "world/os/dial.h"

#define MS_NS 1000000ull

enum conn_state {
	CONN_CONNECTING,
	CONN_UP,
	CONN_DOWN,     /* lost; the machine hears it in the next batch       */
	CONN_FLUSHING, /* the machine has forgotten it; tx still goes out    */
	CONN_PARTING,  /* all sent, our end said; waiting for the peer's end */
	CONN_GONE,     /* closed; freed by conns_bury()                      */
};

/* Beside errno values in conn.cause. */
#define CAUSE_END    (-1) /* the peer closed                    */
#define CAUSE_LATE   (-2) /* no connection in DIAL_TIMEOUT_MS   */
#define CAUSE_MEMORY (-3) /* tx could not grow                  */
#define CAUSE_NAME   (-4) /* the name could not be resolved     */

struct conn {
	struct link link; /* first: a link is a conn */
	struct conn *next;
	struct conn *prev;
	struct conn *next_ready;
	struct conn *next_timed;
	struct conn *prev_timed;
	struct dial *dial; /* while CONNECTING                         */
	char *name;        /* of an opened one; NULL for accepted ones */
	uint64_t deadline_ns;
	int fd;
	int cause;
	enum conn_state state;
	bool readable;
	bool writable;
	bool ended;   /* the kernel told of the peer's end         */
	bool eof;     /* its end was read and told (EV_EOF)        */
	bool ready;   /* in the ready list                         */
	bool timed;   /* in the timed list                         */
	bool came_up; /* connected at once; EV_UP is still due     */
	bool was_up;
	bool drained; /* EV_DRAINED is due                         */
	bool broken;  /* a write failed; what came in is read first */
};

static struct conn *
conn_of(struct link *l)
{
	return (struct conn *)(void *)l;
}

/* ---- lists ------------------------------------------------------------- */

static void
put_ready(struct conns *cs, struct conn *c)
{
	if (c->ready)
		return;
	c->ready = true;
	c->next_ready = NULL;
	if (cs->ready_last == NULL)
		cs->ready_first = c;
	else
		cs->ready_last->next_ready = c;
	cs->ready_last = c;
}

static void
drop_timed(struct conns *cs, struct conn *c)
{
	if (!c->timed)
		return;
	c->timed = false;
	*(c->prev_timed ? &c->prev_timed->next_timed : &cs->timed_first) =
		c->next_timed;
	*(c->next_timed ? &c->next_timed->prev_timed : &cs->timed_last) =
		c->prev_timed;
}

/* Both limits are the same length, so the list is ordered by itself. */
_Static_assert(DIAL_TIMEOUT_MS == CONNS_FLUSH_MS, "one list of deadlines");

static void
put_timed(struct conns *cs, struct conn *c)
{
	drop_timed(cs, c);
	c->deadline_ns = cs->port->now_ns + CONNS_FLUSH_MS * MS_NS;
	c->timed = true;
	c->next_timed = NULL;
	c->prev_timed = cs->timed_last;
	*(cs->timed_last ? &cs->timed_last->next_timed : &cs->timed_first) = c;
	cs->timed_last = c;
}

/* ---- birth and death --------------------------------------------------- */

static struct conn *
conn_new(struct conns *cs, int fd, void *owner)
{
	struct conn *c = mem_zero(cs->port->mem, sizeof(*c));

	if (c == NULL)
		return NULL;
	buf_init(&c->link.tx, cs->port->mem);
	c->link.owner = owner;
	c->fd = fd;
	c->next = cs->all;
	if (cs->all != NULL)
		cs->all->prev = c;
	cs->all = c;
	cs->n++;
	return c;
}

static void
drop_dial(struct conns *cs, struct conn *c)
{
	mem_free(cs->port->mem, c->dial, sizeof(*c->dial));
	c->dial = NULL;
}

static void
drop_fd(struct conn *c)
{
	if (c->fd >= 0)
		(void)close(c->fd); /* epoll forgets it by itself */
	c->fd = -1;
}

/* From `all` to the graves. */
static void
kill_conn(struct conns *cs, struct conn *c)
{
	REQUIRE(c->state != CONN_GONE);
	c->state = CONN_GONE;
	c->link.is_up = false;
	drop_timed(cs, c);
	drop_fd(c);
	*(c->prev ? &c->prev->next : &cs->all) = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	c->next = cs->graves;
	cs->graves = c;
	cs->n--;
}

static void
free_conn(struct conns *cs, struct conn *c)
{
	struct mem *mem = cs->port->mem;

	buf_fini(&c->link.tx);
	drop_dial(cs, c);
	if (c->name != NULL)
		mem_free(mem, c->name, strlen(c->name) + 1);
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
	while (cs->all != NULL)
		kill_conn(cs, cs->all);
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

static void
tell(struct conns *cs, enum event_kind kind, struct conn *c)
{
	struct event ev = { .kind = kind, .link = &c->link };

	cs->step(cs->self, cs->port, &ev);
}

static void
cause_text(const struct conn *c, struct err *err)
{
	const char *name = c->name != NULL ? c->name : "client";

	switch (c->cause) {
	case CAUSE_END:
		(void)err_set(err, ERR_LOST,
		              "%s: the peer closed the connection", name);
		break;
	case CAUSE_LATE:
		(void)err_set(err, ERR_TIMEOUT,
		              "%s: no connection within %d ms", name,
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
	kill_conn(cs, c);
	cs->step(cs->self, cs->port, &ev);
}

/* The connection is lost. The machine hears it in the next batch. */
static void
fail(struct conns *cs, struct conn *c, int cause)
{
	if (c->state == CONN_FLUSHING || c->state == CONN_PARTING) {
		kill_conn(cs, c);
		return;
	}
	REQUIRE(c->state == CONN_UP || c->state == CONN_CONNECTING);
	c->state = CONN_DOWN;
	c->link.is_up = false;
	c->cause = cause;
	drop_timed(cs, c);
	drop_dial(cs, c);
	drop_fd(c);
	put_ready(cs, c);
}

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
	while (dial_more(c->dial)) {
		bool up = false;

		c->fd = dial_next(c->dial, &up, &cause);
		if (c->fd < 0)
			continue;
		if (watch(cs, c) != 0) {
			cause = errno;
			drop_fd(c);
			continue;
		}
		if (up) {
			c->came_up = true;
			put_ready(cs, c);
		}
		return;
	}
	fail(cs, c, cause);
}

static bool
keep_name(struct conns *cs, struct conn *c, const struct address *to)
{
	char name[DIAL_NAME_MAX];

	dial_name(to, name);
	c->name = mem_alloc(cs->port->mem, strlen(name) + 1);
	if (c->name == NULL)
		return false;
	memcpy(c->name, name, strlen(name) + 1);
	return true;
}

struct link *
conns_open(struct conns *cs, const struct address *to, void *owner)
{
	struct conn *c = conn_new(cs, -1, owner);

	if (c == NULL)
		return NULL;
	c->state = CONN_CONNECTING;
	c->dial = mem_zero(cs->port->mem, sizeof(*c->dial));
	if (c->dial == NULL || !keep_name(cs, c, to)) {
		kill_conn(cs, c);
		return NULL;
	}
	put_timed(cs, c);
	if (dial_resolve(c->dial, to, NULL) != 0) {
		fail(cs, c, CAUSE_NAME);
		return &c->link;
	}
	dial_on(cs, c, 0);
	if (c->state == CONN_DOWN &&
	    (c->cause == EMFILE || c->cause == ENFILE)) {
		kill_conn(cs, c);
		return NULL;
	}
	return &c->link;
}

/* Connected: to the machine, or (already closed by it) on with the flush. */
static void
connected(struct conns *cs, struct conn *c)
{
	c->came_up = false;
	c->writable = true;
	drop_dial(cs, c);
	if (c->state == CONN_FLUSHING) {
		port_touch(cs->port, &c->link);
		return;
	}
	drop_timed(cs, c);
	c->state = CONN_UP;
	c->was_up = true;
	c->link.is_up = true;
	if (buf_len(&c->link.tx) > 0)
		port_touch(cs->port, &c->link);
	tell(cs, EV_UP, c);
}

static void
dialed(struct conns *cs, struct conn *c)
{
	int cause = dial_outcome(c->fd);

	if (cause == 0) {
		connected(cs, c);
		return;
	}
	drop_fd(c);
	if (c->state == CONN_FLUSHING)
		kill_conn(cs, c);
	else
		dial_on(cs, c, cause);
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

void
conns_accept(struct conns *cs, int fd, uint32_t tag,
             const struct sockaddr_storage *from)
{
	struct conn *c = conn_new(cs, fd, NULL);
	struct cidr_address peer;
	struct event ev = { .kind = EV_ACCEPT, .tag = tag, .peer = &peer };

	peer_of(from, &peer);

	if (c == NULL) {
		(void)close(fd);
		return;
	}
	c->state = CONN_UP;
	c->was_up = true;
	c->writable = true;
	if (watch(cs, c) != 0) {
		kill_conn(cs, c);
		return;
	}
	c->link.is_up = true;
	ev.link = &c->link;
	cs->step(cs->self, cs->port, &ev);
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
		put_ready(cs, c);
}

/* The peer sends no more. */
static void
got_end(struct conns *cs, struct conn *c)
{
	if (!c->link.want_eof || c->broken) {
		fail(cs, c, c->broken ? c->cause : CAUSE_END);
		return;
	}
	c->eof = true;
	c->readable = false;
	tell(cs, EV_EOF, c);
}

static void
read_some(struct conns *cs, struct conn *c)
{
	ssize_t n = recv(c->fd, cs->rx, CONNS_RX, 0);

	if (n > 0)
		got(cs, c, (size_t)n);
	else if (n == 0)
		got_end(cs, c);
	else if (errno == EINTR)
		put_ready(cs, c);
	else if (errno != EAGAIN)
		fail(cs, c, c->broken ? c->cause : errno);
	else if (c->broken)
		fail(cs, c, c->cause);
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
		put_ready(cs, c);
	} else if (n == 0 || errno != EAGAIN) {
		kill_conn(cs, c);
	}
}

void
conns_read(struct conns *cs, struct link *l, bool on)
{
	struct conn *c = conn_of(l);

	l->read_off = !on;
	if (on && c->readable && c->state == CONN_UP)
		put_ready(cs, c);
}

/* ---- writing ----------------------------------------------------------- */

/* All bytes of a closed link are out: say our end, wait for the peer's (which
 * may have been read already). */
static void
part(struct conns *cs, struct conn *c)
{
	c->state = CONN_PARTING;
	if (shutdown(c->fd, SHUT_WR) != 0 || c->eof)
		kill_conn(cs, c);
	else if (c->readable)
		put_ready(cs, c);
}

/* Bytes that came in before the break still belong to the machine. */
static void
write_failed(struct conns *cs, struct conn *c, int cause)
{
	c->writable = false;
	buf_release(&c->link.tx);
	if (c->state != CONN_UP || c->link.read_off || c->eof) {
		fail(cs, c, cause);
		return;
	}
	c->broken = true;
	c->cause = cause;
	c->readable = true;
	put_ready(cs, c);
}

/* False: the write failed, look no further. */
static bool
write_some(struct conns *cs, struct conn *c)
{
	struct buf *tx = &c->link.tx;
	struct span s = buf_span(tx);
	ssize_t n = send(c->fd, s.p, s.n, MSG_NOSIGNAL);

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
		put_ready(cs, c); /* interrupted */
	return true;
}

static void
flush_one(struct conns *cs, struct conn *c)
{
	if (c->state != CONN_UP && c->state != CONN_FLUSHING)
		return;
	if (buf_failed(&c->link.tx)) {
		fail(cs, c, CAUSE_MEMORY);
		return;
	}
	if (c->broken) {
		buf_release(&c->link.tx);
		return;
	}
	if (c->writable && buf_len(&c->link.tx) > 0 && !write_some(cs, c))
		return;
	if (c->state == CONN_FLUSHING && c->dial == NULL &&
	    buf_len(&c->link.tx) == 0) {
		part(cs, c);
	} else if (c->link.want_drained && buf_len(&c->link.tx) < LINK_LOW) {
		c->drained = true;
		put_ready(cs, c);
	}
}

void
conns_flush(struct conns *cs)
{
	while (cs->port->dirty != NULL) {
		struct link *l = cs->port->dirty;

		cs->port->dirty = l->next_dirty;
		l->next_dirty = NULL;
		l->dirty = false;
		flush_one(cs, conn_of(l));
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
		kill_conn(cs, c);
		return;
	}
	c->state = CONN_FLUSHING; /* c->dial != NULL: connecting still */
	put_timed(cs, c);
	port_touch(cs->port, l);
}

/* ---- events ------------------------------------------------------------ */

/* Events of a link whose end was read: what is left is its loss. */
static void
event_after_eof(struct conns *cs, struct conn *c, uint32_t events)
{
	if (events & (EPOLLHUP | EPOLLERR)) {
		int cause = dial_outcome(c->fd);

		fail(cs, c, cause == 0 ? CAUSE_END : cause);
	} else if ((events & EPOLLOUT) && !c->writable) {
		c->writable = true;
		port_touch(cs->port, &c->link);
	}
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
	if (c->dial != NULL) {
		dialed(cs, c);
		if (c->dial != NULL || c->state != CONN_UP)
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
		fail(cs, c, dial_outcome(c->fd)); /* reading is off */
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
		connected(cs, c);
	if (c->state == CONN_PARTING && c->readable)
		read_away(cs, c);
	if (c->drained && c->state == CONN_UP) {
		c->drained = false;
		c->link.want_drained = false;
		tell(cs, EV_DRAINED, c);
	}
	if (c->state == CONN_UP && c->broken && c->link.read_off)
		fail(cs, c, c->cause);
	else if (c->state == CONN_UP && c->readable && !c->link.read_off)
		read_some(cs, c);
	else if (c->writable && buf_len(&c->link.tx) > 0)
		port_touch(cs->port, &c->link);
}

void
conns_run_ready(struct conns *cs)
{
	struct conn *c = cs->ready_first;

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
	while (cs->timed_first != NULL &&
	       cs->timed_first->deadline_ns <= cs->port->now_ns)
		fail(cs, cs->timed_first, CAUSE_LATE);
}

bool
conns_is_ready(const struct conns *cs)
{
	return cs->ready_first != NULL;
}

uint64_t
conns_deadline_ns(const struct conns *cs)
{
	return cs->timed_first == NULL ? UINT64_MAX
	                               : cs->timed_first->deadline_ns;
}
