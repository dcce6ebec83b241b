/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/scan.c: cursors that know their side.
 *
 * A server's cursor c (never 0) is shown to clients as 128 c + tag of the server.
 * When it comes back after the authority has moved, the scan starts again from 0
 * there: what was there all the time is met, some of it twice, which SCAN allows.
 * Godwit's own keys are left out: a client may do nothing with them.
 */
#include "engine/redis/keys.h"
#include "engine/redis/relay/inside.h"

#define TAG_BITS   7
#define CURSOR_MAX (UINT64_C(1) << (63 - TAG_BITS))

static uint64_t
tag_of(const struct relay *r, enum side side)
{
	const struct side_conf *c = &r->conf->side[side];

	return c->tag != 0 ? c->tag : (uint64_t)side;
}

static bool
parse(struct span s, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n > 19)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	*ret = v;
	return true;
}

bool
scan_put_sent(const struct relay *r, const struct lane *lane,
              const struct resp_cmd *q, struct span raw, struct buf *b)
{
	uint32_t at = span_is_word(q->argv[0], SPAN("scan")) ? 1 : 2;
	struct span arg;
	size_t pos = 0;
	uint64_t cursor = 0;

	if (q->argc <= at || !parse(q->argv[at], &cursor) || cursor == 0)
		return false;
	if ((cursor & ((1u << TAG_BITS) - 1)) ==
	    tag_of(r, (enum side)lane->side))
		cursor >>= TAG_BITS;
	else
		cursor = 0;
	resp_put_array(b, q->argc);
	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (i == at)
			resp_put_bulk_u64(b, cursor);
		else
			resp_put_bulk(b, arg);
	}
	return true;
}

enum dispatched
scan_dispatch(struct relay *r, struct session *s, const struct command *c,
              const struct resp_cmd *q, struct span raw)
{
	bool is_keys = c->handler == COMMAND_SCAN;
	uint8_t flags = PEND_F_READ | (is_keys ? PEND_F_KEYS : 0);
	struct lane *lane = dispatch_lane(r, s, false);
	struct sending m = { .asked = raw, .kind = PEND_SCAN, .flags = flags };
	struct buf b;
	enum dispatched ret;

	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	buf_init(&b, r->mem);
	m.raw = scan_put_sent(r, lane, q, raw, &b) ? buf_span(&b) : raw;
	if (buf_failed(&b)) {
		session_close(r, s, NULL);
		ret = DISPATCH_CLOSED;
	} else {
		ret = dispatch_send_as(r, s, lane, &m);
	}
	buf_fini(&b);
	return ret;
}

/* Put the array of names at the front of `in` without Godwit's own; as it is
 * when it has none or is no such array. */
static void
put_keys(struct buf *b, struct span in)
{
	struct span rest = in;
	struct resp_item it;
	uint64_t ours = 0;
	uint64_t n;

	if (resp_read(&rest, &it) != WIRE_PART || it.type != RESP_ARRAY)
		rest.n = 0;
	n = rest.n == 0 ? 0 : (uint64_t)it.number;
	for (struct span at = rest;
	     at.n > 0 && resp_read(&at, &it) == WIRE_PART;)
		ours += it.type == RESP_BULK && key_is_ours(it.text);
	if (ours == 0) {
		buf_put_span(b, in);
		return;
	}
	resp_put_array(b, n - ours);
	while (rest.n > 0 && resp_read(&rest, &it) == WIRE_PART)
		if (!key_is_ours(it.text))
			resp_put_bulk(b, it.text);
}

void
scan_put_answer(const struct relay *r, const struct lane *lane,
                struct span reply, bool is_keys, struct buf *b)
{
	struct span rest = reply;
	struct resp_item it;
	uint64_t cursor = 0;

	if (resp_read(&rest, &it) != WIRE_PART || it.type != RESP_ARRAY ||
	    it.number != 2 || resp_read(&rest, &it) != WIRE_PART ||
	    it.type != RESP_BULK || !parse(it.text, &cursor)) {
		buf_put_span(b, reply);
		return;
	}
	if (cursor >= CURSOR_MAX) {
		buf_put_str(b, "-ERR godwit: a cursor above 2^56\r\n");
		return;
	}
	if (cursor != 0)
		cursor = cursor << TAG_BITS | tag_of(r, (enum side)lane->side);
	resp_put_array(b, 2);
	resp_put_bulk_u64(b, cursor);
	if (is_keys)
		put_keys(b, rest);
	else
		buf_put_span(b, rest);
}

void
scan_answer(struct relay *r, struct session *s, struct lane *lane,
            struct span reply, uint8_t flags)
{
	struct buf b;

	buf_init(&b, r->mem);
	scan_put_answer(r, lane, reply, (flags & PEND_F_KEYS) != 0, &b);
	session_say_buf(r, s, &b);
}
