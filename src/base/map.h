/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/map.h: byte-string keys to values of one fixed size, in order of arrival.
 *
 * Entries never move: a value's address is good until its entry is removed. The
 * order of arrival is kept, so a map is also a queue without duplicates.
 *
 * Owns:   copies of the keys, the values, the buckets.
 * Limits: keys up to UINT32_MAX bytes; about 45 bytes an entry beside key and
 *         value.
 * Thread: one at a time.
 */
#pragma once

#include "base/mem.h"

struct map_entry {
	struct map_entry *prev; /* arrived before                       */
	struct map_entry *next; /* arrived after                        */
	struct map_entry *same; /* next in the same bucket              */
	uint32_t hash;
	uint32_t key_n;
	/* the value, then the key's bytes */
};

struct map {
	struct mem *mem;
	struct map_entry **buckets; /* NULL while nothing was ever put  */
	struct map_entry *first;
	struct map_entry *last;
	size_t bucket_n; /* a power of two, or 0 */
	size_t value_n;  /* as asked for, rounded up to 8 */
	size_t count;
	size_t bytes; /* memory in use, buckets included */
	uint64_t seed;
};

/* value_n: bytes of each value (0: a set). seed: any; secret when the keys come
 * from strangers. */
void map_init(struct map *m, struct mem *mem, size_t value_n, uint64_t seed);
void map_fini(struct map *m);  /* everything given back; usable again */
void map_clear(struct map *m); /* empty; keeps the buckets            */

static inline size_t
map_count(const struct map *m)
{
	return m->count;
}

/* The value of an entry: m->value_n bytes, aligned to 8. */
static inline void *
map_value(struct map_entry *e)
{
	return e + 1;
}

static inline struct span
map_key(const struct map *m, const struct map_entry *e)
{
	return span_of((const uint8_t *)(e + 1) + m->value_n, e->key_n);
}

struct map_entry *map_find(const struct map *m, struct span key);

/* The value of key, or NULL. */
void *map_get(const struct map *m, struct span key);

/* The entry of key, made at the end of the order with a zeroed value when there
 * was none (*ret_new, may be NULL, says so). NULL: out of memory. */
struct map_entry *map_put(struct map *m, struct span key, bool *ret_new) MUST;

/* Was it there? The key may be the entry's own. */
bool map_remove(struct map *m, struct span key);
void map_drop(struct map *m, struct map_entry *e);

/* Make an entry the last one in the order. */
void map_renew(struct map *m, struct map_entry *e);

/* Walk in order of arrival. Entries may be put meanwhile (they come last, and
 * may or may not be met); the entry in hand may be dropped, no other may. */
/* NOLINTBEGIN(bugprone-macro-parentheses): e is declared here. */
#define map_each(e, m)                                                         \
	for (struct map_entry *e = (m)->first, *e##_next = e ? e->next : NULL; \
	     e != NULL; e = e##_next, e##_next = e ? e->next : NULL)
/* NOLINTEND(bugprone-macro-parentheses) */
