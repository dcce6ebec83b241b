/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/kinds.c: one strategy object.
 */
#include <stdio.h>

#include "control/spec/inside.h"

/* What each kind knows beside type, description and write_mode. */
static const char *const kind_fields[STRATEGY_N] = {
	[STRATEGY_BIG_BANG] = "durability",
	[STRATEGY_CANARY] = "read_percentage steps sticky assign_by",
	[STRATEGY_BLUE_GREEN] = "active_is_new",
	[STRATEGY_ROLLING_UPDATE] =
		"migrated_instances total_instances instances",
	[STRATEGY_SHADOW_TRAFFIC] = "sample_percentage max_in_flight "
				    "max_bytes timeout_ms max_samples",
	[STRATEGY_STRANGLER_FIG] = "features match writes sticky assign_by",
	[STRATEGY_FEATURE_FLAG] = "flags rollout_percentage steps segments "
				  "sticky assign_by",
	[STRATEGY_GEOGRAPHIC] = "regions locate match sticky assign_by",
	[STRATEGY_TIME_WINDOW] = "window_start window_end cron duration "
				 "duration_s zone executed overrun strategy",
};

void
kinds_init(struct spec *s, enum strategy_kind kind)
{
	s->term_n = 0;
	s->net_n = 0;
	s->executed = false;
	s->instance_n = 0;
	memset(&s->strategy, 0, sizeof(s->strategy));
	s->strategy.kind = kind;
	s->strategy.inner = STRATEGY_BIG_BANG;
	s->strategy.window.from_ms = INT64_MIN;
	s->strategy.window.to_ms = INT64_MIN;
	memcpy(s->strategy.window.zone, "UTC", 4);
	s->sticky = STICKY_KEY;
	s->assign = kind == STRATEGY_FEATURE_FLAG ? ASSIGN_CLIENT : ASSIGN_KEY;
	s->locate = (struct spec_locate){ .by = LOCATE_LABEL,
		                          .label = "region",
		                          .mmdb_path = "country.iso_code" };
	s->shadow = (struct spec_shadow){ .sample_ppm = PPM_ALL,
		                          .inflight_max = 64,
		                          .bytes_max = 32u << 20,
		                          .timeout_ms = 5000,
		                          .samples = 20 };
	s->write =
		(struct spec_write){ .mode = WRITE_CUTOVER,
		                     .ack = ACK_BOTH,
		                     .ack_timeout_ms = LIMIT_ACK_TIMEOUT_MS };
}

/* ---- steps ------------------------------------------------------------- */

/* Reads, or writes, and neither falls. */
static bool
rises(const struct strategy *s, uint32_t ppm, uint32_t writes)
{
	uint32_t i = s->step_n;
	uint32_t was = i > 0 ? s->step_ppm[i - 1] : 0;
	uint32_t wrote = i > 0 ? s->step_write_ppm[i - 1] : 0;

	return ppm >= was && writes >= wrote && (ppm > was || writes > wrote);
}

static void
read_step(struct fields *f, const json_t *step, struct strategy *s)
{
	static uint32_t week_s[2] = { 0, 604800 };
	static uint32_t any[2] = { 0, 1000000000 };
	uint32_t i = s->step_n;
	uint32_t ppm = i > 0 ? s->step_ppm[i - 1] : s->start_ppm;
	uint32_t writes = i > 0 ? s->step_write_ppm[i - 1] : 0;

	if (i == STRATEGY_STEPS_MAX) {
		fields_fault(f, ERR_USAGE, NULL, "at most %d steps",
		             STRATEGY_STEPS_MAX);
		return;
	}
	if (json_is_number(step)) {
		int64_t v = field_ppm(step);

		if (v < 0)
			fields_fault(f, ERR_USAGE, NULL,
			             "shares from 0.0 to 1.0 are wanted (5 %% "
			             "is 0.05)");
		ppm = v < 0 ? 0 : (uint32_t)v;
	} else if (fields_only(f, step,
	                       s->kind == STRATEGY_CANARY ||
	                                       s->inner == STRATEGY_CANARY
	                               ? "read_percentage write_percentage "
	                                 "min_duration_s min_requests"
	                               : "read_percentage min_duration_s "
	                                 "min_requests")) {
		if (!fields_has(step, "write_percentage"))
			ppm = 0;
		fields_share(f, step, "read_percentage", &ppm);
		fields_share(f, step, "write_percentage", &writes);
		fields_u32(f, step, "min_duration_s", week_s,
		           &s->step_seconds[i]);
		fields_u32(f, step, "min_requests", any, &s->step_requests[i]);
	}
	if (!rises(s, ppm, writes))
		fields_fault(f, ERR_USAGE, NULL,
		             "the shares of steps rise from above 0.0 to 1.0");
	s->step_ppm[i] = ppm;
	s->step_write_ppm[i] = writes;
	s->step_n++;
}

static void
read_steps(struct fields *f, const json_t *object, struct strategy *s)
{
	json_t *list = fields_get(object, "steps");
	size_t mark = fields_enter(f, "steps");
	char place[24];
	json_t *step;
	size_t i;

	if (fields_has(object, "steps")) {
		s->step_n = 0;
		memset(s->step_ppm, 0, sizeof(s->step_ppm));
		memset(s->step_write_ppm, 0, sizeof(s->step_write_ppm));
		memset(s->step_seconds, 0, sizeof(s->step_seconds));
		memset(s->step_requests, 0, sizeof(s->step_requests));
	}
	if (list != NULL && !json_is_array(list))
		fields_fault(f, ERR_USAGE, NULL,
		             "a list of {\"read_percentage\":..} is wanted");
	json_array_foreach(list, i, step)
	{
		size_t inner;

		(void)snprintf(place, sizeof(place), "%zu", i);
		inner = fields_enter(f, place);
		read_step(f, step, s);
		fields_leave(f, inner);
		if (f->rc != 0)
			break;
	}
	fields_leave(f, mark);
}

/* ---- the kinds --------------------------------------------------------- */

static void
read_assignment(struct fields *f, const json_t *o, struct spec *s)
{
	uint32_t sticky = s->sticky;
	uint32_t assign = s->assign;

	fields_word(f, o, "sticky", "key session none", &sticky);
	fields_word(f, o, "assign_by", "key session user client_name address",
	            &assign);
	s->sticky = (enum sticky)sticky;
	s->assign = (enum assign)assign;
}

static void
read_shadow(struct fields *f, const json_t *o, struct spec_shadow *x)
{
	static uint32_t inflight[2] = { 1, 4096 };
	static uint32_t bytes[2] = { 65536, 1u << 30 };
	static uint32_t ms[2] = { 10, 60000 };
	static uint32_t samples[2] = { 0, 100 };

	fields_share(f, o, "sample_percentage", &x->sample_ppm);
	fields_u32(f, o, "max_in_flight", inflight, &x->inflight_max);
	fields_u32(f, o, "max_bytes", bytes, &x->bytes_max);
	fields_u32(f, o, "timeout_ms", ms, &x->timeout_ms);
	fields_u32(f, o, "max_samples", samples, &x->samples);
}

/* Reads above the writes wait until the writes move no more in parts. */
void
kinds_warn_reads(struct fields *f, const struct spec *s)
{
	const struct strategy *y = &s->strategy;
	bool above =
		y->start_write_ppm > 0 && y->start_ppm > y->start_write_ppm;

	for (uint32_t i = 0; i < y->step_n; i++)
		above |= y->step_write_ppm[i] > 0 &&
		         y->step_ppm[i] > y->step_write_ppm[i];
	if (above)
		fields_warn(f, "read_percentage above write_percentage has no "
		               "effect while a part of the writes is new's: "
		               "reads follow the side of their key");
}

/* Authority goes by key, or by table: what is recognised otherwise keeps its writes on
 * old. */
static void
check_writes(struct fields *f, const struct spec *s)
{
	const struct strategy *y = &s->strategy;

	for (uint32_t i = 0; y->unit_writes && i < s->term_n; i++) {
		const struct rules_term *t = &s->term[i];

		if ((FACT_BIT(t->fact) & FACTS_RELATION) != 0)
			continue;
		if (t->fact != FACT_KEY)
			fields_fault(
				f, ERR_UNABLE, "writes",
				"feature %s is recognised by %s: writes "
				"move by key_prefixes, or schemas and "
				"tables, alone, for it is a key or a table "
				"that has one side with authority; "
				"without writes its reads move",
				y->unit[t->rule],
				fact_name((enum fact)t->fact));
		for (uint32_t k = 0; k < s->term_n; k++) {
			const struct rules_term *o = &s->term[k];

			if (o->rule != t->rule && o->fact == FACT_KEY &&
			    strncmp(o->word, t->word, strlen(t->word)) == 0)
				fields_fault(f, ERR_UNABLE, "writes",
				             "features %s and %s share keys "
				             "(%s, %s): writes of a key go to "
				             "one side",
				             y->unit[t->rule], y->unit[o->rule],
				             t->word, o->word);
		}
	}
	if (y->unit_writes && s->write.mode == WRITE_DUAL)
		fields_fault(f, ERR_UNABLE, "writes",
		             "writes move by feature with write_mode cutover, "
		             "not with dual_write");
}

/* Units that nothing recognises move nothing: say so. */
static void
warn_blind(struct fields *f, const struct spec *s, const char *how)
{
	for (uint32_t i = 0; i < s->strategy.unit_n; i++) {
		bool seen = false;

		for (uint32_t k = 0; k < s->term_n; k++)
			seen |= s->term[k].rule == i;
		if (!seen)
			fields_warn(f,
			            "%s has no %s: no request is recognised as "
			            "it, so it moves with the cutover only",
			            s->strategy.unit[i], how);
	}
}

static void
read_geographic(struct fields *f, const json_t *o, struct spec *s)
{
	units_read_map(f, o, "regions", &s->strategy);
	units_read_locate(f, o, s);
	units_read_match(f, o, "match", s);
	if (s->locate.by == 0)
		fields_fault(f, ERR_USAGE, "locate",
		             "one of cidr, proxy_v2, label, header is wanted");
	if (s->locate.by == LOCATE_HEADER)
		fields_warn(f, "locate.header is for HTTP; clients of other "
		               "protocols are in no region");
}

static void
read_base(struct fields *f, const json_t *o, struct spec *s)
{
	struct strategy *y = &s->strategy;
	bool durable = true;

	y->stays.reads = y->stays.reads && !fields_has(o, "read_percentage") &&
	                 !fields_has(o, "rollout_percentage");
	y->stays.writes = y->stays.writes && !fields_has(o, "write_mode");
	y->stays.side = y->stays.side && !fields_has(o, "active_is_new");

	switch (strategy_base(y)) {
	case STRATEGY_BIG_BANG:
		fields_bool(f, o, "durability", &durable);
		if (fields_has(o, "durability"))
			fields_warn(f, "durability is always on: every "
			               "decision is on disk before it takes "
			               "effect");
		break;
	case STRATEGY_CANARY:
		fields_share(f, o, "read_percentage", &y->start_ppm);
		read_steps(f, o, y);
		break;
	case STRATEGY_BLUE_GREEN:
		fields_bool(f, o, "active_is_new", &y->start_new);
		break;
	case STRATEGY_ROLLING_UPDATE: units_read_instances(f, o, s); break;
	case STRATEGY_SHADOW_TRAFFIC: read_shadow(f, o, &s->shadow); break;
	case STRATEGY_STRANGLER_FIG:
		units_read_map(f, o, "features", y);
		units_read_match(f, o, "match", s);
		fields_bool(f, o, "writes", &y->unit_writes);
		warn_blind(f, s, "match");
		break;
	case STRATEGY_FEATURE_FLAG:
		units_read_map(f, o, "flags", y);
		fields_share(f, o, "rollout_percentage", &y->start_ppm);
		read_steps(f, o, y);
		units_read_match(f, o, "segments", s);
		break;
	case STRATEGY_GEOGRAPHIC: read_geographic(f, o, s); break;
	case STRATEGY_TIME_WINDOW:
	case STRATEGY_N: break;
	}
	read_assignment(f, o, s);
	rest_read_write(f, o, s);
	if (strategy_base(y) == STRATEGY_CANARY && s->write.write_ppm < PPM_ALL)
		y->start_write_ppm = s->write.write_ppm;
	kinds_warn_reads(f, s);
	check_writes(f, s);
}

/* ---- the object -------------------------------------------------------- */

static void
only_known(struct fields *f, const json_t *o, enum strategy_kind kind)
{
	char names[256];

	(void)snprintf(names, sizeof(names), "type %s%s",
	               kind == STRATEGY_SHADOW_TRAFFIC ||
	                               kind == STRATEGY_TIME_WINDOW
	                       ? ""
	                       : "write_mode ",
	               kind_fields[kind]);
	(void)fields_only(f, o, names);
}

/* The kind that the value names, or what it was: an object without a type. */
static bool
kind_of(struct fields *f, const json_t *in, enum strategy_kind was,
        enum strategy_kind *ret, const json_t **body)
{
	char tag[FIELD_WORD_MAX];
	struct err why;

	bool tagged = field_tagged(in, tag, body);

	*ret = was;
	if (tagged && strategy_find(tag, ret, &why) == 0)
		return true;
	if (f->is_patch && json_is_object(in) && !fields_has(in, "type")) {
		*body = in;
		return true;
	}
	fields_fault(f, ERR_USAGE, json_is_object(in) ? "type" : NULL, "%s",
	             tagged ? why.text
	                    : "a strategy is wanted, as "
	                      "{\"type\":\"canary\"}");
	return false;
}

static void
read_inner(struct fields *f, const json_t *object, struct spec *s,
           bool is_running)
{
	json_t *in = fields_get(object, "strategy");
	size_t mark = fields_enter(f, "strategy");
	enum strategy_kind kind = s->strategy.inner;
	const json_t *body = NULL;

	if (in != NULL && kind_of(f, in, kind, &kind, &body)) {
		if (kind == STRATEGY_TIME_WINDOW ||
		    kind == STRATEGY_SHADOW_TRAFFIC)
			fields_fault(f, ERR_USAGE, "type",
			             "a time_window wraps a strategy that "
			             "promotes");
		else if (kind != s->strategy.inner && is_running)
			fields_fault(f, ERR_STATE, "type",
			             "the type of a strategy can be changed "
			             "before it runs or after a rollback");
		if (kind != s->strategy.inner) {
			struct window w = s->strategy.window;

			kinds_init(s, kind);
			s->strategy.kind = STRATEGY_TIME_WINDOW;
			s->strategy.window = w;
		}
		s->strategy.inner = kind;
		if (body != NULL && f->rc == 0) {
			only_known(f, body, kind);
			read_base(f, body, s);
		}
	}
	fields_leave(f, mark);
}

void
kinds_read(struct fields *f, const json_t *strategy, struct spec *s,
           bool is_running)
{
	enum strategy_kind kind = s->strategy.kind;
	const json_t *body = NULL;
	struct err why;

	if (!kind_of(f, strategy, kind, &kind, &body))
		return;
	if (kind != s->strategy.kind) {
		if (is_running) {
			fields_fault(f, ERR_STATE, "type",
			             "the strategy is %s and runs; its type "
			             "can be changed before it runs or after a "
			             "rollback",
			             strategy_name(s->strategy.kind));
			return;
		}
		kinds_init(s, kind);
	}
	if (body == NULL)
		body = kind == STRATEGY_TIME_WINDOW ? strategy : NULL;
	if (body != NULL)
		only_known(f, body, kind);
	if (body != NULL && f->rc == 0) {
		if (kind == STRATEGY_TIME_WINDOW) {
			read_inner(f, body, s, is_running);
			when_read(f, body, s);
		} else {
			read_base(f, body, s);
		}
	}
	if (f->rc == 0 && strategy_check(&s->strategy, &why) != 0)
		fields_fault(f, ERR_USAGE, NULL, "%s", why.text);
}
