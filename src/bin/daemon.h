/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/daemon.h: godwit migrate of several pairs of servers.
 *
 * Several pairs are the daemon's business. So this process becomes one
 * (control/api/serve.h), on the loopback address alone, with the things of a plan
 * in it that it makes by itself. The control socket is there as for any migration:
 * the verbs of a second terminal work.
 *
 * Owns:   the process, until the end.
 * Thread: the main one. SIGINT is the caller's, but in a look.
 */
#pragma once

#include "bin/args.h"
#include "bin/plan.h"

/* Is the state file that of such a migration? */
bool daemon_has_begun(const struct run_conf *c);
/* What its plan was (plan.what), once servers were changed; NULL: they were not, or
 * nothing was said. New reference. */
json_t *daemon_begun(const struct run_conf *c);

/* As run_migration(). A migration that has begun goes on without the plan. */
int daemon_migrate(const struct run_conf *c, const struct plan *p, int ready_fd,
                   struct err *err);

/* As check_both(). */
int daemon_check(const struct args *a, const struct run_conf *c,
                 const struct plan *p);
