/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/mover/test_whose.c: which keys a mover of a split carries.
 */
#include "engine/redis/mover/state.h"
#include "unit.h"

static struct mem mem = { .resize = unit_resize };

static struct scope *
share(uint32_t ppm)
{
	struct scope_in in = { .ppm = ppm, .salt = 7 };
	struct scope *s = scope_build(&mem, &in);

	assert_non_null(s);
	return s;
}

static struct mover *
make(struct mover_conf *conf, enum side side)
{
	struct mover *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	conf->scope_side = side;
	m->conf = conf;
	return m;
}

/* Each key is one mover's, and Godwit's own are nobody's. */
static void
test_each_key_has_one(void **state)
{
	struct mover_conf conf[SIDE_N] = { { .rule = MOVER_RULE_REPLACE } };
	struct mover *m[SIDE_N];
	uint32_t n[SIDE_N] = { 0, 0 };
	struct scope *half = share(500000);
	char text[32];

	(void)state;
	for (int i = 0; i < SIDE_N; i++) {
		m[i] = make(&conf[i], (enum side)i);
		m[i]->scope = half;
	}
	for (uint32_t i = 0; i < 10000; i++) {
		int len = snprintf(text, sizeof(text), "key:%u", i);
		struct span key = span_of(text, (size_t)len);

		for (int s = 0; s < SIDE_N; s++)
			n[s] += !whose_is_other(m[s], key);
		assert_true(n[0] + n[1] == i + 1);
	}
	assert_true(n[0] > 4000 && n[1] > 4000);
	for (int s = 0; s < SIDE_N; s++) {
		assert_true(whose_is_other(m[s], SPAN("__godwit:fence")));
		assert_true(whose_is_other(m[s], whose_marker(m[1 - s])));
		assert_false(whose_is_other(m[s], whose_marker(m[s])));
		assert_false(whose_is_none(m[s]));
	}
	assert_string_not_equal(whose_name(m[0]), whose_name(m[1]));
	assert_true(whose_is_home(m[0]) && !whose_is_home(m[1]));
	free(m[0]);
	free(m[1]);
	scope_free(half);
}

static void
test_none_and_all(void **state)
{
	struct mover_conf conf = { .rule = MOVER_RULE_REPLACE };
	struct scope *none = share(0);
	struct scope *all = share(1000000);
	struct mover *m = make(&conf, SIDE_NEW);

	(void)state;
	/* no scope: the only mover */
	assert_true(whose_is_home(m) && !whose_is_none(m));
	assert_false(whose_is_other(m, SPAN("k")));
	m->scope = none;
	assert_true(whose_is_none(m) && whose_is_other(m, SPAN("k")));
	m->scope = all;
	assert_false(whose_is_none(m) || whose_is_other(m, SPAN("k")));
	conf.scope_side = SIDE_OLD;
	assert_true(whose_is_none(m) && whose_is_other(m, SPAN("k")));
	m->scope = none;
	assert_false(whose_is_none(m) || whose_is_other(m, SPAN("k")));
	free(m);
	scope_free(none);
	scope_free(all);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_key_has_one),
		cmocka_unit_test(test_none_and_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
