/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/guard.h: a connection of Godwit's becomes what a session is, and
 * read only.
 *
 * READ ONLY is set last; then the server says whether it is, and who the user is.
 */
#pragma once

#include "engine/postgres/conn.h"

/* Ask for it: settings are statements, each with its semicolon; timeout_ms: of a
 * statement, 0: the session's own. False: no memory. */
bool pg_guard_ask(struct pg_conn *c, struct span settings,
                  uint32_t timeout_ms) MUST;
/* A message of the answer: the last row counts, those of settings come first.
 * *is_guarded becomes false at another user's row. */
void pg_guard_hear(const struct pg_message *m, struct span user,
                   bool *is_guarded);
