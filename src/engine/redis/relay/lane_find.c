/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/lane_find.c: which connection a request takes: the one of
 * its kind, side, credentials and database, made when there is none.
 *
 * Thread: that of the relay.
 */
#include "engine/redis/relay/split.h"

static struct lane *
lane_new(struct relay *r, enum lane_kind kind, enum side side,
         struct cred *cred, uint32_t db)
{
	struct lane *lane = mem_zero(r->mem, sizeof(*lane));

	if (lane == NULL)
		return NULL;
	lane->owner = OWNER_LANE;
	lane->kind = (uint8_t)kind;
	lane->side = (uint8_t)side;
	lane->db = db;
	lane->cred = cred;
	lane->client_id = -1;
	lane->id = ++r->next_lane;
	lane->idle_ns = r->port->now_ns;
	cred_ref(cred);
	buf_init(&lane->keep, r->mem);
	buf_init(&lane->part, r->mem);
	resp_skip_init(&lane->skip);
	lane_all_push(&r->lanes, lane);
	return lane;
}

static struct lane *
find(struct relay *r, enum lane_kind kind, enum side side,
     const struct cred *cred, uint32_t db, bool as_writer)
{
	list_each(lane, l, all, &r->lanes) {
		if (l->kind == kind && l->side == side && l->cred == cred &&
		    l->db == db && l->as_writer == as_writer && !l->dead)
			return l;
	}
	return NULL;
}

static struct lane *
find_or_new(struct relay *r, enum lane_kind kind, enum side side,
            struct cred *cred, uint32_t db)
{
	struct lane *lane = find(r, kind, side, cred, db, false);

	if (lane == NULL)
		lane = lane_new(r, kind, side, cred, db);
	if (lane != NULL && lane->state == LANE_DOWN)
		lane_want(r, lane);
	else if (lane != NULL && lane->state == LANE_WARM &&
	         kind != LANE_PROOF && lane->side == r->route.authority)
		lane_settle(r, lane);
	return lane;
}

struct lane *
lane_shared(struct relay *r, enum side side, struct cred *cred, uint32_t db)
{
	return find_or_new(r, LANE_SHARED, side, cred, db);
}

struct lane *
lane_writer(struct relay *r, enum side side, uint32_t db)
{
	struct lane *lane = find(r, LANE_SHARED, side, NULL, db, true);

	if (lane == NULL) {
		lane = lane_new(r, LANE_SHARED, side, NULL, db);
		if (lane != NULL)
			lane->as_writer = true;
	}
	if (lane != NULL && lane->state == LANE_DOWN)
		lane_want(r, lane);
	return lane;
}

struct lane *
lane_proof(struct relay *r, enum side side, struct cred *cred)
{
	return find_or_new(r, LANE_PROOF, side, cred, 0);
}

struct lane *
lane_reader(struct relay *r, enum side side, uint32_t db)
{
	return find_or_new(r, LANE_READER, side, NULL, db);
}

struct lane *
lane_shadow(struct relay *r, enum side side, uint32_t db)
{
	return find_or_new(r, LANE_SHADOW, side, NULL, db);
}

struct lane *
lane_admin(struct relay *r, enum side side)
{
	return find_or_new(r, LANE_ADMIN, side, NULL, 0);
}

struct lane *
lane_own(struct relay *r, struct session *s)
{
	struct cred *cred = split_is_on(r) ? NULL : s->cred;
	struct lane *lane = NULL;

	list_each(lane, l, all, &r->lanes) {
		if (l->kind == LANE_OWN && l->mine == NULL && !l->dead &&
		    l->side == s->at && l->cred == cred &&
		    l->as_writer == split_is_on(r) && l->db == s->db &&
		    l->state == LANE_READY && ring_n(&l->fifo) == 0) {
			lane = l;
			break;
		}
	}
	if (lane == NULL) {
		lane = lane_new(r, LANE_OWN, (enum side)s->at, cred, s->db);
		if (lane == NULL)
			return NULL;
		lane->as_writer = split_is_on(r);
	}
	lane->mine = s;
	if (lane->state == LANE_DOWN)
		lane_want(r, lane);
	return lane;
}

struct lane *
lane_sub(struct relay *r, struct session *s, enum side side, bool as_reader)
{
	bool as_writer = !as_reader && split_is_on(r);
	struct lane *lane = lane_new(
		r, LANE_SUB, side, as_reader || as_writer ? NULL : s->cred, 0);

	if (lane == NULL)
		return NULL;
	lane->mine = s;
	lane->as_reader = as_reader;
	lane->as_writer = as_writer;
	lane_want(r, lane);
	return lane;
}

bool
lane_is_of_route(const struct relay *r, const struct lane *lane)
{
	if (split_is_on(r))
		return lane->as_writer;
	return !lane->as_writer && lane->side == r->route.authority;
}
