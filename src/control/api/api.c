/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/api.c: the REST API's beginning, end, and what the host tells it.
 */
#include "control/api/api.h"

#include <stdio.h>
#include <stdlib.h>

#include "control/api/again.h"
#include "control/api/event.h"
#include "control/api/idem.h"
#include "control/api/interlay.h"
#include "control/api/migration.h"

#define START_MAX 100000 /* rows that are started with the daemon */

static void keep_event(void *arg, json_t *event);

struct api *
api_new(const struct api_conf *conf, struct store *s, struct auth *auth,
        struct event_log *events, struct err *err)
{
	struct api *a = calloc(1, sizeof(*a));

	if (a == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	a->conf = *conf;
	a->store = s;
	a->auth = auth;
	a->events = events;
	for (size_t i = 0; i < CALL_LOCKS; i++)
		(void)pthread_mutex_init(&a->locks[i], NULL);
	a->again = again_new(a, err);
	if (a->again == NULL || entity_open(s, err) != 0 ||
	    idem_open(s, err) != 0 ||
	    event_start(events, keep_event, a, err) != 0) {
		api_free(a);
		return NULL;
	}
	return a;
}

void
api_free(struct api *a)
{
	if (a == NULL)
		return;
	again_free(a->again);
	for (size_t i = 0; i < CALL_LOCKS; i++)
		(void)pthread_mutex_destroy(&a->locks[i]);
	free(a);
}

void
api_set_host(struct api *a, struct host *h)
{
	a->host = h;
}

void
api_set_ready(struct api *a, bool is_ready)
{
	atomic_store(&a->is_ready, is_ready);
}

/* ---- what the host tells ------------------------------------------------------ */

static void
complain(const char *what, const struct err *err)
{
	(void)fprintf(stderr, "godwit: %s: %s\n", what, err->text);
}

/* The organization and the id of a thing; false: it is gone. */
static bool
owner_of(struct api *a, const char *uuid, char org[STORE_UUID], char id[65])
{
	struct err err;
	json_t *row = entity_by_uuid(a->store, uuid, &err);

	if (row == NULL)
		return false;
	(void)snprintf(org, STORE_UUID, "%s", call_text(row, "org"));
	(void)snprintf(id, 65, "%s", entity_id(row));
	json_decref(row);
	return true;
}

/* What nobody has called for, but an analysis has decided, is audited as well. */
static void
keep_verdict(struct api *a, const char *org, const char *id,
             const json_t *event)
{
	struct auth_entry e = {
		.org_uuid = org,
		.subject = "analysis",
		.action = "verdict",
		.kind = entity_plural(ENTITY_MIGRATION),
		.id = id,
		.reason = call_text(event, "text"),
		.result = "ok",
	};
	const char *name = call_text(event, "name");
	struct err err;

	if (name != NULL && strcmp(name, "verdict") == 0 &&
	    auth_audit(a->auth, &e, NULL, &err) != 0)
		complain("audit", &err);
}

/* Whose event is it? In the thread of the log. */
static void
keep_event(void *arg, json_t *event)
{
	struct api *a = arg;
	const char *migration = call_text(event, "migration");
	const char *interlay = call_text(event, "interlay");
	const char *uuid = migration != NULL ? migration : interlay;
	char org[STORE_UUID];
	char id[65];
	struct err err;

	if (uuid == NULL || !owner_of(a, uuid, org, id))
		return;
	(void)json_object_set_new(
		event, migration != NULL ? "migration_id" : "interlay_id",
		json_string(id));
	if (event_add(a->events, org, migration, event, &err) != 0)
		complain("event", &err);
	if (migration != NULL)
		keep_verdict(a, org, id, event);
}

/* When it happened is now, not when it is written. */
static void
post(struct api *a, json_t *event)
{
	char now[STORE_TIME];

	if (event != NULL && !json_is_string(json_object_get(event, "at")))
		(void)json_object_set_new(event, "at",
		                          json_string(store_now(now)));
	event_post(a->events, event);
}

void
api_on_event(void *arg, const json_t *event)
{
	post(arg, json_deep_copy(event));
}

/* Did the resource stay with old? */
static bool
stayed(const json_t *status, const char *uuid)
{
	const json_t *all = json_object_get(status, "resources");

	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *r = json_array_get(all, i);
		const char *own = call_text(r, "uuid");
		const char *authority = call_text(r, "authority");

		if (own != NULL && strcmp(own, uuid) == 0)
			return authority != NULL &&
			       strcmp(authority, "old") == 0;
	}
	return false;
}

static int
move_interlay(struct api *a, const char *uuid, const char *to, struct err *err)
{
	json_t *row = entity_by_uuid(a->store, uuid, err);
	json_t *needs = json_pack("[s]", to);
	json_t *body = json_deep_copy(entity_body(row));
	int rc = row != NULL ? 0 : -(int)err->code;

	if (rc == 0) {
		(void)json_object_set_new(body, "endpoint", json_string(to));
		rc = entity_set(a->store, row, body, err);
	}
	if (rc == 0)
		rc = entity_needs(a->store, row, needs, err);
	json_decref(body);
	json_decref(needs);
	json_decref(row);
	return rc;
}

/* An api runs at the new endpoint from now on: by its new bindings, or by the
 * old ones with the endpoint exchanged. */
static int
move_api(struct api *a, const json_t *r, const char *to, struct err *err)
{
	json_t *row = entity_by_uuid(a->store, call_text(r, "uuid"), err);
	json_t *body = json_deep_copy(entity_body(row));
	json_t *moved = json_object_get(body, "moved");
	int rc = row != NULL ? 0 : -(int)err->code;

	if (rc == 0) {
		if (moved == NULL) {
			moved = json_object();
			(void)json_object_set_new(body, "moved", moved);
		}
		(void)json_object_set_new(moved, resource_old(r),
		                          json_string(to));
		if (json_array_size(json_object_get(r, "bindings")) > 0)
			(void)json_object_set(body, "bindings",
			                      json_object_get(r, "bindings"));
		rc = entity_set(a->store, row, body, err);
	}
	json_decref(body);
	json_decref(row);
	return rc;
}

/* Completed: what the resources are bound to changes for good. */
static int
move_resources(struct api *a, const json_t *row, const json_t *status,
               struct err *err)
{
	const json_t *all = json_object_get(entity_body(row), "resources");
	int rc = 0;

	for (size_t i = 0; i < json_array_size(all) && rc == 0; i++) {
		const json_t *r = json_array_get(all, i);
		const char *uuid = call_text(r, "uuid");
		const char *to = resource_new(row, r);

		if (to == NULL || stayed(status, uuid))
			continue;
		if (strcmp(call_text(r, "kind"), "interlay") == 0)
			rc = move_interlay(a, uuid, to, err);
		else
			rc = move_api(a, r, to, err);
	}
	return rc;
}

static void
note_state(json_t *body, const char *state, json_t *status)
{
	enum life_state s = life_state_find(state);
	char now[STORE_TIME];

	(void)json_object_set_new(body, "status", json_string(state));
	if (json_is_object(status)) {
		json_t *partial = json_object_get(status, "partial");
		json_t *forced = json_object_get(status, "forced");
		json_t *authority = json_object_get(status, "authority");

		(void)json_object_set(body, "last", status);
		if (partial != NULL)
			(void)json_object_set(body, "partial", partial);
		if (json_is_boolean(forced))
			(void)json_object_set(body, "forced", forced);
		if (authority != NULL)
			(void)json_object_set(body, "authority", authority);
	}
	if (s == LIFE_RUNNING && json_object_get(body, "started_at") == NULL)
		(void)json_object_set_new(body, "started_at",
		                          json_string(store_now(now)));
	if (s == LIFE_COMPLETED || s == LIFE_ROLLED_BACK)
		(void)json_object_set_new(body, "ended_at",
		                          json_string(store_now(now)));
	else
		(void)json_object_del(body, "ended_at");
}

static int
store_state(struct api *a, const char *uuid, const char *state,
            const json_t *status, struct err *err)
{
	json_t *row = entity_by_uuid(a->store, uuid, err);
	bool was_over;
	json_t *body;
	int rc;

	if (row == NULL)
		return -(int)err->code;
	was_over = migration_state(row) == LIFE_COMPLETED;
	body = json_deep_copy(entity_body(row));
	note_state(body, state, shape_mutable(status));
	rc = entity_set(a->store, row, body, err);
	if (rc == 0 && !was_over && life_state_find(state) == LIFE_COMPLETED)
		rc = move_resources(a, row, status, err);
	json_decref(body);
	json_decref(row);
	return rc;
}

void
api_on_state(void *arg, const char *migration, const char *state,
             const json_t *status)
{
	struct api *a = arg;
	struct err err;
	int rc = store_begin(a->store, &err);

	if (rc == 0) {
		rc = store_state(a, migration, state, status, &err);
		rc = store_end(a->store, rc, &err);
	}
	if (rc != 0) {
		complain("state of a migration", &err);
		return;
	}
	/* The log's thread reads it: nothing in it is the caller's as well. */
	post(a, json_pack("{s:s,s:s,s:s,s:o*}", "name", "state", "migration",
	                  migration, "status", state, "phase",
	                  json_deep_copy(json_object_get(status, "phase"))));
}

/* ---- start ---------------------------------------------------------------------- */

static void
tell_failure(struct api *a, const json_t *row, const char *what,
             const struct err *failed, void (*tell)(const char *text))
{
	json_t *event = json_pack(
		"{s:s,s:s,s:s}", "name", "not_started", "text", failed->text,
		strcmp(what, "migration") == 0 ? "migration" : "interlay",
		entity_uuid(row));
	char text[400];

	(void)snprintf(text, sizeof(text), "%s \"%s\" was not started: %s",
	               what, entity_id(row), failed->text);
	tell(text);
	api_on_event(a, event);
	json_decref(event);
}

/* Does the journal say that it is under way? It is the truth; the row follows. */
static bool
is_under_way(struct api *a, const json_t *row)
{
	json_t *legs = host_migration_recorded(a->host, entity_uuid(row));
	bool ret = migration_is_active(row);

	for (size_t i = 0; i < json_array_size(legs); i++) {
		const char *s = json_string_value(json_array_get(legs, i));
		enum life_state state = s != NULL ? life_state_find(s) : LIFE_N;

		ret = ret ||
		      (state != LIFE_READY && state != LIFE_ROLLED_BACK &&
		       state != LIFE_COMPLETED);
	}
	json_decref(legs);
	return ret;
}

/* The uuids of the interlays that a migration will take: their clients wait for
 * it. */
static json_t *
held_ones(struct api *a, const json_t *migrations)
{
	json_t *ret = json_object();

	for (size_t i = 0; i < json_array_size(migrations); i++) {
		const json_t *row = json_array_get(migrations, i);
		const json_t *all =
			json_object_get(entity_body(row), "resources");

		if (!is_under_way(a, row))
			continue;
		for (size_t k = 0; k < json_array_size(all); k++)
			(void)json_object_set_new(
				ret, call_text(json_array_get(all, k), "uuid"),
				json_true());
	}
	return ret;
}

/* Those of instances that no migration takes are started with what stands in front
 * of them. */
static bool
starts(const json_t *row, bool is_held)
{
	return is_held ||
	       (json_is_true(json_object_get(entity_body(row), "wanted")) &&
	        !interlay_is_instance(row));
}

static void
start_interlays(struct api *a, const json_t *rows, const json_t *held,
                bool fronts, void (*tell)(const char *text))
{
	struct err err;

	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		bool is_held = json_object_get(held, entity_uuid(row)) != NULL;

		if (interlay_has_instances(row) == fronts &&
		    starts(row, is_held) &&
		    interlay_run(a, row, is_held, &err) != 0)
			tell_failure(a, row, "interlay", &err, tell);
	}
}

static void
start_migrations(struct api *a, const json_t *rows,
                 void (*tell)(const char *text))
{
	struct err err;

	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);

		if (!is_under_way(a, row))
			continue;
		if (migration_revive(a, row, &err) == 0) {
			json_t *rest = host_migration_refused(
				a->host, entity_uuid(row), &err);

			if (rest != NULL && err_retry(err.code))
				again_add(a->again, entity_uuid(row), &err);
			json_decref(rest);
			continue;
		}
		tell_failure(a, row, "migration", &err, tell);
		if (err_retry(err.code))
			again_add(a->again, entity_uuid(row), &err);
	}
}

void
api_start_all(struct api *a, void (*tell)(const char *text))
{
	struct err err;
	json_t *rows = entity_list(a->store, NULL, ENTITY_MIGRATION, NULL,
	                           START_MAX, &err);
	json_t *held = held_ones(a, rows);
	json_t *lines = entity_list(a->store, NULL, ENTITY_INTERLAY, NULL,
	                            START_MAX, &err);

	/* Those of instances before what stands in front of them. */
	start_interlays(a, lines, held, false, tell);
	start_interlays(a, lines, held, true, tell);
	start_migrations(a, rows, tell);
	json_decref(lines);
	json_decref(held);
	json_decref(rows);
}

void
api_stop(struct api *a)
{
	again_stop(a->again);
}
