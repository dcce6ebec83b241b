/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/queued.c: commands in a transaction whose answer is Godwit's.
 */
#include "engine/redis/relay/queued.h"

#include "base/num.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"
#include "engine/redis/relay/track.h"

#define NAME_BAD UINT8_MAX
#define GETNAME  SPAN("*2\r\n$6\r\nCLIENT\r\n$7\r\nGETNAME\r\n")

/* One of them: the at-th that was queued. */
struct item {
	uint32_t at;
	uint32_t db;       /* SELECT */
	uint8_t kind;      /* enum command_handler */
	uint8_t name_n;    /* SETNAME, HELLO; NAME_BAD: it cannot be one */
	bool has_name;     /* HELLO */
	bool resp3;        /* HELLO: the protocol behind it, ... */
	bool same;         /* ... or that of before */
	bool is_bad;       /* NOEVICT: neither on nor off */
	struct cred *cred; /* AUTH, HELLO; counted; NULL: none */
	uint8_t *raw;      /* CLIENT TRACKING: the request; owned */
	uint32_t raw_n;
	char name[64];
};

/* Is there one of this kind already? */
static bool
has_item(const struct session *s, enum command_handler kind)
{
	struct span items =
		s->wide == NULL ? span_of(NULL, 0) : buf_span(&s->wide->queued);
	struct item it;

	for (; items.n > 0; items = span_skip(items, sizeof(it))) {
		memcpy(&it, items.p, sizeof(it));
		if (it.kind == kind)
			return true;
	}
	return false;
}

bool
queued_is_plain(const struct session *s, const struct command *c)
{
	switch (c->handler) {
	case COMMAND_MONITOR: return true;
	case COMMAND_SUBSCRIBE: return c->first > 0;
	case COMMAND_UNSUBSCRIBE:
		return !s->resp3 && !has_item(s, COMMAND_HELLO);
	default: return false;
	}
}

bool
queued_takes(const struct relay *r, const struct session *s,
             const struct command *c)
{
	size_t n = s->wide == NULL ? 0 : buf_len(&s->wide->queued);

	if (n >= QUEUED_MAX * sizeof(struct item))
		return false;
	switch (c->handler) {
	case COMMAND_CLIENTID:
	case COMMAND_CLIENTINFO:
	case COMMAND_GETNAME:
	case COMMAND_NOEVICT:
	case COMMAND_SCAN:
	case COMMAND_SCANKEY:
	case COMMAND_SETNAME: return true;
	case COMMAND_SELECT:
		/* Marks of its keys are told with the lane's database. */
		return r->board == NULL ||
		       !r->board->by_marks[r->route.authority];
	case COMMAND_AUTH: return r->door == NULL && !split_is_on(r);
	case COMMAND_HELLO:
		return !s->tracking && sub_of(s) == NULL &&
		       !has_item(s, COMMAND_TRACKING);
	case COMMAND_TRACKING:
		return !track_is_switch(c) || !has_item(s, COMMAND_HELLO);
	default: return false;
	}
}

static void
read_name(struct item *it, struct span name)
{
	it->name_n = (uint8_t)(name.n < sizeof(it->name) ? name.n
	                                                 : sizeof(it->name));
	memcpy(it->name, name.p, it->name_n);
	if (!local_may_name(name))
		it->name_n = NAME_BAD;
}

/* AUTH and what it is: false: no memory. One that is wrong has no item's effect. */
static bool
read_auth(struct relay *r, const struct resp_cmd *q, struct item *it)
{
	bool two = q->argc == 3;

	if (q->argc < 2 || q->argc > 3)
		return true;
	it->cred = local_cred(r, two ? q->argv[1] : span_of(NULL, 0),
	                      q->argv[two ? 2 : 1]);
	return it->cred != NULL;
}

/* HELLO in the form that has no half effects: a version, then AUTH and SETNAME
 * once each. The words of user and password, or p NULL. */
static bool
read_hello(const struct resp_cmd *q, struct item *it, struct span ret_auth[2])
{
	ret_auth[0] = span_of(NULL, 0);
	it->same = q->argc < 2;
	if (it->same)
		return true;
	it->resp3 = span_eq(q->argv[1], SPAN("3"));
	if (q->argc > 7 || (!it->resp3 && !span_eq(q->argv[1], SPAN("2"))))
		return false;
	for (uint32_t i = 2; i < q->argc; i++) {
		if (span_is_word(q->argv[i], SPAN("auth")) && i + 2 < q->argc &&
		    ret_auth[0].p == NULL && !it->has_name) {
			ret_auth[0] = q->argv[++i];
			ret_auth[1] = q->argv[++i];
		} else if (span_is_word(q->argv[i], SPAN("setname")) &&
		           i + 1 < q->argc && !it->has_name) {
			read_name(it, q->argv[++i]);
			it->has_name = true;
		} else {
			return false;
		}
	}
	return it->name_n != NAME_BAD;
}

/* Has it a word that does something even where the whole is wrong? */
static bool
is_half(const struct resp_cmd *q)
{
	if (q->argc > RESP_SPANS)
		return true;
	for (uint32_t i = 2; i < q->argc; i++) {
		if (span_is_word(q->argv[i], SPAN("auth")) ||
		    span_is_word(q->argv[i], SPAN("setname")))
			return true;
	}
	return false;
}

/* Without SETNAME: the connection's name is Godwit's. */
static void
put_hello(struct buf *b, const struct resp_cmd *q)
{
	struct item it = { .at = 0 };
	struct span auth[2];

	if (!read_hello(q, &it, auth) || !it.has_name)
		return;
	resp_put_array(b, auth[0].p != NULL ? 5 : 2);
	resp_put_bulk(b, q->argv[0]);
	resp_put_bulk(b, q->argv[1]);
	if (auth[0].p == NULL)
		return;
	resp_put_bulk(b, SPAN("AUTH"));
	resp_put_bulk(b, auth[0]);
	resp_put_bulk(b, auth[1]);
}

/* CLIENT TRACKING: the words are asked again on other lanes. */
static bool
read_tracking(struct relay *r, struct item *it, struct span raw)
{
	it->raw = mem_alloc(r->mem, raw.n);
	if (it->raw == NULL)
		return false;
	memcpy(it->raw, raw.p, raw.n);
	it->raw_n = (uint32_t)raw.n;
	return true;
}

/* What it owns goes. */
static void
drop_item(struct relay *r, struct item *it)
{
	cred_unref(r, it->cred);
	mem_free(r->mem, it->raw, it->raw_n);
}

enum ready {
	READY,
	READY_NO,     /* it is refused */
	READY_NO_MEM, /* ... there is no memory */
};

static enum ready
read_item(struct relay *r, const struct resp_cmd *q, struct span raw,
          struct item *it)
{
	struct span auth[2] = { { NULL, 0 }, { NULL, 0 } };
	int64_t db = 0;

	switch (it->kind) {
	case COMMAND_SETNAME: read_name(it, q->argv[2]); break;
	case COMMAND_SELECT:
		if (num_get_i64(q->argv[1].p, q->argv[1].n, &db))
			it->db = (uint32_t)db; /* the server says whether */
		break;
	case COMMAND_NOEVICT:
		it->is_bad = !span_is_word(q->argv[2], SPAN("on")) &&
		             !span_is_word(q->argv[2], SPAN("off"));
		break;
	case COMMAND_AUTH:
		if (!read_auth(r, q, it))
			return READY_NO_MEM;
		break;
	case COMMAND_TRACKING:
		if (!track_is_switch(dispatch_row(r, q)))
			break;
		if (!read_tracking(r, it, raw))
			return READY_NO_MEM;
		break;
	case COMMAND_HELLO:
		if (!read_hello(q, it, auth))
			return is_half(q) ? READY_NO : READY;
		if (auth[0].p == NULL)
			break;
		if (r->door != NULL || split_is_on(r))
			return READY_NO;
		it->cred = local_cred(r, auth[0], auth[1]);
		if (it->cred == NULL)
			return READY_NO_MEM;
		break;
	default: break;
	}
	return READY;
}

struct span
queued_as_sent(const struct relay *r, const struct lane *lane,
               const struct resp_cmd *q, struct span raw, struct buf *b)
{
	const struct command *c = dispatch_row(r, q);

	switch (c == NULL ? COMMAND_PLAIN : c->handler) {
	case COMMAND_SETNAME:
	case COMMAND_NOEVICT: return q->argc == 3 ? GETNAME : raw;
	case COMMAND_HELLO: put_hello(b, q); break;
	case COMMAND_SCAN:
	case COMMAND_SCANKEY: (void)scan_put_sent(r, lane, q, raw, b); break;
	default: break;
	}
	return buf_len(b) > 0 ? buf_span(b) : raw;
}

enum dispatched
queued_dispatch(struct relay *r, struct session *s, const struct command *c,
                const struct resp_cmd *q, struct span raw)
{
	struct wide *w = session_wide(r, s);
	struct item it = { .kind = c->handler };
	struct sending m = { raw, raw, PEND_PASS, 0 };
	struct lane *lane;
	enum dispatched ret;
	const char *why;
	enum ready is;
	struct buf b;

	if (w == NULL)
		return DISPATCH_CLOSED;
	why = track_why_not(s, c, q, raw);
	if (why != NULL)
		return dispatch_refuse(r, s, "ERR godwit refuses %s: %s",
		                       c->name, why);
	lane = dispatch_lane(r, s, true);
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	it.at = w->queued_n;
	is = read_item(r, q, raw, &it);
	if (is == READY_NO)
		return dispatch_refuse(
			r, s, "ERR godwit refuses %s inside MULTI", c->name);
	buf_init(&b, r->mem);
	m.raw = queued_as_sent(r, lane, q, raw, &b);
	buf_put(&w->queued, &it, sizeof(it));
	if (buf_failed(&w->queued))
		drop_item(r, &it); /* it was not taken */
	if (is != READY || buf_failed(&w->queued) || buf_failed(&b)) {
		session_close(r, s, "ERR godwit: out of memory");
		ret = DISPATCH_CLOSED;
	} else {
		ret = dispatch_send_as(r, s, lane, &m);
	}
	buf_fini(&b);
	return ret;
}

void
queued_skip(struct session *s)
{
	if (s->wide != NULL && s->wide->queued_n > 0)
		s->wide->queued_n--;
}

/* The last one goes. */
static void
drop_last(struct relay *r, struct buf *b)
{
	struct item it;

	memcpy(&it, b->p + b->end - sizeof(it), sizeof(it));
	drop_item(r, &it);
	b->end -= (uint32_t)sizeof(it);
}

void
queued_free(struct relay *r, struct session *s)
{
	struct wide *w = s->wide;

	w->queued_n = 0;
	w->queued_sent = false;
	while (buf_len(&w->queued) > 0)
		drop_last(r, &w->queued);
	buf_fini(&w->queued);
}

void
queued_back(struct relay *r, struct session *s)
{
	struct wide *w = s->wide;
	struct buf *b = &w->queued;
	struct item it;

	w->queued_sent = false;
	while (buf_len(b) > 0) {
		memcpy(&it, b->p + b->end - sizeof(it), sizeof(it));
		if (it.at < w->queued_n)
			break;
		drop_last(r, b);
	}
}

bool
queued_may_begin(struct relay *r, struct session *s)
{
	struct wide *w = s->wide;

	if (w == NULL)
		return true;
	if (w->queued_sent && s->inflight > 0)
		return false;
	queued_free(r, s);
	return true;
}

bool
queued_exec(struct session *s)
{
	struct wide *w = s->wide;

	if (w == NULL || buf_len(&w->queued) == 0)
		return false;
	w->queued_sent = true;
	return true;
}

bool
queued_is_open(const struct session *s)
{
	return s->wide != NULL && s->wide->queued_sent;
}

/* ---- the answer ------------------------------------------------------------ */

static void
take_name(struct session *s, const struct item *it)
{
	s->wide->name_n = it->name_n;
	memcpy(s->wide->name, it->name, it->name_n);
	rule_forget(s);
}

static void
put_set_name(struct session *s, const struct item *it, struct buf *b)
{
	if (it->name_n == NAME_BAD) {
		buf_put_span(b, LOCAL_BAD_NAME);
		return;
	}
	take_name(s, it);
	resp_put_status(b, "OK");
}

/* The connection's user is another one, and so is the session's. */
static void
become(struct relay *r, struct session *s, struct lane *lane, struct cred *cred)
{
	if (cred == NULL)
		return;
	local_become(r, s, cred);
	cred_ref(cred);
	cred_unref(r, lane->cred);
	lane->cred = cred;
	lane->vouched = false;
	lane->no_role = false;
}

static void
put_hello_answer(struct relay *r, struct session *s, struct lane *lane,
                 const struct item *it, struct buf *b, struct span answer)
{
	become(r, s, lane, it->cred);
	if (it->has_name)
		take_name(s, it);
	local_put_hello(s, lane, it->same ? s->resp3 : it->resp3, answer, b);
}

/* One of them was answered so, and not with an error. */
static void
put_item(struct relay *r, struct session *s, struct lane *lane,
         const struct item *it, struct span answer, struct buf *b)
{
	switch (it->kind) {
	case COMMAND_SELECT:
		if (answer.p[0] == '+') {
			session_enter(s, it->db);
			lane->db = it->db;
			lane->brought = false;
		}
		buf_put_span(b, answer);
		break;
	case COMMAND_AUTH:
		become(r, s, lane, it->cred);
		buf_put_span(b, answer);
		break;
	case COMMAND_HELLO: put_hello_answer(r, s, lane, it, b, answer); break;
	case COMMAND_SCAN:
	case COMMAND_SCANKEY:
		scan_put_answer(r, lane, answer, it->kind == COMMAND_SCAN, b);
		break;
	case COMMAND_NOEVICT:
		buf_put_str(b,
		            it->is_bad ? "-ERR syntax error\r\n" : "+OK\r\n");
		break;
	case COMMAND_TRACKING:
		if (it->raw != NULL && answer.p[0] == '+')
			track_switch(r, s, lane, span_of(it->raw, it->raw_n));
		buf_put_span(b, answer);
		break;
	case COMMAND_CLIENTID: resp_put_int(b, (int64_t)s->id); break;
	case COMMAND_GETNAME: local_put_name(s, b); break;
	case COMMAND_SETNAME: put_set_name(s, it, b); break;
	case COMMAND_CLIENTINFO: local_put_info(r, s, 0, b); break;
	default: buf_put_span(b, answer); break;
	}
}

/* All answers of EXEC; false: they are not those of an EXEC. */
static bool
put_all(struct relay *r, struct session *s, struct lane *lane,
        struct span reply, struct buf *b)
{
	struct span items = buf_span(&s->wide->queued);
	struct span rest = reply;
	struct resp_item head;
	struct item it = { .at = 0 };

	if (resp_read(&rest, &head) != WIRE_PART || head.type != RESP_ARRAY)
		return false;
	resp_put_array(b, (size_t)head.number);
	for (int64_t i = 0; i < head.number; i++) {
		int64_t n = resp_reply_len(rest);

		if (n <= 0)
			return false;
		if (items.n > 0)
			memcpy(&it, items.p, sizeof(it));
		if (items.n > 0 && it.at == i) {
			items = span_skip(items, sizeof(it));
			if (rest.p[0] == '-')
				buf_put(b, rest.p, (size_t)n);
			else
				put_item(r, s, lane, &it,
				         span_of(rest.p, (size_t)n), b);
		} else {
			buf_put(b, rest.p, (size_t)n);
		}
		rest = span_skip(rest, (size_t)n);
	}
	return true;
}

void
queued_answer(struct relay *r, struct session *s, struct lane *lane,
              struct span reply, struct buf *ret)
{
	if (!put_all(r, s, lane, reply, ret)) { /* an error, or nil */
		buf_clear(ret);
		buf_put_span(ret, reply);
	}
	queued_free(r, s);
}
