/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_pg_side.c: on which side the tables of a text are, by a small
 * catalog. The catalogs of real servers: tests/live/test_pg_split_relay_sides.py.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
// clang-format on

#include "engine/postgres/sql_side.h"
#include "engine/postgres/sql_word.h"
#include "heap.h"

/* shop's tables and public.log are a feature each; the first one has moved. */
static const struct rules_term words[] = {
	{ 0, FACT_SCHEMA, "shop" },
	{ 1, FACT_TABLE, "public.log" },
};

/* A function, or view with functions. */
static void
code(struct sql_sides *s, const char *name, const char *text)
{
	struct span row[3] = { SPAN("f"), span_str(name), span_str(text) };

	sql_sides_add(s, row);
}

struct scene {
	struct heap h;
	struct sql_sides s;
	struct rules *rules;
	struct sql_side_of of;
};

static void
know(struct sql_sides *s, const char *name, const char *text)
{
	struct span row[3] = { SPAN("t"), span_str(name), span_str(text) };

	sql_sides_add(s, row);
}

static void
begin(struct scene *x)
{
	struct rules_in in = { .term = words,
		               .term_n = sizeof(words) / sizeof(words[0]),
		               .rule_n = 2,
		               .ppm = { 0, 0 } };

	x->h = heap_make();
	x->rules = rules_build(&x->h.mem, &in);
	x->of = (struct sql_side_of){ .rules = x->rules,
		                      .moved = 1,
		                      .path = SPAN("shop\0public\0") };
	sql_sides_init(&x->s, &x->h.mem, 7);
	know(&x->s, "orders", "shop\1shop\1orders");
	know(&x->s, "orders", "hr\1hr\1orders");
	know(&x->s, "lines", "shop\1shop\1lines");
	know(&x->s, "users", "public\1public\1users");
	know(&x->s, "mail", "public\1public\1mail");
	know(&x->s, "log", "public\1public\1log");
	know(&x->s, "all_of", "public\1shop\1orders");
	know(&x->s, "all_of", "public\1public\1users");
	know(&x->s, "lines_id_seq", "shop\1shop\1lines");
	code(&x->s, "buy(",
	     "public\1BEGIN INSERT INTO shop.orders (users) VALUES "
	     "(1); SELECT 1 INTO log FROM lines; END");
	code(&x->s, "greet(", "public\1SELECT name FROM users");
	code(&x->s, "deep(", "shop\1SELECT deep(1), deeper('mail')");
	code(&x->s, "deeper(",
	     "hr\1BEGIN EXECUTE 'SELECT ' || 'buy(1) FROM "
	     "lines'; END");
	know(&x->s, "Mixed", "shop\1shop\1Mixed");
	know(&x->s, "\303\244rger", "shop\1shop\1\303\244rger");
	sql_sides_done(&x->s);
}

static void
end(struct scene *x)
{
	sql_sides_fini(&x->s);
	rules_free(x->rules);
	assert_int_equal(x->h.mem.used, 0);
}

/* "" none, "o", "n", "on"; "?" behind it: the path decides. */
static const char *
side(const struct scene *x, const char *text)
{
	static const char *const is[] = { "", "o", "n", "on" };
	static const char *const doubt[] = { "?", "o?", "n?", "on?" };
	struct sql_side ret;

	sql_side_judge(&x->s, &x->of, span_str(text), &ret);
	return (ret.needs_path ? doubt : is)[ret.sides];
}

static void
test_texts(void **state)
{
	static const struct {
		const char *text;
		const char *is;
	} t[] = {
		{ "", "" },
		{ "SELECT 1", "" },
		{ "SELECT * FROM orders", "n" },
		{ "select * from\n/* users */ Orders -- users\n", "n" },
		{ "SELECT * FROM shop.orders", "n" },
		{ "SELECT * FROM app.shop.orders", "n" },
		{ "SELECT * FROM hr.orders", "o" },
		{ "SELECT * FROM \"shop\" . \"orders\"", "n" },
		{ "SELECT * FROM \"Mixed\"", "n" },
		{ "SELECT * FROM Mixed", "" },
		{ "SELECT * FROM \303\244rger", "n" },
		{ "SELECT * FROM users", "o" },
		{ "SELECT * FROM users, orders", "on" },
		{ "SELECT * FROM users u JOIN orders o USING (id)", "on" },
		{ "SELECT * FROM orders JOIN lines USING (id), users", "on" },
		{ "SELECT * FROM orders o (users, log)", "n" },
		{ "SELECT * FROM (orders CROSS JOIN lines), log", "on" },
		{ "SELECT * FROM orders o LEFT JOIN lines ON o.a IN (1, 2), "
		  "users",
		  "on" },
		{ "TABLE orders", "n" },
		{ "SELECT 1 UNION TABLE ONLY orders", "n" },
		/* Columns are no tables. */
		{ "SELECT users, log FROM orders", "n" },
		{ "SELECT users.id FROM orders users", "n" },
		{ "SELECT a, users FROM orders ORDER BY 1, users", "n" },
		{ "UPDATE orders SET users = 1, log = log + 1", "n" },
		{ "INSERT INTO orders (users, log) VALUES (1, 2)", "n" },
		{ "SELECT * FROM orders FOR UPDATE OF users", "n" },
		{ "SELECT 'users' FROM orders", "n" },
		{ "SELECT E'it\\'s FROM users', 1 FROM orders", "n" },
		{ "SELECT 'C:\\' FROM orders, users", "on" },
		{ "SELECT $q$ FROM users $q$ FROM orders", "n" },
		{ "SELECT $1, $2 FROM orders", "n" },
		{ "SELECT a$b FROM orders", "n" },
		{ "SELECT extract(year FROM users) FROM orders", "n" },
		{ "SELECT substring(a FROM log) FROM orders", "n" },
		{ "SELECT a IS NOT DISTINCT FROM users FROM orders", "n" },
		{ "SELECT DISTINCT users FROM orders", "n" },
		{ "SELECT count(*) FILTER (WHERE a IN (SELECT id FROM users)) "
		  "FROM orders",
		  "on" },
		/* Changes. */
		{ "INSERT INTO orders SELECT * FROM users", "on" },
		{ "INSERT INTO orders (a) SELECT a FROM lines ON CONFLICT (a) "
		  "DO UPDATE SET a = 1",
		  "n" },
		{ "UPDATE ONLY orders SET a = 1 FROM users", "on" },
		{ "DELETE FROM orders USING users WHERE true", "on" },
		{ "DELETE FROM orders o USING lines l, users u", "on" },
		{ "MERGE INTO orders USING lines ON true WHEN MATCHED THEN "
		  "UPDATE SET a = 1",
		  "n" },
		{ "MERGE INTO orders USING users ON true WHEN MATCHED THEN "
		  "DELETE",
		  "on" },
		{ "TRUNCATE orders, ONLY users", "on" },
		{ "TRUNCATE TABLE lines RESTART IDENTITY", "n" },
		{ "LOCK TABLE orders IN EXCLUSIVE MODE", "n" },
		{ "LOCK users, orders", "on" },
		{ "COPY orders (users) FROM STDIN", "n" },
		{ "COPY (SELECT * FROM orders) TO STDOUT", "n" },
		{ "COPY users FROM STDIN WITH (FORMAT csv)", "o" },
		{ "SELECT * INTO TEMP TABLE x FROM orders", "n" },
		{ "CREATE TEMP TABLE x AS SELECT * FROM orders", "n" },
		{ "EXPLAIN (ANALYZE, BUFFERS) UPDATE orders SET a = 1", "n" },
		{ "PREPARE p (int) AS SELECT * FROM orders WHERE a = $1", "n" },
		{ "DECLARE c CURSOR FOR SELECT * FROM orders", "n" },
		/* WITH hides a name, where it is seen. */
		{ "WITH users AS (SELECT * FROM orders) SELECT * FROM users",
		  "n" },
		{ "WITH users AS (SELECT * FROM users) SELECT * FROM users",
		  "o" },
		{ "WITH users (a, b) AS NOT MATERIALIZED (SELECT 1), log AS "
		  "(SELECT * FROM users) SELECT * FROM log, orders",
		  "n" },
		{ "WITH RECURSIVE users AS (SELECT a FROM orders UNION ALL "
		  "SELECT a FROM users) SELECT * FROM users",
		  "n" },
		{ "SELECT * FROM (WITH users AS (SELECT 1) SELECT * FROM "
		  "users) x, users",
		  "o" },
		{ "WITH users AS (SELECT 1) INSERT INTO users SELECT * FROM "
		  "orders",
		  "on" },
		{ "WITH x AS (DELETE FROM orders RETURNING *) INSERT INTO users "
		  "SELECT * FROM x",
		  "on" },
		{ "WITH x AS (SELECT 1) SELECT 1; SELECT * FROM users", "o" },
		/* What stands for tables. */
		{ "SELECT * FROM all_of", "on" },
		{ "SELECT buy(1)", "n" },
		{ "SELECT public.buy(1), greet('x')", "on" },
		{ "SELECT * FROM buy(1) AS users", "n" },
		{ "CALL buy(1)", "n" },
		{ "SELECT buy FROM users", "o" },
		{ "SELECT nextval('lines_id_seq')", "n" },
		{ "SELECT setval('shop.lines_id_seq'::regclass, 7)", "n" },
		{ "SELECT 'users'::regclass, 1 FROM orders", "n" },
		{ "SELECT deep(1)", "n" },
		{ "SELECT deeper('users')", "" },
		{ "SELECT hr.deeper('users')", "n" },
		{ "WITH orders AS (SELECT 1) DELETE FROM orders", "n" },
		{ "DO $$BEGIN INSERT INTO orders (users) VALUES (1); END$$",
		  "n" },
		{ "DO 'BEGIN EXECUTE format($$DELETE FROM %s$$, $$users$$); "
		  "END'",
		  "o" },
		{ "SELECT upper('users') FROM orders", "n" },
		{ "DO $$BEGIN INSERT INTO orders VALUES (1); END$$", "n" },
		{ "DO 'BEGIN PERFORM buy(1); DELETE FROM users; END'", "on" },
		{ "INSERT INTO orders VALUES (1); DELETE FROM users", "on" },
		{ "BEGIN; DELETE FROM users; COMMIT", "o" },
		/* What a server has for all. */
		{ "LISTEN x", "o" },
		{ "NOTIFY users, 'x'", "o" },
		{ "SELECT pg_notify('x', 'y') FROM orders", "on" },
		{ "SELECT pg_advisory_xact_lock(1)", "o" },
		{ "SELECT lo_create(0)", "o" },
		/* Of the other kinds of text. */
		{ "SELECT ((((((1", "" },
		{ "SELECT )))) FROM orders", "n" },
		{ "SELECT 'no end FROM users", "" },
		{ "SELECT $x$ no end FROM users", "" },
		{ "SELECT * FROM", "" },
		{ "SELECT * FROM users.", "" },
		{ "/* no end", "" },
		{ "SET LOCAL work_mem = '1MB'", "" },
		{ "GRANT SELECT ON users TO x", "" },
	};
	struct scene x;

	(void)state;
	begin(&x);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		if (strcmp(side(&x, t[i].text), t[i].is) != 0)
			fail_msg("%s: %s, not %s", t[i].text,
			         side(&x, t[i].text), t[i].is);
	}
	end(&x);
}

/* The path decides between relations of one name, and who does not know it says so. */
static void
test_path(void **state)
{
	struct scene x;

	(void)state;
	begin(&x);
	x.of.path = SPAN("hr\0shop\0");
	assert_string_equal(side(&x, "SELECT * FROM orders"), "o");
	assert_string_equal(side(&x, "SELECT * FROM users"), "");
	x.of.path = SPAN("public\0");
	assert_string_equal(side(&x, "SELECT * FROM orders"), "");
	assert_string_equal(side(&x, "SELECT * FROM shop.orders"), "n");
	x.of.path.p = NULL;
	x.of.path.n = 0;
	assert_string_equal(side(&x, "SELECT * FROM orders"), "?");
	assert_string_equal(side(&x, "SELECT * FROM orders, users"), "o?");
	assert_string_equal(side(&x, "SELECT * FROM lines"), "n");
	assert_string_equal(side(&x, "SELECT * FROM all_of"), "on");
	/* Where all of them are of one side it does not matter. */
	x.of.moved = 2;
	assert_string_equal(side(&x, "SELECT * FROM orders"), "o");
	assert_string_equal(side(&x, "SELECT * FROM log"), "n");
	end(&x);
}

static void
test_what(void **state)
{
	struct sql_side ret;
	struct scene x;

	(void)state;
	begin(&x);
	sql_side_judge(&x.s, &x.of,
	               SPAN("SELECT * FROM lines, orders, log, users"), &ret);
	assert_int_equal(ret.sides, SQL_SIDE_BOTH);
	assert_string_equal(ret.what[SIDE_NEW], "shop.lines");
	assert_string_equal(ret.what[SIDE_OLD], "public.log");
	sql_side_judge(&x.s, &x.of, SPAN("LISTEN x"), &ret);
	assert_string_equal(ret.what[SIDE_OLD], "LISTEN and NOTIFY");
	/* What is not known is everybody's. */
	x.s.scope.is_done = false;
	assert_string_equal(side(&x, "SELECT 1"), "on");
	x.s.scope.is_done = true;
	know(&x.s, "", "");
	sql_sides_done(&x.s);
	assert_string_equal(side(&x, "SELECT 1"), "on");
	end(&x);
}

/* Deeper than it keeps, and more names than it keeps: some answer, and none of another
 * statement's. */
static void
test_limits(void **state)
{
	char text[8192];
	size_t n = 0;
	struct scene x;

	(void)state;
	begin(&x);
	for (int i = 0; i < 300; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "(");
	n += (size_t)snprintf(text + n, sizeof(text) - n, "SELECT 1");
	for (int i = 0; i < 300; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, ")");
	(void)snprintf(text + n, sizeof(text) - n, "; DELETE FROM users");
	assert_string_equal(side(&x, text), "o");
	n = (size_t)snprintf(text, sizeof(text), "WITH ");
	for (int i = 0; i < 100; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
		                      "w%d AS (SELECT * FROM orders), ", i);
	(void)snprintf(text + n, sizeof(text) - n,
	               "z AS (SELECT 1) SELECT * FROM w7");
	assert_string_equal(side(&x, text), "n");
	end(&x);
}

/* Code in code, also deeper than any stack; beyond SQL_TABLE_CODES it is not looked at, and
 * the fence of the servers has the word. */
static void
test_nested(void **state)
{
	static const int deep[] = { 1, SQL_TABLE_CODES - 1, 60000 };
	size_t room = (size_t)60000 * 24 + 200;
	char *text = malloc(room);
	struct scene x;

	(void)state;
	assert_non_null(text);
	begin(&x);
	for (size_t k = 0; k < sizeof(deep) / sizeof(deep[0]); k++) {
		size_t n = 0;

		for (int i = 0; i < deep[k]; i++)
			n += (size_t)snprintf(text + n, room - n, "DO $a%d$",
			                      i);
		n += (size_t)snprintf(text + n, room - n, "DELETE FROM users");
		for (int i = deep[k]; i-- > 0;)
			n += (size_t)snprintf(text + n, room - n, "$a%d$", i);
		assert_string_equal(side(&x, text),
		                    deep[k] < SQL_TABLE_CODES ? "o" : "");
	}
	free(text);
	end(&x);
}

static void
test_frames(void **state)
{
	static const struct {
		const char *text;
		enum sql_frame is;
		const char *tag;
	} t[] = {
		{ "BEGIN", SQL_FRAME_BEGIN, "BEGIN" },
		{ " begin ; ;", SQL_FRAME_BEGIN, "BEGIN" },
		{ "begin isolation level serializable, read only",
		  SQL_FRAME_BEGIN, "BEGIN" },
		{ "/* x */ START TRANSACTION READ ONLY", SQL_FRAME_BEGIN,
		  "START TRANSACTION" },
		{ "BEGIN; SELECT 1", SQL_FRAME_NONE, NULL },
		{ "BEGIN ATOMIC", SQL_FRAME_NONE, NULL },
		{ "\"begin\"", SQL_FRAME_NONE, NULL },
		{ "SET LOCAL a = 'b'", SQL_FRAME_LOCAL, "SET" },
		{ "SET TRANSACTION READ ONLY", SQL_FRAME_LOCAL, "SET" },
		{ "SET a = 'b'", SQL_FRAME_NONE, NULL },
		{ "SET", SQL_FRAME_NONE, NULL },
		{ "COMMIT", SQL_FRAME_END, "COMMIT" },
		{ "END TRANSACTION;", SQL_FRAME_END, "COMMIT" },
		{ "COMMIT AND CHAIN", SQL_FRAME_NONE, NULL },
		{ "COMMIT PREPARED 'x'", SQL_FRAME_NONE, NULL },
		{ "ROLLBACK WORK", SQL_FRAME_BACK, "ROLLBACK" },
		{ "ROLLBACK TO x", SQL_FRAME_NONE, NULL },
		{ "", SQL_FRAME_NONE, NULL },
		{ "SELECT 1", SQL_FRAME_NONE, NULL },
	};
	const char *tag;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		if (sql_frame_of(span_str(t[i].text), &tag) != t[i].is)
			fail_msg("%s", t[i].text);
		if (t[i].tag == NULL)
			assert_null(tag);
		else
			assert_string_equal(tag, t[i].tag);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),  cmocka_unit_test(test_path),
		cmocka_unit_test(test_what),   cmocka_unit_test(test_limits),
		cmocka_unit_test(test_frames), cmocka_unit_test(test_nested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
