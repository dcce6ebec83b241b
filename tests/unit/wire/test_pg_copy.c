/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_pg_copy.c: the binary format of COPY, on any cut.
 */
#include "unit.h"
#include "wire/pg_copy.h"

#define HEAD "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0"

static void
say_part(const struct pg_copy_part *p, struct buf *out)
{
	switch (p->kind) {
	case PG_COPY_HEADER: buf_putf(out, "header %x", p->flags); break;
	case PG_COPY_ROW: buf_putf(out, "; row %u:", p->columns); break;
	case PG_COPY_NULL: buf_putf(out, " %u=null", p->column); break;
	case PG_COPY_VALUE:
		if (p->size - p->left == p->bytes.n)
			buf_putf(out, " %u=%u/", p->column, p->size);
		buf_put_span(out, p->bytes);
		break;
	case PG_COPY_END: buf_put_str(out, "; end"); break;
	}
}

static void
say(struct span in, size_t piece, struct buf *out)
{
	struct pg_copy c;
	struct pg_copy_part part;
	size_t at = 0;

	pg_copy_init(&c);
	for (;;) {
		size_t n = in.n - at < piece ? in.n - at : piece;
		size_t used;
		enum wire_rc rc =
			pg_copy_feed(&c, span_of(in.p + at, n), &part, &used);

		at += used;
		if (rc < 0) {
			buf_put_str(out, rc == WIRE_BAD ? " bad" : " big");
			return;
		}
		if (rc == WIRE_PART)
			say_part(&part, out);
		else if (at == in.n)
			break;
	}
	if (!pg_copy_is_done(&c))
		buf_put_str(out, " ...");
}

static void
check(struct span in, const char *text)
{
	struct heap heap = heap_make();
	struct buf out;

	buf_init(&out, &heap.mem);
	for (size_t piece = 1; piece <= in.n + 1; piece++) {
		buf_clear(&out);
		say(in, piece, &out);
		buf_put(&out, "", 1);
		assert_string_equal((const char *)buf_span(&out).p, text);
	}
	buf_fini(&out);
}

static void
test_good(void **state)
{
	(void)state;
	check(SPAN(HEAD "\377\377"), "header 0; end");
	check(SPAN(HEAD "\0\3\0\0\0\2hi\377\377\377\377\0\0\0\0\0\0\377\377"),
	      "header 0; row 3: 0=2/hi 1=null 2=0/; row 0:; end");
	/* A harmless flag, an extension. */
	check(SPAN("PGCOPY\n\377\r\n\0\0\0\0\1\0\0\0\3abc\377\377"),
	      "header 1; end");
}

static void
test_bad(void **state)
{
	(void)state;
	check(SPAN("PGCOPY\n\377\n\n\0\0\0\0\0\0\0\0\0"), " bad");
	check(SPAN("PGCOPY\n\377\r\n\0\0\1\0\0\0\0\0\0"), " bad");
	check(SPAN("PGCOPY\n\377\r\n\0\0\0\0\0\377\0\0\0"), " bad");
	check(SPAN("PGCOPY\n\377\r\n\0\0\0\0\0\0\1\0\1"), " big");
	check(SPAN(HEAD "\377\376"), "header 0 bad");
	check(SPAN(HEAD "\0\1\377\377\377\376"), "header 0; row 1: bad");
	check(SPAN(HEAD "\0\1\100\0\0\0"), "header 0; row 1: bad");
	/* Behind the trailer; without one. */
	check(SPAN(HEAD "\377\377\0"), "header 0; end bad");
	check(SPAN(HEAD "\0\1\0\0\0"), "header 0; row 1: ...");
	check(SPAN(HEAD), "header 0 ...");
	check(SPAN("PGC"), " ...");
}

static void
test_writer(void **state)
{
	struct heap heap = heap_make();
	struct buf b;

	(void)state;
	buf_init(&b, &heap.mem);
	pg_put_copy_header(&b);
	pg_put_copy_row(&b, 2);
	pg_put_value(&b, SPAN("abc"));
	pg_put_null(&b);
	pg_put_copy_end(&b);
	assert_true(span_eq(buf_span(&b),
	                    SPAN(HEAD "\0\2\0\0\0\3abc\377\377\377\377"
	                              "\377\377")));
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
