/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_output.c: pgoutput, the changes of a PostgreSQL database as messages.
 */
#include "wire/pg_output.h"

#include "base/check.h"

void
pg_output_init(struct pg_output *o, uint8_t version)
{
	REQUIRE(version >= 1 && version <= PG_OUTPUT_VERSION_MAX);
	*o = (struct pg_output){ .version = version };
}

static struct pg_lsn
take_lsn(struct pg_take *t)
{
	return (struct pg_lsn){ pg_take_u64(t) };
}

static struct pg_cell
take_cell(struct pg_take *t)
{
	struct pg_cell cell = { .kind = (enum pg_cell_kind)pg_take_u8(t) };
	int32_t n;

	switch ((int)cell.kind) {
	case PG_CELL_NULL:
	case PG_CELL_UNCHANGED: break;
	case PG_CELL_TEXT:
	case PG_CELL_BINARY:
		n = pg_take_i32(t);
		if (n < 0)
			t->bad = true;
		else
			cell.bytes = pg_take_bytes(t, (size_t)n);
		break;
	default: t->bad = true; break;
	}
	return cell;
}

bool
pg_cell_next(struct span *rest, struct pg_cell *ret)
{
	struct pg_take t = pg_take_from(*rest);

	if (rest->n == 0)
		return false;
	*ret = take_cell(&t);
	REQUIRE(!t.bad);
	*rest = t.rest;
	return true;
}

static struct pg_tuple
take_tuple(struct pg_take *t, uint8_t kind)
{
	struct pg_tuple tuple = { .kind = (enum pg_tuple_kind)kind };
	struct span all;

	tuple.n = pg_take_u16(t);
	all = t->rest;
	for (size_t i = 0; i < tuple.n && !t->bad; i++)
		(void)take_cell(t);
	tuple.items = span_of(all.p, t->bad ? 0 : all.n - t->rest.n);
	return tuple;
}

static struct pg_column
take_column(struct pg_take *t)
{
	struct pg_column column = { .is_key = (pg_take_u8(t) & 1) != 0 };

	column.name = pg_take_text(t);
	column.type = pg_take_u32(t);
	column.modifier = pg_take_i32(t);
	return column;
}

bool
pg_column_next(struct span *rest, struct pg_column *ret)
{
	struct pg_take t = pg_take_from(*rest);

	if (rest->n == 0)
		return false;
	*ret = take_column(&t);
	REQUIRE(!t.bad);
	*rest = t.rest;
	return true;
}

static void
take_relation(struct pg_take *t, struct pg_output_part *p)
{
	p->oid = pg_take_u32(t);
	p->schema = pg_take_text(t);
	p->name = pg_take_text(t);
	p->identity = pg_take_u8(t);
	p->n = pg_take_u16(t);
	p->items = t->rest;
	for (size_t i = 0; i < p->n && !t->bad; i++)
		(void)take_column(t);
}

static void
take_change(struct pg_take *t, struct pg_output_part *p)
{
	uint8_t kind;

	p->oid = pg_take_u32(t);
	kind = pg_take_u8(t);
	if (p->kind != PG_CHANGE_INSERT &&
	    (kind == PG_TUPLE_KEY || kind == PG_TUPLE_OLD)) {
		p->old = take_tuple(t, kind);
		if (p->kind == PG_CHANGE_DELETE)
			return;
		kind = pg_take_u8(t);
	}
	if (kind != PG_TUPLE_NEW || p->kind == PG_CHANGE_DELETE) {
		t->bad = true;
		return;
	}
	p->new = take_tuple(t, kind);
}

static void
take_truncate(struct pg_take *t, struct pg_output_part *p)
{
	p->n = pg_take_u32(t);
	p->flags = pg_take_u8(t);
	if (p->n != t->rest.n / 4)
		t->bad = true;
	p->items = pg_take_bytes(t, t->rest.n / 4 * 4);
}

static void
take_message(struct pg_take *t, struct pg_output_part *p)
{
	uint32_t n;

	p->flags = pg_take_u8(t);
	p->lsn = take_lsn(t);
	p->name = pg_take_text(t);
	n = pg_take_u32(t);
	p->content = pg_take_bytes(t, n);
}

/* What comes behind flags and transaction in a COMMIT. */
static void
take_commit(struct pg_take *t, struct pg_output_part *p)
{
	p->flags = pg_take_u8(t);
	p->lsn = take_lsn(t);
	p->end = take_lsn(t);
	p->time_us = pg_take_i64(t);
}

static void
take_prepare(struct pg_take *t, struct pg_output_part *p)
{
	if (p->kind != PG_CHANGE_BEGIN_PREPARE)
		p->flags = pg_take_u8(t);
	p->lsn = take_lsn(t);
	p->end = take_lsn(t);
	if (p->kind == PG_CHANGE_ROLLBACK_PREPARED)
		p->prepared_us = pg_take_i64(t);
	p->time_us = pg_take_i64(t);
	p->xid = pg_take_u32(t);
	p->gid = pg_take_text(t);
}

static void
take_abort(struct pg_take *t, struct pg_output_part *p, uint8_t version)
{
	p->xid = pg_take_u32(t);
	p->sub_xid = pg_take_u32(t);
	if (version >= 4 && t->rest.n > 0) {
		p->lsn = take_lsn(t);
		p->time_us = pg_take_i64(t);
	}
}

/* Messages that name a transaction in front while one is streamed. */
static void
take_inside(struct pg_take *t, struct pg_output_part *p)
{
	switch ((int)p->kind) {
	case PG_CHANGE_MESSAGE: take_message(t, p); break;
	case PG_CHANGE_RELATION: take_relation(t, p); break;
	case PG_CHANGE_TYPE:
		p->oid = pg_take_u32(t);
		p->schema = pg_take_text(t);
		p->name = pg_take_text(t);
		break;
	case PG_CHANGE_INSERT:
	case PG_CHANGE_UPDATE:
	case PG_CHANGE_DELETE: take_change(t, p); break;
	case PG_CHANGE_TRUNCATE: take_truncate(t, p); break;
	case PG_CHANGE_ORIGIN:
		p->lsn = take_lsn(t);
		p->name = pg_take_text(t);
		break;
	default: t->bad = true; break;
	}
}

/* Messages about whole transactions, between streamed parts. */
static void
take_outside(struct pg_take *t, struct pg_output_part *p, uint8_t version)
{
	switch ((int)p->kind) {
	case PG_CHANGE_BEGIN:
		p->lsn = take_lsn(t);
		p->time_us = pg_take_i64(t);
		p->xid = pg_take_u32(t);
		break;
	case PG_CHANGE_COMMIT: take_commit(t, p); break;
	case PG_CHANGE_STREAM_START:
		p->xid = pg_take_u32(t);
		p->is_first = pg_take_u8(t) == 1;
		break;
	case PG_CHANGE_STREAM_COMMIT:
		p->xid = pg_take_u32(t);
		take_commit(t, p);
		break;
	case PG_CHANGE_STREAM_ABORT: take_abort(t, p, version); break;
	case PG_CHANGE_BEGIN_PREPARE:
	case PG_CHANGE_PREPARE:
	case PG_CHANGE_STREAM_PREPARE:
	case PG_CHANGE_COMMIT_PREPARED:
	case PG_CHANGE_ROLLBACK_PREPARED: take_prepare(t, p); break;
	default: take_inside(t, p); break;
	}
}

/* The version of the protocol that brought the message. */
static uint8_t
version_of(enum pg_change kind)
{
	switch ((int)kind) {
	case PG_CHANGE_STREAM_START:
	case PG_CHANGE_STREAM_STOP:
	case PG_CHANGE_STREAM_COMMIT:
	case PG_CHANGE_STREAM_ABORT: return 2;
	case PG_CHANGE_BEGIN_PREPARE:
	case PG_CHANGE_PREPARE:
	case PG_CHANGE_STREAM_PREPARE:
	case PG_CHANGE_COMMIT_PREPARED:
	case PG_CHANGE_ROLLBACK_PREPARED: return 3;
	default: return 1;
	}
}

bool
pg_output_read(struct pg_output *o, struct span payload,
               struct pg_output_part *ret)
{
	struct pg_take t = pg_take_from(payload);
	struct pg_output_part p = { .kind = (enum pg_change)pg_take_u8(&t) };

	if (t.bad || version_of(p.kind) > o->version)
		return false;
	if (p.kind == PG_CHANGE_STREAM_STOP) {
		t.bad = !o->in_stream;
		p.xid = o->stream_xid;
	} else if (o->in_stream) {
		p.xid = o->stream_xid;
		if (p.kind != PG_CHANGE_ORIGIN)
			p.xid = pg_take_u32(&t);
		take_inside(&t, &p);
	} else {
		take_outside(&t, &p, o->version);
	}
	if (!pg_took_all(&t))
		return false;
	if (p.kind == PG_CHANGE_STREAM_START) {
		o->in_stream = true;
		o->stream_xid = p.xid;
	} else if (p.kind == PG_CHANGE_STREAM_STOP) {
		o->in_stream = false;
	}
	*ret = p;
	return true;
}
