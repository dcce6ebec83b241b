/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/credentials.h: the file of tokens, $XDG_CONFIG_HOME/godwit/credentials.
 *
 * {"current":URL,"servers":{URL:{"token","organization","user","kind":
 * "session"|"token","life_s","expires_ms" (this machine's clock)}}}; mode 0600,
 * replaced in one step. A file that others can read is refused.
 *
 * Thread: the main one, and the bridge's (under the lock).
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

#define CREDENTIALS_PATH_MAX 600

int credentials_path(char *ret, size_t n, struct err *err) MUST;
/* The whole file (new reference), {"servers":{}} when there is none; NULL:
 * *err. */
json_t *credentials_load(struct err *err);
int credentials_save(const json_t *all, struct err *err) MUST;

/* One process at a time from load to save; the descriptor, or -ERR_*. */
int credentials_lock(struct err *err) MUST;
void credentials_unlock(int fd);

/* The entry of a server (borrowed), or NULL. */
json_t *credentials_of(const json_t *all, const char *server);
