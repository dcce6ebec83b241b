/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/action.h: the words behind endpoints, migrations, ...: tables/action.tbl
 * and what follows from the calls of tables/api.tbl that they name.
 *
 * Owns:   nothing; constants.
 * Limits: ACTION_PARTS words in an operand pattern.
 * Thread: any.
 */
#pragma once

#include "bin/args.h"
#include "control/api/router.h"
#include "control/api/shape.h"

#define ACTION_PARTS 6
#define ACTION_NAME  32

struct action {
	enum command_id command;
	const char *word; /* "": the command itself                        */
	enum router_id route;
	struct option_set options; /* what cannot be derived                  */
	const char *summary;       /* "": the call's                          */
};

extern const struct action actions[ACTION_N];

const char *action_summary(enum action_id id);

/* One operand of an action. */
struct action_part {
	char name[ACTION_NAME]; /* "migration": a place of the path, or the
	                         * name of a new thing; "interlay": a word */
	bool is_word;     /* stands as it is                               */
	bool is_new;      /* the name of what the call makes               */
	bool is_optional; /* is_new always is                              */
};

struct action_pattern {
	struct action_part part[ACTION_PARTS];
	uint32_t n;
	bool has_values; /* NAME=VALUE ... may follow                      */
};

void action_pattern(enum action_id id, struct action_pattern *ret);
/* "MIGRATION interlay INTERLAY", "[ENDPOINT]". */
void action_usage(enum action_id id, char *ret, size_t n);

/* Does this command have actions; the first one with that word (or ACTION_N). */
bool action_has(enum command_id command);
enum action_id action_find(enum command_id command, const char *word);
/* The next one of the same command and word, or ACTION_N. */
enum action_id action_next(enum action_id id);

/* May the option stand there? That of the command itself included. */
bool action_takes(enum action_id id, enum option_id option);
/* ... in this action or one of the same word. */
bool action_word_takes(enum action_id id, enum option_id option);

/* The option that gives this field of a body ("expires_in_s"), or OPT_N. */
enum option_id action_option(const char *field);
/* Is there a body; may field of it be given by an option? */
bool action_has_body(enum action_id id);
bool action_takes_field(enum action_id id, const struct shape_field *f);

/* Choose among the actions of that word by the operands. ERR_USAGE. */
int action_choose(enum action_id first, uint32_t operand_n,
                  char *const operand[], enum action_id *ret,
                  struct err *err) MUST;
