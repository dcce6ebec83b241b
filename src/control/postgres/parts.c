/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/parts.c: in a split each server refuses to write the other one's tables.
 *
 * A statement trigger on each such table, ENABLE ALWAYS, refuses everybody but Godwit's own
 * role: owners and superusers, functions, cascades and clients that bypass Godwit as well.
 * To make it, or to switch it on, takes SHARE ROW EXCLUSIVE, which waits for every open
 * transaction that has written the table; so when it is committed there is none, and there
 * will be none: an exact fence. A table at a time, each in its own transaction, so that no
 * two of its locks can be in somebody's way.
 *
 * What was shut is switched off, not dropped, while clients wait: that waits for nobody who
 * reads. It is dropped when there is time (pg_parts_tend()).
 *
 * A row of `part` says that there is a split, and of which features; while it is there
 * changes of the schema are refused (ddl.c).
 *
 * Every function may be repeated after a crash.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/cross.h"
#include "control/postgres/side.h"
#include "control/rulebook.h"

/* The first try waits so long for a table; who holds it then is ended. */
#define WAIT_FIRST_MS 60
/* While nobody is held. */
#define WAIT_LONG_MS  3000
/* For what can wait. */
#define WAIT_DROP_MS  20
/* Tables that may come while others are shut. */
#define ROUNDS        4

/* theirs: the tables of the other side. part_table: how is 'shut', 'open' or 'drop'. The
 * trigger asks who logged in, which no statement of an application changes. */
static const char functions[] =
	"CREATE OR REPLACE FUNCTION @.refuse() RETURNS trigger"
	" LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog"
	" AS $f$ BEGIN RAISE EXCEPTION USING ERRCODE ="
	" 'feature_not_supported', MESSAGE = format('table %I.%I is on the %s"
	" server now (godwit, epoch %s)', TG_TABLE_SCHEMA, TG_TABLE_NAME,"
	" TG_ARGV[0], (SELECT epoch FROM @.fence)), HINT = 'A migration moves"
	" it; write by the address of the interlay.'; END $f$;"
	"CREATE OR REPLACE FUNCTION @.theirs(features text, moved bigint,"
	" is_old bool) RETURNS SETOF oid LANGUAGE sql STABLE"
	" SET search_path = pg_catalog AS $f$ " PG_SCOPES
	" done AS (SELECT 1) SELECT own.oid FROM own JOIN pg_class c USING"
	" (oid) WHERE c.relkind IN ('r', 'p') AND $2 <> 0 AND (own.u > 0 AND"
	" ($2 >> (greatest(own.u, 1) - 1)::int) & 1 = 1) = $3 $f$;"
	"CREATE OR REPLACE FUNCTION @.part_token(e bigint, features text,"
	" moved bigint, wait int) RETURNS void LANGUAGE plpgsql"
	" SET search_path = pg_catalog AS $f$ BEGIN"
	" SET LOCAL synchronous_commit = on;"
	" PERFORM set_config('lock_timeout', wait::text, true);"
	" UPDATE @.fence SET epoch = e WHERE epoch <= e;"
	" IF NOT FOUND THEN RAISE EXCEPTION 'godwit: stale'; END IF;"
	" IF moved = 0 THEN DELETE FROM @.part; RETURN; END IF;"
	/* Changes of the schema that are under way have their row there. */
	" IF NOT EXISTS (SELECT FROM @.part) THEN"
	"  LOCK TABLE @.ddl IN SHARE ROW EXCLUSIVE MODE; END IF;"
	" INSERT INTO @.part AS p (features, moved) VALUES (features, moved)"
	"  ON CONFLICT (one) DO UPDATE SET features = excluded.features,"
	"  moved = excluded.moved; END $f$;"
	"CREATE OR REPLACE FUNCTION @.part_table(t oid, how text, says text,"
	" wait int) RETURNS void LANGUAGE plpgsql"
	" SET search_path = pg_catalog AS $f$ BEGIN"
	" PERFORM set_config('lock_timeout', wait::text, true);"
	" IF to_regclass(t::regclass::text) IS NULL THEN RETURN; END IF;"
	" IF how = 'drop' THEN"
	"  EXECUTE format('DROP TRIGGER IF EXISTS \"@_part\" ON %s',"
	"   t::regclass); RETURN; END IF;"
	" IF how = 'shut' AND NOT EXISTS (SELECT FROM pg_trigger WHERE"
	"  tgrelid = t AND tgname = '@_part') THEN"
	"  EXECUTE format('CREATE TRIGGER \"@_part\" BEFORE INSERT OR UPDATE OR"
	"   DELETE OR TRUNCATE ON %s FOR EACH STATEMENT WHEN (session_user <>"
	"   %L) EXECUTE FUNCTION @.refuse(%L)', t::regclass, session_user,"
	"   says); END IF;"
	" EXECUTE format('ALTER TABLE ONLY %s %s TRIGGER \"@_part\"',"
	"  t::regclass, CASE how WHEN 'shut' THEN 'ENABLE ALWAYS' ELSE"
	"  'DISABLE' END); END $f$;";

/* Tables that have the trigger. */
#define WITH_TRIGGER                                                    \
	"SELECT tgrelid::text, tgrelid::regclass::text FROM pg_trigger" \
	" WHERE tgname = '@_part' AND NOT tgisinternal"

/* $1: features, $2: moved, $3: is it old? */
#define TO_SHUT                                                                   \
	"SELECT t::text, t::regclass::text AS name FROM @.theirs($1, $2::bigint," \
	" $3::bool) t WHERE NOT EXISTS (SELECT FROM pg_trigger WHERE"             \
	" tgrelid = t AND tgname = '@_part' AND tgenabled = 'A')"
#define TO_OPEN                                                         \
	WITH_TRIGGER                                                    \
	" AND tgenabled <> 'D' AND tgrelid NOT IN (SELECT @.theirs($1," \
	" $2::bigint, $3::bool))"

/* Who has written it and has not ended; Godwit's own sessions are short. */
static const char ends[] =
	"SELECT count(pg_terminate_backend(l.pid)) FROM (SELECT DISTINCT pid"
	" FROM pg_locks WHERE locktype = 'relation' AND relation = $1::oid AND"
	" database = (SELECT oid FROM pg_database WHERE datname ="
	" current_database()) AND granted AND mode NOT IN ('AccessShareLock',"
	" 'RowShareLock') AND pid IS NOT NULL) l JOIN pg_stat_activity a USING"
	" (pid) WHERE a.pid <> pg_backend_pid() AND (a.usename IS NULL OR"
	" a.usename <> session_user)";

struct words {
	char epoch[24];
	char moved[24];
	char *features; /* JSON */
};

/* The features as the servers' functions take them; NULL: no memory. */
static char *
features_text(const struct run *r)
{
	json_t *list = rulebook_words(r, FACTS_RELATION);
	char *ret = json_dumps(list, JSON_COMPACT);

	json_decref(list);
	return ret;
}

static int
say(const struct run *r, uint64_t epoch, uint64_t moved, struct words *ret,
    struct err *err)
{
	(void)snprintf(ret->epoch, sizeof(ret->epoch), "%llu",
	               (unsigned long long)epoch);
	(void)snprintf(ret->moved, sizeof(ret->moved), "%lld",
	               (long long)moved);
	ret->features = features_text(r);
	return ret->features != NULL ? 0
	                             : err_set(err, ERR_NOMEM, "out of memory");
}

static bool
is_lock_timeout(const struct err *err)
{
	return strstr(err->text, "lock timeout") != NULL;
}

static int
token(struct run *r, enum side s, const struct words *w, uint32_t wait,
      struct err *err)
{
	char ms[16];
	const char *param[] = { w->epoch, w->features, w->moved, ms, NULL };
	PGresult *res;
	int rc;

	(void)snprintf(ms, sizeof(ms), "%u", wait);
	rc = pg_ask(r, s, "SELECT @.part_token($1, $2, $3, $4)", param, &res,
	            err);
	PQclear(res);
	if (rc == -ERR_REFUSED && strstr(err->text, "godwit: stale") != NULL)
		return err_set(err, ERR_STATE,
		               "%s carries the fence of a later epoch than "
		               "%s: another controller is at work; stop one "
		               "of them",
		               r->side[s].label, w->epoch);
	if (rc != 0 && is_lock_timeout(err))
		return err_set(err, ERR_POSTPONED,
		               "%s: a transaction that changes the schema is "
		               "open",
		               r->side[s].label);
	return rc;
}

/* Is the time of clients who wait running? */
static bool
is_held(const struct run *r)
{
	return r->cut_on && r->cut.hold_at_ns != 0;
}

static int
one_table(struct run *r, enum side s, const char *oid, const char *how,
          uint32_t wait, struct err *err)
{
	char ms[16];
	const char *param[] = { oid, how, side_name(side_other(s)), ms, NULL };
	PGresult *res;
	int rc;

	(void)snprintf(ms, sizeof(ms), "%u", wait);
	rc = pg_ask(r, s, "SELECT @.part_table($1, $2, $3, $4)", param, &res,
	            err);
	PQclear(res);
	return rc;
}

/* Who holds it in a switch is ended, as whoever is on a server that is shut. */
static int
take_table(struct run *r, enum side s, const char *oid, const char *name,
           struct err *err)
{
	const char *param[] = { oid, NULL };
	PGresult *res;
	bool held = is_held(r);
	int rc = one_table(r, s, oid, "shut",
	                   held ? WAIT_FIRST_MS : WAIT_LONG_MS, err);

	if (rc == 0 || !is_lock_timeout(err))
		return rc;
	if (held && pg_ask(r, s, ends, param, &res, err) == 0) {
		if (strcmp(PQgetvalue(res, 0, 0), "0") != 0)
			run_event(
				r, "fence",
				"%s: %s sessions with an open transaction that "
				"wrote %s were ended",
				r->side[s].label, PQgetvalue(res, 0, 0), name);
		PQclear(res);
		rc = one_table(r, s, oid, "shut", pg_call_ms(r) * 3 / 4, err);
	}
	if (rc == 0 || !is_lock_timeout(err))
		return rc;
	return err_set(err, ERR_POSTPONED,
	               "%s: an open or a prepared transaction has written %s",
	               r->side[s].label, name);
}

/* Tables that a question names, at most one round. *ret_n: how many. */
static int
each_table(struct run *r, enum side s, const char *sql, const struct words *w,
           bool shut, int *ret_n, struct err *err)
{
	const char *param[] = { w->features, w->moved,
		                s == SIDE_OLD ? "t" : "f", NULL };
	PGresult *res = NULL;
	int rc = pg_ask(r, s, sql, param, &res, err);

	*ret_n = 0;
	if (rc != 0)
		return rc;
	*ret_n = PQntuples(res);
	for (int i = 0; rc == 0 && i < *ret_n; i++) {
		const char *oid = PQgetvalue(res, i, 0);

		rc = shut ? take_table(r, s, oid, PQgetvalue(res, i, 1), err)
		          : one_table(r, s, oid, "open", pg_call_ms(r) / 2,
		                      err);
	}
	PQclear(res);
	return rc;
}

int
pg_parts_begin(struct run *r, enum side s, struct err *err)
{
	r->at[s].pg->may_have_parts = true;
	return pg_run(r, s, functions, err);
}

int
pg_parts_shut(struct run *r, enum side s, uint64_t epoch, uint64_t moved,
              struct err *err)
{
	struct words w;
	int n = 1;
	int rc = say(r, epoch, moved, &w, err);

	if (rc == 0)
		rc = token(r, s, &w, is_held(r) ? WAIT_FIRST_MS : WAIT_LONG_MS,
		           err);
	for (int i = 0; rc == 0 && n > 0 && i < ROUNDS; i++)
		rc = each_table(r, s, TO_SHUT, &w, true, &n, err);
	if (rc == 0)
		r->at[s].parted = true;
	free(w.features);
	return rc;
}

int
pg_parts_open(struct run *r, enum side s, uint64_t epoch, uint64_t moved,
              struct err *err)
{
	struct words w;
	int n;
	int rc = say(r, epoch, moved, &w, err);

	/* What is open first is not shut by what comes late. */
	if (rc == 0)
		rc = token(r, s, &w, WAIT_FIRST_MS, err);
	if (rc == 0)
		rc = each_table(r, s, TO_OPEN, &w, false, &n, err);
	if (rc == 0 && moved == 0)
		r->at[s].parted = false;
	free(w.features);
	return rc;
}

int
pg_parts_holds(struct run *r, enum side s, uint64_t epoch, uint64_t moved,
               struct err *err)
{
	struct words w;
	const char *param[] = { NULL, NULL, s == SIDE_OLD ? "t" : "f", NULL };
	PGresult *res = NULL;
	int rc = say(r, epoch, moved, &w, err);

	param[0] = w.features;
	param[1] = w.moved;
	if (rc == 0)
		rc = pg_ask(r, s,
		            "SELECT (SELECT epoch FROM @.fence), (SELECT moved"
		            " FROM @.part), (SELECT min(x.name) FROM"
		            " (" TO_SHUT ") x)",
		            param, &res, err);
	if (rc == 0 && (strcmp(PQgetvalue(res, 0, 0), w.epoch) != 0 ||
	                strcmp(PQgetvalue(res, 0, 1), w.moved) != 0))
		rc = err_set(err, ERR_STATE,
		             "%s carries the fence of epoch %s, not %s",
		             r->side[s].label, PQgetvalue(res, 0, 0), w.epoch);
	else if (rc == 0 && !PQgetisnull(res, 0, 2))
		rc = err_set(err, ERR_STATE, "%s: %s may be written",
		             r->side[s].label, PQgetvalue(res, 0, 2));
	PQclear(res);
	free(w.features);
	return rc;
}

int
pg_parts_lift(struct run *r, enum side s, struct err *err)
{
	struct words none = { .epoch = "", .moved = "0" };
	PGresult *res;
	int n;
	int rc = pg_ask(r, s, "SELECT to_regproc('@.part_table') IS NULL", NULL,
	                &res, err);
	bool never = rc == 0 && PQgetvalue(res, 0, 0)[0] == 't';

	PQclear(res);
	if (rc != 0 || never)
		return rc;
	r->at[s].pg->may_have_parts = true;
	none.features = features_text(r);
	rc = none.features != NULL ? 0
	                           : err_set(err, ERR_NOMEM, "out of memory");
	if (rc == 0)
		rc = pg_run(r, s, "DELETE FROM @.part", err);
	if (rc == 0)
		rc = each_table(r, s, TO_OPEN, &none, false, &n, err);
	if (rc == 0)
		r->at[s].parted = false;
	free(none.features);
	return rc;
}

int
pg_parts_are_open(struct run *r, enum side s, struct err *err)
{
	PGresult *res;
	int rc;

	if (!r->at[s].pg->may_have_parts)
		return 0;
	rc = pg_ask(
		r, s,
		"SELECT EXISTS (SELECT FROM @.part) OR EXISTS (" WITH_TRIGGER
		" AND tgenabled <> 'D')",
		NULL, &res, err);
	if (rc == 0 && PQgetvalue(res, 0, 0)[0] == 't')
		rc = err_set(err, ERR_STATE, "%s: some tables are shut",
		             r->side[s].label);
	PQclear(res);
	return rc;
}

void
pg_parts_tend(struct run *r, enum side s)
{
	struct pg_side *p = r->at[s].pg;
	PGresult *res = NULL;
	struct err err;
	bool all = true;

	if (p == NULL || !p->may_have_parts || r->cut_on || run_is_split(r) ||
	    !r->at[s].is_up)
		return;
	if (pg_ask(r, s, WITH_TRIGGER, NULL, &res, &err) != 0)
		return;
	for (int i = 0; i < PQntuples(res); i++)
		all = one_table(r, s, PQgetvalue(res, i, 0), "drop",
		                WAIT_DROP_MS, &err) == 0 &&
		      all;
	p->may_have_parts = !all;
	PQclear(res);
}

/* ---- what it takes ------------------------------------------------------------- */

/* Is each transaction's connection its own? Then it cannot be on the other side. */
static bool
pools_by_transaction(const struct run *r)
{
	bool any = r->conf->pool_max > 0;
	bool ret = !any || r->conf->pool == RELAY_POOL_TRANSACTION;

	for (uint32_t i = 0; r->home != NULL && i < r->home->interlay_n; i++) {
		const struct interlay_pool *p = &r->home->interlays[i]->pool;

		any = true;
		ret = ret && p->max > 0 && p->mode == RELAY_POOL_TRANSACTION;
	}
	return any && ret;
}

int
pg_parts_can(const struct run *r, struct err *err)
{
	json_t *list = rulebook_words(r, FACTS_RELATION);
	bool all = json_array_size(list) == r->strategy.unit_n;

	json_decref(list);
	if (!all || rulebook_odd(r, FACTS_RELATION) != FACT_N)
		return err_set(err, ERR_UNABLE,
		               "writes of PostgreSQL move by features that are "
		               "told by schemas and tables alone");
	if (!pools_by_transaction(r))
		return err_set(err, ERR_UNABLE,
		               "writes of PostgreSQL move in parts where each "
		               "transaction gets a connection: --pool "
		               "transaction, or \"pool\" of the interlay");
	return 0;
}

int
pg_parts_gate(struct run *r, struct err *err)
{
	int rc = pg_parts_can(r, err);

	if (rc == 0 && r->new_keys > 0)
		rc = err_set(err, ERR_UNABLE,
		             "writes cannot move in parts: new had rows of its "
		             "own; move all in one cutover");
	for (int s = 0; rc == 0 && s < SIDE_N; s++) {
		if (r->at[s].pg->is_plain)
			rc = err_set(err, ERR_UNABLE,
			             "writes cannot move in parts: %s has no "
			             "superuser for Godwit, who could shut "
			             "tables for everybody",
			             r->side[s].label);
	}
	return rc == 0 ? pg_crosses(r, err) : rc;
}
