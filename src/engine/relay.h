/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/relay.h: what every engine's relay is told.
 *
 * A relay is the machine behind one worker of an interlay (engine/engine.h): it takes
 * clients, sends their requests to the side that has authority, or reads to the
 * other side where that is causal, and obeys the mails of engine/mail.h.
 *
 * Thread: the relay's; the conf is kept alive by whoever made it.
 */
#pragma once

#include "core/traffic.h"
#include "engine/engine.h"

struct door; /* the engine's: users of the interlay */

/* How long a connection to a server is one client's (PostgreSQL). */
enum relay_pool {
	RELAY_POOL_SESSION,     /* as long as the client is there */
	RELAY_POOL_TRANSACTION, /* for a transaction              */
};

/* An interlay alone has one side: SIDE_OLD; board is NULL, the route says old,
 * share 0, ack authority. */
struct relay_conf {
	struct side_conf side[SIDE_N];
	struct board *board;
	/* Of the stream from new to old; read only while the route carries a
	 * scope, so it may always be set. */
	struct board *reverse;
	struct traffic *traffic;
	struct route first_route;
	uint32_t who; /* index of this relay */
	char id[40];  /* in the names of its connections */
	bool held;    /* nothing is given out before MAIL_RELEASE */
	/* "name=value" lines of the interlay, for rules */
	char labels[256];
	bool proxy; /* clients begin with a PROXY v2 header        */
	/* PostgreSQL. By session: so many backends of clients that went are kept
	 * for others; 0: none. By transaction: so many for each user and
	 * database; who finds none waits so long; one that nobody needs is closed
	 * after so long (0: PG_RELAY_POOL_NS). */
	enum relay_pool pool;
	/* These change while it runs; but pool_max neither from nor to 0. */
	_Atomic uint32_t pool_max;
	_Atomic uint32_t pool_wait_ms;
	_Atomic uint32_t pool_idle_ms;
	uint8_t proxy_tlv; /* type of the TLV with their region; 0: none  */
	/* Users of the interlay; NULL: AUTH is passed through. Only the one of the
	 * first conf counts, MAIL_DOOR brings others. */
	const struct door *door;
};
