/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/secret.c: a password from the terminal, and forgetting it.
 */
#define _DEFAULT_SOURCE
#include "bin/api/secret.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static const int fatal[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
#define FATAL_N (sizeof(fatal) / sizeof(fatal[0]))

static volatile sig_atomic_t caught;

static void
on_signal(int number)
{
	caught = number;
}

/* Read a line; a signal ends it, so that the echo comes back before it acts. */
static ssize_t
read_line(FILE *tty, char **line)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct sigaction before[FATAL_N];
	size_t cap = 0;
	ssize_t n;

	caught = 0;
	for (size_t i = 0; i < FATAL_N; i++)
		(void)sigaction(fatal[i], &action, &before[i]);
	n = getline(line, &cap, tty);
	for (size_t i = 0; i < FATAL_N; i++)
		(void)sigaction(fatal[i], &before[i], NULL);
	return n;
}

static char *
ask(const char *prompt, bool has_echo, struct err *err)
{
	FILE *tty = fopen("/dev/tty", "r+e");
	struct termios before;
	struct termios quiet;
	char *line = NULL;
	ssize_t n;
	bool is_quiet;

	if (tty == NULL) {
		(void)err_set(err, ERR_USAGE, "there is no terminal to ask on");
		return NULL;
	}
	is_quiet = !has_echo && tcgetattr(fileno(tty), &before) == 0;
	if (is_quiet) {
		quiet = before;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		is_quiet = tcsetattr(fileno(tty), TCSAFLUSH, &quiet) == 0;
	}
	(void)fprintf(tty, "%s: ", prompt);
	(void)fflush(tty);
	n = read_line(tty, &line);
	if (is_quiet) {
		(void)tcsetattr(fileno(tty), TCSAFLUSH, &before);
		(void)fputc('\n', tty);
	}
	(void)fclose(tty);
	if (caught != 0)
		(void)raise(caught);
	while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
		line[--n] = '\0';
	if (n > 0)
		return line;
	secret_free(line);
	(void)err_set(err, ERR_USAGE, "nothing was typed");
	return NULL;
}

char *
secret_ask(const char *prompt, struct err *err)
{
	return ask(prompt, false, err);
}

char *
secret_ask_name(const char *prompt, struct err *err)
{
	return ask(prompt, true, err);
}

void
secret_free(char *text)
{
	if (text != NULL)
		explicit_bzero(text, strlen(text));
	free(text);
}
