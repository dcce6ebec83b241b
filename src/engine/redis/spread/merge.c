/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/merge.c: one array made of those of several, without
 * collecting them.
 *
 *   HEADS ─[each has said how many]→ VALUES ─[all have left]→ end
 *     └────[one said no]→ AWAY ─[what the others said is dropped]→ the error
 *
 * Only the branch whose value is next is read on without a bound.
 */
#include "engine/redis/spread/inside.h"

enum phase {
	HEADS,
	VALUES,
	AWAY
};

#define HEAD_MAX   32                 /* bytes of "*" number CR LF */
#define VALUES_MAX (INT64_C(1) << 40) /* of one instance: no server has more */

/* The head of b's array, or the error in its place. */
static enum flow
head(struct client *c, struct branch *b)
{
	struct span in = feed_span(&b->rx);
	struct span rest = in;
	struct resp_item it;
	enum wire_rc rc;

	if (in.n > 0 && !b->inside && in.p[0] == '*') {
		rc = resp_read(&rest, &it);
		if (rc == WIRE_MORE && in.n < HEAD_MAX && b->link != NULL)
			return FLOW_MORE;
		if (rc != WIRE_PART || it.type != RESP_ARRAY ||
		    it.number > VALUES_MAX) {
			answer_broken(c, b);
			return FLOW_MORE;
		}
		feed_use(&b->rx, in.n - rest.n);
		b->left = (uint64_t)it.number;
		c->g.number += it.number;
		c->g.answers++;
		return FLOW_DONE;
	}
	if (gather_part(c, b) != FLOW_DONE)
		return FLOW_MORE;
	in = buf_span(&c->g.part);
	if (in.n > 0 && in.p[0] == '-')
		gather_error(c, b->at, in);
	else
		gather_error(c, b->at,
		             SPAN("-ERR godwit: an answer that is no "
		                  "array\r\n"));
	buf_clear(&c->g.part);
	return FLOW_DONE;
}

static enum flow
heads(struct client *c, const struct ask *a)
{
	struct gather *g = &c->g;
	struct buf *b;

	for (; g->at < c->n; g->at++) {
		if ((a->mask >> g->at & 1) &&
		    head(c, &c->branch[g->at]) != FLOW_DONE)
			return FLOW_MORE;
	}
	g->at = 0;
	g->phase = g->errors > 0 ? AWAY : VALUES;
	if (g->phase == VALUES) {
		b = spread_scratch(c->s);
		resp_put_array(b, (size_t)g->number);
		answer_put_buf(c, b);
	}
	return c->dead ? FLOW_MORE : FLOW_DONE;
}

/* Values of one branch: n of them at most. */
static enum flow
values(struct client *c, struct branch *b, uint64_t n, bool shown)
{
	if (!shown && b->link == NULL && feed_span(&b->rx).n == 0)
		b->left = 0;
	for (; n > 0 && b->left > 0; n--) {
		if (shown && answer_is_slow(c))
			return FLOW_MORE;
		if (answer_stream(c, b, shown) != FLOW_DONE)
			return FLOW_MORE;
		b->left--;
	}
	return FLOW_DONE;
}

/* Branch after branch. */
static enum flow
chain(struct client *c, bool shown)
{
	struct gather *g = &c->g;

	for (; g->at < c->n; g->at++) {
		struct branch *b = &c->branch[g->at];

		if (values(c, b, UINT64_MAX, shown) != FLOW_DONE)
			return FLOW_MORE;
	}
	return FLOW_DONE;
}

/* In the order of the keys, whose owners stand in c->orders. */
static enum flow
by_key(struct client *c, const struct ask *a)
{
	struct gather *g = &c->g;
	struct span owners = buf_span(&c->orders);

	REQUIRE(owners.n >= a->n);
	for (; g->i < a->n; g->i++) {
		struct branch *b = &c->branch[owners.p[g->i]];

		if (b->left == 0) {
			answer_broken(c, b);
			return FLOW_MORE;
		}
		if (values(c, b, 1, true) != FLOW_DONE)
			return FLOW_MORE;
	}
	for (uint32_t i = 0; i < c->n; i++) {
		if (c->branch[i].left > 0) {
			answer_broken(c, &c->branch[i]);
			return FLOW_MORE;
		}
	}
	return FLOW_DONE;
}

enum flow
merge_run(struct client *c, struct ask *a)
{
	struct gather *g = &c->g;
	enum flow flow;

	if (!g->begun)
		gather_begin(c);
	if (g->phase == HEADS && heads(c, a) != FLOW_DONE)
		return FLOW_MORE;
	if (g->phase == AWAY)
		flow = chain(c, false);
	else if (a->fold == FOLD_BY_KEY)
		flow = by_key(c, a);
	else
		flow = chain(c, true);
	if (flow != FLOW_DONE)
		return FLOW_MORE;
	if (g->phase == AWAY)
		gather_say_error(c);
	if (a->fold == FOLD_BY_KEY)
		buf_take(&c->orders, a->n);
	return FLOW_DONE;
}

/* ---- an array of one for each key ---------------------------------------- */

/* RESP3: what is pushed between two answers leaves behind this one. */
static enum flow
keep_push(struct client *c, struct branch *b)
{
	enum flow flow = shard_keep(c, b, &c->g.kept);

	b->pushing = flow != FLOW_DONE;
	if (c->dead)
		return FLOW_MORE;
	if (buf_failed(&c->g.kept) || buf_len(&c->g.kept) > SPREAD_PART_MAX) {
		answer_broken(c, b);
		return FLOW_MORE;
	}
	return flow;
}

/* "*1" before the value; an error stays in the place of the value. */
static enum flow
key_head(struct client *c, struct branch *b)
{
	struct span in = feed_span(&b->rx);
	struct span rest = in;
	struct resp_item it;
	enum wire_rc rc;

	while (c->proto == 3 && b->left == 0 && in.n > 0 &&
	       (b->pushing || in.p[0] == '>')) {
		if (keep_push(c, b) != FLOW_DONE)
			return FLOW_MORE;
		in = feed_span(&b->rx);
		rest = in;
	}
	if (b->left > 0)
		return FLOW_DONE;
	if (in.n > 0 && in.p[0] == '-') {
		c->s->n.errors++;
		if (c->s->conf->topology.n > 0)
			c->g.phase = AWAY;
		else
			b->left = 1;
		return FLOW_DONE;
	}
	rc = resp_read(&rest, &it);
	if (rc == WIRE_MORE && in.n < HEAD_MAX && b->link != NULL)
		return FLOW_MORE;
	if (rc != WIRE_PART || it.type != RESP_ARRAY || it.number != 1) {
		answer_broken(c, b);
		return FLOW_MORE;
	}
	feed_use(&b->rx, in.n - rest.n);
	b->left = 1;
	return FLOW_DONE;
}

enum flow
merge_keys(struct client *c, struct ask *a)
{
	struct gather *g = &c->g;
	struct span owners = buf_span(&c->orders);
	struct buf *b = &c->s->scratch;
	enum flow flow;

	REQUIRE(owners.n >= a->n);
	if (!g->begun) {
		gather_begin(c);
		buf_clear(b);
		resp_put_array(b, a->n);
		answer_put(c, buf_span(b));
	}
	for (; g->i < a->n; g->i++) {
		struct branch *from = &c->branch[owners.p[g->i]];

		if (g->phase == HEADS && key_head(c, from) != FLOW_DONE)
			return FLOW_MORE;
		/* AWAY: an error that may not leave as it is. */
		flow = g->phase == AWAY ? view_error(c, from)
		                        : values(c, from, 1, true);
		if (flow != FLOW_DONE)
			return FLOW_MORE;
		g->phase = HEADS;
	}
	answer_put(c, buf_span(&g->kept));
	buf_take(&c->orders, a->n);
	return FLOW_DONE;
}
