/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/follow.c: the node of a cluster that has a side's slots now.
 *
 * When a master gives way, or dies and its replica is elected, the side is that
 * replica from then on: relays, mover and control connect to it instead
 * (world/os/seat.h). Whom to ask: seek.h; replicas first, where Godwit has a user of
 * its own. Place and names are in the journal: a restart asks on.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/run_parts.h"
#include "world/os/seat.h"

static const char *const seat_keys[SIDE_N] = { "old_seat", "new_seat" };
static const char *const node_keys[SIDE_N] = { "old_nodes", "new_nodes" };

/* "host port", as in the journal. */
static void
print(const struct seek_node *n, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%s %u", n->host, (unsigned)n->port);
}

static bool
parse(const char *text, struct seek_node *ret)
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

void
follow_recall(struct run *r)
{
	for (int s = 0; s < SIDE_N; s++) {
		struct seek *f = &r->at[s].follow;
		char *seat = journal_meta(r->journal, seat_keys[s]);
		char *list = journal_meta(r->journal, node_keys[s]);
		char *at = list;
		char *one;

		r->side[s].at.by_cluster = r->is_node[s];
		r->side[s].nodes = r->is_node[s] ? &r->nodes[s] : NULL;
		if (r->is_node[s] && !f->is_held)
			seat_hold(&r->side[s].at);
		f->is_held = r->is_node[s];
		if (seat != NULL && parse(seat, &f->now)) {
			const char *epoch = strrchr(seat, ' ');

			f->epoch = strtoull(epoch, NULL, 10);
			seat_set(&r->side[s].at, f->now.host, f->now.port);
		} else if (!r->is_resumed) {
			/* It was reached under its own name. */
			seat_set(&r->side[s].at, r->side[s].at.host,
			         r->side[s].at.port);
		}
		while ((one = strsep(&at, ",")) != NULL &&
		       f->node_n < SEEK_NODES)
			f->node_n += parse(one, &f->node[f->node_n]);
		free(seat);
		free(list);
	}
}

void
follow_end(struct run *r)
{
	for (int s = 0; s < SIDE_N; s++) {
		if (r->at[s].follow.is_held)
			seat_leave(&r->side[s].at);
		r->at[s].follow.is_held = false;
	}
}

static void
keep_nodes(struct run *r, enum side s)
{
	const struct seek *f = &r->at[s].follow;
	char text[SEEK_NODES * (sizeof(f->node[0].host) + 8)];
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
keep_seat(struct run *r, enum side s, const struct seek_node *to,
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
move(struct run *r, enum side s, const struct seek_node *to, uint64_t epoch)
{
	struct seek *f = &r->at[s].follow;
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
	machines_tell_movers(r, &m);
}

void
follow_look(struct run *r, enum side s)
{
	struct run_side *at = &r->at[s];
	struct seek_node first[LIMIT_REPLICAS];
	/* Those with a user of ours first. */
	struct seek_how how = { .agent = &at->agent,
		                .as_own = at->users_made || r->is_resumed,
		                .slots = &r->node_slots[s],
		                .first = first,
		                .map = &at->map,
		                .nodes = &r->nodes[s] };
	struct seek_node to;
	uint64_t epoch;
	bool other;

	if (!r->side[s].at.by_cluster)
		return;
	how.first_n = replica_addresses(at, first, LIMIT_REPLICAS);
	other = seek_look(&at->follow, &how, &to, &epoch);
	if (at->follow.grew)
		keep_nodes(r, s);
	at->follow.grew = false;
	if (other)
		move(r, s, &to, epoch);
}
