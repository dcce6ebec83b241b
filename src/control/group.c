/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/group.c: the switch of several legs at once.
 *
 *   OPEN ─[the last offer; record written]→ COMMITTED
 *    │ └──[the end of the record is not known]→ UNSURE ─[looked up]→ COMMITTED
 *    └────[one turns back, time is over, no record]→ BROKEN
 */
#define _DEFAULT_SOURCE
#include "control/group.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "world/os/loop.h"

/* What a leg has told of its connections to one server. */
struct quiet {
	struct url url;
	uint32_t *process;
	uint32_t n;
};

struct group {
	pthread_mutex_t lock;
	uint32_t n;
	uint32_t come;
	enum group_state state;
	bool here[GROUP_MAX];
	bool inside[GROUP_MAX]; /* may fence                     */
	int inside_fd[GROUP_MAX];
	uint32_t inside_n; /* that are; of all that ever came   */
	uint32_t entered;
	struct group_offer offer[GROUP_MAX];
	struct quiet quiet[GROUP_MAX];
	struct err why;
};

struct group *
group_new(uint32_t n, struct err *err)
{
	struct group *g = calloc(1, sizeof(*g));

	REQUIRE(n > 0 && n <= GROUP_MAX);
	if (g == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	g->n = n;
	REQUIRE(pthread_mutex_init(&g->lock, NULL) == 0);
	return g;
}

void
group_free(struct group *g)
{
	if (g == NULL)
		return;
	for (uint32_t i = 0; i < g->n; i++) {
		json_decref(g->offer[i].body);
		free(g->quiet[i].process);
	}
	(void)pthread_mutex_destroy(&g->lock);
	free(g);
}

static void
wake(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		NEVER("an eventfd that is full");
}

static void
wake_all(const struct group *g)
{
	for (uint32_t i = 0; i < g->n; i++) {
		if (g->here[i])
			wake(g->offer[i].wake_fd);
		else if (g->inside[i])
			wake(g->inside_fd[i]);
	}
}

static void
to(struct group *g, enum group_state state)
{
	REQUIRE(g->state == GROUP_OPEN || g->state == GROUP_UNSURE);
	REQUIRE(g->state != GROUP_UNSURE || state != GROUP_BROKEN);
	g->state = state;
	if (state != GROUP_UNSURE)
		wake_all(g);
}

static void
commit(struct group *g, struct journal *j)
{
	struct journal_flip flips[GROUP_MAX];
	json_t *legs = json_array();
	int rc;

	for (uint32_t i = 0; i < g->n; i++) {
		flips[i] = g->offer[i].flip;
		(void)json_array_append(legs, g->offer[i].body);
	}
	rc = journal_move_all(j, JOURNAL_COMMIT, flips, g->n,
	                      g->state == GROUP_UNSURE,
	                      json_pack("{s:o}", "legs", legs), &g->why);
	if (rc == 0)
		to(g, GROUP_COMMITTED);
	else if (journal_is_unsure(j))
		to(g, GROUP_UNSURE);
	else if (g->state != GROUP_UNSURE)
		to(g, GROUP_BROKEN);
}

static uint64_t
until(const struct group *g)
{
	uint64_t ret = UINT64_MAX;

	for (uint32_t i = 0; i < g->n; i++) {
		if (g->offer[i].until_ns < ret)
			ret = g->offer[i].until_ns;
	}
	return ret;
}

static enum group_state
answer(struct group *g, struct err *err)
{
	enum group_state ret = g->state;

	if (ret == GROUP_BROKEN || ret == GROUP_UNSURE)
		*err = g->why;
	(void)pthread_mutex_unlock(&g->lock);
	return ret;
}

enum group_state
group_put(struct group *g, uint32_t who, const struct group_offer *o,
          struct journal *j, struct err *err)
{
	REQUIRE(who < g->n);
	(void)pthread_mutex_lock(&g->lock);
	if (g->state == GROUP_OPEN && !g->here[who]) {
		g->here[who] = true;
		g->offer[who] = *o;
		g->offer[who].body = json_deep_copy(o->body);
		g->come++;
	}
	if (g->state == GROUP_OPEN && g->come == g->n) {
		if (os_mono_ns() >= until(g)) {
			(void)err_set(&g->why, ERR_POSTPONED,
			              "too little of the hold was left when "
			              "all were ready to commit");
			to(g, GROUP_BROKEN);
		} else {
			commit(g, j);
		}
	} else if (g->state == GROUP_UNSURE) {
		commit(g, j);
	}
	return answer(g, err);
}

int
group_enter(struct group *g, uint32_t who, int wake_fd, struct err *err)
{
	int rc = 1;

	REQUIRE(who < g->n);
	(void)pthread_mutex_lock(&g->lock);
	if (g->state != GROUP_OPEN) {
		*err = g->why;
		rc = err_set(err, ERR_POSTPONED, "%.190s", g->why.text);
	} else if (!g->inside[who]) {
		g->inside[who] = true;
		g->inside_fd[who] = wake_fd;
		g->inside_n++;
		g->entered++;
		for (uint32_t i = 0; g->entered == g->n && i < g->n; i++)
			wake(g->inside_fd[i]);
	}
	if (rc == 1 && g->entered == g->n)
		rc = 0;
	(void)pthread_mutex_unlock(&g->lock);
	return rc;
}

bool
group_leave(struct group *g, uint32_t who)
{
	bool ret;

	REQUIRE(who < g->n);
	(void)pthread_mutex_lock(&g->lock);
	REQUIRE(g->state == GROUP_BROKEN);
	if (g->inside[who]) {
		g->inside[who] = false;
		g->inside_n--;
	}
	ret = g->inside_n == 0;
	(void)pthread_mutex_unlock(&g->lock);
	return ret;
}

int
group_let_be(struct group *g, uint32_t who, const struct url *u,
             const uint32_t *process, uint32_t n, struct err *err)
{
	struct quiet *q = &g->quiet[who];
	uint32_t *more;

	REQUIRE(who < g->n);
	if (n == 0)
		return 0;
	(void)pthread_mutex_lock(&g->lock);
	REQUIRE(q->n == 0 || url_same_server(&q->url, u));
	more = realloc(q->process, ((size_t)q->n + n) * sizeof(*more));
	if (more != NULL) {
		memcpy(more + q->n, process, n * sizeof(*more));
		q->process = more;
		q->n += n;
		q->url = *u;
	}
	(void)pthread_mutex_unlock(&g->lock);
	return more != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

char *
group_left(struct group *g, const struct url *u)
{
	size_t n = 1;
	size_t used = 0;
	char *ret;

	(void)pthread_mutex_lock(&g->lock);
	for (uint32_t i = 0; i < g->n; i++)
		n += (size_t)g->quiet[i].n * sizeof("4294967295,");
	ret = malloc(n);
	if (ret != NULL)
		ret[0] = '\0';
	for (uint32_t i = 0; ret != NULL && i < g->n; i++) {
		const struct quiet *q = &g->quiet[i];

		for (uint32_t k = 0; q->n > 0 && k < q->n; k++) {
			if (!url_same_server(&q->url, u))
				break;
			used += (size_t)snprintf(ret + used, n - used, "%u,",
			                         q->process[k]);
		}
	}
	(void)pthread_mutex_unlock(&g->lock);
	return ret;
}

enum group_state
group_look(struct group *g, struct err *err)
{
	(void)pthread_mutex_lock(&g->lock);
	return answer(g, err);
}

enum group_state
group_break(struct group *g, const char *why)
{
	struct err ignored;

	(void)pthread_mutex_lock(&g->lock);
	if (g->state == GROUP_OPEN) {
		(void)err_set(&g->why, ERR_POSTPONED,
		              "another resource turned back: %.180s", why);
		to(g, GROUP_BROKEN);
	}
	return answer(g, &ignored);
}
