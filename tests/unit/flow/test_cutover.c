/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/flow/test_cutover.c: the switch against a small model of the world.
 *
 * The model keeps what a server, a mover and a disk would know, and checks the
 * promises after every event: one side open (P2), nothing acknowledged missing
 * where authority is (P1), and an end at rest on a side that works (P5).
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include "base/rng.h"
#include "flow/cutover.h"

#define MS 1000000ull

static const struct cutover_limits limits = { .drain_ns = 300 * MS,
	                                      .hold_ns = 1000 * MS,
	                                      .open_ns = 2000 * MS,
	                                      .margin_ns = 50 * MS,
	                                      .retry_ns = 20 * MS };

/* Everything outside of the machine. */
struct model {
	struct authority r; /* on disk                                  */
	bool open[SIDE_N];  /* accepts applications                     */
	bool held;
	uint64_t history[SIDE_N]; /* acknowledged writes on that side       */
	uint64_t applied[SIDE_N]; /* of the other side's, here              */
	uint64_t mark;
	enum side routed; /* where released requests go               */
	uint64_t now;
};

static void
model_init(struct model *m, enum authority_state s)
{
	enum side one = authority_side(s);

	*m = (struct model){ .r = { .epoch = 7, .state = s },
		             .routed = one,
		             .now = 5 * MS };
	m->open[one] = true;
}

static void
model_check(const struct model *m, const struct cutover *c)
{
	/* P2 */
	assert_false(m->open[SIDE_OLD] && m->open[SIDE_NEW]);
	/* Requests go on only where authority is. */
	if (!m->held && !cutover_is_over(c))
		assert_int_equal(m->routed, authority_side(m->r.state));
}

/* Perform an action as the world would; what it did is kept in the model even
 * when the answer is a failure later (`lost`). */
static void
perform(struct model *m, struct cutover *c, enum cutover_step a, bool ok)
{
	enum side from = c->from;
	enum side to = side_other(from);

	switch (a) {
	case CUT_FREEZE:
		if (ok)
			m->r = authority_freeze(&m->r);
		break;
	case CUT_HOLD: m->held = true; break;
	case CUT_FENCE: m->open[from] = false; break;
	case CUT_MARK: m->mark = m->history[from]; break;
	case CUT_BARRIER:
		if (ok)
			m->applied[to] = m->mark;
		break;
	case CUT_COMMIT:
		if (ok)
			m->r = authority_commit(&m->r);
		break;
	case CUT_OPEN:
		if (ok) {
			/* P1: all that was acknowledged is here. */
			if (!c->forced)
				assert_true(m->applied[to] >= m->history[from]);
			assert_false(m->open[from]);
			assert_int_equal(authority_side(m->r.state), to);
			m->open[to] = true;
		}
		break;
	case CUT_RELEASE:
		m->routed = to;
		m->held = false;
		break;
	case CUT_BACK_RECORD:
		if (ok)
			m->r = authority_abort(&m->r);
		break;
	case CUT_BACK_UNFENCE:
		if (ok)
			m->open[from] = true;
		break;
	case CUT_BACK_RELEASE:
		m->routed = from;
		m->held = false;
		break;
	case CUT_IDLE:
	case CUT_ANNOUNCE:
	case CUT_MARK_2: /* a scope switch: test_split.c */
	case CUT_BARRIER_2:
	case CUT_CHECK:
	case CUT_DONE:
	case CUT_ABORTED:
	case CUT_N: break;
	}
}

static enum cutover_step
feed(struct cutover *c, const struct model *m, enum cutover_event_kind kind,
     enum cutover_step step)
{
	struct cutover_event ev = { .kind = kind,
		                    .step = step,
		                    .now_ns = m->now,
		                    .position = m->mark,
		                    .why = "because" };

	return cutover_feed(c, &ev);
}

/* Run to the end; bit i of `faults` lets the i-th action fail. Fails are not
 * repeated for ever: a step that is tried again succeeds the second time. */
static void
run(struct model *m, struct cutover *c, uint32_t faults, bool forced)
{
	enum cutover_step a;
	uint32_t tries = 0;

	cutover_init(c, &m->r, &limits, forced);
	m->history[c->from] = 1000;
	a = feed(c, m, CUT_EV_START, CUT_IDLE);
	for (int i = 0; i < 64 && !cutover_is_over(c); i++) {
		bool ok;

		if (a == CUT_IDLE) {
			m->now = cutover_wake_ns(c);
			assert_true(m->now != UINT64_MAX);
			a = feed(c, m, CUT_EV_TIME, CUT_IDLE);
			continue;
		}
		ok = !(tries < 32 && ((faults >> tries) & 1));
		tries++;
		perform(m, c, a, ok);
		model_check(m, c);
		m->now += MS;
		a = feed(c, m, ok ? CUT_EV_OK : CUT_EV_FAIL, a);
		model_check(m, c);
	}
	assert_true(cutover_is_over(c));
	assert_false(m->held);
	if (!c->record_owed)
		assert_false(authority_is_frozen(m->r.state));
	if (!c->unfence_owed)
		assert_true(m->open[authority_side(c->r.state)]);
	assert_int_equal(m->routed, authority_side(c->r.state));
}

static void
both_ways(void **state)
{
	(void)state;
	for (int back = 0; back < 2; back++) {
		struct model m;
		struct cutover c;

		model_init(&m, back ? AUTHORITY_NEW : AUTHORITY_OLD);
		run(&m, &c, 0, false);
		assert_int_equal(c.step, CUT_DONE);
		assert_int_equal(m.r.epoch, 8);
		assert_int_equal(m.r.state,
		                 back ? AUTHORITY_OLD : AUTHORITY_NEW);
		assert_int_equal(c.position, 1000);
	}
}

/* Every subset of the first 14 actions fails. */
static void
every_set_of_failures(void **state)
{
	uint32_t done = 0;
	uint32_t aborted = 0;

	(void)state;
	for (uint32_t faults = 0; faults < (1u << 14); faults++) {
		for (int back = 0; back < 2; back++) {
			struct model m;
			struct cutover c;

			model_init(&m, back ? AUTHORITY_NEW : AUTHORITY_OLD);
			run(&m, &c, faults, false);
			if (c.step == CUT_DONE) {
				assert_true(c.committed);
				done++;
			} else {
				/* On the side before; also when R could not
				 * be written. */
				assert_int_equal(authority_side(m.r.state),
				                 c.from);
				assert_true(c.died != CUT_IDLE);
				aborted++;
			}
		}
	}
	assert_true(done > 0 && aborted > 0);
}

/* Each step's deadline, when nobody answers. */
static void
silence_at_each_step(void **state)
{
	(void)state;
	for (unsigned at = CUT_HOLD; at < CUT_COMMIT; at++) {
		struct model m;
		struct cutover c;
		enum cutover_step a;
		uint64_t begin;

		if (at == CUT_MARK_2 || at == CUT_BARRIER_2)
			continue;
		model_init(&m, AUTHORITY_OLD);
		begin = m.now;
		cutover_init(&c, &m.r, &limits, false);
		a = feed(&c, &m, CUT_EV_START, CUT_IDLE);
		while (!cutover_is_over(&c)) {
			perform(&m, &c, a, true);
			if (a == at) {
				uint64_t wake = cutover_wake_ns(&c);

				assert_true(wake <= begin + limits.hold_ns);
				m.now = wake - 1;
				assert_int_equal(
					feed(&c, &m, CUT_EV_TIME, CUT_IDLE),
					CUT_IDLE);
				m.now = wake;
				a = feed(&c, &m, CUT_EV_TIME, CUT_IDLE);
				assert_int_equal(a, CUT_BACK_RECORD);
				/* The late answer changes nothing. */
				assert_int_equal(feed(&c, &m, CUT_EV_OK,
				                      (enum cutover_step)at),
				                 CUT_IDLE);
				continue;
			}
			a = feed(&c, &m, CUT_EV_OK, a);
		}
		assert_int_equal(c.step, CUT_ABORTED);
		assert_int_equal(c.died, at);
		assert_true(m.open[SIDE_OLD]);
	}
}

/* An answer that comes just before the deadline must not be committed. */
static void
no_commit_without_margin(void **state)
{
	struct model m;
	struct cutover c;
	enum cutover_step a;

	(void)state;
	model_init(&m, AUTHORITY_OLD);
	cutover_init(&c, &m.r, &limits, false);
	a = feed(&c, &m, CUT_EV_START, CUT_IDLE);
	while (a != CUT_CHECK) {
		perform(&m, &c, a, true);
		a = feed(&c, &m, CUT_EV_OK, a);
	}
	m.now = c.hold_at_ns + limits.hold_ns - limits.margin_ns;
	assert_int_equal(feed(&c, &m, CUT_EV_OK, CUT_CHECK), CUT_BACK_RECORD);
}

/* Every (state, event, step of the event), from every reachable state. */
static void
every_state_and_event(void **state)
{
	(void)state;
	for (unsigned at = 0; at < CUT_N; at++) {
		if (at == CUT_MARK_2 || at == CUT_BARRIER_2)
			continue;
		for (unsigned kind = 0; kind < CUT_EV_N; kind++) {
			for (unsigned of = 0; of < CUT_N; of++) {
				struct model m;
				struct cutover c;
				enum cutover_step a = CUT_IDLE;
				enum cutover_step before;
				bool committed;

				model_init(&m, AUTHORITY_OLD);
				cutover_init(&c, &m.r, &limits, false);
				if (at != CUT_IDLE)
					a = feed(&c, &m, CUT_EV_START, a);
				while (c.step != (enum cutover_step)at) {
					/* The abort's steps by way of CHECK. */
					bool ok = at <= CUT_DONE ||
					          a != CUT_CHECK;

					perform(&m, &c, a, ok);
					a = feed(&c, &m,
					         ok ? CUT_EV_OK : CUT_EV_FAIL,
					         a);
				}
				before = c.step;
				committed = c.committed;
				(void)feed(&c, &m,
				           (enum cutover_event_kind)kind,
				           (enum cutover_step)of);
				/* Only forward after the commit. */
				if (committed)
					assert_true(c.step >= before &&
					            c.step <= CUT_DONE);
				if (before == CUT_DONE || before == CUT_ABORTED)
					assert_int_equal(c.step, before);
				/* A foreign answer moves nothing. */
				if ((kind == CUT_EV_OK ||
				     kind == CUT_EV_FAIL) &&
				    of != before)
					assert_int_equal(c.step, before);
			}
		}
	}
}

static void
random_walks(void **state)
{
	struct rng rng;
	uint64_t seed = 20261121;
	uint32_t ends[2] = { 0, 0 };

	(void)state;
	rng_init(&rng, seed);
	for (int walk = 0; walk < 20000; walk++) {
		struct model m;
		struct cutover c;
		enum cutover_step a;

		model_init(&m,
		           rng_below(&rng, 2) ? AUTHORITY_NEW : AUTHORITY_OLD);
		cutover_init(&c, &m.r, &limits, false);
		m.history[c.from] = rng_below(&rng, 1000);
		a = feed(&c, &m, CUT_EV_START, CUT_IDLE);
		for (int i = 0; i < 400 && !cutover_is_over(&c); i++) {
			uint64_t dice = rng_below(&rng, 100);
			bool ok = dice < 90;

			m.now += rng_below(&rng, 30) * MS;
			if (dice < 3) {
				enum cutover_step b =
					feed(&c, &m, CUT_EV_STOP, CUT_IDLE);

				a = b != CUT_IDLE ? b : a;
			} else if (dice < 6 || a == CUT_IDLE) {
				enum cutover_step b =
					feed(&c, &m, CUT_EV_TIME, CUT_IDLE);

				a = b != CUT_IDLE ? b : a;
			} else {
				perform(&m, &c, a, ok);
				a = feed(&c, &m, ok ? CUT_EV_OK : CUT_EV_FAIL,
				         a);
			}
			model_check(&m, &c);
		}
		assert_true(cutover_is_over(&c));
		ends[c.step == CUT_DONE]++;
	}
	assert_true(ends[0] > 100 && ends[1] > 100);
}

/* The losing side is dead: an accepted loss goes through, and says so. */
static void
forced_goes_through(void **state)
{
	struct model m;
	struct cutover c;

	(void)state;
	model_init(&m, AUTHORITY_NEW);
	m.open[SIDE_NEW] = false; /* dead */
	run(&m, &c, (1u << 2) | (1u << 4) | (1u << 5) | (1u << 6), true);
	assert_int_equal(c.step, CUT_DONE);
	assert_true(c.lossy);
	assert_int_equal(m.r.state, AUTHORITY_OLD);
}

/* To a step by successes alone. */
static enum cutover_step
go_to(struct model *m, struct cutover *c, enum cutover_step step)
{
	enum cutover_step a;

	model_init(m, AUTHORITY_OLD);
	cutover_init(c, &m->r, &limits, false);
	a = feed(c, m, CUT_EV_START, CUT_IDLE);
	while (a != step) {
		perform(m, c, a, true);
		a = feed(c, m, CUT_EV_OK, a);
	}
	return a;
}

/* A commit of which nobody knows whether it is on disk: nothing opens, whatever
 * the time; it is made again. */
static void
unsure_commit_stays(void **state)
{
	struct model m;
	struct cutover c;
	struct cutover_event ev = { .kind = CUT_EV_FAIL,
		                    .step = CUT_COMMIT,
		                    .unsure = true };

	(void)state;
	(void)go_to(&m, &c, CUT_COMMIT);
	for (int i = 0; i < 200; i++) {
		ev.now_ns = m.now;
		assert_int_equal(cutover_feed(&c, &ev), CUT_IDLE);
		assert_int_equal(feed(&c, &m, CUT_EV_STOP, CUT_IDLE), CUT_IDLE);
		m.now = cutover_wake_ns(&c);
		assert_int_equal(feed(&c, &m, CUT_EV_TIME, CUT_IDLE),
		                 CUT_COMMIT);
	}
	assert_true(m.now > c.hold_at_ns + limits.hold_ns);
	perform(&m, &c, CUT_COMMIT, true);
	assert_int_equal(feed(&c, &m, CUT_EV_OK, CUT_COMMIT), CUT_OPEN);
}

/* The winner dies behind the commit: requests are not held for ever. */
static void
open_is_owed(void **state)
{
	struct model m;
	struct cutover c;

	(void)state;
	(void)go_to(&m, &c, CUT_OPEN);
	assert_int_equal(feed(&c, &m, CUT_EV_FAIL, CUT_OPEN), CUT_IDLE);
	m.now = c.hold_at_ns + limits.hold_ns + limits.open_ns - 1;
	assert_int_equal(feed(&c, &m, CUT_EV_TIME, CUT_IDLE), CUT_OPEN);
	assert_int_equal(feed(&c, &m, CUT_EV_FAIL, CUT_OPEN), CUT_IDLE);
	m.now += limits.retry_ns;
	assert_int_equal(feed(&c, &m, CUT_EV_TIME, CUT_IDLE), CUT_OPEN);
	assert_int_equal(feed(&c, &m, CUT_EV_FAIL, CUT_OPEN), CUT_RELEASE);
	assert_true(c.unfence_owed);
	assert_int_equal(feed(&c, &m, CUT_EV_OK, CUT_RELEASE), CUT_DONE);
}

/* An abort opens before it releases, but waits for other pairs no longer than the
 * hold. */
static void
an_abort_opens_first(void **state)
{
	struct model m;
	struct cutover c;

	(void)state;
	for (int waits = 0; waits < 2; waits++) {
		struct cutover_event ev = { .kind = CUT_EV_FAIL,
			                    .step = CUT_BACK_UNFENCE,
			                    .waits = waits == 1 };

		(void)go_to(&m, &c, CUT_MARK);
		assert_int_equal(feed(&c, &m, CUT_EV_FAIL, CUT_MARK),
		                 CUT_BACK_RECORD);
		assert_int_equal(feed(&c, &m, CUT_EV_OK, CUT_BACK_RECORD),
		                 CUT_BACK_UNFENCE);
		ev.now_ns = c.hold_at_ns + limits.hold_ns;
		assert_int_equal(cutover_feed(&c, &ev),
		                 waits ? CUT_BACK_RELEASE : CUT_IDLE);
		assert_true(c.unfence_owed == (waits == 1));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ways),
		cmocka_unit_test(every_set_of_failures),
		cmocka_unit_test(silence_at_each_step),
		cmocka_unit_test(no_commit_without_margin),
		cmocka_unit_test(every_state_and_event),
		cmocka_unit_test(random_walks),
		cmocka_unit_test(forced_goes_through),
		cmocka_unit_test(unsure_commit_stays),
		cmocka_unit_test(open_is_owed),
		cmocka_unit_test(an_abort_opens_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
