/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/on_api.c: logical operations over templates.
 *
 * The body of a row: {"fields","bindings":[{"template" (uuid),"fields":{api
 * field: template field}}],"description","moved":{endpoint: endpoint}} (where a
 * migration has moved it to).
 */
#include <stdio.h>

#include "control/api/migration.h"
#include "control/api/params.h"
#include "control/api/trail.h"

/* Uuids of a binding's template as its id. */
json_t *
api_view_bindings(struct api *a, const json_t *bindings)
{
	json_t *ret = json_array();

	for (size_t i = 0; i < json_array_size(bindings); i++) {
		const json_t *b = json_array_get(bindings, i);
		char id[65];

		thing_id(a, call_text(b, "template"), id);
		(void)json_array_append_new(
			ret, json_pack("{s:s,s:O}", "template", id, "fields",
		                       json_object_get(b, "fields")));
	}
	return ret;
}

static json_t *
view(struct call *c, const json_t *row)
{
	static const char *const names[] = { "fields", "description", NULL };
	json_t *migration = migration_of(c->api, entity_uuid(row));
	json_t *ret = call_stamp(row);

	call_merge(ret, entity_body(row), names);
	(void)json_object_set_new(
		ret, "bindings",
		api_view_bindings(
			c->api, json_object_get(entity_body(row), "bindings")));
	(void)json_object_set_new(ret, "migration",
	                          migration != NULL
	                                  ? json_string(entity_id(migration))
	                                  : json_null());
	json_decref(migration);
	return ret;
}

/* ---- bindings ----------------------------------------------------------------- */

/* {api: template} or [[api, template], ...]; nothing: the same names. */
static json_t *
read_map(const json_t *fields, struct err *err)
{
	json_t *ret = json_object();
	const char *name;
	json_t *value;
	bool ok = true;

	if (fields == NULL || json_is_null(fields))
		return ret;
	if (json_is_object(fields)) {
		json_object_foreach(shape_mutable(fields), name, value)
		{
			ok = ok && json_is_string(value);
			(void)json_object_set(ret, name, value);
		}
	}
	for (size_t i = 0; json_is_array(fields) && i < json_array_size(fields);
	     i++) {
		const json_t *pair = json_array_get(fields, i);
		const char *from = json_string_value(json_array_get(pair, 0));
		json_t *to = json_array_get(pair, 1);

		ok = ok && from != NULL && json_is_string(to) &&
		     json_array_size(pair) == 2;
		if (ok)
			(void)json_object_set(ret, from, to);
	}
	if (ok && (json_is_object(fields) || json_is_array(fields)))
		return ret;
	json_decref(ret);
	(void)err_set(err, ERR_BAD,
	              "bindings: fields must be {api_field: template_field}");
	return NULL;
}

json_t *
api_bindings(struct call *c, const json_t *given, json_t *needs,
             struct err *err)
{
	json_t *ret = json_array();

	(void)snprintf(c->param, sizeof(c->param), "bindings");
	for (size_t i = 0; i < json_array_size(given); i++) {
		const json_t *b = json_array_get(given, i);
		const char *id = call_text(b, "template");
		json_t *map = read_map(json_object_get(b, "fields"), err);
		json_t *row = NULL;

		if (id == NULL)
			id = call_text(b, "template_id");
		if (id == NULL)
			(void)err_set(err, ERR_BAD,
			              "bindings[%zu].template: is missing", i);
		else if (map != NULL)
			row = call_find(c, ENTITY_TEMPLATE, id, "bindings",
			                err);
		if (row == NULL) {
			json_decref(map);
			json_decref(ret);
			return NULL;
		}
		(void)json_array_append_new(
			ret, json_pack("{s:s,s:o}", "template",
		                       entity_uuid(row), "fields", map));
		(void)json_array_append(needs, json_object_get(row, "uuid"));
		json_decref(row);
	}
	c->param[0] = '\0';
	return ret;
}

/* ---- calls -------------------------------------------------------------------- */

int
on_api_create(struct call *c, struct err *err)
{
	static const char *const names[] = { "fields", "description", NULL };
	json_t *needs = json_array();
	json_t *bindings = api_bindings(c, json_object_get(c->body, "bindings"),
	                                needs, err);
	json_t *body;
	json_t *row = NULL;

	if (bindings != NULL) {
		body = json_pack("{s:[],s:o}", "fields", "bindings", bindings);
		call_merge(body, c->body, names);
		row = call_add(c, ENTITY_API, body, needs, err);
		json_decref(body);
	}
	json_decref(needs);
	return call_made(c, row, view, err);
}

CALL_READS(api, ENTITY_API, view)

static int
save(struct call *c, json_t *body, const json_t *needs, struct err *err)
{
	int rc = store_begin(c->api->store, err);

	if (rc != 0)
		return rc;
	rc = entity_set(c->api->store, c->row, body, err);
	if (rc == 0 && json_array_size(needs) > 0)
		rc = entity_needs(c->api->store, c->row, needs, err);
	return store_end(c->api->store, rc, err);
}

int
on_api_patch(struct call *c, struct err *err)
{
	static const char *const names[] = { "fields", "description", NULL };
	const json_t *given = json_object_get(c->body, "bindings");
	json_t *body = json_deep_copy(entity_body(c->row));
	json_t *needs = json_array();
	int rc = call_match(c, c->row, err);

	call_merge(body, c->body, names);
	if (rc == 0 && given != NULL) {
		json_t *bindings = api_bindings(c, given, needs, err);

		rc = bindings != NULL
		             ? json_object_set_new(body, "bindings", bindings)
		             : -(int)err->code;
	}
	if (rc == 0)
		rc = save(c, body, needs, err);
	json_decref(needs);
	json_decref(body);
	return rc != 0 ? rc : call_row(c, c->row, view, err);
}

int
on_api_delete(struct call *c, struct err *err)
{
	int rc = call_match(c, c->row, err);

	return rc != 0 ? rc : call_delete(c, c->row, ENTITY_API, err);
}

/* ---- run ----------------------------------------------------------------------- */

/* The parameters of one template out of those of the api. */
static json_t *
params_of(const json_t *binding, const json_t *template, const json_t *given)
{
	const json_t *fields = json_object_get(entity_body(template), "fields");
	json_t *map = json_object_get(binding, "fields");
	json_t *ret = json_object();
	const char *from;
	json_t *to;

	for (size_t i = 0; i < json_array_size(fields); i++) {
		const char *name = call_text(json_array_get(fields, i), "name");
		json_t *value = json_object_get(given, name);

		if (value != NULL)
			(void)json_object_set(ret, name, value);
	}
	json_object_foreach(map, from, to)
	{
		json_t *value = json_object_get(given, from);

		if (value != NULL)
			(void)json_object_set(ret, json_string_value(to),
			                      value);
	}
	return ret;
}

/* Where a template of this api runs: its endpoint, unless a migration has moved
 * the api. */
static const char *
endpoint_of(const json_t *api, const json_t *template)
{
	const char *endpoint = entity_text(template, "endpoint");
	const char *moved =
		call_text(json_object_get(entity_body(api), "moved"), endpoint);

	return moved != NULL ? moved : endpoint;
}

/* One template with its parameters, at an endpoint. */
static int
run_at(struct call *c, const json_t *template, const json_t *params,
       const char *endpoint, json_t **ret, struct err *err)
{
	char *url = endpoint_url_of(c->api, endpoint, err);
	json_t *migration;
	int rc;

	if (url == NULL)
		return -(int)err->code;
	migration = migration_from(c->api, endpoint);
	rc = template_call(c->api, template, params, url,
	                   migration != NULL ? entity_uuid(migration) : NULL,
	                   ret, c->param, err);
	auth_wipe(url);
	json_decref(migration);
	return rc;
}

/* It was refused where the api was when the call came; its migration may have been
 * completed meanwhile. */
static bool
has_moved(struct call *c, const json_t *template, char ret[STORE_UUID])
{
	struct err ignored;
	json_t *now =
		entity_by_uuid(c->api->store, entity_uuid(c->row), &ignored);
	const char *endpoint = now != NULL ? endpoint_of(now, template) : NULL;
	bool moved = endpoint != NULL &&
	             strcmp(endpoint, endpoint_of(c->row, template)) != 0;

	if (moved)
		(void)snprintf(ret, STORE_UUID, "%s", endpoint);
	json_decref(now);
	return moved;
}

static int
run_binding(struct call *c, const json_t *binding, json_t *results,
            struct err *err)
{
	json_t *template = entity_by_uuid(c->api->store,
	                                  call_text(binding, "template"), err);
	json_t *params = NULL;
	json_t *value = NULL;
	char endpoint[STORE_UUID];
	int rc = template != NULL ? 0 : -(int)err->code;

	if (rc == 0 && !template_is_read(template))
		rc = auth_may(c->api->auth, &c->who, "apis",
		              entity_uuid(c->row), ROLE_WRITE, err);
	if (rc == 0 && !template_is_read(template))
		rc = trail_intend(c, err);
	if (rc == 0) {
		params = params_of(binding, template, c->body);
		rc = run_at(c, template, params, endpoint_of(c->row, template),
		            &value, err);
		/* Nothing of it was done. */
		if (rc == -ERR_AUTH && has_moved(c, template, endpoint))
			rc = run_at(c, template, params, endpoint, &value, err);
	}
	if (rc == 0)
		(void)json_object_set_new(results, entity_id(template), value);
	json_decref(params);
	json_decref(template);
	return rc;
}

/* What the caller gave against the api's own fields, where it names any. */
static int
check_given(struct call *c, struct err *err)
{
	const json_t *fields = json_object_get(entity_body(c->row), "fields");
	json_t *texts = NULL;
	int rc;

	if (json_array_size(fields) == 0)
		return 0;
	rc = params_check(fields, c->body, &texts, c->param, err);
	json_decref(texts);
	return rc;
}

/* The new path of a migration's resource, where it has one and new rules. */
static const json_t *
bindings_now(struct call *c, json_t *migration)
{
	const json_t *own = json_object_get(entity_body(c->row), "bindings");
	const json_t *resources =
		json_object_get(entity_body(migration), "resources");

	if (strcmp(entity_text(migration, "authority"), "new") != 0)
		return own;
	for (size_t i = 0; i < json_array_size(resources); i++) {
		const json_t *r = json_array_get(resources, i);
		const char *uuid = call_text(r, "uuid");

		if (uuid != NULL && strcmp(uuid, entity_uuid(c->row)) == 0 &&
		    json_array_size(json_object_get(r, "bindings")) > 0)
			return json_object_get(r, "bindings");
	}
	return own;
}

int
on_api_run(struct call *c, struct err *err)
{
	json_t *migration = migration_of(c->api, entity_uuid(c->row));
	const json_t *bindings = bindings_now(c, migration);
	json_t *results = json_object();
	int rc = check_given(c, err);

	for (size_t i = 0; i < json_array_size(bindings) && rc == 0; i++)
		rc = run_binding(c, json_array_get(bindings, i), results, err);
	json_decref(migration);
	if (rc != 0) {
		json_decref(results);
		return rc;
	}
	return call_data(c, json_pack("{s:o}", "results", results), err);
}
