/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/mmdb_file.c: a MaxMind database of the disk, in memory.
 */
#include "control/spec/mmdb_file.h"

#include <stdio.h>
#include <stdlib.h>

static struct mmdb_file *
refuse(struct mmdb_file *f, const char *path, const char *why, struct err *err)
{
	(void)err_set(err, ERR_USAGE, "%.160s: %s", path, why);
	mmdb_file_free(f);
	return NULL;
}

/* Its size, or -1. */
static long
size_of(FILE *file)
{
	long n;

	if (fseek(file, 0, SEEK_END) != 0)
		return -1;
	n = ftell(file);
	return fseek(file, 0, SEEK_SET) == 0 ? n : -1;
}

struct mmdb_file *
mmdb_file_load(const char *path, struct err *err)
{
	struct mmdb_file *f = calloc(1, sizeof(*f));
	FILE *file;
	size_t got;
	long n;

	if (f == NULL || strlen(path) >= sizeof(f->path))
		return refuse(f, path, "no memory, or too long a name", err);
	memcpy(f->path, path, strlen(path) + 1);
	file = fopen(path, "re");
	if (file == NULL)
		return refuse(f, path, "cannot be read", err);
	n = size_of(file);
	if (n > 0 && (size_t)n <= MMDB_FILE_MAX)
		f->bytes = malloc((size_t)n);
	got = f->bytes != NULL ? fread(f->bytes, 1, (size_t)n, file) : 0;
	(void)fclose(file);
	if (got == 0 || got != (size_t)n)
		return refuse(f, path, "is empty, too large, or unreadable",
		              err);
	if (mmdb_open(span_of(f->bytes, got), &f->db) != WIRE_PART)
		return refuse(f, path, "is no MaxMind database", err);
	return f;
}

void
mmdb_file_free(struct mmdb_file *f)
{
	if (f == NULL)
		return;
	free(f->bytes);
	free(f);
}
