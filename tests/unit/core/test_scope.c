/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/core/test_scope.c: which side has authority over a key.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka wants those first */
#include <cmocka.h>

#include "core/scope.h"

#define KEYS 20000

static void *
resize(struct mem *m, void *p, size_t old_n, size_t new_n)
{
	m->used += new_n - old_n;
	if (new_n == 0) {
		free(p);
		return NULL;
	}
	return realloc(p, new_n);
}

static struct mem heap = { .resize = resize };

static struct span
key_of(uint32_t i, char *to, size_t n)
{
	return span_of(to, (size_t)snprintf(to, n, "key:%u", i));
}

static struct scope *
by_share(uint32_t ppm, uint64_t salt)
{
	struct scope_in in = { .ppm = ppm, .salt = salt };
	struct scope *s = scope_build(&heap, &in);

	assert_non_null(s);
	return s;
}

static void
test_share(void **state)
{
	static const uint32_t shares[] = { 0,      50000,  250000,
		                           750000, 999999, 1000000 };
	uint32_t before = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(shares) / sizeof(*shares); i++) {
		struct scope *s = by_share(shares[i], 42);
		uint32_t n = 0;
		char text[32];

		for (uint32_t k = 0; k < KEYS; k++)
			n += scope_side(s, key_of(k, text, sizeof(text))) ==
			     SIDE_NEW;
		assert_true(n >= before);
		assert_in_range(n, (uint64_t)shares[i] * KEYS / 1200000,
		                (uint64_t)shares[i] * KEYS / 900000);
		assert_int_equal(scope_is_empty(s), shares[i] == 0);
		assert_int_equal(scope_is_all(s), shares[i] == 1000000);
		before = n;
		scope_free(s);
	}
}

/* What is new's at 5 % is new's at 25 %; keys of one tag are together. */
static void
test_monotone(void **state)
{
	struct scope *small = by_share(50000, 7), *large = by_share(250000, 7);

	(void)state;
	for (uint32_t k = 0; k < KEYS; k++) {
		char text[32], tagged[64];
		struct span key = key_of(k, text, sizeof(text));
		int n = snprintf(tagged, sizeof(tagged), "a{%.*s}b", (int)key.n,
		                 text);

		if (scope_side(small, key) == SIDE_NEW)
			assert_int_equal(scope_side(large, key), SIDE_NEW);
		assert_int_equal(scope_side(large, key),
		                 scope_side(large, span_of(tagged, (size_t)n)));
	}
	scope_free(small);
	scope_free(large);
}

static void
test_prefixes(void **state)
{
	struct span prefix[SCOPE_PREFIX_MAX + 1] = { SPAN("cart:"),
		                                     SPAN("geo:") };
	struct scope_in in = { .prefix = prefix, .prefix_n = 2 };
	struct scope *s = scope_build(&heap, &in);

	(void)state;
	assert_non_null(s);
	assert_int_equal(scope_side(s, SPAN("cart:1")), SIDE_NEW);
	assert_int_equal(scope_side(s, SPAN("geo:")), SIDE_NEW);
	assert_int_equal(scope_side(s, SPAN("geo")), SIDE_OLD);
	assert_int_equal(scope_side(s, SPAN("{cart:}")), SIDE_OLD);
	assert_int_equal(scope_side(s, span_of(NULL, 0)), SIDE_OLD);
	assert_false(scope_is_empty(s));
	assert_false(scope_is_all(s));
	scope_free(s);
	prefix[1] = span_of(NULL, 0);
	s = scope_build(&heap, &in);
	assert_non_null(s);
	assert_true(scope_is_all(s));
	assert_int_equal(scope_side(s, SPAN("geo")), SIDE_NEW);
	scope_free(s);
	in.prefix_n = SCOPE_PREFIX_MAX + 1;
	assert_null(scope_build(&heap, &in));
	in = (struct scope_in){ .ppm = 1000001 };
	assert_null(scope_build(&heap, &in));
	assert_true(scope_is_empty(NULL));
	assert_false(scope_is_all(NULL));
	assert_int_equal(scope_side(NULL, SPAN("geo")), SIDE_OLD);
	assert_int_equal(heap.used, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_share),
		cmocka_unit_test(test_monotone),
		cmocka_unit_test(test_prefixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
