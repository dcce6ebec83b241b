/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_same.c: do two answers say the same?
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include "engine/redis/relay/same.h"

static const struct {
	enum same_kind kind;
	const char *a;
	const char *b;
	bool same;
} rows[] = {
	{ SAME_EXACT, "$1\r\na\r\n", "$1\r\na\r\n", true },
	{ SAME_EXACT, "$1\r\na\r\n", "$1\r\nb\r\n", false },
	{ SAME_EXACT, "$-1\r\n", "$0\r\n\r\n", false },
	{ SAME_EXACT, "-ERR one\r\n", "-ERR two\r\n", true },
	{ SAME_EXACT, "-ERR one\r\n", "-WRONGTYPE two\r\n", false },
	{ SAME_EXACT, "-ERR one\r\n", "+OK\r\n", false },
	{ SAME_EXACT, "*2\r\n:1\r\n:2\r\n", "*2\r\n:2\r\n:1\r\n", false },
	{ SAME_SET, "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
	  "*2\r\n$1\r\nb\r\n$1\r\na\r\n", true },
	{ SAME_SET, "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
	  "*2\r\n$1\r\na\r\n$1\r\nc\r\n", false },
	{ SAME_SET, "*2\r\n$1\r\na\r\n$1\r\na\r\n", "*1\r\n$1\r\na\r\n",
	  false },
	{ SAME_SET, "*2\r\n$1\r\na\r\n$1\r\na\r\n",
	  "*2\r\n$1\r\nb\r\n$1\r\nb\r\n", false },
	{ SAME_SET, "*1\r\n$2\r\nab\r\n", "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
	  false },
	{ SAME_SET, "*-1\r\n", "*0\r\n", false },
	{ SAME_SET, "*0\r\n", "*0\r\n", true },
	{ SAME_SET, "*1\r\n$1\r\na\r\n", "-ERR x\r\n", false },
	{ SAME_SET, "*1\r\n*1\r\n:1\r\n", "*1\r\n*1\r\n:2\r\n", false },
	{ SAME_SET, "*2\r\n$1\r\na\r\n", "*2\r\n$1\r\nb\r\n", false },
	{ SAME_PAIRS, "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n",
	  "*4\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\na\r\n$1\r\n1\r\n", true },
	{ SAME_PAIRS, "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n",
	  "*4\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n1\r\n", false },
	{ SAME_PAIRS, "*2\r\n$1\r\na\r\n$1\r\n1\r\n",
	  "*2\r\n$1\r\n1\r\n$1\r\na\r\n", false },
	{ SAME_PAIRS, "*1\r\n$1\r\na\r\n", "*1\r\n$1\r\nb\r\n", false },
	{ SAME_SET, "~2\r\n$1\r\na\r\n$1\r\nb\r\n",
	  "~2\r\n$1\r\nb\r\n$1\r\na\r\n", true },
	{ SAME_SET, "~2\r\n$1\r\na\r\n$1\r\nb\r\n",
	  "~2\r\n$1\r\nb\r\n$1\r\nc\r\n", false },
	{ SAME_PAIRS, "%2\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n",
	  "%2\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\na\r\n$1\r\n1\r\n", true },
	{ SAME_PAIRS, "%2\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n",
	  "%2\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n1\r\n", false },
	{ SAME_EXACT, ",0.1\r\n", ",0.10000000000000001\r\n", true },
	{ SAME_EXACT, ",0.1\r\n", ",0.10000000000000003\r\n", false },
	{ SAME_EXACT, ",0.1\r\n", ",-0.1\r\n", false },
	{ SAME_EXACT, ",0.1\r\n", ",1\r\n", false },
	{ SAME_EXACT, ",1e3\r\n", ",1000\r\n", true },
	{ SAME_EXACT, ",1.5e-3\r\n", ",0.0015\r\n", true },
	{ SAME_EXACT, ",123456789012345678901\r\n",
	  ",1.2345678901234568e20\r\n", true },
	{ SAME_EXACT, ",0\r\n", ",-0\r\n", true },
	{ SAME_EXACT, ",0\r\n", ",0.1\r\n", false },
	{ SAME_EXACT, ",inf\r\n", ",-inf\r\n", false },
	{ SAME_EXACT, ",inf\r\n", ",1e3000\r\n", false },
	{ SAME_EXACT, ",1e\r\n", ",1\r\n", false },
	{ SAME_EXACT, "*2\r\n$1\r\nm\r\n,1.1000000000000001\r\n",
	  "*2\r\n$1\r\nm\r\n,1.1\r\n", true },
	{ SAME_EXACT, "*2\r\n$1\r\nm\r\n,1.1000000000000001\r\n",
	  "*2\r\n$1\r\nn\r\n,1.1\r\n", false },
	{ SAME_EXACT, "$1\r\n1\r\n", ",1\r\n", false },
	{ SAME_EXACT, "#t\r\n", "#f\r\n", false },
	{ SAME_EXACT, "_\r\n", "$0\r\n\r\n", false },
	{ SAME_TTL_S, ":10\r\n", ":11\r\n", true },
	{ SAME_TTL_S, ":10\r\n", ":12\r\n", false },
	{ SAME_TTL_S, ":-1\r\n", ":-2\r\n", false },
	{ SAME_TTL_S, ":0\r\n", ":-2\r\n", false },
	{ SAME_TTL_S, ":10\r\n", "$2\r\n10\r\n", false },
	{ SAME_TTL_MS, ":10000\r\n", ":9000\r\n", true },
	{ SAME_TTL_MS, ":10000\r\n", ":8999\r\n", false },
	{ SAME_NOISE, ":1\r\n", ":2\r\n", true },
	{ SAME_EXACT, "", "+OK\r\n", false },
};

static void
answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (same_reply(rows[i].kind, span_str(rows[i].a),
		               span_str(rows[i].b)) != rows[i].same)
			fail_msg("row %zu", i);
		/* and the other way round */
		if (same_reply(rows[i].kind, span_str(rows[i].b),
		               span_str(rows[i].a)) != rows[i].same)
			fail_msg("row %zu, reversed", i);
	}
}

static void
commands(void **state)
{
	struct command_index ix;

	(void)state;
	command_index_init(&ix);
	assert_int_equal(same_kind_of(command_find(&ix, SPAN("get"))),
	                 SAME_EXACT);
	assert_int_equal(same_kind_of(command_find(&ix, SPAN("HGETALL"))),
	                 SAME_PAIRS);
	assert_int_equal(same_kind_of(command_find(&ix, SPAN("smembers"))),
	                 SAME_SET);
	assert_int_equal(same_kind_of(command_find(&ix, SPAN("pttl"))),
	                 SAME_TTL_MS);
	assert_int_equal(same_kind_of(command_find(&ix, SPAN("srandmember"))),
	                 SAME_NOISE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test(commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
