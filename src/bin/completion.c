/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/completion.c: completion scripts, made from the tables.
 */
#include "base/check.h"
#include "bin/action.h"
#include "bin/help.h"

/* "a|b" as "a b". */
static void
put_words(FILE *out, const char *all)
{
	for (const char *p = all; *p != '\0'; p++)
		(void)fputc(*p == '|' ? ' ' : *p, out);
}

/* The first sentence of a help text, safe between single quotes. */
static void
put_sentence(FILE *out, const char *text, const char *drop)
{
	for (const char *p = text; *p != '\0'; p++) {
		if (p[0] == '.' && (p[1] == ' ' || p[1] == '\0'))
			break;
		if (*p == '\'')
			(void)fputs("’", out);
		else if (strchr(drop, *p) == NULL)
			(void)fputc(*p, out);
	}
}

static bool
has_words(const struct option *o)
{
	return o->kind == OPTION_CHOICE || o->kind == OPTION_PLACE;
}

/* Commands whose next words are asked for, as a|b|c. */
static void
put_commands(FILE *out, char between)
{
	bool is_first = true;

	for (enum command_id i = 0; i < CMD_N; i++) {
		if (!action_has(i))
			continue;
		if (!is_first)
			(void)fputc(between, out);
		(void)fputs(commands[i].name, out);
		is_first = false;
	}
}

/* Options whose value is a file, as a|b|c. */
static void
put_file_options(FILE *out)
{
	(void)fputs("-f", out);
	for (size_t i = 0; i < OPT_N; i++)
		if (options[i].kind == OPTION_FILE)
			(void)fprintf(out, "|--%s", options[i].name);
}

/* The words of a choice; a place completes to some shares. */
static void
put_choice(FILE *out, const struct option *o)
{
	if (o->kind == OPTION_PLACE) {
		(void)fputs("5 25 50 75 100 cutover", out);
	} else {
		put_words(out, o->value);
	}
}

/* Files after their options; what the binary itself is asked for. */
static void
bash_asked(FILE *out)
{
	put_file_options(out);
	(void)fputs(") COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
	            "    esac\n    case ${COMP_WORDS[1]} in\n    ",
	            out);
	put_commands(out, '|');
	(void)fputs(")\n"
	            "        words=$(\"${COMP_WORDS[0]}\" __complete "
	            "\"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null | cut -f1)\n"
	            "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	            "        return ;;\n"
	            "    esac\n    case $prev in\n",
	            out);
}

/* The values of the other options. */
static void
bash_values(FILE *out)
{
	for (size_t i = 0; i < OPT_N; i++) {
		const struct option *o = &options[i];

		if (o->kind == OPTION_FLAG || o->kind == OPTION_FILE)
			continue;
		(void)fprintf(out, "    --%s) words='", o->name);
		if (has_words(o))
			put_choice(out, o);
		else
			(void)fputs(o->standard, out);
		(void)fputs("'\n        COMPREPLY=($(compgen -W \"$words\" -- "
		            "\"$cur\")); return ;;\n",
		            out);
	}
}

static void
bash(FILE *out)
{
	(void)fputs("# bash completion of godwit; made by: "
	            "godwit completion bash\n"
	            "_godwit()\n{\n"
	            "    local cur=${COMP_WORDS[COMP_CWORD]}\n"
	            "    local prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	            "    local words=\n"
	            "    COMPREPLY=()\n"
	            "    if [[ $COMP_CWORD -eq 1 ]]; then\n        words='",
	            out);
	for (size_t i = 0; i < CMD_N; i++)
		(void)fprintf(out, "%s ", commands[i].name);
	(void)fputs("--help --version'\n"
	            "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	            "        return\n    fi\n"
	            "    case $prev in\n    ",
	            out);
	bash_asked(out);
	bash_values(out);
	(void)fputs("    esac\n    case ${COMP_WORDS[1]} in\n", out);
	for (size_t i = 0; i < CMD_N; i++) {
		const struct command *c = &commands[i];

		(void)fprintf(out, "    %s) words='", c->name);
		for (enum option_id k = 0; k < OPT_N; k++)
			if (option_set_has(&c->options, k))
				(void)fprintf(out, "--%s ", options[k].name);
		if (strchr(c->operands, '|') != NULL)
			put_words(out, c->operands);
		if (i == CMD_HELP)
			for (size_t k = 0; k < CMD_N; k++)
				(void)fprintf(out, "%s ", commands[k].name);
		(void)fputs(" --help' ;;\n", out);
	}
	(void)fputs("    esac\n"
	            "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	            "}\ncomplete -F _godwit godwit\n",
	            out);
}

static void
zsh_option(FILE *out, const struct option *o)
{
	(void)fprintf(out, "            '--%s%s[", o->name,
	              o->kind == OPTION_FLAG ? "" : "=");
	put_sentence(out, o->help, "[]:");
	(void)fputc(']', out);
	if (o->kind == OPTION_FILE) {
		(void)fputs(":file:_files", out);
	} else if (has_words(o)) {
		(void)fputs(":value:(", out);
		put_choice(out, o);
		(void)fputc(')', out);
	} else if (o->kind != OPTION_FLAG) {
		(void)fprintf(out, ":%s:(%s)", o->value, o->standard);
	}
	(void)fputs("' \\\n", out);
}

static void
zsh(FILE *out)
{
	(void)fputs("#compdef godwit\n# made by: godwit completion zsh\n"
	            "_godwit() {\n"
	            "    local -a commands\n    commands=(\n",
	            out);
	for (size_t i = 0; i < CMD_N; i++) {
		(void)fprintf(out, "        '%s:", commands[i].name);
		put_sentence(out, commands[i].summary, ":");
		(void)fputs("'\n", out);
	}
	(void)fputs("    )\n"
	            "    if (( CURRENT == 2 )); then\n"
	            "        _describe 'command' commands\n"
	            "        return\n    fi\n"
	            "    case $words[2] in\n    ",
	            out);
	put_commands(out, '|');
	(void)fputs(")\n        case $words[CURRENT-1] in\n        ", out);
	put_file_options(out);
	(void)fputs(") _files; return ;;\n        esac\n"
	            "        local -a found\n"
	            "        found=(${(f)\"$($words[1] __complete "
	            "\"${(@)words[2,CURRENT]}\" 2>/dev/null)\"})\n"
	            "        found=(${found//:/\\\\:})\n"
	            "        found=(${found/$'\\t'/:})\n"
	            "        _describe 'word' found\n"
	            "        return ;;\n"
	            "    esac\n"
	            "    local verb=$words[2]\n"
	            "    shift words; (( CURRENT-- ))\n"
	            "    case $verb in\n",
	            out);
	for (size_t i = 0; i < CMD_N; i++) {
		const struct command *c = &commands[i];

		(void)fprintf(out, "    %s)\n        _arguments \\\n", c->name);
		for (enum option_id k = 0; k < OPT_N; k++)
			if (option_set_has(&c->options, k))
				zsh_option(out, &options[k]);
		if (strchr(c->operands, '|') != NULL) {
			(void)fputs("            '1:word:(", out);
			put_words(out, c->operands);
			(void)fputs(")' \\\n", out);
		}
		if (i == CMD_HELP) {
			(void)fputs("            '1:command:(", out);
			for (size_t k = 0; k < CMD_N; k++)
				(void)fprintf(out, "%s ", commands[k].name);
			(void)fputs(")' \\\n", out);
		}
		(void)fputs("            '--help[explain]' ;;\n", out);
	}
	(void)fputs("    esac\n}\n"
	            "if [[ $funcstack[1] == _godwit ]]; then _godwit \"$@\"; "
	            "else compdef _godwit godwit; fi\n",
	            out);
}

static void
fish_option(FILE *out, const struct command *c, const struct option *o)
{
	(void)fprintf(out,
	              "complete -c godwit -n '__godwit_is %s' "
	              "-l %s",
	              c->name, o->name);
	if (o->kind == OPTION_FILE) {
		(void)fputs(" -r -F", out);
	} else if (has_words(o)) {
		(void)fputs(" -x -a '", out);
		put_choice(out, o);
		(void)fputc('\'', out);
	} else if (o->kind != OPTION_FLAG) {
		(void)fprintf(out, " -x -a '%s'", o->standard);
	}
	(void)fputs(" -d '", out);
	put_sentence(out, o->help, "");
	(void)fputs("'\n", out);
}

/* The commands whose next words the binary itself is asked for. */
static void
fish_asked(FILE *out)
{
	(void)fputs("complete -c godwit -n '__godwit_is ", out);
	put_commands(out, ' ');
	(void)fputs("' -a '(set -l w (commandline -opc) (commandline -ct); "
	            "$w[1] __complete $w[2..-1] 2>/dev/null)'\n",
	            out);
	for (size_t i = 0; i < OPT_N; i++) {
		if (options[i].kind != OPTION_FILE)
			continue;
		(void)fputs("complete -c godwit -n '__godwit_is ", out);
		put_commands(out, ' ');
		(void)fprintf(out, "'%s -l %s -r -F\n",
		              i == OPT_FILE ? " -s f" : "", options[i].name);
	}
}

static void
fish(FILE *out)
{
	(void)fputs("# fish completion of godwit; made by: "
	            "godwit completion fish\ncomplete -c godwit -f\n"
	            "function __godwit_is\n"
	            "    set -l words (commandline -opc)\n"
	            "    set -q words[2]; and contains -- $words[2] $argv\n"
	            "end\n",
	            out);
	for (size_t i = 0; i < CMD_N; i++) {
		const struct command *c = &commands[i];

		(void)fprintf(out,
		              "complete -c godwit -n __fish_use_subcommand -a "
		              "%s -d '",
		              c->name);
		put_sentence(out, c->summary, "");
		(void)fputs("'\n", out);
		for (enum option_id k = 0; k < OPT_N; k++)
			if (option_set_has(&c->options, k))
				fish_option(out, c, &options[k]);
		if (strchr(c->operands, '|') != NULL) {
			(void)fprintf(out,
			              "complete -c godwit -n "
			              "'__godwit_is %s' -a '",
			              c->name);
			put_words(out, c->operands);
			(void)fputs("'\n", out);
		}
	}
	fish_asked(out);
	(void)fputs("complete -c godwit -n '__godwit_is help' "
	            "-a '",
	            out);
	for (size_t i = 0; i < CMD_N; i++)
		(void)fprintf(out, "%s ", commands[i].name);
	(void)fputs("'\n", out);
}

void
completion_print(FILE *out, const char *shell)
{
	if (strcmp(shell, "bash") == 0)
		bash(out);
	else if (strcmp(shell, "zsh") == 0)
		zsh(out);
	else if (strcmp(shell, "fish") == 0)
		fish(out);
	else
		NEVER("a shell that args_parse let through");
}
