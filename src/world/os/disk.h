/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/disk.h: engine/disk.h as files of a directory.
 *
 * The directory (mode 0700) is made with the first file. Writing goes to the page
 * cache; what takes long, making it durable, is done by a thread of its own.
 *
 * Owns:   its descriptors and its thread.
 * Limits: `max` bytes in all files (0: as much as there is room).
 * Thread: one at a time.
 */
#pragma once

#include "base/err.h"
#include "engine/disk.h"

/* What an earlier process left is there. NULL: err says why. */
struct disk *disk_new(const char *dir, uint64_t max, struct err *err);
void disk_free(struct disk *d); /* the files stay */
/* The directory and its files are removed. */
void disk_forget(const char *dir);
