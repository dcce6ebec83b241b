/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auto.c: promote while the checks pass, go back when not (--auto).
 *
 * Ends before complete, which stays the operator's.
 */
#define _DEFAULT_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hist.h"
#include "control/run_parts.h"
#include "control/spec/spec.h"

/* Of how long a migration that only goes back by itself is judged at a time. */
#define WATCHED_MS 60000
#define META_TRUST "trust" /* requests, errors, latencies, p99 of old */

_Static_assert(TRAFFIC_BUCKETS == HIST_BUCKETS, "one histogram everywhere");

/* Everything the relays have counted so far. */
static void
sum(const struct run *r, struct sample *s,
    uint64_t latency[SIDE_N][TRAFFIC_BUCKETS])
{
	*s = (struct sample){ .in_step = r->move == MOVE_IN_STEP };
	memset(latency, 0, sizeof(uint64_t) * SIDE_N * TRAFFIC_BUCKETS);
	for (uint32_t i = 0; i < r->relay_n; i++) {
		const struct traffic *t = r->traffic[i];

		s->different += atomic_load(&t->shadow_different);
		for (int side = 0; side < SIDE_N; side++) {
			s->requests[side] += atomic_load(&t->reads[side]) +
			                     atomic_load(&t->unused[side]);
			s->errors[side] += atomic_load(&t->read_errors[side]);
			s->writes[side] += atomic_load(&t->writes[side]);
			s->all_errors[side] += atomic_load(&t->errors[side]);
			s->lost[side] += atomic_load(&t->lost[side]);
			for (int b = 0; b < TRAFFIC_BUCKETS; b++)
				latency[side][b] +=
					atomic_load(&t->latency[side][b]);
		}
	}
}

/* What old has shown, for the soak of a process that comes later. */
static void
keep_trust(struct run *r)
{
	const struct sample *t = &r->trust;
	char text[96];
	struct err err;

	if (t->requests[SIDE_OLD] == 0 && t->timed[SIDE_OLD] == 0)
		return;
	(void)snprintf(text, sizeof(text),
	               "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
	               t->requests[SIDE_OLD], t->errors[SIDE_OLD],
	               t->timed[SIDE_OLD], t->p99_us[SIDE_OLD]);
	if (journal_set_meta(r->journal, META_TRUST, text, &err) != 0)
		run_event(r, "disk", "%s", err.text);
}

static void
find_trust(struct run *r)
{
	struct sample *t = &r->trust;
	uint64_t *const to[] = { &t->requests[SIDE_OLD], &t->errors[SIDE_OLD],
		                 &t->timed[SIDE_OLD], &t->p99_us[SIDE_OLD] };
	char *text;
	char *at;

	if (t->requests[SIDE_OLD] > 0 || t->timed[SIDE_OLD] > 0)
		return;
	text = journal_meta(r->journal, META_TRUST);
	at = text;
	for (size_t i = 0; at != NULL && i < sizeof(to) / sizeof(to[0]); i++)
		*to[i] = strtoull(at, &at, 10);
	free(text);
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
		.few = LIMIT_WATCH_FEW,
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
	r->late_ns = 0;
	r->judged = (struct judgement){ .verdict = VERDICT_INCONCLUSIVE };
	find_trust(r);
	if (run_authority(r) == SIDE_NEW)
		keep_trust(r);
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

/* Reads are compared with reads while new has no writes. Then all with all: what
 * clients saw of old when it had all writes (what new refused was asked there
 * again) is the measure. */
static void
take_writes(const struct run *r, struct sample *s)
{
	bool soaks = run_authority(r) == SIDE_NEW;

	if (!soaks && !run_is_split(r))
		return;
	for (int side = 0; side < SIDE_N; side++) {
		s->requests[side] += s->writes[side];
		s->errors[side] = s->all_errors[side];
	}
	if (soaks) {
		s->requests[SIDE_OLD] = r->trust.requests[SIDE_OLD];
		s->errors[SIDE_OLD] = r->trust.errors[SIDE_OLD];
	}
}

/* Where old answers little or nothing, as after the cutover, what it showed last
 * is the measure; a process that comes later finds it in the journal. */
static void
take_trust(struct run *r, struct sample *s)
{
	struct sample *t = &r->trust;

	if (run_authority(r) == SIDE_OLD) {
		uint64_t all = s->requests[SIDE_OLD] + s->writes[SIDE_OLD] +
		               s->requests[SIDE_NEW];

		if (all >= LIMIT_WATCH_FEW) {
			t->requests[SIDE_OLD] = all;
			t->errors[SIDE_OLD] = s->all_errors[SIDE_OLD];
		}
		if (s->timed[SIDE_OLD] >= LIMIT_WATCH_FEW) {
			t->timed[SIDE_OLD] = s->timed[SIDE_OLD];
			t->p99_us[SIDE_OLD] = s->p99_us[SIDE_OLD];
		}
	}
	take_writes(r, s);
	s->timed[SIDE_OLD] = t->timed[SIDE_OLD];
	s->p99_us[SIDE_OLD] = t->p99_us[SIDE_OLD];
}

/* How late new is: what the stream says, and how long it has not been in step. */
static uint64_t
lag_ms(struct run *r, uint64_t now_ns)
{
	uint64_t lag = atomic_load(&r->board.lag_ms);
	uint64_t back = atomic_load(&r->split.board.lag_ms);
	uint64_t out;

	if (run_is_split(r) && back > lag)
		lag = back; /* new writes as well: the stream of that */
	if (r->move == MOVE_IN_STEP) {
		r->late_ns = 0;
		return lag;
	}
	if (r->late_ns == 0)
		r->late_ns = now_ns;
	out = (now_ns - r->late_ns) / NS_PER_MS;
	return out > lag ? out : lag;
}

/* What happened since the step began. */
static void
since(struct run *r, struct sample *ret, uint64_t now_ns)
{
	uint64_t latency[SIDE_N][TRAFFIC_BUCKETS];

	sum(r, ret, latency);
	ret->lag_ms = lag_ms(r, now_ns);
	ret->different -= r->base.different;
	ret->different += proven_different(r);
	for (int side = 0; side < SIDE_N; side++) {
		ret->requests[side] -= r->base.requests[side];
		ret->errors[side] -= r->base.errors[side];
		ret->writes[side] -= r->base.writes[side];
		ret->all_errors[side] -= r->base.all_errors[side];
		ret->lost[side] -= r->base.lost[side];
		for (int b = 0; b < TRAFFIC_BUCKETS; b++)
			latency[side][b] -= r->base_latency[side][b];
		ret->timed[side] = hist_total(latency[side]);
		ret->p99_us[side] = hist_percentile(latency[side], 990000);
	}
	take_trust(r, ret);
}

static bool
is_stale(const _Atomic uint64_t *told_ns, uint64_t now_ns)
{
	uint64_t told = atomic_load_explicit(told_ns, memory_order_relaxed);

	return told + LIMIT_WATCH_STALE_MS * NS_PER_MS < now_ns;
}

/* Can anything be said at all? Else why not. */
static const char *
fault_of(const struct run *r, uint64_t now_ns, struct err *e)
{
	uint64_t ms = LIMIT_WATCH_STALE_MS;

	for (uint32_t i = 0; i < r->relay_n; i++) {
		if (is_stale(&r->traffic[i]->told_ns, now_ns)) {
			(void)err_set(e, ERR_STATE,
			              "relay %u of %u has not reported for "
			              "%llu ms",
			              i + 1, r->relay_n,
			              (unsigned long long)ms);
			return e->text;
		}
	}
	if (is_stale(&r->board.told_ns, now_ns) ||
	    (run_is_split(r) && is_stale(&r->split.board.told_ns, now_ns))) {
		(void)err_set(e, ERR_STATE,
		              "the mover has not reported for %llu ms",
		              (unsigned long long)ms);
		return e->text;
	}
	/* What new does cannot be held against it then. */
	return r->at[SIDE_OLD].is_up ? NULL : "old does not answer";
}

/* Does it go forward by itself? Else it only watches. */
static bool
may_promote(const struct run *r)
{
	return r->spec == NULL || r->spec->analysis.auto_promote ||
	       !r->spec->analysis.auto_rollback;
}

const char *
auto_check(const struct judgement *j)
{
	return j->verdict == VERDICT_FAIL ? watch_check_name(j->check) : "";
}

json_t *
auto_checks(const struct run *r)
{
	const struct watch *w = &r->watch;
	json_t *list = json_array();

	for (unsigned i = 0; i < WATCH_N && w->looks > 0; i++) {
		const char *state = w->value[i] <= w->threshold[i] ? "pass"
		                    : w->few[i] ? "inconclusive"
		                                : "fail";

		(void)json_array_append_new(
			list, json_pack("{s:s,s:s,s:I,s:I,s:s,s:I}", "check",
		                        watch_check_name((enum watch_check)i),
		                        "state", state, "value",
		                        (json_int_t)w->value[i], "threshold",
		                        (json_int_t)w->threshold[i], "unit",
		                        watch_check_unit((enum watch_check)i),
		                        "sample", (json_int_t)w->size[i]));
	}
	return list;
}

/* The verdict, what it stands on, and what all checks showed at that moment. */
static int
keep_verdict(struct run *r, const struct judgement *j, struct err *err)
{
	return journal_add(r->journal, JOURNAL_VERDICT,
	                   json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:s,s:o}",
	                             "verdict", verdict_name(j->verdict),
	                             "check", auto_check(j), "value",
	                             (json_int_t)j->value, "threshold",
	                             (json_int_t)j->threshold, "sample",
	                             (json_int_t)j->size, "requests",
	                             (json_int_t)j->requests, "reason",
	                             j->reason, "checks", auto_checks(r)),
	                   err);
}

/* It is said and kept when it begins; nothing moves because of it. */
static void
say_error(struct run *r, enum verdict before)
{
	struct err err;

	if (before == VERDICT_ERROR)
		return;
	if (keep_verdict(r, &r->judged, &err) != 0)
		run_event(r, "disk", "%s", err.text);
	run_event(r, "verdict", "error: %s", r->judged.reason);
}

static void
judge(struct run *r, uint64_t now_ns)
{
	enum verdict before = r->judged.verdict;
	struct sample s;
	struct judgement j;
	struct err err;

	since(r, &s, now_ns);
	s.fault = fault_of(r, now_ns, &err);
	j = watch_look(&r->watch, &s, SIDE_NEW, now_ns / NS_PER_MS);
	r->judged = j;
	if (j.verdict == VERDICT_ERROR)
		say_error(r, before);
	if (j.verdict == VERDICT_INCONCLUSIVE || j.verdict == VERDICT_ERROR)
		return;
	if (j.verdict == VERDICT_PASS && run_authority(r) == SIDE_OLD &&
	    !may_promote(r)) {
		/* It is watched on; what is long past does not count. */
		if (now_ns / NS_PER_MS >= r->watch.since_ms + WATCHED_MS)
			begin_step(r, now_ns);
		return;
	}
	if (keep_verdict(r, &j, &err) != 0) {
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

	/* A pass is said of its own step only. */
	if (r->judged.verdict == VERDICT_PASS && r->watch_step != step)
		r->judged =
			(struct judgement){ .verdict = VERDICT_INCONCLUSIVE };
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
		r->judged =
			(struct judgement){ .verdict = VERDICT_INCONCLUSIVE };
		if (r->move == MOVE_IN_STEP && may_promote(r) &&
		    !r->toggled_back)
			verbs_push(r, OP_PROMOTE);
		return;
	}
	begin_step(r, now_ns);
}
