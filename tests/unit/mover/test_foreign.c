/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/mover/test_foreign.c: what a server deleted of keys that the other
 * mover carries.
 */
#include "engine/redis/mover/foreign.h"
#include "unit.h"

static struct mem mem;

static void
put(struct foreign *f, uint64_t at, uint32_t db, struct span key)
{
	foreign_put(f, &(struct foreign_item){ at, db, key });
}

static void
test_order(void **state)
{
	struct foreign f;
	struct foreign_item it;
	size_t pos = 0;

	(void)state;
	mem = (struct mem){ .resize = unit_resize };
	foreign_init(&f, &mem);
	assert_false(foreign_knows(&f, 100));
	foreign_begin(&f, 100);
	assert_true(foreign_knows(&f, 100));
	assert_false(foreign_knows(&f, 99));
	assert_false(foreign_next(&f, &pos, &it));
	put(&f, 100, 3, SPAN("a"));
	put(&f, 130, 0, SPAN(""));
	assert_true(foreign_next(&f, &pos, &it));
	assert_true(it.at == 100 && it.db == 3 && span_eq(it.key, SPAN("a")));
	assert_true(foreign_next(&f, &pos, &it));
	assert_true(it.at == 130 && it.db == 0 && it.key.n == 0);
	assert_false(foreign_next(&f, &pos, &it));
	foreign_begin(&f, 20);
	pos = 0;
	assert_false(foreign_next(&f, &pos, &it));
	assert_true(foreign_knows(&f, 20));
	assert_int_equal(mem.used, 0);
}

/* What goes for want of room is known to be gone, and nothing else is. */
static void
test_bound(void **state)
{
	struct foreign f;
	struct foreign_item it;
	uint64_t n = 0;
	uint64_t first = UINT64_MAX;
	size_t pos = 0;
	char key[32];

	(void)state;
	mem = (struct mem){ .resize = unit_resize };
	foreign_init(&f, &mem);
	foreign_begin(&f, 0);
	for (uint64_t at = 1; at <= 300000; at++) {
		int len = snprintf(key, sizeof(key), "key:%llu",
		                   (unsigned long long)at);

		put(&f, at, 0, span_of(key, (size_t)len));
	}
	assert_true(mem.used <= 4 * FOREIGN_MAX);
	assert_false(foreign_knows(&f, 1));
	while (foreign_next(&f, &pos, &it)) {
		if (first == UINT64_MAX)
			first = it.at;
		assert_true(it.at == first + n);
		n++;
	}
	assert_true(first + n == 300001 && n > 60000);
	assert_true(foreign_knows(&f, first));
	assert_false(foreign_knows(&f, first - 1));
	foreign_begin(&f, 0);
	assert_int_equal(mem.used, 0);
}

static void
test_no_memory(void **state)
{
	struct foreign f;
	struct foreign_item it;
	size_t pos = 0;

	(void)state;
	mem = (struct mem){ .resize = unit_resize, .limit = 1 };
	foreign_init(&f, &mem);
	foreign_begin(&f, 5);
	put(&f, 9, 0, SPAN("key"));
	assert_false(foreign_knows(&f, 9));
	assert_true(foreign_knows(&f, 10));
	mem.limit = 0;
	put(&f, 12, 0, SPAN("key"));
	assert_true(foreign_next(&f, &pos, &it) && it.at == 12);
	foreign_begin(&f, 0);
	assert_int_equal(mem.used, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
