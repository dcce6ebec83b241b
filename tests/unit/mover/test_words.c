/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/mover/test_words.c: what commands of a stream touch.
 */
#include "engine/redis/mover/words.h"
#include "unit.h"
#include "wire/resp.h"

/* "SET k v" -> "k:w"; database 7 is selected. Keys as name[@db]:use. */
static void
check(const char *line, const char *expected)
{
	char request[1024];
	char words[512];
	char got[512] = "";
	size_t n = 0;
	uint32_t argc = 0;
	struct resp_cmd cmd;
	struct words_key k;
	struct words_at at = { 0 };
	const struct word *w;
	char *save = NULL;

	assert_true(strlen(line) < sizeof(words));
	memcpy(words, line, strlen(line) + 1);
	for (const char *p = line; *p != '\0'; p++)
		argc += *p == ' ';
	argc++;
	n += (size_t)snprintf(request, sizeof(request), "*%u\r\n", argc);
	for (char *t = strtok_r(words, " ", &save); t != NULL;
	     t = strtok_r(NULL, " ", &save))
		n += (size_t)snprintf(request + n, sizeof(request) - n,
		                      "$%zu\r\n%s\r\n", strlen(t), t);
	resp_cmd_init(&cmd);
	assert_int_equal(resp_cmd_feed(&cmd, span_of(request, n)), WIRE_PART);
	assert_int_equal(cmd.used, n);
	w = words_find(cmd.argv[0]);
	while (words_key(w, span_of(request, n), cmd.argc, 7, &at, &k)) {
		size_t len = strlen(got);

		if (k.key.p == cmd.argv[0].p)
			continue;
		len += (size_t)snprintf(got + len, sizeof(got) - len, "%s%.*s",
		                        len == 0 ? "" : " ", (int)k.key.n,
		                        (const char *)k.key.p);
		if (k.db != 7)
			len += (size_t)snprintf(got + len, sizeof(got) - len,
			                        "@%u", k.db);
		snprintf(got + len, sizeof(got) - len, ":%s%s",
		         (k.use & WORD_READ) != 0 ? "r" : "",
		         (k.use & WORD_WRITE) != 0 ? "w" : "");
	}
	assert_string_equal(got, expected);
}

static void
test_keys(void **state)
{
	(void)state;
	check("SET a 1", "a:w");
	check("sEt a 1", "a:w");
	check("MSET a 1 b 2", "a:w b:w");
	check("DEL a b c", "a:w b:w c:w");
	check("RENAME a b", "a:rw b:rw");
	check("LMOVE a b LEFT RIGHT", "a:rw b:rw");
	check("SUNIONSTORE d a b", "d:w a:r b:r");
	check("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "d:w a:r b:r");
	check("BITOP AND d a b", "d:w a:r b:r");
	check("PFMERGE d a", "d:rw a:r");
	check("COPY a b", "a:r b:rw");
	check("COPY a b DB 3 REPLACE", "a:r b@3:rw");
	check("MOVE a 2", "a:rw a@2:rw");
	check("XGROUP CREATE x g 0", "x:w");
	check("ZRANGESTORE d s 0 -1", "d:w s:r");
	check("GEOSEARCHSTORE d s FROMLONLAT 1 2", "d:w s:r");
	check("PING", "");
	check("FLUSHALL", "");
	check("SELECT 3", "");
}

/* I12: what is not known counts as written, all of it. */
static void
test_unknown(void **state)
{
	(void)state;
	check("JSON.SET doc . 1", "doc:w .:w 1:w");
	check("SORT l BY w_* STORE d", "l:w BY:w w_*:w STORE:w d:w");
	assert_int_equal(words_find(SPAN("JSON.SET"))->cls, WORD_UNKNOWN);
	assert_int_equal(words_find(SPAN(""))->cls, WORD_UNKNOWN);
	assert_int_equal(words_find(SPAN("averyveryverylongcommandname"))->cls,
	                 WORD_UNKNOWN);
	assert_int_equal(words_find(SPAN("restore"))->cls, WORD_STATE);
}

static void
test_number(void **state)
{
	uint64_t v = 0;

	(void)state;
	assert_true(words_number(SPAN("0"), &v));
	assert_int_equal(v, 0);
	assert_true(words_number(SPAN("9223372036854775807"), &v));
	assert_true(v == 9223372036854775807u);
	assert_true(words_number(SPAN("10000000000000000000"), &v));
	assert_true(v == 10000000000000000000u);
	assert_false(words_number(SPAN(""), &v));
	assert_false(words_number(SPAN("-1"), &v));
	assert_false(words_number(SPAN("1a"), &v));
	assert_false(words_number(SPAN("99999999999999999999"), &v));
	assert_false(words_number(SPAN("100000000000000000000"), &v));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
