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

/* Beside errno values, which end at 133, in conn.cause. */
#define CAUSE_END    255 /* the peer closed                    */
#define CAUSE_LATE   254 /* no connection in DIAL_TIMEOUT_MS   */
#define CAUSE_MEMORY 253 /* tx could not grow                  */
#define CAUSE_NAME   252 /* the name could not be resolved     */
#define CAUSE_TLS    251 /* tls_why() knows                    */

/* What a plain client needs nothing of. */
struct conn_more {
	struct dial *dial; /* while CONNECTING                         */
	struct tls *tls;   /* NULL: plain                              */
	struct tls_server *offers; /* begun when the machine says so   */
	char *name;   /* of an opened one; NULL for accepted ones */
	uint32_t tag; /* of an accepted one that is shaking       */
};

/* An idle client costs this and what the machine keeps of it, so it is small. */
struct conn {
	struct link link;  /* first: a link is a conn */
	struct conn *next; /* in calm, timed or the graves */
	struct conn *prev;
	struct conn *next_ready;
	struct conn_more *more; /* NULL: an accepted one without TLS */
	uint64_t deadline_ns;
	int fd;
	uint8_t cause; /* errno or CAUSE_ */
	uint8_t state; /* enum conn_state */
	bool readable : 1;
	bool writable : 1;
	bool ended    : 1; /* the kernel told of the peer's end         */
	bool eof      : 1; /* its end was read and told (EV_EOF)        */
	bool ready    : 1; /* in the ready list                         */
	bool timed    : 1; /* in the timed list                         */
	bool came_up  : 1; /* connected at once; EV_UP is still due     */
	bool shaking  : 1; /* in the TLS handshake                      */
	bool was_up   : 1;
	bool drained  : 1; /* EV_DRAINED is due                         */
	bool broken   : 1; /* a write failed; what came in is read first */
};

static inline struct tls *
conn_tls(const struct conn *c)
{
	return c->more == NULL ? NULL : c->more->tls;
}

static inline struct dial *
conn_dial(const struct conn *c)
{
	return c->more == NULL ? NULL : c->more->dial;
}

/* NULL: it was accepted. */
static inline const char *
conn_name(const struct conn *c)
{
	return c->more == NULL ? NULL : c->more->name;
}

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
conn_list_push(struct conn_list *l, struct conn *c)
{
	c->next = NULL;
	c->prev = l->last;
	*(l->last != NULL ? &l->last->next : &l->first) = c;
	l->last = c;
}

static inline void
conn_list_remove(struct conn_list *l, struct conn *c)
{
	*(c->prev != NULL ? &c->prev->next : &l->first) = c->next;
	*(c->next != NULL ? &c->next->prev : &l->last) = c->prev;
}

static inline struct conn_list *
conns_list_of(struct conns *cs, const struct conn *c)
{
	return c->timed ? &cs->timed : &cs->calm;
}

static inline void
conns_drop_timed(struct conns *cs, struct conn *c)
{
	if (!c->timed)
		return;
	conn_list_remove(&cs->timed, c);
	c->timed = false;
	conn_list_push(&cs->calm, c);
}

/* All limits are the same length, so the list is ordered by itself. */
// NOLINTNEXTLINE(misc-redundant-expression): equal, that is what it says
_Static_assert(DIAL_TIMEOUT_MS == CONNS_FLUSH_MS &&
                       DIAL_TIMEOUT_MS == TLS_HANDSHAKE_MS,
               "one list of deadlines");

static inline void
conns_put_timed(struct conns *cs, struct conn *c)
{
	conn_list_remove(conns_list_of(cs, c), c);
	c->deadline_ns = cs->port->now_ns + CONNS_FLUSH_MS * MS_NS;
	c->timed = true;
	conn_list_push(&cs->timed, c);
}

/* ---- conns.c ------------------------------------------------------------- */

struct conn *conns_new(struct conns *cs, int fd, void *owner);
/* False: no memory. */
bool conns_need_more(struct conns *cs, struct conn *c);
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
