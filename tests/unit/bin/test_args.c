/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/bin/test_args.c: the command line and its mistakes.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include "bin/args.h"
#include "bin/nearest.h"

#define WORDS_MAX 16

/* Parse "godwit" and the words up to NULL. */
static int
parse(struct args *a, struct err *err, const char *const words[])
{
	static char room[WORDS_MAX][64];
	char *argv[WORDS_MAX + 1] = { room[0] };
	int argc = 1;

	memcpy(room[0], "godwit", 7);
	for (; words[argc - 1] != NULL; argc++) {
		assert_true(argc < WORDS_MAX);
		assert_true(strlen(words[argc - 1]) < sizeof(room[0]));
		memcpy(room[argc], words[argc - 1],
		       strlen(words[argc - 1]) + 1);
		argv[argc] = room[argc];
	}
	return args_parse(argc, argv, a, err);
}

#define PARSE(a, err, ...) \
	parse((a), (err), (const char *const[]){ __VA_ARGS__, NULL })

static void
test_standards(void **state)
{
	struct args a;

	(void)state;
	assert_int_equal(PARSE(&a, NULL, "migrate", "o", "n"), 0);
	assert_int_equal(a.command, CMD_MIGRATE);
	assert_string_equal(a.operand[0], "o");
	assert_string_equal(a.operand[1], "n");
	assert_int_equal(a.number[OPT_STRATEGY], 1);
	assert_int_equal(a.number[OPT_ACK_TIMEOUT], 1000);
	assert_int_equal(a.number[OPT_STEP_DURATION], 30000);
	assert_int_equal(a.number[OPT_AUTO], 0);
	assert_string_equal(a.text[OPT_STEPS], "5,25,75");
	assert_string_equal(a.text[OPT_LISTEN], "");
	assert_false(a.is_given[OPT_ACK_TIMEOUT]);
}

static void
test_forms(void **state)
{
	struct args a;

	(void)state;
	assert_int_equal(PARSE(&a, NULL, "migrate", "--listen=:1", "o",
	                       "--workers", "4", "n", "--auto",
	                       "--strategy=big_bang", "--hold-max", "250ms"),
	                 0);
	assert_string_equal(a.text[OPT_LISTEN], ":1");
	assert_int_equal(a.number[OPT_WORKERS], 4);
	assert_int_equal(a.number[OPT_AUTO], 1);
	assert_int_equal(a.number[OPT_STRATEGY], 0);
	assert_int_equal(a.number[OPT_HOLD_MAX], 250);
	assert_string_equal(a.operand[1], "n");
	/* After "--" everything is an operand. */
	assert_int_equal(PARSE(&a, NULL, "copy", "--", "--old", "n"), 0);
	assert_string_equal(a.operand[0], "--old");
	/* The last one of two counts. */
	assert_int_equal(
		PARSE(&a, NULL, "status", "--state", "a", "--state", "b"), 0);
	assert_string_equal(a.text[OPT_STATE], "b");
}

static void
test_mistakes(void **state)
{
	static const struct {
		const char *words[8];
		const char *says;
	} bads[] = {
		{ { "promot" }, "did you mean promote?" },
		{ { "prom" }, "did you mean promote?" },
		{ { "xyzzy" }, "--help" },
		{ { "migrate", "o" }, "usage: godwit migrate OLD NEW" },
		{ { "migrate", "o", "n", "x" }, "one word too many" },
		{ { "status", "x" }, "one word too many" },
		{ { "verify", "o" }, "usage" },
		{ { "migrate", "--lissen", ":1", "o", "n" },
		  "did you mean --listen?" },
		{ { "migrate", "--qqqq", "o", "n" }, "no option --qqqq" },
		{ { "status", "--steps", "1" }, "status: no option --steps" },
		{ { "migrate", "-l", "o", "n" }, "two dashes" },
		{ { "migrate", "o", "n", "--listen" }, "ADDR is missing" },
		{ { "migrate", "o", "n", "--listen", "--auto" },
		  "ADDR is missing" },
		{ { "migrate", "o", "n", "--listen", "host" }, "no port" },
		{ { "migrate", "o", "n", "--listen", "h:70000" }, "70000" },
		{ { "migrate", "o", "n", "--steps", "5,5" }, "above" },
		{ { "migrate", "o", "n", "--steps", "5,,9" }, "no share" },
		{ { "migrate", "o", "n", "--steps", "0" }, "no share" },
		{ { "migrate", "o", "n", "--steps", "101" }, "no share" },
		{ { "migrate", "o", "n", "--steps", "a" }, "no share" },
		{ { "migrate", "o", "n", "--workers", "0" }, "between 1" },
		{ { "migrate", "o", "n", "--workers", "2x" }, "no number" },
		{ { "migrate", "o", "n", "--hold-max", "soon" }, "no time" },
		{ { "migrate", "o", "n", "--hold-max", "1y" }, "no time" },
		{ { "migrate", "o", "n", "--hold-max", "1ms" }, "between" },
		{ { "migrate", "o", "n", "--ack", "bot" }, "mean both?" },
		{ { "migrate", "o", "n", "--ack", "zzzz" }, "not one of" },
		{ { "promote", "--to", "cutovr" }, "mean cutover?" },
		{ { "promote", "--to", "101" }, "no share from 0" },
		{ { "promote", "--to=" }, "no share from 0" },
		{ { "endpoints", "list", "--if-match", "v1" },
		  "no option --if-match" },
		{ { "completion", "tcsh" }, "bash|zsh|fish" },
		{ { "migrate", "o", "n", "--auto=maybe" }, "neither" },
		{ { "--help", "migrate" }, "godwit migrate --help" },
		{ { "migrations" }, "migrations: what? One of list|" },
		{ { "migrations", "promot" }, "did you mean promote?" },
		{ { "migrations", "qqqqqq" }, "one of list|show" },
		{ { "migrations", "--json", "list" }, "action comes first" },
		{ { "migrations", "promote" }, "promote MIGRATION" },
		{ { "migrations", "add", "m", "cache" },
		  "interlay INTERLAY |" },
		{ { "migrations", "pause", "m", "--to", "5" },
		  "migrations pause: no option --to" },
		{ { "migrations", "traffic", "m", "--read-percentage", "0.25" },
		  "0.25%" },
		{ { "migrations", "traffic", "m", "--read-percentage", "101" },
		  "no share" },
		{ { "endpoints", "create", "-f" }, "FILE is missing" },
		{ { "endpoints", "list", "-f", "x" }, "two dashes" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		struct args a;
		struct err err = { .code = ERR_NONE };

		assert_int_equal(parse(&a, &err, bads[i].words), -ERR_USAGE);
		if (strstr(err.text, bads[i].says) == NULL)
			fail_msg("%s ...: \"%s\" does not say \"%s\"",
			         bads[i].words[0], err.text, bads[i].says);
	}
}

static void
test_environment(void **state)
{
	struct args a;
	struct err err;
	char name[64];

	(void)state;
	args_env_name("step-duration", name, sizeof(name));
	assert_string_equal(name, "GODWIT_STEP_DURATION");
	assert_int_equal(setenv("GODWIT_WORKERS", "3", 1), 0);
	assert_int_equal(PARSE(&a, NULL, "migrate", "o", "n"), 0);
	assert_int_equal(a.number[OPT_WORKERS], 3);
	assert_true(a.is_given[OPT_WORKERS]);
	assert_int_equal(PARSE(&a, NULL, "migrate", "o", "n", "--workers=5"),
	                 0);
	assert_int_equal(a.number[OPT_WORKERS], 5);
	/* Not an option of this command: nobody looks. */
	assert_int_equal(setenv("GODWIT_WORKERS", "many", 1), 0);
	assert_int_equal(PARSE(&a, NULL, "status"), 0);
	assert_int_equal(PARSE(&a, &err, "migrate", "o", "n"), -ERR_USAGE);
	assert_non_null(strstr(err.text, "GODWIT_WORKERS"));
	assert_int_equal(unsetenv("GODWIT_WORKERS"), 0);
}

static void
test_actions(void **state)
{
	struct args a;
	char name[ARGS_NAME];

	(void)state;
	assert_int_equal(PARSE(&a, NULL, "endpoints", "create", "-f", "-"), 0);
	assert_string_equal(a.text[OPT_FILE], "-");
	assert_int_equal(PARSE(&a, NULL, "endpoints", "create", "e", "-fx"), 0);
	assert_string_equal(a.text[OPT_FILE], "x");
	assert_string_equal(a.operand[0], "e");
	assert_int_equal(a.action, ACTION_ENDPOINTS_CREATE);
	args_name(&a, name);
	assert_string_equal(name, "endpoints create");
	assert_int_equal(PARSE(&a, NULL, "migrations", "add", "m", "api", "x"),
	                 0);
	assert_int_equal(a.action, ACTION_MIGRATIONS_ADD_API);
	assert_int_equal(PARSE(&a, NULL, "migrations", "traffic", "m",
	                       "--read-percentage", "0.25%"),
	                 0);
	assert_int_equal(a.number[OPT_READ_PERCENTAGE], 2500);
	assert_int_equal(PARSE(&a, NULL, "migrations", "traffic", "m",
	                       "--read-percentage=25"),
	                 0);
	assert_int_equal(a.number[OPT_READ_PERCENTAGE], 250000);
	assert_int_equal(PARSE(&a, NULL, "audit", "--id", "m"), 0);
	assert_int_equal(a.action, ACTION_AUDIT_LIST);
	assert_int_equal(PARSE(&a, NULL, "migrations", "--help"), 0);
	assert_true(a.wants_help);
	assert_int_equal(a.action, ACTION_N);
	assert_int_equal(PARSE(&a, NULL, "migrations", "promote", "-h"), 0);
	assert_true(a.wants_help);
	assert_int_equal(a.action, ACTION_MIGRATIONS_PROMOTE);
	assert_int_equal(PARSE(&a, NULL, "status"), 0);
	assert_int_equal(a.action, ACTION_N);
}

/* More options than one word of a mask has bits. */
static void
test_option_set(void **state)
{
	struct option_set s = { { 0 } };
	struct args a;

	(void)state;
	assert_true(OPT_N > 64);
	assert_true(option_set_is_empty(&s));
	for (enum option_id i = 0; i < OPT_N; i++) {
		s = (struct option_set){ { OPTION_BIT(i, 0),
			                   OPTION_BIT(i, 1) } };
		for (enum option_id k = 0; k < OPT_N; k++)
			assert_int_equal(option_set_has(&s, k), k == i);
		assert_false(option_set_is_empty(&s));
	}
	assert_int_equal(PARSE(&a, NULL, "endpoints", "patch", "e",
	                       "--if-match", "v2", "--description", "d"),
	                 0);
	assert_string_equal(a.text[OPT_IF_MATCH], "v2");
	assert_int_equal(
		PARSE(&a, NULL, "migrations", "delete", "m", "--if-match=v2"),
		0);
	/* A feature, an instance, a share: the migration knows. */
	assert_int_equal(PARSE(&a, NULL, "promote", "--to", "payments"), 0);
	assert_string_equal(a.text[OPT_TO], "payments");
	assert_int_equal(
		PARSE(&a, NULL, "migrations", "promote", "m", "--to", "eu-1"),
		0);
	assert_int_equal(PARSE(&a, NULL, "promote", "--to", "0.5%"), 0);
	assert_int_equal(PARSE(&a, NULL, "promote", "--to", "cutover"), 0);
}

static void
test_help(void **state)
{
	struct args a;

	(void)state;
	assert_int_equal(PARSE(&a, NULL, "--help"), 0);
	assert_true(a.wants_help);
	/* Help is there whatever else is wrong. */
	assert_int_equal(PARSE(&a, NULL, "migrate", "--bad", "-h"), 0);
	assert_true(a.wants_help);
	assert_int_equal(a.command, CMD_MIGRATE);
	assert_int_equal(PARSE(&a, NULL, "--version"), 0);
	assert_int_equal(a.command, CMD_VERSION);
}

static void
test_time(void **state)
{
	uint64_t ms = 0;

	(void)state;
	assert_true(args_time("500ms", &ms) && ms == 500);
	assert_true(args_time("2", &ms) && ms == 2000);
	assert_true(args_time("1.5s", &ms) && ms == 1500);
	assert_true(args_time("2m", &ms) && ms == 120000);
	assert_true(args_time("1h", &ms) && ms == 3600000);
	assert_false(args_time("", &ms));
	assert_false(args_time("-1", &ms));
	assert_false(args_time("1 s", &ms));
	assert_false(args_time("inf", &ms));
	assert_false(args_time("1e300", &ms));
}

static void
test_steps(void **state)
{
	uint32_t ppm[4];

	(void)state;
	assert_int_equal(args_steps("0.5,25%,100", ppm, 4, NULL), 3);
	assert_int_equal(ppm[0], 5000);
	assert_int_equal(ppm[1], 250000);
	assert_int_equal(ppm[2], 1000000);
	assert_int_equal(args_steps("1,2,3,4,5", ppm, 4, NULL), 0);
}

static void
test_nearest(void **state)
{
	(void)state;
	assert_int_equal(nearest_distance("steps", "steps"), 0);
	assert_int_equal(nearest_distance("steps", "stpes"), 1);
	assert_int_equal(nearest_distance("steps", "step"), 1);
	assert_int_equal(nearest_distance("steps", "xteps"), 1);
	assert_int_equal(nearest_distance("abc", "xyz"), 3);
	assert_int_equal(nearest_distance("", "ab"), 2);
	assert_false(nearest_is_close("ab", 2));
	assert_true(nearest_is_close("promtoe", 2));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_standards),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_option_set),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
