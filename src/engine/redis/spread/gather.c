/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/gather.c: one short answer made of those of several.
 *
 * Instances are read one after the other; what the others have said meanwhile
 * waits in their branches.
 */
#include "base/check.h"
#include "engine/redis/spread/inside.h"

#define KEEP_MAX 512 /* bytes of an error text that are told */

void
gather_begin(struct client *c)
{
	struct gather *g = &c->g;
	struct mem *mem = c->s->port->mem;

	if (g->begun) {
		buf_fini(&g->part);
		buf_fini(&g->kept);
		buf_fini(&g->error);
	}
	*g = (struct gather){ .begun = true };
	buf_init(&g->part, mem);
	buf_init(&g->kept, mem);
	buf_init(&g->error, mem);
}

enum flow
gather_part(struct client *c, struct branch *b)
{
	struct gather *g = &c->g;
	struct span piece;
	enum wire_rc rc = branch_piece(b, &piece);

	if (rc < 0) {
		answer_broken(c, b);
		return FLOW_MORE;
	}
	g->big |= buf_len(&g->part) + piece.n > SPREAD_PART_MAX;
	if (!g->big)
		buf_put_span(&g->part, piece);
	feed_use(&b->rx, piece.n);
	if (rc == WIRE_MORE && b->link != NULL)
		return FLOW_MORE;
	if (rc == WIRE_MORE) {
		buf_clear(&g->part);
		answer_lost(c, b, &g->part);
	} else if (g->big) {
		buf_clear(&g->part);
		resp_put_errorf(&g->part,
		                "ERR godwit: an answer above 1 MiB cannot be "
		                "put together");
	}
	g->big = false;
	if (buf_failed(&g->part)) {
		client_end(c, NULL);
		return FLOW_MORE;
	}
	return FLOW_DONE;
}

/* ---- errors ------------------------------------------------------------- */

void
gather_error(struct client *c, uint8_t at, struct span reply)
{
	struct gather *g = &c->g;

	if (view_hides(c->s, reply))
		reply = VIEW_HIDDEN;
	if (reply.n >= 2) /* without its CR LF */
		reply.n -= 2;
	if (reply.n > KEEP_MAX)
		reply.n = KEEP_MAX;
	c->s->n.errors++;
	if (g->errors++ == 0) {
		g->error_at = at;
		buf_put_span(&g->error, reply);
	} else if (!span_eq(buf_span(&g->error), reply)) {
		g->differs = true;
	}
}

void
gather_say_error(struct client *c)
{
	struct gather *g = &c->g;

	if (g->answers > 0 || g->differs)
		buf_putf(&g->error, " (instance %s)",
		         spread_label(c->s, g->error_at));
	buf_put(&g->error, "\r\n", 2);
	if (buf_failed(&g->error))
		client_end(c, NULL);
	else
		answer_put(c, buf_span(&g->error));
}

/* ---- one answer more ---------------------------------------------------- */

static void
keep(struct gather *g, uint8_t at, struct span reply)
{
	buf_clear(&g->kept);
	buf_put_span(&g->kept, reply);
	g->kept_at = at;
}

/* Two arrays of 0 and 1, as text. False: they are not alike. */
static bool
both(struct buf *kept, struct span reply)
{
	uint8_t *to = kept->p + kept->off;

	if (buf_len(kept) != reply.n)
		return false;
	for (size_t i = 0; i < reply.n; i++) {
		if (to[i] == reply.p[i])
			continue;
		if ((to[i] | 1) != '1' || (reply.p[i] | 1) != '1')
			return false;
		to[i] = '0';
	}
	return true;
}

static bool
is_nil(struct span reply)
{
	return span_eq(reply, SPAN("$-1\r\n")) || span_eq(reply, SPAN("_\r\n"));
}

/* From prefer on, and round. */
static bool
is_nearer(uint8_t at, uint8_t than, uint8_t prefer)
{
	return at >= prefer && than < prefer;
}

/* False: it is no answer to this. */
static bool
fold_one(struct client *c, const struct ask *a, uint8_t at, struct span reply)
{
	struct gather *g = &c->g;
	bool first = g->answers == 0;
	struct span rest = reply;
	struct resp_item it;

	switch ((enum fold)a->fold) {
	case FOLD_SAME:
	case FOLD_EITHER:
	case FOLD_AGREE:
		if (first)
			keep(g, at, reply);
		return true;
	case FOLD_SUM:
	case FOLD_MIN:
		if (resp_read(&rest, &it) != WIRE_PART || it.type != RESP_INT)
			return false;
		if (first)
			g->number = it.number;
		else if (a->fold == FOLD_MIN)
			g->number =
				it.number < g->number ? it.number : g->number;
		else if (__builtin_add_overflow(g->number, it.number,
		                                &g->number))
			return false;
		return true;
	case FOLD_AND:
		if (!first)
			return both(&g->kept, reply);
		keep(g, at, reply);
		return true;
	case FOLD_PAIRS:
		if (!first)
			return shard_sum(&g->kept, reply);
		keep(g, at, reply);
		return true;
	case FOLD_ANY:
		if (first || is_nil(buf_span(&g->kept)) ||
		    (!is_nil(reply) && is_nearer(at, g->kept_at, a->at)))
			keep(g, at, reply);
		return true;
	case FOLD_BY_KEY:
	case FOLD_CHAIN: break;
	}
	NEVER("merge.c does this one");
}

/* ---- all of them -------------------------------------------------------- */

/* What the connection is now. */
static void
adopt(struct client *c, const struct ask *a)
{
	struct span reply = buf_span(&c->g.kept);

	if (reply.n > 0 && (reply.p[0] == '%' || reply.p[0] == '*')) {
		c->proto = reply.p[0] == '%' ? 3 : 2; /* HELLO */
		view_hello(c, &c->g.kept);
	}
	if (a->flags & ASK_F_AWAY) {
		shard_clear(c);
		c->sub = (struct sub){ .on = false };
		c->proto = 2;
	}
}

static void
say(struct client *c, const struct ask *a)
{
	struct gather *g = &c->g;

	if (g->errors > 0 && (a->fold != FOLD_EITHER || g->answers == 0)) {
		gather_say_error(c);
		/* Half logged in is worse than gone. */
		if (g->answers > 0 && a->fold == FOLD_AGREE)
			client_end(c, "");
		return;
	}
	if (a->fold == FOLD_SUM || a->fold == FOLD_MIN) {
		buf_clear(&g->kept);
		resp_put_int(&g->kept, g->number);
	} else if (a->fold == FOLD_AGREE) {
		adopt(c, a);
	}
	if (c->dead)
		return;
	if (buf_failed(&g->kept))
		client_end(c, NULL);
	else
		answer_put(c, buf_span(&g->kept));
}

/* The next one of this instance. */
static enum flow
take_one(struct client *c, const struct ask *a, uint8_t at)
{
	struct gather *g = &c->g;
	struct span reply;

	if (gather_part(c, &c->branch[at]) != FLOW_DONE)
		return FLOW_MORE;
	reply = buf_span(&g->part);
	if (reply.n > 0 && reply.p[0] == '-')
		gather_error(c, at, reply);
	else if (fold_one(c, a, at, reply))
		g->answers++;
	else
		gather_error(c, at,
		             SPAN("-ERR godwit: an answer that does not fit "
		                  "the others'\r\n"));
	buf_clear(&g->part);
	return FLOW_DONE;
}

/* One a key, in their order. */
static enum flow
by_key(struct client *c, const struct ask *a)
{
	struct gather *g = &c->g;
	struct span owners = buf_span(&c->orders);

	REQUIRE(owners.n >= a->n);
	for (; g->i < a->n; g->i++) {
		/* They may come between two answers of home. */
		if (c->proto == 3 && !answer_push(c))
			return FLOW_MORE;
		if (take_one(c, a, owners.p[g->i]) != FLOW_DONE)
			return FLOW_MORE;
	}
	buf_take(&c->orders, a->n);
	return FLOW_DONE;
}

enum flow
gather_run(struct client *c, struct ask *a)
{
	struct gather *g = &c->g;

	if (!g->begun)
		gather_begin(c);
	if (a->n > 0 && by_key(c, a) != FLOW_DONE)
		return FLOW_MORE;
	for (; a->n == 0 && g->at < c->n; g->at++) {
		if ((a->mask >> g->at & 1) &&
		    take_one(c, a, g->at) != FLOW_DONE)
			return FLOW_MORE;
	}
	say(c, a);
	return FLOW_DONE;
}
