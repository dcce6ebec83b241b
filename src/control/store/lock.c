/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/lock.c: one process at a time for a state file.
 */
#define _GNU_SOURCE
#include "control/store/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "control/store/store.h"
#include "world/os/loop.h"

/* The holder in its own words: "process 12 on host, since ...". */
static int
refuse(const char *state, int fd, struct err *err)
{
	char text[160];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	char *end;

	text[n > 0 ? n : 0] = '\0';
	end = strchr(text, '\n');
	if (end != NULL && end[1] != '\0') {
		*end = ' '; /* "12\non host ..." */
		end = strchr(end + 1, '\n');
	}
	if (end != NULL)
		*end = '\0';
	return err_set(
		err, ERR_EXISTS,
		"state file %.100s is in use by process %.100s; stop it, "
		"or choose another --state",
		state, text);
}

int
lock_take(const char *state, struct err *err)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char since[STORE_TIME];
	char host[64] = "?";
	char path[560];
	char text[160];
	int fd;
	int n;

	n = snprintf(path, sizeof(path), "%s.lock", state);
	if (n < 0 || (size_t)n >= sizeof(path))
		return err_set(err, ERR_USAGE,
		               "the path of --state is too "
		               "long");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(err, ERR_IO,
		               "%.150s: %s; choose another "
		               "--state",
		               path, os_cause(errno));
	if (fcntl(fd, F_OFD_SETLK, &l) != 0) {
		int rc = refuse(state, fd, err);

		(void)close(fd);
		return rc;
	}
	(void)gethostname(host, sizeof(host) - 1);
	n = snprintf(text, sizeof(text), "%ld\non %s since %s\n",
	             (long)getpid(), host, store_now(since));
	if (n < 0 || ftruncate(fd, 0) != 0 ||
	    pwrite(fd, text, (size_t)n, 0) != n) {
		(void)close(fd);
		return err_set(err, ERR_IO, "%.150s: %s", path,
		               os_cause(errno));
	}
	return fd;
}

void
lock_drop(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}
