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
};

const char *
migration_gate_name(enum gate g)
{
	REQUIRE((unsigned)g < GATE_N);
	return gate_names[g];
}

/* A sentence through struct err, the one formatter of the pure half. */
#define SAY(why, n, ...)                                      \
	do {                                                  \
		struct err say_;                              \
		size_t len_;                                  \
		(void)err_set(&say_, ERR_STATE, __VA_ARGS__); \
		len_ = strlen(say_.text);                     \
		if (len_ > (n)-1)                             \
			len_ = (n)-1;                         \
		memcpy((why), say_.text, len_);               \
		(why)[len_] = '\0';                           \
	} while (0)

#define ULL(v) ((unsigned long long)(v))

enum gate
migration_gate_share(const struct gates *g, char *why, size_t n)
{
	REQUIRE(n > 1);
	why[0] = '\0';
	if (g->record_owed) {
		SAY(why, n, "the last decision is not on disk yet");
		return GATE_DISK;
	}
	for (int s = 0; s < SIDE_N; s++) {
		if (!g->sides_up[s]) {
			SAY(why, n, "%s does not answer",
			    side_name((enum side)s));
			return GATE_SIDE_DOWN;
		}
	}
	switch (g->move) {
	case MOVE_IDLE:
	case MOVE_ATTACHING:
	case MOVE_COPYING:
		SAY(why, n, "the copy is not complete");
		return GATE_COPYING;
	case MOVE_CATCHING_UP:
		SAY(why, n, "the stream is catching up (%llu records pending)",
		    ULL(g->pending));
		return GATE_BEHIND;
	case MOVE_BROKEN:
		SAY(why, n, "the stream is interrupted");
		return GATE_BROKEN;
	case MOVE_IN_STEP: break;
	}
	if (g->verified_different) {
		SAY(why, n,
		    "the last verification found differences; run "
		    "verify again");
		return GATE_DIFFERENT;
	}
	return GATE_OPEN;
}

enum gate
migration_gate_switch(const struct gates *g, char *why, size_t n)
{
	enum gate first = migration_gate_share(g, why, n);

	if (first != GATE_OPEN)
		return first;
	if (g->lag_ms > g->lag_ms_max) {
		SAY(why, n,
		    "the stream is %llu ms late, at most %llu ms are "
		    "allowed",
		    ULL(g->lag_ms), ULL(g->lag_ms_max));
		return GATE_BEHIND;
	}
	if (!g->reverse_proven || g->reverse_age_ms > g->reverse_age_ms_max) {
		SAY(why, n,
		    "the way back is not proven: no heartbeat came "
		    "from the other side in the last %llu ms",
		    ULL(g->reverse_age_ms_max));
		return GATE_REVERSE;
	}
	if (g->relays_current < g->relays) {
		SAY(why, n, "%u of %u relays run the newest route",
		    g->relays_current, g->relays);
		return GATE_RELAYS;
	}
	if (!g->fenced) {
		SAY(why, n, "the side without authority is not fenced");
		return GATE_FENCE;
	}
	return GATE_OPEN;
}

static const char *const check_names[WATCH_N] = {
	[WATCH_ERRORS] = "errors",
	[WATCH_LOST] = "lost",
	[WATCH_LATENCY] = "latency",
	[WATCH_LAG] = "lag",
};

const char *
watch_check_name(enum watch_check c)
{
	REQUIRE((unsigned)c < WATCH_N);
	return check_names[c];
}

const char *
verdict_name(enum verdict v)
{
	switch (v) {
	case VERDICT_INCONCLUSIVE: return "inconclusive";
	case VERDICT_PASS: return "pass";
	case VERDICT_FAIL: return "fail";
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

static void
measure(struct watch *w, const struct sample *s, enum side other)
{
	enum side one = side_other(other);
	uint64_t slow = s->p99_us[one] * w->limits.latency_factor;

	if (slow < w->limits.latency_us_min)
		slow = w->limits.latency_us_min;
	w->seen = s->requests[other];
	w->value[WATCH_ERRORS] = rate_ppm(s->errors[other], s->requests[other]);
	w->threshold[WATCH_ERRORS] =
		rate_ppm(s->errors[one], s->requests[one]) +
		w->limits.error_ppm_max;
	w->value[WATCH_LOST] = s->lost[other];
	w->threshold[WATCH_LOST] = 0;
	w->value[WATCH_LATENCY] = s->p99_us[other];
	w->threshold[WATCH_LATENCY] = slow;
	w->value[WATCH_LAG] = s->in_step ? s->lag_ms : UINT64_MAX;
	w->threshold[WATCH_LAG] = w->limits.lag_ms_max;
}

static uint32_t
count_bits(uint32_t v)
{
	return (uint32_t)__builtin_popcount(v);
}

struct judgement
watch_look(struct watch *w, const struct sample *s, enum side other,
           uint64_t now_ms)
{
	uint32_t mask =
		w->limits.n == 32 ? UINT32_MAX : (1u << w->limits.n) - 1;
	struct judgement j = { .verdict = VERDICT_INCONCLUSIVE };

	measure(w, s, other);
	j.requests = w->seen;
	w->looks++;
	for (unsigned i = 0; i < WATCH_N; i++) {
		uint32_t bad = w->value[i] > w->threshold[i] ? 1 : 0;

		w->history[i] = ((w->history[i] << 1) | bad) & mask;
	}
	for (unsigned i = 0; i < WATCH_N; i++) {
		if (count_bits(w->history[i]) < w->limits.k)
			continue;
		j.verdict = VERDICT_FAIL;
		j.check = (enum watch_check)i;
		j.value = w->value[i];
		j.threshold = w->threshold[i];
		SAY(j.reason, sizeof(j.reason),
		    "%s: %llu, at most %llu; failed in %u of %u looks",
		    check_names[i], ULL(j.value), ULL(j.threshold),
		    count_bits(w->history[i]), w->limits.n);
		return j;
	}
	if (w->looks < w->limits.n) {
		SAY(j.reason, sizeof(j.reason), "%u of %u looks", w->looks,
		    w->limits.n);
		return j;
	}
	if (now_ms - w->since_ms < w->limits.step_ms) {
		SAY(j.reason, sizeof(j.reason), "%llu of %llu ms on this step",
		    ULL(now_ms - w->since_ms), ULL(w->limits.step_ms));
		return j;
	}
	if (w->seen < w->limits.requests_min) {
		SAY(j.reason, sizeof(j.reason), "%llu of %llu requests",
		    ULL(w->seen), ULL(w->limits.requests_min));
		return j;
	}
	j.verdict = VERDICT_PASS;
	SAY(j.reason, sizeof(j.reason), "%llu requests, no check failed",
	    ULL(w->seen));
	return j;
}
