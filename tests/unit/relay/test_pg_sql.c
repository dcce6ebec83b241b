/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_pg_sql.c: which statements are reads, by small catalogs. The
 * catalogs of real servers: tests/live/test_pg_sql.py.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "engine/postgres/sql.h"
#include "engine/postgres/sql_scan.h"
#include "heap.h"

static void
know(struct sql_names *n, const char *kind, const char *name, const char *text)
{
	struct span row[3] = { span_str(kind), span_str(name), span_str(text) };

	sql_names_add(n, SIDE_OLD, row);
	sql_names_add(n, SIDE_NEW, row);
}

static void
begin(struct sql_names *n, struct heap *h)
{
	*h = heap_make();
	sql_names_init(n, &h->mem, 7);
	know(n, "g", "lower", "");
	know(n, "g", "now", "");
	know(n, "g", "current_setting", "");
	know(n, "b", "bad", "");
	know(n, "o", "###", "");
}

static void
end(struct sql_names *n, struct heap *h)
{
	sql_names_fini(n);
	assert_int_equal(h->mem.used, 0);
}

static char
said(const struct sql_names *n, const char *text)
{
	return "wmr"[sql_judge(n, span_str(text))];
}

#define IS(want, text)                                            \
	do {                                                      \
		if (said(&n, text) != (want))                     \
			fail_msg("%s: %c", text, said(&n, text)); \
	} while (0)

/* What may run at a change of one's own, as in test_pg_change.c. */
static void
runs(struct sql_names *n, bool want, const char *text)
{
	if (sql_runs_nothing(n, span_str(text)) == want)
		fail_msg("%s: %s", text, want ? "missed" : "for nothing");
}

static void
test_what_runs(void **state)
{
	struct sql_names n;
	struct heap h;

	(void)state;
	begin(&n, &h);
	runs(&n, true, "CREATE TEMP TABLE t (i int)");
	sql_names_done(&n);
	/* Nobody has written anything. */
	runs(&n, false, "CREATE TEMP TABLE t (i int DEFAULT bad(), LIKE u)");
	know(&n, "c", "", "");
	know(&n, "v", "shown", "SELECT 1");
	know(&n, "v", "hides", "SELECT bad()");
	sql_names_done(&n);
	runs(&n, false,
	     "CREATE TEMP TABLE t (i int CHECK (i + 1 > 0), s text)");
	runs(&n, false, "CREATE TEMP TABLE t AS SELECT lower(s) FROM shown;");
	runs(&n, false, "CREATE TEMP TABLE t (s text DEFAULT 'bad()')");
	runs(&n, false, "DROP TABLE t, bad CASCADE");
	runs(&n, true, "CREATE TEMP TABLE t (i int DEFAULT bad())");
	runs(&n, true, "CREATE TEMP TABLE t (i int DEFAULT \"bad\"())");
	runs(&n, true, "CREATE TEMP TABLE t AS SELECT * FROM hides");
	runs(&n, true, "CREATE TEMP TABLE t (b bool DEFAULT 1 ### 2)");
	runs(&n, true, "CREATE TEMP TABLE t (LIKE u INCLUDING ALL)");
	runs(&n, true, "CREATE TEMP TABLE t OF u");
	runs(&n, true, "CREATE TEMP TABLE t () INHERITS (u)");
	runs(&n, true, "CREATE TEMP TABLE t PARTITION OF u DEFAULT");
	runs(&n, true, "CREATE TEMP TABLE t AS EXECUTE p");
	runs(&n, true, "CREATE TEMP TABLE t (s text DEFAULT E'\\'')");
	know(&n, "x", "", "");
	sql_names_done(&n);
	runs(&n, true, "CREATE TEMP TABLE t (i int)");
	runs(&n, false, "DROP TABLE t");
	end(&n, &h);
	/* An event trigger runs at all of them. */
	begin(&n, &h);
	know(&n, "e", "", "");
	sql_names_done(&n);
	runs(&n, true, "CREATE TEMP TABLE t (i int)");
	runs(&n, true, "DROP TABLE t");
	end(&n, &h);
}

static void
test_reads(void **state)
{
	struct sql_names n;
	struct heap h;

	(void)state;
	begin(&n, &h);
	IS('w', "SELECT 1"); /* nothing is known yet */
	sql_names_done(&n);
	IS('r', "SELECT 1");
	IS('r', "select lower('x') from t where a in (1, 2.5, 1e3, .5)");
	IS('r', "SELECT now(), $1, 'it''s', E'x', X'ff', \"A b\" FROM \"T\"");
	IS('r',
	   "WITH c(a) AS (SELECT 1), d AS NOT MATERIALIZED (SELECT 2) SELECT 1");
	IS('r', "/* a /* b */ */ SELECT 1 -- end");
	IS('r', "(SELECT 1) UNION ALL (VALUES (2)); ");
	IS('r', "SELECT * FROM now() AS x (a) FOR READ ONLY");
	IS('r', "SELECT pg_catalog.now()");
	IS('r', "SELECT '\xc3\xa9'");
	end(&n, &h);
}

static void
test_writes(void **state)
{
	static const char *const all[] = {
		"",
		" ",
		";",
		"-- x",

		"SHOW a",
		"SELECT bad(1)",
		"SELECT BAD (1)",
		"SELECT \"bad\"/**/(1)",
		"SELECT t.bad FROM t",
		"SELECT (t).bad FROM t",
		"SELECT unknown(1)",
		"SELECT \"Lower\"('x')",
		"SELECT 1; SELECT 2",
		"SELECT 1 INTO t",
		"SELECT 1 FROM t FOR UPDATE",
		"SELECT 1 FROM t FOR -- x\n SHARE",
		"SELECT 1 FROM t FOR NO KEY UPDATE",
		"WITH x AS (DELETE FROM t RETURNING 1) SELECT 1",
		"WITH x AS (SELECT 1) INSERT INTO t SELECT 1",
		"SELECT 'a\\' || bad",
		"SELECT $$x$$",
		"SELECT $a$x$a$",
		"SELECT U&'x'",
		"SELECT u&\"x\"",
		"SELECT a$b",
		"SELECT \xc3\xa9",
		"SELECT '\xff'",
		"SELECT 'open",
		"SELECT \"open",
		"SELECT 1 /* open",
		"SELECT \"a\"\"b\"",
		"SELECT 1_000",
		"SELECT 0x1f",
		"SELECT 1a",
		"SELECT 1 ### 2",
		"SELECT 1 +### 2",
		"SELECT ctid FROM t",
		"SELECT * FROM pg_class",
		"SELECT 'x'::regclass",
		"SELECT current_setting('x')",
		"EXPLAIN SELECT 1",
		"COPY t TO STDOUT",
		"SELECT 1 FROM t TABLESAMPLE system(1)",
		"SELECT {1}",
		"INSERT INTO t SELECT unknown(1)",
		"INSERT INTO t VALUES (bad(1))",
		"UPDATE t SET a = unknown(1)",
		"INSERT INTO a.b SELECT unknown (1)",
		"SELECT a1234567890123456789012345678901234567890123456789012345678901234",
	};
	struct sql_names n;
	struct heap h;

	(void)state;
	begin(&n, &h);
	sql_names_done(&n);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		IS('w', all[i]);
	assert_int_equal(sql_judge(&n, span_of("SELECT 1\0", 9)), SQL_WRITE);
	end(&n, &h);
}

static void
test_mild(void **state)
{
	struct sql_names n;
	struct heap h;

	(void)state;
	begin(&n, &h);
	sql_names_done(&n);
	IS('m',
	   "INSERT INTO a.t (x, y) VALUES (1, lower('x')) ON CONFLICT (x) DO NOTHING");
	IS('m', "UPDATE t SET a = 1 WHERE b = $1 RETURNING a;");
	IS('m', "begin");
	IS('w', "BEGIN; SET x = 1");
	IS('w', "SET x = 1");
	know(&n, "c", "", "");
	IS('w', "UPDATE t SET a = 1");
	sql_names_done(&n);
	IS('w', "UPDATE t SET a = 1"); /* a trigger may do anything */
	IS('w', "commit");             /* as may one that was deferred */
	IS('r', "SELECT 1");
	end(&n, &h);
}

static void
test_hidden(void **state)
{
	struct sql_names n;
	struct heap h;

	(void)state;
	begin(&n, &h);
	know(&n, "v", "good", "SELECT a FROM t;");
	know(&n, "v", "worse", "SELECT a FROM evil;");
	know(&n, "v", "evil", "SELECT bad(1);");
	know(&n, "v", "better",
	     "SELECT a FROM good WHERE b = current_setting('x')");
	know(&n, "v", "self", "SELECT a FROM self");
	know(&n, "d", "dom", "SELECT (VALUE > 0)");
	sql_names_done(&n);
	IS('r', "SELECT * FROM good, better");
	IS('w', "SELECT * FROM worse");
	IS('w', "SELECT * FROM good, evil");
	IS('w', "TABLE self");
	end(&n, &h);
}

static void
test_opaque(void **state)
{
	static const char *const rows[][3] = {
		{ "x", "", "" },  { "o", "=", "" },           { "?", "a", "" },
		{ "", "a", "b" }, { "d", "d", "SELECT bad" }, { "v", "a", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sql_names n;
		struct heap h;

		begin(&n, &h);
		know(&n, rows[i][0], rows[i][1], rows[i][2]);
		sql_names_done(&n);
		IS('w', "SELECT 1");
		end(&n, &h);
	}
}

/* What only one side calls good is not; without memory nothing is a read. */
static void
test_sides_and_memory(void **state)
{
	struct span row[3] = { SPAN("g"), SPAN("newer"), SPAN("") };

	(void)state;
	for (size_t at = 0; at < 40; at++) {
		struct sql_names n;
		struct heap h = heap_make();

		h.refuse_at = at;
		sql_names_init(&n, &h.mem, 7);
		sql_names_add(&n, SIDE_NEW, row);
		know(&n, "b", "bad", "");
		know(&n, "v", "bad_too", "SELECT bad");
		know(&n, "o", "###", "");
		sql_names_done(&n);
		IS('w', "SELECT newer()");
		IS('w', "SELECT bad");
		IS('w', "TABLE bad_too");
		IS('w', "SELECT 1 ### 1");
		h.refuse_at = 0;
		sql_names_fini(&n);
		assert_int_equal(h.mem.used, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_runs),
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_writes),
		cmocka_unit_test(test_mild),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_opaque),
		cmocka_unit_test(test_sides_and_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
