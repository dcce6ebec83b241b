/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/store.h: the daemon's state file (SQLite), as rows of JSON.
 *
 * One connection (WAL, synchronous FULL, mode 0600) behind a recursive mutex.
 * Each part of the daemon (entities, auth, events) brings its own tables with
 * store_schema(). The legs' journal writes to the same file by connections of
 * its own: a transaction here is short and never waits for the network.
 *
 * Parameters of a statement are told by a text, one letter each:
 *	s  const char *           (NULL: SQL NULL)
 *	i  int64_t
 *	b  const void *, size_t   (a blob)
 *	j  const json_t *         (as compact text; NULL: SQL NULL; borrowed)
 * A row comes back as an object: column names to string, integer, real or null;
 * a blob is a string of lower-case hex digits; a column whose name ends in
 * "_json" is parsed, and loses that ending.
 *
 * Owns:   the connection and its prepared statements.
 * Thread: any; a transaction keeps every other thread out until its end.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

struct store;

/* Open or create. ERR_BAD: no state file, or of a later Godwit; ERR_IO. */
struct store *store_open(const char *path, struct err *err);
void store_close(struct store *s); /* NULL is fine */
/* For what may be lost in a crash of the machine (not of the process): commits
 * of this connection do not wait for the disk. */
int store_set_lazy(struct store *s, struct err *err) MUST;

/* Bring the tables of a part to version n: steps[v] leads from version v to v+1
 * (any number of statements). All in one transaction; nothing when it is there
 * already. ERR_BAD: the file is of a later version. */
int store_schema(struct store *s, const char *part, const char *const *steps,
                 uint32_t n, struct err *err) MUST;

/* A transaction; may be nested (the outermost one decides). Every begin that
 * answered 0 needs its end. rc not 0: rolled back, and rc is the answer. */
int store_begin(struct store *s, struct err *err) MUST;
int store_end(struct store *s, int rc, struct err *err) MUST;
/* The end of one whose changes were only to be seen: rolled back. */
void store_undo(struct store *s);

/* What goes with the next transaction that this thread commits, as its last part
 * (a change and its line in the audit log): when it cannot be written, nothing
 * is. Once; then is_done. */
struct store_rider {
	int (*write)(void *arg, struct err *err);
	void *arg;
	bool is_done;
};

/* r NULL: none any more. It must live until then. */
void store_ride(struct store *s, struct store_rider *r);

/* INSERT, UPDATE, DELETE: the number of changed rows, or -ERR_*. ERR_EXISTS: a
 * UNIQUE or PRIMARY KEY rule refused it. sql must live as long as s (a
 * literal): it is prepared once. */
int64_t store_run(struct store *s, struct err *err, const char *sql,
                  const char *types, ...) MUST;

/* SELECT: all rows as an array (new reference), or NULL with *err. */
json_t *store_rows(struct store *s, struct err *err, const char *sql,
                   const char *types, ...) MUST;

/* The first row (new reference). NULL: none (err->code is ERR_MISSING) or an
 * error. */
json_t *store_row(struct store *s, struct err *err, const char *sql,
                  const char *types, ...) MUST;

/* The first column of the first row, 0 when there is none. */
int64_t store_number(struct store *s, const char *sql, const char *types, ...);

/* "2026-11-21T11:51:37.123Z" now. */
#define STORE_TIME 32
const char *store_now(char ret[STORE_TIME]);
const char *store_time(char ret[STORE_TIME], int64_t wall_ms);

/* A random UUID, version 4. */
#define STORE_UUID 37
const char *store_uuid(char ret[STORE_UUID]);
bool store_is_uuid(const char *text);
