/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/test_pool.c: memory is counted, limited and used again.
 */

#include "unit.h"
#include "world/os/loop.h"
#include "world/os/pool.h"

static void
counts_what_is_out(void **state)
{
	struct pool p;
	void *a;
	void *b;

	(void)state;
	pool_init(&p, 0);
	a = mem_alloc(&p.mem, 1024);
	b = mem_alloc(&p.mem, 100);
	assert_int_equal(p.mem.used, 1124);
	a = mem_resize(&p.mem, a, 1024, 4096);
	assert_int_equal(p.mem.used, 4196);
	mem_free(&p.mem, a, 4096);
	mem_free(&p.mem, b, 100);
	mem_free(&p.mem, NULL, 5);
	assert_int_equal(p.mem.used, 0);
	assert_int_equal(p.mem.used_max, 4196);
	assert_int_equal(p.kept_bytes, POOL_KEEPS ? 1024 + 4096 : 0);
	pool_fini(&p);
}

static void
gives_a_kept_block_again(void **state)
{
	struct pool p;
	void *a;
	void *b;

	(void)state;
	pool_init(&p, 0);
	a = mem_alloc(&p.mem, 512);
	memset(a, 7, 512);
	mem_free(&p.mem, a, 512);
	assert_int_equal(p.kept_bytes, POOL_KEEPS ? 512 : 0);
	b = mem_zero(&p.mem, 512);
	assert_int_equal(p.kept_bytes, 0);
	for (int i = 0; i < 512; i++)
		assert_int_equal(((uint8_t *)b)[i], 0);
	mem_free(&p.mem, b, 512);
	pool_fini(&p);
}

static void
keeps_the_bytes_of_a_block_that_moves(void **state)
{
	struct pool p;
	uint8_t *a;

	(void)state;
	pool_init(&p, 0);
	a = mem_alloc(&p.mem, 256);
	for (size_t i = 0; i < 256; i++)
		a[i] = (uint8_t)i;
	for (size_t n = 256; n < 4 * POOL_MAX; n *= 2)
		a = mem_resize(&p.mem, a, n, 2 * n);
	a = mem_resize(&p.mem, a, 4 * POOL_MAX, 1024);
	a = mem_resize(&p.mem, a, 1024, 256);
	for (size_t i = 0; i < 256; i++)
		assert_int_equal(a[i], i);
	assert_int_equal(p.mem.used, 256);
	mem_free(&p.mem, a, 256);
	assert_int_equal(p.mem.used, 0);
	pool_fini(&p);
}

static void
keeps_no_more_than_its_limit(void **state)
{
	struct pool p;
	void *blocks[32];

	(void)state;
	pool_init(&p, 0);
	for (int i = 0; i < 32; i++)
		blocks[i] = mem_alloc(&p.mem, POOL_MAX);
	for (int i = 0; i < 32; i++)
		mem_free(&p.mem, blocks[i], POOL_MAX);
	assert_int_equal(p.kept_bytes, POOL_KEEPS ? POOL_KEEP : 0);
	assert_int_equal(p.mem.used, 0);
	pool_fini(&p);
}

static void
refuses_beyond_the_limit(void **state)
{
	struct mem plain;
	struct pool p;
	void *a;

	(void)state;
	pool_init(&p, 1000);
	a = mem_alloc(&p.mem, 600);
	assert_non_null(a);
	assert_null(mem_alloc(&p.mem, 401));
	assert_null(mem_resize(&p.mem, a, 600, 1001));
	assert_int_equal(p.mem.used, 600);
	mem_free(&p.mem, a, 600);
	pool_fini(&p);

	os_mem_init(&plain, 10);
	assert_null(mem_alloc(&plain, 11));
	a = mem_alloc(&plain, 10);
	assert_non_null(a);
	mem_free(&plain, a, 10);
	assert_int_equal(plain.used, 0);
}

static void
publishes_for_other_threads(void **state)
{
	struct pool p;
	void *a;

	(void)state;
	pool_init(&p, 0);
	a = mem_alloc(&p.mem, 300);
	assert_int_equal(pool_used(&p), 0);
	pool_publish(&p);
	assert_int_equal(pool_used(&p), 300);
	mem_free(&p.mem, a, 300);
	pool_fini(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_what_is_out),
		cmocka_unit_test(gives_a_kept_block_again),
		cmocka_unit_test(keeps_the_bytes_of_a_block_that_moves),
		cmocka_unit_test(keeps_no_more_than_its_limit),
		cmocka_unit_test(refuses_beyond_the_limit),
		cmocka_unit_test(publishes_for_other_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
