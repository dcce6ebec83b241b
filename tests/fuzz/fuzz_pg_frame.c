/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_frame.c: the stream of either side of a PostgreSQL session.
 * On any cut the same messages; what can be read is written again as it was.
 *
 * data: which side (bit 0), is an answer awaited (bit 1), kind of answers (bit 2),
 * length of the pieces; then the bytes.
 */
#include "base/check.h"
#include "base/hash.h"
#include "heap.h"
#include "pg_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct pg_frame
begin(uint8_t how)
{
	struct pg_frame f;

	pg_frame_init(&f, (how & 1) != 0 ? PG_BACK : PG_FRONT);
	if ((how & 3) == 3)
		pg_frame_answer(&f);
	return f;
}

/* A hash of all that was said. */
static uint64_t
feed(uint8_t how, struct span in, size_t piece)
{
	struct pg_frame f = begin(how);
	uint64_t sum = 0;
	size_t at = 0;

	while (at < in.n) {
		size_t n = in.n - at < piece ? in.n - at : piece;
		uint8_t *copy = malloc(n);
		struct pg_part part;
		size_t used;
		enum wire_rc rc;

		REQUIRE(copy != NULL);
		memcpy(copy, in.p + at, n);
		rc = pg_frame_feed(&f, span_of(copy, n), &part, &used);
		REQUIRE(used <= n);
		at += used;
		if (rc == WIRE_PART) {
			for (size_t i = 0; i < part.raw.n; i++)
				sum = hash_mix(sum + part.raw.p[i] + 1);
			if (part.kind == PG_HEAD || part.left == 0)
				sum = hash_mix(sum ^ part.size ^
				               (uint64_t)part.code << 8 ^
				               part.type);
		}
		free(copy);
		if (rc < 0)
			return hash_mix(sum - (uint64_t)rc);
		REQUIRE(rc == WIRE_PART || used == n);
	}
	return sum;
}

/* Message by message, each read and written again. */
static void
whole(uint8_t how, struct span in)
{
	struct heap heap = heap_make();
	struct pg_frame f = begin(how);
	struct pg_message m;
	struct buf b;

	buf_init(&b, &heap.mem);
	while (pg_frame_whole(&f, in, &m) == WIRE_PART) {
		enum pg_side from = (enum pg_side)f.from;

		REQUIRE(m.raw.n > 0 && m.raw.n <= in.n);
		buf_clear(&b);
		if (pg_message_again(from, &m, how >> 2 & 1, &b)) {
			REQUIRE(!buf_failed(&b));
			REQUIRE(!pg_message_is_exact(from, m.type) ||
			        span_eq(buf_span(&b), m.raw));
		}
		in = span_skip(in, m.raw.n);
	}
	buf_fini(&b);
	REQUIRE(heap.mem.used == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in;

	if (n < 2)
		return 0;
	in = span_of(data + 2, n - 2);
	REQUIRE(feed(data[0], in, n) == feed(data[0], in, data[1] % 16 + 1u));
	whole(data[0], in);
	return 0;
}
