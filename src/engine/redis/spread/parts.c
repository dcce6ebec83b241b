/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/parts.c: requests that concern several instances.
 */
#include "engine/redis/spread/inside.h"

static bool
have_room(struct client *c, uint32_t mask)
{
	bool room = true;

	for (uint32_t i = 0; i < c->n; i++) {
		if (mask >> i & 1)
			room &= branch_has_room(&c->branch[i]);
	}
	return room;
}

enum take
parts_across(struct client *c, const struct asked *a, const struct owners *o)
{
	c->s->n.refused++;
	ask_textf(c, 0,
	          "-CROSSSLOT godwit: keys of %s are on several "
	          "instances (%s, %s)",
	          a->row->name, spread_label(c->s, o->first),
	          spread_label(c->s, o->other));
	return TAKE_DONE;
}

/* Would it be wrong to ask the same server twice? */
static bool
is_once(const struct command *row)
{
	static const char *const names[] = {
		"dbsize",
		"keys",
		"function|load",
		"function|restore",
		"function|kill",
		"function|delete",
		"bgsave",
		"bgrewriteaof",
		"latency|reset",
		"pubsub|shardchannels",
		"pubsub|shardnumsub",
	};
	struct span name = span_of((const uint8_t *)row->name, row->name_n);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (span_eq(name, span_str(names[i])))
			return true;
	}
	return false;
}

static bool
is_flush(const struct command *row)
{
	struct span name = span_of((const uint8_t *)row->name, row->name_n);

	return span_eq(name, SPAN("flushall")) ||
	       span_eq(name, SPAN("flushdb"));
}

static uint32_t
mask_of(const struct client *c, const struct asked *a)
{
	const struct spread_conf *conf = c->s->conf;
	uint32_t all = (1u << c->n) - 1;
	uint32_t some = conf->speakers != NULL && is_once(a->row)
	                        ? atomic_load(conf->speakers) & all
	                        : 0;

	return some != 0 ? some : all;
}

enum take
parts_all(struct client *c, const struct asked *a)
{
	uint32_t mask = mask_of(c, a);
	struct ask ask = { .kind = a->fold == FOLD_CHAIN ? ASK_MERGE
		                                         : ASK_GATHER,
		           .fold = (uint8_t)a->fold,
		           .mask = (uint16_t)mask };

	/* The relay of what is watched would refuse it, and the others not. */
	if (a->row->handler == COMMAND_SELECT && c->tx.watching)
		return route_refuse(c, "%s after WATCH", a->row->name);
	if (!have_room(c, mask))
		return TAKE_WAIT;
	if (a->fold == FOLD_ANY)
		ask.at = (uint8_t)(c->s->turn++ % c->n);
	if (a->row->handler == COMMAND_WAIT)
		ask.flags = ASK_F_BLOCK;
	if (a->fold == FOLD_AGREE || a->row->handler == COMMAND_WAIT)
		c->stall = true;
	/* What stands behind it is not emptied by an instance that is late, and
	 * shares the server. */
	if (c->s->conf->by_slot && is_flush(a->row))
		c->stall = true;
	if (a->row->handler == COMMAND_RESET) {
		ask.flags = ASK_F_AWAY;
		tx_clear(c);
	}
	if (!ask_put(c, ask))
		return TAKE_DONE;
	for (uint32_t i = 0; i < c->n; i++) {
		if (mask >> i & 1)
			branch_put(&c->branch[i], a->raw);
	}
	return TAKE_DONE;
}

/* ---- in parts ----------------------------------------------------------- */

/* How many keys each has, and (of MGET) whose each is. */
static void
count(struct client *c, const struct asked *a, uint32_t keys[SPREAD_MAX])
{
	const struct spread *s = c->s;
	uint32_t step = (uint32_t)a->row->step;
	struct span arg;
	size_t pos = 0;

	for (uint32_t i = 0; resp_cmd_walk(a->raw, &pos, &arg); i++) {
		uint8_t at;

		if (i == 0 || (i - 1) % step != 0)
			continue;
		at = s->owner[hash_slot(arg)];
		keys[at]++;
		if (a->fold == FOLD_BY_KEY || s->conf->by_slot)
			buf_put(&c->orders, &at, 1);
	}
}

/* Each word to whom it belongs; what is behind a key (MSET) goes with it. */
static void
deal(struct client *c, const struct asked *a)
{
	const struct spread *s = c->s;
	uint32_t step = (uint32_t)a->row->step;
	struct branch *b = NULL;
	struct span arg;
	size_t pos = 0;

	for (uint32_t i = 0; resp_cmd_walk(a->raw, &pos, &arg); i++) {
		if (i == 0)
			continue;
		if ((i - 1) % step == 0)
			b = &c->branch[s->owner[hash_slot(arg)]];
		if (b->link != NULL)
			resp_put_bulk(&b->link->tx, arg);
	}
}

/* A request for each key. */
static void
deal_keys(struct client *c, const struct asked *a)
{
	const struct spread *s = c->s;
	uint32_t step = (uint32_t)a->row->step;
	struct branch *b = NULL;
	struct span arg;
	size_t pos = 0;

	for (uint32_t i = 0; resp_cmd_walk(a->raw, &pos, &arg); i++) {
		if (i == 0)
			continue;
		if ((i - 1) % step == 0) {
			b = &c->branch[s->owner[hash_slot(arg)]];
			if (b->link != NULL) {
				resp_put_array(&b->link->tx, 1 + (size_t)step);
				resp_put_bulk(&b->link->tx, a->q->argv[0]);
				port_touch(s->port, b->link);
			}
		}
		if (b->link != NULL)
			resp_put_bulk(&b->link->tx, arg);
	}
}

static uint8_t
kind_of(const struct client *c, const struct asked *a)
{
	if (a->fold != FOLD_BY_KEY)
		return ASK_GATHER;
	return c->s->conf->by_slot ? ASK_KEYS : ASK_MERGE;
}

enum take
parts_send(struct client *c, const struct asked *a, const struct owners *o)
{
	bool each = a->fold == FOLD_BY_KEY || c->s->conf->by_slot;
	uint32_t keys[SPREAD_MAX] = { 0 };
	struct ask ask = { .kind = kind_of(c, a),
		           .fold = (uint8_t)a->fold,
		           .mask = (uint16_t)o->mask,
		           .n = each ? o->n : 0 };

	if (!have_room(c, o->mask))
		return TAKE_WAIT;
	count(c, a, keys);
	if (buf_failed(&c->orders)) {
		client_end(c, "ERR godwit: out of memory");
		return TAKE_DONE;
	}
	if (!ask_put(c, ask))
		return TAKE_DONE;
	if (c->s->conf->by_slot) {
		deal_keys(c, a);
		return TAKE_DONE;
	}
	for (uint32_t i = 0; i < c->n; i++) {
		struct branch *b = &c->branch[i];

		if (keys[i] == 0 || b->link == NULL)
			continue;
		resp_put_array(&b->link->tx,
		               1 + (size_t)keys[i] * (size_t)a->row->step);
		resp_put_bulk(&b->link->tx, a->q->argv[0]);
		port_touch(c->s->port, b->link);
	}
	deal(c, a);
	return TAKE_DONE;
}
