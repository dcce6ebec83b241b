/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/lane_find.c: which connection a request takes: the one of
 * its kind, side, credentials and database, made when there is none.
 *
 * Thread: that of the relay.
 */
#include "engine/redis/relay/detour.h"
#include "engine/redis/relay/split.h"

/* What makes two lanes the same. */
struct key {
	enum lane_kind kind;
	enum side side;
	struct cred *cred;
	uint32_t db;
	bool resp3;
	bool as_writer;
	bool vouched;
	uint8_t node;
	bool brought;
};

static struct lane *
lane_new(struct relay *r, const struct key *k)
{
	struct lane *lane = mem_zero(r->mem, sizeof(*lane));

	if (lane == NULL)
		return NULL;
	lane->owner = OWNER_LANE;
	lane->kind = (uint8_t)k->kind;
	lane->side = (uint8_t)k->side;
	lane->db = k->db;
	lane->cred = k->cred;
	lane->resp3 = k->resp3;
	lane->as_writer = k->as_writer;
	lane->vouched = k->vouched;
	lane->node = k->node;
	lane->brought = k->brought;
	lane->client_id = -1;
	lane->id = ++r->next_lane;
	lane->idle_ns = r->port->now_ns;
	cred_ref(k->cred);
	buf_init(&lane->keep, r->mem);
	buf_init(&lane->part, r->mem);
	resp_skip_init(&lane->skip);
	lane_all_push(&r->lanes, lane);
	return lane;
}

static bool
is_one(const struct lane *l, const struct key *k)
{
	return l->kind == k->kind && l->side == k->side && l->cred == k->cred &&
	       l->db == k->db && l->resp3 == k->resp3 &&
	       l->as_writer == k->as_writer && l->vouched == k->vouched &&
	       l->node == k->node && l->brought == k->brought && !l->dead &&
	       !l->left;
}

static struct lane *
find_or_new(struct relay *r, const struct key *k)
{
	struct lane *lane = NULL;

	list_each(lane, l, all, &r->lanes) {
		if (is_one(l, k)) {
			lane = l;
			break;
		}
	}
	if (lane == NULL)
		lane = lane_new(r, k);
	if (lane != NULL && lane->state == LANE_DOWN)
		lane_want(r, lane);
	else if (lane != NULL && lane->state == LANE_WARM &&
	         k->kind != LANE_PROOF && lane->side == r->route.authority)
		lane_settle(r, lane);
	return lane;
}

struct lane *
lane_shared(struct relay *r, enum side side, struct cred *cred, uint32_t db,
            bool resp3)
{
	struct key k = { LANE_SHARED, side,  cred, db,   resp3,
		         false,       false, 0,    false };

	return find_or_new(r, &k);
}

struct lane *
lane_shared_of(struct relay *r, const struct session *s, enum side side)
{
	struct key k = { LANE_SHARED,
		         side,
		         s->cred,
		         s->db,
		         s->resp3,
		         false,
		         s->cred == NULL && s->vouched,
		         side == s->at ? detour_node(s) : 0,
		         session_has_brought(s) };

	return find_or_new(r, &k);
}

struct lane *
lane_shared_like(struct relay *r, const struct lane *like, enum side side)
{
	struct key k = { LANE_SHARED,   side,        like->cred,
		         like->db,      like->resp3, false,
		         like->vouched, 0,           like->brought };

	return find_or_new(r, &k);
}

struct lane *
lane_writer(struct relay *r, enum side side, uint32_t db, bool resp3)
{
	struct key k = { LANE_SHARED, side,  NULL, db,   resp3,
		         true,        false, 0,    false };

	return find_or_new(r, &k);
}

struct lane *
lane_proof(struct relay *r, enum side side, struct cred *cred)
{
	struct key k = { LANE_PROOF, side,  cred, 0,    false,
		         false,      false, 0,    false };

	return find_or_new(r, &k);
}

struct lane *
lane_reader(struct relay *r, enum side side, uint32_t db, bool resp3)
{
	struct key k = { LANE_READER, side,  NULL, db,   resp3,
		         false,       false, 0,    false };

	return find_or_new(r, &k);
}

struct lane *
lane_shadow(struct relay *r, enum side side, uint32_t db, bool resp3)
{
	struct key k = { LANE_SHADOW, side,  NULL, db,   resp3,
		         false,       false, 0,    false };

	return find_or_new(r, &k);
}

struct lane *
lane_admin(struct relay *r, enum side side)
{
	struct key k = { LANE_ADMIN, side,  NULL, 0,    false,
		         false,      false, 0,    false };

	return find_or_new(r, &k);
}

struct lane *
lane_own(struct relay *r, struct session *s)
{
	struct cred *cred = split_is_on(r) ? NULL : s->cred;
	struct key k = { LANE_OWN,
		         (enum side)s->at,
		         cred,
		         s->db,
		         s->resp3,
		         split_is_on(r),
		         s->cred == NULL && s->vouched && !split_is_on(r),
		         detour_node(s),
		         session_has_brought(s) && !split_is_on(r) };
	struct lane *lane = NULL;

	list_each(lane, l, all, &r->lanes) {
		if (l->mine == NULL && l->state == LANE_READY &&
		    ring_n(&l->fifo) == 0 && is_one(l, &k)) {
			lane = l;
			break;
		}
	}
	if (lane == NULL)
		lane = lane_new(r, &k);
	if (lane == NULL)
		return NULL;
	lane->mine = s;
	if (lane->state == LANE_DOWN)
		lane_want(r, lane);
	return lane;
}

struct lane *
lane_sub(struct relay *r, struct session *s, enum side side, bool as_reader)
{
	bool as_writer = !as_reader && split_is_on(r);
	struct cred *cred = as_reader || as_writer ? NULL : s->cred;
	struct key k = { LANE_SUB,  side,  cred, 0,    false,
		         as_writer, false, 0,    false };
	struct lane *lane = lane_new(r, &k);

	if (lane == NULL)
		return NULL;
	lane->mine = s;
	lane->as_reader = as_reader;
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
