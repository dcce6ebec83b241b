/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/stop.c: the graceful end of the process.
 *
 * Running requests end, positions are kept; the same command goes on later.
 * After a rollback or a completion what Godwit put into the servers is removed.
 */
#define _DEFAULT_SOURCE
#include "control/run_parts.h"

void
stop_begin(struct run *r)
{
	struct mail m = { .kind = MAIL_STOP };

	run_event(r, "stopping", "running requests end, the state is kept");
	r->op.stage = OP_LEAVE;
	r->op.retry_ns = os_mono_ns() + LIMIT_STOP_MS * NS_PER_MS;
	r->stopped = 0;
	r->mover_stopped = r->mover == NULL;
	/* Nobody new: another process may listen there already. */
	for (uint32_t i = 0; i < r->relay_n; i++)
		loop_deafen(r->relay[i]);
	machines_tell(r, &m);
	machines_tell_mover(r, &m);
	machines_stop_back(r);
}

void
stop_forget(struct run *r, enum side s, bool keep_users)
{
	struct err err;

	if (journal_add(r->journal, JOURNAL_CLEANED,
	                json_pack("{s:s,s:b}", "side", side_name(s),
	                          "keep_users", keep_users),
	                &err) != 0) {
		run_event(r, "disk", "%s", err.text);
		return;
	}
	if (!keep_users)
		r->dialect->clean_replicas(r, s);
	r->dialect->clean(r, s, keep_users);
	machines_forget_spool(r, s);
}

/* What is left behind: nothing after a rollback; after a completion old's fence
 * and the user that can lift it. */
void
stop_clean(struct run *r)
{
	struct authority a = journal_authority(r->journal);
	struct err err;

	r->has_time = true;
	if (r->state == LIFE_ROLLED_BACK) {
		/* Whoever is open is written by others: no position is good for
		 * a resume. */
		journal_stage_forget(r->journal);
		if (journal_add(r->journal, JOURNAL_UNFENCE,
		                json_pack("{s:s}", "side", "new"), &err) != 0) {
			run_event(r, "disk", "%s", err.text);
			return;
		}
		if (r->dialect->lift(r, SIDE_NEW, a.epoch, &err) != 0)
			run_event(r, "left", "%s", err.text);
		stop_forget(r, SIDE_NEW, false);
		stop_forget(r, SIDE_OLD, false);
	} else if (r->state == LIFE_COMPLETED) {
		stop_forget(r, SIDE_NEW, false);
		stop_forget(r, SIDE_OLD, true);
	}
}

void
stop_tick(struct run *r, uint64_t now_ns)
{
	bool gone = r->stopped == machines_all_bits(r) && r->mover_stopped &&
	            (r->split.loop == NULL || r->split.stopped);

	if (!gone && now_ns < r->op.retry_ns)
		return;
	stop_clean(r);
	if (r->op.client != 0)
		run_ok(r, r->op.client, status_json(r));
	json_decref(r->op.args);
	r->op = (struct op){ .kind = OP_NONE };
	r->is_over = true;
	r->exit_status = r->auto_aborted ? err_exit(ERR_ABORTED) : 0;
}
