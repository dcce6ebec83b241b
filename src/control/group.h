/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/group.h: the switch of several legs at once.
 *
 * Every leg comes here when all is ready for its commit, inside its hold. When
 * the last has come, the flips of all are written as one record; when one turns
 * back, or time is over, nobody's is.
 *
 * Owns:   the offers.
 * Thread: any; a commit is made by the thread of the leg that came last, the
 *         others are woken.
 */
#pragma once

#include <stdbool.h>

#include "control/journal.h"
#include "control/url.h"

#define GROUP_MAX 32

struct group;

enum group_state {
	GROUP_OPEN,      /* waits for more                                 */
	GROUP_COMMITTED, /* the record is on disk                          */
	GROUP_BROKEN,    /* it never will be                               */
	GROUP_UNSURE,    /* it may be: offer again until it is known       */
};

struct group *group_new(uint32_t n, struct err *err);
void group_free(struct group *g);

struct group_offer {
	struct journal_flip flip;
	json_t *body;      /* borrowed: what the record says of this leg */
	uint64_t until_ns; /* the commit may begin before that           */
	int wake_fd;       /* eventfd, written to at the end             */
};

/* Offer leg `who` (index); j: the leg's handle. The state afterwards; err is set
 * unless it is GROUP_OPEN or GROUP_COMMITTED. */
enum group_state group_put(struct group *g, uint32_t who,
                           const struct group_offer *o, struct journal *j,
                           struct err *err);
enum group_state group_look(struct group *g, struct err *err);
/* Legs that share servers: what one shuts is shut for all. So nobody fences before
 * the clients of all are held, and nobody opens again while another one may still
 * fence. In: 0 when all are (wake_fd is written to then), 1: not yet, negative: it
 * is broken. Out: this leg fences no more; true: nobody does. */
int group_enter(struct group *g, uint32_t who, int wake_fd, struct err *err);
bool group_leave(struct group *g, uint32_t who);

/* Connections of leg `who` to the server u that nothing is on its way to, told before it
 * enters: whoever shuts that server lets them be. Copied; may be told piece by piece. */
int group_let_be(struct group *g, uint32_t who, const struct url *u,
                 const uint32_t *process, uint32_t n, struct err *err) MUST;
/* All of them there, as "1,2,"; malloc. NULL: no memory. */
char *group_left(struct group *g, const struct url *u);

/* A leg turns back. GROUP_BROKEN, unless the commit was made or is unsure. */
enum group_state group_break(struct group *g, const char *why);
