/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/left.c: a database that an earlier migration has left behind.
 *
 * As the new side of the way back: behind `complete` old stays shut. Which transaction was
 * its next one then is in the journal; a row of a later one was written behind the switch,
 * by somebody whom the fence let in or who opened it. While there is none, new has all
 * that it holds, and it is emptied: shut first, looked at, then wiped. Rows that were
 * deleted there are new's to tell.
 *
 * As the new side of a migration that was rolled back, ended, and begins again: the end
 * opens new for everybody, and the next copy empties the tables of the first one. So the
 * same is noted before it is opened, and looked at before anything is copied.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/both.h"

#define LOOK_MS 3600000u /* all rows of a table */
#define WIPE_MS 600000u
#define NAMES   120
#define AGE_MAX \
	"2000000000"    /* numbers of transactions come again behind that */
#define OBJECTS  "1000" /* a transaction; each is a lock */
#define NEXT_SQL "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"

/* Of tables that hold rows, and the rows of large objects. */
#define HOLDERS                                                            \
	"SELECT format('%I.%I', nspname, relname) FROM pg_class c JOIN"    \
	" pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND"  \
	" relpersistence <> 't' AND nspname NOT LIKE 'pg\\_%' AND nspname" \
	" <> 'information_schema' AND nspname NOT LIKE 'godwit\\_%' UNION" \
	" ALL SELECT 'pg_largeobject_metadata' ORDER BY 1"

void
pg_left_note(struct run *r, enum side s)
{
	struct err err;
	char *next = NULL;
	int rc = pg_ask_text(r, s, NEXT_SQL, &next, &err);

	if (rc == 0)
		rc = journal_set_meta(r->journal, "left_at", next, &err);
	if (rc != 0)
		run_event(r, "left", "%s", err.text);
	free(next);
}

bool
pg_left_is(const struct run *r)
{
	return r->conf->new_is_stale && !pg_both_is_said(r);
}

/* ---- what was written since ------------------------------------------------------ */

/* Is it the server of then, and can it be told? at: a note. */
static int
check_age(struct run *r, const char *at, struct err *err)
{
	const char *param[] = { at, NULL };
	PGresult *res;
	int rc = pg_ask(r, SIDE_NEW,
	                "SELECT x.n - $1::numeric BETWEEN 0 AND " AGE_MAX
	                " FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())"
	                "::text::numeric) x(n)",
	                param, &res, err);

	if (rc == 0 && PQgetvalue(res, 0, 0)[0] != 't')
		rc = err_set(err, ERR_REFUSED,
		             "%s: what was written there since it was left "
		             "cannot be told: it is another server by now, or "
		             "too old; give an empty database",
		             r->side[SIDE_NEW].label);
	PQclear(res);
	return rc;
}

/* Rows of one holder, a million at most. */
static int
count(struct run *r, const char *at, const char *name, unsigned long *ret,
      struct err *err)
{
	char sql[640];
	PGresult *res;
	int rc = pg_reach(r, SIDE_NEW, err);

	*ret = 0;
	if (rc != 0)
		return rc;
	(void)snprintf(sql, sizeof(sql),
	               "SELECT count(*) FROM (SELECT FROM ONLY %.400s WHERE"
	               " age(xmin) <= age((%s::numeric %% 4294967296)::text"
	               "::xid) LIMIT 1000000) x",
	               name, at);
	rc = backend_ask(&r->at[SIDE_NEW].pg->b, LOOK_MS, sql, NULL, &res, err);
	if (rc == 0)
		*ret = strtoul(PQgetvalue(res, 0, 0), NULL, 10);
	PQclear(res);
	return rc;
}

/* Where somebody has written since, as "public.t: 3, ..". */
static int
written(struct run *r, const char *at, char ret[NAMES], struct err *err)
{
	PGresult *res = NULL;
	size_t used = 0;
	unsigned long n;
	int rc = check_age(r, at, err);

	ret[0] = '\0';
	if (rc == 0)
		rc = pg_ask(r, SIDE_NEW, HOLDERS, NULL, &res, err);
	for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
		rc = count(r, at, PQgetvalue(res, i, 0), &n, err);
		if (rc != 0 || n == 0 || used >= NAMES - 8)
			continue;
		used += (size_t)snprintf(ret + used, NAMES - used, "%s%s: %lu",
		                         used > 0 ? ", " : "",
		                         PQgetvalue(res, i, 0), n);
	}
	PQclear(res);
	return rc;
}

/* Nobody writes any more while it is looked at. */
static int
shut_new(struct run *r, struct err *err)
{
	int rc = journal_add(r->journal, JOURNAL_FENCE,
	                     json_pack("{s:s}", "side", "new"), err);

	if (rc == 0)
		rc = pg_shut(r, SIDE_NEW, journal_authority(r->journal).epoch,
		             err);
	return rc == 0 ? pg_kill(r, SIDE_NEW, err) : rc;
}

/* ---- behind `complete` ----------------------------------------------------------- */

static int
refuse(const struct run *r, const char *names, struct err *err)
{
	return err_set(err, ERR_REFUSED,
	               "%s: written there behind the switch, past Godwit: %s; "
	               "take it to old and remove it there, or say which rows "
	               "stay (data.replace)",
	               r->side[SIDE_NEW].label, names);
}

int
pg_left_check(struct run *r, long long tables, struct err *err)
{
	char text[sizeof(r->checks.line[0].detail)];
	char names[NAMES];
	int rc = 0;

	names[0] = '\0';
	/* A start looks under its fence. */
	if (r->conf->left_id[0] != '\0')
		rc = written(r, r->conf->left_at, names, err);
	if (rc == -ERR_REFUSED || (rc == 0 && names[0] != '\0')) {
		if (rc == 0)
			(void)refuse(r, names, err);
		checks_add(&r->checks, "left_behind", CHECK_FAIL, err->text);
		return 0;
	}
	if (rc != 0)
		return rc;
	(void)snprintf(text, sizeof(text),
	               "%s is what an earlier migration has left behind; "
	               "nothing was written there since. All of it (%lld "
	               "tables) is dropped at the start, and copied anew",
	               r->side[SIDE_NEW].label, tables);
	checks_add(&r->checks, "left_behind", CHECK_WARN, text);
	return 0;
}

/* ---- emptied --------------------------------------------------------------------- */

static int
wipe(struct run *r, struct err *err)
{
	struct backend *b = &r->at[SIDE_NEW].pg->b;
	char *sql = pg_text(r, SIDE_NEW,
	                    /* Those of people would act on what follows. */
	                    "DO $$ DECLARE n name; BEGIN FOR n IN SELECT"
	                    " evtname FROM pg_event_trigger WHERE evtname !~"
	                    " '^godwit_' LOOP EXECUTE format('DROP EVENT"
	                    " TRIGGER %I', n); END LOOP; END $$;"
	                    "DROP TABLE IF EXISTS @.before;"
	                    "CREATE TABLE @.before (class oid, obj oid);"
	                    "CREATE TABLE IF NOT EXISTS @.loaded ();"
	                    "SELECT @.wipe(); DROP TABLE @.before");
	PGresult *res;
	bool is_left = true;
	int rc = sql != NULL ? pg_reach(r, SIDE_NEW, err)
	                     : err_set(err, ERR_NOMEM, "out of memory");

	if (rc == 0)
		rc = backend_run(b, WIPE_MS, sql, err);
	free(sql);
	while (rc == 0 && is_left) {
		rc = backend_ask(b, WIPE_MS,
		                 "SELECT count(lo_unlink(oid)) FROM (SELECT oid"
		                 " FROM pg_largeobject_metadata LIMIT " OBJECTS
		                 ") x",
		                 NULL, &res, err);
		is_left = rc == 0 && PQgetvalue(res, 0, 0)[0] != '0';
		PQclear(res);
	}
	return rc;
}

int
pg_left_empty(struct run *r, struct err *err)
{
	char *done = journal_meta(r->journal, "emptied");
	bool is_done = done != NULL;
	char names[NAMES];
	int rc;

	free(done);
	if (!pg_left_is(r) || is_done)
		return 0;
	rc = shut_new(r, err);
	if (rc == 0)
		rc = written(r, r->conf->left_at, names, err);
	if (rc == 0 && names[0] != '\0')
		rc = refuse(r, names, err);
	if (rc == 0)
		rc = wipe(r, err);
	return rc == 0 ? journal_set_meta(r->journal, "emptied", "1", err) : rc;
}

/* ---- behind a rollback ----------------------------------------------------------- */

/* In the journal: a note; empty while a life of the migration keeps new shut. */
#define KEY "new_left_at"

static bool
is_noted(struct journal *j)
{
	char *at = journal_meta(j, KEY);
	bool ret = at != NULL && at[0] != '\0';

	free(at);
	return ret;
}

int
pg_left_opens(struct journal *j, struct backend *b, struct err *err)
{
	PGresult *res = NULL;
	int rc;

	/* Of several tries to open it the first one counts. */
	if (is_noted(j))
		return 0;
	rc = backend_ask(b, LIMIT_PREFLIGHT_MS, NEXT_SQL, NULL, &res, err);
	if (rc == 0)
		rc = journal_set_meta(j, KEY, PQgetvalue(res, 0, 0), err);
	PQclear(res);
	return rc;
}

int
pg_left_again(struct run *r, bool is_anew, struct err *err)
{
	const char *label = r->side[SIDE_NEW].label;
	char *at = journal_meta(r->journal, KEY);
	char names[NAMES];
	int rc = 0;

	if (at != NULL ? at[0] == '\0' : !is_anew) {
		free(at);
		return 0;
	}
	names[0] = '\0';
	if (at == NULL)
		rc = err_set(
			err, ERR_POSTPONED,
			"%s: nobody knows what was written there since the "
			"rollback was ended; begin anew, with an empty "
			"database and another --state",
			label);
	else if (pg_both_is_said(r))
		rc = err_set(
			err, ERR_POSTPONED,
			"%s: since the rollback was ended its own rows "
			"cannot be told from those that were copied; begin "
			"anew, with another --state",
			label);
	if (rc == 0)
		rc = shut_new(r, err);
	if (rc == 0)
		rc = written(r, at, names, err);
	free(at);
	if (rc == 0 && names[0] != '\0')
		rc = err_set(err, ERR_POSTPONED,
		             "%s: written there since the rollback was ended, "
		             "past Godwit: %s; take it to old and remove it "
		             "there",
		             label, names);
	/* Old is served all the same, and this is tried again. */
	if (rc == -ERR_REFUSED)
		err->code = ERR_POSTPONED;
	return rc == 0 ? journal_set_meta(r->journal, KEY, "", err)
	               : -(int)err->code;
}
