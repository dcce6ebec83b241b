/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/mover/test_older.c: what of a stream is copied by its state because
 * one of the two servers is older than 7.0.
 */
#include "engine/redis/mover/state.h"
#include "unit.h"

static bool
by_state(uint32_t from, uint32_t to, const char *text)
{
	struct mover *m = calloc(1, sizeof(*m));
	char line[200];
	struct resp_cmd cmd;
	bool ret;

	assert_non_null(m);
	m->from = SIDE_NEW;
	m->server[SIDE_NEW].version = from;
	m->server[SIDE_OLD].version = to;
	(void)snprintf(line, sizeof(line), "%s\r\n", text);
	resp_cmd_init(&cmd);
	assert_int_equal(resp_cmd_feed(&cmd, span_str(line)), WIRE_PART);
	ret = older_by_state(m, &cmd);
	free(m);
	return ret;
}

/* From 6.0: times to live that count from their execution. */
static void
test_relative(void **state)
{
	static const char *const yes[] = {
		"EXPIRE k 10",     "pexpire k 10",  "setex k 10 v",
		"PSETEX k 10 v",   "SET k v EX 10", "set k v nx px 10",
		"GETEX k PX 1000",
	};
	static const char *const no[] = {
		"SET k v",      "SET ex px",          "PEXPIREAT k 190000",
		"EXPIREAT k 9", "SET k v KEEPTTL",    "PERSIST k",
		"HSET k ex px", "XADD s * ex px a b",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		assert_true(by_state(60016, 70015, yes[i]));
		assert_false(by_state(70015, 80002, yes[i]));
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(by_state(60016, 70015, no[i]));
}

/* To 6.0: what came later. */
static void
test_newer(void **state)
{
	static const char *const yes[] = {
		"SET k v PXAT 190000",
		"GETDEL k",
		"LMOVE a b LEFT RIGHT",
		"copy a b",
		"LPOP k 3",
		"PEXPIREAT k 190000 GT",
		"ZADD z gt 1 a",
		"XADD s NOMKSTREAM 1-1 a b",
		"XADD s MINID = 5 6-1 a b",
		"XTRIM s MINID = 5",
		"XSETID s 5-1 ENTRIESADDED 7 MAXDELETEDID 0-0",
		"XGROUP SETID s g 5-1 ENTRIESREAD 4",
		"XGROUP CREATECONSUMER s g c",
	};
	static const char *const no[] = {
		"SET k v",
		"SET k v KEEPTTL",
		"LPOP k",
		"PEXPIREAT k 19000",
		"ZADD z NX 1 a",
		"XADD s MAXLEN = 5 6-1 a b",
		"XTRIM s MAXLEN 5",
		"XSETID s 5-1",
		"XGROUP SETID s g 5-1",
		"RPOPLPUSH a b",
		"MSET a b c d",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		assert_true(by_state(70015, 60016, yes[i]));
		assert_false(by_state(70015, 70015, yes[i]));
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(by_state(70015, 60016, no[i]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_relative),
		cmocka_unit_test(test_newer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
