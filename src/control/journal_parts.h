/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/journal_parts.h: what the files of the journal share.
 *
 *   journal.c       records, and what is read back
 *   journal_file.c  the file: lock, schema, versions
 *   journal_secret.c  what of it is sealed
 */
#pragma once

#include <sqlite3.h>

#include "control/journal.h"

struct key;

struct journal {
	sqlite3 *db;
	struct key *key; /* NULL: a file without one            */
	int lock_fd;
	int version; /* as it was found */
	char leg[80];
	bool is_new;
	struct authority r;
	uint64_t crash_at; /* 0: never                            */
	bool crash_before;
	bool unsure;                /* see journal_is_unsure()              */
	struct journal_stage stage; /* with the next record */
	char path[512];
};

int db_err(const struct journal *j, const char *what, struct err *err);
int db_do(struct journal *j, const char *sql, struct err *err) MUST;
/* ?1 is the leg wherever it is named; NULL: nowhere. */
sqlite3_stmt *db_prepare_leg(struct journal *j, const char *sql,
                             const char *leg);
sqlite3_stmt *db_prepare(struct journal *j, const char *sql);
/* R of a leg, on disk. */
int db_authority(struct journal *j, const char *leg, struct authority *ret,
                 struct err *err) MUST;
/* Read the key beside the file of a leg, where there is one. */
int journal_secret_open(struct journal *j, struct err *err) MUST;
/* A value of meta as it is written, and back (malloced; NULL: cannot be read). */
char *journal_secret_hide(struct journal *j, const char *key, const char *value,
                          struct err *err);
char *journal_secret_show(struct journal *j, const char *key,
                          const char *value);
/* The same for the body of a record, in place. */
int journal_secret_hide_body(struct journal *j, json_t *body,
                             struct err *err) MUST;
int journal_secret_show_body(struct journal *j, json_t *body,
                             struct err *err) MUST;
/* Read GODWIT_CRASH_AT. */
void journal_crash_read(struct journal *j);
