/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/place.c: pools, of a user in a database each, and what a
 * statement leaves behind there.
 *
 * What is for certain a read, or a plain change of rows (engine/postgres/sql), leaves
 * nothing of the session's behind: it need not be asked. The names for that are asked
 * of a server that nobody has, every RELOAD_NS while there are clients, and behind each
 * statement that changes the schema.
 */
#include "base/hash.h"
#include "engine/postgres/relay/inside.h"
#include "engine/postgres/sql_change.h"

#define RELOAD_NS  (5000 * MILLI)
#define CACHE_N    1024 /* verdicts; a power of two */
/* Settings whose names stand in functions. */
#define CUSTOM_MAX 64

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
	p->is_stale = true;
	sql_names_init(&p->names, r->mem, r->turns.seed[0]);
	map_init(&p->custom, r->mem, 0, r->turns.seed[0]);
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
	REQUIRE(p->waiters.n == 0 && p->server_n == 0);
	sql_names_fini(&p->names);
	if (p->is_loading)
		sql_names_fini(&p->next);
	mem_free(r->mem, p->cache, CACHE_N * sizeof(*p->cache));
	map_fini(&p->custom);
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
	pg_groups_remove(&r->turns.groups, g);
	mem_free(r->mem, g, sizeof(*g));
}

/* ---- what is left behind --------------------------------------------------------- */

enum sql_class
pg_place_judge(struct pg_relay *r, struct pg_place *p, struct span text,
               uint64_t ret_digest[2])
{
	struct pg_verdict *v;
	enum sql_class ret;

	p->used_ns = r->port->now_ns;
	ret_digest[0] = hash_bytes(text, r->turns.seed[0]);
	ret_digest[1] = hash_bytes(text, r->turns.seed[1]);
	if (p->cache == NULL)
		p->cache = mem_zero(r->mem, CACHE_N * sizeof(*p->cache));
	if (p->cache == NULL)
		return SQL_WRITE;
	v = &p->cache[ret_digest[0] % CACHE_N];
	if (p->names.is_done && v->known != 0 &&
	    v->digest[0] == ret_digest[0] && v->digest[1] == ret_digest[1])
		return (enum sql_class)(v->known - 1);
	ret = sql_judge(&p->names, text);
	/* What changes the schema is looked at each time. */
	if (ret == SQL_WRITE) {
		p->is_stale = p->is_stale || sql_may_change(text);
		return ret;
	}
	v->digest[0] = ret_digest[0];
	v->digest[1] = ret_digest[1];
	v->known = (uint8_t)(ret + 1);
	return ret;
}

/* ---- the catalog ----------------------------------------------------------------- */

bool
pg_place_wants(const struct pg_relay *r, const struct pg_place *p)
{
	return !p->is_loading && !r->held &&
	       (p->is_stale || (p->used_ns > p->loaded_ns &&
	                        r->port->now_ns > p->loaded_ns + RELOAD_NS));
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
	buf_put(tx, "", 1);
	pg_put_end(tx, at);
	port_touch(r->port, x->link);
	p->is_loading = true;
	/* Behind what was done: it changes nothing that is read now. */
	if (p->is_stale)
		p->names.is_done = false;
	p->is_stale = false;
	sql_names_init(&p->next, r->mem, r->turns.seed[0]);
	x->loads = true;
	x->failed = false;
	x->resets = 1;
}

void
pg_place_row(struct pg_place *p, struct span body)
{
	struct pg_values row;
	struct pg_value v;
	struct span text[3];
	struct span rest;

	if (!pg_read_row(body, &row) || row.n != 3)
		return;
	rest = row.items;
	for (int i = 0; i < 3; i++) {
		(void)pg_value_next(&rest, &v);
		text[i] = v.bytes;
	}
	if (span_eq(text[0], SPAN("k"))) {
		if (map_count(&p->custom) < CUSTOM_MAX)
			(void)!map_put(&p->custom, text[1], NULL);
		return;
	}
	for (int s = 0; s < SIDE_N; s++)
		sql_names_add(&p->next, (enum side)s, text);
}

void
pg_place_done(struct pg_relay *r, struct pg_place *p, bool well)
{
	p->is_loading = false;
	/* It is not asked again at once, whatever came of it. */
	p->loaded_ns = r->port->now_ns;
	if (p->is_stale || !well) {
		sql_names_fini(&p->next);
		return;
	}
	sql_names_done(&p->next);
	sql_names_fini(&p->names);
	p->names = p->next;
	if (p->cache != NULL)
		memset(p->cache, 0, CACHE_N * sizeof(*p->cache));
}
