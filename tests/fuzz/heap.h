/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/heap.h: a struct mem for tests, on malloc.
 *
 * Blocks are exact, so that AddressSanitizer sees each byte beyond. refuse_at
 * (if not 0) makes the n-th request from now fail.
 */
#pragma once

#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"

struct heap {
	struct mem mem; /* first: a struct heap is a struct mem */
	size_t refuse_at;
};

static inline void *
heap_resize(struct mem *m, void *old_p, size_t old_n, size_t new_n)
{
	struct heap *h = (struct heap *)m;
	void *p = NULL;

	if (new_n > 0) {
		if (h->refuse_at > 0 && --h->refuse_at == 0)
			return NULL;
		/* Never in place: whoever keeps an old address is caught. */
		p = malloc(new_n);
		REQUIRE(p != NULL);
		if (old_p != NULL)
			memcpy(p, old_p, old_n < new_n ? old_n : new_n);
	}
	free(old_p);
	REQUIRE(m->used >= old_n);
	m->used += new_n - old_n;
	if (m->used > m->used_max)
		m->used_max = m->used;
	return p;
}

static inline struct heap
heap_make(void)
{
	return (struct heap){ .mem = { .resize = heap_resize } };
}
