/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/census.c: what a session has that must go with it.
 *
 * The server is asked, when the session is quiet: it knows what was set, prepared,
 * locked and listened to, whichever way that was said. Statements that the protocol
 * prepared are kept as they were sent, because the server does not tell all of them.
 */
#include "engine/postgres/relay/inside.h"
#include "wire/pg_text.h"

/* A server that does not tell is asked again. */
#define CENSUS_TRIES  8
#define CENSUS_COLUMN "godwit_census"

/* An oid that is half of a lock's key, as the signed number that was given. */
#define SIGNED(oid)                                       \
	"((" oid "::bigint + 2147483648) % 4294967296 - " \
	"2147483648)::text"

/* kind, a, b */
static const char question[] =
	"SELECT 's' AS " CENSUS_COLUMN
	", name, setting FROM pg_catalog.pg_settings WHERE source ="
	" 'session' UNION ALL SELECT 'p', name, statement FROM"
	" pg_catalog.pg_prepared_statements WHERE from_sql UNION ALL SELECT 'l', c, '' FROM"
	" pg_catalog.pg_listening_channels() c UNION ALL SELECT CASE WHEN mode"
	" LIKE 'Share%' THEN 'b' ELSE 'a' END, CASE WHEN objsubid = 1 THEN"
	" ((classid::bigint << 32) | objid::bigint)::text ELSE"
	" " SIGNED("classid") " || ',' || " SIGNED(
		"objid") " END, ''"
			 " FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND"
			 " pid = pg_catalog.pg_backend_pid() UNION ALL SELECT 'x', 'temporary"
			 " tables', '' WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_depend WHERE"
			 " refclassid = 'pg_catalog.pg_namespace'::regclass AND refobjid ="
			 " pg_catalog.pg_my_temp_schema()) UNION ALL SELECT 'x',"
			 " 'cursors WITH HOLD', '' WHERE EXISTS (SELECT 1 FROM"
			 " pg_catalog.pg_cursors WHERE is_holdable)";

/* With transaction pooling these have names of ours. */
static const char question_named[] =
	" UNION ALL SELECT 'n', name, parameter_types::oid[]::text || statement"
	" FROM pg_catalog.pg_prepared_statements WHERE NOT from_sql";

/* What the role or the database sets at the login, which is not the session's there
 * (by turns also its startup packet, which is nobody's there); and where its names are
 * looked for. */
static const char question_login[] =
	" UNION ALL SELECT 'r', name, setting FROM pg_catalog.pg_settings"
	" WHERE source IN ('global', 'database', 'user', 'database user'";
static const char question_read[] =
	") AND context IN ('user', 'superuser') UNION ALL SELECT 'w', s, '' FROM"
	" pg_catalog.unnest(pg_catalog.current_schemas(false)) s";

/* At the end: what is set before may be too much for them. */
static const char question_role[] =
	" UNION ALL SELECT 'u', session_user, '' UNION ALL SELECT 's', 'role',"
	" pg_catalog.current_setting('role') WHERE"
	" pg_catalog.current_setting('role') <> 'none'";

/* Where the session's own time-out is too short for an answer: told, and lifted for
 * this question. */
static const char patient[] =
	"SELECT 's', 'statement_timeout',"
	" pg_catalog.current_setting('statement_timeout');"
	" SET LOCAL statement_timeout = 0; ";

/* The statement without a name again: simple queries make an end of it. Answers how
 * many ReadyForQuery will come. */
static uint32_t
put_unnamed(const struct pg_session *s, struct buf *tx)
{
	if (buf_len(&s->unnamed) == 0)
		return 0;
	buf_put_span(tx, buf_span(&s->unnamed));
	pg_put_empty(tx, PG_SYNC);
	return 1;
}

void
pg_found_init(struct pg_found *f, struct mem *mem)
{
	buf_init(&f->sql, mem);
	buf_init(&f->stays, mem);
	buf_init(&f->late, mem);
	buf_init(&f->settings, mem);
	buf_init(&f->user, mem);
	buf_init(&f->path, mem);
}

static void
drop_found(struct pg_session *s)
{
	struct pg_found *f = s->state.found;

	if (f == &s->r->nothing)
		return;
	buf_fini(&f->sql);
	buf_fini(&f->stays);
	buf_fini(&f->late);
	buf_fini(&f->settings);
	buf_fini(&f->user);
	buf_fini(&f->path);
	mem_free(s->r->mem, f, sizeof(*f));
	s->state.found = &s->r->nothing;
}

/* Room of its own for what is found. False: no memory. */
static bool
make_found(struct pg_session *s)
{
	struct pg_found *f;

	if (s->state.found != &s->r->nothing)
		return true;
	f = mem_zero(s->r->mem, sizeof(*f));
	if (f == NULL)
		return false;
	pg_found_init(f, s->r->mem);
	s->state.found = f;
	return true;
}

/* Into the backend's tx. */
static void
put_question(struct pg_session *s)
{
	struct pg_backend *b = &s->b;
	size_t at;

	if (!make_found(s)) {
		/* As if the question itself did not fit: the link ends. */
		b->link->tx.failed = true;
		port_touch(s->r->port, b->link);
		return;
	}
	buf_clear(&s->state.found->sql);
	buf_clear(&s->state.found->late);
	buf_clear(&s->state.found->stays);
	buf_clear(&s->state.found->settings);
	buf_clear(&s->state.found->user);
	buf_clear(&s->state.found->path);
	pg_away_census(s);
	s->state.pins = 0;
	s->state.is_urgent = false;
	s->state.listens = false;
	s->state.failed = false;
	map_each(e, &s->named)
		((struct pg_named *)map_value(e))->seen = false;
	at = pg_put_begin(&b->link->tx, PG_QUERY);
	if (s->state.tries > 0)
		buf_put_str(&b->link->tx, patient);
	buf_put_str(&b->link->tx, question);
	if (!pg_turn_is_on(s->r))
		buf_put_str(&b->link->tx, question_named);
	pg_custom_put(s, &b->link->tx);
	s->state.tells_reads = s->r->reads.is_on;
	if (s->r->reads.is_on || pg_apart_is_on(s->r)) {
		buf_put_str(&b->link->tx, question_login);
		if (pg_turn_is_on(s->r))
			buf_put_str(&b->link->tx, ", 'client'");
		buf_put_str(&b->link->tx, question_read);
	}
	buf_put_str(&b->link->tx, question_role);
	buf_put(&b->link->tx, "", 1);
	pg_put_end(&b->link->tx, at);
	b->hears = true;
	b->due = 1;
	port_touch(s->r->port, b->link);
}

void
pg_census_ask(struct pg_session *s)
{
	put_question(s);
	s->b.due += put_unnamed(s, &s->b.link->tx);
	s->b.at = BACKEND_CENSUS;
}

void
pg_census_probe(struct pg_session *s)
{
	put_question(s);
	s->b.due += put_unnamed(s, &s->b.link->tx);
	s->probes = true;
}

bool
pg_census_begins(struct pg_session *s, struct span body)
{
	/* Behind the number of columns. */
	if (!span_has_prefix(span_skip(body, 2), SPAN(CENSUS_COLUMN)))
		return false;
	s->probes = false;
	s->is_mixed = false;
	s->due_query = 0;
	s->due_sync = 0;
	pg_due_clear(s);
	s->b.at = BACKEND_CENSUS;
	return true;
}

static void
forget(struct pg_session *s, struct map_entry *e)
{
	struct pg_named *n = map_value(e);

	s->named_bytes -= buf_len(&n->raw);
	buf_fini(&n->raw);
	map_drop(&s->named, e);
}

static void
put_call(struct buf *b, const char *function, struct span args)
{
	buf_putf(b, "SELECT pg_catalog.%s(", function);
	buf_put_span(b, args);
	buf_put_str(b, ");");
}

static void
put_setting(struct buf *b, struct span name, struct span value)
{
	buf_put_str(b, "SELECT pg_catalog.set_config(");
	pg_put_literal(b, name);
	buf_put(b, ",", 1);
	pg_put_literal(b, value);
	buf_put_str(b, ",false);");
}

static void
add_stay(struct pg_session *s, struct span what)
{
	if (buf_len(&s->state.found->stays) > 0)
		buf_put_str(&s->state.found->stays, ", ");
	buf_put_span(&s->state.found->stays, what);
}

/* By SQL: said again, and nothing else that came with it. */
static void
add_prepared(struct pg_session *s, struct span name, struct span text)
{
	if (!pg_prepared_find(text, name, &text)) {
		add_stay(s, SPAN("a statement prepared by SQL"));
		return;
	}
	buf_put_span(&s->state.found->sql, text);
	/* A comment may be its end. */
	buf_put_str(&s->state.found->sql, "\n;");
}

/* By the protocol: as it was sent, unless the server has another one. */
static void
add_named(struct pg_session *s, struct span name, struct span told)
{
	bool is_new;
	struct map_entry *e = map_put(&s->named, name, &is_new);
	struct pg_named *n;

	if (e == NULL) {
		s->is_lossy = true;
		return;
	}
	n = map_value(e);
	if (is_new)
		buf_init(&n->raw, s->r->mem);
	n->seen = true;
	if (!is_new && pg_prepared_is(&n->raw, told))
		return;
	s->named_bytes -= buf_len(&n->raw);
	buf_clear(&n->raw);
	pg_prepared_put(&n->raw, name, told);
	s->named_bytes += buf_len(&n->raw);
	s->is_lossy = s->is_lossy || buf_failed(&n->raw);
}

/* What stays where it is. */
static void
add_fixed(struct pg_session *s, struct span what)
{
	s->state.pins |= span_has_prefix(what, SPAN("temp")) ? PIN_TEMPORARY
	                                                     : PIN_CURSOR;
	add_stay(s, what);
}

static void
add(struct pg_session *s, uint8_t kind, struct span a, struct span value)
{
	struct buf *b = &s->state.found->sql;

	switch (kind) {
	case 's':
		/* The one that could end what makes the others. */
		if (span_eq(a, SPAN("statement_timeout"))) {
			/* In its patient form the question tells it twice. */
			if (buf_len(&s->state.found->late) > 0)
				break;
			put_setting(&s->state.found->late, a, value);
			put_setting(&s->state.found->settings, a, value);
			break;
		}
		put_setting(b, a, value);
		put_setting(&s->state.found->settings, a, value);
		break;
	case 'r': put_setting(&s->state.found->settings, a, value); break;
	case 'u':
		buf_put_span(&s->state.found->user, a);
		put_setting(&s->state.found->settings,
		            SPAN("session_authorization"), a);
		if (!span_eq(a,
		             pg_pair_find(pg_session_startup(s), SPAN("user"))))
			put_setting(b, SPAN("session_authorization"), a);
		break;
	case 'p':
		s->state.pins |= PIN_PREPARE;
		add_prepared(s, a, value);
		break;
	case 'l':
		buf_put_str(b, "LISTEN ");
		pg_put_ident(b, a);
		buf_put(b, ";", 1);
		s->state.is_urgent = true;
		s->state.listens = true;
		s->state.pins |= PIN_LISTEN;
		break;
	case 'a':
	case 'b':
		put_call(b,
		         kind == 'a' ? "pg_advisory_lock"
		                     : "pg_advisory_lock_shared",
		         a);
		s->state.is_urgent = true;
		s->state.pins |= PIN_LOCKS;
		break;
	case 'n': add_named(s, a, value); break;
	case 'w':
		buf_put_span(&s->state.found->path, a);
		buf_put(&s->state.found->path, "", 1);
		break;
	case 'x': add_fixed(s, a); break;
	default: break;
	}
}

/* All is told. */
static void
hear_end(struct pg_session *s)
{
	if (s->state.failed) {
		add_stay(s, SPAN("what the server did not tell"));
		s->state.pins |= PIN_UNTOLD;
	}
	s->state.tries = 0;
	s->state.is_known = true;
	s->is_lossy = s->is_lossy || buf_failed(&s->state.found->sql) ||
	              buf_failed(&s->state.found->stays);
	/* DEALLOCATE was said in SQL. */
	map_each(e, &s->named) {
		if (!((struct pg_named *)map_value(e))->seen &&
		    !pg_turn_is_on(s->r))
			forget(s, e);
	}
	pg_away_known(s);
	if (pg_turn_is_on(s->r))
		pg_turn_known(s);
}

void
pg_census_hear(struct pg_session *s, uint8_t type, struct span body)
{
	struct pg_values row;
	struct pg_value v[3];
	struct span rest;

	if (s->state.found == &s->r->nothing)
		return; /* nothing was asked: put_question() */
	if (type == PG_ERROR_RESPONSE)
		s->state.failed = true;
	if (type == PG_READY && s->state.failed &&
	    ++s->state.tries < CENSUS_TRIES) {
		/* It has its server until that is known. */
		s->turn.is_wild = pg_turn_is_on(s->r);
		return;
	}
	if (type == PG_READY)
		hear_end(s);
	if (type != PG_DATA_ROW || !pg_read_row(body, &row) || row.n != 3)
		return;
	rest = row.items;
	for (int i = 0; i < 3; i++)
		(void)pg_value_next(&rest, &v[i]);
	if (v[0].bytes.n == 1)
		add(s, v[0].bytes.p[0], v[1].bytes, v[2].bytes);
}

uint32_t
pg_census_restore(struct pg_session *s, struct buf *tx)
{
	uint32_t due = 0;

	if (buf_len(&s->state.found->sql) > 0) {
		pg_put_query(tx, buf_span(&s->state.found->sql));
		due++;
	}
	if (map_count(&s->named) > 0) {
		map_each(e, &s->named)
			buf_put_span(tx,
			             buf_span(&((struct pg_named *)map_value(e))
			                               ->raw));
		pg_put_empty(tx, PG_SYNC);
		due++;
	}
	if (buf_len(&s->state.found->late) > 0) {
		pg_put_query(tx, buf_span(&s->state.found->late));
		due++;
	}
	return due + put_unnamed(s, tx);
}

static void
keep_unnamed(struct pg_session *s, struct span raw)
{
	buf_take(&s->unnamed, buf_len(&s->unnamed));
	buf_put_span(&s->unnamed, raw);
	s->is_lossy = s->is_lossy || buf_failed(&s->unnamed);
}

void
pg_census_note(struct pg_session *s, const struct pg_message *m)
{
	struct pg_parse p;
	struct pg_target t;
	struct map_entry *e;
	struct pg_named *n;
	bool is_new;

	if (m->type == PG_CLOSE) {
		if (!pg_read_target(m->body, &t) || t.is_portal)
			return;
		if (t.name.n == 0)
			keep_unnamed(s, t.name);
		e = map_find(&s->named, t.name);
		if (e != NULL)
			forget(s, e);
		return;
	}
	if (!pg_read_parse(m->body, &p))
		return;
	pg_custom_scan(s, p.text);
	pg_away_note_parse(s, m);
	if (p.name.n == 0) {
		keep_unnamed(s, m->raw);
		return;
	}
	if (s->named_bytes + m->raw.n > PG_RELAY_KEEP_MAX) {
		s->is_lossy = true;
		return;
	}
	e = map_put(&s->named, p.name, &is_new);
	if (e == NULL) {
		s->is_lossy = true;
		return;
	}
	n = map_value(e);
	if (is_new)
		buf_init(&n->raw, s->r->mem);
	else
		s->named_bytes -= buf_len(&n->raw);
	/* The server may have kept the other one. */
	s->ack.is_doubtful = s->ack.is_doubtful || !is_new;
	buf_clear(&n->raw);
	buf_put_span(&n->raw, m->raw);
	s->named_bytes += m->raw.n;
}

void
pg_census_forget(struct pg_session *s)
{
	map_each(e, &s->named)
		forget(s, e);
	drop_found(s);
}
