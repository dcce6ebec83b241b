/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/compare/stream.c: what XINFO STREAM k FULL tells, as digests.
 * Source: https://redis.io/docs/latest/commands/xinfo-stream/
 *
 * RESP2 sends maps as flat arrays of name, value:
 *
 *   top     length, last-generated-id, entries-added, max-deleted-entry-id,
 *           entries [[id [field value ...]] ...], groups [group ...]
 *   group   name, last-delivered-id, entries-read, lag, pel-count,
 *           pending [[id consumer delivery-time delivery-count] ...],
 *           consumers [consumer ...]
 *   consumer name, seen-time, (active-time,) pel-count, pending
 *
 * Left out: radix-tree-keys, radix-tree-nodes, recorded-first-entry-id (follow
 * from the encoding or the entries), seen-time, active-time (set by reading),
 * pending of the consumers (the group's says the same).
 */
#include "base/hash.h"
#include "engine/redis/compare/value.h"

struct walk {
	struct span *in;
	const struct value_rule *rule;
	struct value *v;
	/* of the consumer in hand */
	struct digest consumer;
	int64_t consumer_pending;
};

/* One whole value, flattened, into d: lengths and nesting included. */
static bool
chain_value(struct walk *w, struct digest *d)
{
	uint64_t todo = 1;

	while (todo > 0) {
		struct resp_item item;

		if (resp_read(w->in, &item) != WIRE_PART ||
		    item.type == RESP_ERROR)
			return false;
		todo--;
		if (item.type == RESP_BULK || item.type == RESP_STATUS) {
			digest_chain(d, digest_of(item.text, w->rule->seed));
			continue;
		}
		digest_chain(d, (struct digest){ (uint64_t)item.number,
		                                 (uint64_t)item.type });
		if (item.type == RESP_ARRAY)
			todo += (uint64_t)item.number;
	}
	return true;
}

static bool
read_consumer_field(struct walk *w, struct span name)
{
	struct resp_item item;

	if (span_eq(name, SPAN("name"))) {
		if (!value_item(w->in, RESP_BULK, &item))
			return false;
		w->consumer = digest_of(item.text, w->rule->seed);
		return true;
	}
	if (span_eq(name, SPAN("pel-count"))) {
		if (!value_item(w->in, RESP_INT, &item))
			return false;
		w->consumer_pending = item.number;
		return true;
	}
	return reply_skip(w->in);
}

static bool
read_consumers(struct walk *w)
{
	struct resp_item list;

	if (!value_item(w->in, RESP_ARRAY, &list))
		return false;
	for (int64_t i = 0; i < list.number; i++) {
		struct resp_item map;

		w->consumer_pending = 0;
		if (!value_item(w->in, RESP_ARRAY, &map))
			return false;
		for (int64_t j = 0; j + 1 < map.number; j += 2) {
			struct resp_item name;

			if (!value_item(w->in, RESP_BULK, &name) ||
			    !read_consumer_field(w, name.text))
				return false;
		}
		/* With pending entries its name is among them. */
		if (w->consumer_pending == 0)
			digest_chain(&w->v->note, w->consumer);
	}
	return true;
}

static bool
is_one_of(struct span name, const char *const *list)
{
	for (; *list != NULL; list++)
		if (span_eq(name, span_str(*list)))
			return true;
	return false;
}

static bool
read_group_field(struct walk *w, struct span name)
{
	static const char *const data[] = { "name",      "last-delivered-id",
		                            "pel-count", "pel",
		                            "pending",   NULL };
	static const char *const note[] = { "entries-read", "lag", NULL };

	if (is_one_of(name, data))
		return chain_value(w, &w->v->groups);
	if (is_one_of(name, note))
		return chain_value(w, &w->v->note);
	if (span_eq(name, SPAN("consumers")))
		return read_consumers(w);
	return reply_skip(w->in);
}

static bool
read_groups(struct walk *w)
{
	struct resp_item list;

	if (!value_item(w->in, RESP_ARRAY, &list))
		return false;
	digest_chain(&w->v->groups,
	             (struct digest){ (uint64_t)list.number, 0 });
	for (int64_t i = 0; i < list.number; i++) {
		struct resp_item map;

		if (!value_item(w->in, RESP_ARRAY, &map))
			return false;
		for (int64_t j = 0; j + 1 < map.number; j += 2) {
			struct resp_item name;

			if (!value_item(w->in, RESP_BULK, &name) ||
			    !read_group_field(w, name.text))
				return false;
		}
	}
	return true;
}

static bool
read_top_field(struct walk *w, struct span name)
{
	static const char *const data[] = { "last-generated-id", "entries",
		                            NULL };
	static const char *const meta[] = { "entries-added",
		                            "max-deleted-entry-id", NULL };
	struct resp_item item;

	if (span_eq(name, SPAN("length"))) {
		if (!value_item(w->in, RESP_INT, &item) || item.number < 0)
			return false;
		w->v->n = (uint64_t)item.number;
		return true;
	}
	if (is_one_of(name, data))
		return chain_value(w, &w->v->data);
	if (is_one_of(name, meta)) {
		w->v->has_meta = true;
		return chain_value(w, &w->v->meta);
	}
	if (span_eq(name, SPAN("groups")))
		return read_groups(w);
	return reply_skip(w->in);
}

int
stream_read(struct span *in, const struct value_rule *rule, struct value *v,
            struct err *err)
{
	struct walk w = { .in = in, .rule = rule, .v = v };
	struct resp_item map;
	bool ok = value_item(in, RESP_ARRAY, &map);

	REQUIRE(v->type == VALUE_STREAM);
	for (int64_t j = 0; ok && j + 1 < map.number; j += 2) {
		struct resp_item name;

		ok = value_item(in, RESP_BULK, &name) &&
		     read_top_field(&w, name.text);
	}
	if (!ok)
		return err_set(err, ERR_PROTO,
		               "the answer to XINFO STREAM FULL is broken");
	return 0;
}
