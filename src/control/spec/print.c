/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/print.c: a spec as canonical JSON.
 */
#include "control/spec/inside.h"

static void
put(json_t *o, const char *name, json_t *value)
{
	(void)json_object_set_new(o, name, value);
}

static json_t *
fraction(uint32_t ppm)
{
	return json_real((double)ppm / PPM_ALL);
}

static json_t *
steps(const struct strategy *s)
{
	json_t *ret = json_array();

	for (uint32_t i = 0; i < s->step_n; i++) {
		json_t *step = json_object();

		put(step, "read_percentage", fraction(s->step_ppm[i]));
		if (s->step_write_ppm[i] > 0)
			put(step, "write_percentage",
			    fraction(s->step_write_ppm[i]));
		if (s->step_seconds[i] > 0)
			put(step, "min_duration_s",
			    json_integer(s->step_seconds[i]));
		if (s->step_requests[i] > 0)
			put(step, "min_requests",
			    json_integer(s->step_requests[i]));
		(void)json_array_append_new(ret, step);
	}
	return ret;
}

static void
put_assignment(json_t *o, const struct spec *s)
{
	put(o, "sticky", json_string(sticky_name(s->sticky)));
	put(o, "assign_by", json_string(assign_name(s->assign)));
}

static void
put_shadow(json_t *o, const struct spec_shadow *x)
{
	put(o, "sample_percentage", fraction(x->sample_ppm));
	put(o, "max_in_flight", json_integer(x->inflight_max));
	put(o, "max_bytes", json_integer(x->bytes_max));
	put(o, "timeout_ms", json_integer(x->timeout_ms));
	put(o, "max_samples", json_integer(x->samples));
}

static void
put_rolling(json_t *o, const struct spec *s)
{
	const struct strategy *y = &s->strategy;

	put(o, "instances", units_print_instances(y, ~(uint64_t)0));
	put(o, "migrated_instances", units_print_instances(y, y->unit_on));
	if (s->instance_n > 0)
		put(o, "total_instances", json_integer(s->instance_n));
}

static json_t *
base(const struct spec *s)
{
	const struct strategy *y = &s->strategy;
	enum strategy_kind kind = strategy_base(y);
	json_t *o = json_object();

	put(o, "type", json_string(strategy_name(kind)));
	switch (kind) {
	case STRATEGY_CANARY:
		put(o, "read_percentage", fraction(y->start_ppm));
		put(o, "steps", steps(y));
		put_assignment(o, s);
		break;
	case STRATEGY_BLUE_GREEN:
		put(o, "active_is_new", json_boolean(y->start_new));
		break;
	case STRATEGY_ROLLING_UPDATE: put_rolling(o, s); break;
	case STRATEGY_SHADOW_TRAFFIC: put_shadow(o, &s->shadow); return o;
	case STRATEGY_STRANGLER_FIG:
		put(o, "features", units_print_map(y));
		put(o, "match", units_print_match(s));
		put(o, "writes", json_boolean(y->unit_writes));
		put_assignment(o, s);
		break;
	case STRATEGY_FEATURE_FLAG:
		put(o, "flags", units_print_map(y));
		put(o, "rollout_percentage", fraction(y->start_ppm));
		put(o, "steps", steps(y));
		put(o, "segments", units_print_match(s));
		put_assignment(o, s);
		break;
	case STRATEGY_GEOGRAPHIC:
		put(o, "regions", units_print_map(y));
		put(o, "locate", units_print_locate(s));
		put(o, "match", units_print_match(s));
		put_assignment(o, s);
		break;
	case STRATEGY_BIG_BANG:
	case STRATEGY_TIME_WINDOW:
	case STRATEGY_N: break;
	}
	put(o, "write_mode", rest_print_write(&s->write));
	return o;
}

json_t *
spec_print_strategy(const struct spec *s)
{
	json_t *o;

	if (s->strategy.kind != STRATEGY_TIME_WINDOW)
		return base(s);
	o = json_object();
	put(o, "type", json_string("time_window"));
	when_print(s, o);
	put(o, "strategy", base(s));
	return o;
}

json_t *
spec_print(const struct spec *s)
{
	json_t *o = json_object();

	put(o, "strategy", spec_print_strategy(s));
	put(o, "data", rest_print_data(&s->data));
	put(o, "failure_handling", rest_print_failure(&s->failure));
	put(o, "analysis", rest_print_analysis(&s->analysis));
	return o;
}
