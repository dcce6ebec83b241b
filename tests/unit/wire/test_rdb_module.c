/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_rdb_module.c: the names of modules' types.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "wire/rdb.h"

/* What RediSearch 1.2 on Redis 7.0.15 gave for DUMP of an index. */
static const uint8_t index_front[] = { 0x81, 0x7e, 0xdf, 0xe2, 0x9d, 0xd7,
	                               0xb1, 0xd0, 0x0c, 0x05, 0x04 };

static void
its_type_is_named(void **state)
{
	char name[RDB_MODULE_NAME];

	(void)state;
	assert_true(rdb_module(7, span_of(index_front, 11), name));
	assert_string_equal(name, "ft_index0");
	for (size_t n = 0; n < 9; n++) {
		assert_true(rdb_module(7, span_of(index_front, n), name));
		assert_string_equal(name, "?????????");
	}
	for (unsigned type = 0; type < 256; type++)
		if (type != 7)
			assert_false(rdb_module(
				(uint8_t)type, span_of(index_front, 11), name));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_type_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
