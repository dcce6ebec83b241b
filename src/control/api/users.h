/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/users.h: the users of an interlay: from a body, for the store, for
 * people.
 *
 * Thread: pure functions.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

/* What is kept of {"users":[..]} of a body: control/door.h's form, passwords as
 * hashes. A user that says nothing of a password (or of upstream) keeps what
 * `was` (same form, or NULL) has for its name. NULL: ERR_USAGE, ERR_NOMEM. New
 * reference. */
json_t *users_keep(const json_t *in, const json_t *was, struct err *err);
/* Without secrets: {"users":[{"name","enabled","nopass","passwords":n,
 * "upstream":user or null}]}; null for anything else. New reference. */
json_t *users_show(const json_t *kept);
