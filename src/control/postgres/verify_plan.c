/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/verify_plan.c: the statements that read one table.
 *
 * Both sides sort as we compare: numbers as numbers, else the bytes of the text in
 * UTF-8, never by a collation of a server.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/verify.h"

void
pgv_put_quoted(struct buf *b, const char *name)
{
	buf_put(b, "\"", 1);
	for (; *name != '\0'; name++)
		buf_put(b, *name == '"' ? "\"\"" : name, *name == '"' ? 2 : 1);
	buf_put(b, "\"", 1);
}

void
pgv_put_name(struct buf *b, const char *schema, const char *name)
{
	pgv_put_quoted(b, schema);
	buf_put(b, ".", 1);
	pgv_put_quoted(b, name);
}

static void
put_column(struct buf *b, const char *name)
{
	buf_put_str(b, "t.");
	pgv_put_quoted(b, name);
}

static void
put_columns(struct buf *b, const struct pgv_plan *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		if (i > 0)
			buf_put(b, ",", 1);
		put_column(b, p->name[i]);
	}
}

/* Key i as it is read, sorted and written. */
static void
put_key(struct buf *b, const struct pgv_plan *p, int side, uint32_t i)
{
	if (p->is_keyless) {
		buf_put_str(b, "ROW(");
		put_columns(b, p);
		buf_put_str(b, ")::text");
		return;
	}
	put_column(b, p->key[side][i]->name);
	if (p->order[i] == 't')
		buf_put_str(b, "::text");
}

static int
finish(struct pgv *v, struct err *err)
{
	buf_put(&v->sql, "", 1);
	return buf_failed(&v->sql)
	               ? err_set(err, ERR_NOMEM, "no memory for a comparison")
	               : 0;
}

static void
put_from(struct pgv *v, int side)
{
	const struct pgv_table *t = v->plan.table[side];

	buf_put_str(&v->sql, " FROM ONLY ");
	pgv_put_name(&v->sql, t->schema, t->name);
	buf_put_str(&v->sql, " AS t");
}

int
pgv_put_scan(struct pgv *v, int side, struct err *err)
{
	const struct pgv_plan *p = &v->plan;
	struct buf *b = &v->sql;

	buf_clear(b);
	buf_put_str(b, "COPY (SELECT ");
	for (uint32_t i = 0; i < p->keys; i++) {
		if (i > 0)
			buf_put(b, ",", 1);
		put_key(b, p, side, i);
	}
	if (!p->is_keyless) {
		buf_put(b, ",", 1);
		put_columns(b, p);
	}
	put_from(v, side);
	for (uint32_t i = 0; i < p->keys; i++) {
		buf_put_str(b, i > 0 ? "," : " ORDER BY ");
		if (p->order[i] != 't') {
			put_key(b, p, side, i);
			continue;
		}
		buf_put_str(b, v->side[side].is_utf8 ? "(" : "convert_to(");
		put_key(b, p, side, i);
		buf_put_str(b, v->side[side].is_utf8 ? ") COLLATE \"C\""
		                                     : ",'UTF8')");
	}
	buf_put_str(b, ") TO STDOUT");
	return finish(v, err);
}

/* An element of an array, which itself stands in a literal. */
static void
put_element(struct buf *b, struct span s)
{
	buf_put(b, "\"", 1);
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\')
			buf_put(b, "\\", 1);
		buf_put(b, &s.p[i], 1);
		if (s.p[i] == '\'')
			buf_put(b, "'", 1);
	}
	buf_put(b, "\"", 1);
}

/* Is a key compared by the equality of its type, so that its index serves? */
static bool
by_value(const struct pgv_plan *p, int side, uint32_t i)
{
	return !p->is_keyless && p->key[side][i]->by_value;
}

static void
put_array(struct pgv *v, int side, uint32_t i, const uint32_t range[2])
{
	struct buf *b = &v->sql;
	bool is_first = true;

	buf_put_str(b, "'{");
	for (uint32_t d = range[0]; d < range[1]; d++) {
		if (v->mends && !v->doubt[d].wants_mend)
			continue;
		if (!is_first)
			buf_put(b, ",", 1);
		is_first = false;
		put_element(b, pgv_key_field(&v->doubt[d].key, i));
	}
	buf_put_str(b, "}'::");
	buf_put_str(b, by_value(&v->plan, side, i) ? v->plan.key[side][i]->base
	                                           : "text");
	buf_put_str(b, "[]");
}

void
pgv_put_literal(struct buf *b, struct span s)
{
	buf_put(b, "'", 1);
	for (size_t i = 0; i < s.n; i++)
		buf_put(b, s.p[i] == '\'' ? "''" : (const char *)s.p + i,
		        s.p[i] == '\'' ? 2 : 1);
	buf_put(b, "'", 1);
}

void
pgv_put_doubts(struct pgv *v, int side, uint32_t from, uint32_t to)
{
	const uint32_t range[2] = { from, to };
	const struct pgv_plan *p = &v->plan;
	struct buf *b = &v->sql;

	put_from(v, side);
	buf_put_str(b, " JOIN unnest(");
	for (uint32_t i = 0; i < p->keys; i++) {
		if (i > 0)
			buf_put(b, ",", 1);
		put_array(v, side, i, range);
	}
	buf_put_str(b, ") WITH ORDINALITY AS u(");
	for (uint32_t i = 0; i < p->keys; i++)
		buf_putf(b, "k%u,", i);
	buf_put_str(b, "i) ON ");
	for (uint32_t i = 0; i < p->keys; i++) {
		if (i > 0)
			buf_put_str(b, " AND ");
		if (by_value(p, side, i)) {
			put_column(b, p->key[side][i]->name);
			buf_putf(b, " = u.k%u", i);
			continue;
		}
		buf_put(b, "(", 1);
		put_key(b, p, side, i);
		buf_putf(b, ")::text COLLATE \"C\" = u.k%u", i);
	}
}

int
pgv_put_look(struct pgv *v, int side, uint32_t from, uint32_t to,
             struct err *err)
{
	struct buf *b = &v->sql;

	buf_clear(b);
	buf_put_str(b, "SELECT u.i, t.xmin::text || ' ' || t.ctid::text");
	if (!v->plan.is_keyless) {
		buf_put(b, ",", 1);
		put_columns(b, &v->plan);
	}
	pgv_put_doubts(v, side, from, to);
	return finish(v, err);
}

/* ---- what to read ------------------------------------------------------------ */

static void
column_differs(struct pgv *v, const char *name, const char *type,
               const char *other)
{
	char detail[128];

	(void)snprintf(detail, sizeof(detail), "column %.40s: %.36s / %.36s",
	               name, type, other);
	pgv_find(v, VERIFY_DIFFERENT, v->plan.label, detail);
}

static void
match_columns(struct pgv *v, const struct pgv_table *a,
              const struct pgv_table *b)
{
	struct pgv_plan *p = &v->plan;
	uint32_t i = 0;
	uint32_t j = 0;

	while (i < a->n || j < b->n) {
		int cmp = i == a->n   ? 1
		          : j == b->n ? -1
		                      : strcmp(a->col[i].name, b->col[j].name);

		if (cmp < 0)
			column_differs(v, a->col[i].name, a->col[i].type,
			               "none");
		else if (cmp > 0)
			column_differs(v, b->col[j].name, "none",
			               b->col[j].type);
		else if (strcmp(a->col[i].type, b->col[j].type) != 0)
			column_differs(v, a->col[i].name, a->col[i].type,
			               b->col[j].type);
		if (cmp == 0)
			p->name[p->n++] = a->col[i].name;
		i += cmp <= 0;
		j += cmp >= 0;
	}
}

static const struct pgv_column *
key_of(const struct pgv_table *t, int place)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->col[i].key == place)
			return &t->col[i];
	return NULL;
}

/* The same columns of the same types are the key on both sides. */
static void
match_key(struct pgv_plan *p, const struct pgv_table *a,
          const struct pgv_table *b)
{
	for (p->keys = 0; p->keys < PGV_KEYS; p->keys++) {
		const struct pgv_column *x = key_of(a, (int)p->keys + 1);
		const struct pgv_column *y = key_of(b, (int)p->keys + 1);

		if (x == NULL && y == NULL)
			break;
		if (x == NULL || y == NULL || strcmp(x->name, y->name) != 0 ||
		    strcmp(x->type, y->type) != 0) {
			p->keys = 0;
			break;
		}
		p->key[0][p->keys] = x;
		p->key[1][p->keys] = y;
		p->order[p->keys] = x->order;
	}
	p->is_keyless = p->keys == 0;
	if (p->is_keyless) {
		p->keys = 1;
		p->order[0] = 't';
	}
}

int
pgv_plan_make(struct pgv *v, const struct pgv_table *a,
              const struct pgv_table *b, struct err *err)
{
	struct pgv_plan *p = &v->plan;

	*p = (struct pgv_plan){ .table = { a, b } };
	(void)snprintf(p->label, sizeof(p->label), "%.75s.%.75s", a->schema,
	               a->name);
	p->name = calloc((size_t)a->n + 1, sizeof(*p->name));
	if (p->name == NULL)
		return err_set(err, ERR_NOMEM, "no memory for a comparison");
	match_columns(v, a, b);
	match_key(p, a, b);
	return 0;
}

void
pgv_plan_fini(struct pgv_plan *p)
{
	free(p->name);
	p->name = NULL;
}
