/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/mmdb_file.h: a MaxMind database of the disk, in memory.
 *
 * Owns:   its bytes; read whole, so that a file that is replaced does no harm.
 * Limits: MMDB_FILE_MAX bytes.
 * Thread: loaded by one; then read by any.
 */
#pragma once

#include "base/err.h"
#include "wire/mmdb.h"

#define MMDB_FILE_MAX ((size_t)512 * 1024 * 1024)

struct mmdb_file {
	char path[256];
	uint8_t *bytes;
	struct mmdb db;
	struct mmdb_file *next; /* the owner's */
};

/* ERR_USAGE names the file and what is wrong with it. */
struct mmdb_file *mmdb_file_load(const char *path, struct err *err);
void mmdb_file_free(struct mmdb_file *f); /* NULL is fine */
