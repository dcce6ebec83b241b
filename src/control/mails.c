/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/mails.c: what relays and mover say.
 */
#define _DEFAULT_SOURCE
#include "control/run_parts.h"

static const char *
phase_name(enum move_phase p)
{
	static const char *const names[] = {
		[MOVE_IDLE] = "idle",       [MOVE_ATTACHING] = "attaching",
		[MOVE_COPYING] = "copying", [MOVE_CATCHING_UP] = "catching_up",
		[MOVE_IN_STEP] = "in_step", [MOVE_BROKEN] = "interrupted",
	};

	return names[p];
}

static void
moved(struct run *r, enum move_phase p)
{
	bool first;

	if (r->move == p)
		return;
	r->move = p;
	run_event(r, "stream", "%s", phase_name(p));
	r->in_step_ns = p == MOVE_IN_STEP ? os_mono_ns() : 0;
	/* Before it nothing could come back: prove the way back now. */
	if (p == MOVE_IN_STEP)
		r->heartbeat_at_ns = 0;
	/* Something may have been lost since the proof. */
	if (p == MOVE_BROKEN)
		r->proof_spent = true;
	if (p == MOVE_BROKEN && r->broken_ns == 0)
		r->broken_ns = os_mono_ns();
	else if (p == MOVE_COPYING || p == MOVE_CATCHING_UP ||
	         p == MOVE_IN_STEP)
		r->broken_ns = 0;
	first = p == MOVE_IN_STEP && !r->was_in_step;
	if (!first)
		return;
	r->was_in_step = true;
	r->trouble[0] = '\0';
	/* From now on replies may wait for the other side. */
	machines_send_route(r);
	run_wish(r, "in_step", "");
}

static void
progressed_back(struct run *r, const struct mail *m)
{
	struct err err;

	if (!run_is_split(r) || m->token != SIDE_NEW)
		return;
	if (journal_set_progress(r->journal, journal_point(m->side, true),
	                         m->text, m->position, &err) != 0)
		run_event(r, "disk", "%s", err.text);
}

static void
progressed(struct run *r, const struct mail *m)
{
	struct err err;
	int rc = 0;

	/* Said before the switch that was committed since: no longer true when
	 * that lost something. */
	if (m->token != (uint64_t)run_authority(r))
		return;
	if (!r->copied) {
		rc = journal_add(r->journal, JOURNAL_COPIED,
		                 json_pack("{s:I,s:I,s:s}", "records",
		                           (json_int_t)atomic_load(
						   &r->board.copied_records),
		                           "bytes",
		                           (json_int_t)atomic_load(
						   &r->board.copied_bytes),
		                           "by", status_copied_by(r)),
		                 &err);
		r->copied = rc == 0;
	}
	/* Losing one only means a longer way at a resume. */
	if (rc == 0)
		rc = journal_set_progress(r->journal,
		                          journal_point(m->side, false),
		                          m->text, m->position, &err);
	if (rc != 0)
		run_event(r, "disk", "%s", err.text);
}

static void
bit(uint64_t *set, uint32_t who)
{
	if (who < RUN_RELAYS_MAX)
		*set |= 1ull << who;
}

/* Only when no relay reads the other side any more may a reply leave that it
 * has not applied: else a later read elsewhere would not see that write. */
static void
behind_acked(struct run *r, const struct mail *m)
{
	struct mail release = { .kind = MAIL_BEHIND, .flag = 2 };

	if (!r->is_behind || m->flag != 1 ||
	    r->behind_acked == machines_all_bits(r))
		return;
	bit(&r->behind_acked, m->who);
	if (r->behind_acked == machines_all_bits(r))
		machines_tell(r, &release);
}

static void
late(struct run *r)
{
	if (!r->is_behind)
		health_behind(r, true);
}

/* A difference that shadow_traffic found, or what is none: the newest are kept. */
static void
different(struct run *r, const struct mail *m)
{
	char *to = m->flag == 0
	                   ? r->different[r->different_n++ % RUN_DIFFERENT_MAX]
	                   : r->noise[r->noise_n++ % RUN_DIFFERENT_MAX];

	(void)snprintf(to, RUN_EXAMPLE, "%s", m->text);
}

static void
route_acked(struct run *r, const struct mail *m)
{
	uint64_t g = m->route.generation;

	if (m->who >= RUN_RELAYS_MAX)
		return;
	/* Either place is where a relay may say it. */
	if (g == 0)
		g = m->token;
	if (g > r->acked[m->who])
		r->acked[m->who] = g;
	if (r->acked_ns != 0 || !machines_all_current(r))
		return;
	r->acked_ns = os_mono_ns();
	status_count_reads(r); /* what was routed before is not its share */
}

static void
warmed(struct run *r, const struct mail *m)
{
	if (m->token == r->warm_token)
		bit(&r->warmed, m->who);
}

static void
troubled(struct run *r, const char *text)
{
	(void)snprintf(r->trouble, sizeof(r->trouble), "%s", text);
	run_event(r, "trouble", "%s", text);
}

/* No switch before somebody has made it good, and a comparison has found it so. */
static void
owe(struct run *r, const char *text)
{
	struct err err;

	r->owed_n++;
	(void)snprintf(r->owed, sizeof(r->owed), "%s", text);
	if (journal_set_meta(r->journal, "owed", text, &err) != 0)
		run_event(r, "disk", "%s", err.text);
	troubled(r, text);
}

static void
stale(struct run *r, bool is_lost)
{
	r->is_stale = true;
	r->is_lost = r->is_lost || is_lost;
}

static void
one(struct run *r, const struct mail *m)
{
	switch (m->kind) {
	case MAIL_ROUTE_ACK:
		route_acked(r, m);
		shift_mail(r, m);
		return;
	case MAIL_DRAINED:
	case MAIL_MARKED:
	case MAIL_PASSED: shift_mail(r, m); return;
	case MAIL_WARMED: warmed(r, m); return;
	case MAIL_LATE: late(r); return;
	case MAIL_DIFFERENT: different(r, m); return;
	case MAIL_BEHIND_ACK: behind_acked(r, m); return;
	case MAIL_MOVE_PHASE:
		if (m->phase == MOVE_IN_STEP)
			exposed_end(r, m->token);
		moved(r, m->phase);
		return;
	case MAIL_PROGRESS: progressed(r, m); return;
	case MAIL_HEARTBEAT_BACK:
		if (m->token == r->heartbeat_token) {
			r->proven_ns = os_mono_ns();
			r->heartbeat_back = true;
		}
		return;
	case MAIL_STALE: stale(r, m->flag == 1); return;
	case MAIL_TROUBLE: troubled(r, m->text); return;
	case MAIL_NOT_CARRIED: owe(r, m->text); return;
	case MAIL_STOPPED: bit(&r->stopped, m->who); return;
	case MAIL_ASTRAY: health_hurry(r, m->side); return;
	case MAIL_ROUTE:
	case MAIL_WARM:
	case MAIL_HOLD:
	case MAIL_RELEASE:
	case MAIL_BEHIND:
	case MAIL_PAIR:
	case MAIL_SEAT:
	case MAIL_DOOR:
	case MAIL_VIEW:
	case MAIL_PAIR_ACK:
	case MAIL_CLIENTS:
	case MAIL_CLIENTS_DONE:
	case MAIL_CLIENTS_TAKEN:
	case MAIL_MONITOR:
	case MAIL_LINES:
	case MAIL_CANCEL:
	case MAIL_MOVE:
	case MAIL_MOVE_PAUSE:
	case MAIL_MOVE_RESUME:
	case MAIL_BARRIER:
	case MAIL_THAW:
	case MAIL_FLIP:
	case MAIL_SCOPE:
	case MAIL_BOTH:
	case MAIL_HEARTBEAT:
	case MAIL_SLOTS:
	case MAIL_EXPOSED:
	case MAIL_STOP: return;
	}
}

/* What the second mover of a split says. */
static void
one_back(struct run *r, const struct mail *m)
{
	struct divide *p = &r->split;

	if (m->kind == MAIL_STOPPED) {
		p->stopped = true;
	} else if (m->kind == MAIL_PASSED) {
		shift_mail(r, m);
	} else if (m->kind == MAIL_PROGRESS) {
		progressed_back(r, m);
	} else if (m->kind == MAIL_MOVE_PHASE && p->move != m->phase) {
		p->move = m->phase;
		run_event(r, "stream", "new -> old: %s", phase_name(m->phase));
	} else if (m->kind == MAIL_TROUBLE) {
		(void)snprintf(p->trouble, sizeof(p->trouble), "%s", m->text);
		run_event(r, "trouble", "new -> old: %s", m->text);
	}
}

void
mails_take(struct run *r)
{
	struct mail m;

	for (uint32_t i = 0; i < r->interlay_n; i++) {
		while (inbox_take(r->interlay[i]->inbox, &m))
			one(r, &m);
	}
	while (r->mover_inbox != NULL && inbox_take(r->mover_inbox, &m)) {
		/* Its only mail that a relay sends as well. */
		if (m.kind == MAIL_STOPPED)
			r->mover_stopped = true;
		else
			one(r, &m);
	}
	while (r->split.inbox != NULL && inbox_take(r->split.inbox, &m))
		one_back(r, &m);
}
