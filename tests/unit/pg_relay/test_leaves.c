/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_leaves.c: who may leave something on a server is asked for it
 * before the next one has it.
 */
#include "turns.h"

/* Before the catalog is there anything may have been left. It is asked once. */
static void
who_came_too_early_is_asked(void **state)
{
	int s, c, x;

	(void)state;
	begin_turns(2);
	c = opens(&s);
	world_batch(&run.w);
	bytes(c, READ);
	x = opens_one();
	answers(x, "TCZ");
	assert_string_equal(types(c), "TCZ");
	say(s, 'C', B("SELECT 0"));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
	(void)types(x);
	bytes(c, READ);
	assert_string_equal(types(x), "Q");
	answers(x, "TCZ");
	assert_true(has_sent(x, SPAN("godwit_census")));
	assert_string_equal(types(c), "TCZ");
	end();
}

/* What one may have left is made an end of before the next one's words; and what one set
 * is made again for it. */
static void
nothing_is_left(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	bytes(c, WILD);
	got(s, WILD);
	answers(s, "CZ");
	(void)types(c);
	/* Nobody waits: it stays. */
	assert_string_equal(types(s), "");
	bytes(d, READ);
	assert_true(has_sent(s, SPAN("godwit_census")));
	assert_string_equal(types(s), "Q");
	say(s, 'T', SPAN("\0\0"));
	has(s, "s", "a.b", "1");
	has(s, "u", "ann", "");
	answers(s, "CZ");
	assert_true(has_sent(s, SPAN("RESET ALL")));
	assert_false(has_sent(s, SPAN("set_config")));
	assert_false(has_sent(s, SPAN("SELECT 1")));
	(void)types(s);
	answers(s, "CCCZ");
	got(s, READ);
	answers(s, "CZ");
	assert_string_equal(types(d), "CZ");
	bytes(c, READ);
	assert_true(has_sent(s, SPAN("set_config('a.b','1',false)")));
	assert_false(has_sent(s, SPAN("SELECT 1")));
	(void)types(s);
	answers(s, "CZ");
	got(s, READ);
	end();
}

/* A catalog that was read before a transaction has changed it tells nothing of what is
 * said behind that: who says it is asked what it left. */
static void
a_catalog_of_before(void **state)
{
	int s, s2, c, d;

	(void)state;
	begin_turns(2);
	c = first(&s);
	d = another();
	bytes(c, READ);
	(void)types(s);
	say_query(d, "BEGIN");
	s2 = opens_one();
	answers(s2, "Cz");
	say_query(d, "CREATE VIEW v AS SELECT 1");
	answers(s2, "Cz");
	(void)types(s2);
	(void)types(d);
	/* Nobody knows what this one left, until the catalog is read. */
	answers(s, "CZ");
	assert_string_equal(types(c), "CZ");
	if (has_sent(s, SPAN("godwit_census"))) {
		(void)types(s);
		answers(s, "TCZ");
	}
	is_asked(s);
	say_query(d, "COMMIT");
	assert_string_equal(types(s2), "Q");
	answers(s2, "CZ");
	assert_string_equal(types(d), "CZ");
	(void)types(s2);
	bytes(c, READ);
	got(s, READ);
	answers(s, "CZ");
	assert_string_equal(types(c), "CZ");
	assert_true(has_sent(s, SPAN("godwit_census")) ||
	            has_sent(s2, SPAN("godwit_census")));
	end();
}

/* The beginning of a part of a transaction leaves nothing, nor does its end. */
static void
a_savepoint_leaves_nothing(void **state)
{
	static const char *const all[] = { "BEGIN", "SAVEPOINT a",
		                           "RELEASE SAVEPOINT a",
		                           "ROLLBACK TO SAVEPOINT b",
		                           "COMMIT" };
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		say_query(c, all[i]);
		answers(s, i < 4 ? "Cz" : "CZ");
	}
	(void)types(c);
	(void)types(s);
	bytes(d, READ);
	got(s, READ);
	answers(s, "TCZ");
	assert_string_equal(types(d), "TCZ");
	end();
}

/* Nobody gets a server of which it is not known what is there: it is asked until it
 * tells, and in the end it stays. */
static void
who_is_not_told_asks_again(void **state)
{
	int s, c, d;

	(void)state;
	for (int told = 0; told < 2; told++) {
		begin_turns(1);
		c = first(&s);
		d = another();
		bytes(c, WILD);
		answers(s, "CZ");
		(void)types(c);
		(void)types(s);
		bytes(d, READ);
		for (int i = 0; i < (told ? 3 : 8); i++) {
			assert_true(has_sent(s, SPAN("godwit_census")));
			assert_string_equal(types(s), "Q");
			answers(s, "EZ");
		}
		if (told) {
			assert_string_equal(types(s), "Q");
			say(s, 'T', SPAN("\0\0"));
			has(s, "s", "a.b", "1");
			answers(s, "CZ");
			assert_true(has_sent(s, SPAN("RESET ALL")));
		}
		(void)types(s);
		bytes(c, READ);
		if (!told)
			got(s, READ);
		end();
	}
}

/* Behind a temporary table of one session nobody else's catalog is in doubt; but behind a
 * view, and where it may run what people wrote. Three rows of the catalog: what is there. */
static void
a_table_of_ones_own(void **state)
{
	static const struct {
		const char *text, *there;
		bool doubts;
	} all[] = {
		{ "CREATE TEMP TABLE x (a int)", "", false },
		{ "DROP TABLE x", "", false },
		{ "CREATE TEMP VIEW x AS SELECT 1", "", true },
		{ "CREATE TEMP TABLE x (a int)", "cb", false },
		{ "CREATE TEMP TABLE x AS SELECT 1", "cb", false },
		{ "DROP TABLE x", "cb", false },
		{ "CREATE TEMP TABLE x (a int DEFAULT f())", "cb", true },
		{ "CREATE TEMP TABLE x (a int DEFAULT 1 %% 2)", "cbo", true },
		{ "CREATE TEMP TABLE x (LIKE y)", "cb", true },
		{ "CREATE TEMP TABLE x (a int DEFAULT E'\\1')", "cb", true },
		{ "CREATE TEMP TABLE x (a int)", "cbe", true },
		{ "DROP TABLE x", "cbe", true },
	};
	static const struct {
		const char *kind, *name;
	} rows[] = { { "c", "" }, { "b", "f" }, { "o", "%%" }, { "e", "" } };
	int s, s2, c, d;

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		begin_turns(2);
		c = opens(&s);
		world_batch(&run.w);
		for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
			if (strstr(all[i].there, rows[k].kind) != NULL)
				has(s, rows[k].kind, rows[k].name, "");
		}
		answers(s, "CZ");
		(void)types(s);
		d = another();
		bytes(c, READ);
		(void)types(s);
		say_query(d, all[i].text);
		s2 = opens_one();
		answers(s2, "CZ");
		(void)types(s2);
		(void)types(d);
		answers(s, "TCZ");
		/* It is given back as it is, or the catalog is read. */
		if (has_sent(s, SPAN("pg_proc")) != all[i].doubts)
			fail_msg("%s, %s", all[i].text, all[i].there);
		(void)types(c);
		end();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_came_too_early_is_asked),
		cmocka_unit_test(nothing_is_left),
		cmocka_unit_test(a_catalog_of_before),
		cmocka_unit_test(a_savepoint_leaves_nothing),
		cmocka_unit_test(who_is_not_told_asks_again),
		cmocka_unit_test(a_table_of_ones_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
