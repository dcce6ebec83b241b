/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/auth/test_throttle.c: how often somebody may try; passwords' hashes.
 */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "control/auth/password.h"
#include "control/auth/throttle.h"
#include "control/limit.h"
#include "unit.h"

static struct throttle t;

static int
set_up(void **state)
{
	(void)state;
	return throttle_init(&t);
}

static int
tear_down(void **state)
{
	(void)state;
	throttle_fini(&t);
	return 0;
}

static void
waits_double(void **state)
{
	int64_t now = 1000000;

	(void)state;
	for (int i = 0; i < LIMIT_LOGIN_USER_FREE; i++)
		assert_int_equal(throttle_take(&t, "u", "10.0.0.1", now), 0);
	for (uint32_t s = 1; s <= LIMIT_LOGIN_USER_S; s *= 2) {
		assert_int_equal(throttle_take(&t, "u", "10.0.0.2", now), s);
		/* Asking while one has to wait costs nothing. */
		assert_int_equal(throttle_take(&t, "u", "10.0.0.2", now), s);
		now += s * 1000 - 1;
		assert_int_equal(throttle_take(&t, "u", "10.0.0.2", now), 1);
		now += 1;
		assert_int_equal(throttle_take(&t, "u", "10.0.0.2", now), 0);
	}
	assert_int_equal(throttle_take(&t, "u", "10.0.0.2", now),
	                 LIMIT_LOGIN_USER_S);
	/* Others are not held up. */
	assert_int_equal(throttle_take(&t, "v", "10.0.0.3", now), 0);
}

static void
right_one_starts_anew(void **state)
{
	(void)state;
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < LIMIT_LOGIN_USER_FREE - 1 && round == 0;
		     i++)
			assert_int_equal(throttle_take(&t, "u", "1.1.1.1", 5),
			                 0);
		assert_int_equal(throttle_take(&t, "u", "1.1.1.1", 5), 0);
		throttle_pass(&t, "u", "1.1.1.1");
	}
}

/* One right password of one's own does not wash off the wrong ones for others. */
static void
address_is_counted_over_users(void **state)
{
	char user[16];
	uint32_t wait = 0;
	int n = 0;

	(void)state;
	while (wait == 0 && n < 1000) {
		(void)snprintf(user, sizeof(user), "u%d", n);
		wait = throttle_take(&t, user, "1.1.1.1", 5);
		n += wait == 0;
		if (wait == 0 && throttle_take(&t, "mine", "1.1.1.1", 5) == 0)
			throttle_pass(&t, "mine", "1.1.1.1");
	}
	assert_in_range(n, LIMIT_LOGIN_PEER_FREE - 1, LIMIT_LOGIN_PEER_FREE);
}

static void
address_is_its_network(void **state)
{
	char peer[64];

	(void)state;
	for (int i = 0; i < LIMIT_LOGIN_PEER_FREE; i++) {
		(void)snprintf(peer, sizeof(peer), "2001:db8:0:1::%x", i);
		assert_int_equal(throttle_take(&t, NULL, peer, 5), 0);
		(void)snprintf(peer, sizeof(peer),
		               i % 2 ? "::ffff:9.9.9.9" : "9.9.9.9");
		assert_int_equal(throttle_take(&t, NULL, peer, 5), 0);
	}
	assert_int_not_equal(throttle_take(&t, NULL, "2001:db8:0:1::ffff", 5),
	                     0);
	assert_int_equal(throttle_take(&t, NULL, "2001:db8:0:2::1", 5), 0);
	assert_int_not_equal(throttle_take(&t, NULL, "9.9.9.9", 5), 0);
}

static void
quiet_ones_are_forgotten(void **state)
{
	int64_t now = 1000000;

	(void)state;
	for (int i = 0; i < LIMIT_LOGIN_USER_FREE; i++)
		assert_int_equal(throttle_take(&t, "u", "1.1.1.1", now), 0);
	assert_int_not_equal(throttle_take(&t, "u", "1.1.1.1", now), 0);
	now += LIMIT_LOGIN_FORGET_S * 1000ll + 1;
	for (int i = 0; i < LIMIT_LOGIN_USER_FREE; i++)
		assert_int_equal(throttle_take(&t, "u", "1.1.1.1", now), 0);
}

/* A flood of names does not push out the one that is being guessed. */
static void
flood_forgets_the_least(void **state)
{
	char user[32];
	char peer[64];

	(void)state;
	for (int i = 0; i < LIMIT_LOGIN_USER_FREE; i++)
		assert_int_equal(throttle_take(&t, "root", "1.1.1.1", 5), 0);
	for (int i = 0; i < 10 * LIMIT_LOGIN_KEYS; i++) {
		(void)snprintf(user, sizeof(user), "f%d", i);
		(void)snprintf(peer, sizeof(peer), "2001:db8:%x:%x::1",
		               i / 65536, i % 65536);
		assert_int_equal(throttle_take(&t, user, peer, 5), 0);
	}
	assert_int_not_equal(throttle_take(&t, "root", "2.2.2.2", 5), 0);
}

static void
hash_says_right_and_wrong(void **state)
{
	struct password_gate g;
	struct password_gate cheap;
	char hash[PASSWORD_HASH];
	char again[PASSWORD_HASH];
	struct err err;
	bool ok;
	bool stale;

	(void)state;
	password_init(&g, 5);
	password_init(&cheap, 4);
	assert_int_equal(password_hash(&g, "pass word", hash, &err), 0);
	assert_int_equal(password_hash(&g, "pass word", again, &err), 0);
	assert_string_not_equal(hash, again);
	assert_null(strstr(hash, "pass word"));
	assert_int_equal(
		password_check(&g, "pass word", hash, &ok, &stale, &err), 0);
	assert_true(ok && !stale);
	assert_int_equal(
		password_check(&cheap, "pass word", hash, &ok, &stale, &err),
		0);
	assert_true(ok && stale);
	assert_int_equal(
		password_check(&g, "pass worD", hash, &ok, &stale, &err), 0);
	assert_false(ok || stale);
	assert_int_equal(password_check(&g, "", hash, &ok, &stale, &err), 0);
	assert_false(ok);
	assert_int_equal(
		password_check(&g, "pass word", NULL, &ok, &stale, &err), 0);
	assert_false(ok);
	assert_int_equal(
		password_check(&g, "", "scrypt:99:8:1::", &ok, &stale, &err),
		0);
	assert_false(ok);
	password_fini(&g);
	password_fini(&cheap);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(waits_double),
		CASE(right_one_starts_anew),
		CASE(address_is_counted_over_users),
		CASE(address_is_its_network),
		CASE(quiet_ones_are_forgotten),
		CASE(flood_forgets_the_least),
		cmocka_unit_test(hash_says_right_and_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
