/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/state.c: where a migration's files are, and which one runs.
 */
#define _DEFAULT_SOURCE
#include "bin/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "world/os/loop.h"

/* The standard directory: $XDG_STATE_HOME/godwit or ~/.local/state/godwit. */
static int
standard_folder(char *ret, size_t n, struct err *err)
{
	const char *base = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	int used;

	/* The XDG rules ignore a relative path. */
	if (base != NULL && base[0] == '/')
		used = snprintf(ret, n, "%s/godwit", base);
	else if (home != NULL && home[0] == '/')
		used = snprintf(ret, n, "%s/.local/state/godwit", home);
	else
		return err_set(err, ERR_USAGE,
		               "neither XDG_STATE_HOME nor HOME is set; say "
		               "where: --state FILE");
	if (used < 0 || (size_t)used >= n)
		return err_set(err, ERR_USAGE,
		               "the path of the standard state directory is "
		               "too long; use --state FILE");
	return 0;
}

/* mkdir -p, each new one for the owner alone. */
static int
make_folders(const char *path, struct err *err)
{
	char part[STATE_PATH_MAX];

	REQUIRE(path[0] == '/');
	for (const char *p = path + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		(void)snprintf(part, sizeof(part), "%.*s", (int)(p - path),
		               path);
		if (mkdir(part, 0700) != 0 && errno != EEXIST)
			return err_set(err, ERR_IO, "mkdir %s: %s", part,
			               os_cause(errno));
		if (*p == '\0')
			return 0;
	}
}

int
state_for_listen(const char *listen, char *ret, size_t n, struct err *err)
{
	const char *port = strrchr(listen, listen[0] == '/' ? '/' : ':');
	char folder[STATE_PATH_MAX] = "";
	int used;
	int rc;

	if (port == NULL || strcmp(port, ":0") == 0)
		return err_set(err, ERR_USAGE,
		               "--listen with port 0 has no standard state "
		               "file; say where: --state FILE");
	rc = standard_folder(folder, sizeof(folder), err);
	if (rc == 0)
		rc = make_folders(folder, err);
	if (rc != 0)
		return rc;
	used = snprintf(ret, n, "%s/%s.db", folder, port + 1);
	if (used < 0 || (size_t)used >= n)
		return err_set(err, ERR_USAGE, "the path %s/... is too long",
		               folder);
	return 0;
}

/* A path that does not fit sockaddr_un is reached through its directory. */
static int
socket_address(const char *path, struct sockaddr_un *ret, int *ret_folder,
               struct err *err)
{
	const char *slash = strrchr(path, '/');
	char folder[STATE_PATH_MAX];

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*ret_folder = -1;
	if (strlen(path) < sizeof(ret->sun_path)) {
		memcpy(ret->sun_path, path, strlen(path) + 1);
		return 0;
	}
	(void)snprintf(folder, sizeof(folder), "%.*s",
	               slash != NULL ? (int)(slash - path) : 1,
	               slash != NULL ? path : ".");
	*ret_folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_folder < 0)
		return err_set(err, ERR_STATE, "%s: %s", folder,
		               os_cause(errno));
	if (snprintf(ret->sun_path, sizeof(ret->sun_path),
	             "/proc/self/fd/%d/%s", *ret_folder,
	             slash != NULL ? slash + 1 : path) >=
	    (int)sizeof(ret->sun_path)) {
		(void)close(*ret_folder);
		return err_set(err, ERR_USAGE,
		               "the name of the state file is too long");
	}
	return 0;
}

int
state_connect(const char *state, struct err *err)
{
	char path[STATE_PATH_MAX + 8];
	struct sockaddr_un to;
	int folder;
	int fd;
	int rc;

	(void)snprintf(path, sizeof(path), "%s.sock", state);
	rc = socket_address(path, &to, &folder, err);
	if (rc != 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
	    connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0) {
		int why = errno;

		(void)close(fd);
		errno = why;
		fd = -1;
	}
	if (fd < 0 && errno == EACCES)
		rc = err_set(err, ERR_AUTH,
		             "%s belongs to another user; only the one who "
		             "started the migration may steer it",
		             path);
	else if (fd < 0 && access(state, F_OK) == 0)
		rc = err_set(err, ERR_STATE,
		             "no Godwit runs on %s now; the same migrate "
		             "command goes on with it",
		             state);
	else if (fd < 0)
		rc = err_set(err, ERR_STATE,
		             "there is no migration at %s; godwit migrate "
		             "says where its state is",
		             state);
	if (folder >= 0)
		(void)close(folder);
	return fd >= 0 ? fd : rc;
}

int
state_listen(const char *state, struct err *err)
{
	char path[STATE_PATH_MAX + 8];
	struct sockaddr_un at;
	int folder;
	int fd;
	int rc;

	(void)snprintf(path, sizeof(path), "%s.sock", state);
	rc = socket_address(path, &at, &folder, err);
	if (rc != 0)
		return rc;
	(void)unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The file is made with what fchmod() leaves. */
	if (fd < 0 || fchmod(fd, 0600) != 0 ||
	    bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
	    listen(fd, 16) != 0) {
		rc = err_set(err, ERR_IO, "%s: %s", path, os_cause(errno));
		if (fd >= 0)
			(void)close(fd);
		fd = -1;
	}
	if (folder >= 0)
		(void)close(folder);
	return fd >= 0 ? fd : rc;
}

static bool
answers(const char *state)
{
	int fd = state_connect(state, NULL);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

/* Count running migrations of the folder; the last one's path to ret, all
 * their names to list. */
static uint32_t
scan(const char *folder, char *ret, size_t n, char *list, size_t list_n)
{
	DIR *d = opendir(folder);
	uint32_t found = 0;

	list[0] = '\0';
	if (d == NULL)
		return 0;
	// The stream is this function's own, so its readdir is safe.
	for (struct dirent *e = readdir(d); // NOLINT(concurrency-mt-unsafe)
	     e != NULL; e = readdir(d)) {   // NOLINT(concurrency-mt-unsafe)
		size_t len = strlen(e->d_name);
		char path[STATE_PATH_MAX];
		size_t used = strlen(list);

		if (len < 6 || strcmp(e->d_name + len - 5, ".sock") != 0)
			continue;
		if (snprintf(path, sizeof(path), "%s/%.*s", folder,
		             (int)(len - 5), e->d_name) >= (int)sizeof(path))
			continue;
		if (!answers(path))
			continue;
		found++;
		(void)snprintf(ret, n, "%s", path);
		(void)snprintf(list + used, list_n - used, " %.*s",
		               (int)(list_n - used), path);
	}
	(void)closedir(d);
	return found;
}

int
state_find(const char *given, char *ret, size_t n, struct err *err)
{
	char folder[STATE_PATH_MAX];
	char list[160];
	uint32_t found;
	int rc;

	if (given[0] != '\0') {
		if (strlen(given) >= n)
			return err_set(err, ERR_USAGE,
			               "--state: the path is too long");
		(void)snprintf(ret, n, "%s", given);
		return 0;
	}
	rc = standard_folder(folder, sizeof(folder), err);
	if (rc != 0)
		return rc;
	found = scan(folder, ret, n, list, sizeof(list));
	if (found == 0)
		return err_set(err, ERR_STATE,
		               "no migration runs in %s; --state FILE names "
		               "one elsewhere",
		               folder);
	if (found > 1)
		return err_set(err, ERR_STATE,
		               "%u migrations run; say which with --state:%s",
		               found, list);
	return 0;
}
