/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/bridge.h: a migration of a server, as if it had a control socket.
 *
 * The live screen and the lines of `godwit migrate` talk to a socket in JSON
 * lines (contracts.md); the other end of it is a thread here that asks the API.
 * Each connection is one request: watch, or a verb; or one for each page of rows. A
 * socket of its own makes the verbs of a second terminal work, too (daemon.h).
 *
 * Owns:   its threads and their connections.
 * Limits: BRIDGE_MAX connections in its life at once.
 * Thread: the main one; bridge_connect() and bridge_take() any.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "bin/api/remote.h"
#include "bin/talk.h"

#define BRIDGE_MAX 8

struct bridge;

struct bridge_conf {
	const struct remote *remote;
	const char *migration;
	bool is_verbatim; /* the API's object, not the screen's             */
	bool ends_by_itself; /* watch ends when nothing more will happen       */
	uint32_t
		timeout_ms; /* watch ends then; 0: never                      */
	void (*stop)(void); /* the verb stop; NULL: there is none         */
	bool begins_again;  /* promote after a rollback is migrate, then it */
	const json_t *own;  /* put over every status; NULL: nothing      */
	/* The ids of interlays whose pools, clients and servers can be shown; NULL:
	 * they are Redis'. */
	const json_t *interlays;
};

struct bridge *bridge_new(const struct bridge_conf *c, struct err *err);
/* Whatever is under way ends, from any thread; what comes later is refused. */
void bridge_hang_up(struct bridge *b);
/* Whatever is under way ends here; the server goes on with it. */
void bridge_free(struct bridge *b);

/* For struct talk_to: arg is the bridge. */
int bridge_connect(void *arg, struct err *err);
/* The same for a connection that somebody has made; it is taken in any case. */
int bridge_take(struct bridge *b, int fd, struct err *err) MUST;

/* After the watch has ended: its last state ("completed", "" for none), and
 * whether the time was over. */
void bridge_last(struct bridge *b, char ret_state[32], bool *ret_timed_out);
