/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/track.c: client tracking, of RESP3 clients.
 *
 *   (none) ─[ON is answered well]→ TRACKED on a lane of its own
 *                  ↑                  │ the lane is left (switch, SELECT,
 *                  │                  ↓ split) or lost: `>2 invalidate _`
 *          [track_begin: ON again]─ UNTRACKED, nothing is cached
 *
 * The server tells the connection that has read a key. So a client that tracks
 * has a lane of its own, reads on the authority only, and no question of
 * Godwit's own comes between CLIENT CACHING and the next command (no_role). Where
 * a switch does, CLIENT CACHING YES is said again.
 * Whenever it leaves that lane it is told that nothing is valid any more, and
 * the server of the next lane tracks before the first request there.
 *
 * Limits: TRACK_MAX bytes of CLIENT TRACKING requests a client.
 */
#include "engine/redis/relay/track.h"

#include "engine/redis/relay/split.h"
#include "engine/redis/relay/sub.h"

#define TRACK_MAX   65536
#define ALL_INVALID ">2\r\n$10\r\ninvalidate\r\n_\r\n"

static bool
has_word(struct span raw, struct span word)
{
	struct span arg;
	size_t pos = 0;

	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (i > 2 && span_is_word(arg, word))
			return true;
		if (i > 2 && span_is_word(arg, SPAN("prefix")))
			(void)resp_cmd_walk(raw, &pos, &arg);
	}
	return false;
}

/* The reason, or NULL. */
static const char *
why_not(const struct session *s, struct span raw)
{
	size_t kept = s->wide == NULL ? 0 : buf_len(&s->wide->track);

	if (!s->resp3)
		return "only a RESP3 client can be told (HELLO 3)";
	if (has_word(raw, SPAN("redirect")))
		return "REDIRECT names a connection of the server, and those "
		       "are Godwit's";
	if (kept + raw.n > TRACK_MAX)
		return "more than 64 KiB of prefixes";
	return NULL;
}

bool
track_is_switch(const struct command *c)
{
	return span_eq(span_str(c->name), SPAN("client|tracking"));
}

const char *
track_why_not(const struct session *s, const struct command *c,
              const struct resp_cmd *q, struct span raw)
{
	if (!track_is_switch(c) || q->argc < 3 ||
	    !span_is_word(q->argv[2], SPAN("on")))
		return NULL;
	return why_not(s, raw);
}

enum dispatched
track_dispatch(struct relay *r, struct session *s, const struct command *c,
               const struct resp_cmd *q, struct span raw)
{
	bool is_switch = track_is_switch(c);
	bool yes = span_eq(span_str(c->name), SPAN("client|caching")) &&
	           span_is_word(q->argv[2], SPAN("yes"));
	enum dispatched ret;
	bool on = is_switch && span_is_word(q->argv[2], SPAN("on"));
	const char *why = track_why_not(s, c, q, raw);
	struct lane *lane;

	if (why != NULL)
		return dispatch_refuse(r, s, "ERR godwit refuses %s: %s",
		                       c->name, why);
	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	lane = dispatch_lane(r, s, on);
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	if (!is_switch) {
		ret = dispatch_send(r, s, lane, raw, PEND_PASS, 0);
		if (yes && ret == DISPATCHED && s->tracking) {
			s->wide->caching = true;
			s->wide->caching_n = lane->sent_n;
		}
		return ret;
	}
	/* From here on nothing of Godwit's comes between; see the answer. */
	lane->no_role |= on;
	return dispatch_send(r, s, lane, raw, PEND_TRACK, PEND_F_KEPT);
}

void
track_off(struct session *s)
{
	s->tracking = false;
	if (s->wide == NULL)
		return;
	buf_fini(&s->wide->track);
	s->wide->caching = false;
}

void
track_switch(struct relay *r, struct session *s, struct lane *lane,
             struct span request)
{
	struct resp_cmd *q = &r->cmd2;
	struct wide *w;

	resp_cmd_init(q);
	if (resp_cmd_feed(q, request) != WIRE_PART || q->argc < 3)
		return;
	if (!span_is_word(q->argv[2], SPAN("on"))) {
		track_off(s);
		lane->tracks = false;
		return;
	}
	w = session_wide(r, s);
	if (w == NULL)
		return;
	s->tracking = true;
	lane->tracks = true;
	lane->no_role = true;
	buf_put_span(&w->track, request);
	if (buf_failed(&w->track))
		session_close(r, s, "ERR godwit: out of memory");
}

void
track_answer(struct relay *r, struct session *s, struct lane *lane,
             struct span request, struct span reply)
{
	if (reply.n > 0 && reply.p[0] == '+' && s->link != NULL)
		track_switch(r, s, lane, request);
	session_say(r, s, reply);
}

/* ---- from lane to lane --------------------------------------------------- */

void
track_begin(struct relay *r, struct session *s, struct lane *lane)
{
	struct span rest = buf_span(&s->wide->track);

	REQUIRE(lane->kind == LANE_OWN && lane->mine == s);
	lane->tracks = true;
	lane->no_role = true;
	while (rest.n > 0) {
		struct resp_cmd *q = &r->cmd2;

		resp_cmd_init(q);
		if (resp_cmd_feed(q, rest) != WIRE_PART)
			NEVER("what is kept is whole");
		(void)lane_ask(r, lane, PEND_TRACKED, span_of(rest.p, q->used));
		rest = span_skip(rest, q->used);
	}
	if (!s->wide->caching)
		return;
	(void)lane_ask(r, lane, PEND_TRACKED,
	               SPAN("*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n"
	                    "$3\r\nYES\r\n"));
	s->wide->caching_n = lane->sent_n;
}

/* A client that believes to be told and is not must not go on. */
void
track_began(struct relay *r, struct lane *lane, struct span reply)
{
	struct session *s = lane->mine;

	if (reply.p[0] == '+' || s == NULL || !s->tracking)
		return;
	r->n.lost[lane->side]++;
	session_close(r, s, NULL);
}

void
track_left(struct relay *r, struct session *s, const struct lane *lane)
{
	if (!s->tracking || !lane->tracks || s->link == NULL)
		return;
	/* The next command is still to be the one that is cached. */
	s->wide->caching &= lane->sent_n == s->wide->caching_n;
	sub_say(r, s, SPAN(ALL_INVALID));
	session_run(r, s); /* see track_resume() */
}

void
track_resume(struct relay *r, struct session *s)
{
	struct lane *lane = s->lane;

	if (s->inflight > 0 || s->withheld > 0 || s->waits_in != NULL ||
	    s->multi || s->watching || (lane != NULL && lane->tracks))
		return;
	if (!dispatch_is_held(r, s))
		(void)dispatch_lane(r, s, true);
}

void
track_push(struct relay *r, struct lane *lane, struct span bytes, bool end)
{
	struct session *s = lane->mine;
	struct buf part;

	if (lane->kind != LANE_OWN || s == NULL || !s->tracking)
		return; /* nobody's: none was asked for */
	if (end && buf_len(&lane->part) == 0) {
		session_push(r, s, bytes);
		return;
	}
	buf_put_span(&lane->part, bytes);
	if (buf_failed(&lane->part) ||
	    buf_len(&lane->part) > RELAY_SUB_HOLD_MAX) {
		buf_fini(&lane->part);
		session_close(r, s, NULL);
		return;
	}
	if (!end)
		return;
	part = lane->part;
	buf_init(&lane->part, r->mem);
	session_push(r, s, buf_span(&part));
	buf_fini(&part);
}
