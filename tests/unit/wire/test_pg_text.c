/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_pg_text.c: names, literals and positions as SQL text.
 */
#include "unit.h"
#include "wire/pg_text.h"

static void
parse(const char *text, bool good, uint64_t v)
{
	struct pg_lsn lsn = { 7 };

	assert_int_equal(pg_lsn_parse(span_str(text), &lsn), good);
	assert_int_equal(lsn.v, good ? v : 7);
}

static void
test_lsn(void **state)
{
	static const uint64_t some[] = {
		0,          1,           0xf,          0x10,
		0xffffffff, 0x100000000, 0x16b374d848, UINT64_MAX
	};
	char text[PG_LSN_TEXT_MAX];
	struct pg_lsn lsn;

	(void)state;
	parse("16/B374D848", true, 0x16b374d848);
	parse("16/b374d848", true, 0x16b374d848);
	parse("0/0", true, 0);
	parse("00000000/00000001", true, 1);
	parse("", false, 0);
	parse("/", false, 0);
	parse("1/", false, 0);
	parse("/1", false, 0);
	parse("1", false, 0);
	parse("000000001/1", false, 0);
	parse("1/000000001", false, 0);
	parse("1/1 ", false, 0);
	parse("1/-1", false, 0);
	parse("1/2/3", false, 0);
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		size_t n = pg_lsn_print((struct pg_lsn){ some[i] }, text);

		assert_int_equal(n, strlen(text));
		assert_true(pg_lsn_parse(span_str(text), &lsn));
		assert_int_equal(lsn.v, some[i]);
	}
	assert_string_equal(text, "FFFFFFFF/FFFFFFFF");
	(void)pg_lsn_print((struct pg_lsn){ 0x16b374d848 }, text);
	assert_string_equal(text, "16/B374D848");
}

typedef void put_f(struct buf *b, struct span s);

static void
check(put_f *put, struct span in, const char *text)
{
	struct heap heap = heap_make();
	struct buf b;

	buf_init(&b, &heap.mem);
	put(&b, in);
	assert_int_equal(buf_failed(&b), text == NULL);
	if (text != NULL)
		assert_true(span_eq(buf_span(&b), span_str(text)));
	buf_fini(&b);
	for (size_t at = 1; at < 3; at++) {
		heap.refuse_at = at;
		put(&b, in);
		buf_fini(&b);
	}
	assert_int_equal(heap.mem.used, 0);
}

static void
test_quotes(void **state)
{
	(void)state;
	check(pg_put_ident, SPAN("a b"), "\"a b\"");
	check(pg_put_ident, SPAN("a\"b\"\"\\"), "\"a\"\"b\"\"\"\"\\\"");
	check(pg_put_ident, SPAN(""), NULL);
	check(pg_put_ident, SPAN("a\0b"), NULL);
	check(pg_put_literal, SPAN(""), "''");
	check(pg_put_literal, SPAN("it's"), "'it''s'");
	check(pg_put_literal, SPAN("'"), "''''");
	check(pg_put_literal, SPAN("a\\'b"), "E'a\\\\''b'");
	check(pg_put_literal, SPAN("a\0b"), NULL);
	check(pg_put_plain, SPAN("a\\'b"), "'a\\''b'");
	check(pg_put_bytea, SPAN("\0a\xff"), "E'\\\\x0061ff'");
	check(pg_put_bytea, SPAN(""), "E'\\\\x'");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lsn),
		cmocka_unit_test(test_quotes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
