/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The items of a reply. (Transcripts and cuts: tests/golden/resp_read.)
 */
#include "unit.h"
#include "wire/resp.h"

static struct resp_item
pull(struct span *in)
{
	struct resp_item item;

	assert_int_equal(resp_read(in, &item), WIRE_PART);
	return item;
}

static void
test_items(void **state)
{
	struct span in = SPAN("*4\r\n+OK\r\n-ERR x\r\n:-5\r\n$2\r\n\r\n\r\n"
	                      "$-1\r\n*-1\r\n*0\r\n");
	struct resp_item item;

	(void)state;
	item = pull(&in);
	assert_int_equal(item.type, RESP_ARRAY);
	assert_int_equal(item.number, 4);
	item = pull(&in);
	assert_int_equal(item.type, RESP_STATUS);
	assert_true(span_eq(item.text, SPAN("OK")));
	item = pull(&in);
	assert_int_equal(item.type, RESP_ERROR);
	assert_true(span_eq(item.text, SPAN("ERR x")));
	item = pull(&in);
	assert_int_equal(item.type, RESP_INT);
	assert_int_equal(item.number, -5);
	item = pull(&in);
	assert_int_equal(item.type, RESP_BULK);
	assert_true(span_eq(item.text, SPAN("\r\n")));
	assert_int_equal(pull(&in).type, RESP_NIL);
	assert_int_equal(pull(&in).type, RESP_NIL);
	item = pull(&in);
	assert_int_equal(item.type, RESP_ARRAY);
	assert_int_equal(item.number, 0);
	assert_int_equal(in.n, 0);
	assert_int_equal(resp_read(&in, &item), WIRE_MORE);
}

static void
test_not_moved(void **state)
{
	struct span in = SPAN("$5\r\nabc");
	struct span bad = SPAN("$x\r\n");
	struct resp_item item;

	(void)state;
	assert_int_equal(resp_read(&in, &item), WIRE_MORE);
	assert_int_equal(in.n, 7);
	assert_int_equal(resp_read(&bad, &item), WIRE_BAD);
	assert_int_equal(bad.n, 4);
	bad = SPAN("?1\r\n");
	assert_int_equal(resp_read(&bad, &item), WIRE_BAD);
}

static void
test_integer_limits(void **state)
{
	struct span in = SPAN(":9223372036854775807\r\n"
	                      ":-9223372036854775808\r\n");
	struct span high = SPAN(":9223372036854775808\r\n");
	struct span low = SPAN(":-9223372036854775809\r\n");
	struct resp_item item;

	(void)state;
	assert_true(pull(&in).number == INT64_MAX);
	assert_true(pull(&in).number == INT64_MIN);
	assert_int_equal(resp_read(&high, &item), WIRE_BAD);
	assert_int_equal(resp_read(&low, &item), WIRE_BAD);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_items),
		cmocka_unit_test(test_not_moved),
		cmocka_unit_test(test_integer_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
