/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/control/file.h: state files of tests.
 */
#pragma once

#include <stdio.h>
#include <unistd.h>

/* Away with it, and with all that SQLite and the lock put beside it. */
static inline void
file_forget(const char *path)
{
	static const char *const ends[] = { "", "-wal", "-shm", ".lock" };

	for (size_t i = 0; i < 4; i++) {
		char name[96];

		(void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		(void)unlink(name);
	}
}
