/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_word.h: SQL text as words, for who is guarded elsewhere.
 *
 * It reads every text to its end: what could be read in two ways is read as a server
 * with the settings of today does (standard_conforming_strings on), and what no server
 * would take gives some words. engine/postgres/sql_scan.h is for who must not be deceived.
 *
 * Source: https://www.postgresql.org/docs/15/sql-syntax-lexical.html
 *
 * Owns:   nothing; spans point into the text.
 * Limits: of a name SQL_WORD_MAX bytes, as the server does.
 * Thread: a value.
 */
#pragma once

#include "base/span.h"

#define SQL_WORD_MAX 63

enum sql_word_kind {
	SQL_WORD_END,
	SQL_WORD_NAME,   /* keyword or name                           */
	SQL_WORD_STRING, /* in quotes or dollars: inside is its text  */
	SQL_WORD_OPEN,
	SQL_WORD_CLOSE,
	SQL_WORD_COMMA,
	SQL_WORD_DOT,
	SQL_WORD_SEMICOLON,
	SQL_WORD_CAST,  /* ::                                         */
	SQL_WORD_OTHER, /* a number, a parameter, a sign              */
};

struct sql_word {
	enum sql_word_kind kind;
	bool is_quoted; /* a name that no keyword is                  */
	struct span inside;
	/* Of a name: as the server keeps it, and a NUL. */
	size_t n;
	char name[SQL_WORD_MAX + 1];
};

struct sql_words {
	struct span text;
	size_t at;
};

void sql_words_init(struct sql_words *s, struct span text);
/* Behind SQL_WORD_END it answers the same again. */
void sql_words_next(struct sql_words *s, struct sql_word *ret);

/* Is it a plain word, and one of a list, each of them between two spaces? */
bool sql_word_is(const struct sql_word *w, const char *list);
