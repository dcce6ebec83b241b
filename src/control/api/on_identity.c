/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/on_identity.c: organizations, log-in, users, tokens, roles.
 */
#include <stdio.h>

#include "control/api/call.h"

static int
answer(struct call *c, int rc, json_t *data, struct err *err)
{
	if (rc != 0) {
		json_decref(data);
		return rc;
	}
	return call_data(c, data, err);
}

int
on_organization_create(struct call *c, struct err *err)
{
	json_t *data = NULL;
	int rc = auth_organization_new(c->api->auth, &c->credentials, c->body,
	                               &data, &c->retry_s, err);

	return answer(c, rc, data, err);
}

int
on_login(struct call *c, struct err *err)
{
	json_t *data = NULL;
	int rc = auth_login(c->api->auth, &c->credentials, &data, &c->retry_s,
	                    err);

	return answer(c, rc, data, err);
}

int
on_refresh(struct call *c, struct err *err)
{
	json_t *data = NULL;
	int rc = auth_refresh(c->api->auth, &c->who, &data, err);

	return answer(c, rc, data, err);
}

int
on_logout(struct call *c, struct err *err)
{
	int rc = auth_logout(c->api->auth, &c->who, err);

	return rc != 0 ? rc : call_done(c, c->who.subject, err);
}

int
on_token_create(struct call *c, struct err *err)
{
	json_t *data = NULL;
	int rc = auth_token_new(c->api->auth, &c->who, c->body, &data, err);

	return answer(c, rc, data, err);
}

int
on_token_list(struct call *c, struct err *err)
{
	json_t *data = NULL;
	int rc = auth_token_list(c->api->auth, &c->who, &data, err);

	return answer(c, rc, data, err);
}

int
on_token_delete(struct call *c, struct err *err)
{
	int rc = auth_token_revoke(c->api->auth, &c->who, c->match.arg[0], err);

	return rc != 0 ? rc : call_done(c, c->match.arg[0], err);
}

int
on_user_create(struct call *c, struct err *err)
{
	json_t *data = NULL;
	int rc = auth_user_new(c->api->auth, &c->who, c->body, &data, err);

	return answer(c, rc, data, err);
}

int
on_user_list(struct call *c, struct err *err)
{
	json_t *data = NULL;
	int rc = auth_user_list(c->api->auth, &c->who, &data, err);

	return answer(c, rc, data, err);
}

int
on_user_patch(struct call *c, struct err *err)
{
	json_t *data = NULL;
	int rc = auth_user_patch(c->api->auth, &c->who, c->match.arg[0],
	                         c->body, &data, err);

	return answer(c, rc, data, err);
}

int
on_user_delete(struct call *c, struct err *err)
{
	int rc = auth_user_delete(c->api->auth, &c->who, c->match.arg[0], err);

	return rc != 0 ? rc : call_done(c, c->match.arg[0], err);
}

/* ---- grants: {kind}/{id}, the kind in plural ------------------------------- */

struct thing {
	const char *kind;
	char uuid[STORE_UUID];
};

static int
find_thing(struct call *c, struct thing *ret, struct err *err)
{
	const char *kind = c->match.arg[0];
	const char *id = c->match.arg[1];

	if (strcmp(kind, "organizations") == 0) {
		if (strcmp(id, c->who.org) != 0 &&
		    strcmp(id, c->who.org_uuid) != 0)
			return err_set(err, ERR_MISSING,
			               "no organization \"%.100s\"", id);
		ret->kind = "organizations";
		(void)snprintf(ret->uuid, sizeof(ret->uuid), "%s",
		               c->who.org_uuid);
		return 0;
	}
	for (enum entity_kind k = 0; k < ENTITY_N; k++) {
		json_t *row;

		if (strcmp(entity_plural(k), kind) != 0)
			continue;
		row = entity_get(c->api->store, call_org(c), k, id, err);
		if (row == NULL)
			return -(int)err->code;
		ret->kind = entity_plural(k);
		(void)snprintf(ret->uuid, sizeof(ret->uuid), "%s",
		               entity_uuid(row));
		json_decref(row);
		return 0;
	}
	return err_set(err, ERR_MISSING,
	               "no kind \"%.60s\"; it is one of organizations, "
	               "endpoints, interlays, templates, apis, migrations",
	               kind);
}

int
on_grant_list(struct call *c, struct err *err)
{
	json_t *data = NULL;
	struct thing t = { .kind = NULL };
	int rc = find_thing(c, &t, err);

	if (rc == 0)
		rc = auth_rbac_get(c->api->auth, &c->who, t.kind, t.uuid, NULL,
		                   &data, err);
	return answer(c, rc, data, err);
}

int
on_grant_get(struct call *c, struct err *err)
{
	json_t *data = NULL;
	struct thing t = { .kind = NULL };
	int rc = find_thing(c, &t, err);

	if (rc == 0)
		rc = auth_rbac_get(c->api->auth, &c->who, t.kind, t.uuid,
		                   c->match.arg[2], &data, err);
	return answer(c, rc, data, err);
}

int
on_grant_put(struct call *c, struct err *err)
{
	json_t *data = NULL;
	struct thing t = { .kind = NULL };
	int rc = find_thing(c, &t, err);

	if (rc == 0)
		rc = auth_rbac_put(c->api->auth, &c->who, t.kind, t.uuid,
		                   c->match.arg[2], c->body, &data, err);
	return answer(c, rc, data, err);
}

int
on_grant_delete(struct call *c, struct err *err)
{
	struct thing t = { .kind = NULL };
	int rc = find_thing(c, &t, err);

	if (rc == 0)
		rc = auth_rbac_delete(c->api->auth, &c->who, t.kind, t.uuid,
		                      c->match.arg[2], err);
	return rc != 0 ? rc : call_done(c, c->match.arg[2], err);
}
