/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/core/test_strategy.c: what a promote does next: every strategy in
 * every state it can be in.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include "core/strategy.h"

#define PPM_ALL 1000000u

#define ALL  1000000u
#define NONE STRATEGY_NO_UNIT

/* Three units (or none), two steps (or none). */
static struct strategy
make(enum strategy_kind kind)
{
	struct strategy s = { .kind = kind };

	switch (kind) {
	case STRATEGY_CANARY:
		s.step_ppm[0] = 50000;
		s.step_ppm[1] = 250000;
		s.step_n = 2;
		break;
	case STRATEGY_FEATURE_FLAG:
	case STRATEGY_STRANGLER_FIG:
	case STRATEGY_GEOGRAPHIC:
	case STRATEGY_ROLLING_UPDATE:
		s.unit_n = 3;
		memcpy(s.unit[0], "a", 2);
		memcpy(s.unit[1], "b", 2);
		memcpy(s.unit[2], "c", 2);
		break;
	case STRATEGY_TIME_WINDOW: s.inner = STRATEGY_CANARY; break;
	case STRATEGY_BIG_BANG:
	case STRATEGY_BLUE_GREEN:
	case STRATEGY_SHADOW_TRAFFIC:
	case STRATEGY_N: break;
	}
	if (kind == STRATEGY_TIME_WINDOW) {
		s.step_ppm[0] = 500000;
		s.step_n = 1;
	}
	return s;
}

static const struct row {
	enum strategy_kind kind;
	uint32_t step;
	uint32_t ppm;
	uint64_t units;
	enum strategy_move_kind move;
	uint32_t to_step;
	uint32_t to_ppm;
	uint64_t to_units;
	uint32_t unit;
} rows[] = {
	{ STRATEGY_BIG_BANG, 0, 0, 0, MOVE_TO_CUTOVER, 0, 0, 0, NONE },
	{ STRATEGY_BLUE_GREEN, 0, 0, 0, MOVE_TO_CUTOVER, 0, 0, 0, NONE },
	{ STRATEGY_SHADOW_TRAFFIC, 0, 0, 0, MOVE_NEVER, 0, 0, 0, NONE },
	{ STRATEGY_CANARY, 0, 0, 0, MOVE_TO_SHARE, 1, 50000, 0, NONE },
	{ STRATEGY_CANARY, 1, 50000, 0, MOVE_TO_SHARE, 2, 250000, 0, NONE },
	/* A share by hand: steps that are not above it are not taken. */
	{ STRATEGY_CANARY, 1, 100000, 0, MOVE_TO_SHARE, 2, 250000, 0, NONE },
	{ STRATEGY_CANARY, 0, 60000, 0, MOVE_TO_SHARE, 2, 250000, 0, NONE },
	{ STRATEGY_CANARY, 2, 250000, 0, MOVE_TO_CUTOVER, 2, 0, 0, NONE },
	{ STRATEGY_CANARY, 0, 900000, 0, MOVE_TO_CUTOVER, 2, 0, 0, NONE },
	{ STRATEGY_TIME_WINDOW, 0, 0, 0, MOVE_TO_SHARE, 1, 500000, 0, NONE },
	{ STRATEGY_TIME_WINDOW, 1, 500000, 0, MOVE_TO_CUTOVER, 1, 0, 0, NONE },
	{ STRATEGY_STRANGLER_FIG, 0, 0, 0, MOVE_TO_UNIT, 0, 0, 1, 0 },
	{ STRATEGY_STRANGLER_FIG, 0, 0, 1, MOVE_TO_UNIT, 0, 0, 3, 1 },
	{ STRATEGY_STRANGLER_FIG, 0, 0, 5, MOVE_TO_UNIT, 0, 0, 7, 1 },
	{ STRATEGY_STRANGLER_FIG, 0, 0, 7, MOVE_TO_CUTOVER, 0, 0, 7, NONE },
	{ STRATEGY_GEOGRAPHIC, 0, 0, 0, MOVE_TO_UNIT, 0, 0, 1, 0 },
	{ STRATEGY_GEOGRAPHIC, 0, 0, 3, MOVE_TO_UNIT, 0, 0, 7, 2 },
	{ STRATEGY_GEOGRAPHIC, 0, 0, 7, MOVE_TO_CUTOVER, 0, 0, 7, NONE },
	/* First everybody of the flags that are on, then flag by flag. */
	{ STRATEGY_FEATURE_FLAG, 0, 250000, 1, MOVE_TO_SHARE, 0, ALL, 1, NONE },
	{ STRATEGY_FEATURE_FLAG, 0, ALL, 1, MOVE_TO_UNIT, 0, ALL, 3, 1 },
	{ STRATEGY_FEATURE_FLAG, 0, ALL, 7, MOVE_TO_CUTOVER, 0, 0, 7, NONE },
	{ STRATEGY_ROLLING_UPDATE, 0, 0, 0, MOVE_TO_INSTANCE, 0, 0, 1, 0 },
	{ STRATEGY_ROLLING_UPDATE, 0, 0, 2, MOVE_TO_INSTANCE, 0, 0, 3, 0 },
	{ STRATEGY_ROLLING_UPDATE, 0, 0, 3, MOVE_TO_INSTANCE, 0, 0, 7, 2 },
	{ STRATEGY_ROLLING_UPDATE, 0, 0, 7, MOVE_NOWHERE, 0, 0, 7, NONE },
};

static void
promotes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct strategy s = make(r->kind);
		struct strategy_at at = { .authority = SIDE_OLD,
			                  .step = r->step,
			                  .ppm = r->ppm,
			                  .units = r->units };
		struct strategy_move m = strategy_promote(&s, &at);

		assert_int_equal(m.kind, r->move);
		assert_int_equal(m.step, r->to_step);
		assert_int_equal(m.ppm, r->to_ppm);
		assert_int_equal(m.units, r->to_units);
		assert_int_equal(m.unit, r->unit);
		/* New has authority: nothing is left, whatever the rest. */
		at.authority = SIDE_NEW;
		m = strategy_promote(&s, &at);
		assert_int_equal(m.kind, MOVE_NOWHERE);
	}
}

/* With nothing moved a promote does what the strategy begins with. */
static void
begins(void **state)
{
	struct strategy s = make(STRATEGY_FEATURE_FLAG);
	struct strategy_at at = { .authority = SIDE_OLD };
	struct strategy_move m;

	(void)state;
	s.unit_on = 6;
	s.start_ppm = 250000;
	m = strategy_promote(&s, &at);
	assert_int_equal(m.kind, MOVE_TO_UNIT);
	assert_int_equal(m.units, 6);
	assert_int_equal(m.ppm, 250000);
	assert_int_equal(m.unit, 1);
	s = make(STRATEGY_CANARY);
	s.start_ppm = 100000;
	m = strategy_promote(&s, &at);
	assert_int_equal(m.kind, MOVE_TO_SHARE);
	assert_int_equal(m.ppm, 100000);
	assert_int_equal(m.step, 1);
	at.ppm = m.ppm;
	at.step = m.step;
	assert_int_equal(strategy_promote(&s, &at).ppm, 250000);
}

/* From the beginning every strategy but shadow_traffic comes to its end, and
 * never gives a share or a unit back on the way. */
static void
comes_to_an_end(void **state)
{
	(void)state;
	for (int k = 0; k < STRATEGY_N; k++) {
		struct strategy s = make((enum strategy_kind)k);
		struct strategy_at at = strategy_begin(&s);
		struct strategy_move m = { .kind = MOVE_TO_SHARE };
		struct err err = { .text = "" };
		int n = 0;

		assert_int_equal(strategy_check(&s, &err), 0);
		while (m.kind == MOVE_TO_SHARE || m.kind == MOVE_TO_UNIT ||
		       m.kind == MOVE_TO_INSTANCE) {
			m = strategy_promote(&s, &at);
			if (m.kind == MOVE_TO_CUTOVER || m.kind == MOVE_NEVER)
				break;
			assert_true(m.ppm >= at.ppm);
			assert_int_equal(m.units & at.units, at.units);
			at.ppm = m.ppm;
			at.step = m.step;
			at.units = m.units;
			assert_true(++n < 10);
		}
		if (k == STRATEGY_SHADOW_TRAFFIC)
			assert_int_equal(m.kind, MOVE_NEVER);
		else if (k == STRATEGY_ROLLING_UPDATE)
			assert_int_equal(m.kind, MOVE_NOWHERE);
		else
			assert_int_equal(m.kind, MOVE_TO_CUTOVER);
	}
}

static void
jumps(void **state)
{
	static const struct {
		enum strategy_kind kind;
		const char *to;
		int rc;
		enum strategy_move_kind move;
		uint32_t ppm;
		uint64_t units;
	} t[] = {
		{ STRATEGY_BIG_BANG, "cutover", 0, MOVE_TO_CUTOVER, 0, 1 },
		{ STRATEGY_BIG_BANG, "25", 0, MOVE_TO_SHARE, 250000, 1 },
		{ STRATEGY_CANARY, "12.5%", 0, MOVE_TO_SHARE, 125000, 1 },
		{ STRATEGY_CANARY, "a", -ERR_USAGE, 0, 0, 0 },
		{ STRATEGY_BLUE_GREEN, "cutover", 0, MOVE_TO_CUTOVER, 0, 1 },
		{ STRATEGY_STRANGLER_FIG, "c", 0, MOVE_TO_UNIT, 0, 5 },
		{ STRATEGY_STRANGLER_FIG, "a", -ERR_STATE, 0, 0, 0 },
		{ STRATEGY_STRANGLER_FIG, "d", -ERR_USAGE, 0, 0, 0 },
		{ STRATEGY_STRANGLER_FIG, "25", -ERR_USAGE, 0, 0, 0 },
		{ STRATEGY_STRANGLER_FIG, "cutover", 0, MOVE_TO_CUTOVER, 0, 1 },
		{ STRATEGY_FEATURE_FLAG, "25", 0, MOVE_TO_SHARE, 250000, 1 },
		{ STRATEGY_FEATURE_FLAG, "b", 0, MOVE_TO_UNIT, 0, 3 },
		{ STRATEGY_GEOGRAPHIC, "b", 0, MOVE_TO_UNIT, 0, 3 },
		{ STRATEGY_ROLLING_UPDATE, "b", 0, MOVE_TO_INSTANCE, 0, 3 },
		{ STRATEGY_TIME_WINDOW, "25", 0, MOVE_TO_SHARE, 250000, 1 },
		{ STRATEGY_SHADOW_TRAFFIC, "25", -ERR_STATE, 0, 0, 0 },
		{ STRATEGY_SHADOW_TRAFFIC, "cutover", -ERR_STATE, 0, 0, 0 },
	};
	struct strategy_move m;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct strategy s = make(t[i].kind);
		struct strategy_at at = { .units = 1 };

		assert_int_equal(strategy_jump_from(&s, &at, t[i].to, &m, &err),
		                 t[i].rc);
		if (t[i].rc == 0) {
			assert_int_equal(m.kind, t[i].move);
			assert_int_equal(m.ppm, t[i].ppm);
			assert_int_equal(m.units, t[i].units);
		}
		at.authority = SIDE_NEW;
		assert_int_equal(strategy_jump_from(&s, &at, t[i].to, &m, &err),
		                 -ERR_STATE);
	}
}

static void
toggles(void **state)
{
	struct strategy_move m;
	struct err err;

	(void)state;
	for (int k = 0; k < STRATEGY_N; k++) {
		struct strategy s = make((enum strategy_kind)k);
		struct strategy_at at = { .authority = SIDE_OLD };
		bool can = k == STRATEGY_BLUE_GREEN;

		assert_int_equal(strategy_toggle(&s, &at, true, &m, &err),
		                 can ? 0 : -ERR_STATE);
		if (!can)
			continue;
		assert_int_equal(m.kind, MOVE_TO_CUTOVER);
		assert_int_equal(strategy_toggle(&s, &at, false, &m, &err), 0);
		assert_int_equal(m.kind, MOVE_NOWHERE);
		at.authority = SIDE_NEW;
		assert_int_equal(strategy_toggle(&s, &at, true, &m, &err), 0);
		assert_int_equal(m.kind, MOVE_NOWHERE);
		assert_int_equal(strategy_toggle(&s, &at, false, &m, &err), 0);
		assert_int_equal(m.kind, MOVE_BACK);
	}
}

/* A patch of units in another order: names count, not numbers. */
static void
patches(void **state)
{
	struct strategy now = make(STRATEGY_STRANGLER_FIG);
	struct strategy wanted = now;
	struct strategy_at at = { .units = 1 }; /* a */
	struct strategy_move m;
	struct err err;

	(void)state;
	memcpy(wanted.unit[0], "c", 2);
	memcpy(wanted.unit[2], "a", 2);
	wanted.unit_on = 1 | 4; /* c, a */
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_TO_UNIT);
	assert_int_equal(m.unit, 0);
	assert_int_equal(m.units, 5);
	wanted.unit_on = 4;
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_NOWHERE);
	wanted.unit_on = 0; /* a goes back: always possible */
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_TO_UNIT);
	assert_int_equal(m.units, 0);
	/* Named is c alone; a stays. */
	wanted.unit_on = 1;
	wanted.stays.units = ~(uint64_t)1;
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_TO_UNIT);
	assert_int_equal(m.unit, 0);
	assert_int_equal(m.units, 5);
	wanted.stays.units = UINT64_MAX;
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_NOWHERE);
	wanted.kind = STRATEGY_GEOGRAPHIC;
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err),
	                 -ERR_STATE);

	now = make(STRATEGY_ROLLING_UPDATE);
	wanted = now;
	wanted.unit_on = 3;
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_TO_INSTANCE);
	assert_int_equal(m.unit, 1);
	wanted.unit_on = 0;
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err),
	                 -ERR_STATE);
	wanted.stays.units = UINT64_MAX;
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_NOWHERE);
}

/* What a patch does not name stays where a promote or a toggle has put it. */
static void
patches_leave(void **state)
{
	struct strategy now = { .kind = STRATEGY_CANARY,
		                .step_ppm = { 250000, 500000 },
		                .step_n = 2 };
	struct strategy wanted = now;
	struct strategy_at at = { .ppm = 500000, .step = 2 };
	struct strategy_move m;
	struct err err;

	(void)state;
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_TO_SHARE);
	assert_int_equal(m.ppm, 0);
	wanted.stays.reads = true;
	wanted.stays.writes = true;
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_NOWHERE);
	assert_int_equal(m.ppm, 500000);
	assert_int_equal(m.step, 2);
	wanted.step_n = 1;
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.step, 1);
	now = (struct strategy){ .kind = STRATEGY_BLUE_GREEN };
	wanted = now;
	at = (struct strategy_at){ .authority = SIDE_NEW };
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_BACK);
	wanted.stays.side = true;
	assert_int_equal(strategy_patch(&now, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_NOWHERE);
}

static struct strategy s; /* too large for a stack frame of ours */

static int
check(void)
{
	struct err err;

	return strategy_check(&s, &err);
}

static void
refuses(void **state)
{
	(void)state;
	s = make(STRATEGY_STRANGLER_FIG);
	assert_int_equal(check(), 0);
	memcpy(s.unit[2], "a", 2);
	assert_int_equal(check(), -ERR_USAGE);
	memcpy(s.unit[2], "cutover", 8);
	assert_int_equal(check(), -ERR_USAGE);
	memcpy(s.unit[2], "c", 2);
	s.unit_on = 8;
	assert_int_equal(check(), -ERR_USAGE);
	s.unit_on = 0;
	s.step_n = 1;
	s.step_ppm[0] = 1;
	assert_int_equal(check(), -ERR_USAGE);
}

static void
refuses_more(void **state)
{
	(void)state;
	s = make(STRATEGY_CANARY);
	s.unit_n = 1;
	memcpy(s.unit[0], "a", 2);
	assert_int_equal(check(), -ERR_USAGE);
	s.unit_n = 0;
	s.start_ppm = ALL + 1;
	assert_int_equal(check(), -ERR_USAGE);
	s.start_ppm = 0;
	s.kind = STRATEGY_TIME_WINDOW;
	s.inner = STRATEGY_TIME_WINDOW;
	assert_int_equal(check(), -ERR_USAGE);
	s.inner = STRATEGY_SHADOW_TRAFFIC;
	assert_int_equal(check(), -ERR_USAGE);
}

/* Writes go with the steps that name them; a share alone never moves them back
 * by accident. */
static void
writes(void **state)
{
	static const struct strategy c = {
		.kind = STRATEGY_CANARY,
		.step_ppm = { 50000, 250000, 250000, 500000 },
		.step_write_ppm = { 0, 250000, 750000, PPM_ALL },
		.step_n = 4,
	};
	static const struct strategy plain = { .kind = STRATEGY_CANARY,
		                               .step_ppm = { 500000 },
		                               .step_n = 1 };
	struct strategy_at at = strategy_begin(&c);
	struct strategy wanted = c;
	struct strategy_move m;
	struct err err;

	(void)state;
	assert_int_equal(strategy_check(&c, &err), 0);
	assert_true(strategy_has_writes(&c));
	assert_false(strategy_has_writes(&plain));
	for (uint32_t i = 0; i < 3; i++) {
		m = strategy_promote(&c, &at);
		assert_int_equal(m.kind, MOVE_TO_SHARE);
		assert_int_equal(m.step, i + 1);
		assert_int_equal(m.ppm, c.step_ppm[i]);
		assert_int_equal(m.write_ppm, c.step_write_ppm[i]);
		at.step = m.step;
		at.ppm = m.ppm;
		at.write_ppm = m.write_ppm;
	}
	/* All of the writes are the cutover. */
	assert_int_equal(strategy_promote(&c, &at).kind, MOVE_TO_CUTOVER);
	assert_int_equal(strategy_jump_from(&c, &at, "5", &m, &err), 0);
	assert_int_equal(m.write_ppm, 0);
	assert_int_equal(m.step, 1);
	assert_int_equal(strategy_jump_from(&c, &at, "30", &m, &err), 0);
	assert_int_equal(m.write_ppm, 750000);
	assert_int_equal(m.step, 3);
	assert_int_equal(strategy_jump_from(&c, &at, "60", &m, &err), 0);
	assert_int_equal(m.kind, MOVE_TO_CUTOVER);
	/* Steps without writes leave them where a traffic verb put them. */
	at.write_ppm = 100000;
	assert_int_equal(strategy_jump_from(&plain, &at, "50", &m, &err), 0);
	assert_int_equal(m.write_ppm, 100000);
	wanted.start_ppm = at.ppm;
	wanted.start_write_ppm = 400000;
	assert_int_equal(strategy_patch(&c, &at, &wanted, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_TO_SHARE);
	assert_int_equal(m.write_ppm, 400000);
}

static void
writes_refused(void **state)
{
	struct strategy falls = { .kind = STRATEGY_CANARY,
		                  .step_ppm = { 100000, 200000 },
		                  .step_write_ppm = { 50000, 40000 },
		                  .step_n = 2 };
	struct strategy flag = { .kind = STRATEGY_FEATURE_FLAG,
		                 .step_ppm = { 100000 },
		                 .step_write_ppm = { 50000 },
		                 .step_n = 1 };
	struct strategy units = { .kind = STRATEGY_GEOGRAPHIC,
		                  .unit_writes = true };
	struct err err;

	(void)state;
	assert_int_equal(strategy_check(&falls, &err), -ERR_USAGE);
	assert_int_equal(strategy_check(&flag, &err), -ERR_USAGE);
	assert_int_equal(strategy_check(&units, &err), -ERR_USAGE);
	units.kind = STRATEGY_STRANGLER_FIG;
	assert_int_equal(strategy_check(&units, &err), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(promotes),        cmocka_unit_test(begins),
		cmocka_unit_test(comes_to_an_end), cmocka_unit_test(jumps),
		cmocka_unit_test(toggles),         cmocka_unit_test(patches),
		cmocka_unit_test(patches_leave),   cmocka_unit_test(refuses),
		cmocka_unit_test(refuses_more),    cmocka_unit_test(writes),
		cmocka_unit_test(writes_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
