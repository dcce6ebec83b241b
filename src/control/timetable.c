/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/timetable.c: time_window: forward inside the window only.
 *
 * What moves traffic to new, or authority, waits for the window; the way back
 * never does. `finish`: what was begun inside it may go on to its end behind it;
 * `hold`: it stays where it is; `rollback`: it goes back. A cutover has to fit into
 * what is left: copy, stream, the longest hold, and a margin.
 */
#include "control/run_parts.h"
#include "control/spec/spec.h"
#include "control/spec/when.h"

/* Fences, the journal, the release behind the hold. */
#define MARGIN_MS 1000

int
timetable_load(struct run *r, struct err *err)
{
	const struct window *w = &r->strategy.window;

	r->zone_known = false;
	if (r->strategy.kind != STRATEGY_TIME_WINDOW || w->kind != WINDOW_CRON)
		return 0;
	if (when_load_zone(w->zone, &r->zone, err) != 0)
		return -(int)err->code;
	r->zone_known = true;
	return 0;
}

static struct window_look
look(const struct run *r)
{
	return window_look(&r->strategy.window, r->zone_known ? &r->zone : NULL,
	                   os_wall_ms());
}

static bool
has_begun(const struct run *r)
{
	return r->read_ppm > 0 || r->units != 0 || run_is_split(r);
}

/* Of the bulk; 0 when it is done, or nobody knows yet (then the cutover's own
 * gates make it wait). */
static uint64_t
copy_left_ms(const struct run *r)
{
	const struct board *b = &r->board;
	uint64_t n = atomic_load(&b->copied_records);
	uint64_t all = atomic_load(&b->total_records);
	uint64_t from = atomic_load(&b->copy_started_ns);
	uint64_t now = os_mono_ns();

	if (r->copied || r->was_in_step ||
	    atomic_load(&b->copy_ended_ns) != 0 || from == 0 || n == 0 ||
	    all <= n || now <= from)
		return 0;
	return (uint64_t)((double)(now - from) / 1e6 * (double)(all - n) /
	                  (double)n);
}

static struct window_need
need_of(const struct run *r)
{
	return (struct window_need){
		.copy_ms = copy_left_ms(r),
		.lag_ms = atomic_load(&r->board.lag_ms),
		.hold_ms = r->conf->hold_max_ms,
		.margin_ms = MARGIN_MS,
	};
}

int
timetable_gate(const struct run *r, const struct strategy_move *m,
               struct err *err)
{
	const struct window *w = &r->strategy.window;
	const struct zone *zone = r->zone_known ? &r->zone : NULL;
	struct window_need need;
	int rc;
	bool forward = m->kind == MOVE_TO_CUTOVER ||
	               m->kind == MOVE_TO_INSTANCE || m->ppm > r->read_ppm ||
	               m->write_ppm > divide_ppm(r) ||
	               (m->units & ~r->units) != 0;

	if (r->strategy.kind != STRATEGY_TIME_WINDOW || !forward)
		return 0;
	if (w->overrun == OVERRUN_FINISH && has_begun(r))
		return 0;
	rc = window_gate(w, zone, os_wall_ms(), err);
	if (rc != 0 ||
	    (m->kind != MOVE_TO_CUTOVER && m->kind != MOVE_TO_INSTANCE))
		return rc;
	need = need_of(r);
	return window_fits(w, zone, os_wall_ms(), &need, err);
}

/* Open, in step, and the switch fits: it begins. One that does not is said once
 * for each window. */
static void
switch_now(struct run *r, const struct window_look *l)
{
	const struct strategy_move cutover = { .kind = MOVE_TO_CUTOVER };
	struct err err;

	if (timetable_gate(r, &cutover, &err) == 0) {
		run_event(r, "window", "it is open: the switch begins");
		verbs_push(r, OP_PROMOTE);
	} else if (r->timetable_said_ms != l->until_ms) {
		r->timetable_said_ms = l->until_ms;
		run_event(r, "window", "%s", err.text);
	}
}

void
timetable_tick(struct run *r, uint64_t now_ns)
{
	struct window_look l;

	if (r->strategy.kind != STRATEGY_TIME_WINDOW ||
	    now_ns < r->timetable_at_ns || r->op.kind != OP_NONE || r->cut_on ||
	    r->state != LIFE_RUNNING || run_authority(r) != SIDE_OLD)
		return;
	r->timetable_at_ns = now_ns + LIMIT_HEALTH_MS * NS_PER_MS;
	l = look(r);
	if (l.is_open && r->move == MOVE_IN_STEP &&
	    strategy_base(&r->strategy) == STRATEGY_BIG_BANG &&
	    (r->spec == NULL || !r->spec->executed)) {
		switch_now(r, &l);
	} else if (!l.is_open && has_begun(r) &&
	           r->strategy.window.overrun == OVERRUN_ROLLBACK) {
		run_event(r, "window", "it is over before the cutover: back");
		verbs_push(r, OP_ROLLBACK);
	}
}
