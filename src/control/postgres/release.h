/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/release.h: what a migration that is over left on a side is
 * removed, its fence first.
 *
 * Thread: any. BLOCKS.
 */
#pragma once

#include "base/err.h"
#include "control/url.h"
#include "core/side.h"

struct journal;

/* Roles may log in again, what Godwit left there is removed; *ret_roles: how many. May
 * be repeated, also when it ended half way. own: j to write to, where no process of the
 * migration runs: its stream goes as well, and when new was opened is noted; else NULL.
 * ERR_STATE: the server carries the fence of a later epoch. */
int pg_release(struct journal *j, enum side s, const struct url *url,
               struct journal *own, unsigned *ret_roles, struct err *err) MUST;
