/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/verify_mend.c: rows that differ are made the authority's.
 *
 * Nothing is written to the other side from here. In one transaction of the authority
 * the table is locked against writers, its rows are read, and words that make these
 * rows on the other side are put into Godwit's table mend; the mover says them at
 * that place of the stream. Who wrote before had committed before, who writes next
 * comes behind: so nothing newer is ever overwritten.
 *
 * The lock is waited for MEND_LOCK only, because writers queue behind it; then again
 * later. What new refuses (its own constraints) is kept there by the function, and
 * such rows are tried once more, each alone.
 */
#define _DEFAULT_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "control/postgres/verify.h"

#define MEND_LOCK    "200ms"
#define MEND_TRIES   15        /* for the lock */
#define MEND_WAIT_NS 100000000 /* between them */

/* A vacuum gives way as soon as somebody is known to wait for it. */
static const char begin[] =
	"SET LOCAL lock_timeout = '" MEND_LOCK "'; SELECT set_config("
	"'deadlock_timeout', '50ms', true) FROM pg_roles WHERE rolsuper AND"
	" rolname = current_user; LOCK TABLE ONLY ";

/* The columns that a row has on the other side: without those it makes itself. */
static int
read_generated(struct pgv *v, PGresult **ret, struct err *err)
{
	struct pgv_side *s = &v->side[1 - v->rules];
	const struct pgv_table *t = v->plan.table[1 - v->rules];
	struct buf name;
	int rc;

	buf_init(&name, &v->mem);
	pgv_put_name(&name, t->schema, t->name);
	buf_clear(&v->sql);
	buf_put_str(&v->sql, "SELECT attname FROM pg_attribute WHERE"
	                     " attgenerated <> '' AND attrelid = ");
	pgv_put_literal(&v->sql, buf_span(&name));
	buf_put(&v->sql, "::regclass", sizeof("::regclass"));
	rc = buf_failed(&v->sql) || buf_failed(&name)
	             ? err_set(err, ERR_NOMEM, "no memory for a repair")
	             : pgv_ask(s, &s->look, (const char *)buf_span(&v->sql).p,
	                       ret, err);
	buf_fini(&name);
	return rc;
}

static bool
is_among(const PGresult *res, const char *name)
{
	for (int i = 0; i < PQntuples(res); i++)
		if (strcmp(PQgetvalue(res, i, 0), name) == 0)
			return true;
	return false;
}

/* Words for the other side: these rows go. */
static void
put_delete(struct pgv *v, uint32_t from, uint32_t to, struct buf *ret)
{
	const struct pgv_table *t = v->plan.table[1 - v->rules];

	buf_put_str(ret, "DELETE FROM ONLY ");
	pgv_put_name(ret, t->schema, t->name);
	buf_put_str(ret, " WHERE ctid = ANY (ARRAY(SELECT t.ctid");
	buf_clear(&v->sql);
	pgv_put_doubts(v, 1 - v->rules, from, to);
	buf_put_span(ret, buf_span(&v->sql));
	buf_put_str(ret, "))");
}

/* ... and those that the authority has come: "; INSERT .. VALUES ". */
static void
put_insert(const struct pgv *v, const PGresult *generated, struct buf *ret)
{
	const struct pgv_plan *p = &v->plan;
	const struct pgv_table *t = p->table[1 - v->rules];
	bool is_first = true;

	buf_put_str(ret, "; INSERT INTO ");
	pgv_put_name(ret, t->schema, t->name);
	buf_put_str(ret, " (");
	for (uint32_t i = 0; i < p->n; i++) {
		if (is_among(generated, p->name[i]))
			continue;
		if (!is_first)
			buf_put(ret, ",", 1);
		is_first = false;
		pgv_put_quoted(ret, p->name[i]);
	}
	buf_put_str(ret, ") OVERRIDING SYSTEM VALUE VALUES ");
}

/* Of the authority: a row as such words write it. */
static void
put_row(const struct pgv *v, const PGresult *generated, struct buf *ret)
{
	const struct pgv_plan *p = &v->plan;
	bool is_first = true;

	buf_put_str(ret, "'('");
	for (uint32_t i = 0; i < p->n; i++) {
		if (is_among(generated, p->name[i]))
			continue;
		buf_put_str(ret, is_first ? " || format('%L', t."
		                          : " || format(',%L', t.");
		is_first = false;
		pgv_put_quoted(ret, p->name[i]);
		buf_put(ret, ")", 1);
	}
	buf_put_str(ret, " || ')'");
}

/* The whole request, into v->sql. */
static int
put_request(struct pgv *v, uint32_t from, uint32_t to,
            const PGresult *generated, struct err *err)
{
	const struct pgv_table *t = v->plan.table[v->rules];
	struct buf gone;
	struct buf head;
	struct buf all;

	buf_init(&gone, &v->mem);
	buf_init(&head, &v->mem);
	buf_init(&all, &v->mem);
	put_delete(v, from, to, &gone);
	put_insert(v, generated, &head);
	buf_put_str(&all, begin);
	pgv_put_name(&all, t->schema, t->name);
	buf_putf(&all,
	         " IN SHARE MODE; INSERT INTO \"%s\".mend SELECT %" PRIu64
	         ", %" PRIu64 ", ",
	         v->schema, pgv_mark_run(v, v->rules), ++v->mend_n);
	pgv_put_literal(&all, buf_span(&gone));
	buf_put_str(&all, " || coalesce(");
	pgv_put_literal(&all, buf_span(&head));
	buf_put_str(&all, " || string_agg(");
	put_row(v, generated, &all);
	buf_put_str(&all, ", ','), '')");
	buf_clear(&v->sql);
	pgv_put_doubts(v, v->rules, from, to);
	buf_put_span(&all, buf_span(&v->sql));
	buf_clear(&v->sql);
	buf_put_span(&v->sql, buf_span(&all));
	buf_put(&v->sql, "", 1);
	if (buf_failed(&gone) || buf_failed(&head) || buf_failed(&all))
		v->sql.failed = true;
	buf_fini(&gone);
	buf_fini(&head);
	buf_fini(&all);
	return buf_failed(&v->sql)
	               ? err_set(err, ERR_NOMEM, "no memory for a repair")
	               : 0;
}

/* Those of doubt[from..to) that want it. */
static int
mend(struct pgv *v, uint32_t from, uint32_t to, const PGresult *generated,
     struct err *err)
{
	struct pgv_side *s = &v->side[v->rules];
	struct timespec t = { .tv_nsec = MEND_WAIT_NS };
	int rc = put_request(v, from, to, generated, err);

	if (rc != 0)
		return rc;
	for (uint32_t i = 0; i < MEND_TRIES && !pgv_stopped(v); i++) {
		v->mend_why[0] = '\0';
		rc = pgv_run(s, &s->look, (const char *)buf_span(&v->sql).p,
		             err);
		if (rc != -ERR_REFUSED)
			break;
		(void)snprintf(v->mend_why, sizeof(v->mend_why), "%.99s",
		               err->text);
		(void)nanosleep(&t, NULL);
	}
	/* The row stays different, and the reason is told then. */
	return rc == -ERR_REFUSED ? 0 : rc;
}

static int
forget_why(struct pgv *v, int side, struct err *err)
{
	struct pgv_side *s = &v->side[1 - side];
	char sql[120];

	(void)snprintf(sql, sizeof(sql), "DELETE FROM \"%s\".unmended",
	               v->schema);
	return pgv_run(s, &s->look, sql, err);
}

int
pgv_mend(struct pgv *v, struct err *err)
{
	PGresult *generated = NULL;
	int rc = forget_why(v, v->rules, err);
	bool many = false;

	if (rc == 0)
		rc = read_generated(v, &generated, err);
	if (rc == 0 && v->plan.n <= (uint32_t)PQntuples(generated)) {
		(void)snprintf(v->mend_why, sizeof(v->mend_why),
		               "it has no columns to write");
		PQclear(generated);
		return 0;
	}
	v->mends = true;
	for (uint32_t i = 0; rc == 0 && i < v->doubt_n; i++) {
		struct pgv_doubt *d = &v->doubt[i];

		many = many || (d->wants_mend && d->mends == 1);
		if (!d->wants_mend || d->mends == 1)
			continue;
		/* The lock was not to be had for all of them together. */
		if (v->mend_why[0] == '\0')
			rc = mend(v, i, i + 1, generated, err);
		d->wants_mend = false;
	}
	if (rc == 0 && many)
		rc = mend(v, 0, v->doubt_n, generated, err);
	for (uint32_t i = 0; i < v->doubt_n; i++)
		v->doubt[i].wants_mend = false;
	v->mends = false;
	PQclear(generated);
	return rc;
}

void
pgv_mend_why(struct pgv *v, char *ret, size_t n)
{
	struct pgv_side *s = &v->side[1 - v->rules];
	struct err ignored; /* the row is said to differ in any case */
	PGresult *res;
	char sql[160];

	(void)snprintf(ret, n, "%s", v->mend_why);
	(void)snprintf(sql, sizeof(sql),
	               "SELECT why FROM \"%s\".unmended ORDER BY at DESC "
	               "LIMIT 1",
	               v->schema);
	if (v->mend_why[0] != '\0' ||
	    pgv_ask(s, &s->look, sql, &res, &ignored) != 0)
		return;
	if (PQntuples(res) == 1)
		(void)snprintf(ret, n, "%.99s", PQgetvalue(res, 0, 0));
	PQclear(res);
}

void
pgv_mend_end(struct pgv *v, int side)
{
	struct pgv_side *s = &v->side[side];
	struct err ignored; /* all of the table goes with the migration */
	char sql[160];

	if (v->mend_n == 0)
		return;
	(void)snprintf(sql, sizeof(sql),
	               "DELETE FROM \"%s\".mend WHERE run = %" PRIu64,
	               v->schema, pgv_mark_run(v, side));
	if (pgv_run(s, &s->look, sql, &ignored) != 0 ||
	    forget_why(v, side, &ignored) != 0)
		return;
}
