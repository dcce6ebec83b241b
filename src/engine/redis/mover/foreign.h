/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/foreign.h: what a server deleted lately of keys that the
 * other mover of a split carries.
 *
 * In a scope switch the mover that gives keys away stands still first. What a
 * server expires by itself between that place and the place where the mover that
 * gets them stands still is applied by nobody: it was not yet this one's. So
 * each mover remembers such deletions, the last ones of each feed, and copies
 * those keys when they become its own (switch.c).
 *
 * Owns:   copies of the keys.
 * Limits: FOREIGN_MAX bytes a feed; the oldest go, and that is known.
 * Thread: one at a time.
 */
#pragma once

#include "base/buf.h"

/* About 60,000 keys: more than a server expires in the longest switch. */
#define FOREIGN_MAX ((size_t)4 << 20)

struct foreign {
	struct buf items;
	uint64_t known; /* from this position of the feed on: all of them */
};

struct foreign_item {
	uint64_t at; /* where its unit begins */
	uint32_t db;
	struct span key; /* good until the next change */
};

void foreign_init(struct foreign *f, struct mem *mem);
/* The feed is attached anew at this position. */
void foreign_begin(struct foreign *f, uint64_t at);
void foreign_put(struct foreign *f, const struct foreign_item *it);
/* Is everything remembered that came at this position or behind it? */
bool foreign_knows(const struct foreign *f, uint64_t at);
/* The item at *pos (0: the oldest); false at the end. */
bool foreign_next(const struct foreign *f, size_t *pos,
                  struct foreign_item *ret);
