/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/rest.c: write_mode, data, failure_handling, analysis.
 */
#include "control/spec/inside.h"

/* ---- write_mode -------------------------------------------------------- */

/* Four that Godwit does, two that it maps. */
#define POLICIES                                             \
	"old_authoritative new_authoritative both_required " \
	"best_effort last_write_wins two_phase_commit"

static const char *const policy_names[POLICY_N] = {
	"old_authoritative", "new_authoritative", "both_required", "best_effort"
};

static void
map_policy(struct fields *f, uint32_t asked, struct spec_write *w)
{
	if (asked < POLICY_N) {
		w->policy = (enum spec_policy)asked;
	} else if (asked == POLICY_N) {
		w->policy = POLICY_OLD_AUTHORITATIVE;
		fields_warn(f, "last_write_wins is done as old_authoritative: "
		               "one side orders all writes, the other follows "
		               "it, so there is no conflict to win");
	} else {
		w->policy = POLICY_BOTH_REQUIRED;
		fields_warn(f,
		            "two_phase_commit is done as both_required: a "
		            "write is answered when the other side has applied "
		            "it, and refused before it is executed while the "
		            "other side is behind");
	}
}

static void
read_dual(struct fields *f, const json_t *o, struct spec_write *w)
{
	static uint32_t timeout[2] = { 10, 600000 };
	uint32_t asked = w->policy;
	uint32_t ack = w->ack;

	(void)fields_only(f, o, "mode policy ack ack_timeout_ms");
	fields_word(f, o, "policy", POLICIES, &asked);
	map_policy(f, asked, w);
	if (w->policy == POLICY_BEST_EFFORT)
		ack = ACK_AUTHORITY;
	else if (fields_get(o, "policy") != NULL)
		ack = ACK_BOTH;
	fields_word(f, o, "ack", "authority both", &ack);
	if (w->policy == POLICY_BOTH_REQUIRED && ack != ACK_BOTH)
		fields_fault(f, ERR_USAGE, "ack",
		             "both_required goes with ack both only");
	if (w->policy == POLICY_BEST_EFFORT && ack != ACK_AUTHORITY)
		fields_fault(f, ERR_USAGE, "ack",
		             "best_effort goes with ack authority only");
	w->ack = (enum ack_mode)ack;
	fields_u32(f, o, "ack_timeout_ms", timeout, &w->ack_timeout_ms);
}

static void
read_cutover(struct fields *f, const json_t *o, struct spec_write *w,
             bool may_split)
{
	static uint32_t timeout[2] = { 10, 600000 };
	uint32_t ack = w->ack;

	(void)fields_only(f, o, "mode write_percentage ack ack_timeout_ms");
	fields_share(f, o, "write_percentage", &w->write_ppm);
	if (w->write_ppm != 0 && w->write_ppm != PPM_ALL && !may_split)
		fields_fault(
			f, ERR_UNABLE, "write_percentage",
			"a part of the writes moves with canary (by hash "
			"slot) or with strangler_fig and \"writes\": true; "
			"here 0.0, or 1.0 to move all in one switch");
	fields_word(f, o, "ack", "authority both", &ack);
	w->ack = (enum ack_mode)ack;
	fields_u32(f, o, "ack_timeout_ms", timeout, &w->ack_timeout_ms);
}

void
rest_read_write(struct fields *f, const json_t *strategy, struct spec *s)
{
	json_t *o = fields_get(strategy, "write_mode");
	struct spec_write *w = &s->write;
	uint32_t mode = w->mode;
	size_t mark;

	if (o == NULL)
		return;
	mark = fields_enter(f, "write_mode");
	if (!json_is_object(o)) {
		fields_fault(f, ERR_USAGE, NULL,
		             "an object is wanted, as {\"mode\":\"dual_write\","
		             "\"policy\":\"old_authoritative\"}");
		return;
	}
	fields_word(f, o, "mode", "cutover dual_write", &mode);
	if (mode != w->mode)
		*w = (struct spec_write){ .mode = (enum write_mode)mode,
			                  .ack = ACK_BOTH,
			                  .ack_timeout_ms =
			                          LIMIT_ACK_TIMEOUT_MS };
	if (w->mode == WRITE_DUAL)
		read_dual(f, o, w);
	else
		read_cutover(f, o, w,
		             strategy_base(&s->strategy) == STRATEGY_CANARY);
	fields_leave(f, mark);
}

static double
fraction(uint32_t ppm)
{
	return (double)ppm / PPM_ALL;
}

json_t *
rest_print_write(const struct spec_write *w)
{
	const char *ack = w->ack == ACK_BOTH ? "both" : "authority";

	if (w->mode == WRITE_CUTOVER)
		return json_pack("{s:s,s:f,s:s,s:i}", "mode", "cutover",
		                 "write_percentage", fraction(w->write_ppm),
		                 "ack", ack, "ack_timeout_ms",
		                 (int)w->ack_timeout_ms);
	return json_pack("{s:s,s:s,s:s,s:i}", "mode", "dual_write", "policy",
	                 policy_names[w->policy], "ack", ack, "ack_timeout_ms",
	                 (int)w->ack_timeout_ms);
}

/* ---- data -------------------------------------------------------------- */

#define RULES "none replace merge"
#define PACES "auto fast gentle"

static const char *const data_names[] = {
	[DATA_NONE] = "none", [DATA_SNAPSHOT] = "snapshot", [DATA_SCAN] = "scan"
};
static const char *const rule_names[] = { [CONFLICT_NONE] = "none",
	                                  [CONFLICT_REPLACE] = "replace",
	                                  [CONFLICT_MERGE] = "merge" };

static const char *const pace_names[] = {
	[COPY_PACE_FAST] = "fast", [COPY_PACE_GENTLE] = "gentle"
};

void
rest_read_data(struct fields *f, const json_t *in, struct spec_data *d)
{
	char tag[FIELD_WORD_MAX];
	const json_t *body;
	uint32_t rule;
	uint32_t pace;
	int kind = -1;

	if (in == NULL)
		return;
	if (field_tagged(in, tag, &body))
		kind = field_find("none snapshot scan", tag);
	if (kind < 0) {
		fields_fault(f, ERR_USAGE, json_is_object(in) ? "type" : NULL,
		             "none, snapshot or scan is wanted");
		return;
	}
	if ((enum spec_move)kind != d->move)
		*d = (struct spec_data){ .move = (enum spec_move)kind,
			                 .replace = CONFLICT_REPLACE };
	if (body == NULL)
		return;
	rule = d->replace;
	(void)fields_only(f, body,
	                  kind == DATA_NONE ? "type empty_ok"
	                                    : "type replace newer pace");
	fields_word(f, body, "replace", RULES, &rule);
	if (fields_has(body, "replace") && fields_get(body, "replace") == NULL)
		rule = CONFLICT_NONE;
	d->replace = (enum conflict_rule)rule;
	d->replace_said = d->replace_said || fields_has(body, "replace");
	fields_text(f, body, "newer", d->newer, sizeof(d->newer));
	if (d->newer[0] != '\0' && rule != CONFLICT_MERGE)
		fields_fault(f, ERR_USAGE, "newer",
		             "newer goes with \"replace\": \"merge\" only");
	pace = d->pace;
	fields_word(f, body, "pace", PACES, &pace);
	d->pace = (enum copy_pace)pace;
	fields_bool(f, body, "empty_ok", &d->empty_ok);
	if (d->move == DATA_NONE && d->empty_ok)
		fields_warn(f,
		            "data none with empty_ok: what was written before "
		            "the start is not on new; a read that new "
		            "answers may miss it, and a command that builds "
		            "on it begins from nothing after the cutover");
}

json_t *
rest_print_data(const struct spec_data *d)
{
	if (d->move == DATA_NONE && d->empty_ok)
		return json_pack("{s:s,s:b}", "type", "none", "empty_ok", 1);
	if (d->move == DATA_NONE)
		return json_string("none");
	return json_pack(
		"{s:s,s:s*,s:s*,s:s*}", "type", data_names[d->move], "replace",
		d->replace_said ? rule_names[d->replace] : NULL, "newer",
		d->newer[0] != '\0' ? d->newer : NULL, "pace",
		d->pace == COPY_PACE_AUTO ? NULL : pace_names[d->pace]);
}

/* ---- failure_handling -------------------------------------------------- */

void
rest_read_failure(struct fields *f, const json_t *in, struct spec_failure *x)
{
	static uint32_t range[2] = { 1, 100 };
	char tag[FIELD_WORD_MAX];
	const json_t *body;
	int kind = -1;

	if (in == NULL)
		return;
	if (field_tagged(in, tag, &body))
		kind = field_find("rollback_all retry_then_all allow_partial",
		                  tag);
	if (kind < 0) {
		fields_fault(f, ERR_USAGE, json_is_object(in) ? "type" : NULL,
		             "rollback_all, retry_then_all or allow_partial is "
		             "wanted");
		return;
	}
	if ((enum spec_failure_kind)kind != x->kind)
		*x = (struct spec_failure){
			.kind = (enum spec_failure_kind)kind,
			.retry_count = 3,
		};
	if (body == NULL)
		return;
	(void)fields_only(f, body,
	                  kind == FAILURE_RETRY_THEN_ALL ? "type retry_count"
	                                                 : "type");
	fields_u32(f, body, "retry_count", range, &x->retry_count);
}

json_t *
rest_print_failure(const struct spec_failure *x)
{
	switch (x->kind) {
	case FAILURE_ROLLBACK_ALL: return json_string("rollback_all");
	case FAILURE_ALLOW_PARTIAL: return json_string("allow_partial");
	case FAILURE_RETRY_THEN_ALL: break;
	}
	return json_pack("{s:s,s:i}", "type", "retry_then_all", "retry_count",
	                 (int)x->retry_count);
}

/* ---- analysis ---------------------------------------------------------- */

void
rest_init_analysis(struct spec_analysis *a)
{
	*a = (struct spec_analysis){
		.step_seconds = LIMIT_STEP_SECONDS,
		.min_requests = LIMIT_STEP_REQUESTS,
		.failed_looks = LIMIT_WATCH_K,
		.looks = LIMIT_WATCH_N,
		.error_ppm_max = LIMIT_WATCH_ERROR_PPM,
		.latency_factor = LIMIT_WATCH_LATENCY,
		.latency_ms_min = LIMIT_WATCH_LATENCY_US / 1000,
		.lag_ms_max = LIMIT_LAG_MS,
	};
}

void
rest_read_analysis(struct fields *f, const json_t *in, struct spec_analysis *a)
{
	static uint32_t week_s[2] = { 0, 604800 };
	static uint32_t any[2] = { 0, 1000000000 };
	static uint32_t looks[2] = { 1, 32 };
	static uint32_t factor[2] = { 1, 1000 };
	static uint32_t ms[2] = { 0, 600000 };

	if (in == NULL ||
	    !fields_only(f, in,
	                 "auto_promote auto_rollback min_duration_s "
	                 "min_requests failed_looks looks max_error_rate "
	                 "latency_factor latency_floor_ms max_lag_ms"))
		return;
	fields_bool(f, in, "auto_promote", &a->auto_promote);
	fields_bool(f, in, "auto_rollback", &a->auto_rollback);
	fields_u32(f, in, "min_duration_s", week_s, &a->step_seconds);
	fields_u32(f, in, "min_requests", any, &a->min_requests);
	fields_u32(f, in, "looks", looks, &a->looks);
	fields_u32(f, in, "failed_looks", looks, &a->failed_looks);
	if (a->failed_looks > a->looks)
		fields_fault(f, ERR_USAGE, "failed_looks",
		             "at most the number of looks (%u)", a->looks);
	fields_share(f, in, "max_error_rate", &a->error_ppm_max);
	fields_u32(f, in, "latency_factor", factor, &a->latency_factor);
	fields_u32(f, in, "latency_floor_ms", ms, &a->latency_ms_min);
	fields_u32(f, in, "max_lag_ms", ms, &a->lag_ms_max);
}

json_t *
rest_print_analysis(const struct spec_analysis *a)
{
	return json_pack(
		"{s:b,s:b,s:i,s:i,s:i,s:i,s:f,s:i,s:i,s:i}", "auto_promote",
		a->auto_promote, "auto_rollback", a->auto_rollback,
		"min_duration_s", (int)a->step_seconds, "min_requests",
		(int)a->min_requests, "failed_looks", (int)a->failed_looks,
		"looks", (int)a->looks, "max_error_rate",
		fraction(a->error_ppm_max), "latency_factor",
		(int)a->latency_factor, "latency_floor_ms",
		(int)a->latency_ms_min, "max_lag_ms", (int)a->lag_ms_max);
}
