/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_change.h: may a statement change the catalog?
 *
 * For who keeps names of the catalog (engine/postgres/sql.h) and has to read them anew.
 * By its words: CREATE, ALTER, DROP, GRANT and REVOKE wherever they stand, DO and IMPORT
 * where a statement begins. Comments and strings say nothing. Where the text cannot be
 * read for certain, the words count in strings as well.
 *
 * Functions that change it are not seen: the names grow old by themselves.
 *
 * Limits: the first SQL_TEXT_MAX bytes are looked at.
 * Thread: any.
 */
#pragma once

#include "base/span.h"

/* One statement or several. */
bool sql_may_change(struct span text);

/* Is it one statement that makes a temporary table, or drops tables? Where no event trigger
 * runs it changes nothing that another session's statement would do unseen: what it makes
 * is its own session's, and names that are gone do nothing. */
bool sql_is_own_change(struct span text);
