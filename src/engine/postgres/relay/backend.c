/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/backend.c: a client's connection to a server.
 *
 * The first one is logged in by the client itself, whose answers are passed on. What
 * comes later, behind a switch, is logged in by Godwit, and made to be what the one
 * before was; the client notices nothing but changed parameters.
 */
#include "engine/postgres/relay/inside.h"

/* A refusal so long behind a switch may still be of its fence: the side that won may
 * be opened late. Tries are so far apart, else all are made at once. */
#define LOGIN_SWITCH_NS (1000 * MILLI)
#define LOGIN_PACE_NS   (10 * MILLI)

/* A database of another name on that side. */
static void
put_startup(const struct pg_backend *b, struct buf *tx)
{
	const struct pg_session *s = b->s;
	const struct side_conf *side = &s->r->conf->side[b->side];
	const struct side_conf *first = &s->r->conf->side[SIDE_OLD];
	struct span rest = pg_session_startup(s);
	struct span asked = pg_pair_find(rest, SPAN("database"));
	struct pg_pair p;
	struct buf pairs;

	if (asked.p == NULL)
		asked = pg_pair_find(rest, SPAN("user"));
	buf_init(&pairs, s->r->mem);
	while (pg_pair_next(&rest, &p)) {
		if (!span_eq(p.name, SPAN("database")))
			pg_put_pair(&pairs, p.name, p.value);
	}
	pg_put_pair(&pairs, SPAN("database"),
	            b->side != SIDE_OLD &&
	                            span_eq(asked, span_str(first->database))
	                    ? span_str(side->database)
	                    : asked);
	pg_put_startup(tx, PG_VERSION_3_0, buf_span(&pairs));
	tx->failed = tx->failed || buf_failed(&pairs);
	buf_fini(&pairs);
}

bool
pg_backend_open(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_backend *b = &s->b;

	REQUIRE(b->link == NULL);
	b->type = 0;
	buf_clear(&s->says);
	if (pg_turn_is_on(r) && !pg_turn_opens(s))
		return false;
	if (pg_warm_adopt(s))
		return true;
	b->side = pg_apart_side(s);
	b->link = r->port->ops->open(r->port, &r->conf->side[b->side].at, b);
	if (b->link == NULL) {
		pg_turn_lost(s);
		return false;
	}
	pg_frame_init(&b->in, PG_BACK);
	b->at = BACKEND_LOGIN;
	b->born_ns = r->port->now_ns;
	b->is_ours = false;
	b->slow = false;
	b->due = 0;
	buf_clear(&b->word);
	return true;
}

void
pg_backend_up(struct pg_backend *b)
{
	put_startup(b, &b->link->tx);
	port_touch(b->s->r->port, b->link);
}

void
pg_backend_close(struct pg_backend *b)
{
	if (b->link == NULL)
		return;
	pg_conn_part(b->s->r->port, b->link);
	b->link = NULL;
	b->at = BACKEND_OFF;
	pg_own_key_drop(&b->key, b->s->r->mem);
	pg_turn_lost(b->s);
	buf_release(&b->word);
}

/* ---- cancel keys -------------------------------------------------------------- */

void
pg_own_key_set(struct pg_own_key *k, struct mem *mem, const struct pg_key *said)
{
	pg_own_key_drop(k, mem);
	k->secret = mem_alloc(mem, said->secret.n);
	/* Without memory nobody can cancel there. */
	if (k->secret == NULL)
		return;
	memcpy(k->secret, said->secret.p, said->secret.n);
	k->process = said->process;
	k->secret_n = (uint32_t)said->secret.n;
}

void
pg_own_key_drop(struct pg_own_key *k, struct mem *mem)
{
	mem_free(mem, k->secret, k->secret_n);
	*k = (struct pg_own_key){ .secret = NULL };
}

void
pg_own_key_move(struct pg_own_key *to, struct pg_own_key *from)
{
	REQUIRE(to->secret == NULL);
	*to = *from;
	*from = (struct pg_own_key){ .secret = NULL };
}

/* ---- answers ------------------------------------------------------------------ */

/* Which messages are read here, whole. */
static bool
is_word(const struct pg_backend *b, uint8_t type)
{
	if (b->at == BACKEND_CENSUS || b->at == BACKEND_RESTORES)
		return true;
	if (b->at == BACKEND_LOGIN)
		return b->s->at == SESSION_OPEN || b->is_ours ||
		       type == PG_READY || type == PG_PARAMETER_STATUS;
	return type == PG_READY || type == PG_COPY_IN_RESPONSE ||
	       (b->s->probes && type == PG_ROW_DESCRIPTION) ||
	       type == PG_PARAMETER_STATUS || pg_ack_wants(b->s, type) ||
	       pg_apart_wants(b->s, type) ||
	       (type == PG_ERROR_RESPONSE && pg_session_is_quiet(b->s));
}

/* A login that is refused, or cut off, while a switch is under way or has just been:
 * it may be the fence's doing, and is tried again behind it. */
static bool
is_of_a_switch(const struct pg_backend *b)
{
	const struct pg_relay *r = b->s->r;

	return b->at == BACKEND_LOGIN && b->s->at == SESSION_LOGIN &&
	       (r->held || !pg_apart_has_side(r, b->side) ||
	        (r->released_ns != 0 &&
	         r->port->now_ns < r->released_ns + LOGIN_SWITCH_NS));
}

/* Does the client not get it? */
static bool
is_ours(const struct pg_backend *b, uint8_t type)
{
	if (b->at == BACKEND_OPEN)
		return (type == PG_ERROR_RESPONSE &&
		        pg_session_is_quiet(b->s)) ||
		       (b->s->probes && type == PG_ROW_DESCRIPTION);
	if (b->at == BACKEND_LOGIN && b->s->at == SESSION_LOGIN)
		return type == PG_BACKEND_KEY || type == PG_AUTHENTICATION ||
		       (type == PG_ERROR_RESPONSE && is_of_a_switch(b));
	return type != PG_NOTIFICATION;
}

void
pg_backend_give(struct pg_backend *b, struct span raw)
{
	struct pg_session *s = b->s;

	if (s->client == NULL)
		return;
	if (pg_ack_put(s, raw))
		return;
	s->r->n.bytes_out += raw.n;
	buf_put_span(&s->client->tx, raw);
	port_touch(s->r->port, s->client);
	if (!b->slow && buf_len(&s->client->tx) > PG_RELAY_TX_MAX) {
		b->slow = true;
		s->client->want_drained = true;
		s->r->port->ops->read(s->r->port, b->link, false);
	}
}

static void
on_key(struct pg_backend *b, struct span body)
{
	struct pg_session *s = b->s;
	struct pg_key key;
	uint8_t secret[4];

	if (!pg_read_key(body, &key))
		return;
	pg_own_key_set(&b->key, s->r->mem, &key);
	if (s->at != SESSION_LOGIN)
		return;
	pg_set_u32(secret, s->c.secret);
	key.process = s->c.process;
	key.secret = span_of(secret, sizeof(secret));
	pg_put_key(&s->client->tx, key);
}

static void
on_ready(struct pg_session *s, struct span body)
{
	enum pg_transaction t;

	if (!pg_read_ready(body, &t))
		return;
	s->status = (uint8_t)t;
	if (s->reading.ask != NULL)
		pg_shadow_answered(s);
	/* Its end may have been sent ahead of the server's word that it begins. */
	s->copies_in = false;
	if (s->due_query > 0)
		s->due_query--;
	else if (s->due_sync > 0)
		s->due_sync--;
	if (s->reading.counts)
		s->r->reads.answered[s->b.side]++;
	else
		s->r->n.answered[s->b.side]++;
	pg_relay_time(s, s->b.side);
	s->reading.counts = false;
	pg_turn_ready(s);
	pg_away_quiet(s);
}

/* A message that was kept for a look. */
static void
give_whole(struct pg_backend *b, uint8_t type, struct span body)
{
	uint8_t head[5] = { type };

	pg_set_u32(head + 1, (uint32_t)body.n + 4);
	pg_backend_give(b, span_of(head, sizeof(head)));
	pg_backend_give(b, body);
}

/* It is what the one before was: what waits goes on. */
static void
open_now(struct pg_backend *b)
{
	struct pg_session *s = b->s;

	pg_turn_logged_in(s);
	b->at = BACKEND_OPEN;
	s->at = SESSION_OPEN;
	s->waits_ns = 0;
	s->waits = false;
}

static void
restore(struct pg_backend *b)
{
	struct pg_session *s = b->s;

	b->due = pg_turn_is_on(s->r) ? pg_turn_dress(s)
	                             : pg_census_restore(s, &b->link->tx);
	port_touch(s->r->port, b->link);
	b->at = BACKEND_RESTORES;
	if (b->due == 0)
		open_now(b);
}

bool
pg_backend_may_wait(const struct pg_session *s)
{
	const struct pg_relay *r = s->r;
	uint64_t most = PG_RELAY_MOVE_NS;

	if (pg_turn_is_on(r) && r->conf->pool_wait_ms * MILLI > most)
		most = r->conf->pool_wait_ms * MILLI;
	return s->waits_ns == 0 || r->port->now_ns < s->waits_ns + most;
}

/* The server stops, begins, or has too many connections just now. */
static bool
is_passing(const struct pg_backend *b, struct span code)
{
	return b->at == BACKEND_LOGIN && pg_backend_may_wait(b->s) &&
	       (span_has_prefix(code, SPAN("57P")) ||
	        span_eq(code, SPAN("53300")));
}

/* A login by Godwit. False: the backend is gone, or the session. */
static bool
on_login(struct pg_backend *b, uint8_t type, struct span body)
{
	struct pg_error e;

	if (type == PG_ERROR_RESPONSE && pg_read_error(body, &e)) {
		if (pg_turn_is_on(b->s->r) && is_passing(b, e.code)) {
			pg_backend_close(b);
			b->s->r->retries = true;
			return false;
		}
		if (pg_turn_is_on(b->s->r)) {
			pg_session_end(
				b->s, e.code, PG_RELAY_NONE ": %.*s",
				(int)(e.message.n < 200 ? e.message.n : 200),
				(const char *)e.message.p);
			return false;
		}
		pg_session_end(b->s, SPAN("57P01"),
		               "terminating connection: its "
		               "session " PG_RELAY_STAYS ": %.*s",
		               (int)(e.message.n < 200 ? e.message.n : 200),
		               (const char *)e.message.p);
		return false;
	}
	if (type == PG_AUTHENTICATION && !pg_auth_answer(b->s, body)) {
		pg_session_end(b->s, SPAN("57P01"),
		               "terminating connection: the new server asks "
		               "for a password, which Godwit does not have");
		return false;
	}
	if (type == PG_READY)
		restore(b);
	return true;
}

static void
login_again(struct pg_session *s)
{
	s->auth.retry_ns = s->r->port->now_ns + LOGIN_PACE_NS;
	s->r->retries = true;
}

/* The client's own login. False: the backend is gone, or the session. */
static bool
on_first_login(struct pg_backend *b, uint8_t type, struct span body)
{
	struct pg_session *s = b->s;
	struct pg_error e;
	bool is_fence;

	if (type == PG_AUTHENTICATION && !pg_auth_challenge(s, body))
		return false;
	if (type == PG_READY)
		open_now(b);
	if (type != PG_ERROR_RESPONSE)
		return true;
	is_fence = pg_read_error(body, &e) && span_eq(e.code, SPAN("28000"));
	if ((is_fence || span_has_prefix(e.code, SPAN("57P"))) &&
	    pg_auth_again(s)) {
		pg_backend_close(b);
		login_again(s);
		return false;
	}
	if (!is_fence) {
		give_whole(b, type, body);
		return true;
	}
	/* The role's right comes back: the client may try again. */
	pg_session_end(
		s, SPAN("57P03"),
		"the database moves to another server, and Godwit cannot "
		"log in there for the client; connect again: %.*s",
		(int)(e.message.n < 200 ? e.message.n : 200),
		(const char *)e.message.p);
	return false;
}

/* One that ack.h wanted to see. False: the session is gone. */
static bool
give_kept(struct pg_backend *b, uint8_t type, struct span body)
{
	struct pg_session *s = b->s;
	struct buf ours;
	bool is_good = true;

	if (type == PG_COMMAND_COMPLETE)
		is_good = pg_ack_complete(s, body);
	else if (type == PG_READY)
		is_good = pg_ack_ready(s);
	if (!is_good) {
		pg_session_end(s, SPAN("53200"), "out of memory");
		return false;
	}
	buf_init(&ours, s->r->mem);
	if (type == PG_ERROR_RESPONSE && (pg_ack_refusal(s, body, &ours) ||
	                                  pg_apart_refusal(s, body, &ours)))
		pg_backend_give(b, buf_span(&ours));
	else
		give_whole(b, type, body);
	buf_fini(&ours);
	return true;
}

/* In the middle of the session's life. False: it is gone. */
static bool
on_answer(struct pg_backend *b, uint8_t type, struct span body)
{
	struct pg_session *s = b->s;

	if (type == PG_READY)
		on_ready(s, body);
	if (b->is_kept)
		return give_kept(b, type, body);
	if (type == PG_ROW_DESCRIPTION && !pg_census_begins(s, body))
		give_whole(b, type, body);
	if (type == PG_COPY_IN_RESPONSE) {
		/* A Sync that was sent ahead is passed over. */
		s->copies_in = true;
		if (s->turn.server != NULL)
			pg_due_copies(s);
		else if (s->due_query == 0)
			s->due_sync = 0;
	}
	return true;
}

static void
on_parameter(struct pg_backend *b, struct span body)
{
	struct pg_session *s = b->s;

	if (s->r->conf->pool_max > 0 &&
	    (!pg_turn_is_on(s->r) || s->at == SESSION_LOGIN))
		pg_params_put(&s->says, body);
	if (s->turn.server != NULL)
		pg_server_says(s->turn.server, body);
	if (b->is_ours)
		pg_params_keep(s, body);
	else
		pg_params_note(s, body);
}

/* A whole message that is read here. False: the session is gone. */
static bool
on_word(struct pg_backend *b, uint8_t type, struct span body)
{
	struct pg_session *s = b->s;

	if (type == PG_BACKEND_KEY)
		on_key(b, body);
	if (type == PG_PARAMETER_STATUS)
		on_parameter(b, body);
	switch (b->at) {
	case BACKEND_LOGIN:
		if (s->at == SESSION_OPEN)
			return on_login(b, type, body);
		return on_first_login(b, type, body);
	case BACKEND_RESTORES:
		/* The statement without a name comes last; it may be one that
		 * the server has refused before. */
		if (type == PG_ERROR_RESPONSE &&
		    (b->due > 1 || buf_len(&s->unnamed) == 0))
			return on_login(b, type, body);
		if (type == PG_READY && --b->due == 0)
			open_now(b);
		return true;
	case BACKEND_CENSUS:
		if (b->hears)
			pg_census_hear(s, type, body);
		if (type != PG_READY)
			return true;
		b->hears = false;
		if (--b->due == 0)
			b->at = BACKEND_OPEN;
		return true;
	case BACKEND_OPEN:
		if (b->aliases)
			pg_due_body(s, type, body);
		return (b->aliases && !b->is_kept) || on_answer(b, type, body);
	case BACKEND_SPARE:
	case BACKEND_OFF: return true;
	}
	return true;
}

/* Answers to what was said before the client's turn. */
static void
on_swept(struct pg_backend *b, const struct pg_part *p)
{
	if (p->kind == PG_HEAD) {
		b->type = p->type;
		b->is_ours = true;
		buf_clear(&b->word);
	} else if (b->type == PG_PARAMETER_STATUS) {
		buf_put_span(&b->word, p->raw);
	}
	if (b->type == PG_PARAMETER_STATUS && p->left == 0)
		on_parameter(b, buf_span(&b->word));
	if (b->s->apart.says > 0)
		pg_apart_swept(b, p);
	if (b->type == PG_READY && p->left == 0)
		b->sweeps--;
}

/* Parts that follow each other in what came go to the client at once: *run. */
static void
give_run(struct pg_backend *b, struct span *run)
{
	if (run->n > 0)
		pg_backend_give(b, *run);
	run->n = 0;
}

static void
add_run(struct pg_backend *b, struct span *run, struct span raw)
{
	if (run->n > 0 && run->p + run->n == raw.p) {
		run->n += raw.n;
		return;
	}
	give_run(b, run);
	*run = raw;
}

/* Whose is the message that begins, and what is kept of it? */
static void
on_head(struct pg_backend *b, const struct pg_part *p, struct span *run)
{
	bool reads = false;

	b->type = p->type;
	b->is_ours = is_ours(b, p->type);
	if (b->at == BACKEND_OPEN && b->s->turn.server != NULL)
		b->is_ours = pg_due_hear(b->s, p->type, &reads) || b->is_ours;
	b->aliases = reads;
	if (b->at == BACKEND_OPEN && p->type == PG_PARSE_COMPLETE &&
	    b->s->reading.swallow > 0) {
		b->s->reading.swallow--;
		b->is_ours = true;
	} else if (p->type == PG_PARSE_COMPLETE) {
		pg_ack_note_parsed(b->s);
	}
	if (b->at == BACKEND_OPEN && p->type == PG_ERROR_RESPONSE) {
		pg_away_note_error(b->s);
		pg_ack_note_error(b->s);
	}
	b->reads = reads || is_word(b, p->type);
	b->is_kept =
		b->at == BACKEND_OPEN && !b->is_ours &&
		(pg_ack_wants(b->s, p->type) || pg_apart_wants(b->s, p->type));
	buf_clear(&b->word);
	if (buf_len(&b->s->params) > 0 && !b->is_ours &&
	    !pg_session_is_quiet(b->s)) {
		give_run(b, run);
		pg_params_give(b->s);
	}
}

/* False: the session or the backend is gone. */
static bool
on_part(struct pg_backend *b, const struct pg_part *p, struct span *run)
{
	if (b->sweeps > 0) {
		on_swept(b, p);
		return true;
	}
	if (p->kind == PG_HEAD)
		on_head(b, p, run);
	if (!b->is_ours && !b->is_kept)
		add_run(b, run, p->raw);
	if (!b->is_ours && b->s->reading.ask != NULL)
		pg_shadow_passed(b->s, p->raw);
	if (!b->reads)
		return true;
	/* One that is there as a whole is read where it is; of an error more may be
	 * wanted (say_last()). */
	if (p->kind == PG_BODY && p->left == 0 && buf_len(&b->word) == 0 &&
	    b->type != PG_ERROR_RESPONSE) {
		give_run(b, run);
		return on_word(b, b->type, p->raw) && b->link != NULL;
	}
	if (p->kind == PG_BODY)
		buf_put_span(&b->word, p->raw);
	if (buf_failed(&b->word)) {
		give_run(b, run);
		pg_session_end(b->s, SPAN("53200"), "out of memory");
		return false;
	}
	if (p->left > 0)
		return true;
	give_run(b, run);
	return on_word(b, b->type, buf_span(&b->word)) && b->link != NULL;
}

void
pg_backend_take(struct pg_backend *b, struct span bytes)
{
	struct pg_session *s = b->s;
	struct pg_relay *r = s->r;
	struct span run = { NULL, 0 };
	struct pg_part p;
	size_t used;

	if (b->at == BACKEND_SPARE) {
		pg_warm_take(b, bytes);
		return;
	}
	s->heard_ns = r->port->now_ns;
	while (bytes.n > 0) {
		enum wire_rc rc = pg_frame_feed(&b->in, bytes, &p, &used);

		bytes = span_skip(bytes, used);
		if (rc == WIRE_MORE)
			break;
		if (rc != WIRE_PART) {
			give_run(b, &run);
			pg_backend_close(b);
			pg_session_end(s, SPAN("08006"),
			               "the server does not speak PostgreSQL");
			return;
		}
		if (!on_part(b, &p, &run))
			return;
		if (b->type == PG_READY && p.left == 0 &&
		    s->turn.server != NULL && s->turn.server->ahead.n > 0 &&
		    b->sweeps == 0 && pg_session_is_quiet(s) &&
		    pg_ahead_next(s, bytes))
			return;
	}
	give_run(b, &run);
	pg_turn_settle(s);
	if ((b->at >= BACKEND_LOGIN || s->turn.place != NULL) &&
	    (buf_len(&s->rx) > 0 || s->is_stopped))
		pg_session_pump(s);
	if (r->held)
		pg_hold_look(r);
}

/* Its last words, when they came between two requests. */
static void
say_last(struct pg_backend *b)
{
	struct pg_session *s = b->s;
	size_t at;

	if (b->type != PG_ERROR_RESPONSE || !b->is_ours ||
	    buf_len(&b->word) == 0 || s->client == NULL)
		return;
	at = pg_put_begin(&s->client->tx, PG_ERROR_RESPONSE);
	buf_put_span(&s->client->tx, buf_span(&b->word));
	pg_put_end(&s->client->tx, at);
	port_touch(s->r->port, s->client);
}

void
pg_backend_down(struct pg_backend *b, const struct err *err)
{
	struct pg_session *s = b->s;
	struct pg_relay *r = s->r;
	bool quiet = s->at == SESSION_OPEN && pg_session_is_quiet(s);
	bool lost_to_us = r->held || !pg_apart_has_side(r, b->side) ||
	                  b->at == BACKEND_LOGIN || b->at == BACKEND_RESTORES;

	if (b->at == BACKEND_SPARE) {
		pg_warm_down(b);
		return;
	}
	b->link = NULL;
	pg_own_key_drop(&b->key, r->mem);
	pg_turn_lost(s);
	/* A fence ends who is there; and a server that was just opened may still
	 * be refusing. */
	if (quiet && lost_to_us && s->at == SESSION_OPEN &&
	    pg_backend_may_wait(s)) {
		b->at = BACKEND_OFF;
		r->retries = r->retries || s->waits;
		pg_hold_look(r);
		return;
	}
	if (is_of_a_switch(b) && pg_auth_again(s)) {
		b->at = BACKEND_OFF;
		login_again(s);
		pg_hold_look(r);
		return;
	}
	r->n.lost[b->side]++;
	if (s->at == SESSION_LOGIN && b->at == BACKEND_LOGIN &&
	    buf_len(&s->client->tx) == 0 && b->type == 0) {
		pg_session_end(s, SPAN("08006"), "%s", err->text);
		return;
	}
	say_last(b);
	b->at = BACKEND_OFF;
	pg_session_free(s);
	pg_hold_look(r);
}
