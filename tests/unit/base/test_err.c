/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What went wrong, as a code and a sentence.
 */
#include "base/err.h"
#include "unit.h"

static void
test_set_and_wrap(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(err_set(&err, ERR_LOST, "after %d bytes", 7),
	                 -ERR_LOST);
	assert_string_equal(err.text, "after 7 bytes");
	assert_int_equal(err_wrap(&err, "old %s", "h:1"), -ERR_LOST);
	assert_string_equal(err.text, "old h:1: after 7 bytes");
	assert_int_equal(err_set(NULL, ERR_AUTH, "nobody asks"), -ERR_AUTH);
}

static void
test_long_sentences_are_cut(void **state)
{
	struct err err;
	char text[400];

	(void)state;
	for (size_t n = 240; n < 260; n++) {
		memset(text, 'a', n);
		text[n] = '\0';
		(void)err_set(&err, ERR_IO, "cause");
		(void)err_wrap(&err, "%s", text);
		assert_true(strlen(err.text) < sizeof(err.text));
		if (n == 240)
			assert_string_equal(err.text + 240, ": cause");
		(void)err_set(&err, ERR_IO, "%s", text);
		(void)err_wrap(&err, "x");
		assert_memory_equal(err.text, "x: aaa", 6);
		assert_true(strlen(err.text) <= 251);
	}
}

static void
test_table(void **state)
{
	(void)state;
	for (int code = 0; code < ERR_N; code++) {
		enum err_code e = (enum err_code)code;

		assert_true(strlen(err_name(e)) > 0);
		assert_true(strlen(err_text(e)) > 0);
		assert_in_range(err_exit(e), 0, 10);
		assert_in_range(err_http(e), 200, 599);
	}
	assert_string_equal(err_name(ERR_LOST), "LOST");
	assert_string_equal(err_text(ERR_LOST), "the connection was lost");
	assert_int_equal(err_exit(ERR_DIVERGED), 8);
	assert_true(err_retry(ERR_TIMEOUT));
	assert_false(err_retry(ERR_AUTH));
	UNIT_FAILS((void)err_name(ERR_N));
	UNIT_FAILS((void)err_set(NULL, ERR_NONE, "no error is no error"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_and_wrap),
		cmocka_unit_test(test_long_sentences_are_cut),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
