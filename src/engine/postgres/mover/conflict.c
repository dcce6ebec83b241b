/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/conflict.c: tables in which the other side had rows before.
 *
 * What new had is a list of Godwit's on new (control/postgres/both.c). The copy into such
 * a table goes to a table of the lane's session first; from there the server itself
 * brings it to the rows that are there, by the rule (settle()). In the stream a row of
 * such a table is put or goes, whatever the other side has of it: the authority logs
 * its rows whole (REPLICA IDENTITY FULL), so each change carries all of its row. When
 * another row has a unique key of it, that one goes (put()).
 */
#include "base/check.h"
#include "engine/postgres/mover/state.h"

/* %s: Godwit's schema. A row for each column of the key. */
#define SQL_THERE                                                          \
	"SELECT t, q, is_both::int, has_rows::int, coalesce(k, '') FROM"   \
	" %s.there LEFT JOIN LATERAL unnest(keys) WITH ORDINALITY u(k, i)" \
	" ON true WHERE kind = 'r' ORDER BY t, i"

/* ---- the list ------------------------------------------------------------------- */

void
pg_there_ask(struct pg_mover *m)
{
	pg_there_forget(m);
	pg_conn_query(&m->ask[SIDE_NEW], SQL_THERE, m->slot);
}

static struct pg_there *
add(struct pg_mover *m, const struct pg_value *v)
{
	struct map_entry *e = map_put(&m->there, v[1].bytes, NULL);
	struct pg_there *t;

	if (e == NULL)
		return NULL;
	t = map_value(e);
	buf_init(&t->keys, m->port->mem);
	t->is_both = span_eq(v[2].bytes, SPAN("1"));
	t->has_rows = t->is_both && span_eq(v[3].bytes, SPAN("1"));
	return t;
}

bool
pg_there_hear(struct pg_mover *m, struct pg_values row)
{
	struct span rest = row.items;
	struct pg_value v[5];
	struct pg_there *t;

	if (row.n != 5)
		return false;
	for (int i = 0; i < 5; i++)
		(void)pg_value_next(&rest, &v[i]);
	t = map_get(&m->there, v[1].bytes);
	if (t == NULL)
		t = add(m, v);
	if (t == NULL)
		return false;
	if (v[4].bytes.n > 0) {
		buf_put_span(&t->keys, v[4].bytes);
		buf_put(&t->keys, "", 1);
	}
	return !buf_failed(&t->keys);
}

void
pg_there_forget(struct pg_mover *m)
{
	map_each(e, &m->there)
		buf_fini(&((struct pg_there *)map_value(e))->keys);
	map_clear(&m->there);
}

const struct pg_there *
pg_there_find(const struct pg_mover *m, struct span quoted)
{
	return map_get(&m->there, quoted);
}

/* ---- the copy --------------------------------------------------------------------- */

void
pg_settle_open(struct pg_lane *l, const char *format)
{
	struct span name = buf_span(&l->table->name);
	struct span cols = buf_span(&l->table->columns);

	pg_conn_query(&l->to,
	              "BEGIN; CREATE TEMP TABLE godwit_in (LIKE %.*s INCLUDING "
	              "GENERATED) ON COMMIT DROP; COPY pg_temp.godwit_in "
	              "(%.*s) FROM STDIN (FORMAT %s)",
	              (int)name.n, (const char *)name.p, (int)cols.n,
	              (const char *)cols.p, format);
}

void
pg_settle_put(const struct pg_mover *m, const struct pg_lane *l, struct buf *b)
{
	if (!l->table->is_mixed)
		return;
	buf_put_str(b, "SELECT ");
	pg_put_ident(b, span_str(m->slot));
	buf_put_str(b, ".settle(");
	pg_put_literal(b, buf_span(&l->table->name));
	buf_put_str(b, "); ");
}

void
pg_settle_hear(struct pg_mover *m, const struct pg_message *msg)
{
	struct pg_values row;
	struct pg_value v;
	struct span rest;
	uint64_t n = 0;

	if (!pg_read_row(msg->body, &row) || row.n != 1)
		return;
	rest = row.items;
	if (!pg_value_next(&rest, &v) || v.is_null)
		return;
	for (size_t i = 0; i < v.bytes.n; i++)
		n = n * 10 + (uint64_t)(v.bytes.p[i] - '0');
	atomic_fetch_add(&m->conf->board->conflicts, n);
}

/* ---- the stream ------------------------------------------------------------------- */

static bool
is_key(const struct pg_there *t, struct span name)
{
	struct span rest = buf_span(&t->keys);

	while (rest.n > 0) {
		const uint8_t *end = memchr(rest.p, '\0', rest.n);
		size_t n = end != NULL ? (size_t)(end - rest.p) : rest.n;

		if (span_eq(span_of(rest.p, n), name))
			return true;
		rest = span_skip(rest, n < rest.n ? n + 1 : n);
	}
	return false;
}

void
pg_mixed_learn(const struct pg_mover *m, struct pg_relation *r)
{
	const struct pg_there *t = pg_there_find(m, buf_span(&r->target));

	if (t == NULL)
		return;
	/* Nobody else has it. */
	if (!t->is_both)
		r->is_own = true;
	if (!t->has_rows)
		return;
	r->is_mixed = true;
	r->identity = 'd';
	for (uint16_t i = 0; i < r->n; i++)
		r->field[i].is_key = is_key(t, r->field[i].name);
}

void
pg_mixed_put_conflict(const struct pg_relation *r, struct buf *b)
{
	const char *between = " ON CONFLICT (";
	bool has_sets = false;

	for (uint16_t i = 0; i < r->n; i++) {
		has_sets = has_sets || !r->field[i].is_key;
		if (!r->field[i].is_key)
			continue;
		buf_put_str(b, between);
		pg_put_ident(b, r->field[i].name);
		between = ",";
	}
	buf_put_str(b, has_sets ? ") DO UPDATE SET " : ") DO NOTHING");
	between = "";
	for (uint16_t i = 0; i < r->n; i++) {
		if (r->field[i].is_key)
			continue;
		buf_put_str(b, between);
		pg_put_ident(b, r->field[i].name);
		buf_put_str(b, " = excluded.");
		pg_put_ident(b, r->field[i].name);
		between = ",";
	}
}

static void
put_cell(struct buf *b, const struct pg_cell *c)
{
	pg_put_u8(b, (uint8_t)c->kind);
	if (c->kind == PG_CELL_TEXT || c->kind == PG_CELL_BINARY)
		pg_put_value(b, c->bytes);
}

/* The new row, with what it does not tell from the old one. False: that does not tell
 * it, either. */
static bool
put_whole(struct buf *b, const struct pg_output_part *p)
{
	struct span now = p->new.items;
	struct span before = p->old.items;
	bool has_old = p->old.kind == PG_TUPLE_OLD;
	bool ret = true;
	struct pg_cell c;
	struct pg_cell was;

	buf_clear(b);
	while (pg_cell_next(&now, &c)) {
		bool has = has_old && pg_cell_next(&before, &was);

		if (c.kind == PG_CELL_UNCHANGED && has)
			c = was;
		ret = ret && c.kind != PG_CELL_UNCHANGED;
		put_cell(b, &c);
	}
	return ret;
}

/* Has the row another key now? */
static bool
has_moved(const struct pg_relation *r, const struct pg_output_part *p)
{
	struct span now = p->new.items;
	struct span before = p->old.items;
	struct pg_cell c;
	struct pg_cell was;

	if (p->old.kind == PG_TUPLE_NONE)
		return false;
	for (uint16_t i = 0; i < r->n; i++) {
		if (!pg_cell_next(&now, &c) || !pg_cell_next(&before, &was))
			return false;
		if (r->field[i].is_key && c.kind != PG_CELL_UNCHANGED &&
		    !span_eq(c.bytes, was.bytes))
			return true;
	}
	return false;
}

void
pg_mixed_change(struct pg_mover *m, struct pg_apply *a, struct pg_relation *r,
                const struct pg_output_part *p)
{
	struct pg_output_part now = *p;

	if (p->kind != PG_CHANGE_UPDATE) {
		pg_apply_change(m, a, r, p);
		return;
	}
	if (has_moved(r, p)) {
		now.kind = PG_CHANGE_DELETE;
		pg_apply_change(m, a, r, &now);
	}
	now.old = (struct pg_tuple){ .kind = PG_TUPLE_NONE };
	/* Somebody took the identity away: what is known of it. */
	now.kind =
		put_whole(&a->whole, p) ? PG_CHANGE_INSERT : PG_CHANGE_UPDATE;
	if (buf_failed(&a->whole))
		a->failed = true;
	now.new.items = buf_span(&a->whole);
	if (!a->failed)
		pg_apply_change(m, a, r, &now);
}

/* ---- a row that others are in the way of ------------------------------------------ */

static void
put_element(struct buf *b, struct span s, bool is_first)
{
	buf_put_str(b, is_first ? "\"" : ",\"");
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\')
			buf_put(b, "\\", 1);
		buf_put(b, s.p + i, 1);
	}
	buf_put(b, "\"", 1);
}

void
pg_mixed_put(struct pg_mover *m, struct pg_apply *a,
             const struct pg_relation *r, const struct pg_output_part *p)
{
	struct span rest = p->new.items;
	struct pg_cell c;
	struct buf sql;
	struct buf list;

	buf_init(&sql, m->port->mem);
	buf_init(&list, m->port->mem);
	buf_put_str(&list, "{");
	for (uint16_t i = 0; i < r->n; i++)
		put_element(&list, r->field[i].name, i == 0);
	buf_put_str(&list, "}");
	buf_put_str(&sql, "SELECT ");
	pg_put_ident(&sql, span_str(m->slot));
	buf_put_str(&sql, ".put(");
	pg_put_literal(&sql, buf_span(&r->target));
	buf_put_str(&sql, ", ");
	pg_put_literal(&sql, buf_span(&list));
	buf_put_str(&sql, ", $1::text[])");
	buf_clear(&list);
	buf_put_str(&list, "{");
	for (uint16_t i = 0; i < r->n && pg_cell_next(&rest, &c); i++) {
		if (c.kind == PG_CELL_NULL)
			buf_put_str(&list, i == 0 ? "NULL" : ",NULL");
		else
			put_element(&list, c.bytes, i == 0);
	}
	buf_put_str(&list, "}");
	if (buf_failed(&sql) || buf_failed(&list))
		a->failed = true;
	else
		pg_apply_call(m, a, buf_span(&sql), buf_span(&list));
	buf_fini(&list);
	buf_fini(&sql);
}
