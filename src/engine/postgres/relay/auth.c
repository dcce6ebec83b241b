/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/auth.c: a client's login, and Godwit's in its name.
 *
 * The server decides what is asked for. Where it wants SCRAM or md5, what it keeps of
 * the role's password is read from it, and Godwit is the server for the client: from a
 * good proof it learns the client's key, or that it may use the hash, which log in at
 * either side, now and behind a switch. A password in clear passes through and is kept.
 * What else passes through, and all where nothing can be read, teaches nothing: such a
 * session cannot move.
 */
#include "engine/postgres/relay/inside.h"
#include "wire/pg_text.h"

static struct span
user_of(const struct pg_session *s)
{
	return pg_pair_find(pg_session_startup(s), SPAN("user"));
}

/* The client has proved itself, or never will. */
static void
end_proof(struct pg_session *s)
{
	struct pg_auth *a = &s->auth;

	if (a->server != NULL)
		pg_scram_server_fini(a->server);
	if (a->verifier != NULL)
		crypt_wipe(a->verifier, sizeof(*a->verifier));
	mem_free(s->r->mem, a->server, sizeof(*a->server));
	mem_free(s->r->mem, a->verifier, sizeof(*a->verifier));
	a->server = NULL;
	a->verifier = NULL;
}

/* Godwit is in, or never will be. */
static void
end_login(struct pg_session *s)
{
	struct pg_auth *a = &s->auth;

	if (a->login != NULL)
		pg_login_fini(a->login);
	mem_free(s->r->mem, a->login, sizeof(*a->login));
	a->login = NULL;
}

void
pg_auth_fini(struct pg_session *s)
{
	struct pg_auth *a = &s->auth;

	end_proof(s);
	end_login(s);
	crypt_wipe(&a->keys, sizeof(a->keys));
	if (buf_len(&a->secret) > 0)
		crypt_wipe(a->secret.p, a->secret.end);
	buf_fini(&a->secret);
	buf_fini(&a->asked);
	if (s->r->asks_for == s)
		s->r->asks_for = NULL;
}

/* ---- the role's verifier --------------------------------------------------- */

/* The next one who waits for his verifier. */
void
pg_auth_next(struct pg_relay *r)
{
	struct buf sql;

	if (r->has_asked)
		return;
	list_each(pg_session, s, all, &r->sessions) {
		if (r->asks_for == NULL && s->auth.at == AUTH_ASKS)
			r->asks_for = s;
	}
	if (r->asks_for == NULL)
		return;
	if (r->ask.state == PG_CONN_OFF) {
		r->ask.side = &r->conf->side[r->route.authority];
		if (pg_conn_open(&r->ask) != 0)
			pg_auth_lost(r);
		return;
	}
	if (r->ask.state != PG_CONN_IDLE)
		return;
	buf_init(&sql, r->mem);
	buf_put_str(&sql,
	            "SELECT rolpassword FROM pg_catalog.pg_authid WHERE ");
	/* Who gets a backend that is open already is let in by this alone. */
	if (r->asks_for->auth.is_alone)
		buf_put_str(&sql, "rolcanlogin AND (rolvaliduntil IS NULL OR "
		                  "rolvaliduntil > pg_catalog.now()) AND ");
	buf_put_str(&sql, "rolname = ");
	pg_put_literal(&sql, user_of(r->asks_for));
	r->has_asked = true;
	pg_conn_query(&r->ask, "%.*s", (int)buf_len(&sql),
	              (const char *)buf_span(&sql).p);
	buf_fini(&sql);
}

/* The ways to log in that do not speak of a certificate: the client sees ours, not
 * the server's. */
static void
put_unbound(struct buf *tx, struct span names)
{
	struct span name;

	while (pg_text_next(&names, &name)) {
		if (name.n == 0 || span_eq(name, SPAN(PG_SCRAM_NAME_PLUS)))
			continue;
		buf_put_span(tx, name);
		buf_put(tx, "", 1);
	}
	buf_put(tx, "", 1);
}

/* A message of the server, as if it had just come. */
static void
pass_on(struct pg_session *s, struct span body)
{
	size_t at = pg_put_begin(&s->client->tx, PG_AUTHENTICATION);
	struct pg_authentication m;

	if (pg_read_authentication(body, &m) && m.code == PG_AUTH_SASL) {
		buf_put(&s->client->tx, body.p, 4);
		put_unbound(&s->client->tx, m.data);
	} else {
		buf_put_span(&s->client->tx, body);
	}
	pg_put_end(&s->client->tx, at);
	port_touch(s->r->port, s->client);
	s->auth.is_open =
		pg_read_authentication(body, &m) &&
		(m.code == PG_AUTH_SASL || m.code == PG_AUTH_CLEARTEXT);
	s->auth.at = pg_read_authentication(body, &m) && m.code == PG_AUTH_OK
	                     ? AUTH_OVER
	                     : AUTH_PASSES;
}

static void
ask_scram(struct pg_session *s)
{
	static const char names[] = PG_SCRAM_NAME; /* and its NUL */
	struct pg_authentication m = { .code = PG_AUTH_SASL,
		                       .data = span_of(names, sizeof(names)) };

	pg_put_authentication(&s->client->tx, &m);
	port_touch(s->r->port, s->client);
	s->auth.at = AUTH_FIRST;
}

/* By the server's own salt, in the server's words. */
static void
ask_md5(struct pg_session *s)
{
	pass_on(s, buf_span(&s->auth.asked));
	s->auth.at = AUTH_MD5;
}

static void
take_verifier(struct pg_session *s, struct span text)
{
	struct pg_auth *a = &s->auth;

	/* Without memory it is as if there were none. */
	if (pg_password_kind(text) == PG_PASSWORD_MD5) {
		buf_clear(&a->secret);
		buf_put_span(&a->secret, text);
		a->is_md5 = !buf_failed(&a->secret);
	}
	if (pg_password_kind(text) != PG_PASSWORD_SCRAM)
		return;
	end_proof(s);
	a->verifier = mem_zero(s->r->mem, sizeof(*a->verifier));
	if (a->verifier != NULL && !pg_verifier_parse(text, a->verifier))
		end_proof(s);
}

bool
pg_auth_hear(void *self, struct pg_conn *c, const struct pg_message *m)
{
	struct pg_relay *r = self;
	struct pg_session *s = r->asks_for;
	struct pg_values row;
	struct pg_value v;
	struct span rest;

	(void)c;
	if (m->type == PG_DATA_ROW && s != NULL && pg_read_row(m->body, &row)) {
		rest = row.items;
		if (pg_value_next(&rest, &v) && !v.is_null)
			take_verifier(s, v.bytes);
	}
	if (m->type != PG_READY)
		return true;
	if (s != NULL && r->has_asked) {
		r->asks_for = NULL;
		pg_auth_known(s);
	}
	r->has_asked = false;
	pg_auth_next(r);
	return true;
}

/* What passes cannot be repeated once it has begun, and behind a hold there may be a
 * fence: then it begins behind the release. */
static void
pass_first(struct pg_session *s, struct span body)
{
	if (s->r->held && pg_auth_again(s))
		pg_backend_close(&s->b);
	else
		pass_on(s, body);
}

/* It is known whether there is one. */
void
pg_auth_known(struct pg_session *s)
{
	struct pg_auth *a = &s->auth;

	if (a->verifier != NULL && a->wants_scram) {
		ask_scram(s);
		return;
	}
	if (a->is_md5 && !a->wants_scram) {
		ask_md5(s);
		return;
	}
	if (!a->is_alone) {
		pass_first(s, buf_span(&a->asked));
		buf_release(&a->asked);
		return;
	}
	/* Then its server says why. */
	a->is_alone = false;
	a->at = AUTH_DENIED;
	if (!s->r->held && !pg_backend_open(s))
		pg_session_end(s, SPAN("53200"), "out of memory");
}

void
pg_auth_lost(struct pg_relay *r)
{
	r->asks_for = NULL;
	r->has_asked = false;
	list_each(pg_session, s, all, &r->sessions) {
		if (s->auth.at == AUTH_ASKS)
			pg_auth_known(s);
	}
}

bool
pg_auth_again(struct pg_session *s)
{
	struct pg_auth *a = &s->auth;

	end_login(s);
	switch (a->at) {
	case AUTH_NEW:
	case AUTH_DENIED:
	case AUTH_ASKS:
		/* Nothing was said to the client. */
		if (s->r->asks_for == s)
			s->r->asks_for = NULL;
		a->is_alone = false;
		a->was_asked = false;
		a->is_md5 = false;
		a->at = AUTH_NEW;
		return true;
	case AUTH_MD5:
	case AUTH_FIRST:
	case AUTH_LAST: a->is_alone = true; return true;
	case AUTH_REPEATS: return true;
	case AUTH_PASSES:
	case AUTH_OVER:
		if (a->at == AUTH_PASSES && a->is_open) {
			a->at = AUTH_REPEATS;
			return true;
		}
		/* The server's own hash proves nothing of the client, until that
		 * server has let it in. */
		if (a->at == AUTH_PASSES && a->is_md5)
			return false;
		if (a->was_asked && !a->has_keys && buf_len(&a->secret) == 0)
			return false;
		a->is_told = a->is_told || a->at == AUTH_OVER;
		a->at = AUTH_DONE;
		return true;
	case AUTH_DONE: return true;
	}
	return false;
}

/* ---- the first login ---------------------------------------------------------- */

static bool
has_name(struct span names, struct span name)
{
	struct span one;

	while (pg_text_next(&names, &one)) {
		if (span_eq(one, name))
			return true;
	}
	return false;
}

/* What the client was asked on another side: it is not asked twice. False: it cannot
 * answer, and is gone. */
static bool
repeat(struct pg_session *s, struct span body)
{
	struct pg_auth *a = &s->auth;
	struct pg_authentication m;

	if (pg_read_authentication(body, &m) &&
	    (a->is_clear ? m.code == PG_AUTH_CLEARTEXT
	                 : m.code == PG_AUTH_SASL &&
	                           has_name(m.data, SPAN(PG_SCRAM_NAME)))) {
		a->at = AUTH_PASSES;
		return true;
	}
	pg_session_end(s, SPAN("57P03"),
	               "the database has moved to another server, which asks "
	               "for a password in another way; connect again");
	return false;
}

/* How the server wants it. */
bool
pg_auth_challenge(struct pg_session *s, struct span body)
{
	struct pg_auth *a = &s->auth;
	struct pg_authentication m;

	if (a->at == AUTH_REPEATS)
		return repeat(s, body);
	if (!pg_read_authentication(body, &m) || m.code != PG_AUTH_OK)
		a->was_asked = true;
	if (a->at == AUTH_DONE) {
		pg_auth_answer(s, body);
		return true;
	}
	if (a->at == AUTH_PASSES || !pg_read_authentication(body, &m) ||
	    (m.code != PG_AUTH_SASL && m.code != PG_AUTH_MD5)) {
		a->is_clear = pg_read_authentication(body, &m) &&
		              m.code == PG_AUTH_CLEARTEXT;
		if (a->at == AUTH_PASSES || m.code == PG_AUTH_OK)
			pass_on(s, body);
		else
			pass_first(s, body);
		return true;
	}
	buf_clear(&a->asked);
	buf_put_span(&a->asked, body);
	a->wants_scram = m.code == PG_AUTH_SASL;
	a->at = AUTH_ASKS;
	pg_auth_next(s->r);
	return true;
}

static int
hear_first(struct pg_session *s, struct span body)
{
	struct pg_auth *a = &s->auth;
	struct pg_authentication m = { .code = PG_AUTH_SASL_CONTINUE };
	char nonce[PG_SCRAM_NONCE_TEXT];
	struct pg_sasl sasl;
	struct buf out;
	int rc;

	if (!pg_read_sasl(body, &sasl) || sasl.data.is_null ||
	    !span_eq(sasl.mechanism, SPAN(PG_SCRAM_NAME)))
		return -ERR_PROTO;
	a->server = mem_zero(s->r->mem, sizeof(*a->server));
	if (a->server == NULL)
		return -ERR_NOMEM;
	a->server->crypt = s->r->port->crypt;
	a->server->verifier = a->verifier;
	pg_login_nonce(s->r->port, nonce);
	buf_init(&out, s->r->mem);
	rc = pg_scram_server_begin(a->server, sasl.data.bytes, span_str(nonce),
	                           &out);
	m.data = buf_span(&out);
	if (rc == 0)
		pg_put_authentication(&s->client->tx, &m);
	buf_fini(&out);
	a->at = AUTH_LAST;
	return rc;
}

/* What it answers is good, and it is let in with that. */
static int
proved(struct pg_session *s)
{
	struct pg_auth *a = &s->auth;

	a->at = AUTH_DONE;
	if (a->is_alone)
		return pg_pool_proved(s) ? 0 : -ERR_NOMEM;
	pg_auth_answer(s, buf_span(&a->asked));
	buf_release(&a->asked);
	return 0;
}

static int
hear_last(struct pg_session *s, struct span body)
{
	struct pg_auth *a = &s->auth;
	struct pg_authentication m = { .code = PG_AUTH_SASL_FINAL };
	struct buf out;
	int rc;

	buf_init(&out, s->r->mem);
	rc = pg_scram_server_final(a->server, body, &out);
	m.data = buf_span(&out);
	if (rc == 0)
		pg_put_authentication(&s->client->tx, &m);
	buf_fini(&out);
	if (rc != 0)
		return rc;
	a->keys = a->server->keys;
	end_proof(s);
	a->has_keys = true;
	return proved(s);
}

static int
hear_md5(struct pg_session *s, struct span body)
{
	struct pg_auth *a = &s->auth;
	struct pg_authentication m;
	char want[PG_MD5_MAX];
	struct span text;
	int rc;

	if (!pg_read_password(body, &text) ||
	    !pg_read_authentication(buf_span(&a->asked), &m) ||
	    m.code != PG_AUTH_MD5)
		return -ERR_PROTO;
	rc = pg_md5_answer(s->r->port->crypt, buf_span(&a->secret), m.data.p,
	                   want);
	if (rc == 0 &&
	    (text.n != PG_MD5_N ||
	     !crypt_is_same(text.p, (const uint8_t *)want, PG_MD5_N)))
		rc = -ERR_AUTH;
	return rc == 0 ? proved(s) : rc;
}

/* Does the client say that the server cannot bind to a certificate, to one that
 * can? It would be told of an attack. */
static bool
is_misled(const struct pg_session *s, struct span body)
{
	struct pg_sasl sasl;

	return s->auth.wants_scram && s->b.link->is_secure &&
	       pg_read_sasl(body, &sasl) && !sasl.data.is_null &&
	       span_has_prefix(sasl.data.bytes, SPAN("y,,"));
}

bool
pg_auth_password(struct pg_session *s, const struct pg_message *m)
{
	struct pg_auth *a = &s->auth;
	struct span text;
	int rc = 0;

	if (a->at == AUTH_PASSES && is_misled(s, m->body)) {
		pg_session_end(s, SPAN("28P01"),
		               "password authentication failed for user "
		               "\"%.*s\": Godwit has no verifier of it, and "
		               "SCRAM does not pass through two TLS "
		               "connections",
		               (int)user_of(s).n, (const char *)user_of(s).p);
		return false;
	}
	if (a->at == AUTH_FIRST) {
		rc = hear_first(s, m->body);
	} else if (a->at == AUTH_LAST) {
		rc = hear_last(s, m->body);
	} else if (a->at == AUTH_MD5) {
		rc = hear_md5(s, m->body);
	} else {
		if (a->is_clear && pg_read_password(m->body, &text)) {
			buf_clear(&a->secret);
			buf_put_span(&a->secret, text);
		}
		a->is_open = false;
		buf_put_span(&s->b.link->tx, m->raw);
		port_touch(s->r->port, s->b.link);
		return true;
	}
	port_touch(s->r->port, s->client);
	if (rc == 0)
		return true;
	if (rc == -ERR_AUTH)
		pg_session_end(s, SPAN("28P01"),
		               "password authentication failed for user "
		               "\"%.*s\"",
		               (int)user_of(s).n, (const char *)user_of(s).p);
	else
		pg_session_end(s, SPAN("08P01"),
		               "malformed answer to the question for a "
		               "password");
	return false;
}

/* ---- Godwit's, in its name ------------------------------------------------------- */

bool
pg_auth_answer(struct pg_session *s, struct span body)
{
	struct pg_auth *a = &s->auth;
	struct pg_login *l = a->login;
	int rc;

	if (l == NULL) {
		l = mem_zero(s->r->mem, sizeof(*l));
		if (l == NULL) {
			s->b.link->tx.failed = true;
			return false;
		}
		a->login = l;
		l->port = s->r->port;
		l->user = user_of(s);
		if (a->has_keys)
			l->keys = &a->keys;
		if (a->is_md5)
			l->md5 = buf_span(&a->secret);
		else
			l->password = buf_span(&a->secret);
	}
	rc = pg_login_answer(l, body, &s->b.link->tx);
	port_touch(s->r->port, s->b.link);
	if (rc == 1 && s->at == SESSION_LOGIN && a->is_told)
		a->at = AUTH_OVER;
	else if (rc == 1 && s->at == SESSION_LOGIN)
		pass_on(s, body);
	if (rc != 0)
		end_login(s);
	return rc >= 0;
}
