/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/flow/test_migration.c: phases, gates, and the judge of --auto.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include "flow/migration.h"

static const struct gates good = {
	.move = MOVE_IN_STEP,
	.lag_ms = 3,
	.lag_ms_max = 1000,
	.reverse_proven = true,
	.reverse_age_ms = 10,
	.reverse_age_ms_max = 5000,
	.relays = 2,
	.relays_current = 2,
	.sides_up = { true, true },
	.fenced = true,
};

static void
phases(void **state)
{
	(void)state;
	assert_int_equal(migration_phase(MOVE_IDLE, SIDE_OLD, false),
	                 PHASE_COPYING);
	assert_int_equal(migration_phase(MOVE_COPYING, SIDE_OLD, false),
	                 PHASE_COPYING);
	assert_int_equal(migration_phase(MOVE_CATCHING_UP, SIDE_OLD, false),
	                 PHASE_CATCHING_UP);
	assert_int_equal(migration_phase(MOVE_BROKEN, SIDE_OLD, false),
	                 PHASE_CATCHING_UP);
	assert_int_equal(migration_phase(MOVE_IN_STEP, SIDE_OLD, false),
	                 PHASE_SHIFTING);
	for (int m = MOVE_IDLE; m <= MOVE_BROKEN; m++) {
		assert_int_equal(
			migration_phase((enum move_phase)m, SIDE_NEW, false),
			PHASE_SOAKING);
		assert_int_equal(
			migration_phase((enum move_phase)m, SIDE_OLD, true),
			PHASE_HOLDING);
	}
}

/* Each condition alone shuts its gate, and says so. */
static void
each_gate(void **state)
{
	char why[120];
	struct gates g;

	(void)state;
	assert_int_equal(migration_gate_switch(&good, why, sizeof(why)),
	                 GATE_OPEN);
	assert_string_equal(why, "");
#define CASE(set, share, full)                                                \
	do {                                                                  \
		g = good;                                                     \
		set;                                                          \
		assert_int_equal(migration_gate_share(&g, why, sizeof(why)),  \
		                 (share));                                    \
		assert_int_equal(migration_gate_switch(&g, why, sizeof(why)), \
		                 (full));                                     \
		assert_true(((full) == GATE_OPEN) == (why[0] == '\0'));       \
	} while (0)
	CASE(g.record_owed = true, GATE_DISK, GATE_DISK);
	CASE(g.sides_up[0] = false, GATE_SIDE_DOWN, GATE_SIDE_DOWN);
	CASE(g.sides_up[1] = false, GATE_SIDE_DOWN, GATE_SIDE_DOWN);
	CASE(g.move = MOVE_IDLE, GATE_COPYING, GATE_COPYING);
	CASE(g.move = MOVE_COPYING, GATE_COPYING, GATE_COPYING);
	CASE(g.move = MOVE_CATCHING_UP, GATE_BEHIND, GATE_BEHIND);
	CASE(g.suspect = true, GATE_SUSPECT, GATE_SUSPECT);
	CASE(g.move = MOVE_BROKEN, GATE_BROKEN, GATE_BROKEN);
	CASE(g.verified_different = true, GATE_DIFFERENT, GATE_DIFFERENT);
	CASE(g.owed = true, GATE_DIFFERENT, GATE_DIFFERENT);
	CASE(g.lag_ms = 1001, GATE_OPEN, GATE_BEHIND);
	CASE(g.lag_ms = 1000, GATE_OPEN, GATE_OPEN);
	CASE(g.reverse_proven = false, GATE_OPEN, GATE_REVERSE);
	CASE(g.reverse_age_ms = 5001, GATE_OPEN, GATE_REVERSE);
	CASE(g.relays_current = 1, GATE_OPEN, GATE_RELAYS);
	CASE(g.fenced = false, GATE_OPEN, GATE_FENCE);
	/* Without a split nobody asks for the second stream. */
	CASE(g.back = MOVE_BROKEN, GATE_OPEN, GATE_OPEN);
	CASE((g.is_split = true, g.back = MOVE_IN_STEP), GATE_OPEN, GATE_OPEN);
	CASE((g.is_split = true, g.back = MOVE_BROKEN), GATE_OPEN, GATE_BROKEN);
	CASE((g.is_split = true, g.back = MOVE_CATCHING_UP), GATE_OPEN,
	     GATE_BEHIND);
	CASE((g.is_split = true, g.back = MOVE_IN_STEP, g.back_lag_ms = 1001),
	     GATE_OPEN, GATE_BEHIND);
#undef CASE
	/* A short buffer is cut, not overrun. */
	g = good;
	g.record_owed = true;
	assert_int_equal(migration_gate_share(&g, why, 5), GATE_DISK);
	assert_string_equal(why, "the ");
}

static const struct watch_limits limits = {
	.k = 3,
	.n = 5,
	.step_ms = 10000,
	.requests_min = 100,
	.error_ppm_max = 10000,
	.latency_factor = 5,
	.latency_us_min = 1000,
	.lag_ms_max = 500,
};

static struct sample
healthy(uint64_t requests)
{
	return (struct sample){ .requests = { requests, requests },
		                .timed = { requests, requests },
		                .p99_us = { 300, 400 },
		                .in_step = true };
}

static void
passes_when_all_is_seen(void **state)
{
	struct watch w;
	struct judgement j;
	struct sample s = healthy(99);

	(void)state;
	watch_begin(&w, &limits, 0);
	for (uint64_t t = 1000; t <= 12000; t += 1000) {
		j = watch_look(&w, &s, SIDE_NEW, t);
		assert_int_equal(j.verdict, VERDICT_INCONCLUSIVE);
		assert_true(j.reason[0] != '\0');
	}
	s = healthy(100);
	j = watch_look(&w, &s, SIDE_NEW, 13000);
	assert_int_equal(j.verdict, VERDICT_PASS);
	assert_int_equal(j.requests, 100);
	/* Enough requests, too early. */
	watch_begin(&w, &limits, 0);
	for (uint64_t t = 1000; t <= 9000; t += 1000) {
		j = watch_look(&w, &s, SIDE_NEW, t);
		assert_int_equal(j.verdict, VERDICT_INCONCLUSIVE);
	}
	assert_int_equal(watch_look(&w, &s, SIDE_NEW, 10000).verdict,
	                 VERDICT_PASS);
}

static void
nothing_seen_is_no_pass(void **state)
{
	struct watch_limits l = limits;
	struct sample s = healthy(0);
	struct judgement j = { .verdict = VERDICT_FAIL };
	struct watch w;

	(void)state;
	l.requests_min = 1;
	watch_begin(&w, &l, 0);
	for (uint64_t t = 1000; t <= 60000; t += 1000)
		j = watch_look(&w, &s, SIDE_NEW, t);
	assert_int_equal(j.verdict, VERDICT_INCONCLUSIVE);
	assert_string_equal(j.reason, "0 of 1 requests");
	/* Unless somebody says so, and then it is said. */
	l.requests_min = 0;
	watch_begin(&w, &l, 0);
	for (uint64_t t = 1000; t <= 60000; t += 1000)
		j = watch_look(&w, &s, SIDE_NEW, t);
	assert_int_equal(j.verdict, VERDICT_PASS);
	assert_non_null(strstr(j.reason, "without samples"));
}

static void
fails_at_k_of_n(void **state)
{
	struct watch w;
	struct judgement j;
	struct sample bad = healthy(1000);
	struct sample fine = healthy(1000);

	(void)state;
	bad.errors[SIDE_NEW] = 11; /* 1.1 %, one is allowed */
	watch_begin(&w, &limits, 0);
	/* bad fine bad fine fine: never three of five. */
	for (int i = 0; i < 5; i++) {
		j = watch_look(&w, i == 0 || i == 2 ? &bad : &fine, SIDE_NEW,
		               (uint64_t)i * 1000);
		assert_int_equal(j.verdict, VERDICT_INCONCLUSIVE);
	}
	(void)watch_look(&w, &bad, SIDE_NEW, 6000);
	(void)watch_look(&w, &bad, SIDE_NEW, 7000);
	j = watch_look(&w, &bad, SIDE_NEW, 8000);
	assert_int_equal(j.verdict, VERDICT_FAIL);
	assert_int_equal(j.check, WATCH_ERRORS);
	assert_int_equal(j.value, 11000);
	assert_int_equal(j.threshold, 10000);
	assert_int_equal(j.requests, 1000);
}

static void
each_check_fails(void **state)
{
	struct watch w;
	struct judgement j = { .verdict = VERDICT_PASS };
	struct sample s;

	(void)state;
	for (int c = 0; c < WATCH_N; c++) {
		s = healthy(1000);
		if (c == WATCH_ERRORS)
			s.errors[SIDE_NEW] = 500;
		else if (c == WATCH_LOST)
			s.lost[SIDE_NEW] = 1;
		else if (c == WATCH_LATENCY)
			s.p99_us[SIDE_NEW] = 1501;
		else if (c == WATCH_LAG)
			s.lag_ms = 501;
		else
			s.different = 1;
		watch_begin(&w, &limits, 0);
		for (uint64_t i = 0; i < 3; i++)
			j = watch_look(&w, &s, SIDE_NEW, i);
		assert_int_equal(j.verdict, VERDICT_FAIL);
		assert_int_equal(j.check, c);
		/* The other side's troubles are not this one's. */
		watch_begin(&w, &limits, 0);
		for (uint64_t i = 0; i < 3 && c < WATCH_LAG; i++)
			assert_int_equal(
				watch_look(&w, &s, SIDE_OLD, i).verdict,
				VERDICT_INCONCLUSIVE);
	}
	/* Slow, but so is the authority; and fast is never too slow. */
	s = healthy(1000);
	s.p99_us[SIDE_OLD] = 400;
	s.p99_us[SIDE_NEW] = 2000;
	watch_begin(&w, &limits, 0);
	for (uint64_t i = 0; i < 5; i++)
		j = watch_look(&w, &s, SIDE_NEW, i);
	assert_int_equal(j.verdict, VERDICT_INCONCLUSIVE);
}

/* Nine bad answers of nine say nothing yet where ten are wanted; a lost reply, lag
 * and a difference need no sample. */
static void
few_samples(void **state)
{
	struct watch_limits l = limits;
	struct watch w;
	struct judgement j = { .verdict = VERDICT_PASS };
	struct sample s = healthy(9);

	(void)state;
	l.requests_min = 10;
	s.errors[SIDE_NEW] = 9;
	s.p99_us[SIDE_NEW] = 1000000;
	watch_begin(&w, &l, 0);
	for (uint64_t i = 0; i < 40; i++) {
		j = watch_look(&w, &s, SIDE_NEW, i * 1000000);
		assert_int_equal(j.verdict, VERDICT_INCONCLUSIVE);
	}
	assert_non_null(strstr(j.reason, "9 of 10 requests"));
	s.requests[SIDE_NEW] = 10;
	for (uint64_t i = 0; i < 3; i++)
		j = watch_look(&w, &s, SIDE_NEW, i);
	assert_int_equal(j.verdict, VERDICT_FAIL);
	assert_int_equal(j.check, WATCH_ERRORS);
	s = healthy(0);
	s.different = 1;
	watch_begin(&w, &l, 0);
	for (uint64_t i = 0; i < 3; i++)
		j = watch_look(&w, &s, SIDE_NEW, i);
	assert_int_equal(j.check, WATCH_DIVERGENCE);
}

/* A p99 is judged on enough latencies of both sides, whatever was counted. */
static void
few_latencies(void **state)
{
	struct watch_limits l = limits;
	struct watch w;
	struct judgement j = { .verdict = VERDICT_PASS };
	struct sample s = healthy(100000);
	uint64_t t = 1000000;

	(void)state;
	l.few = 20;
	s.timed[SIDE_NEW] = 0;
	s.p99_us[SIDE_NEW] = 0;
	watch_begin(&w, &l, 0);
	for (int i = 0; i < 40; i++)
		j = watch_look(&w, &s, SIDE_NEW, t++);
	assert_int_equal(j.verdict, VERDICT_INCONCLUSIVE);
	assert_string_equal(j.reason, "0 of 20 latencies");
	s.timed[SIDE_NEW] = 19;
	s.p99_us[SIDE_NEW] = 90000;
	for (int i = 0; i < 40; i++)
		j = watch_look(&w, &s, SIDE_NEW, t++);
	assert_int_equal(j.verdict, VERDICT_INCONCLUSIVE);
	assert_non_null(strstr(j.reason, "latency: 90000 us"));
	s.timed[SIDE_NEW] = 20;
	s.timed[SIDE_OLD] = 19; /* nothing to compare it with */
	for (int i = 0; i < 40; i++)
		j = watch_look(&w, &s, SIDE_NEW, t++);
	assert_int_equal(j.verdict, VERDICT_INCONCLUSIVE);
	s.timed[SIDE_OLD] = 20;
	for (int i = 0; i < 3; i++)
		j = watch_look(&w, &s, SIDE_NEW, t++);
	assert_int_equal(j.verdict, VERDICT_FAIL);
	assert_int_equal(j.check, WATCH_LATENCY);
	assert_int_equal(j.value, 90000);
	assert_int_equal(j.threshold, 1500);
	assert_int_equal(j.size, 20);
	/* What is fast enough anyway needs no other side. */
	s = healthy(100000);
	s.timed[SIDE_OLD] = 0;
	s.p99_us[SIDE_OLD] = 0;
	watch_begin(&w, &l, 0);
	for (int i = 0; i < 5; i++)
		j = watch_look(&w, &s, SIDE_NEW, t++);
	assert_int_equal(j.verdict, VERDICT_PASS);
}

/* What cannot be measured decides nothing, and is forgotten. */
static void
error_holds(void **state)
{
	struct watch w;
	struct judgement j = { .verdict = VERDICT_PASS };
	struct sample bad = healthy(1000);
	struct sample none = { .fault = "relay 1 is silent" };
	uint64_t t = 1000000;

	(void)state;
	bad.different = 1;
	watch_begin(&w, &limits, 0);
	(void)watch_look(&w, &bad, SIDE_NEW, t++);
	(void)watch_look(&w, &bad, SIDE_NEW, t++);
	for (int i = 0; i < 40; i++) {
		j = watch_look(&w, &none, SIDE_NEW, t++);
		assert_int_equal(j.verdict, VERDICT_ERROR);
	}
	assert_string_equal(verdict_name(j.verdict), "error");
	assert_string_equal(j.reason, "not measured: relay 1 is silent");
	/* The looks before still count. */
	j = watch_look(&w, &bad, SIDE_NEW, t++);
	assert_int_equal(j.verdict, VERDICT_FAIL);
}

/* A stream that is not in step proves nothing, however short it is so. */
static void
not_in_step_is_no_pass(void **state)
{
	struct watch w;
	struct judgement j = { .verdict = VERDICT_PASS };
	struct sample s = healthy(1000);

	(void)state;
	s.in_step = false;
	watch_begin(&w, &limits, 0);
	for (uint64_t i = 0; i < 40; i++)
		j = watch_look(&w, &s, SIDE_NEW, 1000000 + i);
	assert_int_equal(j.verdict, VERDICT_INCONCLUSIVE);
	assert_string_equal(j.reason, "the stream is not in step");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(phases),
		cmocka_unit_test(each_gate),
		cmocka_unit_test(few_samples),
		cmocka_unit_test(few_latencies),
		cmocka_unit_test(error_holds),
		cmocka_unit_test(not_in_step_is_no_pass),
		cmocka_unit_test(passes_when_all_is_seen),
		cmocka_unit_test(nothing_seen_is_no_pass),
		cmocka_unit_test(fails_at_k_of_n),
		cmocka_unit_test(each_check_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
