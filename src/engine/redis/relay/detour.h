/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/detour.h: keys of slots that go to other nodes of a cluster.
 *
 * ASK names the node that has a key while its slot is moved, MOVED the one that has
 * the slot from now on. Such a request goes back to the front of its client's input
 * (astray.c) with the node's number before it, and is sent there on a lane of that
 * node, as the same user. Slots that were MOVED are remembered: their requests go
 * there at once. MOVED to a node of which nothing is known may be a fail-over, which
 * the control half follows (MAIL_SEAT).
 *
 * Positions are those of the side's own node, so what is read or written elsewhere
 * has none: reads of such slots stay on the authority (nodes_is_away).
 *
 * Limits: DETOUR_NODES nodes; requests to further ones wait for the control half.
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/relay/inside.h"

#define DETOUR_NODES 63

struct detour {
	uint8_t node; /* 0: the side's own; wait */
	bool asking;
};

/* Where the answer of a node sends to. False: it does not say so, or not whom to
 * believe; *ret is none then. */
bool detour_find(struct relay *r, const struct lane *lane, struct span reply,
                 struct detour *ret);
/* Before a request that is given out again: where it goes. */
void detour_put(struct relay *r, struct buf *b, const struct detour *to);
/* The same of what s does from now on. */
void detour_turn(struct session *s, const struct detour *to);
/* What detour_put() wrote has its turn; DISPATCH_NO: it is none. */
enum dispatched detour_steer(struct relay *r, struct session *s,
                             const struct resp_cmd *q);

/* dispatch_command() of a request that goes to the node of its first key. */
enum dispatched detour_dispatch(struct relay *r, struct session *s,
                                const struct command *c,
                                const struct resp_cmd *q, struct span raw);
/* s is about to send a request of that slot. */
void detour_aim(struct relay *r, struct session *s, uint32_t slot);
static inline void
detour_to_key(struct relay *r, struct session *s, struct span key)
{
	if (__builtin_expect(r->detours != NULL, 0))
		detour_aim(r, s, hash_slot(key));
}
/* ASKING, where it is due before a request of this kind. */
void detour_ask(struct relay *r, struct session *s, struct lane *lane,
                enum pending_kind kind);

static inline uint8_t
detour_node(const struct session *s)
{
	return __builtin_expect(s->detour, 0) && s->wide != NULL ? s->wide->node
	                                                         : 0;
}

/* Was its request given out before, and not taken? */
static inline bool
detour_is_again(const struct session *s)
{
	return s->wide != NULL && s->wide->steered;
}

/* May the next request of s take that lane, if its kind and user are right? */
static inline bool
detour_suits(const struct session *s, const struct lane *lane)
{
	bool is_let_in = lane->cred != NULL || lane->as_writer ||
	                 lane->vouched == s->vouched; /* nopass.c */

	return lane->side == s->at && lane->db == s->db &&
	       lane->resp3 == s->resp3 && is_let_in &&
	       lane->node == detour_node(s);
}

/* Is a key's slot elsewhere, so that only the authority is asked? */
static inline bool
detour_is_away(const struct relay *r, struct span key)
{
	const struct nodes *n = r->conf->side[r->route.authority].nodes;

	return n != NULL && nodes_is_away(n, hash_slot(key));
}

/* Where a lane connects to. */
const struct address *detour_address(const struct relay *r,
                                     const struct lane *lane);
/* A lane of another node is lost: what has its slots by now has to be asked. */
void detour_lost(struct relay *r, struct lane *lane);
/* Slots are where the sides' own nodes say. */
void detour_forget(struct relay *r);
void detour_fini(struct relay *r);
