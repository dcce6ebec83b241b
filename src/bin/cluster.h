/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/cluster.h: godwit migrate where a URL names a node of a Redis Cluster.
 *
 * Thread: the main one.
 */
#pragma once

#include "bin/plan.h"

/* Is one of the two servers a node of a cluster of several masters? A server that
 * does not answer is none. */
bool cluster_is_meant(const struct run_conf *c);

/* One interlay over all masters; a look listens nowhere in particular. *ret is
 * empty (plan_init). */
int cluster_plan(const struct run_conf *c, bool is_look, struct plan *ret,
                 struct err *err) MUST;
