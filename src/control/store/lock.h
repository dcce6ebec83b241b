/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/lock.h: one process at a time for a state file.
 *
 * <state>.lock is locked as long as its descriptor is open, so that the death of
 * the holder ends it; its text names the holder. The lock belongs to the open
 * file (not to the process): nothing else in the process can drop it by closing
 * the same file.
 *
 * Owns:   the descriptor.
 * Thread: one.
 */
#pragma once

#include "base/err.h"

/* The descriptor, or -ERR_EXISTS (names the holder), -ERR_IO. */
int lock_take(const char *state, struct err *err) MUST;
void lock_drop(int fd); /* negative is fine */
