/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/info.c: INFO: the server's, but for who is connected.
 *
 * The server knows Godwit's connections. How many clients there are, and how many
 * of them CLIENT PAUSE holds, the workers know; so they are asked as for CLIENT
 * LIST (clients.c), behind the server's answer, and two of its lines are written
 * anew. In a transaction, and without the section of clients, it is the server's.
 *
 * Thread: that of the relay.
 */
#include "base/num.h"
#include "engine/redis/relay/clients_ask.h"
#include "engine/redis/relay/split.h"

/* Is the section of clients among those that are asked for? */
static bool
tells_of_clients(struct span raw)
{
	static const char *const names[] = { "clients", "default", "all",
		                             "everything" };
	struct span arg;
	size_t pos = 0;
	uint32_t n = 0;

	for (; resp_cmd_walk(raw, &pos, &arg); n++) {
		for (size_t i = 0; n > 0 && i < 4; i++)
			if (span_is_word(arg, span_str(names[i])))
				return true;
	}
	return n == 1;
}

enum dispatched
info_dispatch(struct relay *r, struct session *s, const struct command *c,
              const struct resp_cmd *q, struct span raw)
{
	struct lane *lane;
	struct ask *a;

	if (s->multi || !tells_of_clients(raw))
		return dispatch_plain(r, s, c, q, raw);
	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	lane = dispatch_lane(r, s, false);
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	a = clients_ask_new(r, s, SPAN(""));
	if (a == NULL)
		return DISPATCH_CLOSED;
	a->q.verb = VERB_INFO;
	return clients_probe(r, s, lane, raw);
}

uint64_t
info_count(const struct relay *r)
{
	return (uint64_t)r->paused.l.n << 32 | r->clients;
}

/* One line, its end included, as the client is told it. */
static void
put_line(struct buf *b, struct span line, uint64_t count)
{
	const struct span all = SPAN("connected_clients:");
	const struct span blocked = SPAN("blocked_clients:");
	struct span v;
	int64_t n;

	if (span_has_prefix(line, all)) {
		buf_put_span(b, all);
		buf_put_u64(b, count & UINT32_MAX);
		buf_put_str(b, "\r\n");
		return;
	}
	if (count >> 32 == 0 || !span_has_prefix(line, blocked)) {
		buf_put_span(b, line);
		return;
	}
	v = span_skip(line, blocked.n);
	while (v.n > 0 && (v.p[v.n - 1] == '\n' || v.p[v.n - 1] == '\r'))
		v.n--;
	if (!num_get_i64(v.p, v.n, &n) || n < 0)
		n = 0;
	buf_put_span(b, blocked);
	buf_put_u64(b, (uint64_t)n + (count >> 32));
	buf_put_str(b, "\r\n");
}

void
info_put(struct buf *b, const struct ask *a)
{
	struct span rest = buf_span(&a->request);
	struct resp_item it;
	struct buf text;

	if (resp_read(&rest, &it) != WIRE_PART ||
	    (it.type != RESP_BULK && it.type != RESP_VERBATIM)) {
		buf_put_span(b, buf_span(&a->request));
		return;
	}
	rest = it.text;
	if (it.type == RESP_VERBATIM)
		rest = span_skip(rest, 4);
	buf_init(&text, b->mem);
	while (rest.n > 0) {
		const uint8_t *end = memchr(rest.p, '\n', rest.n);
		size_t n = end == NULL ? rest.n : (size_t)(end - rest.p) + 1;

		put_line(&text, span_of(rest.p, n), a->count);
		rest = span_skip(rest, n);
	}
	if (it.type == RESP_VERBATIM)
		resp_put_verbatim(b, buf_span(&text));
	else
		resp_put_bulk(b, buf_span(&text));
	b->failed |= buf_failed(&text);
	buf_fini(&text);
}
