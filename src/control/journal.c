/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/journal.c: the durable record of every decision (SQLite).
 */
#define _DEFAULT_SOURCE
#include "control/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "world/os/loop.h"

#define JOURNAL_VERSION 1
#define BUSY_MS         250 /* somebody reads; never as long as a hold */

struct journal {
	sqlite3 *db;
	int lock_fd;
	bool is_new;
	struct authority r;
	uint64_t written;  /* records of this process             */
	uint64_t crash_at; /* 0: never                            */
	bool crash_before;
	bool unsure; /* see journal_is_unsure()              */
	bool forget; /* with the next record                 */
	bool staged; /* a progress waits for the next record */
	enum side staged_side;
	char staged_history[64];
	uint64_t staged_position;
	char path[512];
};

static const char *const words[JOURNAL_N] = {
#define X(name, word, fields, what) [JOURNAL_##name] = (word),
#include "journal.tbl"
#undef X
};

/* R begins as (1, old): old has authority before anything was decided. */
static const char schema[] =
	"CREATE TABLE IF NOT EXISTS journal("
	" seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL,"
	" kind TEXT NOT NULL, epoch INTEGER NOT NULL, body TEXT NOT NULL);"
	"CREATE TABLE IF NOT EXISTS authority("
	" one INTEGER PRIMARY KEY CHECK(one = 1),"
	" epoch INTEGER NOT NULL, state TEXT NOT NULL);"
	"CREATE TABLE IF NOT EXISTS meta("
	" key TEXT PRIMARY KEY, value TEXT NOT NULL);"
	"CREATE TABLE IF NOT EXISTS progress("
	" side TEXT PRIMARY KEY, history TEXT NOT NULL,"
	" position INTEGER NOT NULL);"
	"INSERT OR IGNORE INTO authority VALUES(1, 1, 'old');";

const char *
journal_kind_name(enum journal_kind k)
{
	REQUIRE((unsigned)k < JOURNAL_N);
	return words[k];
}

static int
db_err(const struct journal *j, const char *what, struct err *err)
{
	return err_set(err, ERR_IO,
	               "state file %s: %s: %s; nothing was changed", j->path,
	               what, sqlite3_errmsg(j->db));
}

static int
db_do(struct journal *j, const char *sql, struct err *err)
{
	if (sqlite3_exec(j->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return db_err(j, "writing", err);
	return 0;
}

static sqlite3_stmt *
db_prepare(struct journal *j, const char *sql)
{
	sqlite3_stmt *s = NULL;

	if (sqlite3_prepare_v2(j->db, sql, -1, &s, NULL) != SQLITE_OK)
		return NULL;
	return s;
}

/* Who holds the lock, for the message. */
static long
lock_owner(int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_GETLK, &l) != 0 || l.l_type == F_UNLCK)
		return 0;
	return (long)l.l_pid;
}

static int
lock_take(struct journal *j, struct err *err)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[560];
	char pid[32];
	int n;

	n = snprintf(path, sizeof(path), "%s.lock", j->path);
	REQUIRE(n > 0 && (size_t)n < sizeof(path));
	j->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (j->lock_fd < 0)
		return err_set(err, ERR_IO, "%s: %s; choose another --state",
		               path, os_cause(errno));
	if (fcntl(j->lock_fd, F_SETLK, &l) != 0) {
		return err_set(err, ERR_EXISTS,
		               "state file %s is in use by process %ld; stop "
		               "it, or choose another --state",
		               j->path, lock_owner(j->lock_fd));
	}
	n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (ftruncate(j->lock_fd, 0) != 0 ||
	    pwrite(j->lock_fd, pid, (size_t)n, 0) != n)
		return err_set(err, ERR_IO, "%s: %s", path, os_cause(errno));
	return 0;
}

/* "<n>", "<n>:before", "<n>:after" */
static void
crash_read(struct journal *j)
{
	/* Nothing here changes the environment. */
	const char *t =
		getenv("GODWIT_CRASH_AT"); // NOLINT(concurrency-mt-unsafe)
	char *end;

	if (t == NULL)
		return;
	j->crash_at = strtoull(t, &end, 10);
	j->crash_before = strcmp(end, ":before") == 0;
}

static void
crash_point(const struct journal *j, bool before)
{
	if (j->crash_at != 0 && j->crash_before == before &&
	    j->written + 1 == j->crash_at)
		(void)raise(SIGKILL);
}

static int
read_authority(struct journal *j, struct authority *ret, struct err *err)
{
	sqlite3_stmt *s = db_prepare(j, "SELECT epoch, state FROM authority");
	int rc = -ERR_IO;

	if (s != NULL && sqlite3_step(s) == SQLITE_ROW) {
		ret->epoch = (uint64_t)sqlite3_column_int64(s, 0);
		ret->state =
			authority_find((const char *)sqlite3_column_text(s, 1));
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
	sqlite3_stmt *s = db_prepare(j, "SELECT count(*) FROM journal");
	uint64_t n = 0;

	if (s != NULL && sqlite3_step(s) == SQLITE_ROW)
		n = (uint64_t)sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s);
	return n;
}

static int
check_version(struct journal *j, struct err *err)
{
	sqlite3_stmt *s = db_prepare(j, "PRAGMA user_version");
	int version = -1;

	if (s != NULL && sqlite3_step(s) == SQLITE_ROW)
		version = sqlite3_column_int(s, 0);
	(void)sqlite3_finalize(s);
	if (version == JOURNAL_VERSION || version == 0)
		return 0;
	return err_set(err, ERR_BAD,
	               "%s is no state file of this Godwit (%s); choose "
	               "another --state",
	               j->path,
	               version < 0 ? sqlite3_errmsg(j->db) : "other version");
}

static int
open_db(struct journal *j, bool write, struct err *err)
{
	int flags = write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
	                  : SQLITE_OPEN_READONLY;
	mode_t mask = umask(0077);
	int rc = sqlite3_open_v2(j->path, &j->db, flags, NULL);

	(void)umask(mask);
	if (rc != SQLITE_OK)
		return err_set(err, ERR_IO, "state file %s: %s", j->path,
		               j->db != NULL ? sqlite3_errmsg(j->db)
		                             : "out of memory");
	(void)sqlite3_busy_timeout(j->db, BUSY_MS);
	rc = check_version(j, err);
	if (rc != 0 || !write)
		return rc;
	if (chmod(j->path, 0600) != 0)
		return err_set(err, ERR_IO, "state file %s: %s", j->path,
		               os_cause(errno));
	rc = db_do(j, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", err);
	if (rc == 0)
		rc = db_do(j, "BEGIN IMMEDIATE", err);
	if (rc == 0)
		rc = db_do(j, schema, err);
	if (rc == 0)
		rc = db_do(j, "PRAGMA user_version=1; COMMIT", err);
	return rc;
}

static struct journal *
make(const char *path, bool write, struct err *err)
{
	struct journal *j = calloc(1, sizeof(*j));
	int rc;

	if (j == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	j->lock_fd = -1;
	if (strlen(path) >= sizeof(j->path)) {
		free(j);
		(void)err_set(err, ERR_USAGE,
		              "the path of --state is longer "
		              "than 511 bytes");
		return NULL;
	}
	memcpy(j->path, path, strlen(path) + 1);
	rc = write ? lock_take(j, err) : 0;
	if (rc == 0)
		rc = open_db(j, write, err);
	if (rc == 0)
		rc = read_authority(j, &j->r, err);
	if (rc != 0) {
		journal_close(j);
		return NULL;
	}
	j->is_new = journal_count(j) == 0;
	crash_read(j);
	return j;
}

struct journal *
journal_open(const char *path, struct err *err)
{
	return make(path, true, err);
}

struct journal *
journal_peek(const char *path, struct err *err)
{
	if (access(path, R_OK) != 0) {
		(void)err_set(err, ERR_MISSING, "state file %s: %s", path,
		              os_cause(errno));
		return NULL;
	}
	return make(path, false, err);
}

void
journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	(void)sqlite3_close(j->db);
	if (j->lock_fd >= 0)
		(void)close(j->lock_fd);
	free(j);
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
	sqlite3_stmt *s = db_prepare(j, "INSERT INTO journal(at_ms, kind, "
	                                "epoch, body) VALUES(?,?,?,?)");
	bool ok = s != NULL;

	ok = ok && sqlite3_bind_int64(s, 1, os_wall_ms()) == SQLITE_OK;
	ok = ok && sqlite3_bind_text(s, 2, words[kind], -1, SQLITE_STATIC) ==
	                   SQLITE_OK;
	ok = ok && sqlite3_bind_int64(s, 3, (int64_t)epoch) == SQLITE_OK;
	ok = ok &&
	     sqlite3_bind_text(s, 4, body, -1, SQLITE_TRANSIENT) == SQLITE_OK;
	ok = ok && sqlite3_step(s) == SQLITE_DONE;
	(void)sqlite3_finalize(s);
	return ok ? 0 : db_err(j, "writing a record", err);
}

/* The compare-and-set on disk, inside the open transaction. */
static int
set_authority(struct journal *j, const struct authority *expect,
              const struct authority *to, struct err *err)
{
	sqlite3_stmt *s = db_prepare(j, "UPDATE authority SET epoch=?, state=? "
	                                "WHERE one=1 AND epoch=? AND state=?");
	bool ok = s != NULL;

	ok = ok && sqlite3_bind_int64(s, 1, (int64_t)to->epoch) == SQLITE_OK;
	ok = ok && sqlite3_bind_text(s, 2, authority_name(to->state), -1,
	                             SQLITE_STATIC) == SQLITE_OK;
	ok = ok &&
	     sqlite3_bind_int64(s, 3, (int64_t)expect->epoch) == SQLITE_OK;
	ok = ok && sqlite3_bind_text(s, 4, authority_name(expect->state), -1,
	                             SQLITE_STATIC) == SQLITE_OK;
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

/* What goes along with a record. */
static int
write_staged(struct journal *j, struct err *err)
{
	if (j->forget)
		return db_do(j, "DELETE FROM progress", err);
	if (j->staged)
		return journal_set_progress(j, j->staged_side,
		                            j->staged_history,
		                            j->staged_position, err);
	return 0;
}

static bool
is_on_disk(struct journal *j, const struct authority *to)
{
	struct authority now;

	return read_authority(j, &now, NULL) == 0 && now.epoch == to->epoch &&
	       now.state == to->state;
}

/* A COMMIT failed. Did it happen all the same? Frames that are whole but were not
 * synced are seen by no reader now, but by the recovery after a crash. */
static bool
is_there(struct journal *j, const struct authority *to)
{
	int code = sqlite3_errcode(j->db);

	(void)sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
	if (code != SQLITE_FULL && code != SQLITE_BUSY)
		j->unsure = true;
	return to != NULL && is_on_disk(j, to);
}

/* One transaction: the row, and R when to is not NULL. */
static int
record(struct journal *j, enum journal_kind kind,
       const struct authority *expect, const struct authority *to, json_t *body,
       struct err *err)
{
	uint64_t epoch = to != NULL ? to->epoch : j->r.epoch;
	char *text;
	int rc;

	text = body != NULL ? json_dumps(body, JSON_COMPACT) : strdup("{}");
	json_decref(body);
	if (text == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	crash_point(j, true);
	rc = 0;
	if (j->unsure && to != NULL && is_on_disk(j, to))
		goto done;
	rc = db_do(j, "BEGIN IMMEDIATE", err);
	if (rc != 0)
		goto out;
	rc = insert(j, kind, epoch, text, err);
	if (rc == 0 && to != NULL)
		rc = set_authority(j, expect, to, err);
	if (rc == 0)
		rc = write_staged(j, err);
	if (rc != 0) {
		(void)sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
		goto out;
	}
	rc = db_do(j, "COMMIT", err);
	if (rc != 0 && is_there(j, to))
		rc = 0;
	if (rc != 0)
		goto out;
done:
	crash_point(j, false);
	j->unsure = false;
	journal_unstage(j);
	j->written++;
	if (to != NULL)
		j->r = *to;
out:
	free(text);
	return rc;
}

int
journal_add(struct journal *j, enum journal_kind kind, json_t *body,
            struct err *err)
{
	REQUIRE((unsigned)kind < JOURNAL_N);
	return record(j, kind, NULL, NULL, body, err);
}

int
journal_move(struct journal *j, enum journal_kind kind,
             const struct authority *expect, const struct authority *to,
             json_t *body, struct err *err)
{
	struct authority r = j->r;
	int rc = authority_cas(&r, expect, to, err);

	REQUIRE((unsigned)kind < JOURNAL_N);
	if (rc != 0) {
		json_decref(body);
		return rc;
	}
	return record(j, kind, expect, to, body, err);
}

char *
journal_meta(struct journal *j, const char *key)
{
	sqlite3_stmt *s = db_prepare(j, "SELECT value FROM meta WHERE key=?");
	char *ret = NULL;

	if (s != NULL &&
	    sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_step(s) == SQLITE_ROW)
		ret = strdup((const char *)sqlite3_column_text(s, 0));
	(void)sqlite3_finalize(s);
	return ret;
}

int
journal_set_meta(struct journal *j, const char *key, const char *value,
                 struct err *err)
{
	sqlite3_stmt *s =
		db_prepare(j, "INSERT OR REPLACE INTO meta VALUES(?,?)");
	bool ok = s != NULL;

	ok = ok && sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC) == SQLITE_OK;
	ok = ok &&
	     sqlite3_bind_text(s, 2, value, -1, SQLITE_STATIC) == SQLITE_OK;
	ok = ok && sqlite3_step(s) == SQLITE_DONE;
	(void)sqlite3_finalize(s);
	return ok ? 0 : db_err(j, "writing", err);
}

int
journal_set_metas(struct journal *j, json_t *obj, struct err *err)
{
	const char *key;
	json_t *value;
	int rc = db_do(j, "BEGIN IMMEDIATE", err);

	if (rc != 0)
		return rc;
	json_object_foreach(obj, key, value)
	{
		if (rc == 0)
			rc = journal_set_meta(j, key, json_string_value(value),
			                      err);
	}
	if (rc == 0)
		rc = db_do(j, "COMMIT", err);
	if (rc != 0)
		(void)sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

int
journal_set_progress(struct journal *j, enum side side, const char *history,
                     uint64_t position, struct err *err)
{
	sqlite3_stmt *s =
		db_prepare(j, "INSERT OR REPLACE INTO progress VALUES(?,?,?)");
	bool ok = s != NULL;

	ok = ok && sqlite3_bind_text(s, 1, side_name(side), -1,
	                             SQLITE_STATIC) == SQLITE_OK;
	ok = ok &&
	     sqlite3_bind_text(s, 2, history, -1, SQLITE_STATIC) == SQLITE_OK;
	ok = ok && sqlite3_bind_int64(s, 3, (int64_t)position) == SQLITE_OK;
	ok = ok && sqlite3_step(s) == SQLITE_DONE;
	(void)sqlite3_finalize(s);
	return ok ? 0 : db_err(j, "writing progress", err);
}

void
journal_stage_progress(struct journal *j, enum side side, const char *history,
                       uint64_t position)
{
	j->staged = snprintf(j->staged_history, sizeof(j->staged_history), "%s",
	                     history) < (int)sizeof(j->staged_history);
	j->staged_side = side;
	j->staged_position = position;
}

void
journal_stage_forget(struct journal *j)
{
	j->forget = true;
}

void
journal_unstage(struct journal *j)
{
	j->staged = false;
	j->forget = false;
}

bool
journal_is_unsure(const struct journal *j)
{
	return j->unsure;
}

bool
journal_progress(struct journal *j, enum side side, char *history, size_t n,
                 uint64_t *ret_position)
{
	sqlite3_stmt *s = db_prepare(
		j, "SELECT history, position FROM progress WHERE side=?");
	bool found = false;

	if (s != NULL &&
	    sqlite3_bind_text(s, 1, side_name(side), -1, SQLITE_STATIC) ==
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
	sqlite3_stmt *s = db_prepare(j, "SELECT body FROM journal WHERE kind=? "
	                                "ORDER BY seq DESC");
	int step = SQLITE_ERROR;
	int rc = 0;

	*ret = NULL;
	if (s != NULL && sqlite3_bind_text(s, 1, words[kind], -1,
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
			*ret = body;
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
		   "journal ORDER BY seq DESC LIMIT ?) ORDER BY seq");
	json_t *ret = json_array();

	if (s == NULL || sqlite3_bind_int64(s, 1, (int64_t)n) != SQLITE_OK)
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
