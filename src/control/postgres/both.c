/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/both.c: a new side that is not empty.
 *
 * What new has is noted before anything is made there: a relation that both have stays
 * as it is, and its rows come by the rule; what only old has is made as always, what
 * only new has stays and is not carried. Rows of tables that hold some on new are named
 * by all their columns meanwhile (REPLICA IDENTITY FULL), so that each change carries
 * its row whole, and whatever new has of it.
 */
#define _DEFAULT_SOURCE
#include "control/postgres/both.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "wire/pg_split.h"

#define LOAD_MS  600000 /* of one statement of a schema            */
#define FILE_MAX ((off_t)256 * 1024 * 1024)

bool
pg_both_is_said(const struct run *r)
{
	return r->conf->conflict_said;
}

const char *
pg_both_rule(const struct run *r)
{
	return r->conf->conflict == CONFLICT_NONE    ? "none"
	       : r->conf->conflict == CONFLICT_MERGE ? "merge"
	                                             : "replace";
}

int
pg_both_users(struct run *r, enum side s, struct err *err)
{
	int rc = pg_run(r, s, both_tables, err);

	if (rc == 0)
		rc = pg_run(r, s, both_functions, err);
	if (rc == 0)
		rc = pg_run(r, s, both_room, err);
	if (rc == 0)
		rc = pg_run(r, s, both_put, err);
	return rc == 0 ? pg_run(r, s, both_settle, err) : rc;
}

/* ---- what is there ----------------------------------------------------------- */

/* l: names of old's tables. Tables that were noted by a process that died may have got
 * rows since. */
static const char note[] =
	"CREATE OR REPLACE FUNCTION @.note_there(l json, rule text, newer text)"
	" RETURNS void LANGUAGE plpgsql AS $f$ DECLARE x text; BEGIN"
	" DELETE FROM @.there;"
	" INSERT INTO @.there SELECT format('%I.%I', nspname, relname),"
	"  format('\"%s\".\"%s\"', replace(nspname, '\"', '\"\"'),"
	"  replace(relname, '\"', '\"\"')), relkind, relkind = 'r' AND"
	"  format('%I.%I', nspname, relname) IN (SELECT"
	"   json_array_elements_text(l)), false, (SELECT array_agg(attname::text"
	"   ORDER BY i) FROM pg_index, generate_series(1, indnkeyatts) i JOIN"
	"   pg_attribute ON true WHERE indrelid = c.oid AND indisprimary AND"
	"   attrelid = indrelid AND attnum = indkey[i - 1]), rule,"
	"  (SELECT col FROM unnest(string_to_array(newer, ',')) e, LATERAL"
	"   (SELECT regexp_replace(e, '^.*\\.', '') AS col, substring(e from"
	"   '^(.*)\\.') AS tab) p JOIN pg_attribute a ON attname = col WHERE"
	"   attrelid = c.oid AND attnum > 0 AND (tab IS NULL OR tab = relname OR"
	"   tab = nspname || '.' || relname) ORDER BY tab IS NULL LIMIT 1)" BOTH_THEIRS
	"  AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f');"
	" FOR x IN SELECT t FROM @.there WHERE kind = 'r' LOOP"
	"  EXECUTE format('UPDATE @.there SET has_rows = EXISTS (SELECT 1 FROM"
	"   ONLY %s) WHERE t = %L', x, x);"
	" END LOOP; END $f$;";

static int
tell_there(struct run *r, const char *list, struct err *err)
{
	const char *param[] = { list, pg_both_rule(r),
		                r->conf->newer != NULL ? r->conf->newer : "",
		                NULL };
	PGresult *res;
	int rc = pg_ask(r, SIDE_NEW, "SELECT @.note_there($1::json, $2, $3)",
	                param, &res, err);

	PQclear(res);
	return rc;
}

/* Old knows it as well: one day its rows are written by new's stream. */
static int
copy_there(struct run *r, struct err *err)
{
	int rc = pg_run(r, SIDE_OLD, "DELETE FROM @.there", err);

	return rc == 0 ? pg_tell_rows(r, SIDE_NEW, "there", err) : rc;
}

int
pg_both_note(struct run *r, struct err *err)
{
	char *list;
	int rc;

	if (!pg_both_is_said(r))
		return 0;
	rc = pg_ask_text(r, SIDE_OLD,
	                 "SELECT coalesce(json_agg(format('%I.%I', nspname,"
	                 " relname)), '[]')::text" BOTH_THEIRS
	                 " AND relkind = 'r'",
	                 &list, err);
	if (rc == 0)
		rc = pg_run(r, SIDE_NEW, note, err);
	if (rc == 0)
		rc = tell_there(r, list, err);
	free(list);
	return rc == 0 ? copy_there(r, err) : rc;
}

/* ---- old's schema beside it ----------------------------------------------------- */

/* --exclude-table="public"."t" */
static char *
exclude(const char *name)
{
	static const char word[] = "--exclude-table=";
	size_t size = sizeof(word) + strlen(name);
	char *ret = malloc(size);

	if (ret != NULL)
		(void)snprintf(ret, size, "%s%s", word, name);
	return ret;
}

int
pg_both_excluded(struct run *r, const char *const *words, char ***ret,
                 struct err *err)
{
	PGresult *res;
	int rc = pg_ask(r, SIDE_NEW, "SELECT q FROM @.there", NULL, &res, err);
	size_t rows = rc == 0 ? (size_t)PQntuples(res) : 0;
	size_t n = 0;
	char **list;

	*ret = NULL;
	if (rc != 0)
		return rc;
	while (words[n] != NULL)
		n++;
	list = calloc(n + rows + 1, sizeof(*list));
	for (size_t i = 0; list != NULL && i < n + rows; i++) {
		list[i] = i < n ? strdup(words[i])
		                : exclude(PQgetvalue(res, (int)(i - n), 0));
		if (list[i] == NULL) {
			pg_both_free(list);
			list = NULL;
		}
	}
	PQclear(res);
	*ret = list;
	return list != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

void
pg_both_free(char **list)
{
	for (size_t i = 0; list != NULL && list[i] != NULL; i++)
		free(list[i]);
	free(list);
}

/* Something of that name is there already: schema, table, function, type .. */
static bool
is_there(const char *state)
{
	static const char *const codes[] = { "42P06", "42P07", "42710",
		                             "42723" };

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (state != NULL && strcmp(state, codes[i]) == 0)
			return true;
	}
	return false;
}

/* In a transaction that goes on when it is there. */
static int
load_one(struct run *r, struct backend *b, struct span text, struct err *err)
{
	char *sql = strndup((const char *)text.p, text.n);
	PGresult *res;
	int rc = 0;

	if (sql == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	PQclear(PQexec(b->c, "SAVEPOINT godwit"));
	res = PQexec(b->c, sql);
	if (PQresultStatus(res) == PGRES_FATAL_ERROR) {
		if (!is_there(PQresultErrorField(res, PG_DIAG_SQLSTATE)))
			rc = err_set(err, ERR_REFUSED, "%s: %s",
			             r->side[SIDE_NEW].label,
			             PQresultErrorMessage(res));
		PQclear(PQexec(b->c, "ROLLBACK TO SAVEPOINT godwit"));
	}
	PQclear(PQexec(b->c, "RELEASE SAVEPOINT godwit"));
	PQclear(res);
	free(sql);
	return rc;
}

static int
load_all(struct run *r, struct backend *b, struct span text, struct err *err)
{
	struct pg_split p;
	struct pg_statement s;
	int rc = 0;

	pg_split_init(&p, text, true);
	while (rc == 0 && pg_split_next_of_script(&p, &s))
		rc = load_one(r, b, s.text, err);
	return rc;
}

static char *
read_file(const char *file, size_t *ret_n, struct err *err)
{
	FILE *f = fopen(file, "re");
	struct stat st;
	char *ret = NULL;

	*ret_n = 0;
	if (f != NULL && fstat(fileno(f), &st) == 0 && st.st_size <= FILE_MAX)
		ret = malloc((size_t)st.st_size + 1);
	if (ret != NULL)
		*ret_n = fread(ret, 1, (size_t)st.st_size, f);
	if (f != NULL)
		(void)fclose(f);
	if (ret == NULL)
		(void)err_set(err, ERR_IO, "%s: %s", file, os_cause(errno));
	return ret;
}

int
pg_both_load(struct run *r, const char *file, const char *last, struct err *err)
{
	struct backend b = { .conf = r->at[SIDE_NEW].pg->b.conf };
	size_t n;
	char *text = read_file(file, &n, err);
	int rc = text != NULL ? 0 : -(int)err->code;

	if (rc == 0)
		rc = backend_open(&b, LOAD_MS, err);
	if (rc == 0)
		rc = backend_run(&b, LOAD_MS, "BEGIN", err);
	if (rc == 0)
		rc = load_all(r, &b, span_of(text, n), err);
	if (rc == 0)
		rc = backend_run(&b, LOAD_MS, last, err);
	if (rc == 0)
		rc = backend_run(&b, LOAD_MS, "COMMIT", err);
	backend_close(&b);
	free(text);
	return rc;
}
