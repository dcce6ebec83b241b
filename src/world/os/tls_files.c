/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/tls_files.c: have the files of certificates been exchanged?
 */
#include "world/os/tls_files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "world/os/loop.h"

bool
tls_files_is_path(const char *given)
{
	return given != NULL && given[0] != '\0' &&
	       strncmp(given, "pem:", 4) != 0 &&
	       strstr(given, "-----BEGIN") == NULL;
}

bool
tls_files_init(struct tls_files *f, const char *const given[TLS_FILES])
{
	*f = (struct tls_files){ .next_ns = 0 };
	for (int i = 0; i < TLS_FILES; i++) {
		if (!tls_files_is_path(given[i]))
			continue;
		f->path[i] = strdup(given[i]);
		if (f->path[i] == NULL) {
			tls_files_fini(f);
			return false;
		}
	}
	return true;
}

void
tls_files_fini(struct tls_files *f)
{
	for (int i = 0; i < TLS_FILES; i++) {
		free(f->path[i]);
		f->path[i] = NULL;
	}
}

/* A file that is not there looks like no other one. */
static struct tls_stamp
stamp_of(const char *path)
{
	struct tls_stamp ret = { .device = 0 };
	struct stat s;

	if (path == NULL || stat(path, &s) != 0)
		return ret;
	ret.device = (uint64_t)s.st_dev;
	ret.inode = (uint64_t)s.st_ino;
	ret.size = (uint64_t)s.st_size;
	ret.changed_ns =
		(int64_t)s.st_mtim.tv_sec * 1000000000 + s.st_mtim.tv_nsec;
	return ret;
}

static bool
is_same(const struct tls_stamp *a, const struct tls_stamp *b)
{
	return a->device == b->device && a->inode == b->inode &&
	       a->size == b->size && a->changed_ns == b->changed_ns;
}

void
tls_files_note(struct tls_files *f)
{
	for (int i = 0; i < TLS_FILES; i++)
		f->seen[i] = stamp_of(f->path[i]);
}

bool
tls_files_changed(struct tls_files *f, uint64_t now_ns)
{
	bool ret = false;

	if (now_ns < f->next_ns)
		return false;
	f->next_ns = now_ns + TLS_FILES_MS * (uint64_t)1000000;
	for (int i = 0; i < TLS_FILES; i++) {
		struct tls_stamp now = stamp_of(f->path[i]);

		ret |= !is_same(&now, &f->seen[i]);
	}
	return ret;
}
