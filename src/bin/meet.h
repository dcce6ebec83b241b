/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/meet.h: meet both servers before a copy or a comparison begins, so that
 * a wrong endpoint fails with a sentence about it and not in the middle.
 *
 * Thread: any; blocking, with deadlines.
 */
#pragma once

#include "engine/engine.h"
#include "engine/redis/admin/probe.h"

/* Connect, authenticate, ask. The error names the endpoint, the cause and the
 * next step. */
int meet_side(const struct side_conf *side, struct facts *ret,
              struct err *err) MUST;

/* Both sides, and may values go from old to new? What is worth a warning is
 * printed to stderr; the first thing that forbids it is the error
 * (ERR_REFUSED). conflict: the name of the rule. Of nodes of a cluster side.own_tag
 * is set, here and below. */
int meet_for_copy(struct side_conf side[SIDE_N], const char *conflict,
                  struct facts ret[SIDE_N], struct err *err) MUST;

/* Both sides, and are they two? */
int meet_for_verify(struct side_conf side[SIDE_N], struct facts ret[SIDE_N],
                    struct err *err) MUST;
