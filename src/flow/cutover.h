/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow/cutover.h: the switch of authority, step by step, in either direction.
 *
 * A pure machine: it is told what happened and answers the one action that is
 * due. The caller performs the action (blocking or not) and tells the machine
 * how it ended, naming the step; answers that come too late are ignored. Up to
 * the commit every failure and every deadline leads to the abort, which ends on
 * the side before; from the commit on there is only forward.
 *
 * Owns:   nothing; a value.
 * Limits: cutover_limits, all in nanoseconds of the caller's monotonic clock.
 * Thread: one at a time for each struct cutover.
 */
#pragma once

#include "core/authority.h"

/* In order of a switch that goes well; the abort's steps follow. */
enum cutover_step {
	CUT_IDLE,
	CUT_FREEZE,    /* R becomes (e+1, freeze), durably                    */
	CUT_HOLD,      /* every relay holds; answered when all have drained   */
	CUT_FENCE,     /* the losing side refuses applications                */
	CUT_ANNOUNCE,  /* last message there seen by subscribers; clients cut */
	CUT_MARK,      /* position of the losing side, now                    */
	CUT_BARRIER,   /* everything up to it is on the winning side          */
	CUT_MARK_2,    /* two movers: the same for the other side ...         */
	CUT_BARRIER_2, /* ... and the other mover                            */
	CUT_CHECK,     /* the fence is read again                             */
	CUT_COMMIT,    /* R becomes (e+1, new), durably: the truth moves      */
	CUT_OPEN,      /* the winning side accepts applications               */
	CUT_RELEASE,   /* the mover turns round, held requests go on          */
	CUT_DONE,
	CUT_BACK_RECORD,  /* R becomes (e+2, side before), durably           */
	CUT_BACK_UNFENCE, /* the side before accepts applications again      */
	CUT_BACK_RELEASE, /* the mover goes on, held requests go on          */
	CUT_ABORTED,
	CUT_N,
};

enum cutover_event_kind {
	CUT_EV_START, /* begin, from R at rest                               */
	CUT_EV_OK,    /* the action of `step` succeeded                      */
	CUT_EV_FAIL,  /* the action of `step` failed                         */
	CUT_EV_TIME,  /* time went by                                        */
	CUT_EV_STOP,  /* somebody wants it aborted                           */
	CUT_EV_N,
};

struct cutover_limits {
	uint64_t drain_ns;  /* running requests may take so long             */
	uint64_t hold_ns;   /* the whole hold; beyond it: abort              */
	uint64_t open_ns;   /* longer, for the side that is to be opened     */
	uint64_t margin_ns; /* no commit with less than this left            */
	uint64_t retry_ns;  /* pause before an action is tried again         */
};

struct cutover_event {
	enum cutover_event_kind kind;
	enum cutover_step step; /* OK, FAIL: whose answer                    */
	uint64_t now_ns;
	uint64_t position; /* OK of CUT_MARK, CUT_MARK_2                */
	const char *why;   /* FAIL, STOP: kept for people; may be NULL  */
	bool waits;        /* FAIL of CUT_OPEN, CUT_BACK_UNFENCE: for others
	                    * that fence it, no longer than the hold        */
	bool unsure;       /* FAIL of CUT_COMMIT: it may be on disk; it
	                    * is tried again, and no side opens before  */
};

/* A scope switch. */
struct cutover_scope {
	uint32_t to; /* R's scope after it; AUTHORITY_ALL: the cutover   */
	bool grows;  /* holds all keys of the one before                 */
};

struct cutover {
	enum cutover_step step;
	struct authority r; /* what R is, as far as we made it so        */
	enum side rules;    /* before it                                 */
	enum side from;     /* of the first mark; the losing side        */
	uint32_t scope;     /* before it                                 */
	uint32_t scope_to;  /* after it; AUTHORITY_ALL: new rules        */
	bool keeps;         /* the side that rules goes on to            */
	bool two;           /* both movers have to pass                  */
	bool forced;        /* an accepted loss: the losing side may be
	                         * dead; its failures do not abort           */
	struct cutover_limits limits;
	uint64_t hold_at_ns;  /* when the hold began; 0: not yet           */
	uint64_t deadline_ns; /* of the step; UINT64_MAX: none             */
	uint64_t retry_at_ns; /* perform the action again then; 0: no      */
	uint64_t position;    /* of the mark                               */
	uint64_t position_2;
	bool fence_begun;
	bool fenced; /* known to be                               */
	bool barrier_begun;
	bool passed;
	bool passed_2;
	bool checked;
	bool committed;
	bool opened;            /* the winning side may accept applications  */
	bool lossy;             /* forced, and something was skipped         */
	bool record_owed;       /* the abort could not be written yet        */
	bool unfence_owed;      /* the side that rules is not opened yet     */
	enum cutover_step died; /* where the abort began                     */
	char why[160];
};

const char *cutover_step_name(enum cutover_step s);

/* A machine at rest for the R of now: the cutover, or the rollback after it.
 * forced: see struct cutover. */
void cutover_init(struct cutover *c, const struct authority *r,
                  const struct cutover_limits *limits, bool forced);
/* Old rules, and goes on to where to says. */
void cutover_init_scope(struct cutover *c, const struct authority *r,
                        const struct cutover_limits *limits,
                        const struct cutover_scope *to, bool forced);
/* The side of the second mark and barrier. */
enum side cutover_second(const struct cutover *c);
/* Whose authority it is when it commits. */
enum side cutover_winner(const struct cutover *c);
/* Is anything open after it, or, aborted, before it? Which one? */
bool cutover_opens(const struct cutover *c, bool aborted, enum side *ret);

/* One event. Answers the step whose action is due now: perform it once. CUT_IDLE:
 * nothing to do (wait). CUT_DONE and CUT_ABORTED are answered once. */
enum cutover_step cutover_feed(struct cutover *c,
                               const struct cutover_event *ev);

/* Call with CUT_EV_TIME then; UINT64_MAX: no need. */
uint64_t cutover_wake_ns(const struct cutover *c);

bool cutover_is_over(const struct cutover *c);
/* May it still be aborted? */
bool cutover_may_abort(const struct cutover *c);
