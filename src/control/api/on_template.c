/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/on_template.c: parametrised operations on an endpoint.
 *
 * The body of a row: {"endpoint" (uuid),"kind","template" (as given),"commands",
 * "fields","description"}.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "control/api/params.h"
#include "control/api/queries.h"
#include "control/api/trail.h"

/* A transaction is one script: all its commands run, with nobody in between, or
 * (a command that is refused before it writes) none after the refusal. The text
 * never changes; the commands are arguments: "2 GET a 3 SET b c". */
static const char script[] =
	"local r,i={},1 while i<=#ARGV do local n=tonumber(ARGV[i]) local c={} "
	"for k=1,n do c[k]=ARGV[i+k] end r[#r+1]=redis.call(unpack(c)) "
	"i=i+n+1 end return r";

static json_t *
view(struct call *c, const json_t *row)
{
	static const char *const names[] = { "kind", "template", "fields",
		                             "description", NULL };
	json_t *ret = call_stamp(row);
	char endpoint[65];

	thing_id(c->api, entity_text(row, "endpoint"), endpoint);
	call_merge(ret, entity_body(row), names);
	(void)json_object_set_new(ret, "endpoint", json_string(endpoint));
	return ret;
}

bool
template_is_read(const json_t *row)
{
	return strcmp(entity_text(row, "kind"), "read") == 0;
}

/* ---- run --------------------------------------------------------------------- */

static int
append_command(json_t *argv, json_t *bound)
{
	json_t *n = json_sprintf("%zu", json_array_size(bound));
	int rc = json_array_append_new(argv, n);

	if (rc == 0)
		rc = json_array_extend(argv, bound);
	return rc;
}

/* Its text is one of PostgreSQL. */
static bool
is_sql(const json_t *row)
{
	return queries_are(json_object_get(entity_body(row), "template"));
}

static const char *
kind_of(const json_t *row)
{
	return is_sql(row) ? "postgres" : "redis";
}

/* All commands as the argv of one. */
static json_t *
make_argv(const json_t *row, const json_t *texts, struct err *err)
{
	const json_t *commands = json_object_get(entity_body(row), "commands");
	bool is_script = strcmp(entity_text(row, "kind"), "transaction") == 0;
	json_t *argv;

	if (is_sql(row))
		return queries_bind(commands, texts, err);
	if (!is_script)
		return params_bind(json_array_get(commands, 0), texts, err);
	argv = json_pack("[s,s,s]", "EVAL", script, "0");
	for (size_t i = 0; i < json_array_size(commands); i++) {
		json_t *bound =
			params_bind(json_array_get(commands, i), texts, err);

		if (bound == NULL || append_command(argv, bound) != 0) {
			json_decref(bound);
			json_decref(argv);
			return NULL;
		}
		json_decref(bound);
	}
	return argv;
}

int
template_call(struct api *a, const json_t *row, const json_t *params,
              const char *url, const char *migration, json_t **ret, char *param,
              struct err *err)
{
	json_t *texts = NULL;
	json_t *argv = NULL;
	json_t *where;
	int rc = params_check(json_object_get(entity_body(row), "fields"),
	                      params, &texts, param, err);

	if (rc != 0)
		return rc;
	argv = make_argv(row, texts, err);
	json_decref(texts);
	if (argv == NULL)
		return err->code != ERR_NONE
		               ? -(int)err->code
		               : err_set(err, ERR_NOMEM, "out of memory");
	where = json_pack("{s:s,s:s?}", "url", url, "migration", migration);
	if (a->host == NULL)
		rc = err_set(err, ERR_POSTPONED,
		             "Godwit is starting or stopping; try again");
	else if (is_sql(row))
		rc = host_query(a->host, where, argv, template_is_read(row),
		                ret, err);
	else
		rc = host_command(a->host, where, argv, template_is_read(row),
		                  ret, err);
	json_decref(where);
	json_decref(argv);
	return rc;
}

int
on_template_run(struct call *c, struct err *err)
{
	const char *endpoint = entity_text(c->row, "endpoint");
	json_t *migration;
	json_t *value = NULL;
	char *url;
	int rc = 0;

	if (!template_is_read(c->row))
		rc = auth_may(c->api->auth, &c->who, "templates",
		              entity_uuid(c->row), ROLE_WRITE, err);
	if (rc == 0 && !template_is_read(c->row))
		rc = trail_intend(c, err);
	if (rc != 0)
		return rc;
	url = endpoint_url_of(c->api, endpoint, err);
	if (url == NULL)
		return -(int)err->code;
	migration = migration_from(c->api, endpoint);
	rc = template_call(c->api, c->row, c->body, url,
	                   migration != NULL ? entity_uuid(migration) : NULL,
	                   &value, c->param, err);
	json_decref(migration);
	auth_wipe(url);
	if (rc != 0)
		return rc;
	return call_data(
		c,
		json_pack("{s:s,s:o}", "kind", kind_of(c->row), "value", value),
		err);
}

/* ---- calls ------------------------------------------------------------------- */

/* template, kind and fields of a body against each other; "commands" is made. */
static int
complete(struct call *c, json_t *body, struct err *err)
{
	const json_t *text = json_object_get(body, "template");
	const char *kind = call_text(body, "kind");
	json_t *made = queries_are(text) ? queries_commands(text, err)
	                                 : params_commands(text, err);
	json_t *commands = json_object_get(made, "commands");
	json_t *fields;
	int rc;

	(void)snprintf(c->param, sizeof(c->param), "template");
	if (made == NULL)
		return -(int)err->code;
	if (strcmp(kind, "transaction") != 0 &&
	    json_array_size(commands) != 1) {
		json_decref(made);
		return err_set(err, ERR_BAD,
		               "template: several of them need the kind "
		               "transaction");
	}
	fields = json_deep_copy(json_object_get(body, "fields"));
	if (fields == NULL)
		fields = json_array();
	rc = params_declare(commands, fields, err);
	(void)json_object_set(body, "commands", commands);
	(void)json_object_set_new(body, "fields", fields);
	json_decref(made);
	if (rc == 0)
		c->param[0] = '\0';
	return rc;
}

/* Commands are Redis', queries PostgreSQL's. */
static int
check_kind(struct call *c, const json_t *endpoint, const json_t *text,
           struct err *err)
{
	const char *kind = entity_text(endpoint, "kind");
	bool is_redis = kind == NULL || strcmp(kind, "redis") == 0;

	if (is_redis != queries_are(text))
		return 0;
	(void)snprintf(c->param, sizeof(c->param), "endpoint");
	return err_set(err, ERR_UNABLE,
	               is_redis ? "endpoint: it is a Redis; its templates have "
	                          "command or commands"
	                        : "endpoint: it is a PostgreSQL; its templates "
	                          "have query or queries");
}

static int
link_endpoint(struct call *c, const json_t *row, const char *endpoint,
              struct err *err)
{
	json_t *needs = json_pack("[s]", endpoint);
	int rc = entity_needs(c->api->store, row, needs, err);

	json_decref(needs);
	return rc;
}

int
on_template_create(struct call *c, struct err *err)
{
	static const char *const names[] = { "kind", "template", "fields",
		                             "description", NULL };
	json_t *endpoint =
		call_find(c, ENTITY_ENDPOINT, call_text(c->body, "endpoint"),
	                  "endpoint", err);
	json_t *body;
	json_t *row = NULL;
	json_t *needs;
	int rc;

	if (endpoint == NULL)
		return -(int)err->code;
	if (check_kind(c, endpoint, json_object_get(c->body, "template"),
	               err) != 0) {
		json_decref(endpoint);
		return -(int)err->code;
	}
	body = json_pack("{s:s}", "endpoint", entity_uuid(endpoint));
	json_decref(endpoint);
	call_merge(body, c->body, names);
	needs = json_pack("[O]", json_object_get(body, "endpoint"));
	rc = complete(c, body, err);
	if (rc == 0)
		row = call_add(c, ENTITY_TEMPLATE, body, needs, err);
	json_decref(needs);
	json_decref(body);
	return call_made(c, row, view, err);
}

CALL_READS(template, ENTITY_TEMPLATE, view)

static int
save(struct call *c, json_t *body, struct err *err)
{
	int rc = store_begin(c->api->store, err);

	if (rc != 0)
		return rc;
	rc = entity_set(c->api->store, c->row, body, err);
	if (rc == 0)
		rc = link_endpoint(c, c->row, call_text(body, "endpoint"), err);
	return store_end(c->api->store, rc, err);
}

int
on_template_patch(struct call *c, struct err *err)
{
	static const char *const names[] = { "kind", "template", "fields",
		                             "description", NULL };
	const char *id = call_text(c->body, "endpoint");
	json_t *body = json_deep_copy(entity_body(c->row));
	json_t *endpoint;
	int rc = call_match(c, c->row, err);

	/* Fields that were made from the old text go with it. */
	if (json_object_get(c->body, "template") != NULL)
		(void)json_object_del(body, "fields");
	call_merge(body, c->body, names);
	if (rc == 0) {
		endpoint =
			call_find(c, ENTITY_ENDPOINT,
		                  id != NULL ? id : call_text(body, "endpoint"),
		                  "endpoint", err);
		if (endpoint == NULL ||
		    check_kind(c, endpoint, json_object_get(body, "template"),
		               err) != 0)
			rc = -(int)err->code;
		else
			(void)json_object_set_new(
				body, "endpoint",
				json_string(entity_uuid(endpoint)));
		json_decref(endpoint);
	}
	if (rc == 0)
		rc = complete(c, body, err);
	if (rc == 0)
		rc = save(c, body, err);
	json_decref(body);
	return rc != 0 ? rc : call_row(c, c->row, view, err);
}

int
on_template_delete(struct call *c, struct err *err)
{
	int rc = call_match(c, c->row, err);

	return rc != 0 ? rc : call_delete(c, c->row, ENTITY_TEMPLATE, err);
}
