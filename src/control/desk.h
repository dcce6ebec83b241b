/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/desk.h: where other threads of the process put their questions to a
 * leg and wait for the answers: the same verbs and JSON as the control socket.
 *
 * Owns:   nothing; a question belongs to the thread that waits for it.
 * Thread: desk_put and desk_wait any, the rest the leg's.
 */
#pragma once

#include <jansson.h>
#include <pthread.h>

#include "base/err.h"

/* Ids of those who ask here; the control socket's are small. */
#define DESK_ID ((uint64_t)1 << 63)

struct group;
struct strategy;
struct spec;

struct question {
	const char *verb;
	json_t *args;        /* an object, kept by the asker           */
	struct group *group; /* of a switch of several legs, or NULL   */
	uint32_t member;     /* number in it                           */
	const struct strategy *strategy; /* of a patch, or NULL        */
	const struct spec *spec;         /* the same, whole            */
	json_t *answer; /* {"ok",...} as on the socket; the asker's */
	uint64_t id;
	struct question *next;
};

struct desk {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct question *waiting; /* newest first; not looked at yet */
	struct question *taken;
	uint64_t last;
	int wake_fd; /* written to when there is a question */
	bool closed;
};

void desk_init(struct desk *d, int wake_fd);
/* Every question is answered with `why` from now on. */
void desk_close(struct desk *d, const struct err *why);
/* Questions are taken again. */
void desk_open(struct desk *d);
void desk_fini(struct desk *d);

void desk_put(struct desk *d, struct question *q);
/* Until it is answered. */
void desk_wait(struct desk *d, struct question *q);

/* The oldest that was not taken yet, or NULL. */
struct question *desk_take(struct desk *d);
struct question *desk_find(struct desk *d, uint64_t id);
/* The end of a taken one; answer is stolen. An id that is not here: dropped. */
void desk_answer(struct desk *d, uint64_t id, json_t *answer);
