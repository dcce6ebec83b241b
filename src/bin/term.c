/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/term.c: the terminal: what it can, how big it is, raw keys.
 */
#define _DEFAULT_SOURCE
#include "bin/term.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool
is_smart(void)
{
	const char *name = getenv("TERM");

	return name != NULL && name[0] != '\0' && strcmp(name, "dumb") != 0;
}

bool
term_is_screen(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && is_smart();
}

bool
term_is_output(void)
{
	return isatty(STDOUT_FILENO);
}

bool
term_has_color(void)
{
	const char *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && is_smart() &&
	       (no == NULL || no[0] == '\0');
}

bool
term_has_utf8(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *v = getenv(names[i]);
		const char *dot;

		if (v == NULL || v[0] == '\0')
			continue;
		dot = strchr(v, '.');
		return dot != NULL && (strcasecmp(dot, ".utf-8") == 0 ||
		                       strcasecmp(dot, ".utf8") == 0);
	}
	return false;
}

void
term_size(uint32_t *ret_columns, uint32_t *ret_rows)
{
	struct winsize w;

	*ret_columns = 80;
	*ret_rows = 24;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 &&
	    w.ws_row > 0) {
		*ret_columns = w.ws_col;
		*ret_rows = w.ws_row;
	}
}

void
term_raw(struct term *t)
{
	struct termios raw;

	if (t->is_raw || tcgetattr(STDIN_FILENO, &t->before) != 0)
		return;
	raw = t->before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	t->is_raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

void
term_restore(struct term *t)
{
	if (t->is_raw)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
	t->is_raw = false;
}
