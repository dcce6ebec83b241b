/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/test_seat.c: who sits where a node was is known as long as
 * anybody uses it, and not much longer.
 */
#include <stdio.h>
#include <string.h>

#include "unit.h"
#include "world/os/seat.h"

#define HELD 3000
#define MORE 10000

static struct address
node(unsigned i)
{
	struct address a = { .port = (uint16_t)(1 + i % 60000),
		             .by_cluster = true };

	(void)snprintf(a.host, sizeof(a.host), "node-%u", i);
	return a;
}

static void
assert_at(unsigned i, const char *host, uint16_t port)
{
	struct address a = node(i);
	struct address to = seat_of(&a);

	assert_string_equal(to.host, host);
	assert_int_equal(to.port, port);
	assert_false(to.by_cluster);
}

static void
what_is_held_is_never_forgotten(void **state)
{
	struct address a;

	(void)state;
	for (unsigned i = 0; i < HELD; i++) {
		a = node(i);
		seat_hold(&a);
		assert_at(i, a.host, a.port);
		seat_set(&a, "there", (uint16_t)(i + 1));
	}
	for (unsigned i = HELD; i < HELD + MORE; i++) {
		a = node(i);
		seat_set(&a, "there", 7);
		assert_at(i, "there", 7);
	}
	assert_int_equal(seat_count(), HELD + SEATS_IDLE);
	for (unsigned i = 0; i < HELD; i++)
		assert_at(i, "there", (uint16_t)(i + 1));
	a = node(HELD); /* forgotten: itself */
	assert_at(HELD, a.host, a.port);
	/* The last ones that were spoken of are still known. */
	assert_at(HELD + MORE - 1, "there", 7);
}

static void
what_is_left_makes_room(void **state)
{
	struct address a;
	uint32_t n = seat_count();

	(void)state;
	a = node(0);
	seat_hold(&a); /* twice now */
	seat_leave(&a);
	for (unsigned i = 1; i < HELD; i++) {
		a = node(i);
		seat_leave(&a);
	}
	for (unsigned i = 0; i < MORE; i++) {
		a = node(50000 + i);
		seat_set(&a, "x", 1);
	}
	assert_int_equal(seat_count(), n);
	assert_at(0, "there", 1);
	a = node(1);
	assert_at(1, a.host, a.port);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_held_is_never_forgotten),
		cmocka_unit_test(what_is_left_makes_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
