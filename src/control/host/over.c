/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/over.c: after a restart, the interlays of legs that are over.
 *
 * They were started held, with those of the legs that go on; no run takes and
 * releases them. They serve the side that their leg has left with authority.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <string.h>

#include "control/host/inside.h"

static const char *
url_of(const struct leg *l)
{
	return leg_was_completed(l) ? l->conf.new_url : l->conf.old_url;
}

/* Out of everybody's hands, and in ours; NULL: it does not wait. */
static struct line *
grasp(struct migration *m, const char *uuid)
{
	struct line *n;

	host_lock(m->host);
	n = line_find(m->host, uuid);
	if (n != NULL && (!n->held || n->used_by[0] != '\0'))
		n = NULL;
	if (n != NULL)
		memcpy(n->used_by, m->uuid, sizeof(n->used_by));
	host_unlock(m->host);
	return n;
}

static void
serve(struct migration *m, const struct leg *l, const char *uuid)
{
	struct line *n = grasp(m, uuid);
	struct err err;
	int rc;

	if (n == NULL)
		return;
	rc = line_release(n, url_of(l), &err);
	host_lock(m->host);
	n->used_by[0] = '\0';
	n->held = rc != 0;
	host_unlock(m->host);
	if (rc != 0)
		host_say(m->host, m, "trouble", err.text);
}

void
migration_serve_over(struct migration *m)
{
	size_t i;
	json_t *r;

	json_array_foreach(m->resources, i, r)
	{
		const char *kind =
			json_string_value(json_object_get(r, "kind"));
		const char *uuid =
			json_string_value(json_object_get(r, "uuid"));
		const struct leg *l =
			m->leg[json_integer_value(json_object_get(r, "leg"))];

		if (l->was_over && uuid != NULL && kind != NULL &&
		    strcmp(kind, "interlay") == 0)
			serve(m, l, uuid);
	}
}
