/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/revive.c: a migration that no process runs goes on from its journal.
 *
 * Its interlays are held: clients may connect, and wait. So that nobody waits
 * without end they are closed when it cannot go on (again.c tries later).
 */
#define _DEFAULT_SOURCE
#include <time.h>

#include "control/api/migration.h"
#include "control/limit.h"

static bool
is_interlay(const json_t *resource)
{
	const char *kind = call_text(resource, "kind");

	return kind != NULL && strcmp(kind, "interlay") == 0;
}

static int
listen_one(struct api *a, const char *uuid, struct err *err)
{
	json_t *live = host_interlay_status(a->host, uuid);
	json_t *interlay;
	int rc = 0;

	if (live == NULL) {
		interlay = entity_by_uuid(a->store, uuid, err);
		rc = interlay != NULL ? interlay_run(a, interlay, true, err)
		                      : -(int)err->code;
		json_decref(interlay);
	}
	json_decref(live);
	return rc;
}

static int
listen_held(struct api *a, const json_t *row, struct err *err)
{
	const json_t *all = json_object_get(entity_body(row), "resources");
	int rc = 0;

	for (size_t i = 0; i < json_array_size(all) && rc == 0; i++) {
		const json_t *r = json_array_get(all, i);

		if (is_interlay(r))
			rc = listen_one(a, call_text(r, "uuid"), err);
	}
	return rc;
}

/* Only what waits: an interlay that a migration uses stays, or that of a leg which
 * is over. */
static void
close_held(struct api *a, const json_t *row)
{
	const json_t *all = json_object_get(entity_body(row), "resources");

	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *r = json_array_get(all, i);
		json_t *live = is_interlay(r)
		                       ? host_interlay_status(
						 a->host, call_text(r, "uuid"))
		                       : NULL;
		struct err ignored;

		if (json_is_true(json_object_get(live, "held")))
			(void)(host_interlay_stop(a->host, call_text(r, "uuid"),
			                          &ignored) == 0);
		json_decref(live);
	}
}

/* The interlays listen, and wait. */
static int
begin(struct api *a, const json_t *row, json_t **ret_spec, struct err *err)
{
	json_t *spec = migration_spec(a, row, err);
	int rc = spec != NULL ? listen_held(a, row, err) : -(int)err->code;

	if (rc == 0) {
		(void)json_object_set_new(spec, "resume", json_true());
		rc = host_migration_start(a->host, spec, err);
	}
	*ret_spec = spec;
	return rc;
}

int
migration_revive(struct api *a, const json_t *row, struct err *err)
{
	const struct timespec pause = { .tv_sec = 1 };
	json_t *spec;
	int rc = begin(a, row, &spec, err);

	for (int i = 1; i < LIMIT_RESUME_TRIES && rc != 0 && spec != NULL &&
	                err_retry(err->code);
	     i++) {
		(void)nanosleep(&pause, NULL);
		rc = host_migration_start(a->host, spec, err);
	}
	json_decref(spec);
	if (rc == 0)
		return 0;
	close_held(a, row);
	api_on_state(a, entity_uuid(row), life_state_name(LIFE_FAILED), NULL);
	return rc;
}

int
migration_try(struct api *a, const json_t *row, struct err *err)
{
	json_t *spec;
	int rc = begin(a, row, &spec, err);

	json_decref(spec);
	if (rc != 0)
		close_held(a, row);
	return rc;
}

int
migration_try_rest(struct api *a, const char *uuid, struct err *err)
{
	struct err ignored;
	json_t *lines = host_migration_refused(a->host, uuid, &ignored);
	int rc = 0;

	for (size_t i = 0; i < json_array_size(lines) && rc == 0; i++)
		rc = listen_one(a, json_string_value(json_array_get(lines, i)),
		                err);
	if (rc == 0 && lines != NULL)
		rc = host_migration_rejoin(a->host, uuid, err);
	/* Those that are used now stay. */
	for (size_t i = 0; i < json_array_size(lines) && rc != 0; i++)
		(void)(host_interlay_stop(
			       a->host,
			       json_string_value(json_array_get(lines, i)),
			       &ignored) == 0);
	json_decref(lines);
	return rc;
}
