/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/place.c: pools, of a user in a database each, and what a
 * statement leaves behind there.
 *
 * What is for certain a read, or a plain change of rows (engine/postgres/sql), leaves
 * nothing of the session's behind: it need not be asked. The names for that are asked
 * of a server that nobody has, now and then while there are clients, and behind each
 * statement that changes the schema.
 */
#include "engine/postgres/relay/inside.h"
#include "engine/postgres/sql_change.h"

#define CACHE_N    1024 /* verdicts; a power of two */
/* A verdict beside enum pg_leaves: nothing, and is a read. */
#define READS      (LEAVES_NOTHING + 1)
/* Settings whose names stand in functions. */
#define CUSTOM_MAX 64
/* Names behind which a language keeps state. */
#define CODED_MAX  4096
#define NAME_MAX   63

/* ---- pools ----------------------------------------------------------------------- */

static void
put_key(struct buf *b, struct span startup)
{
	struct span user = pg_pair_find(startup, SPAN("user"));
	struct span database = pg_pair_find(startup, SPAN("database"));

	buf_put_span(b, user);
	buf_put(b, "", 1);
	buf_put_span(b, database.p != NULL ? database : user);
	buf_put(b, "", 1);
}

static struct pg_place *
make(struct pg_relay *r, struct buf *key)
{
	struct pg_place *p = mem_zero(r->mem, sizeof(*p));

	if (p == NULL || buf_failed(key)) {
		mem_free(r->mem, p, sizeof(*p));
		buf_fini(key);
		return NULL;
	}
	p->key = *key;
	pg_verdicts_init(&p->verdicts, r->mem, CACHE_N, r->turns.seed);
	map_init(&p->custom, r->mem, 0, r->turns.seed[0]);
	map_init(&p->coded, r->mem, 0, r->turns.seed[0]);
	pg_places_push(&r->places, p);
	return p;
}

struct pg_place *
pg_place_enter(struct pg_relay *r, struct span startup)
{
	struct pg_place *found = NULL;
	struct buf key;

	buf_init(&key, r->mem);
	put_key(&key, startup);
	list_each(pg_place, p, all, &r->places) {
		if (span_eq(buf_span(&p->key), buf_span(&key)))
			found = p;
	}
	if (found == NULL)
		found = make(r, &key);
	else
		buf_fini(&key);
	if (found != NULL)
		found->refs++;
	return found;
}

void
pg_place_leave(struct pg_relay *r, struct pg_place *p)
{
	if (--p->refs > 0)
		return;
	for (int i = 0; i < SIDE_N; i++)
		REQUIRE(p->waiters[i].n == 0 && p->server_n[i] == 0);
	pg_verdicts_fini(&p->verdicts);
	map_fini(&p->custom);
	map_fini(&p->coded);
	buf_fini(&p->key);
	pg_places_remove(&r->places, p);
	mem_free(r->mem, p, sizeof(*p));
}

struct pg_group *
pg_group_find(struct pg_relay *r, struct span startup)
{
	list_each(pg_group, g, all, &r->turns.groups) {
		if (span_eq(buf_span(&g->startup), startup))
			return g;
	}
	return NULL;
}

struct pg_group *
pg_group_enter(struct pg_relay *r, struct span startup)
{
	struct pg_group *g = pg_group_find(r, startup);

	if (g == NULL) {
		g = mem_zero(r->mem, sizeof(*g));
		if (g == NULL)
			return NULL;
		buf_init(&g->startup, r->mem);
		buf_init(&g->says, r->mem);
		buf_put_span(&g->startup, startup);
		if (buf_failed(&g->startup)) {
			buf_fini(&g->startup);
			mem_free(r->mem, g, sizeof(*g));
			return NULL;
		}
		pg_groups_push(&r->turns.groups, g);
	}
	g->refs++;
	return g;
}

void
pg_group_leave(struct pg_relay *r, struct pg_group *g)
{
	if (--g->refs > 0)
		return;
	buf_fini(&g->startup);
	buf_fini(&g->says);
	pg_alike_leave(r, g->alike);
	pg_groups_remove(&r->turns.groups, g);
	mem_free(r->mem, g, sizeof(*g));
}

/* ---- what is left behind --------------------------------------------------------- */

void
pg_place_form(struct pg_place *p, struct span text, uint64_t ret[2])
{
	pg_verdicts_form(&p->verdicts, text, ret);
}

/* n: NULL, or names that hold. What runs code of people's may change anything. */
static int
judge_unknown(const struct sql_names *n, struct span text)
{
	if (!sql_may_change(text))
		return LEAVES_ANYTHING;
	return n != NULL && sql_is_own_change(text) && sql_runs_nothing(n, text)
	               ? LEAVES_ANYTHING
	               : LEAVES_CATALOG;
}

static int
judge(const struct sql_names *n, struct span text)
{
	switch (sql_judge(n, text)) {
	case SQL_READ: return READS;
	case SQL_MILD:
		/* The beginning or end of a transaction. */
		return pg_ack_judge(n, text) == ACK_CONTROLS ? LEAVES_NOTHING
		                                             : LEAVES_NUMBERS;
	case SQL_WRITE: break;
	}
	return judge_unknown(n, text);
}

static int
find(struct pg_relay *r, struct pg_place *p, struct span text,
     const uint64_t form[2])
{
	struct pg_verdicts *v = &p->verdicts;
	int known;

	p->used_ns = r->port->now_ns;
	/* By names that are no more nothing is said. */
	if (v->is_stale)
		return judge_unknown(NULL, text);
	known = pg_verdicts_find(v, form);
	if (known < 0) {
		known = judge(&v->names, text);
		pg_verdicts_put(v, form, (uint8_t)known);
	}
	return known;
}

bool
pg_place_is_quick_read(struct pg_relay *r, struct pg_place *p, struct span text,
                       const uint64_t form[2])
{
	return find(r, p, text, form) == READS &&
	       !pg_verdicts_is_slow(&p->verdicts, form);
}

/* A catalog is one for all users, and some of it for all databases. */
void
pg_places_doubt(struct pg_relay *r)
{
	list_each(pg_place, p, all, &r->places)
		p->verdicts.is_stale = true;
}

enum pg_leaves
pg_place_judge(struct pg_relay *r, struct pg_place *p, struct span text,
               const uint64_t form[2])
{
	int known = find(r, p, text, form);

	if (known == LEAVES_CATALOG)
		pg_places_doubt(r);
	return known == READS ? LEAVES_NOTHING : (enum pg_leaves)known;
}

static uint8_t
small(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool
is_part(uint8_t c)
{
	return c == '_' || c == '$' || c >= 0x80 || (c >= '0' && c <= '9') ||
	       (small(c) >= 'a' && small(c) <= 'z');
}

bool
pg_place_is_coded(const struct pg_place *p, struct span text)
{
	uint8_t word[NAME_MAX + 1];
	size_t n = 0;

	if (map_count(&p->coded) == 0)
		return false;
	/* With more of them than are kept any may be one. */
	if (map_count(&p->coded) >= CODED_MAX)
		return true;
	for (size_t i = 0; i <= text.n; i++) {
		if (i < text.n && is_part(text.p[i])) {
			if (n < sizeof(word))
				word[n++] = small(text.p[i]);
			continue;
		}
		if (n > 0 && map_find(&p->coded, span_of(word, n)) != NULL)
			return true;
		n = 0;
	}
	return false;
}

static void
add_coded(struct pg_place *p, struct span name)
{
	uint8_t word[NAME_MAX];
	size_t n = name.n < NAME_MAX ? name.n : NAME_MAX;

	for (size_t i = 0; i < n; i++)
		word[i] = small(name.p[i]);
	if (map_count(&p->coded) < CODED_MAX)
		(void)!map_put(&p->coded, span_of(word, n), NULL);
}

/* ---- the catalog ----------------------------------------------------------------- */

/* Functions in languages that may keep something for their session (all but SQL,
 * PL/pgSQL and C; of C those that open connections of dblink); those that name one of
 * them; and what has them behind it: triggers, defaults, views, policies. */
static const char coded[] =
	" UNION ALL (WITH RECURSIVE f(oid, name) AS (SELECT p.oid,"
	" p.proname::text FROM pg_proc p JOIN pg_language l ON l.oid ="
	" p.prolang WHERE l.lanname NOT IN ('internal', 'c', 'sql', 'plpgsql')"
	" OR (p.oid >= 16384 AND l.lanname = 'c' AND p.proname LIKE"
	" 'dblink%connect%') UNION SELECT p.oid, p.proname::text FROM f JOIN"
	" pg_proc p ON p.oid >= 16384 AND (position(lower(f.name) IN"
	" lower(p.prosrc)) > 0 OR EXISTS (SELECT FROM pg_depend d WHERE"
	" d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid"
	" = 'pg_proc'::regclass AND d.refobjid = f.oid))) SELECT 'h', name, ''"
	" FROM f UNION SELECT 'h', c.relname::text, '' FROM f JOIN pg_depend d"
	" ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = f.oid LEFT"
	" JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid ="
	" d.objid LEFT JOIN pg_attrdef a ON d.classid ="
	" 'pg_attrdef'::regclass AND a.oid = d.objid LEFT JOIN pg_rewrite w ON"
	" d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid LEFT JOIN"
	" pg_policy y ON d.classid = 'pg_policy'::regclass AND y.oid = d.objid"
	" LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass"
	" AND k.oid = d.objid JOIN pg_class c ON c.oid = coalesce(t.tgrelid,"
	" a.adrelid, w.ev_class, y.polrelid, k.conrelid))";

bool
pg_place_knows(const struct pg_place *p)
{
	return p->verdicts.names.is_done && !p->verdicts.is_stale;
}

bool
pg_place_wants(const struct pg_relay *r, const struct pg_place *p)
{
	const struct pg_verdicts *v = &p->verdicts;

	return !r->held && (v->is_stale || p->used_ns >= v->loaded_ns) &&
	       pg_verdicts_is_due(v, r->port->now_ns);
}

void
pg_place_ask(struct pg_server *x)
{
	struct pg_relay *r = x->r;
	struct pg_place *p = x->place;
	struct buf *tx = &x->link->tx;
	size_t at = pg_put_begin(tx, PG_QUERY);

	buf_put_str(tx, "SET LOCAL search_path = pg_catalog; SET LOCAL "
	                "statement_timeout = 0; ");
	buf_put_str(tx, sql_names_question);
	buf_put_str(tx,
	            " UNION ALL SELECT DISTINCT 'k', m[1], '' FROM pg_proc"
	            " p, pg_language l, regexp_matches(prosrc,"
	            " '''([A-Za-z_][A-Za-z_0-9$]*(?:[.][A-Za-z_0-9$]+)+)''',"
	            " 'g') m WHERE l.oid = p.prolang AND p.oid >= 16384 AND"
	            " l.lanname NOT IN ('c', 'internal') AND"
	            " prosrc ~* 'set_config|current_setting'");
	buf_put_str(tx, coded);
	buf_put(tx, "", 1);
	pg_put_end(tx, at);
	port_touch(r->port, x->link);
	/* Behind what was done: it changes nothing that is read now. */
	pg_verdicts_begin(&p->verdicts);
	x->loads = true;
	x->is_bare = true;
	x->failed = false;
	x->resets = 1;
}

void
pg_place_row(struct pg_place *p, struct span body)
{
	struct span text[3];

	if (!pg_verdicts_read(body, text))
		return;
	if (span_eq(text[0], SPAN("k"))) {
		if (map_count(&p->custom) < CUSTOM_MAX)
			(void)!map_put(&p->custom, text[1], NULL);
		return;
	}
	if (span_eq(text[0], SPAN("h"))) {
		add_coded(p, text[1]);
		return;
	}
	pg_verdicts_row_both(&p->verdicts, text);
}

void
pg_place_done(struct pg_relay *r, struct pg_place *p, bool well)
{
	struct pg_verdicts *v = &p->verdicts;

	if (well && !v->is_stale) {
		pg_verdicts_done(v, r->port->now_ns);
		return;
	}
	pg_verdicts_stop(v);
	/* It is not asked again at once, whatever came of it. */
	v->loaded_ns = r->port->now_ns;
}
