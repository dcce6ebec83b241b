/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/moved.c: slots that move from node to node of a cluster.
 *
 * A key that goes to another node is a deletion in this one's stream, like one by a
 * client. So deletions are not applied: the key is read (COPY), and where the node
 * says ASK or MOVED its slot is away. Keys of such slots are not carried any more; the
 * other side keeps what it has. When the nodes have settled the control half says
 * whose the slots are (MAIL_SLOTS). Who got some attaches again, compares every key of
 * theirs, and goes on.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

static bool
has(const uint8_t bits[HASH_SLOTS / 8], uint32_t slot)
{
	return (bits[slot / 8] >> slot % 8 & 1) != 0;
}

static bool
any(const uint8_t bits[HASH_SLOTS / 8])
{
	for (uint32_t i = 0; i < HASH_SLOTS / 8; i++) {
		if (bits[i] != 0)
			return true;
	}
	return false;
}

static void
take_tag(struct mover *m, const char *tag)
{
	_Static_assert(sizeof(((struct mover_slots *)NULL)->own_tag) ==
	                       sizeof(m->moved.own_tag),
	               "as long");
	memcpy(m->moved.own_tag, tag, sizeof(m->moved.own_tag));
	(void)whose_own(m,
	                m->conf->scope_side == SIDE_NEW ? "mark-back" : "mark",
	                m->marker_name);
}

void
moved_init(struct mover *m)
{
	take_tag(m, m->conf->side[0].own_tag);
	m->moved.own = m->conf->slots;
	m->moved.epoch = m->conf->slots_epoch;
	if (m->conf->gained == NULL)
		return;
	memcpy(m->moved.gained, m->conf->gained, sizeof(m->moved.gained));
	m->moved.has_gained = any(m->moved.gained);
}

static void
tell(struct mover *m)
{
	atomic_store(&m->conf->board->slots_away, m->moved.away_n);
}

void
moved_mail(struct mover *m, const struct mail *mail)
{
	struct moved *d = &m->moved;
	const struct mover_slots *now = mail->pair;

	d->own = now->own;
	take_tag(m, now->own_tag);
	memset(d->away, 0, sizeof(d->away));
	d->away_n = 0;
	for (uint32_t i = 0; i < sizeof(d->gained); i++) {
		d->gained[i] |= now->gained[i];
		d->gained[i] &= now->own[i];
	}
	d->has_gained = any(d->gained);
	d->epoch = mail->epoch;
	tell(m);
	if (m->stage == STAGE_IDLE || m->stage == STAGE_BROKEN)
		return;
	/* What was read until now was judged by other slots. */
	m->failed = true;
	m->retry_ns = m->port->now_ns;
}

static void
set_away(struct mover *m, uint32_t slot)
{
	struct nodes *n = m->conf->side[m->from].nodes;

	if (has(m->moved.away, slot))
		return;
	/* From now on nobody reads it there. */
	if (n != NULL)
		nodes_set_away(n, slot);
	m->moved.away[slot / 8] |= (uint8_t)(1u << slot % 8);
	m->moved.away_n++;
	tell(m);
}

bool
moved_says(struct mover *m, struct span error)
{
	uint64_t slot;
	size_t n = 0;

	if (span_has_prefix(error, SPAN("MOVED ")))
		error = span_skip(error, 6);
	else if (span_has_prefix(error, SPAN("ASK ")))
		error = span_skip(error, 4);
	else
		return false;
	while (n < error.n && error.p[n] != ' ')
		n++;
	if (m->moved.own == NULL || n == error.n ||
	    !words_number(span_of(error.p, n), &slot) || slot >= HASH_SLOTS)
		return false;
	set_away(m, (uint32_t)slot);
	return true;
}

bool
moved_is_away(const struct mover *m, struct span key)
{
	return m->moved.away_n > 0 && has(m->moved.away, hash_slot(key));
}

bool
moved_is_gained(const struct mover *m, struct span key)
{
	return has(m->moved.gained, hash_slot(key));
}

bool
moved_may_delete(const struct mover *m)
{
	return m->moved.own != NULL && m->conf->side[m->from].at.by_cluster;
}

bool
moved_fills(const struct mover *m)
{
	return m->moved.has_gained && m->fill_done && !m->need_rescan &&
	       !m->rebuild;
}

bool
moved_is_paused(const struct mover *m)
{
	return m->paused && !moved_fills(m);
}

void
moved_filled(struct mover *m)
{
	memset(m->moved.gained, 0, sizeof(m->moved.gained));
	m->moved.has_gained = false;
}

void
moved_settle(struct mover *m)
{
	if (m->moved.epoch != 0 && !m->moved.has_gained)
		atomic_store(&m->conf->board->slots_epoch, m->moved.epoch);
}
