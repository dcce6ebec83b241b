/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/sleeper.h: a client that does nothing.
 *
 * With pools of transactions most clients are idle and have no server. Who has said
 * nothing for a while is not kept as a session: a sleeper is what is left of it. What
 * those who log in alike have in common is kept once (struct pg_alike), what few have
 * is apart (struct pg_rest).
 *
 *   session ──[nothing for 100 ms, no server, nothing outstanding]──→ sleeper
 *      ↑                                                                 │
 *      └──────────────[bytes; the interlay stops]────────────────────────┘
 *
 * A session falls asleep only if, byte for byte, what is left of it when all that a
 * sleeper keeps is taken out is a session as it is made: nothing can be forgotten.
 *
 * Owns:   struct pg_sleeper and what hangs on it.
 * Limits: PG_SLEEP_LOOKS sessions looked at every 10 ms.
 * Thread: the relay's.
 */
#pragma once

#include "engine/postgres/relay/keys.h"

/* So long nothing was said. */
#define PG_SLEEP_NS    100000000ull
#define PG_SLEEP_LOOKS 64

struct pg_alike;
struct pg_rest;
struct pg_session;
struct pg_group;

struct pg_sleeper {
	struct pg_client c; /* first */
	struct link *client;
	struct pg_group *group;
	struct pg_alike *alike; /* shared                     */
	struct pg_rest *rest;   /* NULL: it has nothing more  */
	uint64_t began_ns;
	uint64_t asked_ns;
	uint64_t requests;
};

/* At r->sleep_ns: who does nothing falls asleep. */
void pg_sleepers_work(struct pg_relay *r);

/* The session again. NULL: no memory, and the client is closed. */
struct pg_session *pg_sleeper_wake(struct pg_relay *r, struct pg_sleeper *x);

/* The session that it would be, to look at: nothing in it is the caller's. A client that
 * is awake is its own session. */
const struct pg_session *pg_client_look(struct pg_relay *r,
                                        const struct pg_client *c,
                                        struct pg_session *room);

/* It has gone; close: its connection as well. */
void pg_sleeper_drop(struct pg_relay *r, struct pg_sleeper *x, bool close);

/* A group ends. */
void pg_alike_leave(struct pg_relay *r, struct pg_alike *a);
