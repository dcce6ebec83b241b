/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/control/test_acl.c: a changed user on the side that is fenced.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on
#include <string.h>

#include "engine/redis/admin/fence.h"
#include "world/os/loop.h"

static struct mem mem;

static void
put(struct buf *tx, const char *live, const char *rules, const char *want)
{
	buf_init(tx, &mem);
	assert_int_equal(admin_put_fenced(tx, SPAN("app"), span_str(live),
	                                  span_str(rules)),
	                 1);
	assert_int_equal(buf_len(tx), strlen(want));
	assert_memory_equal(buf_span(tx).p, want, strlen(want));
	buf_fini(tx);
}

/* Login, keys and channels of the one, the fence in place of the rights. */
static void
a_changed_user_is_fenced(void **state)
{
	struct buf tx;

	(void)state;
	os_mem_init(&mem, 0);
	put(&tx,
	    "on sanitize-payload #ab ~a:* %R~b &c -@all +get "
	    "(~x +set &y) (+@all) nopass",
	    "on ~a:* +@all",
	    "*14\r\n$3\r\nACL\r\n$7\r\nSETUSER\r\n$3\r\napp\r\n$5\r\nreset\r\n"
	    "$2\r\non\r\n$3\r\n#ab\r\n$4\r\n~a:*\r\n$4\r\n%R~b\r\n$2\r\n&c"
	    "\r\n$6\r\nnopass\r\n$5\r\n-@all\r\n$6\r\n+psync\r\n$9\r\n"
	    "+replconf\r\n$5\r\n+ping\r\n");
	put(&tx, "off +@all", "off +get",
	    "*7\r\n$3\r\nACL\r\n$7\r\nSETUSER\r\n$3\r\napp\r\n$5\r\nreset\r\n"
	    "$3\r\noff\r\n$5\r\n-@all\r\n$5\r\n+ping\r\n");
	assert_int_equal(mem.used, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_changed_user_is_fenced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
