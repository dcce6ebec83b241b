/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/shift.c: the switch: performs what flow/cutover.c decides.
 *
 * Inside the hold the control thread blocks for single questions to a server
 * only (LIMIT_CALL_MS each); relays and mover answer by mail.
 */
#define _DEFAULT_SOURCE
#include <string.h>

#include "control/parts.h"
#include "control/run_parts.h"

static void drive(struct run *r, enum cutover_step step);

static struct cutover_limits
limits_of(const struct run_conf *c)
{
	uint64_t hold = (uint64_t)c->hold_max_ms * NS_PER_MS;
	uint64_t drain = LIMIT_DRAIN_MS * NS_PER_MS;
	uint64_t margin = LIMIT_MARGIN_MS * NS_PER_MS;

	return (struct cutover_limits){
		.drain_ns = drain < hold / 2 ? drain : hold / 2,
		.hold_ns = hold,
		.open_ns = LIMIT_OPEN_MS * NS_PER_MS,
		.margin_ns = margin < hold / 4 ? margin : hold / 4,
		.retry_ns = LIMIT_RETRY_MS * NS_PER_MS,
	};
}

/* ---- one step each; 0 or an error ---------------------------------------- */

static int
do_hold(struct run *r)
{
	struct mail m = { .kind = MAIL_HOLD,
		          .epoch = r->cut.r.epoch,
		          .deadline_ns =
		                  r->cut.hold_at_ns + r->cut.limits.drain_ns };

	r->drained = 0;
	r->quiet_told = false;
	memset(r->quiet, 0, sizeof(r->quiet));
	machines_tell(r, &m);
	return 0;
}

/* The last message, then the clients are cut: in shift_tick. */
static int
do_announce(struct run *r, struct err *err)
{
	r->marked = 0;
	r->marked_until_ns = os_mono_ns() + LIMIT_MARKED_MS * NS_PER_MS;
	for (uint32_t i = 0; i < r->relay_n; i++) {
		if (atomic_load(&r->traffic[i]->subscribed) == 0)
			r->marked |= 1ull << i;
	}
	/* Old goes on to say what is published. */
	if (r->cut.keeps) {
		r->marked = machines_all_bits(r);
		return 0;
	}
	return r->dialect->say(r, r->cut.rules, false, err);
}

/* The mover that carries what is written on this side. */
static void
tell_mover_of(struct run *r, enum side s, const struct mail *m)
{
	if (!r->cut.two || s == SIDE_OLD || parts_has(r))
		machines_tell_mover(r, m);
	else if (r->split.loop != NULL)
		loop_post(r->split.loop, m);
}

static int
do_barrier(struct run *r, enum side s, uint64_t position, struct err *err)
{
	struct mail m = { .kind = MAIL_BARRIER,
		          .epoch = r->cut.r.epoch,
		          .side = s,
		          .position = position };

	/* Nobody needs to wait for what cannot come. */
	if (r->cut.forced && position == 0)
		return err_set(err, ERR_LOST, "%s: its position is not known",
		               r->side[s].label);
	tell_mover_of(r, s, &m);
	return 1;
}

/* Other keys, told to both movers behind their barriers. The one that stood first
 * gives, the other one gets, and hears where the first one stood. */
static void
send_scope(struct run *r)
{
	const struct cutover *c = &r->cut;
	const struct scope *scope = divide_block(r, c->r.scope);
	struct mail gives = { .kind = MAIL_SCOPE,
		              .epoch = c->r.epoch,
		              .scope = scope };
	struct mail gets = gives;

	gets.flag = 1;
	gets.position = r->split.first_passed;
	gets.token = c->position;
	/* The second mover that has no keys any more just ends. */
	if (scope != NULL)
		tell_mover_of(r, c->from, &gives);
	tell_mover_of(r, cutover_second(c), &gets);
}

/* The same by tables: one mover, which carries both ways as long as both rule. */
static void
send_both(struct run *r)
{
	struct mail m = { .kind = MAIL_BOTH,
		          .epoch = r->cut.r.epoch,
		          .flag = divide_units(r, r->cut.r.scope) != 0 };

	machines_tell_mover(r, &m);
}

/* The movers turn round, or go on; after the last scope the second one ends. */
static void
release_movers(struct run *r, bool committed)
{
	const struct cutover *c = &r->cut;
	struct mail m = { .kind = committed && !c->keeps ? MAIL_FLIP
		                                         : MAIL_THAW,
		          .epoch = c->r.epoch,
		          .side = authority_side(c->r.state),
		          .position = c->position };
	bool ends = committed && c->two && c->r.scope == AUTHORITY_NO_SCOPE;

	if (committed && c->keeps && parts_has(r))
		send_both(r);
	else if (committed && c->keeps)
		send_scope(r);
	if (ends)
		machines_stop_back(r);
	if (!committed && !c->barrier_begun)
		return;
	machines_tell_mover(r, &m);
	if (c->two && !ends && r->split.loop != NULL)
		loop_post(r->split.loop, &m);
}

static void
send_release(struct run *r, bool committed)
{
	struct mail m = { .kind = MAIL_RELEASE };
	bool flipped = committed && !r->cut.keeps;

	release_movers(r, committed);
	if (flipped) {
		m.flag = r->cut.lossy ? 1 : 0;
		r->read_ppm = 0;
		/* Behind a rollback nothing is moved; the verb records it. */
		if (authority_side(r->cut.r.state) == SIDE_OLD)
			r->units = 0;
		r->in_step_ns = 0;
		r->proven_ns = 0;
		r->heartbeat_back = true; /* the other way round: anew */
	}
	m.route = machines_route(r);
	memset(r->quiet, 0, sizeof(r->quiet));
	/* R on disk may still be frozen when the disk is full: the same side. */
	m.route.epoch = r->cut.r.epoch;
	m.epoch = r->cut.r.epoch;
	machines_tell(r, &m);
}

/* Before anybody fences, and once: those that nothing is on its way to. */
static int
enter(struct run *r, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && !r->quiet_told && i < r->relay_n; i++)
		rc = group_let_be(r->op.group, r->op.member,
		                  &r->at[r->cut.rules].url, r->quiet[i].process,
		                  r->quiet[i].n, err);
	r->quiet_told = true;
	return rc == 0 ? group_enter(r->op.group, r->op.member, r->wake_fd, err)
	               : rc;
}

/* The master first: a stale controller is refused there. */
static int
do_fence(struct run *r, struct err *err)
{
	struct cutover *c = &r->cut;
	int rc = 0;

	/* What it shuts serves the others' clients, too: all are held first. */
	if (r->is_part && r->op.group != NULL)
		rc = enter(r, err);
	if (rc != 0)
		return rc;
	if (parts_switches(r))
		return parts_fence(r, err);
	rc = r->dialect->shut(r, c->rules, c->r.epoch, err);

	if (rc == 0)
		r->dialect->shut_replicas(r, c->rules, c->r.epoch);
	/* Nobody is let in there either: it carries the token of this epoch. */
	if (rc == 0 && c->two)
		rc = r->dialect->shut(r, side_other(c->rules), c->r.epoch, err);
	return rc;
}

/* What the winner says to subscribers from here on counts (pubsub_flip.c). */
static int
do_open(struct run *r, struct err *err)
{
	enum side to;
	int rc = 0;

	if (parts_switches(r))
		return parts_open(r, err);
	/* Inside a split nothing opens but to the writer. */
	if (!cutover_opens(&r->cut, false, &to))
		return 0;
	if (!r->cut.keeps)
		rc = r->dialect->say(r, to, true, err);
	return rc == 0 ? r->dialect->lift(r, to, r->cut.r.epoch, err) : rc;
}

static int
do_back_unfence(struct run *r, struct err *err)
{
	enum side s;

	if (parts_switches(r))
		return parts_unfence(r, err);
	if (!cutover_opens(&r->cut, true, &s))
		return 0;
	/* Else who is released here would be shut out by one that fences. */
	if (r->is_part && r->op.group != NULL &&
	    !group_leave(r->op.group, r->op.member))
		return err_set(err, ERR_POSTPONED, "others may still fence %s",
		               r->side[s].label);
	return r->dialect->lift(r, s, r->cut.r.epoch, err);
}

/* Perform one step. Answers 1 when its end comes by mail. */
static int
perform(struct run *r, enum cutover_step step, struct err *err)
{
	struct cutover *c = &r->cut;
	int rc;

	switch (step) {
	case CUT_FREEZE: return shift_record_freeze(r, err);
	case CUT_HOLD: rc = do_hold(r); return rc == 0 ? 1 : rc;
	case CUT_FENCE: return do_fence(r, err);
	case CUT_ANNOUNCE: rc = do_announce(r, err); return rc == 0 ? 1 : rc;
	case CUT_MARK:
		return r->dialect->position(r, c->from, &c->position, err);
	case CUT_BARRIER: return do_barrier(r, c->from, c->position, err);
	case CUT_MARK_2:
		return r->dialect->position(r, cutover_second(c),
		                            &c->position_2, err);
	case CUT_BARRIER_2:
		return do_barrier(r, cutover_second(c), c->position_2, err);
	case CUT_CHECK: return shift_check(r, err);
	case CUT_COMMIT: return shift_record_commit(r, err);
	case CUT_OPEN: return do_open(r, err);
	case CUT_RELEASE: send_release(r, true); return 1;
	case CUT_BACK_RECORD: return shift_record_abort(r, err);
	case CUT_BACK_UNFENCE: return do_back_unfence(r, err);
	case CUT_BACK_RELEASE: send_release(r, false); return 1;
	case CUT_IDLE:
	case CUT_DONE:
	case CUT_ABORTED:
	case CUT_N: break;
	}
	NEVER("a step without an action");
}

/* How long each step took, in us, for those who look for the pause. */
static json_t *
times_of(const struct run *r)
{
	json_t *j = json_object();

	for (int s = CUT_FREEZE; s < CUT_N; s++) {
		if (r->cut_took_us[s] > 0)
			(void)json_object_set_new(
				j, cutover_step_name((enum cutover_step)s),
				json_integer((json_int_t)r->cut_took_us[s]));
	}
	return j;
}

/* One event; the time of the step that it ends is noted. */
static enum cutover_step
next_step(struct run *r, const struct cutover_event *ev)
{
	enum cutover_step was = r->cut.step;
	enum cutover_step ret = cutover_feed(&r->cut, ev);

	if (was == CUT_IDLE)
		memset(r->cut_took_us, 0, sizeof(r->cut_took_us));
	else if (r->cut.step != was)
		r->cut_took_us[was] += (ev->now_ns - r->cut_entered_ns) / 1000;
	if (r->cut.step != was)
		r->cut_entered_ns = ev->now_ns;
	return ret;
}

static void
hold_ended(struct run *r)
{
	uint64_t ms = (os_mono_ns() - r->cut.hold_at_ns) / NS_PER_MS;

	if (r->cut.hold_at_ns == 0)
		return;
	r->hold_last_ms = ms;
	if (ms > r->hold_max_ms)
		r->hold_max_ms = ms;
}

static void
over(struct run *r)
{
	struct cutover *c = &r->cut;
	enum side to = cutover_winner(c);
	struct err err;

	hold_ended(r);
	r->cut_on = false;
	r->record_owed = c->record_owed;
	if (c->step == CUT_DONE) {
		run_event(r, "switched",
		          "%s has authority%s (epoch %llu), held %llu ms%s",
		          side_name(to),
		          !authority_is_split(&c->r) ? ""
		          : parts_has(r) ? " for all tables but those that are "
		                           "new's"
		                         : " for all keys but those of the "
		                           "scope",
		          (unsigned long long)c->r.epoch,
		          (unsigned long long)r->hold_last_ms,
		          c->lossy ? "; writes may be lost" : "");
		if (journal_add(r->journal, JOURNAL_SWITCHED,
		                json_pack("{s:s,s:I,s:o}", "to", side_name(to),
		                          "hold_ms",
		                          (json_int_t)r->hold_last_ms, "us",
		                          times_of(r)),
		                &err) != 0)
			run_event(r, "disk", "%s", err.text);
	} else {
		run_event(r, "aborted",
		          "%s: %s; %s keeps authority, held %llu "
		          "ms",
		          cutover_step_name(c->died), c->why,
		          side_name(c->rules),
		          (unsigned long long)r->hold_last_ms);
		/* A stale unfence of the other side must carry less than
		 * this epoch. */
		if (c->fence_begun && !r->record_owed &&
		    health_settle(r, &err) != 0)
			run_event(r, "fence", "%s", err.text);
	}
	/* It was not there to be fenced, and comes back open. */
	if (c->lossy && !c->fenced)
		health_hurry(r, c->keeps ? side_other(c->rules) : c->rules);
	/* Replicas, and an unfence that is owed. */
	r->health_at_ns = 0;
	r->dialect->persist(r, SIDE_OLD);
	r->dialect->persist(r, SIDE_NEW);
	/* The way back has turned round: prove it soon. */
	r->heartbeat_at_ns = 0;
	verbs_switched(r);
}

static void
feed(struct run *r, const struct cutover_event *ev)
{
	drive(r, next_step(r, ev));
}

static void
answer(struct run *r, enum cutover_step step, int rc, const struct err *err)
{
	struct cutover_event ev = {
		.kind = rc == 0 ? CUT_EV_OK : CUT_EV_FAIL,
		.step = step,
		.now_ns = os_mono_ns(),
		.position = step == CUT_MARK_2 ? r->cut.position_2
		                               : r->cut.position,
		.why = rc == 0 ? NULL : err->text,
	};

	feed(r, &ev);
}

/* Perform steps until one waits for a mail. */
static void
drive(struct run *r, enum cutover_step step)
{
	while (step != CUT_IDLE) {
		struct err err = { .code = ERR_NONE };
		struct cutover_event ev = { .step = step };
		int rc;

		if (step == CUT_DONE || step == CUT_ABORTED) {
			over(r);
			return;
		}
		rc = perform(r, step, &err);
		if (rc == 1)
			return;
		ev.kind = rc == 0 ? CUT_EV_OK : CUT_EV_FAIL;
		ev.now_ns = os_mono_ns();
		ev.position = step == CUT_MARK_2 ? r->cut.position_2
		                                 : r->cut.position;
		ev.why = rc == 0 ? NULL : err.text;
		ev.waits = rc == -ERR_POSTPONED;
		ev.unsure = journal_is_unsure(r->journal) || r->group_unsure;
		r->group_unsure = false;
		step = next_step(r, &ev);
	}
}

void
shift_begin(struct run *r, bool forced)
{
	struct authority a = journal_authority(r->journal);
	struct cutover_limits limits = limits_of(r->conf);
	struct cutover_event ev = { .kind = CUT_EV_START,
		                    .now_ns = os_mono_ns() };

	REQUIRE(!r->cut_on);
	cutover_init(&r->cut, &a, &limits, forced);
	r->cut_on = true;
	run_event(r, "switch", "%s to %s begins", side_name(r->cut.from),
	          side_name(side_other(r->cut.from)));
	feed(r, &ev);
}

int
shift_begin_scope(struct run *r, json_t *def, bool forced, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	struct cutover_limits limits = limits_of(r->conf);
	/* No other freeze has this epoch. */
	struct cutover_scope to = { .to = def == NULL ? AUTHORITY_NO_SCOPE
		                                      : (uint32_t)(a.epoch + 1),
		                    .grows = divide_holds(
					    divide_def(r, a.scope), def) };
	struct cutover_event ev = { .kind = CUT_EV_START };
	int rc = 0;

	REQUIRE(!r->cut_on);
	if (def != NULL)
		rc = divide_define(r, to.to, def, err);
	if (rc != 0)
		return rc;
	ev.now_ns = os_mono_ns();
	cutover_init_scope(&r->cut, &a, &limits, &to, forced);
	r->cut_on = true;
	run_event(r, "switch", "%s %s become %s's", to.grows ? "more" : "fewer",
	          parts_has(r) ? "tables" : "keys", "new");
	feed(r, &ev);
	return 0;
}

void
shift_stop(struct run *r, const char *why)
{
	struct cutover_event ev = { .kind = CUT_EV_STOP,
		                    .now_ns = os_mono_ns(),
		                    .why = why };

	if (r->cut_on)
		feed(r, &ev);
}

static void
relay_said(struct run *r, const struct mail *m, uint64_t *set,
           enum cutover_step step)
{
	if (m->epoch != r->cut.r.epoch || m->who >= r->relay_n)
		return;
	*set |= 1ull << m->who;
	if (step == CUT_HOLD && m->pair != NULL) {
		r->quiet[m->who].process = m->pair;
		r->quiet[m->who].n = (uint32_t)m->token;
	}
	if (r->cut.step == step && *set == machines_all_bits(r) &&
	    step == CUT_HOLD)
		answer(r, step, 0, NULL);
}

static void
passed(struct run *r, const struct mail *m)
{
	const struct cutover *c = &r->cut;
	enum side to = side_other(c->from);

	if (m->epoch != c->r.epoch)
		return;
	if (c->step == CUT_BARRIER_2 && m->side == cutover_second(c)) {
		answer(r, CUT_BARRIER_2, 0, NULL);
		return;
	}
	if (c->step != CUT_BARRIER || m->side != c->from)
		return;
	r->split.first_passed = m->position;
	/* With the commit: where the other side's stream begins, or where the
	 * mover that gets keys looks for what it did not know as its own. */
	if (m->text[0] != '\0')
		journal_stage_progress(
			r->journal,
			journal_point(to, c->keeps && to == SIDE_NEW), m->text,
			m->position);
	/* And where it looks for what the giver's side deleted by itself. */
	if (c->keeps && m->history[0] != '\0')
		journal_stage_progress(
			r->journal, journal_point(c->from, c->from == SIDE_OLD),
			m->history, m->token);
	answer(r, CUT_BARRIER, 0, NULL);
}

void
shift_mail(struct run *r, const struct mail *m)
{
	if (!r->cut_on)
		return;
	if (m->kind == MAIL_DRAINED)
		relay_said(r, m, &r->drained, CUT_HOLD);
	else if (m->kind == MAIL_MARKED)
		relay_said(r, m, &r->marked, CUT_ANNOUNCE);
	else if (m->kind == MAIL_PASSED)
		passed(r, m);
	else if (m->kind == MAIL_ROUTE_ACK && machines_all_current(r) &&
	         (r->cut.step == CUT_RELEASE ||
	          r->cut.step == CUT_BACK_RELEASE))
		answer(r, r->cut.step, 0, NULL);
}

/* All are held, or one of them has turned back. */
static void
look_at_fence(struct run *r)
{
	struct err err = { .code = ERR_NONE };
	int rc = do_fence(r, &err);

	if (rc != 1)
		answer(r, CUT_FENCE, rc, &err);
}

/* The others are waited for no longer than one's own hold allows. */
static void
look_at_group(struct run *r, uint64_t now_ns)
{
	struct cutover_event ev = { .step = CUT_COMMIT, .now_ns = now_ns };
	struct err err = { .code = ERR_NONE };
	int rc;

	if (!r->cut.forced && now_ns >= r->cut.hold_at_ns +
	                                        r->cut.limits.hold_ns -
	                                        r->cut.limits.margin_ns)
		(void)group_break(r->op.group,
		                  "the others were not ready in time");
	rc = shift_record_of_group(r, group_look(r->op.group, &err), &err);
	if (rc == 1)
		return;
	ev.kind = rc == 0 ? CUT_EV_OK : CUT_EV_FAIL;
	ev.position = r->cut.position;
	ev.why = rc == 0 ? NULL : err.text;
	ev.unsure = r->group_unsure;
	r->group_unsure = false;
	feed(r, &ev);
}

void
shift_tick(struct run *r, uint64_t now_ns)
{
	struct cutover_event ev = { .kind = CUT_EV_TIME, .now_ns = now_ns };
	struct err err;

	if (!r->cut_on)
		return;
	if (r->cut.step == CUT_ANNOUNCE && (r->marked == machines_all_bits(r) ||
	                                    now_ns >= r->marked_until_ns)) {
		int rc = parts_switches(r)
		                 ? parts_kill(r, &err)
		                 : r->dialect->kill(r, r->cut.rules, &err);

		answer(r, CUT_ANNOUNCE, rc, &err);
		if (!r->cut_on)
			return;
	}
	if (r->cut.step == CUT_FENCE && r->is_part) {
		look_at_fence(r);
		if (!r->cut_on)
			return;
	}
	if (r->cut.step == CUT_COMMIT && r->op.group != NULL &&
	    r->cut.retry_at_ns == 0) {
		look_at_group(r, now_ns);
		if (!r->cut_on)
			return;
	}
	if (now_ns >= cutover_wake_ns(&r->cut)) {
		if (r->cut.step == CUT_HOLD)
			ev.why = "running requests took too long";
		else if (r->cut.step == CUT_BARRIER ||
		         r->cut.step == CUT_BARRIER_2)
			ev.why = "the stream did not arrive in time";
		feed(r, &ev);
	}
}

uint64_t
shift_wake_ns(const struct run *r)
{
	uint64_t at;

	if (!r->cut_on)
		return UINT64_MAX;
	at = cutover_wake_ns(&r->cut);
	if (r->cut.step == CUT_COMMIT && r->op.group != NULL &&
	    r->cut.retry_at_ns == 0)
		at = r->cut.hold_at_ns + r->cut.limits.hold_ns -
		     r->cut.limits.margin_ns;
	if (r->cut.step == CUT_ANNOUNCE) {
		if (r->marked == machines_all_bits(r))
			return 0;
		if (r->marked_until_ns < at)
			at = r->marked_until_ns;
	}
	return at;
}
