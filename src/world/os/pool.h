/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/pool.h: a loop's memory: malloc, counted, with short free lists.
 *
 * Blocks whose size is a power of two from POOL_MIN to POOL_MAX (what struct
 * buf asks for) are kept when they are given back, up to POOL_KEEP bytes in
 * all, so that a busy connection's block costs a few instructions while an idle
 * one holds none. Small blocks lie in slabs. Under AddressSanitizer nothing is kept: the tool sees each
 * use after the end.
 *
 * Owns:   what it keeps, until pool_fini.
 * Limits: mem.limit bytes handed out; POOL_KEEP kept beside them.
 * Thread: one at a time; pool_used() from any.
 */
#pragma once

#include <stdatomic.h>

#include "base/mem.h"
#include "world/os/slab.h"

/* Under ASan every block is malloc's own, so that late use is seen. */
#if defined(__SANITIZE_ADDRESS__)
#define POOL_KEEPS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_KEEPS 0
#endif
#endif
#ifndef POOL_KEEPS
#define POOL_KEEPS 1
#endif

#define POOL_MIN     ((size_t)256)
#define POOL_MAX     ((size_t)128 * 1024)
#define POOL_CLASSES 10 /* 256 << 9 == 128 KiB                   */
#define POOL_KEEP \
	((size_t)1024 * 1024) /* a busy loop's working set; measured   */

struct pool_block;

struct pool {
	struct mem mem; /* hand this out */
	struct pool_block *kept[POOL_CLASSES];
	size_t kept_bytes;
	struct slabs small;  /* blocks of SLAB_MIN to SLAB_MAX bytes */
	_Atomic size_t used; /* copy of mem.used for other threads */
};

void pool_init(struct pool *p, size_t limit);
void pool_fini(struct pool *p); /* what was handed out stays the caller's */

/* Show mem.used to other threads (once a batch is enough). */
void pool_publish(struct pool *p);
size_t pool_used(const struct pool *p);
