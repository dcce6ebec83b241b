/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_api.c: method, target and body of a request, up to the handler.
 * Sources: src/control/api/router.c src/control/api/shape.c src/control/api/params.c src/control/api/queries.c src/engine/postgres/sql_scan.c src/control/store/uuid.c
 * Libraries: -ljansson
 *
 * Input: "METHOD TARGET\n" and the body. The router finds the row, the body is
 * parsed and checked by the row's shape; what passed must pass again unchanged.
 * Templates and their parameters go on to the binding.
 */
#include <stdlib.h>

#include "base/check.h"
#include "control/api/params.h"
#include "control/api/queries.h"
#include "control/api/router.h"
#include "control/api/shape.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* Its own text again: canonical is canonical. */
static void
check_again(const char *shape, json_t *body)
{
	json_t *copy = json_deep_copy(body);
	char param[SHAPE_PARAM];
	struct err err;
	int rc = shape_check(shape, copy, param, &err);

	ENSURE(rc == 0);
	ENSURE(json_equal(copy, body));
	json_decref(copy);
}

static void
bind(const json_t *commands, const json_t *fields, const json_t *given)
{
	char param[SHAPE_PARAM];
	json_t *texts = NULL;
	struct err err;

	if (params_check(fields, given, &texts, param, &err) != 0)
		return;
	for (size_t i = 0; i < json_array_size(commands); i++) {
		const json_t *command = json_array_get(commands, i);
		json_t *argv = params_bind(command, texts, &err);

		/* A parameter is never another argument, nor a name. */
		if (argv != NULL) {
			ENSURE(json_array_size(argv) ==
			       json_array_size(command));
			ENSURE(json_equal(json_array_get(argv, 0),
			                  json_array_get(command, 0)));
		}
		json_decref(argv);
	}
	json_decref(texts);
}

/* What is sent beside the text is what was given, place by place; the text has no place
 * of its own left, and stays what was scanned. */
static void
bind_queries(const json_t *commands, const json_t *fields, const json_t *given)
{
	char param[SHAPE_PARAM];
	json_t *texts = NULL;
	json_t *bound;
	struct err err;

	if (params_check(fields, given, &texts, param, &err) != 0)
		return;
	bound = queries_bind(commands, texts, &err);
	ENSURE(json_array_size(bound) == json_array_size(commands));
	for (size_t i = 0; i < json_array_size(bound); i++) {
		const json_t *from = json_array_get(commands, i);
		const json_t *query = json_array_get(bound, i);
		const json_t *text = json_array_get(query, 0);

		ENSURE(json_array_size(query) == json_array_size(from));
		ENSURE(json_equal(text, json_array_get(from, 0)));
		for (size_t k = 1; k < json_array_size(query); k++) {
			const json_t *v = json_array_get(query, k);

			ENSURE(json_is_null(v) || json_is_string(v));
		}
	}
	json_decref(bound);
	json_decref(texts);
}

/* What somebody would give who wants to break out. */
static json_t *
evil(const json_t *fields)
{
	json_t *ret = json_object();

	for (size_t i = 0; i < json_array_size(fields); i++)
		(void)json_object_set_new(
			ret,
			json_string_value(json_object_get(
				json_array_get(fields, i), "name")),
			json_string("\r\n$1\r\n{{x}}\" FLUSHALL"));
	return ret;
}

static void
try_template(const json_t *body)
{
	json_t *given;
	struct err err;
	const json_t *text = json_object_get(body, "template");
	bool is_sql = queries_are(text);
	json_t *made = is_sql ? queries_commands(text, &err)
	                      : params_commands(text, &err);
	json_t *commands = json_object_get(made, "commands");
	json_t *fields = json_deep_copy(json_object_get(body, "fields"));

	if (fields == NULL)
		fields = json_array();
	given = evil(fields);
	if (made != NULL && params_declare(commands, fields, &err) == 0) {
		if (is_sql)
			bind_queries(commands, fields, given);
		else
			bind(commands, fields, given);
	}
	json_decref(given);
	json_decref(fields);
	json_decref(made);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const uint8_t *end = memchr(p, '\n', n);
	const uint8_t *space =
		end != NULL ? memchr(p, ' ', (size_t)(end - p)) : NULL;
	struct router_match m;
	char method[16];
	char param[SHAPE_PARAM];
	struct span path;
	struct err err;
	json_t *body;
	size_t k;

	if (space == NULL || (size_t)(space - p) >= sizeof(method))
		return 0;
	k = (size_t)(space - p);
	memcpy(method, p, k);
	method[k] = '\0';
	path = span_of(space + 1, (size_t)(end - space) - 1);
	if (router_find(method, path, &m, &err) != 0) {
		ENSURE(err.code == ERR_BAD || err.code == ERR_MISSING ||
		       err.code == ERR_METHOD);
		return 0;
	}
	body = shape_parse(span_of(end + 1, n - (size_t)(end - p) - 1), &err);
	if (body == NULL)
		return 0;
	if (strcmp(router_rows[m.id].body, "NONE") != 0 &&
	    shape_check(router_rows[m.id].body, body, param, &err) == 0) {
		check_again(router_rows[m.id].body, body);
		if (m.id == ROUTE_template_create)
			try_template(body);
	}
	json_decref(body);
	return 0;
}
