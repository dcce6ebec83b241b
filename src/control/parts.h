/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/parts.h: a switch of the scope where writes move by tables.
 *
 * Where a kind of server has struct parts (control/dialect.h), a scope is a set of features
 * whose tables are new's. Both servers are open for logins, each refuses to write the other
 * one's tables, and one mover carries both streams. The steps are those of every switch
 * (flow/cutover.h); what FENCE, ANNOUNCE, CHECK, OPEN and BACK_UNFENCE do is here.
 *
 * Thread: the run's.
 */
#pragma once

#include "base/err.h"
#include "core/side.h"

struct run;

/* Does the run's kind of server divide its tables? */
bool parts_has(const struct run *r);
/* Has this switch a split before it or behind it? */
bool parts_switches(const struct run *r);

int parts_fence(struct run *r, struct err *err) MUST;
int parts_kill(struct run *r, struct err *err) MUST;
int parts_check(struct run *r, struct err *err) MUST;
int parts_open(struct run *r, struct err *err) MUST;
int parts_unfence(struct run *r, struct err *err) MUST;
/* Both sides as R says, which is at rest in a split. At no moment has a table two. */
int parts_settle(struct run *r, struct err *err) MUST;
/* Once a second, in a split: what somebody has opened is shut again, what a switch could
 * not open is opened. */
void parts_look(struct run *r);
