/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/block.c: blocking commands, and how they move in a switch.
 *
 *   ASKING ($ of XREAD is made a concrete id) → ISSUED ─[reply]→ (free)
 *                                                 │ nil before its time
 *                                                 ↓
 *                                               PAUSED ─[hold over]→ ISSUED
 *
 * A hold unblocks each client by CLIENT UNBLOCK on its server. A nil that comes
 * before the client's time is over is not shown to it: the command is issued
 * again with the rest of the time on the side that then has the authority. An
 * element that was popped meanwhile is delivered, so nothing is popped twice.
 */
#include "engine/redis/relay/inside.h"

#define ASK_NS 5000000ull
#define MS_NS  1000000ull

struct block {
	struct buf request; /* as RESP; ids are concrete           */
	uint32_t time_at;   /* argument that holds the time        */
	bool in_ms;         /* it counts milliseconds, not seconds */
	bool issued;
	bool writes;
	uint32_t asking;      /* XINFO replies to come               */
	uint32_t told_at;     /* argument behind the last one's      */
	uint64_t deadline_ns; /* 0: never                            */
	uint64_t asked_ns;    /* the last CLIENT UNBLOCK             */
};

static struct span
arg_at(struct span raw, uint32_t at)
{
	struct span arg;
	size_t pos = 0;

	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (i == at)
			return arg;
	}
	return span_of(NULL, 0);
}

/* The request with argument `at` replaced. */
static void
put_replaced(struct buf *b, struct span raw, uint32_t argc, uint32_t at,
             struct span with)
{
	struct span arg;
	size_t pos = 0;

	resp_put_array(b, argc);
	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++)
		resp_put_bulk(b, i == at ? with : arg);
}

static void
replace(struct block *k, uint32_t argc, uint32_t at, struct span with)
{
	struct buf b;

	buf_init(&b, k->request.mem);
	put_replaced(&b, buf_span(&k->request), argc, at, with);
	buf_fini(&k->request);
	k->request = b;
}

static uint32_t
count_args(struct span raw)
{
	struct span arg;
	size_t pos = 0;
	uint32_t n = 0;

	while (resp_cmd_walk(raw, &pos, &arg))
		n++;
	return n;
}

/* Seconds with a fraction, or milliseconds, as nanoseconds. */
static bool
parse_time(struct span s, bool in_ms, uint64_t *ret_ns)
{
	uint64_t whole = 0;
	uint64_t part = 0;
	uint64_t unit = in_ms ? MS_NS : 1000 * MS_NS;
	size_t i = 0;

	if (s.n == 0 || s.n > 18)
		return false;
	for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
		whole = whole * 10 + (uint64_t)(s.p[i] - '0');
	if (i < s.n && s.p[i] == '.' && !in_ms) {
		uint64_t digit = unit / 10;

		for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) {
			part += (uint64_t)(s.p[i] - '0') * digit;
			digit /= 10;
		}
	}
	if (i < s.n || whole > UINT32_MAX)
		return false;
	*ret_ns = whole * unit + part;
	return true;
}

/* ---- finding its parts ------------------------------------------------- */

/* Index of the word in the options of XREAD, 0 when it is not there; words
 * behind STREAMS are keys. */
static uint32_t
word_at(struct span raw, struct span word)
{
	struct span arg;
	size_t pos = 0;

	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (i > 0 && span_is_word(arg, word))
			return i;
		if (i > 0 && span_is_word(arg, SPAN("streams")))
			return 0;
		if (i > 0 && span_is_word(arg, SPAN("group"))) {
			/* its two arguments may be any words */
			(void)resp_cmd_walk(raw, &pos, &arg);
			(void)resp_cmd_walk(raw, &pos, &arg);
			i += 2;
		}
	}
	return 0;
}

static uint32_t
time_at(const struct command *c, const struct resp_cmd *q, struct span raw)
{
	uint32_t at;

	switch (c->handler) {
	case COMMAND_BLOCK_LAST: return q->argc - 1;
	case COMMAND_BLOCK_FIRST: return 1;
	default:
		at = word_at(raw, SPAN("block"));
		return at == 0 || at + 1 >= q->argc ? 0 : at + 1;
	}
}

/* ---- life -------------------------------------------------------------- */

void
block_free(struct relay *r, struct session *s)
{
	struct block *k = s->wide == NULL ? NULL : s->wide->block;

	if (k == NULL)
		return;
	s->wide->block = NULL;
	r->blocked--;
	buf_fini(&k->request);
	mem_free(r->mem, k, sizeof(*k));
}

void
block_issue(struct relay *r, struct session *s)
{
	struct block *k = s->wide->block;
	struct lane *lane;

	if (k->issued || k->asking > 0)
		return;
	if (dispatch_is_held(r, s))
		return;
	lane = dispatch_lane(r, s, true);
	if (lane == NULL)
		return;
	if (k->deadline_ns != 0) {
		uint64_t now = r->port->now_ns;
		uint64_t ms = k->deadline_ns > now + MS_NS
		                      ? (k->deadline_ns - now) / MS_NS
		                      : 1;
		struct buf b;

		buf_init(&b, r->mem);
		if (k->in_ms)
			buf_put_u64(&b, ms);
		else
			buf_putf(&b, "%llu.%03u",
			         (unsigned long long)(ms / 1000),
			         (unsigned)(ms % 1000));
		replace(k, count_args(buf_span(&k->request)), k->time_at,
		        buf_span(&b));
		buf_fini(&b);
	}
	k->issued = true;
	k->asked_ns = 0;
	(void)dispatch_send(r, s, lane, buf_span(&k->request), PEND_BLOCK,
	                    k->writes ? PEND_F_WRITE : 0);
}

/* Ask for the last id of each stream that is read from `$`. */
static void
ask_last(struct relay *r, struct session *s, struct lane *lane, uint32_t argc)
{
	struct block *k = s->wide->block;
	struct span raw = buf_span(&k->request);
	uint32_t at = word_at(raw, SPAN("streams"));
	uint32_t n = at == 0 ? 0 : (argc - at - 1) / 2;

	for (uint32_t i = 0; i < n; i++) {
		struct buf *tx = &lane->link->tx;

		if (!span_eq(arg_at(raw, at + 1 + n + i), SPAN("$")))
			continue;
		resp_put_array(tx, 3);
		resp_put_bulk(tx, SPAN("XINFO"));
		resp_put_bulk(tx, SPAN("STREAM"));
		resp_put_bulk(tx, arg_at(raw, at + 1 + i));
		if (lane_pend(r, lane, s, PEND_LAST) != NULL)
			k->asking++;
	}
}

enum dispatched
block_dispatch(struct relay *r, struct session *s, const struct command *c,
               const struct resp_cmd *q, struct span raw)
{
	uint32_t at = time_at(c, q, raw);
	bool in_ms = c->handler == COMMAND_BLOCK_WORD;
	uint8_t flags = c->kind == COMMAND_WRITE ? PEND_F_WRITE : 0;
	uint64_t ns = 0;
	bool blocks = at != 0 && parse_time(arg_at(raw, at), in_ms, &ns);
	struct lane *lane;
	struct wide *w;
	struct block *k;

	if (blocks && (s->inflight > 0 || s->withheld > 0))
		return DISPATCH_WAIT;
	lane = dispatch_lane(r, s, blocks || at != 0);
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	if (!blocks)
		return dispatch_send(r, s, lane, raw, PEND_PASS, flags);
	w = session_wide(r, s);
	if (w == NULL)
		return DISPATCH_CLOSED;
	k = mem_zero(r->mem, sizeof(*k));
	if (k == NULL) {
		session_close(r, s, "ERR godwit: out of memory");
		return DISPATCH_CLOSED;
	}
	buf_init(&k->request, r->mem);
	buf_put_span(&k->request, raw);
	k->time_at = at;
	k->in_ms = in_ms;
	k->writes = flags != 0;
	k->deadline_ns = ns == 0 ? 0 : r->port->now_ns + ns;
	w->block = k;
	r->blocked++;
	if (in_ms && !k->writes)
		ask_last(r, s, lane, q->argc);
	block_issue(r, s);
	return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
}

/* ---- replies ----------------------------------------------------------- */

void
block_last(struct relay *r, struct session *s, struct span reply)
{
	struct block *k = s->wide == NULL ? NULL : s->wide->block;
	struct span id = SPAN("0-0");
	struct resp_item it;
	bool known;
	uint32_t argc;
	uint32_t at;
	uint32_t n;

	if (k == NULL)
		return;
	/* No such stream: it begins at 0. Not allowed to ask: it stays `$`. */
	known = reply.p[0] != '-' ||
	        span_has_prefix(reply, SPAN("-ERR no such key"));
	while (resp_read(&reply, &it) == WIRE_PART) {
		if (it.type == RESP_BULK &&
		    span_eq(it.text, SPAN("last-generated-id")) &&
		    resp_read(&reply, &it) == WIRE_PART) {
			id = it.text;
			break;
		}
	}
	argc = count_args(buf_span(&k->request));
	at = word_at(buf_span(&k->request), SPAN("streams"));
	n = (argc - at - 1) / 2;
	if (k->told_at == 0)
		k->told_at = at + 1 + n;
	for (uint32_t i = k->told_at; i < argc; i++) {
		if (!span_eq(arg_at(buf_span(&k->request), i), SPAN("$")))
			continue;
		if (known)
			replace(k, argc, i, id);
		k->told_at = i + 1;
		break;
	}
	k->asking--;
	if (k->asking == 0)
		session_run(r, s); /* issues it */
}

static bool
is_nil(struct span reply)
{
	return span_eq(reply, SPAN("*-1\r\n")) ||
	       span_eq(reply, SPAN("$-1\r\n"));
}

void
block_reply(struct relay *r, struct session *s, struct lane *lane,
            struct span reply)
{
	struct block *k = s->wide == NULL ? NULL : s->wide->block;
	bool writes;

	if (k == NULL || s->link == NULL)
		return;
	if (is_nil(reply) &&
	    (k->deadline_ns == 0 || r->port->now_ns < k->deadline_ns)) {
		k->issued = false;
		session_run(r, s); /* again, when it may */
		return;
	}
	writes = k->writes && !is_nil(reply) && reply.p[0] != '-';
	block_free(r, s);
	if (writes && ack_is_on(r))
		ack_withhold(r, s, lane, reply);
	else
		session_say(r, s, reply);
}

/* ---- a hold ------------------------------------------------------------ */

static void
ask_one(struct relay *r, struct session *s)
{
	struct block *k = s->wide->block;
	struct lane *lane;

	if (!k->issued || s->lane == NULL || s->lane->client_id < 0)
		return;
	if (k->asked_ns != 0 && k->asked_ns + ASK_NS > r->port->now_ns)
		return;
	lane = lane_admin(r, (enum side)s->lane->side);
	if (lane == NULL || lane->state != LANE_READY || !lane->link->is_up)
		return;
	k->asked_ns = r->port->now_ns;
	buf_clear(&r->scratch);
	resp_put_array(&r->scratch, 3);
	resp_put_bulk(&r->scratch, SPAN("CLIENT"));
	resp_put_bulk(&r->scratch, SPAN("UNBLOCK"));
	resp_put_bulk_i64(&r->scratch, s->lane->client_id);
	(void)lane_ask(r, lane, PEND_IGNORE, buf_span(&r->scratch));
}

void
block_ask(struct relay *r)
{
	if (r->blocked == 0)
		return;
	list_each(session, s, all, &r->sessions) {
		if (s->link != NULL && s->wide != NULL &&
		    s->wide->block != NULL)
			ask_one(r, s);
	}
}
