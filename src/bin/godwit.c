/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/godwit.c: the main: from a sub-command to its function.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "bin/action.h"
#include "bin/api/ask.h"
#include "bin/api/complete.h"
#include "bin/help.h"
#include "bin/status.h"
#include "bin/verbs.h"

/* The last words of a process whose own promise is broken. */
static void
panic(const char *file, int line, const char *what)
{
	(void)fprintf(stderr,
	              "godwit %s: internal error at %s:%d: %s\n"
	              "The state file is whole: the same command goes on from "
	              "the last decision. Please report this line.\n",
	              GODWIT_VERSION, file, line, what);
}

static verb_run_f help_run;
static verb_run_f version_run;
static verb_run_f completion_run;
static verb_run_f verify_run_either;
static verb_run_f action_run;

static verb_run_f *const runs[CMD_N] = {
	[CMD_MIGRATE] = verb_migrate,
	[CMD_STATUS] = verb_ask,
	[CMD_PROMOTE] = verb_ask,
	[CMD_PAUSE] = verb_ask,
	[CMD_RESUME] = verb_ask,
	[CMD_ROLLBACK] = verb_ask,
	[CMD_COMPLETE] = verb_ask,
	[CMD_VERIFY] = verify_run_either,
	[CMD_EVENTS] = verb_ask,
	[CMD_POOLS] = console_run,
	[CMD_CLIENTS] = console_run,
	[CMD_SERVERS] = console_run,
	[CMD_STOP] = verb_ask,
	[CMD_SERVE] = verb_serve,
	[CMD_COPY] = verb_copy,
	[CMD_RELEASE] = verb_release,
	[CMD_COMPLETION] = completion_run,
	[CMD_LOGIN] = login_run,
	[CMD_LOGOUT] = logout_run,
	[CMD_ENDPOINTS] = action_run,
	[CMD_INTERLAYS] = action_run,
	[CMD_TEMPLATES] = action_run,
	[CMD_APIS] = action_run,
	[CMD_MIGRATIONS] = action_run,
	[CMD_TOKENS] = action_run,
	[CMD_USERS] = action_run,
	[CMD_ROLES] = action_run,
	[CMD_ORGANIZATIONS] = action_run,
	[CMD_AUDIT] = action_run,
	[CMD_HELP] = help_run,
	[CMD_VERSION] = version_run,
};

static int
verify_run_either(const struct args *a)
{
	return a->operand_n == 2 ? verb_compare(a) : verb_ask(a);
}

static int
action_run(const struct args *a)
{
	if (a->action == ACTION_MIGRATIONS_WATCH)
		return follow_watch(a);
	if (a->action == ACTION_MIGRATIONS_EVENTS)
		return follow_events(a);
	return ask_run(a);
}

static int
help_run(const struct args *a)
{
	struct err err;
	enum action_id action;
	enum command_id id;

	if (a->operand_n == 0) {
		help_top(stdout);
		return STATUS_DONE;
	}
	id = args_command(a->operand[0]);
	if (id == CMD_N) {
		(void)err_set(&err, ERR_USAGE,
		              "no command \"%s\"; see: godwit --help",
		              a->operand[0]);
		return verb_fail(a, &err);
	}
	if (a->operand_n == 1) {
		help_command(stdout, id);
		return STATUS_DONE;
	}
	action = action_find(id, a->operand[1]);
	if (action == ACTION_N) {
		(void)err_set(&err, ERR_USAGE,
		              "no action \"%s\" of %s; see: godwit %s --help",
		              a->operand[1], a->operand[0], a->operand[0]);
		return verb_fail(a, &err);
	}
	help_action(stdout, action);
	return STATUS_DONE;
}

static int
version_run(const struct args *a)
{
	if (a->number[OPT_JSON] != 0)
		(void)printf("{\"version\":\"%s\"}\n", GODWIT_VERSION);
	else
		(void)printf("godwit %s\n", GODWIT_VERSION);
	return STATUS_DONE;
}

static int
completion_run(const struct args *a)
{
	completion_print(stdout, a->operand[0]);
	return STATUS_DONE;
}

int
main(int argc, char *argv[])
{
	struct args args;
	struct err err;
	int status;

	check_on_fail(panic);
	if (argc > 1 && strcmp(argv[1], "__complete") == 0)
		return complete_run(argc - 2, argv + 2);
	if (args_parse(argc, argv, &args, &err) != 0) {
		(void)fprintf(stderr, "godwit: %s\n", err.text);
		if (argc < 2)
			help_top(stderr);
		return STATUS_USAGE;
	}
	if (args.wants_help && argc == 2)
		status = help_run(&(struct args){ .command = CMD_HELP,
		                                  .action = ACTION_N });
	else if (args.wants_help && args.action != ACTION_N) {
		help_action(stdout, args.action);
		status = STATUS_DONE;
	} else if (args.wants_help) {
		help_command(stdout, args.command);
		status = STATUS_DONE;
	} else
		status = runs[args.command](&args);
	/* Data that could not be written is no success (a full disk). */
	if (fflush(stdout) != 0 && status == STATUS_DONE)
		status = STATUS_ERROR;
	return status;
}
