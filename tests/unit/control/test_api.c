/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/control/test_api.c: router, shapes, parameters: without a daemon.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>

#include "control/api/params.h"
#include "control/api/queries.h"
#include "control/api/router.h"
#include "control/api/shape.h"

/* ---- the tables --------------------------------------------------------------- */

static bool
is_shape(const char *name)
{
	static const char *const plain[] = { "NONE",   "empty",   "any_object",
		                             "text",   "any",     "integer",
		                             "number", "boolean", "text[]" };
	size_t n;

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (strcmp(plain[i], name) == 0)
			return true;
	}
	return shape_find(name, &n) != NULL;
}

/* "a|b" */
static bool
are_shapes(const char *all)
{
	char text[512];
	char *rest = NULL;

	(void)snprintf(text, sizeof(text), "%s", all);
	for (char *w = strtok_r(text, "|", &rest); w != NULL;
	     w = strtok_r(NULL, "|", &rest)) {
		if (!is_shape(w))
			return false;
	}
	return true;
}

static void
tables_fit_each_other(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUTE_N; i++) {
		assert_true(is_shape(router_rows[i].body));
		assert_true(is_shape(router_rows[i].answer));
		assert_int_equal(router_rows[i].path[0], '/');
	}
	for (size_t i = 0; i < shape_field_n; i++) {
		const struct shape_field *f = &shape_fields[i];
		size_t n;

		if (f->kind == SHAPE_REF || f->kind == SHAPE_LIST ||
		    f->kind == SHAPE_MAP || f->kind == SHAPE_ONE)
			assert_true(are_shapes(f->of));
		/* The rows of a shape stand together. */
		assert_non_null(shape_find(f->shape, &n));
		assert_true(f >= shape_find(f->shape, &n) &&
		            f < shape_find(f->shape, &n) + n);
	}
}

/* Each row is found by its own path, with its places filled. */
static void
every_route_is_reached(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUTE_N; i++) {
		struct router_match m;
		struct err err;
		char path[256];
		size_t n = 0;

		for (const char *p = router_rows[i].path; *p != '\0'; p++) {
			if (*p == '{') {
				path[n++] = 'x';
				p = strchr(p, '}');
			} else {
				path[n++] = *p;
			}
		}
		assert_int_equal(router_find(router_rows[i].method,
		                             span_of(path, n), &m, &err),
		                 0);
		assert_int_equal(m.id, i);
		for (uint32_t k = 0; k < m.arg_n; k++)
			assert_string_equal(m.arg[k], "x");
	}
}

static int
find(const char *method, const char *path, struct router_match *m)
{
	struct err err;

	return router_find(method, span_str(path), m, &err);
}

static void
paths_are_decoded_once(void **state)
{
	struct router_match m;

	(void)state;
	assert_int_equal(find("GET", "/api/v1/endpoints/%61%2fb%25", &m), 0);
	assert_string_equal(m.arg[0], "a/b%");
	assert_int_equal(find("HEAD", "/api/v1/endpoints", &m), 0);
	assert_int_equal(find("PUT", "/api/v1/endpoints", &m), -ERR_METHOD);
	assert_non_null(strstr(m.allow, "GET"));
	assert_non_null(strstr(m.allow, "POST"));
	assert_int_equal(find("GET", "/api/v1/endpoints/%", &m), -ERR_BAD);
	assert_int_equal(find("GET", "/api/v1/endpoints/%4", &m), -ERR_BAD);
	assert_int_equal(find("GET", "/api/v1/endpoints/%00", &m), -ERR_BAD);
	assert_int_equal(find("GET", "/api/v1/endpoints/", &m), -ERR_MISSING);
	assert_int_equal(find("GET", "", &m), -ERR_MISSING);
	assert_int_equal(find("GET", "/", &m), -ERR_MISSING);
	assert_int_equal(find("GET", "api/v1/endpoints", &m), -ERR_MISSING);
	assert_int_equal(find("GET", "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o", &m),
	                 -ERR_MISSING);
}

/* ---- shapes -------------------------------------------------------------------- */

static int
check(const char *shape, const char *text, char *param, json_t **ret)
{
	struct err err;

	*ret = shape_parse(span_str(text), &err);
	if (*ret == NULL)
		return -ERR_BAD;
	return shape_check(shape, *ret, param, &err);
}

static void
refused(const char *shape, const char *text, const char *want)
{
	char param[SHAPE_PARAM] = "";
	json_t *body;

	assert_int_equal(check(shape, text, param, &body), -ERR_BAD);
	assert_string_equal(param, want);
	json_decref(body);
}

static void
spelling_becomes_canonical(void **state)
{
	char param[SHAPE_PARAM];
	json_t *body;
	json_t *want;

	(void)state;
	assert_int_equal(check("token_in",
	                       "{\"Id\":\"a\",\"Role\":\"SuperAdmin\","
	                       "\"ExpiresInS\":7}",
	                       param, &body),
	                 0);
	want = json_pack("{s:s,s:s,s:i}", "id", "a", "role", "super_admin",
	                 "expires_in_s", 7);
	assert_true(json_equal(body, want));
	json_decref(body);
	json_decref(want);
}

static void
snake(const char *from, const char *want)
{
	char ret[64];

	assert_true(shape_snake(from, ret, sizeof(ret)));
	assert_string_equal(ret, want);
}

static void
names_become_snakes(void **state)
{
	char ret[4];

	(void)state;
	snake("ReadPercentage", "read_percentage");
	snake("read_percentage", "read_percentage");
	snake("URL", "url");
	snake("TLSConfig", "tls_config");
	snake("us-east-1", "us_east_1");
	snake("", "");
	assert_false(shape_snake("abcdef", ret, sizeof(ret)));
}

static void
content_is_strict(void **state)
{
	(void)state;
	refused("token_in", "{\"role\":\"read\"}", "id");
	refused("token_in", "{\"id\":\"a\",\"role\":\"king\"}", "role");
	refused("token_in", "{\"id\":\"a\",\"role\":\"read\",\"x\":1}", "x");
	refused("token_in",
	        "{\"id\":\"a\",\"role\":\"read\",\"expires_in_s\":0}",
	        "expires_in_s");
	refused("token_in",
	        "{\"id\":\"a\",\"role\":\"read\",\"expires_in_s\":1.5}",
	        "expires_in_s");
	refused("token_in",
	        "{\"id\":\"a\",\"role\":\"read\",\"expires_at\":\"soon\"}",
	        "expires_at");
	refused("token_in", "{\"id\":\"a\",\"Id\":\"b\",\"role\":\"read\"}",
	        "Id");
	refused("endpoint_in", "{\"id\":\"a\",\"config\":{\"port\":0}}",
	        "config.port");
	refused("endpoint_in", "{\"id\":\"a\",\"config\":[]}", "config");
	refused("template_in",
	        "{\"id\":\"a\",\"endpoint\":\"e\",\"kind\":\"read\","
	        "\"template\":{\"args\":[\"x\",1]}}",
	        "template.args[1]");
	refused("traffic_in", "{\"read_percentage\":1.01}", "read_percentage");
	refused("toggle_in", "{\"activate_new\":\"yes\"}", "activate_new");
	refused("toggle_in", "{\"activate_new\":null}", "activate_new");
	refused("empty", "{\"a\":1}", "");
}

/* Brackets inside texts do not count, and the bound itself is allowed. */
static void
depth_is_bounded(void **state)
{
	char text[SHAPE_DEPTH * 2 + 8];
	struct err err;
	json_t *body;

	(void)state;
	for (int depth = SHAPE_DEPTH; depth <= SHAPE_DEPTH + 1; depth++) {
		memset(text, '[', (size_t)depth);
		memset(text + depth, ']', (size_t)depth);
		text[2 * depth] = '\0';
		body = shape_parse(span_str(text), &err);
		assert_int_equal(body != NULL, depth <= SHAPE_DEPTH);
		json_decref(body);
	}
	body = shape_parse(span_str("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\""
	                            "[[[[\"]"),
	                   &err);
	assert_non_null(body);
	json_decref(body);
}

/* ---- parameters ------------------------------------------------------------------ */

static json_t *
bound(const char *command, const char *value)
{
	struct err err;
	json_t *template =
		json_pack("{s:o}", "command", json_loads(command, 0, NULL));
	json_t *made = params_commands(template, &err);
	json_t *fields = json_array();
	json_t *given = json_pack("{s:s}", "x", value);
	json_t *texts = NULL;
	json_t *ret = NULL;
	char param[SHAPE_PARAM];
	const json_t *commands = json_object_get(made, "commands");

	assert_int_equal(params_declare(commands, fields, &err), 0);
	assert_int_equal(params_check(fields, given, &texts, param, &err), 0);
	ret = params_bind(json_array_get(commands, 0), texts, &err);
	json_decref(template);
	json_decref(made);
	json_decref(fields);
	json_decref(given);
	json_decref(texts);
	return ret;
}

static void
a_parameter_stays_in_its_argument(void **state)
{
	static const char *const values[] = {
		"", "a b", "\r\n$4\r\nPING\r\n", "{{x}}", "}}{{", "\"]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		json_t *argv = bound("[\"SET\",\"k:{{x}}:{{x}}\",\"{{x}}\"]",
		                     values[i]);
		char want[128];

		(void)snprintf(want, sizeof(want), "k:%s:%s", values[i],
		               values[i]);
		assert_int_equal(json_array_size(argv), 3);
		assert_string_equal(json_string_value(json_array_get(argv, 0)),
		                    "SET");
		assert_string_equal(json_string_value(json_array_get(argv, 1)),
		                    want);
		assert_string_equal(json_string_value(json_array_get(argv, 2)),
		                    values[i]);
		json_decref(argv);
	}
}

/* ---- queries --------------------------------------------------------------------- */

static json_t *
query(const char *text)
{
	struct err err;
	json_t *template = json_pack("{s:s}", "query", text);
	json_t *ret = queries_commands(template, &err);

	json_decref(template);
	return ret;
}

static void
a_place_becomes_a_parameter(void **state)
{
	struct err err;
	json_t *made = query("SELECT '$9' || {{a}}::text, {{b}}, {{a}} "
	                     "/* it's */ -- $");
	json_t *want = json_loads(
		"[[\"SELECT '$9' ||  $1 ::text,  $2 ,  $3  /* it's */ -- $\","
		"\"{{a}}\",\"{{b}}\",\"{{a}}\"]]",
		0, NULL);
	json_t *texts = json_pack("{s:s}", "a", "'; DROP TABLE t; --");
	json_t *bound;

	(void)state;
	assert_true(json_equal(json_object_get(made, "commands"), want));
	bound = queries_bind(want, texts, &err);
	assert_int_equal(json_array_size(json_array_get(bound, 0)), 4);
	assert_string_equal(
		json_string_value(json_array_get(json_array_get(bound, 0), 1)),
		"'; DROP TABLE t; --");
	assert_true(json_is_null(json_array_get(json_array_get(bound, 0), 2)));
	json_decref(bound);
	json_decref(texts);
	json_decref(want);
	json_decref(made);
}

static void
a_place_in_quotes_is_refused(void **state)
{
	static const char *const texts[] = {
		"SELECT '{{a}}'",
		"SELECT \"{{a}}\"",
		"SELECT 1 -- {{a}}",
		"SELECT /* /* */ {{a}} */ 1",
		"SELECT $x$ {{a}} $x$",
		"SELECT E'\\'', {{a}}, ''",
		"SELECT '\\', {{a}}, ''",
		"SELECT 'it''s {{a}}'",
		"SELECT 'open {{a}}",
		"SELECT $1",
		"SELECT {{a}}, $2",
		"SELECT $2, {{a}}",
		"COMMIT",
		"  /* x */ rollback",
		"EXECUTE s({{a}})",
		"",
		"  ",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		json_t *made = query(texts[i]);

		if (made != NULL)
			fail_msg("taken: %s", texts[i]);
		json_decref(made);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_fit_each_other),
		cmocka_unit_test(every_route_is_reached),
		cmocka_unit_test(paths_are_decoded_once),
		cmocka_unit_test(spelling_becomes_canonical),
		cmocka_unit_test(names_become_snakes),
		cmocka_unit_test(content_is_strict),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(a_parameter_stays_in_its_argument),
		cmocka_unit_test(a_place_becomes_a_parameter),
		cmocka_unit_test(a_place_in_quotes_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
