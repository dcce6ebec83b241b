/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/control/test_slots.c: what a node is told whose slots change.
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
/* clang-format on */

#include "engine/redis/admin/cluster.h"
#include "world/os/loop.h"

/* One that takes a slot over, and one of which nothing is on its way. */
static void
a_node_takes_a_slot(void **state)
{
	struct mem mem;
	struct buf tx;
	struct cluster_node n;
	struct span line = SPAN("0a1b 10.0.0.1:1@2 master - 0 0 7 connected "
	                        "5\n");

	(void)state;
	assert_true(cluster_next(&line, &n));
	assert_string_equal(n.id, "0a1b");
	os_mem_init(&mem, 0);
	buf_init(&tx, &mem);
	cluster_put_take(&tx, 16383, "ab", n.id);
	cluster_put_stable(&tx, 5);
	assert_true(span_eq(
		buf_span(&tx),
		SPAN("*5\r\n$7\r\nCLUSTER\r\n$7\r\nSETSLOT\r\n$5\r\n16383\r\n"
	             "$9\r\nIMPORTING\r\n$2\r\nab\r\n"
	             "*5\r\n$7\r\nCLUSTER\r\n$7\r\nSETSLOT\r\n$5\r\n16383\r\n"
	             "$4\r\nNODE\r\n$4\r\n0a1b\r\n"
	             "*4\r\n$7\r\nCLUSTER\r\n$7\r\nSETSLOT\r\n$1\r\n5\r\n"
	             "$6\r\nSTABLE\r\n")));
	buf_fini(&tx);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_takes_a_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
