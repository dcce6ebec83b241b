/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/disk.c: numbered files that only grow, in a directory.
 */
#include "world/os/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "world/os/loop.h"

#define DIR_MAX 640
#define PATH_N  (DIR_MAX + 24)
/* Files that wait to be durable: beyond it who writes waits. */
#define DUE_MAX 16

struct files {
	struct disk d; /* first */
	char dir[DIR_MAX];
	uint64_t first;
	uint64_t end;
	uint64_t bytes;
	uint64_t max;
	int tx; /* of file end - 1; -1: not open */
	uint64_t size;
	int rx; /* of file rx_n; -1 */
	uint64_t rx_n;
	char why[200];
	bool is_old; /* another process wrote, and nothing was synced yet */

	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t work;
	pthread_cond_t ended;
	int due[DUE_MAX]; /* descriptors of the thread's own */
	int due_n;
	bool is_new; /* the directory has another file */
	bool stops;
	int bad; /* errno of a sync that failed: nothing after it counts */
	uint64_t asked;
	uint64_t done;
};

static void
name_of(const struct files *f, uint64_t n, char ret[PATH_N])
{
	(void)snprintf(ret, PATH_N, "%s/%016llx", f->dir,
	               (unsigned long long)n);
}

static int
fail(struct files *f, int error)
{
	(void)snprintf(f->why, sizeof(f->why), "%.150s: %s", f->dir,
	               os_cause(error));
	return error == ENOSPC || error == EDQUOT || error == EFBIG ? -ERR_LIMIT
	                                                            : -ERR_IO;
}

/* ---- what makes it durable ------------------------------------------------ */

static int
sync_dir(const struct files *f)
{
	int fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd >= 0 && fsync(fd) == 0 ? 0 : errno;

	if (fd >= 0)
		(void)close(fd);
	return rc;
}

static void *
run(void *arg)
{
	struct files *f = arg;

	(void)pthread_mutex_lock(&f->lock);
	while (!f->stops || f->due_n > 0) {
		int due[DUE_MAX];
		int n = f->due_n;
		uint64_t asked = f->asked;
		bool is_new = f->is_new;
		int bad = 0;

		if (n == 0 && f->done == asked) {
			(void)pthread_cond_wait(&f->work, &f->lock);
			continue;
		}
		memcpy(due, f->due, sizeof(due));
		f->due_n = 0;
		f->is_new = false;
		(void)pthread_mutex_unlock(&f->lock);
		for (int i = 0; i < n; i++) {
			if (fdatasync(due[i]) != 0)
				bad = errno;
			(void)close(due[i]);
		}
		if (is_new && bad == 0)
			bad = sync_dir(f);
		(void)pthread_mutex_lock(&f->lock);
		if (bad != 0)
			f->bad = bad;
		if (f->bad == 0)
			f->done = asked;
		else if (f->done != asked && f->due_n == 0)
			(void)pthread_cond_wait(&f->work, &f->lock);
		(void)pthread_cond_broadcast(&f->ended);
	}
	(void)pthread_mutex_unlock(&f->lock);
	return NULL;
}

/* fd is the thread's from now on. */
static void
put_due(struct files *f, int fd)
{
	while (f->due_n == DUE_MAX)
		(void)pthread_cond_wait(&f->ended, &f->lock);
	f->due[f->due_n++] = fd;
	(void)pthread_cond_signal(&f->work);
}

/* Of files of another process those that may not be durable. */
static int
open_old(const struct files *f, uint64_t n)
{
	char name[PATH_N];

	name_of(f, n, name);
	return open(name, O_WRONLY | O_CLOEXEC);
}

static void
begin_sync(struct disk *d)
{
	struct files *f = (struct files *)(void *)d;
	int fd[2] = { -1, -1 };
	bool bad = false;

	if (f->tx >= 0) {
		fd[0] = fcntl(f->tx, F_DUPFD_CLOEXEC, 0);
		bad = fd[0] < 0;
	}
	for (int i = 0; f->is_old && i < 2; i++) {
		uint64_t n = f->end - 1 - (uint64_t)i;

		if (n < f->first || n >= f->end || fd[i] >= 0)
			continue;
		fd[i] = open_old(f, n);
		bad = bad || fd[i] < 0;
	}
	(void)pthread_mutex_lock(&f->lock);
	for (int i = 0; i < 2; i++) {
		if (fd[i] >= 0)
			put_due(f, fd[i]);
	}
	if (bad)
		f->bad = errno != 0 ? errno : EIO;
	f->is_new = f->is_new || f->is_old;
	f->is_old = false;
	f->asked++;
	(void)pthread_cond_signal(&f->work);
	(void)pthread_mutex_unlock(&f->lock);
}

static uint64_t
synced(struct disk *d)
{
	struct files *f = (struct files *)(void *)d;
	uint64_t n;

	(void)pthread_mutex_lock(&f->lock);
	n = f->done;
	(void)pthread_mutex_unlock(&f->lock);
	return n;
}

/* ---- files ------------------------------------------------------------------- */

static void
range(struct disk *d, uint64_t *ret_first, uint64_t *ret_end)
{
	struct files *f = (struct files *)(void *)d;

	*ret_first = f->first;
	*ret_end = f->end;
}

/* The file before is whole: the thread closes it. */
static int
open_tx(struct files *f, uint64_t n)
{
	bool is_new = n >= f->end;
	char name[PATH_N];
	struct stat st;
	int fd;

	name_of(f, n, name);
	if (is_new && mkdir(f->dir, 0700) != 0 && errno != EEXIST)
		return fail(f, errno);
	fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) != 0) {
		int error = errno;

		if (fd >= 0)
			(void)close(fd);
		return fail(f, error);
	}
	(void)pthread_mutex_lock(&f->lock);
	if (f->tx >= 0)
		put_due(f, f->tx);
	f->is_new = f->is_new || is_new;
	(void)pthread_mutex_unlock(&f->lock);
	f->tx = fd;
	f->size = (uint64_t)st.st_size;
	if (f->end == f->first)
		f->first = n;
	f->end = n + 1;
	return 0;
}

static int
append(struct disk *d, uint64_t n, struct span bytes)
{
	struct files *f = (struct files *)(void *)d;
	size_t put = 0;
	int bad;

	(void)pthread_mutex_lock(&f->lock);
	bad = f->bad;
	(void)pthread_mutex_unlock(&f->lock);
	if (bad != 0)
		return fail(f, bad);
	if (f->max > 0 && f->bytes + bytes.n > f->max) {
		(void)snprintf(f->why, sizeof(f->why),
		               "%.150s: its limit is reached", f->dir);
		return -ERR_LIMIT;
	}
	if (f->tx < 0 || n >= f->end) {
		int rc = open_tx(f, n);

		if (rc != 0)
			return rc;
	}
	while (put < bytes.n) {
		ssize_t k = write(f->tx, bytes.p + put, bytes.n - put);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0) {
			int error = k < 0 ? errno : ENOSPC;

			if (put > 0 && ftruncate(f->tx, (off_t)f->size) != 0)
				error = EIO;
			return fail(f, error);
		}
		put += (size_t)k;
	}
	f->size += bytes.n;
	f->bytes += bytes.n;
	return 0;
}

static int64_t
read_at(struct disk *d, uint64_t n, uint64_t at, uint8_t *to, size_t cap)
{
	struct files *f = (struct files *)(void *)d;
	char name[PATH_N];
	ssize_t k;

	if (f->rx < 0 || f->rx_n != n) {
		if (f->rx >= 0)
			(void)close(f->rx);
		name_of(f, n, name);
		f->rx = open(name, O_RDONLY | O_CLOEXEC);
		f->rx_n = n;
		if (f->rx < 0)
			return fail(f, errno) < 0 ? -ERR_IO : 0;
	}
	do
		k = pread(f->rx, to, cap, (off_t)at);
	while (k < 0 && errno == EINTR);
	if (k < 0) {
		(void)fail(f, errno);
		return -ERR_IO;
	}
	return k;
}

static int
cut(struct disk *d, uint64_t n, uint64_t size)
{
	struct files *f = (struct files *)(void *)d;
	char name[PATH_N];
	struct stat st;

	name_of(f, n, name);
	if (stat(name, &st) != 0)
		return fail(f, errno);
	if (size >= (uint64_t)st.st_size)
		return 0;
	if (truncate(name, (off_t)size) != 0)
		return fail(f, errno);
	f->bytes -= (uint64_t)st.st_size - size;
	if (n + 1 == f->end)
		f->size = size;
	return 0;
}

static void
remove_one(struct disk *d, uint64_t n)
{
	struct files *f = (struct files *)(void *)d;
	char name[PATH_N];
	struct stat st;

	REQUIRE(n == f->first && n < f->end);
	name_of(f, n, name);
	if (stat(name, &st) == 0)
		f->bytes -= (uint64_t)st.st_size < f->bytes
		                    ? (uint64_t)st.st_size
		                    : f->bytes;
	(void)unlink(name);
	f->first = n + 1;
	if (f->rx >= 0 && f->rx_n == n) {
		(void)close(f->rx);
		f->rx = -1;
	}
	if (f->first == f->end && f->tx >= 0) {
		(void)close(f->tx);
		f->tx = -1;
	}
}

static uint64_t
bytes_of(struct disk *d)
{
	return ((struct files *)(void *)d)->bytes;
}

static const char *
why_of(struct disk *d)
{
	return ((struct files *)(void *)d)->why;
}

/* ---- life ---------------------------------------------------------------------- */

static bool
number_of(const char *name, uint64_t *ret)
{
	char *end;

	if (strlen(name) != 16)
		return false;
	*ret = strtoull(name, &end, 16);
	return *end == '\0';
}

/* Those without a gap up to the last one; what is before a gap was to be removed. */
static void
look(struct files *f)
{
	DIR *dir = opendir(f->dir);
	char name[PATH_N];
	struct dirent *e;
	struct stat st;
	uint64_t n;

	f->first = 1;
	f->end = 1;
	while (dir != NULL && (e = readdir(dir)) != NULL) {
		if (number_of(e->d_name, &n) && n >= f->end)
			f->end = n + 1;
	}
	if (dir != NULL)
		(void)closedir(dir);
	f->first = f->end;
	f->is_old = true;
	while (f->first > 1) {
		name_of(f, f->first - 1, name);
		if (stat(name, &st) != 0)
			break;
		f->bytes += (uint64_t)st.st_size;
		f->first--;
	}
}

struct disk *
disk_new(const char *dir, uint64_t max, struct err *err)
{
	static const struct disk_ops ops = {
		.range = range,
		.append = append,
		.read = read_at,
		.cut = cut,
		.remove = remove_one,
		.sync = begin_sync,
		.synced = synced,
		.bytes = bytes_of,
		.why = why_of,
	};
	struct files *f = calloc(1, sizeof(*f));

	if (f == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	f->d.ops = &ops;
	f->tx = -1;
	f->rx = -1;
	f->max = max;
	(void)snprintf(f->dir, sizeof(f->dir), "%s", dir);
	look(f);
	(void)pthread_mutex_init(&f->lock, NULL);
	(void)pthread_cond_init(&f->work, NULL);
	(void)pthread_cond_init(&f->ended, NULL);
	f->has_thread = pthread_create(&f->thread, NULL, run, f) == 0;
	if (f->has_thread)
		return &f->d;
	(void)err_set(err, ERR_IO, "no thread for the spool");
	disk_free(&f->d);
	return NULL;
}

void
disk_free(struct disk *d)
{
	struct files *f = (struct files *)(void *)d;

	if (f == NULL)
		return;
	if (f->has_thread) {
		(void)pthread_mutex_lock(&f->lock);
		f->stops = true;
		(void)pthread_cond_signal(&f->work);
		(void)pthread_mutex_unlock(&f->lock);
		(void)pthread_join(f->thread, NULL);
	}
	if (f->tx >= 0)
		(void)close(f->tx);
	if (f->rx >= 0)
		(void)close(f->rx);
	(void)pthread_mutex_destroy(&f->lock);
	(void)pthread_cond_destroy(&f->work);
	(void)pthread_cond_destroy(&f->ended);
	free(f);
}

void
disk_forget(const char *dir)
{
	DIR *at = opendir(dir);
	char name[PATH_N];
	struct dirent *e;
	uint64_t n;

	if (at == NULL)
		return;
	while ((e = readdir(at)) != NULL) {
		if (!number_of(e->d_name, &n))
			continue;
		(void)snprintf(name, sizeof(name), "%s/%s", dir, e->d_name);
		(void)unlink(name);
	}
	(void)closedir(at);
	(void)rmdir(dir);
}
