/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/verbs.h: the sub-commands, one function each.
 *
 * Each answers the exit status (bin/status.h). Data goes to stdout, messages
 * to stderr.
 */
#pragma once

#include "bin/args.h"
#include "control/url.h"

typedef int verb_run_f(const struct args *a);

verb_run_f verb_migrate; /* migrate.c                                        */
verb_run_f verb_ask;     /* verbs.c: promote ... stop, events, status,
                         * verify without operands                          */
verb_run_f console_run;  /* console.c: pools, clients, servers                */
verb_run_f verb_serve;   /* serve.c                                          */
verb_run_f verb_copy;    /* copy.c                                           */
verb_run_f verb_compare; /* compare.c: verify OLD NEW                        */
verb_run_f verb_release; /* release.c                                        */

/* Print "godwit VERB: text" to stderr; answers the error's exit status. */
int verb_fail(const struct args *a, const struct err *err);

struct url;

/* The operand as a URL with its password (operand 0 is OLD, 1 is NEW): from
 * the URL, --old-password-file, GODWIT_OLD_PASSWORD (the first that is there).
 * Godwit moves whole servers: a database number other than 0 is refused. */
int verb_url(const struct args *a, enum option_id password_file,
             const char *env, uint32_t operand, struct url *ret,
             struct err *err) MUST;

/* Both URLs of "OLD NEW"; ERR_STATE when they are the same address. */
int verb_urls(const struct args *a, struct url *ret_old, struct url *ret_new,
              struct err *err) MUST;
/* The same, as the sides of a command that needs no daemon. */
int verb_sides(const struct args *a, struct side_conf ret[SIDE_N],
               struct err *err) MUST;
