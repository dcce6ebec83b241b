/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/object.h: large objects, which no stream carries.
 *
 *   object.c        when: rounds of a thread of its own, and the last one of a switch
 *   object_round.c  one round: what differs is copied
 *
 * Rounds compare what both sides have and copy what differs, from the authority to
 * the other side, while the migration is in step; the last one stands between barrier
 * and commit of a switch, when nobody can write. docs/decisions/0046-large-objects.md.
 *
 * Limits: what a look at all of them takes is part of the pause, a quarter of the
 *         longest hold at most; memory about 200 bytes for each object.
 * Thread: the control thread calls; a round has connections of its own, and is either
 *         its thread's or the control thread's.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "control/postgres/side.h"

/* A round. */
struct object_round {
	struct backend *from; /* of the authority                       */
	struct backend *to;   /* which is shut                          */
	const char *schema;   /* Godwit's, on both                      */
	uint64_t until_ns;    /* it ends then, by ERR_POSTPONED         */
	_Atomic bool stop;    /* or by ERR_ABORTED                      */
	/* What it saw and did. */
	uint64_t look_ns; /* of both sides */
	uint64_t objects;
	uint64_t made; /* also those that went */
};

int object_round(struct object_round *o, struct err *err) MUST;
/* What both sides have for it; @ is the schema. */
extern const char object_functions[];

/* From time to time, while nobody is held: begins a round, or takes its end. */
void pg_object_tend(struct run *r);
/* Can the last round be made inside a hold? ERR_POSTPONED says why not. */
int pg_object_ready(struct run *r, struct err *err) MUST;
/* The last round. ERR_POSTPONED: it would take too long. */
int pg_object_carry(struct run *r, enum side from, struct err *err) MUST;
/* Nothing of it runs any more. */
void pg_object_end(struct run *r);
