/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/tool.c: PostgreSQL's own programs, run to their end.
 */
#define _GNU_SOURCE
#include "control/postgres/tool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/postgres/backend.h"
#include "world/os/loop.h"

#define WORDS 16 /* of its environment that are ours */

/* Its environment: ours first, for the first of two is the one that counts. */
struct place {
	char text[WORDS][400];
	uint32_t n;
	const char **env; /* malloc */
};

static void
put(struct place *p, const char *name, const char *value)
{
	if (value[0] == '\0' || p->n == WORDS)
		return;
	(void)snprintf(p->text[p->n], sizeof(p->text[0]), "%s=%s", name, value);
	p->n++;
}

static bool
is_ours(const struct place *p, const char *word)
{
	size_t n = strcspn(word, "=") + 1;

	for (uint32_t i = 0; i < p->n; i++) {
		if (strncmp(p->text[i], word, n) == 0)
			return true;
	}
	return false;
}

static bool
join(struct place *p)
{
	size_t theirs = 0;
	size_t n = 0;

	while (environ[theirs] != NULL)
		theirs++;
	p->env = calloc(p->n + theirs + 1, sizeof(*p->env));
	if (p->env == NULL)
		return false;
	for (uint32_t i = 0; i < p->n; i++)
		p->env[n++] = p->text[i];
	for (size_t i = 0; i < theirs; i++) {
		if (!is_ours(p, environ[i]))
			p->env[n++] = environ[i];
	}
	return true;
}

/* Where and who. */
static bool
make_place(const struct tool *t, struct place *p)
{
	const struct url *u = t->url;
	const char *name = strstr(u->at.host, "/.s.PGSQL.");
	char host[sizeof(u->at.host)];
	char port[16];

	memcpy(host, u->at.host, sizeof(host));
	(void)snprintf(port, sizeof(port), "%u", u->at.port);
	if (u->at.port == 0 && name != NULL) {
		host[name - u->at.host] = '\0';
		(void)snprintf(port, sizeof(port), "%s",
		               name + strlen("/.s.PGSQL."));
	}
	put(p, "PGHOST", host);
	put(p, "PGPORT", port);
	put(p, "PGDATABASE", u->database);
	put(p, "PGUSER", t->user);
	put(p, "PGPASSWORD", t->pass);
	put(p, "PGAPPNAME", "godwit:schema");
	put(p, "PGCLIENTENCODING", "UTF8");
	put(p, "PGOPTIONS", BACKEND_OPTIONS);
	put(p, "LC_ALL", "C");
	put(p, "PGGSSENCMODE", "disable");
	put(p, "PGSSLMODE", url_sslmode(u));
	put(p, "PGSSLROOTCERT", backend_ca(u));
	put(p, "PGSSLCERT", u->tls.cert);
	put(p, "PGSSLKEY", u->tls.key);
	return join(p);
}

#define VERSIONS "/usr/lib/postgresql"

/* Where Debian keeps the programs of each version: that of the newest. */
static bool
find_newest(const char *name, char *ret, size_t n)
{
	DIR *dir = opendir(VERSIONS);
	const struct dirent *d;
	double best = 0;

	while (dir != NULL && (d = readdir(dir)) != NULL) {
		double version = strtod(d->d_name, NULL);
		char path[320];

		(void)snprintf(path, sizeof(path), VERSIONS "/%.20s/bin/%s",
		               d->d_name, name);
		if (version <= best || access(path, X_OK) != 0)
			continue;
		best = version;
		(void)snprintf(ret, n, "%s", path);
	}
	if (dir != NULL)
		(void)closedir(dir);
	return best > 0;
}

/* In PATH. What Debian has there looks for the newest version, which takes it longer
 * than the program needs for its work. */
static void
find(const char *name, char *ret, size_t n)
{
	const char *path = getenv("PATH");
	char to[320];

	for (size_t len; path != NULL && *path != '\0'; path += len) {
		ssize_t got;

		path += *path == ':' ? 1 : 0;
		len = strcspn(path, ":");
		(void)snprintf(ret, n, "%.*s/%s", (int)len, path, name);
		if (len == 0 || access(ret, X_OK) != 0)
			continue;
		got = readlink(ret, to, sizeof(to) - 1);
		to[got > 0 ? got : 0] = '\0';
		if (strstr(to, "pg_wrapper") != NULL)
			(void)find_newest(name, ret, n);
		return;
	}
	(void)snprintf(ret, n, "%s", name);
}

/* 0, or an errno. Between fork and exec nothing of ours runs: other threads may hold
 * any lock. */
static int
spawn(const struct tool *t, const struct place *p, int err_fd, pid_t *ret)
{
	/* The interface is older than const; nothing is written. */
	char *const *argv;
	char *const *env;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t how;
	char program[320];
	sigset_t none;
	int rc = posix_spawn_file_actions_init(&files);

	if (rc != 0)
		return rc;
	memcpy(&argv, &t->argv, sizeof(argv));
	memcpy(&env, &p->env, sizeof(env));
	rc = posix_spawnattr_init(&how);
	if (rc != 0) {
		(void)posix_spawn_file_actions_destroy(&files);
		return rc;
	}
	find(t->argv[0], program, sizeof(program));
	(void)sigemptyset(&none);
	rc = posix_spawnattr_setsigmask(&how, &none);
	if (rc == 0)
		rc = posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK);
	if (rc == 0)
		rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null",
		                                      O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_addopen(
			&files, 1, t->out != NULL ? t->out : "/dev/null",
			O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&files, err_fd, 2);
	if (rc == 0)
		rc = posix_spawnp(ret, program, &files, &how, argv, env);
	(void)posix_spawnattr_destroy(&how);
	(void)posix_spawn_file_actions_destroy(&files);
	return rc;
}

/* The first line that says what is wrong; without one the last. */
static void
keep_words(const char *text, char *ret, size_t n)
{
	const char *at = strstr(text, "error:");
	const char *alt = strstr(text, "ERROR:");
	size_t len;

	if (alt != NULL && (at == NULL || alt < at))
		at = alt;
	if (at == NULL)
		at = text;
	len = strcspn(at, "\n");
	(void)snprintf(ret, n, "%.*s", (int)(len > n ? n : len), at);
}

/* Its stderr, up to its end. */
static void
hear(int fd, char *text, size_t n)
{
	size_t used = 0;
	ssize_t got;

	do {
		/* Beyond the room the newest words are kept. */
		if (used == n - 1)
			used = 0;
		got = read(fd, text + used, n - 1 - used);
		if (got > 0)
			used += (size_t)got;
	} while (got > 0 || (got < 0 && errno == EINTR));
	text[used] = '\0';
}

static int
refused(const struct tool *t, const char *text, struct err *err)
{
	char words[180];

	keep_words(text, words, sizeof(words));
	return err_set(err, ERR_REFUSED, "%s: %s: %s", t->label, t->argv[0],
	               words);
}

int
tool_run(const struct tool *t, struct err *err)
{
	struct place place = { .n = 0 };
	char text[4000];
	int status = 0;
	int fd[2];
	pid_t pid = -1;
	int rc;

	if (!make_place(t, &place))
		return err_set(err, ERR_NOMEM, "out of memory");
	if (pipe2(fd, O_CLOEXEC) != 0) {
		free(place.env);
		return err_set(err, ERR_IO, "pipe: %s", os_cause(errno));
	}
	rc = spawn(t, &place, fd[1], &pid);
	free(place.env);
	(void)close(fd[1]);
	if (rc == 0)
		hear(fd[0], text, sizeof(text));
	(void)close(fd[0]);
	if (rc == ENOENT)
		return err_set(err, ERR_MISSING,
		               "%s is not in PATH; install PostgreSQL's client "
		               "programs (Debian: postgresql-client)",
		               t->argv[0]);
	if (rc != 0)
		return err_set(err, ERR_IO, "%s: %s", t->argv[0], os_cause(rc));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return refused(t, text, err);
}
