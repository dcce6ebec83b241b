/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/window.h: the times in which a migration may go forward.
 *
 * Either one span (from, to), or each time a cron line fires, for a duration, in
 * an IANA zone. Rollback never asks a window.
 *
 * Owns:   nothing; a value.
 * Thread: any.
 */
#pragma once

#include "base/err.h"
#include "core/cron.h"
#include "core/zone.h"

enum window_kind {
	WINDOW_NONE, /* always open                                       */
	WINDOW_SPAN,
	WINDOW_CRON,
};

/* The window ends while a switch is under way, or reads are moved. */
enum window_overrun {
	OVERRUN_FINISH,   /* what has begun goes on to its end             */
	OVERRUN_HOLD,     /* stay where it is until the next window        */
	OVERRUN_ROLLBACK, /* go back                                       */
};

struct window {
	enum window_kind kind;
	enum window_overrun overrun;
	int64_t from_ms; /* WINDOW_SPAN; since 1970, UTC                   */
	int64_t to_ms;
	struct cron cron; /* WINDOW_CRON                                   */
	uint32_t duration_s;
	char zone[64]; /* "Europe/Berlin"                                */
};

struct window_look {
	bool is_open;
	int64_t until_ms; /* open: its end; shut: the next beginning,
	                   * INT64_MAX when there is none                  */
};

const char *window_overrun_name(enum window_overrun o); /* "finish" */

/* zone: that of w->zone (NULL: UTC). */
struct window_look window_look(const struct window *w, const struct zone *zone,
                               int64_t now_ms);

/* What a switch takes from now on, at most. */
struct window_need {
	uint64_t copy_ms;   /* what is left of the copy              */
	uint64_t lag_ms;    /* the stream is so late                 */
	uint64_t hold_ms;   /* the longest hold                      */
	uint64_t margin_ms; /* for what is not foreseen              */
};

/* ERR_WINDOW when it is open and ends before that is done; says the figures. A
 * shut one is window_gate()'s. */
int window_fits(const struct window *w, const struct zone *zone, int64_t now_ms,
                const struct window_need *need, struct err *err) MUST;

/* ERR_WINDOW when it is shut, naming the next beginning. */
int window_gate(const struct window *w, const struct zone *zone, int64_t now_ms,
                struct err *err) MUST;
