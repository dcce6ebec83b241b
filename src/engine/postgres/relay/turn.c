/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/turn.c: a session gets a server for a transaction.
 *
 *   no server ──[a request]──→ an idle one, a new one, or WAITS ──[time]──→ 53300
 *       ↑                                      │
 *       └────[given back: turn.h]──── has one ←┘
 */
#include "engine/postgres/relay/turn.h"

#include "base/hash.h"
#include "engine/postgres/relay/inside.h"
#include "engine/postgres/sql_change.h"

#define LOOK_NS (1000 * MILLI)

const char *
pg_pin_text(uint32_t pins)
{
	static const struct {
		uint32_t pin;
		const char *text;
	} words[] = {
		{ PIN_LISTEN, "listens" },
		{ PIN_LOCKS, "advisory locks" },
		{ PIN_TEMPORARY, "temporary tables" },
		{ PIN_CURSOR, "cursors WITH HOLD" },
		{ PIN_PREPARE, "statements prepared by SQL" },
		{ PIN_SEED, "setseed()" },
		{ PIN_LOAD, "LOAD" },
		{ PIN_SEQUENCE, "currval() or lastval()" },
		{ PIN_PASSWORD, "a login without SCRAM" },
		{ PIN_LONG, "statements that are too long to be kept" },
		{ PIN_ORDER, "a COPY with other messages in it" },
		{ PIN_LANGUAGE, "functions that may keep something" },
		{ PIN_UNTOLD, "what the server did not tell" },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if ((pins & words[i].pin) != 0)
			return words[i].text;
	}
	return "";
}

uint32_t
pg_turn_pins(const struct pg_session *s)
{
	return (uint32_t)s->turn.pins | s->turn.pinned |
	       (s->is_lossy ? PIN_LONG : 0u);
}

void
pg_turn_init(struct pg_session *s)
{
	s->turn.series = 1;
	buf_init(&s->turn.due, s->r->mem);
}

bool
pg_turn_is_whole(struct span in)
{
	uint32_t length;
	size_t n;

	if (in.n < 5)
		return false;
	length = pg_get_u32(in.p + 1);
	/* What is no message is refused at once. */
	if (length < 4 || length > pg_length_max(PG_FRONT, in.p[0]))
		return true;
	n = (size_t)length + 1;
	return in.n >= (n < PG_RELAY_WHOLE_MAX ? n : PG_RELAY_WHOLE_MAX);
}

/* It has something to say. */
static bool
has_more(const struct pg_session *s)
{
	return pg_turn_is_whole(buf_span(&s->rx));
}

static void
stop_waiting(struct pg_session *s)
{
	if (!s->turn.is_waiting)
		return;
	s->turn.is_waiting = false;
	pg_waiters_remove(&s->turn.place->waiters[s->turn.waits_for], s);
	s->r->turns.waiting_n--;
}

void
pg_turn_give_up(struct pg_session *s)
{
	stop_waiting(s);
	pg_ahead_leave(s);
}

/* ---- it gets one ----------------------------------------------------------------- */

static bool
enter(struct pg_session *s)
{
	if (s->turn.place == NULL)
		s->turn.place = pg_place_enter(s->r, pg_session_startup(s));
	return s->turn.place != NULL;
}

/* Nobody had it since the session did, and the session had no other one since. */
static bool
was_last(const struct pg_session *s, const struct pg_server *x)
{
	return s->turn.ticket != 0 && x->last == s->turn.ticket;
}

/* An idle one: its own of before, one that is dressed alike, any. */
static struct pg_server *
find_idle(const struct pg_session *s)
{
	struct pg_server *found = NULL;
	int best = -1;

	if (s->r->turns.idle_n == 0)
		return NULL;
	list_each(pg_server, x, all, &s->r->turns.servers) {
		int fit;

		if (!pg_server_is_idle(x) || x->group != s->turn.group ||
		    x->side != pg_apart_side(s))
			continue;
		fit = was_last(s, x) ? 2 : x->dress == s->turn.dress ? 1 : 0;
		if (fit > best) {
			best = fit;
			found = x;
		}
	}
	return found;
}

/* One of other clients of this pool, who are not the same. */
static bool
drop_other(struct pg_session *s)
{
	list_each(pg_server, x, all, &s->r->turns.servers) {
		if (pg_server_is_idle(x) && x->place == s->turn.place &&
		    x->side == pg_apart_side(s)) {
			pg_server_free(x);
			return true;
		}
	}
	return false;
}

/* Perhaps it has nothing: it has to be asked, and can be. */
static bool
may_ask(const struct pg_session *s)
{
	return s != NULL && s->turn.is_wild && s->b.at == BACKEND_OPEN &&
	       s->turn.pins == 0 && pg_session_is_quiet(s) && !has_more(s);
}

static void
ask(struct pg_session *s)
{
	s->turn.is_wild = false;
	s->turn.is_guessed = false;
	pg_census_ask(s);
}

/* Somebody waits: those who may have nothing are asked. */
static void
ask_somebody(struct pg_relay *r, struct pg_place *p, enum side side)
{
	list_each(pg_server, x, all, &r->turns.servers) {
		if (x->place == p && x->side == side && may_ask(x->s)) {
			ask(x->s);
			return;
		}
	}
}

/* Who says nothing for long: then its server is free, and when that goes nothing is
 * lost. */
static void
ask_the_silent(struct pg_relay *r)
{
	list_each(pg_server, x, all, &r->turns.servers) {
		if (may_ask(x->s) && r->port->now_ns > x->s->heard_ns + LOOK_NS)
			ask(x->s);
	}
}

static enum pool_rc
wait(struct pg_session *s)
{
	struct pg_turn *t = &s->turn;

	if (!t->is_waiting) {
		t->is_waiting = true;
		t->since_ns = s->r->port->now_ns;
		t->waits_for = (uint8_t)pg_apart_side(s);
		pg_waiters_push(&t->place->waiters[t->waits_for], s);
		s->r->turns.waiting_n++;
	}
	return POOL_ASKS;
}

void
pg_turn_wait_first(struct pg_session *s, enum side side)
{
	s->turn.is_waiting = true;
	s->turn.waits_for = (uint8_t)side;
	pg_waiters_push_front(&s->turn.place->waiters[side], s);
	s->r->turns.waiting_n++;
}

void
pg_turn_follows(struct pg_session *s, struct pg_server *x)
{
	pg_server_give(x, s);
	pg_due_begin(s, false);
	x->is_bare = false;
	s->b.due = 0;
	s->b.at = BACKEND_OPEN;
}

/* It has x now. */
static enum pool_rc
take(struct pg_session *s, struct pg_server *x)
{
	bool is_same = was_last(s, x);
	uint32_t due = 0;

	stop_waiting(s);
	pg_server_give(x, s);
	pg_due_begin(s, is_same && !x->is_bare);
	x->is_bare = false;
	if (!is_same && (x->is_touched || x->dress != s->turn.dress))
		due = pg_turn_dress(s);
	else if (!is_same && x->is_numbered) {
		pg_put_query(&s->b.link->tx, SPAN("DISCARD SEQUENCES"));
		port_touch(s->r->port, s->b.link);
		s->b.sweeps++;
		x->is_numbered = false;
	}
	s->b.due = due;
	s->b.at = due > 0 ? BACKEND_RESTORES : BACKEND_OPEN;
	return due > 0 ? POOL_ASKS : POOL_TAKEN;
}

static enum pool_rc
seek(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_place *p = s->turn.place;
	enum side side = pg_apart_side(s);
	struct pg_server *x;

	if (s->turn.behind != NULL)
		return POOL_ASKS;
	if (s->turn.is_waiting && s->turn.waits_for != side)
		stop_waiting(s);
	/* Who came first is first. */
	if (p->waiters[side].n > 0 && p->waiters[side].first != s)
		return wait(s);
	x = s->turn.group != NULL ? find_idle(s) : NULL;
	if (x != NULL && p->server_n[side] > r->conf->pool_max) {
		/* The pool has become smaller. */
		pg_server_free(x);
		return wait(s);
	}
	if (x != NULL)
		return take(s, x);
	if (p->server_n[side] < r->conf->pool_max || drop_other(s)) {
		stop_waiting(s);
		return POOL_NONE;
	}
	if (!pg_ahead_send(s))
		return wait(s);
	stop_waiting(s);
	return POOL_ASKS;
}

/* A client of a kind that the server has let in before. */
static bool
log_in(struct pg_session *s, enum pool_rc *ret)
{
	struct pg_group *g;

	if (s->auth.at != AUTH_NEW)
		return false;
	g = pg_group_find(s->r, pg_session_startup(s));
	if (g == NULL || !g->is_known || g->server_n == 0)
		return false;
	/* It logs in without a server, and may have nothing to ask. */
	stop_waiting(s);
	if (g->by_scram) {
		pg_pool_ask(s);
		*ret = POOL_ASKS;
		return true;
	}
	*ret = pg_turn_proved(s) ? POOL_TAKEN : POOL_NONE;
	return *ret == POOL_TAKEN;
}

enum pool_rc
pg_turn_begin(struct pg_session *s)
{
	enum pool_rc ret = POOL_NONE;

	if (s->at == SESSION_LOGIN && log_in(s, &ret)) {
		if (ret != POOL_TAKEN || buf_len(&s->rx) == 0)
			return POOL_ASKS;
	}
	if (!enter(s))
		return POOL_NONE; /* which fails as well */
	return seek(s);
}

bool
pg_turn_proved(struct pg_session *s)
{
	struct pg_group *g = pg_group_find(s->r, pg_session_startup(s));

	s->auth.is_alone = false;
	if (g == NULL || !g->is_known) {
		/* Its login goes on with a backend. */
		return s->r->held || pg_backend_open(s);
	}
	if (!enter(s))
		return false;
	g->refs++;
	s->turn.group = g;
	buf_release(&s->startup);
	s->auth.at = AUTH_OVER;
	s->at = SESSION_OPEN;
	s->waits_ns = 0;
	s->waits = false;
	pg_pool_let_in(s, buf_span(&g->says));
	return true;
}

bool
pg_turn_opens(struct pg_session *s)
{
	struct pg_server *x;

	if (!enter(s))
		return false;
	stop_waiting(s);
	x = pg_server_new(s);
	if (x == NULL)
		return false;
	pg_due_begin(s, false);
	return true;
}

void
pg_turn_lost(struct pg_session *s)
{
	struct pg_server *x = s->turn.server;

	if (x == NULL)
		return;
	if (s->turn.is_schema)
		pg_places_doubt(s->r);
	s->turn.is_schema = false;
	s->turn.server = NULL;
	s->turn.ticket = 0;
	x->s = NULL;
	s->b.sweeps = 0;
	buf_clear(&s->turn.due);
	s->turn.waits_shape = false;
	s->turn.skips = false;
	pg_server_free(x);
}

/* What is learned of who logs in like this. */
static void
learn(struct pg_session *s)
{
	struct pg_turn *t = &s->turn;
	struct pg_group *g = pg_group_enter(s->r, pg_session_startup(s));

	if (g == NULL) {
		t->pins |= PIN_PASSWORD;
		return;
	}
	t->group = g;
	buf_release(&s->startup);
	g->is_known = true;
	g->by_scram = s->auth.has_keys;
	g->side = (uint8_t)s->b.side;
	buf_clear(&g->says);
	buf_put_span(&g->says, buf_span(&s->says));
	g->is_known = !buf_failed(&g->says);
}

void
pg_turn_logged_in(struct pg_session *s)
{
	struct pg_turn *t = &s->turn;

	if (t->server == NULL)
		return;
	if (s->at == SESSION_LOGIN && t->group == NULL) {
		if (s->auth.has_keys || !s->auth.was_asked)
			learn(s);
		else
			t->pins |= PIN_PASSWORD;
	}
	buf_release(&s->says);
	/* One that is dressed has logged in before. */
	if (t->server->group != NULL || t->group == NULL)
		return;
	t->server->group = t->group;
	t->group->refs++;
	t->group->server_n++;
}

uint32_t
pg_turn_dress(struct pg_session *s)
{
	struct pg_server *x = s->turn.server;
	struct buf *tx = &s->b.link->tx;
	uint32_t due = 0;
	size_t at;

	if (x->is_touched || x->dress != 0 ||
	    buf_len(&s->state.found->sql) > 0 || x->is_numbered) {
		at = pg_put_begin(tx, PG_QUERY);
		if (x->is_touched || x->dress != 0)
			buf_put_str(tx, "RESET SESSION AUTHORIZATION;RESET "
			                "ROLE;RESET ALL;");
		if (x->is_numbered)
			buf_put_str(tx, "DISCARD SEQUENCES;");
		buf_put_span(tx, buf_span(&s->state.found->sql));
		buf_put(tx, "", 1);
		pg_put_end(tx, at);
		due++;
	}
	if (buf_len(&s->state.found->late) > 0) {
		pg_put_query(tx, buf_span(&s->state.found->late));
		due++;
	}
	if (due > 0)
		port_touch(s->r->port, s->b.link);
	x->is_touched = false;
	x->is_numbered = false;
	x->dress = s->turn.dress;
	return due;
}

/* ---- it gives it back ------------------------------------------------------------ */

bool
pg_turn_may_leave(const struct pg_session *s)
{
	const struct pg_backend *b = &s->b;

	return s->turn.server != NULL && b->link != NULL && b->link->is_up &&
	       s->at == SESSION_OPEN && pg_session_is_quiet(s) &&
	       pg_frame_is_between(&b->in) && !b->slow && b->sweeps == 0 &&
	       !buf_failed(&b->link->tx) && pg_apart_has_side(s->r, b->side);
}

/* It was called wild for want of the catalog, which is there now; or the catalog is
 * wanted, and nobody's server is there to be asked for it. */
static bool
is_worth_asking(const struct pg_session *s)
{
	const struct pg_place *p = s->turn.place;

	return (s->turn.is_guessed && pg_place_knows(p)) ||
	       pg_place_wants(s->r, p);
}

void
pg_turn_settle(struct pg_session *s)
{
	struct pg_turn *t = &s->turn;
	struct pg_relay *r = s->r;

	if (s->b.at != BACKEND_OPEN || t->server == NULL || r->held ||
	    t->server->ahead.n > 0 || !pg_turn_may_leave(s) ||
	    s->client == NULL)
		return;
	/* It has waited for its turn, which has just begun. */
	if (t->is_fresh && has_more(s))
		return;
	if (t->place->waiters[t->server->side].n == 0) {
		if (has_more(s))
			return;
		/* Nobody needs it; and what it may have is not asked for. */
		if (t->is_wild) {
			if (t->pins == 0 && is_worth_asking(s))
				ask(s);
			return;
		}
	} else if (t->is_wild && t->pins == 0) {
		ask(s);
		return;
	}
	if (pg_turn_pins(s) != 0)
		return;
	pg_server_take_back(s);
}

void
pg_turn_ready(struct pg_session *s)
{
	struct pg_turn *t = &s->turn;

	if (t->server == NULL || s->due_query > 0 || s->due_sync > 0 ||
	    s->in_extended)
		return;
	t->server->ahead.is_read = true;
	/* Before its end the catalog did not show it. */
	if (!t->is_schema || s->status != PG_IDLE)
		return;
	t->is_schema = false;
	pg_places_doubt(s->r);
}

bool
pg_turn_yield(struct pg_session *s)
{
	if (s->turn.server == NULL)
		return true;
	if (s->turn.server->ahead.n > 0 || s->turn.is_wild ||
	    pg_turn_pins(s) != 0 || !pg_turn_may_leave(s))
		return false;
	pg_server_take_back(s);
	return true;
}

void
pg_turn_known(struct pg_session *s)
{
	struct pg_turn *t = &s->turn;
	uint64_t seed = s->r->turns.seed[0];

	t->is_wild = false;
	t->pinned = s->state.pins;
	t->dress = 0;
	if (buf_len(&s->state.found->sql) + buf_len(&s->state.found->late) > 0)
		t->dress = (hash_bytes(buf_span(&s->state.found->sql), seed) ^
		            hash_mix(hash_bytes(buf_span(&s->state.found->late),
		                                seed))) |
		           1;
	if (t->server != NULL)
		t->server->dress = t->dress;
}

void
pg_turn_fini(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_turn *t = &s->turn;
	struct pg_server *x = t->server;
	bool asks = s->b.at == BACKEND_CENSUS;

	stop_waiting(s);
	pg_ahead_leave(s);
	if (x != NULL && x->group != NULL && x->ahead.n == 0 && !r->held &&
	    !r->stops && (t->pins & PIN_ORDER) == 0 &&
	    (asks || s->b.at == BACKEND_OPEN) && pg_turn_may_leave(s)) {
		uint32_t due = asks ? s->b.due : 0;
		bool clean = !asks && !t->is_wild && pg_turn_pins(s) == 0;

		pg_server_take_back(s);
		if (!clean)
			pg_server_reset(x, due);
	}
	pg_turn_lost(s);
	if (t->group != NULL)
		pg_group_leave(r, t->group);
	if (t->place != NULL)
		pg_place_leave(r, t->place);
	t->group = NULL;
	t->place = NULL;
	buf_fini(&t->due);
}

/* ---- what it says ---------------------------------------------------------------- */

static bool
is_part(uint8_t c)
{
	return c == '_' || c == '$' || c >= 0x80 || (c >= '0' && c <= '9') ||
	       ((c | 32) >= 'a' && (c | 32) <= 'z');
}

static bool
says(struct span text, struct span word)
{
	for (size_t i = 0; i + word.n <= text.n; i++) {
		if ((text.p[i] | 32) == word.p[0] &&
		    (i == 0 || !is_part(text.p[i - 1])) &&
		    span_is_word(span_of(text.p + i, word.n), word))
			return true;
	}
	return false;
}

static void
note(struct pg_session *s, struct span text, enum pg_leaves left)
{
	struct pg_turn *t = &s->turn;

	if (left != LEAVES_NOTHING)
		t->server->is_numbered = true;
	/* What is behind a write of its own tables (defaults, domains) is in no
	 * catalog that was read. */
	if ((t->pinned & PIN_TEMPORARY) != 0 && left == LEAVES_NUMBERS)
		left = LEAVES_ANYTHING;
	t->is_plain = left == LEAVES_NUMBERS || left == LEAVES_NOTHING;
	if (t->is_plain)
		return;
	t->is_schema = t->is_schema || left == LEAVES_CATALOG;
	pg_away_note_wild(s, text);
	t->is_wild = true;
	t->is_guessed = t->is_guessed || !pg_place_knows(t->place);
	t->server->is_touched = true;
	if (says(text, SPAN("deallocate")) || says(text, SPAN("discard"))) {
		map_clear(&t->server->has);
		t->deallocates = true;
	}
	if (says(text, SPAN("setseed")) || says(text, SPAN("set seed")) ||
	    says(text, SPAN("set session seed")))
		t->pins |= PIN_SEED;
	if (pg_place_is_coded(t->place, text))
		t->pins |= PIN_LANGUAGE;
	if (says(text, SPAN("load ")))
		t->pins |= PIN_LOAD;
	if (says(text, SPAN("currval")) || says(text, SPAN("lastval")))
		t->pins |= PIN_SEQUENCE;
}

void
pg_turn_note(struct pg_session *s, struct span text, bool whole)
{
	uint64_t form[2] = { 0, 0 };

	if (whole) {
		pg_turn_note_again(s, text, form);
	} else if (s->turn.place != NULL && s->turn.server != NULL) {
		bool changes = sql_may_change(text);

		s->turn.server->ahead.is_read = false;
		if (changes)
			pg_places_doubt(s->r);
		note(s, text, changes ? LEAVES_CATALOG : LEAVES_ANYTHING);
	}
}

void
pg_turn_note_again(struct pg_session *s, struct span text, uint64_t form[2])
{
	struct pg_turn *t = &s->turn;

	if (t->place == NULL || t->server == NULL)
		return;
	if ((form[0] | form[1]) == 0)
		pg_place_form(t->place, text, form);
	note(s, text, pg_place_judge(s->r, t->place, text, form));
	if (!pg_place_is_quick_read(s->r, t->place, text, form))
		t->server->ahead.is_read = false;
	memcpy(t->server->ahead.form, form, sizeof(t->server->ahead.form));
}

/* ---- once a batch ---------------------------------------------------------------- */

static void
serve(struct pg_relay *r, struct pg_place *p, enum side side)
{
	struct pg_waiters_list *waiters = &p->waiters[side];
	uint64_t wait_ns = r->conf->pool_wait_ms * MILLI;
	size_t most = waiters->n;

	while (waiters->n > 0 && most-- > 0) {
		struct pg_session *s = waiters->first;

		if (wait_ns > 0 &&
		    r->port->now_ns > s->turn.since_ns + wait_ns) {
			pg_session_end(
				s, SPAN("53300"),
				"no connection to the server became free "
				"within %u ms: all %u of this user and "
				"database are in use (--pool-size)",
				r->conf->pool_wait_ms, r->conf->pool_max);
			/* The pool may have gone with it. */
			return;
		}
		pg_session_pump(s);
		if (waiters->first == s) {
			ask_somebody(r, p, side);
			return;
		}
	}
}

static void
look_at_old(struct pg_relay *r)
{
	uint64_t now = r->port->now_ns;
	uint64_t idle = r->conf->pool_idle_ms > 0
	                        ? r->conf->pool_idle_ms * MILLI
	                        : PG_RELAY_POOL_NS;

	if (now < r->turns.looked_ns + LOOK_NS)
		return;
	r->turns.looked_ns = now;
	if (!r->held)
		ask_the_silent(r);
	list_each(pg_server, x, all, &r->turns.servers) {
		if (pg_server_is_idle(x) &&
		    (x->place->server_n[x->side] > r->conf->pool_max ||
		     now > x->since_ns + idle ||
		     now > x->born_ns + PG_RELAY_LIFE_NS))
			pg_server_free(x);
	}
}

void
pg_turn_work(struct pg_relay *r)
{
	if (!pg_turn_is_on(r))
		return;
	pg_ahead_work(r);
	if (r->turns.waiting_n > 0 && !r->held) {
		/* One of them may go with its last session. */
		list_each(pg_place, p, all, &r->places) {
			p->refs++;
			for (int i = 0; i < SIDE_N; i++)
				serve(r, p, (enum side)i);
			pg_place_leave(r, p);
		}
	}
	look_at_old(r);
}

void
pg_turn_drop_idle(struct pg_relay *r)
{
	list_each(pg_server, x, all, &r->turns.servers) {
		pg_ahead_release(x);
		if (x->s == NULL)
			pg_server_free(x);
	}
}

void
pg_turn_forget(struct pg_relay *r)
{
	list_each(pg_group, g, all, &r->turns.groups)
		g->is_known = false;
	pg_places_doubt(r);
	list_each(pg_place, p, all, &r->places) {
		for (int i = 0; i < SIDE_N; i++) {
			list_each(pg_session, s, turn.waiting, &p->waiters[i])
				s->turn.since_ns = r->port->now_ns;
		}
	}
}
