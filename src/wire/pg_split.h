/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_split.h: the statements of a simple query, without understanding them.
 *
 * Knows what may hide a semicolon, as the server's lexer does: strings ('', E'',
 * B'', X'', N'', U&'', on several lines), quoted names, dollar quotes, nested
 * comments, brackets (CREATE RULE), bodies of SQL functions (BEGIN ATOMIC ... END,
 * found as psql does). Where the server would refuse the text, it gives some
 * statement; it never refuses.
 *
 * Source: https://www.postgresql.org/docs/15/sql-syntax-lexical.html
 *
 * Owns:   nothing; spans point into the text.
 * Limits: none; time and depth do not grow with nesting.
 * Thread: any, one at a time for each struct pg_split.
 */
#pragma once

#include "base/span.h"

struct pg_split {
	struct span text;
	size_t at;
	/* The session's standard_conforming_strings: off, a backslash escapes in
	 * plain strings. A SET inside the text does not change how the server reads
	 * the rest of it: all of it is read before any of it is run. */
	bool standard_strings;
};

void pg_split_init(struct pg_split *s, struct span text, bool standard_strings);

struct pg_statement {
	struct span text; /* first to last token, without the semicolon     */
	struct span
		comment;  /* inside of the first comment before it; p NULL  */
	struct span word; /* the first token when it is a plain word        */
	bool is_open;     /* a string, name, comment or body does not end   */
};

/* False: no statement is left (empty ones are passed over). */
bool pg_split_next(struct pg_split *s, struct pg_statement *ret);

/* The same of a script for psql: words to psql itself ("\\connect"), which stand alone
 * on a line where a statement could begin, are passed over with remarks before them. */
bool pg_split_next_of_script(struct pg_split *s, struct pg_statement *ret);

/* The inside of the first comment, when the text begins with one. */
struct span pg_comment_of(struct span text);
