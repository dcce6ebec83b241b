/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/strategy.h: what a promote does next.
 *
 * A strategy moves shares of reads, or named units (features, flags, regions,
 * instances), to the other side, and ends with the cutover. Where it is now is a
 * struct strategy_at; everything here is a function of these two values.
 *
 *   big_bang, blue_green     the cutover
 *   canary                   share by share, the cutover
 *   strangler_fig            feature by feature, the cutover
 *   feature_flag             rollout share by share, flag by flag, the cutover
 *   geographic               region by region, the cutover
 *   rolling_update           instance by instance, each with its own cutover
 *   shadow_traffic           never: it compares, and says so
 *   time_window              what its inner strategy does, inside the window
 *
 * Owns:   nothing; a value.
 * Limits: STRATEGY_STEPS_MAX shares, STRATEGY_UNITS_MAX units.
 * Thread: any.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "core/side.h"
#include "core/window.h"

#define STRATEGY_STEPS_MAX 16
#define STRATEGY_UNITS_MAX 64 /* one bit each */
#define STRATEGY_NAME_MAX  64 /* bytes of a unit's name, NUL included */
#define STRATEGY_NO_UNIT   UINT32_MAX

enum strategy_kind {
	STRATEGY_BIG_BANG,
	STRATEGY_CANARY,
	STRATEGY_BLUE_GREEN,
	STRATEGY_ROLLING_UPDATE,
	STRATEGY_SHADOW_TRAFFIC,
	STRATEGY_STRANGLER_FIG,
	STRATEGY_FEATURE_FLAG,
	STRATEGY_GEOGRAPHIC,
	STRATEGY_TIME_WINDOW,
	STRATEGY_N,
};

struct strategy {
	enum strategy_kind kind;
	enum strategy_kind inner; /* time_window: what the rest is about    */
	uint32_t step_ppm[STRATEGY_STEPS_MAX]; /* canary, feature_flag: shares,
	                                        * ascending                    */
	/* canary: share of the slots whose writes are new's as well; all of
	 * them: that step is the cutover */
	uint32_t step_write_ppm[STRATEGY_STEPS_MAX];
	uint32_t step_seconds[STRATEGY_STEPS_MAX]; /* stay so long (auto)     */
	uint32_t
		step_requests[STRATEGY_STEPS_MAX]; /* and see so many         */
	uint32_t step_n;
	uint32_t
		start_ppm; /* share at the start; feature_flag: the rollout   */
	uint32_t start_write_ppm; /* canary: the same of writes               */
	bool start_new;   /* blue_green: cut over as soon as in step         */
	bool unit_writes; /* strangler_fig: a moved unit's writes move, too  */
	uint32_t unit_n;
	uint64_t unit_on; /* units that are moved at the start               */
	char unit[STRATEGY_UNITS_MAX][STRATEGY_NAME_MAX];
	/* A patch that does not name them: they stay where they are now. */
	struct {
		bool reads;
		bool writes;
		bool side;
		uint64_t units;
	} stays;
	struct window window; /* time_window                               */
};

/* Where a running strategy is. */
struct strategy_at {
	enum side authority;
	uint32_t step; /* shares done                                     */
	uint32_t ppm;  /* share now                                       */
	uint32_t write_ppm; /* share of the slots whose writes are new's   */
	uint64_t units; /* moved units                                     */
};

enum strategy_move_kind {
	MOVE_TO_SHARE,    /* reads on the other side                        */
	MOVE_TO_UNIT,     /* one more feature, flag, region                 */
	MOVE_TO_INSTANCE, /* the cutover of one instance                    */
	MOVE_TO_CUTOVER,
	MOVE_BACK,    /* toggle: the cutover the other way round           */
	MOVE_NOWHERE, /* new has authority already                         */
	MOVE_NEVER,   /* shadow_traffic                                    */
};

struct strategy_move {
	enum strategy_move_kind kind;
	uint32_t step; /* after it: see strategy_at                       */
	uint32_t ppm;  /* after it                                        */
	uint32_t write_ppm; /* after it                                    */
	uint64_t units; /* after it                                        */
	uint32_t unit;  /* MOVE_TO_UNIT, MOVE_TO_INSTANCE: which           */
};

const char *strategy_name(enum strategy_kind k); /* "big_bang" */
/* 0 and *ret, or ERR_USAGE naming the known ones. */
int strategy_find(const char *name, enum strategy_kind *ret,
                  struct err *err) MUST;

/* What decides about shares and units: the inner one of a time_window. */
enum strategy_kind strategy_base(const struct strategy *s);

/* Does it ever move writes in parts? */
bool strategy_has_writes(const struct strategy *s);

/* Are shares ascending, in (0, 100 %], units unique, and all of it only there
 * where it belongs? ERR_USAGE says which is not. */
int strategy_check(const struct strategy *s, struct err *err) MUST;

/* The state as soon as the sides are in step. */
struct strategy_at strategy_begin(const struct strategy *s);

/* The next move. From nothing moved: what the strategy begins with, if it
 * begins with something. */
struct strategy_move strategy_promote(const struct strategy *s,
                                      const struct strategy_at *at);
/* The same by the number of shares done, for strategies without units. */
struct strategy_move strategy_next(const struct strategy *s, uint32_t step,
                                   enum side authority);

/* A jump: to = "cutover", a share in per cent ("25", "12.5"), or the name of a
 * unit. ERR_USAGE when it is none of these, ERR_STATE when new has authority
 * already or the strategy never moves. The step after a jump to a share is the
 * number of shares that are not above it. */
int strategy_jump_from(const struct strategy *s, const struct strategy_at *at,
                       const char *to, struct strategy_move *ret,
                       struct err *err) MUST;
int strategy_jump(const struct strategy *s, const char *to, enum side authority,
                  struct strategy_move *ret, struct err *err) MUST;

/* blue_green's switch. ERR_STATE for other strategies. MOVE_NOWHERE: it is so
 * already. */
int strategy_toggle(const struct strategy *s, const struct strategy_at *at,
                    bool activate_new, struct strategy_move *ret,
                    struct err *err) MUST;

/* The move that brings a running migration from where it is to what a changed
 * strategy of the same kind says (PATCH), but for what `stays`. ERR_STATE: it cannot be changed to
 * that now. MOVE_NOWHERE: nothing to do. */
int strategy_patch(const struct strategy *now, const struct strategy_at *at,
                   const struct strategy *wanted, struct strategy_move *ret,
                   struct err *err) MUST;

/* "promote: 25 % of reads on new" as a line for people; s may be NULL when the
 * move names no unit. */
void strategy_tell(const struct strategy *s, const struct strategy_move *m,
                   struct buf *text);
void strategy_say(const struct strategy_move *m, struct buf *text);
