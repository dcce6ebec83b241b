/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/migration.h: what the on_*.c files of migrations share.
 *
 * Owns:   nothing.
 * Thread: as struct call.
 */
#pragma once

#include "control/api/call.h"
#include "control/spec/spec.h"
#include "core/lifecycle.h"

enum life_state migration_state(const json_t *row);
/* Running, paused, failed or rolling back: it has its resources in its hands. */
bool migration_is_active(const json_t *row);

/* The answer of a call: the row, live, with its ETag. */
int migration_answer(struct call *c, const json_t *row, struct err *err) MUST;

/* The end of a call's transaction: undone when the call is a dry run. (The host
 * is not asked inside one: it may be waiting to write.) */
int migration_end(struct call *c, int rc, struct err *err) MUST;

/* strategy, data, ... of a spec into a row's body. */
int migration_put_spec(const struct spec *s, json_t *body,
                       struct err *err) MUST;
struct spec *migration_get_spec(const json_t *row, struct err *err);
/* c->row's spec with a patch; a fault names its field in the call. */
int migration_patch_spec(struct call *c, const json_t *patch, struct spec **ret,
                         struct err *err) MUST;
/* The same with the body of PATCH .../traffic. */
int migration_traffic_spec(struct call *c, struct spec **ret,
                           struct err *err) MUST;

/* Ask the engine (with ?dry_run as the call has it). *ret: the status. */
int migration_verb(struct call *c, const char *verb, json_t *args, json_t **ret,
                   struct err *err) MUST;

/* What the host gets: URLs with secrets; drop it soon. */
json_t *migration_spec(struct api *a, const json_t *row, struct err *err);
/* A migration that does not run goes on from its journal (revive.c). Not 0, after
 * LIMIT_RESUME_TRIES tries: it is "failed" (retry or rollback begin it again), and
 * its interlays are closed. */
int migration_revive(struct api *a, const json_t *row, struct err *err) MUST;
/* One try of the same for what is "failed"; not 0: nothing has changed. */
int migration_try(struct api *a, const json_t *row, struct err *err) MUST;
/* The same for those of its resources that could not go on while others could. */
int migration_try_rest(struct api *a, const char *uuid, struct err *err) MUST;
/* The old and new endpoint (uuids) of resource r of a row; NULL: not known. */
const char *resource_old(const json_t *r);
const char *resource_new(const json_t *row, const json_t *r);

json_t *api_view_bindings(struct api *a, const json_t *bindings);
