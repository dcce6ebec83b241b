/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/local.c: what Godwit answers itself: the state of a
 * connection (user, database, name), which the shared lanes cannot hold.
 *
 * Passwords are proven by the authority: on the lane of these credentials, or
 * by the lane that is opened for them; or by door.c, when the interlay has users
 * of its own.
 */
#include "base/num.h"
#include "engine/redis/relay/clients.h"
#include "engine/redis/relay/door.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"
#include "engine/redis/relay/track.h"

static enum dispatched
answered(const struct session *s)
{
	return s->link == NULL ? DISPATCH_CLOSED : DISPATCHED;
}

/* ---- AUTH -------------------------------------------------------------- */

static bool
can_prove(const struct lane *lane)
{
	return lane->state == LANE_READY ||
	       (lane->kind == LANE_PROOF && lane->state == LANE_WARM &&
	        lane->link->is_up);
}

/* What a client says of itself. */
struct login {
	struct span user; /* p NULL: none */
	struct span pass;
	bool resp3; /* its protocol afterwards */
};

struct cred *
local_cred(struct relay *r, struct span user, struct span pass)
{
	struct cred *ret = NULL;
	struct buf b;

	buf_init(&b, r->mem);
	resp_put_array(&b, user.p == NULL ? 2 : 3);
	resp_put_bulk(&b, SPAN("AUTH"));
	if (user.p != NULL)
		resp_put_bulk(&b, user);
	resp_put_bulk(&b, pass);
	if (!buf_failed(&b))
		ret = cred_get(r, buf_span(&b),
		               user.p == NULL ||
		                       span_eq(user, SPAN("default")));
	buf_fini(&b);
	return ret;
}

/* Prove credentials; kind tells what happens with the reply. */
static enum dispatched
prove(struct relay *r, struct session *s, const struct login *in,
      enum pending_kind kind)
{
	struct cred *cred = local_cred(r, in->user, in->pass);
	struct lane *lane;
	enum dispatched ret = DISPATCH_WAIT;

	if (cred == NULL)
		lane = NULL;
	else if (split_is_on(r))
		lane = lane_proof(r, r->route.authority, cred);
	else
		lane = lane_shared(r, r->route.authority, cred, 0, in->resp3);
	if (lane == NULL) {
		session_close(r, s, "ERR godwit: out of memory");
		ret = DISPATCH_CLOSED;
	} else {
		lane_attach(r, s, lane);
		if (can_prove(lane))
			ret = dispatch_send(r, s, lane,
			                    span_of(cred->request, cred->n),
			                    kind, 0);
		else
			session_wait(r, s, &lane->waiters);
	}
	cred_unref(r, cred);
	return ret;
}

void
local_become(struct relay *r, struct session *s, struct cred *cred)
{
	cred_ref(cred);
	cred_unref(r, s->cred);
	s->cred = cred;
	s->is_default = cred == NULL || cred->is_default;
	session_enter(s, s->db);
	rule_forget(s);
	if (cred != NULL && !cred->is_default && !cred->reads &&
	    causal_wants_users(r))
		causal_ask_user(r);
}

void
local_authed(struct relay *r, struct session *s, struct cred *cred,
             enum pending_kind kind, struct span reply)
{
	bool ok = reply.n > 0 && reply.p[0] == '+';

	if (ok)
		local_become(r, s, cred);
	if (kind == PEND_AUTH)
		session_say(r, s, reply);
	else if (!ok)
		session_fail_front(r, s, reply);
}

/* The same by the interlay's users. */
static enum dispatched
auth_here(struct relay *r, struct session *s, const struct resp_cmd *q)
{
	bool two = q->argc == 3;

	if (q->argc > 3)
		session_say(r, s, SPAN("-ERR syntax error\r\n"));
	else if (q->argc < 2)
		session_say(r, s,
		            SPAN("-ERR wrong number of arguments for 'auth' "
		                 "command\r\n"));
	else if (door_login(r, s, two ? q->argv[1] : span_of(NULL, 0),
	                    q->argv[two ? 2 : 1]))
		session_say(r, s, SPAN("+OK\r\n"));
	return answered(s);
}

static enum dispatched
auth(struct relay *r, struct session *s, const struct resp_cmd *q,
     struct span raw)
{
	struct login in = { .resp3 = s->resp3 };

	if (r->door != NULL)
		return auth_here(r, s, q);
	if (q->argc > 3 || q->argc < 2) {
		struct lane *lane = dispatch_lane(r, s, false);

		if (lane == NULL)
			return s->link == NULL ? DISPATCH_CLOSED
			                       : DISPATCH_WAIT;
		return dispatch_send(r, s, lane, raw, PEND_PASS, 0);
	}
	in.pass = q->argv[q->argc - 1];
	if (q->argc == 3)
		in.user = q->argv[1];
	return prove(r, s, &in, PEND_AUTH);
}

/* ---- SELECT ------------------------------------------------------------ */

#define DB_MAX 999999 /* no server has so many */

/* In the server's words. */
static enum dispatched
select_db(struct relay *r, struct session *s, const struct resp_cmd *q)
{
	struct span word = q->argv[1];
	struct lane *lane;
	uint32_t before;
	uint32_t db;
	bool had;
	int64_t n;

	if (!num_get_i64(word.p, word.n, &n)) {
		session_say(r, s,
		            SPAN("-ERR value is not an integer or out of "
		                 "range\r\n"));
		return answered(s);
	}
	if (n < INT32_MIN || n > INT32_MAX) {
		session_say(r, s,
		            SPAN("-ERR value is out of range, value must "
		                 "between -2147483648 and 2147483647\r\n"));
		return answered(s);
	}
	if (n < 0 || n > DB_MAX) {
		session_say(r, s, SPAN("-ERR DB index is out of range\r\n"));
		return answered(s);
	}
	db = (uint32_t)n;
	before = s->db;
	had = session_has_brought(s);
	session_enter(s, db);
	lane = split_is_on(r) ? lane_writer(r, r->route.authority, db, s->resp3)
	                      : lane_shared_of(r, s, r->route.authority);
	s->db = before;
	if (had)
		s->wide->brought = true;
	if (lane == NULL) {
		session_close(r, s, "ERR godwit: out of memory");
		return DISPATCH_CLOSED;
	}
	if (lane->state != LANE_READY) {
		session_wait(r, s, &lane->waiters);
		return DISPATCH_WAIT;
	}
	session_enter(s, db);
	session_say(r, s, SPAN("+OK\r\n"));
	return answered(s);
}

/* What is watched stays with its connection. */
static enum dispatched
select_watching(struct relay *r, struct session *s, const struct resp_cmd *q,
                struct span raw)
{
	struct lane *lane = dispatch_lane(r, s, true);
	enum dispatched ret;
	int64_t n = 0;

	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	(void)num_get_i64(q->argv[1].p, q->argv[1].n, &n);
	ret = dispatch_send(r, s, lane, raw, PEND_SELECT, 0);
	if (ret == DISPATCHED)
		ring_at(&lane->fifo, ring_n(&lane->fifo) - 1)->mark =
			(uint64_t)n;
	return ret;
}

void
local_selected(struct relay *r, struct session *s, struct lane *lane,
               uint32_t db, struct span reply)
{
	if (reply.n > 0 && reply.p[0] == '+') {
		session_enter(s, db);
		lane->db = db;
		lane->brought = false;
	}
	session_say(r, s, reply);
}

/* ---- HELLO ------------------------------------------------------------- */

/* The reply with the session's own id in place of the lane's. From here on the
 * session is found lanes of that protocol; its own lane has just changed, too. */
void
local_put_hello(struct session *s, struct lane *lane, bool resp3,
                struct span reply, struct buf *b)
{
	static const struct span word = { (const uint8_t *)"$2\r\nid\r\n:", 9 };
	const uint8_t *end = reply.p + reply.n;

	if (reply.n > 0 && reply.p[0] != '-') {
		s->resp3 = resp3;
		if (lane->kind == LANE_OWN && lane->mine == s)
			lane->resp3 = resp3;
	}
	for (const uint8_t *p = reply.p; p + word.n < end; p++) {
		const uint8_t *cr;

		if (memcmp(p, word.p, word.n) != 0)
			continue;
		cr = memchr(p + word.n, '\r', (size_t)(end - p) - word.n);
		if (cr == NULL)
			break;
		buf_put(b, reply.p, (size_t)(p + word.n - reply.p));
		buf_put_u64(b, s->id);
		buf_put(b, cr, (size_t)(end - cr));
		return;
	}
	buf_put_span(b, reply);
}

void
local_hello(struct relay *r, struct session *s, struct lane *lane, bool resp3,
            struct span reply)
{
	struct buf b;

	buf_init(&b, r->mem);
	local_put_hello(s, lane, resp3, reply, &b);
	session_say_buf(r, s, &b);
}

bool
local_may_name(struct span name)
{
	for (size_t i = 0; i < name.n; i++) {
		if (name.p[i] < '!' || name.p[i] > '~')
			return false;
	}
	return true;
}

static bool
set_name(struct relay *r, struct session *s, struct span name)
{
	struct wide *w = session_wide(r, s);

	if (w == NULL)
		return false;
	if (!local_may_name(name)) {
		session_say(r, s, LOCAL_BAD_NAME);
		return false;
	}
	w->name_n =
		(uint32_t)(name.n < sizeof(w->name) ? name.n : sizeof(w->name));
	memcpy(w->name, name.p, w->name_n);
	rule_forget(s);
	return true;
}

/* Are these the credentials that the session has already? */
static bool
has_proven(struct relay *r, const struct session *s, struct span user,
           struct span pass)
{
	struct buf b;
	bool same;

	buf_init(&b, r->mem);
	resp_put_array(&b, 3);
	resp_put_bulk(&b, SPAN("AUTH"));
	resp_put_bulk(&b, user);
	resp_put_bulk(&b, pass);
	same = s->cred != NULL &&
	       span_eq(buf_span(&b), span_of(s->cred->request, s->cred->n));
	buf_fini(&b);
	return same;
}

#define OPTION_MAX 1000

/* What a HELLO asks for. */
struct hello {
	struct login login;
	struct span name; /* p NULL: none */
};

/* False: it is wrong, and the client was told so. */
static bool
read_version(struct relay *r, struct session *s, struct span word, bool *ret)
{
	int64_t v;
	bool number = num_get_i64(word.p, word.n, &v);

	*ret = span_eq(word, SPAN("3"));
	if (*ret || span_eq(word, SPAN("2")))
		return true;
	session_say(
		r, s,
		number ? SPAN("-NOPROTO unsupported protocol version\r\n")
		       : SPAN("-ERR Protocol version is not an integer or out "
	                      "of range\r\n"));
	return false;
}

/* In the server's words; of a long option its beginning. */
static void
say_option(struct relay *r, struct session *s, const struct resp_cmd *q,
           uint32_t i)
{
	struct span word =
		i < RESP_SPANS ? q->argv[i] : SPAN("(after many others)");
	struct buf b;

	buf_init(&b, r->mem);
	resp_put_errorf(&b, "ERR Syntax error in HELLO option '%.*s'",
	                word.n < OPTION_MAX ? (int)word.n : OPTION_MAX,
	                (const char *)word.p);
	session_say_buf(r, s, &b);
}

/* The same for all its words. */
static bool
read_hello(struct relay *r, struct session *s, const struct resp_cmd *q,
           struct hello *ret)
{
	/* More words than are kept can only be repetitions. */
	bool kept = q->argc <= RESP_SPANS;

	ret->login.resp3 = s->resp3;
	if (q->argc > 1 && !read_version(r, s, q->argv[1], &ret->login.resp3))
		return false;
	for (uint32_t i = 2; i < q->argc; i++) {
		if (kept && span_is_word(q->argv[i], SPAN("auth")) &&
		    i + 2 < q->argc) {
			ret->login.user = q->argv[i + 1];
			ret->login.pass = q->argv[i + 2];
			i += 2;
		} else if (kept && span_is_word(q->argv[i], SPAN("setname")) &&
		           i + 1 < q->argc) {
			ret->name = q->argv[++i];
		} else {
			say_option(r, s, q, i);
			return false;
		}
	}
	return true;
}

/* On a lane of the protocol that is asked for; a lane that a WATCH holds to the
 * session changes its own. */
static enum dispatched
send_hello(struct relay *r, struct session *s, bool resp3)
{
	bool was = s->resp3;
	struct lane *lane;
	enum dispatched ret;

	s->resp3 = resp3;
	lane = dispatch_lane(r, s, false);
	s->resp3 = was;
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	ret = dispatch_send(r, s, lane,
	                    resp3 ? SPAN("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n")
	                          : SPAN("*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n"),
	                    PEND_HELLO, 0);
	if (ret == DISPATCHED)
		ring_at(&lane->fifo, ring_n(&lane->fifo) - 1)->mark = resp3;
	return ret;
}

/* HELLO [2 or 3 [AUTH user pass] [SETNAME name]]: credentials are proven first,
 * then (the session has them already) the rest is asked. */
static enum dispatched
hello(struct relay *r, struct session *s, const struct resp_cmd *q)
{
	struct hello h = { .name = { NULL, 0 } };
	const struct sub *u = sub_of(s);
	const struct login *in = &h.login;

	if (!read_hello(r, s, q, &h))
		return answered(s);
	if (in->resp3 != s->resp3 &&
	    (s->tracking || (u != NULL && sub_count(u) > 0))) {
		r->n.refused++;
		session_sayf(r, s,
		             "-ERR godwit refuses another protocol while the "
		             "client %s\r\n",
		             s->tracking ? "tracks keys" : "is subscribed");
		return answered(s);
	}
	if (r->door != NULL && in->user.p != NULL &&
	    !door_login(r, s, in->user, in->pass))
		return answered(s);
	if (s->barred) {
		session_say(r, s,
		            SPAN("-NOAUTH HELLO must be called with the client "
		                 "already authenticated, otherwise the HELLO "
		                 "<proto> AUTH <user> <pass> option can be "
		                 "used to authenticate the client and select "
		                 "the RESP protocol version at the same "
		                 "time\r\n"));
		return answered(s);
	}
	if (r->door == NULL && in->user.p != NULL &&
	    !has_proven(r, s, in->user, in->pass)) {
		enum dispatched ret = prove(r, s, in, PEND_PROVE);

		return ret == DISPATCHED ? DISPATCH_WAIT : ret;
	}
	if (h.name.p != NULL && !set_name(r, s, h.name))
		return answered(s);
	return send_hello(r, s, in->resp3);
}

/* ---- names, ids, the end ----------------------------------------------- */

void
local_reset(struct relay *r, struct session *s)
{
	struct lane *lane = s->lane;

	s->multi = false;
	s->watching = false;
	s->watch_lost = false;
	s->multi_lost = false;
	s->multi_refused = false;
	tx_forget(s);
	track_off(s);
	lane_attach(r, s, NULL);
	if (lane != NULL && lane->kind == LANE_OWN && !lane->dead)
		lane_end(r, lane, false);
	pubsub_free(r, s);
	clients_reset(r, s);
	cred_unref(r, s->cred);
	s->cred = NULL;
	s->is_default = true;
	s->vouched = false;
	s->resp3 = false;
	session_enter(s, 0);
	if (s->wide != NULL) {
		s->wide->name_n = 0;
		s->wide->user_n = 0;
	}
	rule_forget(s);
	door_enter(r, s);
}

void
local_put_name(const struct session *s, struct buf *b)
{
	if (s->wide != NULL && s->wide->name_n > 0)
		resp_put_bulk(b, span_of(s->wide->name, s->wide->name_n));
	else if (s->resp3)
		buf_put_str(b, "_\r\n");
	else
		resp_put_nil(b);
}

void
local_put_info(struct relay *r, const struct session *s, size_t in_hand,
               struct buf *b)
{
	struct buf line;

	buf_init(&line, b->mem);
	clients_put_line(r, s, in_hand, &line);
	buf_put_str(&line, "\n");
	if (s->resp3)
		resp_put_verbatim(b, buf_span(&line));
	else
		resp_put_bulk(b, buf_span(&line));
	b->failed |= buf_failed(&line);
	buf_fini(&line);
}

static enum dispatched
say(struct relay *r, struct session *s, const struct command *c,
    const struct resp_cmd *q)
{
	struct buf b;

	buf_init(&b, r->mem);
	switch (c->handler) {
	case COMMAND_SETNAME:
		if (set_name(r, s, q->argv[2]))
			resp_put_status(&b, "OK");
		break;
	case COMMAND_GETNAME: local_put_name(s, &b); break;
	case COMMAND_CLIENTID: resp_put_int(&b, (int64_t)s->id); break;
	case COMMAND_CLIENTINFO: local_put_info(r, s, q->used, &b); break;
	case COMMAND_RESET:
		local_reset(r, s);
		resp_put_status(&b, "RESET");
		break;
	default: NEVER("not a command that is answered here");
	}
	session_say_buf(r, s, &b);
	return answered(s);
}

enum dispatched
local_dispatch(struct relay *r, struct session *s, const struct command *c,
               const struct resp_cmd *q, struct span raw)
{
	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	switch (c->handler) {
	case COMMAND_AUTH: return auth(r, s, q, raw);
	case COMMAND_SELECT:
		if (s->watching)
			return select_watching(r, s, q, raw);
		return select_db(r, s, q);
	case COMMAND_HELLO: return hello(r, s, q);
	case COMMAND_QUIT:
		session_say(r, s, SPAN("+OK\r\n"));
		session_close(r, s, "");
		return DISPATCH_CLOSED;
	default: return say(r, s, c, q);
	}
}
