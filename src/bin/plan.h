/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/plan.h: what a daemon of its own (daemon.h) shall make, as bodies of the API.
 *
 * Owns:   its references, until plan_fini().
 * Thread: any.
 */
#pragma once

#include <jansson.h>

#include "control/run.h"

struct plan {
	json_t *endpoints; /* bodies, in this order                          */
	json_t *interlays;
	json_t *toward; /* {interlay: its endpoint on new}                */
	json_t *checks; /* what the API cannot know; none of them fails   */
	json_t *shown; /* ids of interlays whose clients can be shown, or NULL */
	json_t *what;  /* kept beside the state file; NULL: nothing      */
	/* As the status and the screen show them. */
	char old[128];
	char new[128];
	char listen[512];
};

/* Everything empty; ERR_NOMEM. */
int plan_init(struct plan *p, struct err *err) MUST;
void plan_fini(struct plan *p);
