/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/migration.c: a migration of the daemon: begun, resumed, forgotten.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "control/host/inside.h"

/* ---- references ---------------------------------------------------------- */

static struct migration *
find(struct host *h, const char *uuid)
{
	for (struct migration *m = h->migrations; m != NULL; m = m->next) {
		if (strcmp(m->uuid, uuid) == 0)
			return m;
	}
	return NULL;
}

struct migration *
migration_get(struct host *h, const char *uuid, struct err *err)
{
	struct migration *m;

	host_lock(h);
	m = find(h, uuid);
	if (m != NULL)
		m->refs++;
	host_unlock(h);
	if (m == NULL)
		(void)err_set(err, ERR_MISSING, "migration %s does not run",
		              uuid);
	return m;
}

static void
destroy(struct migration *m)
{
	for (uint32_t i = 0; i < m->leg_n; i++) {
		leg_join(m->leg[i]);
		leg_free(m->leg[i]);
	}
	json_decref(m->resources);
	spec_free(m->spec);
	(void)pthread_mutex_destroy(&m->tell);
	(void)pthread_mutex_destroy(&m->verb);
	free(m);
}

void
migration_put(struct migration *m)
{
	struct host *h = m->host;
	bool last;

	host_lock(h);
	last = --m->refs == 0;
	host_unlock(h);
	if (last)
		destroy(m);
}

/* Out of the list, with the list's reference. */
static void
take_out(struct host *h, struct migration *m)
{
	struct migration **at = &h->migrations;

	while (*at != NULL && *at != m)
		at = &(*at)->next;
	if (*at == m)
		*at = m->next;
}

void
migration_tell(struct migration *m)
{
	struct host *h = m->host;
	json_t *status = NULL;
	char state[16] = "";

	(void)pthread_mutex_lock(&m->tell);
	host_lock(h);
	if (!m->starting && strcmp(m->told, merge_state(m)) != 0) {
		(void)snprintf(m->told, sizeof(m->told), "%s", merge_state(m));
		(void)snprintf(state, sizeof(state), "%s", m->told);
		status = merge_status(m);
	}
	host_unlock(h);
	if (status != NULL && h->conf.on_state != NULL)
		h->conf.on_state(h->conf.arg, m->uuid, state, status);
	json_decref(status);
	(void)pthread_mutex_unlock(&m->tell);
}

/* ---- made from a spec ---------------------------------------------------- */

static int
copy_text(const json_t *from, const char *key, char *ret, size_t n,
          struct err *err)
{
	const char *t = json_string_value(json_object_get(from, key));

	if (t == NULL || t[0] == '\0' || strlen(t) >= n)
		return err_set(err, ERR_USAGE,
		               "\"%s\" is missing or longer than %zu bytes",
		               key, n - 1);
	memcpy(ret, t, strlen(t) + 1);
	return 0;
}

/* Do two migrations share a server? One server has one truth, and one fence. */
static bool
share(const struct leg *a, const struct leg *b)
{
	return url_same_server_text(a->conf.old_url, b->conf.old_url) ||
	       url_same_server_text(a->conf.old_url, b->conf.new_url) ||
	       url_same_server_text(a->conf.new_url, b->conf.old_url) ||
	       url_same_server_text(a->conf.new_url, b->conf.new_url);
}

static void
set_conf(struct leg *l, const struct spec *s, const json_t *options)
{
	static const enum copy_mode modes[] = {
		[DATA_NONE] = COPY_NONE,
		[DATA_SNAPSHOT] = COPY_RDB,
		[DATA_SCAN] = COPY_SCAN,
	};
	struct run_conf *c = &l->conf;
	const json_t *hold = json_object_get(options, "hold_max_ms");
	const json_t *fail = json_object_get(options, "fail_ms");
	const json_t *lag = json_object_get(options, "lag_max_ms");
	const json_t *spool = json_object_get(options, "spool_max_mib");
	struct url old;
	struct err err;

	(void)snprintf(c->state, sizeof(c->state), "%s", l->host->state);
	l->strategy = s->strategy;
	c->whole = &l->strategy;
	spec_free(l->spec);
	l->spec = spec_clone(s);
	c->spec = l->spec;
	c->strategy = s->strategy.kind;
	c->write_mode = s->write.mode;
	c->ack = s->write.ack;
	c->ack_timeout_ms = s->write.ack_timeout_ms;
	c->conflict = s->data.replace;
	c->conflict_said = s->data.replace_said;
	c->newer = l->spec != NULL && s->data.newer[0] != '\0'
	                   ? l->spec->data.newer
	                   : NULL;
	c->copy_mode = modes[s->data.move];
	/* A snapshot is PostgreSQL's own way. */
	if (c->copy_mode == COPY_RDB &&
	    url_parse(c->old_url, &old, &err) == 0 && old.kind == URL_POSTGRES)
		c->copy_mode = COPY_AUTO;
	c->copy_pace = s->data.pace;
	c->empty_ok = s->data.empty_ok;
	c->is_auto = s->analysis.auto_promote || s->analysis.auto_rollback;
	c->step_seconds = s->analysis.step_seconds;
	c->step_requests = s->analysis.min_requests;
	if (s->analysis.lag_ms_max > 0)
		c->lag_max_ms = s->analysis.lag_ms_max;
	if (json_integer_value(lag) > 0)
		c->lag_max_ms = (uint32_t)json_integer_value(lag);
	if (json_integer_value(hold) >= 10)
		c->hold_max_ms = (uint32_t)json_integer_value(hold);
	if (json_integer_value(spool) > 0)
		c->spool_bytes = (uint64_t)json_integer_value(spool) << 20;
	if (json_integer_value(fail) > 0)
		c->fail_ms = (uint32_t)json_integer_value(fail);
}

/* The leg of a pair of servers; made when it is the first of that pair. */
static struct leg *
leg_of(struct migration *m, const json_t *r, const json_t *options,
       struct err *err)
{
	struct run_conf pair;
	struct leg *l;

	if (copy_text(r, "old", pair.old_url, sizeof(pair.old_url), err) != 0 ||
	    copy_text(r, "new", pair.new_url, sizeof(pair.new_url), err) != 0)
		return NULL;
	for (uint32_t i = 0; i < m->leg_n; i++) {
		if (url_same_text(m->leg[i]->conf.old_url, pair.old_url) &&
		    url_same_text(m->leg[i]->conf.new_url, pair.new_url))
			return m->leg[i];
	}
	if (m->leg_n == HOST_LEGS_MAX) {
		(void)err_set(err, ERR_LIMIT,
		              "a migration has at most %d pairs of servers",
		              HOST_LEGS_MAX);
		return NULL;
	}
	l = leg_new(m, m->leg_n, err);
	if (l == NULL)
		return NULL;
	m->leg[m->leg_n++] = l;
	(void)snprintf(l->conf.old_url, sizeof(l->conf.old_url), "%s",
	               pair.old_url);
	(void)snprintf(l->conf.new_url, sizeof(l->conf.new_url), "%s",
	               pair.new_url);
	set_conf(l, m->spec, options);
	return l;
}

static int
add_legs(struct migration *m, const json_t *spec, struct err *err)
{
	const json_t *options = json_object_get(spec, "options");
	size_t i;
	json_t *r;

	json_array_foreach(m->resources, i, r)
	{
		struct leg *l = leg_of(m, r, options, err);

		if (l == NULL)
			return -(int)err->code;
		for (uint32_t k = 0; k < m->leg_n; k++) {
			if (m->leg[k] == l)
				(void)json_object_set_new(r, "leg",
				                          json_integer((int)k));
		}
	}
	if (m->leg_n == 0)
		return err_set(err, ERR_STATE,
		               "the migration has no resources; add an "
		               "interlay or an api first");
	for (uint32_t a = 0; a < m->leg_n; a++) {
		for (uint32_t b = a + 1; b < m->leg_n; b++) {
			if (url_same_server_text(m->leg[a]->conf.old_url,
			                         m->leg[b]->conf.new_url) ||
			    url_same_server_text(m->leg[a]->conf.new_url,
			                         m->leg[b]->conf.old_url))
				return err_set(
					err, ERR_UNABLE,
					"a server is the old one of a pair and "
					"the new one of another; it can be "
					"moved from, or to");
		}
	}
	return part_tie(m, json_is_true(json_object_get(spec, "resume")), err);
}

struct migration *
migration_make(struct host *h, const json_t *spec, struct err *err)
{
	struct migration *m = calloc(1, sizeof(*m));
	struct spec_issue issue = { .param = "" };
	int rc;

	if (m == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	m->host = h;
	m->refs = 1;
	m->starting = true;
	REQUIRE(pthread_mutex_init(&m->tell, NULL) == 0);
	REQUIRE(pthread_mutex_init(&m->verb, NULL) == 0);
	m->resources = json_deep_copy(json_object_get(spec, "resources"));
	(void)snprintf(m->told, sizeof(m->told), "ready");
	rc = copy_text(spec, "uuid", m->uuid, sizeof(m->uuid), err);
	if (rc == 0)
		rc = copy_text(spec, "id", m->id, sizeof(m->id), err);
	if (rc == 0)
		rc = spec_read(spec, &m->spec, &issue, err);
	if (rc == 0)
		rc = add_legs(m, spec, err);
	if (rc == 0)
		return m;
	destroy(m);
	return NULL;
}

/* ---- interlays ----------------------------------------------------------- */

static int
use_line(struct migration *m, struct leg *l, const json_t *r, struct err *err)
{
	const char *uuid = json_string_value(json_object_get(r, "uuid"));
	struct line *n = line_find(m->host, uuid != NULL ? uuid : "");

	if (n == NULL)
		return err_set(err, ERR_MISSING,
		               "interlay %s does not run; start it first",
		               uuid != NULL ? uuid : "without uuid");
	if (n->used_by[0] != '\0')
		return err_set(err, ERR_STATE,
		               "interlay %s is used by the migration %s", n->id,
		               n->used_by);
	if (n->l->spread != NULL)
		return err_set(err, ERR_STATE,
		               "interlay %s has instances; they are moved, "
		               "each for itself",
		               n->id);
	if (!n->held && !url_same_text(n->url, l->conf.old_url))
		return err_set(err, ERR_STATE,
		               "interlay %s does not serve the old endpoint of "
		               "this migration",
		               n->id);
	if (l->line_n == HOST_LINES_MAX)
		return err_set(err, ERR_LIMIT,
		               "at most %d interlays from one server to one "
		               "other",
		               HOST_LINES_MAX);
	memcpy(n->used_by, m->uuid, sizeof(n->used_by));
	l->line[l->line_n++] = n;
	return 0;
}

void
leg_free_lines(struct leg *l)
{
	for (uint32_t i = 0; i < l->line_n; i++) {
		l->line[i]->used_by[0] = '\0';
		if (l->line[i]->is_private)
			line_drop(l->host, l->line[i]);
	}
	l->line_n = 0;
}

/* Of resources that are interlays; what templates need is a private one. */
int
migration_take_lines(struct migration *m, uint32_t k, struct err *err)
{
	struct leg *l = m->leg[k];
	struct line *n;
	int rc = 0;
	size_t i;
	json_t *r;

	json_array_foreach(m->resources, i, r)
	{
		const char *kind =
			json_string_value(json_object_get(r, "kind"));

		if (rc == 0 && kind != NULL && strcmp(kind, "interlay") == 0 &&
		    (uint32_t)json_integer_value(json_object_get(r, "leg")) ==
		            k)
			rc = use_line(m, l, r, err);
	}
	if (rc == 0 && l->line_n == 0) {
		/* Templates need somebody who knows the route. */
		n = line_private(m->host, l->conf.old_url, m->held, err);
		if (n == NULL)
			rc = -(int)err->code;
		if (n != NULL) {
			memcpy(n->used_by, m->uuid, sizeof(n->used_by));
			l->line[l->line_n++] = n;
		}
	}
	if (rc != 0)
		leg_free_lines(l);
	return rc;
}

/* host.lock is held. All of them, or none. */
static int
use_lines(struct migration *m, struct err *err)
{
	int rc = 0;

	for (uint32_t k = 0; rc == 0 && k < m->leg_n; k++) {
		if (!m->leg[k]->was_over)
			rc = migration_take_lines(m, k, err);
	}
	for (uint32_t k = 0; rc != 0 && k < m->leg_n; k++)
		leg_free_lines(m->leg[k]);
	return rc;
}

/* ---- begin --------------------------------------------------------------- */

static bool
is_on(const struct migration *m)
{
	for (uint32_t i = 0; i < m->leg_n; i++) {
		if (leg_is_on(m->leg[i]))
			return true;
	}
	return false;
}

/* A leg that is completed or rolled back leaves by itself within seconds. */
static void
wait_for_leaving(struct migration *m)
{
	for (uint32_t i = 0; i < m->leg_n; i++) {
		const struct leg *l = m->leg[i];

		while (leg_is_on(l) && (strcmp(l->state, "rolled_back") == 0 ||
		                        strcmp(l->state, "completed") == 0))
			(void)pthread_cond_wait(&m->host->cond, &m->host->lock);
	}
}

/* host.lock is held: no server in two migrations. */
static int
check_servers(struct host *h, const struct migration *m, struct err *err)
{
	for (const struct migration *o = h->migrations; o != NULL;
	     o = o->next) {
		for (uint32_t i = 0; i < o->leg_n; i++) {
			for (uint32_t k = 0; k < m->leg_n; k++) {
				if (leg_is_on(o->leg[i]) &&
				    share(o->leg[i], m->leg[k]))
					return err_set(
						err, ERR_STATE,
						"a server of this migration is "
						"part of the migration %s, "
						"which is %s",
						o->id, merge_state(o));
			}
		}
	}
	return 0;
}

/* In the place of an older try. The older one is over; it is unreferenced later,
 * its thread may still be on its last steps. */
static int
enter(struct host *h, struct migration *m, struct migration **ret_older,
      struct err *err)
{
	struct migration *older;
	int rc = 0;

	host_lock(h);
	older = find(h, m->uuid);
	if (older != NULL)
		wait_for_leaving(older);
	if (older != NULL && is_on(older))
		rc = err_set(err, ERR_EXISTS, "it runs already");
	if (rc == 0)
		rc = check_servers(h, m, err);
	if (rc == 0)
		rc = use_lines(m, err);
	if (rc == 0) {
		if (older != NULL)
			take_out(h, older);
		*ret_older = older;
		m->next = h->migrations;
		h->migrations = m;
		m->refs++; /* the list's */
	}
	host_unlock(h);
	return rc;
}

/* What has begun goes back; it never was. */
static void
undo(struct migration *m, uint32_t n)
{
	json_t *args = json_pack("{s:s}", "reason",
	                         "another resource could "
	                         "not begin");

	for (uint32_t i = 0; i < n; i++) {
		json_t *data = NULL;
		struct err err;

		if (ask_leg(m->leg[i], "rollback", args, &data, &err) != 0)
			host_say(m->host, m, "trouble", err.text);
		json_decref(data);
		leg_join(m->leg[i]);
	}
	json_decref(args);
}

/* After a restart: its clients wait no longer than those of a migration of which no
 * leg can go on; then their interlays are closed. */
static int
try_again(struct leg *l, struct err *err)
{
	const struct timespec pause = { .tv_sec = 1 };
	int rc = -(int)err->code;

	for (int i = 1; i < LIMIT_RESUME_TRIES && rc != 0 &&
	                err_retry(err->code) && leg_again(l);
	     i++) {
		(void)nanosleep(&pause, NULL);
		rc = leg_begin(l, true, err);
	}
	return rc;
}

static void
put_out(struct migration *m, struct leg *l, bool resume)
{
	char uuid[HOST_LINES_MAX][HOST_UUID_MAX];
	uint32_t n = 0;

	host_lock(m->host);
	for (uint32_t i = 0; i < l->line_n; i++) {
		if (l->line[i]->held)
			memcpy(uuid[n++], l->line[i]->uuid, HOST_UUID_MAX);
	}
	leg_free_lines(l);
	l->is_out = true;
	(void)snprintf(l->state, sizeof(l->state), "failed");
	host_unlock(m->host);
	for (uint32_t i = 0; resume && i < n; i++) {
		struct err err;

		if (host_interlay_stop(m->host, uuid[i], &err) != 0)
			host_say(m->host, m, "trouble", err.text);
	}
}

int
migration_rejoin(struct migration *m, struct leg *l, struct err *err)
{
	struct line *n;
	int rc = 0;

	if (!leg_again(l))
		return err_set(err, ERR_STATE, "%s does not run", l->name);
	host_lock(m->host);
	n = line_private(m->host, l->conf.old_url, true, err);
	if (n == NULL) {
		rc = -(int)err->code;
	} else {
		memcpy(n->used_by, m->uuid, sizeof(n->used_by));
		l->line[l->line_n++] = n;
	}
	host_unlock(m->host);
	if (rc == 0)
		rc = leg_begin(l, true, err);
	if (rc == 0)
		return 0;
	host_lock(m->host);
	leg_free_lines(l);
	host_unlock(m->host);
	return rc;
}

/* Legs that could not begin are out when the others may go on. */
static int
begin_all(struct migration *m, bool resume, struct err *err)
{
	bool partial = m->spec->failure.kind == FAILURE_ALLOW_PARTIAL;
	struct err why[HOST_LEGS_MAX];
	uint32_t good = 0;
	int rc = 0;

	for (uint32_t i = 0; i < m->leg_n; i++) {
		why[i] = (struct err){ .code = ERR_NONE };
		rc = leg_begin(m->leg[i], resume, &why[i]);
		good += rc == 0;
		if (rc != 0)
			*err = why[i];
		if (rc != 0 && !partial && !resume) {
			undo(m, i);
			return rc;
		}
	}
	/* None: whoever asked tries again. */
	if (good == 0)
		return -(int)err->code;
	for (uint32_t i = 0; i < m->leg_n; i++) {
		if (why[i].code == ERR_NONE ||
		    (resume && try_again(m->leg[i], &why[i]) == 0))
			continue;
		put_out(m, m->leg[i], resume);
		host_say(m->host, m, "refused", why[i].text);
	}
	return 0;
}

/* After a restart: legs that went back alone stay out. */
static void
find_partial(struct migration *m)
{
	uint32_t back = 0;

	for (uint32_t i = 0; i < m->leg_n; i++)
		back += strcmp(m->leg[i]->state, "rolled_back") == 0;
	for (uint32_t i = 0; back < m->leg_n && i < m->leg_n; i++)
		m->leg[i]->is_out |=
			strcmp(m->leg[i]->state, "rolled_back") == 0;
}

static void
go(struct migration *m, bool resume)
{
	bool in_step[HOST_LEGS_MAX];

	host_lock(m->host);
	m->starting = false;
	if (resume)
		find_partial(m);
	/* They may have been in step before anybody listened. */
	for (uint32_t i = 0; i < m->leg_n; i++)
		in_step[i] = m->leg[i]->in_step;
	host_unlock(m->host);
	migration_tell(m);
	for (uint32_t i = 0; i < m->leg_n; i++) {
		if (in_step[i])
			host_chore(m->host, m->leg[i], "in_step", "", 0);
	}
}

int
host_migration_start(struct host *h, const json_t *spec, struct err *err)
{
	bool resume = json_is_true(json_object_get(spec, "resume"));
	struct migration *m = migration_make(h, spec, err);
	struct migration *older = NULL;
	int rc;

	if (m == NULL)
		return -(int)err->code;
	for (uint32_t i = 0; resume && i < m->leg_n; i++)
		m->leg[i]->was_over = leg_was_over(m->leg[i]);
	m->held = resume;
	rc = enter(h, m, &older, err);
	m->again = older != NULL && !resume;
	if (older != NULL && rc == 0)
		migration_put(older);
	if (rc == -ERR_EXISTS) {
		migration_put(m);
		return 0; /* the same again has no effect */
	}
	if (rc != 0) {
		migration_put(m);
		return rc;
	}
	if (resume)
		migration_serve_over(m);
	rc = begin_all(m, resume, err);
	if (rc != 0) {
		host_lock(h);
		take_out(h, m);
		for (uint32_t i = 0; i < m->leg_n; i++) {
			if (!leg_is_on(m->leg[i]))
				leg_free_lines(m->leg[i]);
		}
		host_unlock(h);
		migration_put(m);
	} else {
		go(m, resume);
	}
	migration_put(m);
	return rc;
}

/* ---- ends ---------------------------------------------------------------- */

int
host_migration_forget(struct host *h, const char *uuid, struct err *err)
{
	struct migration *m = migration_get(h, uuid, err);
	int rc = 0;

	if (m == NULL)
		return -(int)err->code;
	host_lock(h);
	wait_for_leaving(m);
	if (is_on(m))
		rc = err_set(err, ERR_STATE,
		             "migration %s is %s; roll it back or complete it "
		             "first",
		             m->id, merge_state(m));
	else
		take_out(h, m);
	host_unlock(h);
	if (rc == 0)
		migration_put(m);
	migration_put(m);
	return rc;
}

void
migration_stop_all(struct host *h)
{
	for (;;) {
		struct leg *l = NULL;
		json_t *args;
		json_t *data = NULL;
		struct err err;

		host_lock(h);
		for (struct migration *m = h->migrations; m != NULL;
		     m = m->next) {
			m->ending = true;
			for (uint32_t i = 0; i < m->leg_n; i++) {
				if (m->leg[i]->has_thread)
					l = m->leg[i];
			}
		}
		host_unlock(h);
		if (l == NULL)
			return;
		args = json_object();
		/* One that is over has answered already. */
		if (ask_leg(l, "stop", args, &data, &err) != 0 &&
		    err.code != ERR_STATE)
			host_say(h, l->m, "trouble", err.text);
		json_decref(args);
		json_decref(data);
		leg_join(l);
	}
}

void
migration_free_all(struct host *h)
{
	while (h->migrations != NULL) {
		struct migration *m = h->migrations;

		h->migrations = m->next;
		REQUIRE(m->refs == 1);
		destroy(m);
	}
}

json_t *
host_migration_status(struct host *h, const char *uuid)
{
	struct err err;
	struct migration *m = migration_get(h, uuid, &err);
	json_t *ret;

	if (m == NULL)
		return NULL;
	ask_statuses(m);
	host_lock(h);
	ret = merge_status(m);
	host_unlock(h);
	migration_put(m);
	return ret;
}
