/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/pending.c: who gets the next reply of a lane.
 */
#include "engine/redis/relay/inside.h"

#define RING_MIN 64

struct pending *
ring_push_slow(struct ring *q, struct mem *mem)
{
	uint32_t cap = q->cap == 0 ? RING_MIN : q->cap * 2;
	uint32_t n = ring_n(q);
	struct pending *p;

	if (n < q->cap)
		return &q->p[q->tail++ & (q->cap - 1)];
	p = mem_alloc(mem, cap * sizeof(*p));
	if (p == NULL)
		return NULL;
	for (uint32_t i = 0; i < n; i++)
		p[(q->head + i) & (cap - 1)] = *ring_at(q, i);
	mem_free(mem, q->p, q->cap * sizeof(*p));
	q->p = p;
	q->cap = cap;
	return &q->p[q->tail++ & (cap - 1)];
}

void
ring_fini(struct ring *q, struct mem *mem)
{
	mem_free(mem, q->p, q->cap * sizeof(*q->p));
	*q = (struct ring){ .cap = 0 };
}
