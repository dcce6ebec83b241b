/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/databases.h: godwit migrate --databases: several of one PostgreSQL server.
 *
 * Thread: the main one.
 */
#pragma once

#include "bin/args.h"
#include "bin/plan.h"

/* The first address of --listen: "app=:6432,shop=:6433" begins with ":6432", and
 * ":6432" is itself. ERR_LIMIT: it is longer than n bytes. */
int databases_listen(const char *text, char *ret, size_t n,
                     struct err *err) MUST;

/* A pair of endpoints and an interlay for each database, the one that has the only
 * address first. began: what is known of a migration that has begun (plan.what), or
 * NULL; then the plan must be its. A look listens nowhere in particular. *ret is
 * empty (plan_init). ERR_USAGE, ERR_STATE, ERR_UNABLE name what is wrong. */
int databases_plan(const struct args *a, const struct run_conf *c,
                   const json_t *began, struct plan *ret, struct err *err) MUST;
