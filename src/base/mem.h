/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/mem.h: where the pure half gets memory.
 *
 * The pure half never names malloc: whoever runs it passes a struct mem. The
 * world's one (world/os) wraps malloc and counts; a test's one can fail on
 * purpose.
 *
 * Owns:   what was handed out, until it is given back with its size.
 * Limits: limit bytes (0: none); beyond it an allocation answers NULL.
 * Thread: one at a time for each struct mem.
 */
#pragma once

#include <stddef.h>

#include "base/span.h"

struct mem {
	/* old_p NULL: allocate; new_n 0: free (answers NULL). */
	void *(*resize)(struct mem *m, void *old_p, size_t old_n, size_t new_n);
	size_t used;
	size_t used_max;
	size_t limit;
};

/* n bytes, not cleared, or NULL. */
static inline void *
mem_alloc(struct mem *m, size_t n)
{
	return m->resize(m, NULL, 0, n);
}

/* n bytes, all zero, or NULL. */
static inline void *
mem_zero(struct mem *m, size_t n)
{
	void *p = m->resize(m, NULL, 0, n);

	if (p != NULL)
		memset(p, 0, n);
	return p;
}

/* The block with new_n bytes (it may move), or NULL and the old one stays. */
static inline void *
mem_resize(struct mem *m, void *p, size_t old_n, size_t new_n)
{
	return m->resize(m, p, old_n, new_n);
}

/* Give a block back; NULL is fine. */
static inline void
mem_free(struct mem *m, void *p, size_t n)
{
	if (p != NULL)
		(void)m->resize(m, p, n, 0);
}
