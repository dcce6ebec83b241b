/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/ahead.h: requests that are sent behind the one under way.
 *
 * When all servers of a pool are busy a read of a session that waits may be sent to a
 * server that somebody else has, behind his request: the server finds it when it is done,
 * and does not sleep in between.
 *
 *   server ← [request of A] [read of B] [read of C]
 *                                └── copies: B and C wait, and have theirs still
 *   answers → [A's, ReadyForQuery] → B's turn: what it says is compared with what was
 *             sent, and not sent twice; what follows are its answers
 *
 * Before its turn nothing of B's is spent. So whatever comes between (B goes, the server is
 * lost, a cancel of A's, a hold, A takes long, another transaction) B waits as if nothing
 * had been sent; what was sent is a read, and its answers are heard by nobody.
 *
 * Limits: PG_AHEAD_MAX reads behind one, of PG_AHEAD_BYTES each; behind a read only; one
 *         that takes longer than PG_AHEAD_NS has nobody behind it any more, and a form
 *         (sql_form.h) that often does gets nobody.
 * Thread: its machine's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define PG_AHEAD_MAX   3
#define PG_AHEAD_BYTES ((size_t)16 * 1024)
#define PG_AHEAD_NS    20000000ull

struct pg_relay;
struct pg_server;
struct pg_session;

/* A request that a server has got. */
struct pg_ahead {
	struct pg_session *s; /* NULL: it is nobody's any more */
	size_t n;             /* its bytes as the client said them */
	size_t said_n;        /* ... as the server got them, and their digest */
	uint64_t said[2];
};

/* Of a server, while somebody has it. */
struct pg_aheads {
	struct pg_ahead at[PG_AHEAD_MAX];
	uint32_t n;
	bool is_read; /* what who has it has said since it had nothing under way:
	               * nothing but reads that are quick */
	uint64_t form[2]; /* ... the last one                             */
};

/* A session that found no server: its request is sent behind another's. False: it has to
 * wait like any other. */
bool pg_ahead_send(struct pg_session *s);
/* The request of who has the server was answered, and others are behind it; rest: what
 * came of the server behind that. False: there is nobody for that now; s has the server
 * still, and nobody's answers come first. True: s may be gone. */
bool pg_ahead_next(struct pg_session *s, struct span rest);
/* Has it to be silent? What it says would come behind the others'. */
bool pg_ahead_stops(const struct pg_session *s);
/* Who is behind waits like any other again. */
void pg_ahead_release(struct pg_server *x);
/* It goes, or has found another server. */
void pg_ahead_leave(struct pg_session *s);
/* Once a batch: nobody stays behind one that takes long. */
void pg_ahead_work(struct pg_relay *r);
