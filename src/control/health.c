/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/health.c: both servers are looked at once a second.
 *
 * A server that was restarted has forgotten Godwit's users and perhaps its
 * fence: both are made again as R wants them, and because it is open until then,
 * a server whose connection broke is looked at every 50 ms. Also heartbeats over
 * the way back, and the end of being behind.
 */
#define _DEFAULT_SOURCE
#include "control/parts.h"
#include "control/run_parts.h"

/* What the side has to be: shut or open. */
static int
put_right(struct run *r, enum side s, struct err *err)
{
	struct authority a = journal_authority(r->journal);

	if (r->state == LIFE_COMPLETED && s == SIDE_OLD)
		return 0;
	if (authority_is_split(&a) && parts_has(r))
		return parts_settle(r, err);
	if (run_wants_open(r, s))
		return r->dialect->lift(r, s, a.epoch, err);
	return r->dialect->shut(r, s, a.epoch, err);
}

static void
look(struct run *r, enum side s)
{
	struct run_side *at = &r->at[s];
	struct err err = { .code = ERR_NONE };
	char run_id[48] = "";
	bool was_up = at->is_up;
	int rc;

	follow_look(r, s);
	rc = r->dialect->look(r, s, run_id, sizeof(run_id), &err);
	at->is_up = rc == 0;
	if (!at->is_up) {
		if (was_up)
			health_hurry(r, s);
		if (was_up)
			run_event(r, "side_down", "%s", err.text);
		return;
	}
	if (!was_up)
		run_event(r, "side_up", "%s answers again", r->side[s].label);
	if (r->state == LIFE_COMPLETED ||
	    (strcmp(run_id, at->run_id) == 0 && !r->dialect->is_stranger(r, s)))
		return;
	/* The epoch of now is not on disk: its fences come after it. */
	if (r->record_owed || layout_is_switching(r))
		return;
	/* The mover may have compared its keys before it was shut. */
	if (at->run_id[0] != '\0' || !r->dialect->shuts_all(r, s))
		exposed_begin(r, s);
	rc = r->dialect->users(r, s, &err);
	if (rc == 0)
		rc = put_right(r, s, &err);
	if (rc != 0) {
		run_event(r, "side_odd", "%s", err.text);
		return;
	}
	memcpy(at->run_id, run_id, sizeof(at->run_id));
	r->dialect->persist(r, s);
	run_event(r, "refenced",
	          "%s was restarted, or is another server; users and fence "
	          "are made again",
	          r->side[s].label);
	exposed_tell(r, s);
}

/* A fence that somebody lifted is put back, and what was written behind it. */
static void
look_at_fence(struct run *r, enum side other)
{
	struct authority a = journal_authority(r->journal);
	struct err err;

	if (run_wants_open(r, other) || !r->at[other].is_up ||
	    !r->at[other].users_made || r->record_owed ||
	    r->state == LIFE_COMPLETED)
		return;
	if (r->at[other].fenced &&
	    r->dialect->holds(r, other, a.epoch, &err) == 0)
		return;
	if (!r->dialect->shuts_all(r, other))
		exposed_begin(r, other);
	if (r->dialect->shut(r, other, a.epoch, &err) != 0) {
		run_event(r, "fence", "%s", err.text);
		return;
	}
	run_event(r, "refenced", "%s was open; it is fenced again",
	          r->side[other].label);
	exposed_tell(r, other);
}

/* Whoever has authority must be open. The unfence of a switch may have failed: the
 * side hung, or was away. */
static void
look_at_open(struct run *r)
{
	struct authority a = journal_authority(r->journal);
	enum side rules = authority_side(a.state);
	struct err err;

	if (!run_wants_open(r, rules) || !r->at[rules].is_up ||
	    r->record_owed || r->dialect->is_open(r, rules, &err) != -ERR_STATE)
		return;
	/* Another leg has shut it for the switch of all. */
	if (layout_is_switching(r))
		return;
	if (r->dialect->lift(r, rules, a.epoch, &err) != 0) {
		run_event(r, "fence", "%s", err.text);
		return;
	}
	r->dialect->persist(r, rules);
	run_event(r, "opened", "%s has authority and was still fenced",
	          r->side[rules].label);
}

void
health_behind(struct run *r, bool on)
{
	struct mail m = { .kind = MAIL_BEHIND, .flag = on ? 1 : 0 };

	r->is_behind = on;
	r->late_n += on;
	r->behind_acked = 0;
	machines_tell(r, &m);
	if (on)
		r->in_step_ns = 0;
	run_event(r, on ? "behind" : "caught_up", "%s",
	          on ? "the other side did not follow in time; replies no "
	               "longer wait for it, reads stay on the authority"
	             : "the other side has caught up");
}

static void
caught_up(struct run *r, uint64_t now_ns)
{
	uint64_t lag = atomic_load(&r->board.lag_ms);
	bool good = r->move == MOVE_IN_STEP && lag < r->write.ack_timeout_ms;

	if (!good) {
		r->in_step_ns = 0;
		return;
	}
	if (r->in_step_ns == 0)
		r->in_step_ns = now_ns;
	if (r->is_behind &&
	    now_ns - r->in_step_ns >= LIMIT_CAUGHT_UP_MS * NS_PER_MS)
		health_behind(r, false);
}

/* The same message again until it came back, however long it takes: a slow link
 * is a link. One may be lost with a connection, hence again. */
static void
heartbeat(struct run *r)
{
	struct mail m = { .kind = MAIL_HEARTBEAT };

	if (r->heartbeat_back || r->heartbeat_token == 0) {
		r->heartbeat_token++;
		r->heartbeat_back = false;
	}
	m.token = r->heartbeat_token;
	machines_tell_mover(r, &m);
}

int
health_settle(struct run *r, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	enum side rules = authority_side(a.state);
	enum side other = side_other(rules);
	int rc = 0;

	REQUIRE(!authority_is_frozen(a.state));
	if (authority_is_split(&a) && parts_has(r))
		return parts_settle(r, err);
	/* Shut first: at no moment two are open. A side that is away is put
	 * right by health.c when it comes back. */
	if (r->at[other].is_up && r->is_resumed &&
	    !r->dialect->shuts_all(r, other))
		exposed_begin(r, other);
	if (r->at[other].is_up)
		rc = r->dialect->shut(r, other, a.epoch, err);
	if (rc == 0 && r->at[other].is_up)
		exposed_tell(r, other);
	if (rc == 0 && r->at[rules].is_up)
		rc = authority_is_split(&a)
		             ? r->dialect->shut(r, rules, a.epoch, err)
		             : r->dialect->lift(r, rules, a.epoch, err);
	return rc;
}

/* The abort that could not be written when it was made. Until it is, R on disk
 * is frozen, which names the same side. */
static void
pay_record(struct run *r)
{
	struct authority a = journal_authority(r->journal);
	struct authority to;
	struct err err;

	REQUIRE(authority_is_frozen(a.state));
	if (layout_is_switching(r))
		return;
	to = authority_abort(&a);
	if (journal_move(r->journal, JOURNAL_ABORT, &a, &to,
	                 json_pack("{s:s,s:s}", "at",
	                           cutover_step_name(r->cut.died), "why",
	                           r->cut.why),
	                 &err) != 0)
		return;
	r->record_owed = false;
	run_event(r, "aborted", "the undone switch is on disk now (epoch %llu)",
	          (unsigned long long)to.epoch);
	if (health_settle(r, &err) != 0)
		run_event(r, "fence", "%s", err.text);
}

void
health_hurry(struct run *r, enum side s)
{
	r->at[s].lost_ns = os_mono_ns();
	r->at[s].hurry_ns = 0;
}

size_t
health_fds(const struct run *r, struct pollfd *ret)
{
	size_t n = 0;

	for (int s = 0; s < SIDE_N; s++) {
		int fd = r->dialect->fd(r, (enum side)s);

		if (fd >= 0)
			ret[n++] =
				(struct pollfd){ .fd = fd, .events = POLLIN };
	}
	return n;
}

void
health_heard(struct run *r, const struct pollfd *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (int s = 0; s < SIDE_N && fds[i].revents != 0; s++) {
			if (r->dialect->fd(r, (enum side)s) != fds[i].fd)
				continue;
			r->dialect->hang_up(r, (enum side)s);
			health_hurry(r, (enum side)s);
		}
	}
}

static void
hurry(struct run *r, enum side s)
{
	struct run_side *at = &r->at[s];
	uint64_t now = os_mono_ns();
	uint64_t end;

	if (at->lost_ns == 0 || now < at->hurry_ns)
		return;
	if (r->state != LIFE_COMPLETED || s == SIDE_NEW)
		look(r, s);
	/* Its clients come back as soon as it does. */
	if (at->is_up && run_authority(r) == s)
		look_at_open(r);
	end = os_mono_ns();
	at->hurry_ns = end + (end - now) * 4 + LIMIT_HURRY_MS * NS_PER_MS;
	if (at->is_up || end - at->lost_ns > LIMIT_HURRIES_MS * NS_PER_MS)
		at->lost_ns = 0;
}

uint64_t
health_wake_ns(const struct run *r)
{
	uint64_t at = r->health_at_ns < r->heartbeat_at_ns ? r->health_at_ns
	                                                   : r->heartbeat_at_ns;

	for (int s = 0; s < SIDE_N; s++) {
		if (r->at[s].lost_ns != 0 && r->at[s].hurry_ns < at)
			at = r->at[s].hurry_ns;
	}
	return at;
}

/* Before the cutover only: after it the way back needs a person. */
static void
look_at_stream(struct run *r, uint64_t now_ns)
{
	if (r->home == NULL || r->broken_ns == 0 || r->state != LIFE_RUNNING ||
	    run_authority(r) != SIDE_OLD || run_is_split(r) ||
	    now_ns - r->broken_ns < r->conf->fail_ms * NS_PER_MS)
		return;
	r->broken_ns = now_ns;
	run_wish(r, "fail",
	         r->trouble[0] != '\0' ? r->trouble : "the stream is broken");
}

void
health_tick(struct run *r, uint64_t now_ns)
{
	uint64_t took_ns;

	/* Nothing may block inside a hold but its own questions. */
	if (r->cut_on || r->op.stage == OP_LEAVE)
		return;
	if (now_ns >= r->heartbeat_at_ns) {
		r->heartbeat_at_ns = now_ns + LIMIT_HEARTBEAT_MS * NS_PER_MS;
		heartbeat(r);
		caught_up(r, now_ns);
	}
	hurry(r, SIDE_OLD);
	hurry(r, SIDE_NEW);
	if (now_ns < r->health_at_ns)
		return;
	if (r->state != LIFE_COMPLETED)
		look(r, SIDE_OLD);
	look(r, SIDE_NEW);
	layout_follow(r);
	look_at_stream(r, now_ns);
	look_at_fence(r, SIDE_OLD);
	look_at_fence(r, SIDE_NEW);
	look_at_open(r);
	if (run_is_split(r) && parts_has(r) && !r->record_owed)
		parts_look(r);
	r->dialect->tend_replicas(r, SIDE_OLD);
	r->dialect->tend_replicas(r, SIDE_NEW);
	if (r->record_owed)
		pay_record(r);
	/* A side that hangs must not take all of this thread's time. */
	took_ns = os_mono_ns() - now_ns;
	r->health_at_ns =
		os_mono_ns() + took_ns * 4 + LIMIT_HEALTH_MS * NS_PER_MS;
}
