/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/verify_object.c: large objects, compared by their bytes, owner,
 * rights and comment.
 *
 * No stream carries them, so there is no marker behind which one must be equal: one
 * that differs is read again until it is equal, until the authority's has stood still
 * for WINDOWS times recheck_ms and still differs, or until it never stood still.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/limit.h"
#include "control/postgres/verify.h"

#define WINDOWS 3         /* rounds of copies may be seconds apart */
#define WAIT_NS 300000000 /* between two looks                     */

/* %s: of which. */
static const char ask[] =
	"SELECT m.oid, md5(coalesce(c.x, '')), md5(concat_ws(';',"
	" pg_get_userbyid(lomowner), coalesce((SELECT string_agg(DISTINCT"
	" concat_ws(' ', pg_get_userbyid(grantee), privilege_type,"
	" is_grantable), ',') FROM aclexplode(lomacl)), lomacl::text),"
	" obj_description(m.oid, 'pg_largeobject')))"
	" FROM pg_largeobject_metadata m LEFT JOIN (SELECT loid, string_agg("
	"pageno || md5(data), ',' ORDER BY pageno) AS x FROM pg_largeobject"
	" WHERE %s GROUP BY loid) c ON c.loid = m.oid WHERE %s ORDER BY m.oid";

struct object {
	unsigned long oid;
	char was[68]; /* the authority's digests at the last look; "": none */
	uint64_t since_ns;
	bool is_done;
};

struct objects {
	struct object *o;
	int n;
	int open;
	uint64_t began_ns;
};

static unsigned long
oid_of(const PGresult *res, int i)
{
	return i < PQntuples(res) ? strtoul(PQgetvalue(res, i, 0), NULL, 10)
	                          : (unsigned long)UINT32_MAX + 1;
}

/* Both digests; "": it is not there. */
static void
digests(const PGresult *res, int i, unsigned long oid, char ret[68])
{
	ret[0] = '\0';
	if (oid_of(res, i) == oid)
		(void)snprintf(ret, 68, "%.32s %.32s", PQgetvalue(res, i, 1),
		               PQgetvalue(res, i, 2));
}

/* All, or those that are open. */
static int
read_side(struct pgv *v, int side, const struct objects *these, PGresult **ret,
          struct err *err)
{
	struct pgv_side *s = &v->side[side];
	struct buf of[2];
	int rc;

	for (int k = 0; k < 2; k++) {
		const char *sep = "";

		buf_init(&of[k], &v->mem);
		buf_put_str(&of[k], these == NULL ? "true"
		                    : k == 0      ? "loid = ANY ('{"
		                                  : "m.oid = ANY ('{");
		for (int i = 0; these != NULL && i < these->n; i++) {
			if (these->o[i].is_done)
				continue;
			buf_putf(&of[k], "%s%lu", sep, these->o[i].oid);
			sep = ",";
		}
		buf_put_str(&of[k], these != NULL ? "}'::oid[])" : "");
	}
	buf_clear(&v->sql);
	for (const char *p = ask, *k; p != NULL; p = k != NULL ? k + 2 : NULL) {
		k = strstr(p, "%s");
		buf_put(&v->sql, p, k != NULL ? (size_t)(k - p) : strlen(p));
		if (k != NULL)
			buf_put_span(&v->sql, buf_span(&of[p == ask ? 0 : 1]));
	}
	buf_put(&v->sql, "", 1);
	rc = buf_failed(&v->sql)
	             ? err_set(err, ERR_NOMEM, "no memory for a comparison")
	             : pgv_ask(s, &s->look, (const char *)buf_span(&v->sql).p,
	                       ret, err);
	buf_fini(&of[0]);
	buf_fini(&of[1]);
	return rc;
}

static void
report(struct pgv *v, struct object *o, const char *y, bool is_unstable)
{
	const char *x = o->was;
	bool swap = v->rules != v->first;
	enum verify_kind kind = is_unstable    ? VERIFY_UNSTABLE
	                        : y[0] == '\0' ? VERIFY_MISSING
	                        : x[0] == '\0' ? VERIFY_EXTRA
	                                       : VERIFY_DIFFERENT;
	char name[40];

	/* What the first side has counts, whichever rules. */
	if (swap && kind == VERIFY_MISSING)
		kind = VERIFY_EXTRA;
	else if (swap && kind == VERIFY_EXTRA)
		kind = VERIFY_MISSING;
	(void)snprintf(name, sizeof(name), "large object %lu", o->oid);
	pgv_find(v, kind, name,
	         x[0] == '\0' || y[0] == '\0' ? "one side has it"
	         : strncmp(x, y, 32) != 0     ? "its bytes"
	                                      : "owner, rights or comment");
	v->bad += kind != VERIFY_EXTRA;
	o->is_done = true;
}

/* One that differs, at another look. */
static void
judge(struct pgv *v, const struct objects *all, struct object *o, const char *x,
      const char *y)
{
	uint64_t window_ns =
		v->conf->is_live
			? (uint64_t)WINDOWS * v->conf->recheck_ms * NS_PER_MS
			: 0;
	uint64_t now_ns = os_mono_ns();

	if (strcmp(y, x) == 0 || strcmp(y, o->was) == 0) {
		o->is_done = true;
	} else if (strcmp(x, o->was) != 0) {
		(void)snprintf(o->was, sizeof(o->was), "%s", x);
		o->since_ns = now_ns;
		if (now_ns - all->began_ns > 2 * window_ns)
			report(v, o, y, true);
	} else if (now_ns - o->since_ns >= window_ns) {
		report(v, o, y, false);
	}
}

static int
look_again(struct pgv *v, struct objects *all, struct err *err)
{
	PGresult *a = NULL;
	PGresult *b = NULL;
	int rc = read_side(v, 1 - v->rules, all, &b, err);
	int i = 0;
	int j = 0;

	if (rc == 0)
		rc = read_side(v, v->rules, all, &a, err);
	all->open = 0;
	for (int k = 0; rc == 0 && k < all->n; k++) {
		struct object *o = &all->o[k];
		char x[68];
		char y[68];

		if (o->is_done)
			continue;
		while (oid_of(a, i) < o->oid)
			i++;
		while (oid_of(b, j) < o->oid)
			j++;
		digests(a, i, o->oid, x);
		digests(b, j, o->oid, y);
		judge(v, all, o, x, y);
		all->open += !o->is_done;
	}
	PQclear(a);
	PQclear(b);
	return rc;
}

/* Those that differ at the first look, in the order of their numbers. */
static int
begin(struct pgv *v, struct objects *all, struct err *err)
{
	PGresult *res[2] = { NULL, NULL };
	int rc = read_side(v, v->rules, NULL, &res[0], err);
	int i = 0;
	int j = 0;

	if (rc == 0)
		rc = read_side(v, 1 - v->rules, NULL, &res[1], err);
	if (rc == 0) {
		v->rows[v->rules] += (uint64_t)PQntuples(res[0]);
		v->rows[1 - v->rules] += (uint64_t)PQntuples(res[1]);
		v->compared +=
			(uint64_t)PQntuples(res[v->first == v->rules ? 0 : 1]);
		all->o = calloc((size_t)PQntuples(res[0]) +
		                        (size_t)PQntuples(res[1]) + 1,
		                sizeof(*all->o));
		if (all->o == NULL)
			rc = err_set(err, ERR_NOMEM, "out of memory");
	}
	all->began_ns = os_mono_ns();
	while (rc == 0 && all->o != NULL &&
	       (i < PQntuples(res[0]) || j < PQntuples(res[1]))) {
		unsigned long x = oid_of(res[0], i);
		unsigned long y = oid_of(res[1], j);
		struct object *o = &all->o[all->n];
		char other[68];

		o->oid = x < y ? x : y;
		o->since_ns = all->began_ns;
		digests(res[0], i, o->oid, o->was);
		digests(res[1], j, o->oid, other);
		all->n += strcmp(o->was, other) != 0;
		i += x <= y;
		j += y <= x;
	}
	all->open = all->n;
	v->ret->rechecked += (uint64_t)all->n;
	PQclear(res[0]);
	PQclear(res[1]);
	return rc;
}

/* Who is no superuser may know that there are some, and not what they are. */
static int
may_read(struct pgv *v, bool *ret, struct err *err)
{
	static const char sql[] =
		"SELECT has_table_privilege('pg_largeobject', 'SELECT'),"
		" EXISTS (SELECT 1 FROM pg_largeobject_metadata)";
	bool has_some = false;
	int rc = 0;

	*ret = true;
	for (int s = 0; rc == 0 && s < 2; s++) {
		PGresult *res;

		rc = pgv_ask(&v->side[s], &v->side[s].look, sql, &res, err);
		*ret = *ret && rc == 0 && PQgetvalue(res, 0, 0)[0] == 't';
		has_some = has_some ||
		           (rc == 0 && PQgetvalue(res, 0, 1)[0] == 't');
		PQclear(res);
	}
	if (rc == 0 && !*ret && has_some)
		pgv_find(v, VERIFY_NOTED, "large objects",
		         "only a superuser can compare them");
	return rc;
}

int
pgv_objects(struct pgv *v, struct err *err)
{
	struct timespec wait = { .tv_nsec = WAIT_NS };
	struct objects all = { .n = 0 };
	bool may = false;
	int rc = may_read(v, &may, err);

	if (rc != 0 || !may)
		return rc;
	rc = begin(v, &all, err);
	while (rc == 0 && all.open > 0) {
		if (v->conf->is_live)
			(void)nanosleep(&wait, NULL);
		rc = pgv_stopped(v) ? err_set(err, ERR_ABORTED,
		                              "the comparison was stopped")
		                    : look_again(v, &all, err);
	}
	free(all.o);
	return rc;
}
