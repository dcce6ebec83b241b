/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/causal.c: when a read may go to the other side.
 *
 * Rule (core/board.h): everything that a session wrote or saw on the authority
 * has been passed, and the other side is settled, when the read is sent and
 * still when its answer begins to arrive.
 *
 * What a session saw is known by probes: a batch of requests on a lane is
 * followed by one ROLE, whose answer tells a position not before theirs. The
 * session remembers the batch; the lane remembers its newest answered probe. A
 * session that has left the lane (all was answered) may use any later probe.
 */
#include "engine/redis/relay/rights.h"
#include "engine/redis/relay/split.h"

#define USERS_MAX 64          /* asked in one second */
#define AGAIN_NS  10000000ull /* until Godwit's own lane is asked again */

bool
causal_is_on(const struct relay *r)
{
	return r->route.read_ppm > 0 || r->route.ack == ACK_BOTH;
}

/* Any probe from now on tells what it has seen. */
static void
forget(struct relay *r, struct session *s)
{
	s->unseen = true;
	s->strayed = true;
	s->seen = r->batch;
}

void
causal_new_era(struct relay *r)
{
	r->any_batch = 0;
	r->any_pos = 0;
	list_each(lane, l, all, &r->lanes) {
		l->done_batch = 0;
		l->done_pos = 0;
	}
	/* Positions before mean nothing: a new probe has to tell. */
	list_each(session, s, all, &r->sessions)
		forget(r, s);
}

static void
resolve(struct relay *r, struct session *s)
{
	uint64_t pos = 0;

	if (!s->unseen)
		return;
	if (!s->strayed && s->lane != NULL) {
		if (s->lane->done_batch < s->seen)
			return;
		pos = s->lane->done_pos;
	} else {
		if (r->any_batch < s->seen)
			return;
		pos = r->any_pos;
	}
	/* Not less than what it had seen before: positions of an era grow. */
	s->seen = pos;
	s->unseen = false;
}

void
causal_leave(struct relay *r, struct session *s)
{
	resolve(r, s);
	if (s->unseen)
		forget(r, s);
}

static void
look_at_history(struct relay *r)
{
	uint64_t h = atomic_load(&r->board->history);

	if (h == r->history)
		return;
	r->history = h;
	causal_new_era(r);
}

bool
causal_reads_all(const struct relay *r, const struct session *s)
{
	if (!cred_is_default(r, s))
		return s->cred != NULL && s->cred->reads;
	return r->default_reads && (s->cred != NULL || r->default_open);
}

bool
causal_may_read(struct relay *r, struct session *s)
{
	struct board *b = r->board;
	enum side authority = r->route.authority;

	if (r->behind || r->hold.on || b == NULL || !causal_reads_all(r, s))
		return false;
	look_at_history(r);
	if (s->lane != NULL && s->lane->kind == LANE_READER && s->inflight > 0)
		return (atomic_load(&b->unsettled) & 1) == 0;
	resolve(r, s);
	if (s->unseen)
		return false;
	return (atomic_load(&b->unsettled) & 1) == 0 &&
	       atomic_load(&b->passed[authority]) >= s->seen;
}

uint64_t
causal_mark(const struct relay *r)
{
	return atomic_load(&r->board->history) << 48 |
	       (atomic_load(&r->board->unsettled) & 0xffffffffffffu);
}

bool
causal_is_valid(struct relay *r, uint64_t mark)
{
	return !r->behind && causal_mark(r) == mark;
}

static struct lane *
lane_of_id(struct relay *r, uint64_t id)
{
	list_each(lane, l, all, &r->lanes) {
		if (l->id == id)
			return l;
	}
	return NULL;
}

bool
causal_read_role(struct span reply, uint64_t *ret)
{
	struct resp_item it;
	bool ok;

	ok = resp_read(&reply, &it) == WIRE_PART && it.type == RESP_ARRAY &&
	     resp_read(&reply, &it) == WIRE_PART && it.type == RESP_BULK &&
	     span_eq(it.text, SPAN("master")) &&
	     resp_read(&reply, &it) == WIRE_PART && it.type == RESP_INT &&
	     it.number >= 0;
	if (ok)
		*ret = (uint64_t)it.number;
	return ok;
}

struct span
causal_question(const struct relay *r, enum side side)
{
	return r->board != NULL && r->board->by_marks[side]
	               ? SPAN("*1\r\n$4\r\nPING\r\n")
	               : SPAN("*1\r\n$4\r\nROLE\r\n");
}

bool
causal_position(struct relay *r, enum side side, struct span reply,
                uint64_t *ret)
{
	if (r->board == NULL || !r->board->by_marks[side])
		return causal_read_role(reply, ret);
	if (reply.n == 0 || reply.p[0] == '-')
		return false;
	*ret = board_mark(r->board);
	return true;
}

void
causal_role_lost(struct relay *r, const struct pending *e)
{
	struct lane *lane = lane_of_id(r, e->mark);

	if (lane == NULL)
		return;
	lane->asks_for = false;
	if (lane->seg_known != lane->seg_tail)
		causal_want(r, lane);
}

void
causal_role(struct relay *r, struct lane *lane, const struct pending *e,
            struct span reply)
{
	uint64_t pos = 0;
	bool ok = causal_position(r, (enum side)lane->side, reply, &pos);

	if (e->kind == PEND_ROLE_FOR) {
		lane = lane_of_id(r, e->mark);
		if (lane == NULL)
			return;
		lane->asks_for = false;
		if (ok)
			ack_known(r, lane, e->kept, pos);
		if (lane->seg_known != lane->seg_tail)
			causal_want(r, lane);
		return;
	}
	if (!ok) {
		/* Its user may not ask: Godwit's own does. */
		lane->no_role = true;
		causal_want(r, lane);
		return;
	}
	if (lane->side == r->route.authority) {
		lane->done_batch = e->mark;
		lane->done_pos = pos;
		if (e->mark > r->any_batch)
			r->any_batch = e->mark;
		if (pos > r->any_pos)
			r->any_pos = pos;
	}
	ack_known(r, lane, lane->seg_tail, pos);
}

/* Its client is in the middle of a request or of a transaction: whatever is sent
 * there now becomes a part of it. */
static bool
is_inside(const struct lane *lane)
{
	const struct session *s = lane->mine;

	return s != NULL &&
	       (s->multi || (s->part != NULL && s->part->streaming));
}

/* The lane cannot ask for the position of its withheld replies itself: Godwit's
 * own lane does. True: later again. */
static bool
ask_for(struct relay *r, struct lane *lane)
{
	struct lane *admin;
	struct pending *e;

	if (lane->seg_known == lane->seg_tail || lane->asks_for)
		return false;
	admin = lane_admin(r, (enum side)lane->side);
	if (!lane_is_open(admin))
		return true;
	e = lane_ask(r, admin, PEND_ROLE_FOR,
	             causal_question(r, (enum side)lane->side));
	if (e == NULL)
		return true;
	e->mark = lane->id;
	e->kept = lane->seg_tail;
	lane->asks_for = true;
	return false;
}

/* ROLE behind what was sent on the lane in this batch. */
static void
probe(struct relay *r, struct lane *lane)
{
	struct pending *e;

	if (lane->side != r->route.authority ||
	    (lane->sent_batch != r->batch && lane->seg_known == lane->seg_tail))
		return;
	e = lane_ask(r, lane, PEND_ROLE,
	             causal_question(r, (enum side)lane->side));
	if (e != NULL)
		e->mark = r->batch;
}

void
causal_probe(struct relay *r)
{
	struct lane_probe_list again = { .first = NULL };
	struct lane *lane;

	if (r->board != NULL)
		look_at_history(r);
	while ((lane = lane_probe_pop(&r->probes)) != NULL) {
		lane->in_probe = false;
		if (!causal_is_on(r) || lane->kind == LANE_READER)
			continue;
		if (!lane->no_role && lane->link != NULL && !is_inside(lane)) {
			probe(r, lane);
		} else if (ask_for(r, lane)) {
			lane->in_probe = true;
			lane_probe_push(&again, lane);
		}
	}
	if (again.first != NULL) {
		lane_probe_move(&r->probes, &again);
		port_wake(r->port, r->port->now_ns + AGAIN_NS);
	}
}

/* ---- who may read there ------------------------------------------------ */

/* Users of clients, a bounded number at a time; the others stay on the
 * authority. */
static void
ask_creds(struct relay *r, struct lane *lane)
{
	int n = 0;

	if (!causal_wants_users(r))
		return;
	for (struct cred *c = r->creds; c != NULL && n < USERS_MAX;
	     c = c->next) {
		struct pending *e;

		if (c->is_default)
			continue;
		buf_clear(&r->scratch);
		resp_put_array(&r->scratch, 3);
		resp_put_bulk(&r->scratch, SPAN("ACL"));
		resp_put_bulk(&r->scratch, SPAN("GETUSER"));
		resp_put_bulk(&r->scratch, cred_user(r, c));
		if (buf_failed(&r->scratch)) {
			buf_fini(&r->scratch);
			return;
		}
		e = lane_ask(r, lane, PEND_USER, buf_span(&r->scratch));
		if (e == NULL)
			return;
		e->mark = c->number;
		n++;
	}
}

void
causal_ask_user(struct relay *r)
{
	struct lane *lane;

	if (r->board == NULL)
		return;
	lane = lane_admin(r, r->route.authority);
	if (!lane_is_open(lane))
		return;
	(void)lane_ask(r, lane, PEND_USER,
	               SPAN("*3\r\n$3\r\nACL\r\n$7\r\nGETUSER\r\n"
	                    "$7\r\ndefault\r\n"));
	ask_creds(r, lane);
}

void
causal_user(struct relay *r, uint64_t number, struct span reply)
{
	struct rights a = rights_read(&r->commands, reply);

	if (number == 0) {
		if (a.known)
			split_entry(r,
			            a.on && a.open ? ENTRY_OPEN : ENTRY_CLOSED);
		r->default_reads = a.reads;
		r->default_open = a.reads && a.open;
	}
	for (struct cred *c = r->creds; c != NULL; c = c->next) {
		if (c->number == number)
			c->reads = a.reads;
	}
}
