/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_verdicts.c: names of a catalog, and what was said by them.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>

#include "engine/postgres/relay/verdicts.h"
#include "engine/postgres/sql_form.h"
#include "heap.h"

static const uint64_t seed[2] = { 1, 2 };

static void
know(struct pg_verdicts *v, const char *kind, const char *name)
{
	struct span row[3] = { span_str(kind), span_str(name), SPAN("") };

	pg_verdicts_row_both(v, row);
}

static void
load(struct pg_verdicts *v, uint64_t now_ns)
{
	pg_verdicts_begin(v);
	know(v, "g", "lower");
	pg_verdicts_done(v, now_ns);
}

static int
find(struct pg_verdicts *v, const char *text)
{
	uint64_t digest[2];

	pg_verdicts_form(v, span_str(text), digest);
	return pg_verdicts_find(v, digest);
}

static void
put(struct pg_verdicts *v, const char *text, uint8_t verdict)
{
	uint64_t digest[2];

	pg_verdicts_form(v, span_str(text), digest);
	pg_verdicts_put(v, digest, verdict);
}

static void
kept_while_names_are(void **state)
{
	struct heap h = heap_make();
	struct pg_verdicts v;

	(void)state;
	pg_verdicts_init(&v, &h.mem, 4, seed);
	put(&v, "a", 2);
	assert_int_equal(find(&v, "a"), -1);
	assert_null(v.cache);
	load(&v, 10);
	assert_int_equal(find(&v, "a"), -1);
	put(&v, "a", 2);
	assert_int_equal(find(&v, "a"), 2);
	put(&v, "a", 0);
	assert_int_equal(find(&v, "a"), 0);
	/* While others are asked for these hold, unless they are stale. */
	pg_verdicts_begin(&v);
	assert_int_equal(find(&v, "a"), 0);
	pg_verdicts_stop(&v);
	assert_int_equal(find(&v, "a"), 0);
	v.is_stale = true;
	assert_int_equal(find(&v, "a"), 0);
	pg_verdicts_begin(&v);
	assert_int_equal(find(&v, "a"), -1);
	put(&v, "a", 1);
	pg_verdicts_done(&v, 20);
	/* Other names, other verdicts. */
	assert_int_equal(find(&v, "a"), -1);
	put(&v, "a", 1);
	assert_int_equal(find(&v, "a"), 1);
	pg_verdicts_forget(&v);
	assert_int_equal(find(&v, "a"), -1);
	load(&v, 30);
	assert_int_equal(find(&v, "a"), -1);
	pg_verdicts_fini(&v);
	assert_int_equal(h.mem.used, 0);
}

/* Of statements that differ by their constants alone one is looked at. */
static void
one_for_all_constants(void **state)
{
	struct heap h = heap_make();
	struct pg_verdicts v;

	(void)state;
	pg_verdicts_init(&v, &h.mem, 4, seed);
	load(&v, 1);
	put(&v, "SELECT a FROM t WHERE b = 1 AND c = 'x'", 2);
	assert_int_equal(find(&v, "SELECT a FROM t WHERE b = 22 AND c = ''"),
	                 2);
	assert_int_equal(find(&v, "SELECT a FROM t WHERE b = d AND c = 'x'"),
	                 -1);
	pg_verdicts_fini(&v);
	assert_int_equal(h.mem.used, 0);
}

/* A text that is said again has the form that it had, also when others came between that
 * are kept in the same places. */
static void
said_again(void **state)
{
	struct heap h = heap_make();
	struct pg_verdicts v;
	uint64_t now[2];
	uint64_t want[2];

	(void)state;
	pg_verdicts_init(&v, &h.mem, 4, seed);
	for (int i = 0; i < 4000; i++) {
		char text[64];
		int n = snprintf(text, sizeof(text),
		                 "SELECT a%d FROM t WHERE b = %d", i % 500, i);
		struct span all = span_of(text, (size_t)n);

		sql_form(all, seed, want);
		for (int k = 0; k < 2; k++) {
			pg_verdicts_form(&v, all, now);
			assert_memory_equal(now, want, sizeof(want));
		}
		/* The same bytes, but for the last one. */
		all.n--;
		sql_form(all, seed, want);
		pg_verdicts_form(&v, all, now);
		assert_memory_equal(now, want, sizeof(want));
	}
	assert_non_null(v.texts);
	/* It is not scanned: what is kept is what is said. */
	pg_verdicts_form(&v, SPAN("SELECT 1"), want);
	for (size_t i = 0; i < 256; i++)
		v.texts[i].form[0] = 7;
	pg_verdicts_form(&v, SPAN("SELECT 1"), now);
	assert_int_equal(now[0], 7);
	pg_verdicts_form(&v, SPAN("SELECT 2"), now);
	assert_int_equal(now[0], want[0]);
	pg_verdicts_fini(&v);
	assert_int_equal(h.mem.used, 0);
}

/* In a small table the younger one stays, and none is taken for another. */
static void
never_anothers(void **state)
{
	struct heap h = heap_make();
	struct pg_verdicts v;
	uint32_t known = 0;

	(void)state;
	pg_verdicts_init(&v, &h.mem, 4, seed);
	load(&v, 1);
	for (uint8_t i = 0; i < 100; i++) {
		char text[3] = { (char)('a' + i / 10), (char)('a' + i % 10) };

		put(&v, text, i);
		assert_int_equal(find(&v, text), i);
	}
	for (uint8_t i = 0; i < 100; i++) {
		char text[3] = { (char)('a' + i / 10), (char)('a' + i % 10) };
		int said = find(&v, text);

		assert_true(said == -1 || said == i);
		known += said == i;
	}
	assert_in_range(known, 1, 4);
	/* Half of a digest is not enough. */
	for (uint64_t i = 1; i < 3; i++) {
		uint64_t a[2] = { 8, 8 };
		uint64_t b[2] = { 8, 8 };

		b[i - 1] += 4;
		pg_verdicts_put(&v, a, 7);
		assert_int_equal(pg_verdicts_find(&v, b), -1);
	}
	pg_verdicts_fini(&v);
	assert_int_equal(h.mem.used, 0);
}

static void
when_it_is_due(void **state)
{
	struct heap h = heap_make();
	struct pg_verdicts v;
	uint64_t old = 100 + PG_VERDICTS_NS;

	(void)state;
	pg_verdicts_init(&v, &h.mem, 4, seed);
	assert_true(pg_verdicts_is_due(&v, 50));
	pg_verdicts_begin(&v);
	assert_false(pg_verdicts_is_due(&v, 50));
	pg_verdicts_done(&v, 100);
	assert_false(pg_verdicts_is_due(&v, old - 1));
	assert_true(pg_verdicts_is_due(&v, old));
	v.is_stale = true;
	assert_true(pg_verdicts_is_due(&v, 101));
	pg_verdicts_begin(&v);
	assert_false(v.is_stale);
	/* Once more, while it is being read. */
	v.is_stale = true;
	pg_verdicts_done(&v, 102);
	assert_true(pg_verdicts_is_due(&v, 103));
	pg_verdicts_fini(&v);
	assert_int_equal(h.mem.used, 0);
}

static void
by_its_names(void **state)
{
	struct heap h = heap_make();
	struct pg_verdicts v;
	struct span other[3] = { SPAN("g"), SPAN("upper"), SPAN("") };

	(void)state;
	pg_verdicts_init(&v, &h.mem, 4, seed);
	/* Nobody asked. */
	know(&v, "x", "");
	pg_verdicts_begin(&v);
	know(&v, "g", "lower");
	pg_verdicts_row(&v, SIDE_NEW, other);
	pg_verdicts_done(&v, 1);
	assert_int_equal(sql_judge(&v.names, SPAN("SELECT lower('A')")),
	                 SQL_READ);
	assert_int_equal(sql_judge(&v.names, SPAN("SELECT upper('A')")),
	                 SQL_WRITE);
	pg_verdicts_forget(&v);
	assert_int_equal(sql_judge(&v.names, SPAN("SELECT lower('A')")),
	                 SQL_WRITE);
	pg_verdicts_fini(&v);
	assert_int_equal(h.mem.used, 0);
}

static void
rows(void **state)
{
	struct span row[3];

	(void)state;
	assert_true(pg_verdicts_read(SPAN("\0\3\0\0\0\1g\0\0\0\2ab"
	                                  "\377\377\377\377"),
	                             row));
	assert_true(span_eq(row[0], SPAN("g")));
	assert_true(span_eq(row[1], SPAN("ab")));
	assert_int_equal(row[2].n, 0);
	assert_false(pg_verdicts_read(SPAN("\0\1\0\0\0\1g"), row));
	assert_false(pg_verdicts_read(SPAN("\0\3\0\0\0\1g"), row));
}

static void
without_memory(void **state)
{
	(void)state;
	for (size_t at = 1; at < 20; at++) {
		struct heap h = heap_make();
		struct pg_verdicts v;

		h.refuse_at = at;
		pg_verdicts_init(&v, &h.mem, 4, seed);
		load(&v, 1);
		put(&v, "a", 3);
		assert_true(find(&v, "a") == 3 || v.cache == NULL);
		if (v.cache == NULL)
			assert_int_equal(find(&v, "a"), -1);
		h.refuse_at = 0;
		pg_verdicts_fini(&v);
		assert_int_equal(h.mem.used, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(kept_while_names_are),
		cmocka_unit_test(one_for_all_constants),
		cmocka_unit_test(said_again),
		cmocka_unit_test(never_anothers),
		cmocka_unit_test(when_it_is_due),
		cmocka_unit_test(by_its_names),
		cmocka_unit_test(rows),
		cmocka_unit_test(without_memory),
	};

	return cmocka_run_group_tests(all, NULL, NULL);
}
