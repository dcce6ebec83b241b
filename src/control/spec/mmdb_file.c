/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/mmdb_file.c: a MaxMind database of the disk, asked by
 * libmaxminddb.
 */
#define _GNU_SOURCE
#include "control/spec/mmdb_file.h"

#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "world/os/loop.h"

#define CHUNK ((size_t)64 * 1024)

struct mmdb_db {
	MMDB_s lib;
};

/* All bytes of one descriptor into the other; their number, or -1 and errno. */
static int64_t
copy_all(int from, int to)
{
	uint8_t *chunk = malloc(CHUNK);
	int64_t n = 0;
	ssize_t got = -1;

	while (chunk != NULL && (got = read(from, chunk, CHUNK)) > 0) {
		n += got;
		if ((uint64_t)n > MMDB_FILE_MAX) {
			errno = EFBIG;
			got = -1;
			break;
		}
		for (ssize_t at = 0; at < got;) {
			ssize_t put = write(to, chunk + at, (size_t)(got - at));

			if (put < 0) {
				free(chunk);
				return -1;
			}
			at += put;
		}
	}
	free(chunk);
	return got < 0 ? -1 : n;
}

/* A descriptor of a copy in memory, or -1 and err. */
static int
copy_of(const char *name, struct err *err)
{
	int from = open(name, O_RDONLY | O_CLOEXEC);
	int to = from >= 0 ? memfd_create("godwit-mmdb", MFD_CLOEXEC) : -1;
	int64_t n = to >= 0 ? copy_all(from, to) : -1;

	if (n <= 0) {
		(void)err_set(err, ERR_USAGE, "%.160s: %s", name,
		              n == 0 ? "is empty" : os_cause(errno));
		if (to >= 0)
			(void)close(to);
		to = -1;
	}
	if (from >= 0)
		(void)close(from);
	return to;
}

static int
open_db(struct mmdb_file *f, struct err *err)
{
	int fd = copy_of(f->name, err);
	char at[40];
	int rc;

	if (fd < 0)
		return -ERR_USAGE;
	(void)snprintf(at, sizeof(at), "/proc/self/fd/%d", fd);
	f->db = calloc(1, sizeof(*f->db));
	rc = f->db != NULL ? MMDB_open(at, MMDB_MODE_MMAP, &f->db->lib)
	                   : MMDB_OUT_OF_MEMORY_ERROR;
	(void)close(fd); /* the library has mapped it */
	if (rc == MMDB_SUCCESS)
		return 0;
	free(f->db);
	f->db = NULL;
	return err_set(err, ERR_USAGE, "%.160s: is no MaxMind database: %s",
	               f->name, MMDB_strerror(rc));
}

/* "a.b" into its steps. */
static int
split(struct mmdb_file *f, struct err *err)
{
	uint32_t n = 0;
	char *rest = NULL;

	memcpy(f->words, f->path, sizeof(f->words));
	for (char *w = strtok_r(f->words, ".", &rest); w != NULL;
	     w = strtok_r(NULL, ".", &rest)) {
		if (n == MMDB_STEPS_MAX)
			return err_set(err, ERR_USAGE,
			               "%.120s: more than %d steps", f->path,
			               MMDB_STEPS_MAX);
		f->step[n++] = w;
	}
	f->step[n] = NULL;
	return 0;
}

struct mmdb_file *
mmdb_file_load(const char *name, const char *path, struct err *err)
{
	struct mmdb_file *f = calloc(1, sizeof(*f));

	if (f == NULL || strlen(name) >= sizeof(f->name) ||
	    strlen(path) >= sizeof(f->path)) {
		(void)err_set(err, ERR_USAGE,
		              "%.160s: no memory, or too long a name", name);
		free(f);
		return NULL;
	}
	memcpy(f->name, name, strlen(name) + 1);
	memcpy(f->path, path, strlen(path) + 1);
	if (split(f, err) != 0 || open_db(f, err) != 0) {
		mmdb_file_free(f);
		return NULL;
	}
	return f;
}

void
mmdb_file_free(struct mmdb_file *f)
{
	if (f == NULL)
		return;
	if (f->db != NULL)
		MMDB_close(&f->db->lib);
	free(f->db);
	free(f);
}

bool
mmdb_file_is(const struct mmdb_file *f, const char *name, const char *path)
{
	return strcmp(f->name, name) == 0 && strcmp(f->path, path) == 0;
}

void
mmdb_file_locate(const void *file, const struct cidr_address *a,
                 struct span *ret)
{
	static const uint8_t v4[12] = {
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255
	};
	const struct mmdb_file *f = file;
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	const void *at = &in6;
	MMDB_lookup_result_s found;
	MMDB_entry_data_s data;
	int rc;

	*ret = span_of(NULL, 0);
	memcpy(&in6.sin6_addr, a->b, sizeof(a->b));
	if (memcmp(a->b, v4, sizeof(v4)) == 0) {
		memcpy(&in.sin_addr, a->b + sizeof(v4), 4);
		at = &in;
	}
	found = MMDB_lookup_sockaddr(&f->db->lib, at, &rc);
	if (rc != MMDB_SUCCESS || !found.found_entry ||
	    MMDB_aget_value(&found.entry, &data, f->step) != MMDB_SUCCESS)
		return;
	if (data.has_data && data.type == MMDB_DATA_TYPE_UTF8_STRING)
		*ret = span_of(data.utf8_string, data.data_size);
}
