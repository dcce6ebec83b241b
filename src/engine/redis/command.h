/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/command.h: what each command of Redis is, from one table.
 *
 * The table (tables/resp.tbl) is made from a real server's COMMAND; a name that
 * is not in it is not known, and what is not known is not relayed.
 *
 * Owns:   nothing; the table is constant, struct command_index is the caller's.
 * Thread: any; the index is built once and only read afterwards.
 */
#pragma once

#include "base/span.h"

enum command_kind {
	COMMAND_READ,  /* reads keys, changes nothing                     */
	COMMAND_WRITE, /* may change keys                                 */
	COMMAND_ADMIN, /* neither, or tells of the server: authority only */
};

/* What the relay does with it. */
enum command_handler {
	COMMAND_PLAIN,     /* sent as it is, one reply                    */
	COMMAND_REFUSE,    /* refused by name; why says the reason        */
	COMMAND_CONTAINER, /* the second word decides                     */
	COMMAND_AUTH,
	COMMAND_SELECT,
	COMMAND_HELLO,
	COMMAND_QUIT,
	COMMAND_RESET,
	COMMAND_PING,
	COMMAND_SETNAME,
	COMMAND_GETNAME,
	COMMAND_CLIENTID,
	COMMAND_CLIENTINFO,
	COMMAND_MULTI,
	COMMAND_EXEC,
	COMMAND_DISCARD,
	COMMAND_WATCH,
	COMMAND_UNWATCH,
	COMMAND_SUBSCRIBE,
	COMMAND_UNSUBSCRIBE,
	COMMAND_SCAN,        /* argument 1 is a cursor                    */
	COMMAND_SCANKEY,     /* argument 2 is a cursor                    */
	COMMAND_BLOCK_LAST,  /* may block; the last argument is the time  */
	COMMAND_BLOCK_FIRST, /* may block; argument 1 is the time         */
	COMMAND_BLOCK_WORD,  /* blocks when BLOCK ms is among its options */
	COMMAND_ALONE,   /* refused while a migration is attached (why)       */
	COMMAND_CONFIG,  /* CONFIG SET: some settings are, others go to both  */
	COMMAND_DEBUG,   /* some subcommands are                              */
	COMMAND_MIGRATE, /* keys behind the word KEYS                         */
	COMMAND_KILL,    /* ends a script: on a connection that runs none     */
	COMMAND_CLIENTS, /* about all clients of the interlay                 */
	COMMAND_INFO,    /* tells of the clients of the interlay */
	COMMAND_MONITOR,
	COMMAND_CLIENTREPLY,
	COMMAND_NOEVICT,
	COMMAND_USERS, /* changes users: control carries them        */
	COMMAND_WAIT,  /* may block; the last argument is the time in ms    */
	COMMAND_TRACKING, /* CLIENT TRACKING and its like                     */
	COMMAND_EVAL,
	COMMAND_EVALSHA,
	COMMAND_SCRIPT_LOAD,
	COMMAND_SCRIPT_FLUSH,
};

struct command {
	char name[32]; /* lower case; "client|setname" */
	uint8_t name_n;
	uint8_t kind;    /* enum command_kind    */
	uint8_t handler; /* enum command_handler */
	int8_t arity;    /* n words exactly, or at least -n                 */
	int8_t first;    /* argument index of the first key, 0: none        */
	int8_t last;     /* of the last one; negative: from the end         */
	int8_t step;
	int8_t numkeys;  /* index of the argument that counts keys, 0: none,
	                  * COMMAND_KEYS_ANY: any word may name one          */
	const char *why; /* of COMMAND_REFUSE, ALONE, CONFIG and DEBUG; of
	                  * PLAIN: who is shown a cluster is told this       */
};

#define COMMAND_KEYS_ANY (-1)

#define COMMAND_SLOTS 1024 /* over twice the rows of the table */

struct command_index {
	uint16_t slot[COMMAND_SLOTS]; /* row + 1, 0: empty */
};

void command_index_init(struct command_index *ix);

/* The row of a name in any case, NULL when unknown. For a container the second
 * word is looked up with command_find_sub(). */
const struct command *command_find(const struct command_index *ix,
                                   struct span name);
const struct command *command_find_sub(const struct command_index *ix,
                                       const struct command *container,
                                       struct span sub);

/* PUBLISH or SPUBLISH: its argument is a channel. */
static inline bool
command_is_publish(const struct command *c)
{
	struct span name = { (const uint8_t *)c->name, c->name_n };

	return (c->name[0] == 'p' || c->name[0] == 's') &&
	       (span_eq(name, SPAN("publish")) ||
	        span_eq(name, SPAN("spublish")));
}

/* All rows; the last one, without a name, is of COMMAND alone, and of none. */
extern const struct command command_rows[];
extern const uint16_t command_none;

/* Where a row is, in bytes: small, and cheap to tell. */
static inline uint16_t
command_place(const struct command *c)
{
	return (uint16_t)((const char *)c - (const char *)command_rows);
}

const struct command *command_at(uint16_t place);

/* Is argc (all words, the name included) a number of words it takes? */
bool command_takes(const struct command *c, uint32_t argc);
