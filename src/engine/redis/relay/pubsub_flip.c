/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/pubsub_flip.c: how subscribers cross a switch.
 *
 * Both connections of a subscriber hear the channel of the markers. The loser's
 * is its last message, behind its fence; the winner's is its first, before it is
 * opened. Relays hear of the flip one after another, so what the winner says may
 * be here before the flip is:
 *
 *   live ─[flip]→ old ─[loser's marker, or its time is over]→ closed
 *   shadow: dropped ─[winner's marker]→ kept, in order ─[flip]→ live
 *   shadow: dropped ─[flip]→ live, early: dropped ─[winner's marker]→ live
 *
 * What is kept is said when the loser has said its last. Who is not subscribed
 * on the winner when it is opened is closed: it may have missed something. So a
 * switch loses, doubles and reorders nothing.
 */
#include "engine/redis/relay/sub.h"

#define OLD_NS 1000000000ull

static bool
has_reader(const struct relay *r)
{
	return r->conf->side[0].reader_user[0] != '\0';
}

void
sub_end_lane(struct relay *r, struct lane **at)
{
	struct lane *lane = *at;

	*at = NULL;
	if (lane != NULL)
		lane_end(r, lane, false);
}

void
pubsub_end_old(struct relay *r, struct session *s)
{
	struct sub *u = sub_of(s);

	sub_end_lane(r, &u->old);
	if (buf_len(&u->held) == 0)
		return;
	sub_say(r, s, buf_span(&u->held));
	/* Saying may have closed the session and freed u. */
	u = sub_of(s);
	if (u != NULL)
		buf_release(&u->held);
}

/* Does what the shadow says belong to the client already? */
bool
pubsub_shadow_counts(const struct relay *r, const struct sub *u,
                     const struct lane *lane)
{
	if (lane != u->shadow)
		return false;
	return u->own ? u->shadow_begun
	              : r->hold.on && u->begun && u->begun == r->mark_epoch;
}

static bool
take_tag(struct span *payload, struct span tag)
{
	size_t n = payload->n - tag.n;

	if (payload->n < tag.n || !span_eq(span_skip(*payload, n), tag))
		return false;
	payload->n = n;
	return true;
}

/* "+<epoch>": the winner's, "<epoch>": the loser's. In a cluster its tag is behind
 * it, for each node's messages reach the subscribers of all. */
void
pubsub_marker(struct relay *r, struct lane *lane, struct span payload)
{
	struct session *s = lane->mine;
	struct sub *u = sub_of(s);
	struct span tag = span_str(r->conf->side[0].own_tag);
	bool first = payload.n > 0 && payload.p[0] == '+';
	uint64_t epoch = 0;

	if (tag.n > 0 && !take_tag(&payload, tag))
		return; /* another node's of this cluster */
	for (size_t i = first; i < payload.n && i < 19; i++) {
		if (payload.p[i] >= '0' && payload.p[i] <= '9')
			epoch = epoch * 10 + (uint64_t)(payload.p[i] - '0');
	}
	if (first) {
		if (lane == u->shadow && !u->own)
			u->begun = epoch;
		else if (lane == u->live && epoch == r->mark_epoch)
			u->early = false;
		return;
	}
	if (r->own.on && epoch == r->own.number && u->own) {
		u->live_done |= lane == u->live;
		u->shadow_begun |= lane == u->shadow;
		return;
	}
	if (lane == u->live && u->old == NULL)
		u->marked = epoch;
	else if (lane == u->old)
		pubsub_end_old(r, s);
	pubsub_check(r);
}

/* ---- the hold ---------------------------------------------------------- */

void
pubsub_hold(struct relay *r)
{
	list_each(session, s, all, &r->sessions) {
		struct sub *u = sub_of(s);

		if (u == NULL || s->link == NULL)
			continue;
		u->begun = 0;
		if (u->shadow == NULL && has_reader(r))
			u->shadow = lane_sub(
				r, s, side_other(r->route.authority), true);
	}
	pubsub_check(r);
}

/* Its connection of before the last switch is to the side that may win this one,
 * where a PUBLISH would count it as well. Is it there still? */
static bool
is_leaving(struct relay *r, struct session *s, bool end_it)
{
	if (sub_of(s)->old != NULL && end_it)
		pubsub_end_old(r, s);
	return s->link != NULL && sub_of(s)->old != NULL;
}

/* Everything asked for is confirmed. */
static bool
is_settled(const struct lane *l)
{
	return l != NULL && l->state == LANE_READY && ring_n(&l->fifo) == 0;
}

/* Nobody works at it: its connection failed or was refused in this hold. */
static bool
is_hopeless(const struct lane *l)
{
	return l == NULL || l->state == LANE_DOWN;
}

bool
pubsub_is_settling(struct relay *r, bool end_hopeless)
{
	bool any = false;

	if (r->own.on && end_hopeless)
		pubsub_own_end(r);
	if (r->own.on)
		return true;
	if (r->subscribed == 0 || !has_reader(r))
		return false;
	list_each(session, s, all, &r->sessions) {
		struct sub *u = sub_of(s);

		if (u == NULL || s->link == NULL)
			continue;
		any |= is_leaving(r, s, end_hopeless);
		if (s->link == NULL || sub_count(u) == 0 ||
		    is_settled(u->shadow))
			continue;
		if (end_hopeless && is_hopeless(u->shadow)) {
			r->n.lost[side_other(r->route.authority)]++;
			session_close(r, s, NULL);
		} else {
			any = true;
		}
	}
	return any;
}

/* All subscribers have seen the marker of this hold: tell it once. */
static void
tell_marked(struct relay *r)
{
	struct mail m = { .kind = MAIL_MARKED,
		          .who = r->conf->who,
		          .epoch = r->mark_epoch };

	if (!r->hold.on || r->mark_told || r->stopping)
		return;
	if (r->subscribed > 0) {
		list_each(session, s, all, &r->sessions) {
			struct sub *u = sub_of(s);

			if (u != NULL && u->live != NULL && sub_count(u) > 0 &&
			    u->marked != r->mark_epoch)
				return;
		}
	}
	r->mark_told = true;
	r->port->ops->mail(r->port, &m);
}

void
pubsub_check(struct relay *r)
{
	tell_marked(r);
	if (r->subscribed == 0)
		return;
	list_each(session, s, all, &r->sessions) {
		struct sub *u = sub_of(s);

		if (u == NULL || s->link == NULL)
			continue;
		if (u->until_ns <= r->port->now_ns) {
			u->early = false;
			if (u->old != NULL)
				pubsub_end_old(r, s);
			u = sub_of(s);
		}
		if (u != NULL && u->shadow == NULL && !r->hold.on &&
		    has_reader(r))
			u->shadow = lane_sub(
				r, s, side_other(r->route.authority), true);
		if (u != NULL && u->live == NULL && !r->hold.on &&
		    sub_count(u) > 0)
			u->live = lane_sub(r, s, r->route.authority, false);
	}
}

/* ---- the flip ---------------------------------------------------------- */

static void
flip(struct relay *r, struct session *s, struct sub *u)
{
	sub_end_lane(r, &u->old);
	sub_end_lane(r, &u->guard);
	if (u->live != NULL && u->marked == r->mark_epoch)
		sub_end_lane(r, &u->live);
	u->old = u->live;
	u->live = u->shadow;
	u->shadow = NULL;
	/* Only who was subscribed when all were drained hears the marker. */
	u->early = r->hold.told && sub_count(u) > 0 && u->live != NULL &&
	           u->begun != r->mark_epoch;
	u->until_ns = r->port->now_ns + OLD_NS;
	if (u->old != NULL || u->early)
		port_wake(r->port, u->until_ns);
	if (u->old == NULL)
		pubsub_end_old(r, s);
}

/* The authority has moved. */
void
pubsub_flip(struct relay *r)
{
	if (r->own.on)
		pubsub_own_end(r);
	list_each(session, s, all, &r->sessions) {
		struct sub *u = sub_of(s);

		if (u == NULL || s->link == NULL)
			continue;
		if (sub_asks(u) > 0) {
			/* The hold did not wait for its answer. */
			r->n.lost[side_other(r->route.authority)]++;
			session_close(r, s, NULL);
		} else if (has_reader(r) && sub_count(u) > 0 &&
		           !is_settled(u->shadow)) {
			/* It may have missed what the winner said. */
			r->n.lost[r->route.authority]++;
			session_close(r, s, NULL);
		} else {
			flip(r, s, u);
		}
	}
	pubsub_check(r);
}
