/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/verify_doubt.c: what differed is looked at again.
 *
 * On live sides one round for all rows in doubt is
 *
 *   authority  read them                                              (x1)
 *   authority  put a marker; wait until the other side has it
 *   other      read them                                              (y)
 *   authority  read them again                                        (x2)
 *
 * A change carries its row whole, so a row that was once seen equal (y = x1 or
 * y = x2) is equal. Where it is not, and the authority's row was the same one at both
 * looks (its xmin and its place tell, so that A, B, A is a change), the round counts
 * against it: the other side has passed all that could have made it equal. A round
 * in which it changed begins the count anew. VERIFY_STRIKES rounds in a row are a
 * difference; for a row that the authority has not at all, which leaves no xmin, some
 * more. Never standing still within recheck_ms: unstable.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "control/limit.h"
#include "control/postgres/verify.h"

#define BYTES_MAX    ((size_t)4 * 1024 * 1024) /* of rows in doubt         */
#define ABSENT_TIMES 3
#define TRIES_MIN    5         /* before a row is called unstable             */
#define WAIT_NS      10000000  /* between rounds                              */
#define BLIND_NS     300000000 /* the same, when no marker can tell          */

enum verdict {
	OPEN,
	EQUAL,
	DIFFERS,
	UNSTABLE,
};

int
pgv_doubt_add(struct pgv *v, const struct pgv_key *key, size_t bytes,
              struct err *err)
{
	struct pgv_doubt *d = &v->doubt[v->doubt_n];

	buf_clear(&d->key.text);
	buf_put_span(&d->key.text, buf_span(&key->text));
	memcpy(d->key.end, key->end, sizeof(d->key.end));
	if (buf_failed(&d->key.text))
		return err_set(err, ERR_NOMEM, "no memory for rows in doubt");
	d->strikes = 0;
	d->tries = 0;
	d->mends = 0;
	d->wants_mend = false;
	v->doubt_n++;
	v->doubt_bytes += bytes;
	v->ret->rechecked++;
	if (v->doubt_n < PGV_DOUBTS && v->doubt_bytes < BYTES_MAX)
		return 0;
	return pgv_doubt_settle(v, err);
}

/* ---- one look at all of them --------------------------------------------------- */

static struct pgv_seen *
seen_of(struct pgv_doubt *d, int which)
{
	return which == 0 ? &d->x1 : which == 1 ? &d->y : &d->x2;
}

static void
add_row(const struct pgv *v, struct pgv_seen *ret, const PGresult *res, int row)
{
	uint64_t sum[2] = { v->seed[0], v->seed[1] };
	const char *place = PQgetvalue(res, row, 1);

	for (int f = 2; f < PQnfields(res); f++) {
		struct span s = span_of(PQgetvalue(res, row, f),
		                        (size_t)PQgetlength(res, row, f));
		uint64_t is_null = (uint64_t)PQgetisnull(res, row, f);

		for (int i = 0; i < 2; i++)
			sum[i] = hash_mix(sum[i] + hash_bytes(s, v->seed[i]) +
			                  is_null);
	}
	ret->n++;
	ret->sum[0] += sum[0];
	ret->sum[1] += sum[1];
	ret->place += hash_bytes(span_str(place), v->seed[0]);
}

/* which: 0 x1, 1 y, 2 x2. */
static int
look(struct pgv *v, int side, int which, struct err *err)
{
	struct pgv_side *s = &v->side[side];
	PGresult *res;
	int rc = pgv_put_look(v, side, 0, v->doubt_n, err);

	for (uint32_t i = 0; i < v->doubt_n; i++)
		*seen_of(&v->doubt[i], which) = (struct pgv_seen){ .n = 0 };
	if (rc != 0)
		return rc;
	rc = pgv_ask(s, &s->look, (const char *)buf_span(&v->sql).p, &res, err);
	for (int row = 0; rc == 0 && row < PQntuples(res); row++) {
		unsigned long at =
			strtoul(PQgetvalue(res, row, 0), NULL, 10) - 1;

		if (at < v->doubt_n)
			add_row(v, seen_of(&v->doubt[at], which), res, row);
	}
	PQclear(res);
	return rc;
}

static int
look_thrice(struct pgv *v, struct err *err)
{
	int rc = look(v, v->rules, 0, err);

	if (rc == 0 && v->has_marker)
		rc = pgv_mark(v, err);
	if (rc == 0)
		rc = look(v, 1 - v->rules, 1, err);
	return rc == 0 ? look(v, v->rules, 2, err) : rc;
}

/* ---- what it means ------------------------------------------------------------- */

static bool
is_same(const struct pgv_seen *a, const struct pgv_seen *b)
{
	return a->n == b->n && a->sum[0] == b->sum[0] && a->sum[1] == b->sum[1];
}

static uint32_t
needed(const struct pgv *v, const struct pgv_doubt *d)
{
	if (!v->conf->is_live || v->ret->marker_lost)
		return 1;
	return d->x2.n == 0 ? VERIFY_STRIKES * ABSENT_TIMES : VERIFY_STRIKES;
}

/* Without markers nobody would know that it is done. */
static bool
may_mend(const struct pgv *v, const struct pgv_doubt *d)
{
	return v->conf->repair && v->has_marker && d->mends < 2;
}

static enum verdict
judge(const struct pgv *v, struct pgv_doubt *d, bool is_late)
{
	d->tries++;
	if (is_same(&d->y, &d->x1) || is_same(&d->y, &d->x2))
		return EQUAL;
	if (is_same(&d->x1, &d->x2) && d->x1.place == d->x2.place) {
		d->strikes++;
		return d->strikes >= needed(v, d) ? DIFFERS : OPEN;
	}
	d->strikes = 0;
	return is_late && d->tries >= TRIES_MIN ? UNSTABLE : OPEN;
}

/* "public.t: 7, x" */
static void
print_name(const struct pgv *v, const struct pgv_key *k, char *ret, size_t n)
{
	size_t used;

	(void)snprintf(ret, n, "%s:", v->plan.label);
	used = strlen(ret);
	for (uint32_t i = 0; i < v->plan.keys && used + 16 < n; i++) {
		memcpy(ret + used, i > 0 ? ", " : " ", i > 0 ? 3 : 2);
		used += i > 0 ? 2 : 1;
		pgv_print(pgv_key_field(k, i), ret + used, n - used);
		used += strlen(ret + used);
	}
}

/* A value, short. */
static void
print_value(const PGresult *res, int f, char *ret, size_t n)
{
	if (PQgetisnull(res, 0, f)) {
		(void)snprintf(ret, n, "NULL");
		return;
	}
	ret[0] = '\'';
	pgv_print(
		span_of(PQgetvalue(res, 0, f), (size_t)PQgetlength(res, 0, f)),
		ret + 1, n - 2);
	memcpy(ret + strlen(ret), "'", 2);
}

/* The first column in which the two rows differ now. */
static void
explain_rows(const struct pgv *v, PGresult *const res[2], char *ret, size_t n)
{
	char a[40];
	char b[40];

	for (int f = 2; f < PQnfields(res[0]) && f < PQnfields(res[1]); f++) {
		int len = PQgetlength(res[0], 0, f);

		if (PQgetisnull(res[0], 0, f) == PQgetisnull(res[1], 0, f) &&
		    len == PQgetlength(res[1], 0, f) &&
		    memcmp(PQgetvalue(res[0], 0, f), PQgetvalue(res[1], 0, f),
		           (size_t)len) == 0)
			continue;
		print_value(res[0], f, a, sizeof(a));
		print_value(res[1], f, b, sizeof(b));
		(void)snprintf(ret, n, "%.36s: %s / %s", v->plan.name[f - 2], a,
		               b);
		return;
	}
}

static int
explain(struct pgv *v, uint32_t at, char *ret, size_t n, struct err *err)
{
	const struct pgv_doubt *d = &v->doubt[at];
	PGresult *res[2] = { NULL, NULL };
	uint64_t rows[2] = { v->rules == v->first ? d->x2.n : d->y.n,
		             v->rules == v->first ? d->y.n : d->x2.n };
	int rc = 0;

	(void)snprintf(ret, n, "%llu / %llu rows", (unsigned long long)rows[0],
	               (unsigned long long)rows[1]);
	if (rows[0] != 1 || rows[1] != 1)
		return 0;
	(void)snprintf(ret, n, "a value differed");
	for (int i = 0; rc == 0 && i < 2; i++) {
		int s = i == 0 ? v->first : 1 - v->first;

		rc = pgv_put_look(v, s, at, at + 1, err);
		if (rc == 0)
			rc = pgv_ask(&v->side[s], &v->side[s].look,
			             (const char *)buf_span(&v->sql).p, &res[i],
			             err);
	}
	if (rc == 0 && PQntuples(res[0]) == 1 && PQntuples(res[1]) == 1)
		explain_rows(v, res, ret, n);
	PQclear(res[0]);
	PQclear(res[1]);
	return rc;
}

/* It was to be mended, and differs. */
static void
explain_mend(struct pgv *v, const struct pgv_doubt *d, char *ret, size_t n)
{
	char why[100];

	pgv_mend_why(v, why, sizeof(why));
	if (why[0] != '\0')
		(void)snprintf(ret, n, "not repaired: %s", why);
	else
		(void)snprintf(ret, n, "%s", d->was);
}

static int
report(struct pgv *v, uint32_t at, enum verdict verdict, struct err *err)
{
	const struct pgv_doubt *d = &v->doubt[at];
	uint64_t first = v->rules == v->first ? d->x2.n : d->y.n;
	uint64_t second = v->rules == v->first ? d->y.n : d->x2.n;
	enum verify_kind kind = verdict == EQUAL      ? VERIFY_REPAIRED
	                        : verdict == UNSTABLE ? VERIFY_UNSTABLE
	                        : second == 0         ? VERIFY_MISSING
	                        : first == 0          ? VERIFY_EXTRA
	                                              : VERIFY_DIFFERENT;
	char name[256];
	char detail[128] = "";
	int rc = 0;

	print_name(v, &d->key, name, sizeof(name));
	if (verdict == EQUAL) {
		pgv_find(v, kind, name, d->was);
		return 0;
	}
	if (v->ret->finds_n < VERIFY_LIST_MAX)
		rc = explain(v, at, detail, sizeof(detail), err);
	if (rc == 0 && d->mends > 0 && verdict == DIFFERS)
		explain_mend(v, d, detail, sizeof(detail));
	pgv_find(v, kind, name, detail);
	if (kind != VERIFY_EXTRA)
		v->bad += v->plan.is_keyless && first > 0 ? first : 1;
	return rc;
}

/* It differs, and was not tried to be mended often enough. */
static int
wish_mend(struct pgv *v, uint32_t at, struct err *err)
{
	struct pgv_doubt *d = &v->doubt[at];
	int rc = 0;

	if (d->mends++ == 0)
		rc = explain(v, at, d->was, sizeof(d->was), err);
	d->wants_mend = true;
	d->strikes = 0;
	d->tries = 0;
	return rc;
}

/* Those that are decided go; the rest moves up. */
static int
decide(struct pgv *v, bool is_late, struct err *err)
{
	uint32_t kept = 0;
	bool mends = false;
	int rc = 0;

	for (uint32_t i = 0; i < v->doubt_n; i++) {
		enum verdict is = judge(v, &v->doubt[i], is_late);
		struct pgv_doubt swap;

		if (rc == 0 && is == DIFFERS && may_mend(v, &v->doubt[i])) {
			rc = wish_mend(v, i, err);
			is = OPEN;
			mends = true;
		}
		if (rc == 0 && (is == DIFFERS || is == UNSTABLE ||
		                (is == EQUAL && v->doubt[i].mends > 0)))
			rc = report(v, i, is, err);
		if (is != OPEN)
			continue;
		swap = v->doubt[kept];
		v->doubt[kept++] = v->doubt[i];
		v->doubt[i] = swap;
	}
	v->doubt_n = kept;
	return rc == 0 && mends ? pgv_mend(v, err) : rc;
}

int
pgv_doubt_settle(struct pgv *v, struct err *err)
{
	uint64_t late = os_mono_ns() + v->conf->recheck_ms * NS_PER_MS;
	struct timespec t = { .tv_nsec = WAIT_NS };
	int rc = 0;

	while (rc == 0 && v->doubt_n > 0) {
		rc = look_thrice(v, err);
		if (rc == 0)
			rc = decide(v, os_mono_ns() > late, err);
		if (rc == 0 && pgv_stopped(v))
			rc = err_set(err, ERR_ABORTED,
			             "the comparison was stopped");
		if (v->conf->is_live && !v->has_marker)
			t.tv_nsec = BLIND_NS;
		if (rc == 0 && v->doubt_n > 0)
			(void)nanosleep(&t, NULL);
	}
	v->doubt_n = 0;
	v->doubt_bytes = 0;
	return rc;
}
