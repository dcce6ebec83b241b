/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/sides.c: the catalog of a split, and what was said of texts by it.
 *
 * It is asked of home when a split begins (in the hold before, so that nobody waits for it),
 * as Godwit's role. While a split lasts nobody changes the schema.
 */
#include "base/hash.h"
#include "engine/postgres/relay/inside.h"
#include "engine/postgres/relay/verdicts.h"

#define RETRY_NS   (100 * MILLI)
/* In a verdict beside the sides. */
#define NEEDS_PATH 4u
#define IS_KNOWN   8u
#define MOVES_PATH 16u

void
pg_apart_init(struct pg_relay *r)
{
	struct pg_apart_all *a = &r->apart;

	a->owner = OWNER_APART;
	a->c.id = r->conf->id;
	a->c.what = "split";
	a->seed[0] = r->port->entropy(r->port);
	a->seed[1] = r->port->entropy(r->port);
	pg_conn_init(&a->c, r->port);
	sql_sides_init(&a->sides, r->mem, a->seed[0]);
	pg_apart_route(r);
}

static void
clear(struct pg_apart_all *a)
{
	a->is_looked_at = false;
	if (a->cache != NULL)
		memset(a->cache, 0, PG_APART_CACHE_N * sizeof(*a->cache));
}

static void
stop(struct pg_apart_all *a)
{
	if (a->asked)
		sql_sides_fini(&a->next);
	a->asked = false;
	pg_conn_close(&a->c);
}

static void
forget(struct pg_apart_all *a)
{
	stop(a);
	a->is_known = false;
	a->is_wanted = false;
	sql_sides_fini(&a->sides);
	clear(a);
}

void
pg_apart_fini(struct pg_relay *r)
{
	struct pg_apart_all *a = &r->apart;

	forget(a);
	pg_conn_fini(&a->c);
	mem_free(r->mem, a->cache, PG_APART_CACHE_N * sizeof(*a->cache));
	a->cache = NULL;
}

void
pg_apart_route(struct pg_relay *r)
{
	struct pg_apart_all *a = &r->apart;

	clear(a);
	if (!pg_apart_is_on(r)) {
		if (!r->held)
			forget(a);
	} else if (!a->is_known) {
		a->is_wanted = true;
	}
	list_each(pg_session, s, all, &r->sessions)
		s->apart.is_ready = false;
}

void
pg_apart_hold(struct pg_relay *r)
{
	/* What was known is of a time when people could change it. */
	if (pg_turn_is_on(r) && pg_rule_names_tables(r) && !pg_apart_is_on(r))
		r->apart.is_wanted = true;
	list_each(pg_session, s, all, &r->sessions)
		s->apart.is_ready = false;
}

bool
pg_apart_is_known(const struct pg_relay *r)
{
	return r->apart.is_known;
}

/* ---- the connection -------------------------------------------------------------- */

static void
lost(struct pg_relay *r)
{
	stop(&r->apart);
	r->apart.retry_ns = r->port->now_ns + RETRY_NS;
}

void
pg_apart_up(struct pg_relay *r)
{
	if (pg_conn_up(&r->apart.c) != 0)
		lost(r);
}

void
pg_apart_down(struct pg_relay *r, const struct err *err)
{
	pg_conn_down(&r->apart.c, err);
	lost(r);
}

/* All rows are there. */
static void
learn(struct pg_relay *r)
{
	struct pg_apart_all *a = &r->apart;

	a->asked = false;
	sql_sides_done(&a->next);
	sql_sides_fini(&a->sides);
	a->sides = a->next;
	a->is_known = true;
	a->is_wanted = false;
	clear(a);
}

static bool
hear(void *self, struct pg_conn *c, const struct pg_message *m)
{
	struct pg_relay *r = self;
	struct pg_apart_all *a = &r->apart;
	struct span row[3];

	(void)c;
	if (!a->asked)
		return true;
	if (m->type == PG_DATA_ROW && pg_verdicts_read(m->body, row))
		sql_sides_add(&a->next, row);
	if (m->type == PG_ERROR_RESPONSE)
		a->failed = true;
	if (m->type == PG_READY && !a->failed)
		learn(r);
	return true;
}

void
pg_apart_hear(struct pg_relay *r, struct span bytes)
{
	struct pg_apart_all *a = &r->apart;
	bool was_known = a->is_known;

	if (pg_conn_take(&a->c, bytes, hear, r) != 0 || a->failed) {
		a->failed = false;
		lost(r);
		return;
	}
	if (!a->is_known || was_known || r->held)
		return;
	list_each(pg_session, s, all, &r->sessions)
		pg_session_pump(s);
}

static void
ask(struct pg_apart_all *a)
{
	struct buf *tx = &a->c.link->tx;
	size_t at = pg_put_begin(tx, PG_QUERY);

	buf_put_str(tx, "SET LOCAL search_path = pg_catalog; SET LOCAL "
	                "statement_timeout = 0; ");
	for (const char *const *p = sql_side_question; *p != NULL; p++)
		buf_put_str(tx, *p);
	buf_put(tx, "", 1);
	pg_put_end(tx, at);
	pg_conn_asked(&a->c);
	sql_sides_init(&a->next, a->sides.texts.mem, a->seed[1]);
	a->asked = true;
	a->failed = false;
}

void
pg_apart_work(struct pg_relay *r)
{
	struct pg_apart_all *a = &r->apart;

	if (!a->is_wanted || a->asked)
		return;
	if (r->port->now_ns < a->retry_ns) {
		port_wake(r->port, a->retry_ns);
		return;
	}
	if (a->c.state == PG_CONN_IDLE) {
		ask(a);
	} else if (a->c.state == PG_CONN_OFF) {
		a->c.side = &r->conf->side[r->route.authority];
		if (pg_conn_open(&a->c) != 0)
			lost(r);
		else
			a->c.link->owner = a;
	}
}

/* ---- texts ----------------------------------------------------------------------- */

bool
pg_apart_knows_path(const struct pg_session *s)
{
	return !s->turn.is_wild && s->apart.knows_path;
}

/* Its schemas, as far as they are known; p NULL: not. In a transaction those of its
 * beginning, until it says something that may change them. */
static struct span
path_of(const struct pg_session *s)
{
	struct span path = buf_span(&s->state.found->path);

	if (!s->apart.knows_path || s->apart.path_moves ||
	    (s->turn.is_wild && pg_session_is_quiet(s)))
		return span_of(NULL, 0);
	return path.n > 0 ? path : span_of("", 0);
}

/* Is there a name that is on both sides, in different schemas? */
static bool
is_ambiguous(struct pg_relay *r, struct span name)
{
	struct sql_side_of of = { .rules = r->route.rules,
		                  .moved = r->route.moved };
	uint8_t sides = 0;
	struct sql_touch first = { .in = { NULL, 0 } };
	struct sql_touch t;
	uint32_t at = 0;
	bool differs = false;

	while (sql_scope_next(&r->apart.sides.scope, name, &at, &t)) {
		differs = differs ||
		          (first.in.p != NULL && !span_eq(first.in, t.in));
		first = t;
		sides |= (uint8_t)SQL_SIDE_BIT(sql_side_of_table(&of, &t));
	}
	return differs && sides == SQL_SIDE_BOTH;
}

bool
pg_apart_needs_paths(struct pg_relay *r)
{
	struct pg_apart_all *a = &r->apart;

	if (a->is_looked_at || !a->is_known)
		return a->needs_paths;
	a->needs_paths = false;
	map_each(e, &a->sides.scope.names)
		a->needs_paths =
			a->needs_paths ||
			is_ambiguous(r, map_key(&a->sides.scope.names, e));
	a->is_looked_at = true;
	return a->needs_paths;
}

void
pg_apart_name(struct pg_session *s, struct span text, struct sql_side *ret)
{
	struct sql_side_of of = { .rules = s->r->route.rules,
		                  .moved = s->r->route.moved,
		                  .path = path_of(s) };

	sql_side_judge(&s->r->apart.sides, &of, text, ret);
}

static struct pg_side_known *
find(struct pg_session *s, struct span text, uint64_t digest[2])
{
	struct pg_apart_all *a = &s->r->apart;
	struct span path = path_of(s);

	if (a->cache == NULL)
		a->cache = mem_zero(s->r->mem,
		                    PG_APART_CACHE_N * sizeof(*a->cache));
	for (int i = 0; i < 2; i++)
		digest[i] = hash_bytes(text, a->seed[i]) ^
		            hash_mix(hash_bytes(path, a->seed[i]) +
		                     (path.p != NULL));
	return a->cache != NULL ? &a->cache[digest[0] & (PG_APART_CACHE_N - 1)]
	                        : NULL;
}

static uint8_t
known_of(struct pg_session *s, struct span text)
{
	uint64_t digest[2];
	struct pg_side_known *k = find(s, text, digest);
	struct sql_side is;
	uint8_t known;

	if (k != NULL && k->known != 0 && k->digest[0] == digest[0] &&
	    k->digest[1] == digest[1])
		return k->known;
	pg_apart_name(s, text, &is);
	known = (uint8_t)(is.sides | IS_KNOWN |
	                  (is.needs_path ? NEEDS_PATH : 0) |
	                  (sql_side_moves_path(text) ? MOVES_PATH : 0));
	if (k != NULL)
		*k = (struct pg_side_known){ { digest[0], digest[1] }, known };
	return known;
}

uint8_t
pg_apart_judge(struct pg_session *s, struct span text, bool *ret_path)
{
	uint8_t known = known_of(s, text);

	/* Behind it, also in the same text, nobody knows the schemas. */
	if ((known & MOVES_PATH) != 0 && !s->apart.path_moves) {
		s->apart.path_moves = true;
		known = known_of(s, text);
	}
	*ret_path = (known & NEEDS_PATH) != 0;
	return known & SQL_SIDE_BOTH;
}
