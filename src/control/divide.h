/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/divide.h: the scopes of a run, and its second mover.
 *
 * A scope is a number in R, a definition in the journal (the freeze that leads to
 * it) and a block that relays and movers look at. Blocks stay until the run ends.
 * See docs/internals/split.md.
 *
 * Owns:   blocks and definitions.
 * Limits: SCOPE_PREFIX_MAX prefixes a scope.
 * Thread: the run's.
 */
#pragma once

#include <jansson.h>
#include <stdatomic.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/board.h"
#include "core/scope.h"
#include "core/strategy.h"
#include "engine/mail.h"
#include "world/os/loop.h"

struct run;

struct divide_scope {
	uint32_t id;
	/* {"ppm":n}, {"prefixes":[..]}, or by tables {"units":bits,"features":[
	 * {"name":..,"schemas":[..],"tables":[..]}]} */
	json_t *def;
	struct scope *block; /* NULL: by tables */
	struct divide_scope *next;
};

struct divide {
	struct mem mem;
	struct divide_scope *list;
	struct scope *none; /* what the second mover begins with */
	bool writer;        /* godwit-<id>-w is to be on both sides */

	/* the second mover: new -> old */
	struct loop *loop;
	struct inbox *inbox;
	struct crowd crowd;
	void *conf; /* machines.c's */
	struct board board;
	enum move_phase move;
	bool stopped;
	uint64_t end_ns; /* asked to end; at the latest then */
	char trouble[160];

	/* of the switch under way: what the first mover said when it stood */
	uint64_t first_passed;
	uint64_t wait_ns; /* for the second mover to be in step */
};

/* The scope that a move leads to: a new reference, NULL: none of its keys are new's
 * (or no memory: err). */
int divide_wants(const struct run *r, const struct strategy_move *m,
                 json_t **ret, struct err *err) MUST;
/* Is this what R has? NULL: nothing. */
bool divide_is_now(const struct run *r, const json_t *def);
/* Does b hold every key of a? */
bool divide_holds(const json_t *a, const json_t *b);
/* The definition of R's scope; NULL: none. Borrowed. */
const json_t *divide_def(const struct run *r, uint32_t id);
/* Its block; by tables NULL. */
const struct scope *divide_block(const struct run *r, uint32_t id);
/* By tables: the features whose tables are new's, a bit each. */
uint64_t divide_units(const struct run *r, uint32_t id);
/* Make the scope of that number; def is stolen. */
int divide_define(struct run *r, uint32_t id, json_t *def,
                  struct err *err) MUST;
/* At a start: the scope of R from the journal. */
int divide_load(struct run *r, struct err *err) MUST;
uint64_t divide_salt(const struct run *r);
/* Share of the slots, and features, whose writes are new's now. */
uint32_t divide_ppm(const struct run *r);
/* Why it cannot be done here at all, by name. */
int divide_gate(struct run *r, struct err *err) MUST;
/* What a switch to this scope needs that takes time: the second mover, the writer's
 * user. 1: not there yet, ask again soon. */
int divide_prepare(struct run *r, const json_t *def, struct err *err) MUST;
/* The second mover ends when nothing needs it. */
void divide_tick(struct run *r, uint64_t now_ns);
void divide_fini(struct run *r);
