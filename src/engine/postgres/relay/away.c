/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/away.c: which request of a session is read elsewhere, and when.
 */
#include "engine/postgres/relay/away.h"

#include "base/hash.h"
#include "engine/postgres/relay/inside.h"
#include "engine/postgres/sql_change.h"

/* Types of people's own have other numbers on another server. */
#define OWN_TYPE 16384u

/* A request: a Query, or messages up to Sync with one statement in them. */
struct group {
	size_t n;         /* bytes of it        */
	struct span text; /* of the statement   */
	struct pg_parse parse;
	struct pg_bind bind;
	uint64_t digest[2];
	bool is_simple;
	bool has_parse; /* its own  */
	bool has_bind;
	bool has_fields; /* it asks for them */
	bool has_execute;
	uint64_t
		shape; /* of its columns, as the client knows them; 0: it does not */
};

static struct pg_away *
make(struct pg_session *s)
{
	struct pg_away *rd = mem_zero(s->r->mem, sizeof(*rd));

	if (rd == NULL)
		return NULL;
	rd->s = s;
	buf_init(&rd->request, s->r->mem);
	buf_init(&rd->ask, s->r->mem);
	buf_init(&rd->answer, s->r->mem);
	buf_init(&rd->unnamed, s->r->mem);
	return rd;
}

void
pg_away_free(struct pg_session *s)
{
	struct pg_away *rd = s->reading.p;

	if (rd == NULL)
		return;
	if (rd->at != READ_NONE)
		pg_reads_out_remove(&s->r->reads.out, rd);
	pg_reader_rest(rd);
	pg_reader_drop(rd);
	buf_fini(&rd->request);
	buf_fini(&rd->ask);
	buf_fini(&rd->answer);
	buf_fini(&rd->unnamed);
	mem_free(s->r->mem, rd, sizeof(*rd));
	s->reading.p = NULL;
}

/* ---- what it is ------------------------------------------------------------------ */

static bool
has_own_types(const struct pg_parse *p)
{
	for (size_t i = 0; i < p->types.n; i++) {
		if (pg_number_at(p->types, i) >= OWN_TYPE)
			return true;
	}
	return false;
}

static bool
is_read(struct pg_session *s, struct group *g)
{
	g->text = g->parse.text;
	return !has_own_types(&g->parse) &&
	       pg_reads_judge(s->r, g->text, g->digest) == SQL_READ;
}

/* The statement that a Bind means; certain when the session is LIKE_YES. */
static bool
find(struct pg_session *s, struct group *g)
{
	const struct pg_named *n;
	const struct buf *raw = NULL;

	if (g->bind.statement.n > 0) {
		n = map_get(&s->named, g->bind.statement);
		if (n != NULL) {
			raw = &n->raw;
			g->shape = n->alias.shape;
		}
	} else if (pg_turn_is_on(s->r)) {
		raw = &s->unnamed;
	} else if (s->reading.p != NULL) {
		raw = &s->reading.p->unnamed;
	}
	return raw != NULL && buf_len(raw) > 5 &&
	       pg_read_parse(span_skip(buf_span(raw), 5), &g->parse) &&
	       is_read(s, g);
}

/* One more message of a group; false: it is none of ours. */
static bool
add(struct pg_session *s, struct group *g, const struct pg_message *m)
{
	struct pg_target t;
	struct pg_execute e;

	switch (m->type) {
	case PG_PARSE:
		if (g->has_parse || g->has_bind ||
		    !pg_read_parse(m->body, &g->parse) || g->parse.name.n > 0)
			return false;
		g->has_parse = true;
		return is_read(s, g);
	case PG_BIND:
		if (g->has_bind || !pg_read_bind(m->body, &g->bind) ||
		    g->bind.portal.n > 0)
			return false;
		g->has_bind = true;
		return g->has_parse ? g->bind.statement.n == 0 : find(s, g);
	case PG_DESCRIBE:
		if (!g->has_bind || g->has_fields || g->has_execute ||
		    !pg_read_target(m->body, &t) || !t.is_portal ||
		    t.name.n > 0)
			return false;
		g->has_fields = true;
		return true;
	case PG_EXECUTE:
		if (!g->has_bind || g->has_execute ||
		    !pg_read_execute(m->body, &e) || e.portal.n > 0 ||
		    e.rows != 0)
			return false;
		g->has_execute = true;
		return true;
	default: return false;
	}
}

static enum pg_take_rc
look(struct pg_session *s, struct span in, struct group *g)
{
	struct pg_frame f = s->in;
	struct pg_message m;

	for (;;) {
		struct span rest = span_skip(in, g->n);
		enum wire_rc rc;

		if (rest.n < 5)
			return TAKE_MORE;
		if (g->n + pg_get_u32(rest.p + 1) > PG_READ_GROUP_MAX)
			return TAKE_NOT;
		rc = pg_frame_whole(&f, rest, &m);
		if (rc == WIRE_MORE)
			return TAKE_MORE;
		if (rc != WIRE_PART)
			return TAKE_NOT;
		g->n += m.raw.n;
		if (m.type == PG_SYNC)
			return g->has_execute ? TAKE_DONE : TAKE_NOT;
		if (m.type == PG_QUERY && g->n == m.raw.n) {
			g->is_simple = true;
			return pg_read_query(m.body, &g->parse.text) &&
			                       is_read(s, g)
			               ? TAKE_DONE
			               : TAKE_NOT;
		}
		if (!add(s, g, &m))
			return TAKE_NOT;
	}
}

/* ---- where it goes ------------------------------------------------------------------ */

/* Is the request taken by the share, or the rules? The same words of a session always
 * are. */
static bool
is_taken(struct pg_session *s, const struct group *g)
{
	uint64_t words = g->digest[0];

	if (!g->is_simple)
		words ^= hash_bytes(g->bind.values.items, s->c.process);
	return pg_rule_takes(s, g->text, words);
}

/* Is it in the database that moves? What others hold there is no concern of ours. */
bool
pg_away_is_moved(const struct pg_session *s)
{
	return span_eq(pg_rule_database(s),
	               span_str(s->r->conf->side[SIDE_OLD].database));
}

/* Is it known what the session is, and can it be the same there? What pins it to a
 * server of its turns is there. */
static bool
is_like(struct pg_session *s)
{
	if (pg_turn_is_on(s->r) && pg_turn_pins(s) != 0)
		return false;
	if (s->reading.like == LIKE_UNKNOWN)
		s->reading.wants_census = true;
	return s->reading.like == LIKE_YES;
}

/* Can it be sent there? What is missing for it is begun. */
static bool
is_ready(struct pg_session *s)
{
	struct pg_reading *a = &s->reading;

	if (!is_like(s))
		return false;
	if (a->p == NULL)
		a->p = make(s);
	return a->p != NULL && pg_reader_may(a->p);
}

/* The same question once more, with a description of the columns. */
static void
put_ask(struct buf *b, struct group *g)
{
	struct span none = { (const uint8_t *)"", 0 };
	struct pg_target portal = { .is_portal = true, .name = none };
	struct pg_execute all = { .portal = none };

	if (g->is_simple) {
		pg_put_query(b, g->text);
		return;
	}
	g->parse.name = none;
	g->bind.statement = none;
	pg_put_parse(b, &g->parse);
	pg_put_bind(b, &g->bind);
	pg_put_target(b, PG_DESCRIBE, portal);
	pg_put_execute(b, all);
	pg_put_empty(b, PG_SYNC);
}

/* What the client may bind later without saying it again; in: what it said. */
static void
keep_unnamed(struct pg_away *rd, const struct group *g, struct span in)
{
	struct pg_message m = { .type = PG_PARSE };

	if (pg_turn_is_on(rd->s->r)) {
		m.raw = span_of(in.p, 1 + (size_t)pg_get_u32(in.p + 1));
		m.body = span_skip(m.raw, 5);
		if (g->has_parse)
			rd->unnamed.failed = !pg_alias_learn(rd->s, &m);
		else if (g->is_simple)
			pg_alias_end_unnamed(rd->s);
		return;
	}
	if (!g->has_parse)
		return;
	buf_clear(&rd->unnamed);
	pg_put_parse(&rd->unnamed, &g->parse);
}

/* It goes to the authority, and is asked on the other side as well. */
static void
mirror(struct pg_session *s, struct group *g)
{
	struct pg_relay *r = s->r;
	struct buf ask;

	if (!pg_shadow_takes(r))
		return;
	if (!is_like(s)) {
		pg_shadow_drop(r, s->reading.like == LIKE_NO
		                          ? SHADOW_DROP_USER
		                          : SHADOW_DROP_DOWN);
		return;
	}
	buf_init(&ask, r->mem);
	put_ask(&ask, g);
	(void)pg_shadow_begin(s, g->text, g->digest, &ask);
	buf_fini(&ask);
}

/* May it go there, as far as is known before it is looked at? Who waits for a server, or
 * has sent it ahead, asks there. */
static bool
may_look(const struct pg_session *s, struct span in)
{
	return s->r->reads.is_on && !s->reading.to_authority &&
	       !pg_turn_waits(&s->turn) && !s->turn.repeats &&
	       pg_frame_is_between(&s->in) && !s->apart.is_opened &&
	       pg_session_is_quiet(s) && in.n > 0 &&
	       (in.p[0] == PG_QUERY || in.p[0] == PG_PARSE ||
	        in.p[0] == PG_BIND);
}

static enum pg_take_rc
take(struct pg_session *s, struct span in, size_t *ret_used)
{
	struct group g = { .n = 0 };
	struct pg_reading *a = &s->reading;
	enum pg_take_rc rc;
	struct pg_away *rd;

	rc = look(s, in, &g);
	if (rc != TAKE_DONE)
		return rc;
	a->counts = true;
	if (!pg_away_is_moved(s) || (pg_rule_names_tables(s->r) && !is_like(s)))
		return TAKE_NOT;
	if (!is_taken(s, &g)) {
		if (s->r->route.shadow.ppm > 0)
			mirror(s, &g);
		return TAKE_NOT;
	}
	if (!is_ready(s) || !pg_turn_yield(s))
		return TAKE_NOT;
	rd = a->p;
	buf_clear(&rd->request);
	buf_clear(&rd->ask);
	buf_put(&rd->request, in.p, g.n);
	rd->hides_parse = !g.has_parse;
	rd->hides_fields = !g.is_simple && !g.has_fields;
	put_ask(&rd->ask, &g);
	keep_unnamed(rd, &g, in);
	if (buf_failed(&rd->request) || buf_failed(&rd->ask) ||
	    buf_failed(&rd->unnamed)) {
		pg_away_free(s);
		return TAKE_NOT;
	}
	rd->shape = g.has_fields || g.is_simple ? 0 : g.shape;
	memcpy(rd->digest, g.digest, sizeof(g.digest));
	*ret_used = g.n;
	s->r->n.requests++;
	s->requests++;
	s->asked_ns = s->r->port->now_ns;
	s->is_timed = true;
	rd->at = READ_WAITS;
	rd->failed = false;
	rd->until_ns = s->r->port->now_ns + PG_READ_WAIT_NS;
	pg_reads_out_push(&s->r->reads.out, rd);
	pg_away_look(rd);
	return TAKE_DONE;
}

enum pg_take_rc
pg_away_take(struct pg_session *s, struct span in, size_t *ret_used)
{
	enum pg_take_rc rc;

	*ret_used = 0;
	rc = may_look(s, in) ? take(s, in, ret_used) : TAKE_NOT;
	/* By turns it is found out before it has a server, and once. */
	s->reading.is_cut = pg_turn_is_on(s->r) && rc == TAKE_MORE;
	if (pg_turn_is_on(s->r) && rc == TAKE_NOT)
		s->reading.to_authority = true;
	return rc;
}

/* ---- its life ------------------------------------------------------------------------- */

void
pg_away_look(struct pg_away *rd)
{
	struct pg_session *s = rd->s;
	struct pg_relay *r = s->r;
	bool late = r->port->now_ns >= rd->until_ns;

	if (rd->at == READ_OUT && late) {
		/* Too slow there: once is enough. */
		pg_reads_refuse(r, rd->digest);
		pg_reader_drop(rd);
		rd->failed = true;
		rd->at = READ_ENDED;
	}
	if (rd->at == READ_WAITS && r->reads.is_on && pg_reads_passed(s) &&
	    pg_reader_of(rd) != NULL) {
		rd->at = READ_OUT;
		rd->until_ns = r->port->now_ns + PG_READ_ANSWER_NS;
		rd->unsettled = atomic_load(&r->conf->board->unsettled);
		pg_reader_ask(rd);
	} else if (rd->at == READ_WAITS && late) {
		rd->failed = true;
		rd->at = READ_ENDED;
	}
	if (rd->at != READ_WAITS && rd->at != READ_OUT)
		port_wake(r->port, r->port->now_ns);
}

/* In front of what the client has said since. */
static void
put_back(struct pg_away *rd)
{
	struct pg_session *s = rd->s;
	struct buf rx = s->rx;

	buf_put_span(&rd->request, buf_span(&s->rx));
	s->rx = rd->request;
	rd->request = rx;
	buf_release(&rd->request);
	s->reading.to_authority = true;
	s->r->n.requests--;
	s->requests--;
	s->r->reads.retried++;
}

static void
end(struct pg_away *rd)
{
	pg_reads_out_remove(&rd->s->r->reads.out, rd);
	rd->at = READ_NONE;
	buf_release(&rd->answer);
	buf_release(&rd->ask);
	pg_reader_rest(rd);
	if (!rd->s->r->reads.is_on)
		pg_reader_drop(rd);
}

void
pg_away_settle(struct pg_away *rd)
{
	struct pg_session *s = rd->s;
	struct pg_relay *r = s->r;
	enum side other = side_other(r->route.authority);
	uint64_t now = atomic_load(&r->conf->board->unsettled);

	if (rd->at != READ_ENDED)
		return;
	/* The other side may have been made anew under it. */
	if (rd->failed || now != rd->unsettled || buf_failed(&rd->answer)) {
		r->reads.unused[other]++;
		put_back(rd);
	} else {
		buf_put_span(&s->client->tx, buf_span(&rd->answer));
		r->n.bytes_out += buf_len(&rd->answer);
		port_touch(r->port, s->client);
		r->reads.answered[other]++;
		pg_relay_time(s, other);
		s->reading.counts = false;
		buf_clear(&rd->request);
		rd->is_away = rd->is_away || !rd->hides_parse;
	}
	end(rd);
	if (buf_failed(&s->rx)) {
		pg_session_end(s, SPAN("53200"), "out of memory");
		return;
	}
	pg_session_pump(s);
}

void
pg_away_stop(struct pg_session *s)
{
	struct pg_away *rd = s->reading.p;

	if (!pg_away_is_out(s))
		return;
	if (rd->at == READ_OUT)
		pg_reader_drop(rd);
	put_back(rd);
	end(rd);
	s->waits = true;
}

bool
pg_away_cancel(struct pg_session *s)
{
	struct pg_away *rd = s->reading.p;

	if (!pg_away_is_out(s))
		return false;
	if (rd->at == READ_OUT)
		pg_reader_drop(rd);
	pg_cancel_say(s);
	pg_put_ready(&s->client->tx, PG_IDLE);
	rd->is_away = rd->is_away || !rd->hides_parse;
	s->reading.counts = false;
	end(rd);
	pg_session_pump(s);
	return true;
}

/* ---- what the authority is told ------------------------------------------------------------- */

/* Can a statement have changed what the session is? While no read leaves nothing is known
 * of any. */
static bool
is_wild(struct pg_session *s, struct span text)
{
	uint64_t digest[2];

	if (!s->r->reads.is_on)
		return true;
	if (pg_reads_judge(s->r, text, digest) != SQL_WRITE)
		return false;
	if (sql_may_change(text)) {
		s->r->reads.verdicts.is_stale = true;
		s->reading.is_schema = true;
	}
	return true;
}

/* The Parse without a name, which was made elsewhere, or destroyed by a census. */
static void
give_unnamed(struct pg_session *s, uint8_t type)
{
	struct pg_away *rd = s->reading.p;

	if (rd == NULL)
		return;
	if (type == PG_QUERY) {
		buf_clear(&rd->unnamed);
		rd->is_away = false;
	}
	if (!rd->is_away || buf_len(&rd->unnamed) == 0 ||
	    (type != PG_BIND && type != PG_DESCRIBE && type != PG_PARSE &&
	     type != PG_EXECUTE && type != PG_CLOSE))
		return;
	rd->is_away = false;
	buf_put_span(&s->b.link->tx, buf_span(&rd->unnamed));
	s->reading.swallow++;
}

void
pg_away_note(struct pg_session *s, const struct pg_part *p, bool was_quiet)
{
	struct pg_reading *a = &s->reading;

	if (p->kind == PG_HEAD) {
		a->to_authority = false;
		if (was_quiet)
			give_unnamed(s, p->type);
		if (p->type == PG_FUNCTION_CALL ||
		    (p->type == PG_BIND && a->is_wild))
			a->like = LIKE_UNKNOWN;
		return;
	}
	if (p->type != PG_QUERY)
		return;
	/* Only what is there as a whole is looked at. */
	if (p->raw.n != p->size || p->size == 0 ||
	    is_wild(s, span_of(p->raw.p, p->raw.n - 1)))
		a->like = LIKE_UNKNOWN;
}

void
pg_away_note_parse(struct pg_session *s, const struct pg_message *m)
{
	struct pg_away *rd = s->reading.p;
	struct pg_parse p;

	if (!pg_read_parse(m->body, &p))
		return;
	if (is_wild(s, p.text)) {
		s->reading.is_wild = true;
		s->reading.like = LIKE_UNKNOWN;
	}
	if (p.name.n > 0 || rd == NULL)
		return;
	buf_clear(&rd->unnamed);
	buf_put_span(&rd->unnamed, m->raw);
	if (buf_failed(&rd->unnamed))
		pg_away_free(s);
}

void
pg_away_note_wild(struct pg_session *s, struct span text)
{
	s->reading.like = LIKE_UNKNOWN;
	if (s->r->reads.is_on && sql_may_change(text)) {
		s->r->reads.verdicts.is_stale = true;
		s->reading.is_schema = true;
	}
}

void
pg_away_note_error(struct pg_session *s)
{
	struct pg_away *rd = s->reading.p;

	/* By turns it is known what it left behind. */
	if (pg_turn_is_on(s->r))
		return;
	s->reading.like = LIKE_UNKNOWN;
	/* Perhaps it was this one. */
	if (rd != NULL && rd->at == READ_NONE) {
		buf_clear(&rd->unnamed);
		rd->is_away = false;
	}
}

void
pg_away_census(struct pg_session *s)
{
	/* What was found is gone until the answer is there. */
	s->reading.like = LIKE_UNKNOWN;
	if (s->reading.p != NULL && buf_len(&s->reading.p->unnamed) > 0)
		s->reading.p->is_away = true;
}

void
pg_away_quiet(struct pg_session *s)
{
	s->reading.swallow = 0;
	if (!s->r->reads.is_on)
		return;
	pg_reads_answered(s);
	/* Before its end the catalogs did not show it. */
	if (s->reading.is_schema && pg_session_is_quiet(s)) {
		s->r->reads.verdicts.is_stale = true;
		s->reading.is_schema = false;
	}
	if (!s->reading.wants_census || s->r->held || s->b.at != BACKEND_OPEN ||
	    !pg_session_is_quiet(s) || pg_ahead_stops(s))
		return;
	s->reading.wants_census = false;
	if (s->reading.like == LIKE_UNKNOWN)
		pg_census_ask(s);
}

void
pg_away_known(struct pg_session *s)
{
	struct pg_reading *a = &s->reading;

	if (!s->r->reads.is_on || !s->state.tells_reads)
		return;
	a->like = s->is_lossy || buf_len(&s->state.found->stays) > 0 ||
	                          buf_failed(&s->state.found->settings) ||
	                          buf_failed(&s->state.found->path)
	                  ? LIKE_NO
	                  : LIKE_YES;
	a->is_wild = false;
	/* By turns each Bind is looked at. */
	if (pg_turn_is_on(s->r))
		return;
	map_each(e, &s->named) {
		const struct pg_named *n = map_value(e);
		struct pg_parse p;

		a->is_wild =
			a->is_wild || buf_len(&n->raw) <= 5 ||
			!pg_read_parse(span_skip(buf_span(&n->raw), 5), &p) ||
			is_wild(s, p.text);
	}
}
