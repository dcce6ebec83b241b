/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/trail.h: the row that a call leaves in the audit log.
 *
 * A call that changes rows: its audit row is a part of the transaction of the
 * change (store_ride), so that there is never one without the other. A call that
 * acts beyond the store (flag H of tables/api.tbl): a row that says "begun" is on
 * disk before anything happens. In the end the row has the result. What changed
 * nothing gets its row at the end.
 *
 * Owns:   nothing; c->trail.
 * Thread: that of the call.
 */
#pragma once

#include "control/api/call.h"

/* Before the call's function. Not 0: the log cannot be written, so nothing may
 * be done. */
int trail_begin(struct call *c, struct err *err) MUST;
/* From a call's function, before it acts beyond the store: the row that says
 * "begun", unless it is there already. */
int trail_intend(struct call *c, struct err *err) MUST;
/* After it, also when it was never called. */
void trail_end(struct call *c, int rc, const struct err *failed);
