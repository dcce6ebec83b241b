/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/compare/digest.c: replies to 128 bits, whatever their encoding.
 */
#include "base/hash.h"
#include "engine/redis/compare/value.h"

/* Bytes behind the value in a DUMP payload: RDB version (2), CRC64 (8). */
#define DUMP_FOOTER 10

struct digest
digest_of(struct span s, uint64_t seed)
{
	return (struct digest){ hash_bytes(s, seed), hash_bytes(s, ~seed) };
}

void
digest_chain(struct digest *d, struct digest e)
{
	d->a = hash_mix(d->a + e.a) + 1;
	d->b = hash_mix(d->b + e.b) + 1;
}

struct digest
digest_pair(struct digest first, struct digest second)
{
	struct digest d = { hash_mix(first.a), hash_mix(first.b) };

	digest_chain(&d, second);
	return d;
}

struct digest
digest_score(struct span text, const struct value_rule *rule)
{
	uint64_t bits = rule->score_bits(text);

	return digest_of(span_of(&bits, sizeof(bits)), rule->seed);
}

void
value_ask_body(struct buf *b, enum value_type type, struct span key,
               bool field_ttl)
{
	static const char *const words[VALUE_TYPE_N][4] = {
		[VALUE_STRING] = { "GET" },
		[VALUE_LIST] = { "LRANGE", "0", "-1" },
		[VALUE_SET] = { "SMEMBERS" },
		[VALUE_HASH] = { "HGETALL" },
		[VALUE_ZSET] = { "ZRANGE", "0", "-1", "WITHSCORES" },
		[VALUE_STREAM] = { "XINFO", "FULL", "COUNT", "0" },
		[VALUE_OTHER] = { "DUMP" },
	};
	size_t n = 0;

	if (type == VALUE_NONE)
		return;
	if (type == VALUE_HASH && field_ttl) {
		fields_ask(b, FIELDS_ALL, key, 0);
		return;
	}
	while (n < 4 && words[type][n] != NULL)
		n++;
	resp_put_array(b, n + (type == VALUE_STREAM ? 2 : 1));
	resp_put_bulk_str(b, words[type][0]);
	if (type == VALUE_STREAM)
		resp_put_bulk(b, SPAN("STREAM"));
	resp_put_bulk(b, key);
	for (size_t i = 1; i < n; i++)
		resp_put_bulk_str(b, words[type][i]);
}

static int
bad_reply(const struct value *v, struct err *err)
{
	return err_set(err, ERR_PROTO, "the answer with a %s's value is broken",
	               value_type_name(v->type));
}

/* n bulk strings, one element each (set, list) or two (hash, sorted set). */
static int
read_elements(struct span *in, int64_t n, const struct value_rule *rule,
              struct value *v, struct err *err)
{
	bool is_paired = v->type == VALUE_HASH || v->type == VALUE_ZSET;

	if (is_paired && n % 2 != 0)
		return bad_reply(v, err);
	for (int64_t i = 0; i < n; i += is_paired ? 2 : 1) {
		struct resp_item first;
		struct resp_item second;
		struct digest d;

		if (!value_item(in, RESP_BULK, &first))
			return bad_reply(v, err);
		d = digest_of(first.text, rule->seed);
		if (is_paired && !value_item(in, RESP_BULK, &second))
			return bad_reply(v, err);
		if (v->type == VALUE_HASH)
			d = digest_pair(d, digest_of(second.text, rule->seed));
		if (v->type == VALUE_ZSET)
			d = digest_pair(d, digest_score(second.text, rule));
		if (v->type == VALUE_LIST)
			digest_chain(&v->data, d);
		else
			digest_add(&v->data, d);
		v->n++;
	}
	return 0;
}

/* A bulk string: a string's bytes, or a module's payload without its footer
 * (which tells the server's RDB version). */
static void
read_bytes(struct span text, const struct value_rule *rule, struct value *v)
{
	if (v->type == VALUE_OTHER && text.n > DUMP_FOOTER)
		text.n -= DUMP_FOOTER;
	v->n = text.n;
	v->data = digest_of(text, rule->seed);
}

/* Errors that mean: the key is not what its head said any more. */
static bool
is_gone(struct span text)
{
	return span_has_prefix(text, SPAN("WRONGTYPE")) ||
	       span_has_prefix(text, SPAN("ERR no such key"));
}

int
value_read_body(struct span *in, const struct value_rule *rule, struct value *v,
                struct err *err)
{
	struct span all = *in;
	struct resp_item top;
	bool is_bytes = v->type == VALUE_STRING || v->type == VALUE_OTHER;

	REQUIRE(v->type != VALUE_NONE);
	v->n = 0;
	v->data = v->groups = v->meta = v->note = (struct digest){ 0, 0 };
	v->is_read = v->has_meta = false;
	if (resp_read(in, &top) != WIRE_PART)
		return bad_reply(v, err);
	if (top.type == RESP_ERROR)
		return is_gone(top.text) ? 0 : reply_refused(top.text, err);
	if (top.type == RESP_NIL)
		return 0;
	if (top.type != (is_bytes ? RESP_BULK : RESP_ARRAY))
		return bad_reply(v, err);
	v->is_read = true;
	if (is_bytes) {
		read_bytes(top.text, rule, v);
		return 0;
	}
	if (v->type == VALUE_STREAM) {
		*in = all;
		return stream_read(in, rule, v, err);
	}
	return read_elements(in, top.number, rule, v, err);
}
