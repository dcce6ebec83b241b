/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/session.c: one client: its input, its output, its end.
 *
 * Whole requests are dispatched from the world's read buffer; what cannot be
 * dispatched yet is kept in struct part, so an idle client holds no buffer.
 * Nothing here frees a session at once: a closed one goes through the run list
 * and is freed there when no pending entry and no withheld reply names it.
 */
#include "engine/redis/relay/session.h"

#include "engine/redis/relay/astray.h"
#include "engine/redis/relay/clients.h"
#include "engine/redis/relay/door.h"
#include "engine/redis/relay/queued.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"
#include "engine/redis/relay/track.h"
#include "wire/proxy2.h"

#define WINDOW_MIN 64
#define SECOND_NS  1000000000ull

uint64_t
session_next_id(const struct relay *r)
{
	return (r->next_id + 1) * RELAY_WORKERS_MAX + r->first_who;
}

struct session *
session_new(struct relay *r, struct link *l)
{
	struct session *s = mem_zero(r->mem, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->owner = OWNER_SESSION;
	s->link = l;
	s->id = session_next_id(r);
	r->next_id++;
	s->is_default = true;
	s->last = command_none;
	s->at = (uint8_t)r->route.authority;
	s->window = WINDOW_MIN;
	s->since_s = (uint32_t)(r->port->now_ns / SECOND_NS);
	s->said_s = s->since_s;
	door_enter(r, s);
	session_all_push(&r->sessions, s);
	r->clients++;
	return s;
}

void
session_run(struct relay *r, struct session *s)
{
	if (s->runnable)
		return;
	s->runnable = true;
	s->next_run = NULL;
	*(r->run_last != NULL ? &r->run_last->next_run : &r->run_first) = s;
	r->run_last = s;
}

void
session_wait(struct relay *r, struct session *s, struct waiting_list *in)
{
	if (s->waits_in == in)
		return;
	session_unwait(s);
	s->waits_in = in;
	s->waits_since_ms = (uint32_t)(r->port->now_ns / 1000000);
	session_wait_push(&in->l, s);
	port_wake(r->port, r->port->now_ns + RELAY_WAIT_NS);
}

void
session_unwait(struct session *s)
{
	if (s->waits_in != NULL)
		session_wait_remove(&s->waits_in->l, s);
	s->waits_in = NULL;
}

void
session_wake(struct relay *r, struct waiting_list *w)
{
	struct session *s;

	while ((s = w->l.first) != NULL) {
		session_unwait(s);
		session_run(r, s);
	}
}

/* ---- the end ----------------------------------------------------------- */

static void
drop_part(struct relay *r, struct session *s)
{
	if (s->part == NULL)
		return;
	buf_fini(&s->part->buf);
	mem_free(r->mem, s->part, sizeof(*s->part));
	s->part = NULL;
	s->parked = false;
}

static void
drop_wide(struct relay *r, struct session *s)
{
	if (s->wide == NULL)
		return;
	r->big_kept -= s->wide->big_kept;
	pubsub_free(r, s);
	block_free(r, s);
	tx_forget(s);
	buf_fini(&s->wide->body);
	queued_free(r, s);
	buf_fini(&s->wide->marks);
	buf_fini(&s->wide->track);
	buf_fini(&s->wide->watched);
	buf_fini(&s->wide->astray);
	buf_fini(&s->wide->held);
	rule_free(r, s);
	mem_free(r->mem, s->wide->refusal_text, REFUSAL_MAX);
	mem_free(r->mem, s->wide, sizeof(*s->wide));
	s->wide = NULL;
	s->detour = false; /* its node stood in there */
}

/* The client is gone: what only it needed goes as well. */
static void
bury(struct relay *r, struct session *s)
{
	struct lane *lane = s->lane;

	r->clients--;
	session_unwait(s);
	if (lane != NULL && lane->kind == LANE_OWN && lane->mine == s &&
	    (s->inflight > 0 || s->multi || s->watching ||
	     (s->part != NULL && s->part->streaming)))
		lane_end(r, lane, false);
	drop_part(r, s);
	clients_forget(r, s);
	clients_reset(r, s);
	drop_wide(r, s);
	s->multi = false;
	s->watching = false;
	s->unseen = false; /* nor will it ask what it has seen */
	session_run(r, s);
}

void
session_free(struct relay *r, struct session *s)
{
	REQUIRE(s->inflight == 0 && s->withheld == 0);
	lane_attach(r, s, NULL);
	REQUIRE(!s->runnable);
	drop_wide(r, s);
	cred_unref(r, s->cred);
	session_all_remove(&r->sessions, s);
	mem_free(r->mem, s, sizeof(*s));
}

void
session_unref(struct relay *r, struct session *s)
{
	if (s->link == NULL)
		session_run(r, s);
}

void
session_close(struct relay *r, struct session *s, const char *why)
{
	if (s->link == NULL)
		return;
	if (why != NULL && why[0] != '\0')
		resp_put_errorf(&s->link->tx, "%s", why);
	r->port->ops->close(r->port, s->link, why != NULL);
	s->link = NULL;
	bury(r, s);
}

void
session_gone(struct relay *r, struct session *s)
{
	s->link = NULL;
	bury(r, s);
}

/* ---- output ------------------------------------------------------------ */

/* A blocked client may be waiting for very long: it is read on, within bounds,
 * so that its end is noticed. */
static bool
may_say_more(const struct session *s)
{
	return s->wide != NULL && s->wide->block != NULL &&
	       (s->part == NULL || buf_len(&s->part->buf) <= RELAY_SLOW_TX);
}

void
session_pace(struct relay *r, struct session *s)
{
	bool slow;

	if (s->link == NULL)
		return;
	slow = buf_len(&s->link->tx) > RELAY_SLOW_TX;
	if (slow) {
		s->big = 64; /* a lane of its own from the next request on */
		s->window = WINDOW_MIN;
		s->link->want_drained = true;
		port_touch(r->port, s->link);
		if (s->lane != NULL && s->lane->kind == LANE_OWN &&
		    !s->lane_off && !r->hold.on && s->lane->link != NULL) {
			s->lane_off = true;
			r->port->ops->read(r->port, s->lane->link, false);
		}
	}
	slow = slow || (s->parked && !may_say_more(s));
	if (slow != s->read_off) {
		s->read_off = slow;
		r->port->ops->read(r->port, s->link, !slow);
	}
}

void
session_read_all(struct relay *r, struct session *s)
{
	if (!s->lane_off)
		return;
	s->lane_off = false;
	if (s->lane != NULL && s->lane->link != NULL)
		r->port->ops->read(r->port, s->lane->link, true);
}

void
session_drained(struct relay *r, struct session *s)
{
	session_read_all(r, s);
	if (s->parked && s->waits_in == NULL)
		session_run(r, s);
	session_pace(r, s);
}

void
session_say(struct relay *r, struct session *s, struct span bytes)
{
	if (!s->mute)
		session_push(r, s, bytes);
}

void
session_push(struct relay *r, struct session *s, struct span bytes)
{
	if (s->link == NULL)
		return;
	if (s->withheld > 0) {
		ack_withhold(r, s, s->lane, bytes);
		return;
	}
	buf_put_span(&s->link->tx, bytes);
	port_touch(r->port, s->link);
	r->n.bytes_out += bytes.n;
	if (buf_len(&s->link->tx) > RELAY_SLOW_TX) {
		if (buf_len(&s->link->tx) > RELAY_CLIENT_TX_MAX)
			session_close(r, s, NULL);
		else
			session_pace(r, s);
	}
}

void
session_sayf(struct relay *r, struct session *s, const char *fmt, ...)
{
	struct buf b;
	va_list ap;

	buf_init(&b, r->mem);
	va_start(ap, fmt);
	buf_putv(&b, fmt, ap);
	va_end(ap);
	session_say_buf(r, s, &b);
}

static void
give(struct relay *r, struct session *s, struct buf *b,
     void (*say)(struct relay *, struct session *, struct span))
{
	if (buf_failed(b))
		session_close(r, s, NULL);
	else
		say(r, s, buf_span(b));
	buf_fini(b);
}

void
session_say_buf(struct relay *r, struct session *s, struct buf *b)
{
	give(r, s, b, session_say);
}

void
session_push_buf(struct relay *r, struct session *s, struct buf *b)
{
	give(r, s, b, session_push);
}

struct wide *
session_try_wide(struct relay *r, struct session *s)
{
	if (s->wide != NULL)
		return s->wide;
	s->wide = mem_zero(r->mem, sizeof(*s->wide));
	if (s->wide != NULL) {
		buf_init(&s->wide->body, r->mem);
		buf_init(&s->wide->queued, r->mem);
		buf_init(&s->wide->marks, r->mem);
		buf_init(&s->wide->track, r->mem);
		buf_init(&s->wide->watched, r->mem);
		buf_init(&s->wide->astray, r->mem);
		buf_init(&s->wide->held, r->mem);
	}
	return s->wide;
}

struct wide *
session_wide(struct relay *r, struct session *s)
{
	if (session_try_wide(r, s) == NULL)
		session_close(r, s, NULL);
	return s->wide;
}

struct origin
session_origin(struct relay *r, const struct session *s)
{
	struct origin ret = { .port = 0 };

	if (s->link != NULL && r->port->ops->origin != NULL)
		ret = r->port->ops->origin(r->port, s->link);
	if (s->wide != NULL && s->wide->proxy_at.is_known)
		ret.at = s->wide->proxy_at;
	return ret;
}

void
session_replied(struct relay *r, struct session *s)
{
	if (s->inflight == 0) {
		s->burst = 0;
		if (__builtin_expect(r->big_kept > 0, 0))
			astray_kept(r, s);
		if (s->parked && s->window < RELAY_INFLIGHT_MAX)
			s->window = (uint16_t)(s->window * 2);
	}
	if (s->link == NULL || (s->eof && !s->parked)) {
		session_run(r, s);
		return;
	}
	if (s->parked && s->waits_in == NULL &&
	    (s->inflight == 0 || s->inflight == s->window / 2))
		session_run(r, s);
}

/* ---- input ------------------------------------------------------------- */

static bool
keep(struct relay *r, struct session *s, struct span in)
{
	if (s->part == NULL) {
		s->part = mem_alloc(r->mem, sizeof(*s->part));
		if (s->part == NULL) {
			session_close(r, s, "ERR godwit: out of memory");
			return false;
		}
		buf_init(&s->part->buf, r->mem);
		resp_cmd_init(&s->part->cmd);
		s->part->streaming = false;
	}
	if (buf_len(&s->part->buf) + in.n > RELAY_REQUEST_MAX) {
		session_close(r, s, "ERR godwit: a request above 1 GiB");
		return false;
	}
	if (s->barred && !s->parked &&
	    buf_len(&s->part->buf) + in.n > RELAY_BARRED_MAX) {
		session_close(r, s, "ERR godwit: a long request before AUTH");
		return false;
	}
	buf_put_span(&s->part->buf, in);
	if (buf_failed(&s->part->buf)) {
		session_close(r, s, "ERR godwit: out of memory");
		return false;
	}
	return true;
}

bool
session_refill(struct relay *r, struct session *s, struct buf *b)
{
	struct buf was;

	if (s->part == NULL && !keep(r, s, span_of(NULL, 0)))
		return false;
	was = s->part->buf;
	s->part->buf = *b;
	*b = was;
	buf_release(b);
	resp_cmd_init(&s->part->cmd);
	s->parked = true;
	session_pace(r, s);
	return s->link != NULL;
}

static void
park(struct relay *r, struct session *s)
{
	s->parked = true;
	session_pace(r, s);
}

/* The client does not speak the protocol: the server's own words, then the end,
 * once everything before it was answered. False: not yet. */
static bool
bad_input(struct relay *r, struct session *s, const struct resp_cmd *q)
{
	if (s->inflight > 0 || s->withheld > 0)
		return false;
	resp_put_errorf(&s->link->tx, "ERR %s", q->why);
	session_close(r, s, "");
	return true;
}

/* Pass on what is here of a request that is streamed. */
static void
stream(struct relay *r, struct session *s)
{
	struct part *p = s->part;
	struct lane *lane = s->lane;
	size_t used = 0;
	enum wire_rc rc;

	if (lane == NULL || lane->link == NULL) {
		session_close(r, s, "ERR godwit: the connection was lost");
		return;
	}
	if (buf_len(&lane->link->tx) > RELAY_SLOW_TX) {
		lane->link->want_drained = true;
		session_wait(r, s, &lane->waiters);
		s->parked = true;
		return;
	}
	rc = resp_skip_feed(&p->skip, buf_span(&p->buf), &used);
	buf_put(&lane->link->tx, buf_span(&p->buf).p, used);
	port_touch(r->port, lane->link);
	buf_take(&p->buf, used);
	p->moved_ns = r->port->now_ns;
	if (rc < 0)
		session_close(r, s, "ERR Protocol error: invalid request");
	else if (rc == WIRE_PART) {
		p->streaming = false;
		resp_cmd_init(&p->cmd);
		causal_sent(r, s, lane);
	}
}

/* The request at the front is not complete. False: it has to wait. */
static bool
start_stream(struct relay *r, struct session *s)
{
	struct part *p = s->part;

	if (p->cmd.need <= RELAY_BIG_REQUEST || p->cmd.is_inline)
		return true;
	switch (dispatch_stream(r, s, &p->cmd, buf_span(&p->buf))) {
	case DISPATCHED:
		resp_skip_init(&p->skip);
		p->streaming = true;
		p->moved_ns = r->port->now_ns;
		r->n.requests++;
		return true;
	case DISPATCH_WAIT: return false;
	case DISPATCH_CLOSED:
	case DISPATCH_NO: return true;
	}
	NEVER("an answer outside its enum");
}

/* One whole request at the front of part, or what is there of a stream. False:
 * no more can be done now. */
static bool
resume_one(struct relay *r, struct session *s, struct part *p)
{
	struct span in = buf_span(&p->buf);
	enum wire_rc rc;
	size_t used;

	if (in.n == 0) {
		if (!p->streaming)
			drop_part(r, s);
		return false;
	}
	if (p->streaming) {
		stream(r, s);
		return true;
	}
	rc = resp_cmd_feed(&p->cmd, in);
	if (rc == WIRE_MORE) {
		if (!start_stream(r, s))
			s->parked = true;
		return s->part == p && p->streaming;
	}
	if (rc < 0) {
		if (!bad_input(r, s, &p->cmd)) {
			resp_cmd_init(&p->cmd);
			s->parked = true;
		}
		return false;
	}
	used = p->cmd.used;
	switch (dispatch(r, s, &p->cmd, span_of(in.p, used))) {
	case DISPATCHED:
		r->n.requests++;
		if (s->part != p)
			return false;
		resp_cmd_init(&p->cmd);
		buf_take(&p->buf, used);
		return true;
	case DISPATCH_CLOSED: return false;
	case DISPATCH_NO:
	case DISPATCH_WAIT: break;
	}
	resp_cmd_init(&p->cmd);
	s->parked = true;
	return false;
}

/* Its client says no more and all that it asked was answered. A request of
 * which only a part came never ends; one that is streamed is under way. */
static bool
is_answered(const struct session *s)
{
	uint32_t streamed = s->part != NULL && s->part->streaming ? 1 : 0;

	return s->inflight <= streamed && s->withheld == 0 && !s->parked &&
	       (s->wide == NULL || s->wide->ask == NULL) &&
	       (s->wide == NULL || s->wide->block == NULL);
}

void
session_eof(struct relay *r, struct session *s)
{
	s->eof = true;
	if (s->wide != NULL && s->wide->block != NULL)
		block_leave(r, s);
	session_run(r, s);
}

void
session_resume(struct relay *r, struct session *s)
{
	if (s->tracking) {
		track_resume(r, s);
		if (s->link == NULL)
			return;
	}
	if (s->wide != NULL && s->wide->block != NULL) {
		block_issue(r, s);
		if (s->link == NULL)
			return;
		if (s->wide->block != NULL) {
			s->parked = s->part != NULL;
			session_pace(r, s);
			return;
		}
	}
	s->parked = false;
	while (s->link != NULL && s->part != NULL && !s->parked &&
	       !s->proxied && resume_one(r, s, s->part)) {
	}
	if (s->link == NULL)
		return;
	if (s->eof && is_answered(s))
		session_close(r, s, "");
	else
		session_pace(r, s);
}

void
session_fail_front(struct relay *r, struct session *s, struct span error)
{
	struct part *p = s->part;

	if (s->link == NULL)
		return;
	session_run(r, s);
	split_forget(s);
	if (s->wide != NULL && s->wide->block != NULL) {
		block_free(r, s);
		session_say(r, s, error);
		return;
	}
	if (p == NULL || p->streaming || !s->parked)
		return;
	resp_cmd_init(&p->cmd);
	if (resp_cmd_feed(&p->cmd, buf_span(&p->buf)) == WIRE_PART) {
		size_t used = p->cmd.used;
		bool multi = tx_failed(r, s, &p->cmd,
		                       span_of(buf_span(&p->buf).p, used));

		if (__builtin_expect(r->monitored != 0, 0))
			monitor_note_failed(r, s, &p->cmd,
			                    span_of(buf_span(&p->buf).p, used));
		session_say(r, s, error);
		if (s->link == NULL)
			return;
		buf_take(&p->buf, used);
		resp_cmd_init(&p->cmd);
		if (multi)
			tx_refuse(r, s, buf_len(&p->buf) > 0);
		return;
	}
	session_say(r, s, error); /* a big one that has not come yet */
	session_close(r, s, "");
}

void
session_fail_input(struct relay *r, struct session *s, struct span error)
{
	struct part *p;

	session_fail_front(r, s, error);
	/* What stands behind it has waited as long; of a transaction tx.c
	 * says more. */
	while (s->link != NULL && !s->multi) {
		p = s->part;
		if (p == NULL || p->streaming || !s->parked)
			return;
		resp_cmd_init(&p->cmd);
		if (resp_cmd_feed(&p->cmd, buf_span(&p->buf)) != WIRE_PART) {
			resp_cmd_init(&p->cmd);
			return;
		}
		session_fail_front(r, s, error);
	}
}

/* The header of the proxy in front; what is behind it is the client's. */
static void
read_proxy(struct relay *r, struct session *s, struct span in)
{
	struct proxy2 h;
	enum wire_rc rc;
	struct span region;
	struct wide *w;

	if (!keep(r, s, in))
		return;
	rc = proxy2_read(buf_span(&s->part->buf), &h);
	if (rc == WIRE_MORE)
		return;
	if (rc != WIRE_PART) {
		session_close(r, s, NULL);
		return;
	}
	s->proxied = false;
	if (h.has_address) {
		w = session_wide(r, s);
		if (w == NULL)
			return;
		memcpy(w->proxy_at.b, h.address, sizeof(w->proxy_at.b));
		w->proxy_at.is_known = true;
	}
	region = proxy2_tlv(&h, r->conf->proxy_tlv);
	if (r->conf->proxy_tlv != 0 && region.n > 0 &&
	    region.n <= sizeof(w->region)) {
		w = session_wide(r, s);
		if (w == NULL)
			return;
		memcpy(w->region, region.p, region.n);
		w->region_n = (uint8_t)region.n;
	}
	buf_take(&s->part->buf, h.n);
	session_resume(r, s);
}

void
session_bytes(struct relay *r, struct session *s, struct span in)
{
	struct resp_cmd *q = &r->cmd;

	r->n.bytes_in += in.n;
	s->said_s = (uint32_t)(r->port->now_ns / SECOND_NS);
	if (s->proxied) {
		read_proxy(r, s, in);
		return;
	}
	if (s->part != NULL) {
		if (!keep(r, s, in))
			return;
		if (s->parked)
			session_pace(r, s);
		else
			session_resume(r, s);
		return;
	}
	while (in.n > 0) {
		enum wire_rc rc;

		resp_cmd_init(q);
		rc = resp_cmd_feed(q, in);
		if (rc != WIRE_PART) {
			if (keep(r, s, in))
				session_resume(r, s);
			return;
		}
		switch (dispatch(r, s, q, span_of(in.p, q->used))) {
		case DISPATCHED: r->n.requests++; break;
		case DISPATCH_NO:
		case DISPATCH_WAIT:
			if (keep(r, s, in))
				park(r, s);
			return;
		case DISPATCH_CLOSED: return;
		}
		in = span_skip(in, q->used);
	}
}
