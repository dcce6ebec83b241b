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
