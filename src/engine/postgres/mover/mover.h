/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/mover.h: keeps another PostgreSQL database in step.
 *
 * A machine (engine/engine.h, engine/mover.h): a slot's snapshot is copied by binary
 * COPY, then indexes and keys are built, then the change stream is applied, each
 * transaction whole and once. docs/internals/postgres.md tells the steps.
 *
 * Owns:   its links and all memory behind them, from port->mem.
 * Limits: one row is kept whole; PG_MOVER_LANES tables' chunks at a time.
 * Thread: that of its loop.
 */
#pragma once

#include "engine/mover.h"

extern const struct machine pg_mover_machine;

/* For loop_conf.init: self is the zeroed machine, conf a struct mover_conf that the
 * caller keeps alive. */
void pg_mover_init(void *self, void *conf);
