/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/pool.c: a loop's memory, and the plain counted malloc.
 */
#include "world/os/pool.h"

#include <stdlib.h>

#include "base/check.h"
#include "world/os/loop.h"

struct pool_block {
	struct pool_block *next;
};

_Static_assert((POOL_MIN << (POOL_CLASSES - 1)) == POOL_MAX,
               "one list a power of two");

static bool
may_grow(const struct mem *m, size_t old_n, size_t new_n)
{
	return m->limit == 0 || new_n <= old_n ||
	       (m->used <= m->limit && new_n - old_n <= m->limit - m->used);
}

static void
count(struct mem *m, size_t old_n, size_t new_n)
{
	REQUIRE(m->used >= old_n);
	m->used = m->used - old_n + new_n;
	if (m->used > m->used_max)
		m->used_max = m->used;
}

static void *
plain_resize(struct mem *m, void *old_p, size_t old_n, size_t new_n)
{
	void *p;

	if (new_n == 0) {
		free(old_p);
		count(m, old_n, 0);
		return NULL;
	}
	if (!may_grow(m, old_n, new_n))
		return NULL;
	p = realloc(old_p, new_n);
	if (p != NULL)
		count(m, old_n, new_n);
	return p;
}

void
os_mem_init(struct mem *m, size_t limit)
{
	*m = (struct mem){ .resize = plain_resize, .limit = limit };
}

static bool
is_small(size_t n)
{
	return POOL_KEEPS && slab_may(n);
}

/* Which free list n belongs to, or -1. */
static int
class_of(size_t n)
{
	if (!POOL_KEEPS || n < POOL_MIN || n > POOL_MAX || (n & (n - 1)) != 0)
		return -1;
	return __builtin_ctzll(n) - __builtin_ctzll(POOL_MIN);
}

static void *
take(struct pool *p, size_t n)
{
	int c = class_of(n);
	struct pool_block *b = c < 0 ? NULL : p->kept[c];

	if (c < 0 && is_small(n))
		return slab_take(&p->small, n);
	if (b == NULL)
		return malloc(n);
	p->kept[c] = b->next;
	p->kept_bytes -= n;
	return b;
}

static void
give(struct pool *p, void *block, size_t n)
{
	int c = class_of(n);
	struct pool_block *b = block;

	if (c < 0 && is_small(n)) {
		slab_give(&p->small, block, n);
		return;
	}
	if (c < 0 || p->kept_bytes + n > POOL_KEEP) {
		free(block);
		return;
	}
	b->next = p->kept[c];
	p->kept[c] = b;
	p->kept_bytes += n;
}

/* From one class to another; a buf that grows does this again and again. */
static void *
move(struct pool *p, void *old_p, size_t old_n, size_t new_n)
{
	void *block = take(p, new_n);

	if (block == NULL)
		return NULL;
	memcpy(block, old_p, old_n < new_n ? old_n : new_n);
	give(p, old_p, old_n);
	return block;
}

static void *
pool_resize(struct mem *m, void *old_p, size_t old_n, size_t new_n)
{
	struct pool *p = (struct pool *)(void *)m;
	void *block;

	if (new_n == 0) {
		if (old_p != NULL)
			give(p, old_p, old_n);
		count(m, old_n, 0);
		return NULL;
	}
	if (!may_grow(m, old_n, new_n))
		return NULL;
	if (old_p == NULL)
		block = take(p, new_n);
	else if (is_small(old_n) || is_small(new_n) ||
	         (class_of(old_n) >= 0 && class_of(new_n) >= 0))
		block = move(p, old_p, old_n, new_n);
	else
		block = realloc(old_p, new_n);
	if (block != NULL)
		count(m, old_n, new_n);
	return block;
}

void
pool_init(struct pool *p, size_t limit)
{
	*p = (struct pool){
		.mem = { .resize = pool_resize, .limit = limit },
	};
}

void
pool_fini(struct pool *p)
{
	for (int i = 0; i < POOL_CLASSES; i++) {
		while (p->kept[i] != NULL) {
			struct pool_block *b = p->kept[i];

			p->kept[i] = b->next;
			free(b);
		}
	}
	p->kept_bytes = 0;
	slab_fini(&p->small);
}

void
pool_publish(struct pool *p)
{
	atomic_store_explicit(&p->used, p->mem.used, memory_order_relaxed);
}

size_t
pool_used(const struct pool *p)
{
	return atomic_load_explicit(&p->used, memory_order_relaxed);
}
