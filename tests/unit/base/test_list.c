/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed lists whose links live inside the elements.
 */
#include "base/list.h"
#include "unit.h"

struct node {
	char name;
	LIST_LINK(node) all;
	LIST_LINK(node) idle;
};

LIST_OF(node, all, node_all);
LIST_OF(node, idle, node_idle);

static void
assert_names(const struct node_all_list *l, const char *want)
{
	const struct node *before = NULL;
	size_t n = 0;

	list_each(node, e, all, l) {
		assert_int_equal(e->name, want[n++]);
		assert_ptr_equal(e->all.prev, before);
		before = e;
	}
	assert_ptr_equal(l->last, before);
	assert_int_equal(n, strlen(want));
	assert_int_equal(l->n, n);
}

static void
test_list(void **state)
{
	struct node nodes[5] = { 0 };
	struct node_all_list l = { 0 };
	struct node_all_list m = { 0 };
	struct node_idle_list idle = { 0 };

	(void)state;
	for (int i = 0; i < 5; i++)
		nodes[i].name = (char)('a' + i);
	assert_null(node_all_pop(&l));
	node_all_push(&l, &nodes[1]);
	node_all_push(&l, &nodes[2]);
	node_all_push_front(&l, &nodes[0]);
	assert_names(&l, "abc");
	node_all_remove(&l, &nodes[1]);
	assert_names(&l, "ac");
	node_all_move(&l, &m);
	assert_names(&l, "ac");
	node_all_push(&m, &nodes[3]);
	node_all_push(&m, &nodes[4]);
	node_all_move(&l, &m);
	assert_names(&l, "acde");
	assert_names(&m, "");
	node_all_move(&m, &l);
	assert_names(&m, "acde");
	/* Another list through another link does not disturb the first. */
	node_idle_push(&idle, &nodes[4]);
	node_idle_push_front(&idle, &nodes[0]);
	assert_ptr_equal(node_idle_pop(&idle), &nodes[0]);
	assert_names(&m, "acde");
	list_each(node, e, all, &m) {
		if (e->name != 'd')
			node_all_remove(&m, e);
	}
	assert_names(&m, "d");
	assert_ptr_equal(node_all_pop(&m), &nodes[3]);
	assert_names(&m, "");
	UNIT_FAILS(node_all_remove(&m, &nodes[0]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
