/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entries of a listpack or ziplist. (All codings: tests/golden/rdb.)
 */
#include "unit.h"
#include "wire/rdb_pack.h"

/* Answers how the walk ended; the entries are joined with commas. */
static enum wire_rc
walk(enum rdb_pack pack, struct span s, char *text)
{
	enum wire_rc rc = WIRE_PART;
	uint8_t slot[32];
	struct span got;
	size_t at = 0;

	*text = '\0';
	for (;;) {
		rc = rdb_pack_next(pack, s, &at, slot, &got);
		if (rc != WIRE_PART)
			return rc;
		(void)strncat(text, (const char *)got.p, got.n);
		(void)strncat(text, ",", 2);
	}
}

static void
test_listpack(void **state)
{
	struct span s = SPAN("\x16\0\0\0\3\0"
	                     "\x05\x01"
	                     "\xdf\xff\x02"
	                     "\x83xyz\x04"
	                     "\xf1\xff\x7f\x03"
	                     "\xff");
	char text[100];

	(void)state;
	s.p = memcpy(malloc(s.n), s.p, s.n);
	assert_int_equal(s.n, 21);
	assert_int_equal(walk(RDB_LISTPACK, s, text), WIRE_BAD);
	((uint8_t *)(uintptr_t)s.p)[0] = 21;
	assert_int_equal(walk(RDB_LISTPACK, s, text), WIRE_MORE);
	assert_string_equal(text, "5,-1,xyz,32767,");
	/* Cut anywhere it is no listpack, and nothing is read beyond. */
	for (size_t n = 0; n < s.n; n++) {
		uint8_t *cut = malloc(n > 0 ? n : 1);

		memcpy(cut, s.p, n);
		if (n > 0)
			cut[0] = (uint8_t)n;
		assert_int_equal(walk(RDB_LISTPACK, span_of(cut, n), text),
		                 WIRE_BAD);
		free(cut);
	}
	free((void *)(uintptr_t)s.p);
}

static void
test_ziplist(void **state)
{
	struct span s = SPAN("\x19\0\0\0\x13\0\0\0\4\0"
	                     "\0\xf1"
	                     "\2\3abc"
	                     "\5\xfe\x80"
	                     "\xfe\3\0\0\0\xfd"
	                     "\xff");
	char text[100];

	(void)state;
	s.p = memcpy(malloc(s.n), s.p, s.n);
	((uint8_t *)(uintptr_t)s.p)[0] = (uint8_t)s.n;
	assert_int_equal(walk(RDB_ZIPLIST, s, text), WIRE_MORE);
	assert_string_equal(text, "0,abc,-128,12,");
	for (size_t n = 0; n < s.n; n++) {
		uint8_t *cut = malloc(n > 0 ? n : 1);

		memcpy(cut, s.p, n);
		if (n > 0)
			cut[0] = (uint8_t)n;
		assert_int_equal(walk(RDB_ZIPLIST, span_of(cut, n), text),
		                 WIRE_BAD);
		free(cut);
	}
	free((void *)(uintptr_t)s.p);
}

static void
test_unknown_codings(void **state)
{
	char text[100];

	(void)state;
	assert_int_equal(
		walk(RDB_LISTPACK, SPAN("\x09\0\0\0\1\0\xf5\1\xff"), text),
		WIRE_BAD);
	assert_int_equal(walk(RDB_ZIPLIST,
	                      SPAN("\x0d\0\0\0\x0a\0\0\0\1\0\0\xc1\xff"), text),
	                 WIRE_BAD);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listpack),
		cmocka_unit_test(test_ziplist),
		cmocka_unit_test(test_unknown_codings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
