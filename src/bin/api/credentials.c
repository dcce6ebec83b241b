/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/credentials.c: the file of tokens.
 */
#define _GNU_SOURCE
#include "bin/api/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "world/os/loop.h"

/* The directory of Godwit's own files; made (0700) when missing. */
static int
directory(char *ret, size_t n, struct err *err)
{
	const char *base = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	int len;

	if (base != NULL && base[0] == '/')
		len = snprintf(ret, n, "%s", base);
	else if (home != NULL && home[0] == '/')
		len = snprintf(ret, n, "%s/.config", home);
	else
		return err_set(err, ERR_USAGE,
		               "neither XDG_CONFIG_HOME nor HOME is set; give "
		               "the token by --token-file or GODWIT_TOKEN");
	if (len < 0 || (size_t)len + 40 > n)
		return err_set(err, ERR_USAGE,
		               "the path of the credentials is too long");
	(void)mkdir(ret, 0700);
	(void)snprintf(ret + len, n - (size_t)len, "/godwit");
	if (mkdir(ret, 0700) != 0 && errno != EEXIST)
		return err_set(err, ERR_IO, "%.180s: %s", ret, os_cause(errno));
	return 0;
}

int
credentials_path(char *ret, size_t n, struct err *err)
{
	int rc = directory(ret, n, err);
	size_t at = rc == 0 ? strlen(ret) : 0;

	if (rc == 0)
		(void)snprintf(ret + at, n - at, "/credentials");
	return rc;
}

static json_t *
empty(void)
{
	return json_pack("{s:{}}", "servers");
}

json_t *
credentials_load(struct err *err)
{
	char path[CREDENTIALS_PATH_MAX];
	struct stat st;
	json_t *ret = NULL;
	int fd;

	if (credentials_path(path, sizeof(path), err) != 0)
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return empty();
	if (fd < 0 || fstat(fd, &st) != 0) {
		(void)err_set(err, ERR_IO, "%.180s: %s", path, os_cause(errno));
	} else if ((st.st_mode & 077) != 0) {
		(void)err_set(err, ERR_STATE,
		              "%.150s can be read by others: chmod 600 it, or "
		              "remove it and log in again",
		              path);
	} else {
		ret = json_loadfd(fd, 0, NULL);
		if (!json_is_object(json_object_get(ret, "servers"))) {
			json_decref(ret);
			ret = NULL;
			(void)err_set(err, ERR_IO,
			              "%.180s is not what godwit login wrote; "
			              "remove it and log in again",
			              path);
		}
	}
	if (fd >= 0)
		(void)close(fd);
	return ret;
}

/* Into a file beside it, then renamed: nobody ever reads half of it. */
static int
write_whole(int fd, const json_t *all)
{
	if (json_dumpfd(all, fd, JSON_INDENT(1)) != 0)
		return -1;
	return fsync(fd);
}

int
credentials_save(const json_t *all, struct err *err)
{
	char path[CREDENTIALS_PATH_MAX];
	char beside[CREDENTIALS_PATH_MAX + 16];
	int rc = credentials_path(path, sizeof(path), err);
	int fd;

	if (rc != 0)
		return rc;
	(void)snprintf(beside, sizeof(beside), "%s.XXXXXX", path);
	fd = mkostemp(beside, O_CLOEXEC); /* mode 0600 */
	if (fd < 0)
		return err_set(err, ERR_IO, "%.180s: %s", beside,
		               os_cause(errno));
	if (write_whole(fd, all) != 0 || rename(beside, path) != 0) {
		rc = err_set(err, ERR_IO, "%.180s: %s", path, os_cause(errno));
		(void)unlink(beside);
	}
	(void)close(fd);
	return rc;
}

int
credentials_lock(struct err *err)
{
	char path[CREDENTIALS_PATH_MAX];
	size_t n;
	int fd;
	int rc = credentials_path(path, sizeof(path), err);

	if (rc != 0)
		return rc;
	n = strlen(path);
	(void)snprintf(path + n, sizeof(path) - n, ".lock");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) != 0) {
		rc = err_set(err, ERR_IO, "%.180s: %s", path, os_cause(errno));
		if (fd >= 0)
			(void)close(fd);
		return rc;
	}
	return fd;
}

void
credentials_unlock(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

json_t *
credentials_of(const json_t *all, const char *server)
{
	return json_object_get(json_object_get(all, "servers"), server);
}
