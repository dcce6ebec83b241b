/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_rights.c: what ACL GETUSER says of a user: who may read
 * everything, who may not, and what is no answer.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>

#include "engine/redis/relay/rights.h"

static struct command_index ix;

static struct rights
of(const char *flags, const char *commands, const char *keys)
{
	char text[1000];
	int n = snprintf(
		text, sizeof(text),
		"*12\r\n$5\r\nflags\r\n*2\r\n$%zu\r\n%s\r\n$6\r\n"
		"nopass\r\n$9\r\npasswords\r\n*1\r\n$2\r\non\r\n"
		"$8\r\ncommands\r\n$%zu\r\n%s\r\n$4\r\nkeys\r\n$%zu\r\n"
		"%s\r\n$8\r\nchannels\r\n$2\r\n~*\r\n$9\r\nselectors"
		"\r\n*0\r\n",
		strlen(flags), flags, strlen(commands), commands, strlen(keys),
		keys);

	assert_true(n > 0 && (size_t)n < sizeof(text));
	return rights_read(&ix, span_of(text, (size_t)n));
}

static bool
reads(const char *commands)
{
	struct rights a = of("on", commands, "~*");

	assert_true(a.known && a.on && a.open);
	return a.reads;
}

static void
who_reads_everything(void **state)
{
	(void)state;
	assert_true(reads("+@all"));
	assert_true(reads("+@all -psync -sync -replconf"));
	assert_true(reads("+@all -PSYNC -client|tracking -config|set"));
	assert_true(reads("+@all -set -flushall +set"));
	assert_true(reads("+@all -no.such.command"));
}

static void
who_does_not(void **state)
{
	static const char *const no[] = {
		"",
		"-@all",
		"-@all +@all",
		"+@all -get",
		"+@all -",
		"+@all -@all",
		"+@all -@read",
		"+@all  -psync",
		"+@allx",
		"+@all psync",
		"+@all -object",
		"+@all -psync -mget",
		"+@all -@",
		"+@all -GET",
		"+@all -get +get",
		"+get",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(reads(no[i]));
	assert_false(of("off", "+@all", "~*").reads);
	assert_false(of("off", "+@all", "~*").on);
	assert_false(of("on", "+@all", "~app:*").reads);
	assert_false(of("on", "+@all", "").reads);
	assert_false(of("on", "+@all", "%R~*").reads);
}

/* Of 6.0: allkeys is a flag, keys are an array and stand last. */
static void
before_7(void **state)
{
	static const char head[] =
		"*8\r\n$5\r\nflags\r\n*3\r\n$2\r\non\r\n$7\r\n";
	static const char tail[] =
		"\r\n$6\r\nnopass\r\n$9\r\npasswords\r\n*0\r\n"
		"$8\r\ncommands\r\n$5\r\n+@all\r\n$4\r\nkeys\r\n*2\r\n"
		"$5\r\nflags\r\n$7\r\nallkeys\r\n";
	char text[300];
	struct rights a;

	(void)state;
	(void)snprintf(text, sizeof(text), "%sallkeys%s", head, tail);
	a = rights_read(&ix, span_str(text));
	assert_true(a.known && a.on && a.open && a.reads);
	(void)snprintf(text, sizeof(text), "%sanother%s", head, tail);
	a = rights_read(&ix, span_str(text));
	assert_true(a.known && a.on && a.open && !a.reads);
}

static void
no_answer(void **state)
{
	struct rights a = rights_read(&ix, span_str("-NOPERM no\r\n"));

	(void)state;
	assert_false(a.known || a.on || a.open || a.reads);
	a = rights_read(&ix, span_str("*-1\r\n"));
	assert_false(a.known || a.on || a.open || a.reads);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_reads_everything),
		cmocka_unit_test(who_does_not),
		cmocka_unit_test(before_7),
		cmocka_unit_test(no_answer),
	};

	command_index_init(&ix);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
