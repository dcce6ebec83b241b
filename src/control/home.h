/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/home.h: a leg of a daemon: a run on a thread of its own, whose interlays
 * were there before it and are there after it.
 *
 * As in `godwit migrate`, with these differences: verbs come over a desk; the
 * journal is one leg of a file with many; interlays are attached at the start,
 * and when the leg is completed or rolled back they are left with the side that
 * has authority, what Godwit put into the servers is removed, and the run is over.
 *
 * Thread: run_new to run_free by one thread (the leg's); callbacks are called by
 * it.
 */
#pragma once

#include "control/desk.h"
#include "control/interlay.h"
#include "control/run.h"

struct run;
struct cluster_slots; /* engine/redis/admin/cluster.h */

/* A leg of several that share servers: each moves the keys of some slots from one
 * server to one other (control/layout.c). */
struct run_part {
	const struct cluster_slots *slots; /* that this leg moves            */
	const struct cluster_slots *cover; /* those of all legs with its old */
	const char *kin;                   /* of the names of all of them    */
	uint32_t index;                    /* of this one                    */
	bool first[2]; /* no earlier leg has this old, this new (enum side) */
	/* The names of the interlays of all legs, as they are now: one that was
	 * closed comes back under another one. */
	uint32_t (*lines)(void *arg, char (*ret)[INTERLAY_ID], uint32_t max);
	void *arg;
	/* Not 0: a switch of all is under way, or about to begin. */
	const _Atomic uint32_t *switching;
	/* A slot that no leg carries, since it has moved; HASH_SLOTS: none. */
	const _Atomic uint32_t *left;
};

struct run_home {
	const char *leg; /* its name in the journal */
	struct desk *desk;
	int wake_fd; /* eventfd; the desk's, too */
	struct interlay *const *interlays;
	uint32_t interlay_n;
	uint32_t leg_n;              /* of its migration */
	const struct run_part *part; /* NULL: it shares no server */
	bool resume;  /* after a restart: a leg that is over stays over, and
	              * what is left of it in the servers is removed       */
	bool release; /* conf->old_url is fenced by this leg, which was
	               * completed: open it, remove the last of Godwit; nothing
	               * else is done, and run_released() follows           */
	/* {"at","name","text"}, borrowed */
	void (*on_event)(void *arg, const json_t *event);
	/* The state has changed and is in the journal; status is borrowed. */
	void (*on_state)(void *arg, const char *state, const json_t *status);
	/* It carries these slots from now on, or from its beginning on. */
	void (*on_slots)(void *arg, const struct cluster_slots *slots);
	/* The leg wants something that concerns the whole migration:
	 * "promote", "rollback" (its analysis), "proven" (its soak passed), "fail",
	 * "in_step". */
	void (*on_wish)(void *arg, const char *what, const char *why);
	void *arg;
};

/* Nothing is touched yet. home NULL: a process of its own. conf and home are kept
 * alive by the caller. */
struct run *run_new(const struct run_conf *c, const struct run_home *home,
                    struct err *err);
/* Begin, or go on where the journal ends. On an error nothing has changed, as far
 * as the servers could be reached. */
int run_begin(struct run *r, struct err *err) MUST;
/* After a release: did the start that it was made for begin? Then it is noted, else
 * the server is shut again. */
int run_released(struct run *r, bool begun, struct err *err) MUST;
/* Was every application shut out until the release? */
bool run_was_shut(const struct run *r);
/* Until it is over. */
void run_work(struct run *r);
/* As it is now; after run_work: as it was at its end. New reference. */
json_t *run_status(struct run *r);
/* Are its interlays left to themselves? Else they must be freed before it. */
bool run_has_left(const struct run *r);
void run_free(struct run *r); /* NULL is fine */
