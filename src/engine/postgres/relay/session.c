/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/session.c: a client, and its messages on their way.
 *
 * Message heads are looked at, bodies pass as they come. A message begins only when it
 * may go: there is a backend, and either nothing is held or a transaction is open that
 * has to come to its end.
 */
#include <stdarg.h>

#include "engine/postgres/relay/inside.h"

/* Longer than `SET SESSION name` with the space that people put into it. */
#define SEAM ((size_t)256)

/* A cancel key that nobody else has. */
static bool
take_key(struct pg_session *s)
{
	struct pg_relay *r = s->r;

	do {
		uint64_t v = r->port->entropy(r->port);

		/* A process number is a positive int in many clients. */
		s->c.process = (uint32_t)(v >> 33);
		s->c.secret = (uint32_t)v;
	} while (pg_keys_find(&r->keys, s->c.process, s->c.secret) != NULL);
	return pg_keys_put(&r->keys, r->mem, &s->c);
}

void
pg_session_init(struct pg_session *s, struct pg_relay *r, struct link *client)
{
	s->c.owner = OWNER_CLIENT;
	s->r = r;
	s->client = client;
	s->is_proxied = r->conf->proxy;
	s->status = PG_IDLE;
	s->b.owner = OWNER_BACKEND;
	s->b.s = s;
	buf_init(&s->rx, r->mem);
	buf_init(&s->startup, r->mem);
	buf_init(&s->capture, r->mem);
	buf_init(&s->seam, r->mem);
	buf_init(&s->unnamed, r->mem);
	buf_init(&s->told, r->mem);
	buf_init(&s->params, r->mem);
	buf_init(&s->says, r->mem);
	buf_init(&s->b.word, r->mem);
	buf_init(&s->auth.asked, r->mem);
	buf_init(&s->auth.secret, r->mem);
	buf_init(&s->reading.application, r->mem);
	s->state.found = &r->nothing;
	s->reading.is_wild = true;
	map_init(&s->custom, r->mem, 0, r->turns.seed[1]);
	map_init(&s->named, r->mem, sizeof(struct pg_named), r->turns.seed[1]);
	pg_frame_init(&s->in, PG_FRONT);
	pg_turn_init(s);
	pg_apart_begin(s);
}

void
pg_session_accept(struct pg_relay *r, struct link *client)
{
	struct pg_session *s = mem_zero(r->mem, sizeof(*s));

	if (s == NULL) {
		r->port->ops->close(r->port, client, false);
		return;
	}
	pg_session_init(s, r, client);
	client->owner = s;
	s->began_ns = r->port->now_ns;
	s->c.number = ++r->turns.numbers;
	pg_clients_push(&r->clients, &s->c);
	pg_sessions_push(&r->sessions, s);
	if (!take_key(s))
		pg_session_end(s, SPAN("53200"), "out of memory");
}

void
pg_session_free(struct pg_session *s)
{
	struct pg_relay *r = s->r;

	pg_warm_drop(s);
	pg_turn_fini(s);
	pg_backend_close(&s->b);
	pg_ack_free(s);
	pg_apart_free(s);
	pg_away_free(s);
	pg_shadow_left(s);
	if (s->client != NULL)
		r->port->ops->close(r->port, s->client, true);
	pg_keys_drop(&r->keys, &s->c);
	pg_auth_fini(s);
	pg_proxied_fini(s);
	pg_census_forget(s);
	map_fini(&s->named);
	map_fini(&s->custom);
	buf_fini(&s->rx);
	buf_fini(&s->startup);
	buf_fini(&s->capture);
	buf_fini(&s->seam);
	buf_fini(&s->unnamed);
	buf_fini(&s->told);
	buf_fini(&s->params);
	buf_fini(&s->says);
	pg_own_key_drop(&s->b.key, r->mem);
	buf_fini(&s->b.word);
	buf_fini(&s->reading.application);
	pg_clients_remove(&r->clients, &s->c);
	pg_sessions_remove(&r->sessions, s);
	mem_free(r->mem, s, sizeof(*s));
}

void
pg_session_end(struct pg_session *s, struct span code, const char *fmt, ...)
{
	struct buf text;
	struct pg_error e = { .severity = SPAN("FATAL"),
		              .severity_plain = SPAN("FATAL"),
		              .code = code };
	va_list ap;

	buf_init(&text, s->r->mem);
	va_start(ap, fmt);
	buf_putv(&text, fmt, ap);
	va_end(ap);
	e.message = buf_span(&text);
	if (s->client != NULL) {
		pg_put_error(&s->client->tx, PG_ERROR_RESPONSE, &e);
		port_touch(s->r->port, s->client);
	}
	buf_fini(&text);
	pg_session_free(s);
}

struct span
pg_session_startup(const struct pg_session *s)
{
	return buf_span(s->turn.group != NULL ? &s->turn.group->startup
	                                      : &s->startup);
}

bool
pg_session_is_quiet(const struct pg_session *s)
{
	return s->due_query == 0 && s->due_sync == 0 && s->status == PG_IDLE &&
	       !s->in_extended && !s->copies_in && s->in.left == 0 &&
	       !pg_away_is_out(s) && !pg_ack_is_withheld(s);
}

/* ---- before the session ---------------------------------------------------- */

static void
answer(struct pg_session *s, char c)
{
	buf_put(&s->client->tx, &c, 1);
	port_touch(s->r->port, s->client);
}

/* A question for TLS. What comes behind it in clear was put there by somebody else
 * than the client, who has to wait for the answer. False: the session is gone. */
static bool
on_ssl(struct pg_session *s, size_t behind)
{
	struct port *port = s->r->port;
	static const struct span none = { NULL, 0 };

	if (s->has_asked_tls) {
		pg_session_end(s, SPAN("08P01"), "TLS was asked for twice");
		return false;
	}
	s->has_asked_tls = true;
	if (!s->client->may_secure) {
		answer(s, PG_SSL_NO);
		return true;
	}
	if (behind > 0) {
		pg_session_end(s, SPAN("08P01"),
		               "received unencrypted data after SSL request");
		return false;
	}
	answer(s, PG_SSL_YES);
	port->ops->secure(port, s->client, none);
	return true;
}

/* Who need not come in TLS: a cancel request, which most clients send in clear. */
static bool
may_be_plain(struct pg_session *s)
{
	if (!s->client->may_secure)
		return true;
	pg_session_end(s, SPAN("28000"),
	               "clients come here in TLS only; use sslmode=require, "
	               "verify-ca or verify-full");
	return false;
}

/* behind: bytes that came with it. Answers false when the session is gone. */
static bool
on_packet(struct pg_session *s, const struct pg_message *m, size_t behind)
{
	struct pg_relay *r = s->r;
	struct span pairs;
	struct pg_key key;

	switch (m->code) {
	case PG_SSL: return on_ssl(s, behind);
	case PG_GSSENC:
		if (s->has_asked_gss) {
			pg_session_end(s, SPAN("08P01"),
			               "GSSAPI was asked for twice");
			return false;
		}
		s->has_asked_gss = true;
		answer(s, 'N');
		return true;
	case PG_CANCEL:
		if (pg_read_cancel(m->body, &key))
			pg_cancel_take(r, &key);
		pg_session_free(s);
		return false;
	default: break;
	}
	if (!may_be_plain(s))
		return false;
	if (m->code >> 16 != 3 || !pg_read_startup(m->body, &pairs)) {
		pg_session_end(s, SPAN("08P01"),
		               "unsupported frontend protocol");
		return false;
	}
	if (pg_pair_find(pairs, SPAN("user")).n == 0) {
		pg_session_end(s, SPAN("28000"),
		               "no PostgreSQL user name specified in startup "
		               "packet");
		return false;
	}
	if (pg_params_ask_log(pairs)) {
		pg_session_end(s, SPAN("0A000"),
		               "a replication connection goes to the server "
		               "itself, not through an interlay of Godwit");
		return false;
	}
	buf_put_span(&s->startup, pairs);
	if (buf_failed(&s->startup)) {
		pg_session_end(s, SPAN("53200"), "out of memory");
		return false;
	}
	if (!pg_ack_serves(s))
		return false;
	s->at = SESSION_LOGIN;
	return true;
}

/* ---- the session ----------------------------------------------------------- */

/* May a message begin now? anywhere: on the other side, if it has no server. */
static bool
may_begin(struct pg_session *s, bool anywhere)
{
	if (s->b.at != BACKEND_OPEN && !(anywhere && s->b.at == BACKEND_OFF))
		return false;
	if (pg_away_is_out(s))
		return false;
	if (s->probes || s->turn.waits_shape || pg_ahead_stops(s))
		return false;
	/* What is locked may be what it is about to ask for. */
	if (s->r->locking && !s->state.is_urgent)
		return false;
	return !s->r->held || !pg_session_is_quiet(s);
}

/* What a client may say while the server takes in a COPY. */
static bool
is_of_copy(uint8_t type)
{
	return type == PG_COPY_DATA || type == PG_COPY_DONE ||
	       type == PG_COPY_FAIL || type == PG_FLUSH;
}

/* What a message of the client means for what is outstanding. */
static void
account(struct pg_session *s, uint8_t type)
{
	bool by_turns = pg_turn_is_on(s->r);

	s->state.is_known = false;
	s->turn.is_fresh = false;
	s->reading.to_authority = false;
	if (type == PG_QUERY || type == PG_FUNCTION_CALL ||
	    type == PG_EXECUTE) {
		s->r->n.requests++;
		s->requests++;
		s->asked_ns = s->r->port->now_ns;
		s->is_timed = true;
	}
	if (by_turns && s->copies_in && !is_of_copy(type))
		s->turn.pins |= PIN_ORDER;
	switch (type) {
	case PG_QUERY:
	case PG_FUNCTION_CALL:
		/* A query ends the unnamed statement, if it is not skipped. */
		if (by_turns && s->turn.skips)
			break;
		if (type == PG_QUERY)
			buf_take(&s->unnamed, buf_len(&s->unnamed));
		s->due_query++;
		s->is_mixed = s->is_mixed || s->in_extended;
		/* It makes an end of what came before it. */
		s->in_extended = s->in_extended && !by_turns;
		break;
	case PG_SYNC:
		/* A server that takes in a COPY passes over it. */
		if (!s->copies_in)
			s->due_sync++;
		s->in_extended = false;
		break;
	case PG_EXECUTE:
	case PG_PARSE:
	case PG_BIND:
	case PG_DESCRIBE:
	case PG_CLOSE:
	case PG_FLUSH: s->in_extended = true; break;
	case PG_COPY_DONE:
	case PG_COPY_FAIL: s->copies_in = false; break;
	default: break;
	}
}

/* A name may be cut by the end of a packet, wherever that is. */
static void
scan_query(struct pg_session *s, const struct pg_part *p)
{
	struct span raw = p->raw;
	size_t n = buf_len(&s->seam);

	if (n > 0) {
		buf_put_span(&s->seam,
		             span_of(raw.p, raw.n < SEAM ? raw.n : SEAM));
		pg_custom_scan(s, buf_span(&s->seam));
	}
	pg_custom_scan(s, raw);
	if (p->left == 0) {
		buf_release(&s->seam);
		return;
	}
	if (raw.n >= SEAM) {
		buf_clear(&s->seam);
		buf_put_span(&s->seam, span_skip(raw, raw.n - SEAM));
	} else if (n == 0) {
		buf_put_span(&s->seam, raw);
	} else if (n + raw.n > SEAM) {
		buf_take(&s->seam, n + raw.n - SEAM);
	}
	s->is_lossy = s->is_lossy || buf_failed(&s->seam);
}

/* Statements by name are kept, so that they can be made elsewhere. */
static void
capture(struct pg_session *s, const struct pg_part *p)
{
	struct pg_message m;

	if (p->kind == PG_HEAD) {
		s->captures = !pg_turn_is_on(s->r) &&
		              (p->type == PG_PARSE || p->type == PG_CLOSE ||
		               (p->type == PG_BIND && s->names_by_value));
		buf_clear(&s->capture);
	}
	if (p->kind == PG_BODY && p->type == PG_QUERY && !s->turn.is_plain)
		scan_query(s, p);
	if (!s->captures)
		return;
	if (buf_len(&s->capture) + p->raw.n > PG_RELAY_KEEP_MAX) {
		s->captures = false;
		s->is_lossy = true;
		buf_clear(&s->capture);
		return;
	}
	buf_put_span(&s->capture, p->raw);
	if (buf_failed(&s->capture)) {
		s->captures = false;
		s->is_lossy = true;
		buf_fini(&s->capture);
		return;
	}
	if (p->left > 0)
		return;
	m.type = p->type;
	m.raw = buf_span(&s->capture);
	m.body = span_skip(m.raw, 5);
	if (m.type == PG_BIND)
		pg_custom_bind(s, m.body);
	else
		pg_census_note(s, &m);
	s->captures = false;
	buf_clear(&s->capture);
}

static void
slow_down(struct pg_session *s)
{
	size_t most = s->turn.wants > PG_RELAY_HELD_MAX ? s->turn.wants
	                                                : PG_RELAY_HELD_MAX;
	bool stop = buf_len(&s->rx) > most ||
	            (s->b.link != NULL &&
	             buf_len(&s->b.link->tx) > PG_RELAY_TX_MAX);

	if (s->b.link != NULL && stop)
		s->b.link->want_drained = true;
	if (stop == s->is_stopped || s->client == NULL)
		return;
	s->is_stopped = stop;
	s->r->port->ops->read(s->r->port, s->client, !stop);
}

/* The same, with transaction pooling. -2: it passes as it is. */
static int
pass_turn(struct pg_session *s, struct span in, size_t *ret_used)
{
	uint8_t type = in.p[0];

	switch (pg_alias_take(s, in, ret_used)) {
	case ALIAS_NOT: return -2;
	case ALIAS_MORE: return 0;
	case ALIAS_END: return -1;
	case ALIAS_DONE: break;
	}
	account(s, type);
	pg_due_note(s, type);
	port_touch(s->r->port, s->b.link);
	return 1;
}

/* What a message that passes as it is may leave behind. */
static void
note_turn(struct pg_session *s, const struct pg_part *p)
{
	if (p->kind == PG_HEAD)
		pg_due_note(s, p->type);
	if (p->kind == PG_HEAD && p->type == PG_FUNCTION_CALL)
		pg_turn_note(s, span_of(p->raw.p, 0), false);
	s->turn.is_plain = false;
	if (p->kind == PG_BODY && p->type == PG_QUERY && p->raw.n > 0)
		pg_turn_note(s, span_of(p->raw.p, p->raw.n - 1),
		             p->raw.n == p->size);
}

static void
note(struct pg_session *s, const struct pg_part *p, bool was_quiet)
{
	bool by_turns = pg_turn_is_on(s->r);

	if (by_turns)
		note_turn(s, p);
	if (s->ack.drops)
		return;
	if (!by_turns)
		pg_away_note(s, p, was_quiet);
	pg_ack_note(s, p);
}

/* May what begins have to be refused, because it writes? */
static bool
is_looked_at(const struct pg_session *s)
{
	return s->r->acks.is_behind && s->r->route.strict && s->in.left == 0 &&
	       pg_frame_is_between(&s->in);
}

/* Does it have to be found out where a message that begins goes? */
static bool
is_apart(const struct pg_session *s)
{
	return (pg_apart_is_on(s->r) || s->apart.is_opened) &&
	       s->in.left == 0 && pg_frame_is_between(&s->in) && !s->turn.drops;
}

/* It has no server for that. */
static bool
says_goodbye(const struct pg_session *s, struct span in)
{
	return s->b.at == BACKEND_OFF && in.p[0] == PG_TERMINATE &&
	       pg_frame_is_between(&s->in);
}

/* What is in front may not go now. */
static bool
stays(struct pg_session *s, struct span in)
{
	if (s->in.left > 0)
		return false;
	s->waits = in.n > 0 && !may_begin(s, false);
	return s->waits;
}

/* ... is half of what it has to be. */
static bool
is_half(const struct pg_session *s, struct span in, bool quiet)
{
	return pg_turn_is_on(s->r) && quiet && pg_frame_is_between(&s->in) &&
	       !pg_turn_is_whole(in);
}

/* Before it has a server for what is in front. -2: go on. */
static int
take_turn(struct pg_session *s, struct span in, size_t *ret_used)
{
	if (says_goodbye(s, in)) {
		pg_session_free(s);
		return -1;
	}
	if (!is_apart(s))
		return -2;
	switch (pg_apart_take(s, in, ret_used)) {
	case APART_PASS: return -2;
	case APART_MORE: return 0;
	case APART_DONE: return 1;
	case APART_END: break;
	}
	return -1;
}

static int
invalid(struct pg_session *s)
{
	pg_session_end(s, SPAN("08P01"), "invalid message from the client");
	return -1;
}

/* One step through in. 0: no more now; -1: the session is gone. */
static int
pass(struct pg_session *s, struct span in, size_t *ret_used)
{
	struct pg_part p;
	enum wire_rc rc;
	bool quiet = pg_session_is_quiet(s);
	bool by_turns = pg_turn_is_on(s->r);
	int done;

	*ret_used = 0;
	if (pg_frame_is_between(&s->in) && !pg_ack_serves(s))
		return -1;
	done = by_turns ? take_turn(s, in, ret_used) : -2;
	if (done != -2)
		return done;
	if (is_half(s, in, quiet))
		return 0;
	if (s->in.left == 0 && may_begin(s, by_turns)) {
		enum pg_take_rc take = pg_away_take(s, in, ret_used);

		if (take != TAKE_NOT)
			return take == TAKE_DONE;
	}
	if (stays(s, in))
		return 0;
	if (by_turns)
		pg_alias_divide(s, in.p[0]);
	if (is_looked_at(s) && pg_ack_may(s, in) == 0)
		return 0;
	if (by_turns && !s->ack.drops && pg_frame_is_between(&s->in)) {
		done = pass_turn(s, in, ret_used);
		if (done != -2)
			return done;
	}
	rc = pg_frame_feed(&s->in, in, &p, ret_used);
	if (rc == WIRE_MORE)
		return 0;
	if (rc != WIRE_PART)
		return invalid(s);
	if (p.kind == PG_HEAD && p.type == PG_TERMINATE) {
		pg_pool_keep(s);
		pg_session_free(s);
		return -1;
	}
	if (s->turn.drops && p.kind == PG_BODY) {
		s->turn.drops = p.left > 0;
		return 1;
	}
	note(s, &p, quiet);
	if (p.kind == PG_HEAD)
		account(s, p.type);
	port_touch(s->r->port, s->b.link);
	if (s->ack.drops) {
		s->ack.drops = p.left > 0;
		return 1;
	}
	capture(s, &p);
	buf_put_span(&s->b.link->tx, p.raw);
	return 1;
}

/* Answers to a login come whole. */
static int
log_in(struct pg_session *s, struct span in, size_t *ret_used)
{
	struct pg_message m;
	enum wire_rc rc;

	*ret_used = 0;
	if ((s->b.at != BACKEND_LOGIN && !s->auth.is_alone) ||
	    s->auth.at == AUTH_NEW || s->auth.at == AUTH_DENIED ||
	    s->auth.at == AUTH_ASKS || s->auth.at == AUTH_OVER ||
	    s->auth.at == AUTH_REPEATS)
		return 0;
	/* Behind a hold another server may ask it the same. */
	if (s->r->held && s->auth.at == AUTH_PASSES && s->auth.is_open)
		return 0;
	rc = pg_frame_whole(&s->in, in, &m);
	if (rc == WIRE_MORE)
		return 0;
	if (rc == WIRE_PART && m.type == PG_TERMINATE) {
		pg_session_free(s);
		return -1;
	}
	if (rc != WIRE_PART || m.type != PG_PASSWORD) {
		pg_session_end(s, SPAN("08P01"),
		               "expected a password response");
		return -1;
	}
	*ret_used = m.raw.n;
	return pg_auth_password(s, &m) ? 1 : -1;
}

/* Packets before the session come whole. -1: the session is gone. */
static int
start(struct pg_session *s, struct span in, size_t *ret_used)
{
	struct pg_message m;
	enum wire_rc rc;

	*ret_used = 0;
	if (s->is_proxied)
		return pg_proxied_read(s, in, ret_used);
	if (in.p[0] == PG_TLS_FIRST && s->client->may_secure) {
		*ret_used = in.n;
		s->has_asked_tls = true;
		s->r->port->ops->secure(s->r->port, s->client, in);
		return 1;
	}
	rc = pg_frame_whole(&s->in, in, &m);
	if (rc == WIRE_MORE)
		return 0;
	if (rc != WIRE_PART) {
		pg_session_end(s, SPAN("08P01"), "invalid startup packet");
		return -1;
	}
	*ret_used = m.raw.n;
	return on_packet(s, &m, in.n - m.raw.n) ? 1 : -1;
}

/* All of in that may go. False: the session is gone. */
static bool
walk(struct pg_session *s, struct span in, size_t *ret_used)
{
	size_t used = 0;
	int rc = 1;

	while (rc > 0 && used < in.n) {
		size_t n;
		struct span rest = span_skip(in, used);

		if (s->at == SESSION_STARTS)
			rc = start(s, rest, &n);
		else if (s->at == SESSION_LOGIN)
			rc = log_in(s, rest, &n);
		else if (s->skips != 0)
			rc = pg_cancel_skip(s, rest, &n);
		else
			rc = pass(s, rest, &n);
		if (rc < 0)
			return false;
		used += n;
		if (rc == 0)
			break;
	}
	*ret_used = used;
	return true;
}

/* True: it has one at once, and what it asked for along with its first packet can be
 * passed on. */
static bool
need_backend(struct pg_session *s)
{
	if (s->at == SESSION_STARTS || s->r->held || s->b.link != NULL ||
	    s->auth.is_alone || s->reading.is_cut || pg_away_is_out(s) ||
	    (buf_len(&s->rx) == 0 && s->at != SESSION_LOGIN) ||
	    (pg_turn_is_on(s->r) && s->at == SESSION_OPEN &&
	     !pg_turn_is_whole(buf_span(&s->rx))) ||
	    pg_apart_waits(s))
		return false;
	if (s->r->port->now_ns < s->auth.retry_ns) {
		s->r->retries = true;
		return false;
	}
	switch (pg_turn_is_on(s->r) ? pg_turn_begin(s) : pg_pool_begin(s)) {
	case POOL_ASKS: return false;
	case POOL_TAKEN: return buf_len(&s->rx) > 0;
	case POOL_NONE: break;
	}
	if (s->waits_ns == 0)
		s->waits_ns = s->r->port->now_ns;
	if (!pg_backend_open(s))
		pg_session_end(s, SPAN("53200"), "out of memory");
	return false;
}

/* False: there is no memory for it, and the session is gone. */
static bool
keep(struct pg_session *s, struct span bytes)
{
	if (bytes.n == 0)
		return true;
	pg_block_take(&s->rx, &s->r->lent_rx);
	buf_put_span(&s->rx, bytes);
	if (!buf_failed(&s->rx))
		return true;
	pg_session_end(s, SPAN("53200"), "out of memory");
	return false;
}

void
pg_session_take(struct pg_session *s, struct span bytes)
{
	size_t used;
	bool by_turns = pg_turn_is_on(s->r);

	s->r->n.bytes_in += bytes.n;
	if (buf_len(&s->rx) > 0) {
		if (keep(s, bytes))
			pg_session_pump(s);
		return;
	}
	/* With one of the idle servers it need not be kept first. */
	if (by_turns && s->at == SESSION_OPEN && s->b.link == NULL &&
	    s->skips == 0 && !s->r->held && !pg_apart_is_on(s->r) &&
	    !s->r->reads.is_on && pg_turn_is_whole(bytes) &&
	    bytes.p[0] != PG_TERMINATE)
		(void)pg_turn_begin(s);
	if (!walk(s, bytes, &used) || !keep(s, span_skip(bytes, used)))
		return;
	slow_down(s);
	if (need_backend(s))
		pg_session_pump(s);
}

void
pg_session_pump(struct pg_session *s)
{
	size_t used;

	do {
		if (!walk(s, buf_span(&s->rx), &used))
			return;
		buf_take(&s->rx, used);
		pg_block_give(&s->rx, &s->r->lent_rx);
		slow_down(s);
	} while (need_backend(s));
}

bool
pg_session_repeat(struct pg_session *s, size_t n)
{
	size_t used;

	s->turn.repeats = true;
	if (!walk(s, span_of(buf_span(&s->rx).p, n), &used))
		return false;
	s->turn.repeats = false;
	buf_take(&s->rx, used);
	return true;
}

void
pg_session_left(struct pg_session *s)
{
	struct pg_relay *r = s->r;

	s->client = NULL;
	pg_session_free(s);
	pg_hold_look(r);
}
