/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/door.h: the users of an interlay, from JSON and for its relays.
 *
 * {"users":[{"name","hashes":["64 hex"],"nopass","enabled",
 * "upstream":{"user","password"}}]}: no password of a client is in it.
 *
 * Thread: pure functions.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "engine/redis/door.h"

/* Godwit's own way in, for templates; nobody may choose such a name. */
#define DOOR_OWN_PREFIX "godwit:"
#define DOOR_OWN_USER   "godwit:templates"

/* own_pass: of DOOR_OWN_USER. ERR_USAGE names what is wrong; NULL then. */
struct door *door_read(const json_t *auth, const char *own_pass,
                       struct err *err);
/* With all before it; secrets are wiped. NULL is fine. */
void door_free(struct door *d);
