/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/compare/fields.c: hashes of servers whose fields may expire.
 * Source: https://redis.io/docs/latest/commands/ (hpexpiretime); a redis-server
 * 8.0.2
 *
 * Answers are those of HGETALL, HSCAN and HMGET, but that the expiry of a field is
 * put behind its value. A script sees one moment: no field goes in between.
 */
#include "engine/redis/compare/value.h"

/* a[at], a[at + step] ...: fields, whose values are in v from first on. */
#define WITH                                                              \
	"local function with(a, from, step, v, first)\n"                  \
	"  local n = 0\n"                                                 \
	"  while from <= #a do\n"                                         \
	"    local f = {}\n"                                              \
	"    while from <= #a and #f < 1000 do\n"                         \
	"      f[#f + 1] = a[from]; from = from + step\n"                 \
	"    end\n"                                                       \
	"    local t = redis.call('HPEXPIRETIME', KEYS[1], 'FIELDS', #f," \
	" unpack(f))\n"                                                   \
	"    for i = 1, #f do\n"                                          \
	"      local at = first + n * step\n"                             \
	"      n = n + 1\n"                                               \
	"      if v[at] and t[i] and t[i] > 0 then\n"                     \
	"        v[at] = v[at] .. '\\0' .. string.format('%.0f', t[i])\n" \
	"      end\n"                                                     \
	"    end\n"                                                       \
	"  end\n"                                                         \
	"end\n"

static const char *const scripts[] = {
	[FIELDS_ALL] = WITH "local a = redis.call('HGETALL', KEYS[1])\n"
			    "with(a, 1, 2, a, 2)\n"
			    "return a\n",
	[FIELDS_SCAN] =
		WITH "local r = redis.call('HSCAN', KEYS[1], unpack(ARGV))\n"
		     "with(r[2], 1, 2, r[2], 2)\n"
		     "return r\n",
	[FIELDS_NAMED] =
		WITH "local v = redis.call('HMGET', KEYS[1], unpack(ARGV))\n"
		     "with(ARGV, 1, 1, v, 1)\n"
		     "return v\n",
};

void
fields_ask(struct buf *b, enum fields_how how, struct span key, size_t n)
{
	resp_put_array(b, n + 4);
	resp_put_bulk(b, SPAN("EVAL"));
	resp_put_bulk_str(b, scripts[how]);
	resp_put_bulk(b, SPAN("1"));
	resp_put_bulk(b, key);
}
