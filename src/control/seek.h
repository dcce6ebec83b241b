/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/seek.h: which node of a cluster has these slots now.
 *
 * Every node of a cluster tells who owns slots; of two that contradict each other
 * the one with the higher epoch is right. Asked are the node that is known to have
 * them, those of `first`, and all that were ever named.
 *
 * Limits: SEEK_NODES nodes, LIMIT_FOLLOW_MS for all questions of one look.
 * Thread: one at a time. BLOCKS.
 */
#pragma once

#include "control/agent.h"
#include "engine/redis/admin/cluster.h"

#define SEEK_NODES 32 /* of one cluster that may be asked */

struct seek_node {
	char host[108];
	uint16_t port;
};

/* What is known. Whoever goes to another node sets now and epoch. */
struct seek {
	struct seek_node now; /* port 0: not known yet */
	uint64_t epoch;       /* of its slots          */
	struct seek_node node[SEEK_NODES];
	uint32_t node_n;
	bool grew;    /* a node was named that was not known; for the caller */
	bool is_held; /* seat_hold() was called; for the caller */
};

/* Who has which slot, as one node says. */
struct seek_map {
	bool is_ok;         /* it answered, and its cluster is ok */
	bool is_open;       /* it has a slot on its way ...       */
	uint32_t open_slot; /* ... this one                 */
	struct seek_node node[SEEK_NODES]; /* masters */
	char id[SEEK_NODES][CLUSTER_ID];
	struct cluster_slots slots; /* its own */
	uint32_t n;
	uint32_t self;          /* the one that was asked; n: none */
	uint8_t of[HASH_SLOTS]; /* which of them; n: none of them  */
};

struct seek_how {
	struct agent *agent; /* of the node that is known to have them   */
	bool as_own;         /* Godwit's own user may be there           */
	const struct cluster_slots *slots;
	const struct seek_node *first;
	uint32_t first_n;
	struct seek_map *map; /* what the first one says; NULL: nobody asks */
	struct nodes *nodes;  /* other masters are written there; or NULL */
};

bool seek_is_same(const struct seek_node *a, const struct seek_node *b);
/* True: *ret, and not k->now, has all the slots, since *ret_epoch. */
bool seek_look(struct seek *k, const struct seek_how *h, struct seek_node *ret,
               uint64_t *ret_epoch);
