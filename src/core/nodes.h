/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/nodes.h: what is known of the cluster that a side's node belongs to.
 *
 * The control half writes down the masters of the other pairs, relays and mover the
 * slots that they met on their way from node to node.
 *
 * Limits: NODES_MAX masters; further ones are not known.
 * Thread: any may read and set `away`; one at a time adds masters.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/hash.h"
#include "base/span.h"

#define NODES_MAX  64
#define NODES_HOST 108

struct nodes_one {
	char host[NODES_HOST]; /* never changes */
	uint16_t port;
	_Atomic bool is_master; /* ... and not the one of this pair */
};

struct nodes {
	struct nodes_one one[NODES_MAX];
	_Atomic uint32_t n;
	/* A bit a slot: some of its keys are, or were, on another node than this
	 * pair's. Where two sides have its keys only the authority is asked. */
	_Atomic uint8_t away[HASH_SLOTS / 8];
};

static inline bool
nodes_is_away(const struct nodes *n, uint32_t slot)
{
	uint8_t byte =
		atomic_load_explicit(&n->away[slot / 8], memory_order_acquire);

	return (byte >> slot % 8 & 1) != 0;
}

static inline void
nodes_set_away(struct nodes *n, uint32_t slot)
{
	(void)atomic_fetch_or(&n->away[slot / 8], (uint8_t)(1u << slot % 8));
}

/* Is that a master of another pair? */
static inline bool
nodes_know(const struct nodes *n, struct span host, uint16_t port)
{
	uint32_t all = atomic_load_explicit(&n->n, memory_order_acquire);

	for (uint32_t i = 0; i < all; i++) {
		const struct nodes_one *o = &n->one[i];

		if (o->port == port && span_eq(span_str(o->host), host))
			return atomic_load_explicit(&o->is_master,
			                            memory_order_relaxed);
	}
	return false;
}

/* It is one, or is none any more. By one thread. */
static inline void
nodes_put(struct nodes *n, const char *host, uint16_t port, bool is_master)
{
	uint32_t all = atomic_load_explicit(&n->n, memory_order_relaxed);
	size_t len = strlen(host);
	uint32_t i = 0;

	while (i < all &&
	       (n->one[i].port != port || strcmp(n->one[i].host, host) != 0))
		i++;
	if (i == NODES_MAX || len >= NODES_HOST || (i == all && !is_master))
		return;
	if (i == all) {
		memcpy(n->one[i].host, host, len + 1);
		n->one[i].port = port;
	}
	atomic_store_explicit(&n->one[i].is_master, is_master,
	                      memory_order_relaxed);
	if (i == all)
		atomic_store_explicit(&n->n, all + 1, memory_order_release);
}
