/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/pg_table.h: a server with four small tables, which reads what the mover
 * says of rows: one by one, or in sets. The last one had rows of its own.
 *
 * Statements are told by their shape; every key is looked up, a second row of one key
 * ends the program, and each answer says how many rows were met.
 */
#pragma once

#include <stdio.h>

#include "base/check.h"
#include "engine/postgres/mover/state.h"
#include "wire/pg_front.h"

#define PT_COLUMNS   4
#define PT_ROWS      64
#define PT_VALUE_MAX 12
#define PT_TABLES    4
#define PT_MIXED     3  /* the table that both had rows of */
#define PT_SAID_MAX  64 /* statements, and parameters of one */
#define PT_TEXT_MAX  900

/* n: 0 is a value, PT_NULL is none; PT_GAP: TOASTed and not in the log. */
#define PT_NULL (-1)
#define PT_GAP  (-2)

struct pt_value {
	int n;
	char text[PT_VALUE_MAX];
};

struct pt_row {
	bool is;
	struct pt_value v[PT_COLUMNS];
};

struct pt_shape {
	const char *name;
	uint8_t n;
	uint8_t keys; /* a bit for each column; 0: a bag */
	uint8_t toast;
};

static const struct pt_shape pt_shapes[PT_TABLES] = {
	{ "one", 3, 1, 4 },
	{ "two", 4, 10, 4 },
	{ "bag", 3, 0, 4 },
	{ "mix", 3, 1, 4 },
};

struct pt_table {
	struct pt_row row[PT_ROWS];
};

struct pt_server {
	struct pt_table table[PT_TABLES];
	struct pt_table kept[PT_TABLES]; /* as the last COMMIT left them */
	struct {
		char name[8];
		char text[PT_TEXT_MAX];
	} said[PT_SAID_MAX];
	uint32_t said_n;
	const char *bound; /* the statement that was bound */
	struct pt_value value[PT_SAID_MAX];
	uint32_t value_n;
	struct span array[PT_SAID_MAX]; /* of a set: elements */
	uint32_t array_n;               /* how many in each    */
	bool is_set;
	uint32_t sets; /* statements that were sets */
	uint32_t rows; /* ... one row each          */
	uint32_t commits;
};

/* ---- rows ------------------------------------------------------------------- */

static inline bool
pt_same_value(const struct pt_value *a, const struct pt_value *b)
{
	return a->n == b->n &&
	       (a->n <= 0 || memcmp(a->text, b->text, (size_t)a->n) == 0);
}

/* By the columns of mask. */
static inline bool
pt_same(const struct pt_row *a, const struct pt_row *b, uint8_t mask)
{
	for (int i = 0; i < PT_COLUMNS; i++) {
		if ((mask >> i & 1) != 0 && !pt_same_value(&a->v[i], &b->v[i]))
			return false;
	}
	return true;
}

static inline uint8_t
pt_all(const struct pt_shape *s)
{
	return (uint8_t)((1u << s->n) - 1);
}

static inline struct pt_row *
pt_find(struct pt_table *t, const struct pt_row *r, uint8_t mask)
{
	for (int i = 0; i < PT_ROWS; i++) {
		if (t->row[i].is && pt_same(&t->row[i], r, mask))
			return &t->row[i];
	}
	return NULL;
}

static inline uint32_t
pt_count(const struct pt_table *t, const struct pt_row *r, uint8_t mask)
{
	uint32_t n = 0;

	for (int i = 0; i < PT_ROWS; i++)
		n += t->row[i].is && pt_same(&t->row[i], r, mask);
	return n;
}

static inline void
pt_put(struct pt_table *t, const struct pt_shape *s, const struct pt_row *r)
{
	REQUIRE(s->keys == 0 || pt_find(t, r, s->keys) == NULL);
	for (int i = 0; i < PT_ROWS; i++) {
		if (!t->row[i].is) {
			t->row[i] = *r;
			t->row[i].is = true;
			return;
		}
	}
	NEVER("a table of these tests is full");
}

/* Its row goes, where there is one of its key. */
static inline void
pt_drop(struct pt_table *t, const struct pt_shape *s, const struct pt_row *r)
{
	struct pt_row *is = pt_find(t, r, s->keys);

	if (is != NULL)
		is->is = false;
}

/* INSERT, as it is said. */
static inline void
pt_insert(struct pt_table *t, const struct pt_shape *s, const char *text,
          const struct pt_row *r)
{
	if (strstr(text, " ON CONFLICT (\"c0\") DO UPDATE SET ") != NULL)
		pt_drop(t, s, r);
	pt_put(t, s, r);
}

/* The same rows, so many times each. */
static inline bool
pt_equal(const struct pt_table *a, const struct pt_table *b)
{
	uint32_t n[2] = { 0, 0 };

	for (int i = 0; i < PT_ROWS; i++) {
		n[0] += a->row[i].is;
		n[1] += b->row[i].is;
		if (a->row[i].is &&
		    pt_count(a, &a->row[i], 15) != pt_count(b, &a->row[i], 15))
			return false;
	}
	return n[0] == n[1];
}

/* ---- what was said ------------------------------------------------------------ */

static inline bool
pt_has(const char *text, const char *word)
{
	return strstr(text, word) != NULL;
}

static inline int
pt_table_of(const char *text)
{
	char name[16];

	for (int i = 0; i < PT_TABLES; i++) {
		size_t n = strlen(pt_shapes[i].name);

		memcpy(name, "\"s\".\"", 5);
		memcpy(name + 5, pt_shapes[i].name, n);
		memcpy(name + 5 + n, "\"", 2);
		if (pt_has(text, name))
			return i;
	}
	NEVER("a statement about no table");
}

/* Columns are called "c0", "c1", ..; the next one at or behind *at that is followed by
 * what. -1: none before end. */
static inline int
pt_column(const char **at, const char *end, const char *what)
{
	for (const char *p = *at; p < end && *p != '\0'; p++) {
		if (p[0] == '"' && p[1] == 'c' && p[3] == '"' &&
		    strncmp(p + 4, what, strlen(what)) == 0) {
			*at = p + 4;
			return p[2] - '0';
		}
	}
	return -1;
}

/* Row i of the arrays, for these columns. */
static inline struct pt_row
pt_element(const struct pt_server *sv, uint8_t mask, uint32_t i)
{
	struct pt_row ret = { .is = true };
	uint32_t k = 0;

	for (int c = 0; c < PT_COLUMNS; c++) {
		struct pg_take t;

		if ((mask >> c & 1) == 0)
			continue;
		t = pg_take_from(sv->array[k++]);
		for (uint32_t e = 0; e <= i; e++) {
			int32_t n = pg_take_i32(&t);

			ret.v[c].n = n;
			if (n <= 0)
				continue;
			REQUIRE(n <= PT_VALUE_MAX);
			memcpy(ret.v[c].text, pg_take_bytes(&t, (size_t)n).p,
			       (size_t)n);
		}
		REQUIRE(!t.bad);
	}
	return ret;
}

static inline uint32_t
pt_times(const struct pt_server *sv, uint32_t column, uint32_t i)
{
	struct pg_take t = pg_take_from(sv->array[column]);
	uint32_t v = 0;

	for (uint32_t e = 0; e <= i; e++) {
		REQUIRE(pg_take_u32(&t) == 4);
		v = pg_take_u32(&t);
	}
	return v;
}

static inline uint32_t
pt_do_set(struct pt_server *sv, const char *text)
{
	int at = pt_table_of(text);
	const struct pt_shape *s = &pt_shapes[at];
	struct pt_table *t = &sv->table[at];
	bool deletes = strncmp(text, "DELETE", 6) == 0;
	uint8_t mask = deletes && s->keys != 0 ? s->keys : pt_all(s);
	uint32_t met = 0;

	/* No row that a set inserts is in the way of another one. */
	for (uint32_t i = 0; i < sv->array_n; i++) {
		struct pt_row r = pt_element(sv, mask, i);
		uint32_t times =
			deletes && s->keys == 0 ? pt_times(sv, s->n, i) : 1;

		if (strncmp(text, "INSERT", 6) == 0) {
			pt_insert(t, s, text, &r);
			met++;
			continue;
		}
		for (; times > 0; times--) {
			struct pt_row *is =
				pt_find(t, &r, s->keys != 0 ? s->keys : mask);

			if (is == NULL)
				continue;
			met++;
			if (deletes)
				is->is = false;
			else
				*is = r;
		}
	}
	sv->sets++;
	return met;
}

static inline uint32_t
pt_do_row(struct pt_server *sv, const char *text)
{
	int at = pt_table_of(text);
	const struct pt_shape *s = &pt_shapes[at];
	struct pt_table *t = &sv->table[at];
	const char *where = strstr(text, " WHERE ");
	const char *p = text;
	struct pt_row r = { .is = true };
	struct pt_row *is;
	uint8_t mask = 0;
	uint32_t k = 0;
	int set[PT_COLUMNS];
	uint32_t set_n = 0;
	int c;

	sv->rows++;
	if (strncmp(text, "INSERT", 6) == 0) {
		for (; k < sv->value_n; k++)
			r.v[k] = sv->value[k];
		pt_insert(t, s, text, &r);
		return 1;
	}
	REQUIRE(where != NULL);
	while (text[0] == 'U' && (c = pt_column(&p, where, " = $")) >= 0)
		set[set_n++] = c;
	k = set_n;
	p = where;
	while ((c = pt_column(&p, p + PT_TEXT_MAX,
	                      s->keys != 0 ? " = $" : " IS DISTINCT")) >= 0) {
		mask = (uint8_t)(mask | 1u << c);
		r.v[c] = sv->value[k++];
	}
	REQUIRE(k == sv->value_n);
	is = pt_find(t, &r, mask);
	if (is == NULL)
		return 0;
	for (uint32_t i = 0; i < set_n; i++)
		is->v[set[i]] = sv->value[i];
	is->is = text[0] == 'U';
	REQUIRE(s->keys == 0 || !is->is || pt_count(t, is, s->keys) == 1);
	return 1;
}

static inline uint32_t
pt_do(struct pt_server *sv)
{
	const char *text = sv->bound;

	REQUIRE(text != NULL);
	if (strcmp(text, "COMMIT") == 0) {
		memcpy(sv->kept, sv->table, sizeof(sv->kept));
		sv->commits++;
	}
	if (strncmp(text, "TRUNCATE", 8) == 0)
		memset(&sv->table[pt_table_of(text)], 0, sizeof(sv->table[0]));
	if (strncmp(text, "INSERT", 6) != 0 &&
	    strncmp(text, "UPDATE", 6) != 0 && strncmp(text, "DELETE", 6) != 0)
		return 0;
	return sv->is_set ? pt_do_set(sv, text) : pt_do_row(sv, text);
}

/* ---- messages ------------------------------------------------------------------- */

static inline struct span
pt_word(struct span *rest)
{
	size_t n = 0;
	struct span ret;

	while (n < rest->n && rest->p[n] != 0)
		n++;
	REQUIRE(n < rest->n);
	ret = span_of(rest->p, n);
	*rest = span_skip(*rest, n + 1);
	return ret;
}

static inline void
pt_parse(struct pt_server *sv, struct span body)
{
	struct span name = pt_word(&body);
	struct span text = pt_word(&body);

	REQUIRE(sv->said_n < PT_SAID_MAX && name.n < 8 && text.n < PT_TEXT_MAX);
	memset(&sv->said[sv->said_n], 0, sizeof(sv->said[0]));
	memcpy(sv->said[sv->said_n].name, name.p, name.n);
	memcpy(sv->said[sv->said_n].text, text.p, text.n);
	sv->said_n++;
}

static inline void
pt_take_array(struct pt_server *sv, uint32_t i, struct span bytes)
{
	struct pg_take t = pg_take_from(bytes);

	REQUIRE(pg_take_u32(&t) == 1);
	(void)pg_take_u32(&t);
	(void)pg_take_u32(&t);
	sv->array_n = pg_take_u32(&t);
	REQUIRE(pg_take_u32(&t) == 1 && !t.bad);
	sv->array[i] = t.rest;
	for (uint32_t e = 0; e < sv->array_n; e++) {
		int32_t n = pg_take_i32(&t);

		if (n > 0)
			(void)pg_take_bytes(&t, (size_t)n);
	}
	REQUIRE(pg_took_all(&t));
}

static inline void
pt_bind(struct pt_server *sv, struct span body)
{
	struct span portal = pt_word(&body);
	struct span name = pt_word(&body);
	struct pg_take t = pg_take_from(body);
	uint16_t formats = pg_take_u16(&t);

	REQUIRE(portal.n == 0 && formats <= 1);
	sv->bound = NULL;
	for (uint32_t i = 0; i < sv->said_n; i++) {
		if (span_eq(span_str(sv->said[i].name), name))
			sv->bound = sv->said[i].text;
	}
	sv->is_set = formats == 1 && pg_take_u16(&t) == 1;
	sv->value_n = pg_take_u16(&t);
	REQUIRE(sv->bound != NULL && sv->value_n < PT_SAID_MAX);
	for (uint32_t i = 0; i < sv->value_n; i++) {
		struct pt_value *v = &sv->value[i];
		int32_t n = pg_take_i32(&t);
		struct span bytes =
			n > 0 ? pg_take_bytes(&t, (size_t)n) : span_of(NULL, 0);

		*v = (struct pt_value){ .n = n };
		if (sv->is_set)
			pt_take_array(sv, i, bytes);
		else if (n > 0 && n <= PT_VALUE_MAX)
			memcpy(v->text, bytes.p, bytes.n);
	}
	REQUIRE(pg_take_u16(&t) == 0 && pg_took_all(&t));
}

/* One message from the front of in; 0: there is none. *ret_tag: what is answered, ""
 * where nothing is. */
static inline size_t
pt_serve(struct pt_server *sv, struct span in, char ret_tag[32])
{
	struct span body;
	size_t n;

	ret_tag[0] = '\0';
	if (in.n < 5)
		return 0;
	n = 1 + pg_get_u32(in.p + 1);
	REQUIRE(n <= in.n);
	body = span_of(in.p + 5, n - 5);
	switch (in.p[0]) {
	case 'P': pt_parse(sv, body); break;
	case 'B': pt_bind(sv, body); break;
	case 'E':
		(void)snprintf(ret_tag, 32, "%s %u",
		               sv->bound[0] == 'I' ? "INSERT 0" : "UPDATE",
		               pt_do(sv));
		break;
	case 'H': break;
	default: NEVER("a message that nobody expects");
	}
	return n;
}
