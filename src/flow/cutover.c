/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow/cutover.c: the switch of authority, step by step, in either direction.
 *
 *  IDLE ─[begin]→ FREEZE → HOLD → FENCE → ANNOUNCE → MARK → BARRIER → CHECK
 *                                              (two: MARK_2, BARRIER_2 before it)
 *                   │        │      │         │        │       │        │
 *                   │        └──────┴─────────┴────────┴───────┴────────┤
 *           [fail]  │             [turn_back: fail, deadline, stop]     │
 *                   ↓                                                   ↓
 *                ABORTED ← BACK_RELEASE ← BACK_UNFENCE ← BACK_RECORD  COMMIT
 *                                                             ↑[fail]───┤
 *                                                                       ↓
 *                                          DONE ← RELEASE ← OPEN ←[enter]
 *
 *  COMMIT is the one step that moves the truth. Before it nothing on the winning
 *  side is open; after it nothing on the losing side is. In a split neither is.
 *
 *  Which mark is first: the mover that carries the keys which change their side
 *  passes first; then the other side has them, and the other mover, which knows
 *  them as foreign up to its own mark, passes a mark taken after that. Growing:
 *  old's mark, then new's; shrinking: new's, then old's.
 */
#include "flow/cutover.h"

#include "base/check.h"

struct rule {
	const char *name;
	enum cutover_step next; /* after OK                              */
	enum cutover_step fail; /* after FAIL; the step itself: again    */
	bool timed;             /* the hold's deadline applies           */
	bool forgivable;        /* forced: a failure counts as OK        */
};

// clang-format off
static const struct rule rules[CUT_N] = {
	/*                    name            next              fail             timed  forgiv. */
	[CUT_IDLE]         = { "idle",         CUT_IDLE,         CUT_IDLE,         false, false },
	[CUT_FREEZE]       = { "freeze",       CUT_HOLD,         CUT_ABORTED,      false, false },
	[CUT_HOLD]         = { "hold",         CUT_FENCE,        CUT_BACK_RECORD,  true,  true  },
	[CUT_FENCE]        = { "fence",        CUT_ANNOUNCE,     CUT_BACK_RECORD,  true,  true  },
	[CUT_ANNOUNCE]     = { "announce",     CUT_MARK,         CUT_BACK_RECORD,  true,  true  },
	[CUT_MARK]         = { "mark",         CUT_BARRIER,      CUT_BACK_RECORD,  true,  true  },
	[CUT_BARRIER]      = { "barrier",      CUT_MARK_2,       CUT_BACK_RECORD,  true,  true  },
	[CUT_MARK_2]       = { "mark_2",       CUT_BARRIER_2,    CUT_BACK_RECORD,  true,  true  },
	[CUT_BARRIER_2]    = { "barrier_2",    CUT_CHECK,        CUT_BACK_RECORD,  true,  true  },
	[CUT_CHECK]        = { "check",        CUT_COMMIT,       CUT_BACK_RECORD,  true,  true  },
	[CUT_COMMIT]       = { "commit",       CUT_OPEN,         CUT_BACK_RECORD,  false, false },
	[CUT_OPEN]         = { "open",         CUT_RELEASE,      CUT_OPEN,         false, false },
	[CUT_RELEASE]      = { "release",      CUT_DONE,         CUT_RELEASE,      false, false },
	[CUT_DONE]         = { "done",         CUT_DONE,         CUT_DONE,         false, false },
	[CUT_BACK_RECORD]  = { "back_record",  CUT_BACK_UNFENCE, CUT_BACK_UNFENCE, false, false },
	[CUT_BACK_UNFENCE] = { "back_unfence", CUT_BACK_RELEASE, CUT_BACK_UNFENCE, false, false },
	[CUT_BACK_RELEASE] = { "back_release", CUT_ABORTED,      CUT_BACK_RELEASE, false, false },
	[CUT_ABORTED]      = { "aborted",      CUT_ABORTED,      CUT_ABORTED,      false, false },
};
// clang-format on

const char *
cutover_step_name(enum cutover_step s)
{
	REQUIRE((unsigned)s < CUT_N);
	return rules[s].name;
}

bool
cutover_is_over(const struct cutover *c)
{
	return c->step == CUT_DONE || c->step == CUT_ABORTED;
}

bool
cutover_may_abort(const struct cutover *c)
{
	return c->step >= CUT_FREEZE && c->step < CUT_COMMIT;
}

/* P5: before the commit the side before rules, with the scope before, and nothing
 * is lost; after it what the switch is for. */
static void
check_truth(const struct cutover *c)
{
	enum side now = authority_side(c->r.state);

	if (!c->committed) {
		ENSURE(now == c->rules);
		ENSURE(c->r.scope == c->scope);
	} else if (c->keeps) {
		ENSURE(now == c->rules);
		ENSURE(c->r.scope == c->scope_to);
	} else {
		ENSURE(now == side_other(c->rules));
	}
}

/* P1: what was acknowledged is there before it opens. */
static void
check_passed(const struct cutover *c)
{
	ENSURE(!c->passed || c->barrier_begun);
	if (c->forced)
		return;
	ENSURE(!c->committed || c->passed);
	ENSURE(!c->committed || c->passed_2 || !c->two);
	ENSURE(!c->passed_2 || c->passed);
}

/* Run after each change; the promises that can be seen from here. */
static void
check(const struct cutover *c)
{
	ENSURE((unsigned)c->step < CUT_N);
	/* P2: the winning side opens only behind a fence and a commit. */
	ENSURE(!c->opened || c->committed);
	ENSURE(!c->committed || c->forced || (c->fenced && c->checked));
	check_passed(c);
	check_truth(c);
	ENSURE(!c->committed || c->step >= CUT_OPEN);
	ENSURE(!c->committed || c->step <= CUT_DONE);
	/* At the end R is at rest. */
	ENSURE(!cutover_is_over(c) || !authority_is_frozen(c->r.state));
	/* P4: whoever holds has a deadline, up to the commit. */
	ENSURE(!rules[c->step].timed || c->deadline_ns != UINT64_MAX);
}

static void
init(struct cutover *c, const struct authority *r,
     const struct cutover_limits *limits, bool forced)
{
	REQUIRE(!authority_is_frozen(r->state));
	REQUIRE(limits->hold_ns > limits->margin_ns);
	*c = (struct cutover){
		.step = CUT_IDLE,
		.r = *r,
		.from = authority_side(r->state),
		.rules = authority_side(r->state),
		.scope = r->scope,
		.forced = forced,
		.limits = *limits,
		.deadline_ns = UINT64_MAX,
	};
}

void
cutover_init(struct cutover *c, const struct authority *r,
             const struct cutover_limits *limits, bool forced)
{
	init(c, r, limits, forced);
	if (r->state == AUTHORITY_OLD)
		c->scope_to = AUTHORITY_ALL;
	c->two = authority_is_split(r);
	check(c);
}

void
cutover_init_scope(struct cutover *c, const struct authority *r,
                   const struct cutover_limits *limits,
                   const struct cutover_scope *to, bool forced)
{
	REQUIRE(r->state == AUTHORITY_OLD && to->to != r->scope);
	REQUIRE(r->scope != AUTHORITY_NO_SCOPE || to->grows);
	REQUIRE(to->to != AUTHORITY_ALL || to->grows);
	if (to->to == AUTHORITY_ALL) {
		cutover_init(c, r, limits, forced);
		return;
	}
	init(c, r, limits, forced);
	c->scope_to = to->to;
	c->keeps = true;
	c->two = true;
	c->from = to->grows ? SIDE_OLD : SIDE_NEW;
	check(c);
}

enum side
cutover_second(const struct cutover *c)
{
	return side_other(c->from);
}

enum side
cutover_winner(const struct cutover *c)
{
	return c->keeps ? c->rules : side_other(c->rules);
}

bool
cutover_opens(const struct cutover *c, bool aborted, enum side *ret)
{
	*ret = aborted ? c->rules : cutover_winner(c);
	if (aborted)
		return c->scope == AUTHORITY_NO_SCOPE;
	return !c->keeps || c->scope_to == AUTHORITY_NO_SCOPE;
}

static void
keep_why(struct cutover *c, const char *why)
{
	size_t n;

	if (c->why[0] != '\0' || why == NULL)
		return;
	n = strlen(why);
	if (n > sizeof(c->why) - 1)
		n = sizeof(c->why) - 1;
	memcpy(c->why, why, n);
	c->why[n] = '\0';
}

/* Into a step; the only place where c->step changes. */
static enum cutover_step
enter(struct cutover *c, enum cutover_step to, uint64_t now_ns)
{
	c->step = to;
	c->retry_at_ns = 0;
	if (to == CUT_HOLD && c->hold_at_ns == 0)
		c->hold_at_ns = now_ns;
	if (to == CUT_FENCE)
		c->fence_begun = true;
	if (to == CUT_BARRIER)
		c->barrier_begun = true;
	if (to == CUT_OPEN)
		c->opened = true;
	c->deadline_ns = UINT64_MAX;
	if (rules[to].timed) {
		c->deadline_ns = c->hold_at_ns + c->limits.hold_ns;
		if (to == CUT_HOLD && c->limits.drain_ns < c->limits.hold_ns)
			c->deadline_ns = c->hold_at_ns + c->limits.drain_ns;
	}
	check(c);
	return to;
}

static enum cutover_step
turn_back(struct cutover *c, enum cutover_step to, uint64_t now_ns,
          const char *why)
{
	REQUIRE(!c->committed);
	c->died = c->step;
	keep_why(c, why != NULL ? why : "the step took too long");
	return enter(c, to, now_ns);
}

/* What a success means, before the next step is entered. */
static void
succeeded(struct cutover *c, const struct cutover_event *ev)
{
	switch (c->step) {
	case CUT_FREEZE:
		c->r = authority_freeze_scope(&c->r, c->scope_to);
		return;
	case CUT_FENCE: c->fenced = true; return;
	case CUT_MARK: c->position = ev->position; return;
	case CUT_BARRIER: c->passed = true; return;
	case CUT_MARK_2: c->position_2 = ev->position; return;
	case CUT_BARRIER_2: c->passed_2 = true; return;
	case CUT_CHECK: c->checked = true; return;
	case CUT_COMMIT:
		c->r = authority_commit(&c->r);
		c->committed = true;
		/* check() looks at both together, in enter(). */
		return;
	case CUT_BACK_RECORD: c->r = authority_abort(&c->r); return;
	case CUT_BACK_UNFENCE: c->unfence_owed = false; return;
	case CUT_IDLE:
	case CUT_HOLD:
	case CUT_ANNOUNCE:
	case CUT_OPEN:
	case CUT_RELEASE:
	case CUT_DONE:
	case CUT_BACK_RELEASE:
	case CUT_ABORTED:
	case CUT_N: return;
	}
}

static bool
is_late(const struct cutover *c, uint64_t now_ns)
{
	return now_ns + c->limits.margin_ns >=
	       c->hold_at_ns + c->limits.hold_ns;
}

/* Who is released before the side is open is refused there: it is tried for longer
 * than anything else. */
static bool
is_owed(const struct cutover *c, const struct cutover_event *ev)
{
	if (c->step != CUT_BACK_UNFENCE && c->step != CUT_OPEN)
		return false;
	return ev->now_ns >=
	               c->hold_at_ns + c->limits.hold_ns + c->limits.open_ns ||
	       (ev->waits && is_late(c, ev->now_ns));
}

static enum cutover_step
go_on(struct cutover *c, const struct cutover_event *ev)
{
	enum cutover_step next = rules[c->step].next;

	succeeded(c, ev);
	if (next == CUT_MARK_2 && !c->two)
		next = CUT_CHECK;
	/* Not even begun: an answer after the deadline is no answer. */
	if (next == CUT_COMMIT && !c->forced && is_late(c, ev->now_ns))
		return turn_back(c, CUT_BACK_RECORD, ev->now_ns,
		                 "too little of the hold was left to commit");
	/* Nothing was fenced, so nothing needs to be opened. */
	if (next == CUT_BACK_UNFENCE && !c->fence_begun)
		next = CUT_BACK_RELEASE;
	return enter(c, next, ev->now_ns);
}

static enum cutover_step
failed(struct cutover *c, const struct cutover_event *ev)
{
	enum cutover_step to = rules[c->step].fail;

	if (c->forced && rules[c->step].forgivable) {
		enum cutover_step next = rules[c->step].next;

		c->lossy = true;
		keep_why(c, ev->why);
		if (next == CUT_MARK_2 && !c->two)
			next = CUT_CHECK;
		return enter(c, next, ev->now_ns);
	}
	if (c->step == CUT_BACK_RECORD) {
		/* R on disk stays frozen, which means the same side; nothing
		 * else is begun before this is written. */
		c->record_owed = true;
		return go_on(c, ev);
	}
	if (is_owed(c, ev)) {
		/* Whoever looks after the servers goes on trying. */
		c->unfence_owed = true;
		return enter(c, rules[c->step].next, ev->now_ns);
	}
	/* Whoever reads the disk after a crash may find the commit: the side
	 * before must not open. The fence stays, so it may be made later. */
	if (to == c->step || (c->step == CUT_COMMIT && ev->unsure)) {
		c->retry_at_ns = ev->now_ns + c->limits.retry_ns;
		return CUT_IDLE;
	}
	return turn_back(c, to, ev->now_ns,
	                 ev->why != NULL ? ev->why : "the step failed");
}

static enum cutover_step
time_went_by(struct cutover *c, const struct cutover_event *ev)
{
	if (c->retry_at_ns != 0 && ev->now_ns >= c->retry_at_ns)
		return enter(c, c->step, ev->now_ns);
	if (rules[c->step].timed && ev->now_ns >= c->deadline_ns)
		return failed(c, ev);
	return CUT_IDLE;
}

enum cutover_step
cutover_feed(struct cutover *c, const struct cutover_event *ev)
{
	if (cutover_is_over(c))
		return CUT_IDLE;
	switch (ev->kind) {
	case CUT_EV_START:
		if (c->step != CUT_IDLE)
			return CUT_IDLE;
		return enter(c, CUT_FREEZE, ev->now_ns);
	case CUT_EV_OK:
		if (c->step == CUT_IDLE || ev->step != c->step ||
		    c->retry_at_ns != 0)
			return CUT_IDLE;
		return go_on(c, ev);
	case CUT_EV_FAIL:
		if (c->step == CUT_IDLE || ev->step != c->step ||
		    c->retry_at_ns != 0)
			return CUT_IDLE;
		return failed(c, ev);
	case CUT_EV_TIME: return time_went_by(c, ev);
	case CUT_EV_STOP:
		/* The freeze is being written; its answer comes first. */
		if (!cutover_may_abort(c) || c->step == CUT_FREEZE)
			return CUT_IDLE;
		return turn_back(c, CUT_BACK_RECORD, ev->now_ns, ev->why);
	case CUT_EV_N: break;
	}
	NEVER("an event that is none");
}

uint64_t
cutover_wake_ns(const struct cutover *c)
{
	if (cutover_is_over(c) || c->step == CUT_IDLE)
		return UINT64_MAX;
	if (c->retry_at_ns != 0)
		return c->retry_at_ns;
	return rules[c->step].timed ? c->deadline_ns : UINT64_MAX;
}
