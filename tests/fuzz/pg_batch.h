/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/pg_batch.h: changes of rows, from the mover's applier into the server of
 * pg_table.h, beside a source that does the same by itself.
 *
 * Whenever nothing is under way both are equal, and every row that was changed was met. Of
 * the table that the target had rows of before it has those that were never changed, too
 * (conflict.c).
 */
#pragma once

#include "heap.h"
#include "pg_table.h"
#include "wire/pg_bytes.h"

struct batch {
	struct heap heap;
	struct pg_mover m;
	struct mover_conf conf;
	struct board board;
	struct port port;
	struct link link;
	struct pt_server sv;
	struct pt_table source[PT_TABLES];
	struct pt_table want; /* of PT_MIXED */
	uint64_t lsn;
	uint32_t troubles;
	bool says_sets; /* tables' types are known */
};

static struct batch batch;

static inline void
batch_mail(struct port *p, const struct mail *m)
{
	(void)p;
	batch.troubles += m->kind == MAIL_TROUBLE;
}

static inline void
batch_poke(struct port *p)
{
	(void)p;
}

static inline struct pg_apply *
batch_apply(void)
{
	return &batch.m.apply[SIDE_NEW];
}

static inline struct pg_relation *
batch_relation(int t)
{
	return pg_relation_find(&batch.m.feed[SIDE_OLD], (uint32_t)t + 1);
}

static inline bool
batch_is_key(const struct pt_shape *s, int c)
{
	/* It is logged whole. */
	if (s == &pt_shapes[PT_MIXED])
		return true;
	return s->keys == 0 || (s->keys >> c & 1) != 0;
}

/* The stream names a table. False: no memory. */
static inline bool
batch_learn(int t)
{
	const struct pt_shape *s = &pt_shapes[t];
	struct pg_output_part p = { .kind = PG_CHANGE_RELATION,
		                    .oid = (uint32_t)t + 1,
		                    .schema = SPAN("s"),
		                    .name = span_str(s->name),
		                    .identity = s->keys == 0 || t == PT_MIXED
		                                        ? 'f'
		                                        : 'd',
		                    .n = s->n };
	struct heap heap = heap_make();
	struct buf b;
	bool ret;

	buf_init(&b, &heap.mem);
	for (int i = 0; i < s->n; i++) {
		pg_put_u8(&b, batch_is_key(s, i));
		buf_putf(&b, "c%d", i);
		buf_put(&b, "", 1);
		pg_put_u32(&b, 25);
		pg_put_u32(&b, UINT32_MAX);
	}
	p.items = buf_span(&b);
	pg_batch_say(&batch.m, batch_apply());
	ret = pg_relation_learn(&batch.m, &batch.m.feed[SIDE_OLD], &p);
	buf_fini(&b);
	if (ret && batch.says_sets) {
		struct pg_relation *r = batch_relation(t);

		buf_put_str(&r->types, "text");
		for (int i = 0; i < s->n; i++)
			r->field[i].type_n = 4;
		ret = !buf_failed(&r->types);
		batch_relation(t)->sets = SETS_MAY;
		batch_relation(t)->unique_n = 1;
	}
	return ret;
}

/* What the target says of the tables that are on both. */
static inline void
batch_there(const char *is_both, const char *has_rows, const char *key)
{
	const char *text[5] = { "s.mix", "\"s\".\"mix\"", is_both, has_rows,
		                key };
	struct heap heap = heap_make();
	struct pg_values row = { .n = 5 };
	struct buf b;

	buf_init(&b, &heap.mem);
	for (int i = 0; i < 5; i++)
		pg_put_value(&b, span_str(text[i]));
	row.items = buf_span(&b);
	REQUIRE(pg_there_hear(&batch.m, row));
	buf_fini(&b);
}

/* Rows that only the target has, some of them of keys that will be drawn. */
static inline void
batch_own_rows(void)
{
	static const char keys[] = { 'a', 'c', 'e', 'z' };

	for (size_t i = 0; i < sizeof(keys); i++) {
		struct pt_row r = { .is = true };

		r.v[0] = (struct pt_value){ .n = 1, .text = { keys[i] } };
		r.v[1] = (struct pt_value){ .n = 3, .text = "own" };
		r.v[2] = (struct pt_value){ .n = PT_NULL };
		pt_put(&batch.want, &pt_shapes[PT_MIXED], &r);
	}
	batch.sv.table[PT_MIXED] = batch.want;
	batch.sv.kept[PT_MIXED] = batch.want;
}

static inline void
batch_begin(bool says_sets)
{
	static const struct port_ops ops = { .mail = batch_mail,
		                             .poke = batch_poke };
	struct pg_mover *m = &batch.m;

	memset(&batch, 0, sizeof(batch));
	batch.heap = heap_make();
	batch.says_sets = says_sets;
	batch.port = (struct port){ .ops = &ops, .mem = &batch.heap.mem };
	batch.conf.board = &batch.board;
	m->conf = &batch.conf;
	m->port = &batch.port;
	memcpy(m->slot, "godwit_x", 9);
	map_init(&m->there, &batch.heap.mem, sizeof(struct pg_there), 7);
	batch_there("1", "1", "c0");
	batch_own_rows();
	buf_init(&batch.link.tx, &batch.heap.mem);
	for (int i = 0; i < SIDE_N; i++) {
		struct pg_apply *a = &m->apply[i];

		m->feed[i].side = (enum side)i;
		a->side = (enum side)i;
		map_init(&m->feed[i].relations, &batch.heap.mem,
		         sizeof(struct pg_relation), 7);
		map_init(&a->statements, &batch.heap.mem, sizeof(uint32_t), 7);
		buf_init(&a->images, &batch.heap.mem);
		buf_init(&a->key, &batch.heap.mem);
		buf_init(&a->whole, &batch.heap.mem);
	}
	batch_apply()->c.link = &batch.link;
	batch_apply()->is_ready = true;
	batch_apply()->due = mem_alloc(&batch.heap.mem,
	                               PG_APPLY_RING * sizeof(struct pg_due));
	for (int i = 0; i < PT_TABLES; i++)
		REQUIRE(batch_learn(i));
}

static inline void
batch_end(void)
{
	pg_batch_forget(batch_apply());
	mem_free(&batch.heap.mem, batch_apply()->due,
	         PG_APPLY_RING * sizeof(struct pg_due));
	for (int i = 0; i < SIDE_N; i++) {
		pg_relation_forget(&batch.m, &batch.m.feed[i]);
		map_fini(&batch.m.feed[i].relations);
		map_fini(&batch.m.apply[i].statements);
		buf_fini(&batch.m.apply[i].images);
		buf_fini(&batch.m.apply[i].key);
		buf_fini(&batch.m.apply[i].whole);
	}
	buf_fini(&batch.link.tx);
	pg_there_forget(&batch.m);
	map_fini(&batch.m.there);
	REQUIRE(batch.heap.mem.used == 0);
}

/* ---- changes --------------------------------------------------------------------- */

static inline void
batch_cells(struct buf *b, const struct pt_shape *s, const struct pt_row *r,
            uint8_t mask)
{
	for (int i = 0; i < s->n; i++) {
		const struct pt_value *v = &r->v[i];

		if (v->n == PT_GAP) {
			pg_put_u8(b, 'u');
		} else if ((mask >> i & 1) == 0 || v->n == PT_NULL) {
			pg_put_u8(b, 'n');
		} else {
			pg_put_u8(b, 't');
			pg_put_value(b, span_of(v->text, (size_t)v->n));
		}
	}
}

/* What both are to be. */
static inline void
batch_want(int t, const struct pt_row *was, const struct pt_row *is)
{
	const struct pt_shape *s = &pt_shapes[t];

	if (was != NULL)
		pt_find(&batch.source[t], was, pt_all(s))->is = false;
	if (is != NULL)
		pt_put(&batch.source[t], s, is);
	if (t != PT_MIXED)
		return;
	if (was != NULL)
		pt_drop(&batch.want, s, was);
	if (is != NULL) {
		pt_drop(&batch.want, s, is);
		pt_put(&batch.want, s, is);
	}
}

/* was: NULL, or the row that it was; is: the row that it becomes. */
static inline void
batch_change(int t, const struct pt_row *was, const struct pt_row *is)
{
	const struct pt_shape *s = &pt_shapes[t];
	bool is_whole = s->keys == 0 || t == PT_MIXED;
	struct pg_output_part p = { .oid = (uint32_t)t + 1 };
	struct heap heap = heap_make();
	struct pt_row now = is != NULL ? *is : (struct pt_row){ .is = false };
	struct buf old;
	struct buf new;

	buf_init(&old, &heap.mem);
	buf_init(&new, &heap.mem);
	p.kind = was == NULL  ? PG_CHANGE_INSERT
	         : is == NULL ? PG_CHANGE_DELETE
	                      : PG_CHANGE_UPDATE;
	for (int i = 0; was != NULL && i < s->n; i++) {
		if ((s->toast >> i & 1) != 0 && now.v[i].n > 0 &&
		    pt_same_value(&was->v[i], &now.v[i]))
			now.v[i].n = PT_GAP;
	}
	if (is != NULL) {
		batch_cells(&new, s, &now, pt_all(s));
		p.new = (struct pg_tuple){ .kind = PG_TUPLE_NEW,
			                   .n = s->n,
			                   .items = buf_span(&new) };
	}
	if (was != NULL &&
	    (is == NULL || is_whole || !pt_same(was, is, s->keys))) {
		batch_cells(&old, s, was, is_whole ? pt_all(s) : s->keys);
		p.old = (struct pg_tuple){ .kind = is_whole ? PG_TUPLE_OLD
			                                    : PG_TUPLE_KEY,
			                   .n = s->n,
			                   .items = buf_span(&old) };
	}
	if (batch_relation(t)->is_mixed)
		pg_mixed_change(&batch.m, batch_apply(), batch_relation(t), &p);
	else
		pg_apply_change(&batch.m, batch_apply(), batch_relation(t), &p);
	buf_fini(&old);
	buf_fini(&new);
	batch_want(t, was, is);
}

static inline void
batch_open(void)
{
	if (batch.m.feed[SIDE_OLD].in_tx)
		return;
	batch.m.feed[SIDE_OLD].in_tx = true;
	batch.m.feed[SIDE_OLD].commit_lsn = ++batch.lsn;
	pg_apply_begin(&batch.m, batch_apply());
}

/* The target answers all that it was asked. */
static inline void
batch_serve(void)
{
	char tag[32];
	size_t n;

	while ((n = pt_serve(&batch.sv, buf_span(&batch.link.tx), tag)) > 0) {
		struct pg_message msg = {
			.type = PG_COMMAND_COMPLETE,
			.body = span_of(tag, strlen(tag) + 1),
		};

		buf_take(&batch.link.tx, n);
		if (tag[0] != '\0')
			(void)pg_apply_hear(&batch.m, batch_apply(), &msg);
	}
}

static inline void
batch_commit(bool flush)
{
	struct pg_apply *a = batch_apply();

	batch.m.feed[SIDE_OLD].in_tx = false;
	if (a->is_open)
		pg_apply_commit(a, batch.lsn, 0);
	if (!flush)
		return;
	pg_apply_flush(&batch.m, a);
	batch_serve();
}

/* Nothing is under way, and both are the same. */
static inline bool
batch_is_equal(void)
{
	for (int i = 0; i < PT_TABLES; i++) {
		if (!pt_equal(i == PT_MIXED ? &batch.want : &batch.source[i],
		              &batch.sv.kept[i]))
			return false;
	}
	return batch_apply()->due_n == 0 && !batch_apply()->is_open;
}

/* ---- drawn of bytes ---------------------------------------------------------------- */

struct batch_in {
	const uint8_t *p;
	size_t n;
};

static inline uint8_t
batch_next(struct batch_in *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

static inline struct pt_value
batch_value(uint8_t v, bool is_key)
{
	struct pt_value ret = { .n = is_key ? 1 : v % 5 - 1 };

	for (int i = 0; i < ret.n; i++)
		ret.text[i] = (char)('a' + v % 7);
	return ret;
}

static inline struct pt_row
batch_row(struct batch_in *in, const struct pt_shape *s)
{
	struct pt_row r = { .is = true };

	for (int i = 0; i < s->n; i++)
		r.v[i] = batch_value(batch_next(in), (s->keys >> i & 1) != 0);
	return r;
}

/* The i-th row of those that are there, or NULL. */
static inline struct pt_row *
batch_some(int t, uint8_t i)
{
	struct pt_row *last = NULL;

	for (int k = 0; k < PT_ROWS; k++) {
		struct pt_row *r = &batch.source[t].row[(k + i) % PT_ROWS];

		if (r->is)
			last = r;
		if (last != NULL)
			break;
	}
	return last;
}

static inline void
batch_draw_change(struct batch_in *in, int t)
{
	const struct pt_shape *s = &pt_shapes[t];
	uint8_t how = batch_next(in);
	struct pt_row r = batch_row(in, s);
	struct pt_row *is = batch_some(t, batch_next(in));
	struct pt_row was = is != NULL ? *is : r;
	struct pt_row none = { .is = false };

	if (how < 96) {
		if (s->keys != 0
		            ? pt_find(&batch.source[t], &r, s->keys) != NULL
		            : pt_count(&batch.source[t], &none, 0) > 48)
			return;
		batch_change(t, NULL, &r);
		return;
	}
	if (is == NULL)
		return;
	if (how < 128) {
		batch_change(t, &was, NULL);
		return;
	}
	/* Mostly in place; some columns stay as they are. */
	for (int i = 0; i < s->n; i++) {
		if ((how < 240 && (s->keys >> i & 1) != 0) || (how >> i & 1))
			r.v[i] = was.v[i];
	}
	if (s->keys != 0 && !pt_same(&was, &r, s->keys) &&
	    pt_find(&batch.source[t], &r, s->keys) != NULL)
		return;
	batch_change(t, &was, &r);
}

static inline void
batch_truncate(int t)
{
	struct pg_output_part p = { .kind = PG_CHANGE_TRUNCATE, .n = 1 };
	uint8_t oid[4] = { 0, 0, 0, (uint8_t)(t + 1) };

	p.items = span_of(oid, 4);
	pg_apply_truncate(&batch.m, &batch.m.feed[SIDE_OLD], batch_apply(), &p);
	memset(&batch.source[t], 0, sizeof(batch.source[t]));
	if (t == PT_MIXED)
		memset(&batch.want, 0, sizeof(batch.want));
}

static inline void
batch_draw(struct batch_in *in)
{
	uint8_t op = batch_next(in);
	int t = op / 32 % PT_TABLES;

	switch (op % 32) {
	case 0: batch_commit(true); break;
	case 1: batch_commit(false); break;
	case 2:
		batch_open();
		batch_truncate(t);
		break;
	case 3:
		batch.says_sets = !batch.says_sets;
		REQUIRE(batch_learn(t));
		break;
	default: batch_open(); batch_draw_change(in, t);
	}
	/* What came while two transactions are under way. */
	if (op % 32 == 1)
		batch_serve();
}

static inline void
batch_play(const uint8_t *data, size_t n)
{
	struct batch_in in = { data, n };

	batch_begin(true);
	while (in.n > 0) {
		batch_draw(&in);
		if (!batch.m.feed[SIDE_OLD].in_tx && !batch_apply()->is_open &&
		    batch_apply()->due_n == 0)
			REQUIRE(batch_is_equal());
		REQUIRE(!batch.m.failed && batch.troubles == 0);
	}
	for (int i = 0; i < 3; i++)
		batch_commit(true);
	REQUIRE(batch_is_equal() && !batch.m.failed);
	batch_end();
}
