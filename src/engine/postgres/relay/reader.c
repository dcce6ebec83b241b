/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/reader.c: a session's connection to the side without authority.
 *
 * That side is shut, so Godwit's role logs in; then it becomes the session's user, with
 * the settings that the authority told of. READ ONLY is set last, and looked at; what
 * could change it is never sent there.
 */
#include "base/hash.h"
#include "engine/postgres/relay/guard.h"
#include "engine/postgres/relay/inside.h"

#define OWN_TYPE     16384u
/* record and record[]: numbers of types are inside of the binary form. */
#define TYPE_RECORD  2249u
#define TYPE_RECORDS 2287u
#define RETRY_NS     (1000 * MILLI)

struct pg_away *
pg_reader_new(struct pg_session *s)
{
	struct pg_away *rd = mem_zero(s->r->mem, sizeof(*rd));

	if (rd == NULL)
		return NULL;
	rd->owner = OWNER_READER;
	rd->s = s;
	rd->c.id = s->r->conf->id;
	rd->c.what = "read";
	pg_conn_init(&rd->c, s->r->port);
	buf_init(&rd->request, s->r->mem);
	buf_init(&rd->ask, s->r->mem);
	buf_init(&rd->answer, s->r->mem);
	buf_init(&rd->unnamed, s->r->mem);
	return rd;
}

void
pg_reader_close(struct pg_away *rd)
{
	if (rd->c.link != NULL && rd->c.state == PG_CONN_IDLE) {
		pg_put_empty(&rd->c.link->tx, PG_TERMINATE);
		port_touch(rd->c.port, rd->c.link);
		/* What is for it still leaves. */
		rd->c.port->ops->close(rd->c.port, rd->c.link, true);
		rd->c.link = NULL;
	}
	pg_conn_close(&rd->c);
	rd->reader = READER_OFF;
}

void
pg_reader_free(struct pg_session *s)
{
	struct pg_away *rd = s->reading.p;

	if (rd == NULL)
		return;
	if (rd->at != READ_NONE)
		pg_reads_out_remove(&s->r->reads.out, rd);
	pg_reader_close(rd);
	pg_conn_fini(&rd->c);
	buf_fini(&rd->request);
	buf_fini(&rd->ask);
	buf_fini(&rd->answer);
	buf_fini(&rd->unnamed);
	mem_free(s->r->mem, rd, sizeof(*rd));
	s->reading.p = NULL;
}

void
pg_reader_open(struct pg_away *rd)
{
	struct pg_relay *r = rd->s->r;

	if (r->port->now_ns < r->reads.reader_retry_ns)
		return;
	rd->c.side = &r->conf->side[side_other(r->route.authority)];
	if (pg_conn_open(&rd->c) != 0)
		return;
	rd->c.link->owner = rd;
	rd->reader = READER_LOGIN;
}

/* The session's own words, as Godwit's role, for the database of that side. */
void
pg_reader_up(struct pg_away *rd)
{
	struct pg_session *s = rd->s;
	const struct side_conf *side = rd->c.side;
	struct span rest = pg_session_startup(s);
	struct pg_pair p;
	struct buf pairs;

	buf_init(&pairs, s->r->mem);
	pg_put_pair(&pairs, SPAN("user"),
	            span_str(side->own_user[0] != '\0' ? side->own_user
	                                               : side->url_user));
	pg_put_pair(&pairs, SPAN("database"), span_str(side->database));
	while (pg_pair_next(&rest, &p)) {
		if (!span_eq(p.name, SPAN("database")) &&
		    !span_eq(p.name, SPAN("user")))
			pg_put_pair(&pairs, p.name, p.value);
	}
	pg_put_pair(&pairs, SPAN("default_transaction_read_only"), SPAN("on"));
	pg_put_startup(&rd->c.link->tx, PG_VERSION_3_0, buf_span(&pairs));
	if (buf_failed(&pairs))
		pg_reader_close(rd);
	else
		port_touch(s->r->port, rd->c.link);
	buf_fini(&pairs);
}

static void
restore(struct pg_away *rd)
{
	struct span settings = buf_span(&rd->s->state.found->settings);

	rd->restored = hash_bytes(settings, 0);
	rd->is_guarded = false;
	rd->reader = READER_RESTORES;
	if (!pg_guard_ask(&rd->c, settings, 0))
		pg_reader_close(rd);
}

/* It is what the session is, or it cannot be. */
static void
restored(struct pg_away *rd)
{
	if (rd->c.state_5[0] != '\0' || !rd->is_guarded) {
		rd->s->reading.like = LIKE_NO;
		pg_reader_close(rd);
		return;
	}
	rd->reader = READER_OPEN;
}

/* ---- answers ------------------------------------------------------------------------ */

void
pg_reader_ask(struct pg_away *rd)
{
	buf_put_span(&rd->c.link->tx, buf_span(&rd->ask));
	rd->c.state_5[0] = '\0';
	buf_clear(&rd->answer);
	pg_conn_asked(&rd->c);
}

/* Numbers of tables and types of people's own are that server's: tables are left
 * out, types cannot be. */
static void
hear_fields(struct pg_away *rd, const struct pg_message *m)
{
	struct pg_fields fields;
	struct pg_field f;
	struct buf items;
	struct span rest;

	if (!pg_read_fields(m->body, &fields)) {
		rd->failed = true;
		return;
	}
	buf_init(&items, rd->c.port->mem);
	rest = fields.items;
	while (pg_field_next(&rest, &f)) {
		f.table = 0;
		f.column = 0;
		if (f.type >= OWN_TYPE ||
		    (f.format != 0 &&
		     (f.type == TYPE_RECORD || f.type == TYPE_RECORDS))) {
			pg_reads_refuse(rd->s->r, rd->digest);
			rd->failed = true;
		}
		pg_put_field(&items, &f);
	}
	fields.items = buf_span(&items);
	if (!rd->hides_fields)
		pg_put_fields(&rd->answer, fields);
	rd->failed = rd->failed || buf_failed(&items);
	buf_fini(&items);
}

static void
hear_error(struct pg_away *rd)
{
	const char *code = rd->c.state_5;

	rd->failed = true;
	/* Read only; not known there; not possible there: not again. */
	if (strcmp(code, "25006") == 0)
		rd->s->r->reads.guarded++;
	if (strcmp(code, "25006") == 0 || memcmp(code, "42", 2) == 0 ||
	    memcmp(code, "0A", 2) == 0)
		pg_reads_refuse(rd->s->r, rd->digest);
}

static void
hear_answer(struct pg_away *rd, const struct pg_message *m)
{
	enum pg_transaction t;

	switch (m->type) {
	case PG_PARSE_COMPLETE:
		if (!rd->hides_parse)
			buf_put_span(&rd->answer, m->raw);
		break;
	case PG_ROW_DESCRIPTION: hear_fields(rd, m); break;
	case PG_NO_DATA:
		if (!rd->hides_fields)
			buf_put_span(&rd->answer, m->raw);
		break;
	case PG_PARAMETER_STATUS:
	case PG_NOTIFICATION: break;
	case PG_ERROR_RESPONSE: hear_error(rd); break;
	case PG_READY:
		if (!pg_read_ready(m->body, &t) || t != PG_IDLE)
			rd->failed = true;
		buf_put_span(&rd->answer, m->raw);
		rd->at = READ_ENDED;
		break;
	case PG_BIND_COMPLETE:
	case PG_COMMAND_COMPLETE:
	case PG_DATA_ROW:
	case PG_NOTICE_RESPONSE:
		if (!rd->failed)
			buf_put_span(&rd->answer, m->raw);
		break;
	default: rd->failed = true; break;
	}
	if (buf_len(&rd->answer) > PG_READ_ANSWER_MAX && !rd->failed) {
		pg_reads_refuse(rd->s->r, rd->digest);
		rd->failed = true;
	}
}

static bool
hear(void *self, struct pg_conn *c, const struct pg_message *m)
{
	struct pg_away *rd = self;

	(void)c;
	switch (rd->reader) {
	case READER_LOGIN:
		if (m->type == PG_READY)
			restore(rd);
		break;
	case READER_RESTORES:
		pg_guard_hear(m, buf_span(&rd->s->state.found->user),
		              &rd->is_guarded);
		if (m->type == PG_READY)
			restored(rd);
		break;
	case READER_OPEN:
		if (rd->at == READ_OUT)
			hear_answer(rd, m);
		break;
	case READER_OFF: break;
	}
	return true;
}

/* What it was to read goes to the authority. */
static void
lost(struct pg_away *rd)
{
	struct pg_relay *r = rd->s->r;

	rd->reader = READER_OFF;
	r->reads.reader_retry_ns = r->port->now_ns + RETRY_NS;
	if (rd->at != READ_OUT)
		return;
	rd->failed = true;
	rd->at = READ_ENDED;
}

void
pg_reader_take(struct pg_away *rd, struct span bytes)
{
	if (pg_conn_take(&rd->c, bytes, hear, rd) != 0)
		lost(rd);
	/* An answer of a megabyte and no end: it is given up early. */
	if (rd->at == READ_OUT && rd->failed && rd->c.state_5[0] == '\0') {
		pg_reader_close(rd);
		rd->at = READ_ENDED;
	}
	pg_away_settle(rd);
}

void
pg_reader_down(struct pg_away *rd, const struct err *err)
{
	pg_conn_down(&rd->c, err);
	lost(rd);
	pg_away_settle(rd);
}
