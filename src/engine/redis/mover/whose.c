/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/whose.c: which keys this mover carries (docs/internals/
 * split.md).
 *
 * Not Godwit's own, but the marker of its direction; with a scope only those
 * that its side has authority over. The others are what the other mover of the
 * split applied there: its echo.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

/* Both work on the same servers, so each has names of its own; see beat.c, and for
 * the verifier's marker state.h. */
static bool
is_back(const struct mover *m)
{
	return m->conf->scope_side == SIDE_NEW;
}

const char *
whose_name(const struct mover *m)
{
	return is_back(m) ? ":mover-back" : ":mover";
}

bool
whose_is_home(const struct mover *m)
{
	return m->scope == NULL || !is_back(m);
}

bool
whose_is_keyless(const struct mover *m)
{
	return whose_is_home(m) &&
	       (!m->conf->is_part || m->conf->keyless[side_other(m->from)]);
}

bool
whose_is_shared(const struct mover *m)
{
	return m->scope != NULL || m->conf->is_part;
}

bool
whose_is_none(const struct mover *m)
{
	if (m->scope == NULL)
		return false;
	return is_back(m) ? scope_is_empty(m->scope) : scope_is_all(m->scope);
}

bool
whose_look(const struct mover *m, struct span key)
{
	if (span_has_prefix(key, SPAN("__godwit:")))
		return !span_eq(key, whose_marker(m));
	if (m->in_cluster && whose_is_elsewhere(m, key))
		return true;
	return m->scope != NULL &&
	       scope_side(m->scope, key) != m->conf->scope_side;
}

bool
whose_is_elsewhere(const struct mover *m, struct span key)
{
	uint32_t slot;

	if (m->moved.own == NULL)
		return false;
	slot = hash_slot(key);
	return (m->moved.own[slot / 8] >> (slot % 8) & 1) == 0 ||
	       moved_is_away(m, key);
}

void
whose_note(struct mover *m, const struct feed *f, uint32_t db, struct span key)
{
	struct foreign_item it = { .at = f->pos, .db = db, .key = key };

	if (m->scope == NULL || span_has_prefix(key, SPAN("__godwit:")))
		return;
	foreign_put(&m->foreign[f->side], &it);
}

void
whose_emptied(struct mover *m, const struct feed *f)
{
	m->need_rescan = true;
	mover_fail(m, ERR_POSTPONED,
	           m->conf->is_part
	                   ? "%s: it was emptied, and others share it; "
	                     "comparing every key of these slots"
	                   : "%s: somebody emptied or swapped a database while "
	                     "each side has keys of its own; comparing every "
	                     "key",
	           m->conf->side[f->side].label);
}
