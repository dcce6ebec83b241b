/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/help.c: help pages, made from the tables.
 */
#include "bin/help.h"

#include "bin/page.h"
#include "bin/status.h"

#define WIDTH 79

/* One paragraph of n bytes, wrapped; later lines are indented by `hang`. */
static void
wrap(FILE *out, const char *text, size_t n, size_t indent, size_t hang)
{
	size_t column = indent;
	size_t at = 0;

	(void)fprintf(out, "%*s", (int)indent, "");
	while (at < n) {
		size_t word = strcspn(text + at, " \n");

		if (at + word > n)
			word = n - at;
		if (at > 0 && column + 1 + word > WIDTH) {
			(void)fprintf(out, "\n%*s", (int)hang, "");
			column = hang;
		} else if (at > 0) {
			(void)fputc(' ', out);
			column++;
		}
		(void)fwrite(text + at, 1, word, out);
		column += word;
		at += word + 1;
	}
	(void)fputc('\n', out);
}

/* Paragraphs and list items of a page's text. */
static void
paragraphs(FILE *out, const char *text)
{
	while (*text != '\0') {
		const char *end = strchr(text, '\n');
		size_t n = end != NULL ? (size_t)(end - text) : strlen(text);

		if (text[0] == '*')
			wrap(out, text, n, 4, 6);
		else
			wrap(out, text, n, 4, 4);
		text += n;
		if (text[0] == '\n')
			text++;
		if (text[0] == '\n') {
			(void)fputc('\n', out);
			text++;
		}
	}
}

static void
show_options(FILE *out, const struct command *c)
{
	for (size_t i = 0; i < OPT_N; i++) {
		const struct option *o = &options[i];
		char env[64];
		char tail[512];

		if ((c->options >> i & 1) == 0)
			continue;
		args_env_name(o->name, env, sizeof(env));
		(void)fprintf(out, "    --%s%s%s\n", o->name,
		              o->kind == OPTION_FLAG ? "" : " ", o->value);
		if (o->standard[0] != '\0')
			(void)snprintf(tail, sizeof(tail),
			               "%s Standard: %s. [%s]", o->help,
			               o->standard, env);
		else
			(void)snprintf(tail, sizeof(tail), "%s [%s]", o->help,
			               env);
		wrap(out, tail, strlen(tail), 8, 8);
	}
	(void)fprintf(out, "    --help\n        This page.\n");
}

static void
show_examples(FILE *out, const struct page *p)
{
	for (size_t i = 0; i < PAGE_EXAMPLES_MAX; i++) {
		if (p->examples[i].what == NULL)
			break;
		(void)fprintf(out, "    %s:\n        $ %s\n",
		              p->examples[i].what, p->examples[i].command);
	}
}

static void
show_exits(FILE *out, uint32_t mask)
{
	static const struct {
		unsigned status;
		const char *meaning;
	} exits[] = {
#define X(name, status, meaning) { (status), meaning },
#include "exit.tbl"
#undef X
	};

	for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++)
		if ((mask >> exits[i].status & 1) != 0)
			(void)fprintf(out, "    %-3u %s\n", exits[i].status,
			              exits[i].meaning);
}

static void
show_environment(FILE *out, const struct command *c)
{
	static const char text[] =
		"Every option can be given as GODWIT_ and its name in "
		"capitals (in brackets above); the command line wins.";

	wrap(out, text, sizeof(text) - 1, 4, 4);
	if ((c->options >> OPT_OLD_PASSWORD_FILE & 1) != 0)
		(void)fprintf(out, "    GODWIT_OLD_PASSWORD  password of OLD's "
		                   "user\n");
	if ((c->options >> OPT_NEW_PASSWORD_FILE & 1) != 0)
		(void)fprintf(out, "    GODWIT_NEW_PASSWORD  password of NEW's "
		                   "user\n");
	if ((c->options >> OPT_WATCH & 1) != 0 || c == &commands[CMD_MIGRATE])
		(void)fprintf(out, "    NO_COLOR             no colours on the "
		                   "screen\n"
		                   "    TERM=dumb            lines instead of "
		                   "the screen\n");
	if (c == &commands[CMD_MIGRATE])
		(void)fprintf(out,
		              "    GODWIT_CRASH_AT=N[:before|:after]\n"
		              "                         for tests: SIGKILL "
		              "oneself at the N-th journal record\n");
}

void
help_command(FILE *out, enum command_id id)
{
	const struct command *c = &commands[id];
	const struct page *p = &pages[id];

	(void)fprintf(out, "NAME\n    godwit %s - %s\n\n", c->name, c->summary);
	(void)fprintf(out, "USAGE\n    godwit %s%s%s%s%s\n\n", c->name,
	              c->operands[0] != '\0' ? " " : "", c->operands,
	              id == CMD_MIGRATE ? " --listen ADDR" : "",
	              c->options != 0 ? " [OPTIONS]" : "");
	(void)fprintf(out, "DESCRIPTION\n");
	paragraphs(out, p->text);
	(void)fprintf(out, "\nEXAMPLES\n");
	show_examples(out, p);
	(void)fprintf(out, "\nOPTIONS\n");
	show_options(out, c);
	(void)fprintf(out, "\nEXIT STATUS\n");
	show_exits(out, p->exits);
	if (c->options != 0) {
		(void)fprintf(out, "\nENVIRONMENT\n");
		show_environment(out, c);
	}
	if (p->uses_state)
		(void)fprintf(
			out,
			"\nFILES\n"
			"    FILE        the journal (SQLite; only the owner "
			"can read it)\n"
			"    FILE.sock   the control socket: one JSON object a "
			"line\n"
			"    FILE.lock   held by the process that runs it\n"
			"    FILE.log    messages of a migration begun on a "
			"terminal\n"
			"    (FILE is --state, else ~/.local/state/godwit/"
			"<port>.db)\n");
	(void)fprintf(out, "\nSEE ALSO\n    godwit help COMMAND: %s\n", p->see);
}

void
help_top(FILE *out)
{
	(void)fprintf(
		out,
		"godwit moves a live service, its traffic and its data, from "
		"an old system to a\nnew one without stopping it, proves that "
		"nothing was lost, and can go back.\n\n"
		"USAGE\n    godwit COMMAND [OPTIONS]\n\nCOMMANDS\n");
	for (size_t i = 0; i < CMD_N; i++)
		(void)fprintf(out, "    %-11s %s\n", commands[i].name,
		              commands[i].summary);
	(void)fprintf(
		out,
		"\nBEGIN HERE\n"
		"    Move a Redis while its clients work (they connect to "
		"port 6400 instead):\n"
		"        $ godwit migrate redis://old:6379 redis://new:6379 "
		"--listen :6400\n"
		"    From a second terminal:\n"
		"        $ godwit status\n"
		"        $ godwit promote      # 5 %% of the reads, 25 %%, 75 "
		"%%, then the cutover\n"
		"        $ godwit rollback     # back to the old one, nothing "
		"is lost\n"
		"        $ godwit complete     # verified; the old one is let "
		"go\n"
		"    Copy once, and prove it:\n"
		"        $ godwit copy redis://old redis://new && godwit "
		"verify redis://old redis://new\n\n"
		"EXIT STATUS\n");
	show_exits(out, UINT32_MAX);
	(void)fprintf(out, "\ngodwit help COMMAND explains each with examples. "
	                   "Every option may come from the\nenvironment as "
	                   "GODWIT_ and its name in capitals.\n");
}
