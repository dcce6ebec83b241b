/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the values of each type are laid out.
 */
#include "unit.h"
#include "wire/rdb_layout.h"

/* Each layout opens and closes its loops, no deeper than struct rdb can count,
 * and walks to its end whatever its lengths are. */
static void
test_layouts_are_sound(void **state)
{
	int types = 0;

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		const uint8_t *layout = rdb_layout((uint8_t)type);
		int depth = 0;

		if (layout == NULL)
			continue;
		types++;
		for (; *layout != RDB_STEP_END; layout++) {
			depth += *layout == RDB_STEP_LOOP;
			depth -= *layout == RDB_STEP_NEXT;
			assert_in_range(depth, 0, 3);
		}
		assert_int_equal(depth, 0);
	}
	assert_int_equal(types, 23);
	assert_null(rdb_layout(6));
	assert_null(rdb_layout(8));
	assert_null(rdb_layout(23));
	assert_null(rdb_layout(26));
}

/* How many steps a walk takes when each LOOP counts n. */
static uint32_t
steps(uint8_t type, uint64_t n)
{
	const uint8_t *layout = rdb_layout(type);
	struct rdb r = { .depth = 0 };
	uint32_t count = 0;

	while (layout[r.pc] != RDB_STEP_END) {
		count += layout[r.pc] != RDB_STEP_LOOP &&
		         layout[r.pc] != RDB_STEP_NEXT;
		rdb_step_done(&r, layout,
		              layout[r.pc] == RDB_STEP_LOOP ? n : 0);
	}
	assert_int_equal(r.depth, 0);
	return count;
}

static void
test_walks(void **state)
{
	(void)state;
	assert_int_equal(steps(0, 9), 1);
	assert_int_equal(steps(1, 0), 0);
	assert_int_equal(steps(1, 5), 5);
	assert_int_equal(steps(4, 5), 10);
	assert_int_equal(steps(18, 3), 6);
	assert_int_equal(steps(15, 0), 3);
	/* 2 nodes of 2; 3; 2 groups of 3, 2 * 3 pending, 2 consumers of
	 * 2 and 2 ids. */
	assert_int_equal(steps(15, 2), 4 + 3 + 2 * (3 + 6 + 2 * (2 + 2)));
	assert_int_equal(steps(19, 2), 4 + 8 + 2 * (4 + 6 + 2 * (2 + 2)));
	assert_int_equal(steps(21, 2), 4 + 8 + 2 * (4 + 6 + 2 * (3 + 2)));
}

static void
assert_size(uint8_t step, struct span s, enum wire_rc rc, uint64_t want)
{
	uint64_t n = 0;
	uint64_t v = 0;

	assert_int_equal(rdb_step_size(step, s, &n, &v), rc);
	if (rc == WIRE_PART)
		assert_true(n == want);
}

static void
test_sizes(void **state)
{
	(void)state;
	assert_size(RDB_STEP_STRING, SPAN("\x05"), WIRE_PART, 6);
	assert_size(RDB_STEP_STRING, SPAN("\xc2"), WIRE_PART, 5);
	assert_size(RDB_STEP_STRING, SPAN("\xc3\x05"), WIRE_MORE, 0);
	assert_size(RDB_STEP_STRING, SPAN("\xc3\x05\x40\x50"), WIRE_PART, 9);
	assert_size(RDB_STEP_LEN, SPAN("\x40\x50"), WIRE_PART, 2);
	assert_size(RDB_STEP_RAW8, SPAN(""), WIRE_PART, 8);
	assert_size(RDB_STEP_RAW16, SPAN(""), WIRE_PART, 16);
	assert_size(RDB_STEP_SCORE, SPAN("\x03"), WIRE_PART, 4);
	assert_size(RDB_STEP_SCORE, SPAN("\xfc"), WIRE_PART, 253);
	assert_size(RDB_STEP_SCORE, SPAN("\xfd"), WIRE_PART, 1);
	assert_size(RDB_STEP_SCORE, SPAN(""), WIRE_MORE, 0);
	assert_size(RDB_STEP_MODULE, SPAN("\x00"), WIRE_PART, 1);
	assert_size(RDB_STEP_MODULE, SPAN("\x02\x40\x50"), WIRE_PART, 3);
	assert_size(RDB_STEP_MODULE, SPAN("\x03"), WIRE_PART, 5);
	assert_size(RDB_STEP_MODULE, SPAN("\x04"), WIRE_PART, 9);
	assert_size(RDB_STEP_MODULE, SPAN("\x05\x07"), WIRE_PART, 9);
	assert_size(RDB_STEP_MODULE, SPAN("\x05"), WIRE_MORE, 0);
	assert_size(RDB_STEP_MODULE, SPAN("\x06"), WIRE_BAD, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts_are_sound),
		cmocka_unit_test(test_walks),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
