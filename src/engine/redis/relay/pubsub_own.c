/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/pubsub_own.c: subscribers change their connection, not their
 * side.
 *
 * After a switch a subscriber's live connection is the one that was its shadow:
 * it is logged in as Godwit's reader. Before that user is removed from the server
 * the subscriber gets a connection with its own rights to the same server. When a
 * split begins it gets one of Godwit's writer, for its own user is fenced, and
 * one of its own when the split is left. Both are subscribed to the marker's
 * channel, and a server sends to both in one order:
 *
 *   live    ─ delivered ─[marker]─ dropped
 *   shadow  ─ dropped ───[marker]─ kept ─[both have seen it]→ live
 *
 * So the change loses, doubles and reorders nothing.
 */
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"

#define OWN_NS 2000000000ull /* for all to change over */

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

bool
pubsub_own_wants(const struct relay *r, const struct sub *u)
{
	if (u->live == NULL)
		return false;
	return u->live->as_reader ? r->pair.on
	                          : u->live->as_writer != split_is_on(r);
}

void
pubsub_own_begin(struct relay *r, enum side keep)
{
	r->own = (struct owning){
		.side = keep,
		.until_ns = r->port->now_ns + OWN_NS,
		/* Markers of switches are epochs: small. */
		.number = 1000000000000000000ull +
		          r->port->entropy(r->port) % 1000000000000000000ull,
	};
	if (r->subscribed == 0)
		return;
	list_each(session, s, all, &r->sessions) {
		struct sub *u = s->wide == NULL ? NULL : s->wide->sub;

		if (u == NULL || s->link == NULL || !pubsub_own_wants(r, u))
			continue;
		drop(r, &u->shadow);
		u->shadow = lane_sub(r, s, keep, false);
		u->own = u->shadow != NULL;
		u->live_done = false;
		u->shadow_begun = false;
		r->own.on |= u->own;
	}
	if (r->own.on)
		port_wake(r->port, r->own.until_ns);
}

static bool
is_ready(struct relay *r)
{
	list_each(session, s, all, &r->sessions) {
		struct sub *u = own_of(s);

		if (u != NULL &&
		    (u->shadow == NULL || u->shadow->state != LANE_READY ||
		     ring_n(&u->shadow->fifo) > 0))
			return false;
	}
	return true;
}

/* Godwit's user may publish. */
static void
say_marker(struct relay *r)
{
	struct lane *admin = lane_admin(r, r->own.side);
	char text[40];
	struct buf *b = &r->scratch;

	if (!lane_is_open(admin))
		return;
	buf_clear(b);
	buf_put_u64(b, r->own.number);
	buf_put_str(b, r->conf->side[0].own_tag);
	if (buf_failed(b) || buf_len(b) >= sizeof(text))
		return;
	memcpy(text, buf_span(b).p, buf_len(b));
	text[buf_len(b)] = '\0';
	buf_clear(b);
	resp_put_cmd(b, "PUBLISH", SUB_MARKER, text, NULL);
	r->own.said = lane_ask(r, admin, PEND_IGNORE, buf_span(b)) != NULL;
}

static void
go_on(struct relay *r, struct session *s, struct sub *u)
{
	u->own = false;
	if (!r->pair.on && r->conf->side[0].reader_user[0] != '\0' &&
	    u->shadow == NULL)
		u->shadow =
			lane_sub(r, s, side_other(r->route.authority), true);
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
	go_on(r, s, u);
	if (held.n == 0)
		return;
	sub_say(r, s, held);
	/* Saying may have closed the session and freed u. */
	if (s->wide != NULL && s->wide->sub == u)
		buf_release(&u->held);
}

static bool
is_done(struct relay *r)
{
	bool all = true;

	list_each(session, s, all, &r->sessions) {
		struct sub *u = own_of(s);

		if (u == NULL)
			continue;
		/* What it asked for is confirmed where it was asked; the side
		 * before the switch has said its last. */
		if (u->live_done && u->shadow_begun && sub_asks(u) == 0 &&
		    u->old == NULL)
			change(r, s, u);
		else
			all = false;
	}
	return all;
}

/* Whoever wanted to subscribe waits no longer. */
static void
finish(struct relay *r)
{
	r->own.on = false;
	list_each(session, s, all, &r->sessions) {
		if (s->wide == NULL || s->wide->sub == NULL || s->link == NULL)
			continue;
		if (s->waits_in == &r->whole.l)
			session_unwait(s);
		session_run(r, s);
	}
}

void
pubsub_own_check(struct relay *r)
{
	if (!r->own.on)
		return;
	if (is_done(r))
		finish(r);
	else if (r->port->now_ns >= r->own.until_ns)
		pubsub_own_end(r);
	else if (!r->own.said && is_ready(r))
		say_marker(r);
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
		    sub_asks(u) == 0 && buf_len(&u->asked) == 0) {
			change(r, s, u);
		} else if (r->pair.on) {
			r->n.lost[r->route.authority]++;
			session_close(r, s, NULL);
		} else { /* it hears what it heard before */
			drop(r, &u->shadow);
			go_on(r, s, u);
		}
	}
	finish(r);
}
