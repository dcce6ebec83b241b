/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_text.h: names, literals and positions of PostgreSQL as SQL text.
 *
 * For sessions whose client_encoding is UTF8 (ours say so): in some others a byte
 * of a character may look like a quote or a backslash.
 *
 * Thread: pure functions.
 */
#pragma once

#include "base/buf.h"

/* A position in the write-ahead log. */
struct pg_lsn {
	uint64_t v;
};

#define PG_LSN_TEXT_MAX 18 /* "FFFFFFFF/FFFFFFFF", NUL included */

/* "16/B374D848", as the server writes it: upper case, no zeros in front. */
size_t pg_lsn_print(struct pg_lsn lsn, char ret[PG_LSN_TEXT_MAX]);
/* As the server reads it: 1 to 8 digits of either case, '/', 1 to 8 digits. */
bool pg_lsn_parse(struct span text, struct pg_lsn *ret) MUST;

/* "name", always in quotes: which words need them differs by version. A NUL
 * inside, or no byte at all, makes b fail. */
void pg_put_ident(struct buf *b, struct span name);

/* 'text', or E'text' when there is a backslash in it: means the same whatever
 * standard_conforming_strings says. A NUL inside makes b fail. */
void pg_put_literal(struct buf *b, struct span text);

/* 'text' with each quote twice and backslashes as they are: for the grammar of
 * replication, which knows no E''. In SQL only with standard_conforming_strings
 * on. A NUL inside makes b fail. */
void pg_put_plain(struct buf *b, struct span text);

/* E'\\x6162': bytes of type bytea; means the same in either setting. */
void pg_put_bytea(struct buf *b, struct span bytes);
