/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql.h: is a statement a read, for certain?
 *
 * By its words and by the catalogs of both servers. A read names no function that is
 * volatile or that somebody has written, no relation behind which one may stand, and
 * nothing that says something else on another server (sizes, oids, system tables).
 * Every name in the text counts, wherever it stands: so what PostgreSQL would make
 * of it (search_path, overloading, t.f for f(t)) need not be known. What is hidden
 * from the text (views, policies, domains, casts, operators) is looked at when the
 * catalogs are read. All that is uncertain is no read.
 *
 * Owns:   the names of both catalogs.
 * Limits: SQL_TEXT_MAX a statement, SQL_HIDDEN_MAX of hidden text.
 * Thread: one at a time.
 */
#pragma once

#include "base/buf.h"
#include "base/map.h"
#include "core/side.h"

#define SQL_TEXT_MAX   ((size_t)64 * 1024)
/* Of views, policies and domains; with more nothing is a read. */
#define SQL_HIDDEN_MAX ((size_t)4 * 1024 * 1024)

enum sql_class {
	SQL_WRITE, /* or not known                                          */
	SQL_MILD,  /* changes rows, but for certain nothing of the session   */
	SQL_READ,
};

struct sql_names {
	struct map names;     /* name -> what it is              */
	struct map operators; /* that are not to be trusted      */
	struct buf hidden;    /* texts behind names, see sql.c   */
	bool is_opaque;       /* nothing is a read               */
	bool has_code;        /* there are functions of people's */
	bool has_triggers;    /* ... which a change of the schema runs */
	bool is_done;
};

/* Asked of each server, as a superuser whose search_path is pg_catalog. Three texts
 * a row: kind, name, text. */
extern const char sql_names_question[];

void sql_names_init(struct sql_names *n, struct mem *mem, uint64_t seed);
void sql_names_fini(struct sql_names *n);
/* A row of the answer of side s. */
void sql_names_add(struct sql_names *n, enum side s, const struct span row[3]);
/* All rows of both sides are there. */
void sql_names_done(struct sql_names *n);

/* Before sql_names_done() nothing is a read. */
enum sql_class sql_judge(const struct sql_names *n, struct span text);

/* A statement that makes a temporary table, or drops tables (sql_is_own_change()): does it
 * for certain run nothing that somebody has written? Before sql_names_done() it may. */
bool sql_runs_nothing(const struct sql_names *n, struct span text);
