/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/strategy.c: what a promote does next.
 */
#include "core/strategy.h"

#include "base/check.h"

#define PPM_ALL 1000000u
#define UNIT(i) ((uint64_t)1 << (i))

enum trait {
	HAS_STEPS = 1,
	HAS_UNITS = 2,
};

static const struct kind_row {
	const char *name;
	unsigned traits;
	const char *unit; /* what its units are called */
} kinds[STRATEGY_N] = {
	[STRATEGY_BIG_BANG] = { "big_bang", 0, "" },
	[STRATEGY_CANARY] = { "canary", HAS_STEPS, "" },
	[STRATEGY_BLUE_GREEN] = { "blue_green", 0, "" },
	[STRATEGY_ROLLING_UPDATE] = { "rolling_update", HAS_UNITS, "instance" },
	[STRATEGY_SHADOW_TRAFFIC] = { "shadow_traffic", 0, "" },
	[STRATEGY_STRANGLER_FIG] = { "strangler_fig", HAS_UNITS, "feature" },
	[STRATEGY_FEATURE_FLAG] = { "feature_flag", HAS_STEPS | HAS_UNITS,
	                            "flag" },
	[STRATEGY_GEOGRAPHIC] = { "geographic", HAS_UNITS, "region" },
	[STRATEGY_TIME_WINDOW] = { "time_window", 0, "" },
};

const char *
strategy_name(enum strategy_kind k)
{
	REQUIRE((unsigned)k < STRATEGY_N);
	return kinds[k].name;
}

int
strategy_find(const char *name, enum strategy_kind *ret, struct err *err)
{
	for (unsigned i = 0; i < STRATEGY_N; i++) {
		if (strcmp(kinds[i].name, name) == 0) {
			*ret = (enum strategy_kind)i;
			return 0;
		}
	}
	return err_set(err, ERR_USAGE,
	               "unknown strategy \"%.40s\"; known: big_bang, canary, "
	               "blue_green, rolling_update, shadow_traffic, "
	               "strangler_fig, feature_flag, geographic, time_window",
	               name);
}

enum strategy_kind
strategy_base(const struct strategy *s)
{
	return s->kind == STRATEGY_TIME_WINDOW ? s->inner : s->kind;
}

static const struct kind_row *
row_of(const struct strategy *s)
{
	enum strategy_kind k = strategy_base(s);

	REQUIRE((unsigned)k < STRATEGY_N);
	return &kinds[k];
}

static bool
has(const struct strategy *s, enum trait t)
{
	return (row_of(s)->traits & (unsigned)t) != 0;
}

/* ---- checks ------------------------------------------------------------ */

static int
check_steps(const struct strategy *s, struct err *err)
{
	uint32_t last = 0;
	uint32_t writes = 0;

	if (s->step_n > STRATEGY_STEPS_MAX)
		return err_set(err, ERR_USAGE, "at most %d steps",
		               STRATEGY_STEPS_MAX);
	if (!has(s, HAS_STEPS) && s->step_n > 0)
		return err_set(err, ERR_USAGE,
		               "steps belong to canary and feature_flag, not "
		               "%s",
		               row_of(s)->name);
	for (uint32_t i = 0; i < s->step_n; i++) {
		bool rises =
			s->step_ppm[i] > last || s->step_write_ppm[i] > writes;

		if (!rises || s->step_ppm[i] < last ||
		    s->step_ppm[i] > PPM_ALL ||
		    s->step_write_ppm[i] > PPM_ALL ||
		    s->step_write_ppm[i] < writes)
			return err_set(err, ERR_USAGE,
			               "step %u: shares rise from above 0 to "
			               "100 per cent",
			               i + 1);
		last = s->step_ppm[i];
		writes = s->step_write_ppm[i];
	}
	if (strategy_base(s) != STRATEGY_CANARY &&
	    (writes > 0 || s->start_write_ppm > 0))
		return err_set(err, ERR_USAGE,
		               "a share of the writes belongs to canary, not "
		               "%s",
		               row_of(s)->name);
	if (s->unit_writes && strategy_base(s) != STRATEGY_STRANGLER_FIG)
		return err_set(err, ERR_USAGE,
		               "writes of a unit belong to strangler_fig, not "
		               "%s",
		               row_of(s)->name);
	if (s->start_ppm > PPM_ALL || s->start_write_ppm > PPM_ALL)
		return err_set(err, ERR_USAGE, "a share is at most 100 %%");
	return 0;
}

static int
check_unit(const struct strategy *s, uint32_t i, struct err *err)
{
	const char *name = s->unit[i];

	if (memchr(name, '\0', STRATEGY_NAME_MAX) == NULL || name[0] == '\0')
		return err_set(err, ERR_USAGE,
		               "the name of a %s has 1 to %d bytes",
		               row_of(s)->unit, STRATEGY_NAME_MAX - 1);
	if (strcmp(name, "cutover") == 0)
		return err_set(err, ERR_USAGE,
		               "no %s can be called cutover: that is the last "
		               "step",
		               row_of(s)->unit);
	for (uint32_t j = 0; j < i; j++) {
		if (strcmp(name, s->unit[j]) == 0)
			return err_set(err, ERR_USAGE, "%s %s is there twice",
			               row_of(s)->unit, name);
	}
	return 0;
}

int
strategy_check(const struct strategy *s, struct err *err)
{
	int rc;

	if ((unsigned)s->kind >= STRATEGY_N)
		return err_set(err, ERR_USAGE, "no such strategy");
	if (s->kind == STRATEGY_TIME_WINDOW &&
	    ((unsigned)s->inner >= STRATEGY_N ||
	     s->inner == STRATEGY_TIME_WINDOW ||
	     s->inner == STRATEGY_SHADOW_TRAFFIC))
		return err_set(err, ERR_USAGE,
		               "a time_window wraps a strategy that promotes, "
		               "not a time_window or shadow_traffic");
	rc = check_steps(s, err);
	if (rc != 0)
		return rc;
	if (s->unit_n > STRATEGY_UNITS_MAX)
		return err_set(err, ERR_USAGE, "at most %d units",
		               STRATEGY_UNITS_MAX);
	if (s->unit_n > 0 && !has(s, HAS_UNITS))
		return err_set(err, ERR_USAGE, "%s has no units",
		               row_of(s)->name);
	if (s->unit_n < STRATEGY_UNITS_MAX && s->unit_on >> s->unit_n != 0)
		return err_set(err, ERR_USAGE, "a unit is moved that is none");
	for (uint32_t i = 0; rc == 0 && i < s->unit_n; i++)
		rc = check_unit(s, i, err);
	return rc;
}

bool
strategy_has_writes(const struct strategy *s)
{
	bool ret = s->unit_writes || s->start_write_ppm > 0;

	for (uint32_t i = 0; i < s->step_n; i++)
		ret |= s->step_write_ppm[i] > 0;
	return ret;
}

/* ---- moves ------------------------------------------------------------- */

static struct strategy_move
move(enum strategy_move_kind kind, const struct strategy_at *at)
{
	return (struct strategy_move){ .kind = kind,
		                       .step = at->step,
		                       .ppm = at->ppm,
		                       .write_ppm = at->write_ppm,
		                       .units = at->units,
		                       .unit = STRATEGY_NO_UNIT };
}

/* Shares that are not above these. */
static uint32_t
steps_done(const struct strategy *s, uint32_t ppm, uint32_t write_ppm)
{
	uint32_t n = 0;

	while (n < s->step_n && s->step_ppm[n] <= ppm &&
	       s->step_write_ppm[n] <= write_ppm)
		n++;
	return n;
}

/* The share of writes that goes with a share of reads by the steps. */
static uint32_t
writes_at(const struct strategy *s, uint32_t ppm, uint32_t now)
{
	uint32_t n = steps_done(s, ppm, PPM_ALL);

	if (!strategy_has_writes(s))
		return now;
	return n > 0 ? s->step_write_ppm[n - 1] : s->start_write_ppm;
}

struct strategy_at
strategy_begin(const struct strategy *s)
{
	struct strategy_at at = { .authority = SIDE_OLD, .units = s->unit_on };

	if (has(s, HAS_STEPS)) {
		at.ppm = s->start_ppm;
		at.write_ppm = s->start_write_ppm;
		at.step = steps_done(s, s->start_ppm, s->start_write_ppm);
	}
	return at;
}

static struct strategy_move
to_cutover(const struct strategy *s, const struct strategy_at *at)
{
	struct strategy_move m = move(MOVE_TO_CUTOVER, at);

	m.step = s->step_n;
	m.ppm = 0;
	return m;
}

static struct strategy_move
to_unit(const struct strategy *s, const struct strategy_at *at, uint32_t unit)
{
	struct strategy_move m = move(MOVE_TO_UNIT, at);

	if (strategy_base(s) == STRATEGY_ROLLING_UPDATE)
		m.kind = MOVE_TO_INSTANCE;
	m.unit = unit;
	m.units |= UNIT(unit);
	return m;
}

/* The next share; false: all are done. */
static bool
next_share(const struct strategy *s, const struct strategy_at *at,
           struct strategy_move *ret)
{
	uint32_t step = at->step;

	while (step < s->step_n && s->step_ppm[step] <= at->ppm &&
	       s->step_write_ppm[step] <= at->write_ppm)
		step++;
	*ret = move(MOVE_TO_SHARE, at);
	if (step < s->step_n) {
		ret->step = step + 1;
		ret->ppm = s->step_ppm[step];
		ret->write_ppm = s->step_write_ppm[step];
		return ret->write_ppm < PPM_ALL;
	}
	ret->ppm = PPM_ALL;
	ret->step = s->step_n;
	return strategy_base(s) == STRATEGY_FEATURE_FLAG && s->step_n == 0 &&
	       at->ppm < PPM_ALL;
}

/* Nothing is moved yet, and the strategy begins with something. */
static bool
to_begin(const struct strategy *s, const struct strategy_at *at,
         struct strategy_move *ret)
{
	struct strategy_at first = strategy_begin(s);

	if (at->ppm != 0 || at->units != 0 || at->step != 0 ||
	    at->write_ppm != 0 || strategy_base(s) == STRATEGY_ROLLING_UPDATE ||
	    (first.ppm == 0 && first.units == 0 && first.write_ppm == 0) ||
	    first.write_ppm == PPM_ALL)
		return false;
	*ret = move(first.units != 0 ? MOVE_TO_UNIT : MOVE_TO_SHARE, &first);
	if (first.units != 0)
		ret->unit = (uint32_t)__builtin_ctzll(first.units);
	return true;
}

struct strategy_move
strategy_promote(const struct strategy *s, const struct strategy_at *at)
{
	struct strategy_move m;

	REQUIRE(s->step_n <= STRATEGY_STEPS_MAX);
	REQUIRE(s->unit_n <= STRATEGY_UNITS_MAX);
	if (at->authority == SIDE_NEW) {
		m = move(MOVE_NOWHERE, at);
		m.step = s->step_n;
		m.ppm = 0;
		return m;
	}
	if (strategy_base(s) == STRATEGY_SHADOW_TRAFFIC)
		return move(MOVE_NEVER, at);
	if (to_begin(s, at, &m))
		return m;
	if (has(s, HAS_STEPS) && next_share(s, at, &m))
		return m;
	for (uint32_t i = 0; i < s->unit_n; i++) {
		if ((at->units & UNIT(i)) == 0)
			return to_unit(s, at, i);
	}
	if (strategy_base(s) == STRATEGY_ROLLING_UPDATE && s->unit_n > 0)
		return move(MOVE_NOWHERE, at);
	return to_cutover(s, at);
}

struct strategy_move
strategy_next(const struct strategy *s, uint32_t step, enum side authority)
{
	struct strategy_at at = { .authority = authority, .step = step };

	return strategy_promote(s, &at);
}

/* "25", "12.5", with or without " %": parts in a million, or -1. */
static int64_t
share(const char *t)
{
	int64_t v = 0;
	int64_t unit = 10000;
	bool any = false;

	for (; *t >= '0' && *t <= '9'; t++) {
		v = v * 10 + (*t - '0');
		any = true;
		if (v > 100)
			return -1;
	}
	v *= unit;
	if (any && *t == '.') {
		for (t++; *t >= '0' && *t <= '9' && unit > 1; t++) {
			unit /= 10;
			v += (*t - '0') * unit;
		}
	}
	if (*t == '%')
		t++;
	return any && *t == '\0' && v <= PPM_ALL ? v : -1;
}

static int
jump_to_unit(const struct strategy *s, const struct strategy_at *at,
             uint32_t unit, struct strategy_move *ret, struct err *err)
{
	if ((at->units & UNIT(unit)) != 0)
		return err_set(err, ERR_STATE, "%s %s is moved already",
		               row_of(s)->unit, s->unit[unit]);
	*ret = to_unit(s, at, unit);
	return 0;
}

/* Shares make sense for what has no units, or has both. */
static bool
takes_shares(const struct strategy *s)
{
	return has(s, HAS_STEPS) || !has(s, HAS_UNITS);
}

int
strategy_jump_from(const struct strategy *s, const struct strategy_at *at,
                   const char *to, struct strategy_move *ret, struct err *err)
{
	int64_t ppm;

	if (at->authority == SIDE_NEW)
		return err_set(err, ERR_STATE,
		               "new has authority already; possible: complete, "
		               "rollback");
	if (strategy_base(s) == STRATEGY_SHADOW_TRAFFIC)
		return err_set(err, ERR_STATE,
		               "shadow_traffic only compares; change the "
		               "strategy to move traffic");
	for (uint32_t i = 0; i < s->unit_n; i++) {
		if (strcmp(to, s->unit[i]) == 0)
			return jump_to_unit(s, at, i, ret, err);
	}
	if (strcmp(to, "cutover") == 0) {
		*ret = to_cutover(s, at);
		return 0;
	}
	ppm = share(to);
	if (!takes_shares(s))
		return err_set(err, ERR_USAGE,
		               "\"%.40s\" is neither a %s of this migration "
		               "nor \"cutover\"",
		               to, row_of(s)->unit);
	if (ppm < 0)
		return err_set(err, ERR_USAGE,
		               "\"%.40s\" is neither a share from 0 to 100 "
		               "nor \"cutover\"",
		               to);
	*ret = move(MOVE_TO_SHARE, at);
	ret->ppm = (uint32_t)ppm;
	ret->write_ppm = writes_at(s, ret->ppm, at->write_ppm);
	ret->step = steps_done(s, ret->ppm, ret->write_ppm);
	if (ret->write_ppm == PPM_ALL)
		*ret = to_cutover(s, at);
	return 0;
}

int
strategy_jump(const struct strategy *s, const char *to, enum side authority,
              struct strategy_move *ret, struct err *err)
{
	struct strategy_at at = { .authority = authority, .units = s->unit_on };

	return strategy_jump_from(s, &at, to, ret, err);
}

int
strategy_toggle(const struct strategy *s, const struct strategy_at *at,
                bool activate_new, struct strategy_move *ret, struct err *err)
{
	if (strategy_base(s) != STRATEGY_BLUE_GREEN)
		return err_set(err, ERR_STATE,
		               "toggle belongs to blue_green; this migration "
		               "is %s: use promote or rollback",
		               row_of(s)->name);
	if (activate_new == (at->authority == SIDE_NEW))
		*ret = move(MOVE_NOWHERE, at);
	else if (activate_new)
		*ret = to_cutover(s, at);
	else
		*ret = move(MOVE_BACK, at);
	return 0;
}

/* ---- patches ----------------------------------------------------------- */

/* Units of one strategy by the numbers of another, by name. */
static uint64_t
renumber(const struct strategy *from, uint64_t units, const struct strategy *to)
{
	uint64_t ret = 0;

	for (uint32_t i = 0; i < from->unit_n; i++) {
		if ((units & UNIT(i)) == 0)
			continue;
		for (uint32_t j = 0; j < to->unit_n; j++) {
			if (strcmp(from->unit[i], to->unit[j]) == 0)
				ret |= UNIT(j);
		}
	}
	return ret;
}

static int
patch_instances(const struct strategy *wanted, uint64_t had, uint64_t want,
                struct strategy_move *ret, struct err *err)
{
	if ((had & ~want) != 0)
		return err_set(err, ERR_STATE,
		               "an instance goes back by the rollback of its "
		               "interlay, not by a patch");
	for (uint32_t i = 0; i < wanted->unit_n; i++) {
		if ((want & ~had & UNIT(i)) == 0)
			continue;
		ret->kind = MOVE_TO_INSTANCE;
		ret->unit = i;
		ret->units = had | UNIT(i);
		return 0;
	}
	return 0;
}

int
strategy_patch(const struct strategy *now, const struct strategy_at *at,
               const struct strategy *wanted, struct strategy_move *ret,
               struct err *err)
{
	uint64_t had = renumber(now, at->units, wanted);
	uint64_t want = (wanted->unit_on & ~wanted->stays.units) |
	                (had & wanted->stays.units);

	if (now->kind != wanted->kind ||
	    strategy_base(now) != strategy_base(wanted))
		return err_set(err, ERR_STATE,
		               "the strategy is %s and runs; its type can be "
		               "changed before it runs or after a rollback",
		               strategy_name(now->kind));
	*ret = move(MOVE_NOWHERE, at);
	ret->units = had;
	if (strategy_base(wanted) == STRATEGY_BLUE_GREEN)
		return wanted->stays.side
		               ? 0
		               : strategy_toggle(wanted, at, wanted->start_new,
		                                 ret, err);
	if (strategy_base(wanted) == STRATEGY_ROLLING_UPDATE)
		return patch_instances(wanted, had, want, ret, err);
	if (at->authority == SIDE_NEW)
		return 0;
	if (has(wanted, HAS_UNITS) && had != want) {
		ret->kind = MOVE_TO_UNIT;
		ret->units = want;
	}
	if (has(wanted, HAS_STEPS)) {
		if (!wanted->stays.reads)
			ret->ppm = wanted->start_ppm;
		if (!wanted->stays.writes)
			ret->write_ppm = wanted->start_write_ppm;
		if ((at->ppm != ret->ppm || at->write_ppm != ret->write_ppm) &&
		    ret->kind == MOVE_NOWHERE)
			ret->kind = MOVE_TO_SHARE;
		ret->step = steps_done(wanted, ret->ppm, ret->write_ppm);
	}
	for (uint32_t i = 0; i < wanted->unit_n && ret->kind == MOVE_TO_UNIT;
	     i++) {
		if ((want & ~had & UNIT(i)) != 0) {
			ret->unit = i;
			break;
		}
	}
	return 0;
}

/* ---- words ------------------------------------------------------------- */

static void
say_ppm(uint32_t ppm, struct buf *text)
{
	if (ppm % 10000 == 0)
		buf_putf(text, "%u %%", ppm / 10000);
	else
		buf_putf(text, "%u.%u %%", ppm / 10000, ppm % 10000 / 1000);
}

static void
say_share(const struct strategy_move *m, struct buf *text)
{
	buf_putf(text, "promote: ");
	say_ppm(m->ppm, text);
	buf_putf(text, " of reads");
	if (m->write_ppm > 0) {
		buf_putf(text, " and ");
		say_ppm(m->write_ppm, text);
		buf_putf(text, " of writes");
	}
	buf_putf(text, " on new");
}

void
strategy_tell(const struct strategy *s, const struct strategy_move *m,
              struct buf *text)
{
	const char *unit = "the next one";
	const char *what = "unit";

	if (s != NULL && m->unit < s->unit_n) {
		unit = s->unit[m->unit];
		what = row_of(s)->unit;
	}
	switch (m->kind) {
	case MOVE_TO_SHARE: say_share(m, text); return;
	case MOVE_TO_UNIT:
		buf_putf(text, "promote: reads%s of %s %s on new",
		         s != NULL && s->unit_writes ? " and writes" : "", what,
		         unit);
		return;
	case MOVE_TO_INSTANCE:
		buf_putf(text, "promote: cutover of instance %s", unit);
		return;
	case MOVE_TO_CUTOVER:
		buf_putf(text, "promote: cutover, new gets authority");
		return;
	case MOVE_BACK:
		buf_putf(text, "toggle: back, old gets authority");
		return;
	case MOVE_NOWHERE:
		buf_putf(text, "complete (ends the way back) or rollback");
		return;
	case MOVE_NEVER:
		buf_putf(text, "nothing: shadow_traffic only compares");
		return;
	}
	NEVER("a move that is none");
}

void
strategy_say(const struct strategy_move *m, struct buf *text)
{
	strategy_tell(NULL, m, text);
}
