/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/map.c: byte-string keys to values of one fixed size, in order of arrival.
 *
 * Chained buckets, at most one entry a bucket on average; the buckets double
 * at once. When they cannot, the chains become longer and nothing is lost.
 */
#include "base/map.h"

#include "base/check.h"
#include "base/hash.h"

#define MAP_BUCKETS_MIN 16
#define BUCKET_SIZE     sizeof(void *)

void
map_init(struct map *m, struct mem *mem, size_t value_n, uint64_t seed)
{
	REQUIRE(mem != NULL);
	*m = (struct map){
		.mem = mem,
		.value_n = (value_n + 7) & ~(size_t)7,
		.seed = seed,
	};
}

void
map_fini(struct map *m)
{
	map_clear(m);
	m->bytes -= m->bucket_n * BUCKET_SIZE;
	mem_free(m->mem, m->buckets, m->bucket_n * BUCKET_SIZE);
	m->buckets = NULL;
	m->bucket_n = 0;
	ENSURE(m->bytes == 0);
}

static size_t
entry_size(const struct map *m, size_t key_n)
{
	return sizeof(struct map_entry) + m->value_n + key_n;
}

void
map_clear(struct map *m)
{
	struct map_entry *e = m->first;

	while (e != NULL) {
		struct map_entry *next = e->next;
		size_t n = entry_size(m, e->key_n);

		m->bytes -= n;
		mem_free(m->mem, e, n);
		e = next;
	}
	if (m->buckets != NULL)
		memset(m->buckets, 0, m->bucket_n * BUCKET_SIZE);
	m->first = NULL;
	m->last = NULL;
	m->count = 0;
}

static struct map_entry **
bucket_of(const struct map *m, uint32_t hash)
{
	return &m->buckets[hash & (m->bucket_n - 1)];
}

static struct map_entry *
find(const struct map *m, struct span key, uint32_t hash)
{
	struct map_entry *e;

	if (m->bucket_n == 0)
		return NULL;
	for (e = *bucket_of(m, hash); e != NULL; e = e->same)
		if (e->hash == hash && span_eq(map_key(m, e), key))
			return e;
	return NULL;
}

static uint32_t
hash_of(const struct map *m, struct span key)
{
	return (uint32_t)hash_bytes(key, m->seed);
}

struct map_entry *
map_find(const struct map *m, struct span key)
{
	return m->count == 0 ? NULL : find(m, key, hash_of(m, key));
}

void *
map_get(const struct map *m, struct span key)
{
	struct map_entry *e = map_find(m, key);

	return e == NULL ? NULL : map_value(e);
}

/* Twice the buckets; without memory everything stays as it is. */
static void
grow(struct map *m)
{
	size_t old_bytes = m->bucket_n * BUCKET_SIZE;
	size_t n = m->bucket_n == 0 ? MAP_BUCKETS_MIN : m->bucket_n * 2;
	struct map_entry **buckets;

	if (n > (size_t)UINT32_MAX)
		return;
	buckets = mem_zero(m->mem, n * BUCKET_SIZE);
	if (buckets == NULL)
		return;
	mem_free(m->mem, m->buckets, old_bytes);
	m->buckets = buckets;
	m->bucket_n = n;
	m->bytes += n * BUCKET_SIZE - old_bytes;
	for (struct map_entry *e = m->first; e != NULL; e = e->next) {
		struct map_entry **at = bucket_of(m, e->hash);

		e->same = *at;
		*at = e;
	}
}

static void
order_append(struct map *m, struct map_entry *e)
{
	e->prev = m->last;
	e->next = NULL;
	if (m->last != NULL)
		m->last->next = e;
	else
		m->first = e;
	m->last = e;
}

static void
order_remove(struct map *m, struct map_entry *e)
{
	if (e->prev != NULL)
		e->prev->next = e->next;
	else
		m->first = e->next;
	if (e->next != NULL)
		e->next->prev = e->prev;
	else
		m->last = e->prev;
}

struct map_entry *
map_put(struct map *m, struct span key, bool *ret_new)
{
	uint32_t hash = hash_of(m, key);
	struct map_entry *e = find(m, key, hash);
	struct map_entry **at;
	size_t n;

	if (ret_new != NULL)
		*ret_new = e == NULL;
	if (e != NULL)
		return e;
	REQUIRE(key.n <= UINT32_MAX);
	if (m->count >= m->bucket_n)
		grow(m);
	if (m->bucket_n == 0)
		return NULL;
	n = entry_size(m, key.n);
	e = mem_alloc(m->mem, n);
	if (e == NULL)
		return NULL;
	memset(e, 0, sizeof(*e) + m->value_n);
	e->hash = hash;
	e->key_n = (uint32_t)key.n;
	if (key.n > 0)
		memcpy((uint8_t *)(e + 1) + m->value_n, key.p, key.n);
	at = bucket_of(m, hash);
	e->same = *at;
	*at = e;
	order_append(m, e);
	m->count++;
	m->bytes += n;
	return e;
}

void
map_drop(struct map *m, struct map_entry *e)
{
	struct map_entry **at = bucket_of(m, e->hash);
	size_t n = entry_size(m, e->key_n);

	REQUIRE(m->count > 0);
	while (*at != e) {
		REQUIRE(*at != NULL);
		at = &(*at)->same;
	}
	*at = e->same;
	order_remove(m, e);
	m->count--;
	m->bytes -= n;
	mem_free(m->mem, e, n);
	ENSURE((m->count == 0) == (m->first == NULL));
}

bool
map_remove(struct map *m, struct span key)
{
	struct map_entry *e = map_find(m, key);

	if (e == NULL)
		return false;
	map_drop(m, e);
	return true;
}

void
map_renew(struct map *m, struct map_entry *e)
{
	if (m->last == e)
		return;
	order_remove(m, e);
	order_append(m, e);
}
