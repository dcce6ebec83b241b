/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_text.h: what both readers of SQL read alike.
 *
 * Source: https://www.postgresql.org/docs/15/sql-syntax-lexical.html
 *
 * Owns:   nothing.
 * Thread: pure functions.
 */
#pragma once

#include "base/span.h"

/* Behind the comment that begins at byte at; at itself: none does; more than text.n: it
 * has no end. */
size_t sql_comment_end(struct span text, size_t at);

/* Is the name one of the words of a list, each of them between two spaces? */
bool sql_is_listed(struct span name, const char *list);
