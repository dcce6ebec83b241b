/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/cancel.c: who does not want an answer any more.
 *
 *   a read elsewhere ──→ its answer is heard by nobody                  (away.c)
 *   a server has heard of it ──→ the server is told, by its own key
 *   it waits: for a server, its turn, the end of a hold ──→ Godwit answers; of what was
 *       canceled, which may not be there as a whole yet, no server hears
 *
 * Of several requests that wait it is the first one, as on a server. A client that is
 * not here may be another worker's: all are told.
 */
#include "engine/postgres/relay/inside.h"

void
pg_cancel_say(struct pg_session *s)
{
	struct pg_error e = { .severity = SPAN("ERROR"),
		              .severity_plain = SPAN("ERROR"),
		              .code = SPAN("57014"),
		              .message = SPAN("canceling statement due to user "
		                              "request"),
		              .routine = SPAN("ProcessInterrupts") };

	pg_put_error(&s->client->tx, PG_ERROR_RESPONSE, &e);
	port_touch(s->r->port, s->client);
}

/* ---- no server has heard of it --------------------------------------------------- */

static bool
is_work(uint8_t type)
{
	return type == PG_QUERY || type == PG_FUNCTION_CALL ||
	       type == PG_PARSE || type == PG_BIND || type == PG_DESCRIBE ||
	       type == PG_CLOSE || type == PG_EXECUTE;
}

/* It has asked for something, and it waits. */
static bool
waits(const struct pg_session *s)
{
	struct span in = buf_span(&s->rx);

	return s->at == SESSION_OPEN && s->client != NULL && s->skips == 0 &&
	       pg_session_is_quiet(s) && pg_frame_is_between(&s->in) &&
	       pg_turn_is_whole(in) && is_work(in.p[0]);
}

static void
answer(struct pg_session *s)
{
	uint8_t type = buf_span(&s->rx).p[0];
	bool by_itself = type == PG_QUERY || type == PG_FUNCTION_CALL;

	pg_cancel_say(s);
	s->skips = by_itself ? type : PG_SYNC;
	/* What was sent ahead of its turn is nobody's. */
	pg_turn_give_up(s);
	if (pg_turn_is_on(s->r) && type == PG_QUERY)
		pg_alias_end_unnamed(s);
	s->waits = false;
	s->reading.is_cut = false;
	s->reading.to_authority = false;
	pg_apart_cancel(s);
	s->turn.wants = 0;
	pg_session_pump(s);
}

int
pg_cancel_skip(struct pg_session *s, struct span in, size_t *ret_used)
{
	struct pg_part p;
	enum wire_rc rc;

	*ret_used = 0;
	if (pg_frame_is_between(&s->in) && in.p[0] == PG_TERMINATE) {
		s->skips = 0;
		return 1;
	}
	rc = pg_frame_feed(&s->in, in, &p, ret_used);
	if (rc == WIRE_MORE)
		return 0;
	if (rc != WIRE_PART) {
		pg_session_end(s, SPAN("08P01"),
		               "invalid message from the client");
		return -1;
	}
	if (p.type != s->skips || p.left > 0)
		return 1;
	s->skips = 0;
	pg_put_ready(&s->client->tx,
	             s->apart.is_failed ? PG_IN_FAILED : PG_IDLE);
	port_touch(s->r->port, s->client);
	return 1;
}

/* ---- its server has -------------------------------------------------------------- */

static void
send(struct pg_relay *r, const struct pg_session *s)
{
	struct pg_cancel *c;

	/* Godwit's own questions are not what the client means. */
	if (s->b.link == NULL || s->b.key.secret_n == 0 ||
	    s->b.at == BACKEND_CENSUS || s->b.at == BACKEND_RESTORES)
		return;
	c = mem_zero(r->mem, sizeof(*c));
	if (c == NULL)
		return;
	c->owner = OWNER_CANCEL;
	c->server = s->turn.server;
	if (c->server != NULL) {
		/* It may hit who is behind. */
		pg_ahead_release(c->server);
		c->server->cancels++;
	}
	c->process = s->b.key.process;
	c->secret_n = s->b.key.secret_n;
	memcpy(c->secret, s->b.key.secret, c->secret_n);
	pg_relay_send_cancel(r, c, s->b.side);
}

bool
pg_cancel_own(struct pg_relay *r, uint64_t key)
{
	struct pg_client *who =
		pg_keys_find(&r->keys, (uint32_t)(key >> 32), (uint32_t)key);
	struct pg_session *s;

	if (who == NULL)
		return false;
	/* Who sleeps has asked for nothing. */
	if (who->owner != OWNER_CLIENT)
		return true;
	s = (void *)who;
	if (pg_away_cancel(s))
		return true;
	if (waits(s))
		answer(s);
	else
		send(r, s);
	return true;
}

void
pg_cancel_take(struct pg_relay *r, const struct pg_key *key)
{
	struct mail m = { .kind = MAIL_CANCEL, .who = r->port->worker_at };

	if (key->secret.n != 4)
		return;
	m.token = (uint64_t)key->process << 32 | pg_get_u32(key->secret.p);
	if (pg_cancel_own(r, m.token))
		return;
	for (uint32_t i = 0; i < r->port->worker_n; i++) {
		if (i != r->port->worker_at)
			r->port->tell(r->port, i, &m);
	}
}
