/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assertions that are never compiled out.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

static const char *said;

static void
remember(const char *file, int line, const char *what)
{
	assert_non_null(file);
	assert_true(line > 0);
	said = what;
	longjmp(unit_jump, 1);
}

static void
test_handler(void **state)
{
	(void)state;
	REQUIRE(1 + 1 == 2);
	ENSURE(true);
	check_on_fail(remember);
	if (setjmp(unit_jump) == 0)
		REQUIRE(1 > 2);
	assert_string_equal(said, "require: 1 > 2");
	check_on_fail(remember);
	if (setjmp(unit_jump) == 0)
		NEVER("this");
	assert_string_equal(said, "never: this");
}

static void
again(const char *file, int line, const char *what)
{
	(void)file;
	(void)line;
	(void)what;
	REQUIRE(false); /* must trap, not run this handler again */
}

static void
test_traps(void **state)
{
	int status = 0;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		(void)signal(SIGILL, SIG_DFL); /* cmocka caught them */
		(void)signal(SIGTRAP, SIG_DFL);
		(void)signal(SIGABRT, SIG_DFL);
		check_on_fail(again);
		ENSURE(false);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handler),
		cmocka_unit_test(test_traps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
