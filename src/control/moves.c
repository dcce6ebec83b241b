/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/moves.c: what a verb means now: a share, the switch, the way back.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>

#include "control/parts.h"
#include "control/run_parts.h"
#include "control/spec/spec.h"

static struct strategy_at
at_now(const struct run *r)
{
	return (struct strategy_at){ .authority = run_authority(r),
		                     .step = r->step,
		                     .ppm = r->read_ppm,
		                     .write_ppm = divide_ppm(r),
		                     .units = r->units };
}

/* The strategy's own first state. */
static void
begin(struct run *r)
{
	struct strategy_at at = strategy_begin(&r->strategy);

	r->op.move = (struct strategy_move){
		.kind = at.units != 0 ? MOVE_TO_UNIT : MOVE_TO_SHARE,
		.step = at.step,
		.ppm = at.ppm,
		.write_ppm = at.write_ppm,
		.units = at.units,
		.unit = STRATEGY_NO_UNIT,
	};
}

static int
of_promote(struct run *r, struct err *err)
{
	const char *to = json_string_value(json_object_get(r->op.args, "to"));
	struct strategy_at at = at_now(r);

	if (to != NULL && strcmp(to, "begin") == 0) {
		begin(r);
		return 0;
	}
	if (to != NULL && to[0] != '\0')
		return strategy_jump_from(&r->strategy, &at, to, &r->op.move,
		                          err);
	r->op.move = strategy_promote(&r->strategy, &at);
	if (r->op.move.kind == MOVE_NOWHERE)
		return err_set(err, ERR_STATE,
		               "new has authority already, nothing is left to "
		               "promote; possible: complete, rollback, verify");
	return 0;
}

/* {"read_percentage":0..1,"write_percentage":0..1}, as in the API. */
static int
of_traffic(struct run *r, struct err *err)
{
	const json_t *reads = json_object_get(r->op.args, "read_percentage");
	const json_t *writes = json_object_get(r->op.args, "write_percentage");
	struct strategy_at at = at_now(r);
	double share =
		json_is_number(reads) ? json_number_value(reads) : at.ppm / 1e6;
	double part = json_is_number(writes) ? json_number_value(writes)
	                                     : at.write_ppm / 1e6;
	char text[32];
	int rc;

	if (part >= 1)
		return strategy_jump_from(&r->strategy, &at, "cutover",
		                          &r->op.move, err);
	if (part > 0 && !r->dialect->can_divide)
		return err_set(
			err, ERR_UNABLE,
			"write_percentage: writes of %s move as a whole, "
			"0 or 1",
			r->dialect->name);
	if (at.authority == SIDE_NEW)
		return err_set(err, ERR_STATE,
		               "new has authority already; possible: "
		               "rollback, complete");
	if (share < 0 || share > 1 || part < 0 ||
	    (!json_is_number(reads) && !json_is_number(writes)))
		return err_set(
			err, ERR_USAGE,
			"read_percentage, write_percentage: numbers from "
			"0 to 1");
	(void)snprintf(text, sizeof(text), "%.4f", share * 100);
	rc = strategy_jump_from(&r->strategy, &at, text, &r->op.move, err);
	if (rc == 0) {
		r->op.move.kind = MOVE_TO_SHARE;
		r->op.move.ppm = (uint32_t)(share * 1e6 + 0.5);
		r->op.move.write_ppm = (uint32_t)(part * 1e6 + 0.5);
	}
	return rc;
}

static int
of_toggle(struct run *r, struct err *err)
{
	const json_t *on = json_object_get(r->op.args, "activate_new");
	struct strategy_at at = at_now(r);

	if (!json_is_boolean(on))
		return err_set(err, ERR_USAGE, "activate_new: true or false");
	return strategy_toggle(&r->strategy, &at, json_is_true(on), &r->op.move,
	                       err);
}

static int
try_scope(struct run *r, struct err *err)
{
	json_t *def = NULL;
	int rc = divide_wants(r, &r->op.move, &def, err);

	if (rc == 0 && !divide_is_now(r, def))
		rc = moves_scope(r, def, err);
	json_decref(def);
	return rc;
}

/* In a split by tables the words of the features say which server has a table. */
static int
try_words(struct run *r, struct spec *before, struct err *err)
{
	struct spec *now = r->spec;
	json_t *words = rulebook_words(r, FACTS_RELATION);
	json_t *was;
	bool same;

	r->spec = before;
	was = rulebook_words(r, FACTS_RELATION);
	r->spec = now;
	same = words != NULL && json_equal(words, was);
	json_decref(words);
	json_decref(was);
	return same ? 0
	            : err_set(err, ERR_UNABLE,
	                      "the tables of features cannot change while some "
	                      "of them are new's; roll back first");
}

/* What can never be is said before anything has changed. */
static int
try_patch(struct run *r, const struct question *q, struct err *err)
{
	struct strategy before = r->strategy;
	struct spec *spec = r->spec;
	int rc;

	r->strategy = *q->strategy;
	if (q->spec != NULL)
		r->spec = spec_clone(q->spec);
	rc = r->spec == NULL && spec != NULL
	             ? err_set(err, ERR_NOMEM, "out of memory")
	             : r->dialect->can(r, err);
	if (rc == 0 && run_is_split(r) && parts_has(r))
		rc = try_words(r, spec, err);
	if (rc == 0 && run_authority(r) == SIDE_OLD)
		rc = try_scope(r, err);
	if (r->spec != spec)
		spec_free(r->spec);
	r->strategy = before;
	r->spec = spec;
	return rc;
}

/* When writes are acknowledged: at once by the next route. */
static void
take_write(struct run *r, const struct spec_write *w)
{
	r->write = (struct run_write){ .mode = w->mode,
		                       .ack = w->ack,
		                       .ack_timeout_ms = w->ack_timeout_ms };
}

/* The strategy that the host has read from the patch. */
static int
of_patch(struct run *r, struct err *err)
{
	struct question *q =
		r->home != NULL ? desk_find(r->home->desk, r->op.client) : NULL;
	struct strategy_at at = at_now(r);
	int rc;

	if (q == NULL || q->strategy == NULL)
		return err_set(err, ERR_USAGE, "patch: no strategy");
	rc = strategy_patch(&r->strategy, &at, q->strategy, &r->op.move, err);
	if (rc == 0)
		rc = try_patch(r, q, err);
	if (rc == 0 && q->spec != NULL && q->spec->write.mode == WRITE_DUAL &&
	    run_is_split(r))
		rc = err_set(err, ERR_UNABLE,
		             "some writes are on new already: they move in "
		             "parts with write_mode cutover, not with "
		             "dual_write");
	if (rc == 0 && r->spec != NULL && q->spec != NULL) {
		struct spec *next = spec_clone(q->spec);

		if (next == NULL)
			return err_set(err, ERR_NOMEM, "out of memory");
		spec_free(r->spec);
		r->spec = next;
		rulebook_renew(r);
		take_write(r, &next->write);
		/* Nothing moves, but what is recognised may have changed. */
		if (r->op.move.kind == MOVE_NOWHERE && at.authority == SIDE_OLD)
			r->op.move.kind = MOVE_TO_SHARE;
	}
	if (rc != 0)
		return rc;
	r->strategy = *q->strategy;
	return timetable_load(r, err);
}

int
moves_choose(struct run *r, struct err *err)
{
	const struct strategy_move *m = &r->op.move;
	int rc;

	if (r->op.verb == VERB_TRAFFIC)
		rc = of_traffic(r, err);
	else if (r->op.verb == VERB_TOGGLE)
		rc = of_toggle(r, err);
	else if (r->op.verb == VERB_PATCH)
		rc = of_patch(r, err);
	else
		rc = of_promote(r, err);
	if (rc != 0)
		return rc;
	if (m->kind == MOVE_NEVER)
		return err_set(err, ERR_STATE,
		               "shadow_traffic only compares; change the "
		               "strategy to move traffic, or rollback");
	if (m->kind == MOVE_TO_UNIT && r->spec == NULL)
		return err_set(err, ERR_UNABLE,
		               "%s: nothing says how its requests are "
		               "recognised",
		               strategy_name(strategy_base(&r->strategy)));
	if (r->state == LIFE_PAUSED &&
	    ((m->kind != MOVE_TO_SHARE && m->kind != MOVE_TO_UNIT) ||
	     m->ppm > r->read_ppm || m->write_ppm > divide_ppm(r) ||
	     (m->units & ~r->units) != 0))
		return err_set(err, ERR_STATE,
		               "it is paused: less traffic on new is possible, "
		               "more after resume");
	return 0;
}

int
moves_scope(struct run *r, const json_t *def, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	const json_t *now = divide_def(r, a.scope);

	if (!divide_holds(now, def) && !divide_holds(def, now))
		return err_set(
			err, ERR_UNABLE,
			"some writes would go to new and others back to "
			"old at the same moment; do one after the other");
	return divide_gate(r, err);
}

static int
may_begin(const struct run *r, struct err *err)
{
	enum life_state to;

	if (r->op.verb == VERB_N)
		return 0;
	/* A way back of several legs that one of them broke is tried again. */
	if (r->op.kind == OP_ROLLBACK && r->state == LIFE_ROLLING_BACK)
		return 0;
	return life_apply(r->state, r->op.verb, &to, err);
}

int
moves_try(struct run *r, struct err *err)
{
	struct gates g;
	char why[200] = "";
	bool is_move = r->op.kind == OP_PROMOTE;
	bool is_switch;
	enum gate gate = GATE_OPEN;
	struct strategy before = r->strategy;
	struct run_write write = r->write;
	struct spec *spec = r->spec;
	int rc;

	/* A patch would put its own in place of it. */
	r->spec = spec != NULL ? spec_clone(spec) : NULL;
	if (spec != NULL && r->spec == NULL) {
		r->spec = spec;
		return err_set(err, ERR_NOMEM, "out of memory");
	}
	rc = may_begin(r, err);
	if (rc == 0 && is_move)
		rc = moves_choose(r, err);
	if (rc == 0 && is_move &&
	    (r->op.move.kind == MOVE_TO_SHARE ||
	     r->op.move.kind == MOVE_TO_UNIT))
		rc = try_scope(r, err);
	r->strategy = before;
	r->write = write;
	spec_free(r->spec);
	r->spec = spec;
	rulebook_renew(r);
	if (rc == 0)
		rc = timetable_load(r, err);
	if (rc == 0 && r->op.kind == OP_COMPLETE &&
	    run_authority(r) != SIDE_NEW)
		rc = err_set(err, ERR_STATE,
		             "complete is not possible: old still has "
		             "authority; promote to the cutover first");
	if (rc != 0)
		return rc;
	is_switch = (is_move && (r->op.move.kind == MOVE_TO_CUTOVER ||
	                         r->op.move.kind == MOVE_BACK)) ||
	            (r->op.kind == OP_ROLLBACK &&
	             (run_authority(r) == SIDE_NEW || run_is_split(r)));
	gates_look(r, &g);
	if (is_move && r->op.move.kind == MOVE_TO_SHARE &&
	    r->op.move.ppm > r->read_ppm)
		gate = migration_gate_share(&g, why, sizeof(why));
	else if (is_switch)
		gate = migration_gate_switch(&g, why, sizeof(why));
	if (gate == GATE_OPEN && is_switch &&
	    settle_is_in_way(r, why, sizeof(why)))
		gate = GATE_SUSPECT;
	return gate == GATE_OPEN
	               ? 0
	               : err_set(err, ERR_POSTPONED,
	                         "not now: %s; nothing changed, try again "
	                         "later",
	                         why);
}
