/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/astray.h: requests that a node of a cluster did not take.
 *
 * MOVED, ASK, TRYAGAIN and CLUSTERDOWN say that nothing was done. The client does
 * not see them: the request goes back to the front of its input, behind those
 * that were sent before it, and is given out again until the side is the right
 * node (MAIL_SEAT) or RELAY_ASTRAY_NS are over; then it gets the node's words.
 * What a request behind it was answered meanwhile waits for its turn.
 *
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/relay/inside.h"

/* Does the answer to e say that? */
bool astray_is(const struct pending *e, struct span reply);
/* e is no longer in the lane's ring; request: what was kept of it. False: its
 * client gets the answer. */
bool astray_take(struct relay *r, struct lane *lane, const struct pending *e,
                 struct span request, struct span reply);
/* Requests of s wait to be given out again, or its transaction to be begun
 * again. */
static inline bool
astray_is_on(const struct session *s)
{
	return s->wide != NULL &&
	       (buf_len(&s->wide->astray) > 0 || s->wide->tx_astray);
}
/* The answer to a request of such a session, which was behind them. */
void astray_keep(struct relay *r, struct lane *lane, const struct pending *e,
                 struct span request, struct span reply);
/* EXEC of a transaction whose WATCH was lost with its node: nil. */
bool astray_is_watched(struct relay *r, const struct pending *e,
                       struct span request, struct span reply);
/* All that s had under way was answered: its input begins with them. */
void astray_settle(struct relay *r, struct session *s);
/* An answer that was kept has its turn; DISPATCH_NO: it is none. */
enum dispatched astray_say(struct relay *r, struct session *s,
                           const struct resp_cmd *q);
/* May s keep so many bytes of what it asks, besides what each may
 * (RELAY_BIG_KEPT_MAX)? They are its own until nothing of it is under way. */
bool astray_may_keep(struct relay *r, struct session *s, size_t n);
/* A node may not take it: is it kept? */
bool astray_keeps(struct relay *r, struct session *s, const struct sending *m);
/* Nothing of s is under way at a server. */
void astray_kept(struct relay *r, struct session *s);
/* A request that finds no lane: again later. */
void astray_put(struct relay *r, struct session *s, struct span request);
void astray_seat(struct relay *r, enum side side); /* MAIL_SEAT */
void astray_tick(struct relay *r);                 /* EV_BATCH */

/* What it needs of session.c and block.c. */

/* Its input becomes what is in b, which is empty then. False: no memory. */
bool session_refill(struct relay *r, struct session *s, struct buf *b) MUST;
/* The server ended it, or did not take it: to be issued again. False: its
 * client shall be told. */
bool block_again(struct session *s, struct span reply);
