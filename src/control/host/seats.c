/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/seats.c: interlays before nodes of a cluster that no migration has:
 * they follow their master, too (control/follow.c does it for the others).
 *
 * A thread asks each node every LOOK_MS. What it knows is not in any journal: after
 * a restart the endpoint has to answer, or to have its slots.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "control/host/inside.h"
#include "control/seek.h"
#include "world/os/seat.h"

#define LOOK_MS 250 /* clients of a master that gave way wait so long */

/* One interlay while it is alone. */
struct watch {
	char uuid[HOST_UUID_MAX];
	char url[URL_MAX];
	struct side_conf side;
	struct agent agent;
	struct cluster_slots slots;
	struct seek seek;
	struct seek_map map; /* what its node said last */
	struct nodes nodes;  /* ... for the interlay    */
	bool is_wanted;
	struct watch *next;
};

struct seats {
	struct host *host;
	struct watch *watches;
	pthread_t thread;
	_Atomic bool ends;
};

static void
drop(struct watch *w)
{
	agent_fini(&w->agent);
	seat_leave(&w->side.at);
	explicit_bzero(w, sizeof(*w));
	free(w);
}

static struct watch *
make(const struct line *n)
{
	struct watch *w = calloc(1, sizeof(*w));
	struct url url;
	struct err err;

	if (w == NULL)
		return NULL;
	memcpy(w->uuid, n->uuid, sizeof(w->uuid));
	memcpy(w->url, n->url, sizeof(w->url));
	if (url_parse(n->url, &url, &err) != 0 ||
	    url_side(&url, SIDE_OLD, &w->side, &err) != 0) {
		free(w);
		return NULL;
	}
	w->side.at.by_cluster = true;
	seat_hold(&w->side.at);
	agent_init(&w->agent, &w->side, "godwit:seats");
	return w;
}

/* What is known of other masters, to its relays. */
static void
publish(const struct watch *w, struct line *n)
{
	for (uint32_t i = 0; i < w->nodes.n; i++) {
		const struct nodes_one *o = &w->nodes.one[i];

		nodes_put(&n->l->nodes[SIDE_OLD], o->host, o->port,
		          o->is_master);
	}
}

/* Which interlays are alone now? host.lock is held. */
static void
gather(struct seats *s)
{
	for (struct watch *w = s->watches; w != NULL; w = w->next)
		w->is_wanted = false;
	for (struct line *n = s->host->lines; n != NULL; n = n->next) {
		struct watch *w = s->watches;

		if (!n->is_node || n->used_by[0] != '\0' || n->held)
			continue;
		while (w != NULL && (strcmp(w->uuid, n->uuid) != 0 ||
		                     strcmp(w->url, n->url) != 0))
			w = w->next;
		if (w == NULL) {
			w = make(n);
			if (w == NULL)
				continue;
			w->next = s->watches;
			s->watches = w;
		}
		memset(&w->slots, 0, sizeof(w->slots));
		w->is_wanted = part_slots(s->host, n, &w->slots);
		publish(w, n);
	}
}

static void
drop_unwanted(struct seats *s)
{
	struct watch **at = &s->watches;

	while (*at != NULL) {
		struct watch *w = *at;

		if (w->is_wanted) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		drop(w);
	}
}

static void
tell(struct host *h, const struct watch *w, const struct seek_node *to)
{
	struct mail m = { .kind = MAIL_SEAT, .side = SIDE_OLD };
	struct line *n;
	char text[320];
	json_t *j;

	host_lock(h);
	n = line_find(h, w->uuid);
	if (n != NULL && n->l != NULL)
		interlay_tell(n->l, &m);
	host_unlock(h);
	(void)snprintf(text, sizeof(text), "%s: its slots are now at %s:%u",
	               w->side.label, to->host, (unsigned)to->port);
	j = json_pack("{s:I,s:s,s:s}", "at", (json_int_t)os_wall_ms(), "name",
	              "failed_over", "text", text);
	host_tell(h, "interlay", w->uuid, j);
	json_decref(j);
}

static void
look(struct host *h, struct watch *w)
{
	const struct seek_how how = { .agent = &w->agent,
		                      .slots = &w->slots,
		                      .map = &w->map,
		                      .nodes = &w->nodes };
	struct seek_node to;
	uint64_t epoch;

	if (!seek_look(&w->seek, &how, &to, &epoch))
		return;
	w->seek.now = to;
	w->seek.epoch = epoch;
	seat_set(&w->side.at, to.host, to.port);
	agent_close(&w->agent);
	tell(h, w, &to);
}

/* ---- slots that move from node to node ----------------------------------- */

static const struct watch *
watch_of(const struct seats *s, const struct line *n)
{
	const struct watch *w = s->watches;

	while (w != NULL && strcmp(w->uuid, n->uuid) != 0)
		w = w->next;
	return w;
}

/* Of an interlay all of whose instances are alone: where each of them is, in the
 * words of the first. */
static void
look_at_front(struct seats *s, struct line *front)
{
	const struct spread_conf *c = front->l->spread;
	const struct seek_map *map = NULL;
	uint8_t at[SPREAD_MAX];

	for (uint32_t i = 0; i < c->n; i++) {
		const struct line *n = owners_instance(s->host, c, i);
		const struct watch *w = n != NULL ? watch_of(s, n) : NULL;
		uint8_t k = 0;

		if (w == NULL || !w->map.is_ok || w->map.self >= w->map.n)
			return;
		if (map == NULL)
			map = &w->map;
		while (k < map->n &&
		       !seek_is_same(&map->node[k], &w->map.node[w->map.self]))
			k++;
		at[i] = k;
	}
	if (map != NULL)
		owners_follow(s->host, front, map, at);
}

static void
look_at_fronts(struct seats *s)
{
	host_lock(s->host);
	for (struct line *n = s->host->lines; n != NULL; n = n->next) {
		if (n->l != NULL && n->l->spread != NULL &&
		    n->l->spread->by_slot)
			look_at_front(s, n);
	}
	host_unlock(s->host);
}

static void *
work(void *arg)
{
	const struct timespec pause = { .tv_nsec = LOOK_MS * (long)NS_PER_MS };
	struct seats *s = arg;

	while (!atomic_load(&s->ends)) {
		host_lock(s->host);
		gather(s);
		host_unlock(s->host);
		drop_unwanted(s);
		for (struct watch *w = s->watches;
		     w != NULL && !atomic_load(&s->ends); w = w->next)
			look(s->host, w);
		look_at_fronts(s);
		(void)nanosleep(&pause, NULL);
	}
	return NULL;
}

struct seats *
seats_new(struct host *h, struct err *err)
{
	struct seats *s = calloc(1, sizeof(*s));

	if (s != NULL)
		s->host = h;
	if (s == NULL || pthread_create(&s->thread, NULL, work, s) != 0) {
		free(s);
		(void)err_set(err, ERR_NOMEM,
		              "no thread for nodes of clusters");
		return NULL;
	}
	return s;
}

void
seats_free(struct seats *s)
{
	if (s == NULL)
		return;
	atomic_store(&s->ends, true);
	(void)pthread_join(s->thread, NULL);
	while (s->watches != NULL) {
		struct watch *w = s->watches;

		s->watches = w->next;
		drop(w);
	}
	free(s);
}
