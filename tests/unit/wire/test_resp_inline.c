/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of an inline command.
 */
#include "unit.h"
#include "wire/resp_inline.h"

/* The first word of a line, and what is behind it. */
static void
assert_word(const char *line, const char *raw, const char *decoded,
            const char *rest)
{
	struct span s = span_str(line);
	struct resp_word word;
	uint8_t text[64];

	assert_int_equal(resp_word_next(&s, &word, text), 1);
	assert_true(span_eq(word.raw, span_str(raw)));
	assert_true(span_eq(span_of(text, word.n), span_str(decoded)));
	assert_true(span_eq(s, span_str(rest)));
}

static int
first(const char *line)
{
	struct span s = span_str(line);
	struct resp_word word;

	return resp_word_next(&s, &word, NULL);
}

static void
test_words(void **state)
{
	(void)state;
	assert_word("get k", "get", "get", " k");
	assert_word(" \t\r\n\v\fx", "x", "x", "");
	assert_word("a\vb c", "a\vb", "a\vb", " c");
	assert_word("\"a b\" c", "a b", "a b", " c");
	assert_word("'a b'\tc", "a b", "a b", "\tc");
	assert_word("\"\" x", "", "", " x");
	assert_word("'' x", "", "", " x");
	assert_word("x\"y\" z", "x\"y", "xy", " z");
	assert_word("x'y' z", "x'y", "xy", " z");
	assert_word("\"it's\"", "it's", "it's", "");
	assert_word("'say \"x\"'", "say \"x\"", "say \"x\"", "");
}

static void
test_escapes(void **state)
{
	(void)state;
	assert_word("\"\\n\\r\\t\\b\\a\\\"\\\\\\z\"",
	            "\\n\\r\\t\\b\\a\\\"\\\\\\z", "\n\r\t\b\a\"\\z", "");
	assert_word("\"\\x41\\xfF\"", "\\x41\\xfF", "A\xff", "");
	assert_word("\"\\x4\\xg1\"", "\\x4\\xg1", "x4xg1", "");
	assert_word("'\\n\\''", "\\n\\'", "\\n'", "");
	assert_word("a\\n", "a\\n", "a\\n", "");
}

static void
test_end_and_balance(void **state)
{
	(void)state;
	assert_int_equal(first(""), 0);
	assert_int_equal(first(" \r\n"), 0);
	assert_int_equal(first("\"abc"), -1);
	assert_int_equal(first("'abc"), -1);
	assert_int_equal(first("\"a\"b"), -1);
	assert_int_equal(first("'a'b"), -1);
	assert_int_equal(first("\"a\\"), -1);
	assert_int_equal(first("\"a\\\""), -1);
	assert_int_equal(first("x\""), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_end_and_balance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
