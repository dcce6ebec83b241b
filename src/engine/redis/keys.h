/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/keys.h: where the keys of a request stand.
 *
 * Thread: any.
 */
#pragma once

#include <string.h>

#include "engine/redis/command.h"
#include "wire/resp.h"

#define KEYS_OWN_PREFIX "__godwit:"

/* Arguments lo, lo + step ... up to hi, and lo2 ... hi2. */
struct keys {
	uint32_t lo;
	uint32_t hi;
	uint32_t step;
	uint32_t lo2;
	uint32_t hi2;
	bool patterns; /* keys_all(): BY or GET of SORT names more of them */
};

static inline bool
keys_have(const struct keys *k, uint32_t i)
{
	return (i >= k->lo && i <= k->hi && (i - k->lo) % k->step == 0) ||
	       (i >= k->lo2 && i <= k->hi2);
}

/* Is the name Godwit's own? */
static inline bool
key_is_ours(struct span key)
{
	return key.n >= sizeof(KEYS_OWN_PREFIX) - 1 && key.p[0] == '_' &&
	       memcmp(key.p, KEYS_OWN_PREFIX, sizeof(KEYS_OWN_PREFIX) - 1) == 0;
}

/* By the columns of the table alone. */
struct keys keys_of(const struct command *c, const struct resp_cmd *q);
/* The same with those that options name: STREAMS of XREAD, STORE of SORT and
 * GEORADIUS. raw is no inline request. */
struct keys keys_all(const struct command *c, const struct resp_cmd *q,
                     struct span raw);
/* Is any word of the request? */
bool keys_mention_ours(struct span raw);
