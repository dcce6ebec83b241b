/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/mover/test_pace.c: turns of the first copy.
 */
#include "engine/redis/mover/pace.h"
#include "unit.h"

#define TURN   ((size_t)1 << 20)
#define BEGIN  (5 * 1000000000ULL)
#define LONG   (PACE_MS * 1000000ULL)
#define READ   1
#define SEND   2
#define WANTED 4 /* a look later on */

static struct pace p;
static struct pace_see see;

static int
look(void)
{
	struct pace_do go = pace_look(&p, &see);

	if (go.look_ns != UINT64_MAX)
		assert_true(go.look_ns > see.now_ns);
	return (go.read ? READ : 0) | (go.send ? SEND : 0) |
	       (go.look_ns != UINT64_MAX ? WANTED : 0);
}

static void
begin(bool gentle)
{
	see = (struct pace_see){ .now_ns = BEGIN };
	pace_init(&p, gentle, TURN, BEGIN);
	assert_int_equal(look() & READ, READ);
}

/* What waits, and how many answers are to come. */
static int
at(size_t waiting, size_t asked)
{
	see.waiting = waiting;
	see.asked = asked;
	return look() & ~WANTED;
}

static void
test_marks(void **state)
{
	(void)state;
	begin(true);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(at(0, 0), READ);
		assert_int_equal(at(TURN - 1, 9999), READ);
		assert_int_equal(at(TURN, 9999), SEND);
		assert_int_equal(at(TURN - 1, 9999), SEND);
		assert_int_equal(at(PACE_SENT, 0), SEND);
		/* All is sent, but not yet taken. */
		assert_int_equal(at(PACE_SENT - 1, PACE_ANSWERS + 1), SEND);
		assert_int_equal(at(0, PACE_ANSWERS), READ);
	}
}

static void
test_fast(void **state)
{
	(void)state;
	begin(false);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(at(TURN - 1, 9999), READ | SEND);
		assert_int_equal(at(TURN, 9999), SEND);
		assert_int_equal(at(PACE_SENT, 9999), SEND);
		assert_int_equal(at(PACE_SENT - 1, 9999), READ | SEND);
	}
}

/* A source that brings little: what there is goes on. */
static void
test_slow_source(void **state)
{
	(void)state;
	begin(true);
	see.now_ns += LONG;
	assert_int_equal(at(0, 0), READ); /* nothing yet */
	see.now_ns = BEGIN + LONG - 1;
	assert_int_equal(at(100, 1), READ);
	assert_true((look() & WANTED) != 0);
	see.now_ns++;
	assert_int_equal(at(100, 1), SEND);
	assert_int_equal(at(0, 0), READ);
	/* The next turn has its own time. */
	see.now_ns += LONG - 1;
	assert_int_equal(at(100, 1), READ);
}

/* The other side takes longer than the source would wait for us. */
static void
test_slow_target(void **state)
{
	(void)state;
	begin(true);
	assert_int_equal(at(TURN, 9999), SEND);
	assert_true((look() & WANTED) != 0);
	see.now_ns += LONG;
	assert_int_equal(at(TURN, 9999), SEND); /* no room */
	assert_int_equal(at(TURN - 1, 9999), READ | SEND);
	assert_int_equal(at(TURN + 5, 9999), SEND);
	assert_int_equal(at(TURN / 2, 9999), READ | SEND);
	assert_int_equal(at(0, 0), READ); /* it has caught up: turns again */
}

static void
test_pause(void **state)
{
	(void)state;
	begin(true);
	assert_int_equal(at(TURN / 2, 99), READ);
	see.is_paused = true; /* what is gathered goes on, no more comes */
	assert_int_equal(at(TURN / 2, 99), SEND);
	see.now_ns += 100 * LONG;
	assert_int_equal(at(0, 0), SEND);
	assert_int_equal(look() & WANTED, 0);
	see.is_paused = false;
	assert_int_equal(at(0, 0), READ);
	/* In the other's turn. */
	assert_int_equal(at(TURN, 99), SEND);
	see.is_paused = true;
	assert_int_equal(at(TURN / 2, 99), SEND);
	see.now_ns += 1;
	see.is_paused = false;
	assert_int_equal(at(TURN / 2, 99), SEND);
	assert_int_equal(at(0, 0), READ);
}

static void
test_end(void **state)
{
	(void)state;
	begin(true);
	assert_int_equal(at(TURN / 2, 99), READ);
	see.is_over = true;
	assert_int_equal(look(), READ | SEND);
	see.is_paused = true; /* nothing is left that could be held back */
	assert_int_equal(look(), READ | SEND);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_fast),
		cmocka_unit_test(test_slow_source),
		cmocka_unit_test(test_slow_target),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
