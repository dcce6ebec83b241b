/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_stream.c: what is inside the CopyData messages of replication.
 */
#include "wire/pg_stream.h"

#include "base/check.h"
#include "wire/pg.h"

static struct pg_lsn
take_lsn(struct pg_take *t)
{
	return (struct pg_lsn){ pg_take_u64(t) };
}

static bool
take_answer(struct pg_take *t)
{
	uint8_t v = pg_take_u8(t);

	if (v > 1)
		t->bad = true;
	return v == 1;
}

static void
take_status(struct pg_take *t, struct pg_stream *m)
{
	m->written = take_lsn(t);
	m->flushed = take_lsn(t);
	m->applied = take_lsn(t);
	m->clock_us = pg_take_i64(t);
	m->wants_answer = take_answer(t);
}

static void
take_feedback(struct pg_take *t, struct pg_stream *m)
{
	m->clock_us = pg_take_i64(t);
	m->xmin = pg_take_u32(t);
	m->xmin_epoch = pg_take_u32(t);
	m->catalog_xmin = pg_take_u32(t);
	m->catalog_xmin_epoch = pg_take_u32(t);
}

bool
pg_read_stream(struct span body, struct pg_stream *ret)
{
	struct pg_take t = pg_take_from(body);
	uint8_t kind = pg_take_u8(&t);

	*ret = (struct pg_stream){ .kind = (enum pg_stream_kind)kind };
	switch (kind) {
	case PG_STREAM_DATA:
		ret->at = take_lsn(&t);
		ret->end = take_lsn(&t);
		ret->clock_us = pg_take_i64(&t);
		ret->data = pg_take_bytes(&t, t.rest.n);
		break;
	case PG_STREAM_KEEPALIVE:
		ret->end = take_lsn(&t);
		ret->clock_us = pg_take_i64(&t);
		ret->wants_answer = take_answer(&t);
		break;
	case PG_STREAM_STATUS: take_status(&t, ret); break;
	case PG_STREAM_FEEDBACK: take_feedback(&t, ret); break;
	default: return false;
	}
	return pg_took_all(&t);
}

void
pg_put_stream(struct buf *b, const struct pg_stream *m)
{
	size_t begun = pg_put_begin(b, PG_COPY_DATA);

	pg_put_u8(b, (uint8_t)m->kind);
	switch ((int)m->kind) {
	case PG_STREAM_DATA:
		pg_put_u64(b, m->at.v);
		pg_put_u64(b, m->end.v);
		pg_put_u64(b, (uint64_t)m->clock_us);
		buf_put_span(b, m->data);
		break;
	case PG_STREAM_KEEPALIVE:
		pg_put_u64(b, m->end.v);
		pg_put_u64(b, (uint64_t)m->clock_us);
		pg_put_u8(b, m->wants_answer ? 1 : 0);
		break;
	case PG_STREAM_STATUS:
		pg_put_u64(b, m->written.v);
		pg_put_u64(b, m->flushed.v);
		pg_put_u64(b, m->applied.v);
		pg_put_u64(b, (uint64_t)m->clock_us);
		pg_put_u8(b, m->wants_answer ? 1 : 0);
		break;
	case PG_STREAM_FEEDBACK:
		pg_put_u64(b, (uint64_t)m->clock_us);
		pg_put_u32(b, m->xmin);
		pg_put_u32(b, m->xmin_epoch);
		pg_put_u32(b, m->catalog_xmin);
		pg_put_u32(b, m->catalog_xmin_epoch);
		break;
	default: NEVER("a stream message of no kind");
	}
	pg_put_end(b, begun);
}

void
pg_put_start_replication(struct buf *b, struct span slot, struct pg_lsn from,
                         const struct pg_option *options, size_t n)
{
	size_t begun = pg_put_begin(b, PG_QUERY);
	char lsn[PG_LSN_TEXT_MAX];

	(void)pg_lsn_print(from, lsn);
	buf_put_str(b, "START_REPLICATION SLOT ");
	pg_put_ident(b, slot);
	buf_putf(b, " LOGICAL %s", lsn);
	for (size_t i = 0; i < n; i++) {
		buf_put_str(b, i == 0 ? " (" : ", ");
		pg_put_ident(b, options[i].name);
		buf_put_str(b, " ");
		pg_put_plain(b, options[i].value);
	}
	if (n > 0)
		buf_put_str(b, ")");
	pg_put_u8(b, 0);
	pg_put_end(b, begun);
}
