/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/verify.c: the comparison of two databases as a whole.
 */
#include "control/postgres/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool
pgv_stopped(const struct pgv *v)
{
	return v->conf->stop != NULL && atomic_load(v->conf->stop);
}

int
pgv_old(const struct pgv *v)
{
	return strncmp(v->conf->side[1].label, "old", 3) == 0 ? 1 : 0;
}

void
pgv_print(struct span s, char *ret, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	size_t used = 0;

	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (used + 8 > n) {
			memcpy(ret + used, "...", 3);
			used += 3;
			break;
		}
		if (c >= ' ' && c < 0x7f) {
			ret[used++] = (char)c;
			continue;
		}
		ret[used++] = '\\';
		ret[used++] = 'x';
		ret[used++] = hex[c >> 4];
		ret[used++] = hex[c & 15];
	}
	ret[used] = '\0';
}

void
pgv_find(struct pgv *v, enum verify_kind kind, const char *name,
         const char *detail)
{
	struct verify_result *r = v->ret;
	struct verify_find *f;

	switch (kind) {
	case VERIFY_MISSING: r->missing++; break;
	case VERIFY_EXTRA: r->extra++; break;
	case VERIFY_DIFFERENT: r->different++; break;
	case VERIFY_UNSTABLE: r->unstable++; break;
	case VERIFY_NOTED: r->noted++; break;
	case VERIFY_REPAIRED: r->repaired++; break;
	}
	if (r->finds_n >= VERIFY_LIST_MAX)
		return;
	f = &r->finds[r->finds_n++];
	memset(f, 0, sizeof(*f));
	f->kind = kind;
	f->is_back = v->is_split && v->first != pgv_old(v);
	pgv_print(span_str(name), f->key, sizeof(f->key));
	pgv_print(span_str(detail), f->detail, sizeof(f->detail));
}

/* One database under two names would be equal to itself. */
static int
are_two(struct pgv *v, struct err *err)
{
	static const char sql[] =
		"SELECT concat_ws('/', system_identifier, extract(epoch FROM"
		" pg_postmaster_start_time()), current_database())"
		" FROM pg_control_system()";
	PGresult *res[2] = { NULL, NULL };
	int rc = pgv_ask(&v->side[0], &v->side[0].look, sql, &res[0], err);

	if (rc == 0)
		rc = pgv_ask(&v->side[1], &v->side[1].look, sql, &res[1], err);
	if (rc == 0 &&
	    strcmp(PQgetvalue(res[0], 0, 0), PQgetvalue(res[1], 0, 0)) == 0)
		rc = err_set(err, ERR_STATE,
		             "OLD and NEW are the same database under two "
		             "names; comparing it with itself would prove "
		             "nothing");
	PQclear(res[0]);
	PQclear(res[1]);
	return rc;
}

static int
open_sides(struct pgv *v, struct err *err)
{
	int rc = 0;

	for (int s = 0; rc == 0 && s < 2; s++) {
		struct pgv_side *side = &v->side[s];
		const struct side_conf *c = &v->conf->side[s];
		bool own = c->own_user[0] != '\0';
		struct backend_conf conf = {
			.url = v->conf->url[s],
			.user = own ? c->own_user : NULL,
			.pass = own ? c->own_pass : NULL,
			.name = side->name,
			.label = c->label,
		};

		(void)snprintf(side->name, sizeof(side->name),
		               "godwit:%.60s:verify", own ? c->own_user : "");
		side->conf = c;
		side->stop = v->conf->stop;
		side->scan.conf = conf;
		side->look.conf = conf;
		rc = pgv_open(side, err);
	}
	return rc;
}

static int
cmp_tables(const struct pgv_table *a, const struct pgv_table *b)
{
	int cmp = strcmp(a->schema, b->schema);

	return cmp != 0 ? cmp : strcmp(a->name, b->name);
}

static void
find_table(struct pgv *v, const struct pgv_table *t, enum verify_kind kind,
           const char *detail)
{
	char name[160];

	(void)snprintf(name, sizeof(name), "%.75s.%.75s", t->schema, t->name);
	pgv_find(v, kind, name, detail);
}

static int
compare_table(struct pgv *v, const struct pgv_table *a,
              const struct pgv_table *b, struct err *err)
{
	int rc;

	if (a->is_extension || b->is_extension) {
		find_table(v, a, VERIFY_NOTED,
		           "of an extension: its rows are not compared");
		return 0;
	}
	if (a->is_unlogged || b->is_unlogged) {
		find_table(v, a, VERIFY_NOTED,
		           "unlogged: its rows are not carried");
		return 0;
	}
	pgv_turn(v, a);
	rc = pgv_plan_make(v, a, b, err);
	if (rc == 0)
		rc = pgv_scan(v, err);
	pgv_plan_fini(&v->plan);
	return rc;
}

static int
compare_tables(struct pgv *v, struct err *err)
{
	const struct pgv_tables *a = &v->tables[0];
	const struct pgv_tables *b = &v->tables[1];
	uint32_t i = 0;
	uint32_t j = 0;
	int rc = 0;

	while (rc == 0 && (i < a->n || j < b->n)) {
		int cmp = i == a->n   ? 1
		          : j == b->n ? -1
		                      : cmp_tables(&a->table[i], &b->table[j]);

		if (cmp < 0)
			find_table(v, &a->table[i], VERIFY_MISSING, "a table");
		else if (cmp > 0)
			find_table(v, &b->table[j], VERIFY_EXTRA, "a table");
		else
			rc = compare_table(v, &a->table[i], &b->table[j], err);
		i += cmp <= 0;
		j += cmp >= 0;
	}
	return rc;
}

static int
compare(struct pgv *v, struct err *err)
{
	int rc = open_sides(v, err);

	if (rc == 0)
		rc = are_two(v, err);
	if (rc == 0)
		rc = pgv_mark_find(v, err);
	if (rc == 0 && v->conf->repair && !v->has_marker)
		rc = err_set(err, ERR_STATE,
		             "nothing can be repaired: no migration of "
		             "Godwit's runs between them, through whose "
		             "stream a row could go");
	for (int s = 0; rc == 0 && s < 2; s++)
		rc = pgv_tables_read(&v->side[s], &v->tables[s], err);
	if (rc == 0 && v->is_split)
		rc = pgv_tables_whose(v, err);
	if (rc == 0)
		rc = compare_tables(v, err);
	/* What is no table stays old's. */
	pgv_turn(v, NULL);
	if (rc == 0)
		rc = pgv_objects(v, err);
	return rc == 0 ? pgv_catalog(v, err) : rc;
}

static void
fini(struct pgv *v)
{
	for (int s = 0; s < 2; s++) {
		pgv_tables_fini(&v->tables[s]);
		pgv_close(&v->side[s]);
	}
	for (uint32_t i = 0; v->doubt != NULL && i < PGV_DOUBTS; i++)
		buf_fini(&v->doubt[i].key.text);
	free(v->doubt);
	buf_fini(&v->sql);
	free(v);
}

static struct pgv *new (const struct verify_conf *c, struct verify_result *ret)
{
	struct pgv *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return NULL;
	v->conf = c;
	v->ret = ret;
	os_mem_init(&v->mem, 0);
	buf_init(&v->sql, &v->mem);
	v->nonce = os_entropy() >> 2;
	v->seed[0] = os_entropy();
	v->seed[1] = os_entropy();
	v->doubt = calloc(PGV_DOUBTS, sizeof(*v->doubt));
	for (uint32_t i = 0; v->doubt != NULL && i < PGV_DOUBTS; i++)
		buf_init(&v->doubt[i].key.text, &v->mem);
	return v;
}

int
pg_verify(const struct verify_conf *c, struct verify_result *ret,
          struct err *err)
{
	uint64_t began = os_mono_ns();
	struct pgv *v;
	int rc;

	memset(ret, 0, sizeof(*ret));
	v = new (c, ret);
	ret->finds = calloc(VERIFY_LIST_MAX, sizeof(*ret->finds));
	if (v == NULL || v->doubt == NULL || ret->finds == NULL) {
		if (v != NULL)
			fini(v);
		return err_set(err, ERR_NOMEM, "no memory for a comparison");
	}
	rc = compare(v, err);
	pgv_mark_end(v);
	ret->is_split = v->is_split;
	ret->compared = v->compared;
	ret->equal = v->compared > v->bad ? v->compared - v->bad : 0;
	ret->keys_old = v->rows[pgv_old(v)];
	ret->keys_new = v->rows[1 - pgv_old(v)];
	ret->took_ms = (os_mono_ns() - began) / 1000000;
	fini(v);
	return rc;
}
