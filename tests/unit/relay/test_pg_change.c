/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_pg_change.c: which statements may change the catalog.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "engine/postgres/sql.h"
#include "engine/postgres/sql_change.h"

static void
expect(bool want, const char *text)
{
	if (sql_may_change(span_str(text)) != want)
		fail_msg("%s: %s", text, want ? "missed" : "taken for one");
}

static void
test_changes(void **state)
{
	(void)state;
	expect(true, "CREATE TABLE t (i int)");
	expect(true, "  \n\talter TABLE t ADD j int");
	expect(true, "Drop VIEW v");
	expect(true, "GRANT ALL ON t TO u");
	expect(true, "REVOKE ALL ON t FROM u");
	expect(true, "IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y");
	expect(true, "DO $$ BEGIN END $$");
	/* not the first word, not the first statement */
	expect(true, "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1");
	expect(true, "SELECT 1; DROP TABLE t");
	expect(true, "BEGIN; DO $$ BEGIN END $$");
	/* comments in front */
	expect(true, "/* a /* b */ */ CREATE TABLE t (i int)");
	expect(true, "-- one\n-- two\nalter table t add j int");
	expect(true, "/* do */DO 'BEGIN END'");
}

static void
test_others(void **state)
{
	(void)state;
	expect(false, "");
	expect(false, "-- create");
	expect(false, "/* drop */ SELECT 1");
	expect(false, "SELECT 'create table t'");
	expect(false, "SELECT \"create\" FROM \"drop\"");
	expect(false, "UPDATE t SET created = now(), dropped = 1, regrant = 2");
	expect(false, "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING");
	expect(false, "SELECT 1;");
	expect(false, "UPDATE t SET s = E'\\n creates'");
}

/* Where the text is not certain the words count wherever they stand. */
static void
test_unsure(void **state)
{
	(void)state;
	expect(true, "CREATE TABLE t (s text DEFAULT E'\\n')");
	expect(true, "DO $$ BEGIN RAISE NOTICE E'\\n'; END $$");
	expect(true, "/* \\ */ DO ''");
	expect(true, "SELECT E'\\''; DROP TABLE t");
	expect(true, "SELECT $$it$$; CREATE TABLE t (i int)");
	expect(true, "SELECT U&\"a\";alter table t add j int");
	expect(true, "SELECT '\xff'; DROP TABLE t");
	expect(true, "SELECT E'\\n' || ' grant '");
	expect(false, "SELECT $$created$$, E'_drop'");
	expect(false, "SELECT E'\\n'");
}

/* The beginning of a long one. */
static void
test_long(void **state)
{
	static char text[SQL_TEXT_MAX + 100];

	(void)state;
	memset(text, ' ', sizeof(text));
	memcpy(text, "SELECT 1;", 9);
	memcpy(text + SQL_TEXT_MAX - 10, "CREATE ", 7);
	assert_true(sql_may_change(span_of(text, sizeof(text))));
	memset(text + SQL_TEXT_MAX - 10, ' ', 7);
	assert_false(sql_may_change(span_of(text, sizeof(text))));
}

static void
own(bool want, const char *text)
{
	assert_true(sql_may_change(span_str(text)));
	if (sql_is_own_change(span_str(text)) != want)
		fail_msg("%s: %s", text, want ? "missed" : "taken for one");
}

/* What is of one session alone, and what only goes. */
static void
test_own(void **state)
{
	(void)state;
	own(true, "CREATE TEMP TABLE t (i int)");
	own(true, "create /* a */ local temporary table if not exists t ();");
	own(true, "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1");
	own(true, "DROP TABLE t; -- it goes");
	own(true, "drop table if exists a.t, b CASCADE");
	own(false, "CREATE TABLE t (i int)");
	own(false, "CREATE UNLOGGED TABLE temp (i int)");
	own(false, "CREATE \"temp\" TABLE t ()");
	own(false, "CREATE LOCAL TABLE t ()");
	own(false, "CREATE TEMP VIEW v AS SELECT 1");
	own(false, "CREATE TEMP SEQUENCE s");
	own(false, "DROP VIEW v");
	own(false, "DROP FUNCTION f");
	own(false, "CREATE TEMP TABLE t (); CREATE VIEW v AS SELECT 1");
	own(false, "DROP TABLE t; DROP TABLE u");
	own(false, "SELECT 1; CREATE TEMP TABLE t ()");
	own(false, "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1");
	own(false,
	    "CREATE TEMP TABLE t (s text DEFAULT E'\\'; GRANT a TO b; --')");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes), cmocka_unit_test(test_others),
		cmocka_unit_test(test_unsure),  cmocka_unit_test(test_long),
		cmocka_unit_test(test_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
