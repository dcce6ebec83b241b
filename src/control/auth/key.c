/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/key.c: the key beside the state file.
 */
#define _GNU_SOURCE
#include "control/auth/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "world/os/loop.h"

#define PATH_LEN 544
#define HEAD     "godwit-key-1\n"
#define HEAD_LEN (sizeof(HEAD) - 1)
#define TEXT_LEN (HEAD_LEN + (size_t)2 * DIGEST_SIZE + 1)

/* The directory's entry is durable as well. */
static int
sync_folder(const char *path)
{
	char folder[PATH_LEN];
	const char *slash = strrchr(path, '/');
	int rc;
	int fd;

	if (slash == NULL)
		(void)snprintf(folder, sizeof(folder), ".");
	else
		(void)snprintf(folder, sizeof(folder), "%.*s",
		               (int)(slash == path ? 1 : slash - path), path);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	rc = fsync(fd);
	(void)close(fd);
	return rc;
}

static bool
write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t got = write(fd, p, n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		p += got;
		n -= (size_t)got;
	}
	return true;
}

/* Complete under another name first: a key file is whole or not there. */
static int
make(const char *path, struct err *err)
{
	char temp[PATH_LEN + 8];
	char text[TEXT_LEN + 1] = HEAD;
	uint8_t raw[DIGEST_SIZE];
	bool ok;
	int fd;

	(void)snprintf(temp, sizeof(temp), "%s.new", path);
	(void)unlink(temp);
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	          0600);
	if (fd < 0)
		return err_set(err, ERR_IO, "key file %s: %s", temp,
		               os_cause(errno));
	digest_random(raw, sizeof(raw));
	digest_hex(raw, sizeof(raw), text + HEAD_LEN);
	text[TEXT_LEN - 1] = '\n';
	ok = write_all(fd, text, TEXT_LEN) && fsync(fd) == 0;
	ok = close(fd) == 0 && ok;
	digest_clear(raw, sizeof(raw));
	digest_clear(text, sizeof(text));
	/* link refuses to replace a file that appeared meanwhile. */
	if (!ok || link(temp, path) != 0 || unlink(temp) != 0 ||
	    sync_folder(path) != 0) {
		int rc = err_set(err, ERR_IO, "key file %s: %s", path,
		                 os_cause(errno));

		(void)unlink(temp);
		return rc;
	}
	return 0;
}

static int
look(int fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return err_set(err, ERR_IO, "key file %s: %s", path,
		               os_cause(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_BAD, "key file %s: not a plain file",
		               path);
	if (st.st_uid != geteuid())
		return err_set(err, ERR_BAD,
		               "key file %s belongs to user %u, Godwit runs "
		               "as %u; chown it",
		               path, (unsigned)st.st_uid, (unsigned)geteuid());
	if ((st.st_mode & 077) != 0)
		return err_set(err, ERR_BAD,
		               "key file %s has mode %04o: others can reach "
		               "it; chmod 600 it, and if others may have read "
		               "it, change the passwords of the endpoints",
		               path, (unsigned)(st.st_mode & 07777));
	return 0;
}

/* Exactly the text that make() writes. */
static int
read_raw(int fd, const char *path, uint8_t raw[DIGEST_SIZE], struct err *err)
{
	char text[TEXT_LEN + 1];
	size_t n = 0;
	bool ok;

	while (n < sizeof(text)) {
		ssize_t got = read(fd, text + n, sizeof(text) - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(err, ERR_IO, "key file %s: %s", path,
			               os_cause(errno));
		if (got == 0)
			break;
		n += (size_t)got;
	}
	ok = n == TEXT_LEN && memcmp(text, HEAD, HEAD_LEN) == 0 &&
	     text[TEXT_LEN - 1] == '\n';
	if (ok) {
		text[TEXT_LEN - 1] = '\0';
		ok = digest_unhex(text + HEAD_LEN, raw, DIGEST_SIZE);
	}
	digest_clear(text, sizeof(text));
	if (!ok)
		return err_set(err, ERR_BAD,
		               "key file %s: not a key of Godwit's; put back "
		               "the one that belongs to the state file",
		               path);
	return 0;
}

static int
open_key(const char *path, bool may_make, struct err *err)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT && may_make) {
		int rc = make(path, err);

		if (rc != 0)
			return rc;
		fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd >= 0)
		return fd;
	if (errno == ENOENT)
		return err_set(err, ERR_MISSING,
		               "key file %s is gone, and the state file "
		               "has secrets that only it opens; put it back, "
		               "or begin with a new --state",
		               path);
	return err_set(err, errno == ELOOP ? ERR_BAD : ERR_IO,
	               "key file %s: %s", path, os_cause(errno));
}

struct key *
key_load(const char *state, bool may_make, struct err *err)
{
	uint8_t raw[DIGEST_SIZE];
	char path[PATH_LEN];
	struct key *k;
	int rc;
	int fd;

	if (snprintf(path, sizeof(path), "%s.key", state) >= PATH_LEN) {
		(void)err_set(err, ERR_USAGE,
		              "the path of --state is too long");
		return NULL;
	}
	fd = open_key(path, may_make, err);
	if (fd < 0)
		return NULL;
	rc = look(fd, path, err);
	if (rc == 0)
		rc = read_raw(fd, path, raw, err);
	(void)close(fd);
	if (rc != 0)
		return NULL;
	k = mmap(NULL, sizeof(*k), PROT_READ | PROT_WRITE,
	         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (k == MAP_FAILED) {
		digest_clear(raw, sizeof(raw));
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	/* Both may be refused (RLIMIT_MEMLOCK): then it is as for any memory. */
	(void)mlock(k, sizeof(*k));
	(void)madvise(k, sizeof(*k), MADV_DONTDUMP);
	digest_derive(raw, "godwit seal 1", k->seal);
	digest_derive(raw, "godwit jwt 1", k->jwt);
	digest_derive(raw, "godwit check 1", k->check);
	digest_clear(raw, sizeof(raw));
	return k;
}

void
key_free(struct key *k)
{
	if (k == NULL)
		return;
	digest_clear(k, sizeof(*k));
	(void)munmap(k, sizeof(*k));
}
