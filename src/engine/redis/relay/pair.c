/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/pair.c: an interlay gets other sides; its clients stay.
 *
 *   alone ─[MAIL_PAIR: old stays old]→ of a migration
 *         ←[MAIL_PAIR: the side with authority becomes old]─
 *
 * Lanes of the side that stays change their name only: what runs there goes on.
 * Lanes of the other side end; reads under way there are asked again. Only
 * subscribers need time, see pubsub_own.c.
 */
#include "engine/redis/relay/clients.h"
#include "engine/redis/relay/detour.h"
#include "engine/redis/relay/shadow.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"

void
pair_begin(struct relay *r, const struct mail *m)
{
	struct pairing *p = &r->pair;

	REQUIRE(m->pair != NULL && m->token < SIDE_N);
	REQUIRE(m->side == r->route.authority);
	*p = (struct pairing){
		.on = true,
		.conf = m->pair,
		.route = m->route,
		.keep = m->side,
		.to = (enum side)m->token,
	};
	pubsub_own_begin(r, p->keep);
	pair_check(r);
}

static bool
stays(const struct relay *r, const struct lane *l)
{
	return l->side == r->pair.keep && l->kind != LANE_READER;
}

/* Clients leave the lanes that do not stay. */
static void
leave_clients(struct relay *r)
{
	list_each(session, s, all, &r->sessions) {
		struct sub *u = s->wide == NULL ? NULL : s->wide->sub;

		if (s->lane != NULL && s->inflight == 0 && s->withheld == 0 &&
		    !stays(r, s->lane))
			lane_attach(r, s, NULL);
		if (u == NULL)
			continue;
		if (u->shadow != NULL)
			lane_end(r, u->shadow, false);
		u->shadow = NULL;
		u->marked = 0;
	}
}

static void
leave_lanes(struct relay *r)
{
	list_each(lane, l, all, &r->lanes) {
		if (!l->dead && l->kind != LANE_SUB &&
		    (!stays(r, l) || l->kind == LANE_ADMIN))
			lane_leave(r, l);
	}
}

static void
rename_lanes(struct relay *r)
{
	enum side other = side_other(r->pair.to);

	list_each(lane, l, all, &r->lanes) {
		bool is_kept = l->side == r->pair.keep;

		l->side = (uint8_t)(is_kept ? r->pair.to : other);
	}
	/* The lane that loaded the scripts has ended; the other server may not
	 * have them. */
	r->doubt[r->pair.to] = r->doubt[r->pair.keep];
	r->scripts_ns[r->pair.to] = r->scripts_ns[r->pair.keep];
	r->doubt[other] = true;
	r->scripts_ns[other] = 0;
	r->loading[SIDE_OLD] = false;
	r->loading[SIDE_NEW] = false;
}

/* Alone there is one side: what was counted on the other one is its past. */
static void
add_up(struct relay *r)
{
	struct counts *n = &r->n;
	struct traffic *t = r->traffic;
	uint64_t *const pairs[] = { n->reads, n->writes, n->errors,
		                    n->lost,  n->unused, n->read_errors };

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		pairs[i][SIDE_OLD] += pairs[i][SIDE_NEW];
		pairs[i][SIDE_NEW] = 0;
	}
	for (int b = 0; t != NULL && b < TRAFFIC_BUCKETS; b++) {
		uint32_t v = atomic_load_explicit(&t->latency[SIDE_NEW][b],
		                                  memory_order_relaxed) +
		             atomic_load_explicit(&t->latency[SIDE_OLD][b],
		                                  memory_order_relaxed);

		atomic_store_explicit(&t->latency[SIDE_OLD][b], v,
		                      memory_order_relaxed);
		atomic_store_explicit(&t->latency[SIDE_NEW][b], 0,
		                      memory_order_relaxed);
	}
}

static void
finish(struct relay *r)
{
	struct mail m = { .kind = MAIL_PAIR_ACK,
		          .who = r->pair.conf->who,
		          .epoch = r->pair.route.epoch };

	r->pair.on = false;
	r->route.read_ppm = 0;
	r->route.ack = ACK_AUTHORITY;
	ack_release_all(r);
	shadow_reset(r);
	leave_clients(r);
	leave_lanes(r);
	rename_lanes(r);
	causal_new_era(r);
	detour_forget(r);
	r->conf = r->pair.conf;
	list_each(lane, l, all, &r->lanes) {
		l->is_node = r->conf->side[l->side].at.by_cluster;
	}
	r->board = r->conf->board;
	r->traffic = r->conf->traffic;
	r->history = r->board != NULL ? atomic_load(&r->board->history) : 0;
	r->route = hold_trim(&r->pair.route);
	split_adopt(r);
	hold_leave(r);
	r->entry = ENTRY_UNKNOWN;
	r->rule_now++;
	r->behind = false;
	clients_watch(r);
	r->unbound = false;
	r->late_told = false;
	r->default_reads = false;
	r->default_open = false;
	r->mark_epoch = 0;
	r->mark_told = false;
	if (r->board == NULL)
		add_up(r);
	relay_warm(r);
	m.route = r->route;
	r->port->ops->mail(r->port, &m);
}

void
pair_check(struct relay *r)
{
	struct pairing *p = &r->pair;

	if (!p->on)
		return;
	pubsub_own_check(r);
	if (!r->own.on)
		finish(r);
}
