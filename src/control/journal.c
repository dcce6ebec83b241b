/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/journal.c: the durable record of every decision (SQLite).
 */
#define _DEFAULT_SOURCE
#include "control/journal.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "control/journal_parts.h"
#include "control/store/writer.h"
#include "world/os/loop.h"

static const char *const words[JOURNAL_N] = {
#define X(name, word, fields, what) [JOURNAL_##name] = (word),
#include "journal.tbl"
#undef X
};

/* Records of this process, of all its legs: what GODWIT_CRASH_AT counts. */
static _Atomic uint64_t records;
static _Atomic long records_pid;

const char *
journal_kind_name(enum journal_kind k)
{
	REQUIRE((unsigned)k < JOURNAL_N);
	return words[k];
}

int
db_err(const struct journal *j, const char *what, struct err *err)
{
	return err_set(err, ERR_IO,
	               "state file %s: %s: %s (%d); nothing was changed",
	               j->path, what, sqlite3_errmsg(j->db),
	               sqlite3_extended_errcode(j->db));
}

int
db_do(struct journal *j, const char *sql, struct err *err)
{
	if (sqlite3_exec(j->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return db_err(j, sql, err);
	return 0;
}

sqlite3_stmt *
db_prepare_leg(struct journal *j, const char *sql, const char *leg)
{
	sqlite3_stmt *s = NULL;

	if (sqlite3_prepare_v2(j->db, sql, -1, &s, NULL) != SQLITE_OK)
		return NULL;
	if (leg != NULL &&
	    sqlite3_bind_text(s, 1, leg, -1, SQLITE_STATIC) != SQLITE_OK) {
		(void)sqlite3_finalize(s);
		return NULL;
	}
	return s;
}

sqlite3_stmt *
db_prepare(struct journal *j, const char *sql)
{
	return db_prepare_leg(j, sql, j->leg);
}

/* "<n>", "<n>:before", "<n>:after" */
void
journal_crash_read(struct journal *j)
{
	/* Nothing here changes the environment. */
	const char *t =
		getenv("GODWIT_CRASH_AT"); // NOLINT(concurrency-mt-unsafe)
	char *end;

	/* A child counts its own. */
	if (atomic_exchange(&records_pid, (long)getpid()) != (long)getpid())
		atomic_store(&records, 0);
	if (t == NULL)
		return;
	j->crash_at = strtoull(t, &end, 10);
	j->crash_before = strcmp(end, ":before") == 0;
}

static void
crash_point(const struct journal *j, bool before)
{
	if (j->crash_at != 0 && j->crash_before == before &&
	    atomic_load(&records) + 1 == j->crash_at)
		(void)raise(SIGKILL);
}

int
db_authority(struct journal *j, const char *leg, struct authority *ret,
             struct err *err)
{
	sqlite3_stmt *s = db_prepare_leg(
		j,
		"SELECT epoch, state, scope, scope_to FROM authority "
		"WHERE leg=?1",
		leg);
	int step = s != NULL ? sqlite3_step(s) : SQLITE_ERROR;
	int rc = -ERR_IO;

	/* Who only looks into a daemon's file: it has no leg without a name. */
	if (step == SQLITE_DONE && leg[0] == '\0') {
		*ret = (struct authority){ .epoch = 1, .state = AUTHORITY_OLD };
		rc = 0;
	} else if (step == SQLITE_ROW) {
		ret->epoch = (uint64_t)sqlite3_column_int64(s, 0);
		ret->state =
			authority_find((const char *)sqlite3_column_text(s, 1));
		ret->scope = (uint32_t)sqlite3_column_int64(s, 2);
		ret->scope_to = (uint32_t)sqlite3_column_int64(s, 3);
		rc = ret->state < AUTHORITY_N ? 0 : -ERR_BAD;
	}
	(void)sqlite3_finalize(s);
	if (rc != 0)
		return db_err(j, "reading the authority record", err);
	return 0;
}

uint64_t
journal_count(struct journal *j)
{
	sqlite3_stmt *s =
		db_prepare(j, "SELECT count(*) FROM journal WHERE leg=?1");
	uint64_t n = 0;

	if (s != NULL && sqlite3_step(s) == SQLITE_ROW)
		n = (uint64_t)sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s);
	return n;
}

bool
journal_is_new(const struct journal *j)
{
	return j->is_new;
}

struct authority
journal_authority(const struct journal *j)
{
	return j->r;
}

static int
insert(struct journal *j, enum journal_kind kind, uint64_t epoch,
       const char *body, struct err *err)
{
	sqlite3_stmt *s = db_prepare(j, "INSERT INTO journal(leg, at_ms, kind, "
	                                "epoch, body) VALUES(?1,?2,?3,?4,?5)");
	bool ok = s != NULL;

	ok = ok && sqlite3_bind_int64(s, 2, os_wall_ms()) == SQLITE_OK;
	ok = ok && sqlite3_bind_text(s, 3, words[kind], -1, SQLITE_STATIC) ==
	                   SQLITE_OK;
	ok = ok && sqlite3_bind_int64(s, 4, (int64_t)epoch) == SQLITE_OK;
	ok = ok &&
	     sqlite3_bind_text(s, 5, body, -1, SQLITE_TRANSIENT) == SQLITE_OK;
	ok = ok && sqlite3_step(s) == SQLITE_DONE;
	(void)sqlite3_finalize(s);
	return ok ? 0 : db_err(j, "writing a record", err);
}

/* The compare-and-set on disk, inside the open transaction. */
static int
set_authority(struct journal *j, const char *leg,
              const struct authority *expect, const struct authority *to,
              struct err *err)
{
	sqlite3_stmt *s =
		db_prepare_leg(j,
	                       "UPDATE authority SET epoch=?2, state=?3, "
	                       "scope=?6, scope_to=?7 WHERE leg=?1 AND "
	                       "epoch=?4 AND state=?5 AND scope=?8 AND "
	                       "scope_to=?9",
	                       leg);
	bool ok = s != NULL;

	ok = ok && sqlite3_bind_int64(s, 2, (int64_t)to->epoch) == SQLITE_OK;
	ok = ok && sqlite3_bind_text(s, 3, authority_name(to->state), -1,
	                             SQLITE_STATIC) == SQLITE_OK;
	ok = ok &&
	     sqlite3_bind_int64(s, 4, (int64_t)expect->epoch) == SQLITE_OK;
	ok = ok && sqlite3_bind_text(s, 5, authority_name(expect->state), -1,
	                             SQLITE_STATIC) == SQLITE_OK;
	ok = ok && sqlite3_bind_int64(s, 6, to->scope) == SQLITE_OK;
	ok = ok && sqlite3_bind_int64(s, 7, to->scope_to) == SQLITE_OK;
	ok = ok && sqlite3_bind_int64(s, 8, expect->scope) == SQLITE_OK;
	ok = ok && sqlite3_bind_int64(s, 9, expect->scope_to) == SQLITE_OK;
	ok = ok && sqlite3_step(s) == SQLITE_DONE;
	(void)sqlite3_finalize(s);
	if (!ok)
		return db_err(j, "writing the authority record", err);
	if (sqlite3_changes(j->db) != 1)
		return err_set(err, ERR_STATE,
		               "the authority record in %s was changed by "
		               "somebody else",
		               j->path);
	return 0;
}

static const char *const points[POINT_N] = {
	[POINT_OLD] = "old",
	[POINT_NEW] = "new",
	[POINT_BACK_OLD] = "back_old",
	[POINT_BACK_NEW] = "back_new",
};

enum journal_point
journal_point(enum side side, bool back)
{
	if (back)
		return side == SIDE_OLD ? POINT_BACK_OLD : POINT_BACK_NEW;
	return side == SIDE_OLD ? POINT_OLD : POINT_NEW;
}

static int
set_progress(struct journal *j, const char *leg, enum journal_point p,
             const char *history, uint64_t position, struct err *err)
{
	sqlite3_stmt *s = db_prepare_leg(
		j, "INSERT OR REPLACE INTO progress VALUES(?1,?2,?3,?4)", leg);
	bool ok = s != NULL;

	ok = ok &&
	     sqlite3_bind_text(s, 2, points[p], -1, SQLITE_STATIC) == SQLITE_OK;
	ok = ok &&
	     sqlite3_bind_text(s, 3, history, -1, SQLITE_STATIC) == SQLITE_OK;
	ok = ok && sqlite3_bind_int64(s, 4, (int64_t)position) == SQLITE_OK;
	ok = ok && sqlite3_step(s) == SQLITE_DONE;
	(void)sqlite3_finalize(s);
	return ok ? 0 : db_err(j, "writing progress", err);
}

static int
delete_rows(struct journal *j, const char *sql, const char *leg,
            struct err *err)
{
	sqlite3_stmt *s = db_prepare_leg(j, sql, leg);
	bool ok = s != NULL && sqlite3_step(s) == SQLITE_DONE;

	(void)sqlite3_finalize(s);
	return ok ? 0 : db_err(j, "writing", err);
}

/* What goes along with a record. */
static int
write_staged(struct journal *j, const char *leg, const struct journal_stage *st,
             struct err *err)
{
	int rc = 0;

	if (st->forget)
		return delete_rows(j, "DELETE FROM progress WHERE leg=?1", leg,
		                   err);
	if (st->forget_back)
		rc = delete_rows(j,
		                 "DELETE FROM progress WHERE leg=?1 AND side "
		                 "IN ('back_old', 'back_new')",
		                 leg, err);
	for (int p = 0; rc == 0 && p < POINT_N; p++) {
		if (st->at[p].staged)
			rc = set_progress(j, leg, (enum journal_point)p,
			                  st->at[p].history, st->at[p].position,
			                  err);
	}
	return rc;
}

static bool
are_on_disk(struct journal *j, const struct journal_flip *flips, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct authority now;

		if (db_authority(j, flips[i].leg, &now, NULL) != 0 ||
		    now.epoch != flips[i].to.epoch ||
		    now.state != flips[i].to.state ||
		    now.scope != flips[i].to.scope)
			return false;
	}
	return n > 0;
}

/* A COMMIT failed. Did it happen all the same? Frames that are whole but were not
 * synced are seen by no reader now, but by the recovery after a crash. */
static bool
are_there(struct journal *j, const struct journal_flip *flips, uint32_t n)
{
	int code = sqlite3_errcode(j->db);

	(void)sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
	if (code != SQLITE_FULL && code != SQLITE_BUSY)
		j->unsure = true;
	return are_on_disk(j, flips, n);
}

static int
write_all(struct journal *j, const struct journal_flip *flips, uint32_t n,
          struct err *err)
{
	int rc = n == 0 ? write_staged(j, j->leg, &j->stage, err) : 0;

	for (uint32_t i = 0; rc == 0 && i < n; i++) {
		rc = set_authority(j, flips[i].leg, &flips[i].expect,
		                   &flips[i].to, err);
		if (rc == 0)
			rc = write_staged(j, flips[i].leg, &flips[i].stage,
			                  err);
	}
	return rc;
}

/* One transaction: the row, and R of each flip. */
static int
record(struct journal *j, enum journal_kind kind,
       const struct journal_flip *flips, uint32_t n, json_t *body,
       struct err *err)
{
	uint64_t epoch = n > 0 ? flips[0].to.epoch : j->r.epoch;
	char *text;
	bool in;
	int rc;

	rc = journal_secret_hide_body(j, body, err);
	if (rc != 0) {
		json_decref(body);
		return rc;
	}
	text = body != NULL ? json_dumps(body, JSON_COMPACT) : strdup("{}");
	json_decref(body);
	if (text == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	in = writer_in();
	crash_point(j, true);
	rc = 0;
	if (j->unsure && are_on_disk(j, flips, n))
		goto done;
	rc = db_do(j, "BEGIN IMMEDIATE", err);
	if (rc != 0)
		goto out;
	rc = insert(j, kind, epoch, text, err);
	if (rc == 0)
		rc = write_all(j, flips, n, err);
	if (rc != 0) {
		(void)sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
		goto out;
	}
	rc = db_do(j, "COMMIT", err);
	if (rc != 0 && are_there(j, flips, n))
		rc = 0;
	if (rc != 0)
		goto out;
done:
	crash_point(j, false);
	j->unsure = false;
	(void)atomic_fetch_add(&records, 1);
out:
	writer_out(in);
	free(text);
	return rc;
}

int
journal_add(struct journal *j, enum journal_kind kind, json_t *body,
            struct err *err)
{
	int rc;

	REQUIRE((unsigned)kind < JOURNAL_N);
	rc = record(j, kind, NULL, 0, body, err);
	if (rc == 0)
		journal_unstage(j);
	return rc;
}

int
journal_move(struct journal *j, enum journal_kind kind,
             const struct authority *expect, const struct authority *to,
             json_t *body, struct err *err)
{
	struct authority r = j->r;
	struct journal_flip flip = { .expect = *expect,
		                     .to = *to,
		                     .stage = j->stage };
	int rc = authority_cas(&r, expect, to, err);

	REQUIRE((unsigned)kind < JOURNAL_N);
	memcpy(flip.leg, j->leg, sizeof(flip.leg));
	if (rc != 0) {
		json_decref(body);
		return rc;
	}
	rc = record(j, kind, &flip, 1, body, err);
	if (rc == 0) {
		j->r = *to;
		journal_unstage(j);
	}
	return rc;
}

void
journal_flip_of(const struct journal *j, const struct authority *to,
                struct journal_flip *ret)
{
	*ret = (struct journal_flip){ .expect = j->r,
		                      .to = *to,
		                      .stage = j->stage };
	memcpy(ret->leg, j->leg, sizeof(ret->leg));
}

int
journal_move_all(struct journal *j, enum journal_kind kind,
                 const struct journal_flip *flips, uint32_t n, bool look,
                 json_t *body, struct err *err)
{
	REQUIRE((unsigned)kind < JOURNAL_N && n > 0);
	for (uint32_t i = 0; i < n; i++) {
		if (!authority_may(&flips[i].expect, &flips[i].to)) {
			json_decref(body);
			return err_set(err, ERR_STATE,
			               "leg %s: R may not go from %s to %s",
			               flips[i].leg,
			               authority_name(flips[i].expect.state),
			               authority_name(flips[i].to.state));
		}
	}
	/* Another handle's try may have come to light. */
	if (look)
		j->unsure = true;
	return record(j, kind, flips, n, body, err);
}

int
journal_reread(struct journal *j, struct err *err)
{
	struct authority now;
	int rc = db_authority(j, j->leg, &now, err);

	if (rc != 0)
		return rc;
	j->r = now;
	j->unsure = false;
	journal_unstage(j);
	return 0;
}

int
journal_drop(struct journal *j, struct err *err)
{
	static const char *const sql[] = {
		"DELETE FROM journal WHERE leg=?1",
		"DELETE FROM meta WHERE leg=?1",
		"DELETE FROM progress WHERE leg=?1",
		"DELETE FROM authority WHERE leg=?1",
	};
	bool in = writer_in();
	int rc;

	rc = db_do(j, "BEGIN IMMEDIATE", err);
	for (size_t i = 0; rc == 0 && i < sizeof(sql) / sizeof(sql[0]); i++)
		rc = delete_rows(j, sql[i], j->leg, err);
	if (rc == 0)
		rc = db_do(j, "COMMIT", err);
	if (rc != 0)
		(void)sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
	writer_out(in);
	return rc;
}

char *
journal_meta(struct journal *j, const char *key)
{
	sqlite3_stmt *s =
		db_prepare(j, "SELECT value FROM meta WHERE leg=?1 AND key=?2");
	char *ret = NULL;

	if (s != NULL &&
	    sqlite3_bind_text(s, 2, key, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_step(s) == SQLITE_ROW)
		ret = journal_secret_show(
			j, key, (const char *)sqlite3_column_text(s, 0));
	(void)sqlite3_finalize(s);
	return ret;
}

char *
journal_fenced_by(struct journal *j, const char *label, bool begun)
{
	sqlite3_stmt *s = db_prepare_leg(
		j,
		"SELECT m.leg FROM meta m JOIN authority a ON a.leg=m.leg "
		"JOIN meta t ON t.leg=m.leg AND t.key='tidied' AND t.value='1' "
		"WHERE m.key='old' AND m.value=?1 AND a.state='new' AND NOT "
		"EXISTS(SELECT 1 FROM meta r WHERE r.leg=m.leg AND "
		"r.key='released' AND (?2=0 OR r.value<>'begun')) "
		"ORDER BY (SELECT max(seq) FROM journal x "
		"WHERE x.leg=m.leg) DESC LIMIT 1",
		label);
	char *ret = NULL;

	if (s != NULL && sqlite3_bind_int(s, 2, begun) == SQLITE_OK &&
	    sqlite3_step(s) == SQLITE_ROW)
		ret = strdup((const char *)sqlite3_column_text(s, 0));
	(void)sqlite3_finalize(s);
	return ret;
}

static int
set_meta(struct journal *j, const char *key, const char *value, struct err *err)
{
	char *text = journal_secret_hide(j, key, value, err);
	sqlite3_stmt *s;
	bool ok;

	if (text == NULL)
		return -ERR_NOMEM;
	s = db_prepare(j, "INSERT OR REPLACE INTO meta VALUES(?1,?2,?3)");
	ok = s != NULL;

	ok = ok && sqlite3_bind_text(s, 2, key, -1, SQLITE_STATIC) == SQLITE_OK;
	ok = ok &&
	     sqlite3_bind_text(s, 3, text, -1, SQLITE_STATIC) == SQLITE_OK;
	ok = ok && sqlite3_step(s) == SQLITE_DONE;
	(void)sqlite3_finalize(s);
	free(text);
	return ok ? 0 : db_err(j, "writing", err);
}

int
journal_set_meta(struct journal *j, const char *key, const char *value,
                 struct err *err)
{
	bool in = writer_in();
	int rc;

	rc = set_meta(j, key, value, err);
	writer_out(in);
	return rc;
}

int
journal_set_metas(struct journal *j, json_t *obj, struct err *err)
{
	const char *key;
	json_t *value;
	bool in = writer_in();
	int rc;

	rc = db_do(j, "BEGIN IMMEDIATE", err);
	json_object_foreach(obj, key, value)
	{
		if (rc == 0)
			rc = set_meta(j, key, json_string_value(value), err);
	}
	if (rc == 0)
		rc = db_do(j, "COMMIT", err);
	if (rc != 0)
		(void)sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
	writer_out(in);
	return rc;
}

int
journal_set_progress(struct journal *j, enum journal_point p,
                     const char *history, uint64_t position, struct err *err)
{
	bool in = writer_in();
	int rc;

	rc = set_progress(j, j->leg, p, history, position, err);
	writer_out(in);
	return rc;
}

void
journal_stage_progress(struct journal *j, enum journal_point p,
                       const char *history, uint64_t position)
{
	REQUIRE((unsigned)p < POINT_N);
	j->stage.at[p].staged =
		snprintf(j->stage.at[p].history, sizeof(j->stage.at[p].history),
	                 "%s", history) < (int)sizeof(j->stage.at[p].history);
	j->stage.at[p].position = position;
}

void
journal_stage_forget_back(struct journal *j)
{
	j->stage.forget_back = true;
}

void
journal_stage_forget(struct journal *j)
{
	j->stage.forget = true;
}

void
journal_unstage(struct journal *j)
{
	j->stage = (struct journal_stage){ .forget = false };
}

bool
journal_is_unsure(const struct journal *j)
{
	return j->unsure;
}

bool
journal_progress(struct journal *j, enum journal_point p, char *history,
                 size_t n, uint64_t *ret_position)
{
	sqlite3_stmt *s =
		db_prepare(j, "SELECT history, position FROM progress "
	                      "WHERE leg=?1 AND side=?2");
	bool found = false;

	if (s != NULL &&
	    sqlite3_bind_text(s, 2, points[p], -1, SQLITE_STATIC) ==
	            SQLITE_OK &&
	    sqlite3_step(s) == SQLITE_ROW) {
		int len = snprintf(history, n, "%s",
		                   (const char *)sqlite3_column_text(s, 0));

		*ret_position = (uint64_t)sqlite3_column_int64(s, 1);
		found = len >= 0 && (size_t)len < n;
	}
	(void)sqlite3_finalize(s);
	return found;
}

static bool
matches(json_t *body, json_t *match)
{
	const char *key;
	json_t *value;

	if (match == NULL)
		return true;
	json_object_foreach(match, key, value)
	{
		if (!json_equal(json_object_get(body, key), value))
			return false;
	}
	return true;
}

int
journal_last(struct journal *j, enum journal_kind kind, json_t *match,
             json_t **ret, struct err *err)
{
	sqlite3_stmt *s = db_prepare(j, "SELECT body FROM journal WHERE leg=?1 "
	                                "AND kind=?2 ORDER BY seq DESC");
	int step = SQLITE_ERROR;
	int rc = 0;

	*ret = NULL;
	if (s != NULL && sqlite3_bind_text(s, 2, words[kind], -1,
	                                   SQLITE_STATIC) == SQLITE_OK)
		step = sqlite3_step(s);
	while (step == SQLITE_ROW && *ret == NULL && rc == 0) {
		json_t *body = json_loads(
			(const char *)sqlite3_column_text(s, 0), 0, NULL);

		if (body == NULL) {
			rc = err_set(err, ERR_BAD,
			             "state file %s: a record of kind %s is "
			             "damaged; restore the file from a copy",
			             j->path, words[kind]);
		} else if (matches(body, match)) {
			rc = journal_secret_show_body(j, body, err);
			*ret = rc == 0 ? body : NULL;
			if (rc != 0)
				json_decref(body);
		} else {
			json_decref(body);
			step = sqlite3_step(s);
		}
	}
	if (rc == 0 && step != SQLITE_ROW && step != SQLITE_DONE)
		rc = err_set(err, ERR_IO,
		             "state file %s: reading the %s records: %s; "
		             "nothing was changed",
		             j->path, words[kind], sqlite3_errmsg(j->db));
	(void)sqlite3_finalize(s);
	return rc;
}

json_t *
journal_tail(struct journal *j, uint32_t n)
{
	sqlite3_stmt *s = db_prepare(
		j, "SELECT * FROM (SELECT seq, at_ms, kind, epoch, body FROM "
		   "journal WHERE leg=?1 ORDER BY seq DESC LIMIT ?2) "
		   "ORDER BY seq");
	json_t *ret = json_array();

	if (s == NULL || sqlite3_bind_int64(s, 2, (int64_t)n) != SQLITE_OK)
		goto out;
	while (sqlite3_step(s) == SQLITE_ROW) {
		json_t *body = json_loads(
			(const char *)sqlite3_column_text(s, 4), 0, NULL);

		(void)json_array_append_new(
			ret,
			json_pack(
				"{s:I,s:I,s:s,s:I,s:o}", "seq",
				(json_int_t)sqlite3_column_int64(s, 0), "at_ms",
				(json_int_t)sqlite3_column_int64(s, 1), "kind",
				(const char *)sqlite3_column_text(s, 2),
				"epoch", (json_int_t)sqlite3_column_int64(s, 3),
				"body", body != NULL ? body : json_object()));
	}
out:
	(void)sqlite3_finalize(s);
	return ret;
}
