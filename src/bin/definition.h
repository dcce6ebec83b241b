/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/definition.h: a migration's definition from a file, as the API takes it.
 */
#pragma once

#include "bin/args.h"
#include "control/run.h"

/* --definition, and strategies that have no options of their own, into *c (until
 * definition_free). Call it after the options were put there.
 * ERR_USAGE names the field. */
int definition_fill(const struct args *a, struct run_conf *c,
                    struct err *err) MUST;
void definition_free(struct run_conf *c);
