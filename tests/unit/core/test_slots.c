/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/core/test_slots.c: ranges of slots, as people write them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* cmocka wants those first */
#include <cmocka.h>

#include "core/slots.h"

static uint8_t owner[HASH_SLOTS];

static void
ranges_and_single_slots_are_given(void **state)
{
	struct err err = { .code = ERR_NONE };

	(void)state;
	slots_init(owner);
	assert_int_equal(slots_give(owner, SPAN("0-5460,10923-16383"), 0, &err),
	                 0);
	assert_int_equal(slots_gap(owner), 5461);
	assert_int_equal(slots_give(owner, SPAN("5462-10922"), 1, &err), 0);
	assert_int_equal(slots_give(owner, SPAN("5461"), 2, &err), 0);
	assert_int_equal(slots_gap(owner), HASH_SLOTS);
	assert_int_equal(owner[0], 0);
	assert_int_equal(owner[5461], 2);
	assert_int_equal(owner[5462], 1);
	assert_int_equal(owner[16383], 0);
}

static void
a_slot_has_one_owner(void **state)
{
	struct err err = { .code = ERR_NONE };

	(void)state;
	slots_init(owner);
	assert_int_equal(slots_give(owner, SPAN("0-8191"), 0, &err), 0);
	assert_int_equal(slots_give(owner, SPAN("8191-16383"), 1, &err),
	                 -ERR_EXISTS);
	assert_non_null(strstr(err.text, "8191"));
}

static void
what_is_no_range_is_refused(void **state)
{
	static const char *const bad[] = { "",     "-",       "5-",
		                           "-5",   "5-4",     "16384",
		                           "1,",   ",1",      "1-2-3",
		                           "1 -2", "0x10",    "99999999999",
		                           "1;2",  "0-16384", "a" };
	struct err err = { .code = ERR_NONE };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		slots_init(owner);
		assert_int_equal(slots_give(owner, span_str(bad[i]), 0, &err),
		                 -ERR_BAD);
	}
}

static void
an_even_share_covers_all(void **state)
{
	(void)state;
	for (uint8_t n = 1; n <= 16; n++) {
		uint32_t count[16] = { 0 };

		slots_share(owner, n);
		assert_int_equal(slots_gap(owner), HASH_SLOTS);
		for (uint32_t s = 0; s < HASH_SLOTS; s++) {
			assert_true(owner[s] < n);
			assert_true(s == 0 || owner[s] >= owner[s - 1]);
			count[owner[s]]++;
		}
		for (uint8_t i = 0; i < n; i++)
			assert_in_range(count[i], HASH_SLOTS / n,
			                HASH_SLOTS / n + 1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_and_single_slots_are_given),
		cmocka_unit_test(a_slot_has_one_owner),
		cmocka_unit_test(what_is_no_range_is_refused),
		cmocka_unit_test(an_even_share_covers_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
