/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/gates.c: what the gates of flow/migration.h are asked about.
 */
#define _DEFAULT_SOURCE
#include <string.h>

#include "control/parts.h"
#include "control/run_parts.h"

void
gates_look(const struct run *r, struct gates *ret)
{
	enum side other = side_other(run_authority(r));
	uint64_t now = os_mono_ns();

	*ret = (struct gates){
		.move = r->mover != NULL ? r->move : MOVE_IDLE,
		.lag_ms = atomic_load(&r->board.lag_ms),
		.lag_ms_max = r->conf->lag_max_ms,
		.pending = atomic_load(&r->board.pending_records),
		.reverse_proven = r->proven_ns != 0,
		.reverse_age_ms = (now - r->proven_ns) / NS_PER_MS,
		.reverse_age_ms_max = LIMIT_REVERSE_AGE_MS,
		.is_verifying = proof_is_on(r),
		.suspect = atomic_load(&r->board.suspects) != 0,
		.relays = r->relay_n,
		.sides_up = { r->at[0].is_up, r->at[1].is_up },
		.fenced = r->at[other].fenced,
		.record_owed = r->record_owed,
		.is_split = run_is_split(r),
		.back = r->split.loop != NULL && r->split.end_ns == 0
		                ? r->split.move
		                : MOVE_IDLE,
		.back_lag_ms = atomic_load(&r->split.board.lag_ms),
		.back_pending = atomic_load(&r->split.board.pending_records),
	};
	if (parts_has(r))
		ret->back = ret->move;
	if (ret->is_split && parts_has(r))
		ret->fenced = r->at[SIDE_OLD].parted && r->at[SIDE_NEW].parted;
	else if (ret->is_split)
		ret->fenced = ret->fenced && r->at[side_other(other)].fenced;
	ret->owed = r->owed_n > 0;
	if (r->proof_last != NULL)
		ret->verified_different =
			strcmp(json_string_value(
				       json_object_get(r->proof_last, "state")),
		               "different") == 0;
	for (uint32_t i = 0; i < r->relay_n; i++)
		ret->relays_current += r->acked[i] >= r->generation ? 1 : 0;
}
