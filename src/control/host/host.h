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
 * "tls":{...}?,"auth":{...}?,"settings":{}}. ERR_EXISTS: running already, or the
 * port is taken (the text says by whom if known). */
int host_interlay_start(struct host *h, const json_t *spec,
                        struct err *err) MUST;
/* ERR_STATE while a migration uses it; ERR_MISSING when it does not run. */
int host_interlay_stop(struct host *h, const char *uuid, struct err *err) MUST;
/* Another endpoint of the same data: clients that can be moved stay. */
int host_interlay_repoint(struct host *h, const char *uuid, const char *url,
                          struct err *err) MUST;
/* {"running","port","clients","requests",...}; NULL: not running. New
 * reference. */
json_t *host_interlay_status(struct host *h, const char *uuid);

/* ---- migrations ----------------------------------------------------------- */

/* spec: {"uuid","id","strategy":{..canonical..},"data":{..},
 * "failure_handling":{..},"analysis":{..},"options":{hold_max_ms,...},
 * "resources":[{"kind":"interlay","uuid","id","old":url,"new":url}]}.
 * test: the checks of every leg, nothing is changed: {"valid",
 * "interlays_tested","checks":[{"name","result","detail","resource"}]}. */
int host_migration_test(struct host *h, const json_t *spec, json_t **ret,
                        struct err *err) MUST;
/* migrate, or resume after a restart (the journal says which). Answers when the
 * migration runs (or was refused: nothing changed). */
int host_migration_start(struct host *h, const json_t *spec,
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
/* It is over (completed or rolled back and deleted): what is left of its legs
 * ends, interlays keep the side that has authority. */
int host_migration_forget(struct host *h, const char *uuid,
                          struct err *err) MUST;

/* ---- templates ------------------------------------------------------------ */

/* Run one command against the side that the interlay-or-endpoint's routing
 * chooses now. argv: array of strings (already bound); is_read: may go to the
 * other side by the migration's strategy. *ret: typed JSON of the reply. */
int host_command(struct host *h, const json_t *where, const json_t *argv,
                 bool is_read, json_t **ret, struct err *err) MUST;

/* Prometheus lines of everything that runs; malloced. */
char *host_metrics(struct host *h);
