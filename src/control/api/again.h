/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/again.h: migrations that could not go on at the start of the daemon
 * are tried again, with a growing pause.
 *
 * Their clients were cut after the first tries (revive.c), so that nobody waits
 * without end; at each later try the interlays listen, and are closed again when
 * it fails. A migration leaves the list when it runs, when somebody has changed
 * what it is (rollback, delete), or when its error is none that passes by itself.
 *
 * Owns:   a thread.
 * Limits: pauses from LIMIT_RESUME_PAUSE_MS, doubled, to LIMIT_RESUME_MAX_MS.
 * Thread: any.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

struct api;
struct again;

/* Its thread runs at once. */
struct again *again_new(struct api *a, struct err *err);
/* No try from now on; waits for the one under way. Twice is fine. */
void again_stop(struct again *g);
void again_free(struct again *g); /* NULL is fine */

/* uuid could not go on; why. */
void again_add(struct again *g, const char *uuid, const struct err *why);
/* {"attempts","next_in_s","error"}, a new reference; NULL: not on the list. */
json_t *again_show(struct again *g, const char *uuid);
