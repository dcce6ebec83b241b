/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/both_check.c: tables that both sides have, before the start.
 *
 * What new has beside old is compared, not made: columns, types and keys have to agree,
 * and a table that holds rows has to have a key that they can be told by. What may
 * happen to rows is said before it does.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/both.h"

#define DETAIL    sizeof(((struct check_line *)NULL)->detail)
#define NAMES_MAX 8       /* of a kind, in a check                         */
#define COUNT_MAX 1000000 /* rows of a table are counted so far            */
#define COUNT_MS  60000

/* A table as JSON: what has to agree, and what is to be known. */
#define DESCRIBE                                                                                                                                                       \
	"SELECT coalesce(json_agg(json_build_object('t', format('%I.%I',"                                                                                              \
	" nspname, relname), 'kind', relkind::text || relpersistence::text, 'identity',"                                                                               \
	" relreplident, 'cols', (SELECT json_object_agg(attname, format_type("                                                                                         \
	"atttypid, atttypmod) || CASE WHEN attgenerated <> '' THEN"                                                                                                    \
	" ' GENERATED' ELSE '' END || CASE WHEN attidentity = 'a' THEN"                                                                                                \
	" ' IDENTITY' ELSE '' END) FROM pg_attribute WHERE attrelid = c.oid"                                                                                           \
	" AND attnum > 0 AND NOT attisdropped), 'must', (SELECT json_agg("                                                                                             \
	"attname) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND"                                                                                         \
	" NOT attisdropped AND attnotnull), 'key', (SELECT string_agg(attname,"                                                                                        \
	" ', ' ORDER BY i) FROM pg_index, generate_series(1, indnkeyatts) i"                                                                                           \
	" JOIN pg_attribute ON true WHERE indrelid = c.oid AND indisprimary"                                                                                           \
	" AND attrelid = indrelid AND attnum = indkey[i - 1]), 'late', EXISTS"                                                                                         \
	" (SELECT FROM pg_index WHERE indrelid = c.oid AND NOT indimmediate),"                                                                                         \
	" 'unique', (SELECT count(*) FROM pg_index WHERE indrelid = c.oid AND"                                                                                         \
	" (indisunique OR indisexclusion) AND NOT indisprimary), 'refers',"                                                                                            \
	" (SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND c.oid IN"                                                                                        \
	" (conrelid, confrelid)), 'always', EXISTS (SELECT FROM pg_trigger"                                                                                            \
	" WHERE tgrelid = c.oid AND NOT tgisinternal AND tgenabled IN ('A',"                                                                                           \
	" 'R')) OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid),"                                                                                            \
	" 'fires', EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND"                                                                                           \
	" NOT tgisinternal AND tgenabled = 'O'), 'made', EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attgenerated <> ''), 'checks', (SELECT json_agg(" \
	"pg_get_constraintdef(oid)) FROM pg_constraint WHERE contype = 'c' AND"                                                                                        \
	" conrelid = c.oid))), '[]')::text" BOTH_THEIRS                                                                                                                \
	" AND relkind IN ('r', 'p')"

/* $1: old's list, $2: new's. A row for each table that new has: what is wrong with it. */
static const char compare[] =
	"WITH o AS (SELECT * FROM json_to_recordset($1::json) AS x(t text,"
	" kind text, identity text, cols json, must json, key text, checks"
	" json)),"
	" n AS (SELECT * FROM json_to_recordset($2::json) AS x(t text,"
	" kind text, identity text, cols json, must json, key text, late bool,"
	" \"unique\" int, refers int, always bool, fires bool, checks json, made bool))"
	" SELECT n.t, (o.t IS NOT NULL)::int, coalesce(CASE WHEN o.t IS NULL THEN"
	" NULL WHEN o.kind <> n.kind THEN 'is another kind of table' ELSE"
	" coalesce((SELECT format('%I: %s / %s', coalesce(a.key, b.key),"
	"  coalesce(a.value, 'none'), coalesce(b.value, 'none')) FROM"
	"  json_each_text(o.cols) a FULL JOIN json_each_text(n.cols) b ON"
	"  a.key = b.key WHERE a.value IS DISTINCT FROM b.value ORDER BY 1 LIMIT"
	"  1), (SELECT format('%I may be NULL on old only', c) FROM"
	"  json_array_elements_text(n.must) c WHERE c NOT IN (SELECT"
	"  json_array_elements_text(o.must)) LIMIT 1), CASE WHEN o.key IS DISTINCT"
	"  FROM n.key THEN format('primary key (%s) / (%s)', o.key, n.key) END)"
	" END, ''), (n.key IS NOT NULL)::int, n.late::int, (o.identity = 'i' OR"
	" n.identity = 'i')::int, n.always::int, n.\"unique\", n.refers,"
	" n.fires::int, (n.kind ~ '^r')::int, coalesce((SELECT string_agg(e, ' ')"
	"  FROM json_array_elements_text(n.checks) e WHERE e NOT IN (SELECT"
	"  json_array_elements_text(o.checks))), ''), n.made::int"
	" FROM n LEFT JOIN o USING (t) ORDER BY 1";

enum column {
	C_NAME,
	C_BOTH,
	C_WRONG,
	C_KEY,
	C_LATE,
	C_INDEX,
	C_ALWAYS,
	C_UNIQUE,
	C_REFERS,
	C_FIRES,
	C_PLAIN,
	C_CHECKS,
	C_MADE,
};

/* Names of one kind of finding. */
struct found {
	char names[DETAIL - 160];
	unsigned n;
};

enum finding {
	F_ROWS,  /* both have it, and new has rows                    */
	F_WRONG, /* ... and they do not agree                         */
	F_KEYLESS,
	F_LATE,
	F_INDEX,
	F_ALWAYS,
	F_UNIQUE,
	F_REFERS,
	F_FIRES,
	F_CHECKS,
	F_MADE,
	F_ALONE, /* new alone has it */
	F_N,
};

static const struct {
	const char *name;
	enum check_result result;
	const char *text; /* behind "N tables (names)" */
} findings[F_N] = {
	[F_WRONG] = { "both_differ", CHECK_FAIL,
	              "are on both sides and are not alike (old / new); make "
	              "them so, or drop new's" },
	[F_KEYLESS] = { "both_key", CHECK_FAIL,
	                "hold rows on new and have no primary key, so that no "
	                "rule can tell which row is which; empty them" },
	[F_LATE] = { "both_key", CHECK_FAIL,
	             "hold rows on new and have a key or unique constraint that "
	             "is DEFERRABLE; make it plain, or empty them" },
	[F_INDEX] = { "both_key", CHECK_FAIL,
	              "hold rows on new and have REPLICA IDENTITY USING INDEX; "
	              "say REPLICA IDENTITY DEFAULT on both sides" },
	[F_ALWAYS] = { "triggers", CHECK_FAIL,
	               "are on both sides, and new's have rules, or triggers that "
	               "are ENABLE ALWAYS or REPLICA: they would act on each row "
	               "that arrives" },
	[F_UNIQUE] = { "both_unique", CHECK_WARN,
	               "hold rows on new and have further unique keys: where a "
	               "row of old has one of another row, replace removes that "
	               "one, none and merge leave old's out; each is listed" },
	[F_REFERS] = { "both_refers", CHECK_WARN,
	               "hold rows on new and are tied by foreign keys, which are "
	               "not checked for what comes" },
	[F_FIRES] = { "triggers", CHECK_WARN,
	              "hold rows on new and have triggers: they do not fire for "
	              "what comes" },
	[F_CHECKS] = { "both_checks", CHECK_WARN,
	               "are on both sides, and new's have these constraints that "
	               "old's have not: a row of old that breaks one stops the "
	               "copy, by name" },
	[F_MADE] = { "both_generated", CHECK_FAIL,
	             "hold rows on new and have generated columns: PostgreSQL 18 "
	             "refuses changes of such rows when all columns name them; "
	             "empty them" },
	[F_ALONE] = { "new_alone", CHECK_WARN,
	              "are on new alone: they stay, and writes to them are not "
	              "carried to old after the cutover" },
};

static void
find(struct found *f, const char *name, const char *more)
{
	size_t used = strlen(f->names);

	if (f->n++ < NAMES_MAX)
		(void)snprintf(f->names + used, sizeof(f->names) - used,
		               "%s%s%s%s", used > 0 ? ", " : "", name,
		               more[0] != '\0' ? ": " : "", more);
	else if (f->n == NAMES_MAX + 1)
		(void)snprintf(f->names + used, sizeof(f->names) - used,
		               ", ..");
}

/* Rows of a table, COUNT_MAX at most. */
static int
count(struct run *r, const char *name, long long *ret, struct err *err)
{
	char sql[512];
	PGresult *res;
	int rc = pg_reach(r, SIDE_NEW, err);

	*ret = 0;
	if (rc != 0)
		return rc;
	(void)snprintf(sql, sizeof(sql),
	               "SELECT count(*) FROM (SELECT FROM ONLY %.300s LIMIT %d)"
	               " x",
	               name, COUNT_MAX);
	rc = backend_ask(&r->at[SIDE_NEW].pg->b, COUNT_MS, sql, NULL, &res,
	                 err);
	if (rc == 0)
		*ret = strtoll(PQgetvalue(res, 0, 0), NULL, 10);
	PQclear(res);
	return rc;
}

static bool
is(const PGresult *res, int row, enum column c)
{
	return PQgetvalue(res, row, (int)c)[0] != '0';
}

static int
judge(struct run *r, const PGresult *res, int row, struct found f[F_N],
      struct err *err)
{
	const char *name = PQgetvalue(res, row, C_NAME);
	const char *wrong = PQgetvalue(res, row, C_WRONG);
	char text[32];
	long long n = 0;
	int rc;

	if (!is(res, row, C_BOTH)) {
		find(&f[F_ALONE], name, "");
		return 0;
	}
	if (wrong[0] != '\0')
		find(&f[F_WRONG], name, wrong);
	if (is(res, row, C_ALWAYS))
		find(&f[F_ALWAYS], name, "");
	if (PQgetvalue(res, row, C_CHECKS)[0] != '\0')
		find(&f[F_CHECKS], name, PQgetvalue(res, row, C_CHECKS));
	rc = is(res, row, C_PLAIN) ? count(r, name, &n, err) : 0;
	if (rc != 0 || n == 0)
		return rc;
	r->new_keys += (uint64_t)n;
	(void)snprintf(text, sizeof(text), n < COUNT_MAX ? "%lld" : "%lld+", n);
	find(&f[F_ROWS], name, text);
	if (!is(res, row, C_KEY))
		find(&f[F_KEYLESS], name, "");
	if (is(res, row, C_LATE))
		find(&f[F_LATE], name, "");
	if (is(res, row, C_INDEX))
		find(&f[F_INDEX], name, "");
	if (is(res, row, C_MADE) && pg_refuses_generated(r))
		find(&f[F_MADE], name, "");
	if (is(res, row, C_UNIQUE))
		find(&f[F_UNIQUE], name, "");
	if (is(res, row, C_REFERS))
		find(&f[F_REFERS], name, "");
	if (is(res, row, C_FIRES))
		find(&f[F_FIRES], name, "");
	return 0;
}

static void
tell(struct run *r, const struct found f[F_N])
{
	char text[DETAIL];

	if (f[F_ROWS].n > 0) {
		(void)snprintf(text, sizeof(text),
		               "new is not empty: rows of tables that old has, "
		               "too (%s); where both have one the rule is "
		               "--conflict %s, what only new has stays",
		               f[F_ROWS].names, pg_both_rule(r));
		checks_add(&r->checks, "contents", CHECK_WARN, text);
	}
	for (int i = F_ROWS + 1; i < F_N; i++) {
		if (f[i].n == 0)
			continue;
		(void)snprintf(text, sizeof(text), "%u tables (%s) %s", f[i].n,
		               f[i].names, findings[i].text);
		checks_add(&r->checks, findings[i].name, findings[i].result,
		           text);
	}
}

/* Each name has to be a column that can be compared, of some table of new's. */
static int
check_newer(struct run *r, struct err *err)
{
	const char *param[] = { r->conf->newer, NULL };
	char text[DETAIL];
	PGresult *res;
	int rc;

	if (r->conf->newer == NULL)
		return 0;
	rc = pg_ask(
		r, SIDE_NEW,
		"SELECT e FROM unnest(string_to_array($1, ',')) e, LATERAL (SELECT"
		" regexp_replace(e, '^.*\\.', '') AS col, substring(e from"
		" '^(.*)\\.') AS tab) p WHERE NOT EXISTS (SELECT 1 FROM"
		" pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN"
		" pg_namespace n ON n.oid = relnamespace JOIN pg_type t ON"
		" t.oid = atttypid WHERE attname = col AND relkind = 'r' AND"
		" attnum > 0 AND NOT attisdropped AND typcategory IN ('D', 'N',"
		" 'S', 'T', 'E') AND (tab IS NULL OR tab = relname OR tab ="
		" nspname || '.' || relname))",
		param, &res, err);
	for (int i = 0; rc == 0 && i < PQntuples(res) && i < NAMES_MAX; i++) {
		(void)snprintf(text, sizeof(text),
		               "--newer %.100s: no table of new has such a "
		               "column of a type with an order (COLUMN or "
		               "TABLE.COLUMN, separated by commas)",
		               PQgetvalue(res, i, 0));
		checks_add(&r->checks, "newer", CHECK_FAIL, text);
	}
	PQclear(res);
	return rc;
}

int
pg_both_check(struct run *r, struct err *err)
{
	struct found *f = calloc(F_N, sizeof(*f));
	char *list[SIDE_N] = { NULL, NULL };
	const char *param[] = { NULL, NULL, NULL };
	PGresult *res = NULL;
	int rc = 0;

	if (f == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	if (r->is_resumed || !pg_both_is_said(r)) {
		free(f);
		return 0;
	}
	r->new_keys = 0;
	for (int s = 0; rc == 0 && s < SIDE_N; s++) {
		rc = pg_ask_text(r, (enum side)s, DESCRIBE, &list[s], err);
		param[s] = list[s];
	}
	if (rc == 0)
		rc = pg_ask(r, SIDE_NEW, compare, param, &res, err);
	for (int i = 0; rc == 0 && i < PQntuples(res); i++)
		rc = judge(r, res, i, f, err);
	if (rc == 0)
		tell(r, f);
	if (rc == 0)
		rc = check_newer(r, err);
	PQclear(res);
	free(list[SIDE_OLD]);
	free(list[SIDE_NEW]);
	free(f);
	return rc;
}
