/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_output.c: any payloads as pgoutput: no read beyond them, all
 * that is promised can be walked; with a byte less or more it is another message
 * or none. And any body of a replication message is written again as it was.
 *
 * data: version (bits 0, 1); then payloads, each behind its length of two bytes.
 */
#include "base/check.h"
#include "heap.h"
#include "wire/pg_output.h"
#include "wire/pg_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile uint64_t sum;

static void
touch(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		sum += s.p[i];
}

static void
walk_tuple(struct pg_tuple tuple)
{
	struct pg_cell cell;
	uint32_t n = 0;

	for (; pg_cell_next(&tuple.items, &cell); n++)
		touch(cell.bytes);
	REQUIRE(n == tuple.n);
}

static void
walk(const struct pg_output_part *p)
{
	struct span rest = p->items;
	struct pg_column column;
	uint32_t n = 0;

	touch(p->gid);
	touch(p->name);
	touch(p->schema);
	touch(p->content);
	touch(p->items);
	walk_tuple(p->old);
	walk_tuple(p->new);
	if (p->kind == PG_CHANGE_TRUNCATE)
		REQUIRE(p->items.n == (size_t)p->n * 4);
	if (p->kind != PG_CHANGE_RELATION)
		return;
	for (; pg_column_next(&rest, &column); n++)
		touch(column.name);
	REQUIRE(n == p->n);
}

static void
read_stream(struct span body)
{
	struct heap heap = heap_make();
	struct pg_stream m;
	struct buf b;

	if (!pg_read_stream(body, &m))
		return;
	buf_init(&b, &heap.mem);
	pg_put_stream(&b, &m);
	REQUIRE(span_eq(span_skip(buf_span(&b), 5), body));
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct pg_output_part part;
	struct pg_output o;
	struct span in;

	if (n < 1)
		return 0;
	pg_output_init(&o, data[0] % 4 + 1);
	in = span_of(data + 1, n - 1);
	while (in.n >= 2) {
		size_t want = (size_t)in.p[0] << 8 | in.p[1];
		struct pg_output ahead = o;
		uint8_t *copy;

		in = span_skip(in, 2);
		want = want < in.n ? want : in.n;
		copy = malloc(want > 0 ? want : 1);
		REQUIRE(copy != NULL);
		if (want > 0)
			memcpy(copy, in.p, want);
		in = span_skip(in, want);
		if (pg_output_read(&o, span_of(copy, want), &part)) {
			walk(&part);
			REQUIRE(want == 0 ||
			        part.kind == PG_CHANGE_STREAM_ABORT ||
			        !pg_output_read(&ahead, span_of(copy, want - 1),
			                        &part));
		} else {
			REQUIRE(memcmp(&ahead, &o, sizeof(o)) == 0);
		}
		read_stream(span_of(copy, want));
		free(copy);
	}
	return 0;
}
