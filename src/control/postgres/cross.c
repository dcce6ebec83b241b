/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/cross.c: does anything tie the tables of one feature to those of
 * another, or to the rest?
 *
 * What ties tables together is an object that names them: a foreign key, a view, a
 * trigger, a rule, a policy, a default, inheritance, a function. Each is one row a
 * table here; where these belong to different features it crosses, and is named. What a
 * function names is read in its text: each word of it that is a relation's name counts,
 * behind "schema." only that schema's; so do the functions that it calls. Who makes up
 * statements, or is in a language that is not read, cannot be told, and is named as well.
 */
#include "control/postgres/cross.h"

#include <stdlib.h>

#include "control/postgres/side.h"
#include "control/rulebook.h"

#define LINES_MAX 16 /* of what crosses; the rest is counted */

/* Objects and the relations that they name; views stand for what is behind them. */
#define NAMED                                                                 \
	" named AS MATERIALIZED (SELECT r.oid AS object, r.ev_class AS a,"    \
	" d.refobjid AS b, r.ev_type, r.rulename FROM pg_rewrite r JOIN"      \
	" pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid ="    \
	" r.oid AND d.refclassid = 'pg_class'::regclass WHERE d.refobjid <>"  \
	" r.ev_class),"                                                       \
	" base(a, b) AS (SELECT oid, oid FROM rel UNION SELECT base.a,"       \
	" named.b FROM base JOIN rel v ON v.oid = base.b AND v.relkind = 'v'" \
	" JOIN named ON named.a = base.b AND named.ev_type = '1'),"

/* Functions of people's, and the relations that their texts name. */
#define FUNCTIONS                                                             \
	" fn AS MATERIALIZED (SELECT p.oid, p.proname::text AS name,"         \
	" n.nspname::text AS sn, l.lanname, p.prosrc || ' ' ||"               \
	" coalesce(pg_get_function_sqlbody(p.oid), '') AS src FROM pg_proc p" \
	" JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l"   \
	" ON l.oid = p.prolang WHERE p.oid >= 16384 AND n.nspname NOT LIKE"   \
	" 'godwit\\_%' AND NOT EXISTS (SELECT FROM pg_depend d WHERE"         \
	" d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype"  \
	" = 'e')),"                                                           \
	" word AS MATERIALIZED (SELECT DISTINCT fn.oid, lower(m[1]) AS q,"    \
	" lower(m[2]) AS w FROM fn, regexp_matches(fn.src,"                   \
	" '(?:([[:alnum:]_]+)\"?\\s*\\.\\s*\"?)?([[:alnum:]_]+)', 'g') m),"   \
	" calls(a, b) AS (SELECT oid, oid FROM fn UNION SELECT c.a, f.oid"    \
	" FROM calls c JOIN word ON word.oid = c.b JOIN fn f ON"              \
	" lower(f.name) = word.w AND (word.q IS NULL OR word.q ="             \
	" lower(f.sn))),"                                                     \
	" reads(f, b) AS MATERIALIZED (SELECT c.a, base.b FROM calls c JOIN"  \
	" (SELECT word.oid, r.oid AS rel FROM word JOIN rel r ON lower(r.rn)" \
	" = word.w AND (word.q IS NULL OR word.q = lower(r.sn)) UNION SELECT" \
	" fn.oid, r.oid FROM fn JOIN rel r ON r.rn !~ '^[[:alnum:]_]+$' AND"  \
	" position(r.rn IN fn.src) > 0) x ON x.oid = c.b JOIN base ON base.a" \
	" = x.rel),"

/* What ties: its name, a relation. */
#define TIES                                                                  \
	" tie(what, oid) AS (SELECT format('foreign key %I of %s',"           \
	" k.conname, k.conrelid::regclass), x FROM pg_constraint k,"          \
	" unnest(ARRAY[k.conrelid, k.confrelid]) x WHERE k.contype = 'f' AND" \
	" k.conparentid = 0"                                                  \
	" UNION SELECT format('inheritance of %s', i.inhrelid::regclass), x"  \
	" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,"          \
	" unnest(ARRAY[i.inhrelid, i.inhparent]) x WHERE NOT"                 \
	" c.relispartition"                                                   \
	" UNION SELECT format('view %s', v.oid::regclass), base.b FROM rel v" \
	" JOIN base ON base.a = v.oid WHERE v.relkind = 'v'"                  \
	" UNION SELECT format(CASE WHEN n.ev_type = '1' THEN 'materialized"   \
	" view %2$s' ELSE 'rule %1$I of %2$s' END, n.rulename,"               \
	" n.a::regclass), x FROM named n JOIN rel v ON v.oid = n.a JOIN base" \
	" ON base.a = n.b, unnest(ARRAY[n.a, base.b]) x WHERE n.ev_type <>"   \
	" '1' OR v.relkind = 'm'"                                             \
	" UNION SELECT format('policy %I of %s', p.polname,"                  \
	" p.polrelid::regclass), x FROM pg_policy p JOIN pg_depend d ON"      \
	" d.classid = 'pg_policy'::regclass AND d.objid = p.oid LEFT JOIN"    \
	" base ON d.refclassid = 'pg_class'::regclass AND base.a ="           \
	" d.refobjid LEFT JOIN reads ON d.refclassid = 'pg_proc'::regclass"   \
	" AND reads.f = d.refobjid, unnest(ARRAY[p.polrelid, base.b,"         \
	" reads.b]) x"                                                        \
	" UNION SELECT format('default of %s.%I', a.adrelid::regclass,"       \
	" c.attname), x FROM pg_attrdef a JOIN pg_attribute c ON c.attrelid"  \
	" = a.adrelid AND c.attnum = a.adnum JOIN pg_depend d ON d.classid =" \
	" 'pg_attrdef'::regclass AND d.objid = a.oid LEFT JOIN rel s ON"      \
	" d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid AND"     \
	" s.relkind = 'S' LEFT JOIN reads ON d.refclassid ="                  \
	" 'pg_proc'::regclass AND reads.f = d.refobjid,"                      \
	" unnest(ARRAY[a.adrelid, s.oid, reads.b]) x"                         \
	" UNION SELECT format('constraint %I of %s', k.conname,"              \
	" k.conrelid::regclass), x FROM pg_constraint k JOIN pg_depend d ON"  \
	" d.classid = 'pg_constraint'::regclass AND d.objid = k.oid AND"      \
	" d.refclassid = 'pg_proc'::regclass JOIN reads ON reads.f ="         \
	" d.refobjid, unnest(ARRAY[k.conrelid, reads.b]) x WHERE k.conrelid"  \
	" <> 0"                                                               \
	" UNION SELECT format('trigger %I of %s', t.tgname,"                  \
	" t.tgrelid::regclass), x FROM pg_trigger t JOIN reads ON reads.f ="  \
	" t.tgfoid, unnest(ARRAY[t.tgrelid, reads.b]) x WHERE NOT"            \
	" t.tgisinternal AND t.tgparentid = 0"                                \
	" UNION SELECT format('function %s', f::regprocedure), b FROM"        \
	" reads),"                                                            \
	" part AS (SELECT tie.what, own.u, min(format('%I.%I', rel.sn,"       \
	" rel.rn)) AS one FROM tie JOIN own ON own.oid = tie.oid JOIN rel ON" \
	" rel.oid = tie.oid WHERE rel.relkind <> 'v' GROUP BY 1, 2)"

/* kind, text: n, a feature and how many tables are its; x, what crosses; u, what
 * cannot be told. */
static const char *const question[] = {
	(PG_SCOPES NAMED),
	(FUNCTIONS),
	(TIES),
	(" SELECT 'n', format('%s: %s', unit.name, (SELECT count(*) FROM own"
	 " JOIN pg_class c USING (oid) WHERE own.u = unit.i AND c.relkind IN"
	 " ('r', 'p') AND NOT c.relispartition)) FROM unit"
	 " UNION ALL SELECT * FROM (SELECT 'x', what || ': ' ||"
	 " string_agg(format('%s is of %s', one, coalesce(unit.name, 'no"
	 " feature')), ', ' ORDER BY part.u) FROM part LEFT JOIN unit ON"
	 " unit.i = part.u GROUP BY what HAVING count(*) > 1 ORDER BY what) x"
	 " UNION ALL SELECT * FROM (SELECT 'u', oid::regprocedure || CASE WHEN"
	 " lanname IN ('sql', 'plpgsql') THEN ' makes up statements' ELSE ' is"
	 " written in ' || lanname END FROM fn WHERE lanname NOT IN ('sql',"
	 " 'plpgsql') OR EXISTS (SELECT FROM word WHERE word.oid = fn.oid AND"
	 " w = 'execute' AND lanname = 'plpgsql') ORDER BY 1, 2) u"),
};

#define PIECES (sizeof(question) / sizeof(question[0]))

/* malloc; NULL: no memory */
static char *
whole_question(void)
{
	size_t n = 1;
	size_t used = 0;
	char *ret;

	for (size_t i = 0; i < PIECES; i++)
		n += strlen(question[i]);
	ret = malloc(n);
	for (size_t i = 0; ret != NULL && i < PIECES; i++) {
		memcpy(ret + used, question[i], strlen(question[i]));
		used += strlen(question[i]);
		ret[used] = '\0';
	}
	return ret;
}

/* One line a row, up to a limit. What ties is in the way of features that move with
 * their writes. */
static void
tell(struct checks *c, const PGresult *res, enum check_result ties)
{
	char text[sizeof(c->line[0].detail)];
	uint32_t told = 0;
	uint32_t more = 0;

	for (int i = 0; i < PQntuples(res); i++) {
		char kind = PQgetvalue(res, i, 0)[0];
		const char *what = PQgetvalue(res, i, 1);
		size_t n = strlen(what);

		if (kind == 'n') {
			bool none = n > 3 && strcmp(what + n - 3, ": 0") == 0;

			(void)snprintf(text, sizeof(text),
			               none ? "feature %s tables; it moves "
			                      "with the cutover only"
			                    : "feature %s tables",
			               what);
			checks_add(c, "features",
			           none ? CHECK_WARN : CHECK_PASS, text);
			continue;
		}
		if (told == LINES_MAX) {
			more++;
			continue;
		}
		told++;
		(void)snprintf(text, sizeof(text),
		               kind == 'x' ? "crosses: %s"
		                           : "cannot be told: function %s",
		               what);
		checks_add(c, "features", ties, text);
	}
	if (more > 0) {
		(void)snprintf(text, sizeof(text), "%u more cross", more);
		checks_add(c, "features", ties, text);
	}
	if (told == 0)
		checks_add(c, "features", CHECK_PASS,
		           "nothing crosses between the features, nor to "
		           "tables of none");
}

/* *ret NULL: no feature is told by tables. */
static int
ask(struct run *r, PGresult **ret, struct err *err)
{
	const char *param[] = { NULL, NULL };
	json_t *list = rulebook_words(r, FACTS_RELATION);
	char *text = json_dumps(list, JSON_COMPACT);
	char *sql = whole_question();
	int rc = 0;

	*ret = NULL;
	param[0] = text;
	if (text == NULL || sql == NULL)
		rc = err_set(err, ERR_NOMEM, "out of memory");
	else if (json_array_size(list) > 0)
		rc = pg_ask(r, SIDE_OLD, sql, param, ret, err);
	free(sql);
	free(text);
	json_decref(list);
	return rc;
}

int
pg_check_features(struct run *r, struct err *err)
{
	PGresult *res;
	int rc = ask(r, &res, err);

	if (res != NULL)
		tell(&r->checks, res,
		     r->strategy.unit_writes ? CHECK_FAIL : CHECK_WARN);
	PQclear(res);
	return rc;
}

int
pg_crosses(struct run *r, struct err *err)
{
	PGresult *res;
	int rc = ask(r, &res, err);

	for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
		char kind = PQgetvalue(res, i, 0)[0];

		if (kind == 'n')
			continue;
		rc = err_set(err, ERR_UNABLE,
		             "writes cannot move in parts: %s%s",
		             kind == 'x' ? ""
		                         : "it cannot be told what a function "
		                           "touches: ",
		             PQgetvalue(res, i, 1));
	}
	PQclear(res);
	return rc;
}
