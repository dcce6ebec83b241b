/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow/migration.c: what a migration may do next, from what is known now.
 */
#include "flow/migration.h"

#include "base/buf.h"
#include "base/check.h"

enum life_phase
migration_phase(enum move_phase move, enum side authority, bool is_holding)
{
	if (is_holding)
		return PHASE_HOLDING;
	if (authority == SIDE_NEW)
		return PHASE_SOAKING;
	switch (move) {
	case MOVE_IDLE:
	case MOVE_ATTACHING:
	case MOVE_COPYING: return PHASE_COPYING;
	case MOVE_CATCHING_UP:
	case MOVE_BROKEN: return PHASE_CATCHING_UP;
	case MOVE_IN_STEP: return PHASE_SHIFTING;
	}
	NEVER("a phase of the mover that is none");
}

static const char *const gate_names[GATE_N] = {
	[GATE_OPEN] = "open",           [GATE_DISK] = "disk",
	[GATE_SIDE_DOWN] = "side_down", [GATE_COPYING] = "copying",
	[GATE_BROKEN] = "broken",       [GATE_BEHIND] = "behind",
	[GATE_REVERSE] = "reverse",     [GATE_DIFFERENT] = "different",
	[GATE_RELAYS] = "relays",       [GATE_FENCE] = "fence",
	[GATE_SUSPECT] = "suspect",
};

const char *
migration_gate_name(enum gate g)
{
	REQUIRE((unsigned)g < GATE_N);
	return gate_names[g];
}

/* Sentences are made by err_set(), the one formatter of the pure half. */
static void
copy_text(const struct err *e, char *ret, size_t n)
{
	size_t len = strlen(e->text);

	if (len > n - 1)
		len = n - 1;
	memcpy(ret, e->text, len);
	ret[len] = '\0';
}

#define ULL(v) ((unsigned long long)(v))

static enum gate
gate_stream(const struct gates *g, struct err *e)
{
	if (g->suspect) {
		(void)err_set(e, ERR_STATE,
		              "records are suspect: changes may have been "
		              "missed, everything is compared again");
		return GATE_SUSPECT;
	}
	switch (g->move) {
	case MOVE_IDLE:
	case MOVE_ATTACHING:
	case MOVE_COPYING:
		(void)err_set(e, ERR_STATE, "the copy is not complete");
		return GATE_COPYING;
	case MOVE_CATCHING_UP:
		(void)err_set(e, ERR_STATE,
		              "the stream is catching up (%llu records "
		              "pending)",
		              ULL(g->pending));
		return GATE_BEHIND;
	case MOVE_BROKEN:
		(void)err_set(e, ERR_STATE, "the stream is interrupted");
		return GATE_BROKEN;
	case MOVE_IN_STEP: return GATE_OPEN;
	}
	NEVER("a phase of the mover that is none");
}

static enum gate
gate_share(const struct gates *g, struct err *e)
{
	enum gate stream;

	if (g->record_owed) {
		(void)err_set(e, ERR_STATE,
		              "the last decision is not on disk yet");
		return GATE_DISK;
	}
	if (!g->sides_up[SIDE_OLD] || !g->sides_up[SIDE_NEW]) {
		(void)err_set(e, ERR_STATE, "%s does not answer",
		              g->sides_up[SIDE_OLD] ? "new" : "old");
		return GATE_SIDE_DOWN;
	}
	stream = gate_stream(g, e);
	if (stream != GATE_OPEN)
		return stream;
	if (g->verified_different) {
		(void)err_set(e, ERR_STATE,
		              "the last verification found differences; run "
		              "verify again");
		return GATE_DIFFERENT;
	}
	if (g->owed) {
		(void)err_set(e, ERR_STATE,
		              "a change was not carried to the other side "
		              "(`godwit status` names it); make it there, then "
		              "verify");
		return GATE_DIFFERENT;
	}
	return GATE_OPEN;
}

/* In a split new's keys come back by a stream of their own. */
static enum gate
gate_back(const struct gates *g, struct err *e)
{
	if (!g->is_split)
		return GATE_OPEN;
	if (g->back == MOVE_BROKEN) {
		(void)err_set(e, ERR_STATE,
		              "the stream from new to old is interrupted");
		return GATE_BROKEN;
	}
	if (g->back != MOVE_IN_STEP || g->back_lag_ms > g->lag_ms_max) {
		(void)err_set(e, ERR_STATE,
		              "the stream from new to old is not in step "
		              "(%llu records pending, %llu ms late)",
		              ULL(g->back_pending), ULL(g->back_lag_ms));
		return GATE_BEHIND;
	}
	return GATE_OPEN;
}

static enum gate
gate_switch(const struct gates *g, struct err *e)
{
	enum gate first = gate_share(g, e);

	if (first == GATE_OPEN)
		first = gate_back(g, e);
	if (first != GATE_OPEN)
		return first;
	if (g->lag_ms > g->lag_ms_max) {
		(void)err_set(e, ERR_STATE,
		              "the stream is %llu ms late, at most %llu ms "
		              "are allowed",
		              ULL(g->lag_ms), ULL(g->lag_ms_max));
		return GATE_BEHIND;
	}
	if (!g->reverse_proven || g->reverse_age_ms > g->reverse_age_ms_max) {
		(void)err_set(e, ERR_STATE,
		              "the way back is not proven: no heartbeat came "
		              "from the other side in the last %llu ms",
		              ULL(g->reverse_age_ms_max));
		return GATE_REVERSE;
	}
	if (g->relays_current < g->relays) {
		(void)err_set(e, ERR_STATE,
		              "%u of %u relays run the newest route",
		              g->relays_current, g->relays);
		return GATE_RELAYS;
	}
	if (!g->fenced) {
		(void)err_set(e, ERR_STATE,
		              "the side without authority is not fenced");
		return GATE_FENCE;
	}
	return GATE_OPEN;
}

enum gate
migration_gate_share(const struct gates *g, char *why, size_t n)
{
	struct err e = { .code = ERR_NONE };
	enum gate ret = gate_share(g, &e);

	REQUIRE(n > 1);
	copy_text(&e, why, n);
	return ret;
}

enum gate
migration_gate_switch(const struct gates *g, char *why, size_t n)
{
	struct err e = { .code = ERR_NONE };
	enum gate ret = gate_switch(g, &e);

	REQUIRE(n > 1);
	copy_text(&e, why, n);
	return ret;
}

static const char *const check_names[WATCH_N] = {
	[WATCH_ERRORS] = "errors",         [WATCH_LOST] = "lost",
	[WATCH_LATENCY] = "latency",       [WATCH_LAG] = "lag",
	[WATCH_DIVERGENCE] = "divergence",
};

const char *
watch_check_name(enum watch_check c)
{
	REQUIRE((unsigned)c < WATCH_N);
	return check_names[c];
}

/* Of value and threshold; of the sample. */
static const char *const check_units[WATCH_N][2] = {
	[WATCH_ERRORS] = { "ppm", "requests" },
	[WATCH_LOST] = { "replies", "requests" },
	[WATCH_LATENCY] = { "us", "latencies" },
	[WATCH_LAG] = { "ms", "requests" },
	[WATCH_DIVERGENCE] = { "records", "requests" },
};

const char *
watch_check_unit(enum watch_check c)
{
	REQUIRE((unsigned)c < WATCH_N);
	return check_units[c][0];
}

const char *
verdict_name(enum verdict v)
{
	switch (v) {
	case VERDICT_INCONCLUSIVE: return "inconclusive";
	case VERDICT_PASS: return "pass";
	case VERDICT_FAIL: return "fail";
	case VERDICT_ERROR: return "error";
	}
	NEVER("a verdict that is none");
}

void
watch_begin(struct watch *w, const struct watch_limits *limits, uint64_t now_ms)
{
	REQUIRE(limits->n >= 1 && limits->n <= 32);
	REQUIRE(limits->k >= 1 && limits->k <= limits->n);
	*w = (struct watch){ .limits = *limits, .since_ms = now_ms };
}

/* Errors a million requests. */
static uint64_t
rate_ppm(uint64_t bad, uint64_t all)
{
	if (all == 0)
		return 0;
	if (bad >= all)
		return 1000000;
	return bad * 1000000 / all;
}

/* A rate and a p99 of little are chance. */
static void
measure_size(struct watch *w, const struct sample *s, enum side other)
{
	const struct watch_limits *l = &w->limits;
	enum side one = side_other(other);

	w->seen = s->requests[other];
	w->timed = s->timed[other];
	for (unsigned i = 0; i < WATCH_N; i++) {
		w->size[i] = i == WATCH_LATENCY ? w->timed : w->seen;
		w->few[i] = false;
	}
	w->few[WATCH_ERRORS] = w->seen < l->requests_min || w->seen < l->few ||
	                       s->requests[one] < l->few;
	w->few[WATCH_LATENCY] = w->seen < l->requests_min ||
	                        w->timed < l->few || s->timed[one] < l->few;
}

static void
measure(struct watch *w, const struct sample *s, enum side other)
{
	enum side one = side_other(other);
	uint64_t slow = s->p99_us[one] * w->limits.latency_factor;

	if (slow < w->limits.latency_us_min)
		slow = w->limits.latency_us_min;
	measure_size(w, s, other);
	w->value[WATCH_ERRORS] = rate_ppm(s->errors[other], s->requests[other]);
	w->threshold[WATCH_ERRORS] =
		rate_ppm(s->errors[one], s->requests[one]) +
		w->limits.error_ppm_max;
	w->value[WATCH_LOST] = s->lost[other];
	w->threshold[WATCH_LOST] = 0;
	w->value[WATCH_LATENCY] = s->p99_us[other];
	w->threshold[WATCH_LATENCY] = slow;
	w->value[WATCH_LAG] = s->lag_ms;
	w->threshold[WATCH_LAG] = w->limits.lag_ms_max;
	w->value[WATCH_DIVERGENCE] = s->different;
	w->threshold[WATCH_DIVERGENCE] = 0;
}

static uint32_t
count_bits(uint32_t v)
{
	return (uint32_t)__builtin_popcount(v);
}

/* One bit a look into each check's history. */
static void
remember(struct watch *w)
{
	uint32_t mask =
		w->limits.n == 32 ? UINT32_MAX : (1u << w->limits.n) - 1;

	w->looks++;
	for (unsigned i = 0; i < WATCH_N; i++) {
		uint32_t bad =
			w->value[i] > w->threshold[i] && !w->few[i] ? 1 : 0;

		w->history[i] = ((w->history[i] << 1) | bad) & mask;
	}
}

/* Has a check failed k times of n? */
static bool
has_failed(const struct watch *w, struct judgement *j, struct err *e)
{
	for (unsigned i = 0; i < WATCH_N; i++) {
		uint32_t bad = count_bits(w->history[i]);

		if (bad < w->limits.k)
			continue;
		j->verdict = VERDICT_FAIL;
		j->check = (enum watch_check)i;
		j->value = w->value[i];
		j->threshold = w->threshold[i];
		j->size = w->size[i];
		(void)err_set(e, ERR_STATE,
		              "%s: %llu %s, at most %llu, of %llu %s; failed "
		              "in %u of %u looks",
		              check_names[i], ULL(j->value), check_units[i][0],
		              ULL(j->threshold), ULL(j->size),
		              check_units[i][1], bad, w->limits.n);
		return true;
	}
	return false;
}

/* Too high, but of too little? Or the p99 of nothing? */
static bool
is_unsure(const struct watch *w, struct err *e)
{
	uint64_t wanted = w->limits.few < w->limits.requests_min
	                          ? w->limits.few
	                          : w->limits.requests_min;

	for (unsigned i = 0; i < WATCH_N; i++) {
		if (!w->few[i] || w->value[i] <= w->threshold[i])
			continue;
		(void)err_set(e, ERR_STATE,
		              "%s: %llu %s, at most %llu, but of %llu %s only, "
		              "or too few on the other side",
		              check_names[i], ULL(w->value[i]),
		              check_units[i][0], ULL(w->threshold[i]),
		              ULL(w->size[i]), check_units[i][1]);
		return true;
	}
	if (w->timed < wanted)
		(void)err_set(e, ERR_STATE, "%llu of %llu latencies",
		              ULL(w->timed), ULL(wanted));
	return w->timed < wanted;
}

/* Long enough, and enough of it? */
static bool
has_seen_enough(const struct watch *w, uint64_t now_ms, struct err *e)
{
	if (w->looks < w->limits.n) {
		(void)err_set(e, ERR_STATE, "%u of %u looks", w->looks,
		              w->limits.n);
		return false;
	}
	if (now_ms - w->since_ms < w->limits.step_ms) {
		(void)err_set(e, ERR_STATE, "%llu of %llu ms on this step",
		              ULL(now_ms - w->since_ms),
		              ULL(w->limits.step_ms));
		return false;
	}
	if (w->seen < w->limits.requests_min) {
		(void)err_set(e, ERR_STATE, "%llu of %llu requests",
		              ULL(w->seen), ULL(w->limits.requests_min));
		return false;
	}
	return !is_unsure(w, e);
}

/* A stream that stands still can prove nothing. */
static bool
is_followed(const struct sample *s, struct err *e)
{
	if (!s->in_step)
		(void)err_set(e, ERR_STATE, "the stream is not in step");
	return s->in_step;
}

struct judgement
watch_look(struct watch *w, const struct sample *s, enum side other,
           uint64_t now_ms)
{
	struct judgement j = { .verdict = VERDICT_INCONCLUSIVE };
	struct err e = { .code = ERR_NONE };

	if (s->fault != NULL) {
		j.verdict = VERDICT_ERROR;
		j.requests = w->seen;
		(void)err_set(&e, ERR_STATE, "not measured: %s", s->fault);
		copy_text(&e, j.reason, sizeof(j.reason));
		return j;
	}
	measure(w, s, other);
	remember(w);
	j.requests = w->seen;
	j.size = w->seen;
	if (!has_failed(w, &j, &e) && has_seen_enough(w, now_ms, &e) &&
	    is_followed(s, &e)) {
		j.verdict = VERDICT_PASS;
		if (w->seen == 0)
			(void)err_set(&e, ERR_STATE,
			              "without samples, no check failed");
		else
			(void)err_set(&e, ERR_STATE,
			              "%llu requests, no check failed",
			              ULL(w->seen));
	}
	copy_text(&e, j.reason, sizeof(j.reason));
	return j;
}
