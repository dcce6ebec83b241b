/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/on_migration.c: migrations as things: make, show, change, forget.
 *
 * The body of a row: {"description","strategy","data","failure_handling",
 * "analysis" (canonical),"first" (the strategy as it was made),"tests",
 * "options","warnings","status","partial","forced","authority","resources":
 * [{"kind","uuid","old","new","bindings"}] (uuids),"reverse_of","started_at",
 * "ended_at","last" (the engine's last words)}.
 */
#include <stdio.h>

#include "control/api/again.h"
#include "control/api/migration.h"

static const char *const spec_names[] = { "strategy", "data",
	                                  "failure_handling", "analysis",
	                                  NULL };

enum life_state
migration_state(const json_t *row)
{
	enum life_state s = life_state_find(entity_text(row, "status"));

	return s < LIFE_N ? s : LIFE_PENDING;
}

bool
migration_is_active(const json_t *row)
{
	enum life_state s = migration_state(row);

	return s == LIFE_RUNNING || s == LIFE_PAUSED || s == LIFE_FAILED ||
	       s == LIFE_ROLLING_BACK;
}

json_t *
migration_of(struct api *a, const char *uuid)
{
	struct err err;
	json_t *rows = entity_users(a->store, uuid, ENTITY_MIGRATION, &err);
	json_t *ret = NULL;

	for (size_t i = 0; i < json_array_size(rows) && ret == NULL; i++) {
		json_t *row = json_array_get(rows, i);

		if (migration_is_active(row))
			ret = json_incref(row);
	}
	json_decref(rows);
	return ret;
}

json_t *
migration_from(struct api *a, const char *endpoint)
{
	struct err err;
	json_t *rows = entity_users(a->store, endpoint, ENTITY_MIGRATION, &err);
	json_t *ret = NULL;

	for (size_t i = 0; i < json_array_size(rows) && ret == NULL; i++) {
		json_t *row = json_array_get(rows, i);
		const json_t *all =
			json_object_get(entity_body(row), "resources");

		for (size_t k = 0; k < json_array_size(all) && ret == NULL &&
		                   migration_is_active(row);
		     k++) {
			const char *old =
				call_text(json_array_get(all, k), "old");

			if (old != NULL && strcmp(old, endpoint) == 0)
				ret = json_incref(row);
		}
	}
	json_decref(rows);
	return ret;
}

/* ---- show ----------------------------------------------------------------------- */

static json_t *
id_or_null(struct api *a, const char *uuid)
{
	char id[65] = "";

	if (uuid != NULL)
		thing_id(a, uuid, id);
	return id[0] != '\0' ? json_string(id) : json_null();
}

/* What the engine says of one resource. */
static const json_t *
live_of(const json_t *live, const char *uuid)
{
	const json_t *all = json_object_get(live, "resources");

	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *r = json_array_get(all, i);
		const char *own = call_text(r, "uuid");

		if (own != NULL && strcmp(own, uuid) == 0)
			return r;
	}
	return NULL;
}

static json_t *
view_resource(struct call *c, const json_t *r, const json_t *live)
{
	const char *uuid = call_text(r, "uuid");
	const json_t *now = live_of(live, uuid);
	const char *state = call_text(now, "state");
	json_t *ret = json_pack(
		"{s:O,s:o,s:s,s:o,s:o,s:o}", "kind", json_object_get(r, "kind"),
		"id", id_or_null(c->api, uuid), "uuid", uuid, "old",
		id_or_null(c->api, call_text(r, "old")), "new",
		id_or_null(c->api, call_text(r, "new")), "state",
		state != NULL ? json_string(state) : json_null());

	if (json_object_get(r, "bindings") != NULL)
		(void)json_object_set_new(
			ret, "bindings",
			api_view_bindings(c->api,
		                          json_object_get(r, "bindings")));
	return ret;
}

static json_t *
view_resources(struct call *c, const json_t *row, const char *kind,
               const json_t *live)
{
	const json_t *all = json_object_get(entity_body(row), "resources");
	json_t *ret = json_array();

	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *r = json_array_get(all, i);

		if (strcmp(call_text(r, "kind"), kind) == 0)
			(void)json_array_append_new(ret,
			                            view_resource(c, r, live));
	}
	return ret;
}

/* The engine's words, without those that are about its process. */
static void
merge_live(json_t *to, const json_t *live)
{
	static const char *const not_these[] = {
		"id",      "uuid",       "version",  "strategy", "status",
		"partial", "state_file", "pid",      "listen",   "old",
		"new",     "data",       "analysis", NULL
	};
	const char *name;
	json_t *value;

	json_object_foreach(shape_mutable(live), name, value)
	{
		bool skip = false;

		for (const char *const *n = not_these; *n != NULL; n++)
			skip = skip || strcmp(*n, name) == 0;
		if (!skip)
			(void)json_object_set(to, name, value);
	}
}

/* Outside of a run nobody else can tell what comes next. */
static void
put_next(json_t *to, enum life_state s)
{
	static const char *const next[] = {
		[LIFE_PENDING] = "add: an interlay or an api",
		[LIFE_READY] = "migrate: the copy begins; test looks first",
		[LIFE_ROLLED_BACK] =
			"migrate: the copy begins again; or delete",
		[LIFE_COMPLETED] = "nothing; reverse goes the other way",
	};
	size_t n = sizeof(next) / sizeof(next[0]);

	if ((size_t)s < n && next[s] != NULL)
		(void)json_object_set_new(to, "next", json_string(next[s]));
}

json_t *
migration_view(struct call *c, const json_t *row)
{
	static const char *const names[] = {
		"description", "strategy", "data",    "failure_handling",
		"analysis",    "tests",    "options", "warnings",
		"status",      "partial",  "forced",  "reverse_of",
		"started_at",  "ended_at", NULL
	};
	json_t *body = entity_body(row);
	json_t *live =
		c->api->host != NULL
			? host_migration_status(c->api->host, entity_uuid(row))
			: NULL;
	json_t *ret = call_stamp(row);
	bool waits = live == NULL
	                     ? migration_state(row) == LIFE_FAILED
	                     : json_is_true(json_object_get(live, "partial"));

	if (live == NULL)
		live = json_incref(json_object_get(body, "last"));
	merge_live(ret, live);
	put_next(ret, migration_state(row));
	call_merge(ret, body, names);
	/* A resource that goes or comes back alone changes no state, so no row. */
	if (json_is_boolean(json_object_get(live, "partial")))
		(void)json_object_set(ret, "partial",
		                      json_object_get(live, "partial"));
	(void)json_object_set_new(ret, "apis",
	                          view_resources(c, row, "api", live));
	(void)json_object_set_new(ret, "interlays",
	                          view_resources(c, row, "interlay", live));
	if (waits)
		(void)json_object_set_new(
			ret, "resuming",
			again_show(c->api->again, entity_uuid(row)));
	if (c->dry_run)
		(void)json_object_set_new(ret, "dry_run", json_true());
	json_decref(live);
	return ret;
}

int
migration_answer(struct call *c, const json_t *row, struct err *err)
{
	return call_row(c, row, migration_view, err);
}

int
migration_end(struct call *c, int rc, struct err *err)
{
	if (rc != 0 || !c->dry_run)
		return store_end(c->api->store, rc, err);
	store_undo(c->api->store);
	return 0;
}

/* ---- the spec ------------------------------------------------------------------- */

/* What is wrong with it goes into the call. */
static int
blame(struct call *c, const struct spec_issue *issue, struct err *err)
{
	if (issue->param[0] != '\0')
		(void)snprintf(c->param, sizeof(c->param), "%s", issue->param);
	if (err->code == ERR_USAGE)
		err->code = ERR_BAD;
	return -(int)err->code;
}

int
migration_put_spec(const struct spec *s, json_t *body, struct err *err)
{
	json_t *printed = spec_print(s);

	if (printed == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	call_merge(body, printed, spec_names);
	/* null is how "none" may be printed; call_merge() takes it away. */
	if (json_object_get(body, "data") == NULL)
		(void)json_object_set_new(body, "data", json_string("none"));
	(void)json_object_set_new(body, "warnings",
	                          s->warnings != NULL
	                                  ? json_deep_copy(s->warnings)
	                                  : json_array());
	json_decref(printed);
	return 0;
}

struct spec *
migration_get_spec(const json_t *row, struct err *err)
{
	struct spec *s = NULL;
	struct spec_issue issue;

	if (spec_read(entity_body(row), &s, &issue, err) != 0)
		return NULL;
	return s;
}

int
migration_patch_spec(struct call *c, const json_t *patch, struct spec **ret,
                     struct err *err)
{
	bool running = migration_is_active(c->row);
	struct spec_issue issue = { "" };
	struct spec *from = migration_get_spec(c->row, err);
	int rc;

	if (from == NULL)
		return -(int)err->code;
	rc = spec_patch(from, patch, running, ret, &issue, err);
	spec_free(from);
	return rc != 0 ? blame(c, &issue, err) : 0;
}

int
migration_traffic_spec(struct call *c, struct spec **ret, struct err *err)
{
	struct spec_issue issue = { "" };
	struct spec *from = migration_get_spec(c->row, err);
	int rc;

	if (from == NULL)
		return -(int)err->code;
	rc = spec_patch_traffic(from, c->body, ret, &issue, err);
	spec_free(from);
	return rc != 0 ? blame(c, &issue, err) : 0;
}

/* ---- calls ---------------------------------------------------------------------- */

static json_t *
new_body(struct call *c, struct err *err)
{
	static const char *const names[] = { "description", "tests", "options",
		                             NULL };
	struct spec_issue issue = { "" };
	struct spec *s = NULL;
	json_t *body;

	if (spec_read(c->body, &s, &issue, err) != 0) {
		(void)blame(c, &issue, err);
		return NULL;
	}
	body = json_pack("{s:s,s:b,s:[],s:{},s:[],s:n}", "status",
	                 life_state_name(LIFE_PENDING), "partial", 0, "tests",
	                 "options", "resources", "reverse_of");
	call_merge(body, c->body, names);
	if (migration_put_spec(s, body, err) != 0) {
		json_decref(body);
		body = NULL;
	} else {
		(void)json_object_set(body, "first",
		                      json_object_get(body, "strategy"));
	}
	spec_free(s);
	return body;
}

int
on_migration_create(struct call *c, struct err *err)
{
	json_t *body = new_body(c, err);
	json_t *row = NULL;
	int rc;

	if (body == NULL)
		return -(int)err->code;
	rc = store_begin(c->api->store, err);
	if (rc == 0) {
		row = entity_add(c->api->store, call_org(c), ENTITY_MIGRATION,
		                 NULL, call_text(c->body, "id"), c->who.subject,
		                 body, err);
		rc = row != NULL ? 0 : -(int)err->code;
		rc = migration_end(c, rc, err);
	}
	if (rc == 0)
		rc = migration_answer(c, row, err);
	json_decref(row);
	json_decref(body);
	return rc;
}

int
on_migration_list(struct call *c, struct err *err)
{
	return call_entities(c, ENTITY_MIGRATION, migration_view, err);
}

int
on_migration_get(struct call *c, struct err *err)
{
	return migration_answer(c, c->row, err);
}

static bool
has_spec(const json_t *patch)
{
	for (const char *const *n = spec_names; *n != NULL; n++) {
		if (json_object_get(patch, *n) != NULL)
			return true;
	}
	return false;
}

/* What the patch wants is more than a share: the last step. */
static int
cut_over(struct call *c, const json_t *before, struct err *err)
{
	const char *authority = call_text(before, "authority");
	json_t *args;
	json_t *status = NULL;
	int rc;

	c->status = 202;
	if (authority != NULL && strcmp(authority, "new") == 0)
		return 0;
	args = json_pack("{s:s,s:s}", "to", "cutover", "reason",
	                 c->reason != NULL ? c->reason : "patch");
	rc = migration_verb(c, "promote", args, &status, err);
	json_decref(args);
	json_decref(status);
	return rc;
}

/* While it runs nobody would read them. */
static int
check_late(struct call *c, struct err *err)
{
	if (json_object_get(c->body, "data") == NULL &&
	    json_object_get(c->body, "options") == NULL)
		return 0;
	return err_set(err, ERR_STATE,
	               "data and options can be changed only before the "
	               "migration runs");
}

/* While it runs: the engine has to take it first. It hears what the patch names and no
 * more: the rest stays where a promote has put it. */
static int
patch_running(struct call *c, const struct spec *s, struct err *err)
{
	json_t *args;
	json_t *status = NULL;
	int rc;

	args = json_object();
	if (args == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	call_merge(args, c->body, spec_names);
	if (c->reason != NULL)
		(void)json_object_set_new(args, "reason",
		                          json_string(c->reason));
	rc = migration_verb(c, "patch", args, &status, err);
	if (rc == 0 && spec_wants_new(s))
		rc = cut_over(c, status, err);
	json_decref(args);
	json_decref(status);
	return rc;
}

/* The row as it is now (the engine may have changed it) with what the body and
 * the spec say. */
static int
put_patch(struct call *c, const struct spec *s, json_t **ret, struct err *err)
{
	static const char *const names[] = { "description", "tests", "options",
		                             NULL };
	json_t *row = entity_by_uuid(c->api->store, entity_uuid(c->row), err);
	json_t *body;
	int rc = 0;

	if (row == NULL)
		return -(int)err->code;
	body = json_deep_copy(entity_body(row));
	call_merge(body, c->body, names);
	if (s != NULL)
		rc = migration_put_spec(s, body, err);
	if (rc == 0)
		rc = entity_set(c->api->store, row, body, err);
	json_decref(body);
	*ret = row;
	return rc;
}

int
on_migration_patch(struct call *c, struct err *err)
{
	enum life_state to;
	struct spec *s = NULL;
	json_t *row = NULL;
	int rc = call_match(c, c->row, err);

	if (rc == 0)
		rc = life_apply(migration_state(c->row), VERB_PATCH, &to, err);
	if (rc == 0 && migration_state(c->row) == LIFE_RUNNING)
		rc = check_late(c, err);
	if (rc == 0 && has_spec(c->body))
		rc = migration_patch_spec(c, c->body, &s, err);
	if (rc == 0 && migration_state(c->row) == LIFE_RUNNING && s != NULL)
		rc = patch_running(c, s, err);
	if (rc == 0)
		rc = store_begin(c->api->store, err);
	if (rc == 0) {
		rc = put_patch(c, s, &row, err);
		rc = migration_end(c, rc, err);
	}
	if (rc == 0)
		rc = migration_answer(c, row, err);
	spec_free(s);
	json_decref(row);
	return rc;
}

int
on_migration_delete(struct call *c, struct err *err)
{
	const char *uuid = entity_uuid(c->row);
	enum life_state to;
	json_t *live;
	int rc = call_match(c, c->row, err);

	if (rc == 0)
		rc = life_apply(migration_state(c->row), VERB_DELETE, &to, err);
	if (rc != 0 || c->dry_run)
		return rc != 0 ? rc : call_done(c, entity_id(c->row), err);
	live = host_migration_status(c->api->host, uuid);
	if (live != NULL)
		rc = host_migration_forget(c->api->host, uuid, err);
	json_decref(live);
	if (rc == 0) {
		json_t *row = entity_by_uuid(c->api->store, uuid, err);

		rc = row != NULL ? call_delete(c, row, ENTITY_MIGRATION, err)
		                 : -(int)err->code;
		json_decref(row);
	}
	return rc;
}
