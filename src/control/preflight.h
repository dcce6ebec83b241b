/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/preflight.h: are these two servers there, and can they be moved?
 *
 * Changes nothing on either side. Also for godwit copy and godwit verify.
 */
#pragma once

#include "engine/engine.h"
#include "engine/redis/admin/probe.h"

struct agent_kin;
struct run_part;

struct preflight_conf {
	struct side_conf side[SIDE_N];
	const char *conflict; /* name of the rule, for the texts            */
	bool is_resume;       /* new holds what an earlier run put there    */
	bool needs_fence;     /* a migration, not a copy or a comparison    */
	bool moves_none;      /* see judge_conf                             */
	bool empty_ok;
	const struct run_part
		*part; /* control/home.h; NULL: no server is shared */
	const struct cluster_slots
		*slots; /* that it moves; NULL: part's      */
	const struct agent_kin *kin;
};

/* A line for each side that is reached in TLS: verified, or a warning. */
void preflight_tls(const struct side_conf side[SIDE_N], struct checks *ret);

/* Ask both, judge. 0: *ret has only passes and warnings. ERR_REFUSED with the
 * first failure's text; ERR_AUTH, ERR_LOST, ERR_PROTO where a side could not be
 * asked. facts may be NULL. */
int preflight(const struct preflight_conf *c, struct checks *ret,
              struct facts facts[SIDE_N], struct err *err) MUST;
