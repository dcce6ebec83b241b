/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/screen.h: the live screen of a running migration, with its keys.
 *
 * Draws in place, without the alternate screen, so that the last picture stays
 * when it is left. Leaving never stops the migration.
 *
 * Thread: the main one.
 */
#pragma once

#include "base/err.h"

enum screen_end {
	SCREEN_LEFT, /* q, Ctrl-C, or the terminal went away                */
	SCREEN_OVER, /* the migration's process ended                       */
};

struct talk_to;

/* Show the migration there until the user leaves or it ends. 0, or as talk_open
 * when nobody answers. */
int screen_run(const struct talk_to *to, enum screen_end *ret,
               struct err *err) MUST;
