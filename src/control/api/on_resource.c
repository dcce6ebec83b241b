/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/on_resource.c: which interlays and apis a migration moves.
 */
#include <stdio.h>

#include "control/api/interlay.h"
#include "control/api/migration.h"

#define RESOURCES_MAX 64 /* of one migration */

const char *
resource_old(const json_t *r)
{
	return call_text(r, "old");
}

/* An api that was added without an endpoint goes where others of the same old
 * endpoint go. */
const char *
resource_new(const json_t *row, const json_t *r)
{
	const json_t *all = json_object_get(entity_body(row), "resources");
	const char *own = call_text(r, "new");
	const char *old = resource_old(r);

	for (size_t i = 0; own == NULL && i < json_array_size(all); i++) {
		const json_t *other = json_array_get(all, i);
		const char *theirs = resource_old(other);

		if (theirs != NULL && old != NULL && strcmp(theirs, old) == 0)
			own = call_text(other, "new");
	}
	return own;
}

/* ---- for the host ------------------------------------------------------------ */

/* The label that rolling_update knows an endpoint by, if it has one. */
static void
put_instance(struct api *a, const char *endpoint, json_t *to)
{
	struct err ignored;
	json_t *row = entity_by_uuid(a->store, endpoint, &ignored);
	json_t *label = json_object_get(
		json_object_get(entity_body(row), "labels"), "instance");

	if (to != NULL && json_is_string(label))
		(void)json_object_set(to, "instance", label);
	json_decref(row);
}

static json_t *
spec_resource(struct api *a, const json_t *row, const json_t *r,
              struct err *err)
{
	const char *uuid = call_text(r, "uuid");
	const char *to = resource_new(row, r);
	char *old;
	char *new;
	json_t *ret = NULL;
	char id[65];

	thing_id(a, uuid, id);
	if (to == NULL) {
		(void)err_set(err, ERR_UNABLE,
		              "the %s \"%.64s\" has no new endpoint: add it "
		              "again with {\"endpoint\": ...}, or add an "
		              "interlay that leaves the same endpoint",
		              call_text(r, "kind"), id);
		return NULL;
	}
	old = endpoint_url_of(a, resource_old(r), err);
	new = old != NULL ? endpoint_url_of(a, to, err) : NULL;
	if (new != NULL)
		ret = json_pack("{s:O,s:s,s:s,s:s,s:s}", "kind",
		                json_object_get(r, "kind"), "uuid", uuid, "id",
		                id, "old", old, "new", new);
	put_instance(a, resource_old(r), ret);
	auth_wipe(old);
	auth_wipe(new);
	return ret;
}

json_t *
migration_spec(struct api *a, const json_t *row, struct err *err)
{
	static const char *const names[] = { "strategy",         "data",
		                             "failure_handling", "analysis",
		                             "options",          NULL };
	const json_t *all = json_object_get(entity_body(row), "resources");
	json_t *resources = json_array();
	json_t *ret;

	for (size_t i = 0; i < json_array_size(all); i++) {
		json_t *r = spec_resource(a, row, json_array_get(all, i), err);

		if (r == NULL) {
			json_decref(resources);
			return NULL;
		}
		(void)json_array_append_new(resources, r);
	}
	ret = json_pack("{s:s,s:s,s:o}", "uuid", entity_uuid(row), "id",
	                entity_id(row), "resources", resources);
	call_merge(ret, entity_body(row), names);
	return ret;
}

/* ---- add --------------------------------------------------------------------- */

static json_t *
find_resource(const json_t *row, const char *uuid, size_t *ret_at)
{
	const json_t *all = json_object_get(entity_body(row), "resources");

	for (size_t i = 0; i < json_array_size(all); i++) {
		json_t *r = json_array_get(all, i);

		if (strcmp(call_text(r, "uuid"), uuid) == 0) {
			*ret_at = i;
			return r;
		}
	}
	return NULL;
}

/* Everything that the resources name, for the links. */
static json_t *
needs_of(const json_t *resources)
{
	static const char *const names[] = { "uuid", "old", "new", NULL };
	json_t *ret = json_array();

	for (size_t i = 0; i < json_array_size(resources); i++) {
		const json_t *r = json_array_get(resources, i);
		const json_t *b = json_object_get(r, "bindings");

		for (const char *const *n = names; *n != NULL; n++) {
			if (call_text(r, *n) != NULL)
				(void)json_array_append(ret,
				                        json_object_get(r, *n));
		}
		for (size_t k = 0; k < json_array_size(b); k++)
			(void)json_array_append(
				ret, json_object_get(json_array_get(b, k),
			                             "template"));
	}
	return ret;
}

/* The row with other resources; the state follows the table. */
static int
save(struct call *c, json_t *resources, enum life_state to, struct err *err)
{
	json_t *body = json_deep_copy(entity_body(c->row));
	json_t *needs = needs_of(resources);
	int rc = store_begin(c->api->store, err);

	(void)json_object_set(body, "resources", resources);
	(void)json_object_set_new(body, "status",
	                          json_string(life_state_name(to)));
	if (rc == 0) {
		rc = entity_set(c->api->store, c->row, body, err);
		if (rc == 0)
			rc = entity_needs(c->api->store, c->row, needs, err);
		rc = migration_end(c, rc, err);
	}
	if (rc == 0)
		rc = migration_answer(c, c->row, err);
	json_decref(needs);
	json_decref(body);
	return rc;
}

/* The same fields as Eden's long body may repeat: they must agree. */
static int
contradicts(struct call *c, const char *name, const char *why, struct err *err)
{
	(void)snprintf(c->param, sizeof(c->param), "%s", name);
	return err_set(err, ERR_UNABLE,
	               "%s: contradicts the migration (%s); change the "
	               "migration instead",
	               name, why);
}

/* A strategy of the long body: a type that is another one is a contradiction;
 * a whole one must be readable and say the same. */
static int
check_strategy(struct call *c, struct err *err)
{
	const json_t *given = json_object_get(c->body, "migration_strategy");
	json_t *wrapped;
	struct spec_issue issue;
	struct spec *s = NULL;
	json_t *printed;
	const char *type;
	const char *own;
	int rc;

	if (given == NULL || json_is_null(given))
		return 0;
	wrapped = json_pack("{s:O}", "strategy", given);
	rc = spec_read(wrapped, &s, &issue, err);
	json_decref(wrapped);
	if (rc != 0)
		return contradicts(c, "migration_strategy", err->text, err);
	printed = spec_print_strategy(s);
	spec_free(s);
	type = call_text(printed, "type");
	own = call_text(json_object_get(entity_body(c->row), "strategy"),
	                "type");
	if (type == NULL || own == NULL || strcmp(type, own) != 0)
		rc = contradicts(c, "migration_strategy",
		                 own != NULL ? own : "?", err);
	json_decref(printed);
	return rc;
}

static int
check_data(struct call *c, struct err *err)
{
	json_t *given = json_object_get(c->body, "migration_data");
	struct spec_issue issue;
	struct spec *s = NULL;
	json_t *wrapped;
	json_t *printed;
	int rc;

	if (given == NULL || json_is_null(given))
		return 0;
	wrapped = json_pack("{s:O}", "data", given);
	rc = spec_read(wrapped, &s, &issue, err);
	json_decref(wrapped);
	if (rc != 0)
		return contradicts(c, "migration_data", err->text, err);
	printed = spec_print(s);
	spec_free(s);
	if (!json_equal(json_object_get(printed, "data"),
	                json_object_get(entity_body(c->row), "data")))
		rc = contradicts(c, "migration_data", "another data movement",
		                 err);
	json_decref(printed);
	return rc;
}

static int
check_long(struct call *c, const json_t *thing, struct err *err)
{
	const char *id = call_text(c->body, "id");
	enum life_state to;
	int rc = life_apply(migration_state(c->row), VERB_ADD, &to, err);

	if (rc != 0)
		return rc;
	if (id != NULL && strcmp(id, entity_id(thing)) != 0 &&
	    strcmp(id, entity_uuid(thing)) != 0)
		return contradicts(c, "id", "the path names another one", err);
	rc = check_strategy(c, err);
	if (rc == 0)
		rc = check_data(c, err);
	return rc;
}

/* One thing in two migrations at a time would have two masters. */
static int
check_other(struct call *c, const json_t *thing, struct err *err)
{
	json_t *rows = entity_users(c->api->store, entity_uuid(thing),
	                            ENTITY_MIGRATION, err);
	int rc = rows != NULL ? 0 : -(int)err->code;

	for (size_t i = 0; i < json_array_size(rows) && rc == 0; i++) {
		const json_t *m = json_array_get(rows, i);

		if (migration_is_active(m) &&
		    strcmp(entity_uuid(m), entity_uuid(c->row)) != 0)
			rc = err_set(err, ERR_STATE,
			             "\"%.64s\" is part of the migration "
			             "\"%.64s\", which is %s",
			             entity_id(thing), entity_id(m),
			             entity_text(m, "status"));
	}
	json_decref(rows);
	return rc;
}

static int
put(struct call *c, json_t *resource, struct err *err)
{
	json_t *all = json_deep_copy(
		json_object_get(entity_body(c->row), "resources"));
	enum life_state to;
	size_t at;
	int rc = life_apply(migration_state(c->row), VERB_ADD, &to, err);

	if (rc == 0 &&
	    find_resource(c->row, call_text(resource, "uuid"), &at) != NULL)
		rc = json_array_set(all, at, resource);
	else if (rc == 0 && json_array_size(all) >= RESOURCES_MAX)
		rc = err_set(err, ERR_LIMIT,
		             "a migration moves at most %d resources",
		             RESOURCES_MAX);
	else if (rc == 0)
		rc = json_array_append(all, resource);
	if (rc == 0)
		rc = save(c, all, to, err);
	json_decref(all);
	return rc;
}

/* Adding again changes where it goes. Not so for instances: whoever adds one interlay
 * for several pairs of servers wants one with instances. */
static int
check_pair(struct call *c, const json_t *interlay, const json_t *endpoint,
           struct err *err)
{
	const char *type = call_text(
		json_object_get(entity_body(c->row), "strategy"), "type");
	size_t at;
	const json_t *r = find_resource(c->row, entity_uuid(interlay), &at);
	const char *to = call_text(r, "new");

	if (type == NULL || strcmp(type, "rolling_update") != 0 || to == NULL ||
	    strcmp(to, entity_uuid(endpoint)) == 0)
		return 0;
	return err_set(err, ERR_UNABLE,
	               "\"%.64s\" goes to another endpoint already: it has "
	               "one pair of servers; make an interlay with instances "
	               "for several, or DELETE this one from the migration "
	               "first",
	               entity_id(interlay));
}

/* All instances of a cluster's interlay, each to the master that has its slots. */
static int
put_whole(struct call *c, const json_t *interlay, struct err *err)
{
	json_t *all = NULL;
	int rc;

	if (c->dry_run)
		return err_set(err, ERR_UNABLE,
		               "dry_run: not for all instances of a cluster at "
		               "once, their endpoints would be made");
	all = masters_resources(c, interlay, err);
	rc = all != NULL ? 0 : -(int)err->code;

	for (size_t i = 0; rc == 0 && i < json_array_size(all); i++) {
		json_t *r = json_array_get(all, i);
		json_t *part = entity_by_uuid(c->api->store,
		                              call_text(r, "uuid"), err);

		rc = part != NULL ? check_other(c, part, err) : -(int)err->code;
		if (rc == 0)
			rc = put(c, r, err);
		json_decref(part);
	}
	json_decref(all);
	return rc;
}

/* Its instances are moved, each to an endpoint of its own. */
static int
check_whole(const json_t *interlay, struct err *err)
{
	const json_t *list =
		json_object_get(entity_body(interlay), "instances");
	const char *first = call_text(json_array_get(list, 0), "id");

	if (!interlay_has_instances(interlay))
		return 0;
	return err_set(err, ERR_UNABLE,
	               "\"%.64s\" has instances: add each of them, as "
	               "\"%.64s.%.64s\", with its new endpoint",
	               entity_id(interlay), entity_id(interlay),
	               first != NULL ? first : "");
}

/* Both ends are of one kind, and it can do what the migration asks for. */
static int
check_kinds(struct call *c, const json_t *interlay, const json_t *endpoint,
            struct err *err)
{
	json_t *old = entity_by_uuid(c->api->store,
	                             entity_text(interlay, "endpoint"), err);
	const char *to = entity_text(endpoint, "kind");
	const char *from = old != NULL ? entity_text(old, "kind") : NULL;
	int rc = old != NULL ? 0 : -(int)err->code;

	if (rc == 0 && from != NULL && to != NULL && strcmp(from, to) != 0)
		rc = contradicts(c, "endpoint",
		                 "old and new are servers of two kinds", err);
	json_decref(old);
	return rc;
}

int
on_migration_add_interlay(struct call *c, struct err *err)
{
	json_t *interlay = entity_get(c->api->store, call_org(c),
	                              ENTITY_INTERLAY, c->match.arg[1], err);
	json_t *endpoint = NULL;
	json_t *resource;
	int rc = interlay != NULL ? check_long(c, interlay, err)
	                          : -(int)err->code;

	if (rc == 0 && interlay_has_instances(interlay) &&
	    json_is_true(
		    json_object_get(entity_body(interlay), "in_cluster"))) {
		rc = put_whole(c, interlay, err);
		json_decref(interlay);
		return rc;
	}
	if (rc == 0)
		rc = check_whole(interlay, err);
	if (rc == 0)
		rc = check_other(c, interlay, err);
	if (rc == 0) {
		endpoint = call_find(c, ENTITY_ENDPOINT,
		                     call_text(c->body, "endpoint"), "endpoint",
		                     err);
		rc = endpoint != NULL ? 0 : -(int)err->code;
	}
	if (rc == 0 && strcmp(entity_uuid(endpoint),
	                      entity_text(interlay, "endpoint")) == 0)
		rc = contradicts(c, "endpoint",
		                 "the interlay is at this endpoint already",
		                 err);
	if (rc == 0)
		rc = check_kinds(c, interlay, endpoint, err);
	if (rc == 0)
		rc = check_pair(c, interlay, endpoint, err);
	if (rc == 0) {
		resource = json_pack("{s:s,s:s,s:s,s:s}", "kind", "interlay",
		                     "uuid", entity_uuid(interlay), "old",
		                     entity_text(interlay, "endpoint"), "new",
		                     entity_uuid(endpoint));
		rc = put(c, resource, err);
		json_decref(resource);
	}
	json_decref(endpoint);
	json_decref(interlay);
	return rc;
}

/* The endpoint of the first template of bindings (new reference). */
static json_t *
first_endpoint(struct call *c, const json_t *bindings, struct err *err)
{
	json_t *row = entity_by_uuid(
		c->api->store,
		call_text(json_array_get(bindings, 0), "template"), err);
	json_t *ret =
		row != NULL ? entity_by_uuid(c->api->store,
	                                     entity_text(row, "endpoint"), err)
			    : NULL;

	json_decref(row);
	return ret;
}

static int
set_new(struct call *c, const json_t *old, const json_t *bindings,
        json_t *resource, struct err *err)
{
	const char *id = call_text(c->body, "endpoint");
	json_t *endpoint = NULL;
	int rc = 0;

	if (id != NULL) {
		endpoint = call_find(c, ENTITY_ENDPOINT, id, "endpoint", err);
		rc = endpoint != NULL ? 0 : -(int)err->code;
	} else if (json_array_size(bindings) > 0) {
		endpoint = first_endpoint(c, bindings, err);
		rc = endpoint != NULL ? 0 : -(int)err->code;
	}
	if (endpoint != NULL && entity_text(endpoint, "kind") != NULL &&
	    entity_text(old, "kind") != NULL &&
	    strcmp(entity_text(endpoint, "kind"), entity_text(old, "kind")) !=
	            0)
		rc = contradicts(c, "endpoint",
		                 "old and new are servers of two kinds", err);
	else if (endpoint != NULL &&
	         strcmp(entity_uuid(endpoint), entity_uuid(old)) != 0)
		(void)json_object_set(resource, "new",
		                      json_object_get(endpoint, "uuid"));
	else if (id != NULL && rc == 0)
		rc = contradicts(c, "endpoint",
		                 "the api is at this endpoint already", err);
	json_decref(endpoint);
	return rc;
}

int
on_migration_add_api(struct call *c, struct err *err)
{
	json_t *api = entity_get(c->api->store, call_org(c), ENTITY_API,
	                         c->match.arg[1], err);
	json_t *needs = json_array();
	json_t *bindings = NULL;
	json_t *resource = NULL;
	json_t *old = NULL;
	int rc = api != NULL ? check_long(c, api, err) : -(int)err->code;

	if (rc == 0)
		rc = check_other(c, api, err);
	if (rc == 0) {
		bindings = api_bindings(c, json_object_get(c->body, "bindings"),
		                        needs, err);
		old = bindings != NULL
		              ? first_endpoint(c,
		                               json_object_get(entity_body(api),
		                                               "bindings"),
		                               err)
		              : NULL;
		rc = old != NULL ? 0 : -(int)err->code;
	}
	if (rc == 0) {
		const char *moved =
			call_text(json_object_get(entity_body(api), "moved"),
		                  entity_uuid(old));

		resource = json_pack("{s:s,s:s,s:s,s:O}", "kind", "api", "uuid",
		                     entity_uuid(api), "old",
		                     moved != NULL ? moved : entity_uuid(old),
		                     "bindings", bindings);
		rc = set_new(c, old, bindings, resource, err);
	}
	if (rc == 0)
		rc = put(c, resource, err);
	json_decref(resource);
	json_decref(old);
	json_decref(bindings);
	json_decref(needs);
	json_decref(api);
	return rc;
}

/* ---- take out ---------------------------------------------------------------- */

static int
drop(struct call *c, enum entity_kind k, struct err *err)
{
	json_t *thing =
		entity_get(c->api->store, call_org(c), k, c->match.arg[1], err);
	json_t *all = json_deep_copy(
		json_object_get(entity_body(c->row), "resources"));
	enum life_state to = LIFE_READY;
	size_t at = 0;
	int rc = thing != NULL ? 0 : -(int)err->code;

	if (rc == 0)
		rc = life_apply(migration_state(c->row), VERB_REMOVE, &to, err);
	if (rc == 0 && find_resource(c->row, entity_uuid(thing), &at) == NULL)
		rc = err_set(err, ERR_MISSING,
		             "the %s \"%.64s\" is not part of this migration",
		             entity_name(k), entity_id(thing));
	if (rc == 0) {
		(void)json_array_remove(all, at);
		if (json_array_size(all) == 0)
			to = LIFE_PENDING;
		rc = save(c, all, to, err);
	}
	json_decref(all);
	json_decref(thing);
	return rc;
}

int
on_migration_drop_api(struct call *c, struct err *err)
{
	return drop(c, ENTITY_API, err);
}

int
on_migration_drop_interlay(struct call *c, struct err *err)
{
	return drop(c, ENTITY_INTERLAY, err);
}
