/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is a character and what is mended.
 */
#include "base/utf8.h"
#include "unit.h"

static void
test_characters(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} rows[] = {
		{ "a", 1 },
		{ "\x7f", 1 },
		{ "\x80", 0 },
		{ "\xc1\xbf", 0 },
		{ "\xc2\x80", 2 },
		{ "\xc3", 0 },
		{ "\xc3x", 0 },
		{ "\xe0\x9f\xbf", 0 },
		{ "\xe0\xa0\x80", 3 },
		{ "\xed\x9f\xbf", 3 },
		{ "\xed\xa0\x80", 0 },
		{ "\xe2\x82", 0 },
		{ "\xe2\x82x", 0 },
		{ "\xf0\x8f\xbf\xbf", 0 },
		{ "\xf0\x90\x80\x80", 4 },
		{ "\xf4\x8f\xbf\xbf", 4 },
		{ "\xf4\x90\x80\x80", 0 },
		{ "\xf5\x80\x80\x80", 0 },
		{ "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(utf8_char(span_str(rows[i].bytes)), rows[i].n);
}

static void
test_mend(void **state)
{
	char whole[] = "caf\xc3\xa9 \xe2\x82\xac";
	char cut[] = "caf\xc3";
	char wild[] = "\xff"
		      "a\xe2\x82"
		      "b\x80";

	(void)state;
	utf8_mend(whole);
	assert_string_equal(whole, "caf\xc3\xa9 \xe2\x82\xac");
	utf8_mend(cut);
	assert_string_equal(cut, "caf?");
	utf8_mend(wild);
	assert_string_equal(wild, "?a??b?");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_characters),
		cmocka_unit_test(test_mend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
