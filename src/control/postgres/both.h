/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/both.h: a new side that is not empty, and a conflict rule.
 *
 *   both.c        what was there is noted; old's schema beside it
 *   both_check.c  before the start: do the tables of both sides agree?
 *   both_told.c   what was met, for the status
 *   both_sql.c    what the servers do themselves: rows by the rule, room for a row
 *
 * In Godwit's schema on both sides: there (what new had before), conflicts (how many,
 * of a table and kind), conflict (the first of them by name). The mover reads there, and
 * calls settle() and put() (engine/postgres/mover/conflict.c).
 *
 * Thread: the control thread.
 */
#pragma once

#include "control/postgres/side.h"

/* Relations of people. */
#define BOTH_THEIRS                                                       \
	" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON"   \
	" n.oid = relnamespace WHERE nspname !~"                          \
	" '^(pg_|godwit_|information_schema$)' AND relpersistence <> 't'" \
	" AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE"     \
	" d.classid = 'pg_class'::regclass AND d.objid = c.oid AND"       \
	" deptype = 'e')"

/* Tables and functions in Godwit's schema, made or made again. */
int pg_both_users(struct run *r, enum side s, struct err *err) MUST;
/* ... with each @ as its name. */
extern const char both_tables[];
extern const char both_functions[];
extern const char both_room[];
extern const char both_put[];
extern const char both_settle[];

/* Was a rule said? Else new has to be empty. */
bool pg_both_is_said(const struct run *r);
/* none, replace, merge */
const char *pg_both_rule(const struct run *r);

/* Checks; r->new_keys is set. */
int pg_both_check(struct run *r, struct err *err) MUST;

/* Once, before new gets a schema: what it has. */
int pg_both_note(struct run *r, struct err *err) MUST;
/* words (to NULL), and for each relation that new had "--exclude-table=..": malloc,
 * ended by pg_both_free. */
int pg_both_excluded(struct run *r, const char *const *words, char ***ret,
                     struct err *err) MUST;
void pg_both_free(char **list);
/* The file's statements, in one transaction with `last`; what is there already stays. */
int pg_both_load(struct run *r, const char *file, const char *last,
                 struct err *err) MUST;

/* Now and then: what was met. */
void pg_both_look(struct run *r);
/* For the status: {"rows","tables","examples"}, or NULL. */
json_t *pg_both_told(const struct run *r);
