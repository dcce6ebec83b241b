/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/carry.c: sequences, which no stream carries. (Large objects:
 * object.c.)
 *
 * Between the barrier and the commit, when nobody can take a value on the losing
 * side: a sequence of the other side is set to the same value, and only forwards,
 * so that no value is ever handed out twice, in either direction.
 *
 * A switch that accepts a loss may find the losing side gone. Then nobody knows what its
 * sequences have given, but the rows that came from it are here: a sequence goes behind the
 * greatest value of each column that takes its values, and ROOM further, so that what is lost
 * gives its names to nothing else.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/object.h"

/* A publication that names its tables (rights.c) misses one that was made since. */
static int
check_published(struct run *r, enum side from, struct err *err)
{
	char *missed;
	int rc;

	if (!r->at[from].pg->is_plain)
		return 0;
	rc = pg_ask_text(r, from,
	                 "SELECT coalesce(min(t), '') FROM (SELECT"
	                 " format('%I.%I', nspname, relname) AS t " PG_TABLES
	                 " EXCEPT SELECT format('%I.%I', schemaname, tablename)"
	                 " FROM pg_publication_tables WHERE pubname = '@') x",
	                 &missed, err);
	if (rc == 0 && missed[0] != '\0')
		rc = err_set(err, ERR_STATE,
		             "%s: table %s was made while the migration ran, "
		             "and is not carried; drop it, or begin again",
		             r->side[from].label, missed);
	free(missed);
	return rc;
}

/* Roles that somebody made meanwhile: their sessions will not find them there. */
static int
tell_roles(struct run *r, struct err *err)
{
	enum side from = run_authority(r);
	struct pg_side *p = r->at[side_other(from)].pg;
	const char *param[] = { NULL, NULL };
	PGresult *res = NULL;
	char *list;
	int rc = pg_ask_text(r, from,
	                     "SELECT coalesce(json_agg(rolname), '[]')::text"
	                     " FROM pg_roles WHERE rolname !~ '^(pg_|godwit-)'",
	                     &list, err);

	param[0] = list;
	if (rc == 0)
		rc = pg_ask(
			r, side_other(from),
			"SELECT coalesce(string_agg(quote_ident(n), ', ' ORDER BY"
			" n), '') FROM json_array_elements_text($1::json) n"
			" WHERE n NOT IN (SELECT rolname FROM pg_roles)",
			param, &res, err);
	if (rc == 0 && strncmp(p->lacks, PQgetvalue(res, 0, 0),
	                       sizeof(p->lacks) - 1) != 0) {
		(void)snprintf(p->lacks, sizeof(p->lacks), "%s",
		               PQgetvalue(res, 0, 0));
		if (p->lacks[0] != '\0')
			run_event(r, "users",
			          "not on %s, made since the start: %s; make "
			          "them there",
			          side_name(side_other(from)), p->lacks);
	}
	PQclear(res);
	free(list);
	return rc;
}

/* What a subscription brings is written by a worker of the server's, who does not log in:
 * no fence stops it. */
static int
check_subscribed(struct run *r, enum side from, struct err *err)
{
	char *names;
	int rc = pg_ask_text(r, from,
	                     "SELECT coalesce(string_agg(quote_ident(subname), "
	                     "', ' ORDER BY subname), '') FROM pg_subscription "
	                     "WHERE subenabled AND subdbid = (SELECT oid FROM "
	                     "pg_database WHERE datname = current_database())",
	                     &names, err);

	if (rc == 0 && names[0] != '\0')
		rc = err_set(
			err, ERR_STATE,
			"%s: the subscription %s would go on writing there; "
			"ALTER SUBSCRIPTION .. DISABLE first",
			r->side[from].label, names);
	if (rc == 0 || rc == -ERR_STATE)
		free(names);
	return rc;
}

/* Nobody is held yet; what moves from here on is little, and both servers have looked at
 * each sequence once, which takes most of the time. */
static int
carry_before(struct run *r, struct err *err)
{
	bool had_time = r->has_time;
	int rc;

	r->has_time = true;
	rc = pg_carry_sequences(r, run_authority(r), err);
	r->has_time = had_time;
	return rc;
}

int
pg_ready(struct run *r, struct err *err)
{
	int rc = tell_roles(r, err);

	if (rc == 0)
		rc = check_subscribed(r, run_authority(r), err);
	if (rc == 0)
		rc = carry_before(r, err);
	return rc == 0 ? pg_object_ready(r, err) : rc;
}

int
pg_carry(struct run *r, enum side from, struct err *err)
{
	int rc = pg_carry_sequences(r, from, err);

	/* It came behind the look at the gates; back is not kept from anybody. */
	if (rc == 0 && from == SIDE_OLD && r->owed_n > 0)
		return err_set(err, ERR_POSTPONED, "%s", r->owed);
	return rc == 0 ? pg_object_carry(r, from, err) : rc;
}

int
pg_carry_sequences(struct run *r, enum side from, struct err *err)
{
	enum side to = side_other(from);
	char *list;
	int rc = check_published(r, from, err);

	if (rc != 0)
		return rc;
	/* As JSON: one text, whatever is in a name. Of a sequence that was set and not
	 * called since, the value is the next one: pg_sequences does not tell it. */
	rc = pg_ask_text(r, from,
	                 "SELECT coalesce(json_agg(q)::text, '[]')"
	                 " FROM @.sequences() q",
	                 &list, err);
	if (rc != 0)
		return rc;
	if (strcmp(list, "[]") != 0)
		rc = pg_tell(r, to, "SELECT @.set_sequences($1::json)", list,
		             err);
	free(list);
	return rc;
}

/* ---- what is left where the losing side cannot say it ----------------------------- */

#define ROOM "1000"

/* A statement for each sequence: its name, what it may have at least, what to say. $1: how
 * much further. One that goes round has no greatest value; one without so much room gets
 * none. */
static const char words[] =
	"WITH uses AS (SELECT d.objid AS s, d.refobjid AS t, d.refobjsubid AS col"
	" FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND"
	" d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND"
	" d.refobjsubid > 0 UNION SELECT d.refobjid, a.adrelid, a.adnum FROM"
	" pg_depend d JOIN pg_attrdef a ON a.oid = d.objid WHERE d.classid ="
	" 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass),"
	" seqs AS (SELECT q.*, format('%I.%I', n.nspname, c.relname) AS name,"
	" seqincrement > 0 AS up FROM pg_sequence q JOIN pg_class c ON c.oid ="
	" seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE"
	" c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%' AND"
	" n.nspname NOT LIKE 'godwit\\_%')"
	" SELECT name, format('SELECT setval(%L, (CASE WHEN v + %s %s %s THEN"
	" v + %s ELSE v END)::bigint) FROM (SELECT last_value, %s(%s(last_value,"
	" %s), %s)::numeric AS v FROM %s) x WHERE %s OR v %s last_value',"
	" name, $1::numeric * seqincrement, CASE WHEN up THEN '<=' ELSE '>='"
	" END, CASE WHEN up THEN seqmax ELSE seqmin END, $1::numeric *"
	" seqincrement, CASE WHEN up THEN 'least' ELSE 'greatest' END, CASE"
	" WHEN up THEN 'greatest' ELSE 'least' END, coalesce((SELECT"
	" string_agg(format('(SELECT trunc(%s(%I))::numeric FROM %I.%I)', CASE"
	" WHEN up THEN 'max' ELSE 'min' END, attname, tn.nspname, t.relname),"
	" ', ') FROM uses JOIN pg_class t ON t.oid = uses.t JOIN pg_namespace"
	" tn ON tn.oid = t.relnamespace JOIN pg_attribute a ON attrelid = t.oid"
	" AND attnum = col AND atttypid IN (20, 21, 23, 1700) WHERE uses.s ="
	" seqrelid AND NOT seqcycle), 'NULL'), CASE WHEN up THEN seqmax ELSE"
	" seqmin END, name, ($1::numeric > 0)::text, CASE WHEN up THEN '>' ELSE '<'"
	" END) FROM seqs";

/* One that takes too long, or may not be set, is named. */
static void
by_columns(struct run *r, enum side s, const char *room)
{
	const char *param[] = { room, NULL };
	PGresult *all;
	PGresult *res;
	struct err err;
	int set = 0;

	if (pg_ask(r, s, words, param, &all, &err) != 0) {
		run_event(r, "sequences", "not set on %s: %s", r->side[s].label,
		          err.text);
		return;
	}
	for (int i = 0; i < PQntuples(all); i++) {
		/* Not pg_ask(): names of theirs may have the sign that stands
		 * for our schema. */
		int rc = pg_reach(r, s, &err);

		res = NULL;
		if (rc == 0)
			rc = backend_ask(&r->at[s].pg->b, pg_call_ms(r),
			                 PQgetvalue(all, i, 1), NULL, &res,
			                 &err);
		if (rc != 0)
			run_event(r, "sequences",
			          "%s: not set on %s, do it by setval: %s",
			          PQgetvalue(all, i, 0), r->side[s].label,
			          err.text);
		else
			set += PQntuples(res);
		PQclear(res);
	}
	if (set > 0)
		run_event(r, "sequences",
		          "%d on %s go on behind what its columns hold", set,
		          r->side[s].label);
	PQclear(all);
}

void
pg_salvage(struct run *r, enum side from)
{
	struct err err;

	if (r->at[from].is_up && pg_carry_sequences(r, from, &err) == 0)
		return;
	r->at[side_other(from)].pg->salvaged = true;
	by_columns(r, side_other(from), ROOM);
}

void
pg_salvage_tend(struct run *r, enum side s)
{
	struct pg_side *p = r->at[s].pg;

	if (p == NULL || !p->salvaged || r->cut_on || !r->at[s].is_up)
		return;
	p->salvaged = false;
	by_columns(r, s, "0");
}
