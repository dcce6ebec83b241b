/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/leg.c: a leg: one pair of servers, one struct run, one thread.
 *
 *   NEW ─[leg_begin]→ BEGINS ─→ RUNS ─[completed, rolled back, stop]→ OVER
 *                       └─────→ REFUSED ─[leg_again]→ NEW
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "control/host/inside.h"
#include "control/journal.h"

static void
to(struct leg *l, enum leg_phase phase)
{
	static const bool may[][LEG_REFUSED + 1] = {
		[LEG_NEW] = { [LEG_BEGINS] = true },
		[LEG_BEGINS] = { [LEG_RUNS] = true, [LEG_REFUSED] = true },
		[LEG_RUNS] = { [LEG_OVER] = true },
		[LEG_OVER] = { false },
		[LEG_REFUSED] = { [LEG_NEW] = true },
	};

	REQUIRE(may[l->phase][phase]);
	l->phase = phase;
	(void)pthread_cond_broadcast(&l->host->cond);
}

bool
leg_is_on(const struct leg *l)
{
	return l->phase == LEG_BEGINS || l->phase == LEG_RUNS;
}

static void
keep_status(struct leg *l, json_t *status)
{
	json_decref(l->status);
	l->status = status;
}

/* "new has authority": the servers behind its instances are others. */
static void
look_at_switch(struct leg *l, const json_t *event)
{
	const char *name = json_string_value(json_object_get(event, "name"));
	const char *text = json_string_value(json_object_get(event, "text"));

	if (name == NULL || text == NULL || strcmp(name, "switched") != 0)
		return;
	host_lock(l->host);
	l->is_new = strncmp(text, "new", 3) == 0;
	part_speakers(l->host);
	host_unlock(l->host);
}

static void
on_event(void *arg, const json_t *event)
{
	struct leg *l = arg;
	json_t *j = json_deep_copy(event);
	json_t *names = json_array();

	for (uint32_t i = 0; i < l->line_n; i++)
		(void)json_array_append_new(names, json_string(l->line[i]->id));
	look_at_switch(l, event);
	(void)json_object_set_new(j, "resources", names);
	(void)json_object_set_new(j, "leg", json_string(l->name));
	host_tell(l->host, "migration", l->m->uuid, j);
	json_decref(j);
}

static void
on_state(void *arg, const char *state, const json_t *status)
{
	struct leg *l = arg;

	host_lock(l->host);
	(void)snprintf(l->state, sizeof(l->state), "%s", state);
	keep_status(l, json_deep_copy(status));
	host_unlock(l->host);
	migration_tell(l->m);
}

static void
on_slots(void *arg, const struct cluster_slots *slots)
{
	struct leg *l = arg;

	host_lock(l->host);
	part_moved(l, slots);
	host_unlock(l->host);
}

static void
on_wish(void *arg, const char *what, const char *why)
{
	struct leg *l = arg;

	host_chore(l->host, l, what, why, 0);
}

struct leg *
leg_new(struct migration *m, uint32_t index, struct err *err)
{
	struct leg *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	l->host = m->host;
	l->m = m;
	(void)snprintf(l->name, sizeof(l->name), "%s/%u", m->uuid, index);
	(void)snprintf(l->state, sizeof(l->state), "ready");
	run_conf_init(&l->conf);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0) {
		(void)err_set(err, ERR_IO, "eventfd: %s", os_cause(errno));
		free(l);
		return NULL;
	}
	desk_init(&l->desk, l->wake_fd);
	l->home = (struct run_home){ .leg = l->name,
		                     .desk = &l->desk,
		                     .wake_fd = l->wake_fd,
		                     .on_event = on_event,
		                     .on_state = on_state,
		                     .on_slots = on_slots,
		                     .on_wish = on_wish,
		                     .arg = l };
	return l;
}

void
leg_free(struct leg *l)
{
	if (l == NULL)
		return;
	REQUIRE(!l->has_thread);
	run_free(l->run);
	desk_fini(&l->desk);
	(void)close(l->wake_fd);
	json_decref(l->status);
	json_decref(l->proof);
	spec_free(l->spec);
	free(l);
}

/* Its interlays are the host's again; they serve the side with authority. The private
 * one is nobody's any more: behind the lock, because its requests end first. */
static struct line *
give_back(struct leg *l)
{
	struct line *own = NULL;

	const char *rules =
		json_string_value(json_object_get(l->status, "authority"));
	bool is_new = rules != NULL && strcmp(rules, "new") == 0;

	for (uint32_t i = 0; i < l->line_n; i++) {
		struct line *n = l->line[i];

		if (l->phase == LEG_OVER)
			(void)snprintf(n->url, sizeof(n->url), "%s",
			               is_new ? l->conf.new_url
			                      : l->conf.old_url);
		n->used_by[0] = '\0';
		n->held = false;
		if (n->is_private) {
			line_unlink(l->host, n);
			own = n; /* a leg has one at most */
		}
	}
	l->line_n = 0;
	part_speakers(l->host);
	return own;
}

static void
begun(struct leg *l, struct run *r, int rc, const struct err *err)
{
	json_t *status = rc == 0 ? run_status(r) : NULL;
	const char *state =
		json_string_value(json_object_get(status, "status"));
	const char *rules;

	host_lock(l->host);
	l->err = rc != 0 ? *err : (struct err){ .code = ERR_NONE };
	if (status != NULL)
		keep_status(l, status);
	rules = json_string_value(json_object_get(status, "authority"));
	l->is_new = rules != NULL && strcmp(rules, "new") == 0;
	part_speakers(l->host);
	if (state != NULL)
		(void)snprintf(l->state, sizeof(l->state), "%s", state);
	to(l, rc == 0 ? LEG_RUNS : LEG_REFUSED);
	host_unlock(l->host);
}

static void
ended(struct leg *l, struct run *r)
{
	static const struct err over = { .code = ERR_STATE,
		                         .text = "it is over" };
	json_t *status = run_status(r);
	struct line *own = NULL;

	desk_close(&l->desk, &over);
	host_lock(l->host);
	keep_status(l, status);
	to(l, LEG_OVER);
	if (run_has_left(r))
		own = give_back(l);
	else
		l->run = r;
	host_unlock(l->host);
	if (own != NULL)
		line_end(own);
	if (l->run == NULL)
		run_free(r);
}

/* A leg that has left the new side behind, shut. */
struct left {
	char *by;
	struct run_conf conf;
	struct run_home home;
	struct run *run;
};

/* Did this leg leave that server behind, and nobody has opened it since? */
static bool
has_left(struct leg *l, const char *by, const char *label)
{
	struct err err;
	struct journal *j = journal_peek_leg(l->host->state, by, &err);
	char *old = j != NULL ? journal_meta(j, "old") : NULL;
	char *tidied = j != NULL ? journal_meta(j, "tidied") : NULL;
	char *released = j != NULL ? journal_meta(j, "released") : NULL;
	bool ret = old != NULL && strcmp(old, label) == 0 && tidied != NULL &&
	           strcmp(tidied, "1") == 0 && released == NULL &&
	           journal_authority(j).state == AUTHORITY_NEW;

	journal_close(j);
	free(old);
	free(tidied);
	free(released);
	return ret;
}

static char *
find_first(struct leg *l, const char *label)
{
	struct err err;
	struct journal *j = journal_open_leg(l->host->state, l->name, &err);
	char *by = j != NULL ? journal_fenced_by(j, label, false) : NULL;

	journal_close(j);
	return by;
}

/* Is that in its journal? */
static bool
has_noted(struct leg *l, const char *key)
{
	struct err err;
	struct journal *j = journal_peek_leg(l->host->state, l->name, &err);
	char *value = j != NULL ? journal_meta(j, key) : NULL;
	bool ret = value != NULL;

	journal_close(j);
	free(value);
	return ret;
}

/* It has made room there already (PostgreSQL): nothing of theirs is left, and its own
 * fence is what shuts it. */
static bool
is_emptied(struct leg *l)
{
	return has_noted(l, "emptied");
}

/* The process was killed before it could say so. */
static void
note_released(struct leg *l, const char *by)
{
	struct err err;
	struct journal *j = journal_open_leg(l->host->state, by, &err);
	int rc = j != NULL ? journal_set_meta(j, "released", "1", &err)
	                   : -(int)err.code;

	journal_close(j);
	if (rc != 0)
		host_say(l->host, l->m, "left", err.text);
}

/* Its names; those that shared the server with the first one are behind it. */
static uint32_t
find_left(struct leg *l, struct left *ret)
{
	struct err err;
	struct url url;
	uint32_t n = 0;
	char *first;

	if (url_parse(l->conf.new_url, &url, &err) != 0 ||
	    (l->home.resume && url.kind == URL_REDIS))
		return 0;
	first = find_first(l, url.label);
	if (first == NULL)
		return 0;
	if (is_emptied(l)) {
		note_released(l, first);
		free(first);
		return 0;
	}
	ret[n++].by = first;
	for (uint32_t i = 0; i < GROUP_MAX && n < GROUP_MAX; i++) {
		char by[sizeof(l->name)];

		(void)snprintf(by, sizeof(by), "%.*s/%u",
		               (int)strcspn(first, "/"), first, i);
		if (strcmp(by, first) != 0 && has_left(l, by, url.label))
			ret[n++].by = strdup(by);
	}
	return n;
}

/* When it was left is known (PostgreSQL): whether somebody has written there since is
 * to be seen there, so that it was shut is no proof that is needed. */
static void
leg_left(struct leg *l, const char *by)
{
	struct err err;
	struct journal *j = journal_peek_leg(l->host->state, by, &err);
	char *at = j != NULL ? journal_meta(j, "left_at") : NULL;

	journal_close(j);
	if (at == NULL)
		return;
	(void)snprintf(l->conf.left_at, sizeof(l->conf.left_at), "%s", at);
	/* A rule says which rows stay; then nothing is emptied. */
	l->conf.new_is_stale = !l->conf.conflict_said;
	free(at);
}

/* For a check: is its new side what an earlier migration has left behind, and how does
 * one log in there? */
static void
look_left(struct leg *l, struct run_conf *c)
{
	struct err err;
	struct url url;
	struct journal *j;
	char *by;
	char *id;
	char *pass;

	*c = l->conf;
	if (url_parse(c->new_url, &url, &err) != 0)
		return;
	j = journal_peek(l->host->state, &err);
	by = j != NULL ? journal_fenced_by(j, url.label, false) : NULL;
	journal_close(j);
	j = by != NULL ? journal_peek_leg(l->host->state, by, &err) : NULL;
	id = j != NULL ? journal_meta(j, "id") : NULL;
	pass = j != NULL ? journal_meta(j, "old_pass") : NULL;
	journal_close(j);
	if (by != NULL)
		leg_left(l, by);
	*c = l->conf;
	if (id != NULL && pass != NULL) {
		(void)snprintf(c->left_id, sizeof(c->left_id), "%s", id);
		(void)snprintf(c->left_pass, sizeof(c->left_pass), "%s", pass);
	}
	free(by);
	free(id);
	free(pass);
}

/* How its interlays share connections: of several the one that is in the way. */
static void
look_pools(const struct leg *l, struct run_conf *c)
{
	bool parts = l->m->spec->strategy.unit_writes;
	bool is_first = true;
	const json_t *x;
	size_t i;

	host_lock(l->host);
	json_array_foreach(l->m->resources, i, x)
	{
		const char *uuid =
			json_string_value(json_object_get(x, "uuid"));
		json_int_t k = json_integer_value(json_object_get(x, "leg"));
		const struct line *n =
			uuid != NULL ? line_find(l->host, uuid) : NULL;
		bool by_turns;

		if (n == NULL || l->m->leg[k] != l)
			continue;
		by_turns = n->l->pool.max > 0 &&
		           n->l->pool.mode == RELAY_POOL_TRANSACTION;
		if (!is_first && by_turns == parts)
			continue;
		c->pool = n->l->pool.mode;
		c->pool_max = n->l->pool.max;
		is_first = false;
	}
	host_unlock(l->host);
}

int
leg_try(struct leg *l, json_t **ret, struct err *err)
{
	struct run_conf *c = malloc(sizeof(*c));
	char lock[sizeof(c->state) + 8];
	int rc;

	*ret = NULL;
	if (c == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	look_left(l, c);
	look_pools(l, c);
	/* By a journal that is nobody's. */
	(void)snprintf(c->state, sizeof(c->state), "%.400s.test-%016llx",
	               l->host->state, (unsigned long long)os_entropy());
	(void)snprintf(lock, sizeof(lock), "%s.lock", c->state);
	rc = run_check(c, ret, err);
	(void)unlink(lock);
	free(c);
	return rc;
}

/* What is to be opened: the new side of ours was the old one of theirs. */
static void
conf_of_left(struct leg *l, struct left *x)
{
	struct err err;
	struct journal *j = journal_peek_leg(l->host->state, x->by, &err);
	char *other = j != NULL ? journal_meta(j, "new") : NULL;

	journal_close(j);
	x->conf = l->conf;
	memcpy(x->conf.old_url, l->conf.new_url, sizeof(x->conf.old_url));
	(void)snprintf(x->conf.new_url, sizeof(x->conf.new_url), "%s",
	               other != NULL ? other : "");
	free(other);
}

/* A server that an earlier migration of this daemon has left behind is fenced; as
 * the new side it is opened first (and shut again as the new side). */
static void
release_one(struct leg *l, struct left *x, bool is_first)
{
	struct err err = { .code = ERR_NONE };

	conf_of_left(l, x);
	leg_left(l, x->by);
	x->home = (struct run_home){ .leg = x->by,
		                     .desk = &l->desk,
		                     .wake_fd = l->wake_fd,
		                     .leg_n = GROUP_MAX,
		                     .release = true,
		                     .on_event = on_event,
		                     .arg = l };
	x->run = run_new(&x->conf, &x->home, &err);
	if (x->run != NULL && run_begin(x->run, &err) == 0) {
		/* Nobody has written there since. */
		if (is_first && l->conf.left_at[0] == '\0')
			l->conf.new_is_stale = run_was_shut(x->run);
		return;
	}
	host_say(l->host, l->m, "left", err.text);
	run_free(x->run);
	x->run = NULL;
}

/* A process before has begun it, and was killed before the daemon had noted that. */
static bool
is_begun(struct leg *l)
{
	return has_noted(l, "id");
}

/* Whoever is to be emptied is not opened for nothing. What has begun is judged by its
 * own start: a check takes what is there already for another migration's. */
static int
look_before(struct leg *l, uint32_t left_n, struct err *err)
{
	struct url url;
	json_t *checks = NULL;
	int rc = url_parse(l->conf.new_url, &url, err);

	if (rc != 0 || left_n == 0 || url.kind == URL_REDIS || l->home.resume ||
	    is_begun(l))
		return rc;
	rc = leg_try(l, &checks, err);
	json_decref(checks);
	return rc;
}

static int
release(struct leg *l, struct left **ret, uint32_t *ret_n, struct err *err)
{
	struct left *all = calloc(GROUP_MAX, sizeof(*all));
	uint32_t n = all != NULL ? find_left(l, all) : 0;
	int rc = look_before(l, n, err);

	for (uint32_t i = 0; rc == 0 && i < n; i++)
		release_one(l, &all[i], i == 0);
	*ret = all;
	*ret_n = n;
	return rc;
}

/* Refused: the server is shut again, so that what it holds stays a stale copy. */
static void
released(struct leg *l, struct left *all, uint32_t n, bool begun)
{
	struct err err;

	for (uint32_t i = 0; i < n; i++) {
		struct left *x = &all[i];

		if (x->run != NULL && run_released(x->run, begun, &err) != 0)
			host_say(l->host, l->m, "left", err.text);
		run_free(x->run);
		free(x->by);
	}
	free(all);
}

/* Another leg of this migration has begun to fill new: what was there before is its
 * affair. */
static bool
is_later(struct leg *l)
{
	for (uint32_t k = 0; l->home.part != NULL && k < l->m->leg_n; k++) {
		const struct leg *o = l->m->leg[k];
		struct url a;
		struct url b;
		struct err err;

		if (o == l)
			break;
		if (url_parse(o->conf.new_url, &a, &err) == 0 &&
		    url_parse(l->conf.new_url, &b, &err) == 0 &&
		    url_same(&a, &b)) {
			l->conf.new_is_stale = o->conf.new_is_stale;
			return true;
		}
	}
	return false;
}

static void *
work(void *arg)
{
	struct leg *l = arg;
	struct err err = { .code = ERR_NONE };
	struct left *left = NULL;
	uint32_t left_n = 0;
	struct run *r = NULL;
	bool is_stuck;
	int rc = 0;

	if (!is_later(l))
		rc = release(l, &left, &left_n, &err);
	if (rc == 0) {
		r = run_new(&l->conf, &l->home, &err);
		rc = r != NULL ? run_begin(r, &err) : -(int)err.code;
	}
	/* Refused behind that, the fence is this one's, and stays for the next start. */
	released(l, left, left_n, rc == 0 || is_emptied(l));

	if (rc != 0) {
		desk_close(&l->desk, &err);
		/* A relay that did not let go of it still reads it. */
		is_stuck = r != NULL && !run_has_left(r);
		host_lock(l->host);
		l->is_stuck = is_stuck;
		host_unlock(l->host);
		if (!is_stuck)
			run_free(r);
		begun(l, NULL, rc, &err);
		return NULL;
	}
	begun(l, r, 0, &err);
	run_work(r);
	ended(l, r);
	return NULL;
}

int
leg_begin(struct leg *l, bool resume, struct err *err)
{
	int rc;

	for (uint32_t i = 0; i < l->line_n; i++)
		l->interlay[i] = l->line[i]->l;
	l->home.interlays = l->interlay;
	l->home.interlay_n = l->line_n;
	l->home.resume = resume;
	l->home.leg_n = l->m->leg_n;
	host_lock(l->host);
	to(l, LEG_BEGINS);
	host_unlock(l->host);
	if (pthread_create(&l->thread, NULL, work, l) != 0) {
		host_lock(l->host);
		to(l, LEG_REFUSED);
		host_unlock(l->host);
		return err_set(err, ERR_NOMEM, "no thread for %s", l->name);
	}
	l->has_thread = true;
	host_lock(l->host);
	while (l->phase == LEG_BEGINS)
		(void)pthread_cond_wait(&l->host->cond, &l->host->lock);
	rc = l->phase == LEG_REFUSED ? -(int)l->err.code : 0;
	if (rc != 0)
		*err = l->err;
	host_unlock(l->host);
	return rc;
}

bool
leg_again(struct leg *l)
{
	leg_join(l);
	host_lock(l->host);
	if (l->phase != LEG_REFUSED || l->is_stuck) {
		host_unlock(l->host);
		return false;
	}
	to(l, LEG_NEW);
	host_unlock(l->host);
	desk_open(&l->desk);
	return true;
}

void
leg_join(struct leg *l)
{
	if (l->has_thread)
		(void)pthread_join(l->thread, NULL);
	l->has_thread = false;
}
