/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/leave.c: the end of a leg in a daemon; its interlays go on.
 */
#define _DEFAULT_SOURCE
#include <stdlib.h>

#include "control/run_parts.h"

static void
refuse_all(struct run *r)
{
	struct err err;

	(void)err_set(&err, ERR_STATE, "it is %s already",
	              life_state_name(r->state));
	if (r->op.kind != OP_NONE && r->op.client != 0)
		run_fail(r, r->op.client, &err);
	json_decref(r->op.args);
	r->op = (struct op){ .kind = OP_NONE };
	for (uint32_t i = 0; i < r->queue_n; i++) {
		if (r->queue[i].client != 0)
			run_fail(r, r->queue[i].client, &err);
		json_decref(r->queue[i].args);
	}
	r->queue_n = 0;
}

static void
tidied(struct run *r)
{
	struct err err;

	if (journal_set_meta(r->journal, "tidied", "1", &err) != 0)
		run_event(r, "disk", "%s", err.text);
}

void
leave_now(struct run *r)
{
	REQUIRE(!r->cut_on);
	r->last = status_json(r);
	refuse_all(r);
	proof_fini(r);
	machines_end_mover(r);
	(void)machines_leave(r);
	/* Only now: subscribers were on connections of Godwit's reader. */
	stop_clean(r);
	tidied(r);
	r->is_over = true;
}

/* The servers as they were before the start. */
static void
take_back(struct run *r)
{
	if (r->interlay_n > 0 && r->relay_n > 0)
		(void)machines_leave(r);
	if (!r->at[SIDE_NEW].users_made && !r->at[SIDE_OLD].users_made)
		return;
	r->state = LIFE_ROLLED_BACK;
	stop_clean(r);
}

void
leave_undo(struct run *r)
{
	struct err err;

	if (r->journal == NULL || r->is_over || r->home->release)
		return;
	machines_end_mover(r);
	if (r->is_resumed && r->state != LIFE_ROLLED_BACK) {
		/* It exists; the next start goes on. */
		if (r->interlay_n > 0 && r->relay_n > 0)
			(void)machines_leave(r);
		return;
	}
	take_back(r);
	if (r->is_resumed)
		tidied(r);
	else if (journal_drop(r->journal, &err) != 0)
		run_event(r, "disk", "%s", err.text);
}

int
leave_tidy(struct run *r)
{
	char *done = journal_meta(r->journal, "tidied");
	bool is_done = done != NULL && strcmp(done, "1") == 0;

	free(done);
	r->is_over = true;
	r->has_left = true;
	if (is_done)
		return 0;
	for (int s = 0; s < SIDE_N; s++) {
		r->at[s].users_made = true;
		r->at[s].is_up = true;
	}
	stop_clean(r);
	tidied(r);
	return 0;
}

int
leave_release(struct run *r, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	int rc = journal_add(r->journal, JOURNAL_UNFENCE,
	                     json_pack("{s:s}", "side", "old"), err);

	r->is_over = true;
	r->at[SIDE_OLD].users_made = true;
	r->was_shut = rc == 0 && r->dialect->shuts_all(r, SIDE_OLD);
	if (rc == 0)
		rc = r->dialect->lift(r, SIDE_OLD, a.epoch, err);
	if (rc == 0)
		stop_forget(r, SIDE_OLD, false);
	return rc;
}

/* As it was: shut, with the user that can open it. */
static int
shut_again(struct run *r, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	int rc = journal_add(r->journal, JOURNAL_USERS,
	                     json_pack("{s:s}", "side", "old"), err);

	if (rc == 0)
		rc = r->dialect->users(r, SIDE_OLD, err);
	if (rc == 0)
		rc = journal_add(r->journal, JOURNAL_FENCE,
		                 json_pack("{s:s}", "side", "old"), err);
	if (rc == 0)
		rc = r->dialect->shut(r, SIDE_OLD, a.epoch, err);
	if (rc != 0)
		return rc;
	r->dialect->tend_replicas(r, SIDE_OLD);
	stop_forget(r, SIDE_OLD, true);
	return 0;
}

int
run_released(struct run *r, bool begun, struct err *err)
{
	if (begun)
		return journal_set_meta(r->journal, "released", "1", err);
	return shut_again(r, err);
}

bool
run_was_shut(const struct run *r)
{
	return r->was_shut;
}
