/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/answer.c: what leaves, in the order of the requests.
 *
 * Only the first ask of the ring is looked at; its bytes go from the branch to
 * the client as they come. A client that does not read stops everything here.
 */
#include "engine/redis/spread/inside.h"

bool
answer_is_slow(struct client *c)
{
	if (buf_len(&c->link->tx) <= SPREAD_SLOW_TX)
		return false;
	c->link->want_drained = true;
	port_touch(c->s->port, c->link);
	return true;
}

void
answer_put(struct client *c, struct span bytes)
{
	if (bytes.n == 0 || c->dead)
		return;
	c->midway = true;
	buf_put_span(&c->link->tx, bytes);
	port_touch(c->s->port, c->link);
	c->s->n.bytes_out += bytes.n;
}

void
answer_put_buf(struct client *c, const struct buf *b)
{
	if (buf_failed(b))
		client_end(c, "ERR godwit: out of memory");
	else
		answer_put(c, buf_span(b));
}

void
answer_broken(struct client *c, const struct branch *b)
{
	struct buf *to = spread_scratch(c->s);

	buf_putf(to, "ERR godwit: instance %s broke off in an answer",
	         spread_label(c->s, b->at));
	buf_put(to, "", 1);
	client_end(c, buf_failed(to) ? "" : (const char *)buf_span(to).p);
}

void
answer_lost(struct client *c, const struct branch *b, struct buf *to)
{
	c->s->n.lost++;
	resp_put_errorf(to,
	                "ERR godwit: instance %s: the connection was lost; "
	                "whether it has executed this is not known",
	                spread_label(c->s, b->at));
}

enum flow
answer_stream(struct client *c, struct branch *b, bool shown)
{
	struct span piece;
	enum wire_rc rc = branch_piece(b, &piece);
	struct buf *to;

	if (rc < 0) {
		answer_broken(c, b);
		return FLOW_MORE;
	}
	if (shown)
		answer_put(c, piece);
	feed_use(&b->rx, piece.n);
	if (rc == WIRE_PART)
		return FLOW_DONE;
	if (b->link != NULL)
		return FLOW_MORE;
	if (!shown)
		return FLOW_DONE;
	if (c->midway) {
		answer_broken(c, b);
		return FLOW_MORE;
	}
	to = spread_scratch(c->s);
	answer_lost(c, b, to);
	answer_put_buf(c, to);
	return c->dead ? FLOW_MORE : FLOW_DONE;
}

/* ---- kinds -------------------------------------------------------------- */

static enum flow
pass(struct client *c, struct ask *a)
{
	struct branch *b = &c->branch[a->at];
	struct span in = feed_span(&b->rx);
	enum flow flow;

	if (in.n > 0 && !b->inside) {
		a->n = in.p[0];
		c->s->n.errors += in.p[0] == '-';
	}
	if (a->n == '-' && c->s->conf->topology.n > 0)
		flow = view_error(c, b);
	else
		flow = answer_stream(c, b, true);
	if (flow == FLOW_DONE && (a->flags & ASK_F_MULTI))
		tx_answered(c, a->n == '+', span_of(NULL, 0));
	return flow;
}

static enum flow
drop(struct client *c, const struct ask *a)
{
	struct branch *b = &c->branch[a->at];
	struct span line;

	if (!(a->flags & ASK_F_MULTI))
		return answer_stream(c, b, false);
	if (!c->g.begun)
		gather_begin(c);
	if (gather_part(c, b) != FLOW_DONE)
		return FLOW_MORE;
	line = buf_span(&c->g.part);
	tx_answered(c, line.n > 0 && line.p[0] == '+', line);
	return FLOW_DONE;
}

static enum flow
text(struct client *c, const struct ask *a)
{
	struct span s = buf_span(&c->texts);

	REQUIRE(s.n >= a->n);
	answer_put(c, span_of(s.p, a->n));
	c->s->n.errors += a->n > 0 && s.p[0] == '-';
	buf_take(&c->texts, a->n);
	if (buf_len(&c->texts) == 0)
		buf_release(&c->texts);
	return FLOW_DONE;
}

static enum flow
subscribe(struct client *c, struct ask *a)
{
	struct branch *b = &c->branch[HOME];
	struct span in = feed_span(&b->rx);

	if (in.n == 0 || b->inside || in.p[0] != '*')
		return pass(c, a);
	c->sub.on = true;
	c->sub.mark = MARK_NONE;
	return FLOW_DONE;
}

static enum flow
run(struct client *c, struct ask *a)
{
	switch ((enum ask_kind)a->kind) {
	case ASK_PASS: return pass(c, a);
	case ASK_TEXT: return text(c, a);
	case ASK_DROP: return drop(c, a);
	case ASK_SCAN:
		if (cursor_answer(c, a) != FLOW_DONE)
			return FLOW_MORE;
		return a->kind == ASK_DROP ? drop(c, a) : pass(c, a);
	case ASK_GATHER: return gather_run(c, a);
	case ASK_MERGE: return merge_run(c, a);
	case ASK_KEYS: return merge_keys(c, a);
	case ASK_SUB: return subscribe(c, a);
	case ASK_SUB3: return sub3_run(c);
	case ASK_SHARD: return shard_run(c, a);
	case ASK_OWN: return view_own(c, a);
	case ASK_INFO: return view_info(c);
	}
	NEVER("a kind outside its enum");
}

/* ---- what was not asked for --------------------------------------------- */

/* Those of one instance, as far as they may leave. */
static enum flow
push(struct client *c, struct branch *b)
{
	bool shown = b->at == HOME || b->shards > 0;
	enum flow flow = FLOW_DONE;

	while (!(shown && c->midway && !b->pushing)) {
		struct span in = feed_span(&b->rx);

		if (in.n == 0)
			break;
		if (!b->pushing && (b->inside || b->left > 0 ||
		                    in.p[0] != '>' || shard_has_turn(c)))
			break;
		flow = shown ? shard_item(c, b) : answer_stream(c, b, false);
		b->pushing = flow != FLOW_DONE && b->inside;
		if (flow != FLOW_DONE)
			break;
		if (shown)
			c->midway = false;
	}
	return b->pushing ? FLOW_MORE : flow;
}

bool
answer_push(struct client *c)
{
	const struct ask *a = ring_first(&c->asks);
	bool busy = false;

	if (a != NULL && a->kind == ASK_KEYS && c->g.begun)
		return true; /* behind the array: merge.c */
	for (uint32_t i = 0; i < c->n; i++) {
		if (c->branch[i].pushing)
			busy |= push(c, &c->branch[i]) != FLOW_DONE;
	}
	for (uint32_t i = 0; i < c->n && !c->dead; i++)
		busy |= push(c, &c->branch[i]) != FLOW_DONE;
	return !busy && !c->dead;
}

/* Nothing is under way: who speaks has lost count. */
static void
idle(struct client *c)
{
	for (uint32_t i = 0; i < c->n; i++) {
		struct branch *b = &c->branch[i];

		if (feed_span(&b->rx).n == 0 || b->pushing)
			continue;
		answer_broken(c, b);
		return;
	}
}

static void
leave(struct client *c)
{
	uint8_t flags = ring_first(&c->asks)->flags;

	c->asks.head++;
	c->midway = false;
	if (c->g.begun) {
		gather_begin(c);
		c->g.begun = false;
	}
	if (flags & ASK_F_LAST)
		client_end(c, "");
}

void
answer_pump(struct client *c)
{
	while (!c->dead && !answer_is_slow(c)) {
		struct ask *a;

		if (c->proto == 3 && !answer_push(c))
			return;
		if (c->sub.on && !shard_hear(c))
			return;
		a = ring_first(&c->asks);
		if (a == NULL) {
			idle(c);
			return;
		}
		if (run(c, a) != FLOW_DONE || c->dead)
			return;
		leave(c);
	}
}
