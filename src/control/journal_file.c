/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/journal_file.c: the file of the journal: lock, schema, versions.
 *
 * Version 1 (one migration a file) becomes version 2 (a leg in every row), and
 * that version 3 (R has a scope), when it is opened for writing, in one
 * transaction; who only reads sees it through views. An older Godwit must not
 * open a file of version 3: it would take a split for old alone.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "control/auth/key.h"
#include "control/journal_parts.h"
#include "control/store/writer.h"
#include "world/os/loop.h"

#define JOURNAL_VERSION 3
#define BUSY_MS         250  /* somebody reads; never as long as a hold */
#define BUSY_LEG_MS     5000 /* as the store, which writes, too */

/* One file holds the legs of many migrations; `godwit migrate` has one, named "".
 * R begins as (1, old): old has authority before anything was decided; its row
 * is made when the leg is opened. */
static const char schema[] =
	"CREATE TABLE IF NOT EXISTS journal("
	" seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL,"
	" kind TEXT NOT NULL, epoch INTEGER NOT NULL, body TEXT NOT NULL,"
	" leg TEXT NOT NULL DEFAULT '');"
	"CREATE INDEX IF NOT EXISTS journal_leg ON journal(leg, kind, seq);"
	"CREATE TABLE IF NOT EXISTS authority("
	" leg TEXT PRIMARY KEY,"
	" epoch INTEGER NOT NULL, state TEXT NOT NULL,"
	" scope INTEGER NOT NULL DEFAULT 0,"
	" scope_to INTEGER NOT NULL DEFAULT 0);"
	"CREATE TABLE IF NOT EXISTS meta("
	" leg TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
	" PRIMARY KEY(leg, key));"
	"CREATE TABLE IF NOT EXISTS progress("
	" leg TEXT NOT NULL, side TEXT NOT NULL, history TEXT NOT NULL,"
	" position INTEGER NOT NULL, PRIMARY KEY(leg, side));";

/* A file of version 1 holds one leg. */
static const char upgrade[] =
	"ALTER TABLE journal ADD COLUMN leg TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE authority RENAME TO authority1;"
	"ALTER TABLE meta RENAME TO meta1;"
	"ALTER TABLE progress RENAME TO progress1;";
static const char upgraded[] =
	"INSERT INTO authority(leg, epoch, state)"
	" SELECT '', epoch, state FROM authority1;"
	"INSERT INTO meta SELECT '', key, value FROM meta1;"
	"INSERT INTO progress SELECT '', side, history, position"
	" FROM progress1;"
	"DROP TABLE authority1; DROP TABLE meta1; DROP TABLE progress1;";

/* Version 2 has the legs, and no scope. */
static const char scoped[] =
	"ALTER TABLE authority ADD COLUMN scope INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE authority ADD COLUMN scope_to INTEGER NOT NULL DEFAULT 0;";
/* What was frozen then was on its way to new, whole. */
static const char whole[] =
	"UPDATE authority SET scope_to=4294967295 WHERE state='freeze';";

/* The same, seen by who only reads: temporary views stand before the tables. */
static const char old_views[] =
	"CREATE TEMP VIEW journal AS SELECT *, '' AS leg FROM main.journal;"
	"CREATE TEMP VIEW authority AS SELECT *, '' AS leg, 0 AS scope,"
	" CASE state WHEN 'freeze' THEN 4294967295 ELSE 0 END AS scope_to"
	" FROM main.authority;"
	"CREATE TEMP VIEW meta AS SELECT *, '' AS leg FROM main.meta;"
	"CREATE TEMP VIEW progress AS SELECT *, '' AS leg"
	" FROM main.progress;";

static const char scope_view[] =
	"CREATE TEMP VIEW authority AS SELECT *, 0 AS scope,"
	" CASE state WHEN 'freeze' THEN 4294967295 ELSE 0 END AS scope_to"
	" FROM main.authority;";

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

static int
check_version(struct journal *j, struct err *err)
{
	sqlite3_stmt *s = db_prepare_leg(j, "PRAGMA user_version", NULL);
	int version = -1;

	if (s != NULL && sqlite3_step(s) == SQLITE_ROW)
		version = sqlite3_column_int(s, 0);
	(void)sqlite3_finalize(s);
	j->version = version;
	if (version >= 0 && version <= JOURNAL_VERSION)
		return 0;
	if (version > JOURNAL_VERSION)
		return err_set(err, ERR_STATE,
		               "state file %s is of a newer Godwit (format %d, "
		               "this one reads up to %d); use that Godwit, or "
		               "choose another --state",
		               j->path, version, JOURNAL_VERSION);
	return err_set(err, ERR_BAD,
	               "%s is no state file of this Godwit (%s); choose "
	               "another --state",
	               j->path,
	               version < 0 ? sqlite3_errmsg(j->db) : "other version");
}

static int
make_tables(struct journal *j, struct err *err)
{
	sqlite3_stmt *s;
	int rc;

	/* Inside the transaction: another leg may have done it meanwhile. */
	rc = check_version(j, err);
	if (rc == 0 && j->version == 1)
		rc = db_do(j, upgrade, err);
	if (rc == 0)
		rc = db_do(j, schema, err);
	if (rc == 0 && j->version == 1)
		rc = db_do(j, upgraded, err);
	if (rc == 0 && j->version == 2)
		rc = db_do(j, scoped, err);
	if (rc == 0 && (j->version == 1 || j->version == 2))
		rc = db_do(j, whole, err);
	if (rc == 0)
		rc = db_do(j, "PRAGMA user_version=3", err);
	if (rc != 0)
		return rc;
	s = db_prepare(j, "INSERT OR IGNORE INTO authority(leg, epoch, state) "
	                  "VALUES(?1, 1, 'old')");
	if (s == NULL || sqlite3_step(s) != SQLITE_DONE)
		rc = db_err(j, "writing the authority record", err);
	(void)sqlite3_finalize(s);
	return rc;
}

static int
set_up(struct journal *j, struct err *err)
{
	bool in = writer_in();
	int rc = db_do(j, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
	               err);

	if (rc == 0)
		rc = db_do(j, "BEGIN IMMEDIATE", err);
	if (rc == 0)
		rc = make_tables(j, err);
	if (rc == 0)
		rc = db_do(j, "COMMIT", err);
	if (rc != 0)
		(void)sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
	writer_out(in);
	return rc;
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
		return err_set(err, ERR_IO,
		               "state file %s: %s; choose another --state",
		               j->path,
		               j->db != NULL ? sqlite3_errmsg(j->db)
		                             : "out of memory");
	(void)sqlite3_busy_timeout(j->db,
	                           j->leg[0] != '\0' ? BUSY_LEG_MS : BUSY_MS);
	rc = check_version(j, err);
	if (rc == 0 && !write && j->version == 0)
		return err_set(err, ERR_STATE,
		               "state file %s: no migration was begun there; "
		               "is it the right --state?",
		               j->path);
	if (rc == 0 && !write && j->version == 1)
		return db_do(j, old_views, err);
	if (rc == 0 && !write && j->version == 2)
		return db_do(j, scope_view, err);
	if (rc != 0 || !write)
		return rc;
	if (chmod(j->path, 0600) != 0)
		return err_set(err, ERR_IO, "state file %s: %s", j->path,
		               os_cause(errno));
	return set_up(j, err);
}

static struct journal *
make(const char *path, const char *leg, bool write, struct err *err)
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
	rc = snprintf(j->leg, sizeof(j->leg), "%s", leg != NULL ? leg : "");
	REQUIRE(rc >= 0 && (size_t)rc < sizeof(j->leg));
	rc = write && leg == NULL ? lock_take(j, err) : 0;
	if (rc == 0)
		rc = open_db(j, write, err);
	if (rc == 0)
		rc = db_authority(j, j->leg, &j->r, err);
	if (rc == 0)
		rc = journal_secret_open(j, err);
	if (rc != 0) {
		journal_close(j);
		return NULL;
	}
	j->is_new = journal_count(j) == 0;
	journal_crash_read(j);
	return j;
}

struct journal *
journal_open(const char *path, struct err *err)
{
	return make(path, NULL, true, err);
}

struct journal *
journal_open_leg(const char *path, const char *leg, struct err *err)
{
	REQUIRE(leg[0] != '\0');
	return make(path, leg, true, err);
}

struct journal *
journal_peek(const char *path, struct err *err)
{
	return journal_peek_leg(path, NULL, err);
}

struct journal *
journal_peek_leg(const char *path, const char *leg, struct err *err)
{
	if (access(path, R_OK) != 0) {
		(void)err_set(err, ERR_MISSING,
		              "state file %s: %s; is it "
		              "the right --state?",
		              path, os_cause(errno));
		return NULL;
	}
	return make(path, leg, false, err);
}

void
journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	(void)sqlite3_close(j->db);
	key_free(j->key);
	if (j->lock_fd >= 0)
		(void)close(j->lock_fd);
	free(j);
}
