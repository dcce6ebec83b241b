/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/verify_mark.c: a marker, from the authority to the other side.
 *
 * A row of its own number is put into godwit_<id>.marker on the side that rules. The
 * mover carries that table; when the row is seen on the other side, everything that
 * was committed before it is there as well.
 */
#define _DEFAULT_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "control/limit.h"
#include "control/postgres/verify.h"

#define POLL_MIN_NS 200000
#define POLL_MAX_NS 20000000

/* Of a migration whose stream runs now, and which side it comes from. */
static const char running[] =
	"SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON"
	" n.oid = c.relnamespace JOIN pg_replication_slots s ON"
	" s.slot_name = n.nspname WHERE c.relname = 'marker' AND"
	" n.nspname LIKE 'godwit\\_%' AND s.active LIMIT 1";

/* false: this side is shut, or has no such schema. */
static int
is_open(struct pgv *v, int side, bool *ret, struct err *err)
{
	char sql[160];
	PGresult *res;
	int rc;

	(void)snprintf(sql, sizeof(sql),
	               "SELECT 1 FROM \"%s\".fence WHERE NOT is_shut",
	               v->schema);
	rc = pgv_ask(&v->side[side], &v->side[side].look, sql, &res, err);
	*ret = rc == 0 && PQntuples(res) == 1;
	PQclear(res);
	return rc == -ERR_REFUSED ? 0 : rc;
}

/* Do both say that some tables are new's? (parts.c) */
static int
look_for_split(struct pgv *v, struct err *err)
{
	uint32_t n = 0;
	int rc = 0;

	for (int s = 0; rc == 0 && s < 2; s++) {
		char sql[200];
		PGresult *res;

		(void)snprintf(sql, sizeof(sql),
		               "SELECT 1 FROM pg_class WHERE relname = 'part'"
		               " AND relnamespace = to_regnamespace('\"%s\"')",
		               v->schema);
		rc = pgv_ask(&v->side[s], &v->side[s].look, sql, &res, err);
		if (rc == 0 && PQntuples(res) == 0) {
			PQclear(res);
			return 0;
		}
		PQclear(res);
		(void)snprintf(sql, sizeof(sql), "SELECT 1 FROM \"%s\".part",
		               v->schema);
		if (rc == 0)
			rc = pgv_ask(&v->side[s], &v->side[s].look, sql, &res,
			             err);
		n += rc == 0 && PQntuples(res) == 1;
		if (rc == 0)
			PQclear(res);
	}
	v->is_split = n == 2;
	return rc;
}

/* Without a migration of ours that asks: perhaps one runs between them. */
static int
search(struct pgv *v, struct err *err)
{
	bool open[2] = { false, false };
	PGresult *res;
	int rc = pgv_ask(&v->side[0], &v->side[0].look, running, &res, err);

	if (rc == 0 && PQntuples(res) == 1)
		(void)snprintf(v->schema, sizeof(v->schema), "%s",
		               PQgetvalue(res, 0, 0));
	PQclear(res);
	for (int s = 0; rc == 0 && v->schema[0] != '\0' && s < 2; s++)
		rc = is_open(v, s, &open[s], err);
	v->rules = open[1] ? 1 : 0;
	/* Both are open where each has tables of its own. */
	if (rc == 0 && open[0] && open[1])
		rc = look_for_split(v, err);
	if (open[0] == open[1] && !v->is_split)
		v->schema[0] = '\0';
	return rc;
}

int
pgv_mark_find(struct pgv *v, struct err *err)
{
	const char *user = v->conf->side[0].own_user;
	int rc = 0;

	if (!v->conf->is_live)
		return 0;
	if (strncmp(user, "godwit-", 7) == 0)
		(void)snprintf(v->schema, sizeof(v->schema), "godwit_%.50s",
		               user + 7);
	else
		rc = search(v, err);
	if (rc == 0 && v->schema[0] != '\0' && !v->is_split)
		rc = look_for_split(v, err);
	v->has_marker = v->schema[0] != '\0';
	v->ret->marker_refused = !v->has_marker;
	return rc;
}

uint64_t
pgv_mark_run(const struct pgv *v, int side)
{
	return v->nonce + (uint64_t)side;
}

void
pgv_turn(struct pgv *v, const struct pgv_table *t)
{
	if (!v->is_split)
		return;
	v->rules = t != NULL && t->is_news ? 1 - pgv_old(v) : pgv_old(v);
	v->first = v->rules;
}

static int
is_there(struct pgv *v, bool *ret, struct err *err)
{
	struct pgv_side *s = &v->side[1 - v->rules];
	char sql[200];
	PGresult *res;
	int rc;

	(void)snprintf(sql, sizeof(sql),
	               "SELECT 1 FROM \"%s\".marker WHERE run = %" PRIu64
	               " AND n = %" PRIu64,
	               v->schema, pgv_mark_run(v, v->rules), v->marks);
	rc = pgv_ask(s, &s->look, sql, &res, err);
	*ret = rc == 0 && PQntuples(res) == 1;
	PQclear(res);
	return rc;
}

static int
wait_there(struct pgv *v, struct err *err)
{
	uint64_t until = os_mono_ns() + v->conf->recheck_ms * NS_PER_MS;
	struct timespec t = { .tv_nsec = POLL_MIN_NS };
	bool there = false;
	int rc = is_there(v, &there, err);

	while (rc == 0 && !there && os_mono_ns() < until) {
		(void)nanosleep(&t, NULL);
		t.tv_nsec =
			t.tv_nsec < POLL_MAX_NS ? t.tv_nsec * 2 : POLL_MAX_NS;
		rc = pgv_stopped(v) ? err_set(err, ERR_ABORTED,
		                              "the comparison was stopped")
		                    : is_there(v, &there, err);
	}
	if (rc == 0 && there)
		v->ret->markers++;
	else if (rc == 0)
		v->ret->marker_lost = true;
	v->has_marker = there;
	return rc;
}

int
pgv_mark(struct pgv *v, struct err *err)
{
	struct pgv_side *s = &v->side[v->rules];
	char sql[200];
	int rc;

	v->marks++;
	(void)snprintf(sql, sizeof(sql),
	               "INSERT INTO \"%s\".marker VALUES (%" PRIu64 ", %" PRIu64
	               ")",
	               v->schema, pgv_mark_run(v, v->rules), v->marks);
	rc = pgv_run(s, &s->look, sql, err);
	if (rc == -ERR_REFUSED) {
		v->has_marker = false;
		v->ret->marker_refused = true;
		return 0;
	}
	return rc == 0 ? wait_there(v, err) : rc;
}

static void
remove_marks(struct pgv *v, int side)
{
	struct pgv_side *s = &v->side[side];
	struct err ignored; /* all of the table goes with the migration */
	char sql[160];

	if (s->look.c == NULL)
		return;
	(void)snprintf(sql, sizeof(sql),
	               "DELETE FROM \"%s\".marker WHERE run = %" PRIu64,
	               v->schema, pgv_mark_run(v, side));
	if (pgv_run(s, &s->look, sql, &ignored) != 0)
		return;
	pgv_mend_end(v, side);
}

void
pgv_mark_end(struct pgv *v)
{
	if (v->marks == 0 || pgv_stopped(v))
		return;
	for (int s = 0; s < 2; s++) {
		if (v->is_split || s == v->rules)
			remove_marks(v, s);
	}
}
