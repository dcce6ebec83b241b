/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/seek.c: which node of a cluster has these slots now.
 */
#include "control/seek.h"

#include <stdlib.h>

#include "control/limit.h"
#include "engine/redis/admin/cluster.h"
#include "world/os/loop.h"

bool
seek_is_same(const struct seek_node *a, const struct seek_node *b)
{
	return a->port == b->port && strcmp(a->host, b->host) == 0;
}

struct view {
	struct cluster_node owner; /* of all slots; port 0: nobody */
	bool is_ok;
	bool is_self;         /* ... and it is the node that was asked */
	struct seek_map *map; /* NULL: not wanted */
};

static void
remember(struct seek *k, const struct cluster_node *n)
{
	struct seek_node one = { .port = n->port };

	memcpy(one.host, n->host, sizeof(one.host));
	if (one.host[0] == '\0' || one.port == 0 || k->node_n == SEEK_NODES)
		return;
	for (uint32_t i = 0; i < k->node_n; i++) {
		if (seek_is_same(&k->node[i], &one))
			return;
	}
	k->node[k->node_n++] = one;
	k->grew = true;
}

/* Another master of the cluster? Not the one that has all slots of the pair: whoever
 * that is by now has its seat. */
static void
note_master(const struct seek_how *h, const struct cluster_node *n)
{
	if (h->nodes != NULL && n->host[0] != '\0' && n->port != 0)
		nodes_put(h->nodes, n->host, n->port,
		          n->is_master && !n->is_away && n->slot_n > 0 &&
		                  !n->is_self &&
		                  !cluster_covers(&n->slots, h->slots));
}

static void
note_slots(struct seek_map *map, const struct cluster_node *n)
{
	if (n->is_self) {
		map->is_open = n->is_open;
		map->open_slot = n->open_slot;
		map->slots = n->slots;
	}
	if (!n->is_master || map->n == SEEK_NODES)
		return;
	if (n->is_self)
		map->self = map->n;
	memcpy(map->node[map->n].host, n->host, sizeof(n->host));
	map->node[map->n].port = n->port;
	memcpy(map->id[map->n], n->id, sizeof(n->id));
	for (uint32_t s = 0; s < HASH_SLOTS; s++) {
		if (cluster_has(&n->slots, s))
			map->of[s] = (uint8_t)map->n;
	}
	map->n++;
}

static void
begin_map(struct seek_map *map)
{
	map->n = 0;
	map->self = SEEK_NODES;
	map->is_open = false;
	memset(map->of, SEEK_NODES, sizeof(map->of));
}

static void
read_nodes(struct seek *k, const struct seek_how *h, struct span text,
           struct view *v)
{
	struct cluster_node *n = malloc(sizeof(*n));

	if (v->map != NULL)
		begin_map(v->map);
	while (n != NULL && cluster_next(&text, n)) {
		remember(k, n);
		/* Others would call themselves "myself". */
		if (v->map != NULL) {
			note_master(h, n);
			note_slots(v->map, n);
		}
		if (!n->is_master || n->is_away ||
		    !cluster_covers(&n->slots, h->slots) ||
		    (v->owner.port != 0 && n->epoch <= v->owner.epoch))
			continue;
		v->owner = *n;
		v->is_self = n->is_self;
	}
	free(n);
}

/* a: connected. False: it said nothing that helps. */
static bool
ask(struct seek *k, const struct seek_how *h, struct agent *a, struct view *ret)
{
	struct span replies = { NULL, 0 };
	struct span state;
	struct resp_item it;
	struct err err;
	uint32_t n = cluster_put(&a->tx);

	*ret = (struct view){ .map = ret->map };
	if (agent_call(a, n, LIMIT_CALL_MS, &replies, &err) != 0 ||
	    !reply_item(&replies, &it) || it.type != RESP_BULK)
		return false;
	ret->is_ok = reply_info(it.text, "cluster_state", &state) &&
	             span_eq(state, SPAN("ok"));
	if (!reply_item(&replies, &it) || it.type != RESP_BULK)
		return false;
	read_nodes(k, h, it.text, ret);
	if (ret->map != NULL)
		ret->map->is_ok = ret->is_ok;
	return ret->owner.port != 0;
}

/* The same of any node; a connection for one question. */
static bool
ask_at(struct seek *k, const struct seek_how *h, const struct seek_node *at,
       struct view *ret)
{
	struct side_conf *c = malloc(sizeof(*c));
	struct agent a;
	struct err err;
	bool ok;

	if (c == NULL)
		return false;
	*c = *h->agent->conf;
	memcpy(c->at.host, at->host, sizeof(at->host));
	c->at.port = at->port;
	c->at.by_cluster = false;
	agent_init(&a, c, h->agent->name);
	ok = agent_open(&a, h->as_own, LIMIT_CONNECT_MS, &err) == 0 &&
	     ask(k, h, &a, ret);
	agent_fini(&a);
	free(c);
	ret->is_self = false; /* who is asked under its own name is no news */
	return ok;
}

enum found {
	FOUND_NOTHING, /* others may know more */
	FOUND_SAME,
	FOUND_OTHER,
};

static enum found
judge(struct seek *k, const struct view *v, struct seek_node *ret)
{
	*ret = (struct seek_node){ .port = v->owner.port };
	memcpy(ret->host, v->owner.host, sizeof(ret->host));
	if (v->owner.epoch < k->epoch || ret->host[0] == '\0')
		return FOUND_NOTHING;
	if ((k->now.port == 0 && v->is_self) || seek_is_same(&k->now, ret)) {
		k->now = *ret;
		k->epoch = v->owner.epoch;
		return v->is_ok ? FOUND_SAME : FOUND_NOTHING;
	}
	return v->owner.epoch > k->epoch || k->now.port == 0 ? FOUND_OTHER
	                                                     : FOUND_SAME;
}

bool
seek_look(struct seek *k, const struct seek_how *h, struct seek_node *ret,
          uint64_t *ret_epoch)
{
	uint64_t until = os_mono_ns() + LIMIT_FOLLOW_MS * NS_PER_MS;
	uint32_t n = h->first_n;
	struct view *v = calloc(1, sizeof(*v));
	enum found f = FOUND_NOTHING;
	struct err err;

	if (v == NULL)
		return false;
	v->map = h->map;
	if (h->map != NULL)
		h->map->is_ok = false;
	if (agent_open(h->agent, h->as_own, LIMIT_CONNECT_MS, &err) == 0 &&
	    ask(k, h, h->agent, v))
		f = judge(k, v, ret);
	v->map = NULL;
	for (uint32_t i = 0;
	     i < n + k->node_n && f == FOUND_NOTHING && os_mono_ns() < until;
	     i++) {
		struct seek_node at = i < n ? h->first[i] : k->node[i - n];

		if (!seek_is_same(&at, &k->now) && ask_at(k, h, &at, v))
			f = judge(k, v, ret);
	}
	*ret_epoch = v->owner.epoch;
	free(v);
	return f == FOUND_OTHER;
}
