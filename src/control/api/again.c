/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/again.c: a thread that tries what could not go on.
 */
#define _DEFAULT_SOURCE
#include "control/api/again.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "control/api/api.h"
#include "control/api/migration.h"
#include "control/limit.h"
#include "world/os/loop.h"

struct item {
	struct item *next;
	char uuid[STORE_UUID];
	uint32_t attempts;
	uint64_t pause_ms;
	uint64_t at_ns;
	struct err why;
};

struct again {
	struct api *api;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct item *items;
	bool ends;
};

/* ---- the list; its lock is held ------------------------------------------- */

static struct item **
find(struct again *g, const char *uuid)
{
	struct item **at = &g->items;

	while (*at != NULL && strcmp((*at)->uuid, uuid) != 0)
		at = &(*at)->next;
	return at;
}

static void
take_out(struct again *g, const char *uuid)
{
	struct item **at = find(g, uuid);
	struct item *it = *at;

	if (it == NULL)
		return;
	*at = it->next;
	free(it);
}

static struct item *
earliest(struct again *g)
{
	struct item *ret = g->items;

	for (struct item *it = g->items; it != NULL; it = it->next) {
		if (it->at_ns < ret->at_ns)
			ret = it;
	}
	return ret;
}

/* After another failure. True: people should hear of it, for something has
 * changed. */
static bool
put_off(struct item *it, const struct err *why)
{
	bool news = it->pause_ms < LIMIT_RESUME_MAX_MS ||
	            strcmp(it->why.text, why->text) != 0;

	it->pause_ms =
		it->pause_ms == 0 ? LIMIT_RESUME_PAUSE_MS : 2 * it->pause_ms;
	if (it->pause_ms > LIMIT_RESUME_MAX_MS)
		it->pause_ms = LIMIT_RESUME_MAX_MS;
	it->at_ns = os_mono_ns() + it->pause_ms * NS_PER_MS;
	it->why = *why;
	return news;
}

/* ---- a try ------------------------------------------------------------------ */

static void
say(struct api *a, const char *uuid, const struct err *why, uint64_t pause_ms)
{
	char text[360];
	json_t *event;

	(void)snprintf(text, sizeof(text), "%s; tried again in %llu s",
	               why->text, (unsigned long long)(pause_ms / 1000));
	event = json_pack("{s:s,s:s,s:s}", "name", "not_started", "text", text,
	                  "migration", uuid);
	api_on_event(a, event);
	json_decref(event);
}

/* Does the host run it, with or without all of its resources? */
static bool
runs(struct api *a, const char *uuid)
{
	json_t *live = host_migration_status(a->host, uuid);

	json_decref(live);
	return live != NULL;
}

/* 0, too, when somebody has changed what it is: nobody's business here any more. */
static int
try(struct api *a, const char *uuid, struct err *err)
{
	json_t *row;
	int rc = 0;

	api_lock(a, uuid);
	row = entity_by_uuid(a->store, uuid, err);
	if (row == NULL)
		rc = err->code == ERR_MISSING ? 0 : -(int)err->code;
	else if (runs(a, uuid))
		rc = migration_try_rest(a, uuid, err);
	else if (migration_state(row) == LIFE_FAILED)
		rc = migration_try(a, row, err);
	json_decref(row);
	api_unlock(a, uuid);
	return rc;
}

static void
try_next(struct again *g, const struct item *next)
{
	struct err err = { .code = ERR_NONE };
	char uuid[STORE_UUID];
	uint64_t pause_ms = 0;
	bool news = false;
	struct item *it;
	int rc;

	memcpy(uuid, next->uuid, sizeof(uuid));
	(void)pthread_mutex_unlock(&g->lock);
	rc = try(g->api, uuid, &err);
	(void)pthread_mutex_lock(&g->lock);
	it = *find(g, uuid);
	if (it != NULL && rc != 0 && err_retry(err.code)) {
		it->attempts++;
		news = put_off(it, &err);
		pause_ms = it->pause_ms;
	} else {
		take_out(g, uuid);
	}
	(void)pthread_mutex_unlock(&g->lock);
	if (news)
		say(g->api, uuid, &err, pause_ms);
	(void)pthread_mutex_lock(&g->lock);
}

static void *
work(void *arg)
{
	struct again *g = arg;

	(void)pthread_mutex_lock(&g->lock);
	while (!g->ends) {
		struct item *it = earliest(g);

		if (it == NULL) {
			(void)pthread_cond_wait(&g->cond, &g->lock);
		} else if (it->at_ns > os_mono_ns()) {
			struct timespec t = {
				.tv_sec = (time_t)(it->at_ns / 1000000000u),
				.tv_nsec = (long)(it->at_ns % 1000000000u),
			};

			(void)pthread_cond_timedwait(&g->cond, &g->lock, &t);
		} else {
			try_next(g, it);
		}
	}
	(void)pthread_mutex_unlock(&g->lock);
	return NULL;
}

/* ---- life -------------------------------------------------------------------- */

struct again *
again_new(struct api *a, struct err *err)
{
	struct again *g = calloc(1, sizeof(*g));
	pthread_condattr_t attr;

	if (g == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	g->api = a;
	(void)pthread_mutex_init(&g->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&g->cond, &attr);
	(void)pthread_condattr_destroy(&attr);
	if (pthread_create(&g->thread, NULL, work, g) != 0) {
		(void)err_set(err, ERR_IO,
		              "no thread for migrations that go on later");
		free(g);
		return NULL;
	}
	return g;
}

void
again_stop(struct again *g)
{
	bool ended;

	(void)pthread_mutex_lock(&g->lock);
	ended = g->ends;
	g->ends = true;
	(void)pthread_cond_signal(&g->cond);
	(void)pthread_mutex_unlock(&g->lock);
	if (!ended)
		(void)pthread_join(g->thread, NULL);
}

void
again_free(struct again *g)
{
	if (g == NULL)
		return;
	again_stop(g);
	while (g->items != NULL)
		take_out(g, g->items->uuid);
	(void)pthread_cond_destroy(&g->cond);
	(void)pthread_mutex_destroy(&g->lock);
	free(g);
}

void
again_add(struct again *g, const char *uuid, const struct err *why)
{
	struct item *it = calloc(1, sizeof(*it));

	if (it == NULL)
		return; /* as before: somebody has to start it */
	(void)snprintf(it->uuid, sizeof(it->uuid), "%s", uuid);
	it->attempts = LIMIT_RESUME_TRIES;
	(void)put_off(it, why);
	(void)pthread_mutex_lock(&g->lock);
	take_out(g, uuid);
	it->next = g->items;
	g->items = it;
	(void)pthread_cond_signal(&g->cond);
	(void)pthread_mutex_unlock(&g->lock);
	say(g->api, uuid, why, LIMIT_RESUME_PAUSE_MS);
}

json_t *
again_show(struct again *g, const char *uuid)
{
	uint64_t now = os_mono_ns();
	const struct item *it;
	json_t *ret = NULL;

	(void)pthread_mutex_lock(&g->lock);
	it = *find(g, uuid);
	if (it != NULL)
		ret = json_pack(
			"{s:I,s:I,s:s}", "attempts", (json_int_t)it->attempts,
			"next_in_s",
			(json_int_t)(it->at_ns > now
		                             ? (it->at_ns - now + 999999999) /
		                                       1000000000
		                             : 0),
			"error", it->why.text);
	(void)pthread_mutex_unlock(&g->lock);
	return ret;
}
