/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/desk.c: questions of other threads to a leg.
 */
#define _DEFAULT_SOURCE
#include "control/desk.h"

#include <unistd.h>

#include "base/check.h"

void
desk_init(struct desk *d, int wake_fd)
{
	*d = (struct desk){ .wake_fd = wake_fd };
	REQUIRE(pthread_mutex_init(&d->lock, NULL) == 0);
	REQUIRE(pthread_cond_init(&d->cond, NULL) == 0);
}

void
desk_fini(struct desk *d)
{
	REQUIRE(d->waiting == NULL && d->taken == NULL);
	(void)pthread_cond_destroy(&d->cond);
	(void)pthread_mutex_destroy(&d->lock);
}

static json_t *
failure(const struct err *err)
{
	return json_pack("{s:b,s:s,s:s,s:i,s:o}", "ok", 0, "error",
	                 err_name(err->code), "message", err->text, "exit",
	                 err_exit(err->code), "data", json_object());
}

void
desk_close(struct desk *d, const struct err *why)
{
	struct question *q;

	(void)pthread_mutex_lock(&d->lock);
	d->closed = true;
	for (q = d->waiting; q != NULL; q = q->next)
		q->answer = failure(why);
	for (q = d->taken; q != NULL; q = q->next)
		q->answer = failure(why);
	d->waiting = NULL;
	d->taken = NULL;
	(void)pthread_cond_broadcast(&d->cond);
	(void)pthread_mutex_unlock(&d->lock);
}

void
desk_open(struct desk *d)
{
	(void)pthread_mutex_lock(&d->lock);
	d->closed = false;
	(void)pthread_mutex_unlock(&d->lock);
}

void
desk_put(struct desk *d, struct question *q)
{
	static const struct err over = { .code = ERR_STATE,
		                         .text = "it has ended" };
	uint64_t one = 1;

	q->answer = NULL;
	(void)pthread_mutex_lock(&d->lock);
	if (d->closed) {
		q->answer = failure(&over);
	} else {
		q->id = DESK_ID | ++d->last;
		q->next = d->waiting;
		d->waiting = q;
		/* The eventfd's counter cannot be full. */
		if (write(d->wake_fd, &one, sizeof(one)) < 0)
			NEVER("an eventfd that is full");
	}
	(void)pthread_mutex_unlock(&d->lock);
}

void
desk_wait(struct desk *d, struct question *q)
{
	(void)pthread_mutex_lock(&d->lock);
	while (q->answer == NULL)
		(void)pthread_cond_wait(&d->cond, &d->lock);
	(void)pthread_mutex_unlock(&d->lock);
}

struct question *
desk_take(struct desk *d)
{
	struct question **at = &d->waiting;
	struct question *q;

	(void)pthread_mutex_lock(&d->lock);
	while (*at != NULL && (*at)->next != NULL)
		at = &(*at)->next;
	q = *at;
	if (q != NULL) {
		*at = NULL;
		q->next = d->taken;
		d->taken = q;
	}
	(void)pthread_mutex_unlock(&d->lock);
	return q;
}

struct question *
desk_find(struct desk *d, uint64_t id)
{
	struct question *q;

	(void)pthread_mutex_lock(&d->lock);
	q = d->taken;
	while (q != NULL && q->id != id)
		q = q->next;
	(void)pthread_mutex_unlock(&d->lock);
	return q;
}

void
desk_answer(struct desk *d, uint64_t id, json_t *answer)
{
	struct question **at = &d->taken;

	(void)pthread_mutex_lock(&d->lock);
	while (*at != NULL && (*at)->id != id)
		at = &(*at)->next;
	if (*at != NULL) {
		struct question *q = *at;

		*at = q->next;
		q->answer = answer != NULL ? answer : json_object();
		answer = NULL;
		(void)pthread_cond_broadcast(&d->cond);
	}
	(void)pthread_mutex_unlock(&d->lock);
	json_decref(answer);
}
