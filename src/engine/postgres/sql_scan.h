/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_scan.h: SQL text as tokens, for who must not be deceived.
 *
 * What could be read in two ways ends the scan: a backslash, a dollar quote, U&"",
 * a name that is cut or folded in a way of its own, bytes that are not UTF-8. So the
 * tokens are the server's own, whatever its version and the session's settings.
 *
 * Source: https://www.postgresql.org/docs/15/sql-syntax-lexical.html
 *
 * Owns:   nothing; spans point into the text.
 * Limits: names of up to SQL_NAME_MAX bytes.
 * Thread: a value.
 */
#pragma once

#include "base/span.h"

#define SQL_NAME_MAX 63

enum sql_kind {
	SQL_END,
	SQL_UNSURE, /* no more than this is known of the text */
	SQL_NAME,   /* keyword or name                        */
	SQL_VALUE,  /* number, string, parameter              */
	SQL_OPERATOR,
	SQL_OPEN, /* ( */
	SQL_SEMICOLON,
	SQL_OTHER, /* ) [ ] , : . */
};

struct sql_token {
	enum sql_kind kind;
	bool is_quoted;   /* a name that no keyword is              */
	struct span text; /* as it stands there                     */
	/* Of a name: as the server keeps it, and its length. */
	size_t name_n;
	char name[SQL_NAME_MAX + 1];
};

struct sql_scan {
	struct span text;
	size_t at;
};

/* False: the text cannot be scanned at all. */
bool sql_scan_init(struct sql_scan *s, struct span text);
/* After SQL_END and SQL_UNSURE it answers the same again. */
void sql_scan_next(struct sql_scan *s, struct sql_token *ret);

/* Is the name one of the words of a list, each of them between two spaces? */
bool sql_token_is(const struct sql_token *t, const char *list);
