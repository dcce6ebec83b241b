/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/release.h: the fence of a completed migration is lifted.
 *
 * Thread: any. BLOCKS.
 */
#pragma once

#include "base/err.h"
#include "control/url.h"

struct journal;

/* Roles may log in again, what Godwit left there is removed; *ret_roles: how many.
 * ERR_STATE: the server carries the fence of a later epoch. */
int pg_release(struct journal *j, const struct url *url, unsigned *ret_roles,
               struct err *err) MUST;
