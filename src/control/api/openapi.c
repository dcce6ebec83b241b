/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/openapi.c: the API's description, made from tables/.
 */
#define _DEFAULT_SOURCE
#include "control/api/openapi.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "control/api/router.h"
#include "control/api/shape.h"

/* ---- schemas ------------------------------------------------------------------ */

static json_t *
ref(const char *shape)
{
	return json_pack("{s:o}", "$ref",
	                 json_sprintf("#/components/schemas/%s", shape));
}

static json_t *
typed(const char *type)
{
	return json_pack("{s:s}", "type", type);
}

/* A word of a table: a shape, or a plain type. */
static json_t *
word(const char *of)
{
	if (strcmp(of, "any") == 0)
		return json_object();
	if (strcmp(of, "text") == 0)
		return typed("string");
	if (strcmp(of, "text[]") == 0)
		return json_pack("{s:s,s:{s:s}}", "type", "array", "items",
		                 "type", "string");
	if (strcmp(of, "boolean") == 0 || strcmp(of, "integer") == 0 ||
	    strcmp(of, "number") == 0)
		return typed(of);
	return ref(of);
}

/* "a|b": the schemas of a and b in a list. */
static json_t *
words(const char *of)
{
	json_t *list = json_array();
	char one[64];

	for (const char *p = of;; p++) {
		size_t n = strcspn(p, "|");

		REQUIRE(n < sizeof(one));
		memcpy(one, p, n);
		one[n] = '\0';
		(void)json_array_append_new(list, word(one));
		p += n;
		if (*p == '\0')
			return list;
	}
}

/* A member of a list or map. */
static json_t *
member(const char *of)
{
	return strchr(of, '|') == NULL ? word(of)
	                               : json_pack("{s:o}", "anyOf", words(of));
}

static void
set_range(json_t *s, const char *low, const char *high,
          const struct shape_field *f)
{
	if (f->low == 0 && f->high == 0)
		return;
	(void)json_object_set_new(s, low, json_integer(f->low));
	if (f->high > 0)
		(void)json_object_set_new(s, high, json_integer(f->high));
}

static json_t *
choices(const char *all)
{
	json_t *list = json_array();

	for (const char *p = all;;) {
		size_t n = strcspn(p, "|");

		(void)json_array_append_new(list, json_stringn(p, n));
		if (p[n] == '\0')
			break;
		p += n + 1;
	}
	return json_pack("{s:s,s:o}", "type", "string", "enum", list);
}

static json_t *
text_schema(const struct shape_field *f)
{
	json_t *s = typed("string");

	switch ((int)f->kind) {
	case SHAPE_ID:
		(void)json_object_set_new(
			s, "pattern", json_string("^[A-Za-z0-9_.-]{1,64}$"));
		break;
	case SHAPE_UUID:
		(void)json_object_set_new(s, "format", json_string("uuid"));
		break;
	case SHAPE_TIME:
		(void)json_object_set_new(s, "format",
		                          json_string("date-time"));
		break;
	default: set_range(s, "minLength", "maxLength", f); break;
	}
	return s;
}

/* The canonical form; what is spelled in other ways has no `type`: a name alone,
 * {"Name":{..}}, the fields that a patch changes. */
static json_t *
spec_schema(const char *of)
{
	return json_pack("{s:[o,{s:s,s:{s:[s]}},{s:[s,s]}]}", "anyOf", ref(of),
	                 "type", "object", "not", "required", "type", "type",
	                 "string", "null");
}

/* Without null and description. */
static json_t *
plain_schema(const struct shape_field *f)
{
	json_t *s;

	switch (f->kind) {
	case SHAPE_TEXT:
	case SHAPE_ID:
	case SHAPE_UUID:
	case SHAPE_TIME: return text_schema(f);
	case SHAPE_INTEGER:
	case SHAPE_NUMBER:
		s = typed(f->kind == SHAPE_INTEGER ? "integer" : "number");
		set_range(s, "minimum", "maximum", f);
		return s;
	case SHAPE_BOOLEAN: return typed("boolean");
	case SHAPE_CHOICE: return choices(f->of);
	case SHAPE_OBJECT: return typed("object");
	case SHAPE_REF: return ref(f->of);
	case SHAPE_LIST:
		s = json_pack("{s:s,s:o}", "type", "array", "items",
		              member(f->of));
		set_range(s, "minItems", "maxItems", f);
		return s;
	case SHAPE_MAP:
		return json_pack("{s:s,s:o}", "type", "object",
		                 "additionalProperties", member(f->of));
	case SHAPE_ANY: return json_object();
	case SHAPE_ONE: return json_pack("{s:o}", "anyOf", words(f->of));
	case SHAPE_SPEC: return spec_schema(f->of);
	}
	NEVER("a shape without a kind");
}

static json_t *
field_schema(const struct shape_field *f)
{
	json_t *s = plain_schema(f);

	if (f->need == SHAPE_NULL && f->kind != SHAPE_ANY &&
	    f->kind != SHAPE_SPEC)
		s = json_pack("{s:[o,o]}", "anyOf", s, typed("null"));
	(void)json_object_set_new(s, "description", json_string(f->help));
	return s;
}

/* One of other shapes, told by their type. */
static json_t *
one_of_schema(const struct shape_field *f)
{
	return json_pack("{s:o,s:{s:s},s:s}", "oneOf", words(f->of),
	                 "discriminator", "propertyName", "type", "description",
	                 f->help);
}

static json_t *
shape_schema(const struct shape_field *row, size_t n)
{
	json_t *properties;
	json_t *required;
	bool is_open = false;
	json_t *s;

	if (strcmp(row->name, "one_of") == 0)
		return one_of_schema(row);
	properties = json_object();
	required = json_array();
	for (size_t i = 0; i < n; i++) {
		if (strcmp(row[i].name, "any_other") == 0) {
			is_open = true;
			continue;
		}
		(void)json_object_set_new(properties, row[i].name,
		                          field_schema(&row[i]));
		if (row[i].need == SHAPE_MUST)
			(void)json_array_append_new(required,
			                            json_string(row[i].name));
	}
	s = json_pack("{s:s,s:o,s:b}", "type", "object", "properties",
	              properties, "additionalProperties", is_open);
	if (json_array_size(required) > 0)
		(void)json_object_set(s, "required", required);
	json_decref(required);
	return s;
}

static json_t *
schemas(void)
{
	json_t *ret = json_object();
	size_t n = 1;

	for (size_t i = 0; i < shape_field_n; i += n) {
		const struct shape_field *row =
			shape_find(shape_fields[i].shape, &n);

		(void)json_object_set_new(ret, row->shape,
		                          shape_schema(row, n));
	}
	(void)json_object_set_new(
		ret, "error",
		json_pack("{s:s,s:[s,s,s,s,s],s:{s:{s:s},s:{s:s},s:{s:s},s:{s:"
	                  "[s,s]},s:{s:s}},s:b}",
	                  "type", "object", "required", "status", "error",
	                  "message", "param", "request_id", "properties",
	                  "status", "const", "error", "error", "type", "string",
	                  "message", "type", "string", "param", "type",
	                  "string", "null", "request_id", "type", "string",
	                  "additionalProperties", 0));
	return ret;
}

/* ---- one call ------------------------------------------------------------------- */

static json_t *
parameter(const char *name, const char *in, bool required, json_t *schema,
          const char *help)
{
	return json_pack("{s:s,s:s,s:b,s:o,s:s}", "name", name, "in", in,
	                 "required", required, "schema", schema, "description",
	                 help);
}

static void
path_parameters(const struct router_row *r, json_t *list)
{
	for (const char *p = strchr(r->path, '{'); p != NULL;
	     p = strchr(p + 1, '{')) {
		char name[32];

		(void)snprintf(name, sizeof(name), "%.*s",
		               (int)strcspn(p + 1, "}"), p + 1);
		(void)json_array_append_new(list, parameter(name, "path", true,
		                                            typed("string"),
		                                            "An id or a uuid"));
	}
}

static void
query_parameters(const struct router_row *r, json_t *list)
{
	if (router_has(r, 'P')) {
		(void)json_array_append_new(
			list,
			parameter("limit", "query", false,
		                  json_pack("{s:s,s:i,s:i}", "type", "integer",
		                            "minimum", 1, "maximum", 1000),
		                  "At most so many; 100"));
		(void)json_array_append_new(
			list,
			parameter("after", "query", false, typed("string"),
		                  "next of the page before"));
	}
	if (router_has(r, 'D'))
		(void)json_array_append_new(
			list,
			parameter("dry_run", "query", false, typed("boolean"),
		                  "The same checks and answer, no "
		                  "effect"));
	if (router_has(r, 'I'))
		(void)json_array_append_new(
			list, parameter("Idempotency-Key", "header", false,
		                        typed("string"),
		                        "The same answer for a day"));
	if (router_has(r, 'E') && router_is_mutation(r))
		(void)json_array_append_new(
			list,
			parameter("If-Match", "header", false, typed("string"),
		                  "An ETag; 412 when it is another"));
	if (router_has(r, 'S')) {
		(void)json_array_append_new(
			list, parameter("migration", "query", false,
		                        typed("string"), "Only of this one"));
		(void)json_array_append_new(
			list,
			parameter("follow", "query", false, typed("boolean"),
		                  "false: end at the newest event"));
		(void)json_array_append_new(
			list,
			parameter("Last-Event-ID", "header", false,
		                  typed("string"), "Go on after this event"));
	}
}

static json_t *
content(const char *type, json_t *schema)
{
	return json_pack("{s:{s:o}}", type, "schema", schema);
}

static json_t *
data_schema(const struct router_row *r)
{
	if (strcmp(r->answer, "any_object") == 0)
		return typed("object");
	if (router_has(r, 'L'))
		return json_pack("{s:s,s:o}", "type", "array", "items",
		                 ref(r->answer));
	return ref(r->answer);
}

static json_t *
answer_schema(const struct router_row *r)
{
	json_t *s;

	if (router_has(r, 'R'))
		return typed("object");
	s = json_pack("{s:s,s:[s,s,s],s:{s:{s:s},s:o,s:{s:s}},s:b}", "type",
	              "object", "required", "status", "data", "request_id",
	              "properties", "status", "const", "success", "data",
	              data_schema(r), "request_id", "type", "string",
	              "additionalProperties", 0);
	if (router_has(r, 'L'))
		(void)json_object_set_new(
			json_object_get(s, "properties"), "next",
			json_pack("{s:[s,s]}", "type", "string", "null"));
	return s;
}

static json_t *
responses(const struct router_row *r)
{
	bool is_text = strcmp(r->answer, "text") == 0;
	json_t *ok = json_pack(
		"{s:s,s:o}", "description", "Done", "content",
		is_text ? content(router_has(r, 'S') ? "text/event-stream"
	                                             : "text/plain",
	                          typed("string"))
			: content("application/json", answer_schema(r)));
	json_t *ret =
		json_pack("{s:{s:s,s:o}}", "default", "description",
	                  "Refused or failed; error names the code of err.md",
	                  "content", content("application/json", ref("error")));
	char status[8];

	(void)snprintf(status, sizeof(status), "%d", r->status);
	(void)json_object_set(ret, status, ok);
	if (router_has(r, 'W'))
		(void)json_object_set(ret, r->status == 200 ? "202" : "200",
		                      ok);
	if (strcmp(r->name, "readyz") == 0)
		(void)json_object_set(ret, "503", ok);
	json_decref(ok);
	return ret;
}

/* "endpoints" of "/api/v1/endpoints/{endpoint}". */
static json_t *
tag(const struct router_row *r)
{
	const char *p = r->path + 1;

	if (strncmp(p, "api/v1/", 7) == 0)
		p += 7;
	return json_stringn(p, strcspn(p, "/"));
}

static json_t *
operation(const struct router_row *r)
{
	static const char *const roles[] = {
		[ROUTE_OPEN] = "no token", [ROUTE_SELF] = "any token",
		[ROUTE_READ] = "read",     [ROUTE_WRITE] = "write",
		[ROUTE_ADMIN] = "admin",
	};
	json_t *parameters = json_array();
	json_t *ret;

	path_parameters(r, parameters);
	query_parameters(r, parameters);
	ret = json_pack(
		"{s:s,s:s,s:o,s:[o],s:o,s:o,s:o}", "operationId", r->name,
		"summary", r->summary, "description",
		json_sprintf("Role: %s.", roles[r->role]), "tags", tag(r),
		"parameters", parameters, "responses", responses(r), "security",
		r->role == ROUTE_OPEN ? json_array()
				      : json_pack("[{s:[]}]", "bearer"));
	if (strcmp(r->body, "NONE") != 0 && strcmp(r->body, "empty") != 0)
		(void)json_object_set_new(
			ret, "requestBody",
			json_pack("{s:b,s:o}", "required", 0, "content",
		                  content("application/json",
		                          strcmp(r->body, "any_object") == 0
		                                  ? typed("object")
		                                  : ref(r->body))));
	return ret;
}

static json_t *
paths(void)
{
	json_t *ret = json_object();

	for (unsigned i = 0; i < ROUTE_N; i++) {
		json_t *path = json_object_get(ret, router_rows[i].path);
		char method[16];
		size_t n = strlen(router_rows[i].method);

		if (path == NULL) {
			path = json_object();
			(void)json_object_set_new(ret, router_rows[i].path,
			                          path);
		}
		for (size_t k = 0; k <= n && k < sizeof(method); k++)
			method[k] = shape_lower(router_rows[i].method[k]);
		(void)json_object_set_new(path, method,
		                          operation(&router_rows[i]));
	}
	return ret;
}

char *
openapi_text(const char *version)
{
	json_t *all = json_pack(
		"{s:s,s:{s:s,s:s,s:s,s:{s:s,s:s}},s:o,s:{s:o,s:{s:{s:s,s:s}}}}",
		"openapi", "3.1.0", "info", "title", "Godwit", "version",
		version, "description",
		"Moves a live service, its traffic and its data, from an old "
		"system to a new one.",
		"license", "name", "Apache-2.0", "identifier", "Apache-2.0",
		"paths", paths(), "components", "schemas", schemas(),
		"securitySchemes", "bearer", "type", "http", "scheme",
		"bearer");
	char *text = all != NULL ? json_dumps(all, JSON_COMPACT) : NULL;

	json_decref(all);
	return text;
}
