/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/trail.c: the row that a call leaves in the audit log.
 */
#include "control/api/trail.h"

#include <stdio.h>

static bool
is_audited(const struct call *c)
{
	return c->route != NULL && c->is_known && !c->dry_run &&
	       router_is_mutation(c->route);
}

/* The name of what is made is in the body, or in the answer only. */
static const char *
id_of(const struct call *c)
{
	static const char *const names[] = { "id", "endpoint", "username" };
	const char *id = c->subject_id[0] != '\0' ? c->subject_id
	                                          : call_text(c->data, "id");

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && id == NULL;
	     i++)
		id = call_text(c->body, names[i]);
	return id;
}

static int
add(struct call *c, const char *result, struct err *err)
{
	char action[160];
	struct auth_entry e = {
		.who = &c->who,
		.action = action,
		.kind = c->kind < ENTITY_N ? entity_plural(c->kind) : NULL,
		.id = id_of(c),
		.reason = c->reason,
		.result = result,
		.request_id = c->in->id,
	};

	(void)snprintf(action, sizeof(action), "%s %s", c->route->method,
	               c->route->path);
	return auth_audit(c->api->auth, &e, &c->trail.seq, err);
}

/* The last part of the transaction of the change. */
static int
ride(void *arg, struct err *err)
{
	return add(arg, "ok", err);
}

int
trail_intend(struct call *c, struct err *err)
{
	int rc;

	if (!is_audited(c) || c->trail.has_begun)
		return 0;
	store_ride(c->api->store, NULL);
	rc = add(c, "begun", err);
	c->trail.has_begun = rc == 0;
	return rc;
}

int
trail_begin(struct call *c, struct err *err)
{
	if (!is_audited(c))
		return 0;
	if (router_has(c->route, 'H'))
		return trail_intend(c, err);
	c->trail.rider = (struct store_rider){ .write = ride, .arg = c };
	store_ride(c->api->store, &c->trail.rider);
	return 0;
}

void
trail_end(struct call *c, int rc, const struct err *failed)
{
	const char *result = rc == 0 ? "ok" : err_name(failed->code);
	struct err err;
	int told = 0;

	store_ride(c->api->store, NULL);
	if (!is_audited(c))
		return;
	if (c->trail.has_begun)
		told = auth_audit_end(c->api->auth, c->trail.seq, result,
		                      id_of(c), &err);
	else if (!c->trail.rider.is_done)
		told = add(c, result, &err);
	else if (rc != 0)
		told = auth_audit_end(c->api->auth, c->trail.seq, result, NULL,
		                      &err);
	if (told != 0)
		(void)fprintf(stderr, "godwit: audit: %s\n", err.text);
}
