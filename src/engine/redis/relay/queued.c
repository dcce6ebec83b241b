/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/queued.c: commands in a transaction whose answer is Godwit's.
 */
#include "engine/redis/relay/queued.h"

#include "base/num.h"

#define NAME_BAD UINT8_MAX
#define GETNAME  SPAN("*2\r\n$6\r\nCLIENT\r\n$7\r\nGETNAME\r\n")

/* One of them: the at-th that was queued. */
struct item {
	uint32_t at;
	uint32_t db;    /* SELECT */
	uint8_t kind;   /* enum command_handler */
	uint8_t name_n; /* SETNAME; NAME_BAD: it cannot be one */
	char name[64];
};

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
	case COMMAND_SETNAME: return true;
	case COMMAND_SELECT:
		/* Marks of its keys are told with the lane's database. */
		return r->board == NULL ||
		       !r->board->by_marks[r->route.authority];
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

enum dispatched
queued_dispatch(struct relay *r, struct session *s, const struct command *c,
                const struct resp_cmd *q, struct span raw)
{
	struct wide *w = session_wide(r, s);
	struct item it = { .kind = c->handler };
	struct sending m = { raw, raw, PEND_PASS, 0 };
	struct lane *lane;
	int64_t db = 0;

	if (w == NULL)
		return DISPATCH_CLOSED;
	lane = dispatch_lane(r, s, true);
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	it.at = w->queued_n;
	if (c->handler == COMMAND_SETNAME) {
		read_name(&it, q->argv[2]);
		m.raw = GETNAME;
	} else if (c->handler == COMMAND_SELECT &&
	           num_get_i64(q->argv[1].p, q->argv[1].n, &db)) {
		it.db = (uint32_t)db; /* the server says whether it is one */
	}
	buf_put(&w->queued, &it, sizeof(it));
	if (buf_failed(&w->queued)) {
		session_close(r, s, "ERR godwit: out of memory");
		return DISPATCH_CLOSED;
	}
	return dispatch_send_as(r, s, lane, &m);
}

struct span
queued_as_sent(const struct resp_cmd *q, struct span raw)
{
	return q->argc == 3 && span_is_word(q->argv[0], SPAN("client")) &&
	                       span_is_word(q->argv[1], SPAN("setname"))
	               ? GETNAME
	               : raw;
}

void
queued_skip(struct session *s)
{
	if (s->wide != NULL && s->wide->queued_n > 0)
		s->wide->queued_n--;
}

static void
forget(struct wide *w)
{
	w->queued_n = 0;
	w->queued_sent = false;
	buf_fini(&w->queued);
}

void
queued_back(struct session *s)
{
	struct wide *w = s->wide;
	struct buf *b = &w->queued;
	struct item it;

	w->queued_sent = false;
	while (buf_len(b) > 0) {
		memcpy(&it, b->p + b->end - sizeof(it), sizeof(it));
		if (it.at < w->queued_n)
			break;
		b->end -= (uint32_t)sizeof(it);
	}
}

bool
queued_may_begin(struct session *s)
{
	struct wide *w = s->wide;

	if (w == NULL)
		return true;
	if (w->queued_sent && s->inflight > 0)
		return false;
	forget(w);
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
put_set_name(struct session *s, const struct item *it, struct buf *b)
{
	if (it->name_n == NAME_BAD) {
		buf_put_span(b, LOCAL_BAD_NAME);
		return;
	}
	s->wide->name_n = it->name_n;
	memcpy(s->wide->name, it->name, it->name_n);
	rule_forget(s);
	resp_put_status(b, "OK");
}

/* One of them was answered so. */
static void
put_item(struct relay *r, struct session *s, struct lane *lane,
         const struct item *it, struct span answer, struct buf *b)
{
	if (answer.p[0] == '-' || it->kind == COMMAND_SELECT)
		buf_put_span(b, answer);
	if (answer.p[0] == '-')
		return;
	if (it->kind == COMMAND_SELECT && answer.p[0] == '+') {
		s->db = it->db;
		lane->db = it->db;
	} else if (it->kind == COMMAND_SELECT) {
		return;
	} else if (it->kind == COMMAND_CLIENTID) {
		resp_put_int(b, (int64_t)s->id);
	} else if (it->kind == COMMAND_GETNAME) {
		local_put_name(s, b);
	} else if (it->kind == COMMAND_SETNAME) {
		put_set_name(s, it, b);
	} else {
		local_put_info(r, s, b);
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
			put_item(r, s, lane, &it, span_of(rest.p, (size_t)n),
			         b);
			items = span_skip(items, sizeof(it));
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
	forget(s->wide);
}
