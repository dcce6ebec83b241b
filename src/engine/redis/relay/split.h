/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/split.h: requests while each key has a side of its own
 * (route.scope; docs/internals/split.md).
 *
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/keys.h"
#include "engine/redis/relay/inside.h"

/* May a client that sent no AUTH be served? */
enum entry {
	ENTRY_UNKNOWN, /* ACL GETUSER default was not answered yet */
	ENTRY_OPEN,
	ENTRY_CLOSED,
};

/* A request that looks at all keys. */
enum whole_state {
	WHOLE_NONE,
	WHOLE_ASKING,  /* what is new's position?                  */
	WHOLE_PASSING, /* until old has all up to there            */
	WHOLE_PASSED,  /* it may be sent                           */
};

static inline bool
split_is_on(const struct relay *r)
{
	return r->route.scope != NULL;
}

/* Before a request is given out: who may, and where (s->at). DISPATCH_NO: go on
 * with it; else it was answered or waits. raw is no inline request. */
enum dispatched split_dispatch(struct relay *r, struct session *s,
                               const struct command *c,
                               const struct resp_cmd *q, struct span raw);
/* A transaction that is open nowhere: s->at by what was queued. False: no side
 * can take it, EXEC answers nil. */
bool split_body(struct relay *r, struct session *s);
/* The same for a big one whose first key is here; DISPATCH_NO: collect it. */
enum dispatched split_stream(struct relay *r, struct session *s,
                             const struct command *c, struct span key);
/* A blocked command is issued again: s->at. False: its keys are on both sides
 * now, and it was answered. */
bool split_block(struct relay *r, struct session *s, struct span raw);
/* What the server's user default is now (causal_user). */
void split_entry(struct relay *r, enum entry entry);
/* The answer to a question of PEND_WHOLE. */
void split_position(struct relay *r, uint64_t number, struct span reply);
void split_tick(struct relay *r); /* EV_BATCH, EV_TIMER, EV_BOARD */
/* The route is another one: each session begins at its authority. */
void split_adopt(struct relay *r);
/* The request at its front is answered, whatever it was. */
static inline void
split_forget(struct session *s)
{
	if (s->wide != NULL)
		s->wide->whole = WHOLE_NONE;
}

/* ---- dispatch.c, for split.c --------------------------------------------- */

enum dispatched dispatch_refuse(struct relay *r, struct session *s,
                                const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The row of a request, NULL when its name is unknown. */
const struct command *dispatch_row(const struct relay *r,
                                   const struct resp_cmd *q);
