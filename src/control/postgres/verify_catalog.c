/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/verify_catalog.c: what is not rows: indexes, constraints,
 * triggers, sequences, views, functions, types.
 *
 * What old has and new has not is missing (or extra, where new rules). What only new
 * has, and what is written otherwise, is noted: people add indexes, and versions
 * write definitions in their own words.
 */
#include <stdio.h>
#include <string.h>

#include "control/postgres/verify.h"

#define NOT_THEIRS                                                \
	" AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT LIKE" \
	" 'godwit\\_%' AND n.nspname <> 'information_schema'"
#define NO_EXTENSION(class, oid)                                       \
	" AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid =" \
	" '" class "'::regclass AND d.objid = " oid " AND d.deptype = 'e')"

/* kind, name, definition. Keys and their indexes are one thing; that a column may
 * not be NULL is a constraint by name only since version 18. */
static const char all[] =
	"SELECT kind, name, def FROM ("
	"SELECT 'index' AS kind, format('%I.%I', n.nspname, c.relname) AS name,"
	" pg_get_indexdef(c.oid) || CASE WHEN i.indisvalid THEN '' ELSE"
	" ' INVALID' END AS def FROM pg_index i JOIN pg_class c ON"
	" c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid JOIN"
	" pg_namespace n ON n.oid = c.relnamespace WHERE t.relkind <> 't'"
	" AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE"
	"  k.conindid = c.oid AND k.contype IN ('p','u','x'))" NOT_THEIRS NO_EXTENSION(
		"pg_class",
		"t.oid") " UNION ALL SELECT 'constraint', format('%I.%I.%I', n.nspname,"
			 " c.relname, k.conname), pg_get_constraintdef(k.oid) FROM"
			 " pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN"
			 " pg_namespace n ON n.oid = c.relnamespace WHERE k.contype IN"
			 " ('p','u','x','f','c') AND k.conparentid = 0" NOT_THEIRS NO_EXTENSION(
				 "pg_class",
				 "c.oid") " UNION ALL SELECT 'trigger', format('%I.%I.%I', n.nspname,"
					  " c.relname, g.tgname), pg_get_triggerdef(g.oid) || ' ' ||"
					  " g.tgenabled::text FROM pg_trigger g JOIN pg_class c ON"
					  " c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
					  " WHERE NOT g.tgisinternal AND g.tgname !~ '^godwit_.*_part$'" NOT_THEIRS NO_EXTENSION(
						  "pg_class",
						  "c.oid") " UNION ALL SELECT CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v'"
							   " THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'p' THEN"
							   " 'partitioned table' WHEN 'f' THEN 'foreign table' ELSE 'type' END,"
							   " format('%I.%I', n.nspname, c.relname), CASE WHEN c.relkind IN"
							   " ('v','m') THEN pg_get_viewdef(c.oid) ELSE '' END FROM pg_class c"
							   " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN"
							   " ('S','v','m','p','f','c') AND c.relpersistence <> 't'" NOT_THEIRS NO_EXTENSION(
								   "pg_class",
								   "c.oid") " UNION ALL SELECT 'function', format('%I.%I(%s)', n.nspname,"
									    " p.proname, pg_get_function_identity_arguments(p.oid)),"
									    " md5(p.prosrc) FROM pg_proc p JOIN pg_namespace n ON"
									    " n.oid = p.pronamespace WHERE true" NOT_THEIRS NO_EXTENSION(
										    "pg_proc",
										    "p.oid") " UNION ALL SELECT 'type', format('%I.%I', n.nspname, y.typname),"
											     " coalesce((SELECT string_agg(e.enumlabel, ',' ORDER BY"
											     " e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = y.oid), '')"
											     " FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace WHERE"
											     " y.typtype IN ('e','d','r')" NOT_THEIRS
												     NO_EXTENSION(
													     "pg_type",
													     "y.oid") ") AS a ORDER BY convert_to(kind || ' ' || name, 'UTF8'), def";

static int
cmp_lines(const PGresult *a, int i, const PGresult *b, int j)
{
	int cmp = strcmp(PQgetvalue(a, i, 0), PQgetvalue(b, j, 0));

	return cmp != 0 ? cmp
	                : strcmp(PQgetvalue(a, i, 1), PQgetvalue(b, j, 1));
}

/* side has it, the other one not. */
static void
alone(struct pgv *v, const PGresult *res, int row, int side)
{
	enum verify_kind kind = side != pgv_old(v) ? VERIFY_NOTED
	                        : side == 0        ? VERIFY_MISSING
	                                           : VERIFY_EXTRA;
	char detail[128];

	(void)snprintf(detail, sizeof(detail), "%s only %s has",
	               PQgetvalue(res, row, 0),
	               side == pgv_old(v) ? "old" : "new");
	pgv_find(v, kind, PQgetvalue(res, row, 1), detail);
}

static void
both(struct pgv *v, PGresult *const res[2], int i, int j)
{
	const char *x = PQgetvalue(res[0], i, 2);
	const char *y = PQgetvalue(res[1], j, 2);
	char detail[128];

	/* Each version has its own words. */
	if (v->side[0].version / 10000 != v->side[1].version / 10000 ||
	    strcmp(x, y) == 0)
		return;
	(void)snprintf(detail, sizeof(detail), "%s: other definitions",
	               PQgetvalue(res[0], i, 0));
	pgv_find(v, VERIFY_NOTED, PQgetvalue(res[0], i, 1), detail);
}

int
pgv_catalog(struct pgv *v, struct err *err)
{
	PGresult *res[2] = { NULL, NULL };
	int n[2] = { 0, 0 };
	int i = 0;
	int j = 0;
	int rc = 0;

	for (int s = 0; rc == 0 && s < 2; s++) {
		rc = pgv_ask(&v->side[s], &v->side[s].look, all, &res[s], err);
		n[s] = rc == 0 ? PQntuples(res[s]) : 0;
	}
	while (rc == 0 && (i < n[0] || j < n[1])) {
		int cmp = i == n[0]   ? 1
		          : j == n[1] ? -1
		                      : cmp_lines(res[0], i, res[1], j);

		if (cmp < 0)
			alone(v, res[0], i, 0);
		else if (cmp > 0)
			alone(v, res[1], j, 1);
		else
			both(v, res, i, j);
		i += cmp <= 0;
		j += cmp >= 0;
	}
	PQclear(res[0]);
	PQclear(res[1]);
	return rc;
}
