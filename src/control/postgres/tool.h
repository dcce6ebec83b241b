/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/tool.h: PostgreSQL's own programs (pg_dump, pg_restore), run to
 * their end.
 *
 * They find the server and the password in their environment, not in their
 * arguments. What they say on stderr is the error.
 *
 * Thread: any. BLOCKS until the program ends.
 */
#pragma once

#include "base/err.h"
#include "control/url.h"

struct tool {
	const struct url *url;
	const char *user; /* and pass: of Godwit's own role */
	const char *pass;
	const char *const *argv; /* argv[0]: its name, looked for in PATH */
	const char *out; /* its stdout goes to this file; NULL: nowhere */
	const char *label;
};

/* ERR_MISSING: there is no such program; ERR_REFUSED with its last words. */
int tool_run(const struct tool *t, struct err *err) MUST;
