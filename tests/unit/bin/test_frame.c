/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/bin/test_frame.c: a status as lines, in a terminal that is wide or not.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
// clang-format on

#include "bin/frame.h"

#define OLD    "postgres://old.example.org/app"
#define NEW    "postgres://new.example.org/app"
#define LISTEN "127.0.0.1:6432"

/* The picture of a migration between them; free(). */
static char *
drawn(uint32_t columns)
{
	json_t *j = json_pack("{s:s,s:s,s:s,s:s}", "id", "x", "old", OLD, "new",
	                      NEW, "listen", LISTEN);
	struct frame_conf conf = { .columns = columns };
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	uint32_t told = 0;
	uint32_t lines;

	assert_non_null(j);
	assert_non_null(out);
	lines = frame_print(out, j, &conf);
	assert_int_equal(fclose(out), 0);
	json_decref(j);
	for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
		told++;
	assert_int_equal(told, lines);
	return text;
}

static void
has(uint32_t columns, const char *want)
{
	char *text = drawn(columns);

	if (strstr(text, want) == NULL)
		fail_msg("%u columns: no \"%s\" in\n%s", columns, want, text);
	free(text);
}

/* Where clients may connect is never what is cut off. */
static void
where_clients_connect_is_there(void **state)
{
	const char *one = "\n" OLD " -> " NEW "   clients at " LISTEN "\n";
	uint32_t n = (uint32_t)strlen(one) - 2;

	(void)state;
	has(200, one);
	has(n, one);
	has(n - 1, "\n" OLD " -> " NEW "\nclients at " LISTEN "\n");
	has(40, "\nclients at " LISTEN "\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(where_clients_connect_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
