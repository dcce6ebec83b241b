/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_table.c: which tables does a text name?
 *
 * One pass over its words with a stack of brackets. In each bracket: is a table expected
 * now, and does a comma expect the next one?
 */
#include "engine/postgres/sql_table.h"

#include "engine/postgres/sql_word.h"

/* ---- what is known so far -------------------------------------------------------- */

enum expects {
	EXPECTS_NONE,
	EXPECTS_FROM,   /* a table, a call, or a bracket */
	EXPECTS_TARGET, /* a table                       */
};

enum with {
	WITH_NONE,
	WITH_NAME,  /* its name comes                    */
	WITH_NAMED, /* columns, or AS                    */
	WITH_AS,    /* the bracket with its text         */
	WITH_BODY,  /* ... is open                       */
	WITH_DONE,  /* perhaps a comma, and another one  */
};

/* One bracket; the first one is the statement. */
struct level {
	uint8_t expects;
	uint8_t list; /* what a comma expects */
	uint8_t with;
	uint8_t with_at;
	bool joined;   /* USING comes with columns        */
	bool not_from; /* FROM is a word of a function's  */
	bool strings;  /* they may be names               */
};

/* A name that WITH makes. */
struct with_name {
	uint8_t depth;
	bool is_seen;
	size_t n;
	char name[SQL_WORD_MAX + 1];
};

#define RING 4 /* words: three of before, and the next one */

/* Code that stands in what is looked at. */
struct codes {
	struct span text[SQL_TABLE_CODES];
	size_t n;
};

struct look {
	const struct sql_scope *s;
	struct span path; /* p NULL: not known */
	sql_table_f *found;
	void *self;
	struct codes *codes;
	struct sql_words words;
	struct sql_word ring[RING];
	uint32_t at; /* of the word in hand */
	size_t depth;
	size_t with_n;
	bool starts;       /* a statement */
	bool is_code;      /* of a function, with words of its language */
	bool is_dynamic;   /* ... which makes up statements             */
	bool is_catalog;   /* ... that is about the schema */
	bool has_code;     /* strings of it are code       */
	bool is_recursive; /* WITH RECURSIVE               */
	struct level level[SQL_TABLE_DEPTH];
	struct with_name with[SQL_TABLE_WITH];
};

static const struct sql_word *
word(const struct look *l, int ahead)
{
	return &l->ring[(l->at + RING + (uint32_t)ahead) % RING];
}

static void
step(struct look *l)
{
	l->at++;
	sql_words_next(&l->words, &l->ring[(l->at + 1) % RING]);
}

static struct level *
top(struct look *l)
{
	return &l->level[l->depth < SQL_TABLE_DEPTH ? l->depth
	                                            : SQL_TABLE_DEPTH - 1];
}

/* ---- what it names --------------------------------------------------------------- */

static void
add(struct look *l, const struct sql_touch *t)
{
	l->found(l->self, t);
}

/* What a server has for all of its clients. */
static void
add_shared(struct look *l, const char *what)
{
	struct sql_touch t = { .table = span_str(what), .is_shared = true };

	add(l, &t);
}

/* All that the relation or function of that name in one schema stands for. False: there is
 * none. */
static bool
add_all(struct look *l, struct span name, struct span in)
{
	struct sql_touch t;
	uint32_t at = 0;
	bool any = false;

	while (sql_scope_next(l->s, name, &at, &t)) {
		if (!span_eq(t.in, in))
			continue;
		add(l, &t);
		any = true;
	}
	return any;
}

/* The first schema of the path that has it; functions may have brothers behind it. */
static void
add_by_path(struct look *l, struct span name)
{
	struct span path = l->path;
	bool is_function = name.p[name.n - 1] == '(';

	while (path.n > 0) {
		size_t n = 0;
		struct span in;

		while (n < path.n && path.p[n] != '\0')
			n++;
		in = span_of(path.p, n);
		path = span_skip(path, n < path.n ? n + 1 : n);
		if (add_all(l, name, in) && !is_function)
			return;
	}
}

/* Those of all schemas; that another one may be meant is said of each. */
static void
add_anywhere(struct look *l, struct span name)
{
	struct sql_touch t;
	struct sql_touch first;
	uint32_t at = 0;
	bool differs = false;

	if (!sql_scope_next(l->s, name, &at, &first))
		return;
	while (sql_scope_next(l->s, name, &at, &t))
		differs = differs || !span_eq(t.in, first.in);
	for (at = 0; sql_scope_next(l->s, name, &at, &t);) {
		t.is_doubtful = differs;
		add(l, &t);
	}
}

static void
find(struct look *l, struct span name, struct span schema)
{
	if (name.n == 0)
		return;
	if (schema.n > 0)
		add_all(l, name, schema);
	else if (l->path.p != NULL)
		add_by_path(l, name);
	else
		add_anywhere(l, name);
}

/* What one server has for all, by the name of a function. */
static void
find_shared(struct look *l, const struct sql_word *w)
{
	struct span name = span_of(w->name, w->n);

	if (span_has_prefix(name, SPAN("pg_advisory")) ||
	    span_has_prefix(name, SPAN("pg_try_advisory")))
		add_shared(l, "advisory locks");
	else if (span_eq(name, SPAN("pg_notify")))
		add_shared(l, "LISTEN and NOTIFY");
	else if (span_has_prefix(name, SPAN("lo_")) ||
	         span_eq(name, SPAN("loread")) ||
	         span_eq(name, SPAN("lowrite")))
		add_shared(l, "large objects");
}

static void
find_call(struct look *l, const struct sql_word *w, struct span schema)
{
	char name[SQL_WORD_MAX + 2];

	memcpy(name, w->name, w->n);
	name[w->n] = '(';
	find(l, span_of(name, w->n + 1), schema);
	find_shared(l, w);
}

/* In a string: every name, alone or behind "schema.". */
static void
find_words(struct look *l, struct span text)
{
	struct sql_words s;
	struct sql_word w = { .n = 0 };
	struct sql_word before = { .n = 0 };
	bool is_behind_dot = false;

	sql_words_init(&s, text);
	for (sql_words_next(&s, &w); w.kind != SQL_WORD_END;
	     sql_words_next(&s, &w)) {
		if (w.kind == SQL_WORD_NAME) {
			find(l, span_of(w.name, w.n),
			     is_behind_dot ? span_of(before.name, before.n)
			                   : span_of("", 0));
			before = w;
			is_behind_dot = false;
		} else {
			is_behind_dot = w.kind == SQL_WORD_DOT && before.n > 0;
		}
	}
}

/* Statements of a language that has others in it: behind this text. When there are too many
 * of them their words are looked at, and not what is in quotes there. */
static void
find_code(struct look *l, struct span text)
{
	struct codes *c = l->codes;

	if (c->n < SQL_TABLE_CODES)
		c->text[c->n++] = text;
	else
		find_words(l, text);
}

/* ---- where it stands ------------------------------------------------------------- */

static bool
is_made_by_with(const struct look *l, const struct sql_word *w)
{
	for (size_t i = 0; i < l->with_n; i++) {
		const struct with_name *x = &l->with[i];

		if (x->is_seen && x->n == w->n &&
		    memcmp(x->name, w->name, w->n) == 0)
			return true;
	}
	return false;
}

static void
name_with(struct look *l, struct level *v)
{
	const struct sql_word *w = word(l, 0);
	struct with_name *x = &l->with[l->with_n];

	v->with = WITH_NAMED;
	v->with_at = UINT8_MAX;
	if (l->with_n == SQL_TABLE_WITH)
		return;
	v->with_at = (uint8_t)l->with_n++;
	x->depth = (uint8_t)l->depth;
	x->is_seen = l->is_recursive;
	x->n = w->n;
	memcpy(x->name, w->name, w->n);
}

/* True: the word is WITH's. */
static bool
on_with(struct look *l, struct level *v)
{
	switch ((enum with)v->with) {
	case WITH_NAME:
		if (sql_word_is(word(l, 0), " recursive ") &&
		    word(l, 1)->kind == SQL_WORD_NAME)
			l->is_recursive = true;
		else
			name_with(l, v);
		return true;
	case WITH_NAMED:
		if (sql_word_is(word(l, 0), " as ")) {
			v->with = WITH_AS;
			return true;
		}
		/* It was another WITH. */
		if (v->with_at != UINT8_MAX)
			l->with_n = v->with_at;
		break;
	case WITH_AS:
		if (sql_word_is(word(l, 0), " not materialized "))
			return true;
		break;
	case WITH_NONE:
	case WITH_BODY:
	case WITH_DONE: break;
	}
	v->with = WITH_NONE;
	return false;
}

static void
expect(struct level *v, enum expects what, enum expects list)
{
	v->expects = (uint8_t)what;
	v->list = (uint8_t)list;
}

/* The first word of a statement. True: there is no more to it. */
static bool
on_start(struct look *l, struct level *v)
{
	const struct sql_word *w = word(l, 0);

	l->is_catalog = sql_word_is(w, " create alter drop comment grant revoke"
	                               " reindex cluster security reassign"
	                               " import vacuum analyze analyse ");
	l->has_code = sql_word_is(w, " do ");
	if (sql_word_is(w, " truncate lock "))
		expect(v, EXPECTS_TARGET, EXPECTS_TARGET);
	else if (sql_word_is(w, " copy "))
		expect(v, EXPECTS_TARGET, EXPECTS_NONE);
	else if (sql_word_is(w, " listen unlisten notify "))
		add_shared(l, "LISTEN and NOTIFY");
	return v->expects != EXPECTS_NONE;
}

/* IS [NOT] DISTINCT FROM */
static bool
compares(const struct look *l)
{
	return sql_word_is(word(l, -1), " distinct ") &&
	       sql_word_is(word(l, -2), " is not ");
}

/* UPDATE as part of something else. */
static bool
is_no_update(const struct look *l)
{
	return sql_word_is(word(l, -1), " for key on do then before after of or"
	                                " instead grant ");
}

/* What may stand between the word that expects a table and its name. */
static bool
is_between(const struct look *l, const struct level *v)
{
	const struct sql_word *w = word(l, 0);

	if (v->expects == EXPECTS_NONE)
		return false;
	if (sql_word_is(w, " only lateral table "))
		return true;
	if (sql_word_is(w, " rows "))
		return sql_word_is(word(l, 1), " from ");
	return v->expects == EXPECTS_TARGET &&
	       word(l, 1)->kind == SQL_WORD_NAME &&
	       sql_word_is(w, " temp temporary unlogged local global ");
}

static bool
is_join(const struct sql_word *w, struct level *v)
{
	if (sql_word_is(w, " join ")) {
		v->expects = EXPECTS_FROM;
		v->list = EXPECTS_FROM;
		v->joined = true;
	} else if (sql_word_is(w, " using ")) {
		if (!v->joined)
			expect(v, EXPECTS_FROM, EXPECTS_FROM);
		v->joined = false;
	} else {
		return false;
	}
	return true;
}

/* What is changed comes. */
static bool
is_target(struct look *l, struct level *v)
{
	const struct sql_word *w = word(l, 0);

	if (sql_word_is(w, " into ")) {
		/* Of code: into a variable. */
		expect(v,
		       !l->is_code || sql_word_is(word(l, -1), " insert merge ")
		               ? EXPECTS_TARGET
		               : EXPECTS_NONE,
		       EXPECTS_NONE);
	} else if (sql_word_is(w, " update ")) {
		expect(v, is_no_update(l) ? EXPECTS_NONE : EXPECTS_TARGET,
		       EXPECTS_NONE);
	} else if (sql_word_is(w, " table ")) {
		if (!l->is_catalog)
			v->expects = EXPECTS_TARGET;
	} else {
		return false;
	}
	return true;
}

/* A word of the grammar's, which says what comes. */
static bool
is_word(struct look *l, struct level *v)
{
	const struct sql_word *w = word(l, 0);

	if (is_between(l, v) || is_join(w, v) || is_target(l, v))
		return true;
	if (sql_word_is(w, " from ")) {
		if (sql_word_is(word(l, -1), " delete "))
			expect(v, EXPECTS_TARGET, EXPECTS_NONE);
		else if (!v->not_from && !compares(l))
			expect(v, EXPECTS_FROM, EXPECTS_FROM);
	} else if (sql_word_is(w, " with ")) {
		if (word(l, 1)->kind == SQL_WORD_NAME &&
		    !sql_word_is(word(l, 1), " ordinality ties time hold check"
		                             " data no cascaded local ")) {
			v->with = WITH_NAME;
			v->expects = EXPECTS_NONE;
			l->is_recursive = false;
		}
	} else if (sql_word_is(w, " on ")) {
		v->joined = false;
		v->expects = EXPECTS_NONE;
	} else if (sql_word_is(w, " select values where group having order"
	                          " limit offset fetch for window union"
	                          " intersect except set returning when do"
	                          " tablesample default ")) {
		v->joined = false;
		expect(v, EXPECTS_NONE,
		       sql_word_is(w, " tablesample ") ? (enum expects)v->list
		                                       : EXPECTS_NONE);
	} else {
		return false;
	}
	return true;
}

/* Functions whose FROM is a word of theirs; whose strings are names or statements. */
static void
on_call(const struct sql_word *w, struct level *inside)
{
	struct span name = span_of(w->name, w->n);

	inside->not_from = sql_word_is(w, " extract substring trim overlay"
	                                  " position ");
	inside->strings =
		sql_word_is(w, " nextval currval setval to_regclass"
	                       " pg_get_serial_sequence query_to_xml"
	                       " query_to_xml_and_xmlschema table_to_xml"
	                       " table_to_xml_and_xmlschema"
	                       " cursor_to_xml ts_stat ") ||
		span_has_prefix(name, SPAN("dblink")) ||
		span_has_prefix(name, SPAN("crosstab"));
}

/* A name, with what stands before its dots. */
static void
on_name(struct look *l, struct level *v)
{
	struct sql_word schema = { .n = 0 };
	enum expects expects = (enum expects)v->expects;
	const struct sql_word *w;

	while (word(l, 1)->kind == SQL_WORD_DOT) {
		schema = *word(l, 0);
		step(l);
		if (word(l, 1)->kind != SQL_WORD_NAME) {
			v->expects = EXPECTS_NONE;
			return; /* t.* */
		}
		step(l);
	}
	w = word(l, 0);
	v->expects = EXPECTS_NONE;
	if (word(l, 1)->kind == SQL_WORD_OPEN && expects != EXPECTS_TARGET) {
		find_call(l, w, span_of(schema.name, schema.n));
	} else if (expects != EXPECTS_NONE) {
		if (schema.n > 0 || expects == EXPECTS_TARGET ||
		    !is_made_by_with(l, w))
			find(l, span_of(w->name, w->n),
			     span_of(schema.name, schema.n));
	}
}

static void
on_open(struct look *l, struct level *v)
{
	struct level inside = { .expects = EXPECTS_NONE };
	const struct sql_word *before = word(l, -1);

	if (v->with == WITH_AS) {
		v->with = WITH_BODY;
	} else if (v->expects != EXPECTS_NONE) {
		/* A statement, or tables that are joined. */
		expect(&inside, EXPECTS_FROM, EXPECTS_FROM);
		v->expects = EXPECTS_NONE;
	} else if (before->kind == SQL_WORD_NAME) {
		on_call(before, &inside);
	}
	if (v->joined && sql_word_is(before, " using "))
		v->joined = false;
	inside.strings = inside.strings || v->strings;
	l->depth++;
	if (l->depth < SQL_TABLE_DEPTH)
		*top(l) = inside;
}

static void
on_close(struct look *l)
{
	struct level *v;

	if (l->depth == 0)
		return;
	l->depth--;
	while (l->with_n > 0 && l->with[l->with_n - 1].depth > l->depth)
		l->with_n--;
	v = top(l);
	if (l->depth >= SQL_TABLE_DEPTH - 1 || v->with != WITH_BODY)
		return;
	v->with = WITH_DONE;
	if (v->with_at < l->with_n)
		l->with[v->with_at].is_seen = true;
}

static void
on_string(struct look *l, struct level *v)
{
	v->expects = EXPECTS_NONE;
	if (l->has_code)
		find_code(l, word(l, 0)->inside);
	else if (v->strings || l->is_dynamic)
		find_words(l, word(l, 0)->inside);
}

static void
begin(struct look *l)
{
	l->depth = 0;
	l->with_n = 0;
	l->starts = true;
	l->is_catalog = false;
	l->has_code = false;
	l->level[0] = (struct level){ .expects = EXPECTS_NONE };
}

static void
on_word(struct look *l)
{
	struct level *v = top(l);
	bool starts = l->starts;

	l->starts = false;
	switch (word(l, 0)->kind) {
	case SQL_WORD_NAME:
		if (on_with(l, v))
			return;
		if (starts && on_start(l, v))
			return;
		if (word(l, 1)->kind == SQL_WORD_DOT || !is_word(l, v))
			on_name(l, v);
		break;
	case SQL_WORD_OPEN:
		l->starts = starts;
		on_open(l, v);
		break;
	case SQL_WORD_CLOSE: on_close(l); break;
	case SQL_WORD_COMMA:
		if (v->with == WITH_DONE)
			v->with = WITH_NAME;
		else
			v->expects = v->list;
		break;
	case SQL_WORD_SEMICOLON: begin(l); break;
	case SQL_WORD_STRING: on_string(l, v); break;
	case SQL_WORD_CAST:
	case SQL_WORD_DOT:
	case SQL_WORD_OTHER: v->expects = EXPECTS_NONE; break;
	case SQL_WORD_END: break;
	}
}

static void
scan(struct look *l, struct span text)
{
	sql_words_init(&l->words, text);
	memset(l->ring, 0, sizeof(l->ring));
	l->at = 0;
	l->is_recursive = false;
	begin(l);
	step(l);
	for (step(l); word(l, 0)->kind != SQL_WORD_END; step(l))
		on_word(l);
}

static void
scan_code(struct look *l, struct span text)
{
	struct sql_words s;
	struct sql_word w;

	l->is_code = true;
	l->is_dynamic = false;
	sql_words_init(&s, text);
	for (sql_words_next(&s, &w); w.kind != SQL_WORD_END;
	     sql_words_next(&s, &w))
		l->is_dynamic = l->is_dynamic || sql_word_is(&w, " execute ");
	scan(l, text);
}

void
sql_table_find(const struct sql_scope *s, const struct sql_table_in *in,
               sql_table_f *found, void *self)
{
	struct look l;
	struct codes codes;

	memset(&l, 0, offsetof(struct look, level));
	codes.n = 0;
	l.s = s;
	l.path = in->path;
	l.found = found;
	l.self = self;
	l.codes = &codes;
	if (in->is_code)
		find_code(&l, in->text);
	else
		scan(&l, in->text);
	/* What they have inside is put behind them. */
	for (size_t i = 0; i < codes.n; i++)
		scan_code(&l, codes.text[i]);
}
