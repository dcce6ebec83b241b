/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/compare/value.c: heads of keys, and what counts as equal.
 */
#include "engine/redis/compare/value.h"

static const char *const type_names[VALUE_TYPE_N] = {
	[VALUE_NONE] = "none",     [VALUE_STRING] = "string",
	[VALUE_LIST] = "list",     [VALUE_SET] = "set",
	[VALUE_HASH] = "hash",     [VALUE_ZSET] = "zset",
	[VALUE_STREAM] = "stream", [VALUE_OTHER] = "module type",
};

const char *
value_type_name(enum value_type t)
{
	REQUIRE(t < VALUE_TYPE_N);
	return type_names[t];
}

bool
reply_skip(struct span *in)
{
	uint64_t todo = 1;

	while (todo > 0) {
		struct resp_item item;

		if (resp_read(in, &item) != WIRE_PART)
			return false;
		todo--;
		if (item.type == RESP_ARRAY)
			todo += (uint64_t)item.number;
	}
	return true;
}

bool
value_item(struct span *in, enum resp_type want, struct resp_item *ret)
{
	return resp_read(in, ret) == WIRE_PART && ret->type == want;
}

int
reply_refused(struct span text, struct err *err)
{
	int n = text.n > 160 ? 160 : (int)text.n;

	return err_set(err, ERR_REFUSED, "it answered \"%.*s\"", n,
	               (const char *)text.p);
}

void
value_ask_head(struct buf *b, struct span key, bool no_expiretime)
{
	resp_put_array(b, 2);
	resp_put_bulk(b, SPAN("TYPE"));
	resp_put_bulk(b, key);
	resp_put_array(b, 2);
	resp_put_bulk(b, no_expiretime ? SPAN("PTTL") : SPAN("PEXPIRETIME"));
	resp_put_bulk(b, key);
	resp_put_array(b, 5);
	resp_put_bulk(b, SPAN("MEMORY"));
	resp_put_bulk(b, SPAN("USAGE"));
	resp_put_bulk(b, key);
	resp_put_bulk(b, SPAN("SAMPLES"));
	resp_put_bulk(b, SPAN("1"));
}

static enum value_type
type_of(struct span name)
{
	for (int t = 0; t < VALUE_OTHER; t++)
		if (span_eq(name, span_str(type_names[t])))
			return (enum value_type)t;
	return VALUE_OTHER;
}

/* One of the three answers: what we want, or why not. */
static int
head_item(struct span *in, struct resp_item *ret, struct err *err)
{
	if (resp_read(in, ret) != WIRE_PART || ret->type == RESP_ARRAY)
		return err_set(err, ERR_PROTO,
		               "an answer to TYPE, PEXPIRETIME or MEMORY "
		               "USAGE is not what Redis sends");
	if (ret->type == RESP_ERROR)
		return reply_refused(ret->text, err);
	return 0;
}

int
value_read_head(struct span *in, bool no_expiretime, int64_t now_ms,
                struct value *ret, struct err *err)
{
	struct resp_item type;
	struct resp_item expiry;
	struct resp_item memory;
	int rc;

	*ret = (struct value){ .expires_ms = VALUE_FOREVER };
	if ((rc = head_item(in, &type, err)) < 0 ||
	    (rc = head_item(in, &expiry, err)) < 0 ||
	    (rc = head_item(in, &memory, err)) < 0)
		return rc;
	if (type.type != RESP_STATUS || expiry.type != RESP_INT)
		return err_set(err, ERR_PROTO,
		               "TYPE or PEXPIRETIME gave the wrong kind of "
		               "answer");
	/* -2: gone between the commands. */
	if (expiry.number == -2)
		return 0;
	ret->type = type_of(type.text);
	if (ret->type == VALUE_NONE)
		return 0;
	if (ret->type == VALUE_OTHER)
		ret->type_hash = digest_of(type.text, 0).a;
	if (expiry.number >= 0)
		ret->expires_ms = expiry.number + (no_expiretime ? now_ms : 0);
	if (memory.type == RESP_INT && memory.number > 0)
		ret->bytes = (uint64_t)memory.number;
	return 0;
}

static bool
is_ttl_equal(int64_t x, int64_t y, uint32_t slack_ms)
{
	if (x == y)
		return true;
	if (x == VALUE_FOREVER || y == VALUE_FOREVER)
		return false;
	return (x > y ? x - y : y - x) <= (int64_t)slack_ms;
}

enum value_diff
value_cmp_head(const struct value *x, const struct value *y,
               const struct value_rule *rule)
{
	if (x->type != y->type || x->type_hash != y->type_hash)
		return DIFF_TYPE;
	if (!is_ttl_equal(x->expires_ms, y->expires_ms, rule->ttl_slack_ms))
		return DIFF_TTL;
	return DIFF_NONE;
}

enum value_diff
value_cmp(const struct value *x, const struct value *y,
          const struct value_rule *rule)
{
	enum value_diff d = value_cmp_head(x, y, rule);

	if (d != DIFF_NONE || x->type == VALUE_NONE)
		return d;
	if (!x->is_read || !y->is_read)
		return DIFF_DATA;
	if (x->n != y->n || !digest_eq(x->data, y->data) ||
	    !digest_eq(x->groups, y->groups))
		return DIFF_DATA;
	if (x->has_meta && y->has_meta && !digest_eq(x->meta, y->meta))
		return DIFF_DATA;
	return digest_eq(x->note, y->note) ? DIFF_NONE : DIFF_NOTE;
}
