/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/core/test_marks.c: nothing is lost silently, whatever the sizes.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* cmocka wants those first */
#include <cmocka.h>

#include "core/marks.h"

#define CAP ((size_t)8192)

static uint64_t seed = 88172645463325252u;

static uint32_t
draw(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed % below);
}

/* Key number i: its length and bytes follow from i. */
static struct span
key_of(uint32_t i, uint8_t *to)
{
	size_t n = 4 + (size_t)(i * 2654435761u % 900);

	memset(to, (int)(i & 0xff), n);
	memcpy(to, &i, 4);
	return span_of(to, n);
}

static void
what_is_put_is_taken(void **state)
{
	static uint8_t room[CAP];
	static uint8_t key[MARKS_KEY_MAX + 1];
	static struct marks_item it;
	struct marks m;
	uint32_t put = 0;
	uint32_t got = 0;

	(void)state;
	marks_init(&m, room, CAP);
	assert_false(marks_take(&m, &it));
	while (got < 100000) {
		struct span k;

		for (uint32_t n = draw(12); n > 0; n--) {
			marks_put(&m, MARK_KEY, put & 1, put, key_of(put, key));
			if (marks_lost(&m))
				break; /* full: the same again later */
			put++;
		}
		for (uint32_t n = draw(12); n > 0; n--) {
			if (!marks_take(&m, &it))
				break;
			k = key_of(got, key);
			assert_int_equal(it.db, got);
			assert_int_equal(it.side, got & 1);
			assert_int_equal(it.n, k.n);
			assert_memory_equal(it.key, k.p, k.n);
			got++;
		}
	}
	assert_true(put >= got);
}

static void
what_has_no_room_is_told(void **state)
{
	static uint8_t room[CAP];
	static uint8_t key[MARKS_KEY_MAX + 1];
	static struct marks_item it;
	struct marks m;

	(void)state;
	marks_init(&m, room, CAP);
	marks_put(&m, MARK_KEY, 0, 0, span_of(key, MARKS_KEY_MAX + 1));
	assert_true(marks_lost(&m));
	assert_false(marks_lost(&m));
	marks_put(&m, MARK_KEY, 0, 0, span_of(key, MARKS_KEY_MAX));
	assert_false(marks_lost(&m));
	marks_put(&m, MARK_KEY, 0, 0, span_of(key, MARKS_KEY_MAX));
	assert_true(marks_lost(&m));
	assert_true(marks_take(&m, &it));
	assert_int_equal(it.n, MARKS_KEY_MAX);
	assert_false(marks_take(&m, &it));
	marks_put(&m, MARK_FUNCTIONS, 1, 0, span_of(NULL, 0));
	assert_true(marks_take(&m, &it));
	assert_int_equal(it.kind, MARK_FUNCTIONS);
	assert_int_equal(it.n, 0);
}

#define MANY 300000u

static void *
writer(void *arg)
{
	static uint8_t key[MARKS_KEY_MAX];
	struct marks *m = arg;

	for (uint32_t i = 0; i < MANY; i++)
		marks_put(m, MARK_KEY, 0, i, key_of(i, key));
	return NULL;
}

/* Two threads: in order, and a gap only where `lost` says so. */
static void
two_threads(void **state)
{
	static uint8_t room[CAP];
	static uint8_t key[MARKS_KEY_MAX];
	static struct marks_item it;
	struct marks m;
	uint32_t next = 0;
	bool lost = false;
	pthread_t t;

	(void)state;
	marks_init(&m, room, CAP);
	assert_int_equal(pthread_create(&t, NULL, writer, &m), 0);
	while (next < MANY) {
		struct span k;

		if (!marks_take(&m, &it)) {
			lost |= marks_lost(&m);
			/* The last ones may be those that were lost. */
			if (lost &&
			    atomic_load(&m.head) == atomic_load(&m.tail))
				break;
			continue;
		}
		lost |= it.db != next && marks_lost(&m);
		assert_true(it.db == next || (it.db > next && lost));
		k = key_of(it.db, key);
		assert_int_equal(it.n, k.n);
		assert_memory_equal(it.key, k.p, k.n);
		next = it.db + 1;
	}
	assert_int_equal(pthread_join(t, NULL), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_put_is_taken),
		cmocka_unit_test(what_has_no_room_is_told),
		cmocka_unit_test(two_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
