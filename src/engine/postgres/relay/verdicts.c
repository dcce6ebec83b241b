/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/verdicts.c: the names of a catalog, and what was said of
 * statements by them.
 */
#include "engine/postgres/relay/verdicts.h"

#include "base/check.h"
#include "base/hash.h"
#include "engine/postgres/sql_form.h"

/* What one that takes long counts, and how much is slow. */
#define LATE 16
#define SLOW 64

/* Texts that are known again; a power of two. */
#define TEXTS_N ((size_t)256)

void
pg_verdicts_init(struct pg_verdicts *v, struct mem *mem, size_t cache_n,
                 const uint64_t seed[2])
{
	*v = (struct pg_verdicts){
		.mem = mem,
		.seed = { seed[0], seed[1] },
		.cache_n = cache_n,
	};
	REQUIRE(cache_n > 0 && (cache_n & (cache_n - 1)) == 0);
	sql_names_init(&v->names, mem, seed[0]);
}

void
pg_verdicts_fini(struct pg_verdicts *v)
{
	pg_verdicts_forget(v);
	mem_free(v->mem, v->cache, v->cache_n * sizeof(*v->cache));
	v->cache = NULL;
	mem_free(v->mem, v->texts, TEXTS_N * sizeof(*v->texts));
	v->texts = NULL;
}

static void
clear(struct pg_verdicts *v)
{
	if (v->cache != NULL)
		memset(v->cache, 0, v->cache_n * sizeof(*v->cache));
}

void
pg_verdicts_forget(struct pg_verdicts *v)
{
	pg_verdicts_stop(v);
	sql_names_fini(&v->names);
	v->loaded_ns = 0;
	clear(v);
}

/* ---- names ---------------------------------------------------------------- */

bool
pg_verdicts_is_due(const struct pg_verdicts *v, uint64_t now_ns)
{
	return !v->is_loading && (v->is_stale || v->loaded_ns == 0 ||
	                          now_ns >= v->loaded_ns + PG_VERDICTS_NS);
}

void
pg_verdicts_begin(struct pg_verdicts *v)
{
	REQUIRE(!v->is_loading);
	v->is_loading = true;
	if (v->is_stale)
		v->names.is_done = false;
	v->is_stale = false;
	sql_names_init(&v->next, v->mem, v->seed[1]);
}

void
pg_verdicts_row(struct pg_verdicts *v, enum side s, const struct span row[3])
{
	if (v->is_loading)
		sql_names_add(&v->next, s, row);
}

void
pg_verdicts_row_both(struct pg_verdicts *v, const struct span row[3])
{
	for (int s = 0; s < SIDE_N; s++)
		pg_verdicts_row(v, (enum side)s, row);
}

void
pg_verdicts_done(struct pg_verdicts *v, uint64_t now_ns)
{
	REQUIRE(v->is_loading);
	sql_names_done(&v->next);
	sql_names_fini(&v->names);
	v->names = v->next;
	v->is_loading = false;
	v->loaded_ns = now_ns;
	clear(v);
}

void
pg_verdicts_stop(struct pg_verdicts *v)
{
	if (v->is_loading)
		sql_names_fini(&v->next);
	v->is_loading = false;
}

bool
pg_verdicts_read(struct span body, struct span ret_row[3])
{
	struct pg_values row;
	struct pg_value v;

	if (!pg_read_row(body, &row) || row.n != 3)
		return false;
	for (int i = 0; i < 3; i++) {
		(void)pg_value_next(&row.items, &v);
		ret_row[i] = v.bytes;
	}
	return true;
}

/* ---- verdicts --------------------------------------------------------------- */

void
pg_verdicts_form(struct pg_verdicts *v, struct span text, uint64_t ret[2])
{
	struct pg_formed now;
	struct pg_formed *at;

	if (v->texts == NULL)
		v->texts = mem_zero(v->mem, TEXTS_N * sizeof(*v->texts));
	if (v->texts == NULL) {
		sql_form(text, v->seed, ret);
		return;
	}
	now.digest[0] = hash_bytes(text, v->seed[0]);
	now.digest[1] = hash_bytes(text, v->seed[1]) | 1; /* never none */
	at = &v->texts[now.digest[0] & (TEXTS_N - 1)];
	if (at->digest[0] != now.digest[0] || at->digest[1] != now.digest[1]) {
		sql_form(text, v->seed, now.form);
		*at = now;
	}
	memcpy(ret, at->form, sizeof(at->form));
}

int
pg_verdicts_find(const struct pg_verdicts *v, const uint64_t form[2])
{
	const struct pg_verdict *at;

	if (v->cache == NULL || !v->names.is_done)
		return -1;
	at = &v->cache[form[0] & (v->cache_n - 1)];
	return at->form[0] == form[0] && at->form[1] == form[1] ? at->known - 1
	                                                        : -1;
}

void
pg_verdicts_put(struct pg_verdicts *v, const uint64_t form[2], uint8_t verdict)
{
	REQUIRE(verdict < UINT8_MAX);
	if (!v->names.is_done)
		return;
	if (v->cache == NULL)
		v->cache = mem_zero(v->mem, v->cache_n * sizeof(*v->cache));
	if (v->cache == NULL)
		return;
	v->cache[form[0] & (v->cache_n - 1)] = (struct pg_verdict){
		.form = { form[0], form[1] },
		.known = (uint8_t)(verdict + 1),
	};
}

void
pg_verdicts_note(struct pg_verdicts *v, const uint64_t form[2], bool took_long)
{
	struct pg_verdict *at;

	if (pg_verdicts_find(v, form) < 0)
		return;
	at = &v->cache[form[0] & (v->cache_n - 1)];
	if (!took_long)
		at->late = (uint8_t)(at->late - (at->late > 0));
	else if (at->late < SLOW)
		at->late = (uint8_t)(at->late + LATE);
}

bool
pg_verdicts_is_slow(const struct pg_verdicts *v, const uint64_t form[2])
{
	return pg_verdicts_find(v, form) >= 0 &&
	       v->cache[form[0] & (v->cache_n - 1)].late >= SLOW;
}
