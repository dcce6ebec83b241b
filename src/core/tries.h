/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/tries.h: how often somebody may fail.
 *
 * Each name (a hash, not 0) has some tries free; then one comes back in each_ns.
 * Only failures count.
 *
 * Owns:   nothing outside; zeroed is empty.
 * Limits: TRIES_SLOTS names; the one that is nearest to its full number makes
 *         room, so that new names cannot wash out who failed often.
 * Thread: one.
 */
#pragma once

#include <stdint.h>

#define TRIES_SLOTS 1024
#define TRIES_WAYS  8 /* slots in which one name may be */

struct tries_rule {
	uint32_t free_n;
	uint64_t each_ns;
};

struct tries {
	struct {
		uint64_t name;    /* 0: nobody                             */
		uint64_t full_ns; /* all tries are back then               */
	} slot[TRIES_SLOTS];
};

/* How long it has to wait; 0: it may try now. */
uint64_t tries_wait_ns(const struct tries *t, uint64_t name,
                       const struct tries_rule *rule, uint64_t now_ns);
void tries_failed(struct tries *t, uint64_t name, const struct tries_rule *rule,
                  uint64_t now_ns);
