/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/mover.h: keeps the other side in step with the authority.
 *
 * A machine (engine/engine.h) that attaches to the authority as a replica,
 * copies everything (the RDB of a full sync passed on value by value, or SCAN
 * with exact-offset reads), then applies the ordered stream, and watches what
 * the other side deletes by itself. The roles change at MAIL_FLIP.
 *
 * Mails, board and resume points: engine/mover.h. The text of a resume point is the
 * replication id and the selected database, "<40 hex>:<db>".
 *
 * Owns:   its links and all memory behind them, from port->mem.
 * Limits: mover_conf.limits; memory does not depend on the size of the data.
 * Thread: that of its loop.
 */
#pragma once

#include "engine/mover.h"

extern const struct machine mover_machine;

/* For loop_conf.init: self is the zeroed machine, conf a struct mover_conf that
 * the caller keeps alive. */
void mover_init(void *self, void *conf);
