/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/query.c: queries of a template, and their typed answers.
 */
#define _DEFAULT_SOURCE
#include "control/postgres/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/limit.h"
#include "engine/postgres/relay/relay.h"
#include "world/os/loop.h"

#define SETTINGS   "-c bytea_output=hex"
#define NAME_BYTES 63 /* of a column, as the server cuts it */

/* Numbers of types, which are the same on all servers (pg_type.dat). */
enum pg_type {
	TYPE_BOOL = 16,
	TYPE_BYTEA = 17,
	TYPE_INT8 = 20,
	TYPE_INT2 = 21,
	TYPE_INT4 = 23,
	TYPE_OID = 26,
	TYPE_JSON = 114,
	TYPE_FLOAT4 = 700,
	TYPE_FLOAT8 = 701,
	TYPE_JSONB = 3802,
};

struct answer {
	json_t *rows; /* NULL: it has no columns */
	json_t *done; /* rows_affected           */
	size_t values;
	size_t bytes;
	bool is_long;
};

/* ---- values ------------------------------------------------------------------- */

static json_t *
hex_of(const char *bytes, size_t n)
{
	char *text = malloc(2 * n + 1);
	json_t *ret = NULL;

	for (size_t i = 0; text != NULL && i < n; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", (uint8_t)bytes[i]);
	if (text != NULL)
		ret = json_pack("{s:s%}", "hex", text, 2 * n);
	free(text);
	return ret;
}

static json_t *
text_of(const char *text, size_t n)
{
	json_t *ret = json_stringn(text, n);

	return ret != NULL ? ret : hex_of(text, n);
}

/* What no number of JSON is ("NaN", a tail) stays a text. */
static json_t *
number_of(const char *text, size_t n, bool is_real)
{
	char *end;
	double d;

	if (!is_real)
		return json_integer(strtoll(text, NULL, 10));
	d = strtod(text, &end);
	if (*end != '\0' || d - d != 0)
		return text_of(text, n);
	return json_real(d);
}

static json_t *
value_of(const PGresult *res, int column)
{
	const char *text = PQgetvalue(res, 0, column);
	size_t n = (size_t)PQgetlength(res, 0, column);
	json_t *ret = NULL;

	if (PQgetisnull(res, 0, column))
		return json_null();
	switch ((enum pg_type)PQftype(res, column)) {
	case TYPE_BOOL: return json_boolean(text[0] == 't');
	case TYPE_INT2:
	case TYPE_INT4:
	case TYPE_INT8:
	case TYPE_OID: return number_of(text, n, false);
	case TYPE_FLOAT4:
	case TYPE_FLOAT8: return number_of(text, n, true);
	case TYPE_BYTEA: /* bytea_output is ours: \x.. */
		return json_pack("{s:s}", "hex", n > 2 ? text + 2 : "");
	case TYPE_JSON:
	case TYPE_JSONB:
		ret = json_loadb(text, n, JSON_DECODE_ANY, NULL);
		break;
	}
	return ret != NULL ? ret : text_of(text, n);
}

/* ---- one query ------------------------------------------------------------------ */

static void
put_value(json_t *row, const char *name, json_t *value)
{
	char apart[NAME_BYTES + 16];

	if (json_object_get(row, name) == NULL) {
		(void)json_object_set_new(row, name, value);
		return;
	}
	for (unsigned i = 2;; i++) {
		(void)snprintf(apart, sizeof(apart), "%.*s_%u", NAME_BYTES,
		               name, i);
		if (json_object_get(row, apart) == NULL)
			break;
	}
	(void)json_object_set_new(row, apart, value);
}

static void
take_row(struct answer *a, const PGresult *res)
{
	int n = PQnfields(res);
	json_t *row;

	a->values += (size_t)n;
	for (int i = 0; i < n; i++)
		a->bytes += (size_t)PQgetlength(res, 0, i) + 16;
	a->is_long |= a->values > QUERY_VALUES || a->bytes > QUERY_BYTES;
	if (a->is_long)
		return;
	row = json_object();
	for (int i = 0; i < n; i++)
		put_value(row, PQfname(res, i), value_of(res, i));
	(void)json_array_append_new(a->rows, row);
}

/* ERR_REFUSED: an error of the server. */
static int
take(struct answer *a, PGresult *res, struct err *err)
{
	ExecStatusType s = PQresultStatus(res);
	char words[240];
	int rc = 0;

	if (s == PGRES_COPY_IN || s == PGRES_COPY_OUT) {
		rc = err_set(err, ERR_REFUSED, "COPY is no query");
	} else if (s != PGRES_SINGLE_TUPLE && s != PGRES_TUPLES_OK &&
	           s != PGRES_COMMAND_OK) {
		backend_words(res, words, sizeof(words));
		rc = err_set(err, ERR_REFUSED, "%s", words);
	} else {
		if (a->rows == NULL && s != PGRES_COMMAND_OK)
			a->rows = json_array();
		if (s == PGRES_SINGLE_TUPLE)
			take_row(a, res);
		else if (PQcmdTuples(res)[0] != '\0')
			a->done = json_integer(
				strtoll(PQcmdTuples(res), NULL, 10));
	}
	PQclear(res);
	return rc;
}

static int
send_query(struct backend *b, uint64_t until_ns, const json_t *query,
           struct err *err)
{
	const char *param[QUERY_PARAMS];
	size_t n = json_array_size(query) - 1;

	if (n > QUERY_PARAMS)
		return err_set(err, ERR_USAGE, "a query has at most %d places",
		               QUERY_PARAMS);
	for (size_t i = 0; i < n; i++) {
		const json_t *p = json_array_get(query, i + 1);

		param[i] = json_string_value(p); /* null: NULL */
		if (param[i] != NULL &&
		    strlen(param[i]) != json_string_length(p))
			return err_set(err, ERR_USAGE,
			               "parameter %zu: texts of PostgreSQL "
			               "have no NUL",
			               i + 1);
	}
	return backend_begin(b, until_ns,
	                     json_string_value(json_array_get(query, 0)),
	                     (int)n, param, err);
}

/* All of its results, whatever comes; the first error. */
static int
run_one(struct backend *b, const json_t *query, json_t **ret, struct err *err)
{
	uint64_t until = os_mono_ns() + QUERY_MS * NS_PER_MS;
	struct answer a = { .rows = NULL };
	PGresult *res = NULL;
	int rc = send_query(b, until, query, err);

	while (rc == 0) {
		rc = backend_next(b, until, &res, err);
		if (rc != 0 || res == NULL)
			break;
		rc = take(&a, res, err);
	}
	/* Behind an error the connection is not used any more. */
	if (rc == 0 && a.is_long)
		rc = err_set(err, ERR_LIMIT,
		             "the answer has more than %d values, or %zu MiB",
		             QUERY_VALUES, QUERY_BYTES >> 20);
	if (rc == 0)
		*ret = json_pack("{s:o*,s:o*}", "rows", a.rows, "rows_affected",
		                 a.done);
	if (rc != 0) {
		json_decref(a.rows);
		json_decref(a.done);
	}
	return rc;
}

/* ---- several --------------------------------------------------------------------- */

static int
run_all(struct backend *b, const json_t *queries, json_t *list, struct err *err)
{
	size_t i;
	json_t *query;
	json_t *one;

	json_array_foreach(queries, i, query)
	{
		int rc = run_one(b, query, &one, err);

		if (rc == -ERR_REFUSED || rc == -ERR_LIMIT)
			return err_wrap(err,
			                "query %zu (and so none of them is "
			                "done)",
			                i + 1);
		if (rc != 0)
			return rc;
		(void)json_array_append_new(list, one);
	}
	return 0;
}

static int
run(struct backend *b, const json_t *queries, json_t **ret, struct err *err)
{
	json_t *list;
	int rc;

	if (json_array_size(queries) == 1) {
		rc = run_one(b, json_array_get(queries, 0), ret, err);
		return rc == -ERR_LIMIT ? err_wrap(err, "done, but") : rc;
	}
	list = json_array();
	rc = backend_run(b, QUERY_MS, "BEGIN", err);
	if (rc == 0)
		rc = run_all(b, queries, list, err);
	/* A connection that ends takes its transaction with it. */
	if (rc == 0)
		rc = backend_run(b, QUERY_MS, "COMMIT", err);
	if (rc == 0)
		*ret = list;
	else
		json_decref(list);
	return rc;
}

/* A relay ended the connection at a switch, with nothing on its way. */
static bool
is_elsewhere(const struct err *err)
{
	return strstr(err->text, PG_RELAY_STAYS) != NULL ||
	       strstr(err->text, PG_RELAY_NONE) != NULL;
}

int
pg_query(const struct url *u, const char *label, const json_t *queries,
         bool is_read, json_t **ret, struct err *err)
{
	struct backend b = {
		.conf = { .url = u,
		          .name = "godwit:template",
		          .label = label,
		          .options =
		                  is_read ? SETTINGS
		                          " -c default_transaction_read_only=on"
		                          : SETTINGS }
	};
	int rc = backend_open(&b, QUERY_MS, err);

	*ret = NULL;
	if (rc != 0)
		return rc;
	rc = run(&b, queries, ret, err);
	backend_close(&b);
	if (rc == -ERR_REFUSED && strncmp(err->text, label, strlen(label)) != 0)
		rc = err_wrap(err, "%s", label);
	if (rc != 0 && is_elsewhere(err))
		err->code = ERR_AUTH;
	else if (!is_read && (rc == -ERR_LOST || rc == -ERR_TIMEOUT)) {
		(void)err_wrap(err, "whether it was done is not known");
		err->code = ERR_TIMEOUT;
	}
	return rc == 0 ? 0 : -(int)err->code;
}
