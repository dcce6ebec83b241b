/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_scope.c: which tables does a read touch?
 */
#include "engine/postgres/sql_scope.h"

#include "engine/postgres/sql_scan.h"

/* Between the three names in the text of a row. */
#define MARK 1

/* One thing that a relation touches. Behind it in the buf: the schema of the
 * relation, schema and name of what it touches. */
struct touch {
	uint32_t next; /* place + 1 of the next one of that name; 0: none */
	uint8_t n[3];
};

/* Also those of plain inheritance: a partition is its table. */
#define EDGES                                                              \
	"SELECT i.inhparent AS a, i.inhrelid AS b FROM pg_inherits i JOIN" \
	" pg_class c ON c.oid = i.inhrelid WHERE NOT c.relispartition"     \
	" UNION SELECT r.ev_class, d.refobjid FROM pg_rewrite r JOIN"      \
	" pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid =" \
	" r.oid AND d.refclassid = 'pg_class'::regclass WHERE r.ev_type =" \
	" '1' UNION SELECT p.polrelid, d.refobjid FROM pg_policy p JOIN"   \
	" pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid ="  \
	" p.oid AND d.refclassid = 'pg_class'::regclass"

const char sql_scope_question[] =
	" UNION ALL SELECT * FROM (WITH RECURSIVE rel AS MATERIALIZED (SELECT"
	" c.oid, c.relkind, c.relname::text AS name, s.nspname::text AS schema"
	" FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE"
	" c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND s.nspname NOT LIKE"
	" 'pg\\_%' AND s.nspname NOT LIKE 'godwit\\_%' AND s.nspname <>"
	" 'information_schema'), edge AS MATERIALIZED (" EDGES
	"), touched(a, b) AS (SELECT oid, oid FROM rel UNION SELECT t.a, e.b"
	" FROM touched t JOIN edge e ON e.a = t.b) SELECT DISTINCT 't',"
	" a.name, a.schema || chr(1) || b.schema || chr(1) || b.name FROM"
	" touched JOIN rel a ON a.oid = touched.a JOIN rel b ON b.oid ="
	" coalesce(pg_partition_root(touched.b), touched.b) WHERE b.relkind"
	" <> 'v' UNION ALL SELECT 't', '', '' WHERE EXISTS (SELECT FROM rel"
	" WHERE position(chr(1) IN name || schema) > 0)) scope";

void
sql_scope_init(struct sql_scope *s, struct mem *mem, uint64_t seed)
{
	*s = (struct sql_scope){ .is_done = false };
	map_init(&s->names, mem, sizeof(uint32_t), seed);
	buf_init(&s->touches, mem);
}

void
sql_scope_fini(struct sql_scope *s)
{
	map_fini(&s->names);
	buf_fini(&s->touches);
	s->is_opaque = false;
	s->is_done = false;
}

/* The three names of a text; false: it is no such text. */
static bool
split(struct span text, struct span part[3])
{
	int n = 0;
	size_t from = 0;

	for (size_t i = 0; i <= text.n; i++) {
		if (i < text.n && text.p[i] != MARK)
			continue;
		if (n == 3 || i == from || i - from > UINT8_MAX)
			return false;
		part[n++] = span_of(text.p + from, i - from);
		from = i + 1;
	}
	return n == 3;
}

void
sql_scope_add(struct sql_scope *s, const struct span row[3])
{
	struct span part[3];
	struct touch t = { .next = 0 };
	struct map_entry *e;
	uint32_t *last;

	s->is_done = false;
	if (s->is_opaque)
		return;
	s->is_opaque = true;
	if (row[1].n == 0 || !split(row[2], part) ||
	    s->names.bytes + buf_len(&s->touches) > SQL_SCOPE_MAX)
		return;
	e = map_put(&s->names, row[1], NULL);
	if (e == NULL)
		return;
	last = map_value(e);
	t.next = *last;
	for (int i = 0; i < 3; i++)
		t.n[i] = (uint8_t)part[i].n;
	*last = (uint32_t)buf_len(&s->touches) + 1;
	buf_put(&s->touches, &t, sizeof(t));
	for (int i = 0; i < 3; i++)
		buf_put_span(&s->touches, part[i]);
	s->is_opaque = buf_failed(&s->touches);
}

void
sql_scope_done(struct sql_scope *s)
{
	s->is_done = true;
}

static bool
is_in_path(struct span path, struct span schema)
{
	while (path.n > 0) {
		size_t n = 0;

		while (n < path.n && path.p[n] != '\0')
			n++;
		if (span_eq(span_of(path.p, n), schema))
			return true;
		path = span_skip(path, n < path.n ? n + 1 : n);
	}
	return false;
}

#define LAST UINT32_MAX /* of *at: all were told */

bool
sql_scope_next(const struct sql_scope *s, struct span name, uint32_t *at,
               struct sql_touch *ret)
{
	struct span rest;
	struct span part[3];
	struct touch t;

	if (*at == 0) {
		const uint32_t *first = map_get(&s->names, name);

		*at = first != NULL && *first > 0 ? *first : LAST;
	}
	if (*at == LAST)
		return false;
	rest = span_skip(buf_span(&s->touches), *at - 1);
	memcpy(&t, rest.p, sizeof(t));
	rest = span_skip(rest, sizeof(t));
	for (int i = 0; i < 3; i++) {
		part[i] = span_of(rest.p, t.n[i]);
		rest = span_skip(rest, t.n[i]);
	}
	*ret = (struct sql_touch){ .in = part[0],
		                   .schema = part[1],
		                   .table = part[2] };
	*at = t.next > 0 ? t.next : LAST;
	return true;
}

/* What is known so far. */
struct look {
	const struct sql_scope *s;
	const struct sql_asker *who;
	uint32_t share;
	bool touches; /* anything */
};

/* A name, behind "schema." or (empty) alone. */
static void
look_up(struct look *l, struct span name, struct span schema)
{
	struct rules_request q = l->who->request;
	struct sql_touch t;
	uint32_t at = 0;

	while (sql_scope_next(l->s, name, &at, &t)) {
		uint32_t share;

		if (schema.n > 0 ? !span_eq(schema, t.in)
		                 : !is_in_path(l->who->path, t.in))
			continue;
		q.schema = t.schema;
		q.table = t.table;
		share = rules_share(l->who->rules, l->who->possible, &q);
		l->share = !l->touches || share < l->share ? share : l->share;
		l->touches = true;
	}
}

uint32_t
sql_scope_share(const struct sql_scope *s, const struct sql_asker *who,
                struct span text)
{
	struct look l = { .s = s, .who = who };
	struct span none = { (const uint8_t *)"", 0 };
	struct sql_scan scan;
	struct sql_token t;
	char before[SQL_NAME_MAX]; /* the name in front */
	size_t before_n = 0;
	bool is_behind_dot = false;

	if (!s->is_done || s->is_opaque || !sql_scan_init(&scan, text))
		return 0;
	for (sql_scan_next(&scan, &t); t.kind != SQL_END;
	     sql_scan_next(&scan, &t)) {
		if (t.kind == SQL_UNSURE)
			return 0;
		if (t.kind == SQL_NAME) {
			look_up(&l, span_of(t.name, t.name_n),
			        is_behind_dot ? span_of(before, before_n)
			                      : none);
			memcpy(before, t.name, t.name_n);
			before_n = t.name_n;
			is_behind_dot = false;
		} else {
			is_behind_dot = before_n > 0 && !is_behind_dot &&
			                span_eq(t.text, SPAN("."));
			before_n = is_behind_dot ? before_n : 0;
		}
	}
	return l.touches
	               ? l.share
	               : rules_share(who->rules, who->possible, &who->request);
}
