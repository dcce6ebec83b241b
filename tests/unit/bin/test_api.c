/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/bin/test_api.c: the actions and what follows from their calls;
 * YAML, event streams and tables.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include "bin/action.h"
#include "bin/api/sheet.h"
#include "bin/api/sse.h"
#include "bin/api/yaml.h"
#include "bin/page.h"

static char *
word(const char *text)
{
	return (char *)(uintptr_t)text;
}

/* ---- actions ---------------------------------------------------------------- */

static void
test_usage(void **state)
{
	static const struct {
		enum action_id id;
		const char *usage;
	} all[] = {
		{ ACTION_ENDPOINTS_LIST, "" },
		{ ACTION_ENDPOINTS_SHOW, "ENDPOINT" },
		{ ACTION_ENDPOINTS_CREATE, "[ENDPOINT]" },
		{ ACTION_TEMPLATES_RUN, "TEMPLATE [NAME=VALUE ...]" },
		{ ACTION_MIGRATIONS_ADD_INTERLAY,
		  "MIGRATION interlay INTERLAY" },
		{ ACTION_MIGRATIONS_ADD_API, "MIGRATION api API" },
		{ ACTION_MIGRATIONS_ROLLBACK, "MIGRATION" },
		{ ACTION_MIGRATIONS_ROLLBACK_ONE,
		  "MIGRATION interlay INTERLAY" },
		{ ACTION_MIGRATIONS_REVERSE, "MIGRATION [NEW_MIGRATION]" },
		{ ACTION_MIGRATIONS_EVENTS, "[MIGRATION]" },
		{ ACTION_ROLES_SET, "KIND ID SUBJECT" },
		{ ACTION_AUDIT_LIST, "" },
	};
	char usage[96];

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		action_usage(all[i].id, usage, sizeof(usage));
		assert_string_equal(usage, all[i].usage);
	}
}

static void
test_choose(void **state)
{
	char *one[] = { word("m") };
	char *interlay[] = { word("m"), word("interlay"), word("i") };
	char *other[] = { word("m"), word("index"), word("i") };
	char *empty[] = { word("") };
	enum action_id id;
	struct err err;

	(void)state;
	assert_int_equal(
		action_choose(ACTION_MIGRATIONS_ROLLBACK, 1, one, &id, &err),
		0);
	assert_int_equal(id, ACTION_MIGRATIONS_ROLLBACK);
	assert_int_equal(action_choose(ACTION_MIGRATIONS_ROLLBACK, 3, interlay,
	                               &id, &err),
	                 0);
	assert_int_equal(id, ACTION_MIGRATIONS_ROLLBACK_ONE);
	assert_int_equal(action_choose(ACTION_MIGRATIONS_ADD_INTERLAY, 3, other,
	                               &id, &err),
	                 -ERR_USAGE);
	assert_non_null(strstr(err.text, "MIGRATION api API"));
	/* An empty name would ask for the list. */
	assert_int_equal(
		action_choose(ACTION_ENDPOINTS_DELETE, 1, empty, &id, &err),
		-ERR_USAGE);
	assert_int_equal(
		action_choose(ACTION_ENDPOINTS_SHOW, 0, empty, &id, &err),
		-ERR_USAGE);
}

static void
test_options(void **state)
{
	(void)state;
	/* From the flags of the call ... */
	assert_true(action_takes(ACTION_MIGRATIONS_PROMOTE, OPT_DRY_RUN));
	assert_false(action_takes(ACTION_ENDPOINTS_PATCH, OPT_DRY_RUN));
	assert_true(action_takes(ACTION_ENDPOINTS_LIST, OPT_AFTER));
	assert_false(action_takes(ACTION_ENDPOINTS_SHOW, OPT_AFTER));
	assert_true(action_takes(ACTION_ENDPOINTS_DELETE, OPT_REASON));
	assert_false(action_takes(ACTION_ENDPOINTS_SHOW, OPT_REASON));
	/* ... from the fields of its body ... */
	assert_true(action_takes(ACTION_MIGRATIONS_PROMOTE, OPT_TO));
	assert_false(action_takes(ACTION_MIGRATIONS_PAUSE, OPT_TO));
	assert_true(action_takes(ACTION_MIGRATIONS_COMPLETE, OPT_FORCE));
	assert_true(
		action_takes(ACTION_MIGRATIONS_ROLLBACK, OPT_ACCEPT_DATA_LOSS));
	assert_true(
		action_takes(ACTION_MIGRATIONS_TRAFFIC, OPT_READ_PERCENTAGE));
	assert_true(action_takes(ACTION_MIGRATIONS_TOGGLE, OPT_ACTIVATE_NEW));
	assert_true(action_takes(ACTION_TOKENS_CREATE, OPT_EXPIRES_IN));
	assert_true(action_takes(ACTION_USERS_CREATE, OPT_PASSWORD_FILE));
	assert_true(action_takes(ACTION_INTERLAYS_CREATE, OPT_ENDPOINT));
	/* "endpoint" of endpoint_in is its own name. */
	assert_false(action_takes(ACTION_ENDPOINTS_CREATE, OPT_ENDPOINT));
	/* A strategy is no word: it has a file. */
	assert_false(action_takes(ACTION_MIGRATIONS_CREATE, OPT_STRATEGY));
	/* ... from the table, and from the command. */
	assert_true(action_takes(ACTION_MIGRATIONS_PROMOTE, OPT_WAIT));
	assert_false(action_takes(ACTION_MIGRATIONS_PAUSE, OPT_WAIT));
	assert_true(action_takes(ACTION_AUDIT_LIST, OPT_SUBJECT));
	for (enum action_id i = 0; i < ACTION_N; i++)
		assert_true(action_takes(i, OPT_SERVER));
	assert_int_equal(action_option("expires_in_s"), OPT_EXPIRES_IN);
	assert_int_equal(action_option("no_such_field"), OPT_N);
}

/* Every command that says ACTION has some, every action has a page. */
static void
test_pages(void **state)
{
	(void)state;
	for (enum command_id i = 0; i < CMD_N; i++) {
		assert_int_equal(strcmp(commands[i].operands, "ACTION") == 0,
		                 action_has(i) &&
		                         action_find(i, "") == ACTION_N);
		if (action_find(i, "") == ACTION_N) {
			assert_non_null(pages[i].text);
			assert_non_null(pages[i].examples[0].command);
		}
	}
	for (enum action_id i = 0; i < ACTION_N; i++) {
		const struct action *a = &actions[i];

		if (action_find(a->command, a->word) != i)
			continue;
		assert_non_null(action_pages[i].text);
		assert_non_null(action_pages[i].examples[0].command);
		assert_non_null(action_pages[i].see);
		assert_true(action_pages[i].exits != 0);
	}
}

/* ---- YAML --------------------------------------------------------------------- */

static json_t *
yaml(const char *text, struct err *err)
{
	return yaml_load(span_str(text), err);
}

static void
test_yaml(void **state)
{
	static const struct {
		const char *yaml;
		const char *json;
	} all[] = {
		{ "a: 1", "{\"a\":1}" },
		{ "a: 0.05\nb: -1e3\nc: 1.0", "{\"a\":0.05,\"b\":-1000.0,"
		                              "\"c\":1.0}" },
		{ "{\"a\": [1, \"2\", {b: null}]}",
		  "{\"a\":[1,\"2\",{\"b\":null}]}" },
		{ "a: true\nb: FALSE\nc: ~\nd:\n", "{\"a\":true,\"b\":false,"
		                                   "\"c\":null,\"d\":null}" },
		/* Quoted scalars, and what only looks like a number. */
		{ "a: '1'\nb: \"true\"", "{\"a\":\"1\",\"b\":\"true\"}" },
		{ "a: 2024-01-15T02:00:00Z\nb: 1.2.3.4\nc: 127.0.0.1:6400",
		  "{\"a\":\"2024-01-15T02:00:00Z\",\"b\":\"1.2.3.4\",\"c\":"
		  "\"127.0.0.1:6400\"}" },
		{ "a: yes\nb: .inf\nc: 0x10\nd: '-'\ne: .",
		  "{\"a\":\"yes\",\"b\":\".inf\",\"c\":\"0x10\",\"d\":\"-\","
		  "\"e\":\".\"}" },
		{ "# only a comment\na:\n - b\n - c: d\n",
		  "{\"a\":[\"b\",{\"c\":\"d\"}]}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct err err = { .code = ERR_NONE };
		json_t *got = yaml(all[i].yaml, &err);
		json_t *want = json_loads(all[i].json, 0, NULL);

		assert_non_null(want);
		if (!json_equal(got, want))
			fail_msg("%s: %s", all[i].yaml, err.text);
		json_decref(got);
		json_decref(want);
	}
}

static void
test_yaml_refused(void **state)
{
	static const struct {
		const char *yaml;
		const char *says;
	} all[] = {
		{ "", "nothing" },
		{ "a: 1\na: 2", "line 2: a name is there twice" },
		{ "a: &x 1\nb: *x", "anchors" },
		{ "a: !!str 1", "tags" },
		{ "a: 1\n---\nb: 2", "second document" },
		{ "a: [1", "line" },
		{ "[a]: 1", "a name must be a text" },
		{ "a: \"\xff\"", "" },
		{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]"
		  "]]]]]]]]]",
		  "too deep" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct err err = { .code = ERR_NONE };

		assert_null(yaml(all[i].yaml, &err));
		if (strstr(err.text, all[i].says) == NULL)
			fail_msg("%s: \"%s\" does not say \"%s\"", all[i].yaml,
			         err.text, all[i].says);
	}
}

/* ---- event streams --------------------------------------------------------------- */

struct heard {
	char text[256];
	uint32_t n;
	uint32_t stop_at;
};

static bool
hear(void *arg, const struct sse *s)
{
	struct heard *h = arg;
	size_t at = strlen(h->text);

	(void)snprintf(h->text + at, sizeof(h->text) - at, "[%s|%s|%s]", s->id,
	               s->name, s->data);
	return ++h->n != h->stop_at;
}

static const char stream[] = ": hello\nretry: 2000\n\n"
			     "id: 1\nevent: state\ndata: {\"a\":1}\n\n"
			     "data: x\r\ndata:y\r\n\r\n"
			     "event: nothing\n\n"
			     "id: 7\ndata\n\n"
			     "data: not ended\n";

/* The same bytes, however they are cut. */
static void
test_sse(void **state)
{
	static struct sse s;

	(void)state;
	for (size_t cut = 0; cut < sizeof(stream); cut++) {
		struct heard h = { .n = 0 };

		sse_init(&s);
		assert_true(sse_feed(&s, stream, cut, hear, &h));
		assert_true(sse_feed(&s, stream + cut, sizeof(stream) - 1 - cut,
		                     hear, &h));
		assert_string_equal(h.text,
		                    "[1|state|{\"a\":1}][1||x\ny][7||]");
		assert_string_equal(s.id, "7");
	}
}

static void
test_sse_stops(void **state)
{
	static struct sse s;
	struct heard h = { .stop_at = 1 };
	char *big = malloc(3 * SSE_DATA);

	(void)state;
	sse_init(&s);
	assert_false(sse_feed(&s, stream, sizeof(stream) - 1, hear, &h));
	assert_int_equal(h.n, 1);
	/* Too long: cut, and the next one is whole again. */
	assert_non_null(big);
	memset(big, 'x', 3 * SSE_DATA);
	memcpy(big, "data: ", 6);
	memcpy(big + 3 * SSE_DATA - 12, "\n\ndata: y\n\n", 11);
	h = (struct heard){ .n = 0 };
	sse_init(&s);
	assert_true(sse_feed(&s, big, 3 * SSE_DATA - 1, hear, &h));
	assert_int_equal(h.n, 2);
	assert_string_equal(s.data, "y");
	free(big);
}

/* ---- tables ------------------------------------------------------------------------- */

static char *
table(uint32_t width)
{
	static const char *const rows[][3] = {
		{ "NAME", "EMPTY", "WHAT" },
		{ "ä", "", "b\033[31mc" },
		{ "longer", "", "" },
	};
	struct sheet s;
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	assert_non_null(out);
	sheet_init(&s, 3);
	for (size_t i = 0; i < 3; i++)
		sheet_add(&s, rows[i]);
	assert_true(sheet_print(&s, out, width, false));
	sheet_fini(&s);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void
test_sheet(void **state)
{
	char *text = table(0);

	(void)state;
	/* No empty column, no blanks at the end, no control characters. */
	assert_string_equal(text, "NAME    WHAT\n"
	                          "ä       b?[31mc\n"
	                          "longer\n");
	free(text);
	text = table(9);
	assert_string_equal(text, "NAME    W\nä       b\nlonger\n");
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_choose),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_yaml),
		cmocka_unit_test(test_yaml_refused),
		cmocka_unit_test(test_sse),
		cmocka_unit_test(test_sse_stops),
		cmocka_unit_test(test_sheet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
