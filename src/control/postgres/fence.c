/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/fence.c: applications are shut out of a server, in the server.
 *
 * A fence takes LOGIN from every role but Godwit's (and, where Godwit is no superuser,
 * but those that only a superuser can change: rights.c names them), in one transaction with the
 * epoch's token and with the list of roles that had it (own.c), so that the server
 * itself knows what is to be given back. Sessions that are there are terminated, and
 * so is who passed its role check before the fence committed: it holds a virtual
 * transaction, which is waited for.
 *
 * Every function may be repeated after a crash.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/postgres/side.h"

#define PAUSE_MS 2

/* Sessions of applications in the database that is moved. */
#define SESSIONS                                                        \
	"FROM pg_stat_activity WHERE backend_type = 'client backend'"   \
	" AND datname = current_database() AND pid <> pg_backend_pid()" \
	" AND usename IN (SELECT rolname FROM pg_roles WHERE " PG_THEIRS ")"

/* What applications may do goes into the journal as well: for people, should the
 * server lose its own list. */
int
pg_save(struct run *r, enum side s, struct err *err)
{
	struct run_side *at = &r->at[s];
	PGresult *res;
	json_t *now;
	int rc = pg_ask(
		r, s,
		"SELECT rolname FROM pg_roles WHERE rolcanlogin AND " PG_THEIRS,
		NULL, &res, err);

	if (rc != 0)
		return rc;
	now = at->saved != NULL ? json_copy(at->saved) : json_object();
	for (int i = 0; i < PQntuples(res); i++)
		(void)json_object_set_new(now, PQgetvalue(res, i, 0),
		                          json_string("login"));
	PQclear(res);
	if (at->saved != NULL && json_equal(now, at->saved)) {
		json_decref(now);
		return 0;
	}
	rc = journal_add(
		r->journal, JOURNAL_ACL_SAVED,
		json_pack("{s:s,s:O}", "side", side_name(s), "rules", now),
		err);
	if (rc != 0) {
		json_decref(now);
		return rc;
	}
	json_decref(at->saved);
	at->saved = now;
	return 0;
}

/* One of the functions of own.c, with an epoch. */
static int
call(struct run *r, enum side s, const char *sql, uint64_t epoch,
     struct err *err)
{
	char text[24];
	const char *param[] = { text, NULL };
	PGresult *res;
	int rc;

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)epoch);
	rc = pg_ask(r, s, sql, param, &res, err);
	PQclear(res);
	if (rc == -ERR_REFUSED && strstr(err->text, "godwit: stale") != NULL)
		return err_set(err, ERR_STATE,
		               "%s carries the fence of a later epoch than "
		               "%llu: another controller is at work; stop one "
		               "of them",
		               r->side[s].label, (unsigned long long)epoch);
	return rc;
}

/* Behind a fence made as the URL's user nobody could come in. */
static int
as_own(struct run *r, enum side s, struct err *err)
{
	int rc = pg_reach(r, s, err);

	if (rc == 0 && !r->at[s].pg->as_own)
		rc = pg_users(r, s, err);
	if (rc == 0 && !r->at[s].pg->as_own)
		rc = err_set(err, ERR_STATE, "%s has lost Godwit's own role",
		             r->side[s].label);
	return rc;
}

int
pg_shut(struct run *r, enum side s, uint64_t epoch, struct err *err)
{
	int rc = as_own(r, s, err);

	if (rc == 0)
		rc = pg_save(r, s, err);
	if (rc == 0)
		rc = call(r, s, "SELECT @.shut($1)", epoch, err);
	if (rc == 0)
		r->at[s].fenced = true;
	return rc;
}

int
pg_lift(struct run *r, enum side s, uint64_t epoch, struct err *err)
{
	int rc = call(r, s, "SELECT @.lift($1)", epoch, err);

	if (rc == 0)
		r->at[s].fenced = false;
	return rc;
}

struct look {
	bool is_shut;
	uint64_t epoch;
	uint64_t open;     /* roles that may log in            */
	uint64_t closed;   /* roles that could have it back    */
	uint64_t sessions; /* of applications                  */
	uint64_t prepared; /* two-phase transactions           */
};

static int
look(struct run *r, enum side s, struct look *ret, struct err *err)
{
	PGresult *res;
	int rc = pg_ask(r, s,
	                "SELECT is_shut::int, epoch,"
	                " (SELECT count(*) FROM pg_roles WHERE rolcanlogin"
	                "  AND " PG_THEIRS "),"
	                " (SELECT count(*) FROM @.closed"
	                "  JOIN pg_roles ON rolname = role),"
	                " (SELECT count(*) " SESSIONS "),"
	                " (SELECT count(*) FROM pg_prepared_xacts"
	                "  WHERE database = current_database())"
	                " FROM @.fence",
	                NULL, &res, err);
	uint64_t v[6] = { 0 };

	if (rc != 0)
		return rc;
	if (PQntuples(res) != 1)
		rc = err_set(err, ERR_STATE, "%s has lost its token",
		             r->side[s].label);
	for (int i = 0; rc == 0 && i < 6; i++)
		v[i] = strtoull(PQgetvalue(res, 0, i), NULL, 10);
	PQclear(res);
	*ret = (struct look){ .is_shut = v[0] != 0,
		              .epoch = v[1],
		              .open = v[2],
		              .closed = v[3],
		              .sessions = v[4],
		              .prepared = v[5] };
	return rc;
}

int
pg_holds(struct run *r, enum side s, uint64_t epoch, struct err *err)
{
	struct look l;
	int rc = look(r, s, &l, err);

	if (rc != 0)
		return rc;
	if (!l.is_shut || l.epoch != epoch)
		return err_set(err, ERR_STATE,
		               "%s carries the fence of epoch %llu, not %llu",
		               r->side[s].label, (unsigned long long)l.epoch,
		               (unsigned long long)epoch);
	if (l.open == 0 && l.sessions == 0 && l.prepared == 0)
		return 0;
	r->at[s].fenced = l.open == 0;
	return err_set(err, ERR_STATE,
	               "%s: %llu roles may log in, %llu sessions of "
	               "applications and %llu prepared transactions are there",
	               r->side[s].label, (unsigned long long)l.open,
	               (unsigned long long)l.sessions,
	               (unsigned long long)l.prepared);
}

bool
pg_shuts_all(struct run *r, enum side s)
{
	struct look l;
	struct err err;

	return look(r, s, &l, &err) == 0 && l.is_shut && l.open == 0;
}

int
pg_is_open(struct run *r, enum side s, struct err *err)
{
	struct look l;
	int rc = look(r, s, &l, err);

	if (rc != 0 || l.closed == 0)
		return rc;
	return err_set(err, ERR_STATE, "%s: %llu roles are fenced",
	               r->side[s].label, (unsigned long long)l.closed);
}

/* Virtual transactions of others, as one text. */
static int
ask_running(struct run *r, enum side s, char *ret, size_t n, struct err *err)
{
	PGresult *res;
	int rc = pg_ask(r, s,
	                "SELECT coalesce(string_agg(virtualtransaction, ','), "
	                "'') FROM pg_locks WHERE locktype = 'virtualxid' AND "
	                "granted AND pid <> pg_backend_pid()",
	                NULL, &res, err);

	if (rc == 0)
		(void)snprintf(ret, n, "%s", PQgetvalue(res, 0, 0));
	PQclear(res);
	return rc;
}

static int
terminate(struct run *r, enum side s, struct err *err)
{
	return pg_run(r, s, "SELECT pg_terminate_backend(pid) " SESSIONS, err);
}

/* How many of these are still there, and how many sessions. */
static int
count_left(struct run *r, enum side s, const char *before, uint64_t *ret,
           struct err *err)
{
	const char *param[] = { before, NULL };
	PGresult *res;
	int rc = pg_ask(r, s,
	                "SELECT (SELECT count(*) " SESSIONS ") + (SELECT "
	                "count(*) FROM pg_locks l JOIN pg_stat_activity a"
	                " USING (pid) WHERE locktype = 'virtualxid' AND granted"
	                " AND a.usename IS NULL AND backend_type ="
	                " 'client backend' AND virtualtransaction ="
	                " ANY (string_to_array($1, ',')))",
	                param, &res, err);

	if (rc == 0)
		*ret = strtoull(PQgetvalue(res, 0, 0), NULL, 10);
	PQclear(res);
	return rc;
}

int
pg_kill(struct run *r, enum side s, struct err *err)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * (long)NS_PER_MS };
	uint64_t until = os_mono_ns() + pg_call_ms(r) * NS_PER_MS;
	char before[4000];
	uint64_t left = 1;
	int rc = ask_running(r, s, before, sizeof(before), err);

	while (rc == 0 && left > 0) {
		rc = terminate(r, s, err);
		if (rc == 0)
			rc = count_left(r, s, before, &left, err);
		if (rc == 0 && left > 0 && os_mono_ns() > until)
			rc = err_set(err, ERR_TIMEOUT,
			             "%s: %llu sessions do not end",
			             r->side[s].label,
			             (unsigned long long)left);
		if (rc == 0 && left > 0)
			(void)nanosleep(&pause, NULL);
	}
	return rc;
}

/* Backends of relays of an earlier process are sessions of applications; they end
 * with its sockets, at the latest when they are read. */
int
pg_kill_left(struct run *r, enum side s, struct err *err)
{
	(void)r;
	(void)s;
	(void)err;
	return 0;
}
