/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_table.h: which tables does a text name?
 *
 * A table is named where the grammar has one: behind FROM, JOIN, USING, INTO, UPDATE,
 * TRUNCATE, LOCK, COPY, TABLE, and commas behind these; what WITH has made is none. What
 * stands for tables counts as these: views, sequences (their owners and who takes from
 * them by default), functions that are called, by their texts. Code in a string (DO) is
 * looked at as well; in what makes up statements (EXECUTE), and where a function takes
 * names (nextval), each word of a string counts. What is one server's for all (LISTEN,
 * advisory locks, large objects) is old's.
 *
 * It is no proof of anything: a name that is made up is not seen. engine/postgres/sql.h
 * is for who must not be deceived.
 *
 * Limits: SQL_TABLE_DEPTH brackets, SQL_TABLE_WITH names by WITH at once, SQL_TABLE_CODES
 *         texts of code in it (DO in DO): what is deeper is read as if it stood in the
 *         last one, what is more is taken for tables (of code: but for what is quoted).
 * Thread: any.
 */
#pragma once

#include "engine/postgres/sql_scope.h"

#define SQL_TABLE_DEPTH 64
#define SQL_TABLE_CODES 64
#define SQL_TABLE_WITH  32

struct sql_table_in {
	struct span text;
	bool is_code; /* of a function */
	/* Schemas of the session, a NUL behind each; p NULL: not known. */
	struct span path;
};

/* One that was found; is_doubtful: in another schema there is one of that name as well, and
 * the path is not known. */
typedef void sql_table_f(void *self, const struct sql_touch *t);

/* What names stand for: s, which has functions as "name(". The same table may be found
 * several times. */
void sql_table_find(const struct sql_scope *s, const struct sql_table_in *in,
                    sql_table_f *found, void *self);
