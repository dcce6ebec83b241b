/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/rule.c: what becomes of a command, and whose its keys are.
 *
 * Most of it follows from the table of commands (tables/resp.tbl): kind, handler
 * and where keys stand. What that table cannot say stands here by name.
 */
#include "engine/redis/spread/inside.h"

struct special {
	const char *name;
	uint8_t rule;
	uint8_t fold;
};

/* clang-format off */
static const struct special specials[] = {
	{ "mget", RULE_PARTS, FOLD_BY_KEY },
	{ "mset", RULE_PARTS, FOLD_SAME },
	{ "del", RULE_PARTS, FOLD_SUM },
	{ "unlink", RULE_PARTS, FOLD_SUM },
	{ "exists", RULE_PARTS, FOLD_SUM },
	{ "touch", RULE_PARTS, FOLD_SUM },
	{ "dbsize", RULE_ALL, FOLD_SUM },
	{ "keys", RULE_ALL, FOLD_CHAIN },
	{ "flushall", RULE_ALL, FOLD_SAME },
	{ "flushdb", RULE_ALL, FOLD_SAME },
	{ "swapdb", RULE_ALL, FOLD_SAME },
	{ "randomkey", RULE_ALL, FOLD_ANY },
	{ "wait", RULE_ALL, FOLD_MIN },
	{ "script|exists", RULE_ALL, FOLD_AND },
	{ "script|kill", RULE_ALL, FOLD_EITHER },
	{ "function|kill", RULE_ALL, FOLD_EITHER },
	{ "function|load", RULE_ALL, FOLD_SAME },
	{ "function|delete", RULE_ALL, FOLD_SAME },
	{ "function|flush", RULE_ALL, FOLD_SAME },
	{ "function|restore", RULE_ALL, FOLD_SAME },
	{ "config|resetstat", RULE_ALL, FOLD_SAME },
	{ "config|rewrite", RULE_ALL, FOLD_SAME },
	{ "bgsave", RULE_ALL, FOLD_SAME },
	{ "bgrewriteaof", RULE_ALL, FOLD_SAME },
	{ "save", RULE_ALL, FOLD_SAME },
	{ "memory|purge", RULE_ALL, FOLD_SAME },
	{ "slowlog|reset", RULE_ALL, FOLD_SAME },
	{ "latency|reset", RULE_ALL, FOLD_SUM },
	{ "acl|save", RULE_ALL, FOLD_SAME },
	{ "acl|load", RULE_ALL, FOLD_SAME },
	{ "acl|setuser", RULE_ALL, FOLD_SAME },
	{ "acl|deluser", RULE_ALL, FOLD_SAME },
	{ "client|pause", RULE_ALL, FOLD_SAME },
	{ "client|unpause", RULE_ALL, FOLD_SAME },
	{ "client|no-evict", RULE_ALL, FOLD_SAME },
	{ "shutdown", RULE_ONE, FOLD_SAME },
	{ "replicaof", RULE_ONE, FOLD_SAME },
	{ "slaveof", RULE_ONE, FOLD_SAME },
	{ "failover", RULE_ONE, FOLD_SAME },
	{ "module|load", RULE_ONE, FOLD_SAME },
	{ "module|loadex", RULE_ONE, FOLD_SAME },
	{ "module|unload", RULE_ONE, FOLD_SAME },
	{ "publish", RULE_HOME, FOLD_SAME },
	{ "pubsub|shardchannels", RULE_ALL, FOLD_CHAIN },
	{ "pubsub|shardnumsub", RULE_ALL, FOLD_PAIRS },
};
/* clang-format on */

#define SPECIALS (sizeof(specials) / sizeof(specials[0]))

_Static_assert(SPECIALS <= RULE_NAMED_MAX, "each has its row");

void
rule_init(struct rules_of *r, const struct command_index *ix)
{
	for (size_t i = 0; i < SPECIALS; i++)
		r->row[i] = command_find(ix, span_str(specials[i].name));
}

static enum rule
by_name(const struct rules_of *r, const struct command *row, enum fold *ret)
{
	for (size_t i = 0; i < SPECIALS; i++) {
		if (r->row[i] == row) {
			*ret = (enum fold)specials[i].fold;
			return (enum rule)specials[i].rule;
		}
	}
	return RULE_KEYS;
}

enum rule
rule_find(const struct rules_of *r, const struct command *row,
          enum fold *ret_fold)
{
	*ret_fold = FOLD_SAME;
	if (row == NULL)
		return RULE_HOME;
	switch ((enum command_handler)row->handler) {
	case COMMAND_REFUSE: /* the inner relay says why */
	case COMMAND_DEBUG:
	case COMMAND_CONTAINER: return RULE_HOME;
	case COMMAND_MONITOR:
	case COMMAND_CLIENTREPLY: return RULE_NEVER;
	case COMMAND_AUTH:
	case COMMAND_SELECT:
	case COMMAND_HELLO:
	case COMMAND_RESET: *ret_fold = FOLD_AGREE; return RULE_ALL;
	case COMMAND_CONFIG:
	case COMMAND_SETNAME:
	case COMMAND_SCRIPT_LOAD:
	case COMMAND_SCRIPT_FLUSH: return RULE_ALL;
	case COMMAND_QUIT: return RULE_QUIT;
	case COMMAND_MULTI:
	case COMMAND_EXEC:
	case COMMAND_DISCARD:
	case COMMAND_WATCH:
	case COMMAND_UNWATCH: return RULE_TX;
	case COMMAND_SUBSCRIBE:
	case COMMAND_UNSUBSCRIBE: return row->first > 0 ? RULE_SHARD : RULE_SUB;
	case COMMAND_SCAN: return RULE_SCAN;
	case COMMAND_BLOCK_LAST:
	case COMMAND_BLOCK_FIRST:
	case COMMAND_BLOCK_WORD: return RULE_BLOCK;
	case COMMAND_PING:
	case COMMAND_GETNAME:
	case COMMAND_CLIENTID:
	case COMMAND_CLIENTINFO:
	case COMMAND_SCANKEY:
	case COMMAND_MIGRATE:
	case COMMAND_EVAL:
	case COMMAND_EVALSHA: return RULE_KEYS;
	case COMMAND_ALONE:
	case COMMAND_USERS:
	case COMMAND_KILL:
	case COMMAND_CLIENTS: /* else of home's, where each client is one */
	case COMMAND_NOEVICT:
	case COMMAND_INFO:
	case COMMAND_WAIT: return by_name(r, row, ret_fold);
	case COMMAND_TRACKING: return RULE_ONE;
	case COMMAND_PLAIN: break;
	}
	if (row->first == 1 && row->last == 1 && row->kind != COMMAND_ADMIN)
		return RULE_KEYS;
	return by_name(r, row, ret_fold);
}

static bool
is_other_database(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false; /* the server says what is wrong */
	}
	return s.n > 0 && !span_eq(s, SPAN("0"));
}

bool
rule_is_beyond(const struct asked *a)
{
	struct span name;
	struct span arg;
	size_t pos = 0;
	bool next = false;

	if (a->row == NULL)
		return false;
	name = span_of((const uint8_t *)a->row->name, a->row->name_n);
	if (a->row->handler == COMMAND_SELECT)
		return is_other_database(a->q->argv[1]);
	if (span_eq(name, SPAN("move")) || span_eq(name, SPAN("swapdb")))
		return true;
	if (!span_eq(name, SPAN("copy")))
		return false;
	for (uint32_t i = 0; resp_cmd_walk(a->raw, &pos, &arg); i++) {
		if (next && is_other_database(arg))
			return true;
		next = i > 2 && span_is_word(arg, SPAN("db"));
	}
	return false;
}

/* ---- owners ------------------------------------------------------------- */

static void
add(const struct spread *s, struct owners *o, struct span key)
{
	uint8_t at = s->conf->n == 1 ? HOME : s->owner[hash_slot(key)];

	REQUIRE(at < s->conf->n);
	if (s->conf->by_slot) {
		uint32_t slot = hash_slot(key);

		if (o->n == 0)
			o->slot = slot;
		o->several_slots |= slot != o->slot;
	}
	if (o->n++ == 0)
		o->first = at;
	else if (at != o->first)
		o->other = at;
	o->mask |= 1u << at;
}

/* Does it need all words to say where keys stand? */
static bool
has_options(const struct command *row)
{
	return row->numkeys == COMMAND_KEYS_ANY ||
	       row->handler == COMMAND_BLOCK_WORD;
}

/* MIGRATE's one, or those behind the word KEYS. */
static void
add_migrated(const struct spread *s, const struct resp_cmd *q, struct span raw,
             struct owners *ret)
{
	struct span arg;
	size_t pos = 0;
	uint32_t skip = 6; /* words to the first option */
	bool keys = false;

	if (q->argv[3].n > 0) {
		add(s, ret, q->argv[3]);
		return;
	}
	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (keys)
			add(s, ret, arg);
		else if (i < skip)
			continue;
		else if (span_is_word(arg, SPAN("keys")))
			keys = true;
		else if (span_is_word(arg, SPAN("auth")))
			skip = i + 2;
		else if (span_is_word(arg, SPAN("auth2")))
			skip = i + 3;
	}
}

/* The index of the last one; 0: there is none. */
static uint32_t
last_key(const struct keys *k)
{
	uint32_t last = 0;

	if (k->hi >= k->lo)
		last = k->hi - (k->hi - k->lo) % k->step;
	if (k->hi2 >= k->lo2 && k->hi2 > last)
		last = k->hi2;
	return last;
}

bool
rule_owners(const struct spread *s, const struct command *row,
            const struct resp_cmd *q, struct span raw, struct owners *ret)
{
	bool whole = q->args_seen == q->argc;
	uint32_t last;
	struct keys k;
	struct span arg;
	size_t pos = 0;

	*ret = (struct owners){ .n = 0, .first = HOME };
	if (row->first == 1 && row->last == 1 && row->numkeys == 0) {
		if (q->args_seen < 2)
			return whole;
		add(s, ret, q->argv[1]);
		return true;
	}
	if (row->handler == COMMAND_MIGRATE) {
		if (whole)
			add_migrated(s, q, raw, ret);
		return whole;
	}
	if (!whole &&
	    (has_options(row) ||
	     (row->numkeys > 0 && q->args_seen <= (uint32_t)row->numkeys)))
		return false;
	k = has_options(row) ? keys_all(row, q, raw) : keys_of(row, q);
	ret->patterns = k.patterns;
	last = last_key(&k);
	if (!whole && q->args_seen <= last)
		return false;
	if (last == 0)
		return true;
	for (uint32_t i = 0; i <= last && resp_cmd_walk(raw, &pos, &arg); i++) {
		if (keys_have(&k, i))
			add(s, ret, arg);
	}
	return true;
}
