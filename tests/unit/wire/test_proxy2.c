/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_proxy2.c: the header of a proxy in front.
 */
#include "unit.h"
#include "wire/proxy2.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"

static enum wire_rc
feed(struct span s, struct proxy2 *h)
{
	/* Whatever is cut off, it is never whole, and never bad. */
	for (size_t i = 0; i < s.n; i++) {
		enum wire_rc rc = proxy2_read(span_of(s.p, i), h);

		if (rc != WIRE_MORE)
			return rc;
	}
	return proxy2_read(s, h);
}

static void
test_good(void **state)
{
	static const uint8_t v4[16] = { 0, 0, 0,   0,   0,  0, 0, 0,
		                        0, 0, 255, 255, 10, 1, 2, 3 };
	struct proxy2 h;
	struct span s = SPAN(SIG "\x21\x11\0\x14"
	                         "\x0a\1\2\3\x7f\0\0\1\x12\x34\0\x50"
	                         "\xe0\0\2eu\x04\0\0");

	(void)state;
	assert_int_equal(feed(s, &h), WIRE_PART);
	assert_true(h.has_address);
	assert_memory_equal(h.address, v4, 16);
	assert_int_equal(h.port, 0x1234);
	assert_int_equal(h.n, s.n);
	assert_true(span_eq(proxy2_tlv(&h, 0xe0), SPAN("eu")));
	assert_int_equal(proxy2_tlv(&h, 0x04).n, 0);
	assert_non_null(proxy2_tlv(&h, 0x04).p);
	assert_null(proxy2_tlv(&h, 0xe1).p);

	s = SPAN(SIG "\x21\x21\0\x24"
	             "ABCDEFGHIJKLMNOPabcdefghijklmnop\x12\x34\0\x50");
	assert_int_equal(feed(s, &h), WIRE_PART);
	assert_true(h.has_address);
	assert_memory_equal(h.address, "ABCDEFGHIJKLMNOP", 16);

	/* LOCAL and families without an address: a client like others. */
	s = SPAN(SIG "\x20\0\0\0");
	assert_int_equal(feed(s, &h), WIRE_PART);
	assert_false(h.has_address);
	s = SPAN(SIG "\x20\x77\0\2xy");
	assert_int_equal(feed(s, &h), WIRE_PART);
	assert_false(h.has_address);
	s = SPAN(SIG "\x21\0\0\0");
	assert_int_equal(feed(s, &h), WIRE_PART);
	assert_false(h.has_address);
}

static void
test_bad(void **state)
{
	const struct span bad[] = {
		SPAN("PING\r\n"),
		SPAN("\r\n\r\n\0\r\nQUIT\r"),
		SPAN(SIG "\x11\x11\0\0"),     /* version 1 */
		SPAN(SIG "\x22\x11\0\0"),     /* no such command */
		SPAN(SIG "\x21\x11\0\x0b"),   /* shorter than its address */
		SPAN(SIG "\x21\x51\0\x0c"),   /* no such family */
		SPAN(SIG "\x21\x11\x20\0"),   /* beyond the limit */
		SPAN(SIG "\x21\0\0\2\xe0\0"), /* half a TLV */
		SPAN(SIG "\x21\0\0\4\xe0\0\2x"),
	};
	struct proxy2 h;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(feed(bad[i], &h), WIRE_BAD);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
