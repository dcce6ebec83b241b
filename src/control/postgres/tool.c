/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/tool.c: PostgreSQL's own programs, run to their end.
 */
#define _GNU_SOURCE
#include "control/postgres/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "world/os/loop.h"

#define NO_PROGRAM 127

/* In the child: where and who. */
static void
set_place(const struct tool *t)
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
	(void)setenv("PGHOST", host, 1);
	(void)setenv("PGPORT", port, 1);
	(void)setenv("PGDATABASE", u->database, 1);
	(void)setenv("PGUSER", t->user, 1);
	(void)setenv("PGPASSWORD", t->pass, 1);
	(void)setenv("PGAPPNAME", "godwit:schema", 1);
	(void)setenv("PGCLIENTENCODING", "UTF8", 1);
	(void)setenv("LC_ALL", "C", 1);
	(void)setenv("PGSSLMODE",
	             !u->tls.is_on     ? "disable"
	             : u->tls.insecure ? "require"
	                               : "verify-full",
	             1);
	if (u->tls.ca[0] != '\0')
		(void)setenv("PGSSLROOTCERT", u->tls.ca, 1);
	if (u->tls.cert[0] != '\0')
		(void)setenv("PGSSLCERT", u->tls.cert, 1);
	if (u->tls.key[0] != '\0')
		(void)setenv("PGSSLKEY", u->tls.key, 1);
}

static _Noreturn void
child(const struct tool *t, int err_fd)
{
	int out = open(t->out != NULL ? t->out : "/dev/null",
	               O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sigset_t none;

	if (out < 0 || in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 ||
	    dup2(err_fd, 2) < 0)
		_exit(NO_PROGRAM - 1);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	set_place(t);
	execvp(t->argv[0], (char *const *)(uintptr_t)t->argv);
	_exit(NO_PROGRAM);
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

int
tool_run(const struct tool *t, struct err *err)
{
	char text[4000];
	char words[180];
	size_t used = 0;
	ssize_t got;
	int status = 0;
	int fd[2];
	pid_t pid;

	if (pipe2(fd, O_CLOEXEC) != 0)
		return err_set(err, ERR_IO, "pipe: %s", os_cause(errno));
	pid = fork();
	if (pid == 0)
		child(t, fd[1]);
	(void)close(fd[1]);
	while (pid > 0) {
		char *to = text + (used < sizeof(text) - 1 ? used : 0);
		size_t room = sizeof(text) - 1 - (size_t)(to - text);

		got = read(fd[0], to, room);
		if (got <= 0 && !(got < 0 && errno == EINTR))
			break;
		if (got > 0)
			used = (size_t)(to - text) + (size_t)got;
	}
	(void)close(fd[0]);
	text[used] = '\0';
	if (pid < 0)
		return err_set(err, ERR_IO, "fork: %s", os_cause(errno));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == NO_PROGRAM)
		return err_set(err, ERR_MISSING,
		               "%s is not in PATH; install PostgreSQL's client "
		               "programs (Debian: postgresql-client)",
		               t->argv[0]);
	keep_words(text, words, sizeof(words));
	return err_set(err, ERR_REFUSED, "%s: %s: %s", t->label, t->argv[0],
	               words);
}
