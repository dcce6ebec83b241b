/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/relation.c: tables as the stream names them, and the
 * statements that make their rows' changes.
 */
#include "engine/postgres/mover/state.h"

static void
drop(struct pg_mover *m, struct pg_relation *r)
{
	mem_free(m->port->mem, r->field, r->n * sizeof(*r->field));
	buf_fini(&r->names);
	buf_fini(&r->target);
	buf_fini(&r->types);
	map_fini(&r->rows);
	r->field = NULL;
	r->n = 0;
}

/* A map's key for a relation. */
static struct span
key_of(const uint32_t *oid)
{
	return span_of(oid, sizeof(*oid));
}

struct pg_relation *
pg_relation_find(const struct pg_feed *f, uint32_t oid)
{
	return map_get(&f->relations, key_of(&oid));
}

static bool
take_fields(struct pg_mover *m, struct pg_relation *r,
            const struct pg_output_part *p)
{
	struct span rest = p->items;
	struct pg_column col;
	size_t at = 0;

	/* A table may have no columns. */
	if (p->n > 0) {
		r->field = mem_zero(m->port->mem, p->n * sizeof(*r->field));
		if (r->field == NULL)
			return false;
	}
	r->n = (uint16_t)p->n;
	while (pg_column_next(&rest, &col))
		buf_put_span(&r->names, col.name);
	rest = p->items;
	for (uint32_t i = 0; i < p->n && pg_column_next(&rest, &col); i++) {
		r->field[i] = (struct pg_field_name){
			.name = span_of(buf_span(&r->names).p + at, col.name.n),
			.is_key = col.is_key,
		};
		at += col.name.n;
	}
	return !buf_failed(&r->names);
}

void
pg_relation_forget(struct pg_mover *m, struct pg_feed *f)
{
	map_each(e, &f->relations)
		drop(m, map_value(e));
	map_clear(&f->relations);
}

bool
pg_relation_learn(struct pg_mover *m, struct pg_feed *f,
                  const struct pg_output_part *p)
{
	bool is_new;
	struct map_entry *e = map_put(&f->relations, key_of(&p->oid), &is_new);
	struct pg_relation *r;

	if (e == NULL)
		return false;
	r = map_value(e);
	if (!is_new)
		drop(m, r);
	memset(r, 0, sizeof(*r));
	r->oid = p->oid;
	buf_init(&r->types, m->port->mem);
	map_init(&r->rows, m->port->mem, sizeof(struct pg_net),
	         f->relations.seed);
	buf_init(&r->names, m->port->mem);
	buf_init(&r->target, m->port->mem);
	r->identity = p->identity;
	/* The verifier's markers travel by the stream, as any row. */
	r->is_mark = span_eq(p->schema, span_str(m->slot)) &&
	             span_eq(p->name, SPAN("marker"));
	r->is_ddl = span_eq(p->schema, span_str(m->slot)) &&
	            span_eq(p->name, SPAN("ddl"));
	r->is_mend = span_eq(p->schema, span_str(m->slot)) &&
	             span_eq(p->name, SPAN("mend"));
	r->is_own = !r->is_mark && span_has_prefix(p->schema, SPAN("godwit_"));
	pg_put_ident(&r->target,
	             p->schema.n > 0 ? p->schema : SPAN("pg_catalog"));
	buf_put(&r->target, ".", 1);
	pg_put_ident(&r->target, p->name);
	if (!take_fields(m, r, p) || buf_failed(&r->target))
		return false;
	pg_mixed_learn(m, r);
	return true;
}

static void
put_insert(const struct pg_relation *r, struct buf *b)
{
	buf_put_str(b, "INSERT INTO ");
	buf_put_span(b, buf_span(&r->target));
	if (r->n == 0) {
		buf_put_str(b, " DEFAULT VALUES");
		return;
	}
	buf_put_str(b, " (");
	for (uint16_t i = 0; i < r->n; i++) {
		if (i > 0)
			buf_put(b, ",", 1);
		pg_put_ident(b, r->field[i].name);
	}
	/* A column that is always an identity takes this value, too. */
	buf_put_str(b, ") OVERRIDING SYSTEM VALUE VALUES (");
	for (uint16_t i = 0; i < r->n; i++)
		buf_putf(b, i > 0 ? ",$%u" : "$%u", i + 1u);
	buf_put(b, ")", 1);
	if (r->is_mixed)
		pg_mixed_put_conflict(r, b);
}

bool
pg_relation_sets(const struct pg_relation *r, const struct pg_output_part *p,
                 uint16_t i, enum pg_cell_kind kind)
{
	/* Without an old tuple the key is as it was. */
	bool same_key = p->old.kind == PG_TUPLE_NONE && r->identity != 'f';

	return kind != PG_CELL_UNCHANGED && !(same_key && r->field[i].is_key);
}

bool
pg_relation_names(const struct pg_relation *r, uint16_t i)
{
	return r->identity == 'f' || r->field[i].is_key;
}

/* A column has the value of parameter n. Types without equality are compared as they
 * are written: by format(), because a cast to text writes some types in another way
 * (bool, char(n), inet) than the stream does. One text for all patterns of NULLs. */
static void
put_is(struct span name, bool all, unsigned n, struct buf *b)
{
	if (!all) {
		pg_put_ident(b, name);
		buf_putf(b, " = $%u", n);
		return;
	}
	buf_put_str(b, "CASE WHEN ");
	pg_put_ident(b, name);
	buf_put_str(b, " IS DISTINCT FROM NULL THEN "
	               "pg_catalog.format('%s', ");
	pg_put_ident(b, name);
	buf_putf(b, ") END IS NOT DISTINCT FROM $%u", n);
}

/* Which row: by its key, or by all that it was. n: parameters so far. */
static void
put_where(const struct pg_relation *r, const struct pg_tuple *old, unsigned n,
          struct buf *b)
{
	bool all = r->identity == 'f';
	struct span rest = old->items;
	struct pg_cell cell;
	bool is_first = true;

	buf_put_str(b, " WHERE ");
	if (all) {
		/* Of rows that are alike one is changed. */
		buf_put_str(b, "ctid = (SELECT ctid FROM ONLY ");
		buf_put_span(b, buf_span(&r->target));
		buf_put_str(b, " WHERE ");
	}
	for (uint16_t i = 0; i < r->n; i++) {
		bool has = pg_cell_next(&rest, &cell);

		if (!pg_relation_names(r, i))
			continue;
		if (has && cell.kind == PG_CELL_UNCHANGED)
			continue;
		if (!is_first)
			buf_put_str(b, " AND ");
		is_first = false;
		put_is(r->field[i].name, all, ++n, b);
	}
	if (is_first)
		buf_put_str(b, "true");
	if (all)
		buf_put_str(b, " LIMIT 1)");
}

static void
put_update(const struct pg_relation *r, const struct pg_output_part *p,
           struct buf *b)
{
	const struct pg_tuple *old =
		p->old.kind != PG_TUPLE_NONE ? &p->old : &p->new;
	struct span rest = p->new.items;
	struct pg_cell cell;
	unsigned n = 0;

	buf_put_str(b, "UPDATE ONLY ");
	buf_put_span(b, buf_span(&r->target));
	buf_put_str(b, " SET ");
	for (uint16_t i = 0; i < r->n && pg_cell_next(&rest, &cell); i++) {
		if (!pg_relation_sets(r, p, i, cell.kind))
			continue;
		if (n > 0)
			buf_put(b, ",", 1);
		pg_put_ident(b, r->field[i].name);
		buf_putf(b, " = $%u", ++n);
	}
	put_where(r, old, n, b);
}

static void
put_delete(const struct pg_relation *r, const struct pg_output_part *p,
           struct buf *b)
{
	buf_put_str(b, "DELETE FROM ONLY ");
	buf_put_span(b, buf_span(&r->target));
	put_where(r, &p->old, 0, b);
}

void
pg_relation_put_sql(const struct pg_relation *r, const struct pg_output_part *p,
                    struct buf *ret)
{
	if (p->kind == PG_CHANGE_INSERT)
		put_insert(r, ret);
	else if (p->kind == PG_CHANGE_UPDATE)
		put_update(r, p, ret);
	else
		put_delete(r, p, ret);
}
