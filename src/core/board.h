/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/board.h: what threads tell each other without a message.
 *
 * One board a migration. Each field has one writer (named below); anybody may
 * read. All numbers only grow within a `history`, except gauges.
 *
 * The causal-read protocol (P3). Positions are offsets of the authority's
 * stream. passed[s]: everything the side s did up to there is on the other
 * side, nothing at or before it is pending there, and the other side's own feed
 * was read after that. `unsettled` is odd while the other side may hold values
 * that are AHEAD of passed (a copied key) or are being repaired; the mover makes
 * it odd BEFORE it sends such a write, and even again when passed has caught up.
 * A relay may send a read to the other side when unsettled is even and
 * passed >= all the session has seen; when the reply arrives it looks again: if
 * unsettled or history changed meanwhile the reply is thrown away and the read
 * is sent to the authority instead.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/side.h"

struct marks;

struct board {
	/* Mode M: a side without a stream for replicas (by control, before anybody
	 * else looks). Its positions are numbers drawn from `marks` by whoever
	 * needs one (board_mark); one number is one moment, for both sides. */
	bool by_marks[SIDE_N];
	_Atomic uint64_t marks;
	/* Users that are changed on the side with authority are changed on the
	 * other one by control (before anybody else looks). */
	bool carries_users;
	struct marks *rings; /* of each relay, by its `who`; core/marks.h   */
	uint32_t ring_n;

	/* written by the mover */
	_Atomic uint64_t passed[SIDE_N];
	_Atomic uint64_t unsettled; /* starts at 1 (odd: not readable)      */
	_Atomic uint64_t history;   /* +1 when a feed's replid changed      */

	/* gauges written by the mover, for the status */
	_Atomic uint64_t told_ns;    /* when it wrote them (loop's clock) */
	_Atomic uint32_t move_phase; /* enum move_phase                */
	_Atomic uint32_t copy_way;   /* 0: none yet, 1: rdb, 2: scan    */
	_Atomic uint64_t copied_records;
	_Atomic uint64_t copied_bytes;
	_Atomic uint64_t total_records; /* 0: not known                   */
	_Atomic uint64_t copy_started_ns;
	_Atomic uint64_t copy_ended_ns;
	_Atomic uint64_t stream_position; /* last position seen on the feed */
	_Atomic uint64_t stream_units;    /* units applied                  */
	_Atomic uint64_t lag_records;
	_Atomic uint64_t lag_bytes;
	_Atomic uint64_t lag_ms;
	_Atomic uint64_t spool_bytes;       /* of the stream, on our disk     */
	_Atomic uint64_t pending_records;   /* dirty keys                     */
	_Atomic uint64_t repaired;          /* other side's own deletions     */
	_Atomic uint64_t conflicts;         /* records kept or merged         */
	_Atomic uint64_t mover_mem;         /* bytes now                      */
	_Atomic uint64_t reverse_proven_ns; /* last heartbeat that came back */
	_Atomic uint64_t suspects; /* 1: what is dirty is not known (Mode M)  */
	_Atomic uint32_t slots_away;  /* known to be on another node, for now */
	_Atomic uint64_t slots_epoch; /* of the last MAIL_SLOTS: all is there */
};

/* By the mover alone. */
static inline void
board_copied(struct board *b, uint64_t records, uint64_t bytes)
{
	atomic_store_explicit(
		&b->copied_bytes,
		atomic_load_explicit(&b->copied_bytes, memory_order_relaxed) +
			bytes,
		memory_order_relaxed);
	atomic_store_explicit(
		&b->copied_records,
		atomic_load_explicit(&b->copied_records, memory_order_relaxed) +
			records,
		memory_order_relaxed);
}

/* A position of Mode M: behind all that anybody has seen until now. */
static inline uint64_t
board_mark(struct board *b)
{
	return atomic_fetch_add(&b->marks, 1) + 1;
}
