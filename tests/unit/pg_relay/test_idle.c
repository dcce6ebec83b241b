/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_idle.c: what a server says on a connection that nobody has,
 * in any cut; and the question whether a connection is read only.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "engine/postgres/relay/guard.h"
#include "engine/postgres/relay/idle.h"
#include "heap.h"

/* Type and body of each message that was heard, a bar behind it. */
struct ear {
	char text[100];
	size_t n;
	char stop; /* the type that ends it */
};

static bool
reads(const void *self, uint8_t type)
{
	(void)self;
	return type == PG_READY || type == PG_ERROR_RESPONSE;
}

static bool
hear(void *self, uint8_t type, struct span body)
{
	struct ear *e = self;

	e->text[e->n++] = (char)type;
	if (body.n > 0)
		memcpy(e->text + e->n, body.p, body.n);
	e->n += body.n;
	e->text[e->n++] = '|';
	return type != e->stop;
}

static const char said[] = "S\0\0\0\7a\0b"
			   "Z\0\0\0\5I"
			   "D\0\0\0\10rows"
			   "E\0\0\0\4"
			   "Z\0\0\0\5T";

static void
in_any_cut(void **state)
{
	size_t n = sizeof(said) - 1;

	(void)state;
	for (size_t a = 0; a <= n; a++) {
		for (size_t b = a; b <= n; b++) {
			struct heap h = heap_make();
			struct ear e = { .n = 0 };
			struct pg_idle i;

			pg_idle_init(&i, &h.mem);
			assert_true(pg_idle_take(&i, span_of(said, a), reads,
			                         hear, &e));
			assert_true(pg_idle_take(&i, span_of(said + a, b - a),
			                         reads, hear, &e));
			assert_true(pg_idle_take(&i, span_of(said + b, n - b),
			                         reads, hear, &e));
			assert_string_equal(e.text, "ZI|E|ZT|");
			/* Between messages it holds nothing. */
			assert_int_equal(h.mem.used, 0);
			pg_idle_fini(&i);
		}
	}
}

static void
until_it_is_no_use(void **state)
{
	struct heap h = heap_make();
	struct ear e = { .stop = 'E' };
	struct pg_idle i;

	(void)state;
	pg_idle_init(&i, &h.mem);
	assert_false(pg_idle_take(&i, span_of(said, sizeof(said) - 1), reads,
	                          hear, &e));
	assert_string_equal(e.text, "ZI|E|");
	pg_idle_fini(&i);
	/* No message at all. */
	pg_idle_init(&i, &h.mem);
	assert_false(pg_idle_take(&i, SPAN("Z\0\0\0\1"), reads, hear, &e));
	pg_idle_fini(&i);
	/* No memory for one. */
	pg_idle_init(&i, &h.mem);
	h.refuse_at = 1;
	assert_false(pg_idle_take(&i, SPAN("Z\0\0\0\5I"), reads, hear, &e));
	pg_idle_fini(&i);
	assert_int_equal(h.mem.used, 0);
}

static bool
guards(struct span body, bool was)
{
	struct pg_message m = { .type = PG_DATA_ROW, .body = body };

	pg_guard_hear(&m, SPAN("ann"), &was);
	return was;
}

static void
read_only(void **state)
{
	struct pg_message other = { .type = PG_READY, .body = SPAN("I") };
	bool was = true;

	(void)state;
	assert_true(guards(SPAN("\0\2\0\0\0\3ann\0\0\0\2on"), false));
	assert_false(guards(SPAN("\0\2\0\0\0\3ann\0\0\0\3off"), true));
	assert_false(guards(SPAN("\0\2\0\0\0\3bob\0\0\0\2on"), true));
	assert_false(guards(SPAN("\0\2\0\0\0\3ann\377\377\377\377"), true));
	/* Rows of settings say nothing. */
	assert_true(guards(SPAN("\0\1\0\0\0\2on"), true));
	assert_false(guards(SPAN("\0\1\0\0\0\2on"), false));
	pg_guard_hear(&other, SPAN("ann"), &was);
	assert_true(was);
}

int
main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(in_any_cut),
		cmocka_unit_test(until_it_is_no_use),
		cmocka_unit_test(read_only),
	};

	return cmocka_run_group_tests(all, NULL, NULL);
}
