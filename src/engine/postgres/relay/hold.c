/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/hold.c: sessions stand still, and go over.
 *
 * A session stands still when it is quiet and it is known what it has. Behind a
 * release those with requests that wait, or who listen, get a backend at once, the
 * others when they ask for something.
 */
#include "engine/postgres/relay/inside.h"

#define LOGIN_WAIT_NS (50 * MILLI)
/* Behind a server's silence of this length a session that may be busy is asked. */
#define SILENCE_NS    (30 * MILLI)
/* Others wait so long for those who take their locks again. */
#define LOCKS_WAIT_NS (500 * MILLI)

/* A query that came between extended messages and their Sync has no answer of its own
 * when one of them failed: the server passes over it. Then it seems busy for ever. */
static bool
is_unsure(const struct pg_session *s)
{
	return s->is_mixed && !s->probes && s->status == PG_IDLE &&
	       !s->in_extended && !s->copies_in && s->in.left == 0 &&
	       s->r->port->now_ns > s->heard_ns + SILENCE_NS;
}

/* Does it stand still? What is missing for it is asked for. */
static bool
stands(struct pg_session *s)
{
	/* Nobody waits for a person who looks for a password. */
	if (s->at != SESSION_OPEN)
		return s->b.link == NULL ||
		       s->r->port->now_ns > s->r->held_ns + LOGIN_WAIT_NS;
	if (s->b.at == BACKEND_OFF)
		return true;
	if (s->b.at != BACKEND_OPEN)
		return false;
	if (!pg_session_is_quiet(s)) {
		if (is_unsure(s))
			pg_census_probe(s);
		return false;
	}
	if (s->state.is_known)
		return true;
	pg_census_ask(s);
	return false;
}

/* Whose backends will hear nothing more: they may be ended without a look. */
static void
tell_quiet(struct pg_relay *r, struct mail *m)
{
	uint32_t n = 0;

	buf_clear(&r->quiet);
	list_each(pg_session, s, all, &r->sessions) {
		if (s->at != SESSION_OPEN || s->b.at != BACKEND_OPEN ||
		    !pg_session_is_quiet(s) || s->b.key.process == 0 ||
		    s->b.side != r->route.authority)
			continue;
		buf_put(&r->quiet, &s->b.key.process, sizeof(s->b.key.process));
		n++;
	}
	if (buf_failed(&r->quiet) || n == 0)
		return;
	m->pair = buf_span(&r->quiet).p;
	m->token = n;
}

/* Everybody stands still. A server tells who listens in front of its next answer at the
 * latest: they are asked once more, so that nothing is on its way when the fence ends
 * them. True: now. */
static bool
ask_listeners(struct pg_relay *r)
{
	bool any = false;

	if (r->rounded)
		return false;
	r->rounded = true;
	list_each(pg_session, s, all, &r->sessions) {
		if (s->at != SESSION_OPEN || s->b.at != BACKEND_OPEN ||
		    !s->state.listens)
			continue;
		s->state.is_known = false;
		pg_census_ask(s);
		any = true;
	}
	return any;
}

void
pg_hold_look(struct pg_relay *r)
{
	struct mail m = { .kind = MAIL_DRAINED,
		          .who = r->conf->who,
		          .epoch = r->epoch };
	bool all = true;

	if (!r->held || r->told)
		return;
	list_each(pg_session, s, all, &r->sessions) {
		if (!stands(s))
			all = false;
	}
	if (!all || ask_listeners(r))
		return;
	r->told = true;
	tell_quiet(r, &m);
	r->port->ops->mail(r->port, &m);
}

void
pg_hold_begin(struct pg_relay *r, const struct mail *m)
{
	r->held = true;
	r->told = false;
	r->rounded = false;
	r->warms = false;
	r->epoch = m->epoch;
	r->held_ns = r->port->now_ns;
	list_each(pg_session, s, all, &r->sessions)
		pg_away_stop(s);
	pg_apart_hold(r);
	pg_reads_route(r);
	pg_pool_drop_all(r);
	pg_turn_drop_idle(r);
	pg_hold_look(r);
}

/* Its backend is of the side that lost, or was ended by a fence. */
static void
go_over(struct pg_session *s)
{
	bool quiet = pg_session_is_quiet(s);

	pg_backend_close(&s->b);
	/* Its server was left to itself in the middle of something. */
	if (!quiet) {
		pg_session_end(s, SPAN("57P01"),
		               "terminating connection: the database has moved "
		               "to another server during a request");
		return;
	}
	if (buf_len(&s->state.found->stays) > 0 || s->is_lossy) {
		struct span what = s->is_lossy
		                           ? SPAN("its prepared statements")
		                           : buf_span(&s->state.found->stays);

		pg_session_end(s, SPAN("57P01"),
		               "terminating connection: the database has moved "
		               "to another server, and %.*s cannot go along",
		               (int)what.n, (const char *)what.p);
		return;
	}
	if ((s->state.is_urgent || s->spare != NULL) && !pg_backend_open(s))
		pg_session_end(s, SPAN("53200"), "out of memory");
}

/* Is there somebody who had locks, or listened, and is not there yet? */
static bool
locks_are_owed(struct pg_relay *r)
{
	list_each(pg_session, s, all, &r->sessions) {
		if (s->at == SESSION_OPEN && s->state.is_urgent &&
		    s->b.link != NULL && s->b.at != BACKEND_OPEN)
			return true;
	}
	return false;
}

void
pg_hold_locks(struct pg_relay *r)
{
	if (!r->locking ||
	    (locks_are_owed(r) && r->port->now_ns < r->locking_ns))
		return;
	r->locking = false;
	list_each(pg_session, s, all, &r->sessions)
		pg_session_pump(s);
}

/* A login that was under way begins again over there. */
static void
begin_again(struct pg_session *s)
{
	if (s->at != SESSION_LOGIN ||
	    (s->b.link != NULL && s->b.side == s->r->route.authority))
		return;
	if (pg_auth_again(s))
		pg_backend_close(&s->b);
}

/* How long it was. */
static void
note_held(struct pg_relay *r)
{
	if (!r->held)
		return;
	r->hold_last_ns = r->port->now_ns - r->held_ns;
	if (r->hold_last_ns > r->hold_max_ns)
		r->hold_max_ns = r->hold_last_ns;
}

/* Everybody is where the route says. */
static void
send_over(struct pg_relay *r)
{
	list_each(pg_session, s, all, &r->sessions)
		begin_again(s);
	list_each(pg_session, s, all, &r->sessions) {
		if (s->at == SESSION_OPEN &&
		    (s->b.link == NULL || !pg_apart_has_side(r, s->b.side)))
			go_over(s);
	}
}

void
pg_hold_end(struct pg_relay *r, const struct mail *m)
{
	struct mail ack = { .kind = MAIL_ROUTE_ACK,
		            .who = r->conf->who,
		            .epoch = m->route.epoch };

	note_held(r);
	r->held = false;
	r->told = false;
	r->released_ns = r->port->now_ns;
	if (r->route.authority != m->route.authority) {
		pg_conn_close(&r->ask);
		r->asks_for = NULL;
		r->has_asked = false;
		pg_turn_forget(r);
	} else {
		pg_warm_drop_all(r);
	}
	r->route = m->route;
	pg_apart_route(r);
	pg_reads_route(r);
	ack.route = r->route;
	r->port->ops->mail(r->port, &ack);
	send_over(r);
	pg_acks_route(r);
	r->locking = locks_are_owed(r);
	r->locking_ns = r->port->now_ns + LOCKS_WAIT_NS;
	list_each(pg_session, s, all, &r->sessions)
		pg_session_pump(s);
	/* Whose request ended in the hold has its server still. */
	list_each(pg_session, s, all, &r->sessions)
		pg_turn_settle(s);
}
