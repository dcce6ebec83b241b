/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/check.h: godwit migrate --check.
 */
#pragma once

#include "bin/args.h"
#include "control/run.h"

/* Both servers are looked at, every check is printed, nothing is changed. The exit
 * status: 0, or that of what is wrong. */
int check_both(const struct args *a, const struct run_conf *c);

/* What a look has found, and what it ended with (err NULL: it can begin); checks
 * NULL: err alone. The exit status. */
int check_print(const struct args *a, const json_t *checks,
                const struct err *err);
