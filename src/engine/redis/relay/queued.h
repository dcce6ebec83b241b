/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/queued.h: commands in a transaction whose answer is
 * Godwit's, or tells it something: SELECT, AUTH, HELLO, the SCAN family, CLIENT ID,
 * INFO, GETNAME, SETNAME, NO-EVICT, TRACKING.
 *
 * They are queued on the server like all others (SETNAME as GETNAME, for a lane
 * has no name; a cursor as the server's). The answer to EXEC is read as a whole then: what is Godwit's in
 * it is replaced, and database, user, protocol and name are those that were
 * executed last.
 *
 * Limits: QUEUED_MAX of them in one transaction.
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/relay/inside.h"

#define QUEUED_MAX 256

/* Is it the server's alone to answer in a transaction, because it has no effect
 * there: MONITOR and SSUBSCRIBE, which it refuses in EXEC; UNSUBSCRIBE and its like
 * of RESP2, for who is subscribed has no transaction? */
bool queued_is_plain(const struct session *s, const struct command *c);
bool queued_takes(const struct relay *r, const struct session *s,
                  const struct command *c);
enum dispatched queued_dispatch(struct relay *r, struct session *s,
                                const struct command *c,
                                const struct resp_cmd *q, struct span raw);
/* What was sent just now is never queued: MULTI or WATCH in a transaction. */
void queued_skip(struct session *s);
/* What comes behind the first queued_n is queued again, and EXEC is sent again. */
void queued_back(struct relay *r, struct session *s);
/* A request of a transaction as the lane's server is asked it: raw, or in b (empty
 * before). */
struct span queued_as_sent(const struct relay *r, const struct lane *lane,
                           const struct resp_cmd *q, struct span raw,
                           struct buf *b);
void queued_free(struct relay *r, struct session *s); /* s->wide is there */
/* May a transaction begin? Not before the EXEC before it was answered. */
bool queued_may_begin(struct relay *r, struct session *s);
/* EXEC is sent: is its answer to be read? */
bool queued_exec(struct session *s);
/* The answer to that EXEC is under way. */
bool queued_is_open(const struct session *s);
/* ... and there: as its client is told it. */
void queued_answer(struct relay *r, struct session *s, struct lane *lane,
                   struct span reply, struct buf *ret);
