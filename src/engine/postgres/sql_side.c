/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_side.c: on which side of a split are the tables of a text?
 */
#include "engine/postgres/sql_side.h"

#include "engine/postgres/sql_word.h"

/* Between the names in the text of a row. */
#define MARK 1

/* ---- what is asked ----------------------------------------------------------------- */

/* What stands for what: views, inheritance, policies, sequences for who owns them or takes
 * from them. */
static const char edges[] =
	"SELECT i.inhparent AS a, i.inhrelid AS b FROM pg_inherits i JOIN"
	" pg_class c ON c.oid = i.inhrelid WHERE NOT c.relispartition UNION"
	" SELECT r.ev_class, d.refobjid FROM pg_rewrite r JOIN pg_depend d ON"
	" d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND"
	" d.refclassid = 'pg_class'::regclass WHERE r.ev_type = '1' UNION"
	" SELECT p.polrelid, d.refobjid FROM pg_policy p JOIN pg_depend d ON"
	" d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND"
	" d.refclassid = 'pg_class'::regclass UNION SELECT s.oid, d.refobjid"
	" FROM pg_depend d JOIN rel s ON s.oid = d.objid AND s.relkind = 'S'"
	" WHERE d.classid = 'pg_class'::regclass AND d.refclassid ="
	" 'pg_class'::regclass AND d.deptype IN ('a', 'i') UNION SELECT s.oid,"
	" f.adrelid FROM pg_attrdef f JOIN pg_depend d ON d.classid ="
	" 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid ="
	" 'pg_class'::regclass JOIN rel s ON s.oid = d.refobjid AND s.relkind"
	" = 'S'";

/* A sequence that nothing has is its own; a view of nothing is nobody's. Behind the tables
 * texts: of functions, and of views, whose functions have tables as well. */
const char *const sql_side_question[] = {
	"SELECT * FROM (WITH RECURSIVE rel AS MATERIALIZED (SELECT c.oid,"
	" c.relkind, c.relname::text AS name, s.nspname::text AS schema,"
	" coalesce(pg_partition_root(c.oid), c.oid)::oid AS root FROM pg_class"
	" c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE c.relkind IN"
	" ('r', 'p', 'v', 'm', 'f', 'S') AND s.nspname NOT LIKE 'pg\\_%' AND"
	" s.nspname NOT LIKE 'godwit\\_%' AND s.nspname <>"
	" 'information_schema'), edge AS MATERIALIZED (",
	edges,
	"), touched(a, b) AS (SELECT oid, oid FROM rel UNION SELECT t.a, e.b"
	" FROM touched t JOIN edge e ON e.a = t.b) SELECT DISTINCT 't' AS"
	" kind, a.name AS name, a.schema || chr(1) || r.schema || chr(1) ||"
	" r.name AS text FROM touched JOIN rel a ON a.oid = touched.a JOIN rel"
	" b ON b.oid = touched.b JOIN rel r ON r.oid = b.root WHERE b.relkind"
	" IN ('r', 'p', 'f') OR (b.relkind = 'S' AND NOT EXISTS (SELECT FROM"
	" edge WHERE edge.a = b.oid)) UNION ALL SELECT 't', '', '' WHERE"
	" EXISTS (SELECT FROM rel WHERE position(chr(1) IN name || schema) >"
	" 0) UNION ALL SELECT 'f', p.proname || '(', s.nspname || chr(1) ||"
	" p.prosrc || ' ' || coalesce(pg_get_function_sqlbody(p.oid), '') FROM"
	" pg_proc p JOIN pg_namespace s ON s.oid = p.pronamespace WHERE p.oid"
	" >= 16384 AND s.nspname NOT LIKE 'godwit\\_%' AND s.nspname NOT LIKE"
	" 'pg\\_%' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid ="
	" 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e') UNION"
	" ALL SELECT 'f', rel.name, rel.schema || chr(1) ||"
	" pg_get_viewdef(rel.oid) FROM rel WHERE relkind IN ('v', 'm') AND"
	" EXISTS (SELECT FROM pg_rewrite r JOIN pg_depend d ON d.classid ="
	" 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid ="
	" 'pg_proc'::regclass AND d.refobjid >= 16384 WHERE r.ev_class ="
	" rel.oid)) side",
	NULL,
};

/* ---- the catalog of a server ----------------------------------------------------- */

void
sql_sides_init(struct sql_sides *s, struct mem *mem, uint64_t seed)
{
	sql_scope_init(&s->scope, mem, seed);
	buf_init(&s->texts, mem);
	s->is_opaque = false;
}

void
sql_sides_fini(struct sql_sides *s)
{
	sql_scope_fini(&s->scope);
	buf_fini(&s->texts);
	s->is_opaque = false;
}

/* In s->texts: the lengths of a name, a schema and a text, and these. */
void
sql_sides_add(struct sql_sides *s, const struct span row[3])
{
	uint32_t n[3];
	const uint8_t *mark;

	if (!span_eq(row[0], SPAN("f"))) {
		sql_scope_add(&s->scope, row);
		return;
	}
	mark = row[2].n > 0 ? memchr(row[2].p, MARK, row[2].n) : NULL;
	if (mark == NULL ||
	    buf_len(&s->texts) + row[1].n + row[2].n > SQL_SCOPE_MAX) {
		s->is_opaque = true;
		return;
	}
	n[0] = (uint32_t)row[1].n;
	n[1] = (uint32_t)(mark - row[2].p);
	n[2] = (uint32_t)(row[2].n - n[1] - 1);
	buf_put(&s->texts, n, sizeof(n));
	buf_put_span(&s->texts, row[1]);
	buf_put(&s->texts, row[2].p, n[1]);
	buf_put(&s->texts, mark + 1, n[2]);
	s->is_opaque = s->is_opaque || buf_failed(&s->texts);
}

/* Whose text is looked at, and what it was found to touch. */
struct learn {
	struct sql_sides *s;
	struct span name;
	struct span in;
	struct buf found; /* rows of the scope that are new */
};

static bool
is_known(const struct learn *x, const struct sql_touch *t)
{
	struct sql_touch k;
	uint32_t at = 0;

	while (sql_scope_next(&x->s->scope, x->name, &at, &k)) {
		if (span_eq(k.in, x->in) && span_eq(k.schema, t->schema) &&
		    span_eq(k.table, t->table))
			return true;
	}
	return false;
}

/* Kept until the end of the text: the scope must not change while it is looked at. */
static void
note(void *self, const struct sql_touch *t)
{
	struct learn *x = self;
	uint8_t n[2] = { (uint8_t)t->schema.n, (uint8_t)t->table.n };

	if (t->is_shared || is_known(x, t))
		return;
	buf_put(&x->found, n, sizeof(n));
	buf_put_span(&x->found, t->schema);
	buf_put_span(&x->found, t->table);
}

static bool
learn(struct learn *x)
{
	struct span rest = buf_span(&x->found);
	bool any = rest.n > 0;
	struct buf text;

	buf_init(&text, x->found.mem);
	while (rest.n > 2) {
		struct span row[3] = { SPAN("t"), x->name };
		struct sql_touch t;

		t.schema = span_of(rest.p + 2, rest.p[0]);
		t.table = span_of(t.schema.p + t.schema.n, rest.p[1]);
		rest = span_skip(rest, 2 + t.schema.n + t.table.n);
		if (is_known(x, &t))
			continue;
		buf_clear(&text);
		buf_put_span(&text, x->in);
		buf_put(&text, "\1", 1);
		buf_put_span(&text, t.schema);
		buf_put(&text, "\1", 1);
		buf_put_span(&text, t.table);
		row[2] = buf_span(&text);
		sql_scope_add(&x->s->scope, row);
	}
	x->s->is_opaque =
		x->s->is_opaque || buf_failed(&x->found) || buf_failed(&text);
	buf_fini(&text);
	return any && !x->s->is_opaque;
}

/* One round through all texts: was something learned? */
static bool
look_behind(struct sql_sides *s)
{
	struct span rest = buf_span(&s->texts);
	bool learned = false;

	while (rest.n > 0) {
		struct learn x = { .s = s };
		struct sql_table_in in = { .is_code = true };
		uint32_t n[3];

		memcpy(n, rest.p, sizeof(n));
		rest = span_skip(rest, sizeof(n));
		x.name = span_of(rest.p, n[0]);
		x.in = span_of(rest.p + n[0], n[1]);
		buf_init(&x.found, s->texts.mem);
		in.text = span_of(rest.p + n[0] + n[1], n[2]);
		sql_table_find(&s->scope, &in, note, &x);
		rest = span_skip(rest, (size_t)n[0] + n[1] + n[2]);
		learned = learn(&x) || learned;
		buf_fini(&x.found);
	}
	return learned;
}

void
sql_sides_done(struct sql_sides *s)
{
	for (int i = 0; i < SQL_SIDE_ROUNDS && !s->is_opaque; i++) {
		if (!look_behind(s))
			break;
	}
	buf_release(&s->texts);
	s->scope.is_opaque = s->scope.is_opaque || s->is_opaque;
	sql_scope_done(&s->scope);
}

/* ---- a text ---------------------------------------------------------------------- */

/* What is known of its tables. */
struct judge {
	const struct sql_side_of *of;
	struct sql_side *ret;
};

/* "schema.table", as far as there is room. */
static void
say(char ret[SQL_SIDE_WHAT], const struct sql_touch *t)
{
	struct span part[] = { t->schema, SPAN("."), t->table };
	size_t at = 0;

	for (int i = t->schema.n > 0 ? 0 : 2; i < 3; i++) {
		size_t room = SQL_SIDE_WHAT - 1 - at;
		size_t n = part[i].n < room ? part[i].n : room;

		memcpy(ret + at, part[i].p, n);
		at += n;
	}
	ret[at] = '\0';
}

enum side
sql_side_of_table(const struct sql_side_of *of, const struct sql_touch *t)
{
	struct rules_request q = { .schema = t->schema, .table = t->table };
	uint32_t rule = t->is_shared ? RULES_MAX
	                             : rules_first(of->rules, UINT64_MAX, &q);

	return rule < RULES_MAX && (of->moved >> rule & 1) != 0 ? SIDE_NEW
	                                                        : SIDE_OLD;
}

static void
count(void *self, const struct sql_touch *t)
{
	struct judge *j = self;
	enum side side = sql_side_of_table(j->of, t);

	if (t->is_doubtful) {
		j->ret->doubtful |= (uint8_t)SQL_SIDE_BIT(side);
		return;
	}
	if ((j->ret->sides & SQL_SIDE_BIT(side)) == 0)
		say(j->ret->what[side], t);
	j->ret->sides |= (uint8_t)SQL_SIDE_BIT(side);
}

/* Names of which each schema that has them has them on the same side. */
static void
add_doubtful(struct sql_side *ret)
{
	const struct sql_touch some = { .table = SPAN("its tables") };

	for (int i = 0; i < SIDE_N; i++) {
		if ((ret->doubtful & ~ret->sides & SQL_SIDE_BIT(i)) != 0)
			say(ret->what[i], &some);
	}
	ret->sides |= ret->doubtful;
}

void
sql_side_judge(const struct sql_sides *s, const struct sql_side_of *of,
               struct span text, struct sql_side *ret)
{
	const struct sql_touch unknown = {
		.table = SPAN("tables that are not known")
	};
	struct sql_table_in in = { .text = text, .path = of->path };
	struct judge j = { .of = of, .ret = ret };

	*ret = (struct sql_side){ .sides = 0 };
	if (!s->scope.is_done || s->scope.is_opaque) {
		ret->sides = SQL_SIDE_BOTH;
		say(ret->what[SIDE_OLD], &unknown);
		say(ret->what[SIDE_NEW], &unknown);
		return;
	}
	sql_table_find(&s->scope, &in, count, &j);
	/* Where all that may be meant is on one side it does not matter. */
	ret->needs_path = ret->doubtful == SQL_SIDE_BOTH;
	if (ret->doubtful != 0 && !ret->needs_path)
		add_doubtful(ret);
}

/* The name of a setting, in a statement or in a call of set_config. */
static bool
is_path(const struct sql_word *w)
{
	static const char name[] = "search_path";

	if (w->kind == SQL_WORD_NAME)
		return strcmp(w->name, name) == 0;
	if (w->kind != SQL_WORD_STRING || w->inside.n != sizeof(name) - 1)
		return false;
	for (size_t i = 0; i < w->inside.n; i++) {
		if ((w->inside.p[i] | 0x20) != (name[i] | 0x20))
			return false;
	}
	return true;
}

bool
sql_side_moves_path(struct span text)
{
	struct sql_words s;
	struct sql_word w = { .kind = SQL_WORD_SEMICOLON };
	bool is_first = true;
	bool sets = false;

	sql_words_init(&s, text);
	while (w.kind != SQL_WORD_END) {
		is_first = w.kind == SQL_WORD_SEMICOLON;
		sql_words_next(&s, &w);
		if (is_first)
			sets = sql_word_is(&w, " set reset discard ");
		if (is_path(&w) ||
		    (sets &&
		     sql_word_is(&w, " schema role authorization all ")))
			return true;
	}
	return false;
}

/* ---- a transaction's frame -------------------------------------------------------- */

static const struct {
	const char *word;
	enum sql_frame frame;
	const char *tag;
} frames[] = {
	{ "begin", SQL_FRAME_BEGIN, "BEGIN" },
	{ "start", SQL_FRAME_BEGIN, "START TRANSACTION" },
	{ "set", SQL_FRAME_LOCAL, "SET" },
	{ "commit", SQL_FRAME_END, "COMMIT" },
	{ "end", SQL_FRAME_END, "COMMIT" },
	{ "rollback", SQL_FRAME_BACK, "ROLLBACK" },
	{ "abort", SQL_FRAME_BACK, "ROLLBACK" },
};

#define FRAMES (sizeof(frames) / sizeof(frames[0]))

/* The word behind the first one: is it one that may be there? */
static bool
may_follow(enum sql_frame f, const struct sql_word *w, bool is_second)
{
	static const char *const modes =
		" work transaction isolation level serializable repeatable read"
		" committed uncommitted only write not deferrable ";

	switch (f) {
	case SQL_FRAME_BEGIN:
		return w->kind == SQL_WORD_COMMA || sql_word_is(w, modes);
	case SQL_FRAME_LOCAL:
		return !is_second || sql_word_is(w, " local transaction ");
	case SQL_FRAME_END:
	case SQL_FRAME_BACK: return sql_word_is(w, " work transaction ");
	case SQL_FRAME_NONE: break;
	}
	return false;
}

enum sql_frame
sql_frame_of(struct span text, const char **ret_tag)
{
	struct sql_words s;
	struct sql_word w;
	enum sql_frame f = SQL_FRAME_NONE;
	bool ended = false;
	size_t n = 0;

	*ret_tag = NULL;
	sql_words_init(&s, text);
	sql_words_next(&s, &w);
	if (w.kind != SQL_WORD_NAME || w.is_quoted)
		return SQL_FRAME_NONE;
	for (size_t i = 0; i < FRAMES; i++) {
		if (strcmp(w.name, frames[i].word) == 0) {
			f = frames[i].frame;
			*ret_tag = frames[i].tag;
		}
	}
	for (sql_words_next(&s, &w); f != SQL_FRAME_NONE; n++) {
		if (w.kind == SQL_WORD_END)
			break;
		if (ended ? w.kind != SQL_WORD_SEMICOLON
		          : w.kind != SQL_WORD_SEMICOLON &&
		                    !may_follow(f, &w, n == 0))
			f = SQL_FRAME_NONE;
		ended = ended || w.kind == SQL_WORD_SEMICOLON;
		sql_words_next(&s, &w);
	}
	if (f == SQL_FRAME_LOCAL && n == 0)
		f = SQL_FRAME_NONE;
	if (f == SQL_FRAME_NONE)
		*ret_tag = NULL;
	return f;
}
