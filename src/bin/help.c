/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/help.c: help pages, made from the tables.
 */
#include "bin/help.h"

#include "bin/action.h"
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

static bool
takes(const struct command *c, enum action_id action, enum option_id id)
{
	if (action != ACTION_N)
		return action_word_takes(action, id);
	return option_set_has(&c->options, id);
}

static void
show_options(FILE *out, const struct command *c, enum action_id action)
{
	for (enum option_id i = 0; i < OPT_N; i++) {
		const struct option *o = &options[i];
		char env[64];
		char tail[512];

		if (!takes(c, action, i))
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
		if (p->examples[i].what[0] != '\0')
			(void)fprintf(out, "    %s:\n", p->examples[i].what);
		(void)fprintf(out, "        $ %s\n", p->examples[i].command);
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
	if (option_set_has(&c->options, OPT_OLD_PASSWORD_FILE))
		(void)fprintf(out, "    GODWIT_OLD_PASSWORD  password of OLD's "
		                   "user\n");
	if (option_set_has(&c->options, OPT_NEW_PASSWORD_FILE))
		(void)fprintf(out, "    GODWIT_NEW_PASSWORD  password of NEW's "
		                   "user\n");
	if (option_set_has(&c->options, OPT_WATCH) ||
	    c == &commands[CMD_MIGRATE])
		(void)fprintf(out, "    NO_COLOR             no colours on the "
		                   "screen\n"
		                   "    TERM=dumb            lines instead of "
		                   "the screen\n");
	if (option_set_has(&c->options, OPT_SERVER))
		(void)fprintf(out, "    GODWIT_TOKEN         the token itself\n"
		                   "    XDG_CONFIG_HOME      where the login "
		                   "is kept (~/.config)\n");
	if (c == &commands[CMD_LOGIN])
		(void)fprintf(out, "    GODWIT_PASSWORD      the password "
		                   "itself\n");
	if (c == &commands[CMD_MIGRATE])
		(void)fprintf(out,
		              "    GODWIT_CRASH_AT=N[:before|:after]\n"
		              "                         for tests: SIGKILL "
		              "oneself at the N-th journal record\n");
}

/* The words of a command, each once. */
static void
show_actions(FILE *out, enum command_id id)
{
	(void)fprintf(out, "\nACTIONS\n");
	for (enum action_id i = 0; i < ACTION_N; i++)
		if (actions[i].command == id &&
		    action_find(id, actions[i].word) == i) {
			const char *summary = action_summary(i);

			(void)fprintf(out, "    %-13s", actions[i].word);
			wrap(out, summary, strlen(summary), 1, 18);
		}
	(void)fprintf(out,
	              "    godwit %s ACTION --help explains each with "
	              "examples.\n",
	              commands[id].name);
}

static void
show_files(FILE *out, const struct page *p, const struct command *c)
{
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
	if (option_set_has(&c->options, OPT_SERVER))
		(void)fprintf(
			out, "\nFILES\n    $XDG_CONFIG_HOME/godwit/credentials "
			     "(~/.config): the token of each\n    login; only "
			     "you can read it.\n");
}

/* What the pages of commands and of actions have in common. */
static void
show_rest(FILE *out, const struct command *c, enum action_id action,
          const struct page *p)
{
	(void)fprintf(out, "\nEXAMPLES\n");
	show_examples(out, p);
	(void)fprintf(out, "\nOPTIONS\n");
	show_options(out, c, action);
	(void)fprintf(out, "\nEXIT STATUS\n");
	show_exits(out, p->exits);
	if (!option_set_is_empty(&c->options)) {
		(void)fprintf(out, "\nENVIRONMENT\n");
		show_environment(out, c);
	}
	show_files(out, p, c);
	(void)fprintf(out, "\nSEE ALSO\n    godwit help COMMAND: %s\n", p->see);
}

void
help_action(FILE *out, enum action_id id)
{
	const struct action *a = &actions[id];
	const struct command *c = &commands[a->command];
	const char *gap = a->word[0] != '\0' ? " " : "";
	const struct page *p = &action_pages[id];
	char usage[96];

	(void)fprintf(out, "NAME\n    godwit %s%s%s - %s\n\nUSAGE\n", c->name,
	              gap, a->word,
	              gap[0] != '\0' ? action_summary(id) : c->summary);
	for (enum action_id i = id; i < ACTION_N; i = action_next(i)) {
		action_usage(i, usage, sizeof(usage));
		(void)fprintf(out, "    godwit %s%s%s%s%s [OPTIONS]\n", c->name,
		              gap, a->word, usage[0] != '\0' ? " " : "", usage);
	}
	(void)fprintf(out, "\nDESCRIPTION\n");
	paragraphs(out, p->text);
	show_rest(out, c, id, p);
}

void
help_command(FILE *out, enum command_id id)
{
	const struct command *c = &commands[id];
	const struct page *p = &pages[id];

	if (action_find(id, "") != ACTION_N) {
		help_action(out, action_find(id, ""));
		return;
	}
	(void)fprintf(out, "NAME\n    godwit %s - %s\n\n", c->name, c->summary);
	(void)fprintf(out, "USAGE\n    godwit %s%s%s%s%s\n\n", c->name,
	              c->operands[0] != '\0' ? " " : "", c->operands,
	              id == CMD_MIGRATE ? " --listen ADDR" : "",
	              !option_set_is_empty(&c->options) ? " [OPTIONS]" : "");
	(void)fprintf(out, "DESCRIPTION\n");
	paragraphs(out, p->text);
	if (action_has(id))
		show_actions(out, id);
	show_rest(out, c, ACTION_N, p);
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
		(void)fprintf(out, "    %-13s %s\n", commands[i].name,
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
		"    Move a PostgreSQL database; first look what is in the "
		"way:\n"
		"        $ godwit migrate postgres://me@old/app "
		"postgres://me@new/app --listen :6432 --check\n"
		"    Copy once, and prove it:\n"
		"        $ godwit copy redis://old redis://new && godwit "
		"verify redis://old redis://new\n"
		"    Many migrations, behind an API:\n"
		"        $ godwit serve        # then: godwit login, godwit "
		"migrations --help\n\n"
		"EXIT STATUS\n");
	show_exits(out, UINT32_MAX);
	(void)fprintf(out, "\ngodwit help COMMAND explains each with examples. "
	                   "Every option may come from the\nenvironment as "
	                   "GODWIT_ and its name in capitals.\n");
}
