/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/flow/test_split.c: scope switches against a small model of the world.
 *
 * Four classes of keys (in the scope before, after, both, neither), two servers
 * with a log each, two movers with a filter. Checked after every event: one side
 * has authority over a key, and has all that was acknowledged for it (P1, P2);
 * nothing is open to those who bypass us while each side rules a part; no mover
 * carries what the other one wrote; an end at rest, with the scope before (P5) or
 * after.
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

#define MS    1000000ull
#define KEYS  4
#define LOG_N 256

static const struct cutover_limits limits = { .drain_ns = 300 * MS,
	                                      .hold_ns = 1000 * MS,
	                                      .open_ns = 2000 * MS,
	                                      .margin_ns = 50 * MS,
	                                      .retry_ns = 20 * MS };

struct unit {
	int key;
	uint32_t value;
	bool carried; /* by a mover, not by a client */
};

struct server {
	uint32_t value[KEYS];
	struct unit log[LOG_N];
	uint32_t n;
	bool open; /* for those who bypass us */
};

/* The class that a growing (shrinking) switch does not know: a key that leaves
 * (comes); -1: none. */
struct way {
	uint32_t before, after;
	bool grows;
	int not_key;
};

static const struct way ways[] = {
	{ 0, 2, true, -1 }, { 1, 2, true, 1 },   { 1, AUTHORITY_ALL, true, -1 },
	{ 1, 2, false, 2 }, { 1, 0, false, -1 },
};

#define WAY_N (sizeof(ways) / sizeof(ways[0]))

struct model {
	struct authority r; /* on disk */
	struct server at[SIDE_N];
	uint32_t done[SIDE_N];  /* of a side's log, by its mover        */
	uint32_t limit[SIDE_N]; /* a barrier stands there; else LOG_N   */
	uint32_t scope_mover[SIDE_N];
	uint32_t scope_route;
	enum side home;
	bool held;
	uint32_t acked[KEYS];
	uint32_t next;
	uint32_t before, after; /* numbers of the scopes */
	int not_key;
	uint64_t mark[SIDE_N];
	uint64_t now;
	uint32_t echoes;
};

/* Key k is in the scope before by bit 0, in the one after by bit 1. Scopes: 0 none,
 * 1 the one before, 2 the one after. */
static bool
is_in(const struct model *m, uint32_t scope, int key)
{
	if (scope == AUTHORITY_NO_SCOPE)
		return false;
	if (scope == AUTHORITY_ALL)
		return true;
	if (scope == m->before)
		return (key & 1) != 0;
	return (key & 2) != 0;
}

static enum side
owner(const struct model *m, enum side rules, uint32_t scope, int key)
{
	if (rules == SIDE_NEW)
		return SIDE_NEW;
	return is_in(m, scope, key) ? SIDE_NEW : SIDE_OLD;
}

static void
put(struct server *s, int key, uint32_t value, bool carried)
{
	assert_true(s->n < LOG_N);
	s->log[s->n++] = (struct unit){ key, value, carried };
	s->value[key] = value;
}

/* The mover that reads this side's log, at most n units. */
static void
move_on(struct model *m, enum side s, uint32_t n)
{
	struct server *from = &m->at[s];

	while (n-- > 0 && m->done[s] < from->n && m->done[s] < m->limit[s]) {
		struct unit u = from->log[m->done[s]++];

		if (owner(m, SIDE_OLD, m->scope_mover[s], u.key) != s)
			continue;
		if (u.carried)
			m->echoes++;
		put(&m->at[side_other(s)], u.key, u.value, true);
	}
}

/* A client by way of a relay. */
static void
client_writes(struct model *m, int key)
{
	enum side s = owner(m, m->home, m->scope_route, key);

	if (m->held || key == m->not_key)
		return;
	m->acked[key] = ++m->next;
	put(&m->at[s], key, m->next, false);
}

static void
model_check(const struct model *m)
{
	enum side rules = authority_side(m->r.state);

	/* Who bypasses us finds the only truth open, or nothing. */
	assert_false(m->at[SIDE_OLD].open && m->at[SIDE_NEW].open);
	if (authority_is_split(&m->r))
		assert_false(m->at[SIDE_OLD].open || m->at[SIDE_NEW].open);
	for (int k = 0; k < KEYS; k++) {
		enum side s = owner(m, rules, m->r.scope, k);

		/* P1: the side with authority has all of it. */
		assert_int_equal(m->at[s].value[k], m->acked[k]);
		/* P2: requests go there and nowhere else. */
		if (!m->held)
			assert_int_equal(owner(m, m->home, m->scope_route, k),
			                 s);
	}
	assert_int_equal(m->echoes, 0);
}

/* The same two clients and lags for each run: what counts is the order. */
static void
model_init(struct model *m, const struct way *w)
{
	uint32_t before = w->before;

	memset(m, 0, sizeof(*m));
	m->r = (struct authority){ .epoch = 7, .scope = before };
	m->before = before;
	m->after = w->after;
	m->not_key = w->not_key;
	m->limit[SIDE_OLD] = m->limit[SIDE_NEW] = LOG_N;
	m->scope_mover[SIDE_OLD] = m->scope_mover[SIDE_NEW] = before;
	m->scope_route = before;
	m->home = SIDE_OLD;
	m->at[SIDE_OLD].open = before == AUTHORITY_NO_SCOPE;
	m->now = 5 * MS;
	for (int i = 0; i < 12; i++)
		client_writes(m, i % KEYS);
	move_on(m, SIDE_OLD, 3);
	move_on(m, SIDE_NEW, 2);
	for (int i = 0; i < 5; i++)
		client_writes(m, i % KEYS);
}

static void
release(struct model *m, const struct cutover *c, bool back)
{
	if (!back) {
		m->scope_mover[SIDE_OLD] = m->scope_mover[SIDE_NEW] =
			m->scope_route = c->keeps ? c->scope_to : m->after;
		m->home = authority_side(c->r.state);
	}
	m->limit[SIDE_OLD] = m->limit[SIDE_NEW] = LOG_N;
	m->held = false;
}

static void
do_open(struct model *m, const struct cutover *c, bool aborted)
{
	enum side s;

	if (cutover_opens(c, aborted, &s))
		m->at[s].open = true;
}

static void
barrier(struct model *m, enum side s)
{
	m->limit[s] = (uint32_t)m->mark[s];
	move_on(m, s, LOG_N);
}

static uint64_t
perform(struct model *m, const struct cutover *c, enum cutover_step a, bool ok)
{
	enum side s = a == CUT_MARK_2 || a == CUT_BARRIER_2 ? cutover_second(c)
	                                                    : c->from;

	switch (a) {
	case CUT_FREEZE:
		if (ok)
			m->r = authority_freeze_scope(&m->r, c->scope_to);
		break;
	case CUT_HOLD: m->held = true; break;
	case CUT_FENCE:
		m->at[SIDE_OLD].open = m->at[SIDE_NEW].open = false;
		break;
	case CUT_MARK:
	case CUT_MARK_2: m->mark[s] = m->at[s].n; break;
	case CUT_BARRIER:
	case CUT_BARRIER_2:
		if (ok)
			barrier(m, s);
		break;
	case CUT_COMMIT:
		if (ok)
			m->r = authority_commit(&m->r);
		break;
	case CUT_OPEN:
		if (ok)
			do_open(m, c, false);
		break;
	case CUT_RELEASE: release(m, c, false); break;
	case CUT_BACK_RECORD:
		if (ok)
			m->r = authority_abort(&m->r);
		break;
	case CUT_BACK_UNFENCE:
		if (ok)
			do_open(m, c, true);
		break;
	case CUT_BACK_RELEASE: release(m, c, true); break;
	case CUT_IDLE:
	case CUT_ANNOUNCE:
	case CUT_CHECK:
	case CUT_DONE:
	case CUT_ABORTED:
	case CUT_N: break;
	}
	return m->mark[s];
}

static enum cutover_step
feed(struct cutover *c, const struct model *m, enum cutover_event_kind kind,
     enum cutover_step step, uint64_t position)
{
	struct cutover_event ev = { .kind = kind,
		                    .step = step,
		                    .now_ns = m->now,
		                    .position = position,
		                    .why = "because" };

	return cutover_feed(c, &ev);
}

static void
begin(struct model *m, struct cutover *c, bool grows)
{
	struct cutover_scope to = { .to = m->after, .grows = grows };

	cutover_init_scope(c, &m->r, &limits, &to, false);
}

/* Both movers to the end: what was acknowledged is on both sides. */
static void
settle(struct model *m)
{
	for (int i = 0; i < 10; i++)
		client_writes(m, i % KEYS);
	for (int i = 0; i < 4; i++) {
		move_on(m, SIDE_OLD, LOG_N);
		if (m->scope_mover[SIDE_NEW] != AUTHORITY_ALL)
			move_on(m, SIDE_NEW, LOG_N);
	}
	model_check(m);
	for (int k = 0; k < KEYS; k++) {
		if (authority_is_split(&m->r) || m->r.state == AUTHORITY_OLD)
			assert_int_equal(m->at[SIDE_OLD].value[k],
			                 m->at[SIDE_NEW].value[k]);
	}
}

static void
check_end(struct model *m, const struct cutover *c)
{
	uint32_t want = c->step == CUT_DONE ? m->after : m->before;
	enum side s;

	assert_true(cutover_is_over(c));
	assert_false(m->held);
	if (!c->record_owed) {
		assert_false(authority_is_frozen(m->r.state));
		if (want == AUTHORITY_ALL)
			assert_int_equal(m->r.state, AUTHORITY_NEW);
		else
			assert_int_equal(m->r.scope, want);
	}
	/* Also when R could not be written: the scope before. */
	if (c->step == CUT_ABORTED)
		assert_int_equal(m->r.scope, m->before);
	if (!c->unfence_owed && cutover_opens(c, !c->committed, &s) &&
	    (c->committed || c->fence_begun))
		assert_true(m->at[s].open);
	settle(m);
}

/* Run to the end; bit i of `faults` lets the i-th action fail. */
static void
run(const struct way *w, uint32_t faults, struct model *m, struct cutover *c)
{
	enum cutover_step a;
	uint32_t tries = 0;
	uint64_t at = 0;

	model_init(m, w);
	begin(m, c, w->grows);
	a = feed(c, m, CUT_EV_START, CUT_IDLE, 0);
	for (int i = 0; i < 64 && !cutover_is_over(c); i++) {
		bool ok;

		if (a == CUT_IDLE) {
			m->now = cutover_wake_ns(c);
			assert_true(m->now != UINT64_MAX);
			a = feed(c, m, CUT_EV_TIME, CUT_IDLE, 0);
			continue;
		}
		ok = !(tries < 32 && ((faults >> tries) & 1));
		tries++;
		at = perform(m, c, a, ok);
		model_check(m);
		m->now += MS;
		a = feed(c, m, ok ? CUT_EV_OK : CUT_EV_FAIL, a, at);
		model_check(m);
		/* A mover goes on by itself, up to its barrier. */
		move_on(m, SIDE_OLD, 1);
		move_on(m, SIDE_NEW, 1);
		client_writes(m, w->not_key == 0 ? 3 : 0);
	}
	check_end(m, c);
}

static void
each_way_goes_through(void **state)
{
	(void)state;
	for (size_t i = 0; i < WAY_N; i++) {
		struct model *m = malloc(sizeof(*m));
		struct cutover c;

		run(&ways[i], 0, m, &c);
		assert_int_equal(c.step, CUT_DONE);
		assert_int_equal(m->r.epoch, 8);
		assert_true(c.passed && c.passed_2);
		free(m);
	}
}

/* Every subset of the first 16 actions fails. */
static void
every_set_of_failures(void **state)
{
	struct model *m = malloc(sizeof(*m));

	(void)state;
	for (size_t i = 0; i < WAY_N; i++) {
		uint32_t ends[2] = { 0, 0 };

		for (uint32_t faults = 0; faults < (1u << 16); faults++) {
			struct cutover c;

			run(&ways[i], faults, m, &c);
			ends[c.step == CUT_DONE]++;
			assert_int_equal(c.step == CUT_DONE, c.committed);
		}
		assert_true(ends[0] > 0 && ends[1] > 0);
	}
	free(m);
}

/* Each step's deadline, when nobody answers. */
static void
silence_at_each_step(void **state)
{
	struct model *m = malloc(sizeof(*m));

	(void)state;
	for (size_t i = 0; i < WAY_N * CUT_COMMIT; i++) {
		const struct way *w = &ways[i % WAY_N];
		enum cutover_step at = (enum cutover_step)(i / WAY_N);
		struct cutover c;
		enum cutover_step a;

		if (at < CUT_HOLD)
			continue;
		model_init(m, w);
		begin(m, &c, w->grows);
		a = feed(&c, m, CUT_EV_START, CUT_IDLE, 0);
		while (!cutover_is_over(&c)) {
			uint64_t pos = perform(m, &c, a, a != at);

			model_check(m);
			if (a != at) {
				a = feed(&c, m, CUT_EV_OK, a, pos);
				continue;
			}
			m->now = cutover_wake_ns(&c);
			assert_true(m->now <= c.hold_at_ns + limits.hold_ns);
			a = feed(&c, m, CUT_EV_TIME, CUT_IDLE, 0);
			assert_int_equal(a, CUT_BACK_RECORD);
			/* The late answer changes nothing. */
			assert_int_equal(feed(&c, m, CUT_EV_OK, at, pos),
			                 CUT_IDLE);
		}
		assert_int_equal(c.died, at);
		check_end(m, &c);
	}
	free(m);
}

/* The commit needs both barriers, and the second mark is taken behind the first. */
static void
no_commit_without_both(void **state)
{
	struct model *m = malloc(sizeof(*m));

	(void)state;
	for (size_t i = 0; i < WAY_N; i++) {
		const struct way *w = &ways[i];
		enum cutover_step a;
		struct cutover c;
		bool first = false;
		bool second = false;

		model_init(m, w);
		begin(m, &c, w->grows);
		a = feed(&c, m, CUT_EV_START, CUT_IDLE, 0);
		while (a != CUT_COMMIT) {
			uint64_t pos = perform(m, &c, a, true);

			if (a == CUT_MARK_2)
				assert_true(first);
			first |= a == CUT_BARRIER;
			second |= a == CUT_BARRIER_2;
			a = feed(&c, m, CUT_EV_OK, a, pos);
		}
		assert_true(first && second);
		assert_int_equal(c.from, w->grows ? SIDE_OLD : SIDE_NEW);
	}
	free(m);
}

/* The negative control: the other order lets a mover carry what the other one
 * wrote, and the model sees it. */
static void
the_other_order_is_seen(void **state)
{
	struct model *m = malloc(sizeof(*m));
	struct cutover c;
	uint32_t seen = 0;

	(void)state;
	for (size_t i = 0; i < WAY_N; i++) {
		const struct way *w = &ways[i];
		enum side first = w->grows ? SIDE_NEW : SIDE_OLD;

		if (w->after == AUTHORITY_ALL || w->after == 0)
			continue;
		model_init(m, w);
		begin(m, &c, w->grows);
		m->held = true;
		m->mark[first] = m->at[first].n;
		barrier(m, first);
		m->mark[side_other(first)] = m->at[side_other(first)].n;
		barrier(m, side_other(first));
		release(m, &c, false);
		move_on(m, first, LOG_N);
		seen += m->echoes > 0 ? 1 : 0;
	}
	assert_int_equal(seen, 3);
	free(m);
}

static void
random_walks(void **state)
{
	struct model *m = malloc(sizeof(*m));
	struct rng rng;
	uint32_t ends[2] = { 0, 0 };

	(void)state;
	rng_init(&rng, 20261121);
	for (int walk = 0; walk < 20000; walk++) {
		const struct way *w = &ways[rng_below(&rng, WAY_N)];
		struct cutover c;
		enum cutover_step a;

		model_init(m, w);
		begin(m, &c, w->grows);
		a = feed(&c, m, CUT_EV_START, CUT_IDLE, 0);
		for (int i = 0; i < 400 && !cutover_is_over(&c); i++) {
			uint64_t dice = rng_below(&rng, 100);
			enum cutover_step b = CUT_IDLE;
			uint64_t pos;

			m->now += rng_below(&rng, 20) * MS;
			move_on(m, rng_below(&rng, 2) ? SIDE_OLD : SIDE_NEW,
			        (uint32_t)rng_below(&rng, 3));
			if (dice < 3)
				b = feed(&c, m, CUT_EV_STOP, CUT_IDLE, 0);
			else if (dice < 6 || a == CUT_IDLE)
				b = feed(&c, m, CUT_EV_TIME, CUT_IDLE, 0);
			if (dice < 6 || a == CUT_IDLE) {
				a = b != CUT_IDLE ? b : a;
			} else {
				pos = perform(m, &c, a, dice < 90);
				a = feed(&c, m,
				         dice < 90 ? CUT_EV_OK : CUT_EV_FAIL, a,
				         pos);
			}
			model_check(m);
		}
		check_end(m, &c);
		ends[c.step == CUT_DONE]++;
	}
	assert_true(ends[0] > 100 && ends[1] > 100);
	free(m);
}

/* new is dead, its keys' last writes are given up: back to the empty scope. */
static void
forced_goes_back(void **state)
{
	struct model *m = malloc(sizeof(*m));
	struct cutover_scope to = { .to = AUTHORITY_NO_SCOPE };
	enum cutover_step a;
	struct cutover c;

	(void)state;
	model_init(m, &ways[4]);
	cutover_init_scope(&c, &m->r, &limits, &to, true);
	a = feed(&c, m, CUT_EV_START, CUT_IDLE, 0);
	while (!cutover_is_over(&c)) {
		bool dead = a == CUT_MARK || a == CUT_BARRIER;
		uint64_t pos = perform(m, &c, a, !dead);

		a = feed(&c, m, dead ? CUT_EV_FAIL : CUT_EV_OK, a, pos);
	}
	assert_int_equal(c.step, CUT_DONE);
	assert_true(c.lossy);
	assert_int_equal(m->r.scope, AUTHORITY_NO_SCOPE);
	assert_true(m->at[SIDE_OLD].open);
	free(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_way_goes_through),
		cmocka_unit_test(every_set_of_failures),
		cmocka_unit_test(silence_at_each_step),
		cmocka_unit_test(no_commit_without_both),
		cmocka_unit_test(the_other_order_is_seen),
		cmocka_unit_test(random_walks),
		cmocka_unit_test(forced_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
