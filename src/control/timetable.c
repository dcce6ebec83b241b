/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/timetable.c: time_window: forward inside the window only.
 *
 * What moves traffic to new, or authority, waits for the window; the way back
 * never does. `finish`: what was begun inside it may go on to its end behind it;
 * `hold`: it stays where it is; `rollback`: it goes back.
 */
#include "control/run_parts.h"
#include "control/spec/spec.h"
#include "control/spec/when.h"

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
	return r->read_ppm > 0 || r->units != 0;
}

int
timetable_gate(const struct run *r, const struct strategy_move *m,
               struct err *err)
{
	const struct window *w = &r->strategy.window;
	bool forward = m->kind == MOVE_TO_CUTOVER ||
	               m->kind == MOVE_TO_INSTANCE || m->ppm > r->read_ppm ||
	               (m->units & ~r->units) != 0;

	if (r->strategy.kind != STRATEGY_TIME_WINDOW || !forward)
		return 0;
	if (w->overrun == OVERRUN_FINISH && has_begun(r))
		return 0;
	return window_gate(w, r->zone_known ? &r->zone : NULL, os_wall_ms(),
	                   err);
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
		run_event(r, "window", "it is open: the switch begins");
		verbs_push(r, OP_PROMOTE);
	} else if (!l.is_open && has_begun(r) &&
	           r->strategy.window.overrun == OVERRUN_ROLLBACK) {
		run_event(r, "window", "it is over before the cutover: back");
		verbs_push(r, OP_ROLLBACK);
	}
}
