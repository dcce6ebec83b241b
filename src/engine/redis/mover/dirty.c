/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/dirty.c: keys that have to be copied, and why.
 *
 * The stream wrote them, the other side changed them by itself or refused a
 * write, or it keeps a value of its own. Keys that this mover does not carry
 * (whose.c) are never marked. What cannot be remembered is found again by a
 * scan (sweep.c), or everything is compared.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

static void
forget_kept(struct mover *m, uint32_t db, struct span key)
{
	uint8_t small[256];

	if (map_count(&m->kept) == 0 || key.n > sizeof(small) - 4)
		return;
	memcpy(small, &db, 4);
	memcpy(small + 4, key.p, key.n);
	(void)map_remove(&m->kept, span_of(small, key.n + 4));
}

bool
dirty_is_kept(struct mover *m, uint32_t db, struct span key)
{
	uint8_t small[256];

	if (map_count(&m->kept) == 0 || key.n > sizeof(small) - 4)
		return false;
	memcpy(small, &db, 4);
	memcpy(small + 4, key.p, key.n);
	return map_find(&m->kept, span_of(small, key.n + 4)) != NULL;
}

/* It is not known what is dirty: give up the order, compare everything. */
void
dirty_overflow(struct mover *m)
{
	m->need_rescan = true;
	mover_fail(
		m, ERR_LIMIT,
		"%s: too many changes to remember; comparing everything again",
		m->conf->side[m->from].label);
}

/* No room for one more mark? What the bulk writes in pieces gets one in any case. */
static bool
is_full(struct mover *m, uint32_t db, struct span key)
{
	return pend_count(&m->pend) >= m->limits.marks &&
	       pend_find(&m->pend, db, key) == NULL &&
	       !(m->bulk.is_used && db == m->bulk.db &&
	         span_eq(key, buf_span(&m->bulk.big_key)));
}

/* It may be dirty since its bucket is; this mark outlives that. */
static void
hold_bucket(struct mover *m, uint32_t db, struct span key, struct mark *k)
{
	if (k->state != MARK_AHEAD && bucket_has(&m->pend.buckets, db, key))
		pend_hold(&m->pend, k);
}

/* Does the other side have something else than what was read, once it is copied?
 * Its own value, or both united. */
static bool
is_ruled(const struct mover *m, const struct mark *k)
{
	return k->merge || (k->is_fill && m->conf->rule != MOVER_RULE_REPLACE);
}

bool
dirty_is_refusable(const struct mover *m, const struct mark *k)
{
	return k != NULL && k->state == MARK_AHEAD && is_ruled(m, k);
}

/* A long value is passed on before its copy is at its end: the refusal may come
 * first. */
static bool
is_flying(const struct mover *m, const struct mark *k)
{
	return k != NULL && k->state == MARK_READING && is_ruled(m, k);
}

void
dirty_mark(struct mover *m, uint32_t db, struct span key, struct place since,
           uint64_t end)
{
	struct mark *k;

	if (whose_is_other(m, key))
		return;
	mover_unsettle(m);
	forget_kept(m, db, key);
	merge_forget(m, db, key);
	if (is_full(m, db, key)) {
		if (!sweep_put(m, db, key, since))
			dirty_overflow(m);
		return;
	}
	/* A copy that the other side may have refused has seen nothing. */
	if (dirty_is_refusable(m, pend_find(&m->pend, db, key)))
		end = 0;
	else if (is_flying(m, pend_find(&m->pend, db, key)))
		end = UINT64_MAX;
	k = pend_mark(&m->pend, db, key, since, end);
	if (k == NULL) {
		dirty_overflow(m);
		return;
	}
	hold_bucket(m, db, key, k);
	k->is_fill = false;
	k->merge = false;
}

void
dirty_repair(struct mover *m, uint32_t db, struct span key)
{
	struct place since = m->settled;
	struct mark *k;

	if (whose_is_other(m, key))
		return;
	mover_unsettle(m);
	if (is_full(m, db, key)) {
		if (m->passed[m->from].at == 0)
			since = (struct place){ 0, 0 };
		if (!sweep_put(m, db, key, since))
			dirty_overflow(m);
		watch_clip(m);
		return;
	}
	k = pend_repair(&m->pend, db, key, since);
	if (k == NULL) {
		dirty_overflow(m);
		return;
	}
	hold_bucket(m, db, key, k);
	k->is_fill = false;
	k->merge = false;
	watch_clip(m);
}

static struct mark *
mark_held(struct mover *m, uint32_t db, struct span key)
{
	struct mark *k;

	dirty_mark(m, db, key, tail_place(m), 0);
	k = pend_find(&m->pend, db, key);
	if (k == NULL || k->state == MARK_AHEAD)
		return NULL;
	pend_hold(&m->pend, k);
	return k;
}

bool
dirty_hold(struct mover *m, uint32_t db, struct span key)
{
	return mark_held(m, db, key) != NULL;
}

/* The other side has a value of its own. */
void
dirty_keep(struct mover *m, uint32_t db, struct span key)
{
	uint8_t small[256];

	atomic_fetch_add_explicit(&m->conf->board->conflicts, 1,
	                          memory_order_relaxed);
	/* Written by the stream meanwhile, as far as is known. */
	if (bucket_has(&m->pend.buckets, db, key))
		return;
	if (m->conf->rule == MOVER_RULE_MERGE) {
		struct mark *k = pend_find(&m->pend, db, key);

		/* Written by the stream meanwhile: then that wins. */
		if (k != NULL && !dirty_is_refusable(m, k) && !is_flying(m, k))
			return;
		k = mark_held(m, db, key);
		if (k != NULL) {
			k->merge = true;
			merge_note(m, db, key);
		}
		return;
	}
	if (key.n > sizeof(small) - 4 || map_count(&m->kept) > 1000000) {
		(void)mark_held(m, db, key);
		return;
	}
	memcpy(small, &db, 4);
	memcpy(small + 4, key.p, key.n);
	if (map_put(&m->kept, span_of(small, key.n + 4), NULL) == NULL)
		dirty_overflow(m);
}

void
dirty_extra(struct mover *m, uint32_t db, struct span key)
{
	uint8_t small[256];

	if (key.n > sizeof(small) - 4 || map_count(&m->kept) > 1000000) {
		m->extra_many = true;
		return;
	}
	memcpy(small, &db, 4);
	memcpy(small + 4, key.p, key.n);
	if (map_put(&m->kept, span_of(small, key.n + 4), NULL) == NULL)
		dirty_overflow(m);
}

/* What the first copy wrote is in no unit of the stream: nothing may pass before
 * it is written again. */
static void
hold_first(struct mover *m, uint32_t db, struct span key)
{
	struct mark *k = pend_find(&m->pend, db, key);

	if (m->passed[m->from].at == 0 && k != NULL && k->state != MARK_AHEAD)
		pend_hold(&m->pend, k);
}

/* The other side refused something that was applied: what it should have
 * written is copied. */
/* A node of a cluster to which the key does not belong (any more). */
static bool
says_elsewhere(struct span text)
{
	return span_has_prefix(text, SPAN("MOVED ")) ||
	       span_has_prefix(text, SPAN("ASK ")) ||
	       span_has_prefix(text, SPAN("TRYAGAIN ")) ||
	       span_has_prefix(text, SPAN("CLUSTERDOWN "));
}

void
dirty_error(struct mover *m, const struct want *w, struct conn *c,
            struct span text)
{
	uint32_t db;
	struct span key;
	bool busy = w->is_fill && span_has_prefix(text, SPAN("BUSYKEY"));
	bool retry = span_has_prefix(text, SPAN("OOM")) ||
	             span_has_prefix(text, SPAN("NOPERM")) ||
	             span_has_prefix(text, SPAN("MISCONF")) ||
	             span_has_prefix(text, SPAN("READONLY")) ||
	             span_has_prefix(text, SPAN("NOREPLICAS")) ||
	             span_has_prefix(text, SPAN("LOADING")) ||
	             span_has_prefix(text, SPAN("BUSY ")) ||
	             span_has_prefix(text, SPAN("NOAUTH"));

	if (moved_says(m, text))
		return; /* others carry these keys, when it is known who */
	if (says_elsewhere(text)) {
		/* Neither a value nor its absence. */
		mover_fail(m, ERR_REFUSED,
		           "%s: %.*s: its cluster is not as it was",
		           m->conf->side[c->side].label,
		           (int)(text.n < 60 ? text.n : 60),
		           (const char *)text.p);
		return;
	}
	if (retry) {
		m->held_off_ns = m->port->now_ns + SECOND;
		mover_trouble(m, ERR_REFUSED, 1000, "%s: %.*s%s",
		              m->conf->side[c->side].label,
		              (int)(text.n < 90 ? text.n : 90),
		              (const char *)text.p,
		              span_has_prefix(text, SPAN("OOM"))
		                      ? "; raise its maxmemory"
		                      : "");
	} else if (!busy) {
		mover_trouble(m, ERR_REFUSED, 0,
		              "%s: a write was refused, copying the key: %.*s",
		              m->conf->side[c->side].label,
		              (int)(text.n < 60 ? text.n : 60),
		              (const char *)text.p);
	}
	if (c->side == m->from)
		return;
	while (conn_take_key(c, &db, &key)) {
		if (busy) {
			dirty_keep(m, db, key);
		} else {
			spread_repair(m, db, key);
			hold_first(m, db, key);
		}
	}
	m->need_probe = true;
}
