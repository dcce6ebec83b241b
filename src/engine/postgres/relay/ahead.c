/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/ahead.c: requests that are sent behind the one under way.
 */
#include "engine/postgres/relay/ahead.h"

#include "base/hash.h"
#include "engine/postgres/relay/inside.h"

/* A read at the front of what a client has said. */
struct request {
	size_t n;
	struct span bind;             /* of a statement by name; else empty  */
	const struct pg_named *named; /* ... that one                        */
};

/* ---- what is said ---------------------------------------------------------------- */

static bool
is_quick_read(struct pg_session *s, struct span text, uint64_t form[2])
{
	if ((form[0] | form[1]) == 0)
		pg_place_form(s->turn.place, text, form);
	return pg_place_is_quick_read(s->r, s->turn.place, text, form);
}

/* A statement that the server has, and as the client knows it. */
static bool
take_named(struct pg_session *s, struct pg_server *x, struct span name,
           struct request *q)
{
	struct pg_named *n = map_get(&s->named, name);
	const uint64_t *shape;
	struct pg_parse p;

	if (n == NULL || n->alias.closing != 0 || n->alias.series != 0 ||
	    n->alias.shape == 0)
		return false;
	shape = map_get(&x->has, pg_alias_key(n->alias.digest));
	q->named = n;
	return shape != NULL && *shape == n->alias.shape &&
	       pg_read_parse(span_skip(buf_span(&n->raw), 5), &p) &&
	       is_quick_read(s, p.text, n->alias.form);
}

/* One more message of it. False: it is not of such a request. */
static bool
add(struct pg_session *s, struct pg_server *x, const struct pg_message *m,
    struct request *q)
{
	uint64_t form[2] = { 0, 0 };
	bool is_first = q->n == 0;
	struct pg_target t;
	struct pg_parse p;
	struct pg_bind b;

	switch (m->type) {
	case PG_QUERY:
		return is_first && pg_read_query(m->body, &p.text) &&
		       is_quick_read(s, p.text, form);
	case PG_PARSE:
		return is_first && pg_read_parse(m->body, &p) &&
		       p.name.n == 0 && is_quick_read(s, p.text, form);
	case PG_BIND:
		if (!pg_read_bind(m->body, &b) || q->bind.n > 0)
			return false;
		if (!is_first)
			return b.statement.n == 0;
		q->bind = m->raw;
		return b.portal.n == 0 && b.statement.n > 0 &&
		       take_named(s, x, b.statement, q);
	case PG_DESCRIBE:
		return !is_first && pg_read_target(m->body, &t) && t.is_portal;
	case PG_EXECUTE:
	case PG_SYNC: return !is_first;
	default: return false;
	}
}

/* The request in front, up to the end of which one ReadyForQuery comes. */
static bool
look(struct pg_session *s, struct pg_server *x, struct request *q)
{
	struct span in = buf_span(&s->rx);
	struct pg_frame f = s->in;
	struct pg_message m;

	*q = (struct request){ .n = 0 };
	do {
		struct span rest = span_skip(in, q->n);

		if (rest.n < 5 ||
		    q->n + pg_get_u32(rest.p + 1) > PG_AHEAD_BYTES ||
		    pg_frame_whole(&f, rest, &m) != WIRE_PART ||
		    !add(s, x, &m, q))
			return false;
		q->n += m.raw.n;
	} while (m.type != PG_QUERY && m.type != PG_SYNC);
	return true;
}

/* ---- behind whom ------------------------------------------------------------------- */

/* One request is under way for it, which leaves the server as it is. */
static bool
is_simple(const struct pg_session *s)
{
	return s->client != NULL && s->at == SESSION_OPEN &&
	       s->b.at == BACKEND_OPEN && s->b.sweeps == 0 && !s->b.slow &&
	       s->status == PG_IDLE && s->due_query + s->due_sync == 1 &&
	       !s->in_extended && !s->copies_in && s->in.left == 0 &&
	       !s->probes && !s->turn.skips && !s->turn.waits_shape &&
	       !s->turn.is_wild && pg_turn_pins(s) == 0;
}

/* Is it as it has to be for s? */
static bool
suits(const struct pg_session *s, const struct pg_server *x)
{
	return x->group == s->turn.group && x->dress == s->turn.dress &&
	       !x->is_touched && !x->is_numbered && x->cancels == 0 &&
	       x->resets == 0;
}

static struct pg_server *
find(const struct pg_session *s)
{
	struct pg_relay *r = s->r;
	uint64_t now = r->port->now_ns;
	struct pg_server *found = NULL;

	list_each(pg_server, x, all, &r->turns.servers) {
		if (x->s == NULL || x->s == s || x->side != pg_apart_side(s) ||
		    !x->ahead.is_read || x->ahead.n == PG_AHEAD_MAX ||
		    !suits(s, x) ||
		    (x->ahead.n > 0 && x->ahead.at[0].s == NULL) ||
		    !is_simple(x->s) || now > x->s->asked_ns + PG_AHEAD_NS ||
		    now > x->born_ns + PG_RELAY_LIFE_NS ||
		    buf_len(&x->s->b.link->tx) > PG_RELAY_HELD_MAX)
			continue;
		if (found == NULL || x->ahead.n < found->ahead.n)
			found = x;
	}
	return found;
}

static bool
may_send(const struct pg_session *s)
{
	const struct pg_relay *r = s->r;
	const struct pg_turn *t = &s->turn;

	/* A catalog that is due needs a server that nobody has. */
	return t->group != NULL && buf_len(&s->rx) > 0 && !r->held &&
	       !r->stops && !r->locking && !r->reads.is_on &&
	       !pg_acks_is_on(r) && !pg_apart_is_on(r) &&
	       s->at == SESSION_OPEN && s->b.at == BACKEND_OFF &&
	       pg_frame_is_between(&s->in) && pg_session_is_quiet(s) &&
	       !s->names_by_value && !t->is_wild && pg_turn_pins(s) == 0 &&
	       !pg_place_wants(r, t->place);
}

static void
put(struct buf *tx, const struct pg_session *s, const struct request *q)
{
	struct span in = span_of(buf_span(&s->rx).p, q->n);

	if (q->named != NULL) {
		pg_alias_put_bind(tx, q->bind, q->named);
		in = span_skip(in, q->bind.n);
	}
	buf_put_span(tx, in);
}

static void
digest_tail(const struct pg_relay *r, const struct buf *tx, size_t from,
            struct pg_ahead *ret)
{
	struct span said = span_skip(buf_span(tx), from);

	ret->said_n = said.n;
	for (int i = 0; i < 2; i++)
		ret->said[i] = hash_bytes(said, r->turns.seed[i]);
}

bool
pg_ahead_send(struct pg_session *s)
{
	struct pg_server *x;
	struct pg_ahead *a;
	struct request q;
	struct buf *tx;
	size_t from;

	if (!may_send(s) || (x = find(s)) == NULL || !look(s, x, &q))
		return false;
	tx = &x->s->b.link->tx;
	from = buf_len(tx);
	put(tx, s, &q);
	port_touch(s->r->port, x->s->b.link);
	a = &x->ahead.at[x->ahead.n++];
	a->s = s;
	a->n = q.n;
	digest_tail(s->r, tx, from, a);
	s->turn.behind = x;
	if (!s->turn.is_waiting)
		s->turn.since_ns = s->r->port->now_ns;
	s->r->turns.behind_n++;
	return true;
}

bool
pg_ahead_stops(const struct pg_session *s)
{
	const struct pg_server *x = s->turn.server;

	return x != NULL && x->ahead.n > 0 && !s->turn.repeats;
}

/* ---- nobody's ---------------------------------------------------------------------- */

static void
part(struct pg_ahead *a)
{
	a->s->turn.behind = NULL;
	a->s->r->turns.behind_n--;
	a->s = NULL;
}

void
pg_ahead_leave(struct pg_session *s)
{
	struct pg_server *x = s->turn.behind;

	for (uint32_t i = 0; x != NULL && i < x->ahead.n; i++) {
		if (x->ahead.at[i].s == s)
			part(&x->ahead.at[i]);
	}
}

void
pg_ahead_release(struct pg_server *x)
{
	for (uint32_t i = x->ahead.n; i-- > 0;) {
		struct pg_session *s = x->ahead.at[i].s;

		if (s == NULL)
			continue;
		part(&x->ahead.at[i]);
		pg_turn_wait_first(s, (enum side)x->side);
	}
}

void
pg_ahead_work(struct pg_relay *r)
{
	uint64_t now = r->port->now_ns;

	if (r->turns.behind_n == 0 || now < r->turns.late_ns)
		return;
	r->turns.late_ns = now + PG_AHEAD_NS / 4;
	list_each(pg_server, x, all, &r->turns.servers) {
		if (x->ahead.n == 0 || x->s == NULL ||
		    now <= x->s->asked_ns + PG_AHEAD_NS)
			continue;
		pg_verdicts_note(&x->place->verdicts, x->ahead.form, true);
		pg_ahead_release(x);
	}
}

/* ---- its turn ---------------------------------------------------------------------- */

static bool
may_follow(const struct pg_session *s, const struct pg_server *x)
{
	const struct pg_ahead *a = &x->ahead.at[0];
	const struct pg_relay *r = s->r;

	return a->s != NULL && !r->held && !r->stops && !r->locking &&
	       pg_turn_may_leave(s) && !s->turn.is_wild &&
	       pg_turn_pins(s) == 0 && suits(a->s, x) &&
	       a->s->b.at == BACKEND_OFF && pg_session_is_quiet(a->s) &&
	       buf_len(&a->s->rx) >= a->n;
}

/* It says what it said, which is not sent twice. Answers who has the server now; NULL: it
 * is gone. */
static struct pg_session *
follow(struct pg_server *x)
{
	struct pg_ahead was = x->ahead.at[0];
	struct pg_session *s = was.s;
	struct pg_ahead now = { .s = NULL };
	struct buf *tx = &x->link->tx;
	size_t from = buf_len(tx);

	part(&x->ahead.at[0]);
	x->ahead.n--;
	memmove(x->ahead.at, x->ahead.at + 1,
	        x->ahead.n * sizeof(x->ahead.at[0]));
	pg_turn_follows(s, x);
	if (!pg_session_repeat(s, was.n))
		return NULL;
	digest_tail(s->r, tx, from, &now);
	if (now.said_n == was.said_n && now.said[0] == was.said[0] &&
	    now.said[1] == was.said[1]) {
		buf_drop_end(tx, now.said_n);
		x->place->ahead_n++;
		return s;
	}
	/* It says something else by now: what was sent is nobody's. */
	pg_ahead_release(x);
	s->b.sweeps += 1 + x->ahead.n;
	x->ahead.n = 0;
	return s;
}

bool
pg_ahead_next(struct pg_session *s, struct span rest)
{
	struct pg_server *x = s->turn.server;
	struct pg_session *next;

	if (!may_follow(s, x)) {
		pg_ahead_release(x);
		s->b.sweeps += x->ahead.n;
		x->ahead.n = 0;
		/* The statement without a name is the one of the last copy. */
		s->turn.is_prepared = false;
		return false;
	}
	pg_verdicts_note(&x->place->verdicts, x->ahead.form, false);
	pg_server_take_back(s);
	next = follow(x);
	if (buf_len(&s->rx) > 0 || s->is_stopped)
		pg_session_pump(s);
	if (next != NULL && rest.n > 0)
		pg_backend_take(&next->b, rest);
	return true;
}
