/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/verify_tables.c: the tables and columns of a side.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/verify.h"

enum field {
	F_SCHEMA,
	F_TABLE,
	F_UNLOGGED,
	F_EXTENSION,
	F_COLUMN, /* NULL: the table has none */
	F_TYPE,
	F_BASE,
	F_KEY,
	F_ORDER,
	F_BY_VALUE,
};

/* Tables that hold rows, and a line for each column. Operators of pg_catalog are
 * all that our search_path finds. */
static const char all[] =
	"SELECT n.nspname, c.relname, (c.relpersistence = 'u')::int,"
	" (EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid ="
	"  'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))::int,"
	" a.attname, format_type(a.atttypid, a.atttypmod),"
	" CASE WHEN b.oid <> t.oid THEN format_type(b.oid, t.typtypmod)"
	"  ELSE format_type(a.atttypid, a.atttypmod) END,"
	" coalesce(array_position(i.indkey::int2[], a.attnum), -1) + 1,"
	" CASE WHEN b.oid IN (20, 21, 23, 26) THEN 'n'"
	"  WHEN b.oid IN (17, 2950) THEN 'b' ELSE 't' END,"
	" (b.typtype = 'e' OR (b.typtype = 'b' AND b.typcategory <> 'A'"
	"  AND b.typnamespace = 'pg_catalog'::regnamespace))::int"
	" FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
	" LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
	"  AND NOT a.attisdropped"
	" LEFT JOIN pg_type t ON t.oid = a.atttypid"
	" LEFT JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN"
	"  t.typbasetype ELSE t.oid END"
	" LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary"
	"  AND i.indisvalid"
	" WHERE c.relkind = 'r' AND c.relpersistence <> 't'"
	" AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT LIKE 'godwit\\_%'"
	" AND n.nspname <> 'information_schema'"
	" ORDER BY convert_to(n.nspname, 'UTF8'), convert_to(c.relname,"
	" 'UTF8'), convert_to(a.attname, 'UTF8')";

static const char *
text(const PGresult *res, int row, enum field f)
{
	return PQgetvalue(res, row, (int)f);
}

static bool
is_yes(const PGresult *res, int row, enum field f)
{
	return text(res, row, f)[0] == '1';
}

static struct pgv_column
column_of(const PGresult *res, int row)
{
	return (struct pgv_column){
		.name = text(res, row, F_COLUMN),
		.type = text(res, row, F_TYPE),
		.base = text(res, row, F_BASE),
		.key = (int)strtol(text(res, row, F_KEY), NULL, 10),
		.order = text(res, row, F_ORDER)[0],
		.by_value = is_yes(res, row, F_BY_VALUE),
	};
}

static bool
is_same_table(const struct pgv_table *t, const PGresult *res, int row)
{
	return strcmp(t->schema, text(res, row, F_SCHEMA)) == 0 &&
	       strcmp(t->name, text(res, row, F_TABLE)) == 0;
}

int
pgv_tables_read(struct pgv_side *s, struct pgv_tables *ret, struct err *err)
{
	PGresult *res;
	size_t n;
	int rc = pgv_ask(s, &s->look, all, &res, err);

	if (rc != 0)
		return rc;
	n = (size_t)PQntuples(res);
	ret->res = res;
	ret->n = 0;
	ret->table = calloc(n + 1, sizeof(*ret->table));
	ret->col = calloc(n + 1, sizeof(*ret->col));
	if (ret->table == NULL || ret->col == NULL)
		return err_set(err, ERR_NOMEM, "no memory for a comparison");
	for (int row = 0; row < (int)n; row++) {
		struct pgv_table *t =
			ret->n > 0 ? &ret->table[ret->n - 1] : NULL;

		if (t == NULL || !is_same_table(t, res, row)) {
			t = &ret->table[ret->n++];
			t->schema = text(res, row, F_SCHEMA);
			t->name = text(res, row, F_TABLE);
			t->is_unlogged = is_yes(res, row, F_UNLOGGED);
			t->is_extension = is_yes(res, row, F_EXTENSION);
			t->col = &ret->col[row];
		}
		if (!PQgetisnull(res, row, (int)F_COLUMN))
			t->col[t->n++] = column_of(res, row);
	}
	return 0;
}

static struct pgv_table *
find(struct pgv_tables *t, const char *schema, const char *name)
{
	uint32_t low = 0;
	uint32_t high = t->n;

	while (low < high) {
		uint32_t i = low + (high - low) / 2;
		int cmp = strcmp(schema, t->table[i].schema);

		if (cmp == 0)
			cmp = strcmp(name, t->table[i].name);
		if (cmp == 0)
			return &t->table[i];
		if (cmp < 0)
			high = i;
		else
			low = i + 1;
	}
	return NULL;
}

/* As both servers refuse writes: parts.c. */
int
pgv_tables_whose(struct pgv *v, struct err *err)
{
	struct pgv_side *s = &v->side[pgv_old(v)];
	PGresult *res;
	char sql[400];
	int rc;

	(void)snprintf(sql, sizeof(sql),
	               "SELECT n.nspname, c.relname FROM \"%s\".part p,"
	               " LATERAL \"%s\".theirs(p.features, p.moved, true) t"
	               " JOIN pg_class c ON c.oid = t JOIN pg_namespace n ON"
	               " n.oid = c.relnamespace",
	               v->schema, v->schema);
	rc = pgv_ask(s, &s->look, sql, &res, err);
	for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
		for (int k = 0; k < 2; k++) {
			struct pgv_table *t =
				find(&v->tables[k], PQgetvalue(res, i, 0),
			             PQgetvalue(res, i, 1));

			if (t != NULL)
				t->is_news = true;
		}
	}
	PQclear(res);
	return rc;
}

void
pgv_tables_fini(struct pgv_tables *t)
{
	PQclear(t->res);
	free(t->table);
	free(t->col);
	*t = (struct pgv_tables){ .n = 0 };
}
