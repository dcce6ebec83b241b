/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/words.c: what a command of a replication stream touches.
 */
#include "engine/redis/mover/words.h"

#include "base/hash.h"
#include "wire/resp.h"

#define R WORD_READ
#define W WORD_WRITE

/* clang-format off */
#define ONE(name)    { name, WORD_KEYS, 1, 1, 1, W, 0, 0, 0 }
#define STATE(name)  { name, WORD_STATE, 1, 1, 1, W, 0, 0, 0 }
#define TWO(name)    { name, WORD_KEYS, 1, 2, 1, R | W, 0, 0, 0 }
static const struct word table[] = {
	ONE("set"), ONE("setex"), ONE("psetex"), ONE("setnx"), ONE("setrange"),
	ONE("append"), ONE("incr"), ONE("decr"), ONE("incrby"), ONE("decrby"),
	ONE("incrbyfloat"), ONE("getset"), ONE("getdel"), ONE("getex"),
	ONE("setbit"), ONE("bitfield"), ONE("expire"), ONE("pexpire"),
	ONE("expireat"), ONE("pexpireat"), ONE("persist"), ONE("hset"),
	ONE("hmset"), ONE("hsetnx"), ONE("hdel"), ONE("hincrby"),
	ONE("hincrbyfloat"), ONE("lpush"), ONE("rpush"), ONE("lpushx"),
	ONE("rpushx"), ONE("lpop"), ONE("rpop"), ONE("lset"), ONE("linsert"),
	ONE("ltrim"), ONE("lrem"), ONE("sadd"), ONE("srem"), ONE("spop"),
	ONE("zadd"), ONE("zincrby"), ONE("zrem"), ONE("zremrangebyrank"),
	ONE("zremrangebyscore"), ONE("zremrangebylex"), ONE("zpopmin"),
	ONE("zpopmax"), ONE("pfadd"), ONE("geoadd"), ONE("xadd"), ONE("xdel"),
	ONE("xtrim"), ONE("xack"), ONE("xclaim"), ONE("xautoclaim"),
	ONE("xsetid"),
	{ "pfdebug", WORD_KEYS, 2, 2, 1, W, 0, 0, 0 },
	{ "xgroup", WORD_KEYS, 2, 2, 1, W, 0, 0, 0 },
	{ "pfcount", WORD_KEYS, 1, -1, 1, R | W, 0, 0, 0 },
	{ "del", WORD_DELETE, 1, -1, 1, W, 0, 0, 0 },
	{ "unlink", WORD_DELETE, 1, -1, 1, W, 0, 0, 0 },
	{ "mset", WORD_KEYS, 1, -2, 2, W, 0, 0, 0 },
	{ "msetnx", WORD_KEYS, 1, -2, 2, R | W, 0, 0, 0 },
	TWO("rename"), TWO("renamenx"), TWO("lmove"), TWO("blmove"),
	TWO("rpoplpush"), TWO("brpoplpush"), TWO("smove"),
	{ "copy", WORD_KEYS, 2, 2, 1, R | W, 1, 1, 0 },
	{ "move", WORD_KEYS, 1, 1, 1, R | W, 0, 0, 0 },
	{ "sinterstore", WORD_KEYS, 1, 1, 1, W, 2, -1, 0 },
	{ "sunionstore", WORD_KEYS, 1, 1, 1, W, 2, -1, 0 },
	{ "sdiffstore", WORD_KEYS, 1, 1, 1, W, 2, -1, 0 },
	{ "zunionstore", WORD_KEYS, 1, 1, 1, W, 3, 0, 2 },
	{ "zinterstore", WORD_KEYS, 1, 1, 1, W, 3, 0, 2 },
	{ "zdiffstore", WORD_KEYS, 1, 1, 1, W, 3, 0, 2 },
	{ "zrangestore", WORD_KEYS, 1, 1, 1, W, 2, 2, 0 },
	{ "bitop", WORD_KEYS, 2, 2, 1, W, 3, -1, 0 },
	{ "pfmerge", WORD_KEYS, 1, 1, 1, R | W, 2, -1, 0 },
	{ "geosearchstore", WORD_KEYS, 1, 1, 1, W, 2, 2, 0 },
	STATE("restore"), STATE("restore-asking"),
	/* of 7.4 and 8.0: a field that expired already by the other side's own
	 * clock is not there to be given another expiry */
	STATE("hexpire"), STATE("hpexpire"), STATE("hexpireat"),
	STATE("hpexpireat"), STATE("hpersist"), STATE("hgetex"),
	STATE("hsetex"), STATE("hgetdel"),
	/* STORE is somewhere behind, BY and GET name keys by patterns: all
	 * arguments may be the written key */
	{ "sort", WORD_UNKNOWN, 1, -1, 1, W, 0, 0, 0 },
	{ "georadius", WORD_UNKNOWN, 1, -1, 1, W, 0, 0, 0 },
	{ "georadiusbymember", WORD_UNKNOWN, 1, -1, 1, W, 0, 0, 0 },
	{ "ping", WORD_DROP, 0, 0, 0, 0, 0, 0, 0 },
	{ "publish", WORD_DROP, 0, 0, 0, 0, 0, 0, 0 },
	{ "spublish", WORD_DROP, 0, 0, 0, 0, 0, 0, 0 },
	{ "replconf", WORD_DROP, 0, 0, 0, 0, 0, 0, 0 },
	{ "select", WORD_SELECT, 0, 0, 0, 0, 0, 0, 0 },
	{ "multi", WORD_MULTI, 0, 0, 0, 0, 0, 0, 0 },
	{ "exec", WORD_EXEC, 0, 0, 0, 0, 0, 0, 0 },
	{ "flushdb", WORD_FLUSHDB, 0, 0, 0, 0, 0, 0, 0 },
	{ "flushall", WORD_FLUSHALL, 0, 0, 0, 0, 0, 0, 0 },
	{ "swapdb", WORD_SWAPDB, 0, 0, 0, 0, 0, 0, 0 },
	{ "function", WORD_PASS, 0, 0, 0, 0, 0, 0, 0 },
	{ "script", WORD_PASS, 0, 0, 0, 0, 0, 0, 0 },
};
/* clang-format on */

#define TABLE_N    (sizeof(table) / sizeof(table[0]))
#define NAME_MAX_N 24

static const struct word unknown = { "?", WORD_UNKNOWN, 1, -1, 1, W, 0, 0, 0 };

const struct word *
words_find(struct span name)
{
	uint8_t low[NAME_MAX_N];

	if (name.n == 0 || name.n > sizeof(low))
		return &unknown;
	for (size_t i = 0; i < name.n; i++) {
		uint8_t c = name.p[i];

		low[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
	}
	for (size_t i = 0; i < TABLE_N; i++) {
		const char *word = table[i].name;

		if ((uint8_t)word[0] == low[0] && strlen(word) == name.n &&
		    memcmp(word, low, name.n) == 0)
			return &table[i];
	}
	return &unknown;
}

bool
words_number(struct span s, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n > 20)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (v > (UINT64_MAX - 9) / 10 && i > 18)
			return false;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	*ret = v;
	return true;
}

/* Argument i of the request, by walking. */
static struct span
argument(struct span request, uint32_t i)
{
	struct span arg = { NULL, 0 };
	size_t pos = 0;

	for (uint32_t n = 0; n <= i; n++)
		if (!resp_cmd_walk(request, &pos, &arg))
			return (struct span){ NULL, 0 };
	return arg;
}

/* Is argument i a key, and how is it used? */
static uint8_t
use_of(const struct word *w, uint32_t argc, uint32_t i, uint64_t keys2)
{
	int64_t last = w->last < 0 ? (int64_t)argc + w->last : w->last;
	int64_t last2 = w->last2 < 0 ? (int64_t)argc + w->last2 : w->last2;
	uint8_t use = 0;

	if (w->numkeys > 0)
		last2 = (int64_t)w->first2 + (int64_t)keys2 - 1;
	if (w->first > 0 && (int64_t)i >= w->first && (int64_t)i <= last &&
	    ((int64_t)i - w->first) % w->step == 0)
		use |= w->use;
	if (w->first2 > 0 && (int64_t)i >= w->first2 && (int64_t)i <= last2)
		use |= WORD_READ;
	return use;
}

/* The database that COPY ... DB n or MOVE k n writes to; db when none. */
static uint32_t
db_of(const struct word *w, struct span request, uint32_t argc, uint32_t db)
{
	uint64_t v;

	if (w->name[0] == 'm' && argc >= 3 &&
	    words_number(argument(request, 2), &v))
		return (uint32_t)v;
	if (w->name[0] == 'c')
		for (uint32_t i = 3; i + 1 < argc; i++)
			if (span_is_word(argument(request, i), SPAN("db")) &&
			    words_number(argument(request, i + 1), &v))
				return (uint32_t)v;
	return db;
}

/* MOVE writes one name in two databases: its key comes twice. */
static bool
move_key(const struct word *w, struct span request, uint32_t argc,
         struct words_key *ret, uint64_t step)
{
	if (step >= 2)
		return false;
	ret->key = argument(request, 1);
	ret->use = WORD_READ | WORD_WRITE;
	if (step == 1)
		ret->db = db_of(w, request, argc, ret->db);
	return ret->key.p != NULL;
}

bool
words_key(const struct word *w, struct span request, uint32_t argc, uint32_t db,
          struct words_at *at, struct words_key *ret)
{
	uint64_t keys2 = 0;
	struct span arg;

	ret->db = db;
	if (w->first == 0)
		return false;
	if (strcmp(w->name, "move") == 0) {
		return move_key(w, request, argc, ret, at->i++);
	}
	if (w->numkeys > 0)
		(void)words_number(argument(request, (uint32_t)w->numkeys),
		                   &keys2);
	while (resp_cmd_walk(request, &at->pos, &arg)) {
		uint8_t use = use_of(w, argc, at->i++, keys2);

		if (use == 0)
			continue;
		ret->key = arg;
		ret->use = use;
		if (w->first2 == 1 && (use & WORD_WRITE) != 0)
			ret->db = db_of(w, request, argc, db);
		return true;
	}
	return false;
}
