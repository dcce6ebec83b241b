/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/conns_parts.h: what conns.c (bytes and ends) and conns_meet.c
 * (beginnings) share: struct conn.
 *
 * Thread: the loop's.
 */
#pragma once

#include <errno.h>

#include "base/check.h"
#include "world/os/conns.h"
#include "world/os/dial.h"
#include "world/os/tls.h"

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
#define CAUSE_TLS    (-5) /* tls_why() knows                    */

struct conn {
	struct link link; /* first: a link is a conn */
	struct conn *next;
	struct conn *prev;
	struct conn *next_ready;
	struct conn *next_timed;
	struct conn *prev_timed;
	struct dial *dial; /* while CONNECTING                         */
	struct tls *tls;   /* NULL: plain                              */
	char *name;        /* of an opened one; NULL for accepted ones */
	uint64_t deadline_ns;
	uint32_t tag; /* of an accepted one that is shaking */
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
	bool shaking; /* in the TLS handshake                      */
	bool was_up;
	bool drained; /* EV_DRAINED is due                         */
	bool broken;  /* a write failed; what came in is read first */
};

/* ---- lists ------------------------------------------------------------- */

static inline struct conn *
conn_of(struct link *l)
{
	return (struct conn *)(void *)l;
}

static inline void
conns_put_ready(struct conns *cs, struct conn *c)
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

static inline void
conns_drop_timed(struct conns *cs, struct conn *c)
{
	if (!c->timed)
		return;
	c->timed = false;
	*(c->prev_timed ? &c->prev_timed->next_timed : &cs->timed_first) =
		c->next_timed;
	*(c->next_timed ? &c->next_timed->prev_timed : &cs->timed_last) =
		c->prev_timed;
}

/* All limits are the same length, so the list is ordered by itself. */
// NOLINTNEXTLINE(misc-redundant-expression): equal, that is what it says
_Static_assert(DIAL_TIMEOUT_MS == CONNS_FLUSH_MS &&
                       DIAL_TIMEOUT_MS == TLS_HANDSHAKE_MS,
               "one list of deadlines");

static inline void
conns_put_timed(struct conns *cs, struct conn *c)
{
	conns_drop_timed(cs, c);
	c->deadline_ns = cs->port->now_ns + CONNS_FLUSH_MS * MS_NS;
	c->timed = true;
	c->next_timed = NULL;
	c->prev_timed = cs->timed_last;
	*(cs->timed_last ? &cs->timed_last->next_timed : &cs->timed_first) = c;
	cs->timed_last = c;
}

/* ---- conns.c ------------------------------------------------------------- */

struct conn *conns_new(struct conns *cs, int fd, void *owner);
void conns_drop_dial(struct conns *cs, struct conn *c);
void conns_drop_fd(struct conn *c);
void conns_kill(struct conns *cs, struct conn *c); /* to the graves */
void conns_tell(struct conns *cs, enum event_kind kind, struct conn *c);
/* The connection is lost. The machine hears it in the next batch. */
void conns_fail(struct conns *cs, struct conn *c, int cause);

/* ---- conns_meet.c -------------------------------------------------------- */

void conns_dialed(struct conns *cs, struct conn *c);    /* connect() ended   */
void conns_connected(struct conns *cs, struct conn *c); /* TLS, or usable    */
void conns_shake(struct conns *cs, struct conn *c);     /* on with handshake */
