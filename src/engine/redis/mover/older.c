/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/older.c: what servers before 7.0 do in another way.
 * Source: redis/src of 6.0: expire.c, t_string.c, server.c; a redis-server 6.0.16.
 *
 * As the source: its stream has times to live as clients gave them, relative to
 * when they were executed, so such a unit is copied by its state. It has no
 * PEXPIRETIME: a script asks for PTTL between two looks at the clock until both
 * say the same millisecond.
 * As the other side: commands, and words of commands, that came after 6.0 are not
 * sent there; their keys are copied by their state.
 */
#include "engine/redis/mover/state.h"

/* The loop ends in its first or second round; the bound is for a clock that is
 * broken. */
static const char expiry[] =
	"local a, p, b\n"
	"local function ms(t) return t[1] * 1000 + math.floor(t[2] / 1000) end\n"
	"for i = 1, 1000 do\n"
	"  a = ms(redis.call('TIME'))\n"
	"  p = redis.call('PTTL', KEYS[1])\n"
	"  b = ms(redis.call('TIME'))\n"
	"  if p < 0 then return p end\n"
	"  if a == b then break end\n"
	"end\n"
	"return b + p\n";

bool
older_is(const struct mover *m, enum side side)
{
	return m->server[side].version < OLDER_THAN;
}

bool
older_is_any(const struct mover *m)
{
	return older_is(m, SIDE_OLD) || older_is(m, SIDE_NEW);
}

void
older_put_expiry(const struct mover *m, enum side side, struct buf *b,
                 struct span key)
{
	if (!older_is(m, side)) {
		resp_put_array(b, 2);
		resp_put_bulk_str(b, "PEXPIRETIME");
	} else {
		resp_put_array(b, 4);
		resp_put_bulk_str(b, "EVAL");
		resp_put_bulk_str(b, expiry);
		resp_put_bulk_str(b, "1");
	}
	resp_put_bulk(b, key);
}

static bool
is_one_of(struct span word, const char *const *list)
{
	for (; *list != NULL; list++)
		if (span_is_word(word, span_str(*list)))
			return true;
	return false;
}

/* Is one of these words among the arguments from `first` on? */
static bool
has_word(const struct resp_cmd *cmd, uint32_t first, const char *const *list)
{
	uint32_t n = cmd->argc < RESP_SPANS ? cmd->argc : RESP_SPANS;

	for (uint32_t i = first; i < n; i++)
		if (is_one_of(cmd->argv[i], list))
			return true;
	return false;
}

/* Times to live that count from its execution. */
static bool
is_relative(const struct resp_cmd *cmd)
{
	static const char *const names[] = { "expire", "pexpire", "setex",
		                             "psetex", "getex",   NULL };
	static const char *const words[] = { "ex", "px", NULL };

	return is_one_of(cmd->argv[0], names) ||
	       (span_is_word(cmd->argv[0], SPAN("set")) &&
	        has_word(cmd, 3, words));
}

/* 6.0 has this command, but not with these arguments. */
static bool
has_newer_words(const struct resp_cmd *cmd)
{
	static const struct {
		const char *name;
		uint32_t first; /* argument to look at from */
		uint32_t argc;  /* more of them came later; 0: any number */
		const char *words[5];
	} newer[] = {
		{ "set", 3, 0, { "pxat", "exat", "get" } },
		{ "expire", 0, 3, { NULL } },
		{ "pexpire", 0, 3, { NULL } },
		{ "expireat", 0, 3, { NULL } },
		{ "pexpireat", 0, 3, { NULL } },
		{ "lpop", 0, 2, { NULL } },
		{ "rpop", 0, 2, { NULL } },
		{ "xsetid", 0, 3, { NULL } },
		{ "zadd", 2, 0, { "gt", "lt" } },
		{ "geoadd", 2, 0, { "nx", "xx", "ch" } },
		{ "xadd", 2, 0, { "nomkstream", "minid", "limit" } },
		{ "xtrim", 2, 0, { "minid", "limit" } },
		{ "xgroup", 1, 0, { "createconsumer", "entriesread" } },
	};

	for (size_t i = 0; i < sizeof(newer) / sizeof(newer[0]); i++) {
		if (!span_is_word(cmd->argv[0], span_str(newer[i].name)))
			continue;
		if (newer[i].argc != 0 && cmd->argc > newer[i].argc)
			return true;
		if (has_word(cmd, newer[i].first, newer[i].words))
			return true;
	}
	return false;
}

static bool
is_newer(const struct resp_cmd *cmd)
{
	static const char *const names[] = { "getdel",      "getex",
		                             "copy",        "lmove",
		                             "blmove",      "zdiffstore",
		                             "zrangestore", "geosearchstore",
		                             "xautoclaim",  NULL };

	return is_one_of(cmd->argv[0], names) || has_newer_words(cmd);
}

bool
older_by_state(const struct mover *m, const struct resp_cmd *cmd)
{
	return (older_is(m, m->from) && is_relative(cmd)) ||
	       (older_is(m, side_other(m->from)) && is_newer(cmd));
}
