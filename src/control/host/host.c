/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/host.c: the data plane of a daemon as a whole.
 *
 * The keeper does what legs wish that concerns their whole migration: first steps
 * of the strategy, verdicts of the analysis, failures.
 */
#define _DEFAULT_SOURCE
#include "control/host/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "control/host/inside.h"

void
host_tell(struct host *h, const char *key, const char *uuid,
          const json_t *event)
{
	json_t *j;

	if (h->conf.on_event == NULL)
		return;
	j = json_deep_copy(event);
	if (uuid != NULL)
		(void)json_object_set_new(j, key, json_string(uuid));
	h->conf.on_event(h->conf.arg, j);
	json_decref(j);
}

void
host_say(struct host *h, const struct migration *m, const char *name,
         const char *text)
{
	json_t *j = json_pack("{s:I,s:s,s:s}", "at", (json_int_t)os_wall_ms(),
	                      "name", name, "text", text);

	host_tell(h, "migration", m != NULL ? m->uuid : NULL, j);
	json_decref(j);
}

/* ---- the keeper ---------------------------------------------------------- */

void
host_chore(struct host *h, const struct leg *l, const char *verb,
           const char *why, uint32_t after_ms)
{
	struct chore *c = calloc(1, sizeof(*c));
	struct chore **at = &h->chores;

	if (c == NULL)
		return; /* it will be wished again */
	(void)snprintf(c->uuid, sizeof(c->uuid), "%s", l->m->uuid);
	(void)snprintf(c->verb, sizeof(c->verb), "%s", verb);
	(void)snprintf(c->leg, sizeof(c->leg), "%s", l->name);
	(void)snprintf(c->why, sizeof(c->why), "%s", why);
	c->at_ns = os_mono_ns() + after_ms * NS_PER_MS;
	host_lock(h);
	while (*at != NULL)
		at = &(*at)->next;
	*at = c;
	(void)pthread_cond_broadcast(&h->cond);
	host_unlock(h);
}

/* The first one that is due; the lock is held. */
static struct chore *
due(struct host *h)
{
	uint64_t now = os_mono_ns();

	for (struct chore **at = &h->chores; *at != NULL; at = &(*at)->next) {
		struct chore *c = *at;

		if (c->at_ns <= now) {
			*at = c->next;
			return c;
		}
	}
	return NULL;
}

static void *
keep(void *arg)
{
	struct host *h = arg;

	host_lock(h);
	while (!h->ends) {
		struct chore *c = due(h);
		struct timespec until;

		if (c != NULL) {
			host_unlock(h);
			migration_chore(h, c);
			free(c);
			host_lock(h);
			continue;
		}
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 1;
		(void)pthread_cond_timedwait(&h->cond, &h->lock, &until);
	}
	host_unlock(h);
	return NULL;
}

/* ---- begin and end ------------------------------------------------------- */

struct host *
host_new(const struct host_conf *c, struct err *err)
{
	struct host *h = calloc(1, sizeof(*h));

	if (h == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	h->conf = *c;
	h->socket_dir = -1;
	if (snprintf(h->state, sizeof(h->state), "%s", c->state) >=
	    (int)sizeof(h->state)) {
		(void)err_set(err, ERR_USAGE,
		              "the path of the state is too long");
		free(h);
		return NULL;
	}
	h->conf.state = h->state;
	REQUIRE(pthread_mutex_init(&h->lock, NULL) == 0);
	REQUIRE(pthread_cond_init(&h->cond, NULL) == 0);
	if (pthread_create(&h->keeper, NULL, keep, h) != 0) {
		(void)err_set(err, ERR_NOMEM, "no thread for the keeper");
		host_free(h);
		return NULL;
	}
	h->has_keeper = true;
	h->seats = seats_new(h, err);
	if (h->seats == NULL) {
		host_free(h);
		return NULL;
	}
	return h;
}

void
host_free(struct host *h)
{
	if (h == NULL)
		return;
	host_lock(h);
	h->ends = true;
	(void)pthread_cond_broadcast(&h->cond);
	host_unlock(h);
	seats_free(h->seats);
	line_stop_fronts(h);
	/* What the keeper is at ends sooner when the legs end. */
	migration_stop_all(h);
	if (h->has_keeper)
		(void)pthread_join(h->keeper, NULL);
	line_free_all(h);
	if (h->socket_dir >= 0)
		(void)close(h->socket_dir);
	migration_free_all(h);
	while (h->chores != NULL) {
		struct chore *c = h->chores;

		h->chores = c->next;
		free(c);
	}
	(void)pthread_cond_destroy(&h->cond);
	(void)pthread_mutex_destroy(&h->lock);
	free(h);
}
