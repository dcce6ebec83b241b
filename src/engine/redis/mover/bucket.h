/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/bucket.h: dirty keys for which there is no room, by hash.
 *
 * When too many keys are marked (pend.h) the next one only sets the bit of its
 * bucket. A key whose bit is set may be wrong on the other side, like one that is
 * marked. sweep.c goes over both sides' keys and marks those of set buckets: `now`
 * is what it works off, `next` is what was set since it began.
 *
 * Owns:   two bit maps, while a bit is set.
 * Limits: 256 KiB; keys of BUCKET_DBS databases.
 * Thread: one at a time.
 */
#pragma once

#include "base/mem.h"
#include "engine/redis/databases.h"
#include "engine/redis/mover/place.h"

#define BUCKET_BITS 20
#define BUCKET_DBS  DATABASES_MAX

struct bucket_set {
	uint64_t *bits; /* NULL while none is set */
	size_t n;       /* bits set */
	struct place since;
};

struct buckets {
	struct mem *mem;
	uint64_t seed;
	struct bucket_set now;
	struct bucket_set next;
	uint32_t dbs[BUCKET_DBS]; /* of their keys */
	uint32_t db_n;
};

void bucket_init(struct buckets *b, struct mem *mem, uint64_t seed);
void bucket_clear(struct buckets *b); /* nothing is set; memory given back */

/* The other side is right up to `since` in spite of this key. False: no memory,
 * or a database too many. */
bool bucket_put(struct buckets *b, uint32_t db, struct span key,
                struct place since) MUST;
bool bucket_has(const struct buckets *b, uint32_t db, struct span key);
/* Is it among those that are being worked off? */
bool bucket_is_now(const struct buckets *b, uint32_t db, struct span key);

void bucket_turn(struct buckets *b); /* next becomes now, which is empty */
void bucket_done(struct buckets *b); /* now is worked off */

static inline size_t
bucket_count(const struct buckets *b)
{
	return b->now.n + b->next.n;
}

/* Lowers *floor to what the set bits leave sure. */
void bucket_floor(const struct buckets *b, struct place *floor);
