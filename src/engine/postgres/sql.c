/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql.c: is a statement a read, for certain?
 */
#include "engine/postgres/sql.h"

#include "engine/postgres/sql_scan.h"

/* What is known of a name. */
enum {
	NAME_GOOD_OLD = 1, /* a function of the server's own, not volatile */
	NAME_GOOD_NEW = 2,
	NAME_BAD = 4,    /* a function or relation that is not for reads */
	NAME_HIDES = 8,  /* a text behind it was not seen to be a read   */
	NAME_DOUBT = 16, /* ... in this round                            */
	NAME_GOOD = NAME_GOOD_OLD | NAME_GOOD_NEW,
};

/* What stands before a bracket without being called. None of these can be the name
 * of a function without quotes, or it makes no difference. */
static const char before_bracket[] =
	" select from where having and or not in exists any some all values as"
	" on using over filter by when then else case union except intersect"
	" distinct limit offset lateral join row array cast coalesce nullif"
	" greatest least extract substring position overlay trim normalize"
	" grouping sets rollup cube interval time timestamp numeric decimal dec"
	" char character varchar nchar varying bit float like ilike between"
	" materialized recursive only group fetch first next both leading"
	" trailing end is return window range rows conflict set ";

/* They say something else on another server, or another time. */
static const char never[] =
	" current_setting version current_database current_catalog system_user"
	" information_schema ctid xmin xmax cmin cmax tableoid oid xid xid8 cid"
	" tid regclass regproc regprocedure regoper regoperator regtype regrole"
	" regnamespace regcollation regconfig regdictionary tablesample"
	" col_description obj_description shobj_description getdatabaseencoding"
	" currtid currtid2 row_security_active ";

/* Their effect may be one on rows, on locks, or a new table. */
static const char writes[] =
	" insert update delete merge into returning truncate create alter drop"
	" call do execute copy lock notify listen set grant revoke vacuum"
	" refresh ";

static bool
has_prefix(const struct sql_token *t, const char *prefix)
{
	size_t n = strlen(prefix);

	return t->name_n >= n && memcmp(t->name, prefix, n) == 0;
}

/* is_hidden: a policy may look at a setting, which goes along with a session. */
static bool
is_never(const struct sql_token *t, bool is_hidden)
{
	if (is_hidden && sql_token_is(t, " current_setting "))
		return false;
	if (has_prefix(t, "pg_"))
		return !sql_token_is(t, " pg_catalog ");
	return sql_token_is(t, never) || has_prefix(t, "godwit_") ||
	       has_prefix(t, "txid_") || has_prefix(t, "inet_") ||
	       has_prefix(t, "to_reg") || has_prefix(t, "lo_") ||
	       span_holds(span_of(t->name, t->name_n), SPAN("_to_xml"));
}

static uint8_t
flags_of(const struct sql_names *n, const struct sql_token *t)
{
	const uint8_t *v = map_get(&n->names, span_of(t->name, t->name_n));

	return v != NULL ? *v : 0;
}

static bool
is_bad_operator(const struct sql_names *n, struct span text)
{
	map_each(e, &n->operators) {
		if (span_holds(text, map_key(&n->operators, e)))
			return true;
	}
	return false;
}

/* The last tokens, and what was learned. */
struct look {
	const struct sql_names *n;
	bool is_hidden;
	bool may_write; /* rows */
	struct sql_token last;
	bool was_as;  /* before last came a word behind which no call is */
	bool last_as; /* ... and last is one                             */
	bool last_for;
	bool ended; /* a semicolon came */
	/* INSERT INTO a.b ( is no call: 1 before a name, 2 behind it. */
	int into;
};

static bool
may_name(struct look *l, const struct sql_token *t)
{
	bool was_for = l->last_for;
	bool is_into = !t->is_quoted && sql_token_is(t, " into ");

	l->into = is_into ? 1 : l->into == 1 ? 2 : 0;

	l->was_as = l->last_as;
	l->last_as = !t->is_quoted && sql_token_is(t, " as with recursive ");
	l->last_for = !t->is_quoted && sql_token_is(t, " for ");
	if ((flags_of(l->n, t) & (NAME_BAD | NAME_HIDES)) != 0 ||
	    is_never(t, l->is_hidden))
		return false;
	if (t->is_quoted)
		return true;
	if (was_for && sql_token_is(t, " update share no key "))
		return false;
	return l->may_write || !sql_token_is(t, writes);
}

/* The name before a bracket: is it no call, or a good one? */
static bool
may_call(const struct look *l)
{
	const struct sql_token *t = &l->last;

	if (t->kind != SQL_NAME || l->was_as || l->into == 2)
		return true;
	if (!t->is_quoted && sql_token_is(t, before_bracket))
		return true;
	return (flags_of(l->n, t) & NAME_GOOD) == NAME_GOOD;
}

static bool
may(struct look *l, const struct sql_token *t)
{
	if (l->ended)
		return false;
	switch (t->kind) {
	case SQL_NAME: return may_name(l, t);
	case SQL_OPEN:
		if (!may_call(l))
			return false;
		break;
	case SQL_OPERATOR:
		if (is_bad_operator(l->n, t->text))
			return false;
		break;
	case SQL_SEMICOLON: l->ended = true; break;
	case SQL_VALUE:
	case SQL_OTHER: break;
	case SQL_UNSURE:
	case SQL_END: return false;
	}
	l->into = l->into == 2 && span_eq(t->text, SPAN(".")) ? 1 : 0;
	l->was_as = false;
	l->last_as = false;
	l->last_for = false;
	return true;
}

static enum sql_class
class_of_first(const struct sql_token *t)
{
	if (t->kind == SQL_OPEN)
		return SQL_READ;
	if (t->kind != SQL_NAME || t->is_quoted)
		return SQL_WRITE;
	if (sql_token_is(t, " select values table with "))
		return SQL_READ;
	if (sql_token_is(t, " insert update delete begin start commit end "
	                    "rollback abort savepoint release "))
		return SQL_MILD;
	return SQL_WRITE;
}

static enum sql_class
judge(const struct sql_names *n, struct span text, bool is_hidden)
{
	struct look l = { .n = n, .is_hidden = is_hidden };
	struct sql_scan s;
	struct sql_token t;
	enum sql_class ret;

	if (text.n > SQL_TEXT_MAX || !sql_scan_init(&s, text))
		return SQL_WRITE;
	sql_scan_next(&s, &t);
	ret = class_of_first(&t);
	if (ret == SQL_WRITE || (ret == SQL_MILD && n->has_code))
		return SQL_WRITE;
	l.may_write = ret == SQL_MILD;
	while (t.kind != SQL_END) {
		if (!may(&l, &t))
			return SQL_WRITE;
		l.last = t;
		sql_scan_next(&s, &t);
	}
	return ret;
}

enum sql_class
sql_judge(const struct sql_names *n, struct span text)
{
	if (!n->is_done || n->is_opaque)
		return SQL_WRITE;
	return judge(n, text, false);
}

/* Behind these words stand definitions that the text does not show: a table's, whose
 * expressions are worked out again, a prepared statement's. */
static const char borrows[] = " like of inherits partition execute ";

static bool
is_shown(const struct sql_names *n, const struct sql_token *t)
{
	switch (t->kind) {
	case SQL_NAME:
		return (flags_of(n, t) & (NAME_BAD | NAME_HIDES)) == 0 &&
		       (t->is_quoted || !sql_token_is(t, borrows));
	case SQL_OPERATOR: return !is_bad_operator(n, t->text);
	case SQL_UNSURE: return false;
	case SQL_VALUE:
	case SQL_OPEN:
	case SQL_SEMICOLON:
	case SQL_OTHER:
	case SQL_END: break;
	}
	return true;
}

bool
sql_runs_nothing(const struct sql_names *n, struct span text)
{
	struct sql_scan s;
	struct sql_token t;

	if (!n->is_done || n->has_triggers)
		return false;
	if (!n->has_code)
		return true;
	if (text.n > SQL_TEXT_MAX || !sql_scan_init(&s, text))
		return false;
	sql_scan_next(&s, &t);
	/* What goes is looked at by nobody. */
	if (t.kind == SQL_NAME && sql_token_is(&t, " drop "))
		return true;
	if (n->is_opaque)
		return false;
	while (t.kind != SQL_END) {
		if (!is_shown(n, &t))
			return false;
		sql_scan_next(&s, &t);
	}
	return true;
}

/* ---- the catalogs ------------------------------------------------------------ */

/* Functions of the server's own that are not volatile; and those of extensions that
 * are written in C and say so, where a query does not name them. */
#define TRUSTED                                                             \
	"(p.provolatile <> 'v' AND (p.oid < 16384 OR (EXISTS (SELECT FROM"  \
	" pg_language l WHERE l.oid = p.prolang AND l.lanname IN ('c',"     \
	" 'internal')) AND EXISTS (SELECT FROM pg_depend d WHERE d.classid" \
	" = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'))))"

const char sql_names_question[] =
	"WITH RECURSIVE untrusted AS MATERIALIZED (SELECT p.oid FROM pg_proc p"
	" WHERE NOT " TRUSTED "), away(oid) AS ("
	"SELECT c.oid FROM pg_class c JOIN pg_namespace s ON s.oid ="
	" c.relnamespace WHERE c.relkind IN ('r', 'p', 'S', 'f', 'm', 'v')"
	" AND s.nspname NOT IN ('pg_catalog', 'pg_toast') AND s.nspname NOT"
	" LIKE 'godwit\\_%' AND (c.relkind IN"
	" ('S', 'f', 'm') OR c.relpersistence <> 'p' OR s.nspname ="
	" 'information_schema' OR (c.relkind <>"
	" 'v' AND EXISTS (SELECT FROM pg_depend d WHERE d.classid ="
	" 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')))"
	" UNION SELECT i.inhparent FROM pg_inherits i JOIN away ON"
	" i.inhrelid = away.oid)"
	" SELECT DISTINCT 'g', proname::text, '' FROM pg_proc WHERE oid <"
	" 16384 AND pronamespace = 'pg_catalog'::regnamespace AND provolatile"
	" <> 'v' AND prokind <> 'p'"
	" UNION ALL SELECT DISTINCT 'b', proname::text, '' FROM pg_proc WHERE"
	" NOT (oid < 16384 AND pronamespace = 'pg_catalog'::regnamespace AND"
	" provolatile <> 'v' AND prokind <> 'p') AND pronamespace NOT IN"
	" (SELECT oid FROM pg_namespace WHERE nspname LIKE 'godwit\\_%')"
	" UNION ALL SELECT DISTINCT 'b', c.relname::text, '' FROM away JOIN"
	" pg_class c USING (oid)"
	" UNION ALL SELECT DISTINCT 'o', oprname::text, '' FROM pg_operator"
	" WHERE oid >= 16384 AND oprcode IN (SELECT oid FROM untrusted)"
	" UNION ALL SELECT 'x', '', '' WHERE EXISTS (SELECT FROM pg_cast"
	" WHERE castfunc IN (SELECT oid FROM untrusted)) OR EXISTS (SELECT"
	" FROM pg_amproc WHERE oid >= 16384 AND amproc IN (SELECT oid FROM"
	" untrusted)) OR EXISTS (SELECT FROM pg_type t JOIN untrusted u ON"
	" u.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend,"
	" t.typmodin, t.typmodout) WHERE t.oid >= 16384) OR EXISTS (SELECT"
	" FROM pg_range r JOIN untrusted u ON u.oid IN (r.rngcanonical,"
	" r.rngsubdiff))"
	" UNION ALL SELECT 'c', '', '' WHERE EXISTS (SELECT FROM pg_proc p"
	" JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace s ON s.oid"
	" = p.pronamespace WHERE p.oid >= 16384 AND l.lanname NOT IN ('c',"
	" 'internal') AND s.nspname NOT LIKE 'godwit\\_%')"
	" UNION ALL SELECT 'e', '', '' WHERE EXISTS (SELECT FROM"
	" pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN"
	" pg_language l ON l.oid = p.prolang JOIN pg_namespace s ON s.oid ="
	" p.pronamespace WHERE e.evtenabled <> 'D' AND e.evtevent <> 'login'"
	" AND l.lanname NOT IN ('c', 'internal') AND s.nspname NOT LIKE"
	" 'godwit\\_%')"
	" UNION ALL SELECT 'v', c.relname::text, pg_get_viewdef(c.oid) FROM"
	" pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE"
	" c.relkind = 'v' AND s.nspname NOT IN ('pg_catalog',"
	" 'information_schema')"
	" UNION ALL SELECT 'v', c.relname::text, 'SELECT ' ||"
	" pg_get_expr(p.polqual, p.polrelid) FROM pg_policy p JOIN pg_class c"
	" ON c.oid = p.polrelid WHERE c.relrowsecurity AND p.polqual IS NOT"
	" NULL"
	" UNION ALL SELECT 'd', t.typname::text, 'SELECT ' ||"
	" pg_get_expr(k.conbin, 0) FROM pg_constraint k JOIN pg_type t ON"
	" t.oid = k.contypid WHERE k.oid >= 16384 AND k.conbin IS NOT NULL";

void
sql_names_init(struct sql_names *n, struct mem *mem, uint64_t seed)
{
	*n = (struct sql_names){ .is_done = false };
	map_init(&n->names, mem, 1, seed);
	map_init(&n->operators, mem, 0, seed);
	buf_init(&n->hidden, mem);
}

void
sql_names_fini(struct sql_names *n)
{
	map_fini(&n->names);
	map_fini(&n->operators);
	buf_fini(&n->hidden);
	n->is_done = false;
}

static void
flag(struct sql_names *n, struct span name, uint8_t flags)
{
	struct map_entry *e = map_put(&n->names, name, NULL);
	uint8_t *v;

	if (e == NULL) {
		n->is_opaque = true;
		return;
	}
	v = map_value(e);
	*v = (uint8_t)(*v | flags);
}

/* In n->hidden: kind, length of name and of text (4 bytes each), both. */
#define HEAD 9

static void
hide(struct sql_names *n, const struct span row[3])
{
	uint32_t head[2] = { (uint32_t)row[1].n, (uint32_t)row[2].n };

	if (buf_len(&n->hidden) + row[1].n + row[2].n > SQL_HIDDEN_MAX ||
	    row[2].n == 0) {
		n->is_opaque = true;
		return;
	}
	buf_put(&n->hidden, row[0].p, 1);
	buf_put(&n->hidden, head, sizeof(head));
	buf_put_span(&n->hidden, row[1]);
	buf_put_span(&n->hidden, row[2]);
	if (row[0].p[0] == 'v')
		flag(n, row[1], NAME_HIDES);
}

/* An operator that is there without being written (IN, BETWEEN, ORDER BY, LIKE). */
static bool
is_implied(struct span name)
{
	static const char *const all[] = { "=",   "<>",   "<",  ">",
		                           "<=",  ">=",   "~~", "!~~",
		                           "~~*", "!~~*", "~",  "!~" };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (span_eq(name, span_str(all[i])))
			return true;
	}
	return false;
}

void
sql_names_add(struct sql_names *n, enum side s, const struct span row[3])
{
	n->is_done = false;
	switch (row[0].n == 1 ? row[0].p[0] : 0) {
	case 'g':
		flag(n, row[1], s == SIDE_OLD ? NAME_GOOD_OLD : NAME_GOOD_NEW);
		break;
	case 'b': flag(n, row[1], NAME_BAD); break;
	case 'o':
		if (is_implied(row[1]) ||
		    map_put(&n->operators, row[1], NULL) == NULL)
			n->is_opaque = true;
		break;
	case 'c': n->has_code = true; break;
	case 'e': n->has_triggers = true; break;
	case 'v':
	case 'd': hide(n, row); break;
	default: n->is_opaque = true; break;
	}
}

/* The next one of n->hidden. */
static bool
next_hidden(struct span *rest, struct span row[3])
{
	uint32_t head[2];

	if (rest->n < HEAD)
		return false;
	row[0] = span_of(rest->p, 1);
	memcpy(head, rest->p + 1, sizeof(head));
	*rest = span_skip(*rest, HEAD);
	row[1] = span_of(rest->p, head[0]);
	*rest = span_skip(*rest, head[0]);
	row[2] = span_of(rest->p, head[1]);
	*rest = span_skip(*rest, head[1]);
	return true;
}

/* One round: what is behind a name, is all of it a read by what is known? Was
 * something learned? */
static bool
look_behind(struct sql_names *n)
{
	struct span rest = buf_span(&n->hidden);
	struct span row[3];
	bool learned = false;

	while (next_hidden(&rest, row)) {
		uint8_t *v = map_get(&n->names, row[1]);

		if (row[0].p[0] == 'v' && (*v & NAME_HIDES) != 0 &&
		    judge(n, row[2], true) != SQL_READ)
			*v |= NAME_DOUBT;
	}
	map_each(e, &n->names) {
		uint8_t *v = map_value(e);

		if ((*v & NAME_HIDES) != 0 && (*v & NAME_DOUBT) == 0) {
			*v = (uint8_t)(*v & ~NAME_HIDES);
			learned = true;
		}
		*v = (uint8_t)(*v & ~NAME_DOUBT);
	}
	return learned;
}

void
sql_names_done(struct sql_names *n)
{
	struct span rest;
	struct span row[3];

	n->is_opaque = n->is_opaque || buf_failed(&n->hidden);
	/* Each round frees a name; views on views are as deep as there are. */
	while (!n->is_opaque && look_behind(n)) {
	}
	rest = buf_span(&n->hidden);
	while (!n->is_opaque && next_hidden(&rest, row)) {
		/* A value becomes one of a domain without its name. */
		n->is_opaque = row[0].p[0] == 'd' &&
		               judge(n, row[2], true) != SQL_READ;
	}
	buf_release(&n->hidden);
	n->is_done = true;
}
