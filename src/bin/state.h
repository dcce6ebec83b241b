/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/state.h: where a migration's files are, and which one runs.
 *
 * Thread: the main one.
 */
#pragma once

#include "base/err.h"

#define STATE_PATH_MAX 512

/* The standard state file of a listener's address (its port, or the last part of
 * its path): its directory is made
 * (0700) when missing. ERR_USAGE for port 0: it has no standard file. */
int state_for_listen(const char *listen, char *ret, size_t n,
                     struct err *err) MUST;

/* The state file a verb means: `given` when not "", else the one whose control
 * socket answers in the standard directory. ERR_STATE when none or several
 * run; the sentence lists them. */
int state_find(const char *given, char *ret, size_t n, struct err *err) MUST;

/* Connect to <state>.sock. Answers the descriptor, or a negative ERR_*:
 * ERR_STATE when nobody answers there. */
int state_connect(const char *state, struct err *err) MUST;

/* Listen at <state>.sock (mode 0600; an old socket there is replaced). Answers
 * the descriptor, or a negative ERR_*. */
int state_listen(const char *state, struct err *err) MUST;
