/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/test.c: the checks of a migration before it begins, and what the
 * journal says of one that has. Changes nothing.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/host/inside.h"
#include "control/journal.h"
#include "control/preflight.h"

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

/* One pair of servers. False: a check failed. */
static bool
test_leg(struct leg *l, const json_t *r, json_t *checks)
{
	struct preflight_conf c = { .conflict = conflict_of(l->m->spec),
		                    .needs_fence = true };
	struct checks *found = calloc(1, sizeof(*found));
	struct err err = { .code = ERR_NONE };
	struct url url[SIDE_N];
	int rc;

	if (found == NULL)
		return false;
	rc = url_parse(l->conf.old_url, &url[SIDE_OLD], &err);
	if (rc == 0)
		rc = url_parse(l->conf.new_url, &url[SIDE_NEW], &err);
	if (rc == 0 && url_same(&url[SIDE_OLD], &url[SIDE_NEW]))
		rc = err_set(&err, ERR_REFUSED,
		             "old and new are the same address (%s)",
		             url[SIDE_OLD].label);
	for (int s = 0; rc == 0 && s < SIDE_N; s++)
		rc = url_side(&url[s], (enum side)s, &c.side[s], &err);
	if (rc == 0)
		rc = preflight(&c, found, NULL, &err);
	for (uint32_t i = 0; i < found->n; i++)
		put_check(checks, r, found->line[i].name,
		          check_result_name(found->line[i].result),
		          found->line[i].detail);
	if (rc != 0 && found->failed == 0)
		put_check(checks, r, "reach", "fail", err.text);
	free(found);
	return rc == 0;
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
		    url_parse(n->url, &at, &err) != 0 || !url_same(&at, &old))
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
