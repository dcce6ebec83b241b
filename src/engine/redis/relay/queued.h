/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/queued.h: commands in a transaction whose answer is
 * Godwit's, or tells it something: SELECT, CLIENT ID, INFO, GETNAME, SETNAME.
 *
 * They are queued on the server like all others (SETNAME as GETNAME, for a lane
 * has no name). The answer to EXEC is read as a whole then: what is Godwit's in
 * it is replaced, and the database is that of the last SELECT that was executed.
 *
 * Limits: QUEUED_MAX of them in one transaction.
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/relay/inside.h"

#define QUEUED_MAX 256

bool queued_takes(const struct relay *r, const struct session *s,
                  const struct command *c);
enum dispatched queued_dispatch(struct relay *r, struct session *s,
                                const struct command *c,
                                const struct resp_cmd *q, struct span raw);
/* What was sent just now is never queued: MULTI or WATCH in a transaction. */
void queued_skip(struct session *s);
/* What comes behind the first queued_n is queued again, and EXEC is sent again. */
void queued_back(struct session *s);
/* A request as the server was asked it. */
struct span queued_as_sent(const struct resp_cmd *q, struct span raw);
/* May a transaction begin? Not before the EXEC before it was answered. */
bool queued_may_begin(struct session *s);
/* EXEC is sent: is its answer to be read? */
bool queued_exec(struct session *s);
/* The answer to that EXEC is under way. */
bool queued_is_open(const struct session *s);
/* ... and there: as its client is told it. */
void queued_answer(struct relay *r, struct session *s, struct lane *lane,
                   struct span reply, struct buf *ret);
