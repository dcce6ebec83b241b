/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_copy.c: any bytes as COPY in binary format: the same rows on
 * any cut; rows written again are the same bytes.
 *
 * data: length of the pieces; then the bytes, with a header put before them when
 * its lowest bit is set.
 */
#include "base/check.h"
#include "base/hash.h"
#include "heap.h"
#include "wire/pg_copy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What is read, written again. */
static void
put_part(struct buf *b, const struct pg_copy_part *p)
{
	switch (p->kind) {
	case PG_COPY_HEADER: pg_put_copy_header(b); break;
	case PG_COPY_ROW: pg_put_copy_row(b, p->columns); break;
	case PG_COPY_NULL: pg_put_null(b); break;
	case PG_COPY_VALUE:
		REQUIRE(p->column < p->columns);
		REQUIRE(p->bytes.n + p->left <= p->size);
		if (p->left + p->bytes.n == p->size)
			pg_put_u32(b, p->size);
		buf_put_span(b, p->bytes);
		break;
	case PG_COPY_END: pg_put_copy_end(b); break;
	}
}

static enum wire_rc
feed(struct span in, size_t piece, struct buf *out)
{
	struct pg_copy c;
	size_t at = 0;

	pg_copy_init(&c);
	for (;;) {
		size_t n = in.n - at < piece ? in.n - at : piece;
		uint8_t *copy = malloc(n > 0 ? n : 1);
		struct pg_copy_part part;
		size_t used;
		enum wire_rc rc;

		REQUIRE(copy != NULL);
		if (n > 0)
			memcpy(copy, in.p + at, n);
		rc = pg_copy_feed(&c, span_of(copy, n), &part, &used);
		REQUIRE(used <= n);
		if (rc == WIRE_PART)
			put_part(out, &part);
		free(copy);
		at += used;
		if (rc < 0)
			return rc;
		REQUIRE(rc == WIRE_PART || used == n);
		if (rc == WIRE_MORE && at == in.n)
			return pg_copy_is_done(&c) ? WIRE_PART : WIRE_MORE;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct heap heap = heap_make();
	struct buf in;
	struct buf whole;
	struct buf cut;
	enum wire_rc rc;

	if (n < 1)
		return 0;
	buf_init(&in, &heap.mem);
	buf_init(&whole, &heap.mem);
	buf_init(&cut, &heap.mem);
	if ((data[0] & 1) != 0)
		pg_put_copy_header(&in);
	buf_put(&in, data + 1, n - 1);
	rc = feed(buf_span(&in), SIZE_MAX, &whole);
	REQUIRE(feed(buf_span(&in), data[0] / 2 % 32 + 1u, &cut) == rc);
	REQUIRE(span_eq(buf_span(&whole), buf_span(&cut)));
	/* The header's extension is not written again. */
	if (rc == WIRE_PART && (data[0] & 1) != 0)
		REQUIRE(span_eq(buf_span(&whole), buf_span(&in)));
	buf_fini(&in);
	buf_fini(&whole);
	buf_fini(&cut);
	REQUIRE(heap.mem.used == 0);
	return 0;
}
