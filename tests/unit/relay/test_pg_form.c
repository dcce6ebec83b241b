/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_pg_form.c: which statements have the same form, and that what
 * is said of one of them is said of all.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "base/buf.h"
#include "base/rng.h"
#include "engine/postgres/relay/inside.h"
#include "engine/postgres/sql_change.h"
#include "engine/postgres/sql_form.h"
#include "heap.h"

static const uint64_t seed[2] = { 3, 4 };

static bool
is_same(const char *a, const char *b)
{
	uint64_t form[2][2];

	sql_form(span_str(a), seed, form[0]);
	sql_form(span_str(b), seed, form[1]);
	/* Half of it may not be less than all of it. */
	assert_int_equal(form[0][0] == form[1][0], form[0][1] == form[1][1]);
	return form[0][0] == form[1][0];
}

static void
test_same(void **state)
{
	static const char *const pairs[][2] = {
		{ "SELECT a FROM t WHERE b = 12",
		  "SELECT a FROM t WHERE b = 9876543" },
		{ "SELECT 'a', .5", "SELECT '', 1e-7" },
		{ "SELECT 'it''s'", "SELECT 'create table'" },
		{ "SELECT $1", "SELECT $22" },
		{ "SELECT -1", "SELECT -2.5" },
		{ "VALUES(1,'\xc3\xa9')", "VALUES('','x')" },
		{ "SELECT a'x'", "SELECT a.5" },
		{ "/* 1 */ SELECT 1;", "/* 1 */ SELECT 2;" },
		{ "SELECT date '2020-01-01'", "SELECT date '1999-12-31'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (!is_same(pairs[i][0], pairs[i][1]))
			fail_msg("%s", pairs[i][0]);
	}
}

static void
test_other(void **state)
{
	static const char *const pairs[][2] = {
		{ "SELECT 1", "SELECT 1, 2" },
		{ "SELECT 1", "SELECT 1 " },
		{ "SELECT a1", "SELECT a2" },
		{ "SELECT \"1\"", "SELECT \"2\"" },
		{ "SELECT 1 + 1", "SELECT 1 - 1" },
		{ "SELECT '1'::int", "SELECT '1'::oid" },
		{ "SELECT 1 -- 1", "SELECT 1 -- 2" },
		{ "/* flag=new */ SELECT 1", "/* flag=old */ SELECT 1" },
		{ "SELECT 1", "SELECT 1;" },
		{ "SELECT 1;", "SELECT 1; SELECT 1" },
		{ "SELECT a", "SELECT A" },
		/* What cannot be scanned to its end is itself alone. */
		{ "SELECT 'a\\'", "SELECT 'b\\'" },
		{ "SELECT 1, U&'a'", "SELECT 2, U&'a'" },
		{ "SELECT 1, $$a$$", "SELECT 2, $$a$$" },
		{ "SELECT 1, 'a", "SELECT 2, 'a" },
		{ "SELECT 1 /* a", "SELECT 2 /* a" },
		{ "SELECT 12a", "SELECT 13a" },
		{ "SELECT 0x1f", "SELECT 0x2f" },
		{ "SELECT 1, caf\xc3\xa9", "SELECT 2, caf\xc3\xa9" },
		{ "SELECT '\xff'", "SELECT '\xfe'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (is_same(pairs[i][0], pairs[i][1]))
			fail_msg("%s", pairs[i][0]);
		assert_true(is_same(pairs[i][0], pairs[i][0]));
		assert_true(is_same(pairs[i][1], pairs[i][1]));
	}
}

static void
test_too_long(void **state)
{
	static char text[2][SQL_TEXT_MAX + 2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		memset(text[i], ' ', SQL_TEXT_MAX);
		text[i][SQL_TEXT_MAX - 1] = (char)('1' + i);
	}
	assert_true(is_same(text[0], text[1]));
	text[0][SQL_TEXT_MAX] = ' ';
	text[1][SQL_TEXT_MAX] = ' ';
	assert_false(is_same(text[0], text[1]));
}

/* ---- one verdict ------------------------------------------------------------- */

static const char *const word[] = {
	"SELECT",   "select",  "FROM",
	"t",        "bad",     "lower",
	"(",        ")",       ",",
	";",        "::",      "regclass",
	"insert",   "INTO",    "values",
	"v",        "UPDATE",  "SET",
	"set",      "create",  "drop",
	"do",       "###",     "=",
	"-",        "--c\n",   "/* 1 */",
	"nextval",  "begin",   "commit",
	"prepared", "discard", "current_setting",
	".",        "[",       "]",
	"for",      "share",   "\"1\"",
	"u&",       "U",       "&",
	"$",        "$$",      "\\",
	"e",        "x",       "caf\xc3\xa9",
	"\xff",     "'",       "/*",
	"where",    "WITH",    "a",
	"as",
};
static const char *const value[] = {
	"1",    "22",  "'a'",        "'it''s'",        ".5",
	"1.",   "1e5", "2e-7",       "'create table'", "''",
	"$1",   "$23", "'\xc3\xa9'", "'do'",           "'/*'",
	"'--'", "9",   "'bad'",
};

static void
put_random(struct buf *text, struct rng *r, const char *const *all, size_t n)
{
	buf_put_str(text, all[rng_next(r) % n]);
}

/* Two texts that differ by their values alone. */
static void
make(struct buf text[2], struct rng *r)
{
	size_t n = 1 + rng_next(r) % 12;

	buf_clear(&text[0]);
	buf_clear(&text[1]);
	for (size_t i = 0; i < n; i++) {
		uint64_t kind = rng_next(r);
		const char *w =
			word[rng_next(r) % (sizeof(word) / sizeof(word[0]))];

		for (int k = 0; k < 2; k++) {
			if (kind % 3 == 0)
				put_random(&text[k], r, value,
				           sizeof(value) / sizeof(value[0]));
			else
				buf_put_str(&text[k], w);
			if (kind % 5 != 0)
				buf_put_str(&text[k], " ");
		}
	}
}

static void
know(struct sql_names *n, const char *kind, const char *name, const char *text)
{
	struct span row[3] = { span_str(kind), span_str(name), span_str(text) };

	sql_names_add(n, SIDE_OLD, row);
	sql_names_add(n, SIDE_NEW, row);
}

static void
test_one_verdict(void **state)
{
	struct heap h = heap_make();
	struct sql_names n;
	struct rng r;
	struct buf text[2];
	size_t same = 0;
	size_t reads = 0;

	(void)state;
	sql_names_init(&n, &h.mem, 7);
	know(&n, "g", "lower", "");
	know(&n, "b", "bad", "");
	know(&n, "o", "###", "");
	know(&n, "v", "v", "SELECT bad FROM t");
	sql_names_done(&n);
	buf_init(&text[0], &h.mem);
	buf_init(&text[1], &h.mem);
	rng_init(&r, 11);
	for (int i = 0; i < 200000; i++) {
		struct span a;
		struct span b;
		uint64_t form[2][2];

		make(text, &r);
		a = buf_span(&text[0]);
		b = buf_span(&text[1]);
		sql_form(a, seed, form[0]);
		sql_form(b, seed, form[1]);
		if (memcmp(form[0], form[1], sizeof(form[0])) != 0)
			continue;
		same += !span_eq(a, b);
		reads += sql_judge(&n, a) == SQL_READ;
		if (sql_judge(&n, a) != sql_judge(&n, b) ||
		    sql_may_change(a) != sql_may_change(b) ||
		    pg_ack_judge(&n, a) != pg_ack_judge(&n, b))
			fail_msg("%.*s | %.*s", (int)a.n, (const char *)a.p,
			         (int)b.n, (const char *)b.p);
	}
	/* Many of them were said to be the same, and were not. */
	assert_true(same > 20000 && reads > 500);
	buf_fini(&text[0]);
	buf_fini(&text[1]);
	sql_names_fini(&n);
	assert_int_equal(h.mem.used, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_other),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_one_verdict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
