/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/host.h: every interlay and every migration of one daemon.
 *
 * What the REST API does to the data plane goes through here. Objects are named
 * by uuid. Specs are JSON that the caller has checked; URLs in them carry their
 * secrets and are never logged or returned.
 *
 * Owns:   interlays, legs and their threads.
 * Thread: any; calls block until the effect is complete or refused.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

struct host;

/* Something happened to a migration or an interlay (names: tables/event.tbl).
 * Called from any thread, never while a lock of the host is held; event is
 * borrowed: {"at","name","text","migration"|"interlay","status","phase",...}. */
typedef void host_event_f(void *arg, const json_t *event);

/* The lifecycle state of a migration changed (called before the verb that
 * changed it is answered, so that the store is never behind an answer). */
typedef void host_state_f(void *arg, const char *migration, const char *state,
                          const json_t *status);

struct host_conf {
	const char *state; /* path of the SQLite file; locked by the caller */
	host_event_f *on_event;
	host_state_f *on_state;
	void *arg;
};

struct host *host_new(const struct host_conf *c, struct err *err);
/* Graceful: running requests end, states are kept. NULL is fine. */
void host_free(struct host *h);

/* ---- interlays ------------------------------------------------------------ */

/* spec: {"uuid","id","listen":"127.0.0.1:6366","url","workers":n,
 * "held":bool?,"tls":{...}?,"auth":{...}?,"settings":{}}. held: clients may
 * connect, their requests wait until a migration that is resumed takes it (so
 * after a restart nobody is sent to a side that has lost its authority).
 * auth: door.h. Instead of "url" "instances":[{"uuid","id","slots"?}] with the
 * interlays of its instances, which run already, "refuse_across":bool and
 * "by_slot":bool (nodes of a cluster) and "cluster":{"announce":[address]?}?
 * (what clients are shown: topology.h); those of instances say "is_instance":true
 * instead of "listen", "is_node":bool (of a cluster), and settings.proxy_protocol.
 * ERR_EXISTS: running already, or the port is taken. ERR_UNABLE: tls. */
int host_interlay_start(struct host *h, const json_t *spec,
                        struct err *err) MUST;
/* ERR_STATE while a migration uses it; ERR_MISSING when it does not run. */
int host_interlay_stop(struct host *h, const char *uuid, struct err *err) MUST;
/* New certificates, {"server_cert","server_key","client_ca_cert"?,
 * "require_client_certificate"?}, for handshakes from now on; clients stay.
 * ERR_USAGE: they are no good, nothing has changed; ERR_STATE: it would have to
 * begin or stop to listen in TLS; ERR_MISSING. */
int host_interlay_tls(struct host *h, const char *uuid, const json_t *tls,
                      struct err *err) MUST;
/* Other users (door.h), for AUTH from now on; all workers know them when this
 * answers. Connections of users that are gone or off are closed, all others
 * stay. ERR_STATE: it would have to begin or stop to pass AUTH through. */
int host_interlay_auth(struct host *h, const char *uuid, const json_t *auth,
                       struct err *err) MUST;
/* {"mode","size","wait_ms","idle_ms"} or null. ERR_STATE: another mode. */
int host_interlay_pool(struct host *h, const char *uuid, const json_t *pool,
                       struct err *err) MUST;
/* Another endpoint of the same data: clients that can be moved stay. */
int host_interlay_repoint(struct host *h, const char *uuid, const char *url,
                          struct err *err) MUST;
/* {"running","port","clients","requests",...}; NULL: not running. New
 * reference. */
json_t *host_interlay_status(struct host *h, const char *uuid);
/* As view_interlay(); ERR_MISSING: it does not run. */
struct view_page;
int host_interlay_view(struct host *h, const char *uuid,
                       const struct view_page *page, json_t **ret_rows,
                       json_t **ret_next, struct err *err) MUST;

/* ---- migrations ----------------------------------------------------------- */

/* spec: {"uuid","id","strategy":{..canonical..},"data":{..},
 * "failure_handling":{..},"analysis":{..},"options":{hold_max_ms,...},
 * "resources":[{"kind":"interlay","uuid","id","old":url,"new":url}]}.
 * test: the checks of every leg, nothing is changed: {"valid",
 * "interlays_tested","checks":[{"name","result","detail","resource"}]}. */
int host_migration_test(struct host *h, const json_t *spec, json_t **ret,
                        struct err *err) MUST;
/* migrate; again after a rollback; with "resume":true after a restart: the journal
 * says where it goes on, and a migration that is over is only tidied up. Answers
 * when it runs (or was refused: nothing changed); at once when it runs already.
 * Its interlays must run. spec "resume" needs the same resources in the same
 * order as before; "options": hold_max_ms, lag_max_ms, fail_ms. A resource of the
 * kind "api" has "old" and "new", too. */
int host_migration_start(struct host *h, const json_t *spec,
                         struct err *err) MUST;
/* After a start with "resume": the interlays (uuids) of legs that could not go on
 * although others could; NULL: there is no such leg. *why: what the last one said.
 * They are closed. New reference. */
json_t *host_migration_refused(struct host *h, const char *uuid,
                               struct err *why);
/* Try those again; their interlays run, held. 0: all of them go on. Their own
 * interlays may be stopped when not. */
int host_migration_rejoin(struct host *h, const char *uuid,
                          struct err *err) MUST;
/* promote|pause|resume|rollback|complete|verify|retry|traffic|toggle|patch and
 * resource_rollback; args as on the control socket, plus "reason". dry_run: the
 * same checks, no effect. *ret: the status afterwards. */
int host_migration_verb(struct host *h, const char *uuid, const char *verb,
                        const json_t *args, json_t **ret, struct err *err) MUST;
/* The status object of contracts.md (several legs: "resources":[...] and sums).
 * NULL: the host does not run it. New reference. */
json_t *host_migration_status(struct host *h, const char *uuid);
/* Counts and keys of the last comparison. NULL: none. */
json_t *host_migration_verification(struct host *h, const char *uuid);
/* It is over (completed or rolled back) and deleted; ERR_STATE when it is not. A
 * leg leaves by itself as soon as it is completed or rolled back: interlays keep
 * the side that has authority, users and fences are removed (after completed old
 * stays fenced). */
int host_migration_forget(struct host *h, const char *uuid,
                          struct err *err) MUST;

/* After a restart, of the journal: an array with the lifecycle state of each leg;
 * NULL: nothing was ever decided about it. New reference. What is not ready,
 * rolled_back or completed in it is to be started with "resume":true. */
json_t *host_migration_recorded(struct host *h, const char *uuid);

/* ---- templates ------------------------------------------------------------ */

/* Run one command against the side that the interlay-or-endpoint's routing
 * chooses now. where: {"interlay":uuid} or {"url":..} (with both: through the
 * interlay, with the user of the url; a url that is part of a running migration
 * goes through one of its interlays). argv: array of strings (already bound).
 * *ret: typed JSON of the reply: string, integer, null, array, {"hex":..} for
 * bytes that are no UTF-8, {"error":..} inside arrays. ERR_REFUSED: the server's
 * error. */
int host_command(struct host *h, const json_t *where, const json_t *argv,
                 bool is_read, json_t **ret, struct err *err) MUST;
/* The same for PostgreSQL. queries: a list of [text, parameter, ..], a parameter being
 * a text or null, bound by the protocol; several are one transaction. is_read: the
 * server refuses what writes. *ret: see control/postgres/query.h. ERR_REFUSED. */
int host_query(struct host *h, const json_t *where, const json_t *queries,
               bool is_read, json_t **ret, struct err *err) MUST;

/* Prometheus lines of everything that runs; malloced. */
char *host_metrics(struct host *h);
