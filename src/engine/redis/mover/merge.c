/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/merge.c: two values of one key become one.
 *
 * The source's value is restored under a name of our own, and a script unites the
 * two on the other side in one step: fields, members and entries of the source
 * win; other types and different types are replaced. The expiry is the source's.
 *
 * Which keys are united is remembered: a command that builds on what else is in
 * such a record would do something else there than on the source. So would one
 * that removes the last element that the source had, when the record expires: the
 * source has none then, and the time of the old one would end the next one. Where
 * it is not known (after a restart, or too many of them) each key counts as united
 * until it was copied whole once.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

static const char script[] =
	"local k, t, u = KEYS[1], KEYS[2], KEYS[3]\n"
	"local call = redis.call\n"
	"local kind = call('TYPE', t)['ok']\n"
	"local function whole() call('RENAME', t, k) return 1 end\n"
	"if kind == 'none' then return 0 end\n"
	"if call('TYPE', k)['ok'] ~= kind then return whole() end\n"
	"local at = call('PEXPIRETIME', t)\n"
	"if kind == 'hash' then\n"
	"  local a = call('HGETALL', t)\n"
	"  for i = 1, #a, 2 do call('HSET', k, a[i], a[i + 1]) end\n"
	"elseif kind == 'set' then\n"
	"  call('SUNIONSTORE', k, k, t)\n"
	"elseif kind == 'zset' then\n"
	"  local a = call('ZRANGE', t, 0, -1, 'WITHSCORES')\n"
	"  for i = 1, #a, 2 do call('ZADD', k, a[i + 1], a[i]) end\n"
	"elseif kind == 'string' then\n"
	"  if call('GETRANGE', k, 0, 3) ~= 'HYLL' or\n"
	"     call('GETRANGE', t, 0, 3) ~= 'HYLL' then return whole() end\n"
	"  call('PFMERGE', k, k, t)\n"
	"elseif kind == 'stream' then\n"
	"  local ours, all, extra = {}, call('XRANGE', t, '-', '+'), 0\n"
	"  for _, e in ipairs(all) do ours[e[1]] = true end\n"
	"  for _, e in ipairs(call('XRANGE', k, '-', '+')) do\n"
	"    if not ours[e[1]] then all[#all + 1] = e; extra = extra + 1 end\n"
	"  end\n"
	"  if extra == 0 or #call('XINFO', 'GROUPS', t) > 0 then return whole() end\n"
	"  local function parts(id)\n"
	"    local a, b = string.match(id, '(%d+)-(%d+)')\n"
	"    return tonumber(a), tonumber(b)\n"
	"  end\n"
	"  table.sort(all, function(x, y)\n"
	"    local a, b = parts(x[1])\n"
	"    local c, d = parts(y[1])\n"
	"    if a ~= c then return a < c end\n"
	"    return b < d\n"
	"  end)\n"
	"  call('UNLINK', u)\n"
	"  for _, e in ipairs(all) do\n"
	"    call('XADD', u, e[1], unpack(e[2]))\n"
	"  end\n"
	"  call('RENAME', u, k)\n"
	"else\n"
	"  return whole()\n"
	"end\n"
	"if at > 0 then call('PEXPIREAT', k, at) else call('PERSIST', k) end\n"
	"call('UNLINK', t)\n"
	"return 1\n";

void
merge_put(struct buf *b, struct span key)
{
	resp_put_array(b, 6);
	resp_put_bulk_str(b, "EVAL");
	resp_put_bulk_str(b, script);
	resp_put_bulk_str(b, "3");
	resp_put_bulk(b, key);
	resp_put_bulk(b, SPAN(MERGE_KEY));
	resp_put_bulk_str(b, "__godwit:merge2");
}

/* ---- united keys ---------------------------------------------------------- */

#define UNITED_MAX  1000000
#define UNITED_NAME 252

static struct span
name_of(uint8_t small[4 + UNITED_NAME], uint32_t db, struct span key)
{
	memcpy(small, &db, 4);
	memcpy(small + 4, key.p, key.n);
	return span_of(small, key.n + 4);
}

void
merge_note(struct mover *m, uint32_t db, struct span key)
{
	uint8_t small[4 + UNITED_NAME];

	if (key.n > UNITED_NAME || map_count(&m->united) >= UNITED_MAX ||
	    map_put(&m->united, name_of(small, db, key), NULL) == NULL)
		m->united_many = true;
	if (map_count(&m->plain) > 0 && key.n <= UNITED_NAME)
		(void)map_remove(&m->plain, name_of(small, db, key));
}

void
merge_note_time(struct mover *m, uint32_t db, struct span key)
{
	uint8_t small[4 + UNITED_NAME];
	uint8_t *timed;

	if (map_count(&m->united) == 0 || key.n > UNITED_NAME)
		return;
	timed = map_get(&m->united, name_of(small, db, key));
	if (timed != NULL)
		*timed = 1;
}

void
merge_forget(struct mover *m, uint32_t db, struct span key)
{
	uint8_t small[4 + UNITED_NAME];

	if (key.n > UNITED_NAME)
		return;
	if (map_count(&m->united) > 0)
		(void)map_remove(&m->united, name_of(small, db, key));
	/* One that finds no room stays what it was. */
	if (m->united_many && map_count(&m->plain) < UNITED_MAX &&
	    map_put(&m->plain, name_of(small, db, key), NULL) == NULL)
		return;
}

void
merge_swapped(struct mover *m)
{
	m->united_many |= map_count(&m->united) > 0;
	map_clear(&m->united);
	map_clear(&m->plain);
}

enum merge_what
merge_what(const struct mover *m, uint32_t db, struct span key)
{
	uint8_t small[4 + UNITED_NAME];
	const uint8_t *timed = NULL;

	if (key.n > UNITED_NAME)
		return m->united_many ? MERGE_TIMED : MERGE_NOT;
	if (map_count(&m->united) > 0)
		timed = map_get(&m->united, name_of(small, db, key));
	if (timed != NULL)
		return *timed != 0 ? MERGE_TIMED : MERGE_UNITED;
	return m->united_many && map_find(&m->plain, name_of(small, db, key)) ==
	                                 NULL
	               ? MERGE_TIMED
	               : MERGE_NOT;
}

static bool
is_one_of(const struct resp_cmd *cmd, const char *const *names)
{
	for (size_t i = 0; names[i] != NULL; i++)
		if (span_is_word(cmd->argv[0], span_str(names[i])))
			return true;
	return false;
}

bool
merge_is_removal(const struct resp_cmd *cmd)
{
	static const char *const names[] = {
		"hdel",           "srem",    "zrem", "zremrangebyscore",
		"zremrangebylex", "hgetdel", NULL
	};

	return is_one_of(cmd, names);
}

bool
merge_is_expiry(const struct resp_cmd *cmd)
{
	static const char *const names[] = { "pexpireat", "expireat", "pexpire",
		                             "expire",    "getex",    NULL };

	return is_one_of(cmd, names);
}

static bool
has_word(const struct resp_cmd *cmd, const char *const *words)
{
	for (size_t i = 2; i < cmd->argc && i < RESP_SPANS; i++)
		for (size_t j = 0; words[j] != NULL; j++)
			if (span_is_word(cmd->argv[i], span_str(words[j])))
				return true;
	return false;
}

bool
merge_is_relative(const struct resp_cmd *cmd)
{
	static const char *const names[] = {
		"hincrby", "hincrbyfloat",    "hsetnx", "zincrby", "zpopmin",
		"zpopmax", "zremrangebyrank", "xtrim",  "spop",    NULL
	};
	static const char *const options[] = {
		"nx", "xx", "gt", "lt", "incr", "maxlen", "minid", NULL
	};

	if (is_one_of(cmd, names))
		return true;
	return (span_is_word(cmd->argv[0], SPAN("zadd")) ||
	        span_is_word(cmd->argv[0], SPAN("geoadd")) ||
	        span_is_word(cmd->argv[0], SPAN("xadd"))) &&
	       has_word(cmd, options);
}
