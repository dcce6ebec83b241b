/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/settings.h: settings of both servers that applications notice.
 *
 * What a client sets through an interlay is set on both sides; what was set before
 * the migration, in a file or past the interlay, is not copied. Where it changes
 * what applications are answered (or are told: notify-keyspace-events), the
 * operator gets the line that makes new like old. Also: how many replicas a server
 * wants before it takes writes (min-replicas-to-write), for Godwit counts as one.
 *
 * Owns:   nothing; spans point into replies.
 * Thread: any.
 */
#pragma once

#include "engine/redis/admin/probe.h"

/* Questions; answers how many replies will come. */
uint32_t settings_put(struct buf *tx);
/* The replies of both sides to them, and a line "settings" for each that differs. A
 * side that does not answer one has none to compare. */
void settings_judge(struct checks *c, const struct facts f[SIDE_N],
                    const struct span replies[SIDE_N]);
