/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/shift_record.c: what the journal keeps of a switch: that it began, that it
 * is, that it was given up.
 *
 * A member of a group puts its commit beside those of the others: one record.
 */
#include "control/run_parts.h"

/* "from", "to", and the scope it leads to where it is one. */
static json_t *
about(const struct run *r, bool define)
{
	const struct cutover *c = &r->cut;
	json_t *j = json_pack("{s:s,s:s}", "from", side_name(c->rules), "to",
	                      side_name(cutover_winner(c)));

	if (!c->keeps)
		return j;
	(void)json_object_set_new(j, "scope_id",
	                          json_integer((json_int_t)c->scope_to));
	if (define && divide_def(r, c->scope_to) != NULL)
		(void)json_object_set_new(
			j, "scope", json_deep_copy(divide_def(r, c->scope_to)));
	return j;
}

int
shift_record_freeze(struct run *r, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	struct authority to = authority_freeze_scope(&a, r->cut.scope_to);
	int rc = r->cut.forced ? 0 : layout_check(r, err);

	if (rc != 0)
		return rc;
	return journal_move(r->journal, JOURNAL_FREEZE, &a, &to, about(r, true),
	                    err);
}

int
shift_record_of_group(struct run *r, enum group_state s, struct err *err)
{
	int rc;

	if (s == GROUP_OPEN)
		return 1;
	if (s != GROUP_COMMITTED) {
		r->group_unsure = s == GROUP_UNSURE;
		return -(int)err->code;
	}
	/* The record is there; without reading it nothing may open. */
	rc = journal_reread(r->journal, err);
	r->group_unsure = rc != 0;
	return rc;
}

static int
commit_with_others(struct run *r, const struct authority *to, struct err *err)
{
	struct group_offer o = {
		.until_ns = r->cut.forced ? UINT64_MAX
		                          : r->cut.hold_at_ns +
		                                    r->cut.limits.hold_ns -
		                                    r->cut.limits.margin_ns,
		.wake_fd = r->wake_fd,
	};
	enum group_state s;

	journal_flip_of(r->journal, to, &o.flip);
	o.body = json_pack("{s:s,s:I,s:s,s:s,s:I,s:b}", "leg", o.flip.leg,
	                   "epoch", (json_int_t)to->epoch, "from",
	                   side_name(r->cut.from), "to",
	                   side_name(side_other(r->cut.from)), "position",
	                   (json_int_t)r->cut.position, "lossy", r->cut.lossy);
	s = group_put(r->op.group, r->op.member, &o, r->journal, err);
	json_decref(o.body);
	return shift_record_of_group(r, s, err);
}

int
shift_record_commit(struct run *r, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	struct authority to = authority_commit(&a);
	json_t *body;

	/* The sides will not be equal: whoever comes later compares them. */
	if (r->cut.lossy)
		journal_stage_forget(r->journal);
	/* Its resume points are those of this split only. */
	if (r->cut.two && (!authority_is_split(&a) || !authority_is_split(&to)))
		journal_stage_forget_back(r->journal);
	if (r->op.group != NULL)
		return commit_with_others(r, &to, err);
	body = about(r, false);
	(void)json_object_set_new(body, "position",
	                          json_integer((json_int_t)r->cut.position));
	(void)json_object_set_new(body, "lossy", json_boolean(r->cut.lossy));
	return journal_move(r->journal, JOURNAL_COMMIT, &a, &to, body, err);
}

int
shift_record_abort(struct run *r, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	struct authority to = authority_abort(&a);

	if (r->op.group != NULL)
		(void)group_break(r->op.group, r->cut.why);
	journal_unstage(r->journal);
	return journal_move(r->journal, JOURNAL_ABORT, &a, &to,
	                    json_pack("{s:s,s:s}", "at",
	                              cutover_step_name(r->cut.died), "why",
	                              r->cut.why),
	                    err);
}
