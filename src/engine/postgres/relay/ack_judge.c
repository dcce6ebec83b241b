/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/ack_judge.c: which requests may write.
 *
 * Told by the scanner and the authority's catalog (engine/postgres/sql.h). Whatever is
 * not known writes: then its answer waits for the other side, which has nothing to do
 * for it, or is refused while both_required and the other side is behind.
 */
#include "engine/postgres/relay/inside.h"
#include "engine/postgres/sql_change.h"
#include "engine/postgres/sql_scan.h"

/* A longer request writes. */
#define LOOK_MAX ((size_t)64 * 1024)

/* Nobody prepares this. */
#define REFUSED SPAN("godwit both_required")

/* ---- a text ----------------------------------------------------------------- */

static bool
is_any(const struct sql_token *t, const char *words)
{
	return !t->is_quoted && sql_token_is(t, words);
}

/* One statement that begins or ends a transaction, or sets something of the session. */
static bool
is_control(struct span text)
{
	struct sql_scan s;
	struct sql_token t;
	bool ended = false;

	if (text.n > SQL_TEXT_MAX || !sql_scan_init(&s, text))
		return false;
	sql_scan_next(&s, &t);
	if (!is_any(&t, " begin start commit end rollback abort set show reset"
	                " savepoint release close listen unlisten deallocate"
	                " discard "))
		return false;
	for (sql_scan_next(&s, &t); t.kind != SQL_END; sql_scan_next(&s, &t)) {
		if (ended || t.kind == SQL_UNSURE || is_any(&t, " prepared "))
			return false;
		ended = t.kind == SQL_SEMICOLON;
	}
	return true;
}

/* By no names, or names that are no more, nothing is a read. */
static enum pg_ack_class
judge_unknown(struct span text)
{
	if (is_control(text))
		return ACK_CONTROLS;
	return sql_may_change(text) ? ACK_CHANGES : ACK_WRITES;
}

enum pg_ack_class
pg_ack_judge(const struct sql_names *n, struct span text)
{
	if (!is_control(text) && sql_judge(n, text) == SQL_READ)
		return ACK_READS;
	return judge_unknown(text);
}

static enum pg_ack_class
judge(struct pg_relay *r, struct span text)
{
	struct pg_verdicts *v = &r->acks.verdicts;
	uint64_t form[2];
	int known;

	if (v->is_stale)
		return judge_unknown(text);
	pg_verdicts_form(v, text, form);
	known = pg_verdicts_find(v, form);
	if (known < 0) {
		known = (int)pg_ack_judge(&v->names, text);
		pg_verdicts_put(v, form, (uint8_t)known);
	}
	return (enum pg_ack_class)known;
}

/* ---- a message ---------------------------------------------------------------- */

/* The text of the statement that a Bind means. False: not known for certain. */
static bool
find(struct pg_session *s, struct span body, struct span *ret_text)
{
	const struct pg_named *named;
	const struct buf *raw = &s->unnamed;
	const uint8_t *end = memchr(body.p, 0, body.n);
	struct pg_parse p;
	struct span name;

	if (s->is_lossy || s->ack.is_doubtful || end == NULL)
		return false;
	name = span_skip(body, (size_t)(end - body.p) + 1);
	end = name.n > 0 ? memchr(name.p, 0, name.n) : NULL;
	if (end == NULL)
		return false;
	name.n = (size_t)(end - name.p);
	if (name.n > 0) {
		named = map_get(&s->named, name);
		if (named == NULL)
			return false;
		raw = &named->raw;
	}
	if (buf_len(raw) <= 5 ||
	    !pg_read_parse(span_skip(buf_span(raw), 5), &p))
		return false;
	*ret_text = p.text;
	return true;
}

static void
count(struct pg_session *s, enum pg_ack_class c)
{
	switch (c) {
	case ACK_CHANGES:
		s->ack.is_schema = true;
		s->r->acks.verdicts.is_stale = true;
		s->ack.wrote = true;
		break;
	case ACK_WRITES: s->ack.wrote = true; break;
	case ACK_CONTROLS:
	case ACK_READS: break;
	}
}

/* The beginning of a body, or all of it. */
static void
note_body(struct pg_session *s, const struct pg_part *p)
{
	struct span text;
	bool is_known;

	if (p->raw.n + p->left != p->size)
		return; /* its first part said it all */
	if (p->type == PG_QUERY)
		is_known = p->left == 0 && pg_read_query(p->raw, &text);
	else
		is_known = find(s, p->raw, &text);
	count(s, is_known ? judge(s->r, text) : ACK_WRITES);
}

void
pg_ack_note_text(struct pg_session *s, struct span text)
{
	if (s->r->conf->board == NULL)
		return;
	if (!pg_acks_is_on(s->r))
		s->ack.wrote = true;
	else if (pg_away_is_moved(s))
		count(s, text.p != NULL ? judge(s->r, text) : ACK_WRITES);
}

void
pg_ack_note(struct pg_session *s, const struct pg_part *p)
{
	bool is_body = p->type == PG_QUERY || p->type == PG_BIND;

	if (s->r->conf->board == NULL)
		return;
	if (p->kind == PG_HEAD) {
		s->ack.parses += p->type == PG_PARSE;
		if ((is_body && !pg_acks_is_on(s->r)) ||
		    p->type == PG_FUNCTION_CALL)
			s->ack.wrote = true;
		return;
	}
	if (is_body && pg_acks_is_on(s->r) && pg_away_is_moved(s))
		note_body(s, p);
}

void
pg_ack_note_error(struct pg_session *s)
{
	if (s->ack.parses > 0)
		s->ack.is_doubtful = true;
}

void
pg_ack_note_parsed(struct pg_session *s)
{
	if (s->ack.parses > 0)
		s->ack.parses--;
}

/* ---- what is refused ----------------------------------------------------------- */

bool
pg_ack_serves(struct pg_session *s)
{
	struct span database;

	if (!s->r->route.own_only || pg_away_is_moved(s))
		return true;
	database = pg_rule_database(s);
	s->r->n.refused++;
	pg_session_end(s, s->at == SESSION_OPEN ? SPAN("57P01") : SPAN("0A000"),
	               "this interlay is of database \"%s\": with write_mode "
	               "dual_write an answer to a client of \"%.*s\" would not "
	               "wait for both sides; connect by the interlay of that "
	               "database",
	               s->r->conf->side[SIDE_OLD].database,
	               (int)(database.n < 64 ? database.n : 64),
	               (const char *)database.p);
	return false;
}

static bool
may_text(struct pg_session *s, struct span text)
{
	return judge(s->r, text) >= ACK_CONTROLS;
}

static bool
may(struct pg_session *s, const struct pg_message *m)
{
	struct pg_parse p;
	struct span text;

	switch (m->type) {
	case PG_QUERY:
		return pg_read_query(m->body, &text) && may_text(s, text);
	case PG_PARSE: return pg_read_parse(m->body, &p) && may_text(s, p.text);
	case PG_BIND: return find(s, m->body, &text) && may_text(s, text);
	default: return false;
	}
}

void
pg_ack_replace(struct pg_session *s, uint8_t type, struct span name)
{
	struct buf *tx = &s->b.link->tx;
	struct pg_bind nothing = { .portal = SPAN(""), .statement = name };
	size_t at;

	if (type == PG_QUERY || type == PG_FUNCTION_CALL) {
		at = pg_put_begin(tx, PG_QUERY);
		buf_put_str(tx, "EXECUTE \"");
		buf_put_span(tx, name);
		buf_put(tx, "\"", 2);
		pg_put_end(tx, at);
	} else {
		pg_put_bind(tx, &nothing);
	}
	s->ack.drops = true;
	s->r->n.refused++;
}

bool
pg_ack_is_about(struct span body, struct span name)
{
	struct pg_error e;

	return pg_read_error(body, &e) && span_eq(e.code, SPAN("26000")) &&
	       span_holds(e.message, name);
}

int
pg_ack_may(struct pg_session *s, struct span in)
{
	struct pg_frame f = s->in;
	struct pg_message m;
	enum wire_rc rc;

	if (in.n == 0 || s->status == PG_IN_FAILED || !pg_away_is_moved(s) ||
	    (in.p[0] != PG_QUERY && in.p[0] != PG_PARSE && in.p[0] != PG_BIND &&
	     in.p[0] != PG_FUNCTION_CALL))
		return 1;
	if (in.n < 5)
		return 0;
	if (pg_get_u32(in.p + 1) <= LOOK_MAX) {
		rc = pg_frame_whole(&f, in, &m);
		if (rc == WIRE_MORE)
			return 0;
		if (rc != WIRE_PART || may(s, &m))
			return 1;
	}
	pg_ack_replace(s, in.p[0], REFUSED);
	s->ack.was_refused = true;
	return -1;
}

bool
pg_ack_refusal(struct pg_session *s, struct span body, struct buf *ret)
{
	const struct pg_error ours = {
		.severity = SPAN("ERROR"),
		.severity_plain = SPAN("ERROR"),
		.code = SPAN("25006"),
		.message = SPAN("Godwit refuses writes (both_required): the "
		                "other side is behind"),
		.hint = SPAN("Nothing was executed. Try again when it has "
		             "caught up."),
	};

	if (!s->ack.was_refused || !pg_ack_is_about(body, REFUSED))
		return false;
	pg_put_error(ret, PG_ERROR_RESPONSE, &ours);
	return true;
}
