/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/block.c: blocking commands, and how they move in a switch.
 *
 *   ASKING ($ of XREAD is made a concrete id) → ISSUED ─[reply]→ (free)
 *                                                 │ nil before its time
 *                                                 ↓
 *                                               PAUSED ─[hold over]→ ISSUED
 *
 * A hold unblocks each client by CLIENT UNBLOCK on its server (lane.c finds the
 * id; where Godwit may not unblock the client is told so and closed at the
 * bound). A nil that comes
 * before the client's time is over is not shown to it: the command is issued
 * again with the rest of the time on the side that then has the authority. An
 * element that was popped meanwhile is delivered, so nothing is popped twice. A
 * time that Godwit cannot read is the server's matter: such a command is issued
 * as it is, and its nil counts only while nobody has unblocked it.
 */
#include "engine/redis/keys.h"
#include "engine/redis/relay/astray.h"
#include "engine/redis/relay/split.h"

#define ASK_NS 5000000ull
#define MS_NS  1000000ull

struct block {
	struct buf request; /* as RESP; ids are concrete           */
	uint32_t time_at;   /* argument that holds the time        */
	bool in_ms;         /* it counts milliseconds, not seconds */
	bool issued;
	bool writes;
	bool is_wait;         /* WAIT: no nil, and a PING before it  */
	bool is_told;         /* its client is unblocked by another  */
	bool told_error;      /* ... with an error                   */
	bool vague;           /* its time could not be read          */
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

/* The same in place; when memory is out the request is a failed buf. */
static void
replace(struct block *k, uint32_t argc, uint32_t at, const struct buf *with)
{
	struct buf b;

	buf_init(&b, k->request.mem);
	put_replaced(&b, buf_span(&k->request), argc, at, buf_span(with));
	b.failed |= buf_failed(with) || buf_failed(&k->request);
	buf_fini(&k->request);
	k->request = b;
}

/* ---- its time ---------------------------------------------------------- */

#define TIME_MAX     (UINT64_C(1) << 62) /* ns, 146 years: for ever          */
#define DIGITS_MAX   19                  /* of an integer                    */
#define TIME_TEXT    256                 /* longer ones are not looked into  */
#define EXPONENT_MAX 4000 /* nor such that strtold() may not take */

/* mantissa * base^exponent */
struct number {
	uint64_t mantissa;
	int32_t exponent; /* of 10 or of 2 */
	bool inexact;     /* digits that are not 0 were left out */
};

static int
digit_of(uint8_t c, bool hex)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return hex && c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Digits with at most one point; s is behind them afterwards. */
static bool
read_digits(struct span *s, bool hex, struct number *n)
{
	bool point = false;
	bool any = false;
	uint64_t max = (UINT64_C(1) << 58); /* room for one more digit */
	int32_t step = hex ? 4 : 1;

	for (; s->n > 0; *s = span_skip(*s, 1)) {
		int d = digit_of(s->p[0], hex);

		if (s->p[0] == '.' && !point) {
			point = true;
			continue;
		}
		if (d < 0)
			break;
		any = true;
		if (n->mantissa < max) {
			n->mantissa =
				n->mantissa * (hex ? 16 : 10) + (uint64_t)d;
			n->exponent -= point ? step : 0;
		} else {
			n->inexact |= d > 0;
			n->exponent += point ? 0 : step;
		}
	}
	return any;
}

/* e or p with a number, or nothing. */
static bool
read_exponent(struct span *s, bool hex, struct number *n)
{
	int32_t v = 0;
	bool minus;

	if (s->n == 0 || (s->p[0] | 0x20) != (hex ? 'p' : 'e'))
		return true;
	*s = span_skip(*s, 1);
	minus = s->n > 0 && s->p[0] == '-';
	if (s->n > 0 && (s->p[0] == '-' || s->p[0] == '+'))
		*s = span_skip(*s, 1);
	if (s->n == 0)
		return false;
	for (; s->n > 0 && digit_of(s->p[0], false) >= 0; *s = span_skip(*s, 1))
		v = v > 99999 ? v : v * 10 + digit_of(s->p[0], false);
	n->exponent += minus ? -v : v;
	return true;
}

/* n seconds in ns, rounded up, TIME_MAX at most. */
static uint64_t
to_ns(struct number n, bool hex)
{
	uint64_t base = hex ? 2 : 10;
	uint64_t unit = 1000 * MS_NS;
	uint64_t v = n.mantissa;

	for (; hex && v > UINT32_MAX; n.exponent++)
		v >>= 1;
	if (hex) {
		v *= unit;
		unit = 1;
	}
	for (; unit > 1 && n.exponent < 0; n.exponent++)
		unit /= 10; /* base is 10 */
	for (; n.exponent < 0 && v > 0; n.exponent++) {
		n.inexact |= v % base != 0;
		v /= base;
	}
	for (; n.exponent > 0 && v > 0; n.exponent--) {
		if (v >= TIME_MAX / base)
			return TIME_MAX;
		v *= base;
	}
	return v >= TIME_MAX / unit ? TIME_MAX : v * unit + n.inexact;
}

/* Seconds as strtold() of the server reads them. False: the server says what is
 * wrong with it, or it is below zero. */
static bool
parse_seconds(struct span s, uint64_t *ret_ns)
{
	struct number n = { .mantissa = 0 };
	bool minus = s.n > 0 && s.p[0] == '-';
	uint64_t ns;
	bool hex;

	if (s.n == 0 || s.n > TIME_TEXT)
		return false;
	if (s.p[0] == '-' || s.p[0] == '+')
		s = span_skip(s, 1);
	hex = s.n > 2 && s.p[0] == '0' && (s.p[1] | 0x20) == 'x';
	if (hex)
		s = span_skip(s, 2);
	if (!read_digits(&s, hex, &n) || !read_exponent(&s, hex, &n) || s.n > 0)
		return false;
	if (n.exponent > EXPONENT_MAX || n.exponent < -EXPONENT_MAX)
		return false;
	ns = to_ns(n, hex);
	if (minus && ns > 0)
		return false;
	*ret_ns = ns;
	return true;
}

/* Milliseconds as the server reads an integer: only what it would write. */
static bool
parse_ms(struct span s, uint64_t *ret_ns)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n >= DIGITS_MAX || (s.n > 1 && s.p[0] == '0'))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (digit_of(s.p[i], false) < 0)
			return false;
		v = v * 10 + (uint64_t)digit_of(s.p[i], false);
	}
	*ret_ns = v >= TIME_MAX / MS_NS ? TIME_MAX : v * MS_NS;
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
	case COMMAND_WAIT:
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

/* So far away that its time stays as the client wrote it. */
static bool
is_far(const struct relay *r, const struct block *k)
{
	return k->deadline_ns > r->port->now_ns &&
	       k->deadline_ns - r->port->now_ns >= TIME_MAX / 2;
}

/* The side it is issued on may be another one than before. */
static uint8_t
flags_of(const struct relay *r, const struct block *k)
{
	bool marks = r->board != NULL &&
	             r->board->by_marks[r->route.authority] && k->in_ms;

	return (uint8_t)((k->writes ? PEND_F_WRITE : 0) |
	                 (k->writes && marks ? PEND_F_KEPT | PEND_F_MARK : 0));
}

/* Unblocked by another client while it was on its way from side to side. */
static void
say_told(struct relay *r, struct session *s)
{
	bool error = s->wide->block->told_error;

	block_free(r, s);
	session_say(r, s,
	            error ? SPAN("-UNBLOCKED client unblocked via CLIENT "
	                         "UNBLOCK\r\n")
	                  : session_nil_array(s));
}

/* Its request with the rest of its time. */
static void
put_rest(struct relay *r, struct block *k)
{
	uint64_t now = r->port->now_ns;
	uint64_t ms = k->deadline_ns > now + MS_NS
	                      ? (k->deadline_ns - now) / MS_NS
	                      : 1;
	struct buf b;

	buf_init(&b, r->mem);
	if (k->in_ms)
		buf_put_u64(&b, ms);
	else
		buf_putf(&b, "%llu.%03u", (unsigned long long)(ms / 1000),
		         (unsigned)(ms % 1000));
	replace(k, resp_cmd_count(buf_span(&k->request)), k->time_at, &b);
	buf_fini(&b);
}

void
block_issue(struct relay *r, struct session *s)
{
	struct block *k = s->wide->block;
	struct lane *lane;

	if (k->issued || k->asking > 0)
		return;
	if (k->is_told) {
		say_told(r, s);
		return;
	}
	if (dispatch_is_held(r, s))
		return;
	if (split_is_on(r) && !split_block(r, s, buf_span(&k->request))) {
		block_free(r, s);
		session_say(
			r, s,
			SPAN("-CROSSSLOT godwit: the keys that this command "
		             "waits for are on both sides now\r\n"));
		return;
	}
	lane = dispatch_lane(r, s, true);
	if (lane == NULL)
		return;
	if (k->deadline_ns != 0 && !is_far(r, k))
		put_rest(r, k);
	if (buf_failed(&k->request)) {
		session_close(r, s, "ERR godwit: out of memory");
		return;
	}
	k->issued = true;
	k->asked_ns = 0;
	/* WAIT counts from the last command of its connection; behind this one
	 * that is all that the client was ever answered. */
	if (k->is_wait)
		(void)lane_ask(r, lane, PEND_IGNORE,
		               SPAN("*1\r\n$4\r\nPING\r\n"));
	if (dispatch_send(r, s, lane, buf_span(&k->request), PEND_BLOCK,
	                  flags_of(r, k)) == DISPATCHED &&
	    s->eof)
		block_leave(r, s);
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
block_enter(struct relay *r, struct session *s, const struct command *c,
            const struct resp_cmd *q, struct span raw)
{
	if (keys_mention_ours(raw))
		return dispatch_refuse(
			r, s,
			"ERR godwit: names that begin with " KEYS_OWN_PREFIX
			" are Godwit's own");
	if (s->multi)
		return dispatch_plain(r, s, c, q, raw);
	return block_dispatch(r, s, c, q, raw);
}

enum dispatched
block_dispatch(struct relay *r, struct session *s, const struct command *c,
               const struct resp_cmd *q, struct span raw)
{
	uint32_t at = time_at(c, q, raw);
	bool is_wait = c->handler == COMMAND_WAIT;
	bool in_ms = c->handler == COMMAND_BLOCK_WORD || is_wait;
	uint8_t flags = c->kind == COMMAND_WRITE ? PEND_F_WRITE : 0;
	uint8_t kept = mark_wants(r, c) ? PEND_F_KEPT | PEND_F_MARK : 0;
	uint64_t ns = 0;
	bool blocks = at != 0;
	bool clear = blocks && (in_ms ? parse_ms(arg_at(raw, at), &ns)
	                              : parse_seconds(arg_at(raw, at), &ns));
	struct lane *lane;
	struct wide *w;
	struct block *k;

	if (blocks && (s->inflight > 0 || s->withheld > 0))
		return DISPATCH_WAIT;
	lane = dispatch_lane(r, s, blocks);
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	if (!blocks)
		return dispatch_send(r, s, lane, raw, PEND_PASS, flags | kept);
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
	k->is_wait = is_wait;
	k->writes = flags != 0;
	k->vague = !clear;
	k->deadline_ns = ns == 0 ? 0 : r->port->now_ns + ns;
	w->block = k;
	r->blocked++;
	if (in_ms && !k->writes && !is_wait)
		ask_last(r, s, lane, q->argc);
	if (buf_failed(&k->request))
		session_close(r, s, "ERR godwit: out of memory");
	else
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
	argc = resp_cmd_count(buf_span(&k->request));
	at = word_at(buf_span(&k->request), SPAN("streams"));
	n = (argc - at - 1) / 2;
	if (k->told_at == 0)
		k->told_at = at + 1 + n;
	for (uint32_t i = k->told_at; i < argc; i++) {
		if (!span_eq(arg_at(buf_span(&k->request), i), SPAN("$")))
			continue;
		if (known) {
			struct buf b;

			buf_init(&b, r->mem);
			buf_put_span(&b, id);
			replace(k, argc, i, &b);
			buf_fini(&b);
		}
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
	       span_eq(reply, SPAN("$-1\r\n")) || span_eq(reply, SPAN("_\r\n"));
}

/* A nil now is not the end of its time. */
static bool
is_early(const struct relay *r, const struct block *k)
{
	if (k->vague)
		return k->asked_ns != 0;
	return k->deadline_ns == 0 || r->port->now_ns < k->deadline_ns;
}

/* Not the answer that the client waits for: it was unblocked. WAIT answers a
 * number then as well. */
static bool
is_cut(const struct relay *r, const struct block *k, struct span reply)
{
	if (k->is_told)
		return false;
	/* It was the command's before, on the same connection. */
	if (span_has_prefix(reply, SPAN("-UNBLOCKED")))
		return true;
	if (k->is_wait)
		return k->asked_ns != 0 && reply.p[0] == ':' && is_early(r, k);
	return is_nil(reply) && is_early(r, k);
}

void
block_reply(struct relay *r, struct session *s, struct lane *lane,
            struct span reply)
{
	struct block *k = s->wide == NULL ? NULL : s->wide->block;
	bool writes;

	/* It may have been blocked since before anybody wanted marks. */
	if (k != NULL && k->writes && k->in_ms)
		mark_done(r, lane, buf_span(&k->request));
	if (k == NULL || s->link == NULL)
		return;
	if (is_cut(r, k, reply)) {
		if (s->eof) { /* as the server: it waits for nobody */
			session_close(r, s, "");
			return;
		}
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

bool
block_again(struct session *s, struct span reply)
{
	struct block *k = s->wide == NULL ? NULL : s->wide->block;

	if (k == NULL || s->eof ||
	    (k->is_told && span_has_prefix(reply, SPAN("-UNBLOCKED"))))
		return false;
	k->issued = false;
	return true;
}

/* ---- a hold ------------------------------------------------------------ */

static void
ask_one(struct relay *r, struct session *s)
{
	struct block *k = s->wide->block;
	struct lane *lane;

	/* Who is elsewhere has an id of that node. */
	if (!k->issued || s->lane == NULL || s->lane->client_id < 0 ||
	    s->lane->node != 0)
		return;
	if (k->asked_ns != 0 && k->asked_ns + ASK_NS > r->port->now_ns)
		return;
	lane = lane_admin(r, (enum side)s->lane->side);
	if (!lane_is_open(lane))
		return;
	k->asked_ns = r->port->now_ns;
	resp_put_array(&lane->link->tx, k->told_error ? 4 : 3);
	resp_put_bulk(&lane->link->tx, SPAN("CLIENT"));
	resp_put_bulk(&lane->link->tx, SPAN("UNBLOCK"));
	resp_put_bulk_i64(&lane->link->tx, s->lane->client_id);
	if (k->told_error)
		resp_put_bulk(&lane->link->tx, SPAN("ERROR"));
	(void)lane_pend(r, lane, NULL, PEND_UNBLOCK);
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

void
block_end(struct relay *r)
{
	if (r->blocked == 0)
		return;
	list_each(session, s, all, &r->sessions) {
		struct block *k = s->wide == NULL ? NULL : s->wide->block;
		const struct lane *admin;

		if (s->link == NULL || k == NULL || !k->issued ||
		    s->lane == NULL)
			continue;
		admin = lane_admin(r, (enum side)s->lane->side);
		if (s->lane->client_id >= 0 && s->lane->node == 0 &&
		    (admin == NULL || !admin->no_unblock))
			continue;
		r->n.lost[s->lane->side]++;
		session_close(r, s,
		              "ERR godwit: a blocked command could not be "
		              "moved to the other side, its outcome is "
		              "unknown");
	}
}

/* ---- a client that says no more ---------------------------------------- */

void
block_leave(struct relay *r, struct session *s)
{
	ask_one(r, s);
	r->leave_ns = r->port->now_ns + ASK_NS;
	port_wake(r->port, r->leave_ns);
}

bool
block_unblock(struct relay *r, struct session *s, bool as_error)
{
	struct block *k = s->wide == NULL ? NULL : s->wide->block;

	if (k == NULL || k->is_told)
		return false;
	k->is_told = true;
	k->told_error = as_error;
	k->asked_ns = 0;
	if (k->issued)
		block_leave(r, s);
	else
		session_run(r, s); /* a switch has unblocked it already */
	return true;
}

void
block_tick(struct relay *r)
{
	bool any = false;

	if (r->leave_ns == 0 || r->leave_ns > r->port->now_ns)
		return;
	list_each(session, s, all, &r->sessions) {
		if (s->link == NULL || s->wide == NULL ||
		    s->wide->block == NULL ||
		    (!s->eof && !s->wide->block->is_told))
			continue;
		ask_one(r, s);
		any = true;
	}
	r->leave_ns = any ? r->port->now_ns + ASK_NS : 0;
	if (any)
		port_wake(r->port, r->leave_ns);
}
