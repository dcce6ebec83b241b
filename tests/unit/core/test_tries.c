/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/core/test_tries.c: how often somebody may fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* cmocka wants those first */
#include <cmocka.h>

#include "core/tries.h"

#define SECOND 1000000000ull

static const struct tries_rule rule = { 10, SECOND };

/* Tries without a pause for so long; answers how many were allowed. */
static unsigned
storm(struct tries *t, uint64_t name, uint64_t *now, uint64_t ns)
{
	unsigned n = 0;

	for (uint64_t end = *now + ns; *now < end; *now += SECOND / 100) {
		if (tries_wait_ns(t, name, &rule, *now) > 0)
			continue;
		tries_failed(t, name, &rule, *now);
		n++;
	}
	return n;
}

static void
test_limited(void **state)
{
	static struct tries t;
	uint64_t now = 5 * SECOND;
	uint64_t wait;

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(tries_wait_ns(&t, 7, &rule, now), 0);
		tries_failed(&t, 7, &rule, now);
	}
	wait = tries_wait_ns(&t, 7, &rule, now);
	assert_int_equal(wait, SECOND);
	assert_int_equal(tries_wait_ns(&t, 7, &rule, now + wait), 0);
	/* Somebody else is not concerned. */
	assert_int_equal(tries_wait_ns(&t, 8, &rule, now), 0);
	/* One a second, however hard it is tried. */
	assert_in_range(storm(&t, 7, &now, 100 * SECOND), 98, 101);
	/* All are back after ten quiet seconds, and not more. */
	now += 3600 * SECOND;
	assert_in_range(storm(&t, 7, &now, SECOND), 10, 11);
}

/* Other names do not wash out one that fails all the time. */
static void
test_washing(void **state)
{
	static struct tries t;
	uint64_t now = 5 * SECOND;

	(void)state;
	for (int i = 0; i < 10; i++)
		tries_failed(&t, 7, &rule, now);
	for (uint64_t i = 0; i < 1000000; i++)
		tries_failed(&t, 1000 + i, &rule, now);
	assert_true(tries_wait_ns(&t, 7, &rule, now) > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limited),
		cmocka_unit_test(test_washing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
