/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/auth/unit.h: a state file in a directory of its own, a clock that
 * stands still, and identities in it.
 */
#pragma once

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include "control/auth/auth.h"

struct fixture {
	char dir[64];
	char state[96];
	char first[128]; /* the super-admin's token of the first start */
	struct store *store;
	struct auth *auth;
	struct auth_conf conf;
};

extern int64_t unit_now_ms; /* what the clock says */

int64_t unit_wall(void);

/* Setup and teardown of cmocka: *state is a struct fixture. */
int unit_open(void **state);
int unit_close(void **state);
/* auth_free and auth_new again on the same file. */
void unit_again(struct fixture *f);

/* "Bearer <token>" and its identity; the test fails when it is refused. */
struct identity unit_who(struct fixture *f, const char *token);
/* -ERR_* of auth_check for a token. */
int unit_refused(struct fixture *f, const char *token);
/* A user with the password "right-password" in organization default. */
void unit_user(struct fixture *f, const char *name, const char *role);
/* Log in: the answer's code; *ret the token (malloced) if not NULL. */
int unit_login(struct fixture *f, const char *user, const char *password,
               char **ret);
/* An API token of this role (malloced). */
char *unit_token(struct fixture *f, const char *id, const char *role);
/* Does any file of the directory contain these bytes? */
bool unit_is_on_disk(struct fixture *f, const char *text);
