/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/client.c: a blocking connection with deadlines.
 *
 * The socket never blocks; poll() does, until the deadline of the call. Once a
 * call has failed the connection is out of step with its peer, so every later
 * call fails as well.
 */
#include "world/os/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "wire/resp.h"
#include "world/os/dial.h"
#include "world/os/loop.h"
#include "world/os/tls.h"

#define CLIENT_READ ((size_t)64 * 1024)
#define TLS_ALERT   0x15 /* first byte of what a TLS server answers to RESP */

struct client {
	struct mem mem;
	struct buf rx;   /* replies of the last call          */
	size_t answered; /* bytes of them, taken by the next  */
	struct tls *tls; /* NULL: plain */
	int fd;
	bool is_heard; /* a byte came */
	bool is_full;  /* there may be more than the last read took */
	bool broken;
	char name[DIAL_NAME_MAX];
};

static int
too_late(struct client *c, const char *what, struct err *err)
{
	return err_set(err, ERR_TIMEOUT, "%s: %s", c->name, what);
}

static int
lost(struct client *c, int cause, struct err *err)
{
	if (cause == EPROTO && c->tls != NULL) {
		(void)tls_why(c->tls, err);
		return err_wrap(err, "%s", c->name);
	}
	return err_set(err, ERR_LOST, "%s: %s%s", c->name,
	               cause == 0 ? "the peer closed the connection"
	                          : strerrordesc_np(cause),
	               c->tls == NULL && !c->is_heard
	                       ? " (if it speaks TLS, write rediss://)"
	                       : "");
}

/* Wait until the socket is ready. 0 or -ERR_TIMEOUT. */
static int
await(int fd, short events, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		uint64_t now = os_mono_ns();
		uint64_t ms;

		if (now >= deadline_ns)
			return -ERR_TIMEOUT;
		ms = (deadline_ns - now + 999999) / 1000000;
		if (poll(&p, 1, (int)ms) > 0)
			return 0;
	}
}

static uint64_t
deadline(uint32_t timeout_ms)
{
	REQUIRE(timeout_ms <= 24u * 3600 * 1000);
	return os_mono_ns() + timeout_ms * 1000000ull;
}

/* Connect to one address after the other. 0, or -ERR with *ret_cause. */
static int
dial_all(struct client *c, struct dial *d, uint64_t deadline_ns, int *ret_cause)
{
	while (dial_more(d)) {
		bool up = false;

		c->fd = dial_next(d, &up, ret_cause);
		if (c->fd < 0)
			continue;
		if (up)
			return 0;
		if (await(c->fd, POLLOUT, deadline_ns) != 0)
			return -ERR_TIMEOUT;
		*ret_cause = dial_outcome(c->fd);
		if (*ret_cause == 0)
			return 0;
		(void)close(c->fd);
		c->fd = -1;
	}
	return -ERR_LOST;
}

/* The handshake, where the address wants one. */
static int
secure(struct client *c, const struct address *to, uint64_t until,
       struct err *err)
{
	enum tls_rc rc;

	if (to->tls == NULL)
		return 0;
	c->tls = tls_connect(to->tls, to->host);
	if (c->tls == NULL)
		return err_set(err, ERR_NOMEM, "no memory for TLS");
	tls_use_fd(c->tls, c->fd);
	while ((rc = tls_shake(c->tls)) == TLS_AGAIN) {
		/* What a handshake has to send always fits the socket. */
		if (await(c->fd, POLLIN, until) != 0)
			return too_late(c,
			                "no answer to TLS in time; if this "
			                "port is plain, write redis://",
			                err);
	}
	return rc == TLS_DONE ? 0 : lost(c, EPROTO, err);
}

struct client *
client_open(const struct address *to, uint32_t timeout_ms, struct err *err)
{
	uint64_t until = deadline(timeout_ms);
	struct client *c = calloc(1, sizeof(*c));
	struct dial d;
	int cause = 0;
	int rc;

	if (c == NULL) {
		(void)err_set(err, ERR_NOMEM, "no memory for a connection");
		return NULL;
	}
	c->fd = -1;
	os_mem_init(&c->mem, 0);
	buf_init(&c->rx, &c->mem);
	dial_name(to, c->name);
	if (dial_resolve(&d, to, err) != 0) {
		client_close(c);
		return NULL;
	}
	rc = dial_all(c, &d, until, &cause);
	if (rc == 0 && secure(c, to, until, err) == 0)
		return c;
	if (rc == 0)
		; /* told */
	else if (rc == -ERR_TIMEOUT)
		(void)err_set(err, ERR_TIMEOUT,
		              "cannot connect to %s: no answer within %u ms",
		              c->name, (unsigned)timeout_ms);
	else
		(void)err_set(err, ERR_LOST, "cannot connect to %s: %s",
		              c->name, strerrordesc_np(cause));
	client_close(c);
	return NULL;
}

void
client_close(struct client *c)
{
	if (c == NULL)
		return;
	buf_fini(&c->rx);
	if (c->tls != NULL)
		(void)tls_bye(c->tls);
	tls_free(c->tls);
	if (c->fd >= 0)
		(void)close(c->fd);
	free(c);
}

int
client_fd(const struct client *c)
{
	return c->fd;
}

/* Take what has arrived. 0 (perhaps nothing), or -ERR. */
static int
receive(struct client *c, struct err *err)
{
	uint8_t *room = buf_room(&c->rx, CLIENT_READ);
	ssize_t n;

	if (room == NULL)
		return err_set(err, ERR_NOMEM, "%s: no memory for an answer",
		               c->name);
	n = c->tls == NULL ? recv(c->fd, room, CLIENT_READ, 0)
	                   : tls_read(c->tls, room, CLIENT_READ);
	c->is_full = n == (ssize_t)CLIENT_READ;
	c->is_heard |= n > 0;
	if (n > 0)
		buf_grew(&c->rx, (size_t)n);
	else if (n == 0)
		return lost(c, 0, err);
	else if (errno != EAGAIN && errno != EINTR)
		return lost(c, errno, err);
	return 0;
}

/* Send everything; read meanwhile, so that two full pipes cannot wait for each
 * other. */
static int
send_all(struct client *c, struct span out, uint64_t until, struct err *err)
{
	while (out.n > 0) {
		ssize_t n = c->tls == NULL
		                    ? send(c->fd, out.p, out.n, MSG_NOSIGNAL)
		                    : tls_write(c->tls, out.p, out.n);
		int rc;

		if (n >= 0) {
			out = span_skip(out, (size_t)n);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return lost(c, errno, err);
		if (await(c->fd, POLLIN | POLLOUT, until) != 0)
			return too_late(c, "the request was not taken in time",
			                err);
		rc = receive(c, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* Move *at over complete replies (counting *n down) and what there is of the
 * next one. 0 or -ERR_PROTO. */
static int
look(struct client *c, struct resp_skip *skip, size_t *at, uint32_t *n,
     struct err *err)
{
	struct span in = span_skip(buf_span(&c->rx), *at);

	while (*n > 0 && in.n > 0) {
		size_t used = 0;
		enum wire_rc rc = resp_skip_feed(skip, in, &used);

		if (rc == WIRE_BAD || rc == WIRE_BIG)
			return err_set(err, ERR_PROTO,
			               buf_span(&c->rx).p[0] == TLS_ALERT
			                       ? "%s: it answers in TLS; "
			                         "write rediss:// for it"
			                       : "%s: the answer is not RESP; "
			                         "is this a Redis server?",
			               c->name);
		if (rc == WIRE_MORE)
			used = in.n;
		else
			(*n)--;
		*at += used;
		in = span_skip(in, used);
	}
	return 0;
}

/* Read until n replies are complete; their length is c->answered. */
static int
read_replies(struct client *c, uint32_t n, uint64_t until, struct err *err)
{
	struct resp_skip skip;
	size_t at = 0;
	int rc;

	resp_skip_init(&skip);
	for (;;) {
		rc = look(c, &skip, &at, &n, err);
		if (rc != 0)
			return rc;
		if (n == 0)
			break;
		if (!c->is_full && await(c->fd, POLLIN, until) != 0)
			return too_late(c, "no answer in time", err);
		rc = receive(c, err);
		if (rc != 0)
			return rc;
	}
	c->answered = at;
	return 0;
}

/* The replies of the last call go; 0, or -ERR_LOST after an earlier failure. */
static int
begin(struct client *c, struct err *err)
{
	if (c->broken)
		return err_set(err, ERR_LOST,
		               "%s: the connection failed before", c->name);
	buf_take(&c->rx, c->answered);
	c->answered = 0;
	return 0;
}

int
client_send(struct client *c, struct span out, uint32_t timeout_ms,
            struct err *err)
{
	int rc = begin(c, err);

	if (rc == 0)
		rc = send_all(c, out, deadline(timeout_ms), err);
	c->broken = rc != 0;
	return rc;
}

int
client_recv(struct client *c, uint32_t n, uint32_t timeout_ms,
            struct span *ret_replies, struct err *err)
{
	int rc = begin(c, err);

	if (rc == 0)
		rc = read_replies(c, n, deadline(timeout_ms), err);
	c->broken = rc != 0;
	*ret_replies = span_of(buf_span(&c->rx).p, c->answered);
	return rc;
}

int
client_call(struct client *c, struct span out, uint32_t n, uint32_t timeout_ms,
            struct span *ret_replies, struct err *err)
{
	uint64_t until = deadline(timeout_ms);
	int rc = begin(c, err);

	if (rc == 0)
		rc = send_all(c, out, until, err);
	if (rc == 0)
		rc = read_replies(c, n, until, err);
	c->broken = rc != 0;
	*ret_replies = span_of(buf_span(&c->rx).p, c->answered);
	return rc;
}
