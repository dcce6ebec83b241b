/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/verbs.c: what people (and --auto) ask; one verb at a time.
 *
 *  ask ──→ queue ──→ OP_BEGIN ──→ OP_ROUTE ──→ done, answered
 *                     │  ↑  ├─⇄─→ OP_WARM
 *                     │  ↑  └───→ OP_SWITCH ─→ done | again, later | postponed
 *                     │  └ retry  OP_PROOF ──→ OP_ROUTE → OP_MOVER (complete)
 *                     └─────────→ OP_LEAVE (stop)
 */
#define _DEFAULT_SOURCE
#include <stdlib.h>

#include "control/parts.h"
#include "control/run_parts.h"

static const char *
arg_text(const struct op *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o->args, key));

	return t != NULL ? t : "";
}

static const char *
reason_of(const struct op *o)
{
	const char *t = arg_text(o, "reason");

	return o->client == 0 && t[0] == '\0' ? "auto" : t;
}

/* ---- the ends ------------------------------------------------------------ */

static void
finish(struct run *r)
{
	json_decref(r->op.args);
	r->op = (struct op){ .kind = OP_NONE };
	if (r->queue_n > 0) {
		r->op = r->queue[0];
		r->queue_n--;
		for (uint32_t i = 0; i < r->queue_n; i++)
			r->queue[i] = r->queue[i + 1];
		r->op.began_ns = os_mono_ns();
	}
	r->status_at_ns = 0;
}

static void
done(struct run *r, json_t *extra)
{
	if (r->op.client != 0) {
		json_t *data = status_json(r);

		if (extra != NULL)
			(void)json_object_update(data, extra);
		run_ok(r, r->op.client, data);
	}
	json_decref(extra);
	finish(r);
}

static void
refuse(struct run *r, const struct err *err)
{
	if (r->op.group != NULL)
		(void)group_break(r->op.group, err->text);
	run_event(r, "refused", "%s: %s", verbs_name(r->op.kind), err->text);
	if (r->op.client != 0)
		run_fail(r, r->op.client, err);
	finish(r);
}

/* Somebody waits who wants this to end. */
static bool
is_unwelcome(const struct run *r)
{
	for (uint32_t i = 0; i < r->queue_n; i++) {
		if (r->queue[i].kind == OP_STOP ||
		    r->queue[i].kind == OP_PAUSE ||
		    r->queue[i].kind == OP_ROLLBACK)
			return true;
	}
	return false;
}

/* Try again later, or give up with exit 5. True: later. */
static bool
later(struct run *r, const char *why)
{
	struct err err;
	uint64_t wait_ms = LIMIT_SWITCH_BACKOFF_MS;
	bool was_back = r->state == LIFE_ROLLING_BACK && r->op.group == NULL;

	r->op.tries++;
	r->op.is_warm = false;
	/* Several legs: whoever asked them all tries again. */
	if (r->op.group == NULL && r->op.tries < LIMIT_SWITCH_TRIES &&
	    !is_unwelcome(r)) {
		wait_ms <<= r->op.tries - 1;
		r->op.stage = OP_BEGIN;
		r->op.retry_ns = os_mono_ns() + wait_ms * NS_PER_MS;
		run_event(r, "postponed", "%s: %s; again in %llu ms",
		          verbs_name(r->op.kind), why,
		          (unsigned long long)wait_ms);
		return true;
	}
	if (was_back && run_apply(r, VERB_FAIL, why, &err) != 0)
		run_event(r, "disk", "%s", err.text);
	(void)err_set(&err, ERR_POSTPONED, "%s postponed: %s; %s",
	              verbs_name(r->op.kind), why,
	              was_back ? "the migration has failed, the authority has "
	                         "not moved; rollback again, or retry"
	                       : "nothing changed, try again later");
	refuse(r, &err);
	return false;
}

/* ---- shares -------------------------------------------------------------- */

static int
record_share(struct run *r, uint32_t step, uint32_t ppm, uint64_t units,
             struct err *err)
{
	bool back = r->op.move.kind == MOVE_BACK;
	int rc = journal_add(r->journal, JOURNAL_SHARE,
	                     json_pack("{s:I,s:I,s:I,s:I,s:b}", "step",
	                               (json_int_t)step, "ppm", (json_int_t)ppm,
	                               "units", (json_int_t)units, "generation",
	                               (json_int_t)r->generation + 1,
	                               "toggled_back", back),
	                     err);

	if (rc != 0)
		return rc;
	r->toggled_back = back;
	r->step = step;
	r->read_ppm = ppm;
	r->units = units;
	return 0;
}

static void
say_share(struct run *r)
{
	const struct strategy_move *m = &r->op.move;

	if (run_is_split(r) && r->strategy.unit_writes)
		run_event(r, "share",
		          "reads and writes of the features' %s go to new",
		          parts_has(r) ? "tables" : "keys");
	else if (run_is_split(r))
		run_event(r, "share",
		          "reads and writes of new's keys go to new (%u.%u %% "
		          "of the slots)",
		          divide_ppm(r) / 10000, divide_ppm(r) % 10000 / 1000);
	else if (m->kind == MOVE_TO_UNIT && m->unit < r->strategy.unit_n)
		run_event(r, "share", "reads of %s may go to the other side",
		          r->strategy.unit[m->unit]);
	else
		run_event(r, "share",
		          "%u.%u %% of reads may go to the other side",
		          m->ppm / 10000, m->ppm % 10000 / 1000);
}

/* What was refused for now is tried again, the rest is answered. */
static void
not_now(struct run *r, const struct err *err)
{
	if (err->code == ERR_POSTPONED)
		(void)later(r, err->text);
	else
		refuse(r, err);
}

/* Other keys become new's: a switch. def is stolen. */
static void
to_scope(struct run *r, json_t *def)
{
	struct gates g;
	struct err err;
	char why[200];
	int rc = moves_scope(r, def, &err);

	if (rc == 0)
		rc = divide_prepare(r, def, &err);
	if (rc == 1) {
		r->op.retry_ns = os_mono_ns() + LIMIT_SPLIT_LOOK_MS * NS_PER_MS;
		json_decref(def);
		return;
	}
	if (rc == 0) {
		gates_look(r, &g);
		g.is_split = true;
		if (migration_gate_switch(&g, why, sizeof(why)) != GATE_OPEN)
			rc = err_set(&err, ERR_POSTPONED, "%s", why);
	}
	if (rc == 0) {
		r->op.stage = OP_SWITCH;
		rc = shift_begin_scope(r, def, false, &err);
	} else {
		json_decref(def);
	}
	if (rc != 0)
		not_now(r, &err);
}

static void
to_share(struct run *r)
{
	const struct strategy_move *m = &r->op.move;
	struct gates g;
	struct err err;
	json_t *def;
	char why[200];

	if (divide_wants(r, m, &def, &err) != 0) {
		refuse(r, &err);
		return;
	}
	if (!divide_is_now(r, def)) {
		to_scope(r, def);
		return;
	}
	json_decref(def);
	gates_look(r, &g);
	/* Fewer reads on the other side is always possible. */
	if ((m->ppm > r->read_ppm || (m->units & ~r->units) != 0) &&
	    migration_gate_share(&g, why, sizeof(why)) != GATE_OPEN) {
		(void)later(r, why);
		return;
	}
	if (record_share(r, m->step, m->ppm, m->units, &err) != 0) {
		refuse(r, &err);
		return;
	}
	r->op.stage = OP_ROUTE;
	machines_send_route(r);
	say_share(r);
}

/* ---- before a switch ------------------------------------------------------ */

/* Relays do what can be done before anybody is held. True: they are at it, the verb
 * begins again behind it. */
static bool
warm(struct run *r)
{
	struct mail m = { .kind = MAIL_WARM };

	if (r->op.is_warm || !r->dialect->warms || r->op.is_forced)
		return false;
	r->warmed = 0;
	m.token = ++r->warm_token;
	machines_tell(r, &m);
	r->op.is_warm = true;
	r->op.stage = OP_WARM;
	r->op.retry_ns = os_mono_ns() + LIMIT_WARM_MS * NS_PER_MS;
	return true;
}

static void
warmed(struct run *r, uint64_t now_ns)
{
	if (r->warmed != machines_all_bits(r) && now_ns < r->op.retry_ns)
		return;
	r->op.stage = OP_BEGIN;
	r->op.retry_ns = 0;
}

/* ---- promote ------------------------------------------------------------- */

/* What the stream does not carry can be carried while clients wait. */
static bool
is_ready(struct run *r, struct err *err)
{
	/* Large objects stay where they are in a split. */
	if (run_is_split(r) && parts_has(r) && r->op.kind == OP_ROLLBACK)
		return true;
	return r->dialect->ready == NULL || r->dialect->ready(r, err) == 0;
}

/* The cutover, or (toggle) the same the other way round: it goes on running. */
static void
promote_switch(struct run *r)
{
	struct gates g;
	struct err err;
	char why[200];

	gates_look(r, &g);
	if (migration_gate_switch(&g, why, sizeof(why)) != GATE_OPEN) {
		(void)later(r, why);
		return;
	}
	if (!is_ready(r, &err)) {
		(void)later(r, err.text);
		return;
	}
	if (warm(r))
		return;
	/* Before it: after a crash nobody may go forward by himself. */
	if (r->op.move.kind == MOVE_BACK &&
	    record_share(r, 0, 0, 0, &err) != 0) {
		refuse(r, &err);
		return;
	}
	r->op.stage = OP_SWITCH;
	shift_begin(r, false);
}

static void
promote(struct run *r)
{
	struct err err;
	enum life_state to;
	int rc = 0;

	if (r->state == LIFE_ROLLED_BACK && r->op.verb == VERB_PROMOTE) {
		struct mail m = { .kind = MAIL_MOVE_RESUME };

		rc = run_apply(r, VERB_MIGRATE, reason_of(&r->op), &err);
		/* It may have been paused before it was rolled back. */
		machines_tell_mover(r, &m);
	}
	if (rc == 0 && !life_may(r->state, r->op.verb))
		rc = life_apply(r->state, r->op.verb, &to, &err);
	if (rc == 0 && !r->op.move_known)
		rc = moves_choose(r, &err);
	if (rc == 0)
		rc = timetable_gate(r, &r->op.move, &err);
	if (rc != 0) {
		refuse(r, &err);
		return;
	}
	r->op.move_known = true;
	if (r->op.move.kind == MOVE_NOWHERE) {
		/* When writes are acknowledged may have changed. */
		if (r->op.verb == VERB_PATCH)
			machines_send_route(r);
		done(r, NULL);
		return;
	}
	if (r->op.move.kind == MOVE_TO_SHARE || r->op.move.kind == MOVE_TO_UNIT)
		to_share(r);
	else
		promote_switch(r);
}

/* ---- rollback ------------------------------------------------------------ */

static void
went_back(struct run *r)
{
	struct err err;

	if (run_apply(r, VERB_WENT_BACK, reason_of(&r->op), &err) != 0) {
		refuse(r, &err);
		return;
	}
	run_event(r, "rolled_back", "%s",
	          r->home != NULL ? "old has authority; new is let go"
	                          : "old has authority; the stream goes on, "
	                            "promote migrates again");
	done(r, NULL);
	r->leaves = r->home != NULL;
}

static void
rollback_switch(struct run *r)
{
	struct gates g;
	enum gate gate;
	struct err err;
	char why[200];

	r->op.is_forced =
		json_is_true(json_object_get(r->op.args, "accept_data_loss"));
	gates_look(r, &g);
	gate = migration_gate_switch(&g, why, sizeof(why));
	/* An accepted loss opens every gate but that of the journal. */
	if (gate != GATE_OPEN && (!r->op.is_forced || gate == GATE_DISK)) {
		(void)later(r, why);
		return;
	}
	if (!r->op.is_forced && !is_ready(r, &err)) {
		(void)later(r, err.text);
		return;
	}
	if (warm(r))
		return;
	if (r->state != LIFE_ROLLING_BACK &&
	    run_apply(r, VERB_ROLLBACK, reason_of(&r->op), &err) != 0) {
		refuse(r, &err);
		return;
	}
	r->op.stage = OP_SWITCH;
	if (run_authority(r) == SIDE_NEW)
		shift_begin(r, r->op.is_forced);
	else if (shift_begin_scope(r, NULL, r->op.is_forced, &err) != 0)
		refuse(r, &err);
}

static void
rollback(struct run *r)
{
	struct err err;
	enum life_state to;

	if (r->state != LIFE_ROLLING_BACK &&
	    life_apply(r->state, VERB_ROLLBACK, &to, &err) != 0) {
		refuse(r, &err);
		return;
	}
	if (run_authority(r) == SIDE_NEW || run_is_split(r)) {
		rollback_switch(r);
		return;
	}
	if (r->state != LIFE_ROLLING_BACK &&
	    run_apply(r, VERB_ROLLBACK, reason_of(&r->op), &err) != 0) {
		refuse(r, &err);
		return;
	}
	if (record_share(r, 0, 0, 0, &err) != 0) {
		refuse(r, &err);
		return;
	}
	r->op.stage = OP_ROUTE;
	machines_send_route(r);
}

/* ---- complete ------------------------------------------------------------ */

static void
let_go(struct run *r)
{
	struct err err;

	r->forced = r->op.is_forced && !proof_is_clean(r);
	if (run_apply(r, VERB_COMPLETE, reason_of(&r->op), &err) != 0) {
		r->forced = false;
		refuse(r, &err);
		return;
	}
	/* Nobody waits for the old side from here on. */
	r->op.stage = OP_ROUTE;
	machines_send_route(r);
}

/* Of several legs none is let go before all are verified. */
static bool
is_prepared_only(const struct run *r)
{
	return json_is_true(json_object_get(r->op.args, "prepare"));
}

static void
complete(struct run *r)
{
	struct gates g;
	struct err err;
	enum life_state to;
	char why[200];

	r->op.is_forced = json_is_true(json_object_get(r->op.args, "force"));
	if (life_apply(r->state, VERB_COMPLETE, &to, &err) != 0) {
		refuse(r, &err);
		return;
	}
	if (run_authority(r) != SIDE_NEW) {
		(void)err_set(&err, ERR_STATE,
		              "complete is not possible: old still has "
		              "authority; promote to the cutover first");
		refuse(r, &err);
		return;
	}
	gates_look(r, &g);
	g.verified_different = false;
	g.owed = false;
	if (!r->op.is_forced &&
	    migration_gate_share(&g, why, sizeof(why)) != GATE_OPEN) {
		(void)later(r, why);
		return;
	}
	if (proof_is_clean(r) || r->op.is_forced) {
		if (is_prepared_only(r))
			done(r, NULL);
		else
			let_go(r);
		return;
	}
	r->op.stage = OP_PROOF;
	if (!proof_is_on(r) && proof_start(r, false, &err) != 0)
		refuse(r, &err);
}

static void
completed(struct run *r)
{
	run_event(r, "completed",
	          "%s; old stays fenced (godwit release opens it again)",
	          r->forced ? "forced, not verified"
	          : proof_is_partial(r)
	                  ? "partial: what only old had was not moved, "
	                    "the rest is verified"
	                  : "verified");
	done(r, NULL);
	r->leaves = r->home != NULL;
}

/* ---- the small ones ------------------------------------------------------ */

static void
verify(struct run *r)
{
	bool repair = json_is_true(json_object_get(r->op.args, "repair"));
	struct err err;
	char why[200];

	if (r->mover == NULL || r->state == LIFE_COMPLETED) {
		(void)err_set(&err, ERR_STATE,
		              "verify is not possible after complete: the two "
		              "sides go their own ways");
		refuse(r, &err);
		return;
	}
	if (repair && !r->dialect->can_repair) {
		(void)err_set(&err, ERR_UNABLE,
		              "a repair is for PostgreSQL; of Redis write the "
		              "key again, and it is carried");
		refuse(r, &err);
		return;
	}
	/* It would find what is on its way, and be in the way of a switch. */
	if (settle_is_in_way(r, why, sizeof(why))) {
		(void)err_set(&err, ERR_POSTPONED,
		              "not now: %s; nothing changed, try again later",
		              why);
		refuse(r, &err);
		return;
	}
	r->op.stage = OP_PROOF;
	if (!proof_is_on(r) && proof_start(r, repair, &err) != 0)
		refuse(r, &err);
}

static void
simple(struct run *r, enum life_verb verb, enum mail_kind mail)
{
	struct mail m = { .kind = mail };
	struct err err;

	if (run_apply(r, verb, reason_of(&r->op), &err) != 0) {
		refuse(r, &err);
		return;
	}
	machines_tell_movers(r, &m);
	/* It has the whole time again to find its servers. */
	if (verb == VERB_RETRY && r->broken_ns != 0)
		r->broken_ns = os_mono_ns();
	run_event(r, life_verb_name(verb), "%s", reason_of(&r->op));
	done(r, NULL);
}

/* dry_run: what would be answered. */
static void
only_try(struct run *r)
{
	struct err err;

	if (moves_try(r, &err) != 0)
		refuse(r, &err);
	else
		done(r, json_pack("{s:b}", "dry_run", 1));
}

static void
begin(struct run *r)
{
	if (json_is_true(json_object_get(r->op.args, "dry_run"))) {
		only_try(r);
		return;
	}
	switch (r->op.kind) {
	case OP_PROMOTE: promote(r); return;
	case OP_ROLLBACK: rollback(r); return;
	case OP_COMPLETE: complete(r); return;
	case OP_VERIFY: verify(r); return;
	case OP_PAUSE: simple(r, VERB_PAUSE, MAIL_MOVE_PAUSE); return;
	case OP_RESUME: simple(r, VERB_RESUME, MAIL_MOVE_RESUME); return;
	case OP_RETRY: simple(r, VERB_RETRY, MAIL_MOVE_RESUME); return;
	case OP_FAIL: simple(r, VERB_FAIL, MAIL_MOVE_PAUSE); return;
	case OP_STOP: stop_begin(r); return;
	case OP_NONE: return;
	}
}

/* ---- going on ------------------------------------------------------------ */

static void
routed(struct run *r)
{
	if (!machines_all_current(r))
		return;
	if (r->op.kind == OP_ROLLBACK) {
		went_back(r);
	} else if (r->op.kind == OP_COMPLETE) {
		struct mail m = { .kind = MAIL_STOP };

		r->op.stage = OP_MOVER;
		r->op.retry_ns = os_mono_ns() + LIMIT_MOVER_STOP_MS * NS_PER_MS;
		r->mover_stopped = false;
		machines_tell_mover(r, &m);
	} else {
		done(r, NULL);
	}
}

static void
mover_ended(struct run *r, uint64_t now_ns)
{
	if (r->mover != NULL && !r->mover_stopped && now_ns < r->op.retry_ns)
		return;
	if (r->mover != NULL) {
		loop_stop(r->mover);
		loop_free(r->mover);
		r->mover = NULL;
		r->move = MOVE_IDLE;
	}
	completed(r);
}

/* Nobody knows that the sides are equal: why, and what to do. */
static void
unproven(struct run *r)
{
	long long open_keys = proof_open(r);
	struct err err;

	if (r->proof_last != NULL &&
	    json_object_get(r->proof_last, "error") != NULL)
		(void)err_set(&err, ERR_LOST, "verification did not end: %s",
		              json_string_value(
				      json_object_get(r->proof_last, "error")));
	else if (open_keys > 0)
		(void)err_set(&err, ERR_POSTPONED,
		              "%lld keys were never still: they are proven "
		              "neither equal nor different (see status, "
		              "verification); nothing was changed; try again "
		              "when it is calmer, or complete --force",
		              open_keys);
	else
		(void)err_set(&err, ERR_DIVERGED,
		              "the two sides differ (see status, "
		              "verification); nothing was changed; complete "
		              "--force ends it all the same");
	refuse(r, &err);
}

static void
proven(struct run *r)
{
	bool clean;

	if (proof_is_on(r))
		return;
	clean = proof_is_clean(r);
	if (r->op.kind == OP_COMPLETE && clean) {
		if (is_prepared_only(r))
			done(r, NULL);
		else
			let_go(r);
		return;
	}
	if (r->op.kind == OP_COMPLETE && r->proof_spent) {
		(void)later(r, "the stream broke during the verification");
		return;
	}
	if (r->op.kind == OP_VERIFY && r->proof_last != NULL &&
	    json_object_get(r->proof_last, "error") == NULL) {
		/* Exit 8 is the caller's conclusion from the data. */
		done(r, json_pack("{s:O}", "verification", r->proof_last));
		return;
	}
	unproven(r);
}

void
verbs_switched(struct run *r)
{
	struct err err;
	bool ok = r->cut.step == CUT_DONE;

	if (r->op.stage != OP_SWITCH)
		return;
	if (!ok) {
		(void)later(r, r->cut.why);
		return;
	}
	if (r->cut.keeps && r->op.kind == OP_PROMOTE) {
		/* Now the reads of that step. */
		r->op.stage = OP_BEGIN;
		return;
	}
	if (r->op.kind == OP_ROLLBACK) {
		/* The shares of before belong to the attempt of before. */
		if (record_share(r, 0, 0, 0, &err) != 0)
			run_event(r, "disk", "%s", err.text);
		if (r->cut.keeps) {
			/* The route that released the hold had them still. */
			r->op.stage = OP_ROUTE;
			machines_send_route(r);
			return;
		}
		went_back(r);
		return;
	}
	if (r->op.move.kind != MOVE_BACK) {
		r->step = r->strategy.step_n;
		r->toggled_back = false;
	}
	done(r, json_pack("{s:I}", "hold_ms", (json_int_t)r->hold_last_ms));
}

void
verbs_tick(struct run *r, uint64_t now_ns)
{
	enum op_kind kind;

	if (r->leaves)
		return;
	do {
		kind = r->op.kind;
		switch (r->op.stage) {
		case OP_BEGIN:
			if (kind == OP_NONE || now_ns < r->op.retry_ns)
				return;
			r->op.retry_ns = 0;
			begin(r);
			break;
		case OP_ROUTE: routed(r); break;
		case OP_WARM: warmed(r, now_ns); break;
		case OP_PROOF: proven(r); break;
		case OP_MOVER: mover_ended(r, now_ns); break;
		case OP_LEAVE: stop_tick(r, now_ns); return;
		case OP_SWITCH: return;
		}
		/* The next one of the queue begins at once. */
	} while (r->op.kind != OP_NONE && r->op.stage == OP_BEGIN &&
	         r->op.retry_ns == 0 && !r->is_over && !r->leaves);
}

uint64_t
verbs_wake_ns(const struct run *r)
{
	if (r->op.kind == OP_NONE)
		return UINT64_MAX;
	if (r->op.stage == OP_BEGIN || r->op.stage == OP_MOVER ||
	    r->op.stage == OP_WARM || r->op.stage == OP_LEAVE)
		return r->op.retry_ns;
	return UINT64_MAX;
}
