/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/topology.h: the Redis Cluster that clients are shown.
 *
 * Each announced address is one master without replicas; the slots are shared
 * evenly, in the order of the addresses. Which instance has a key is another
 * matter: every address serves every slot. A master's id is made of its address
 * alone, so all who announce the same list show the same cluster.
 *
 * Owns:   nothing but itself.
 * Limits: TOPOLOGY_MAX masters.
 * Thread: a value.
 * Source: https://redis.io/docs/latest/commands/cluster-slots/ and the pages of
 *         its kind; a node of Redis 7.0 (tests/live/test_cluster_clients.py).
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define TOPOLOGY_MAX  32 /* more would only make every client's map longer */
#define TOPOLOGY_HOST 108
#define TOPOLOGY_ID   40

struct topology_node {
	char host[TOPOLOGY_HOST];
	uint16_t port;
	char id[TOPOLOGY_ID + 1];
};

struct topology {
	uint32_t n;    /* 0: clients are shown one server */
	uint32_t self; /* which of them answers         */
	bool tls;      /* the ports speak TLS           */
	struct topology_node node[TOPOLOGY_MAX];
};

/* One more master, "host:port" or "[v6]:port". ERR_BAD: not to be read, given
 * twice, or too many. */
int topology_add(struct topology *t, struct span address, struct err *err) MUST;
/* Who answers: the one with this address, else the only one with this port, else
 * the first. */
void topology_find_self(struct topology *t, struct span host, uint16_t port);
/* The first slot of master i; of i = n: one behind the last. */
uint32_t topology_first_slot(const struct topology *t, uint32_t i);
/* Is there a master with this id? */
bool topology_has(const struct topology *t, struct span id);

/* Answers, as a node gives them; proto: 2 or 3. */
void topology_put_slots(const struct topology *t, uint8_t proto,
                        struct buf *to);
void topology_put_shards(const struct topology *t, uint8_t proto,
                         struct buf *to);
/* Plain text, without a head. */
void topology_put_nodes(const struct topology *t, struct buf *to);
void topology_put_info(const struct topology *t, struct buf *to);
