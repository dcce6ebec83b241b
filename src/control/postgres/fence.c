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

#define PAUSE_MS 1

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
		"SELECT rolname FROM pg_roles WHERE (rolcanlogin OR rolname IN"
		" (SELECT role FROM @.closed)) AND " PG_THEIRS,
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
	int rc = 0;

	/* It is nobody's from now on. */
	if (s == SIDE_NEW && r->state == LIFE_ROLLED_BACK) {
		rc = pg_reach(r, s, err);
		if (rc == 0)
			rc = pg_left_opens(r->journal, &r->at[s].pg->b, err);
	}
	/* Tables that were shut in a split that has ended. */
	if (rc == 0 && !run_is_split(r))
		rc = pg_parts_lift(r, s, err);
	if (rc == 0)
		rc = call(r, s, "SELECT @.lift($1)", epoch, err);
	if (rc == 0)
		r->at[s].fenced = false;
	return rc;
}

/* Of all legs of a switch: a session may be in the database of another one. */
static char *
quiet_of_all(const struct run *r, enum side s)
{
	char *list = group_left(r->op.group, &r->at[s].url);
	size_t n = list != NULL ? strlen(list) : 0;
	char *ret = list != NULL ? malloc(n + sizeof("{}")) : NULL;

	if (ret != NULL)
		(void)snprintf(ret, n + sizeof("{}"), "{%.*s}",
		               n > 0 ? (int)n - 1 : 0, list);
	free(list);
	return ret;
}

/* Backends that a relay has told quiet in this switch, as "{1,2}"; malloc. */
static char *
quiet_text(const struct run *r, enum side s)
{
	size_t n = 3;
	size_t used = 0;
	char *ret;

	if (r->cut_on && r->quiet_told && s == r->cut.rules && r->is_part &&
	    r->op.group != NULL)
		return quiet_of_all(r, s);
	for (uint32_t i = 0; i < r->relay_n; i++)
		n += (size_t)r->quiet[i].n * sizeof("4294967295,");
	ret = malloc(n);
	if (ret == NULL)
		return NULL;
	ret[used++] = '{';
	for (uint32_t i = 0; r->cut_on && s == r->cut.rules && i < r->relay_n;
	     i++) {
		for (uint32_t k = 0; k < r->quiet[i].n; k++)
			used += (size_t)snprintf(ret + used, n - used, "%s%u",
			                         used > 1 ? "," : "",
			                         r->quiet[i].process[k]);
	}
	ret[used++] = '}';
	ret[used] = '\0';
	return ret;
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
	char *quiet = quiet_text(r, s);
	const char *param[] = { quiet, NULL };
	PGresult *res = NULL;
	int rc = quiet == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;
	uint64_t v[6] = { 0 };

	if (rc == 0)
		rc = pg_ask(r, s,
		            "SELECT shut, epoch, may, may_not, sessions,"
		            " prepared FROM @.look($1)",
		            param, &res, err);
	free(quiet);
	if (rc != 0)
		return rc;
	if (PQgetisnull(res, 0, 0))
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

	if (rc == 0 && !run_is_split(r))
		rc = pg_parts_are_open(r, s, err);
	if (rc != 0 || l.closed == 0)
		return rc;
	return err_set(err, ERR_STATE, "%s: %llu roles are fenced",
	               r->side[s].label, (unsigned long long)l.closed);
}

/* One turn of @.oust(): terminate, and how many are left that have to be waited for.
 * *before: who was there in the first turn (NULL then); malloc. */
static int
oust(struct run *r, enum side s, const char *quiet, char **before,
     uint64_t *ret_left, struct err *err)
{
	const char *param[] = { quiet, *before != NULL ? *before : "first",
		                NULL };
	PGresult *res;
	int rc = pg_ask(r, s, "SELECT before, remain FROM @.oust($1, $2)",
	                param, &res, err);

	if (rc != 0)
		return rc;
	*ret_left = strtoull(PQgetvalue(res, 0, 1), NULL, 10);
	if (*before == NULL)
		*before = strdup(PQgetvalue(res, 0, 0));
	PQclear(res);
	return *before != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

/* Relays have told which of their connections nothing is on its way to: those are let
 * be, so that they do not end while others wait, nor at all where the switch is taken
 * back. Behind the switch pg_kill_late() ends what the relays have not closed. */
int
pg_kill(struct run *r, enum side s, struct err *err)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * (long)NS_PER_MS };
	uint64_t until = os_mono_ns() + pg_call_ms(r) * NS_PER_MS;
	char *quiet = quiet_text(r, s);
	char *before = NULL;
	uint64_t left = 1;
	int rc = quiet != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");

	while (rc == 0 && left > 0) {
		rc = oust(r, s, quiet, &before, &left, err);
		if (rc == 0 && left > 0 && os_mono_ns() > until)
			rc = err_set(err, ERR_TIMEOUT,
			             "%s: %llu sessions do not end",
			             r->side[s].label,
			             (unsigned long long)left);
		if (rc == 0 && left > 0)
			(void)nanosleep(&pause, NULL);
	}
	free(before);
	free(quiet);
	return rc;
}

void
pg_kill_late(struct run *r, enum side s)
{
	char *before = NULL;
	uint64_t left;
	struct err err;

	if (r->at[s].fenced && oust(r, s, "{}", &before, &left, &err) != 0)
		run_event(r, "fence", "%s", err.text);
	free(before);
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
