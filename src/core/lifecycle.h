/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/lifecycle.h: the states of a migration and the verbs that change them.
 *
 * Source: tables/life.tbl (the state table of the REST contract); every pair
 * that is not in it is refused.
 *
 * Owns:   nothing; values.
 * Thread: any.
 */
#pragma once

#include "base/err.h"

enum life_state {
	LIFE_PENDING,
	LIFE_READY,
	LIFE_RUNNING,
	LIFE_PAUSED,
	LIFE_FAILED,
	LIFE_ROLLING_BACK,
	LIFE_ROLLED_BACK,
	LIFE_COMPLETED,
	LIFE_N,
};

/* What people say, and (from FAIL on) what the migration says of itself. */
enum life_verb {
	VERB_ADD,
	VERB_REMOVE,
	VERB_PATCH,
	VERB_TEST,
	VERB_DELETE,
	VERB_MIGRATE,
	VERB_TRAFFIC,
	VERB_TOGGLE,
	VERB_PROMOTE,
	VERB_VERIFY,
	VERB_PAUSE,
	VERB_RESUME,
	VERB_ROLLBACK,
	VERB_COMPLETE,
	VERB_RETRY,
	VERB_REVERSE,
	VERB_FAIL,      /* an error that the migration cannot mend */
	VERB_WENT_BACK, /* the rollback has ended                  */
	VERB_N,
};

/* Where a running migration is. */
enum life_phase {
	PHASE_COPYING,
	PHASE_CATCHING_UP,
	PHASE_SHIFTING, /* in step; share by share, or waiting for promote */
	PHASE_HOLDING,  /* the switch is under way                         */
	PHASE_SOAKING,  /* new has authority, the way back is open         */
	PHASE_N,
};

const char *life_state_name(enum life_state s); /* "rolling_back" */
const char *life_verb_name(enum life_verb v);
const char *life_phase_name(enum life_phase p);

/* The state of that name, or LIFE_N. */
enum life_state life_state_find(const char *name);

bool life_may(enum life_state from, enum life_verb verb);

/* The state after the verb. ERR_STATE (from stays) when the verb is not possible
 * there; the text names the verbs that are. */
int life_apply(enum life_state from, enum life_verb verb,
               enum life_state *ret_to, struct err *err) MUST;

/* Is the step from one state to another drawn in the table? */
bool life_reaches(enum life_state from, enum life_state to);
