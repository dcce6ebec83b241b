/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/cursor.c: SCAN, one instance after the other.
 *
 * An inner cursor c of instance i is shown as 16 c + i. c is 0 when i begins, so
 * 0 is where everything begins, and where it ends. Inner relays show the
 * server's cursor as 128 times it, so of 64 bits 52 are left to the server; it
 * uses as many as its table has, and one that needs more is refused.
 */
#include "engine/redis/spread/inside.h"

#define AT_BITS   4
#define INNER_MAX (UINT64_C(1) << (63 - AT_BITS)) /* shown below 2^63 */
#define HEAD_MAX  64 /* bytes of an answer up to the cursor's end */

_Static_assert(SPREAD_MAX <= 1 << AT_BITS, "an instance fits its bits");

static bool
parse(struct span s, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n > 20)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		uint64_t d = (uint64_t)s.p[i] - '0';

		if (d > 9 || v > (UINT64_MAX - d) / 10)
			return false;
		v = v * 10 + d;
	}
	*ret = v;
	return true;
}

bool
cursor_read(struct span text, uint32_t n, uint8_t *ret_at, uint64_t *ret_inner)
{
	uint64_t v = 0;

	if (!parse(text, &v) || (v & ((1u << AT_BITS) - 1)) >= n)
		return false;
	*ret_at = v & ((1u << AT_BITS) - 1);
	*ret_inner = v >> AT_BITS;
	return true;
}

/* What is shown for the inner cursor that instance `at` gave. */
static uint64_t
shown(const struct client *c, uint8_t at, uint64_t inner)
{
	if (inner > 0)
		return inner << AT_BITS | at;
	return at + 1u < c->n ? at + 1u : 0;
}

/* The head is here: rest is what is behind it. */
static void
say_head(struct client *c, struct ask *a, uint64_t inner)
{
	struct buf *b = spread_scratch(c->s);

	if (inner >= INNER_MAX) {
		resp_put_errorf(b,
		                "ERR godwit: instance %s: a cursor above "
		                "2^59 cannot be shown",
		                spread_label(c->s, a->at));
		a->kind = ASK_DROP; /* its keys */
	} else {
		resp_put_array(b, 2);
		resp_put_bulk_u64(b, shown(c, a->at, inner));
		a->kind = ASK_PASS;
	}
	answer_put_buf(c, b);
}

enum flow
cursor_answer(struct client *c, struct ask *a)
{
	struct branch *b = &c->branch[a->at];
	struct span in = feed_span(&b->rx);
	struct span rest = in;
	struct resp_item it;
	uint64_t inner = 0;
	enum wire_rc rc;

	if (in.n == 0 && b->link != NULL)
		return FLOW_MORE;
	if (in.n == 0 || in.p[0] != '*') {
		a->kind = ASK_PASS; /* an error */
		return FLOW_DONE;
	}
	rc = resp_read(&rest, &it);
	if (rc == WIRE_PART && it.type == RESP_ARRAY && it.number == 2)
		rc = resp_read(&rest, &it);
	else if (rc == WIRE_PART)
		rc = WIRE_BAD;
	if (rc == WIRE_MORE && in.n < HEAD_MAX && b->link != NULL)
		return FLOW_MORE;
	if (rc != WIRE_PART || it.type != RESP_BULK ||
	    !parse(it.text, &inner)) {
		answer_broken(c, b);
		return FLOW_MORE;
	}
	feed_use(&b->rx, in.n - rest.n);
	say_head(c, a, inner);
	return c->dead ? FLOW_MORE : FLOW_DONE;
}
