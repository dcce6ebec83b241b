/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/follow.c: the node of a cluster that has a side's slots now.
 *
 * When a master gives way, or dies and its replica is elected, the side is that
 * replica from then on: relays, mover and control connect to it instead
 * (world/os/seat.h). Who owns slots is told by every node of the cluster; of two
 * that contradict each other the one with the higher epoch is right. Asked are the
 * node itself, its replicas, where Godwit has a user of its own, and all others
 * that were ever named. Place and names are in the journal: a restart asks on.
 *
 * Limits: FOLLOW_NODES nodes, LIMIT_FOLLOW_MS for all questions of one look.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/run_parts.h"
#include "engine/redis/admin/cluster.h"
#include "world/os/seat.h"

static const char *const seat_keys[SIDE_N] = { "old_seat", "new_seat" };
static const char *const node_keys[SIDE_N] = { "old_nodes", "new_nodes" };

/* "host port", as in the journal. */
static void
print(const struct follow_node *n, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%s %u", n->host, (unsigned)n->port);
}

static bool
parse(const char *text, struct follow_node *ret)
{
	const char *space = strchr(text, ' ');
	size_t n = space != NULL ? (size_t)(space - text) : 0;

	if (n == 0 || n >= sizeof(ret->host))
		return false;
	memcpy(ret->host, text, n);
	ret->host[n] = '\0';
	ret->port = (uint16_t)strtoul(space + 1, NULL, 10);
	return ret->port != 0;
}

static bool
is_same(const struct follow_node *a, const struct follow_node *b)
{
	return a->port == b->port && strcmp(a->host, b->host) == 0;
}

void
follow_recall(struct run *r)
{
	for (int s = 0; s < SIDE_N; s++) {
		struct follow *f = &r->at[s].follow;
		char *seat = journal_meta(r->journal, seat_keys[s]);
		char *list = journal_meta(r->journal, node_keys[s]);
		char *at = list;
		char *one;

		r->side[s].at.by_cluster = r->is_node[s];
		if (seat != NULL && parse(seat, &f->now)) {
			const char *epoch = strrchr(seat, ' ');

			f->epoch = strtoull(epoch, NULL, 10);
			seat_set(&r->side[s].at, f->now.host, f->now.port);
		}
		while ((one = strsep(&at, ",")) != NULL &&
		       f->node_n < FOLLOW_NODES)
			f->node_n += parse(one, &f->node[f->node_n]);
		free(seat);
		free(list);
	}
}

/* ---- what a node says ---------------------------------------------------- */

struct view {
	struct cluster_node owner; /* of all slots; port 0: nobody */
	bool is_ok;
	bool is_self; /* ... and it is the node that was asked */
	bool grew;    /* it named a node that was not known    */
};

static void
remember(struct follow *f, const struct cluster_node *n, struct view *v)
{
	struct follow_node one = { .port = n->port };

	memcpy(one.host, n->host, sizeof(one.host));
	if (one.host[0] == '\0' || one.port == 0)
		return;
	for (uint32_t i = 0; i < f->node_n; i++) {
		if (is_same(&f->node[i], &one))
			return;
	}
	if (f->node_n == FOLLOW_NODES)
		return;
	f->node[f->node_n++] = one;
	v->grew = true;
}

static void
read_nodes(struct run *r, enum side s, struct span text, struct view *v)
{
	struct cluster_node *n = malloc(sizeof(*n));

	while (n != NULL && cluster_next(&text, n)) {
		remember(&r->at[s].follow, n, v);
		if (!n->is_master || n->is_away ||
		    !cluster_covers(&n->slots, &r->node_slots[s]) ||
		    (v->owner.port != 0 && n->epoch <= v->owner.epoch))
			continue;
		v->owner = *n;
		v->is_self = n->is_self;
	}
	free(n);
}

/* a: connected. False: it said nothing that helps. */
static bool
ask(struct run *r, enum side s, struct agent *a, struct view *ret)
{
	struct span replies = { NULL, 0 };
	struct span state;
	struct resp_item it;
	struct err err;
	uint32_t n = cluster_put(&a->tx);

	*ret = (struct view){ .is_ok = false };
	if (agent_call(a, n, LIMIT_CALL_MS, &replies, &err) != 0 ||
	    !reply_item(&replies, &it) || it.type != RESP_BULK)
		return false;
	ret->is_ok = reply_info(it.text, "cluster_state", &state) &&
	             span_eq(state, SPAN("ok"));
	if (!reply_item(&replies, &it) || it.type != RESP_BULK)
		return false;
	read_nodes(r, s, it.text, ret);
	return ret->owner.port != 0;
}

/* The same of any node; a connection for one question. */
static bool
ask_at(struct run *r, enum side s, const struct follow_node *at,
       struct view *ret)
{
	struct side_conf *c = malloc(sizeof(*c));
	struct agent a;
	struct err err;
	bool ok;

	if (c == NULL)
		return false;
	*c = r->side[s];
	memcpy(c->at.host, at->host, sizeof(at->host));
	c->at.port = at->port;
	c->at.by_cluster = false;
	agent_init(&a, c, r->agent_name);
	ok = agent_open(&a, true, LIMIT_CONNECT_MS, &err) == 0 &&
	     ask(r, s, &a, ret);
	agent_fini(&a);
	free(c);
	return ok;
}

/* ---- and what becomes of it ---------------------------------------------- */

static void
keep_nodes(struct run *r, enum side s)
{
	const struct follow *f = &r->at[s].follow;
	char text[FOLLOW_NODES * (sizeof(f->node[0].host) + 8)];
	size_t used = 0;
	struct err err;

	text[0] = '\0';
	for (uint32_t i = 0; i < f->node_n; i++) {
		if (i > 0)
			text[used++] = ',';
		print(&f->node[i], text + used, sizeof(text) - used);
		used += strlen(text + used);
	}
	if (journal_set_meta(r->journal, node_keys[s], text, &err) != 0)
		run_event(r, "disk", "%s", err.text);
}

static int
keep_seat(struct run *r, enum side s, const struct follow_node *to,
          uint64_t epoch, struct err *err)
{
	char text[sizeof(to->host) + 40];
	size_t used;

	print(to, text, sizeof(text));
	used = strlen(text);
	(void)snprintf(text + used, sizeof(text) - used, " %llu",
	               (unsigned long long)epoch);
	return journal_set_meta(r->journal, seat_keys[s], text, err);
}

static void
move(struct run *r, enum side s, const struct follow_node *to, uint64_t epoch)
{
	struct follow *f = &r->at[s].follow;
	struct mail m = { .kind = MAIL_SEAT, .side = s };
	struct err err;

	if (keep_seat(r, s, to, epoch, &err) != 0) {
		run_event(r, "disk", "%s", err.text);
		return;
	}
	run_event(r, "failed_over",
	          "%s: its slots are now at %s:%u, before %s:%u",
	          r->side[s].label, to->host, (unsigned)to->port, f->now.host,
	          (unsigned)f->now.port);
	f->now = *to;
	f->epoch = epoch;
	seat_set(&r->side[s].at, to->host, to->port);
	agent_close(&r->at[s].agent);
	machines_tell(r, &m);
	machines_tell_mover(r, &m);
}

/* True: what was seen settles the matter. */
static bool
take(struct run *r, enum side s, const struct view *v)
{
	struct follow *f = &r->at[s].follow;
	struct follow_node to = { .port = v->owner.port };

	if (v->grew)
		keep_nodes(r, s);
	memcpy(to.host, v->owner.host, sizeof(to.host));
	if (v->owner.epoch < f->epoch || to.host[0] == '\0')
		return false;
	if (f->now.port == 0 || is_same(&f->now, &to)) {
		f->now = to;
		f->epoch = v->owner.epoch;
		return v->is_ok;
	}
	if (v->owner.epoch > f->epoch)
		move(r, s, &to, v->owner.epoch);
	return true;
}

void
follow_look(struct run *r, enum side s)
{
	struct run_side *at = &r->at[s];
	struct follow *f = &at->follow;
	uint64_t until = os_mono_ns() + LIMIT_FOLLOW_MS * NS_PER_MS;
	struct follow_node node[FOLLOW_NODES];
	uint32_t n = 0;
	struct view *v;
	struct err err;
	bool done;

	if (!r->side[s].at.by_cluster)
		return;
	v = malloc(sizeof(*v));
	if (v == NULL)
		return;
	done = agent_open(&at->agent, at->users_made || r->is_resumed,
	                  LIMIT_CONNECT_MS, &err) == 0 &&
	       ask(r, s, &at->agent, v) && take(r, s, v);
	/* Those with a user of ours first. */
	n = replica_addresses(at, node, FOLLOW_NODES);
	for (uint32_t i = 0; i < f->node_n && n < FOLLOW_NODES; i++)
		node[n++] = f->node[i];
	for (uint32_t i = 0; i < n && !done && os_mono_ns() < until; i++) {
		if (!is_same(&node[i], &f->now) && ask_at(r, s, &node[i], v))
			done = take(r, s, v);
	}
	free(v);
}
