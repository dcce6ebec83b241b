/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/switch.c: barrier, flip and scope (docs/internals/split.md).
 *
 *   running --BARRIER--> waits --passed--> frozen --THAW--> running
 *                                          | SCOPE: the keys are others then
 *                                          +--FLIP--> running, the other way
 *
 * Frozen: both feeds are at a known position and nothing is read or written. What
 * was received meanwhile is judged by the scope of then.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

/* In a split the other side's feed must have been read to where it was when the
 * barrier came: all that the other mover's clients wrote there is before it. */
static bool
is_stale(const struct mover *m)
{
	return m->scope != NULL && m->need_probe;
}

void
switch_check(struct mover *m)
{
	enum side to = side_other(m->from);
	struct mail mail = { .kind = MAIL_PASSED,
		             .epoch = m->barrier_epoch,
		             .side = m->from };

	if (!m->barrier || m->frozen || m->passed[m->from].at < m->barrier_at ||
	    m->margin == UINT64_MAX || pend_todo(&m->pend) > 0 ||
	    m->pend.at_max > m->passed[m->from].at ||
	    m->probes_done < m->settle_after || m->moved.away_n > 0 ||
	    m->probes_done < m->probes_sent || is_stale(m) ||
	    conn_wants(&m->cmd[to]) > 0 || m->conf->one_shot ||
	    !m->feed[to].is_ready || !library_is_there(m) ||
	    (m->feed[to].by_marks && m->feed[to].asked != 0))
		return;
	ENSURE(m->copies_flying == 0);
	m->frozen = true;
	m->answered = true;
	if (m->feed[to].by_marks)
		mark_freeze(m, &m->feed[to]);
	m->frozen_at.at = m->feed[to].pos;
	m->frozen_at.db = m->feed[to].db;
	mail.position = m->frozen_at.at;
	m->passed[to] = m->frozen_at;
	mover_history(m, to, m->frozen_at.db, mail.text);
	mail.token = m->feed[m->from].pos;
	mover_history(m, m->from, m->feed[m->from].db, mail.history);
	m->port->ops->mail(m->port, &mail);
}

void
switch_flip(struct mover *m, const struct mail *mail)
{
	struct board *b = m->conf->board;

	if (mail->side == m->from)
		return;
	m->verify_at = 0;
	/* From here on all keys go one way; what the other mover did not see, this
	 * one will: it stood still before that did. */
	m->scope = NULL;
	m->gains = false;
	/* Only a barrier makes the sides equal. */
	if (!m->answered)
		m->need_rescan = true;
	m->answered = false;
	m->barrier = false;
	if (!m->frozen) {
		/* After a loss the new authority's stream is attached from its
		 * resume point, or everything is compared. */
		m->from = mail->side;
		m->lone_end = 0;
		if (m->stage != STAGE_IDLE && m->stage != STAGE_BROKEN)
			mover_fail(m, ERR_STATE,
			           "flip without a barrier; attaching "
			           "again");
		return;
	}
	ENSURE(pend_todo(&m->pend) == 0);
	pend_clear(&m->pend);
	mover_unsettle(m);
	m->confirmed[m->from] =
		(struct place){ m->feed[m->from].pos, m->feed[m->from].db };
	m->watched[m->from] = m->confirmed[m->from];
	m->from = mail->side;
	m->lone_end = 0;
	m->pend.by_state = mark_is_on(m);
	m->passed[m->from] = m->frozen_at;
	m->settled = m->frozen_at;
	/* Units at or before it were our own: I11. */
	ENSURE(m->feed[m->from].pos == m->frozen_at.at);
	m->margin = m->frozen_at.at;
	m->frozen = false;
	m->need_probe = true;
	m->settle_after = 0;
	buf_clear(&m->samples);
	m->told_at = 0;
	atomic_store(&b->passed[m->from], m->frozen_at.at);
	mover_tell_phase(m);
	mover_tell_progress(m);
	mover_settle(m);
	m->port->ops->poke(m->port);
}

/* ---- scope ---------------------------------------------------------------- */

void
switch_scope(struct mover *m, const struct mail *mail)
{
	bool gains = mail->flag != 0;

	m->scope = mail->scope;
	m->gains = gains;
	m->gains_at[m->from] = mail->position;
	m->gains_at[side_other(m->from)] = mail->token;
	/* Keys that were given away are right when the barrier has passed; new ones
	 * only if nothing was missed since. */
	if (m->answered && (m->frozen || !gains))
		return;
	m->gains = false;
	m->need_rescan = true;
	if (m->stage != STAGE_IDLE && m->stage != STAGE_BROKEN)
		mover_fail(m, ERR_STATE,
		           "other keys without a barrier; comparing every key");
}

/* The keys are ours since the mail: what the servers deleted by themselves, when
 * the one that had them stood still and we did not. */
static void
gain(struct mover *m)
{
	for (int i = 0; i < SIDE_N && !m->failed; i++) {
		const struct foreign *f = &m->foreign[i];
		struct foreign_item it;
		size_t pos = 0;

		if (!foreign_knows(f, m->gains_at[i])) {
			m->need_rescan = true;
			mover_fail(m, ERR_LIMIT,
			           "%s: it is not known what expired there "
			           "meanwhile; comparing every key",
			           m->conf->side[i].label);
			return;
		}
		while (!m->failed && foreign_next(f, &pos, &it)) {
			if (it.at >= m->gains_at[i])
				(void)dirty_hold(m, it.db, it.key);
		}
	}
}

void
switch_thaw(struct mover *m)
{
	bool lost = m->gains && !m->frozen;

	m->barrier = false;
	m->answered = false;
	m->frozen = false;
	m->need_rescan |= lost;
	if (m->gains && !lost)
		gain(m);
	/* What has passed is not to be told before what was gained has, too. */
	if (m->gains)
		m->told_at = m->passed[m->from].at;
	m->gains = false;
}

void
switch_barrier(struct mover *m, const struct mail *mail)
{
	m->barrier = true;
	m->answered = false;
	m->barrier_epoch = mail->epoch;
	m->barrier_at = mail->position;
	m->need_probe |= m->scope != NULL;
}
