/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/ack.c: replies that wait for the other side (ack both).
 *
 * The bytes wait in the session, in order; the lane keeps one segment for each
 * piece, first in first out. The probe behind the writes tells the position of
 * all segments before it; they leave when the board says that it was passed.
 * A lane's positions only grow, so the front of its queue is always the first
 * to go, and a session changes lanes only when nothing of it is withheld.
 */
#include "engine/redis/relay/inside.h"

#define SEG_MIN 64

bool
ack_is_on(const struct relay *r)
{
	return r->route.ack == ACK_BOTH && !r->unbound;
}

static struct segment *
at(struct lane *lane, uint32_t i)
{
	return &lane->seg[i & (lane->seg_cap - 1)];
}

static bool
grow(struct relay *r, struct lane *lane)
{
	uint32_t cap = lane->seg_cap == 0 ? SEG_MIN : lane->seg_cap * 2;
	struct segment *p = mem_alloc(r->mem, cap * sizeof(*p));

	if (p == NULL)
		return false;
	for (uint32_t i = lane->seg_head; i != lane->seg_tail; i++)
		p[i & (cap - 1)] = *at(lane, i);
	mem_free(r->mem, lane->seg, lane->seg_cap * sizeof(*p));
	lane->seg = p;
	lane->seg_cap = cap;
	return true;
}

/* When memory is out its client is closed: none of its replies leaves. */
static void
hold_back(struct relay *r, struct session *s, struct span bytes)
{
	struct buf *held = &s->wide->held;

	buf_put_span(held, bytes);
	if (!buf_failed(held))
		return;
	buf_fini(held);
	session_close(r, s, NULL);
}

void
ack_withhold(struct relay *r, struct session *s, struct lane *lane,
             struct span bytes)
{
	struct segment *g;

	/* Whatever happens, a probe will tell its position. */
	causal_want(r, lane);
	if (session_wide(r, s) == NULL)
		return;
	if (lane->seg_tail != lane->seg_known) {
		g = at(lane, lane->seg_tail - 1);
		if (g->s == s) {
			g->n += bytes.n;
			hold_back(r, s, bytes);
			return;
		}
	}
	if (lane->seg_tail - lane->seg_head == lane->seg_cap &&
	    !grow(r, lane)) {
		session_close(r, s, NULL);
		return;
	}
	g = at(lane, lane->seg_tail++);
	*g = (struct segment){ .s = s, .at_ns = r->port->now_ns, .n = bytes.n };
	s->withheld++;
	r->withheld++;
	r->n.withheld++;
	hold_back(r, s, bytes);
	if (r->route.ack_timeout_ms > 0)
		port_wake(r->port, g->at_ns + r->route.ack_timeout_ms *
		                                      UINT64_C(1000000));
}

/* The probe answered: pos is behind everything before it. */
void
ack_known(struct relay *r, struct lane *lane, uint32_t upto, uint64_t pos)
{
	bool any = lane->seg_known != upto;

	/* An answer that comes after a newer one has nothing to tell. */
	if ((int32_t)(upto - lane->seg_known) <= 0)
		return;
	for (; lane->seg_known != upto; lane->seg_known++)
		at(lane, lane->seg_known)->pos = pos;
	if (any)
		ack_release(r);
}

static void
let_go(struct relay *r, struct lane *lane)
{
	struct segment g = *at(lane, lane->seg_head);
	struct session *s = g.s;

	lane->seg_head++;
	s->withheld--;
	r->withheld--;
	if (s->link == NULL) {
		session_run(r, s);
		return;
	}
	buf_put(&s->link->tx, buf_span(&s->wide->held).p, g.n);
	port_touch(r->port, s->link);
	r->n.bytes_out += g.n;
	buf_take(&s->wide->held, g.n);
	if (s->withheld == 0) {
		buf_release(&s->wide->held);
		if ((s->parked || s->eof) && s->waits_in == NULL &&
		    s->inflight == 0)
			session_run(r, s);
	}
	session_pace(r, s);
}

static void
late(struct relay *r, struct lane *lane)
{
	const struct segment *g = at(lane, lane->seg_head);
	uint64_t at_ns = g->at_ns + r->route.ack_timeout_ms * UINT64_C(1000000);
	struct mail m = { .kind = MAIL_LATE, .who = r->conf->who };

	if (r->route.ack_timeout_ms == 0 || r->late_told)
		return;
	if (at_ns > r->port->now_ns) {
		port_wake(r->port, at_ns);
		return;
	}
	r->late_told = true;
	r->port->ops->mail(r->port, &m);
}

void
ack_release(struct relay *r)
{
	list_each(lane, l, all, &r->lanes) {
		uint64_t passed;

		if (ack_is_empty(l))
			continue;
		passed = atomic_load(&r->board->passed[l->side]);
		while (l->seg_head != l->seg_known &&
		       (at(l, l->seg_head)->pos <= passed || !ack_is_on(r)))
			let_go(r, l);
		if (!ack_is_empty(l))
			late(r, l);
		else
			r->reap |= l->dead;
	}
}

static void
release_lane(struct relay *r, struct lane *lane)
{
	while (!ack_is_empty(lane))
		let_go(r, lane);
	lane->seg_known = lane->seg_tail;
	r->reap |= lane->dead;
}

void
ack_release_all(struct relay *r)
{
	list_each(lane, l, all, &r->lanes)
		release_lane(r, l);
}

/*
 * The other side is behind and is waited for no longer. A reply whose server is
 * gone is another matter: nobody can say whether its write will ever be found,
 * so that client is closed.
 */
void
ack_unbind(struct relay *r)
{
	if (r->board == NULL)
		return;
	list_each(lane, l, all, &r->lanes) {
		uint64_t passed = atomic_load(&r->board->passed[l->side]);

		for (uint32_t i = l->seg_head; i != l->seg_known; i++) {
			const struct segment *g = at(l, i);

			if (g->is_lost && g->pos > passed &&
			    g->s->link != NULL) {
				r->n.lost[l->side]++;
				session_close(r, g->s, NULL);
			}
		}
		release_lane(r, l);
	}
}

void
ack_release_side(struct relay *r, enum side side)
{
	list_each(lane, l, all, &r->lanes) {
		if (l->side == side)
			release_lane(r, l);
	}
}

void
ack_drop_side(struct relay *r, enum side side)
{
	uint64_t passed =
		r->board != NULL ? atomic_load(&r->board->passed[side]) : 0;

	list_each(lane, l, all, &r->lanes) {
		if (l->side != side)
			continue;
		while (l->seg_head != l->seg_known &&
		       at(l, l->seg_head)->pos <= passed)
			let_go(r, l);
		for (uint32_t i = l->seg_head; i != l->seg_tail; i++) {
			const struct segment *g = at(l, i);

			if (g->s->link == NULL)
				continue;
			r->n.lost[side]++;
			session_close(r, g->s, NULL);
		}
		release_lane(r, l);
	}
}

/* The lane is lost: what has no position yet never gets one. Nobody can say
 * whether the other side will have it: those clients are closed. */
void
ack_lost(struct relay *r, struct lane *lane)
{
	for (uint32_t i = lane->seg_head; i != lane->seg_known; i++)
		at(lane, i)->is_lost = true;
	for (uint32_t i = lane->seg_known; i != lane->seg_tail; i++) {
		struct segment *g = at(lane, i);

		if (g->s->link != NULL) {
			r->n.lost[lane->side]++;
			session_close(r, g->s, NULL);
		}
		g->pos = 1;
	}
	lane->seg_known = lane->seg_tail;
	if (!ack_is_empty(lane))
		ack_release(r);
}
