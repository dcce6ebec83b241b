/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/store.c: the daemon's state file (SQLite), as rows of JSON.
 */
#define _GNU_SOURCE
#include "control/store/store.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "control/store/writer.h"
#include "world/os/loop.h"

#define BUSY_MS    5000 /* a leg's journal or a reader has the file        */
#define CACHE_SIZE 256  /* statements: one per literal in the source       */
#define PATH_LEN   512

struct cached {
	const char *sql; /* compared as an address: a literal              */
	sqlite3_stmt *stmt;
};

struct store {
	sqlite3 *db;
	pthread_mutex_t lock;
	bool is_writer;  /* in the transaction: see writer.h */
	uint32_t depth;  /* of nested transactions                         */
	bool is_spoiled; /* an inner one failed: the outer one must        */
	uint32_t n;
	struct cached cache[CACHE_SIZE];
	char path[PATH_LEN];
};

static int
db_err(struct store *s, const char *what, struct err *err)
{
	int code = sqlite3_extended_errcode(s->db);

	if (code == SQLITE_CONSTRAINT_UNIQUE ||
	    code == SQLITE_CONSTRAINT_PRIMARYKEY)
		return err_set(err, ERR_EXISTS, "already there (%s)",
		               sqlite3_errmsg(s->db));
	return err_set(err, ERR_IO,
	               "state file %s: %s: %s; nothing was changed", s->path,
	               what, sqlite3_errmsg(s->db));
}

static int
db_do(struct store *s, const char *sql, struct err *err)
{
	if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return db_err(s, "writing", err);
	return 0;
}

/* ---- open, close ---------------------------------------------------------- */

static int
open_db(struct store *s, struct err *err)
{
	mode_t mask = umask(0077);
	int rc = sqlite3_open_v2(s->path, &s->db,
	                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
	                                 SQLITE_OPEN_NOMUTEX,
	                         NULL);

	(void)umask(mask);
	if (rc != SQLITE_OK)
		return err_set(err, ERR_IO, "state file %s: %s", s->path,
		               s->db != NULL ? sqlite3_errmsg(s->db)
		                             : "out of memory");
	(void)sqlite3_busy_timeout(s->db, BUSY_MS);
	(void)sqlite3_extended_result_codes(s->db, 1);
	if (chmod(s->path, 0600) != 0)
		return err_set(err, ERR_IO, "state file %s: %s", s->path,
		               os_cause(errno));
	rc = db_do(s,
	           "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
	           "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON;"
	           "CREATE TABLE IF NOT EXISTS schema_version("
	           " part TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT;",
	           err);
	if (rc != 0 && sqlite3_errcode(s->db) == SQLITE_NOTADB)
		return err_set(err, ERR_BAD,
		               "%s is no state file; choose another --state",
		               s->path);
	return rc;
}

struct store *
store_open(const char *path, struct err *err)
{
	struct store *s = calloc(1, sizeof(*s));
	pthread_mutexattr_t attr;

	if (s == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	if (strlen(path) >= sizeof(s->path)) {
		free(s);
		(void)err_set(err, ERR_USAGE,
		              "the path of --state is longer "
		              "than 511 bytes");
		return NULL;
	}
	memcpy(s->path, path, strlen(path) + 1);
	(void)pthread_mutexattr_init(&attr);
	(void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	(void)pthread_mutex_init(&s->lock, &attr);
	(void)pthread_mutexattr_destroy(&attr);
	if (open_db(s, err) != 0) {
		store_close(s);
		return NULL;
	}
	return s;
}

int
store_set_lazy(struct store *s, struct err *err)
{
	return db_do(s, "PRAGMA synchronous=NORMAL", err);
}

void
store_close(struct store *s)
{
	if (s == NULL)
		return;
	for (uint32_t i = 0; i < s->n; i++)
		(void)sqlite3_finalize(s->cache[i].stmt);
	(void)sqlite3_close(s->db);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- transactions --------------------------------------------------------- */

/* Of this thread. */
static _Thread_local struct {
	struct store *store;
	struct store_rider *rider;
} riding;

void
store_ride(struct store *s, struct store_rider *r)
{
	riding.store = r != NULL ? s : NULL;
	riding.rider = r;
}

static struct store_rider *
rider_of(const struct store *s)
{
	return riding.store == s && !riding.rider->is_done ? riding.rider
	                                                   : NULL;
}

static void
enter(struct store *s)
{
	int rc = pthread_mutex_lock(&s->lock);

	ENSURE(rc == 0);
}

static void
leave(struct store *s)
{
	int rc = pthread_mutex_unlock(&s->lock);

	ENSURE(rc == 0);
}

int
store_begin(struct store *s, struct err *err)
{
	int rc = 0;

	enter(s);
	if (s->depth == 0) {
		s->is_spoiled = false;
		s->is_writer = writer_in();
		rc = db_do(s, "BEGIN IMMEDIATE", err);
	}
	if (rc != 0) {
		if (s->depth == 0)
			writer_out(s->is_writer);
		leave(s);
		return rc;
	}
	s->depth++;
	return 0;
}

/* The outermost transaction, good so far. */
static int
commit(struct store *s, struct err *err)
{
	struct store_rider *r = rider_of(s);
	int rc = 0;

	if (r != NULL) {
		s->depth++;
		rc = r->write(r->arg, err);
		s->depth--;
	}
	if (rc == 0)
		rc = db_do(s, "COMMIT", err);
	if (rc == 0 && r != NULL)
		r->is_done = true;
	return rc;
}

int
store_end(struct store *s, int rc, struct err *err)
{
	REQUIRE(s->depth > 0);
	s->depth--;
	if (rc != 0)
		s->is_spoiled = true;
	if (s->depth == 0) {
		if (!s->is_spoiled) {
			rc = commit(s, err);
		} else if (rc == 0) {
			rc = err_set(err, ERR_IO,
			             "a part of this change failed; nothing "
			             "was changed");
		}
		if (rc != 0)
			(void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
		writer_out(s->is_writer);
	}
	leave(s);
	return rc;
}

void
store_undo(struct store *s)
{
	int rc = store_end(s, -ERR_POSTPONED, NULL);

	ENSURE(rc == -ERR_POSTPONED);
}

/* ---- statements ----------------------------------------------------------- */

static sqlite3_stmt *
prepare(struct store *s, const char *sql, struct err *err)
{
	struct cached *c;

	for (uint32_t i = 0; i < s->n; i++) {
		if (s->cache[i].sql == sql)
			return s->cache[i].stmt;
	}
	ENSURE(s->n < CACHE_SIZE);
	c = &s->cache[s->n];
	if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
	                       &c->stmt, NULL) != SQLITE_OK) {
		(void)db_err(s, sql, err);
		return NULL;
	}
	c->sql = sql;
	s->n++;
	return c->stmt;
}

static int
bind_json(sqlite3_stmt *stmt, int at, const json_t *value)
{
	char *text;

	if (value == NULL)
		return sqlite3_bind_null(stmt, at);
	text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	if (text == NULL)
		return SQLITE_NOMEM;
	return sqlite3_bind_text(stmt, at, text, -1, free);
}

/* clang-tidy 14 thinks that a va_list parameter was never begun. */
// NOLINTBEGIN(clang-analyzer-valist.Uninitialized)
static int
bind_all(sqlite3_stmt *stmt, const char *types, va_list ap)
{
	int rc = SQLITE_OK;
	int at = 1;

	for (const char *t = types; *t != '\0' && rc == SQLITE_OK; t++, at++) {
		switch (*t) {
		case 's': {
			const char *text = va_arg(ap, const char *);

			rc = sqlite3_bind_text(stmt, at, text, -1,
			                       SQLITE_TRANSIENT);
			break;
		}
		case 'i':
			rc = sqlite3_bind_int64(stmt, at, va_arg(ap, int64_t));
			break;
		case 'b': {
			const void *p = va_arg(ap, const void *);
			size_t n = va_arg(ap, size_t);

			rc = sqlite3_bind_blob64(stmt, at, p, n,
			                         SQLITE_TRANSIENT);
			break;
		}
		case 'j':
			rc = bind_json(stmt, at, va_arg(ap, const json_t *));
			break;
		default: NEVER("a type of a parameter that is not known");
		}
	}
	return rc;
}
// NOLINTEND(clang-analyzer-valist.Uninitialized)

static void
reset(sqlite3_stmt *stmt)
{
	(void)sqlite3_reset(stmt);
	(void)sqlite3_clear_bindings(stmt);
}

static json_t *
hex(const uint8_t *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	char *text = malloc(2 * n + 1);
	json_t *ret;

	if (text == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		text[2 * i] = digits[p[i] >> 4];
		text[2 * i + 1] = digits[p[i] & 15];
	}
	ret = json_stringn(text, 2 * n);
	free(text);
	return ret;
}

static json_t *
column(sqlite3_stmt *stmt, int i, bool is_json)
{
	const char *text;

	switch (sqlite3_column_type(stmt, i)) {
	case SQLITE_INTEGER: return json_integer(sqlite3_column_int64(stmt, i));
	case SQLITE_FLOAT: return json_real(sqlite3_column_double(stmt, i));
	case SQLITE_TEXT:
		text = (const char *)sqlite3_column_text(stmt, i);
		return is_json ? json_loads(text, JSON_DECODE_ANY, NULL)
		               : json_string(text);
	case SQLITE_BLOB:
		return hex(sqlite3_column_blob(stmt, i),
		           (size_t)sqlite3_column_bytes(stmt, i));
	default: return json_null();
	}
}

static json_t *
row_object(sqlite3_stmt *stmt)
{
	static const char ending[] = "_json";
	json_t *row = json_object();
	int n = sqlite3_column_count(stmt);

	for (int i = 0; i < n; i++) {
		const char *name = sqlite3_column_name(stmt, i);
		size_t len = strlen(name);
		size_t cut = sizeof(ending) - 1;
		bool is_json =
			len > cut && strcmp(name + len - cut, ending) == 0;
		char key[64];

		(void)snprintf(key, sizeof(key), "%.*s",
		               (int)(is_json ? len - cut : len), name);
		if (json_object_set_new(row, key, column(stmt, i, is_json)) !=
		    0) {
			json_decref(row);
			return NULL;
		}
	}
	return row;
}

/* The lock is held. */
static int64_t
run(struct store *s, struct err *err, const char *sql, const char *types,
    va_list ap)
{
	sqlite3_stmt *stmt = prepare(s, sql, err);
	bool alone;
	int64_t ret;
	int rc;

	if (stmt == NULL)
		return -ERR_IO;
	rc = bind_all(stmt, types, ap);
	alone = s->depth == 0 && writer_in();
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	while (rc == SQLITE_ROW) /* RETURNING */
		rc = sqlite3_step(stmt);
	writer_out(alone);
	ret = rc == SQLITE_DONE ? sqlite3_changes(s->db)
	                        : db_err(s, "writing", err);
	reset(stmt);
	return ret;
}

int64_t
store_run(struct store *s, struct err *err, const char *sql, const char *types,
          ...)
{
	bool whole;
	int64_t ret;
	va_list ap;
	int rc;

	enter(s);
	/* What rides along makes a transaction of a single statement. */
	whole = s->depth == 0 && rider_of(s) != NULL;
	rc = whole ? store_begin(s, err) : 0;
	if (rc != 0) {
		leave(s);
		return rc;
	}
	va_start(ap, types);
	ret = run(s, err, sql, types, ap);
	va_end(ap);
	if (whole)
		rc = store_end(s, ret < 0 ? (int)ret : 0, err);
	leave(s);
	return rc != 0 ? rc : ret;
}

/* At most max rows. */
static json_t *
collect(struct store *s, sqlite3_stmt *stmt, size_t max, struct err *err)
{
	json_t *rows = json_array();
	int rc = SQLITE_ROW;

	while (json_array_size(rows) < max &&
	       (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		json_t *row = row_object(stmt);

		if (row == NULL || json_array_append_new(rows, row) != 0) {
			json_decref(rows);
			(void)err_set(err, ERR_IO,
			              "state file %s: a row is damaged",
			              s->path);
			return NULL;
		}
	}
	if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
		(void)db_err(s, "reading", err);
		json_decref(rows);
		return NULL;
	}
	return rows;
}

// NOLINTBEGIN(clang-analyzer-valist.Uninitialized)
static json_t *
query(struct store *s, size_t max, struct err *err, const char *sql,
      const char *types, va_list ap)
{
	sqlite3_stmt *stmt;
	json_t *rows = NULL;

	enter(s);
	stmt = prepare(s, sql, err);
	if (stmt != NULL) {
		if (bind_all(stmt, types, ap) == SQLITE_OK)
			rows = collect(s, stmt, max, err);
		else
			(void)db_err(s, "reading", err);
		reset(stmt);
	}
	leave(s);
	return rows;
}
// NOLINTEND(clang-analyzer-valist.Uninitialized)

json_t *
store_rows(struct store *s, struct err *err, const char *sql, const char *types,
           ...)
{
	json_t *rows;
	va_list ap;

	va_start(ap, types);
	rows = query(s, SIZE_MAX, err, sql, types, ap);
	va_end(ap);
	return rows;
}

json_t *
store_row(struct store *s, struct err *err, const char *sql, const char *types,
          ...)
{
	json_t *row = NULL;
	json_t *rows;
	va_list ap;

	va_start(ap, types);
	rows = query(s, 1, err, sql, types, ap);
	va_end(ap);
	if (rows == NULL)
		return NULL;
	if (json_array_size(rows) == 0)
		(void)err_set(err, ERR_MISSING, "no such row");
	else
		row = json_incref(json_array_get(rows, 0));
	json_decref(rows);
	return row;
}

int64_t
store_number(struct store *s, const char *sql, const char *types, ...)
{
	int64_t ret = 0;
	json_t *rows;
	va_list ap;

	va_start(ap, types);
	rows = query(s, 1, NULL, sql, types, ap);
	va_end(ap);
	if (json_array_size(rows) != 0)
		ret = json_integer_value(json_object_iter_value(
			json_object_iter(json_array_get(rows, 0))));
	json_decref(rows);
	return ret;
}

/* ---- schema --------------------------------------------------------------- */

int
store_schema(struct store *s, const char *part, const char *const *steps,
             uint32_t n, struct err *err)
{
	int64_t at;
	int rc = store_begin(s, err);

	if (rc != 0)
		return rc;
	at = store_number(s, "SELECT version FROM schema_version WHERE part=?",
	                  "s", part);
	if (at < 0 || at > (int64_t)n)
		rc = err_set(err, ERR_BAD,
		             "%s was written by a later Godwit (%s %lld, this "
		             "one knows %u); use that one",
		             s->path, part, (long long)at, n);
	for (int64_t v = at; v < (int64_t)n && rc == 0; v++)
		rc = db_do(s, steps[v], err);
	if (rc == 0 && at != (int64_t)n) {
		int64_t done =
			store_run(s, err,
		                  "INSERT OR REPLACE INTO schema_version "
		                  "VALUES(?,?)",
		                  "si", part, (int64_t)n);

		rc = done < 0 ? (int)done : 0;
	}
	return store_end(s, rc, err);
}

/* ---- times --------------------------------------------------------- */

const char *
store_time(char ret[STORE_TIME], int64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;
	size_t n;

	if (gmtime_r(&seconds, &tm) == NULL)
		memset(&tm, 0, sizeof(tm));
	n = strftime(ret, STORE_TIME, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(ret + n, STORE_TIME - n, ".%03dZ",
	               (int)(wall_ms % 1000));
	return ret;
}

const char *
store_now(char ret[STORE_TIME])
{
	return store_time(ret, os_wall_ms());
}
