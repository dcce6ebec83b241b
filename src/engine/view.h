/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/view.h: what an operator sees of a relay: its pools, its clients, its
 * connections to servers.
 *
 * Asked by MAIL_VIEW of each worker by itself; the answer is written into memory of
 * who asks, who learns by `is_done` that nobody writes there any more. Clients and
 * servers come in pages: rows are numbered, a page begins behind a number.
 *
 * Owns:   nothing.
 * Limits: `max` rows; names are cut at VIEW_NAME - 1 bytes.
 * Thread: the relay's until is_done, then the asker's.
 */
#pragma once

#include <stdatomic.h>

#include "engine/engine.h"

#define VIEW_NAME 64

enum view_kind {
	VIEW_POOLS,
	VIEW_CLIENTS,
	VIEW_SERVERS,
	VIEW_N,
};

enum view_mode {
	VIEW_MODE_OFF,
	VIEW_MODE_SESSION,
	VIEW_MODE_TRANSACTION,
};

enum view_client_at {
	VIEW_CLIENT_LOGIN,
	VIEW_CLIENT_IDLE,
	VIEW_CLIENT_ACTIVE,
	VIEW_CLIENT_IN_TRANSACTION,
	VIEW_CLIENT_WAITING, /* for a server             */
	VIEW_CLIENT_HELD,    /* by a switch              */
	VIEW_CLIENT_PINNED,  /* idle, and keeps a server */
};

enum view_server_at {
	VIEW_SERVER_LOGIN,
	VIEW_SERVER_ACTIVE, /* a request or a transaction is under way  */
	VIEW_SERVER_USED,   /* a client has it, between two             */
	VIEW_SERVER_IDLE,   /* nobody has it                            */
	VIEW_SERVER_RESETS, /* ... yet: it forgets who had it           */
	VIEW_SERVER_OWN,    /* Godwit's own questions                   */
};

/* What a number of a server's row counts: its upper byte. */
enum view_server_kind {
	VIEW_OF_CLIENT = 1, /* numbered as its client */
	VIEW_OF_POOL = 2,
	VIEW_OF_READER = 3, /* the client's, for reads on the other side */
	VIEW_OF_GODWIT = 4,
};

#define VIEW_KIND_SHIFT 56

struct view_pool {
	char user[VIEW_NAME];
	char database[VIEW_NAME];
	enum side side;
	enum view_mode mode;
	uint32_t size; /* connections at most; 0: as many as clients */
	uint32_t clients;
	uint32_t clients_active; /* a request or a transaction is under way */
	uint32_t clients_waiting;
	uint32_t servers_active;
	uint32_t servers_used;
	uint32_t servers_idle;
	uint32_t servers_login; /* or forgetting who had it */
	uint64_t wait_ms;       /* of who waits now, the longest */
	uint64_t sent_ahead;    /* reads, so far, behind other clients' */
};

struct view_client {
	uint64_t number;
	char user[VIEW_NAME];
	char database[VIEW_NAME];
	char application[VIEW_NAME];
	struct origin from; /* not known: a Unix socket */
	bool has_server;
	enum side side; /* of its server               */
	enum view_client_at at;
	const char *why;     /* a constant, or ""                   */
	uint64_t age_ms;     /* since it connected                  */
	uint64_t quiet_ms;   /* since its last request; if it made any */
	uint64_t requests;   /* statements that it sent               */
	uint32_t statements; /* prepared                            */
	uint32_t process;    /* of its server; 0: none, or not told */
};

struct view_server {
	uint64_t number;
	char user[VIEW_NAME];
	char database[VIEW_NAME];
	enum side side;
	char host[108]; /* or the path of a Unix socket        */
	uint16_t port;  /* 0: that                             */
	enum view_server_at at;
	const char *what;    /* Godwit's own: for what; else ""     */
	uint64_t client;     /* its number; 0: nobody's             */
	uint64_t age_ms;     /* since it was opened                 */
	uint32_t statements; /* prepared, of a pool of transactions */
	uint32_t process;    /* 0: not told                         */
};

union view_row {
	struct view_pool pool;
	struct view_client client;
	struct view_server server;
};

struct view {
	union view_row *row;
	uint32_t max;
	uint32_t n;
	bool has_more; /* ... which had no room */
	_Atomic bool is_done;
};

/* What MAIL_VIEW carries; kept alive until is_done. */
struct view_ask {
	enum view_kind kind;
	uint64_t after; /* rows with greater numbers; not of pools */
	struct view *into;
};
