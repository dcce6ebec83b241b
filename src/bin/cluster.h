/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/cluster.h: godwit migrate where a URL names a node of a Redis Cluster.
 *
 * A cluster has several pairs of servers, and those are the daemon's business. So
 * this process becomes one (control/api/serve.h), on the loopback address alone,
 * with one interlay and one migration in it that it makes by itself. The control
 * socket is there as for any migration: the verbs of a second terminal work.
 *
 * Owns:   the process, until the end.
 * Thread: the main one. SIGINT is the caller's, but in a look.
 */
#pragma once

#include "bin/args.h"
#include "control/run.h"

/* Is one of the two servers a node of a cluster of several masters, or is the
 * state file of such a migration? A server that does not answer is none. */
bool cluster_is_meant(const struct run_conf *c);

/* As run_migration(). */
int cluster_migrate(const struct run_conf *c, int ready_fd, struct err *err);

/* As check_both(). */
int cluster_check(const struct args *a, const struct run_conf *c);
