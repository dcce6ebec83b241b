/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/sets.c: one statement for many rows.
 *
 * A column's values go as one text[] each, in binary; the target makes its own type
 * of them by the same function that reads a literal. So the types of its columns are
 * asked for first, by the questions' connection; until they are known, and where a
 * cast from text is something else than reading, rows are said one by one.
 */
#include "base/check.h"
#include "engine/postgres/mover/state.h"

#define OID_TEXT    25
#define OID_INT4    23
/* Columns of a row in FROM are 1600 at most. */
#define COLUMNS_MAX 1000

/* %s: the table, as a literal. The name, the type, may it be cast, unique indexes. */
#define SQL_TYPES                                                            \
	"SELECT a.attname, pg_catalog.format('%%I.%%I', n.nspname,"          \
	" t.typname), ((t.typtype <> 'd' OR (t.typtypmod = -1 AND b.typtype" \
	" <> 'd')) AND NOT EXISTS (SELECT 1 FROM pg_cast c WHERE"            \
	" c.castsource = 25 AND c.casttarget IN (t.oid, t.typbasetype) AND"  \
	" c.castmethod = 'f'))::int, (SELECT count(*) FROM pg_index i WHERE" \
	" i.indrelid = a.attrelid AND (i.indisunique OR i.indisexclusion))"  \
	" FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN"     \
	" pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_type b ON"   \
	" b.oid = t.typbasetype WHERE a.attrelid ="                          \
	" pg_catalog.to_regclass(%.*s) AND a.attnum > 0 AND NOT"             \
	" a.attisdropped"

/* ---- which rows ---------------------------------------------------------------- */

/* So many times a row is said in a set of this kind; 0: it is none of it. */
static uint32_t
times_of(const struct pg_net *n, enum pg_change kind)
{
	switch (n->kind) {
	case NET_INSERT: return kind == PG_CHANGE_INSERT;
	case NET_UPDATE: return kind == PG_CHANGE_UPDATE;
	case NET_DELETE: return kind == PG_CHANGE_DELETE;
	case NET_BAG:
		if (kind == PG_CHANGE_INSERT && n->times > 0)
			return (uint32_t)n->times;
		if (kind == PG_CHANGE_DELETE && n->times < 0)
			return (uint32_t)-n->times;
		return 0;
	case NET_NEW:
	case NET_GONE: break;
	}
	return 0;
}

/* Columns that are said: all, or those that name a row. */
static bool
is_said(const struct pg_relation *r, uint16_t i, enum pg_change kind)
{
	return kind != PG_CHANGE_DELETE || pg_relation_names(r, i) ||
	       pg_relation_is_bag(r);
}

static bool
has_sets(const struct pg_relation *r)
{
	for (uint16_t i = 0; i < r->n; i++) {
		if (!r->field[i].is_key)
			return true;
	}
	return false;
}

/* ---- the text ------------------------------------------------------------------- */

static void
put_column(struct buf *b, const struct pg_relation *r, uint16_t i)
{
	pg_put_ident(b, r->field[i].name);
}

/* x.c<i> as the column's type */
static void
put_typed(struct buf *b, const struct pg_relation *r, uint16_t i)
{
	buf_putf(b, "x.c%u::", i);
	buf_put_span(b, span_of(buf_span(&r->types).p + r->field[i].type_at,
	                        r->field[i].type_n));
}

static void
put_from(struct buf *b, const struct pg_relation *r, enum pg_change kind,
         bool counts)
{
	unsigned n = 0;

	buf_put_str(b, "unnest(");
	for (uint16_t i = 0; i < r->n; i++) {
		if (!is_said(r, i, kind))
			continue;
		buf_putf(b, n > 0 ? ",$%u::text[]" : "$%u::text[]", n + 1);
		n++;
	}
	if (counts)
		buf_putf(b, ",$%u::int4[]", n + 1);
	buf_put_str(b, ") AS x(");
	n = 0;
	for (uint16_t i = 0; i < r->n; i++) {
		if (is_said(r, i, kind))
			buf_putf(b, n++ > 0 ? ",c%u" : "c%u", i);
	}
	buf_put_str(b, counts ? ",times)" : ")");
}

static void
put_insert(struct buf *b, const struct pg_relation *r)
{
	buf_put_str(b, "INSERT INTO ");
	buf_put_span(b, buf_span(&r->target));
	for (uint16_t i = 0; i < r->n; i++) {
		buf_put_str(b, i > 0 ? "," : " (");
		put_column(b, r, i);
	}
	buf_put_str(b, ") OVERRIDING SYSTEM VALUE SELECT ");
	for (uint16_t i = 0; i < r->n; i++) {
		if (i > 0)
			buf_put(b, ",", 1);
		put_typed(b, r, i);
	}
	buf_put_str(b, " FROM ");
	put_from(b, r, PG_CHANGE_INSERT, false);
	if (r->is_mixed)
		pg_mixed_put_conflict(r, b);
}

static void
put_where(struct buf *b, const struct pg_relation *r)
{
	bool is_first = true;

	for (uint16_t i = 0; i < r->n; i++) {
		if (!r->field[i].is_key)
			continue;
		buf_put_str(b, is_first ? " WHERE t." : " AND t.");
		is_first = false;
		put_column(b, r, i);
		buf_put_str(b, " = ");
		put_typed(b, r, i);
	}
}

static void
put_update(struct buf *b, const struct pg_relation *r)
{
	bool is_first = true;

	buf_put_str(b, "UPDATE ONLY ");
	buf_put_span(b, buf_span(&r->target));
	buf_put_str(b, " AS t SET ");
	for (uint16_t i = 0; i < r->n; i++) {
		if (r->field[i].is_key)
			continue;
		if (!is_first)
			buf_put(b, ",", 1);
		is_first = false;
		put_column(b, r, i);
		buf_put_str(b, " = ");
		put_typed(b, r, i);
	}
	buf_put_str(b, " FROM ");
	put_from(b, r, PG_CHANGE_UPDATE, false);
	put_where(b, r);
}

static void
put_delete(struct buf *b, const struct pg_relation *r)
{
	buf_put_str(b, "DELETE FROM ONLY ");
	buf_put_span(b, buf_span(&r->target));
	buf_put_str(b, " AS t USING ");
	put_from(b, r, PG_CHANGE_DELETE, false);
	put_where(b, r);
}

/* A row as an array of texts, as the stream writes them: arrays with NULLs compare,
 * and hash. */
static void
put_row_text(struct buf *b, const struct pg_relation *r)
{
	for (uint16_t i = 0; i < r->n; i++) {
		buf_put_str(b, i > 0 ? ",CASE WHEN t." : "CASE WHEN t.");
		put_column(b, r, i);
		buf_put_str(b, " IS DISTINCT FROM NULL THEN "
		               "pg_catalog.format('%s', t.");
		put_column(b, r, i);
		buf_put_str(b, ") END COLLATE \"C\"");
	}
}

/* One scan for all of them; of rows that are alike so many as are to go. */
static void
put_delete_bag(struct buf *b, const struct pg_relation *r)
{
	buf_put_str(b, "DELETE FROM ONLY ");
	buf_put_span(b, buf_span(&r->target));
	buf_put_str(b, " WHERE ctid = ANY (ARRAY(SELECT s.ctid FROM (SELECT "
	               "t.ctid, x.times, row_number() OVER (PARTITION BY "
	               "x.number) AS i FROM ONLY ");
	buf_put_span(b, buf_span(&r->target));
	buf_put_str(b, " AS t JOIN (SELECT x.times, row_number() OVER () AS "
	               "number, ARRAY[");
	for (uint16_t i = 0; i < r->n; i++)
		buf_putf(b,
		         i > 0 ? ",x.c%u COLLATE \"C\"" : "x.c%u COLLATE \"C\"",
		         i);
	buf_put_str(b, "] AS was FROM ");
	put_from(b, r, PG_CHANGE_DELETE, true);
	buf_put_str(b, ") AS x ON x.was = ARRAY[");
	put_row_text(b, r);
	buf_put_str(b, "]) AS s WHERE s.i <= s.times))");
}

/* ---- the values -------------------------------------------------------------------- */

static void
array_begin(struct buf *b, uint32_t type, uint32_t n)
{
	pg_put_u32(b, 1); /* dimension            */
	pg_put_u32(b, 1); /* there may be NULLs   */
	pg_put_u32(b, type);
	pg_put_u32(b, n);
	pg_put_u32(b, 1); /* the first has number */
}

/* The images' cells, column by column. */
static void
take_columns(const struct pg_apply *a, const struct pg_relation *r,
             enum pg_change kind, struct buf *column)
{
	map_each(e, &r->rows) {
		const struct pg_net *n = map_value(e);
		uint32_t times = n->has_gaps ? 0 : times_of(n, kind);

		if (kind == PG_CHANGE_DELETE && times > 0)
			times = 1;
		for (; times > 0; times--) {
			struct span rest =
				span_of(buf_span(&a->images).p + n->at, n->n);
			struct pg_cell c;

			for (uint16_t i = 0;
			     i < r->n && pg_cell_next(&rest, &c); i++) {
				if (!is_said(r, i, kind))
					continue;
				if (c.kind == PG_CELL_NULL)
					pg_put_null(&column[i]);
				else
					pg_put_value(&column[i], c.bytes);
			}
		}
	}
}

static void
put_times(struct pg_apply *a, const struct pg_relation *r, uint32_t n)
{
	struct buf *tx = &a->c.link->tx;

	pg_put_u32(tx, 20 + n * 8);
	array_begin(tx, OID_INT4, n);
	map_each(e, &r->rows) {
		uint32_t times = times_of(map_value(e), PG_CHANGE_DELETE);

		if (times == 0)
			continue;
		pg_put_u32(tx, 4);
		pg_put_u32(tx, times);
	}
}

/* n: elements of each array. */
static bool
put_arrays(struct pg_mover *m, struct pg_apply *a, const struct pg_relation *r,
           enum pg_change kind, uint32_t n)
{
	struct buf *column = mem_zero(m->port->mem, r->n * sizeof(*column));
	struct buf *tx = &a->c.link->tx;
	bool ret = column != NULL;

	for (uint16_t i = 0; ret && i < r->n; i++)
		buf_init(&column[i], m->port->mem);
	if (ret)
		take_columns(a, r, kind, column);
	for (uint16_t i = 0; column != NULL && i < r->n; i++) {
		ret = ret && !buf_failed(&column[i]);
		if (ret && is_said(r, i, kind)) {
			pg_put_u32(tx, 20 + (uint32_t)buf_len(&column[i]));
			array_begin(tx, OID_TEXT, n);
			buf_put_span(tx, buf_span(&column[i]));
		}
		buf_fini(&column[i]);
	}
	mem_free(m->port->mem, column, r->n * sizeof(*column));
	return ret;
}

/* ---- saying it ---------------------------------------------------------------------- */

static uint16_t
count_said(const struct pg_relation *r, enum pg_change kind)
{
	uint16_t n = 0;

	for (uint16_t i = 0; i < r->n; i++)
		n = (uint16_t)(n + is_said(r, i, kind));
	return n;
}

/* rows: that are met; n: elements. */
static void
say_set(struct pg_mover *m, struct pg_apply *a, struct pg_relation *r,
        enum pg_change kind, const uint32_t rows_n[2])
{
	bool counts = kind == PG_CHANGE_DELETE && pg_relation_is_bag(r);
	uint16_t n = (uint16_t)(count_said(r, kind) + counts);
	struct buf sql;
	size_t at;

	buf_init(&sql, m->port->mem);
	if (kind == PG_CHANGE_INSERT)
		put_insert(&sql, r);
	else if (kind == PG_CHANGE_UPDATE)
		put_update(&sql, r);
	else if (counts)
		put_delete_bag(&sql, r);
	else
		put_delete(&sql, r);
	a->failed = a->failed || buf_failed(&sql);
	if (counts)
		pg_apply_plans(a, true);
	if (!a->failed) {
		at = pg_apply_set_begin(a, buf_span(&sql), n);
		if (!a->failed && !put_arrays(m, a, r, kind, rows_n[1]))
			a->failed = true;
		if (!a->failed && counts)
			put_times(a, r, rows_n[1]);
		if (!a->failed)
			pg_apply_set_end(a, at, r->is_mixed ? 0 : rows_n[0]);
	}
	if (counts)
		pg_apply_plans(a, false);
	buf_fini(&sql);
}

static void
say_row(struct pg_mover *m, struct pg_apply *a, const struct pg_relation *r,
        enum pg_change kind, const struct pg_net *n)
{
	struct pg_output_part p = { .kind = kind };
	struct pg_tuple *t = kind == PG_CHANGE_DELETE ? &p.old : &p.new;

	t->kind = kind != PG_CHANGE_DELETE ? PG_TUPLE_NEW
	          : pg_relation_is_bag(r)  ? PG_TUPLE_OLD
	                                   : PG_TUPLE_KEY;
	t->n = r->n;
	t->items = span_of(buf_span(&a->images).p + n->at, n->n);
	pg_apply_row(m, a, r, &p);
}

void
pg_sets_say(struct pg_mover *m, struct pg_apply *a, struct pg_relation *r,
            enum pg_change kind)
{
	uint32_t n[2] = { 0, 0 };
	bool by_row;

	if (kind == PG_CHANGE_UPDATE && !has_sets(r))
		return;
	map_each(e, &r->rows) {
		const struct pg_net *net = map_value(e);
		uint32_t times = net->has_gaps ? 0 : times_of(net, kind);

		n[0] += times;
		n[1] += kind == PG_CHANGE_DELETE ? times > 0 : times;
	}
	by_row = n[0] < BATCH_SET_MIN;
	map_each(e, &r->rows) {
		const struct pg_net *net = map_value(e);
		uint32_t times = times_of(net, kind);

		if (!by_row && !net->has_gaps)
			continue;
		for (; times > 0 && !a->failed; times--)
			say_row(m, a, r, kind, net);
	}
	if (!by_row && !a->failed)
		say_set(m, a, r, kind, n);
}

/* ---- the types --------------------------------------------------------------------- */

static void
ask(struct pg_mover *m, struct pg_apply *a, struct pg_relation *r)
{
	struct buf name;
	struct span s;

	buf_init(&name, m->port->mem);
	pg_put_literal(&name, buf_span(&r->target));
	s = buf_span(&name);
	if (buf_failed(&name)) {
		r->sets = SETS_NEVER;
	} else {
		r->sets = SETS_ASKED;
		a->asked = r->oid;
		buf_clear(&r->types);
		for (uint16_t i = 0; i < r->n; i++)
			r->field[i].type_n = 0;
		pg_conn_query(&m->ask[a->side], SQL_TYPES, (int)s.n,
		              (const char *)s.p);
	}
	buf_fini(&name);
}

static void
asked(struct pg_relation *r)
{
	if (r == NULL || r->sets != SETS_ASKED)
		return;
	r->sets = buf_failed(&r->types) || r->n > COLUMNS_MAX ? SETS_NEVER
	                                                      : SETS_MAY;
	for (uint16_t i = 0; i < r->n; i++) {
		if (r->field[i].type_n == 0)
			r->sets = SETS_NEVER;
	}
}

void
pg_sets_ask(struct pg_mover *m, enum side s)
{
	struct pg_apply *a = &m->apply[s];
	struct pg_feed *f = &m->feed[side_other(s)];
	struct pg_relation *r;

	if (m->ask[s].state != PG_CONN_IDLE)
		return;
	if (a->asked != 0) {
		asked(pg_relation_find(f, a->asked));
		a->asked = 0;
	}
	if (a->wants == 0 || a->alters)
		return;
	r = pg_relation_find(f, a->wants);
	a->wants = 0;
	if (r != NULL && r->sets == SETS_UNKNOWN)
		ask(m, a, r);
}

void
pg_sets_hear(struct pg_mover *m, enum side s, struct pg_values row)
{
	struct pg_relation *r =
		pg_relation_find(&m->feed[side_other(s)], m->apply[s].asked);
	struct span rest = row.items;
	struct pg_value v[4];

	if (r == NULL || r->sets != SETS_ASKED || row.n != 4)
		return;
	for (int i = 0; i < 4; i++)
		(void)pg_value_next(&rest, &v[i]);
	r->unique_n = v[3].bytes.n == 1 && v[3].bytes.p[0] <= '1' ? 1 : 2;
	for (uint16_t i = 0; i < r->n; i++) {
		if (!span_eq(r->field[i].name, v[0].bytes) ||
		    !span_eq(v[2].bytes, SPAN("1")))
			continue;
		r->field[i].type_at = (uint32_t)buf_len(&r->types);
		r->field[i].type_n = (uint32_t)v[1].bytes.n;
		buf_put_span(&r->types, v[1].bytes);
	}
}

void
pg_sets_forget(struct pg_mover *m, struct pg_apply *a)
{
	map_each(e, &m->feed[side_other(a->side)].relations) {
		struct pg_relation *r = map_value(e);

		r->sets = SETS_UNKNOWN;
	}
}
