/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_lua.c: scripts that keep to their keys, and those of which
 * that is not known.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "engine/redis/lua.h"

static struct command_index index_of_all;

static bool
keeps(const char *text)
{
	/* Without a byte behind it that is not its own. */
	size_t n = strlen(text);
	char *copy = malloc(n + 1);
	bool ret;

	assert_non_null(copy);
	memcpy(copy, text, n);
	ret = lua_keeps_to_keys(&index_of_all, span_of((uint8_t *)copy, n));
	free(copy);
	return ret;
}

static const char *const good[] = {
	"return 1",
	"return ARGV[1]",
	"return redis.call('get', KEYS[1])",
	"return redis.call(\"SET\", KEYS[1], ARGV[1], 'PX', ARGV[2])",
	"if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',"
	"KEYS[1]) else return 0 end",
	"local n = redis.call('incr', KEYS[1]) if n == 1 then "
	"redis.pcall('pexpire', KEYS[1], ARGV[1]) end return n",
	"local key = KEYS[1]\nlocal now = redis.call('TIME')\nreturn "
	"redis.call('zadd', key, now[1], ARGV[1])",
	"local a = KEYS[1]; local b = KEYS[2]\nredis.call('rename', a, b)",
	"for i = 1, #KEYS do redis.call('del', KEYS[i]) end",
	"for i = 1, #KEYS, 2 do redis.call('set', KEYS[i + 1], ARGV[i]) end",
	"return redis.call('mget', KEYS[1], KEYS[2], KEYS[#KEYS])",
	"return redis.call('sunionstore', KEYS[1], KEYS[2], KEYS[3])",
	"redis.call('hset', KEYS[1], 'f', redis.call('get', KEYS[2]))",
	"redis.call('rpush', KEYS[1], unpack(ARGV)) return {ok='x'}",
	"#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])",
	"-- redis.call('get', 'x')\n--[[ redis.call('get', 'x') ]] return "
	"KEYS[1] .. 'redis.call(1)'",
	"return redis.error_reply('no') or redis.sha1hex(KEYS[1])",
	"local function f(x) return x + 1 end return redis.call('incrby', "
	"KEYS[1], f(1))",
	"local t = {} t.redis = 1 t.KEYS = 2 return redis.call('get', KEYS[1])",
	"return cjson.encode({KEYS[1], 5.})",
};

static const char *const bad[] = {
	/* a key that is made up, or not named as one */
	"return redis.call('get', 'x')",
	"return redis.call('get', ARGV[1])",
	"return redis.call('get', KEYS[1] .. ':x')",
	"return redis.call('del', KEYS[1], 'x')",
	"return redis.call('del', unpack(KEYS))",
	"return redis.call('rename', KEYS[1], 'x')",
	"local k = 'x' .. KEYS[1] return redis.call('get', k)",
	"local k = KEYS[1] or 'x' return redis.call('get', k)",
	/* a local that is not that key any more, or was another before */
	"local k = KEYS[1] k = 'x' return redis.call('get', k)",
	"local k = KEYS[1] local k = 'x' return redis.call('get', k)",
	"local k = KEYS[1] for k = 1, 2 do redis.call('get', k) end",
	"local k = KEYS[1] for i, k in ipairs(ARGV) do redis.call('get', k) end",
	"local k = KEYS[1] local a, k = 1, 'x' return redis.call('get', k)",
	"local k = KEYS[1] a, k = 1, 'x' return redis.call('get', k)",
	"local k = KEYS[1] k, a = 'x', 1 return redis.call('get', k)",
	"local k = KEYS[1] local function f(k) redis.call('get', k) end f('x')",
	"local k = 'x' do local k = KEYS[1] end return redis.call('get', k)",
	"local k = 'x' redis.call('get', k) local k = KEYS[1]",
	/* KEYS is changed, or has another name */
	"KEYS[1] = 'x' return redis.call('get', KEYS[1])",
	"KEYS[1], a = 'x', 1 return redis.call('get', KEYS[1])",
	"(function() KEYS[1], a = 'x', 1 end)() redis.call('get', KEYS[1])",
	"KEYS = {'x'} return redis.call('get', KEYS[1])",
	"table.insert(KEYS, 1, 'x') return redis.call('get', KEYS[1])",
	"local t = KEYS t[1] = 'x' return redis.call('get', KEYS[1])",
	"KEYS[{}] = 1 return redis.call('get', KEYS[1])",
	/* redis, or call, has another name */
	"local c = redis.call return c('get', 'x')",
	"local r = redis return r.call('get', 'x')",
	"return redis['call']('get', 'x')",
	"return pcall(redis.call, 'get', 'x')",
	"return redis.call[[get]]",
	"return redis.call{'get'}",
	"for k, v in pairs(redis) do v('get', 'x') end",
	"return server.call('get', 'x')",
	"redis.set_repl(redis.REPL_NONE)",
	/* what can be anything */
	"return loadstring(ARGV[1])()",
	"return load(ARGV[1])()",
	"return _G.redis.call('get', 'x')",
	"return getfenv().redis.call('get', 'x')",
	"setmetatable(KEYS, {})",
	"local c = ARGV[1] return redis.call(c, KEYS[1])",
	"return redis.call('g' .. 'et', KEYS[1])",
	"return redis.call('\\103et', KEYS[1])",
	/* commands that look at more, or do not say where their keys are */
	"return redis.call('keys', '*')",
	"return redis.call('dbsize')",
	"return redis.call('flushall')",
	"return redis.call('sort', KEYS[1], 'by', 'w_*')",
	"return redis.call('zunionstore', KEYS[1], 2, KEYS[2], 'x')",
	"return redis.call('mset', KEYS[1], '1', KEYS[2], '2')",
	"return redis.call('georadius', KEYS[1], 1, 1, 1, 'm', 'store', 'x')",
	"return redis.call('xread', 'streams', 'x', '0')",
	"redis.call('publish', KEYS[1], 'x')",
	"redis.call('select', 3) return redis.call('get', KEYS[1])",
	"return redis.call('nosuch', KEYS[1])",
	"return redis.call()",
	"return redis.call('get')",
	/* places where a word may hide */
	"local a = 5. redis.call('get', 'x')",
	"local a = 5.e1 redis.call('get', 'x')",
	"-- comment\r redis.call('get', 'x')",
	"--[==[ ]] ]==] redis.call('get', 'x')",
	"--[=x\nredis.call('get', 'x')",
	"local s = 'a\\'' redis.call('get', 'x') --'",
	"local s = [[ ' ]] redis.call('get', 'x')",
	"\033Lua",
	/* never ended */
	"return 'x",
	"return [[x",
	"--[[ x",
};

static void
scripts_that_keep_to_their_keys(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (!keeps(good[i]))
			fail_msg("not known: %s", good[i]);
	}
}

static void
all_others_are_not_known(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (keeps(bad[i]))
			fail_msg("taken for good: %s", bad[i]);
	}
}

/* Cut anywhere, nothing behind the end is read (under ASan), and it ends. */
static void
any_piece_of_one_can_be_read(void **state)
{
	const char *const *lists[] = { good, bad };
	size_t n[] = { sizeof(good) / sizeof(good[0]),
		       sizeof(bad) / sizeof(bad[0]) };
	uint32_t known = 0;

	(void)state;
	for (int k = 0; k < 2; k++) {
		for (size_t i = 0; i < n[k]; i++) {
			const char *text = lists[k][i];
			size_t all = strlen(text);

			for (size_t at = 0; at <= all; at++) {
				uint8_t *p = malloc(at + 1);

				assert_non_null(p);
				memcpy(p, text, at);
				known += lua_keeps_to_keys(&index_of_all,
				                           span_of(p, at));
				free(p);
			}
		}
	}
	assert_true(known > 0);
}

/* A long script that asks for much is answered at once: looks back are counted.
 * (Without that it would take minutes.) */
static void
a_long_script_is_read_once(void **state)
{
	static const char first[] = "local x = 1 ";
	static const char one[] = "local x = KEYS[1] ";
	size_t n = (sizeof(one) - 1) * 50000;
	size_t head = n + sizeof(first) - 1;
	char *p = malloc(head + n);

	(void)state;
	assert_non_null(p);
	memset(p, ' ', n);
	memcpy(p + n, first, sizeof(first) - 1);
	for (size_t i = 0; i < 50000; i++)
		memcpy(p + head + i * (sizeof(one) - 1), one, sizeof(one) - 1);
	assert_true(lua_keeps_to_keys(&index_of_all,
	                              span_of((uint8_t *)p, head + n)));
	free(p);
}

/* As a server reads the first line. */
static void
what_a_script_declares(void **state)
{
	static const struct {
		const char *body;
		bool reads;
	} one[] = {
		{ "#!lua flags=no-writes\nreturn 1", true },
		{ "#!lua flags=no-writes\n", true },
		{ "#!lua flags=allow-stale,no-writes,allow-oom\n", true },
		{ "#!lua flags= flags=no-writes\n", true },
		{ "#!lua  flags=no-writes\n", true },
		{ "#!lua flags=no-writes", false },
		{ "#!lua flags=no-write\n", false },
		{ "#!lua flags=no-writes2\n", false },
		{ "#!lua no-writes\n", false },
		{ "#!lua2 flags=no-writes\n", false },
		{ "#!lua\nflags=no-writes\n", false },
		{ "#! lua flags=no-writes\n", false },
		{ " #!lua flags=no-writes\n", false },
		{ "-- flags=no-writes\n", false },
		{ "#!lua\n", false },
		{ "#!lua", false },
		{ "\n", false },
		{ "", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(one) / sizeof(one[0]); i++)
		assert_int_equal(lua_declares_no_writes(span_str(one[i].body)),
		                 one[i].reads);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scripts_that_keep_to_their_keys),
		cmocka_unit_test(all_others_are_not_known),
		cmocka_unit_test(any_piece_of_one_can_be_read),
		cmocka_unit_test(a_long_script_is_read_once),
		cmocka_unit_test(what_a_script_declares),
	};

	command_index_init(&index_of_all);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
