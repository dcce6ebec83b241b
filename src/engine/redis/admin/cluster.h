/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/cluster.h: what a node of a Redis Cluster says of the cluster.
 *
 * Source: https://redis.io/docs/latest/commands/ (cluster-info, cluster-nodes)
 *
 * Owns:   nothing; values.
 * Thread: any.
 */
#pragma once

#include "base/hash.h"
#include "engine/redis/admin/reply.h"

/* A bit a slot: slot % 8 of byte slot / 8. */
struct cluster_slots {
	uint8_t bit[HASH_SLOTS / 8];
};

#define CLUSTER_ID 48 /* a node's name: 40 digits and an end */

/* One line of CLUSTER NODES. */
struct cluster_node {
	char id[CLUSTER_ID];
	char host[108]; /* "": it does not know its own address */
	uint16_t port;
	bool is_self;
	bool is_master;
	bool is_away;       /* it failed, or perhaps, or has no address */
	bool is_open;       /* a slot is on its way from it or to it ... */
	uint32_t open_slot; /* ... the last one that it names       */
	uint64_t epoch; /* of its slots: whoever has the higher one owns them */
	uint32_t slot_n;
	struct cluster_slots slots;
};

/* The next one from the front of the text; false: there is none. */
bool cluster_next(struct span *text, struct cluster_node *ret);

/* How the node sees itself and its cluster. */
struct cluster_self {
	bool is_ok; /* cluster_state */
	struct cluster_node node;
};

uint32_t cluster_put(struct buf *tx);
int cluster_read(struct span replies, const char *who, struct cluster_self *ret,
                 struct err *err) MUST;

/* The node named self takes a slot over from the master named from, which drops its
 * keys of it when it hears; to be sent within MULTI. CLUSTER_TAKE_N replies. */
#define CLUSTER_TAKE_N 2
void cluster_put_take(struct buf *tx, uint32_t slot, const char *from,
                      const char *self);
/* Nothing is on its way, whatever came of it. One reply. */
void cluster_put_stable(struct buf *tx, uint32_t slot);

/* Has a each slot of b? */
bool cluster_covers(const struct cluster_slots *a,
                    const struct cluster_slots *b);
/* "0-99,200", as interlays take it; cut at n with "...". */
void cluster_text(const struct cluster_slots *s, char *ret, size_t n);
/* The first slot that one has and the other not, or HASH_SLOTS. */
uint32_t cluster_unlike(const struct cluster_slots *a,
                        const struct cluster_slots *b);
static inline bool
cluster_has(const struct cluster_slots *s, uint32_t slot)
{
	return (s->bit[slot / 8] >> (slot % 8) & 1) != 0;
}
