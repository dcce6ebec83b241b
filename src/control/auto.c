/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auto.c: promote while the checks pass, go back when not (--auto).
 *
 * Ends before complete, which stays the operator's.
 */
#define _DEFAULT_SOURCE
#include "base/hist.h"
#include "control/run_parts.h"
#include "control/spec/spec.h"

/* Of how long a migration that only goes back by itself is judged at a time. */
#define WATCHED_MS 60000

_Static_assert(TRAFFIC_BUCKETS == HIST_BUCKETS, "one histogram everywhere");

/* Everything the relays have counted so far. */
static void
sum(const struct run *r, struct sample *s,
    uint64_t latency[SIDE_N][TRAFFIC_BUCKETS])
{
	*s = (struct sample){ .in_step = r->move == MOVE_IN_STEP,
		              .lag_ms = atomic_load(&r->board.lag_ms) };
	memset(latency, 0, sizeof(uint64_t) * SIDE_N * TRAFFIC_BUCKETS);
	for (uint32_t i = 0; i < r->relay_n; i++) {
		const struct traffic *t = r->traffic[i];

		s->different += atomic_load(&t->shadow_different);
		for (int side = 0; side < SIDE_N; side++) {
			s->requests[side] += atomic_load(&t->reads[side]) +
			                     atomic_load(&t->writes[side]);
			s->errors[side] += atomic_load(&t->errors[side]);
			s->lost[side] += atomic_load(&t->lost[side]);
			for (int b = 0; b < TRAFFIC_BUCKETS; b++)
				latency[side][b] +=
					atomic_load(&t->latency[side][b]);
		}
	}
}

/* What the definition says of the looks, and of this step. */
static void
take_analysis(const struct run *r, struct watch_limits *l)
{
	const struct spec_analysis *a = &r->spec->analysis;
	uint32_t i = r->step - 1;

	l->k = a->failed_looks;
	l->n = a->looks;
	l->error_ppm_max = a->error_ppm_max;
	l->latency_factor = a->latency_factor;
	l->latency_us_min = (uint64_t)a->latency_ms_min * 1000;
	if (r->step == 0 || i >= r->strategy.step_n ||
	    run_authority(r) == SIDE_NEW)
		return;
	if (r->strategy.step_seconds[i] > 0)
		l->step_ms = (uint64_t)r->strategy.step_seconds[i] * 1000;
	if (r->strategy.step_requests[i] > 0)
		l->requests_min = r->strategy.step_requests[i];
}

static void
begin_step(struct run *r, uint64_t now_ns)
{
	struct watch_limits l = {
		.k = LIMIT_WATCH_K,
		.n = LIMIT_WATCH_N,
		.step_ms = (uint64_t)r->conf->step_seconds * 1000,
		.requests_min = r->conf->step_requests,
		.error_ppm_max = LIMIT_WATCH_ERROR_PPM,
		.latency_factor = LIMIT_WATCH_LATENCY,
		.latency_us_min = LIMIT_WATCH_LATENCY_US,
		.lag_ms_max = r->conf->lag_max_ms,
	};

	if (r->spec != NULL)
		take_analysis(r, &l);
	watch_begin(&r->watch, &l, now_ns / NS_PER_MS);
	sum(r, &r->base, r->base_latency);
	r->watch_on = true;
	r->watch_step =
		run_authority(r) == SIDE_NEW ? r->strategy.step_n + 1 : r->step;
	r->watch_wall_ms = os_wall_ms();
}

/* Records that a comparison of this step has found. */
static uint64_t
proven_different(const struct run *r)
{
	static const char *const keys[] = { "missing", "extra", "different" };
	const json_t *p = r->proof_last;
	const char *state = json_string_value(json_object_get(p, "state"));
	uint64_t sum = 0;

	if (state == NULL || strcmp(state, "different") != 0 ||
	    json_integer_value(json_object_get(p, "at_ms")) < r->watch_wall_ms)
		return 0;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		sum += (uint64_t)json_integer_value(
			json_object_get(p, keys[i]));
	return sum;
}

/* What happened since the step began. */
static void
since(struct run *r, struct sample *ret)
{
	uint64_t latency[SIDE_N][TRAFFIC_BUCKETS];

	sum(r, ret, latency);
	ret->different -= r->base.different;
	ret->different += proven_different(r);
	for (int side = 0; side < SIDE_N; side++) {
		ret->requests[side] -= r->base.requests[side];
		ret->errors[side] -= r->base.errors[side];
		ret->lost[side] -= r->base.lost[side];
		for (int b = 0; b < TRAFFIC_BUCKETS; b++)
			latency[side][b] -= r->base_latency[side][b];
		ret->p99_us[side] = hist_percentile(latency[side], 990000);
	}
	/* After the cutover old answers nothing: its last p99 is the measure. */
	if (run_authority(r) == SIDE_NEW)
		ret->p99_us[SIDE_OLD] = r->trust_p99_us;
	else if (ret->p99_us[SIDE_OLD] > 0)
		r->trust_p99_us = ret->p99_us[SIDE_OLD];
}

/* Does it go forward by itself? Else it only watches. */
static bool
may_promote(const struct run *r)
{
	return r->spec == NULL || r->spec->analysis.auto_promote ||
	       !r->spec->analysis.auto_rollback;
}

static void
judge(struct run *r, uint64_t now_ns)
{
	struct sample s;
	struct judgement j;
	struct err err;

	since(r, &s);
	j = watch_look(&r->watch, &s, SIDE_NEW, now_ns / NS_PER_MS);
	r->judged = j;
	if (j.verdict == VERDICT_INCONCLUSIVE)
		return;
	if (j.verdict == VERDICT_PASS && run_authority(r) == SIDE_OLD &&
	    !may_promote(r)) {
		/* It is watched on; what is long past does not count. */
		if (now_ns / NS_PER_MS >= r->watch.since_ms + WATCHED_MS)
			begin_step(r, now_ns);
		return;
	}
	if (journal_add(r->journal, JOURNAL_VERDICT,
	                json_pack("{s:s,s:s,s:I,s:I,s:I,s:s}", "verdict",
	                          verdict_name(j.verdict), "check",
	                          watch_check_name(j.check), "value",
	                          (json_int_t)j.value, "threshold",
	                          (json_int_t)j.threshold, "requests",
	                          (json_int_t)j.requests, "reason", j.reason),
	                &err) != 0) {
		run_event(r, "disk", "%s", err.text);
		return;
	}
	run_event(r, "verdict", "%s: %s", verdict_name(j.verdict), j.reason);
	r->watch_on = false;
	if (j.verdict == VERDICT_FAIL) {
		r->auto_aborted = true;
		verbs_push(r, OP_ROLLBACK);
	} else if (run_authority(r) == SIDE_OLD) {
		verbs_push(r, OP_PROMOTE);
	} else {
		run_wish(r, "proven", j.reason);
	}
}

void
auto_tick(struct run *r, uint64_t now_ns)
{
	const struct strategy_move forward = { .kind = MOVE_TO_CUTOVER };
	bool soaks = run_authority(r) == SIDE_NEW;
	uint32_t step = soaks ? r->strategy.step_n + 1 : r->step;

	if (!r->conf->is_auto || r->auto_aborted || r->op.kind != OP_NONE ||
	    r->cut_on || r->state != LIFE_RUNNING || now_ns < r->auto_at_ns)
		return;
	r->auto_at_ns = now_ns + LIMIT_HEALTH_MS * NS_PER_MS;
	/* Somebody has gone on meanwhile: another step. */
	r->watch_on = r->watch_on && r->watch_step == step;
	if (r->watch_on) {
		judge(r, now_ns);
		return;
	}
	/* The soak was judged: the rest is the operator's. */
	if (soaks && r->judged.verdict == VERDICT_PASS &&
	    r->watch_step > r->strategy.step_n)
		return;
	if (strategy_base(&r->strategy) == STRATEGY_SHADOW_TRAFFIC)
		return; /* it has no steps */
	if (!soaks && timetable_gate(r, &forward, NULL) != 0)
		return; /* later: nothing goes forward now */
	if (r->step == 0 && r->read_ppm == 0 && r->units == 0 &&
	    !run_is_split(r) && !soaks) {
		if (r->move == MOVE_IN_STEP && may_promote(r) &&
		    !r->toggled_back)
			verbs_push(r, OP_PROMOTE);
		return;
	}
	begin_step(r, now_ns);
}
