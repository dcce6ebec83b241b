/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/order.c: what a statement says of the order of its rows.
 */
#include "engine/postgres/answer.h"
#include "engine/postgres/sql_scan.h"

/* The tokens, with how deep they are in brackets. */
struct walk {
	struct sql_scan scan;
	struct sql_token t;
	uint32_t depth;
};

static void
step(struct walk *w)
{
	sql_scan_next(&w->scan, &w->t);
	if (w->t.kind == SQL_OPEN)
		w->depth++;
	else if (w->t.kind == SQL_OTHER && span_eq(w->t.text, SPAN(")")) &&
	         w->depth > 0)
		w->depth--;
}

static bool
is_word(const struct walk *w, const char *word)
{
	return w->t.kind == SQL_NAME && !w->t.is_quoted &&
	       strcmp(w->t.name, word) == 0;
}

static bool
is_end(const struct walk *w)
{
	return w->t.kind == SQL_END || w->t.kind == SQL_UNSURE;
}

static bool
is_cut(const struct walk *w)
{
	return is_word(w, "limit") || is_word(w, "offset") ||
	       is_word(w, "fetch");
}

/* What they answer depends on the order in which rows come to them. */
static bool
minds_order(const struct walk *w)
{
	static const char *const names[] = {
		"array_agg",     "string_agg",      "json_agg",
		"jsonb_agg",     "json_object_agg", "jsonb_object_agg",
		"xmlagg",        "row_number",      "first_value",
		"last_value",    "nth_value",       "lag",
		"lead",          "ntile",           "json_arrayagg",
		"json_objectagg"
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (is_word(w, names[i]))
			return true;
	}
	return false;
}

static bool
is_comma(const struct walk *w)
{
	return w->t.kind == SQL_OTHER && span_eq(w->t.text, SPAN(","));
}

/* The number of a column; 0: it is none. */
static uint32_t
column_of(struct span text)
{
	uint32_t n = 0;

	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9' || n > 10000)
			return 0;
		n = n * 10 + (uint32_t)(text.p[i] - '0');
	}
	return n;
}

/* One key, behind which w stands then. False: it is more than a column. */
static bool
take_key(struct walk *w, struct pg_order_key *k)
{
	*k = (struct pg_order_key){ .column = 0 };
	if (w->t.kind == SQL_VALUE) {
		k->column = column_of(w->t.text);
		step(w);
		if (k->column == 0)
			return false;
	} else {
		/* Of t.a the last name counts. */
		for (;;) {
			if (w->t.kind != SQL_NAME)
				return false;
			k->is_quoted = w->t.is_quoted;
			k->name = w->t.is_quoted ? span_of(w->t.text.p + 1,
			                                   w->t.name_n)
			                         : w->t.text;
			step(w);
			if (w->t.kind != SQL_OTHER ||
			    !span_eq(w->t.text, SPAN(".")))
				break;
			step(w);
		}
	}
	if (is_word(w, "asc") || is_word(w, "desc"))
		step(w);
	if (is_word(w, "nulls")) {
		step(w);
		step(w);
	}
	return true;
}

/* Behind ORDER BY. */
static void
take_keys(struct walk *w, struct pg_order *o)
{
	o->n = 0;
	o->kind = PG_ORDER_ROWS;
	do {
		step(w);
		if (o->n == PG_ORDER_KEY_MAX || !take_key(w, &o->key[o->n]))
			return;
		o->n++;
	} while (is_comma(w));
	if (is_end(w) || is_cut(w) || is_word(w, "for") ||
	    w->t.kind == SQL_SEMICOLON)
		o->kind = PG_ORDER_TIES;
}

struct pg_order
pg_order_of(struct span text)
{
	struct pg_order o = { .kind = PG_ORDER_NONE };
	struct walk w = { .depth = 0 };
	bool any_order = false;
	bool was_distinct = false;
	bool minds = false;

	if (!sql_scan_init(&w.scan, text))
		return o;
	step(&w);
	while (!is_end(&w)) {
		if (is_word(&w, "order")) {
			any_order = true;
			if (w.depth == 0) {
				step(&w); /* BY */
				take_keys(&w, &o);
				continue;
			}
		}
		if (is_cut(&w) && w.depth == 0)
			o.is_cut = true;
		/* DISTINCT ON: the first row of each group. */
		minds = minds || is_cut(&w) || minds_order(&w) ||
		        (was_distinct && is_word(&w, "on"));
		was_distinct = is_word(&w, "distinct");
		step(&w);
	}
	if (minds && !any_order)
		o.kind = PG_ORDER_OPEN;
	return o;
}
