/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/mmdb_file.h: a MaxMind database of the disk, and one question to
 * it: the text at a path of what it knows of an address.
 *
 * The file is read whole into memory of our own, so that one that is replaced or
 * cut does no harm; libmaxminddb reads it there.
 *
 * Owns:   its bytes.
 * Limits: MMDB_FILE_MAX bytes, MMDB_STEPS_MAX steps of a path.
 * Thread: loaded by one; then asked by any.
 */
#pragma once

#include "base/err.h"
#include "core/cidr.h"

#define MMDB_FILE_MAX  ((size_t)512 * 1024 * 1024)
#define MMDB_STEPS_MAX 16

struct mmdb_file {
	struct mmdb_db *db; /* the library's */
	char name[256];
	char path[128];  /* "country.iso_code"             */
	char words[128]; /* the same with NUL between them */
	const char *step[MMDB_STEPS_MAX + 1];
	struct mmdb_file *next; /* the owner's */
};

/* ERR_USAGE names the file and what is wrong with it. */
struct mmdb_file *mmdb_file_load(const char *name, const char *path,
                                 struct err *err);
void mmdb_file_free(struct mmdb_file *f); /* NULL is fine */

/* Was it loaded for these two? */
bool mmdb_file_is(const struct mmdb_file *f, const char *name,
                  const char *path);

/* A rules_locate_f of a struct mmdb_file. The text is the file's; empty: nothing
 * is known, or it is damaged there. */
void mmdb_file_locate(const void *file, const struct cidr_address *a,
                      struct span *ret);
