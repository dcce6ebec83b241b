/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/pg_message.c: what is read from a message and written again is the
 * same message.
 */
#include "pg_message.h"

#include "base/check.h"
#include "wire/pg_back.h"

static bool
again_start(const struct pg_message *m, struct buf *to)
{
	struct span pairs;
	struct pg_pair pair;
	struct pg_key key;

	if (m->code == PG_SSL || m->code == PG_GSSENC) {
		pg_put_request(to, (enum pg_code)m->code);
		return true;
	}
	if (m->code == PG_CANCEL) {
		if (!pg_read_cancel(m->body, &key))
			return false;
		pg_put_cancel(to, key);
		return true;
	}
	if (!pg_read_startup(m->body, &pairs))
		return false;
	for (struct span rest = pairs; pg_pair_next(&rest, &pair);) {
		struct span value = pg_pair_find(pairs, pair.name);

		REQUIRE(pair.name.n > 0 && value.p != NULL);
	}
	pg_put_startup(to, m->code, pairs);
	return true;
}

/* Walk values, item by item. */
static void
put_values(struct buf *b, struct pg_values values)
{
	struct span rest = values.items;
	struct pg_value v;
	uint32_t n = 0;

	for (; pg_value_next(&rest, &v); n++) {
		if (v.is_null)
			pg_put_null(b);
		else
			pg_put_value(b, v.bytes);
	}
	REQUIRE(n == values.n);
}

static void
touch_formats(struct pg_numbers formats, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)pg_format_of(formats, i);
}

static bool
again_bind(struct span body, struct buf *to)
{
	struct buf values;
	struct pg_bind m;

	if (!pg_read_bind(body, &m))
		return false;
	buf_init(&values, to->mem);
	put_values(&values, m.values);
	REQUIRE(span_eq(buf_span(&values), m.values.items));
	touch_formats(m.formats, m.values.n);
	pg_put_bind(to, &m);
	buf_fini(&values);
	return true;
}

static bool
again_answer(struct span body, int kind, struct buf *to)
{
	struct pg_sasl sasl;
	struct span text;

	if (kind == PG_ANSWER_SASL) {
		if (!pg_read_sasl(body, &sasl))
			return false;
		pg_put_sasl(to, &sasl);
		return true;
	}
	if (!pg_read_password(body, &text))
		return false;
	pg_put_password(to, text);
	return true;
}

static bool
again_front(const struct pg_message *m, int kind, struct buf *to)
{
	union {
		struct pg_parse parse;
		struct pg_target target;
		struct pg_execute execute;
		struct pg_call call;
		struct span text;
	} u;
	bool good = true;

	switch (m->type) {
	case PG_QUERY:
		good = pg_read_query(m->body, &u.text);
		if (good)
			pg_put_query(to, u.text);
		return good;
	case PG_PARSE:
		good = pg_read_parse(m->body, &u.parse);
		if (good)
			pg_put_parse(to, &u.parse);
		return good;
	case PG_BIND: return again_bind(m->body, to);
	case PG_DESCRIBE:
	case PG_CLOSE:
		good = pg_read_target(m->body, &u.target);
		if (good)
			pg_put_target(to, m->type, u.target);
		return good;
	case PG_EXECUTE:
		good = pg_read_execute(m->body, &u.execute);
		if (good)
			pg_put_execute(to, u.execute);
		return good;
	case PG_FUNCTION_CALL:
		good = pg_read_call(m->body, &u.call);
		if (good)
			pg_put_call(to, &u.call);
		return good;
	case PG_COPY_FAIL:
		good = pg_read_copy_fail(m->body, &u.text);
		if (good)
			pg_put_copy_fail(to, u.text);
		return good;
	case PG_COPY_DATA: pg_put_copy_data(to, m->body); return true;
	case PG_PASSWORD: return again_answer(m->body, kind, to);
	default: return false;
	}
}

static bool
again_fields(struct span body, struct buf *to)
{
	struct pg_fields fields;
	struct pg_field field;
	struct span rest;
	struct buf items;
	uint32_t n = 0;

	if (!pg_read_fields(body, &fields))
		return false;
	buf_init(&items, to->mem);
	for (rest = fields.items; pg_field_next(&rest, &field); n++)
		pg_put_field(&items, &field);
	REQUIRE(n == fields.n && span_eq(buf_span(&items), fields.items));
	pg_put_fields(to, fields);
	buf_fini(&items);
	return true;
}

static bool
again_row(struct span body, struct buf *to)
{
	struct pg_values values;
	struct buf items;

	if (!pg_read_row(body, &values))
		return false;
	buf_init(&items, to->mem);
	put_values(&items, values);
	values.items = buf_span(&items);
	pg_put_row(to, values);
	buf_fini(&items);
	return true;
}

static bool
again_complete(struct span body, struct buf *to)
{
	struct span text;
	struct pg_tag tag;

	if (!pg_read_complete(body, &text))
		return false;
	tag = pg_tag_of(text);
	REQUIRE(tag.verb.n <= text.n && span_has_prefix(text, tag.verb));
	pg_put_complete(to, text);
	return true;
}

static bool
again_error(const struct pg_message *m, struct buf *to)
{
	struct pg_error first;
	struct pg_error second;
	struct span body;

	if (!pg_read_error(m->body, &first))
		return false;
	pg_put_error(to, m->type, &first);
	/* What is known is kept, in our order. */
	body = span_skip(buf_span(to), 5);
	REQUIRE(pg_read_error(body, &second));
#define X(name, letter) REQUIRE(span_eq(first.name, second.name));
	PG_ERROR_FIELDS(X)
#undef X
	return true;
}

static bool
again_session(const struct pg_message *m, struct buf *to)
{
	union {
		struct pg_authentication authentication;
		struct pg_key key;
		struct pg_pair pair;
		enum pg_transaction state;
		struct pg_notification notification;
		struct pg_negotiation negotiation;
	} u;
	bool good = true;

	switch (m->type) {
	case PG_AUTHENTICATION:
		good = pg_read_authentication(m->body, &u.authentication);
		if (good)
			pg_put_authentication(to, &u.authentication);
		return good;
	case PG_BACKEND_KEY:
		good = pg_read_key(m->body, &u.key);
		if (good)
			pg_put_key(to, u.key);
		return good;
	case PG_PARAMETER_STATUS:
		good = pg_read_parameter(m->body, &u.pair);
		if (good)
			pg_put_parameter(to, u.pair.name, u.pair.value);
		return good;
	case PG_READY:
		good = pg_read_ready(m->body, &u.state);
		if (good)
			pg_put_ready(to, u.state);
		return good;
	case PG_NOTIFICATION:
		good = pg_read_notification(m->body, &u.notification);
		if (good)
			pg_put_notification(to, &u.notification);
		return good;
	case PG_NEGOTIATE_VERSION:
		good = pg_read_negotiation(m->body, &u.negotiation);
		if (good)
			pg_put_negotiation(to, &u.negotiation);
		return good;
	default: return false;
	}
}

static bool
again_back(const struct pg_message *m, struct buf *to)
{
	union {
		struct pg_numbers types;
		struct pg_copy_response copy;
		struct pg_value value;
	} u;
	bool good = true;

	switch (m->type) {
	case PG_ROW_DESCRIPTION: return again_fields(m->body, to);
	case PG_DATA_ROW: return again_row(m->body, to);
	case PG_COMMAND_COMPLETE: return again_complete(m->body, to);
	case PG_ERROR_RESPONSE:
	case PG_NOTICE_RESPONSE: return again_error(m, to);
	case PG_PARAMETER_DESCRIPTION:
		good = pg_read_types(m->body, &u.types);
		if (good)
			pg_put_types(to, u.types);
		return good;
	case PG_COPY_IN_RESPONSE:
	case PG_COPY_OUT_RESPONSE:
	case PG_COPY_BOTH_RESPONSE:
		good = pg_read_copy_response(m->body, &u.copy);
		if (good)
			pg_put_copy_response(to, m->type, u.copy);
		return good;
	case PG_FUNCTION_RESULT:
		good = pg_read_function_result(m->body, &u.value);
		if (good)
			pg_put_function_result(to, u.value);
		return good;
	default: return again_session(m, to);
	}
}

bool
pg_message_again(enum pg_side from, const struct pg_message *m, int kind,
                 struct buf *again)
{
	if (m->type == 0)
		return again_start(m, again);
	if (from == PG_FRONT)
		return again_front(m, kind, again);
	return again_back(m, again);
}

bool
pg_message_is_exact(enum pg_side from, uint8_t type)
{
	return from == PG_FRONT ||
	       (type != PG_ERROR_RESPONSE && type != PG_NOTICE_RESPONSE);
}
