/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/databases.h: which databases a server has.
 *
 * Thread: any. BLOCKS.
 */
#pragma once

#include <jansson.h>

#include "control/url.h"

/* Those that somebody uses, by name: they may be connected to and are no templates;
 * `postgres` counts when it holds something. An array of texts, the caller's. */
int pg_databases(const struct url *at, const char *label, json_t **ret,
                 struct err *err) MUST;
