/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/disk.h: numbered files that only grow, for a machine that has more to keep
 * than memory should hold. The world's (world/os/disk.h).
 *
 * Numbers only grow, without gaps; what is written first is removed first.
 *
 * Thread: the machine's.
 */
#pragma once

#include "base/span.h"

struct disk;

struct disk_ops {
	/* The files that are there: *ret_first to *ret_end - 1. */
	void (*range)(struct disk *d, uint64_t *ret_first, uint64_t *ret_end);
	/* At the end of file n, which is the last one, or the next one and is made.
	 * All of it or nothing: -ERR_LIMIT (no room), -ERR_IO; why() tells. */
	int (*append)(struct disk *d, uint64_t n, struct span bytes);
	/* How many bytes of file n from `at` on; 0: its end; -ERR_IO. */
	int64_t (*read)(struct disk *d, uint64_t n, uint64_t at, uint8_t *to,
	                size_t cap);
	/* File n ends at `size`. */
	int (*cut)(struct disk *d, uint64_t n, uint64_t size);
	void (*remove)(struct disk *d, uint64_t n);
	/* All that was appended is to be durable: begun, in another thread. */
	void (*sync)(struct disk *d);
	/* How many sync() have ended well. */
	uint64_t (*synced)(struct disk *d);
	uint64_t (*bytes)(struct disk *d); /* of all files */
	const char *(*why)(struct disk *d);
};

struct disk {
	const struct disk_ops *ops;
};
