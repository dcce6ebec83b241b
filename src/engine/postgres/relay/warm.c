/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/warm.c: what can be done before a hold, so that it is short.
 *
 * Each session is asked once what it has, between two of its requests: who says
 * nothing more until the hold need not be asked again, and of the others the server
 * knows the question by then. And sessions whose password is known get a connection
 * to the other side, which stands where the server asks for that password: it is shut
 * for them until the switch, and looks whether they may come in behind the password.
 *
 * Limits: WARM_NS for the questions; SPARES connections, for SPARE_NS.
 */
#include "engine/postgres/relay/inside.h"

#define WARM_NS  (300 * MILLI)
#define SPARES   128
#define SPARE_NS (3000 * MILLI)

/* Is it ready for a hold, as far as that goes? It is asked when it can be. */
static bool
is_ready(struct pg_session *s)
{
	if (s->at != SESSION_OPEN || s->b.at == BACKEND_OFF)
		return true;
	if (s->b.at == BACKEND_OPEN && pg_session_is_quiet(s) &&
	    !s->state.is_known && s->warmed != s->r->warm_token) {
		s->warmed = s->r->warm_token;
		pg_census_ask(s);
	}
	return s->b.at == BACKEND_OPEN &&
	       (s->state.is_known || s->warmed == s->r->warm_token);
}

void
pg_warm_look(struct pg_relay *r)
{
	struct mail m;
	bool all = true;

	if (r->spare_n > 0 && !r->held && r->port->now_ns > r->spare_ns)
		pg_warm_drop_all(r);
	if (!r->warms)
		return;
	list_each(pg_session, s, all, &r->sessions) {
		if (!is_ready(s))
			all = false;
	}
	if (!all && r->port->now_ns < r->warm_ns + WARM_NS)
		return;
	r->warms = false;
	m = (struct mail){ .kind = MAIL_WARMED,
		           .who = r->conf->who,
		           .token = r->warm_token };
	r->port->ops->mail(r->port, &m);
}

static bool
knows_password(const struct pg_session *s)
{
	return s->auth.has_keys || buf_len(&s->auth.secret) > 0;
}

static void
open_spare(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_backend *b = mem_zero(r->mem, sizeof(*b));

	if (b == NULL)
		return;
	b->owner = OWNER_BACKEND;
	b->s = s;
	b->side = side_other(r->route.authority);
	b->at = BACKEND_SPARE;
	buf_init(&b->word, r->mem);
	pg_frame_init(&b->in, PG_BACK);
	b->born_ns = r->port->now_ns;
	b->link = r->port->ops->open(r->port, &r->conf->side[b->side].at, b);
	if (b->link == NULL) {
		mem_free(r->mem, b, sizeof(*b));
		return;
	}
	s->spare = b;
	r->spare_n++;
}

void
pg_warm_begin(struct pg_relay *r, uint64_t token)
{
	r->warms = true;
	r->warm_token = token;
	r->warm_ns = r->port->now_ns;
	r->spare_ns = r->port->now_ns + SPARE_NS;
	list_each(pg_session, s, all, &r->sessions) {
		/* Who is known to have been still will not be in a hurry. */
		if (s->at == SESSION_OPEN && s->spare == NULL &&
		    !pg_turn_is_on(r) && !s->state.is_known &&
		    knows_password(s) && r->spare_n < SPARES)
			open_spare(s);
	}
	pg_warm_look(r);
}

static void
forget(struct pg_session *s)
{
	struct pg_backend *b = s->spare;

	buf_fini(&b->word);
	mem_free(s->r->mem, b, sizeof(*b));
	s->spare = NULL;
	s->r->spare_n--;
}

void
pg_warm_drop(struct pg_session *s)
{
	if (s->spare == NULL)
		return;
	s->r->port->ops->close(s->r->port, s->spare->link, false);
	forget(s);
}

void
pg_warm_drop_all(struct pg_relay *r)
{
	list_each(pg_session, s, all, &r->sessions)
		pg_warm_drop(s);
}

void
pg_warm_down(struct pg_backend *b)
{
	forget(b->s);
}

/* It asks for the password, which it gets when it may come in; anything else is the
 * server's no. */
void
pg_warm_take(struct pg_backend *b, struct span bytes)
{
	struct pg_authentication a;
	struct pg_message m;
	enum wire_rc rc;

	buf_put_span(&b->word, bytes);
	rc = pg_frame_whole(&b->in, buf_span(&b->word), &m);
	if (rc == WIRE_MORE && !buf_failed(&b->word))
		return;
	if (rc != WIRE_PART || m.type != PG_AUTHENTICATION ||
	    !pg_read_authentication(m.body, &a) ||
	    (a.code != PG_AUTH_SASL && a.code != PG_AUTH_MD5 &&
	     a.code != PG_AUTH_CLEARTEXT) ||
	    buf_len(&b->word) != m.raw.n)
		pg_warm_drop(b->s);
}

bool
pg_warm_adopt(struct pg_session *s)
{
	struct pg_backend *b = s->spare;
	struct buf said;

	if (b == NULL || b->side != s->r->route.authority) {
		pg_warm_drop(s);
		return false;
	}
	REQUIRE(s->b.link == NULL);
	s->b.link = b->link;
	s->b.link->owner = &s->b;
	s->b.side = b->side;
	s->b.at = BACKEND_LOGIN;
	s->b.is_ours = false;
	s->b.slow = false;
	s->b.due = 0;
	pg_frame_init(&s->b.in, PG_BACK);
	buf_clear(&s->b.word);
	said = b->word;
	buf_init(&b->word, s->r->mem);
	forget(s);
	/* What it has said is heard now; that may be the session's end. */
	pg_backend_take(&s->b, buf_span(&said));
	buf_fini(&said);
	return true;
}
