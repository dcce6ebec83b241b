/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/lane.c: connections to the servers.
 *
 *   DOWN ─[lane_want]→ CONNECTING ─[lane_up]→ GREETING ─[lane_greeted]→ READY
 *     ↑                    │                     │  └→ WARM ─[lane_settle]→ GREETING
 *     └────[lane_lost]─────┴─────────────────────┴───── from each
 *
 * READY means: AUTH, HELLO and SELECT were answered well, so that no request can
 * be executed as the wrong user, in the wrong database or answered in the wrong
 * protocol.
 */
#include "engine/redis/relay/detour.h"
#include "engine/redis/relay/nopass.h"
#include "engine/redis/relay/queued.h"
#include "engine/redis/relay/script.h"
#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"
#include "engine/redis/relay/track.h"

#define IDLE_NS 60000000000ull /* an unused lane is closed after that */

static void
free_lane(struct relay *r, struct lane *lane)
{
	REQUIRE(lane->link == NULL && lane->users == 0);
	if (lane->in_probe)
		lane_probe_remove(&r->probes, lane);
	lane_all_remove(&r->lanes, lane);
	cred_unref(r, lane->cred);
	ring_fini(&lane->fifo, r->mem);
	buf_fini(&lane->keep);
	buf_fini(&lane->part);
	mem_free(r->mem, lane->seg, lane->seg_cap * sizeof(*lane->seg));
	mem_free(r->mem, lane, sizeof(*lane));
}

void
lane_fini(struct relay *r, struct lane *lane)
{
	lane->link = NULL; /* the world closes it */
	lane->users = 0;
	free_lane(r, lane);
}

/* Entries of a connection that is gone. */
static void
forget_fifo(struct relay *r, struct lane *lane)
{
	while (ring_n(&lane->fifo) > 0) {
		struct pending e = *ring_first(&lane->fifo);

		lane->fifo.head++;
		if (e.kind == PEND_ROLE_FOR)
			causal_role_lost(r, &e);
		if (e.s == NULL)
			continue;
		e.s->inflight--;
		if (e.kind == PEND_READ)
			e.s->on_reader--;
		session_unref(r, e.s);
	}
	buf_release(&lane->keep);
	buf_release(&lane->part);
	resp_skip_init(&lane->skip);
	lane->in_push = false;
	lane->reply_n = 0;
	lane->valid = false;
	lane->sample_ns = 0;
}

void
lane_end(struct relay *r, struct lane *lane, bool flush)
{
	if (lane->link != NULL)
		r->port->ops->close(r->port, lane->link, flush);
	lane->link = NULL;
	lane->state = LANE_DOWN;
	lane->mine = NULL;
	lane->dead = true;
	nopass_lost(r, lane);
	forget_fifo(r, lane);
	if (lane->seg_known != lane->seg_tail)
		causal_want(r, lane); /* Godwit's own lane asks for it */
	session_wake(r, &lane->waiters);
	r->reap = true;
}

void
lane_reap(struct relay *r)
{
	r->reap = false;
	list_each(lane, l, all, &r->lanes) {
		if (l->dead && l->users == 0 && ack_is_empty(l))
			free_lane(r, l);
	}
}

/* Back to the spares, or closed. */
static void
release_own(struct relay *r, struct lane *lane)
{
	uint32_t spares = 0;

	if (lane->kind != LANE_OWN || lane->mine == NULL)
		return;
	lane->mine = NULL;
	lane->idle_ns = r->port->now_ns;
	list_each(lane, l, all, &r->lanes) {
		spares += l->kind == LANE_OWN && l->mine == NULL;
	}
	if (lane->dead || lane->left || lane->state != LANE_READY ||
	    lane->tracks || !ack_is_empty(lane) || ring_n(&lane->fifo) > 0 ||
	    spares > RELAY_SPARE_MAX || !lane_is_of_route(r, lane))
		lane_end(r, lane, true);
}

/* s leaves a lane of its own. */
static void
leave_own(struct relay *r, struct session *s, struct lane *was)
{
	if (!s->watching) {
		release_own(r, was);
		return;
	}
	/* Its WATCH stays behind: as if it had failed. */
	s->watching = false;
	s->watch_lost = true;
	lane_end(r, was, true);
}

static void
change_lane(struct relay *r, struct session *s, struct lane *lane)
{
	struct lane *was = s->lane;

	if (was == lane)
		return;
	s->lane = lane;
	if (lane != NULL)
		lane->users++;
	if (was == NULL)
		return;
	causal_leave(r, s);
	was->users--;
	was->idle_ns = r->port->now_ns;
	if (s->lane_off && was->link != NULL)
		r->port->ops->read(r->port, was->link, true);
	s->lane_off = false;
	if (was->kind == LANE_OWN && was->mine == s) {
		track_left(r, s, was);
		leave_own(r, s, was);
	}
	r->reap |= was->dead;
}

void
lane_attach(struct relay *r, struct session *s, struct lane *lane)
{
	REQUIRE(s->lane == lane || (s->inflight == 0 && s->withheld == 0));
	change_lane(r, s, lane);
}

void
lane_follow(struct relay *r, struct session *s, struct lane *lane)
{
	REQUIRE(s->on_reader == 0 && s->withheld == 0);
	change_lane(r, s, lane);
}

void
lane_want(struct relay *r, struct lane *lane)
{
	if (lane->state != LANE_DOWN || lane->dead)
		return;
	if (lane->retry_ns > r->port->now_ns) {
		port_wake(r->port, lane->retry_ns);
		return;
	}
	if (lane->mine == NULL || !r->port->is_short)
		lane->link = r->port->ops->open(r->port,
		                                detour_address(r, lane), lane);
	if (lane->link == NULL) {
		(void)err_set(&lane->cause, ERR_NOMEM,
		              "out of memory or descriptors");
		lane->retry_ns = r->port->now_ns + RELAY_RETRY_MAX;
		port_wake(r->port, lane->retry_ns);
		return;
	}
	lane->state = LANE_CONNECTING;
	lane->is_node = r->conf->side[lane->side].at.by_cluster;
}

/* ---- setting up -------------------------------------------------------- */

struct pending *
lane_pend(struct relay *r, struct lane *lane, struct session *s,
          enum pending_kind kind)
{
	struct pending *e = ring_push(&lane->fifo, r->mem);

	if (e == NULL) {
		/* Its answer would be taken for another's. */
		lane->link->tx.failed = true;
		port_touch(r->port, lane->link);
		return NULL;
	}
	*e = (struct pending){ .s = s, .kind = (uint8_t)kind };
	if (s != NULL)
		s->inflight++;
	port_touch(r->port, lane->link);
	return e;
}

struct pending *
lane_ask(struct relay *r, struct lane *lane, enum pending_kind kind,
         struct span request)
{
	REQUIRE(lane->link != NULL);
	buf_put_span(&lane->link->tx, request);
	return lane_pend(r, lane, NULL, kind);
}

/* AUTH as this user, or as the URL's when there is none; nothing when none is
 * needed. */
static void
put_auth(struct buf *b, const struct side_conf *c, const char *user,
         const char *pass)
{
	if (user[0] == '\0') {
		user = c->url_user;
		pass = c->url_pass;
	}
	if (user[0] != '\0')
		resp_put_cmd(b, "AUTH", user, pass, NULL);
	else if (pass[0] != '\0')
		resp_put_cmd(b, "AUTH", pass, NULL);
}

/* AUTH of a client's lane that is not as_writer. */
static void
put_client_auth(struct relay *r, struct lane *lane, struct buf *b)
{
	if (lane->cred->n > 0)
		buf_put(b, lane->cred->request, lane->cred->n);
	else
		put_auth(b, &r->conf->side[lane->side], "", "");
}

/* AUTH of a lane that is Godwit's own. */
static void
put_own_auth(struct relay *r, struct lane *lane, struct buf *b)
{
	const struct side_conf *c = &r->conf->side[lane->side];
	bool reader = lane->kind == LANE_READER || lane->kind == LANE_SHADOW ||
	              lane->as_reader;

	if (lane->as_writer)
		put_auth(b, c, c->writer_user, c->writer_pass);
	else if (reader)
		put_auth(b, c, c->reader_user, c->reader_pass);
	else
		put_auth(b, c, c->own_user, c->own_pass);
}

static bool
is_own(const struct lane *lane)
{
	return lane->kind == LANE_READER || lane->kind == LANE_ADMIN ||
	       lane->kind == LANE_SHADOW || lane->as_reader || lane->as_writer;
}

static void
put_name(struct relay *r, struct lane *lane)
{
	struct buf *tx = &lane->link->tx;
	struct buf name;

	buf_init(&name, r->mem);
	buf_putf(&name, "godwit:%s:relay%u", r->conf->id, r->conf->who);
	tx->failed |= buf_failed(&name);
	resp_put_array(tx, 3);
	resp_put_bulk(tx, SPAN("CLIENT"));
	resp_put_bulk(tx, SPAN("SETNAME"));
	resp_put_bulk(tx, buf_span(&name));
	buf_fini(&name);
	(void)lane_pend(r, lane, NULL, PEND_IGNORE);
}

/* The side can be reached again: those that tried in vain need not wait for their
 * next attempt. */
static void
hurry(struct relay *r, enum side side)
{
	if (!r->was_lost[side])
		return;
	r->was_lost[side] = false;
	list_each(lane, l, all, &r->lanes) {
		if (l->side != side || l->state != LANE_DOWN || l->dead)
			continue;
		l->retry_ns = 0;
		if (l->kind == LANE_ADMIN || l->waiters.l.n > 0)
			lane_want(r, l);
	}
}

static void
ready(struct relay *r, struct lane *lane)
{
	hurry(r, (enum side)lane->side);
	lane->waits_scripts =
		(lane->kind == LANE_SHARED || lane->kind == LANE_OWN) &&
		lane->node == 0 && !script_may_run(r, (enum side)lane->side);
	if (lane->waits_scripts)
		return;
	lane->state = LANE_READY;
	lane->pause_ns = 0;
	if (lane->kind == LANE_SUB)
		pubsub_ready(r, lane);
	if (lane->kind == LANE_ADMIN) {
		/* The server may have been restarted since. */
		script_preload(r, (enum side)lane->side);
		if (lane->side == r->route.authority)
			causal_ask_user(r);
	}
	session_wake(r, &lane->waiters);
}

void
lane_release(struct relay *r, enum side side)
{
	list_each(lane, l, all, &r->lanes) {
		if (l->waits_scripts && l->side == side && !l->dead &&
		    l->state == LANE_GREETING)
			ready(r, l);
	}
}

/* One more answer that the lane needs to be ready. */
static void
greet(struct relay *r, struct lane *lane, enum pending_kind kind)
{
	(void)lane_pend(r, lane, NULL, kind);
	lane->greet_left++;
}

/* Everybody may, and the answer is an error where nobody is logged in. */
static void
put_hello(struct relay *r, struct lane *lane)
{
	if (!lane->resp3)
		return;
	resp_put_cmd(&lane->link->tx, "HELLO", "3", NULL);
	greet(r, lane, PEND_GREET);
}

static void
put_select(struct relay *r, struct lane *lane)
{
	struct buf *tx = &lane->link->tx;

	if (lane->db == 0)
		return;
	resp_put_array(tx, 2);
	resp_put_bulk(tx, SPAN("SELECT"));
	resp_put_bulk_u64(tx, lane->db);
	greet(r, lane, PEND_GREET);
}

static void
put_id(struct relay *r, struct lane *lane)
{
	resp_put_cmd(&lane->link->tx, "CLIENT", "ID", NULL);
	greet(r, lane, PEND_ID);
}

/* What its user may not ask Godwit's own one asks on the same connection, which
 * then goes back to the client's (lower). No request of the client runs before
 * that was answered well. True: it was reset. */
static bool
raise(struct relay *r, struct lane *lane)
{
	struct buf *tx = &lane->link->tx;
	size_t before = buf_len(tx);
	const struct side_conf *c = &r->conf->side[lane->side];
	bool resets;

	put_auth(tx, c, c->own_user, c->own_pass);
	resets = buf_len(tx) == before;
	if (resets)
		resp_put_cmd(tx, "RESET", NULL);
	(void)lane_pend(r, lane, NULL, PEND_IGNORE);
	if (lane->brought)
		put_select(r, lane);
	return resets;
}

static void
lower(struct relay *r, struct lane *lane, bool resets)
{
	struct buf *tx = &lane->link->tx;
	size_t before = buf_len(tx);
	bool is_none;

	resets |= lane->cred == NULL && !lane->as_writer;
	if (lane->cred != NULL)
		put_client_auth(r, lane, tx);
	else if (lane->as_writer)
		put_own_auth(r, lane, tx);
	is_none = buf_len(tx) == before;
	if (is_none)
		resp_put_cmd(tx, "RESET", NULL);
	greet(r, lane, PEND_GREET);
	if (resets || is_none)
		put_hello(r, lane);
	if (is_none || (resets && !lane->brought))
		put_select(r, lane);
	if (is_none)
		put_name(r, lane); /* RESET forgets it */
}

/* Nobody can unblock it without its id. */
static void
ask_as_own(struct relay *r, struct lane *lane)
{
	bool resets = raise(r, lane);

	lane->raised = true;
	put_name(r, lane);
	put_id(r, lane);
	lower(r, lane, resets);
}

void
lane_settle(struct relay *r, struct lane *lane)
{
	lane->state = LANE_GREETING;
	if (lane->brought)
		lower(r, lane, raise(r, lane));
	else
		put_select(r, lane);
	put_name(r, lane);
	if (lane->kind == LANE_OWN)
		put_id(r, lane);
	if (lane->greet_left == 0)
		ready(r, lane);
}

void
lane_got_id(struct relay *r, struct lane *lane, struct span reply)
{
	struct resp_item it;

	REQUIRE(lane->greet_left > 0);
	lane->greet_left--;
	if (resp_read(&reply, &it) == WIRE_PART && it.type == RESP_INT)
		lane->client_id = it.number;
	else if (!lane->raised)
		ask_as_own(r, lane);
	if (lane->greet_left == 0)
		ready(r, lane);
}

/* AUTH is over. */
static void
authed(struct relay *r, struct lane *lane)
{
	if (lane->kind != LANE_PROOF &&
	    (is_own(lane) || lane->side == r->route.authority ||
	     lane->kind == LANE_SUB)) {
		lane_settle(r, lane);
		return;
	}
	lane->state = LANE_WARM;
	if (lane->kind == LANE_PROOF) {
		hurry(r, (enum side)lane->side);
		lane->pause_ns = 0;
		session_wake(r, &lane->waiters);
		nopass_up(r, lane);
	}
}

void
lane_up(struct relay *r, struct lane *lane)
{
	struct buf *b = &lane->link->tx;
	size_t before = buf_len(b);

	lane->state = LANE_GREETING;
	lane->greet_left = 0;
	lane->no_role = lane->node != 0; /* positions are the side's */
	lane->tracks = false;
	lane->raised = false;
	lane->no_unblock = false;
	lane->waits_scripts = false;
	if (lane->cred != NULL)
		put_client_auth(r, lane, b);
	else if (is_own(lane))
		put_own_auth(r, lane, b);
	if (buf_len(b) != before)
		greet(r, lane, PEND_GREET);
	put_hello(r, lane);
	lane->auth_left = lane->greet_left;
	if (lane->auth_left == 0)
		authed(r, lane);
}

/* The error line in r->scratch, or what can be said without memory. */
static struct span
scratch_text(struct relay *r)
{
	if (!buf_failed(&r->scratch))
		return buf_span(&r->scratch);
	buf_fini(&r->scratch);
	return SPAN("-ERR godwit: out of memory\r\n");
}

/* Was s in the database of the lane before it was the user that may not SELECT
 * it? A server leaves a connection where it is: so does a lane that is made for
 * it. Who asks for SELECT itself is refused: he is not there, or has one. */
static bool
brings(struct relay *r, struct session *s, const struct lane *lane,
       struct span error)
{
	if (lane->auth_left > 0 || lane->brought || lane->db == 0 ||
	    lane->cred == NULL || lane->cred->n == 0 || s->db != lane->db ||
	    s->cred != lane->cred || session_has_brought(s) ||
	    !span_has_prefix(error, SPAN("-NOPERM")) ||
	    session_try_wide(r, s) == NULL)
		return false;
	s->wide->brought = true;
	return true;
}

/* The sessions that wait for this lane get an error for one request each. */
static void
fail_waiters(struct relay *r, struct lane *lane, struct span error)
{
	struct session *s;

	while ((s = lane->waiters.l.first) != NULL) {
		session_unwait(s);
		if (brings(r, s, lane, error))
			session_run(r, s);
		else
			session_fail_front(r, s, error);
	}
}

static void
refused(struct relay *r, struct lane *lane, struct span reply)
{
	size_t n = reply.n >= 2 ? reply.n - 2 : 0;

	if (n > 150)
		n = 150;
	(void)err_set(&lane->cause, ERR_AUTH, "%.*s", (int)n,
	              (const char *)reply.p);
	buf_clear(&r->scratch);
	buf_put_span(&r->scratch, reply);
	r->port->ops->close(r->port, lane->link, false);
	lane->link = NULL;
	lane->state = LANE_DOWN;
	lane->retry_ns = r->port->now_ns + RELAY_RETRY_MIN;
	if (lane->kind == LANE_SUB) {
		pubsub_lost(r, lane);
		return;
	}
	forget_fifo(r, lane);
	if (lane->kind == LANE_ADMIN) /* nobody can load them */
		script_loaded(r, (enum side)lane->side);
	/* A server that was restarted has forgotten Godwit's writer: those that
	 * wait go on waiting, as for one that does not answer. */
	if (lane->as_writer && lane->waiters.l.n > 0) {
		port_wake(r->port, lane->retry_ns);
		return;
	}
	if (lane->kind == LANE_SHARED || lane->kind == LANE_OWN ||
	    lane->kind == LANE_PROOF) {
		lane->dead = true; /* tried anew with the next request */
		r->reap = true;
	}
	fail_waiters(r, lane, scratch_text(r));
}

void
lane_greeted(struct relay *r, struct lane *lane, struct span reply)
{
	REQUIRE(lane->greet_left > 0);
	if (reply.p[0] == '-') {
		/* Godwit's own user may not exist yet, or not any more. */
		refused(r, lane, reply);
		return;
	}
	lane->greet_left--;
	if (lane->auth_left > 0) {
		lane->auth_left--;
		if (lane->auth_left == 0)
			authed(r, lane);
	} else if (lane->greet_left == 0) {
		ready(r, lane);
	}
}

/* ---- losing ------------------------------------------------------------ */

/* What was under way on a lost lane: reads of the other side are repeated on
 * the authority, everything else has an unknown outcome: those clients are
 * closed, as they would be without Godwit. */
static void
settle_fifo(struct relay *r, struct lane *lane)
{
	struct ring fifo = lane->fifo;
	struct buf keep = lane->keep;

	lane->fifo = (struct ring){ .cap = 0 };
	buf_init(&lane->keep, r->mem);
	while (ring_n(&fifo) > 0) {
		struct pending e = *ring_first(&fifo);
		struct span raw = span_of(buf_span(&keep).p, e.kept);

		fifo.head++;
		if (e.flags & PEND_F_MARK)
			mark_done(r, lane, raw);
		if (e.s != NULL) {
			e.s->inflight--;
			if (e.kind == PEND_READ) {
				e.s->on_reader--;
				e.s->must_retry = e.s->on_reader > 0;
				r->n.read_retries++;
				if (e.s->link != NULL)
					dispatch_again(r, e.s, raw,
					               PEND_F_READ);
			} else if (e.s->link != NULL) {
				r->n.lost[lane->side]++;
				session_close(r, e.s, NULL);
			}
			session_unref(r, e.s);
		} else if (e.kind == PEND_ROLE_FOR) {
			causal_role_lost(r, &e);
		}
		if (e.flags & PEND_F_KEPT)
			buf_take(&keep, e.kept);
	}
	ring_fini(&fifo, r->mem);
	buf_fini(&keep);
}

void
lane_lost(struct relay *r, struct lane *lane, const struct err *err)
{
	lane->link = NULL;
	lane->state = LANE_DOWN;
	lane->client_id = -1;
	r->was_lost[lane->side] = true;
	script_lost(r, lane);
	lane->done_batch = 0;
	lane->cause = *err;
	lane->pause_ns =
		lane->pause_ns == 0 ? RELAY_RETRY_MIN : lane->pause_ns * 2;
	if (lane->pause_ns > RELAY_RETRY_MAX)
		lane->pause_ns = RELAY_RETRY_MAX;
	lane->retry_ns = r->port->now_ns + lane->pause_ns;
	if (lane->in_probe)
		lane_probe_remove(&r->probes, lane);
	lane->in_probe = false;
	if (lane->kind == LANE_SUB) {
		pubsub_lost(r, lane);
		return;
	}
	settle_fifo(r, lane);
	forget_fifo(r, lane);
	ack_lost(r, lane);
	nopass_lost(r, lane);
	if (lane->node != 0)
		detour_lost(r, lane);
	if (lane->kind == LANE_OWN) {
		struct session *s = lane->mine;

		if (s != NULL && s->link != NULL &&
		    ((s->multi && !s->multi_lost) || queued_is_open(s) ||
		     (s->part != NULL && s->part->streaming))) {
			r->n.lost[lane->side]++;
			session_close(r, s, NULL);
			session_unref(r, s);
		} else if (s != NULL && s->watching) {
			s->watching = false;
			s->watch_lost = true;
		}
		if (s != NULL)
			track_left(r, s, lane);
		lane->tracks = false; /* it was told */
		if (lane->waiters.l.n == 0 && lane->users == 0) {
			lane_end(r, lane, false);
			return;
		}
		if (lane->waiters.l.n == 0) {
			lane->dead = true;
			r->reap = true;
			return;
		}
	}
	if (lane->waiters.l.n > 0)
		port_wake(r->port, lane->retry_ns);
}

void
lane_leave(struct relay *r, struct lane *lane)
{
	struct err err;

	if (ring_n(&lane->fifo) > 0) {
		(void)err_set(&err, ERR_LOST, "%s lost the authority",
		              r->conf->side[lane->side].label);
		if (lane->link != NULL)
			r->port->ops->close(r->port, lane->link, false);
		lane_lost(r, lane, &err);
	}
	lane_end(r, lane, true);
}

/* ---- time -------------------------------------------------------------- */

static void
tick_waiters(struct relay *r, struct lane *lane)
{
	const struct side_conf *c = &r->conf->side[lane->side];
	struct session *s;

	if (lane->state == LANE_READY)
		return; /* they wait for room */
	while ((s = lane->waiters.l.first) != NULL &&
	       session_waited_ns(r, s) >= RELAY_WAIT_NS) {
		buf_clear(&r->scratch);
		resp_put_errorf(&r->scratch,
		                "ERR godwit: %s is not reachable: %s", c->label,
		                lane->cause.text[0] != '\0' ? lane->cause.text
		                                            : "no answer yet");
		session_unwait(s);
		session_fail_input(r, s, scratch_text(r));
	}
	if (lane->waiters.l.first != NULL) {
		if (lane->state == LANE_DOWN)
			lane_want(r, lane);
		session_wake_late(r, lane->waiters.l.first);
	}
}

void
lane_tick(struct relay *r)
{
	list_each(lane, l, all, &r->lanes) {
		if (l->waiters.l.n > 0)
			tick_waiters(r, l);
	}
	list_each(lane, l, all, &r->lanes) {
		bool unused = l->users == 0 && l->mine == NULL &&
		              l->waiters.l.n == 0 && ack_is_empty(l) &&
		              ring_n(&l->fifo) == 0;

		if (unused && l->kind != LANE_ADMIN &&
		    (l->dead || l->idle_ns + IDLE_NS < r->port->now_ns))
			lane_end(r, l, true);
	}
}
