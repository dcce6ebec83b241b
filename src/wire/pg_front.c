/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_front.c: what a PostgreSQL client says.
 */
#include "wire/pg_front.h"

/* A body that is one text. */
static bool
read_text(struct span body, struct span *ret)
{
	struct pg_take t = pg_take_from(body);

	*ret = pg_take_text(&t);
	return pg_took_all(&t);
}

static void
put_text(struct buf *b, uint8_t type, struct span text)
{
	size_t begun = pg_put_begin(b, type);

	pg_put_text(b, text);
	pg_put_end(b, begun);
}

static void
put_bytes(struct buf *b, uint8_t type, struct span data)
{
	size_t begun = pg_put_begin(b, type);

	buf_put_span(b, data);
	pg_put_end(b, begun);
}

bool
pg_read_startup(struct span body, struct span *ret_pairs)
{
	struct pg_take t = pg_take_from(body);

	*ret_pairs = pg_take_pairs(&t);
	return pg_took_all(&t);
}

void
pg_put_startup(struct buf *b, uint32_t version, struct span pairs)
{
	if (pairs.n > PG_STARTUP_MAX - 9)
		b->failed = true;
	pg_put_u32(b, (uint32_t)(pairs.n + 9));
	pg_put_u32(b, version);
	buf_put_span(b, pairs);
	pg_put_u8(b, 0);
}

void
pg_put_pair(struct buf *b, struct span name, struct span value)
{
	/* An empty name would be the end of the list. */
	if (name.n == 0)
		b->failed = true;
	pg_put_text(b, name);
	pg_put_text(b, value);
}

void
pg_put_request(struct buf *b, enum pg_code code)
{
	pg_put_u32(b, 8);
	pg_put_u32(b, (uint32_t)code);
}

bool
pg_read_cancel(struct span body, struct pg_key *ret)
{
	struct pg_take t = pg_take_from(body);

	ret->process = pg_take_u32(&t);
	ret->secret = t.rest;
	return !t.bad && t.rest.n >= PG_SECRET_3_0 && t.rest.n <= PG_SECRET_MAX;
}

void
pg_put_cancel(struct buf *b, struct pg_key key)
{
	if (key.secret.n < PG_SECRET_3_0 || key.secret.n > PG_SECRET_MAX)
		b->failed = true;
	pg_put_u32(b, (uint32_t)(12 + key.secret.n));
	pg_put_u32(b, PG_CANCEL);
	pg_put_u32(b, key.process);
	buf_put_span(b, key.secret);
}

bool
pg_read_query(struct span body, struct span *ret_text)
{
	return read_text(body, ret_text);
}

void
pg_put_query(struct buf *b, struct span text)
{
	put_text(b, PG_QUERY, text);
}

bool
pg_read_parse(struct span body, struct pg_parse *ret)
{
	struct pg_take t = pg_take_from(body);

	ret->name = pg_take_text(&t);
	ret->text = pg_take_text(&t);
	ret->types = pg_take_numbers(&t, 4);
	return pg_took_all(&t);
}

void
pg_put_parse(struct buf *b, const struct pg_parse *m)
{
	size_t begun = pg_put_begin(b, PG_PARSE);

	pg_put_text(b, m->name);
	pg_put_text(b, m->text);
	pg_put_numbers(b, m->types);
	pg_put_end(b, begun);
}

bool
pg_read_bind(struct span body, struct pg_bind *ret)
{
	struct pg_take t = pg_take_from(body);

	ret->portal = pg_take_text(&t);
	ret->statement = pg_take_text(&t);
	ret->formats = pg_take_numbers(&t, 2);
	ret->values = pg_take_values(&t);
	ret->results = pg_take_numbers(&t, 2);
	return pg_took_all(&t);
}

void
pg_put_bind(struct buf *b, const struct pg_bind *m)
{
	size_t begun = pg_put_begin(b, PG_BIND);

	pg_put_text(b, m->portal);
	pg_put_text(b, m->statement);
	pg_put_numbers(b, m->formats);
	pg_put_values(b, m->values);
	pg_put_numbers(b, m->results);
	pg_put_end(b, begun);
}

bool
pg_read_target(struct span body, struct pg_target *ret)
{
	struct pg_take t = pg_take_from(body);
	uint8_t kind = pg_take_u8(&t);

	ret->is_portal = kind == 'P';
	ret->name = pg_take_text(&t);
	return pg_took_all(&t) && (kind == 'P' || kind == 'S');
}

void
pg_put_target(struct buf *b, uint8_t type, struct pg_target m)
{
	size_t begun = pg_put_begin(b, type);

	pg_put_u8(b, m.is_portal ? 'P' : 'S');
	pg_put_text(b, m.name);
	pg_put_end(b, begun);
}

bool
pg_read_execute(struct span body, struct pg_execute *ret)
{
	struct pg_take t = pg_take_from(body);

	ret->portal = pg_take_text(&t);
	ret->rows = pg_take_u32(&t);
	return pg_took_all(&t);
}

void
pg_put_execute(struct buf *b, struct pg_execute m)
{
	size_t begun = pg_put_begin(b, PG_EXECUTE);

	pg_put_text(b, m.portal);
	pg_put_u32(b, m.rows);
	pg_put_end(b, begun);
}

bool
pg_read_call(struct span body, struct pg_call *ret)
{
	struct pg_take t = pg_take_from(body);

	ret->function = pg_take_u32(&t);
	ret->formats = pg_take_numbers(&t, 2);
	ret->values = pg_take_values(&t);
	ret->result = pg_take_u16(&t);
	return pg_took_all(&t);
}

void
pg_put_call(struct buf *b, const struct pg_call *m)
{
	size_t begun = pg_put_begin(b, PG_FUNCTION_CALL);

	pg_put_u32(b, m->function);
	pg_put_numbers(b, m->formats);
	pg_put_values(b, m->values);
	pg_put_u16(b, m->result);
	pg_put_end(b, begun);
}

bool
pg_read_copy_fail(struct span body, struct span *ret_text)
{
	return read_text(body, ret_text);
}

void
pg_put_copy_fail(struct buf *b, struct span text)
{
	put_text(b, PG_COPY_FAIL, text);
}

bool
pg_read_password(struct span body, struct span *ret_text)
{
	return read_text(body, ret_text);
}

void
pg_put_password(struct buf *b, struct span text)
{
	put_text(b, PG_PASSWORD, text);
}

bool
pg_read_sasl(struct span body, struct pg_sasl *ret)
{
	struct pg_take t = pg_take_from(body);
	int32_t n;

	ret->mechanism = pg_take_text(&t);
	n = pg_take_i32(&t);
	ret->data.is_null = n == -1;
	ret->data.bytes = t.rest;
	return !t.bad && ret->mechanism.n > 0 &&
	       (n == -1 ? t.rest.n == 0 : n >= 0 && (size_t)n == t.rest.n);
}

void
pg_put_sasl(struct buf *b, const struct pg_sasl *m)
{
	size_t begun = pg_put_begin(b, PG_PASSWORD);

	pg_put_text(b, m->mechanism);
	if (m->data.is_null)
		pg_put_null(b);
	else
		pg_put_value(b, m->data.bytes);
	pg_put_end(b, begun);
}

void
pg_put_sasl_response(struct buf *b, struct span data)
{
	put_bytes(b, PG_PASSWORD, data);
}

void
pg_put_copy_data(struct buf *b, struct span data)
{
	put_bytes(b, PG_COPY_DATA, data);
}
