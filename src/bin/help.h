/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/help.h: help pages and completion scripts, made from the tables.
 *
 * Thread: the main one.
 */
#pragma once

#include <stdio.h>

#include "bin/args.h"

/* The first page: what Godwit is and the list of commands. */
void help_top(FILE *out);

/* The page of one command, as a manual page would tell it. */
void help_command(FILE *out, enum command_id id);

/* The page of an action of a command. */
void help_action(FILE *out, enum action_id id);

/* The script for shell "bash", "zsh" or "fish". */
void completion_print(FILE *out, const char *shell);
