/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/verify_scan.c: all rows of a table, merged in the order of their
 * keys.
 *
 * Each side is one COPY in a snapshot of its own, so that what changed meanwhile
 * differs and comes into doubt. Rows of one key are a group: how many, and the sum
 * of their digests, which does not depend on their order.
 * Source: https://www.postgresql.org/docs/15/sql-copy.html, "Text Format".
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "control/postgres/verify.h"

struct group {
	struct pgv_key key;
	struct pgv_seen seen;
	size_t longest;
	bool is_over;
};

struct reader {
	struct pgv_side *side;
	char *line; /* the next row; NULL: there is none */
	size_t n;
	struct pgv_key key; /* of it */
	uint64_t rows;
};

struct span
pgv_key_field(const struct pgv_key *k, uint32_t i)
{
	uint32_t at = i > 0 ? k->end[i - 1] : 0;

	if (k->end[i] == at)
		return SPAN("");
	return span_of(buf_span(&k->text).p + at, k->end[i] - at);
}

static int64_t
number_of(struct span s)
{
	char text[24] = "";

	memcpy(text, s.p, s.n < sizeof(text) - 1 ? s.n : sizeof(text) - 1);
	return strtoll(text, NULL, 10);
}

static int
cmp_bytes(struct span a, struct span b)
{
	int cmp = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);

	return cmp != 0 ? cmp : (a.n > b.n) - (a.n < b.n);
}

static int
cmp_keys(const struct pgv_plan *p, const struct pgv_key *a,
         const struct pgv_key *b)
{
	for (uint32_t i = 0; i < p->keys; i++) {
		struct span x = pgv_key_field(a, i);
		struct span y = pgv_key_field(b, i);
		int cmp = cmp_bytes(x, y);

		if (cmp == 0)
			continue;
		if (p->order[i] == 'n')
			return number_of(x) < number_of(y) ? -1 : 1;
		return cmp;
	}
	return 0;
}

/* What stands behind a backslash. */
static uint8_t
plain(char c)
{
	switch (c) {
	case 'b': return '\b';
	case 'f': return '\f';
	case 'n': return '\n';
	case 'r': return '\r';
	case 't': return '\t';
	case 'v': return '\v';
	default: return (uint8_t)c;
	}
}

/* The first columns of the line. */
static bool
take_key(struct reader *r, uint32_t keys)
{
	struct buf *b = &r->key.text;
	size_t at = 0;

	buf_clear(b);
	for (uint32_t i = 0; i < keys; i++) {
		for (; at < r->n && r->line[at] != '\t'; at++) {
			uint8_t c = (uint8_t)r->line[at];

			if (c == '\\' && at + 1 < r->n)
				c = plain(r->line[++at]);
			buf_put(b, &c, 1);
		}
		at++;
		r->key.end[i] = (uint32_t)buf_len(b);
	}
	return !buf_failed(b);
}

static int
next_line(struct pgv *v, struct reader *r, struct err *err)
{
	int n;
	int rc;

	PQfreemem(r->line);
	r->line = NULL;
	rc = pgv_line(r->side, &r->line, &n, err);
	if (rc != 0 || n < 0) {
		r->line = NULL;
		return rc;
	}
	r->n = (size_t)n;
	if (r->n > 0 && r->line[r->n - 1] == '\n')
		r->n--;
	r->rows++;
	return take_key(r, v->plan.keys)
	               ? 0
	               : err_set(err, ERR_NOMEM, "no memory for a row");
}

static bool
copy_key(struct pgv_key *to, const struct pgv_key *from)
{
	buf_clear(&to->text);
	buf_put_span(&to->text, buf_span(&from->text));
	memcpy(to->end, from->end, sizeof(to->end));
	return !buf_failed(&to->text);
}

/* The rows of the next key. */
static int
next_group(struct pgv *v, struct reader *r, struct group *g, struct err *err)
{
	int cmp = 0;
	int rc = 0;

	g->is_over = r->line == NULL;
	if (g->is_over)
		return 0;
	if (!copy_key(&g->key, &r->key))
		return err_set(err, ERR_NOMEM, "no memory for a key");
	g->seen = (struct pgv_seen){ .n = 0 };
	g->longest = 0;
	while (rc == 0 && r->line != NULL && cmp == 0) {
		struct span line = span_of(r->line, r->n);

		g->seen.n++;
		g->seen.sum[0] += hash_bytes(line, v->seed[0]);
		g->seen.sum[1] += hash_bytes(line, v->seed[1]);
		g->longest = line.n > g->longest ? line.n : g->longest;
		rc = next_line(v, r, err);
		if (rc == 0 && r->line != NULL)
			cmp = cmp_keys(&v->plan, &g->key, &r->key);
	}
	if (rc == 0 && r->line != NULL && cmp > 0)
		rc = err_set(err, ERR_PROTO,
		             "%s: %s does not come in the order of its keys",
		             r->side->conf->label, v->plan.label);
	return rc;
}

static bool
is_equal(const struct group *a, const struct group *b)
{
	return a->seen.n == b->seen.n && a->seen.sum[0] == b->seen.sum[0] &&
	       a->seen.sum[1] == b->seen.sum[1];
}

/* A pass over both. */
static int
merge(struct pgv *v, struct reader r[2], struct group g[2], struct err *err)
{
	int rc = 0;

	for (int s = 0; rc == 0 && s < 2; s++)
		rc = next_group(v, &r[s], &g[s], err);
	while (rc == 0 && !(g[0].is_over && g[1].is_over)) {
		int cmp = g[0].is_over ? 1
		          : g[1].is_over
		                  ? -1
		                  : cmp_keys(&v->plan, &g[0].key, &g[1].key);
		const struct group *first = &g[cmp > 0];

		if (cmp != 0 || !is_equal(&g[0], &g[1]))
			rc = pgv_doubt_add(v, &first->key,
			                   g[0].longest + g[1].longest, err);
		if (rc == 0 && cmp <= 0)
			rc = next_group(v, &r[0], &g[0], err);
		if (rc == 0 && cmp >= 0)
			rc = next_group(v, &r[1], &g[1], err);
		if (v->conf->progress != NULL)
			atomic_store(v->conf->progress, v->rows[0] + r[0].rows);
	}
	return rc;
}

static int
begin(struct pgv *v, int side, struct err *err)
{
	struct pgv_side *s = &v->side[side];
	PGresult *res;
	int rc =
		pgv_run(s, &s->scan,
	                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err);

	if (rc == 0)
		rc = pgv_put_scan(v, side, err);
	if (rc != 0)
		return rc;
	rc = pgv_ask(s, &s->scan, (const char *)buf_span(&v->sql).p, &res, err);
	PQclear(res);
	return rc;
}

/* No row was seen: is there none in this snapshot? */
static int
end(struct pgv *v, int side, uint64_t rows, struct err *err)
{
	struct pgv_side *s = &v->side[side];
	const struct pgv_table *t = v->plan.table[side];
	bool has_one = false;
	PGresult *res;
	int rc = 0;

	if (rows == 0) {
		buf_clear(&v->sql);
		buf_put_str(&v->sql, "SELECT 1 FROM ONLY ");
		pgv_put_name(&v->sql, t->schema, t->name);
		buf_put(&v->sql, " LIMIT 1", sizeof(" LIMIT 1"));
		if (buf_failed(&v->sql))
			return err_set(err, ERR_NOMEM, "out of memory");
		rc = pgv_ask(s, &s->scan, (const char *)buf_span(&v->sql).p,
		             &res, err);
		has_one = rc == 0 && PQntuples(res) > 0;
		PQclear(res);
	}
	if (has_one)
		rc = err_set(err, ERR_DIVERGED,
		             "%s: %s has rows, but none was seen: nothing is "
		             "proven",
		             s->conf->label, v->plan.label);
	return rc == 0 ? pgv_run(s, &s->scan, "COMMIT", err) : rc;
}

int
pgv_scan(struct pgv *v, struct err *err)
{
	struct reader r[2] = { { .side = &v->side[0] },
		               { .side = &v->side[1] } };
	struct group g[2] = { { .longest = 0 }, { .longest = 0 } };
	int rc = 0;

	for (int s = 0; s < 2; s++) {
		buf_init(&r[s].key.text, &v->mem);
		buf_init(&g[s].key.text, &v->mem);
	}
	for (int s = 0; rc == 0 && s < 2; s++)
		rc = begin(v, s, err);
	for (int s = 0; rc == 0 && s < 2; s++)
		rc = next_line(v, &r[s], err);
	if (rc == 0)
		rc = merge(v, r, g, err);
	for (int s = 0; rc == 0 && s < 2; s++)
		rc = end(v, s, r[s].rows, err);
	for (int s = 0; s < 2; s++) {
		v->rows[s] += r[s].rows;
		PQfreemem(r[s].line);
		buf_fini(&r[s].key.text);
		buf_fini(&g[s].key.text);
	}
	v->compared += r[v->first].rows;
	return rc == 0 ? pgv_doubt_settle(v, err) : rc;
}
