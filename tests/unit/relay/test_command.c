/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_command.c: each row of tables/resp.tbl is found by its
 * name in any case, what is not there is not; SHA1 against FIPS 180-4 examples.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "engine/redis/command.h"
#include "engine/redis/sha1.h"

static struct command_index ix;

static const char *const names[] = {
#define X(name, kind, handler, arity, first, last, step, numkeys, why) name,
#include "resp.tbl"
#undef X
};

static void
every_row_is_found(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t n = strlen(names[i]);
		char upper[40];
		const struct command *c =
			command_find(&ix, span_of(names[i], n));

		assert_non_null(c);
		assert_string_equal(c->name, names[i]);
		for (size_t j = 0; j <= n; j++) {
			char b = names[i][j];

			upper[j] = (char)(b >= 'a' && b <= 'z' ? b - 32 : b);
		}
		assert_ptr_equal(command_find(&ix, span_of(upper, n)), c);
		/* Of PLAIN: refused only where clients are shown a cluster. */
		if (c->handler != COMMAND_PLAIN)
			assert_int_equal(c->handler == COMMAND_REFUSE ||
			                         (c->handler >= COMMAND_ALONE &&
			                          c->handler <= COMMAND_DEBUG),
			                 c->why[0] != '\0');
	}
}

static void
others_are_not(void **state)
{
	static const char *const no[] = { "",       "ge",   "gett", "set\r",
		                          "nosuch", "\xff", "[et" };

	(void)state;
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_null(command_find(&ix, span_str(no[i])));
}

static void
what_some_are(void **state)
{
	const struct command *c = command_find(&ix, SPAN("mset"));

	(void)state;
	assert_int_equal(c->kind, COMMAND_WRITE);
	assert_int_equal(c->step, 2);
	assert_int_equal(c->last, -1);
	assert_true(command_takes(c, 3));
	assert_false(command_takes(c, 2));
	c = command_find(&ix, SPAN("get"));
	assert_int_equal(c->kind, COMMAND_READ);
	assert_true(command_takes(c, 2));
	assert_false(command_takes(c, 3));
	c = command_find_sub(&ix, command_find(&ix, SPAN("CONFIG")),
	                     SPAN("Set"));
	assert_int_equal(c->handler, COMMAND_CONFIG);
	assert_null(command_find_sub(&ix, command_find(&ix, SPAN("client")),
	                             SPAN("setinfo")));
}

static void
is_sha(const char *text, size_t n, const char *hex)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t sha[SHA1_N];
	char got[SHA1_N * 2 + 1] = "";

	sha1(span_of(text, n), sha);
	for (size_t i = 0; i < SHA1_N; i++) {
		got[i * 2] = digits[sha[i] >> 4];
		got[i * 2 + 1] = digits[sha[i] & 15];
	}
	assert_string_equal(got, hex);
}

static void
sha1_of_the_standard(void **state)
{
	static const char two[] =
		"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

	(void)state;
	is_sha("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
	is_sha("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
	is_sha(two, sizeof(two) - 1,
	       "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_found),
		cmocka_unit_test(others_are_not),
		cmocka_unit_test(what_some_are),
		cmocka_unit_test(sha1_of_the_standard),
	};

	command_index_init(&ix);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
