/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/clients.c: CLIENT LIST, KILL, PAUSE, UNPAUSE, UNBLOCK: what
 * concerns all clients of the interlay, whichever worker they are with.
 *
 *   request ─[PEND_MAY: may it? its own lane says]→ ask ─[each worker]→ answer
 *
 * The server knows Godwit's connections, Godwit knows the clients; so the server
 * says whether the client may, by a harmless form of the command, and Godwit does
 * it. Workers talk by mails. A text belongs to the worker that has made it until
 * the reader says that it was read.
 *
 * Limits: SAID_MAX bytes that other workers have not read yet.
 */
#include "engine/redis/relay/clients.h"

#include "base/num.h"
#include "engine/redis/relay/clients_ask.h"
#include "engine/redis/relay/door.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"

#define SAID_MAX ((size_t)32 * 1024 * 1024)

/* ---- texts for other workers -------------------------------------------- */

bool
clients_tell(struct relay *r, uint32_t to, const struct mail *m, struct buf *b)
{
	struct mail with = *m;
	struct said *x;

	if (r->said_n + buf_len(b) > SAID_MAX || buf_failed(b))
		return false;
	x = mem_zero(r->mem, sizeof(*x));
	if (x == NULL)
		return false;
	x->buf = *b;
	buf_init(b, r->mem);
	x->text = buf_span(&x->buf);
	x->next = r->said;
	r->said = x;
	r->said_n += x->text.n;
	with.who = r->port->worker_at;
	with.pair = &x->text;
	r->port->tell(r->port, to, &with);
	return true;
}

static void
taken(struct relay *r, const struct mail *m)
{
	for (struct said **at = &r->said; *at != NULL; at = &(*at)->next) {
		struct said *x = *at;

		if (m->pair != &x->text)
			continue;
		*at = x->next;
		r->said_n -= x->text.n;
		buf_fini(&x->buf);
		mem_free(r->mem, x, sizeof(*x));
		return;
	}
}

static void
say_taken(struct relay *r, const struct mail *m)
{
	struct mail back = { .kind = MAIL_CLIENTS_TAKEN,
		             .who = r->port->worker_at,
		             .pair = m->pair };

	r->port->tell(r->port, m->who, &back);
}

/* ---- one client --------------------------------------------------------- */

static struct span
user_of(const struct relay *r, const struct session *s)
{
	struct span user = SPAN("default");

	if (r->door != NULL)
		return door_name(s);
	if (!s->is_default && s->cred != NULL)
		user = cred_user(r, s->cred);
	return user;
}

void
clients_put_address(struct relay *r, const struct session *s, struct buf *b)
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
	struct origin from = session_origin(r, s);
	const uint8_t *p = from.at.b;

	if (!from.at.is_known) {
		buf_put_str(b, "?:0");
		return;
	}
	if (memcmp(p, v4, sizeof(v4)) == 0) {
		buf_putf(b, "%u.%u.%u.%u:%u", p[12], p[13], p[14], p[15],
		         from.port);
		return;
	}
	buf_put_str(b, "[");
	for (int i = 0; i < 16; i += 2)
		buf_putf(b, "%s%x", i == 0 ? "" : ":",
		         (unsigned)p[i] << 8 | p[i + 1]);
	buf_putf(b, "]:%u", from.port);
}

static void
put_command(const struct session *s, struct buf *b)
{
	const struct command *last = command_at(s->last);

	buf_put_str(b, last->name_n == 0 ? "NULL" : last->name);
}

void
clients_put_line(struct relay *r, const struct session *s, size_t in_hand,
                 struct buf *b)
{
	uint32_t now_s = (uint32_t)(r->port->now_ns / 1000000000);
	const struct wide *w = s->wide;
	const struct sub *u = sub_of(s);
	struct span user = user_of(r, s);
	size_t in = s->part == NULL ? 0 : buf_len(&s->part->buf);
	size_t room = s->part == NULL ? 0 : s->part->buf.cap - in;
	size_t out = s->link == NULL ? 0 : buf_len(&s->link->tx);
	size_t sends = s->link == NULL ? 0 : s->link->tx.cap;
	size_t queued = w == NULL ? 0 : buf_len(&w->body);
	bool blocked = w != NULL && w->block != NULL;

	buf_putf(b, "id=%llu addr=", (unsigned long long)s->id);
	clients_put_address(r, s, b);
	buf_putf(b, " laddr=?:0 fd=0 name=%.*s age=%u idle=%u flags=%s%s%s%s",
	         w == NULL ? 0 : (int)w->name_n, w == NULL ? "" : w->name,
	         now_s - s->since_s, now_s - s->said_s, u != NULL ? "P" : "",
	         blocked ? "b" : "", s->multi ? "x" : "",
	         w != NULL && w->monitors             ? "O"
	         : u == NULL && !blocked && !s->multi ? "N"
	                                              : "");
	buf_putf(b, " db=%u sub=%zu psub=%zu ssub=%zu multi=%d", s->db,
	         u == NULL ? (size_t)0 : map_count(&u->names[SUB_CHANNEL]),
	         u == NULL ? (size_t)0 : map_count(&u->names[SUB_PATTERN]),
	         u == NULL ? (size_t)0 : map_count(&u->names[SUB_SHARD]),
	         s->multi ? (int)(w == NULL ? 0 : w->queued_n) : -1);
	buf_putf(b,
	         " qbuf=%zu qbuf-free=%zu argv-mem=0 multi-mem=%zu rbs=%zu "
	         "rbp=0 obl=%zu oll=0 omem=0 tot-mem=%zu events=r cmd=",
	         in + in_hand, room, queued, sends, out,
	         sizeof(*s) + in + room + in_hand + queued + sends);
	put_command(s, b);
	buf_putf(b, " user=%.*s redir=-1 resp=%d", (int)user.n,
	         (const char *)user.p, s->resp3 ? 3 : 2);
}

/* ---- at each worker ----------------------------------------------------- */

static bool
is_listed(const struct query *q, uint64_t id)
{
	struct span arg;
	size_t pos = 0;
	int64_t v;

	for (int i = 0; resp_cmd_walk(q->ids, &pos, &arg); i++) {
		if (i > 2 && num_get_i64(arg.p, arg.n, &v) && v >= 0 &&
		    (uint64_t)v == id)
			return true;
	}
	return false;
}

static bool
is_word(const struct word *w, struct span text)
{
	return !w->is_set ||
	       span_eq(text, span_of((const uint8_t *)w->text, w->n));
}

static bool
is_meant(struct relay *r, const struct session *s, const struct query *q)
{
	bool same;

	if (s->link == NULL || (q->id != 0 && q->id != s->id) ||
	    (q->skipme && q->self == s->id) ||
	    (q->by_ids && !is_listed(q, s->id)) ||
	    !is_word(&q->user, user_of(r, s)))
		return false;
	if (q->type != TYPE_ANY &&
	    q->type != (sub_of(s) != NULL ? TYPE_PUBSUB : TYPE_NORMAL))
		return false;
	if (!q->addr.is_set)
		return true;
	buf_clear(&r->scratch);
	clients_put_address(r, s, &r->scratch);
	same = !buf_failed(&r->scratch) &&
	       is_word(&q->addr, buf_span(&r->scratch));
	buf_clear(&r->scratch);
	return same;
}

static void
set_pause(struct relay *r, const struct query *q)
{
	/* The later and the stricter one counts, as at the server. */
	if (q->until_ns > r->pause_ns)
		r->pause_ns = q->until_ns;
	r->pause_all |= q->pause_all;
	port_wake(r->port, r->pause_ns);
	clients_watch(r);
}

static void
end_pause(struct relay *r)
{
	r->pause_ns = 0;
	r->pause_all = false;
	clients_watch(r);
	session_wake(r, &r->paused);
}

/* Bytes of the request that is looked at now. */
static size_t
in_hand(const struct session *s)
{
	return s->wide == NULL || s->wide->ask == NULL
	               ? 0
	               : buf_len(&s->wide->ask->request);
}

/* How many clients here; for LIST their lines. own: the asking one is here. */
static uint64_t
apply(struct relay *r, const struct query *q, struct buf *text, bool *ret_self)
{
	uint64_t n = 0;

	if (q->verb == VERB_PAUSE)
		set_pause(r, q);
	else if (q->verb == VERB_UNPAUSE)
		end_pause(r);
	else if (q->verb == VERB_INFO)
		return info_count(r);
	if (q->verb == VERB_PAUSE || q->verb == VERB_UNPAUSE)
		return 0;
	list_each(session, s, all, &r->sessions) {
		if (!is_meant(r, s, q))
			continue;
		n++;
		if (q->verb == VERB_LIST) {
			clients_put_line(r, s, in_hand(s), text);
			buf_put_str(text, "\n");
		} else if (q->verb == VERB_UNBLOCK) {
			n -= block_unblock(r, s, q->as_error) ? 0 : 1;
		} else if (s->id == q->self) {
			*ret_self = true;
		} else {
			session_close(r, s, NULL);
		}
	}
	return n;
}

/* Another worker asks. */
static void
asked(struct relay *r, const struct mail *m)
{
	struct mail back = { .kind = MAIL_CLIENTS_DONE, .token = m->token };
	bool self = false;
	struct buf text;

	buf_init(&text, r->mem);
	back.position = apply(r, m->pair, &text, &self);
	if (!clients_tell(r, m->who, &back, &text)) {
		back.who = r->port->worker_at;
		r->port->tell(r->port, m->who, &back);
	}
	buf_fini(&text);
}

/* ---- the answer --------------------------------------------------------- */

static void
free_ask(struct relay *r, struct ask *a)
{
	for (struct ask **at = &r->asks; *at != NULL; at = &(*at)->next) {
		if (*at == a) {
			*at = a->next;
			break;
		}
	}
	if (a->s != NULL) {
		a->s->wide->ask = NULL;
		if (a->s->waits_in == &r->asking)
			session_unwait(a->s);
		session_run(r, a->s);
	}
	buf_fini(&a->request);
	buf_fini(&a->text);
	mem_free(r->mem, a, sizeof(*a));
}

static void
put_answer(const struct ask *a, struct buf *b)
{
	switch (a->q.verb) {
	case VERB_LIST:
		if (a->s->resp3)
			resp_put_verbatim(b, buf_span(&a->text));
		else
			resp_put_bulk(b, buf_span(&a->text));
		break;
	case VERB_KILL:
		if (a->is_old && a->count == 0)
			buf_put_str(b, "-ERR No such client\r\n");
		else if (a->is_old)
			resp_put_status(b, "OK");
		else
			resp_put_int(b, (int64_t)a->count);
		break;
	case VERB_UNBLOCK: resp_put_int(b, a->count > 0 ? 1 : 0); break;
	case VERB_INFO: info_put(b, a); break;
	default: resp_put_status(b, "OK"); break;
	}
}

static void
end(struct relay *r, struct ask *a)
{
	struct session *s = a->s;
	struct buf b;

	if (s != NULL) {
		buf_init(&b, r->mem);
		put_answer(a, &b);
		b.failed |= buf_failed(&a->text) || buf_failed(&a->request);
		session_say_buf(r, s, &b);
	}
	if (a->s != NULL && a->is_self)
		session_close(r, s, "");
	free_ask(r, a);
}

static void
answered(struct relay *r, const struct mail *m)
{
	struct ask *a = r->asks;
	const struct span *text = m->pair;

	while (a != NULL && a->number != m->token)
		a = a->next;
	if (a != NULL) {
		a->waits &= ~(UINT64_C(1) << m->who);
		a->count += m->position;
		if (text != NULL)
			buf_put_span(&a->text, *text);
	}
	if (text != NULL)
		say_taken(r, m);
	if (a != NULL && a->waits == 0)
		end(r, a);
}

/* The server lets it: ask everybody. */
static void
ask_all(struct relay *r, struct ask *a)
{
	struct mail m = { .kind = MAIL_CLIENTS,
		          .who = r->port->worker_at,
		          .token = a->number,
		          .pair = &a->q };

	a->is_asked = true;
	a->count = apply(r, &a->q, &a->text, &a->is_self);
	for (uint32_t i = 0; i < r->port->worker_n; i++) {
		if (i == r->port->worker_at)
			continue;
		a->waits |= UINT64_C(1) << i;
		r->port->tell(r->port, i, &m);
	}
	if (a->waits == 0)
		end(r, a);
}

/* The next user that KILL names, behind *pos of its words (from 0); p NULL: there
 * is none. */
static struct span
victim(const struct ask *a, size_t *pos, uint32_t *words)
{
	struct span raw = buf_span(&a->request);
	bool follows = false;
	struct span arg;

	if (a->q.verb != VERB_KILL || a->is_old)
		return span_of(NULL, 0);
	while (resp_cmd_walk(raw, pos, &arg)) {
		uint32_t at = (*words)++;

		if (follows)
			return arg;
		follows = at >= 2 && at % 2 == 0 &&
		          span_is_word(arg, SPAN("user"));
	}
	return span_of(NULL, 0);
}

/* The first of them that is no user of the interlay; p NULL: none. */
static struct span
stranger(const struct relay *r, const struct ask *a)
{
	struct span user;
	uint32_t words = 0;
	size_t pos = 0;

	if (r->door == NULL)
		return span_of(NULL, 0);
	do {
		user = victim(a, &pos, &words);
	} while (user.p != NULL && door_knows(r, user));
	return user;
}

/* As the server does. */
static void
say_no_user(struct relay *r, struct session *s, struct span user)
{
	struct buf b;

	buf_init(&b, r->mem);
	resp_put_errorf(&b, "ERR No such user '%.*s'", (int)user.n,
	                (const char *)user.p);
	session_say_buf(r, s, &b);
}

void
clients_allowed(struct relay *r, struct session *s, struct span reply)
{
	struct ask *a = s->wide == NULL ? NULL : s->wide->ask;
	bool is_error = reply.n > 0 && reply.p[0] == '-';
	struct span user;

	if (a == NULL)
		return;
	if (a->q.verb == VERB_MONITOR) {
		if (span_eq(reply, SPAN("+OK\r\n")))
			monitor_allowed(r, s);
		else if (is_error && !span_has_prefix(reply, SPAN("-NOPERM")))
			session_say(r, s, reply);
		else
			session_say(r, s,
			            SPAN("-NOPERM this user has no permissions "
			                 "to run the 'monitor' command\r\n"));
		if (s->wide != NULL && s->wide->ask != NULL)
			free_ask(r, s->wide->ask);
		return;
	}
	/* PAUSE is asked in a form that is an error for everybody. */
	if (is_error &&
	    (!span_has_prefix(reply, SPAN("-ERR")) || a->q.verb == VERB_KILL)) {
		session_say(r, s, reply);
		if (s->wide != NULL && s->wide->ask != NULL)
			free_ask(r, s->wide->ask);
		return;
	}
	user = stranger(r, a);
	if (user.p != NULL) {
		say_no_user(r, s, user);
		if (s->wide != NULL && s->wide->ask != NULL)
			free_ask(r, s->wide->ask);
		return;
	}
	if (a->q.verb == VERB_INFO) {
		buf_clear(&a->request);
		buf_put_span(&a->request, reply);
	}
	ask_all(r, a);
}

void
clients_forget(struct relay *r, struct session *s)
{
	struct ask *a = s->wide == NULL ? NULL : s->wide->ask;

	if (a == NULL)
		return;
	if (!a->is_asked) {
		free_ask(r, a);
		return;
	}
	a->s = NULL; /* the others may look at it still */
	s->wide->ask = NULL;
	if (s->waits_in == &r->asking)
		session_unwait(s);
}

/* ---- the request -------------------------------------------------------- */

struct ask *
clients_ask_new(struct relay *r, struct session *s, struct span raw)
{
	struct wide *w = session_wide(r, s);
	struct ask *a = w == NULL ? NULL : mem_zero(r->mem, sizeof(*a));

	if (a == NULL) {
		session_close(r, s, "ERR godwit: out of memory");
		return NULL;
	}
	a->s = s;
	a->number = ++r->next_ask;
	a->q.self = s->id;
	buf_init(&a->request, r->mem);
	buf_init(&a->text, r->mem);
	buf_put_span(&a->request, raw);
	a->next = r->asks;
	r->asks = a;
	w->ask = a;
	return a;
}

/* The server says whether there is such a user; and nobody has that id. */
static void
put_kill(struct buf *b, const struct ask *a)
{
	struct span user;
	uint32_t words = 0;
	size_t pos = 0;
	size_t n = 0;

	while (victim(a, &pos, &words).p != NULL)
		n++;
	resp_put_array(b, 4 + 2 * n);
	resp_put_bulk(b, SPAN("CLIENT"));
	resp_put_bulk(b, SPAN("KILL"));
	resp_put_bulk(b, SPAN("ID"));
	resp_put_bulk(b, SPAN("9223372036854775807"));
	words = 0;
	pos = 0;
	while ((user = victim(a, &pos, &words)).p != NULL) {
		resp_put_bulk(b, SPAN("USER"));
		resp_put_bulk(b, user);
	}
}

enum dispatched
clients_probe(struct relay *r, struct session *s, struct lane *lane,
              struct span words)
{
	enum dispatched ret = dispatch_send(r, s, lane, words, PEND_MAY, 0);

	if (ret == DISPATCHED)
		session_wait(r, s, &r->asking);
	return ret;
}

enum dispatched
clients_dispatch(struct relay *r, struct session *s, const struct command *c,
                 const struct resp_cmd *q, struct span raw)
{
	struct lane *lane;
	struct ask *a;
	const char *words = NULL;
	enum dispatched ret;
	struct buf b;
	const char *why;

	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	lane = dispatch_lane(r, s, false);
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	a = clients_ask_new(r, s, raw);
	if (a == NULL)
		return DISPATCH_CLOSED;
	why = clients_read(r, a, c, q, &words);
	if (buf_failed(&a->request))
		why = "ERR godwit: out of memory";
	if (why == clients_no_type) {
		struct word w = a->q.user;

		free_ask(r, a);
		return dispatch_refuse(r, s, "%s '%.*s'", why, (int)w.n,
		                       w.text);
	}
	if (why != NULL) {
		free_ask(r, a);
		return dispatch_refuse(r, s, "%s", why);
	}
	if (a->q.verb != VERB_KILL || !a->q.user.is_set || r->door != NULL)
		return clients_probe(r, s, lane, span_str(words));
	buf_init(&b, r->mem);
	put_kill(&b, a);
	if (buf_failed(&b)) {
		session_close(r, s, "ERR godwit: out of memory");
		ret = DISPATCH_CLOSED;
	} else {
		ret = clients_probe(r, s, lane, buf_span(&b));
	}
	buf_fini(&b);
	return ret;
}

enum dispatched
monitor_dispatch(struct relay *r, struct session *s)
{
	struct lane *lane;
	struct span user =
		s->is_default ? SPAN("default") : cred_user(r, s->cred);
	struct ask *a;
	struct buf b;
	enum dispatched ret;

	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	lane = dispatch_lane(r, s, false);
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	a = clients_ask_new(r, s, span_of(NULL, 0));
	if (a == NULL)
		return DISPATCH_CLOSED;
	a->q.verb = VERB_MONITOR;
	buf_init(&b, r->mem);
	resp_put_array(&b, 4);
	resp_put_bulk(&b, SPAN("ACL"));
	resp_put_bulk(&b, SPAN("DRYRUN"));
	resp_put_bulk(&b, user.n == 0 ? SPAN("default") : user);
	resp_put_bulk(&b, SPAN("MONITOR"));
	ret = clients_probe(r, s, lane, buf_span(&b));
	buf_fini(&b);
	return ret;
}

enum dispatched
clients_reply(struct relay *r, struct session *s, const struct command *c,
              const struct resp_cmd *q)
{
	struct span word = q->argv[2];

	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	if (c->handler == COMMAND_NOEVICT) {
		if (!span_is_word(word, SPAN("on")) &&
		    !span_is_word(word, SPAN("off")))
			return dispatch_refuse(r, s, "ERR syntax error");
		session_say(r, s, SPAN("+OK\r\n"));
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
	}
	if (span_is_word(word, SPAN("on"))) {
		s->mute = false;
		session_say(r, s, SPAN("+OK\r\n"));
	} else if (span_is_word(word, SPAN("off"))) {
		s->mute = true;
	} else if (span_is_word(word, SPAN("skip"))) {
		if (!s->mute) {
			s->mute = true;
			s->skip = SKIP_NEXT;
			r->skips++;
			clients_watch(r);
		}
	} else {
		return dispatch_refuse(r, s, "ERR syntax error");
	}
	return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
}

/* ---- the relay ---------------------------------------------------------- */

void
clients_watch(struct relay *r)
{
	r->watchful = r->behind || r->pause_ns != 0 || r->monitored != 0 ||
	              r->skips > 0;
}

void
clients_reset(struct relay *r, struct session *s)
{
	s->mute = false;
	if (s->skip != SKIP_NONE) {
		s->skip = SKIP_NONE;
		r->skips--;
		clients_watch(r);
	}
	monitor_end(r, s);
}

bool
clients_may_go(struct relay *r, struct session *s, const struct command *c,
               const struct resp_cmd *q)
{
	if (r->pause_ns != 0 && pause_holds(r, s, c, q)) {
		session_wait(r, s, &r->paused);
		return false;
	}
	if (s->skip != SKIP_NOW)
		return true;
	if (s->inflight > 0 || s->withheld > 0)
		return false;
	s->skip = SKIP_NONE;
	s->mute = false;
	r->skips--;
	clients_watch(r);
	return true;
}

void
clients_went(struct relay *r, struct session *s, const struct command *c,
             struct span raw)
{
	if (s->skip == SKIP_NEXT && c->handler != COMMAND_CLIENTREPLY)
		s->skip = SKIP_NOW;
	if (r->monitored != 0)
		monitor_note(r, s, c, raw);
}

void
clients_tick(struct relay *r)
{
	if (r->pause_ns != 0 && r->port->now_ns >= r->pause_ns)
		end_pause(r);
}

void
clients_mail(struct relay *r, const struct mail *m)
{
	if (m->kind == MAIL_CLIENTS)
		asked(r, m);
	else if (m->kind == MAIL_CLIENTS_DONE)
		answered(r, m);
	else
		taken(r, m);
}

void
clients_fini(struct relay *r)
{
	while (r->asks != NULL) {
		r->asks->s = NULL;
		free_ask(r, r->asks);
	}
	while (r->said != NULL)
		taken(r, &(struct mail){ .pair = &r->said->text });
	buf_fini(&r->lines);
}
