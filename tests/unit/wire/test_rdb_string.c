/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lengths and strings of an RDB.
 */
#include "base/rng.h"
#include "unit.h"
#include "wire/rdb.h"
#include "wire/rdb_string.h"

static void
assert_len(struct span s, enum wire_rc rc, uint64_t want)
{
	uint64_t v = 0;
	size_t n = 0;

	assert_int_equal(rdb_len(s, &v, &n), rc);
	if (rc != WIRE_PART)
		return;
	assert_true(v == want);
	assert_int_equal(n, s.n);
	for (size_t i = 0; i < s.n; i++)
		assert_int_equal(rdb_len(span_of(s.p, i), &v, &n), WIRE_MORE);
}

static void
test_lengths(void **state)
{
	(void)state;
	assert_len(SPAN("\x00"), WIRE_PART, 0);
	assert_len(SPAN("\x3f"), WIRE_PART, 63);
	assert_len(SPAN("\x41\x02"), WIRE_PART, 258);
	assert_len(SPAN("\x80\x01\x02\x03\x04"), WIRE_PART, 0x01020304);
	assert_len(SPAN("\x81\x01\x02\x03\x04\x05\x06\x07\x08"), WIRE_PART,
	           0x0102030405060708);
	assert_len(SPAN("\x82"), WIRE_BAD, 0);
	assert_len(SPAN("\xbf"), WIRE_BAD, 0);
	assert_len(SPAN("\xc0"), WIRE_BAD, 0);
}

static void
assert_string(struct span s, struct span want)
{
	uint8_t room[64 + RDB_SLOT * RDB_SLOTS];
	struct rdb_space space = { .p = room, .n = 64, .slots = room + 64 };
	struct rdb_string str;
	struct span got;

	assert_int_equal(rdb_string_head(s, &str), WIRE_PART);
	assert_int_equal(str.head_n + str.data_n, s.n);
	assert_int_equal(rdb_string_decode(s, &str, &space, &got), WIRE_PART);
	assert_true(span_eq(got, want));
}

static void
test_strings(void **state)
{
	(void)state;
	assert_string(SPAN("\x03"
	                   "abc"),
	              SPAN("abc"));
	assert_string(SPAN("\x00"), SPAN(""));
	assert_string(SPAN("\xc0\x80"), SPAN("-128"));
	assert_string(SPAN("\xc1\xff\x7f"), SPAN("32767"));
	assert_string(SPAN("\xc2\x00\x00\x00\x80"), SPAN("-2147483648"));
	/* "a" and nine bytes from one before. */
	assert_string(SPAN("\xc3\x05\x0a\x00"
	                   "a\xe0\x00\x00"),
	              SPAN("aaaaaaaaaa"));
}

/* A simple packer: each place is either copied or referred to at random. */
static size_t
pack(struct rng *rng, const uint8_t *in, size_t n, uint8_t *out)
{
	size_t o = 0;

	for (size_t i = 0; i < n;) {
		size_t back = 1 + rng_below(rng, 8192);
		size_t run = 0;

		while (back <= i && run < 264 && i + run < n &&
		       in[i + run] == in[i + run - back])
			run++;
		if (run >= 3) {
			size_t code = run - 2;

			out[o++] = (uint8_t)((code < 7 ? code : 7) << 5 |
			                     (back - 1) >> 8);
			if (code >= 7)
				out[o++] = (uint8_t)(code - 7);
			out[o++] = (uint8_t)(back - 1);
			i += run;
			continue;
		}
		run = 1 + rng_below(rng, n - i < 32 ? n - i : 32);
		out[o++] = (uint8_t)(run - 1);
		memcpy(out + o, in + i, run);
		o += run;
		i += run;
	}
	return o;
}

static void
test_lzf(void **state)
{
	static uint8_t plain[50000];
	static uint8_t packed[60000];
	static uint8_t got[sizeof(plain)];
	struct rng rng;

	(void)state;
	rng_init(&rng, 11);
	for (uint64_t round = 0; round < 200; round++) {
		size_t n = 1 + rng_below(&rng, sizeof(plain));
		struct span in = { packed, 0 };
		size_t at = 0;

		for (size_t i = 0; i < n; i++)
			plain[i] = (uint8_t)rng_below(&rng, 1 + round % 3);
		in.n = pack(&rng, plain, n, packed);
		/* To a target in pieces of the output. */
		for (size_t want = 0; at < n; want = at + 1000) {
			assert_int_equal(rdb_lzf(&in, got, &at, n, want),
			                 WIRE_MORE);
			assert_true(want > n || at >= want);
		}
		assert_int_equal(in.n, 0);
		assert_memory_equal(got, plain, n);
		/* One byte less room is refused, not overrun. */
		in = span_of(packed, pack(&rng, plain, n, packed));
		at = 0;
		assert_int_equal(rdb_lzf(&in, got, &at, n - 1, SIZE_MAX),
		                 WIRE_BAD);
	}
}

static void
test_lzf_before_the_start(void **state)
{
	struct span in = SPAN("\x00"
	                      "a\x20\x01");
	uint8_t out[16];
	size_t at = 0;

	(void)state;
	assert_int_equal(rdb_lzf(&in, out, &at, 16, SIZE_MAX), WIRE_BAD);
}

static void
assert_text(struct span body, size_t n, struct span want)
{
	uint8_t room[300];
	struct span got;

	if (want.p == NULL) {
		assert_false(rdb_text(0, body, room, n, &got));
		return;
	}
	assert_true(rdb_text(0, body, room, n, &got));
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.p, want.p, want.n);
	assert_false(rdb_text(1, body, room, n, &got));
}

static void
test_text(void **state)
{
	(void)state;
	assert_text(SPAN("\x03"
	                 "abc"),
	            300, SPAN("abc"));
	assert_text(SPAN("\x00"), 300, SPAN(""));
	assert_text(SPAN("\xc0\x85"), 300, SPAN("-123"));
	assert_text(SPAN("\xc2\x15\xcd\x5b\x07"), 300, SPAN("123456789"));
	/* packed: one byte, then it again 8 times */
	assert_text(SPAN("\xc3\x04\x09\x00"
	                 "a\xc0\x00"),
	            300, SPAN("aaaaaaaaa"));
	assert_text(SPAN("\xc3\x04\x41\x2c\x00"
	                 "a\xc0\x00"),
	            299, span_of(NULL, 0)); /* 300 bytes: no room */
	assert_text(SPAN("\x03"
	                 "ab"),
	            300, span_of(NULL, 0));
	assert_text(SPAN("\x03"
	                 "abcd"),
	            300, span_of(NULL, 0));
	assert_text(SPAN(""), 300, span_of(NULL, 0));
	assert_text(SPAN("\xc0\x85"), 31, span_of(NULL, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_lzf),
		cmocka_unit_test(test_lzf_before_the_start),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
