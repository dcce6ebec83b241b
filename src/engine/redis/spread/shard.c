/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/shard.c: shard channels. One belongs to the instance of its
 * slot, so a subscriber may hear several.
 *
 * SSUBSCRIBE and SUNSUBSCRIBE run alone: everything before is answered first, and
 * nothing is taken behind them until they are. So an ask knows how many answers
 * of its instance are its own, and confirmations keep the order of the names.
 * Each tells how many shard channels there are: the instances' last ones, summed.
 * An instance ends a subscription by itself when the slot leaves it.
 */
#include "engine/redis/spread/inside.h"

/* A confirmation is put together here: its name must be there as a whole. */
#define NAMES_MAX 65536

/* ---- what the instances say ---------------------------------------------- */

struct form {
	const char *text;
	enum item item;
};

/* What the item at the front of b is, as far as it is known; false: more of it
 * must be here. */
static bool
classify(struct branch *b)
{
	static const struct form forms[] = {
		{ "3\r\n$10\r\nssubscribe\r\n", ITEM_CONFIRMS },
		{ "3\r\n$12\r\nsunsubscribe\r\n", ITEM_CONFIRMS },
		{ "3\r\n$8\r\nsmessage\r\n", ITEM_MESSAGE },
		{ "3\r\n$7\r\nmessage\r\n", ITEM_MESSAGE },
		{ "4\r\n$8\r\npmessage\r\n", ITEM_MESSAGE },
		{ "2\r\n$10\r\ninvalidate\r\n", ITEM_MESSAGE },
	};
	struct span in = feed_span(&b->rx);

	b->item = ITEM_ERROR;
	if (in.n == 0)
		return false;
	if (in.p[0] == '-')
		return true;
	b->item = ITEM_ANSWER;
	if (in.p[0] != '*' && in.p[0] != '>')
		return true;
	in = span_skip(in, 1);
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		size_t n = strlen(forms[i].text);
		size_t look = in.n < n ? in.n : n;

		if (memcmp(in.p, forms[i].text, look) != 0)
			continue;
		b->item = (uint8_t)forms[i].item;
		return look == n;
	}
	return true;
}

/* It may be one of those that the first ask waits for. */
static void
asked(struct client *c, const struct branch *b)
{
	struct ask *a = ring_first(&c->asks);

	if (b->item == ITEM_MESSAGE || a == NULL || a->kind != ASK_SHARD ||
	    a->at != b->at || a->n == 0)
		return;
	a->n = b->item == ITEM_ERROR ? 0 : a->n - 1;
}

/* A whole confirmation, with the count of all instances. False: it is none. */
static bool
confirm(struct client *c, struct branch *b, struct span in, struct buf *to)
{
	struct span rest = in;
	struct resp_item it[4];
	size_t head = in.n - 2;

	for (int i = 0; i < 4; i++) {
		if (resp_read(&rest, &it[i]) != WIRE_PART)
			it[i].type = RESP_NIL;
	}
	if (it[3].type != RESP_INT || it[3].number < 0 || rest.n > 0)
		return false;
	while (in.p[head] != ':')
		head--;
	c->sub.shards -= b->shards;
	b->shards = (uint32_t)it[3].number;
	c->sub.shards += b->shards;
	if (c->proto == 2 && c->sub.shards > 0 && !c->sub.on) {
		c->sub.on = true;
		c->sub.mark = MARK_NONE;
	}
	buf_put(to, in.p, head);
	resp_put_int(to, c->sub.shards);
	return true;
}

/* The one at the front, when all of it is there. */
static enum flow
confirmed(struct client *c, struct branch *b, struct buf *to)
{
	struct span in = feed_span(&b->rx);
	int64_t n = resp_reply_len(in);

	if (n == 0 && b->link != NULL)
		return FLOW_MORE;
	if (n <= 0 || !confirm(c, b, span_of(in.p, (size_t)n), to)) {
		answer_broken(c, b);
		return FLOW_MORE;
	}
	feed_use(&b->rx, (size_t)n);
	return FLOW_DONE;
}

enum flow
shard_keep(struct client *c, struct branch *b, struct buf *to)
{
	struct span piece;
	enum wire_rc rc;

	if (!b->inside && !classify(b) && b->link != NULL)
		return FLOW_MORE;
	if (!b->inside && b->item == ITEM_CONFIRMS)
		return confirmed(c, b, to);
	rc = branch_piece(b, &piece);
	if (b->at == HOME || b->shards > 0)
		buf_put_span(to, piece);
	feed_use(&b->rx, piece.n);
	if (rc < 0 || (rc == WIRE_MORE && b->link == NULL)) {
		answer_broken(c, b);
		return FLOW_MORE;
	}
	return rc == WIRE_MORE ? FLOW_MORE : FLOW_DONE;
}

enum flow
shard_item(struct client *c, struct branch *b)
{
	bool hides = c->s->conf->topology.n > 0 && shard_has_turn(c);
	enum flow flow;

	if (!b->inside && !classify(b) && b->link != NULL)
		return FLOW_MORE;
	if (!b->inside && b->item == ITEM_CONFIRMS) {
		struct buf *to = spread_scratch(c->s);

		flow = confirmed(c, b, to);
		if (flow == FLOW_DONE)
			answer_put_buf(c, to);
		if (c->dead)
			flow = FLOW_MORE;
	} else if (b->item == ITEM_ERROR && hides) {
		flow = view_error(c, b);
	} else {
		flow = answer_stream(c, b, true);
	}
	if (flow == FLOW_DONE)
		asked(c, b);
	return flow;
}

/* ---- between answers ------------------------------------------------------ */

/* The instance whose item has left in part, while no ask reads there. */
static struct branch *
midway(struct client *c)
{
	for (uint32_t i = 0; i < c->n && c->midway; i++) {
		struct branch *b = &c->branch[i];

		if (b->inside && (i == HOME || b->shards > 0))
			return b;
	}
	return NULL;
}

bool
shard_has_turn(struct client *c)
{
	struct ask *a = ring_first(&c->asks);

	return a != NULL && a->kind == ASK_SHARD;
}

/* Messages of b, which is not home, to a subscriber of RESP2. */
static bool
hear(struct client *c, struct branch *b)
{
	while (!answer_is_slow(c)) {
		struct span in = feed_span(&b->rx);

		if (in.n == 0)
			return !b->inside;
		/* The answer of RESET, while it is under way. */
		if (b->inside ? !c->midway : in.p[0] != '*')
			return true;
		if (shard_item(c, b) != FLOW_DONE)
			return false;
		c->midway = false;
		if (b->shards == 0)
			return true;
	}
	return false;
}

/* Nothing is told but what asks for it; an item that was begun has its end. */
static bool
hear_rest(struct client *c)
{
	struct branch *b = midway(c);

	if (b == NULL || b->at == ring_first(&c->asks)->at)
		return true;
	if (shard_item(c, b) != FLOW_DONE)
		return false;
	c->midway = false;
	return true;
}

bool
shard_hear(struct client *c)
{
	struct branch *first = midway(c);

	if (shard_has_turn(c))
		return hear_rest(c);
	if (first != NULL && first->at != HOME && !hear(c, first))
		return false;
	if (!sub_run(c))
		return false;
	for (uint32_t i = HOME + 1; i < c->n && c->sub.shards > 0; i++) {
		struct branch *b = &c->branch[i];

		if (b->shards > 0 && !hear(c, b))
			return false;
	}
	return true;
}

enum flow
shard_run(struct client *c, const struct ask *a)
{
	struct branch *b = &c->branch[a->at];

	while (a->n > 0) {
		if (answer_is_slow(c) || shard_item(c, b) != FLOW_DONE)
			return FLOW_MORE;
		c->midway = false;
		b->pushing = false;
	}
	return FLOW_DONE;
}

void
shard_clear(struct client *c)
{
	c->sub.shards = 0;
	for (uint32_t i = 0; i < c->n; i++)
		c->branch[i].shards = 0;
}

/* ---- what the client says -------------------------------------------------- */

/* Everything before is answered, home's confirmations too. */
static bool
is_alone(struct client *c)
{
	c->stall = true;
	if (ring_n(&c->asks) > 0)
		return false;
	if (!c->sub.on || !c->sub.owes)
		return true;
	if (c->sub.mark == MARK_NONE)
		sub_ask(c);
	if (c->sub.mark == MARK_NONE || c->sub.mark == MARK_ASKED)
		return false;
	c->sub.mark = MARK_NONE;
	c->sub.owes = false;
	return true;
}

static void
ask_one(struct client *c, uint8_t at, uint32_t n, struct span raw)
{
	struct ask ask = { .kind = ASK_SHARD, .at = at, .n = n };

	ask_send(c, ask, raw);
}

/* Each name to its owner. */
static void
send_each(struct client *c, const struct asked *a)
{
	struct span arg;
	size_t pos = 0;

	for (uint32_t i = 0; resp_cmd_walk(a->raw, &pos, &arg); i++) {
		struct buf *b = spread_scratch(c->s);

		if (i == 0)
			continue;
		resp_put_array(b, 2);
		resp_put_bulk_str(b, a->row->name);
		resp_put_bulk(b, arg);
		if (buf_failed(b))
			client_end(c, "ERR godwit: out of memory");
		if (c->dead)
			return;
		ask_one(c, c->s->owner[hash_slot(arg)], 1, buf_span(b));
	}
}

/* SUNSUBSCRIBE alone. */
static void
leave_all(struct client *c, const struct asked *a)
{
	if (c->sub.shards == 0)
		ask_one(c, HOME, 1, a->raw);
	for (uint32_t i = 0; i < c->n && !c->dead; i++) {
		if (c->branch[i].shards > 0)
			ask_one(c, (uint8_t)i, c->branch[i].shards, a->raw);
	}
}

static bool
have_room(struct client *c)
{
	bool yes = true;

	for (uint32_t i = 0; i < c->n; i++)
		yes &= branch_has_room(&c->branch[i]);
	return yes;
}

enum take
shard_take(struct client *c, const struct asked *a)
{
	struct owners o;

	if (!a->whole)
		return TAKE_MORE;
	if (a->raw.n > NAMES_MAX || a->q->argc > SPREAD_ASKS_MAX / 2)
		return route_refuse(c,
		                    "%s with names above 64 KiB, or with "
		                    "more than 500",
		                    a->row->name);
	if (!is_alone(c) || !have_room(c))
		return TAKE_WAIT;
	if (a->q->argc == 1) {
		leave_all(c, a);
		return TAKE_DONE;
	}
	if (!rule_owners(c->s, a->row, a->q, a->raw, &o))
		NEVER("it is whole");
	if (!owners_are_several(&o) && !o.several_slots)
		ask_one(c, o.first, o.n, a->raw);
	else if (c->s->conf->across == SPREAD_REFUSE)
		return parts_across(c, a, &o);
	else
		send_each(c, a);
	return TAKE_DONE;
}

enum take
shard_other(struct client *c, const struct asked *a)
{
	uint8_t at = 0;

	while (c->branch[at].shards == 0)
		at++;
	if (!is_alone(c) || !branch_has_room(&c->branch[at]))
		return TAKE_WAIT;
	ask_one(c, at, 1, a->raw);
	return TAKE_DONE;
}

/* ---- PUBSUB SHARDNUMSUB ------------------------------------------------------ */

bool
shard_sum(struct buf *kept, struct span reply)
{
	struct span mine = buf_span(kept);
	struct resp_item x;
	struct resp_item y;
	struct buf sum;
	int64_t n = 0;
	bool good = true;

	buf_init(&sum, kept->mem);
	while (good && mine.n > 0 && resp_read(&mine, &x) == WIRE_PART &&
	       resp_read(&reply, &y) == WIRE_PART) {
		good = x.type == y.type;
		if (x.type == RESP_ARRAY)
			resp_put_array(&sum, (size_t)x.number);
		else if (x.type == RESP_BULK)
			resp_put_bulk(&sum, x.text);
		else if (x.type == RESP_INT)
			good = !__builtin_add_overflow(x.number, y.number, &n);
		else
			good = false;
		if (x.type == RESP_INT)
			resp_put_int(&sum, n);
	}
	good = good && mine.n == 0 && reply.n == 0;
	if (good) {
		buf_fini(kept);
		*kept = sum;
	} else {
		buf_fini(&sum);
	}
	return good;
}
