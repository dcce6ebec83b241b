/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_pg_split.c: the statements of a simple query.
 */
#include <stdio.h>

#include "unit.h"
#include "wire/pg_split.h"

/* The statements joined with "|", an open one with a "?" behind it. */
static void
split(const char *text, bool standard, const char *want)
{
	struct pg_statement st;
	struct pg_split s;
	size_t n = strlen(text);
	uint8_t *copy = malloc(n + 1);
	char got[500] = "";

	memcpy(copy, text, n);
	pg_split_init(&s, span_of(copy, n), standard);
	while (pg_split_next(&s, &st)) {
		if (got[0] != '\0')
			(void)strncat(got, "|", 2);
		(void)strncat(got, (const char *)st.text.p, st.text.n);
		if (st.is_open)
			(void)strncat(got, "?", 2);
	}
	free(copy);
	assert_string_equal(got, want);
}

static void
test_plain(void **state)
{
	(void)state;
	split("", true, "");
	split(" ;; \n;", true, "");
	split("SELECT 1", true, "SELECT 1");
	split(" a ; b;c ", true, "a|b|c");
	split("-- x;\na -- y;z\n; /* b; */ c /* d */ ; -- e", true, "a|c");
	split("a /* 1 /* 2 ; */ ; */ b; c", true, "a /* 1 /* 2 ; */ ; */ b|c");
	split("a */ ; b", true, "a */|b");
	split("SELECT */* ;*/1; b", true, "SELECT */* ;*/1|b");
	split("a+--;\n1;b", true, "a+--;\n1|b");
	split("a /* b; c", true, "a?");
	split("\"a;\"\"b;\";c", true, "\"a;\"\"b;\"|c");
	split("\"a;b", true, "\"a;b?");
}

static void
test_strings(void **state)
{
	(void)state;
	split("'a;''b;';c", true, "'a;''b;'|c");
	split("'a;b", true, "'a;b?");
	/* A backslash ends nothing in a plain string, unless told otherwise. */
	split("'a\\';b", true, "'a\\'|b");
	split("'a\\';b'", false, "'a\\';b'");
	split("E'a\\';b';c", true, "E'a\\';b'|c");
	split("e'a''\\\\';c", true, "e'a''\\\\'|c");
	split("N'a\\';b", true, "N'a\\'|b");
	split("X'1';b", false, "X'1'|b");
	split("B'1\\';b", false, "B'1\\'|b");
	split("U&'a\\';b", true, "U&'a\\'|b");
	split("u&\"a\\\"\";\";b", true, "u&\"a\\\"\";\"|b");
	/* Only the letter alone is a prefix. */
	split("fe'a\\';b", true, "fe'a\\'|b");
	split("1e'a\\';b';c", true, "1e'a\\';b'|c");
	/* The next line goes on in the same way; without a new line it does not. */
	split("E'a' \n 'b\\';c';d", true, "E'a' \n 'b\\';c'|d");
	split("E'a' --x;\n 'b\\';c';d", true, "E'a' --x;\n 'b\\';c'|d");
	split("E'a' /*\n*/ 'b\\';c", true, "E'a' /*\n*/ 'b\\'|c");
	split("E'a' 'b\\';c", true, "E'a' 'b\\'|c");
	split("E'a\\", true, "E'a\\?");
}

static void
test_dollars(void **state)
{
	(void)state;
	split("$$a;b$$;c", true, "$$a;b$$|c");
	split("$x$a;$$;$y$;$x$;c", true, "$x$a;$$;$y$;$x$|c");
	split("$x$a;$b$x$;c", true, "$x$a;$b$x$|c");
	split("$_1$;$_1$;c", true, "$_1$;$_1$|c");
	split("$1;$2$;c", true, "$1|$2$|c");
	split("a$x$;b$x$;c", true, "a$x$|b$x$|c");
	split("$x$a;b$X$;", true, "$x$a;b$X$;?");
	split("$", true, "$");
	split("$x$;$x", true, "$x$;$x?");
}

static void
test_nested(void **state)
{
	static const char rule[] = "CREATE RULE r AS ON INSERT TO t DO (a; b)";
	static const char body[] =
		"create or replace function f() returns int begin atomic "
		"select case when true then 1 end; select 2; end";
	char text[300];

	(void)state;
	(void)snprintf(text, sizeof(text), "%s|c", rule);
	split("CREATE RULE r AS ON INSERT TO t DO (a; b); c", true, text);
	(void)snprintf(text, sizeof(text), "%s|c", body);
	split("create or replace function f() returns int begin atomic "
	      "select case when true then 1 end; select 2; end; c",
	      true, text);
	split("CREATE PROCEDURE p() BEGIN ATOMIC a; b", true,
	      "CREATE PROCEDURE p() BEGIN ATOMIC a; b?");
	/* BEGIN alone is a transaction. */
	split("BEGIN; a; END; b", true, "BEGIN|a|END|b");
	split("CREATE TABLE function (begin int); b", true,
	      "CREATE TABLE function (begin int)|b");
	split("(a; b", true, "(a; b?");
	split("a); b", true, "a)|b");
}

static void
test_first(void **state)
{
	struct pg_split s;
	struct pg_statement st;

	(void)state;
	pg_split_init(&s,
	              SPAN("/* route:new */ /* 2 */ SELECT 1; -- x \nUPDATE t;"
	                   "'lit'"),
	              true);
	assert_true(pg_split_next(&s, &st));
	assert_true(span_eq(st.comment, SPAN("route:new")));
	assert_true(span_eq(st.word, SPAN("SELECT")));
	assert_true(pg_split_next(&s, &st));
	assert_true(span_eq(st.comment, SPAN("x")));
	assert_true(span_eq(st.word, SPAN("UPDATE")));
	assert_true(pg_split_next(&s, &st));
	assert_null(st.comment.p);
	assert_int_equal(st.word.n, 0);
	assert_false(pg_split_next(&s, &st));
	assert_false(pg_split_next(&s, &st));
	assert_true(span_eq(pg_comment_of(SPAN(" \n--a\nb")), SPAN("a")));
	assert_true(
		span_eq(pg_comment_of(SPAN("/*a/*b*/c*/")), SPAN("a/*b*/c")));
	assert_true(span_eq(pg_comment_of(SPAN("/*")), SPAN("")));
	assert_true(span_eq(pg_comment_of(SPAN("/*/")), SPAN("/")));
	assert_null(pg_comment_of(SPAN("a --b")).p);
	assert_null(pg_comment_of(SPAN("")).p);
}

static void
test_script(void **state)
{
	struct pg_statement st;
	struct pg_split s;

	(void)state;
	pg_split_init(&s,
	              SPAN("--\n-- x;\n\n\\restrict a;b\n\nSET a = 1;\n\n--\n"
	                   "\\connect x\nSELECT '\n\\b;', E'\\n' ;\n\\q"),
	              true);
	assert_true(pg_split_next_of_script(&s, &st));
	assert_true(span_eq(st.text, SPAN("SET a = 1")));
	assert_true(pg_split_next_of_script(&s, &st));
	assert_true(span_eq(st.text, SPAN("SELECT '\n\\b;', E'\\n'")));
	assert_false(pg_split_next_of_script(&s, &st));
	assert_false(pg_split_next_of_script(&s, &st));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),   cmocka_unit_test(test_strings),
		cmocka_unit_test(test_dollars), cmocka_unit_test(test_nested),
		cmocka_unit_test(test_first),   cmocka_unit_test(test_script),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
