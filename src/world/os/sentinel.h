/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/sentinel.h: where the master is that sentinels watch.
 *
 * Each new connection to such an address asks, so whoever lost the old master
 * comes to the promoted one by connecting again.
 *
 * Limits: SENTINEL_MS for each sentinel, the one that answered last first; an answer
 *         is used for SENTINEL_KEEP_MS by everybody in the process, and when none
 *         answered, nobody asks for SENTINEL_FAIL_MS.
 * Thread: any. BLOCKS, as looking up a name does.
 * Source: https://redis.io/docs/latest/develop/reference/sentinel-clients/
 */
#pragma once

#include "base/err.h"
#include "engine/engine.h"

#define SENTINEL_MS      300
#define SENTINEL_KEEP_MS 100
#define SENTINEL_FAIL_MS 1000

/* to: by_sentinel. *ret: the master's address, with the TLS of `to`. ERR_LOST: none
 * of them answers, or none knows the name; what the last one said is told. */
int sentinel_master(const struct address *to, struct address *ret,
                    struct err *err) MUST;
