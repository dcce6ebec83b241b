/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/sub.c: subscribers. All of pub/sub is at home, but shard
 * channels (shard.c).
 *
 * RESP2: once the first confirmation has come, home may say anything at any time,
 * and all of it is the client's. What a subscriber may send goes home; anything
 * else has to wait until it is known whether it is a subscriber still: a PING of
 * our own is answered in another form by then, and behind everything before it.
 *
 * RESP3: what was not asked for is marked as such, but confirmations are, too. A
 * PING of our own tells where the errors of a SUBSCRIBE end.
 */
#include "engine/redis/spread/inside.h"

#define FORM_MAX 64

static void
new_token(struct client *c)
{
	static const char digits[] = "0123456789abcdef";
	struct port *p = c->s->port;
	uint64_t v = p->entropy(p);

	for (int i = 0; i < SUB_TOKEN; i++) {
		c->sub.token[i] = digits[v & 15];
		v >>= 4;
	}
}

static void
ping(struct client *c)
{
	struct buf *b = spread_scratch(c->s);

	new_token(c);
	resp_put_array(b, 2);
	resp_put_bulk(b, SPAN("PING"));
	resp_put_bulk(b, span_of(c->sub.token, SUB_TOKEN));
	if (buf_failed(b))
		client_end(c, "ERR godwit: out of memory");
	else
		branch_put(&c->branch[HOME], buf_span(b));
}

void
sub_ask(struct client *c)
{
	c->sub.mark = MARK_ASKED;
	ping(c);
}

/* Does in begin with the form (n: whole), or end inside it? */
static enum flow
match(struct span in, const char *head, const char *token, bool *ret)
{
	uint8_t form[FORM_MAX];
	size_t n = strlen(head);
	size_t look;

	memcpy(form, head, n);
	memcpy(form + n, token, SUB_TOKEN);
	memcpy(form + n + SUB_TOKEN, "\r\n", 2);
	n += SUB_TOKEN + 2;
	look = in.n < n ? in.n : n;
	*ret = memcmp(in.p, form, look) == 0;
	return *ret && look < n ? FLOW_MORE : FLOW_DONE;
}

#define FORM_IN  "*2\r\n$4\r\npong\r\n$16\r\n"
#define FORM_OUT "$16\r\n"

enum flow
sub_look(const struct client *c, enum mark *ret_mark, size_t *ret_n)
{
	struct span in = feed_span(&c->branch[HOME].rx);
	bool yes = false;

	*ret_mark = MARK_NONE;
	if (match(in, FORM_IN, c->sub.token, &yes) == FLOW_MORE)
		return FLOW_MORE;
	if (yes) {
		*ret_mark = MARK_IN;
		*ret_n = sizeof(FORM_IN) - 1 + SUB_TOKEN + 2;
		return FLOW_DONE;
	}
	if (match(in, FORM_OUT, c->sub.token, &yes) == FLOW_MORE)
		return FLOW_MORE;
	if (yes) {
		*ret_mark = MARK_OUT;
		*ret_n = sizeof(FORM_OUT) - 1 + SUB_TOKEN + 2;
	}
	return FLOW_DONE;
}

/* A user that may not PING cannot be told from a subscriber. */
static bool
may_not_ping(struct span in)
{
	static const struct span word = { (const uint8_t *)"'ping'", 6 };

	if (!span_has_prefix(in, SPAN("-NOPERM")))
		return false;
	for (size_t i = 0; i + word.n <= in.n && i < 200; i++) {
		if (memcmp(in.p + i, word.p, word.n) == 0)
			return true;
	}
	return false;
}

/* Is the reply that begins here the answer of our PING? FLOW_DONE: mark was set
 * or it is another's. */
static enum flow
look(struct client *c, bool *ret_mine)
{
	struct branch *b = &c->branch[HOME];
	enum mark mark;
	size_t n = 0;

	*ret_mine = false;
	if (sub_look(c, &mark, &n) != FLOW_DONE && b->link != NULL)
		return FLOW_MORE;
	if (mark != MARK_NONE) {
		feed_use(&b->rx, n);
		c->sub.mark = (uint8_t)mark;
		*ret_mine = true;
	}
	return FLOW_DONE;
}

/* ---- what home says ----------------------------------------------------- */

bool
sub_run(struct client *c)
{
	struct branch *b = &c->branch[HOME];

	while (!answer_is_slow(c)) {
		struct span in = feed_span(&b->rx);
		bool mine;

		if (in.n == 0)
			return !b->inside;
		/* The answer of RESET, while it is under way. */
		if (b->inside ? !c->midway
		              : ring_n(&c->asks) > 0 && in.p[0] != '*')
			return true;
		if (!b->inside && c->sub.mark == MARK_ASKED) {
			if (look(c, &mine) != FLOW_DONE)
				return false;
			if (mine)
				continue;
			if (may_not_ping(in)) {
				client_end(c, "");
				return false;
			}
		}
		if (shard_item(c, b) != FLOW_DONE)
			return false;
		c->midway = false;
	}
	return false;
}

enum flow
sub3_run(struct client *c)
{
	struct branch *b = &c->branch[HOME];

	while (!answer_is_slow(c)) {
		struct span in = feed_span(&b->rx);
		bool mine = false;
		bool denied;

		if (in.n > 0 && !b->inside && look(c, &mine) != FLOW_DONE)
			return FLOW_MORE;
		if (mine) {
			c->sub.mark = MARK_NONE;
			return FLOW_DONE;
		}
		denied = in.n > 0 && may_not_ping(in);
		if (shard_item(c, b) != FLOW_DONE)
			return FLOW_MORE;
		c->midway = false;
		if (denied || b->link == NULL)
			return FLOW_DONE;
	}
	return FLOW_MORE;
}

/* ---- what the client says ----------------------------------------------- */

enum take
sub_begin(struct client *c, const struct asked *a)
{
	struct ask ask = { .kind = ASK_SUB, .at = HOME };

	if (!branch_has_room(&c->branch[HOME]))
		return TAKE_WAIT;
	if (c->proto == 3)
		ask.kind = ASK_SUB3;
	c->stall = true;
	ask_send(c, ask, a->raw);
	if (!c->dead && c->proto == 3)
		ping(c);
	return TAKE_DONE;
}

enum take
sub_take(struct client *c, const struct asked *a, bool *ret_out)
{
	uint8_t mark = c->sub.mark;

	if (!a->whole)
		return TAKE_MORE;
	if (a->rule == RULE_SHARD)
		return shard_take(c, a);
	if (c->sub.shards > 0 && a->rule != RULE_SUB && a->rule != RULE_QUIT &&
	    (a->row == NULL || a->row->handler != COMMAND_RESET))
		return shard_other(c, a);
	if (a->rule == RULE_SUB ||
	    (a->row != NULL && a->row->handler == COMMAND_PING)) {
		if (!branch_has_room(&c->branch[HOME]))
			return TAKE_WAIT;
		branch_put(&c->branch[HOME], a->raw);
		c->sub.owes = true;
		return TAKE_DONE;
	}
	if (mark == MARK_NONE)
		sub_ask(c);
	if (mark == MARK_NONE || mark == MARK_ASKED)
		return TAKE_WAIT;
	c->sub.mark = MARK_NONE;
	if (mark == MARK_OUT)
		c->sub.on = false;
	c->sub.owes = false;
	*ret_out = mark == MARK_OUT || a->rule == RULE_QUIT ||
	           (a->row != NULL && a->row->handler == COMMAND_RESET);
	if (*ret_out)
		return TAKE_DONE;
	branch_put(&c->branch[HOME], a->raw); /* which says no */
	c->sub.owes = true;
	return TAKE_DONE;
}
