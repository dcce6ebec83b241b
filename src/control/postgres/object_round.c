/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/object_round.c: one round over all large objects.
 *
 * An object's mark is made of the numbers of its pages, of the transactions that
 * wrote them, and of its owner, rights and comment: each change gives another one,
 * and no byte has to be read for it. In godwit_<id>.object of a side that was written
 * stands which mark here goes with which one there; while both are as they were, the
 * two are equal. What is not is made anew, in transactions of some MiB, which begin
 * with a look at the fence: a side that is open is never written.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/object.h"

#define BATCH_PAGES   2048 /* of 2 KiB, as many as a question of pages brings */
#define BATCH_OBJECTS 500

/* Of pg_largeobject_metadata m: what is said to give it its owner, rights, comment. */
#define WORDS                                                                  \
	"concat_ws(';', format('ALTER LARGE OBJECT %s OWNER TO %I', m.oid,"    \
	" pg_get_userbyid(m.lomowner)), (SELECT format('REVOKE ALL ON LARGE"   \
	" OBJECT %s FROM %I', m.oid, pg_get_userbyid(m.lomowner)) WHERE"       \
	" m.lomacl IS NOT NULL), (SELECT string_agg(format('GRANT %s ON"       \
	" LARGE OBJECT %s TO %s%s', privilege_type, m.oid, CASE grantee WHEN"  \
	" 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,"     \
	" CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), ';'"  \
	" ORDER BY grantee::int8, privilege_type) FROM aclexplode(m.lomacl))," \
	" (SELECT format('COMMENT ON LARGE OBJECT %s IS %L', m.oid,"           \
	" description) FROM pg_description WHERE classoid ="                   \
	" 'pg_largeobject'::regclass AND objoid = m.oid))"

#define PAGES(where)                                                        \
	"(SELECT loid, count(*) AS n, count(*) || '.' || sum("              \
	"hashint8extended((pageno::bigint << 32) | xmin::text::bigint, 7))" \
	" AS x FROM pg_largeobject " where " GROUP BY loid) p"

#define MARK "coalesce(p.x, '0') || '.' || md5(" WORDS ")"

/* All of a side: number, mark, pages, and the other side's mark that goes with it. */
static const char look[] =
	"SELECT k.oid, k.mark, coalesce(k.n, 0), o.there FROM"
	" (SELECT m.oid, " MARK " AS mark, p.n FROM pg_largeobject_metadata m"
	" LEFT JOIN " PAGES(
		"") " ON p.loid = m.oid) k"
		    " LEFT JOIN @.object o ON o.loid = k.oid AND o.here = k.mark"
		    " ORDER BY k.oid";

/* Some of them, with their words. */
static const char tell[] =
	"SELECT json_agg(json_build_object('o', m.oid::int8, 'm', " MARK
	", 'w', " WORDS
	"))::text FROM pg_largeobject_metadata m LEFT JOIN " PAGES(
		"WHERE loid = ANY ($1::oid[])") " ON p.loid = m.oid"
						" WHERE m.oid = ANY ($1::oid[])";

/* Their pages behind one: what put() takes, how many, and the last one. */
static const char pages[] =
	"SELECT array_agg(loid ORDER BY loid, pageno),"
	" array_agg(at ORDER BY loid, pageno), array_agg(d ORDER BY loid,"
	" pageno), count(*), max(loid), (array_agg(pageno ORDER BY loid DESC,"
	" pageno DESC))[1] FROM (SELECT loid, pageno, pageno::bigint *"
	" (current_setting('block_size')::int / 4) AS at,"
	" encode(data, 'hex') AS d FROM pg_largeobject"
	" WHERE loid = ANY ($1::oid[]) AND (loid, pageno) > ($2::oid, $3::int)"
	" ORDER BY loid, pageno LIMIT 2048) x";

static const char put[] =
	"SELECT count(lo_put(o, at, decode(d, 'hex'))) FROM"
	" unnest($1::oid[], $2::bigint[], $3::text[]) AS u(o, at, d)";

/* What is equal from now on. */
static const char note[] =
	"INSERT INTO @.object SELECT m.oid, " MARK ", j->>'m' FROM"
	" json_array_elements($1::json) j JOIN pg_largeobject_metadata m ON"
	" m.oid = (j->>'o')::int8::oid LEFT JOIN " PAGES(
		"WHERE loid IN (SELECT (j->>'o')::int8::oid FROM"
		" json_array_elements($1::json) j)") " ON p.loid = m.oid";

/* begin_objects: they are there, and empty; the fence stands until the commit. */
const char object_functions[] =
	"CREATE TABLE IF NOT EXISTS @.object ("
	" loid oid PRIMARY KEY, here text NOT NULL, there text NOT NULL);"
	"CREATE OR REPLACE FUNCTION @.begin_objects(gone oid[], made oid[])"
	" RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $f$"
	" BEGIN PERFORM 1 FROM @.fence WHERE is_shut FOR SHARE;"
	" IF NOT FOUND THEN RAISE EXCEPTION 'godwit: it is not shut'; END IF;"
	" PERFORM lo_unlink(oid) FROM pg_largeobject_metadata"
	"  WHERE oid = ANY (gone || made);"
	" DELETE FROM @.object WHERE loid = ANY (gone || made);"
	" PERFORM lo_create(o) FROM unnest(made) o; END $f$;"
	"CREATE OR REPLACE FUNCTION @.end_objects(list json) RETURNS void"
	" LANGUAGE plpgsql SET search_path = pg_catalog AS $f$"
	" DECLARE w text; BEGIN"
	" FOR w IN SELECT j->>'w' FROM json_array_elements(list) j LOOP"
	"  EXECUTE w; END LOOP; END $f$;";

/* One question; @ is the schema. */
static int
ask(struct object_round *o, struct backend *b, const char *sql,
    const char *const *param, PGresult **ret, struct err *err)
{
	uint64_t now_ns = os_mono_ns();
	char text[4096];
	size_t used = 0;

	*ret = NULL;
	if (atomic_load(&o->stop))
		return err_set(err, ERR_ABORTED, "stopped");
	if (now_ns >= o->until_ns)
		return err_set(err, ERR_POSTPONED,
		               "large objects have just changed, and take "
		               "longer to copy than clients may wait");
	for (const char *p = sql; *p != '\0'; p++) {
		const char *from = *p == '@' ? o->schema : p;
		size_t n = *p == '@' ? strlen(from) : 1;

		REQUIRE(used + n < sizeof(text));
		memcpy(text + used, from, n);
		used += n;
	}
	text[used] = '\0';
	return backend_ask(b,
	                   (uint32_t)((o->until_ns - now_ns) / NS_PER_MS + 1),
	                   text, param, ret, err);
}

static int
run(struct object_round *o, struct backend *b, const char *sql,
    const char *const *param, struct err *err)
{
	PGresult *res;
	int rc = ask(o, b, sql, param, &res, err);

	PQclear(res);
	return rc;
}

/* ---- some objects ---------------------------------------------------------------- */

/* Arrays as the server reads them; all pages of those that are made. */
struct batch {
	char gone[BATCH_OBJECTS * 12 + 4];
	char made[BATCH_OBJECTS * 12 + 4];
	uint32_t n;
	uint64_t pages;
};

static void
clear(struct batch *b)
{
	(void)snprintf(b->gone, sizeof(b->gone), "{}");
	(void)snprintf(b->made, sizeof(b->made), "{}");
	b->n = 0;
	b->pages = 0;
}

static void
add(char *list, size_t size, const char *oid)
{
	size_t n = strlen(list);

	(void)snprintf(list + n - 1, size - n + 1, "%s%s}", n > 2 ? "," : "",
	               oid);
}

static int
put_pages(struct object_round *o, const struct batch *b, struct err *err)
{
	char object[16] = "0";
	char page[16] = "-1";
	bool more = b->pages > 0;
	int rc = 0;

	while (rc == 0 && more) {
		const char *which[] = { b->made, object, page, NULL };
		const char *bytes[4] = { NULL };
		PGresult *res;

		rc = ask(o, o->from, pages, which, &res, err);
		more = rc == 0 && strtol(PQgetvalue(res, 0, 3), NULL, 10) > 0;
		for (int i = 0; more && i < 3; i++)
			bytes[i] = PQgetvalue(res, 0, i);
		if (more) {
			(void)snprintf(object, sizeof(object), "%s",
			               PQgetvalue(res, 0, 4));
			(void)snprintf(page, sizeof(page), "%s",
			               PQgetvalue(res, 0, 5));
			rc = run(o, o->to, put, bytes, err);
		}
		PQclear(res);
	}
	return rc;
}

static int
copy(struct object_round *o, struct batch *b, struct err *err)
{
	const char *both[] = { b->gone, b->made, NULL };
	const char *made[] = { b->made, NULL };
	const char *list[] = { NULL, NULL };
	PGresult *res = NULL;
	int rc;

	if (b->n == 0)
		return 0;
	rc = ask(o, o->from, tell, made, &res, err);
	if (rc == 0)
		rc = run(o, o->to, "BEGIN", NULL, err);
	if (rc == 0)
		rc = run(o, o->to,
		         "SELECT @.begin_objects($1::oid[], $2::oid[])", both,
		         err);
	if (rc == 0)
		rc = put_pages(o, b, err);
	if (rc == 0 && !PQgetisnull(res, 0, 0)) {
		list[0] = PQgetvalue(res, 0, 0);
		rc = run(o, o->to, "SELECT @.end_objects($1::json)", list, err);
		if (rc == 0)
			rc = run(o, o->to, note, list, err);
	}
	if (rc == 0)
		rc = run(o, o->to, "COMMIT", NULL, err);
	PQclear(res);
	o->made += rc == 0 ? b->n : 0;
	clear(b);
	return rc;
}

/* ---- all of them ------------------------------------------------------------------ */

static unsigned long
number(const PGresult *res, int i)
{
	return i < PQntuples(res) ? strtoul(PQgetvalue(res, i, 0), NULL, 10)
	                          : (unsigned long)UINT32_MAX + 1;
}

/* Does a side's note say that this goes with the other's mark? */
static bool
goes_with(const PGresult *a, int i, const PGresult *b, int j)
{
	return !PQgetisnull(a, i, 3) &&
	       strcmp(PQgetvalue(a, i, 3), PQgetvalue(b, j, 1)) == 0;
}

static int
merge(struct object_round *o, const PGresult *a, const PGresult *b,
      struct err *err)
{
	struct batch *batch = malloc(sizeof(*batch));
	int i = 0;
	int j = 0;
	int rc = 0;

	if (batch == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	clear(batch);
	while (rc == 0 && (i < PQntuples(a) || j < PQntuples(b))) {
		unsigned long x = number(a, i);
		unsigned long y = number(b, j);

		if (x > y) {
			add(batch->gone, sizeof(batch->gone),
			    PQgetvalue(b, j, 0));
			batch->n++;
		} else if (x < y ||
		           (!goes_with(a, i, b, j) && !goes_with(b, j, a, i))) {
			add(batch->made, sizeof(batch->made),
			    PQgetvalue(a, i, 0));
			batch->n++;
			batch->pages += strtoull(PQgetvalue(a, i, 2), NULL, 10);
		}
		i += x <= y;
		j += y <= x;
		if (batch->n == BATCH_OBJECTS || batch->pages >= BATCH_PAGES)
			rc = copy(o, batch, err);
	}
	if (rc == 0)
		rc = copy(o, batch, err);
	free(batch);
	return rc;
}

static void
roll_back(struct backend *b)
{
	struct err ignored; /* a lost connection has none open */

	if (b->c != NULL && backend_run(b, LIMIT_CALL_MS, "ROLLBACK", &ignored))
		backend_close(b);
}

int
object_round(struct object_round *o, struct err *err)
{
	uint64_t began_ns = os_mono_ns();
	PGresult *a = NULL;
	PGresult *b = NULL;
	int rc = run(o, o->from,
	             "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL,
	             err);

	o->made = 0;
	if (rc == 0)
		rc = ask(o, o->from, look, NULL, &a, err);
	if (rc == 0)
		rc = ask(o, o->to, look, NULL, &b, err);
	o->look_ns = os_mono_ns() - began_ns;
	if (rc == 0) {
		o->objects = (uint64_t)PQntuples(a);
		rc = merge(o, a, b, err);
	}
	PQclear(a);
	PQclear(b);
	roll_back(o->from);
	if (rc != 0)
		roll_back(o->to);
	return rc;
}
