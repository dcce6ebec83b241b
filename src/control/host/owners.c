/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/owners.c: which instance of an interlay before nodes of a cluster
 * has a slot.
 *
 * At the beginning that is what the interlay was made with. When slots move from
 * master to master requests follow at once (engine/redis/relay/detour.h); when the
 * nodes have agreed for a while the instance of the other master has the slot, so
 * that migrations and their legs know whose it is. Clients take a new table when
 * nothing of theirs is under way, so no table is freed before the interlay is.
 *
 * Thread: the host's lock is held.
 */
#include <stdlib.h>

#include "control/host/inside.h"
#include "control/seek.h"
#include "world/os/loop.h"

#define SETTLED_NS 1000000000ull /* so long nothing has changed */

uint8_t
owners_of(const struct line *front, uint32_t slot)
{
	const struct spread_owners *o = atomic_load(&front->owners);

	return o != NULL ? o->of[slot] : front->l->spread->owner[slot];
}

struct line *
owners_instance(const struct host *h, const struct spread_conf *c, uint32_t i)
{
	for (struct line *n = h->lines; n != NULL; n = n->next) {
		if (n->is_instance && n->l != NULL &&
		    strcmp(n->l->listen, c->instance[i].at.host) == 0)
			return n;
	}
	return NULL;
}

/* The instance that has it now, if it is on that node, else the first one there. */
static uint8_t
owner_on(const struct line *front, const uint8_t at[SPREAD_MAX], uint32_t slot,
         uint8_t node)
{
	uint8_t now = owners_of(front, slot);

	for (uint32_t i = 0; at[now] != node && i < front->l->spread->n; i++) {
		if (at[i] == node)
			return (uint8_t)i;
	}
	return now;
}

void
owners_follow(struct host *h, struct line *front, const struct seek_map *map,
              const uint8_t at[SPREAD_MAX])
{
	struct spread_owners *w = calloc(1, sizeof(*w));
	uint64_t now = os_mono_ns();
	bool differs = false;

	if (w == NULL)
		return;
	for (uint32_t s = 0; s < HASH_SLOTS; s++) {
		w->of[s] = map->of[s] < map->n
		                   ? owner_on(front, at, s, map->of[s])
		                   : owners_of(front, s);
		differs |= w->of[s] != owners_of(front, s);
	}
	if (front->wanted != NULL && differs &&
	    memcmp(front->wanted->of, w->of, sizeof(w->of)) == 0) {
		free(w);
		w = front->wanted;
	} else {
		free(front->wanted);
		front->wanted_ns = now;
	}
	front->wanted = w;
	if (!differs) {
		free(w);
		front->wanted = NULL;
	} else if (now >= front->wanted_ns + SETTLED_NS) {
		w->before = atomic_load(&front->owners);
		atomic_store(&front->owners, w);
		front->wanted = NULL;
		part_speakers(h);
	}
}

/* False: it has them already. */
static bool
give(const struct line *front, uint32_t at, const struct cluster_slots *slots,
     struct spread_owners *ret)
{
	bool differs = false;

	for (uint32_t s = 0; s < HASH_SLOTS; s++) {
		ret->of[s] = owners_of(front, s);
		if (!cluster_has(slots, s) || ret->of[s] == at)
			continue;
		ret->of[s] = (uint8_t)at;
		differs = true;
	}
	return differs;
}

void
owners_give(struct host *h, const struct line *n,
            const struct cluster_slots *slots)
{
	for (struct line *f = h->lines; f != NULL; f = f->next) {
		const struct spread_conf *c =
			f->l != NULL ? f->l->spread : NULL;

		for (uint32_t i = 0; c != NULL && c->by_slot && i < c->n; i++) {
			struct spread_owners *w;

			if (owners_instance(h, c, i) != n)
				continue;
			w = calloc(1, sizeof(*w));
			if (w == NULL || !give(f, i, slots, w)) {
				free(w);
				continue;
			}
			w->before = atomic_load(&f->owners);
			atomic_store(&f->owners, w);
		}
	}
}

void
owners_free(struct line *front)
{
	struct spread_owners *o = atomic_load(&front->owners);

	while (o != NULL) {
		struct spread_owners *before = o->before;

		free(o);
		o = before;
	}
	free(front->wanted);
}
