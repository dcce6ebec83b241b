/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/throttle.h: how often somebody may try a password.
 *
 * An attempt counts when it begins and is given back when it was right, so that
 * many at once get no further than one after the other. Beyond the free ones
 * each attempt doubles the wait. An IPv6 address counts with its /64.
 *
 * Owns:   a table of fixed size in memory; when it is full the one that did the
 *         least is forgotten.
 * Thread: any.
 */
#pragma once

#include <pthread.h>

#include "base/span.h"

struct throttle_slot {
	uint64_t name; /* 0: free */
	int64_t until_ms;
	int64_t last_ms;
	uint32_t n;
};

struct throttle {
	pthread_mutex_t lock;
	uint64_t seed;
	struct throttle_slot *slots;
};

int throttle_init(struct throttle *t) MUST; /* 0 or -ERR_NOMEM */
void throttle_fini(struct throttle *t);

/* Both NUL-terminated; user may be NULL (only the address counts). 0: go on, the
 * attempt is counted; else the seconds to wait, nothing is counted. */
uint32_t throttle_take(struct throttle *t, const char *user, const char *peer,
                       int64_t now_ms) MUST;
/* The attempt was right: the user starts anew, the address gets this one back. */
void throttle_pass(struct throttle *t, const char *user, const char *peer);
