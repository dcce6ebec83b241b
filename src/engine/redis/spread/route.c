/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/route.c: where a request goes.
 *
 * A request is taken or stays in front until something changes; then it is
 * looked at again from the beginning.
 */
#include "engine/redis/spread/inside.h"

/* The row of a request; *ret_known false: its second word has to be here. */
static const struct command *
row_of(const struct spread *s, const struct resp_cmd *q, bool *ret_known)
{
	const struct command *row = command_find(&s->commands, q->argv[0]);
	const struct command *sub;

	*ret_known = true;
	if (row == NULL || row->handler != COMMAND_CONTAINER || q->argc == 1)
		return row;
	if (q->args_seen < 2) {
		*ret_known = false;
		return NULL;
	}
	sub = command_find_sub(&s->commands, row, q->argv[1]);
	return sub != NULL ? sub : row;
}

enum take
route_forward(struct client *c, const struct asked *a, uint8_t at,
              uint8_t flags)
{
	struct ask ask = { .kind = ASK_PASS, .at = at, .flags = flags };

	if (!branch_has_room(&c->branch[at]))
		return TAKE_WAIT;
	ask_send(c, ask, a->whole ? a->raw : span_of(NULL, 0));
	if (!a->whole && !c->dead) {
		c->input = INPUT_STREAM;
		c->to = at;
		resp_skip_init(&c->skip);
	}
	return TAKE_DONE;
}

/* Does it wait for something when there is nothing? */
static bool
blocks(const struct asked *a)
{
	uint32_t n = a->q->argc < RESP_SPANS ? a->q->argc : RESP_SPANS;

	if (a->row->handler != COMMAND_BLOCK_WORD)
		return true;
	for (uint32_t i = 1; i < n; i++) {
		if (span_is_word(a->q->argv[i], SPAN("block")))
			return true;
	}
	return false;
}

static enum take
by_keys(struct client *c, const struct asked *a)
{
	struct owners o;
	enum take take;

	if (a->rule == RULE_BLOCK && !a->whole)
		return TAKE_MORE;
	if (!rule_owners(c->s, a->row, a->q, a->raw, &o))
		return TAKE_MORE;
	if (o.patterns && c->n > 1)
		return route_refuse(c,
		                    "%s with a pattern in BY or GET: its "
		                    "keys may be on several instances",
		                    a->row->name);
	if (owners_are_several(&o) ||
	    (o.several_slots && a->rule == RULE_PARTS &&
	     c->s->conf->across == SPREAD_HANDLE)) {
		if (!a->whole)
			return TAKE_MORE;
		/* A key without its value: the server says so. */
		if (a->row->step == 2 && a->q->argc % 2 == 0)
			return route_forward(c, a, HOME, 0);
		if (a->rule == RULE_PARTS &&
		    c->s->conf->across == SPREAD_HANDLE)
			return parts_send(c, a, &o);
		return parts_across(c, a, &o);
	}
	if (a->rule != RULE_BLOCK || !blocks(a))
		return route_forward(c, a, o.first, 0);
	take = route_forward(c, a, o.first, ASK_F_BLOCK);
	c->stall |= take == TAKE_DONE;
	return take;
}

static enum take
scan(struct client *c, const struct asked *a)
{
	struct ask ask = { .kind = ASK_SCAN };
	struct buf *b = spread_scratch(c->s);
	uint64_t inner = 0;
	struct span arg;
	size_t pos = 0;

	if (c->n == 1)
		return route_forward(c, a, HOME, 0);
	if (!cursor_read(a->q->argv[1], c->n, &ask.at, &inner)) {
		ask_textf(c, 0, "-ERR invalid cursor");
		return TAKE_DONE;
	}
	if (!branch_has_room(&c->branch[ask.at]))
		return TAKE_WAIT;
	resp_put_array(b, a->q->argc);
	for (uint32_t i = 0; resp_cmd_walk(a->raw, &pos, &arg); i++) {
		if (i == 1)
			resp_put_bulk_u64(b, inner);
		else
			resp_put_bulk(b, arg);
	}
	if (buf_failed(b))
		client_end(c, "ERR godwit: out of memory");
	else
		ask_send(c, ask, buf_span(b));
	return TAKE_DONE;
}

static enum take
by_rule(struct client *c, const struct asked *a)
{
	switch (a->rule) {
	case RULE_KEYS:
	case RULE_PARTS:
	case RULE_BLOCK: return by_keys(c, a);
	case RULE_HOME: return route_forward(c, a, HOME, 0);
	case RULE_ALL:
		if (c->n == 1 && a->fold != FOLD_AGREE &&
		    a->row->handler != COMMAND_WAIT)
			return route_forward(c, a, HOME, 0);
		return a->whole ? parts_all(c, a) : TAKE_MORE;
	case RULE_ONE:
		if (c->n == 1)
			return route_forward(c, a, HOME, 0);
		if (!a->whole)
			return TAKE_MORE;
		return route_refuse(c,
		                    "%s: it would act on one of several "
		                    "instances; ask the servers themselves",
		                    a->row->name);
	case RULE_NEVER:
		if (!a->whole)
			return TAKE_MORE;
		return route_refuse(c, "%s on an interlay with instances",
		                    a->row->name);
	case RULE_SCAN: return a->whole ? scan(c, a) : TAKE_MORE;
	case RULE_SUB: return a->whole ? sub_begin(c, a) : TAKE_MORE;
	case RULE_SHARD: return shard_take(c, a);
	case RULE_QUIT:
		if (!a->whole)
			return TAKE_MORE;
		ask_text(c, SPAN("+OK\r\n"), ASK_F_LAST);
		return TAKE_DONE;
	case RULE_VIEW: return view_take(c, a);
	case RULE_TX: break;
	}
	NEVER("tx.c takes these");
}

/* A cluster has no database but 0; behind a server alone, too, that becomes one. */
static enum take
beyond(struct client *c, const struct asked *a)
{
	if (!a->whole)
		return TAKE_MORE;
	if (c->tx.state == TX_ASKED)
		return TAKE_WAIT;
	c->tx.spoiled |= c->tx.state != TX_NONE;
	return route_refuse(c,
	                    "%s to another database than 0: a cluster has "
	                    "no other",
	                    a->row->name);
}

/* Slots may have moved to other instances: to be asked there from now on, when
 * all is answered that was sent before, so that nothing overtakes it. A
 * transaction stays where it is. False: not yet. */
static bool
know_owners(struct client *c)
{
	const struct spread_conf *conf = c->s->conf;
	const struct spread_owners *now =
		conf->owners == NULL ? NULL : atomic_load(conf->owners);
	const uint8_t *owner = now != NULL ? now->of : conf->owner;
	bool stays = c->tx.state != TX_NONE || c->tx.watching;

	if (c->owners == NULL)
		c->owners = owner;
	if (c->owners != owner && !stays) {
		if (ring_n(&c->asks) > 0)
			return false;
		c->owners = owner;
	}
	c->s->owner = c->owners;
	return true;
}

enum take
route_take(struct client *c, const struct resp_cmd *q, struct span raw,
           bool whole)
{
	struct asked a = { .q = q, .raw = raw, .whole = whole };
	bool known;

	if (!know_owners(c))
		return TAKE_WAIT;
	a.row = row_of(c->s, q, &known);
	if (!known)
		return TAKE_MORE;
	if (a.row != NULL && !command_takes(a.row, q->argc))
		a.row = NULL; /* the server says what is wrong with it */
	a.rule = rule_find(&c->s->rules, a.row, &a.fold);
	if (view_is(c, a.row))
		a.rule = RULE_VIEW;
	if (c->sub.on) {
		bool out = false;
		enum take take = sub_take(c, &a, &out);

		if (!out)
			return take;
	}
	if (c->s->conf->by_slot && rule_is_beyond(&a))
		return beyond(c, &a);
	if (a.rule == RULE_TX ||
	    (c->tx.state != TX_NONE && a.rule != RULE_QUIT &&
	     (a.row == NULL || a.row->handler != COMMAND_RESET)))
		return tx_take(c, &a);
	return by_rule(c, &a);
}

enum take
route_refuse(struct client *c, const char *fmt, ...)
{
	struct buf *b = spread_scratch(c->s);
	va_list ap;

	c->s->n.refused++;
	buf_put_str(b, "-ERR godwit refuses ");
	va_start(ap, fmt);
	buf_putv(b, fmt, ap);
	va_end(ap);
	buf_put(b, "\r\n", 2);
	if (buf_failed(b))
		client_end(c, NULL);
	else
		ask_text(c, buf_span(b), 0);
	return TAKE_DONE;
}
