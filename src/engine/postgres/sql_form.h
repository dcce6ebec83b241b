/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_form.h: who a statement is but for its constants.
 *
 * What is said of a statement by its words (sql.h, sql_change.h) is the same whatever
 * numbers, strings and parameters stand in it: nobody looks into them. So of two
 * statements with the same form one has to be looked at. A name, an operator, a
 * comment, a space more is another form; a text that cannot be scanned to its end is
 * looked at as a whole, and has a form of its own.
 *
 * Thread: a pure function.
 */
#pragma once

#include "base/span.h"

/* seed: secret, and not twice the same. */
void sql_form(struct span text, const uint64_t seed[2], uint64_t ret[2]);
