/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/descriptors.c: how many files and connections the process may have.
 */
#include "world/os/descriptors.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

static int kept = INT_MAX;      /* the first that is not for clients      */
static int last_half = INT_MAX; /* nor for what one of them needs         */

void
descriptors_raise(void)
{
	struct rlimit l;
	rlim_t n = DESCRIPTORS_KEPT;

	if (getrlimit(RLIMIT_NOFILE, &l) != 0)
		return;
	if (l.rlim_cur < l.rlim_max) {
		rlim_t before = l.rlim_cur;

		l.rlim_cur = l.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &l) != 0)
			l.rlim_cur = before;
	}
	if (l.rlim_cur > INT_MAX)
		return;
	if (n > l.rlim_cur / 4)
		n = l.rlim_cur / 4;
	kept = (int)(l.rlim_cur - n);
	last_half = (int)(l.rlim_cur - n / 2);
}

bool
descriptors_are_few(int fd)
{
	return fd >= kept;
}

bool
descriptors_are_fewer(int fd)
{
	return fd >= last_half;
}

int
descriptors_next(int like)
{
	int fd = fcntl(like, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return INT_MAX;
	(void)close(fd);
	return fd;
}
