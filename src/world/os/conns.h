/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/conns.h: all connections of one loop.
 *
 * Edge-triggered: each descriptor is registered once, for everything, and what
 * the kernel said is remembered (readable, writable). A short read or a short
 * write tells that the edge is used up, so a request costs one read and one
 * write and no epoll_ctl. What cannot be done at once (the rest of a long
 * input, an event for the machine that came up while bytes were leaving) waits
 * in the `ready` list for the next batch; the loop does not sleep meanwhile.
 *
 * With TLS a connection is CONNECTING (and `shaking`) until its handshake is done:
 * the machine sees plain bytes, and clients only once they have proven what they
 * have to. A handshake costs up to a millisecond of computing, so a batch does
 * CONNS_SHAKES steps of them and leaves the rest to the next. Where clients ask for
 * TLS in their own protocol the machine has heard of the client before: it is UP,
 * and CONNECTING again from conns_secure() to the end of the handshake.
 *
 *   CONNECTING ─[came_up]→ UP ─[fail]→ DOWN ─[EV_DOWN]→ GONE
 *       │ [fail]→ DOWN      │ [conns_close, flush]
 *       │                   └→ FLUSHING ─[all sent]→ PARTING ─[peer's end]→ GONE
 *       └ [conns_close] → GONE, or FLUSHING once it is connected
 *
 * Owns:   descriptors and struct conn; conns_bury() frees the GONE ones when
 *         nothing of the batch can point to them any more.
 * Limits: CONNS_RX bytes a read and one read a connection and batch;
 *         DIAL_TIMEOUT_MS to connect (TLS included); TLS_HANDSHAKE_MS for a
 *         client's handshake; CONNS_FLUSH_MS to send the rest and see the
 *         peer's end after a close with flush.
 * Thread: the loop's.
 */
#pragma once

#include "engine/engine.h"

#define CONNS_RX       ((size_t)256 * 1024)
#define CONNS_FLUSH_MS 5000
#define CONNS_SHAKES   4 /* handshake steps a batch: some 4 ms at most */

struct conn;
struct dial;

/* How clients come in by one listener. */
struct conns_gate {
	uint32_t tag;           /* of EV_ACCEPT                             */
	struct tls_server *tls; /* NULL: plain                              */
	bool is_asked;          /* TLS begins when the machine says so      */
};
struct sockaddr_storage;
struct tls_server;

struct conn_list {
	struct conn *first;
	struct conn *last;
};

struct conns {
	int epoll_fd;
	struct port *port;
	machine_step_f *step; /* the machine that hears of it */
	void *self;
	uint8_t *rx; /* CONNS_RX bytes, shared       */
	/* Each that is not GONE is in one of these two. */
	struct conn_list calm;
	struct conn_list timed; /* by deadline: all wait equally long */
	struct conn *ready_first;
	struct conn *ready_last;
	struct conn *graves;
	uint64_t n;
	uint32_t shakes; /* of this batch */
};

int conns_init(struct conns *cs, struct err *err) MUST; /* fields above set */
void conns_fini(struct conns *cs); /* closes all, tells nobody */

/* The port's operations. */
struct link *conns_open(struct conns *cs, const struct address *to,
                        void *owner);
void conns_close(struct conns *cs, struct link *l, bool flush);
void conns_read(struct conns *cs, struct link *l, bool on);

void conns_secure(struct conns *cs, struct link *l, struct span seen);

/* Take a connected, non-blocking descriptor; EV_ACCEPT, after the handshake when
 * there is one. Without memory it is closed. */
void conns_accept(struct conns *cs, int fd, const struct conns_gate *g,
                  const struct sockaddr_storage *from);

/* Who is at the other end, as far as the kernel knows. */
struct origin conns_origin(const struct link *l);

/* What epoll said about c. */
void conns_event(struct conns *cs, struct conn *c, uint32_t events);

void conns_run_ready(struct conns *cs); /* what was left from the last batch  */
void conns_expire(struct conns *cs);    /* deadlines that port->now_ns passed */
/* One write a dirty link, first touched first: what two clients asked in one
 * batch reaches the server in that order. */
void conns_flush(struct conns *cs);
void conns_bury(struct conns *cs); /* last in a batch                    */

bool conns_is_ready(const struct conns *cs);        /* do not sleep */
uint64_t conns_deadline_ns(const struct conns *cs); /* UINT64_MAX: none */
