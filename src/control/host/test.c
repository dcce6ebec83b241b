/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/test.c: the checks of a migration before it begins, and what the
 * journal says of one that has. Changes nothing.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/agent.h"
#include "control/host/inside.h"
#include "control/journal.h"
#include "control/limit.h"
#include "control/preflight.h"
#include "engine/redis/admin/fence.h"

static void
put_check(json_t *checks, const json_t *r, const char *name, const char *result,
          const char *detail)
{
	(void)json_array_append_new(
		checks, json_pack("{s:s,s:s,s:s,s:O?}", "name", name, "result",
	                          result, "detail", detail, "resource",
	                          json_object_get(r, "id")));
}

static const char *
conflict_of(const struct spec *s)
{
	static const char *const names[] = {
		[CONFLICT_NONE] = "none",
		[CONFLICT_REPLACE] = "replace",
		[CONFLICT_MERGE] = "merge",
	};

	return names[s->data.replace];
}

/* Somebody else than default who may log in there; his rights could not be kept
 * while both sides are shut. */
static int
other_user(const struct side_conf *old, const char *tag, char *ret, size_t n,
           struct err *err)
{
	const struct fence_own nobody = {
		.user = "", .reader = "", .writer = "", .prefix = "", .tag = tag
	};
	struct agent a;
	struct fence_look look;
	struct span replies = { NULL, 0 };
	struct span name;
	struct span rules;
	int rc;

	agent_init(&a, old, "godwit:test");
	rc = agent_open(&a, false, LIMIT_PREFLIGHT_MS, err);
	if (rc == 0)
		rc = agent_call(&a, admin_put_look(&a.tx, &nobody),
		                LIMIT_PREFLIGHT_MS, &replies, err);
	if (rc == 0)
		rc = admin_read_look(replies, old->label, &nobody, &look, err);
	ret[0] = '\0';
	while (rc == 0 && ret[0] == '\0' &&
	       acl_next(&look.acl, &nobody, &name, &rules)) {
		if (!span_eq(name, SPAN("default")) && acl_is_on(rules) &&
		    !span_has_prefix(name, SPAN("godwit-")))
			reply_text(name, ret, n);
	}
	agent_fini(&a);
	return rc;
}

/* Writes in parts, where the definition has them: the same gates as before the
 * switch, as far as they can be known now. */
static bool
test_parts(const struct leg *l, const json_t *r, json_t *checks,
           const struct side_conf *old, const struct facts *f)
{
	const struct spec *s = l->m->spec;
	char text[200] = "";
	char user[80] = "";
	struct err err = { .code = ERR_NONE };

	if (!strategy_has_writes(&s->strategy))
		return true;
	if (l->m->leg_n > 1)
		(void)snprintf(text, sizeof(text),
		               "%u pairs of servers switch together",
		               l->m->leg_n);
	else if (f[SIDE_OLD].is_cluster || f[SIDE_NEW].is_cluster)
		(void)snprintf(text, sizeof(text), "%s is in a cluster",
		               f[SIDE_OLD].is_cluster ? "old" : "new");
	else if (probe_by_marks(&f[SIDE_OLD]) || probe_by_marks(&f[SIDE_NEW]))
		(void)snprintf(text, sizeof(text), "%s gives no stream (PSYNC)",
		               probe_by_marks(&f[SIDE_OLD]) ? "old" : "new");
	else if (s->data.replace != CONFLICT_REPLACE && f[SIDE_NEW].keys > 0)
		(void)snprintf(text, sizeof(text),
		               "new has records of its own that are kept");
	else if (other_user(old, f[SIDE_OLD].own_tag, user, sizeof(user),
	                    &err) != 0)
		(void)snprintf(text, sizeof(text), "%.190s", err.text);
	else if (user[0] != '\0')
		(void)snprintf(text, sizeof(text),
		               "the user \"%s\" of old has rights of its own",
		               user);
	put_check(checks, r, "writes_in_parts",
	          text[0] != '\0' ? "fail" : "pass",
	          text[0] != '\0'
	                  ? text
	                  : "possible, as long as no client uses scripts");
	return text[0] == '\0';
}

/* A kind that asks its servers itself. */
static bool
test_kind(struct leg *l, const json_t *r, json_t *checks)
{
	struct err err = { .code = ERR_NONE };
	json_t *made = NULL;
	bool is_said = false; /* what is wrong: by one of its checks */
	json_t *x;
	size_t i;
	int rc = leg_try(l, &made, &err);

	json_array_foreach(made, i, x)
	{
		const char *result =
			json_string_value(json_object_get(x, "result"));

		is_said = is_said ||
		          (result != NULL && strcmp(result, "fail") == 0);
		(void)json_object_set(x, "resource", json_object_get(r, "id"));
		(void)json_array_append(checks, x);
	}
	if (rc != 0 && (err.code != ERR_REFUSED || !is_said))
		put_check(checks, r, "reach", "fail", err.text);
	json_decref(made);
	return rc == 0;
}

/* One pair of servers. False: a check failed. */
static bool
test_leg(struct leg *l, const json_t *r, json_t *checks)
{
	struct preflight_conf c = { .conflict = conflict_of(l->m->spec),
		                    .needs_fence = true,
		                    .moves_none =
		                            l->conf.copy_mode == COPY_NONE,
		                    .empty_ok = l->conf.empty_ok,
		                    .part = l->home.part };
	struct checks *found = calloc(1, sizeof(*found));
	struct err err = { .code = ERR_NONE };
	struct url url[SIDE_N];
	struct facts facts[SIDE_N];
	bool valid;
	int rc;

	if (found == NULL)
		return false;
	rc = url_parse(l->conf.old_url, &url[SIDE_OLD], &err);
	if (rc == 0)
		rc = url_parse(l->conf.new_url, &url[SIDE_NEW], &err);
	if (rc == 0 && (url[SIDE_OLD].kind != URL_REDIS ||
	                url[SIDE_NEW].kind != URL_REDIS)) {
		free(found);
		return test_kind(l, r, checks);
	}
	if (rc == 0 && url_same(&url[SIDE_OLD], &url[SIDE_NEW]))
		rc = err_set(&err, ERR_REFUSED,
		             "old and new are the same address (%s)",
		             url[SIDE_OLD].label);
	for (int s = 0; rc == 0 && s < SIDE_N; s++)
		rc = url_side(&url[s], (enum side)s, &c.side[s], &err);
	if (rc == 0)
		rc = preflight(&c, found, facts, &err);
	for (uint32_t i = 0; i < found->n; i++)
		put_check(checks, r, found->line[i].name,
		          check_result_name(found->line[i].result),
		          found->line[i].detail);
	if (rc != 0 && found->failed == 0)
		put_check(checks, r, "reach", "fail", err.text);
	free(found);
	valid = rc == 0 && test_parts(l, r, checks, &c.side[SIDE_OLD], facts);
	return valid;
}

/* Other interlays on the same server are bypasses: its fence stops them. */
static void
test_bypass(struct host *h, const struct leg *l, const json_t *r,
            json_t *checks)
{
	struct url old;
	struct err err;
	char text[200];

	if (url_parse(l->conf.old_url, &old, &err) != 0)
		return;
	host_lock(h);
	for (struct line *n = h->lines; n != NULL; n = n->next) {
		bool is_mine = false;
		struct url at;
		size_t i;
		json_t *x;

		json_array_foreach(l->m->resources, i, x)
		{
			const char *u =
				json_string_value(json_object_get(x, "uuid"));

			is_mine |= u != NULL && strcmp(u, n->uuid) == 0;
		}
		if (is_mine || n->is_private ||
		    url_parse(n->url, &at, &err) != 0 ||
		    !url_same_server(&at, &old))
			continue;
		(void)snprintf(text, sizeof(text),
		               "interlay %s serves the old endpoint, too; the "
		               "cutover shuts its clients out unless it is "
		               "added",
		               n->id);
		put_check(checks, r, "bypass", "warn", text);
	}
	host_unlock(h);
}

int
host_migration_test(struct host *h, const json_t *spec, json_t **ret,
                    struct err *err)
{
	struct migration *m = migration_make(h, spec, err);
	json_t *checks;
	bool done[HOST_LEGS_MAX] = { false };
	uint32_t interlays = 0;
	bool valid = true;
	size_t i;
	json_t *r;

	*ret = NULL;
	if (m == NULL)
		return -(int)err->code;
	checks = json_array();
	json_array_foreach(m->resources, i, r)
	{
		json_int_t k = json_integer_value(json_object_get(r, "leg"));
		const char *kind =
			json_string_value(json_object_get(r, "kind"));
		const char *uuid =
			json_string_value(json_object_get(r, "uuid"));
		bool is_line = kind != NULL && strcmp(kind, "interlay") == 0;
		bool runs;

		host_lock(h);
		runs = uuid != NULL && line_find(h, uuid) != NULL;
		host_unlock(h);
		interlays += is_line;
		if (is_line && !runs) {
			put_check(checks, r, "interlay", "fail",
			          "it does not run; start it first");
			valid = false;
		}
		if (done[k])
			continue;
		done[k] = true;
		valid &= test_leg(m->leg[k], r, checks);
		test_bypass(h, m->leg[k], r, checks);
	}
	*ret = json_pack("{s:b,s:I,s:o}", "valid", valid, "interlays_tested",
	                 (json_int_t)interlays, "checks", checks);
	migration_put(m);
	return 0;
}

/* What one leg's journal says; NULL: nothing. */
static json_t *
recorded(struct host *h, const char *leg)
{
	struct err err;
	struct journal *j = journal_peek_leg(h->state, leg, &err);
	json_t *last = NULL;
	json_t *ret = NULL;

	if (j == NULL)
		return NULL;
	if (!journal_is_new(j) &&
	    journal_last(j, JOURNAL_STATE, NULL, &last, &err) == 0) {
		json_t *to = json_object_get(last, "to");

		ret = to != NULL ? json_incref(to) : json_string("ready");
	}
	json_decref(last);
	journal_close(j);
	return ret;
}

bool
leg_was_over(const struct leg *l)
{
	json_t *state = recorded(l->host, l->name);
	const char *t = json_string_value(state);
	bool ret = t != NULL && (strcmp(t, "completed") == 0 ||
	                         strcmp(t, "rolled_back") == 0);

	json_decref(state);
	return ret;
}

bool
leg_was_completed(const struct leg *l)
{
	json_t *state = recorded(l->host, l->name);
	const char *t = json_string_value(state);
	bool ret = t != NULL && strcmp(t, "completed") == 0;

	json_decref(state);
	return ret;
}

json_t *
host_migration_recorded(struct host *h, const char *uuid)
{
	json_t *list = json_array();
	char leg[80];

	for (uint32_t i = 0; i < HOST_LEGS_MAX; i++) {
		json_t *state;

		(void)snprintf(leg, sizeof(leg), "%.39s/%u", uuid, i);
		state = recorded(h, leg);
		if (state == NULL)
			break;
		(void)json_array_append_new(list, state);
	}
	if (json_array_size(list) > 0)
		return list;
	json_decref(list);
	return NULL;
}
