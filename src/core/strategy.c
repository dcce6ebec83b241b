/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/strategy.c: what a promote does next.
 */
#include "core/strategy.h"

#include "base/check.h"

#define PPM_ALL 1000000u

static const char *const names[] = {
	[STRATEGY_BIG_BANG] = "big_bang",
	[STRATEGY_CANARY] = "canary",
	[STRATEGY_BLUE_GREEN] = "blue_green",
};

#define STRATEGY_N (sizeof(names) / sizeof(names[0]))

const char *
strategy_name(enum strategy_kind k)
{
	REQUIRE((unsigned)k < STRATEGY_N);
	return names[k];
}

int
strategy_find(const char *name, enum strategy_kind *ret, struct err *err)
{
	for (unsigned i = 0; i < STRATEGY_N; i++) {
		if (strcmp(names[i], name) == 0) {
			*ret = (enum strategy_kind)i;
			return 0;
		}
	}
	return err_set(err, ERR_USAGE,
	               "unknown strategy \"%s\"; known: big_bang, canary, "
	               "blue_green",
	               name);
}

int
strategy_check(const struct strategy *s, struct err *err)
{
	uint32_t last = 0;

	if (s->step_n > STRATEGY_STEPS_MAX)
		return err_set(err, ERR_USAGE, "at most %d steps",
		               STRATEGY_STEPS_MAX);
	if (s->kind != STRATEGY_CANARY && s->step_n > 0)
		return err_set(err, ERR_USAGE, "steps belong to canary, not %s",
		               strategy_name(s->kind));
	if (s->kind == STRATEGY_CANARY && s->step_n == 0)
		return err_set(err, ERR_USAGE,
		               "canary needs steps, as in 5,25,75");
	for (uint32_t i = 0; i < s->step_n; i++) {
		if (s->step_ppm[i] <= last || s->step_ppm[i] > PPM_ALL)
			return err_set(err, ERR_USAGE,
			               "step %u: shares rise from above 0 to "
			               "100 per cent",
			               i + 1);
		last = s->step_ppm[i];
	}
	return 0;
}

struct strategy_move
strategy_next(const struct strategy *s, uint32_t step, enum side authority)
{
	REQUIRE(s->step_n <= STRATEGY_STEPS_MAX);
	if (authority == SIDE_NEW)
		return (struct strategy_move){ MOVE_NOWHERE, s->step_n, 0 };
	if (step < s->step_n)
		return (struct strategy_move){ MOVE_TO_SHARE, step + 1,
			                       s->step_ppm[step] };
	return (struct strategy_move){ MOVE_TO_CUTOVER, s->step_n, 0 };
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

int
strategy_jump(const struct strategy *s, const char *to, enum side authority,
              struct strategy_move *ret, struct err *err)
{
	int64_t ppm;
	uint32_t step = 0;

	if (authority == SIDE_NEW)
		return err_set(err, ERR_STATE,
		               "new has authority already; possible: complete, "
		               "rollback");
	if (strcmp(to, "cutover") == 0) {
		*ret = (struct strategy_move){ MOVE_TO_CUTOVER, s->step_n, 0 };
		return 0;
	}
	ppm = share(to);
	if (ppm < 0)
		return err_set(err, ERR_USAGE,
		               "\"%.40s\" is neither a share from 0 to 100 "
		               "nor \"cutover\"",
		               to);
	while (step < s->step_n && s->step_ppm[step] <= (uint32_t)ppm)
		step++;
	*ret = (struct strategy_move){ MOVE_TO_SHARE, step, (uint32_t)ppm };
	return 0;
}

void
strategy_say(const struct strategy_move *m, struct buf *text)
{
	switch (m->kind) {
	case MOVE_TO_SHARE:
		if (m->ppm % 10000 == 0)
			buf_putf(text, "promote: %u %% of reads on new",
			         m->ppm / 10000);
		else
			buf_putf(text, "promote: %u.%u %% of reads on new",
			         m->ppm / 10000, m->ppm % 10000 / 1000);
		return;
	case MOVE_TO_CUTOVER:
		buf_putf(text, "promote: cutover, new gets authority");
		return;
	case MOVE_NOWHERE:
		buf_putf(text, "complete (ends the way back) or rollback");
		return;
	}
	NEVER("a move that is none");
}
