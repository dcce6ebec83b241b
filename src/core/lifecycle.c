/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/lifecycle.c: the states of a migration and the verbs that change them.
 *
 *                                  ┌──[pause]──→ PAUSED ─┐
 *                                  │ ←─[resume]─────┘    │
 *  PENDING ─[add]→ READY ─[migrate]→ RUNNING ─[complete]→ COMPLETED
 *                                  │ ↑  │ ↑              │
 *                           [fail] │ │  │ └──[migrate]── ROLLED_BACK
 *                                  ↓ │  │                │     ↑
 *                     FAILED ─[retry]┘  │[rollback]      │     │[went_back]
 *                        └──[rollback]──┴────────────────┴→ ROLLING_BACK
 *                                                           └[fail]→ FAILED
 *
 *  Each transition is made by life_apply(). Until RUNNING nothing was touched;
 *  from RUNNING to COMPLETED a rollback is always one verb away.
 */
#include "core/lifecycle.h"

#include "base/check.h"

// clang-format off
static const char *const state_names[LIFE_N] = {
	[LIFE_PENDING]      = "pending",
	[LIFE_READY]        = "ready",
	[LIFE_RUNNING]      = "running",
	[LIFE_PAUSED]       = "paused",
	[LIFE_FAILED]       = "failed",
	[LIFE_ROLLING_BACK] = "rolling_back",
	[LIFE_ROLLED_BACK]  = "rolled_back",
	[LIFE_COMPLETED]    = "completed",
};

static const char *const verb_names[VERB_N] = {
	[VERB_ADD]      = "add",      [VERB_REMOVE]    = "remove",
	[VERB_PATCH]    = "patch",    [VERB_TEST]      = "test",
	[VERB_DELETE]   = "delete",   [VERB_MIGRATE]   = "migrate",
	[VERB_TRAFFIC]  = "traffic",  [VERB_TOGGLE]    = "toggle",
	[VERB_PROMOTE]  = "promote",  [VERB_VERIFY]    = "verify",
	[VERB_PAUSE]    = "pause",    [VERB_RESUME]    = "resume",
	[VERB_ROLLBACK] = "rollback", [VERB_COMPLETE]  = "complete",
	[VERB_RETRY]    = "retry",    [VERB_REVERSE]   = "reverse",
	[VERB_FAIL]     = "fail",     [VERB_WENT_BACK] = "went_back",
};

static const char *const phase_names[PHASE_N] = {
	[PHASE_COPYING]     = "copying",
	[PHASE_CATCHING_UP] = "catching_up",
	[PHASE_SHIFTING]    = "shifting",
	[PHASE_HOLDING]     = "holding",
	[PHASE_SOAKING]     = "soaking",
};

/* The state after (state, verb), plus one; zero: refused. */
static const uint8_t table[LIFE_N][VERB_N] = {
#define X(state, verb, to) \
	[LIFE_##state][VERB_##verb] = (uint8_t)(LIFE_##to + 1),
#include "life.tbl"
#undef X
};
// clang-format on

const char *
life_state_name(enum life_state s)
{
	REQUIRE((unsigned)s < LIFE_N);
	return state_names[s];
}

const char *
life_verb_name(enum life_verb v)
{
	REQUIRE((unsigned)v < VERB_N);
	return verb_names[v];
}

const char *
life_phase_name(enum life_phase p)
{
	REQUIRE((unsigned)p < PHASE_N);
	return phase_names[p];
}

enum life_state
life_state_find(const char *name)
{
	for (unsigned i = 0; i < LIFE_N; i++) {
		if (strcmp(state_names[i], name) == 0)
			return (enum life_state)i;
	}
	return LIFE_N;
}

bool
life_may(enum life_state from, enum life_verb verb)
{
	REQUIRE((unsigned)from < LIFE_N && (unsigned)verb < VERB_N);
	return table[from][verb] != 0;
}

/* "promote, pause, rollback" into text; what people cannot say is left out. */
static void
allowed(enum life_state from, char *text, size_t size)
{
	size_t n = 0;

	text[0] = '\0';
	for (unsigned v = 0; v < VERB_FAIL; v++) {
		size_t add = strlen(verb_names[v]);

		if (table[from][v] == 0)
			continue;
		if (n + add + 3 > size)
			break;
		if (n > 0) {
			memcpy(text + n, ", ", 2);
			n += 2;
		}
		memcpy(text + n, verb_names[v], add + 1);
		n += add;
	}
}

int
life_apply(enum life_state from, enum life_verb verb, enum life_state *ret_to,
           struct err *err)
{
	char verbs[160];

	REQUIRE((unsigned)from < LIFE_N && (unsigned)verb < VERB_N);
	if (table[from][verb] == 0) {
		allowed(from, verbs, sizeof(verbs));
		return err_set(err, ERR_STATE,
		               "%s is not possible while the migration is "
		               "%s; possible: %s",
		               verb_names[verb], state_names[from],
		               verbs[0] != '\0' ? verbs : "wait");
	}
	*ret_to = (enum life_state)(table[from][verb] - 1);
	ENSURE((unsigned)*ret_to < LIFE_N);
	return 0;
}

bool
life_reaches(enum life_state from, enum life_state to)
{
	REQUIRE((unsigned)from < LIFE_N && (unsigned)to < LIFE_N);
	for (unsigned v = 0; v < VERB_N; v++) {
		if (table[from][v] == (uint8_t)to + 1)
			return true;
	}
	return false;
}
