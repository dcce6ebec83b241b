/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/authority.h: the record R, which says whose state is the truth.
 *
 * R = (epoch, state, scope) changes by compare-and-set only, and only along the
 * transitions below; epochs never fall. The journal keeps R; this is the rule.
 *
 * The scope is a number: the keys of that scope are new's while R says old (a
 * split, docs/internals/split.md). What a number stands for is the journal's.
 *
 * Owns:   nothing; a value.
 * Thread: any.
 */
#pragma once

#include "base/err.h"
#include "core/side.h"

enum authority_state {
	AUTHORITY_OLD,
	AUTHORITY_FREEZE, /* old rules; the switch to new is under way */
	AUTHORITY_NEW,
	AUTHORITY_FREEZE_BACK, /* new rules; the switch back is under way   */
	AUTHORITY_N,
};

#define AUTHORITY_NO_SCOPE 0u         /* every key is old's                  */
#define AUTHORITY_ALL      UINT32_MAX /* as a target: the cutover            */

struct authority {
	uint64_t epoch;
	enum authority_state state;
	uint32_t scope;    /* in force; NO_SCOPE while new rules            */
	uint32_t scope_to; /* FREEZE: where the commit leads; else NO_SCOPE */
};

const char *authority_name(enum authority_state s); /* "freeze_back" */
/* The state of that name, or AUTHORITY_N. */
enum authority_state authority_find(const char *name);

/* The one side whose state is the truth while R is so. */
enum side authority_side(enum authority_state s);

/* Is a switch under way (so that whoever finds R must abort it)? */
bool authority_is_frozen(enum authority_state s);

/* Are both sides truth, each for its keys (also while the next switch runs)? */
bool authority_is_split(const struct authority *r);

/* May R go from one value to the other? */
bool authority_may(const struct authority *from, const struct authority *to);

/* The three steps. freeze: e+1 and frozen towards the other side; commit: same
 * epoch, the other side; abort: e+1 and the side before, with the scope before.
 * freeze wants R at rest, the other two want it frozen. */
struct authority authority_freeze(const struct authority *r);
/* Old rules and goes on to, with another scope (AUTHORITY_ALL: as above). */
struct authority authority_freeze_scope(const struct authority *r,
                                        uint32_t scope);
struct authority authority_commit(const struct authority *r);
struct authority authority_abort(const struct authority *r);

/* Compare-and-set in memory: *r becomes *to when it is still *expect. ERR_STATE
 * otherwise, or when the transition is not allowed; *r stays. */
int authority_cas(struct authority *r, const struct authority *expect,
                  const struct authority *to, struct err *err) MUST;
