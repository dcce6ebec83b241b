/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/bucket.c: dirty keys for which there is no room, by hash.
 */
#include "engine/redis/mover/bucket.h"

#include "base/check.h"
#include "base/hash.h"

#define WORDS ((size_t)1 << (BUCKET_BITS - 6))
#define BYTES (WORDS * sizeof(uint64_t))

void
bucket_init(struct buckets *b, struct mem *mem, uint64_t seed)
{
	*b = (struct buckets){ .mem = mem, .seed = seed };
}

static void
empty(struct buckets *b, struct bucket_set *s)
{
	if (s->bits != NULL)
		mem_free(b->mem, s->bits, BYTES);
	*s = (struct bucket_set){ 0 };
	if (bucket_count(b) == 0)
		b->db_n = 0;
}

void
bucket_clear(struct buckets *b)
{
	empty(b, &b->now);
	empty(b, &b->next);
}

static uint32_t
bucket_of(const struct buckets *b, uint32_t db, struct span key)
{
	return (uint32_t)(hash_bytes(key, b->seed + db) >> (64 - BUCKET_BITS));
}

static bool
is_set(const struct bucket_set *s, uint32_t i)
{
	return s->bits != NULL && (s->bits[i / 64] >> (i % 64) & 1) == 1;
}

static bool
note_db(struct buckets *b, uint32_t db)
{
	for (uint32_t i = 0; i < b->db_n; i++)
		if (b->dbs[i] == db)
			return true;
	if (b->db_n == BUCKET_DBS)
		return false;
	b->dbs[b->db_n++] = db;
	return true;
}

bool
bucket_put(struct buckets *b, uint32_t db, struct span key, struct place since)
{
	struct bucket_set *s = &b->next;
	uint32_t i = bucket_of(b, db, key);

	if (!note_db(b, db))
		return false;
	if (s->bits == NULL) {
		s->bits = mem_zero(b->mem, BYTES);
		if (s->bits == NULL)
			return false;
	}
	if (s->n == 0 || since.at < s->since.at)
		s->since = since;
	if (!is_set(s, i)) {
		s->bits[i / 64] |= (uint64_t)1 << (i % 64);
		s->n++;
	}
	return true;
}

bool
bucket_has(const struct buckets *b, uint32_t db, struct span key)
{
	uint32_t i;

	if (bucket_count(b) == 0)
		return false;
	i = bucket_of(b, db, key);
	return is_set(&b->now, i) || is_set(&b->next, i);
}

bool
bucket_is_now(const struct buckets *b, uint32_t db, struct span key)
{
	return b->now.n > 0 && is_set(&b->now, bucket_of(b, db, key));
}

void
bucket_turn(struct buckets *b)
{
	REQUIRE(b->now.n == 0 && b->now.bits == NULL);
	b->now = b->next;
	b->next = (struct bucket_set){ 0 };
}

void
bucket_done(struct buckets *b)
{
	empty(b, &b->now);
}

void
bucket_floor(const struct buckets *b, struct place *floor)
{
	if (b->now.n > 0 && b->now.since.at < floor->at)
		*floor = b->now.since;
	if (b->next.n > 0 && b->next.since.at < floor->at)
		*floor = b->next.since;
}
