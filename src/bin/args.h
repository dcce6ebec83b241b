/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/args.h: the command line, read by two tables.
 *
 * tables/command.tbl and tables/option.tbl say everything that is to be known
 * about commands and options; parsing, help and completion follow them.
 * Precedence: option, then environment (GODWIT_ + name), then standard.
 *
 * Owns:   nothing; texts point into argv, the environment or the tables.
 * Thread: the main one, at the start.
 */
#pragma once

#include "base/err.h"

enum option_kind {
	OPTION_FLAG,
	OPTION_TEXT,
	OPTION_FILE,
	OPTION_ADDRESS,
	OPTION_CHOICE,  /* value: "a|b|c"                                    */
	OPTION_PLACE,   /* value: "PERCENT|a|NAME": a share, a, or a name    */
	OPTION_NUMBER,  /* low <= v <= high                                  */
	OPTION_TIME,    /* in ms, low <= v <= high                           */
	OPTION_STEPS,   /* "5,25,75": ascending percents                     */
	OPTION_PERCENT, /* 0 to 100; number: parts per million               */
};

enum option_id {
#define X(id, name, kind, value, standard, low, high, help) OPT_##id,
#include "option.tbl"
#undef X
	OPT_N,
};

struct option {
	const char *name;
	enum option_kind kind;
	const char *value; /* what stands for the value in the help          */
	const char *standard;
	uint64_t low, high;
	const char *help;
};

enum command_id {
#define X(id, name, operands, options, summary) CMD_##id,
#include "command.tbl"
#undef X
	CMD_N,
};

/* What a command with actions can do (action.h). */
enum action_id {
#define X(id, command, word, route, options, summary) ACTION_##id,
#include "action.tbl"
#undef X
	ACTION_N,
};

/* Which options: a bit for each OPT_*. The column of a table, O(A)|O(B), is read
 * once for each word: O() gives the bit in that word, or nothing. */
#define OPTION_WORDS ((OPT_N + 63) / 64)
#define OPTION_BIT(id, w) \
	((unsigned)(id) / 64 == (w) ? UINT64_C(1) << ((unsigned)(id) % 64) : 0)

struct option_set {
	uint64_t word[OPTION_WORDS];
};

static inline bool
option_set_has(const struct option_set *s, enum option_id id)
{
	return (s->word[(unsigned)id / 64] >> ((unsigned)id % 64) & 1) != 0;
}

static inline bool
option_set_is_empty(const struct option_set *s)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < OPTION_WORDS; i++)
		all |= s->word[i];
	return all == 0;
}

struct command {
	const char *name;
	const char *operands; /* "OLD NEW", "[OLD NEW]", "bash|zsh|fish",
	                       * "ACTION"                                    */
	struct option_set options;
	const char *summary;
};

extern const struct option options[OPT_N];
extern const struct command commands[CMD_N];

#define ARGS_OPERANDS_MAX 32 /* NAME=VALUE of a run; others have few       */
#define ARGS_NAME         48

struct args {
	enum command_id command;
	enum action_id action; /* ACTION_N: none                            */
	bool wants_help; /* --help was there; nothing else was checked      */
	char *operand[ARGS_OPERANDS_MAX];
	uint32_t operand_n;
	const char *text[OPT_N]; /* as given, or the standard               */
	uint64_t number[OPT_N];  /* FLAG: 0 or 1; NUMBER; TIME in ms; CHOICE:
	                           * the index of the word                   */
	bool is_given[OPT_N];    /* on the command line or in the environment */
};

/* Read argv (argv[0] is the program). ERR_USAGE with a sentence that names the
 * word at fault and the nearest known one. */
int args_parse(int argc, char *const argv[], struct args *ret,
               struct err *err) MUST;

/* "promote", "migrations promote". */
void args_name(const struct args *a, char ret[ARGS_NAME]);

/* The command of that name, or CMD_N. */
enum command_id args_command(const char *name);

/* "GODWIT_STEP_DURATION" for "step-duration". ret has n bytes. */
void args_env_name(const char *option, char *ret, size_t n);

/* "90s", "500ms", "2m", "1h", "30" (seconds) in ms. */
bool args_time(const char *text, uint64_t *ret_ms);

/* Shares of a list of steps in parts per million. Answers how many, or 0 with
 * *err when the text is no ascending list of percents. */
uint32_t args_steps(const char *text, uint32_t *ret_ppm, uint32_t max,
                    struct err *err);
