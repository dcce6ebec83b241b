/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/batch.c: what becomes of each row in several transactions.
 *
 * Transactions that go into one of the target's are seen there all at once: of a row
 * that they change several times only the last image counts. Rows are kept by their
 * key until the transaction ends, or something comes that stands for itself; then
 * what goes is deleted, what stays is changed, what is new is put (sets.c). Rows
 * without a name are counted: so many more of these, so many less of those.
 *
 * Owns:   pg_relation.rows, pg_apply.images.
 * Limits: BATCH_BYTES_MAX of images, and a row, which is no longer than that.
 */
#include "base/check.h"
#include "engine/postgres/mover/state.h"

/* Tables with several unique indexes are no longer tried behind so many falls: their
 * values go from row to row. */
#define FALLS_MAX 4

bool
pg_relation_is_bag(const struct pg_relation *r)
{
	if (r->identity == 'f')
		return true;
	for (uint16_t i = 0; i < r->n; i++) {
		if (r->field[i].is_key)
			return false;
	}
	return true;
}

/* ---- images ------------------------------------------------------------------ */

static struct span
image_of(const struct pg_apply *a, const struct pg_net *n)
{
	return span_of(buf_span(&a->images).p + n->at, n->n);
}

static bool
has_gaps(struct span items)
{
	struct pg_cell c;

	while (pg_cell_next(&items, &c)) {
		if (c.kind == PG_CELL_UNCHANGED)
			return true;
	}
	return false;
}

static void
put_cell(struct buf *b, const struct pg_cell *c)
{
	pg_put_u8(b, (uint8_t)c->kind);
	if (c->kind == PG_CELL_TEXT || c->kind == PG_CELL_BINARY)
		pg_put_value(b, c->bytes);
}

/* What now is, where it says nothing as it was before. */
static void
put_filled(struct buf *b, struct span now, struct span before)
{
	struct pg_cell c;
	struct pg_cell was;

	while (pg_cell_next(&now, &c)) {
		bool has = pg_cell_next(&before, &was);

		put_cell(b, c.kind == PG_CELL_UNCHANGED && has ? &was : &c);
	}
}

static void
set_image(struct pg_apply *a, struct pg_net *n, struct span items)
{
	n->at = buf_len(&a->images);
	n->n = items.n;
	n->has_gaps = has_gaps(items);
	buf_put_span(&a->images, items);
}

static void
set_filled(struct pg_apply *a, struct pg_net *n, struct span items)
{
	if (!has_gaps(items)) {
		set_image(a, n, items);
		return;
	}
	buf_clear(&a->key);
	put_filled(&a->key, items, image_of(a, n));
	set_image(a, n, buf_span(&a->key));
}

/* ---- rows by their key ---------------------------------------------------------- */

/* False: the tuple does not tell it. */
static bool
put_key(struct buf *b, const struct pg_relation *r, struct span items)
{
	struct pg_cell c;

	buf_clear(b);
	for (uint16_t i = 0; i < r->n; i++) {
		if (!pg_cell_next(&items, &c))
			return false;
		if (!r->field[i].is_key)
			continue;
		if (c.kind != PG_CELL_TEXT)
			return false;
		put_cell(b, &c);
	}
	return true;
}

static struct pg_net *
net_of(struct pg_apply *a, struct pg_relation *r)
{
	struct map_entry *e =
		buf_failed(&a->key)
			? NULL
			: map_put(&r->rows, buf_span(&a->key), NULL);

	if (e == NULL) {
		a->failed = true;
		return NULL;
	}
	if (!r->is_listed) {
		r->is_listed = true;
		r->next = a->rows_of;
		a->rows_of = r;
	}
	return map_value(e);
}

static bool
insert(struct pg_apply *a, struct pg_net *n, struct span now)
{
	if (n->kind == NET_INSERT || n->kind == NET_UPDATE)
		return false;
	n->kind = n->kind == NET_DELETE ? NET_UPDATE : NET_INSERT;
	set_image(a, n, now);
	return true;
}

static bool
update(struct pg_apply *a, struct pg_net *n, struct span now)
{
	if (n->kind == NET_DELETE || n->kind == NET_GONE)
		return false;
	if (n->kind == NET_NEW) {
		n->kind = NET_UPDATE;
		set_image(a, n, now);
		return true;
	}
	set_filled(a, n, now);
	return true;
}

static bool delete (struct pg_apply *a, struct pg_net *n, struct span was)
{
	if (n->kind == NET_DELETE || n->kind == NET_GONE)
		return false;
	n->kind = n->kind == NET_INSERT ? NET_GONE : NET_DELETE;
	set_image(a, n, was);
	return true;
}

/* Whatever the other side has of it: it is put, or goes. */
static bool
either(struct pg_apply *a, struct pg_net *n, const struct pg_output_part *p)
{
	bool goes = p->kind == PG_CHANGE_DELETE;

	n->kind = goes ? NET_DELETE : NET_INSERT;
	set_image(a, n, goes ? p->old.items : p->new.items);
	return true;
}

static bool
take_keyed(struct pg_apply *a, struct pg_relation *r,
           const struct pg_output_part *p)
{
	struct pg_net *n;

	/* Another key: in its order. */
	if (p->kind == PG_CHANGE_UPDATE && p->old.kind != PG_TUPLE_NONE)
		return false;
	if (!put_key(&a->key, r,
	             p->kind == PG_CHANGE_DELETE ? p->old.items : p->new.items))
		return false;
	/* It cannot be put: it is changed, in its order. */
	if (r->is_mixed && p->kind == PG_CHANGE_UPDATE)
		return false;
	n = net_of(a, r);
	if (n == NULL)
		return true;
	if (r->is_mixed)
		return either(a, n, p);
	switch ((int)p->kind) {
	case PG_CHANGE_INSERT: return insert(a, n, p->new.items);
	case PG_CHANGE_UPDATE: return update(a, n, p->new.items);
	default: return delete (a, n, p->old.items);
	}
}

/* ---- rows without a name ---------------------------------------------------------- */

/* Its image is the key. */
static void
count(struct pg_apply *a, struct pg_relation *r, int32_t times)
{
	struct pg_net *n = net_of(a, r);

	if (n == NULL)
		return;
	if (n->kind == NET_NEW)
		set_image(a, n, buf_span(&a->key));
	n->kind = NET_BAG;
	n->times += times;
}

static bool
take_bag(struct pg_apply *a, struct pg_relation *r,
         const struct pg_output_part *p)
{
	bool was = p->kind != PG_CHANGE_INSERT;
	bool is = p->kind != PG_CHANGE_DELETE;

	if (was && (p->old.kind != PG_TUPLE_OLD || has_gaps(p->old.items)))
		return false;
	if (was) {
		buf_clear(&a->key);
		buf_put_span(&a->key, p->old.items);
		count(a, r, -1);
	}
	if (is) {
		buf_clear(&a->key);
		put_filled(&a->key, p->new.items,
		           was ? p->old.items : p->new.items);
		count(a, r, 1);
	}
	return true;
}

bool
pg_batch_take(struct pg_mover *m, struct pg_apply *a, struct pg_relation *r,
              const struct pg_output_part *p)
{
	const struct pg_feed *f = &m->feed[side_other(a->side)];
	bool is_bag = pg_relation_is_bag(r);
	bool ret;

	if (r->is_mark || r->n == 0 || f->commit_lsn < a->by_row ||
	    p->new.items.n + p->old.items.n > BATCH_BYTES_MAX)
		return false;
	if (r->sets == SETS_UNKNOWN && a->wants == 0)
		a->wants = r->oid;
	if (r->sets != SETS_MAY ||
	    (!is_bag && r->unique_n > 1 && a->falls >= FALLS_MAX))
		return false;
	ret = is_bag ? take_bag(a, r, p) : take_keyed(a, r, p);
	if (buf_len(&a->images) >= BATCH_BYTES_MAX)
		pg_batch_say(m, a);
	return ret;
}

/* ---- the end of it -------------------------------------------------------------- */

static void
forget(struct pg_relation *r)
{
	map_clear(&r->rows);
	r->is_listed = false;
	r->next = NULL;
}

void
pg_batch_forget(struct pg_apply *a)
{
	while (a->rows_of != NULL) {
		struct pg_relation *r = a->rows_of;

		a->rows_of = r->next;
		forget(r);
	}
	buf_clear(&a->images);
}

/* In this order no two rows are ever of one key; and what a unique index may refuse
 * in it is said again row by row. */
static void
say(struct pg_mover *m, struct pg_apply *a, struct pg_relation *r)
{
	if (buf_failed(&a->images))
		a->failed = true;
	if (a->failed)
		return;
	pg_sets_say(m, a, r, PG_CHANGE_DELETE);
	if (!pg_relation_is_bag(r))
		pg_sets_say(m, a, r, PG_CHANGE_UPDATE);
	pg_sets_say(m, a, r, PG_CHANGE_INSERT);
	port_touch(m->port, a->c.link);
}

void
pg_batch_say(struct pg_mover *m, struct pg_apply *a)
{
	for (struct pg_relation *r = a->rows_of; r != NULL; r = r->next)
		say(m, a, r);
	pg_batch_forget(a);
}

void
pg_batch_say_of(struct pg_mover *m, struct pg_apply *a, struct pg_relation *r)
{
	if (map_count(&r->rows) == 0)
		return;
	say(m, a, r);
	map_clear(&r->rows);
}
