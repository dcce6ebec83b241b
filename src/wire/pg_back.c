/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_back.c: what a PostgreSQL server says.
 */
#include "wire/pg_back.h"

bool
pg_read_authentication(struct span body, struct pg_authentication *ret)
{
	struct pg_take t = pg_take_from(body);

	ret->code = pg_take_u32(&t);
	ret->data = t.rest;
	switch (ret->code) {
	case PG_AUTH_OK:
	case PG_AUTH_KERBEROS_5:
	case PG_AUTH_CLEARTEXT:
	case PG_AUTH_GSS:
	case PG_AUTH_SSPI: return pg_took_all(&t);
	case PG_AUTH_MD5: return !t.bad && t.rest.n == PG_SALT;
	case PG_AUTH_SASL:
		ret->data = pg_take_texts(&t);
		return pg_took_all(&t) && ret->data.n > 0;
	case PG_AUTH_GSS_CONTINUE:
	case PG_AUTH_SASL_CONTINUE:
	case PG_AUTH_SASL_FINAL: return !t.bad;
	default: return false;
	}
}

void
pg_put_authentication(struct buf *b, const struct pg_authentication *m)
{
	size_t begun = pg_put_begin(b, PG_AUTHENTICATION);

	pg_put_u32(b, m->code);
	buf_put_span(b, m->data);
	if (m->code == PG_AUTH_SASL)
		pg_put_u8(b, 0);
	pg_put_end(b, begun);
}

bool
pg_read_key(struct span body, struct pg_key *ret)
{
	return pg_read_cancel(body, ret);
}

void
pg_put_key(struct buf *b, struct pg_key key)
{
	size_t begun = pg_put_begin(b, PG_BACKEND_KEY);

	if (key.secret.n < PG_SECRET_3_0 || key.secret.n > PG_SECRET_MAX)
		b->failed = true;
	pg_put_u32(b, key.process);
	buf_put_span(b, key.secret);
	pg_put_end(b, begun);
}

bool
pg_read_parameter(struct span body, struct pg_pair *ret)
{
	struct pg_take t = pg_take_from(body);

	ret->name = pg_take_text(&t);
	ret->value = pg_take_text(&t);
	return pg_took_all(&t) && ret->name.n > 0;
}

void
pg_put_parameter(struct buf *b, struct span name, struct span value)
{
	size_t begun = pg_put_begin(b, PG_PARAMETER_STATUS);

	pg_put_pair(b, name, value);
	pg_put_end(b, begun);
}

bool
pg_read_ready(struct span body, enum pg_transaction *ret)
{
	*ret = PG_IDLE;
	if (body.n != 1)
		return false;
	*ret = (enum pg_transaction)body.p[0];
	return *ret == PG_IDLE || *ret == PG_IN_TRANSACTION ||
	       *ret == PG_IN_FAILED;
}

void
pg_put_ready(struct buf *b, enum pg_transaction state)
{
	pg_put_head(b, PG_READY, 1);
	pg_put_u8(b, (uint8_t)state);
}

static struct pg_field
take_field(struct pg_take *t)
{
	struct pg_field field = { .name = pg_take_text(t) };

	field.table = pg_take_u32(t);
	field.column = pg_take_u16(t);
	field.type = pg_take_u32(t);
	field.size = (int16_t)pg_take_u16(t);
	field.modifier = pg_take_i32(t);
	field.format = pg_take_u16(t);
	return field;
}

bool
pg_read_fields(struct span body, struct pg_fields *ret)
{
	struct pg_take t = pg_take_from(body);

	ret->n = pg_take_u16(&t);
	ret->items = t.rest;
	for (size_t i = 0; i < ret->n && !t.bad; i++)
		(void)take_field(&t);
	return pg_took_all(&t);
}

bool
pg_field_next(struct span *rest, struct pg_field *ret)
{
	struct pg_take t = pg_take_from(*rest);

	if (rest->n == 0)
		return false;
	*ret = take_field(&t);
	*rest = t.rest;
	return !t.bad;
}

void
pg_put_fields(struct buf *b, struct pg_fields fields)
{
	size_t begun = pg_put_begin(b, PG_ROW_DESCRIPTION);

	pg_put_u16(b, fields.n);
	buf_put_span(b, fields.items);
	pg_put_end(b, begun);
}

void
pg_put_field(struct buf *b, const struct pg_field *field)
{
	pg_put_text(b, field->name);
	pg_put_u32(b, field->table);
	pg_put_u16(b, field->column);
	pg_put_u32(b, field->type);
	pg_put_u16(b, (uint16_t)field->size);
	pg_put_u32(b, (uint32_t)field->modifier);
	pg_put_u16(b, field->format);
}

bool
pg_read_types(struct span body, struct pg_numbers *ret)
{
	struct pg_take t = pg_take_from(body);

	*ret = pg_take_numbers(&t, 4);
	return pg_took_all(&t);
}

void
pg_put_types(struct buf *b, struct pg_numbers types)
{
	size_t begun = pg_put_begin(b, PG_PARAMETER_DESCRIPTION);

	pg_put_numbers(b, types);
	pg_put_end(b, begun);
}

bool
pg_read_row(struct span body, struct pg_values *ret)
{
	struct pg_take t = pg_take_from(body);

	*ret = pg_take_values(&t);
	return pg_took_all(&t);
}

void
pg_put_row(struct buf *b, struct pg_values values)
{
	size_t begun = pg_put_begin(b, PG_DATA_ROW);

	pg_put_values(b, values);
	pg_put_end(b, begun);
}

bool
pg_read_complete(struct span body, struct span *ret_tag)
{
	struct pg_take t = pg_take_from(body);

	*ret_tag = pg_take_text(&t);
	return pg_took_all(&t);
}

void
pg_put_complete(struct buf *b, struct span tag)
{
	size_t begun = pg_put_begin(b, PG_COMMAND_COMPLETE);

	pg_put_text(b, tag);
	pg_put_end(b, begun);
}

/* The number that is the last word of the text, which is cut off. */
static bool
cut_number(struct span *text, uint64_t *ret)
{
	uint64_t unit = 1;
	uint64_t v = 0;
	size_t n = text->n;

	while (n > 0 && text->p[n - 1] >= '0' && text->p[n - 1] <= '9') {
		if (text->n - n == 19)
			return false;
		v += unit * (uint64_t)(text->p[n - 1] - '0');
		unit *= 10;
		n--;
	}
	if (n == text->n || n == 0 || text->p[n - 1] != ' ')
		return false;
	text->n = n - 1;
	*ret = v;
	return true;
}

struct pg_tag
pg_tag_of(struct span text)
{
	struct pg_tag tag = { .has_rows = false };
	uint64_t oid;

	tag.has_rows = cut_number(&text, &tag.rows);
	/* INSERT says a row's number as well, 0 since tables have none. */
	if (tag.has_rows)
		(void)cut_number(&text, &oid);
	tag.verb = text;
	return tag;
}

bool
pg_read_error(struct span body, struct pg_error *ret)
{
	struct pg_take t = pg_take_from(body);
	uint8_t letter;

	*ret = (struct pg_error){ .severity = { NULL, 0 } };
	while ((letter = pg_take_u8(&t)) != 0) {
		struct span text = pg_take_text(&t);

		switch (letter) {
#define X(name, letter) \
	case (letter): ret->name = text; break;
			PG_ERROR_FIELDS(X)
#undef X
		default: break;
		}
	}
	return pg_took_all(&t);
}

static void
put_error_field(struct buf *b, uint8_t letter, struct span text)
{
	if (text.p == NULL)
		return;
	pg_put_u8(b, letter);
	pg_put_text(b, text);
}

void
pg_put_error(struct buf *b, uint8_t type, const struct pg_error *m)
{
	size_t begun = pg_put_begin(b, type);

#define X(name, letter) put_error_field(b, (letter), m->name);
	PG_ERROR_FIELDS(X)
#undef X
	pg_put_u8(b, 0);
	pg_put_end(b, begun);
}

bool
pg_read_notification(struct span body, struct pg_notification *ret)
{
	struct pg_take t = pg_take_from(body);

	ret->process = pg_take_u32(&t);
	ret->channel = pg_take_text(&t);
	ret->text = pg_take_text(&t);
	return pg_took_all(&t);
}

void
pg_put_notification(struct buf *b, const struct pg_notification *m)
{
	size_t begun = pg_put_begin(b, PG_NOTIFICATION);

	pg_put_u32(b, m->process);
	pg_put_text(b, m->channel);
	pg_put_text(b, m->text);
	pg_put_end(b, begun);
}

bool
pg_read_copy_response(struct span body, struct pg_copy_response *ret)
{
	struct pg_take t = pg_take_from(body);
	uint8_t format = pg_take_u8(&t);

	ret->is_binary = format == 1;
	ret->formats = pg_take_numbers(&t, 2);
	return pg_took_all(&t) && format <= 1;
}

void
pg_put_copy_response(struct buf *b, uint8_t type, struct pg_copy_response m)
{
	size_t begun = pg_put_begin(b, type);

	pg_put_u8(b, m.is_binary ? 1 : 0);
	pg_put_numbers(b, m.formats);
	pg_put_end(b, begun);
}

bool
pg_read_function_result(struct span body, struct pg_value *ret)
{
	struct pg_take t = pg_take_from(body);
	int32_t n = pg_take_i32(&t);

	ret->is_null = n == -1;
	ret->bytes = t.rest;
	return !t.bad &&
	       (n == -1 ? t.rest.n == 0 : n >= 0 && (size_t)n == t.rest.n);
}

void
pg_put_function_result(struct buf *b, struct pg_value value)
{
	size_t begun = pg_put_begin(b, PG_FUNCTION_RESULT);

	if (value.is_null)
		pg_put_null(b);
	else
		pg_put_value(b, value.bytes);
	pg_put_end(b, begun);
}

bool
pg_read_negotiation(struct span body, struct pg_negotiation *ret)
{
	struct pg_take t = pg_take_from(body);

	ret->version = pg_take_u32(&t);
	ret->n = pg_take_u32(&t);
	ret->names = pg_take_n_texts(&t, ret->n);
	return pg_took_all(&t);
}

void
pg_put_negotiation(struct buf *b, const struct pg_negotiation *m)
{
	size_t begun = pg_put_begin(b, PG_NEGOTIATE_VERSION);

	pg_put_u32(b, m->version);
	pg_put_u32(b, m->n);
	buf_put_span(b, m->names);
	pg_put_end(b, begun);
}
