/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/same.h: do two servers' answers to one read say the same?
 *
 * Order does not count where Redis gives none (sets, hashes); times to live may
 * differ by a second; of errors the first word counts; answers that are random
 * or tell of the server itself are not compared.
 *
 * Thread: pure functions.
 */
#pragma once

#include "engine/redis/command.h"

enum same_kind {
	SAME_EXACT,
	SAME_SET,   /* items in any order           */
	SAME_PAIRS, /* field, value, in any order   */
	SAME_TTL_S,
	SAME_TTL_MS,
	SAME_NOISE, /* not to be compared           */
};

#define SAME_TTL_SLACK_MS 1000

/* How the answers of a read command are compared. */
enum same_kind same_kind_of(const struct command *c);

/* Whole replies, as bytes of RESP2. */
bool same_reply(enum same_kind kind, struct span a, struct span b);
