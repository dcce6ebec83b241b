/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/clients_read.c: the words of CLIENT LIST, KILL, PAUSE and
 * UNBLOCK, read as the server reads them.
 * Source: https://redis.io/docs/latest/commands/client-kill/ and its neighbours
 */
#include "base/num.h"
#include "engine/redis/relay/clients_ask.h"

static const char syntax[] = "ERR syntax error";
const char clients_no_type[] = "ERR Unknown client type";

/* Decimal digits, 1 to 2^63 - 1. */
static bool
read_id(struct span s, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n > 18)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	*ret = v;
	return true;
}

static void
set_word(struct word *w, struct span s)
{
	w->is_set = true;
	w->n = (uint32_t)(s.n < WORD_MAX ? s.n : WORD_MAX);
	memcpy(w->text, s.p, w->n);
}

static bool
read_type(struct span s, uint8_t *ret)
{
	if (span_is_word(s, SPAN("normal")))
		*ret = TYPE_NORMAL;
	else if (span_is_word(s, SPAN("pubsub")))
		*ret = TYPE_PUBSUB;
	else if (span_is_word(s, SPAN("master")) ||
	         span_is_word(s, SPAN("replica")) ||
	         span_is_word(s, SPAN("slave")))
		*ret = TYPE_SERVER;
	else
		return false;
	return true;
}

/* One option of KILL and its value. NULL: good. */
static const char *
kill_option(struct query *q, struct span word, struct span v)
{
	if (span_is_word(word, SPAN("id"))) {
		if (!read_id(v, &q->id) || q->id == 0)
			return "ERR client-id should be greater than 0";
	} else if (span_is_word(word, SPAN("type"))) {
		if (!read_type(v, &q->type)) {
			set_word(&q->user, v);
			return clients_no_type;
		}
	} else if (span_is_word(word, SPAN("addr"))) {
		set_word(&q->addr, v);
	} else if (span_is_word(word, SPAN("laddr"))) {
		q->type = TYPE_SERVER; /* they are all the listener's */
	} else if (span_is_word(word, SPAN("user"))) {
		set_word(&q->user, v);
	} else if (span_is_word(word, SPAN("skipme"))) {
		if (span_is_word(v, SPAN("yes")))
			q->skipme = true;
		else if (span_is_word(v, SPAN("no")))
			q->skipme = false;
		else
			return syntax;
	} else {
		return syntax;
	}
	return NULL;
}

static const char *
read_kill(struct ask *a, const struct resp_cmd *q)
{
	const char *why = NULL;

	if (q->argc == 3) {
		a->is_old = true;
		set_word(&a->q.addr, q->argv[2]);
		return NULL;
	}
	a->q.skipme = true;
	if (q->argc > RESP_SPANS || q->argc % 2 != 0)
		return syntax;
	for (uint32_t i = 2; i + 1 < q->argc && why == NULL; i += 2)
		why = kill_option(&a->q, q->argv[i], q->argv[i + 1]);
	return why;
}

static const char *
read_list(struct ask *a, const struct resp_cmd *q)
{
	struct span raw = buf_span(&a->request);
	struct span arg;
	size_t pos = 0;
	int64_t v;

	if (q->argc == 2)
		return NULL;
	if (q->argc == 4 && span_is_word(q->argv[2], SPAN("type"))) {
		if (read_type(q->argv[3], &a->q.type))
			return NULL;
		set_word(&a->q.user, q->argv[3]);
		return clients_no_type;
	}
	if (q->argc < 4 || !span_is_word(q->argv[2], SPAN("id")))
		return syntax;
	a->q.by_ids = true;
	a->q.ids = raw;
	for (int i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		/* Any number is one here, and nobody has most of them. */
		if (i > 2 && !num_get_i64(arg.p, arg.n, &v))
			return "ERR Invalid client ID";
	}
	return NULL;
}

static const char *
read_pause(struct relay *r, struct ask *a, const struct resp_cmd *q)
{
	uint64_t ms;

	if (q->argc > 4)
		return syntax;
	a->q.pause_all = q->argc == 3 || span_is_word(q->argv[3], SPAN("all"));
	if (!a->q.pause_all && !span_is_word(q->argv[3], SPAN("write")))
		return "ERR CLIENT PAUSE mode must be WRITE or ALL";
	if (q->argv[2].n > 1 && q->argv[2].p[0] == '-' &&
	    read_id(span_skip(q->argv[2], 1), &ms))
		return "ERR timeout is negative";
	if (!read_id(q->argv[2], &ms) || ms > UINT64_MAX / 4000000)
		return "ERR timeout is not an integer or out of range";
	a->q.until_ns = r->port->now_ns + ms * 1000000;
	return NULL;
}

static const char *
read_unblock(struct ask *a, const struct resp_cmd *q)
{
	if (q->argc > 4)
		return syntax;
	if (q->argc == 4 && span_is_word(q->argv[3], SPAN("error")))
		a->q.as_error = true;
	else if (q->argc == 4 && !span_is_word(q->argv[3], SPAN("timeout")))
		return "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
	if (!read_id(q->argv[2], &a->q.id))
		return "ERR value is not an integer or out of range";
	if (a->q.id == 0)
		a->q.type = TYPE_SERVER; /* nobody's */
	return NULL;
}

const char *
clients_read(struct relay *r, struct ask *a, const struct command *c,
             const struct resp_cmd *q, const char **ret_probe)
{
	switch (c->name[7]) { /* behind "client|" */
	case 'l':
		a->q.verb = VERB_LIST;
		*ret_probe = "CLIENT LIST ID 0\r\n";
		return read_list(a, q);
	case 'k':
		a->q.verb = VERB_KILL;
		*ret_probe = "CLIENT KILL ID 9223372036854775807\r\n";
		return read_kill(a, q);
	case 'p':
		a->q.verb = VERB_PAUSE;
		*ret_probe = "CLIENT PAUSE x\r\n";
		return read_pause(r, a, q);
	default: break;
	}
	if (c->name[9] == 'p') {
		a->q.verb = VERB_UNPAUSE;
		*ret_probe = "CLIENT PAUSE x\r\n";
		return NULL;
	}
	a->q.verb = VERB_UNBLOCK;
	*ret_probe = "CLIENT UNBLOCK 9223372036854775807\r\n";
	return read_unblock(a, q);
}
