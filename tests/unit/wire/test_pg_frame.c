/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_pg_frame.c: where messages begin and end, on any cut.
 */
#include "unit.h"
#include "wire/pg_bytes.h"
#include "wire/pg_frame.h"

/* What is said of these bytes when they come in pieces of `piece`. */
static void
say(enum pg_side from, struct span in, size_t piece, struct buf *out)
{
	struct pg_frame f;
	struct pg_part part;
	size_t at = 0;

	pg_frame_init(&f, from);
	while (at < in.n) {
		size_t n = in.n - at < piece ? in.n - at : piece;
		size_t used;
		enum wire_rc rc =
			pg_frame_feed(&f, span_of(in.p + at, n), &part, &used);

		at += used;
		if (rc < 0) {
			buf_putf(out, "%s ", rc == WIRE_BAD ? "bad" : "big");
			assert_int_equal(
				pg_frame_feed(&f, SPAN("Q"), &part, &used),
				WIRE_BAD);
			return;
		}
		if (rc == WIRE_MORE) {
			assert_int_equal(used, n);
			continue;
		}
		if (part.kind == PG_HEAD)
			buf_putf(out, "%c%x/%u ",
			         part.type != 0 ? part.type : '-', part.code,
			         part.size);
		for (size_t i = 0; part.kind == PG_BODY && i < part.raw.n; i++)
			pg_put_u8(out,
			          part.raw.p[i] > 31 ? part.raw.p[i] : '.');
		if (part.left == 0)
			buf_put_str(out, "; ");
	}
	if (!pg_frame_is_between(&f))
		buf_put_str(out, "...");
}

static void
check(enum pg_side from, struct span in, const char *text)
{
	struct heap heap = heap_make();
	struct buf out;

	buf_init(&out, &heap.mem);
	for (size_t piece = 1; piece <= in.n + 1; piece++) {
		buf_clear(&out);
		say(from, in, piece, &out);
		pg_put_u8(&out, 0);
		assert_string_equal((const char *)buf_span(&out).p, text);
	}
	buf_fini(&out);
	assert_int_equal(heap.mem.used, 0);
}

static void
test_front(void **state)
{
	(void)state;
	check(PG_FRONT,
	      SPAN("\0\0\0\x08\x04\xd2\x16\x2f"
	           "\0\0\0\x08\x04\xd2\x16\x30"
	           "\0\0\0\x0f\0\3\0\0user\0b\0"
	           "Q\0\0\0\x0dSELECT 1\0S\0\0\0\4Q\0\0\0\7ab"),
	      "-4d2162f/0 ; -4d21630/0 ; -30000/7 user.b.; "
	      "Q0/9 SELECT 1.; S0/0 ; Q0/3 ab...");
}

static void
test_cancel(void **state)
{
	struct pg_frame f;
	struct pg_message m;
	struct span in = SPAN("\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\5abcd");

	(void)state;
	check(PG_FRONT, in, "-4d2162e/8 ....abcd; ");
	pg_frame_init(&f, PG_FRONT);
	assert_int_equal(pg_frame_whole(&f, in, &m), WIRE_PART);
	assert_int_equal(m.code, PG_CANCEL);
	assert_int_equal(m.body.n, 8);
	assert_int_equal(m.raw.n, in.n);
	/* Nothing may follow. */
	assert_int_equal(pg_frame_whole(&f, SPAN("Q"), &m), WIRE_BAD);
}

static void
test_bad(void **state)
{
	(void)state;
	/* Versions 2 and 4, an unknown request, one with a body. */
	check(PG_FRONT, SPAN("\0\0\0\x08\0\2\0\0"), "bad ");
	check(PG_FRONT, SPAN("\0\0\0\x08\0\4\0\0"), "bad ");
	check(PG_FRONT, SPAN("\0\0\0\x08\x04\xd2\x16\x33"), "bad ");
	check(PG_FRONT, SPAN("\0\0\0\x09\x04\xd2\x16\x2f!"), "bad ");
	check(PG_FRONT, SPAN("\0\0\0\7\0\3\0\0"), "bad ");
	check(PG_FRONT, SPAN("\0\0\x27\x11\0\3\0\0"), "big ");
	/* Who sends what, how long. */
	check(PG_BACK, SPAN("Q\0\0\0\4"), "bad ");
	check(PG_BACK, SPAN("Z\0\0\0\3"), "bad ");
	check(PG_BACK, SPAN("Z\0\0\x75\x31"), "big ");
	check(PG_BACK, SPAN("D\x40\0\0\4"), "big ");
	check(PG_BACK, SPAN("D\x40\0\0\3"), "D0/1073741823 ...");
	check(PG_BACK, SPAN("Z\0\0\0\5I2\0\0\0\4"), "Z0/1 I; 20/0 ; ");
}

static void
test_answer(void **state)
{
	struct pg_frame f;
	struct pg_part part;
	size_t used;

	(void)state;
	for (const char *c = "SNG"; *c != '\0'; c++) {
		pg_frame_init(&f, PG_BACK);
		pg_frame_answer(&f);
		assert_int_equal(pg_frame_feed(&f, span_of(c, 1), &part, &used),
		                 WIRE_PART);
		assert_int_equal(part.kind, PG_ANSWER);
		assert_int_equal(part.type, *c);
		assert_int_equal(used, 1);
		assert_int_equal(
			pg_frame_feed(&f, SPAN("N\0\0\0\5\0"), &part, &used),
			WIRE_PART);
		assert_int_equal(part.kind, PG_HEAD);
	}
	pg_frame_init(&f, PG_BACK);
	pg_frame_answer(&f);
	assert_int_equal(pg_frame_feed(&f, SPAN("E\0\0\0\5\0"), &part, &used),
	                 WIRE_PART);
	assert_int_equal(part.kind, PG_HEAD);
	assert_int_equal(part.type, PG_ERROR_RESPONSE);
	pg_frame_init(&f, PG_BACK);
	pg_frame_answer(&f);
	assert_int_equal(pg_frame_feed(&f, SPAN("R"), &part, &used), WIRE_BAD);
}

/* A message is there as a whole, or nothing is used. */
static void
test_whole(void **state)
{
	struct span in = SPAN("C\0\0\0\rSELECT 1\0Z");
	struct pg_frame f;
	struct pg_message m;

	(void)state;
	pg_frame_init(&f, PG_BACK);
	for (size_t n = 0; n < in.n - 1; n++) {
		assert_int_equal(pg_frame_whole(&f, span_of(in.p, n), &m),
		                 WIRE_MORE);
		assert_true(pg_frame_is_between(&f));
	}
	assert_int_equal(pg_frame_whole(&f, in, &m), WIRE_PART);
	assert_int_equal(m.type, PG_COMMAND_COMPLETE);
	assert_true(span_eq(m.body, SPAN("SELECT 1\0")));
	assert_int_equal(m.raw.n, in.n - 1);
}

static void
test_names(void **state)
{
	(void)state;
	assert_string_equal(pg_name(PG_FRONT, 'D'), "Describe");
	assert_string_equal(pg_name(PG_BACK, 'D'), "DataRow");
	assert_string_equal(pg_name(PG_FRONT, 'd'), "CopyData");
	assert_string_equal(pg_name(PG_BACK, 'd'), "CopyData");
	assert_null(pg_name(PG_BACK, 'Q'));
	assert_int_equal(pg_length_max(PG_FRONT, 'p'), PG_AUTH_MAX);
	assert_int_equal(pg_length_max(PG_FRONT, 'R'), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_front), cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_bad),   cmocka_unit_test(test_answer),
		cmocka_unit_test(test_whole), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
