/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/relay.h: the machine behind an interlay for PostgreSQL.
 *
 * Each client has a backend of its own on the side with authority. Bytes pass as they
 * are; at a switch the sessions go over with their settings, prepared statements and
 * locks, between two transactions (docs/internals/postgres.md).
 *
 * Owns:   its sessions, backends and their bytes.
 * Limits: the PG_RELAY_* constants below.
 * Thread: that of its loop.
 */
#pragma once

#include "engine/relay.h"

/* A peer that has so much to take is not sent more: the other one is not read. */
#define PG_RELAY_TX_MAX     ((size_t)1024 * 1024)
/* Bytes of requests of one client that are kept while it waits. */
#define PG_RELAY_HELD_MAX   ((size_t)256 * 1024)
/* Bytes of the prepared statements of one client that are kept to be made again
 * elsewhere; one with more of them cannot move. */
/* By turns a session gets its server when a message of its client is there as a whole, or
 * so much of it. Less than PG_RELAY_HELD_MAX. */
#define PG_RELAY_WHOLE_MAX  ((size_t)64 * 1024)
#define PG_RELAY_KEEP_MAX   ((size_t)1024 * 1024)
/* Settings of its own making that one session may have to take along. */
#define PG_RELAY_CUSTOM_MAX 64
/* How long a login of a client may take. */
#define PG_RELAY_LOGIN_NS   60000000000ull
/* How long a session looks for a backend after a switch. */
#define PG_RELAY_MOVE_NS    5000000000ull
/* Statements of the protocol that one connection of a pool keeps. */
#define PG_RELAY_ALIAS_MAX  1000
/* A connection of a pool is closed between two transactions when it is so old:
 * what the server asks of a login is looked at anew. */
#define PG_RELAY_LIFE_NS    3600000000000ull
/* How long a backend waits for another client. */
#define PG_RELAY_POOL_NS    60000000000ull
/* How long running transactions may take once the machine is told to stop. */
#define PG_RELAY_STOP_NS    2000000000ull

/* In the last words to a client whose session ended because no server of the side that
 * rules now takes it: what it has no answer to was sent to no server. */
#define PG_RELAY_STAYS "could not go over to the new server"
#define PG_RELAY_NONE  "no other connection to the server"

/* What clients say in TLS that they will speak (ALPN). */
#define PG_RELAY_ALPN "postgresql"

extern const struct machine pg_relay_machine;

/* self: zeroed, pg_relay_machine.self_size bytes. conf: struct relay_conf, kept alive
 * by the caller. */
void pg_relay_init(void *self, void *conf);
