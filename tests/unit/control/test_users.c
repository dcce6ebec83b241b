/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/control/test_users.c: what is said of the users of both sides.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include "engine/redis/admin/users.h"
#include "world/os/loop.h"

static struct mem mem;
static struct buf rx;

static int
set_up(void **state)
{
	(void)state;
	os_mem_init(&mem, 0);
	buf_init(&rx, &mem);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	buf_fini(&rx);
	return mem.used == 0 ? 0 : -1;
}

/* ACL LIST of that many users, behind what is in rx. */
static void
put_list(const char *const *list, size_t n)
{
	resp_put_array(&rx, n);
	for (size_t i = 0; i < n; i++)
		resp_put_bulk_str(&rx, list[i]);
}

static void
users_that_differ_are_named(void **state)
{
	static const char *const old[] = {
		"user default on nopass ~* &* +@all",
		"user godwit-1 on #9 ~* &* +@all",
		"user same on #2 #1 ~* resetchannels -@all +get",
		"user lost on #deadbeef ~a* resetchannels -@all +get",
		"user weak on #1 ~* resetchannels -@all +get +set",
		"user other on #1 ~* resetchannels -@all +get",
		"user sixth on #1 ~* -@all +get", /* of 6.0 */
	};
	static const char *const new[] = {
		"user default on nopass sanitize-payload ~* &* +@all",
		("user same on sanitize-payload #1 #2 ~* resetchannels -@all "
		 "+get"),
		"user sixth on #1 ~* &* -@all +get",
		"user weak on #1 ~* resetchannels -@all +get",
		"user other on #2 ~* resetchannels -@all +get",
	};
	static const char *const lines[] = {
		"new lacks the user lost of old; before the cutover, on new: "
		"ACL SETUSER lost reset on >PASSWORD ~a* resetchannels -@all "
		"+get",
		"new has with other rights the user weak of old; before the "
		"cutover, on new: ACL SETUSER weak reset on >PASSWORD ~* "
		"resetchannels -@all +get +set",
		"new has with another password the user other of old; before "
		"the cutover, on new: ACL SETUSER other reset on >PASSWORD ~* "
		"resetchannels -@all +get",
	};
	static struct checks k;
	struct span acl[SIDE_N];
	size_t n;

	(void)state;
	buf_clear(&rx);
	put_list(old, 7);
	n = buf_len(&rx);
	put_list(new, 5);
	acl[SIDE_OLD] = span_of(buf_span(&rx).p, n);
	acl[SIDE_NEW] = span_skip(buf_span(&rx), n);
	k.n = 0;
	users_judge(&k, acl, false);
	assert_int_equal(k.n, 3);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(k.line[i].result, CHECK_WARN);
		assert_string_equal(k.line[i].detail, lines[i]);
	}
	k.n = 0;
	users_judge(&k, acl, true); /* new is fenced */
	assert_int_equal(k.n, 1);
	acl[SIDE_OLD] = acl[SIDE_NEW];
	k.n = 0;
	users_judge(&k, acl, false);
	assert_int_equal(k.line[0].result, CHECK_PASS);
	k.n = 0;
	users_judge_guests(&k, acl);
	assert_int_equal(k.n, 0);
	buf_clear(&rx);
}

static void
another_migration_is_named(void **state)
{
	static const char *const list[] = {
		"user default on nopass ~* &* +@all",
		"user godwit-12ab on #1 ~* &* +@all",
		"user last on #1 ~* &* +@all",
	};
	static struct checks k;
	struct span acl[SIDE_N] = { { NULL, 0 }, { NULL, 0 } };

	(void)state;
	put_list(list, 3);
	acl[SIDE_NEW] = buf_span(&rx);
	k.n = 0;
	users_judge_guests(&k, acl);
	assert_int_equal(k.n, 1);
	assert_int_equal(k.line[0].result, CHECK_WARN);
	assert_non_null(strstr(k.line[0].detail,
	                       "new has the user godwit-12ab: another"));
	buf_clear(&rx);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(users_that_differ_are_named),
		T(another_migration_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
