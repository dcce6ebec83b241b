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
 * Thread: the main one.
 */
#pragma once

#include "bin/args.h"
#include "control/run.h"

/* Is one of the two servers a node of a cluster of several masters, or is the
 * state file of such a migration? A server that does not answer is none. */
bool cluster_is_meant(const struct run_conf *c);

/* Runs it; the exit status. */
int cluster_migrate(const struct args *a, const struct run_conf *c);
