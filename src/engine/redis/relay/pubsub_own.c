/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/pubsub_own.c: subscribers leave Godwit's connections.
 *
 * After a switch a subscriber's live connection is the one that was its shadow:
 * it is logged in as Godwit's reader. Before that user is removed from the server
 * the subscriber gets a connection with its own rights to the same server. Both
 * are subscribed to the marker's channel, and a server sends to both in one
 * order:
 *
 *   live    ─ delivered ─[marker]─ dropped
 *   shadow  ─ dropped ───[marker]─ kept ─[both have seen it]→ live
 *
 * So the change loses, doubles and reorders nothing.
 */
#include "engine/redis/relay/sub.h"

static struct sub *
own_of(const struct session *s)
{
	struct sub *u = s->wide == NULL ? NULL : s->wide->sub;

	return u != NULL && u->own && s->link != NULL ? u : NULL;
}

static void
drop(struct relay *r, struct lane **at)
{
	struct lane *lane = *at;

	*at = NULL;
	if (lane != NULL)
		lane_end(r, lane, false);
}

void
pubsub_own_begin(struct relay *r, enum side keep)
{
	list_each(session, s, all, &r->sessions) {
		struct sub *u = s->wide == NULL ? NULL : s->wide->sub;

		if (u == NULL || s->link == NULL || u->live == NULL ||
		    !u->live->as_reader)
			continue;
		drop(r, &u->shadow);
		u->shadow = lane_sub(r, s, keep, false);
		u->own = u->shadow != NULL;
		u->live_done = false;
		u->shadow_begun = false;
	}
}

bool
pubsub_own_is_ready(struct relay *r)
{
	if (r->subscribed == 0)
		return true;
	list_each(session, s, all, &r->sessions) {
		struct sub *u = own_of(s);

		if (u != NULL &&
		    (u->shadow == NULL || u->shadow->state != LANE_READY ||
		     ring_n(&u->shadow->fifo) > 0))
			return false;
	}
	return true;
}

static void
change(struct relay *r, struct session *s, struct sub *u)
{
	struct span held = buf_span(&u->held);

	drop(r, &u->old);
	drop(r, &u->guard);
	drop(r, &u->live);
	u->live = u->shadow;
	u->shadow = NULL;
	u->own = false;
	if (held.n == 0)
		return;
	session_say(r, s, held);
	/* Saying may have closed the session and freed u. */
	if (s->wide != NULL && s->wide->sub == u)
		buf_release(&u->held);
}

bool
pubsub_own_is_done(struct relay *r)
{
	bool all = true;

	if (r->subscribed == 0)
		return true;
	list_each(session, s, all, &r->sessions) {
		struct sub *u = own_of(s);

		if (u == NULL)
			continue;
		/* What it asked for is confirmed where it was asked; the side
		 * before the switch has said its last. */
		if (u->live_done && u->shadow_begun && s->inflight == 0 &&
		    u->old == NULL)
			change(r, s, u);
		else
			all = false;
	}
	return all;
}

/* Time is over: the marker did not pass (its user may not hear it). */
void
pubsub_own_end(struct relay *r)
{
	list_each(session, s, all, &r->sessions) {
		struct sub *u = own_of(s);

		if (u == NULL)
			continue;
		if (u->shadow != NULL && u->shadow->state == LANE_READY &&
		    s->inflight == 0 && buf_len(&u->asked) == 0) {
			change(r, s, u);
		} else {
			r->n.lost[r->route.authority]++;
			session_close(r, s, NULL);
		}
	}
}
