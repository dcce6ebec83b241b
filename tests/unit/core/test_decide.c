/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/core/test_decide.c: lifecycle, authority and strategy, every pair.
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
#include "core/authority.h"
#include "core/lifecycle.h"
#include "core/strategy.h"

/* The law, written down a second time and by hand: state, verb, next. */
struct row {
	enum life_state from;
	const char *verbs; /* verb=next, in words */
};

static const struct row law[LIFE_N] = {
	{ LIFE_PENDING, "add=ready patch=pending delete=pending" },
	{ LIFE_READY, "add=ready remove=ready patch=ready test=ready "
	              "delete=ready migrate=running" },
	{ LIFE_RUNNING,
	  "migrate=running patch=running traffic=running toggle=running "
	  "promote=running verify=running pause=paused rollback=rolling_back "
	  "complete=completed fail=failed" },
	{ LIFE_PAUSED, "verify=paused traffic=paused resume=running "
	               "rollback=rolling_back" },
	{ LIFE_FAILED, "retry=running rollback=rolling_back" },
	{ LIFE_ROLLING_BACK, "went_back=rolled_back fail=failed" },
	{ LIFE_ROLLED_BACK, "migrate=running patch=rolled_back "
	                    "delete=rolled_back" },
	{ LIFE_COMPLETED, "reverse=completed delete=completed" },
};

/* The word behind "verb=" in the row, or NULL. */
static const char *
lookup(const char *verbs, const char *verb, char *ret, size_t n)
{
	size_t len = strlen(verb);

	for (const char *p = verbs; *p != '\0';) {
		const char *end = strchr(p, ' ');
		size_t word = end != NULL ? (size_t)(end - p) : strlen(p);

		if (word > len && memcmp(p, verb, len) == 0 && p[len] == '=') {
			assert_true(word - len - 1 < n);
			memcpy(ret, p + len + 1, word - len - 1);
			ret[word - len - 1] = '\0';
			return ret;
		}
		p += word + (end != NULL ? 1 : 0);
	}
	return NULL;
}

static void
every_state_and_verb(void **state)
{
	(void)state;
	for (unsigned s = 0; s < LIFE_N; s++) {
		assert_int_equal(law[s].from, s);
		for (unsigned v = 0; v < VERB_N; v++) {
			char word[32];
			enum life_state to = LIFE_N;
			struct err err = { 0 };
			const char *want = lookup(
				law[s].verbs, life_verb_name((enum life_verb)v),
				word, sizeof(word));
			int rc = life_apply((enum life_state)s,
			                    (enum life_verb)v, &to, &err);

			assert_int_equal(
				life_may((enum life_state)s, (enum life_verb)v),
				want != NULL);
			if (want == NULL) {
				assert_int_equal(rc, -ERR_STATE);
				assert_int_equal(to, LIFE_N);
				assert_non_null(strstr(
					err.text,
					life_state_name((enum life_state)s)));
				continue;
			}
			assert_int_equal(rc, 0);
			assert_string_equal(life_state_name(to), want);
			assert_true(life_reaches((enum life_state)s, to));
			assert_int_equal(life_state_find(want), to);
		}
	}
	assert_int_equal(life_state_find("gone"), LIFE_N);
}

static void
refusal_names_what_is_possible(void **state)
{
	struct err err;
	enum life_state to;

	(void)state;
	assert_int_equal(life_apply(LIFE_PAUSED, VERB_PROMOTE, &to, &err),
	                 -ERR_STATE);
	assert_non_null(strstr(err.text, "resume"));
	assert_non_null(strstr(err.text, "rollback"));
	assert_null(strstr(err.text, "fail"));
}

/* P5: from every state between running and completed one verb goes back. */
static void
a_way_back_everywhere(void **state)
{
	(void)state;
	for (unsigned s = LIFE_RUNNING; s <= LIFE_FAILED; s++)
		assert_true(life_may((enum life_state)s, VERB_ROLLBACK));
}

/* Bits of i choose a record: state, scope, target. */
static struct authority
authority_of(unsigned i, uint64_t epoch)
{
	static const uint32_t scopes[4] = { AUTHORITY_NO_SCOPE, 1, 2,
		                            AUTHORITY_ALL };

	return (struct authority){ .epoch = epoch,
		                   .state = (enum authority_state)(i & 3),
		                   .scope = scopes[i >> 2 & 3],
		                   .scope_to = scopes[i >> 4 & 3] };
}

static void
authority_check_pair(const struct authority *from, const struct authority *to)
{
	bool was_frozen = authority_is_frozen(from->state);

	/* An epoch of its own for each freeze and each abort. */
	assert_true(to->epoch == from->epoch || to->epoch == from->epoch + 1);
	/* P2: only a commit moves the truth of any key, only from a frozen
	 * record, in the same epoch, and only to what that record names. */
	if (authority_side(from->state) != authority_side(to->state) ||
	    from->scope != to->scope) {
		assert_true(was_frozen);
		assert_int_equal(to->epoch, from->epoch);
		assert_false(authority_is_frozen(to->state));
		if (from->state == AUTHORITY_FREEZE)
			assert_int_equal(to->state == AUTHORITY_NEW
			                         ? AUTHORITY_ALL
			                         : to->scope,
			                 from->scope_to);
	}
	/* New rules whole or not at all. */
	if (authority_side(to->state) == SIDE_NEW)
		assert_false(authority_is_split(to));
	assert_true(to->scope != AUTHORITY_ALL);
}

static void
authority_every_pair(void **state)
{
	uint32_t allowed = 0;

	(void)state;
	for (unsigned a = 0; a < 64; a++) {
		for (unsigned b = 0; b < 64; b++) {
			for (uint64_t e = 4; e <= 7; e++) {
				struct authority from = authority_of(a, 5);
				struct authority to = authority_of(b, e);
				struct authority r = from;
				struct err err;
				bool may = authority_may(&from, &to);
				int rc = authority_cas(&r, &from, &to, &err);

				assert_int_equal(rc, may ? 0 : -ERR_STATE);
				if (!may) {
					assert_memory_equal(&r, &from,
					                    sizeof(r));
					continue;
				}
				assert_memory_equal(&r, &to, sizeof(r));
				allowed++;
				authority_check_pair(&from, &to);
			}
		}
	}
	/* Freezes of old: three scopes, each to three others; of each of those
	 * a commit and an abort; new: freeze, commit, abort. */
	assert_int_equal(allowed, 9 + 9 + 9 + 3);
}

static void
authority_walks(void **state)
{
	struct rng rng;
	struct authority r = { .epoch = 1, .state = AUTHORITY_OLD };
	struct authority stale = r;
	struct err err;
	uint32_t splits = 0;

	(void)state;
	rng_init(&rng, 20261121);
	for (int i = 0; i < 100000; i++) {
		struct authority to = r;
		struct authority before = r;

		uint32_t scope = (uint32_t)rng_below(&rng, 4);

		if (r.state == AUTHORITY_OLD && scope != r.scope)
			to = authority_freeze_scope(&r, scope);
		else if (!authority_is_frozen(r.state))
			to = authority_freeze(&r);
		else if (rng_below(&rng, 2) == 0)
			to = authority_commit(&r);
		else
			to = authority_abort(&r);
		/* Whoever remembers an older R is refused. */
		if (stale.epoch != r.epoch || stale.state != r.state)
			assert_int_equal(authority_cas(&r, &stale, &to, &err),
			                 -ERR_STATE);
		assert_int_equal(authority_cas(&r, &before, &to, &err), 0);
		assert_true(r.epoch >= before.epoch);
		splits += authority_is_split(&r) ? 1 : 0;
		if (rng_below(&rng, 3) == 0)
			stale = before;
	}
	assert_true(r.epoch > 1000);
	assert_true(splits > 1000);
	for (unsigned s = 0; s < AUTHORITY_N; s++)
		assert_int_equal(
			authority_find(authority_name((enum authority_state)s)),
			s);
}

static void
strategy_steps(void **state)
{
	struct strategy c = { .kind = STRATEGY_CANARY,
		              .step_ppm = { 50000, 250000, 750000 },
		              .step_n = 3 };
	struct strategy b = { .kind = STRATEGY_BIG_BANG };
	struct strategy_move m;
	struct err err;

	(void)state;
	assert_int_equal(strategy_check(&c, &err), 0);
	assert_int_equal(strategy_check(&b, &err), 0);
	for (uint32_t i = 0; i < 3; i++) {
		m = strategy_next(&c, i, SIDE_OLD);
		assert_int_equal(m.kind, MOVE_TO_SHARE);
		assert_int_equal(m.ppm, c.step_ppm[i]);
		assert_int_equal(m.step, i + 1);
	}
	m = strategy_next(&c, 3, SIDE_OLD);
	assert_int_equal(m.kind, MOVE_TO_CUTOVER);
	m = strategy_next(&b, 0, SIDE_OLD);
	assert_int_equal(m.kind, MOVE_TO_CUTOVER);
	m = strategy_next(&b, 0, SIDE_NEW);
	assert_int_equal(m.kind, MOVE_NOWHERE);
	assert_int_equal(strategy_jump(&c, "12.5", SIDE_OLD, &m, &err), 0);
	assert_int_equal(m.ppm, 125000);
	assert_int_equal(m.step, 1);
	assert_int_equal(strategy_jump(&c, "100%", SIDE_OLD, &m, &err), 0);
	assert_int_equal(m.step, 3);
	assert_int_equal(strategy_jump(&c, "0", SIDE_OLD, &m, &err), 0);
	assert_int_equal(m.step, 0);
	assert_int_equal(strategy_jump(&c, "cutover", SIDE_OLD, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_TO_CUTOVER);
	assert_int_equal(strategy_jump(&c, "101", SIDE_OLD, &m, &err),
	                 -ERR_USAGE);
	assert_int_equal(
		strategy_jump(&c, "99999999999999999999", SIDE_OLD, &m, &err),
		-ERR_USAGE);
	assert_int_equal(strategy_jump(&c, "x", SIDE_OLD, &m, &err),
	                 -ERR_USAGE);
	assert_int_equal(strategy_jump(&c, "", SIDE_OLD, &m, &err), -ERR_USAGE);
	assert_int_equal(strategy_jump(&c, "25", SIDE_NEW, &m, &err),
	                 -ERR_STATE);
}

static void
strategy_refuses(void **state)
{
	struct strategy falling = { .kind = STRATEGY_CANARY,
		                    .step_ppm = { 250000, 50000 },
		                    .step_n = 2 };
	struct strategy over = { .kind = STRATEGY_CANARY,
		                 .step_ppm = { 1000001 },
		                 .step_n = 1 };
	struct strategy odd = { .kind = STRATEGY_BIG_BANG,
		                .step_ppm = { 50000 },
		                .step_n = 1 };
	enum strategy_kind k;
	struct err err;

	(void)state;
	assert_int_equal(strategy_check(&falling, &err), -ERR_USAGE);
	assert_int_equal(strategy_check(&over, &err), -ERR_USAGE);
	assert_int_equal(strategy_check(&odd, &err), -ERR_USAGE);
	assert_int_equal(strategy_find("canary", &k, &err), 0);
	assert_int_equal(k, STRATEGY_CANARY);
	assert_int_equal(strategy_find("bigbang", &k, &err), -ERR_USAGE);
	assert_non_null(strstr(err.text, "big_bang"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_and_verb),
		cmocka_unit_test(refusal_names_what_is_possible),
		cmocka_unit_test(a_way_back_everywhere),
		cmocka_unit_test(authority_every_pair),
		cmocka_unit_test(authority_walks),
		cmocka_unit_test(strategy_steps),
		cmocka_unit_test(strategy_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
