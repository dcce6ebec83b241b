/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/slab.h: small blocks of one size side by side, without headers.
 *
 * What each connection keeps is small and there are many of it: malloc's header
 * and rounding would be a tenth of it. A slab is SLAB_BYTES of memory, aligned
 * to SLAB_ALIGN, that holds blocks of one size; an empty one is given back,
 * unless it is the only one of its size with room.
 *
 * Owns:   slabs; blocks are the caller's until slab_give().
 * Limits: blocks of SLAB_MIN to SLAB_MAX bytes.
 * Thread: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SLAB_MIN     ((size_t)72)
#define SLAB_MAX     ((size_t)192)
#define SLAB_STEP    ((size_t)8)
#define SLAB_CLASSES 16 /* 72, 80 .. 192 */
#define SLAB_ALIGN   ((size_t)16 * 1024)
/* A little less, so that malloc's header of the next one fits in front of it. */
#define SLAB_BYTES   (SLAB_ALIGN - 64)

struct slab;

struct slabs {
	struct slab *room[SLAB_CLASSES]; /* those that have room */
};

static inline bool
slab_may(size_t n)
{
	return n >= SLAB_MIN && n <= SLAB_MAX;
}

/* slab_may(n). NULL: no memory. */
void *slab_take(struct slabs *s, size_t n);
/* p is of slab_take(s, n). */
void slab_give(struct slabs *s, void *p, size_t n);
void slab_fini(struct slabs *s); /* frees what is empty */
