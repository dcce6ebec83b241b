/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/strategy.h: what a promote does next.
 *
 * big_bang and blue_green have one step, the cutover; canary moves reads share
 * by share to the other side first. A step is counted from 0 (nothing moved) to
 * step_n (all shares done; only the cutover is left).
 *
 * Owns:   nothing; a value.
 * Limits: STRATEGY_STEPS_MAX shares.
 * Thread: any.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "core/side.h"

#define STRATEGY_STEPS_MAX 16

enum strategy_kind {
	STRATEGY_BIG_BANG,
	STRATEGY_CANARY,
	STRATEGY_BLUE_GREEN
};

struct strategy {
	enum strategy_kind kind;
	uint32_t step_ppm[STRATEGY_STEPS_MAX]; /* canary: shares, ascending */
	uint32_t step_n;                       /* 0 unless canary           */
};

enum strategy_move_kind {
	MOVE_TO_SHARE, /* reads on the other side */
	MOVE_TO_CUTOVER,
	MOVE_NOWHERE, /* new has authority already */
};

struct strategy_move {
	enum strategy_move_kind kind;
	uint32_t step; /* the step after it         */
	uint32_t ppm;  /* MOVE_TO_SHARE: the share  */
};

const char *strategy_name(enum strategy_kind k); /* "big_bang" */
/* 0 and *ret, or ERR_USAGE naming the known ones. */
int strategy_find(const char *name, enum strategy_kind *ret,
                  struct err *err) MUST;

/* Are the shares ascending, in (0, 100 %], and only there where they belong?
 * ERR_USAGE says which is not. */
int strategy_check(const struct strategy *s, struct err *err) MUST;

/* The next move from a step while that side has authority. */
struct strategy_move strategy_next(const struct strategy *s, uint32_t step,
                                   enum side authority);

/* A jump: to = "cutover", or a share in per cent ("25", "12.5"). ERR_USAGE when
 * it is neither, ERR_STATE when new has authority already. The step after a jump
 * is the number of shares that are not above it. */
int strategy_jump(const struct strategy *s, const char *to, enum side authority,
                  struct strategy_move *ret, struct err *err) MUST;

/* "promote: 25 % of reads on new" as a line for people. */
void strategy_say(const struct strategy_move *m, struct buf *text);
