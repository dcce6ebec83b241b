/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/relay.h: the machine behind an interlay for Redis.
 *
 * Takes clients (EV_ACCEPT), sends their requests over few shared connections
 * to the side that has the authority, or reads to the other side where that is
 * causal, and hands the replies back in order. Obeys the mails of
 * engine/mail.h. One a worker thread.
 *
 * Owns:   its sessions, lanes and their bytes.
 * Limits: the RELAY_* constants below.
 * Thread: that of its port.
 */
#pragma once

#include "engine/redis/door.h"
#include "engine/relay.h"

/* Requests of one client under way at a time: a pipeline longer than that waits
 * in the client's socket. */
#define RELAY_INFLIGHT_MAX  4096
/* Bytes of requests of one client under way at a time. */
#define RELAY_BURST_MAX     ((size_t)1024 * 1024)
/* A client that has so much to read is not listened to. */
#define RELAY_SLOW_TX       ((size_t)1024 * 1024)
/* A client that has so much to read is closed (as the server's own output
 * limits would). */
#define RELAY_CLIENT_TX_MAX ((size_t)1024 * 1024 * 1024)
/* A request that surely has so many bytes gets a connection of its own. */
#define RELAY_BIG_REQUEST   ((size_t)64 * 1024)
/* A request that is collected whole may have so many bytes (as the server's own
 * client-query-buffer-limit). */
#define RELAY_REQUEST_MAX   ((size_t)1024 * 1024 * 1024)
/* ... and before its client has said who it is. */
#define RELAY_BARRED_MAX    ((size_t)128 * 1024)
/* A reply above this moves its client to a connection of its own. */
#define RELAY_BIG_REPLY     ((size_t)1024 * 1024)
/* A shared connection with so much to send takes no more for the moment. */
#define RELAY_LANE_TX_MAX   ((size_t)4 * 1024 * 1024)
/* How long a request waits for a connection before it is answered with an
 * error, and the pauses between attempts. */
#define RELAY_WAIT_NS       2000000000ull
/* How long a request is given out again that a node of a cluster does not take:
 * a replica is elected meanwhile. */
#define RELAY_ASTRAY_NS     5000000000ull
#define RELAY_RETRY_MIN     10000000ull
#define RELAY_RETRY_MAX     1000000000ull
/* Idle private connections that are kept for the next transaction. */
#define RELAY_SPARE_MAX     64
/* How long running requests may take once the machine is told to stop. */
#define RELAY_STOP_NS       2000000000ull
/* Relays of one process at most: a client's id is n * this + its relay. */
#define RELAY_WORKERS_MAX   64
/* Bytes of a queued transaction that are kept, so that it can be queued again
 * on the side that gets the authority; a longer one is lost by a switch. */
#define RELAY_TX_KEEP_MAX   ((size_t)256 * 1024)
/* Bytes of big requests and long transactions that all clients of a relay may
 * have under way at nodes of a cluster so that they can be given out again; what
 * is above is lost where a node gives way. Each lies in memory up to four times:
 * collected, kept, queued, on its way. */
#define RELAY_BIG_KEPT_MAX  ((size_t)64 * 1024 * 1024)
/* How long a connection to a server that may have been restarted waits for the
 * scripts to be there. */
#define RELAY_SCRIPT_WAIT   1000000000ull
/* Bytes of scripts that are remembered. */
#define RELAY_SCRIPTS_MAX   ((size_t)16 * 1024 * 1024)
/* Bytes of messages kept for one subscriber during a switch. */
#define RELAY_SUB_HOLD_MAX  ((size_t)16 * 1024 * 1024)

extern const struct machine relay_machine;

/* self: zeroed, relay_machine.self_size bytes. conf: struct relay_conf, kept
 * alive by the caller; so that this fits loop_conf.init. */
void relay_init(void *self, void *conf);
