/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/queries.c: the queries of a template of PostgreSQL.
 */
#define _DEFAULT_SOURCE
#include "control/api/queries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/api/params.h"
#include "engine/postgres/sql_scan.h"

#define QUERIES_MAX 64
#define PLACES_MAX  256
#define TEXT_MAX    65536

/* They would end the transaction that a template is, or bring a text that nobody
 * scanned. */
#define REFUSED_WORDS                                                   \
	" begin start commit end rollback abort savepoint release copy" \
	" prepare execute deallocate "

bool
queries_are(const json_t *template)
{
	return json_object_get(template, "query") != NULL ||
	       json_object_get(template, "queries") != NULL;
}

/* ---- places -------------------------------------------------------------------- */

/* Are the parameters of the text these n, in their order, each a token by itself? And
 * is it one statement of those that a template may say? */
static int
check_text(const char *text, unsigned n, struct err *err)
{
	struct sql_scan s;
	struct sql_token t;
	unsigned seen = 0;
	bool is_first = true;
	char want[16];

	/* What stands behind a backslash depends on settings. */
	if (!sql_scan_init(&s, span_of(text, strcspn(text, "\\"))))
		return err_set(err, ERR_BAD, "template: a query is a text");
	for (sql_scan_next(&s, &t); t.kind != SQL_END && t.kind != SQL_UNSURE;
	     sql_scan_next(&s, &t)) {
		if (is_first && t.kind == SQL_NAME && !t.is_quoted &&
		    sql_token_is(&t, REFUSED_WORDS))
			return err_set(err, ERR_BAD,
			               "template: %.40s is not for a template, "
			               "which is a transaction by itself",
			               t.name);
		is_first = false;
		if (t.kind != SQL_VALUE || t.text.n == 0 || t.text.p[0] != '$')
			continue;
		(void)snprintf(want, sizeof(want), "$%u", ++seen);
		if (t.text.n != strlen(want) ||
		    memcmp(t.text.p, want, t.text.n) != 0)
			return err_set(err, ERR_BAD,
			               "template: write {{name}} in the place "
			               "of %.*s",
			               (int)t.text.n, (const char *)t.text.p);
	}
	if (is_first)
		return err_set(err, ERR_BAD, "template: a query is empty");
	if (seen == n)
		return 0;
	return err_set(err, ERR_BAD,
	               t.kind == SQL_END && strchr(text, '\\') == NULL
	                       ? "template: a {{name}} stands in quotes or in "
	                         "a remark: write it alone, where a value may "
	                         "stand"
	                       : "template: it cannot be told what stands in "
	                         "quotes behind a backslash or a dollar quote; "
	                         "write {{name}} before it, or give the text "
	                         "as a parameter");
}

/* One query as ["SELECT $1", "{{name}}"] (new reference). */
static json_t *
read_query(const json_t *query, struct err *err)
{
	const char *text = json_string_value(query);
	const char *at = text;
	json_t *ret;
	char *made = NULL;
	size_t size = 0;
	unsigned n = 0;
	FILE *f;

	if (text == NULL || json_string_length(query) > TEXT_MAX ||
	    strlen(text) != json_string_length(query)) {
		(void)err_set(err, ERR_BAD,
		              "template: a query is a text of at most %d bytes",
		              TEXT_MAX);
		return NULL;
	}
	f = open_memstream(&made, &size);
	if (f == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	ret = json_pack("[s]", "");
	for (const char *open; (open = strstr(at, "{{")) != NULL;) {
		const char *close = strstr(open, "}}");

		if (close == NULL)
			break;
		/* A space on each side: a digit behind it is no part of it. */
		(void)fprintf(f, "%.*s $%u ", (int)(open - at), at, ++n);
		(void)json_array_append_new(
			ret, json_stringn(open, (size_t)(close + 2 - open)));
		at = close + 2;
	}
	(void)fputs(at, f);
	(void)fclose(f);
	err->code = ERR_NONE;
	if (n > PLACES_MAX)
		(void)err_set(err, ERR_BAD,
		              "template: a query has at most %d places",
		              PLACES_MAX);
	else if (check_text(made, n, err) == 0)
		(void)json_array_set_new(ret, 0, json_string(made));
	free(made);
	if (err->code == ERR_NONE)
		return ret;
	json_decref(ret);
	return NULL;
}

json_t *
queries_commands(const json_t *template, struct err *err)
{
	json_t *one = json_object_get(template, "query");
	json_t *all = json_object_get(template, "queries");
	json_t *list;
	size_t n = one != NULL ? 1 : json_array_size(all);

	if ((one == NULL) == (all == NULL) || n == 0 || n > QUERIES_MAX ||
	    json_object_get(template, "command") != NULL ||
	    json_object_get(template, "commands") != NULL) {
		(void)err_set(err, ERR_BAD,
		              "template: give query, or queries (1 to %d), "
		              "alone",
		              QUERIES_MAX);
		return NULL;
	}
	list = json_array();
	for (size_t i = 0; i < n; i++) {
		json_t *q = read_query(
			one != NULL ? one : json_array_get(all, i), err);

		if (q == NULL) {
			json_decref(list);
			return NULL;
		}
		(void)json_array_append_new(list, q);
	}
	return json_pack("{s:o}", "commands", list);
}

/* ---- values --------------------------------------------------------------------- */

/* "{{name}}" */
static json_t *
value_of(const json_t *place, const json_t *texts)
{
	const char *text = json_string_value(place);
	json_t *name = json_stringn(text + 2, json_string_length(place) - 4);
	json_t *ret = json_object_get(texts, json_string_value(name));

	json_decref(name);
	return ret != NULL ? json_incref(ret) : json_null();
}

json_t *
queries_bind(const json_t *commands, const json_t *texts, struct err *err)
{
	json_t *ret = json_array();

	for (size_t i = 0; i < json_array_size(commands); i++) {
		const json_t *from = json_array_get(commands, i);
		json_t *query = json_array();

		(void)json_array_append(query, json_array_get(from, 0));
		for (size_t k = 1; k < json_array_size(from); k++) {
			json_t *v = value_of(json_array_get(from, k), texts);

			if (json_string_length(v) > PARAMS_ARGUMENT) {
				(void)err_set(err, ERR_BAD,
				              "a parameter is longer than %zu "
				              "bytes",
				              PARAMS_ARGUMENT);
				json_decref(v);
				json_decref(query);
				json_decref(ret);
				return NULL;
			}
			(void)json_array_append_new(query, v);
		}
		(void)json_array_append_new(ret, query);
	}
	return ret;
}
