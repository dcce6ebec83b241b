/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/writer.h: one writer at a time in this process.
 *
 * SQLite's own lock is polled: connections of one process that write often starve
 * each other, and a journal record must not wait behind luck. Whoever is about to
 * write to a state file queues here first. Not recursive; nobody waits for
 * another thread while inside.
 *
 * Thread: any.
 */
#pragma once

#include <stdbool.h>

/* False: not in WRITER_MS; go on, SQLite's lock decides. */
bool writer_in(void);
void writer_out(bool was_in);
