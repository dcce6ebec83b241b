/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/mover/test_pend.c: the keys that the stream must not touch yet.
 */
#include "base/rng.h"
#include "engine/redis/mover/pend.h"
#include "unit.h"

static struct mem mem;

static struct pend *
begin(void)
{
	static struct pend p;

	mem = (struct mem){ .resize = unit_resize };
	pend_init(&p, &mem, 42);
	return &p;
}

static void
end(struct pend *p)
{
	pend_fini(p);
	assert_int_equal(mem.used, 0);
}

static struct place
at(uint64_t v)
{
	return (struct place){ v, 0 };
}

static struct mark *
put(struct pend *p, const char *key, uint64_t since, uint64_t until)
{
	struct mark *k = pend_mark(p, 0, span_str(key), at(since), until);

	assert_non_null(k);
	return k;
}

static void
test_copy(void **state)
{
	struct pend *p = begin();
	struct mark *k = put(p, "a", 10, 20);

	(void)state;
	assert_int_equal(k->state, MARK_QUEUED);
	assert_int_equal(pend_floor(p).at, 10);
	assert_ptr_equal(put(p, "a", 30, 40), k); /* once in the queue */
	assert_int_equal(pend_todo(p), 1);
	assert_int_equal(pend_floor(p).at, 10);
	assert_ptr_equal(pend_find(p, 0, SPAN("a")), k);
	assert_null(pend_find(p, 1, SPAN("a")));
	pend_read(p, k);
	pend_copied(p, k, 50, 40); /* read ahead of the stream */
	assert_int_equal(k->state, MARK_AHEAD);
	assert_int_equal(pend_todo(p), 0);
	assert_true(pend_floor(p).at == UINT64_MAX);
	assert_ptr_equal(put(p, "a", 42, 45), k); /* covered */
	assert_int_equal(k->state, MARK_AHEAD);
	pend_pass(p, 49);
	assert_non_null(pend_find(p, 0, SPAN("a")));
	pend_pass(p, 50);
	assert_null(pend_find(p, 0, SPAN("a")));
	end(p);
}

/* A unit that was skipped while the key was being read is not in the copy. */
static void
test_skipped(void **state)
{
	struct pend *p = begin();
	struct mark *k = put(p, "a", 10, 20);

	(void)state;
	pend_read(p, k);
	put(p, "a", 20, 30);
	pend_copied(p, k, 25, 30);
	assert_int_equal(k->state, MARK_QUEUED);
	assert_int_equal(pend_floor(p).at, 10);
	pend_read(p, k);
	pend_copied(p, k, 30, 30);
	assert_int_equal(pend_count(p), 0);
	end(p);
}

static void
test_again_after_copy(void **state)
{
	struct pend *p = begin();
	struct mark *k = put(p, "a", 10, 20);

	(void)state;
	pend_read(p, k);
	pend_copied(p, k, 50, 20);
	assert_ptr_equal(put(p, "a", 55, 60), k); /* written after the copy */
	assert_int_equal(k->state, MARK_QUEUED);
	assert_int_equal(pend_floor(p).at, 55);
	end(p);
}

static void
test_repair(void **state)
{
	struct pend *p = begin();
	struct mark *a = put(p, "a", 10, 20);
	struct mark *b;

	(void)state;
	b = pend_repair(p, 0, SPAN("b"), at(5));
	assert_int_equal(pend_floor(p).at, 5);
	assert_true(b->is_repair);
	/* the lower bound wins, whichever came first */
	assert_ptr_equal(pend_repair(p, 0, SPAN("a"), at(15)), a);
	assert_int_equal(a->since.at, 10);
	pend_read(p, b);
	assert_ptr_equal(pend_repair(p, 0, SPAN("b"), at(12)), b);
	pend_copied(p, b, 100, 10); /* deleted meanwhile: read once more */
	assert_int_equal(b->state, MARK_QUEUED);
	pend_read(p, b);
	pend_copied(p, b, 101, 101);
	assert_null(pend_find(p, 0, SPAN("b")));
	assert_int_equal(pend_floor(p).at, 10);
	end(p);
}

/* Random steps: counts and lists agree, and the floor is never too high. */
static void
test_model(void **state)
{
	struct pend *p = begin();
	struct rng rng;
	uint64_t s = 100;
	uint64_t o = 100;

	(void)state;
	rng_init(&rng, 7);
	for (int i = 0; i < 100000; i++) {
		char name[2] = { (char)('a' + rng_below(&rng, 20)), 0 };
		uint64_t low = UINT64_MAX;
		size_t todo = 0;

		switch (rng_below(&rng, 6)) {
		case 0:
		case 1:
			put(p, name, s, s + 1);
			s++;
			pend_pass(p, s);
			o = o < s ? s : o;
			break;
		case 2:
			(void)!pend_repair(p, 0, span_str(name), at(s - 50));
			break;
		case 3:
			if (p->queued.first != NULL)
				pend_read(p, p->queued.first);
			break;
		case 4:
			if (p->reading.first != NULL)
				pend_copied(p, p->reading.first,
				            o += rng_below(&rng, 5), s);
			break;
		default:
			s = o > s ? s + rng_below(&rng, o - s + 1) : s;
			pend_pass(p, s);
			break;
		}
		map_each(e, &p->map) {
			struct mark *k = map_value(e);

			if (k->state == MARK_AHEAD) {
				assert_true(k->at > s);
				continue;
			}
			todo++;
			low = k->since.at < low ? k->since.at : low;
		}
		assert_int_equal(todo, pend_todo(p));
		assert_int_equal(p->queued.n + p->reading.n, todo);
		assert_true(pend_floor(p).at == low);
	}
	end(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_skipped),
		cmocka_unit_test(test_again_after_copy),
		cmocka_unit_test(test_repair),
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
