/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/request.c: what a client sends, request by request.
 *
 *   WHOLE ─[big, its instance is known]→ STREAM ─[its end]→ WHOLE
 *     └────[big, and refused]──────────→ DROP ───[its end]→ WHOLE
 */
#include "engine/redis/spread/inside.h"
#include "wire/proxy2.h"

/* Nothing new may be taken now; parked: later. */
static bool
has_to_wait(struct client *c)
{
	if (ring_n(&c->asks) == 0)
		c->stall = false;
	c->parked = c->stall || ring_n(&c->asks) >= SPREAD_ASKS_MAX ||
	            answer_is_slow(c);
	return c->parked;
}

static void
next(struct client *c, size_t used)
{
	c->s->n.requests++;
	feed_use(&c->rx, used);
	resp_cmd_init(&c->cmd);
}

/* Words between spaces, made an array. */
static enum take
take_inline(struct client *c, struct span raw)
{
	struct resp_cmd *q = &c->s->cmd;
	enum take take = TAKE_DONE;
	struct buf b;

	buf_init(&b, c->s->port->mem);
	resp_put_inline(&b, raw);
	resp_cmd_init(q);
	if (buf_failed(&b))
		client_end(c, "ERR godwit: out of memory");
	else if (buf_len(&b) > 0 && resp_cmd_feed(q, buf_span(&b)) == WIRE_PART)
		take = route_take(c, q, buf_span(&b), true);
	buf_fini(&b);
	return take;
}

/* The request at the front is not all here. */
static void
take_early(struct client *c, struct span in)
{
	enum take take = TAKE_MORE;

	if (c->cmd.need <= SPREAD_BIG_REQUEST || c->cmd.is_inline)
		return;
	if (c->cmd.args_seen > 0)
		take = route_take(c, &c->cmd, in, false);
	if (c->dead)
		return;
	c->parked = take == TAKE_WAIT;
	if (take == TAKE_MORE && c->cmd.need > SPREAD_WHOLE_MAX) {
		c->tx.spoiled = c->tx.state != TX_NONE;
		(void)route_refuse(c, "a request above 64 MiB that has to be "
		                      "looked at as a whole");
		take = TAKE_DONE;
	}
	if (take != TAKE_DONE || c->dead)
		return;
	if (c->input == INPUT_WHOLE) { /* it was answered */
		c->input = INPUT_DROP;
		resp_skip_init(&c->skip);
	}
	c->s->n.requests++;
}

/* False: no more can be done now. */
static bool
take_whole(struct client *c)
{
	struct span in = feed_span(&c->rx);
	size_t used;
	enum take take;

	switch (resp_cmd_feed(&c->cmd, in)) {
	case WIRE_MORE:
		take_early(c, in);
		return !c->dead && c->input != INPUT_WHOLE;
	case WIRE_BAD:
	case WIRE_BIG:
		ask_textf(c, ASK_F_LAST, "-ERR %s", c->cmd.why);
		return true;
	case WIRE_PART: break;
	}
	used = c->cmd.used;
	if (c->cmd.argc == 0)
		take = TAKE_DONE;
	else if (c->cmd.is_inline)
		take = take_inline(c, span_of(in.p, used));
	else
		take = route_take(c, &c->cmd, span_of(in.p, used), true);
	if (c->dead)
		return false;
	if (take == TAKE_DONE) {
		next(c, used);
		return true;
	}
	REQUIRE(take == TAKE_WAIT);
	resp_cmd_init(&c->cmd);
	c->parked = true;
	return false;
}

/* What is here of a request that is passed on as it comes. */
static bool
move(struct client *c)
{
	struct branch *b = &c->branch[c->to];
	struct span in = feed_span(&c->rx);
	bool stream = c->input == INPUT_STREAM;
	size_t used = 0;
	enum wire_rc rc;

	if (stream && !branch_has_room(b)) {
		c->parked = true;
		return false;
	}
	rc = resp_skip_feed(&c->skip, in, &used);
	if (stream)
		branch_put(b, span_of(in.p, used));
	feed_use(&c->rx, used);
	if (rc < 0) {
		/* The instance waits for bytes that will not come. */
		client_end(c, "ERR Protocol error: not a request");
		return false;
	}
	if (rc == WIRE_PART) {
		c->input = INPUT_WHOLE;
		resp_cmd_init(&c->cmd);
	}
	return true;
}

bool
request_run(struct client *c)
{
	bool took = false;

	c->parked = false;
	while (!c->dead && !c->last && !c->broken && !c->proxied &&
	       feed_span(&c->rx).n > 0) {
		if (c->input != INPUT_WHOLE) {
			if (!move(c))
				break;
			took = true;
			continue;
		}
		if (c->s->stopping || has_to_wait(c) || !take_whole(c))
			break;
		took = true;
	}
	return took && !c->dead;
}

void
request_proxy(struct client *c)
{
	struct span in = feed_span(&c->rx);
	struct proxy2 h;
	enum wire_rc rc = proxy2_read(in, &h);

	if (rc == WIRE_MORE)
		return;
	if (rc != WIRE_PART || !branch_open(c, span_of(in.p, h.n))) {
		client_end(c, NULL);
		return;
	}
	c->proxied = false;
	feed_use(&c->rx, h.n);
}
