/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_rdb_lower.c: values of Redis 7.0 as 5.0 and 6.2 say them.
 * The payloads are what DUMP of Redis 7.0.15 gave.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "base/hash.h"
#include "heap.h"
#include "wire/rdb.h"

/* Each with its footer. */
static const uint8_t hash[] = { 0x10, 0x1d, 0x1d, 0x00, 0x00, 0x00, 0x06,
	                        0x00, 0x81, 0x61, 0x02, 0x01, 0x01, 0x81,
	                        0x62, 0x02, 0x84, 0x74, 0x65, 0x78, 0x74,
	                        0x05, 0x81, 0x63, 0x02, 0xf2, 0x90, 0xee,
	                        0xfe, 0x04, 0xff, 0x0a, 0x00, 0xda, 0xf8,
	                        0xa3, 0xc4, 0x77, 0x7d, 0xbe, 0x7b };
static const uint8_t zset[] = { 0x11, 0x25, 0x25, 0x00, 0x00, 0x00, 0x08,
	                        0x00, 0x81, 0x6e, 0x02, 0x84, 0x2d, 0x69,
	                        0x6e, 0x66, 0x05, 0x81, 0x6f, 0x02, 0x83,
	                        0x31, 0x2e, 0x35, 0x04, 0x81, 0x70, 0x02,
	                        0x03, 0x01, 0x81, 0x6d, 0x02, 0x83, 0x69,
	                        0x6e, 0x66, 0x04, 0xff, 0x0a, 0x00, 0xe3,
	                        0xfd, 0x94, 0xea, 0xa6, 0x0c, 0x73, 0xf6 };
static const uint8_t list[] = { 0x12, 0x01, 0x02, 0x11, 0x11, 0x00, 0x00, 0x00,
	                        0x03, 0x00, 0x81, 0x61, 0x02, 0x07, 0x01, 0x83,
	                        0x63, 0x63, 0x63, 0x04, 0xff, 0x0a, 0x00, 0x24,
	                        0x87, 0xfd, 0x3a, 0x94, 0x9c, 0xf6, 0xfb };

/* Hashes of 8.0 whose fields may have an expiry; the earliest one. */
#define FIRST "\x7b\x38\xd3\x60\xba\x01\0\0"
/* f v 1900000000123, g w 0 */
#define PACK_1                   \
	"\x1f\x1f\0\0\0\6\0\x81" \
	"f\2\x81v\2\xf4\x7b\x38\xd3\x60\xba\x01\0\0\x09\x81g\2\x81w\2\0\1\xff"
/* g w 0 */
#define PACK_2 "\x0f\x0f\0\0\0\3\0\x81g\2\x81w\2\0\1\xff"

static void
payload_is(const char *text, size_t n, struct span got)
{
	assert_int_equal(got.n, n + 10);
	assert_memory_equal(got.p, text, n);
}

static void
fields_without_expiry_are_a_hash(void **state)
{
	struct heap heap = heap_make();
	struct buf room;
	struct buf out;

	(void)state;
	buf_init(&room, &heap.mem);
	buf_init(&out, &heap.mem);
	assert_int_equal(rdb_lower(24, SPAN(FIRST "\2\0\1f\1v\0\1g\1w"), 11,
	                           &room, &out),
	                 WIRE_PART);
	payload_is("\4\2\1f\1v\1g\1w", 10, buf_span(&out));
	buf_clear(&out);
	assert_int_equal(rdb_lower(25, SPAN(FIRST PACK_2), 9, &room, &out),
	                 WIRE_PART);
	payload_is("\4\1\1g\1w", 6, buf_span(&out));
	for (size_t n = 0; n < sizeof(FIRST PACK_2) - 1; n++)
		assert_int_equal(
			rdb_lower(25, span_of((const uint8_t *)FIRST PACK_2, n),
		                  11, &room, &out),
			WIRE_BAD);
	buf_fini(&room);
	buf_fini(&out);
}

static struct span
lower(const uint8_t *p, size_t n, uint32_t version, struct buf *room,
      struct buf *out)
{
	struct span whole = span_of(p, n);
	struct span body;
	uint32_t had;

	assert_true(rdb_payload(whole, &had, &body));
	assert_int_equal(had, 10);
	buf_clear(out);
	assert_int_equal(
		rdb_lower(body.p[0], span_skip(body, 1), version, room, out),
		WIRE_PART);
	return buf_span(out);
}

#define SAME(in, version, text)                                             \
	do {                                                                \
		struct span got =                                           \
			lower((in), sizeof(in), (version), &room, &out);    \
		uint8_t end[10];                                            \
                                                                            \
		assert_int_equal(got.n, sizeof(text) - 1 + 10);             \
		assert_memory_equal(got.p, (text), sizeof(text) - 1);       \
		rdb_footer((version),                                       \
		           hash_crc64(0, span_of(got.p, got.n - 10)), end); \
		assert_memory_equal(got.p + got.n - 10, end, 10);           \
	} while (0)

static void
what_is_new_is_said_in_the_old_way(void **state)
{
	struct heap heap = heap_make();
	struct buf room;
	struct buf out;
	struct span same;

	(void)state;
	buf_init(&room, &heap.mem);
	buf_init(&out, &heap.mem);
	SAME(hash, 9, "\4\3\1a\0011\1b\4text\1c\006-70000");
	SAME(zset, 9, "\3\4\1n\377\1o\0031.5\1p\0013\1m\376");
	SAME(list, 9, "\1\3\1a\0017\3ccc");
	/* Known there: only the footer. */
	same = lower(hash, sizeof(hash), 10, &room, &out);
	assert_int_equal(same.n, sizeof(hash));
	assert_memory_equal(same.p, hash, sizeof(hash));
	buf_fini(&room);
	buf_fini(&out);
}

static void
what_cannot_be_said_is_told(void **state)
{
	struct heap heap = heap_make();
	struct buf room;
	struct buf out;

	(void)state;
	buf_init(&room, &heap.mem);
	buf_init(&out, &heap.mem);
	assert_int_equal(rdb_lower(0, SPAN("\1x"), 8, &room, &out), WIRE_BIG);
	assert_int_equal(rdb_lower(22, SPAN("\1x"), 11, &room, &out), WIRE_BIG);
	assert_int_equal(rdb_lower(24, SPAN("\1x"), 11, &room, &out), WIRE_BAD);
	/* An expiry of a field. */
	assert_int_equal(
		rdb_lower(24, SPAN(FIRST "\1\1\1f\1v"), 11, &room, &out),
		WIRE_BIG);
	assert_int_equal(rdb_lower(25, SPAN(FIRST PACK_1), 11, &room, &out),
	                 WIRE_BIG);
	/* Cut anywhere, or with more behind. */
	for (size_t n = 0; n + 11 < sizeof(hash); n++)
		assert_int_equal(
			rdb_lower(16, span_of(hash + 1, n), 9, &room, &out),
			WIRE_BAD);
	for (size_t n = 0; n + 11 < sizeof(list); n++)
		assert_int_equal(
			rdb_lower(18, span_of(list + 1, n), 9, &room, &out),
			WIRE_BAD);
	assert_int_equal(rdb_lower(16, span_of(hash + 1, sizeof(hash) - 10), 9,
	                           &room, &out),
	                 WIRE_BAD);
	buf_fini(&room);
	buf_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_new_is_said_in_the_old_way),
		cmocka_unit_test(what_cannot_be_said_is_told),
		cmocka_unit_test(fields_without_expiry_are_a_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
