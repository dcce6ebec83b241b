/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/may.c: roles asked for and handed out.
 */
#include "control/auth/parts.h"
#include "control/store/token.h"
#include "control/store/user.h"

enum role
auth_role(struct auth *a, const struct identity *who, const char *kind,
          const char *uuid)
{
	struct role_on on = { .org_uuid = who->org_uuid,
		              .kind = kind,
		              .uuid = uuid };
	enum role own;

	if (who->role == ROLE_SUPER_ADMIN || uuid == NULL ||
	    strcmp(kind, ROLE_ORGANIZATION) == 0 ||
	    !role_get(a->store, &on, who->subject, &own))
		return who->role;
	return own;
}

int
auth_may(struct auth *a, const struct identity *who, const char *kind,
         const char *uuid, enum role needed, struct err *err)
{
	enum role have = auth_role(a, who, kind, uuid);

	if (have >= needed)
		return 0;
	return err_set(err, ERR_FORBIDDEN,
	               "this needs the role %s here (%s); \"%.64s\" has %s; an "
	               "admin can grant it with PUT /iam/rbac/...",
	               role_name(needed),
	               uuid != NULL ? kind : "the organization", who->subject,
	               role_name(have));
}

int
auth_forget_entity(struct auth *a, const char *org_uuid, const char *kind,
                   const char *uuid, struct err *err)
{
	struct role_on on = { .org_uuid = org_uuid,
		              .kind = kind,
		              .uuid = uuid };

	return role_forget_entity(a->store, &on, err);
}

int
may_here(struct auth *a, const struct identity *who, enum role needed,
         struct err *err)
{
	return auth_may(a, who, ROLE_ORGANIZATION, NULL, needed, err);
}

int
may_give(const struct identity *who, enum role have, enum role given,
         struct err *err)
{
	if (given <= have)
		return 0;
	return err_set(err, ERR_FORBIDDEN,
	               "\"%.64s\" has the role %s and can neither give nor "
	               "take %s",
	               who->subject, role_name(have), role_name(given));
}

int
may_leave(struct auth *a, const struct identity *who, struct err *err)
{
	if (role_count_super(a->store, who->org_uuid) +
	            token_count_super(a->store, who->org_uuid, a->wall_ms()) >
	    0)
		return 0;
	return err_set(err, ERR_STATE,
	               "this would leave %s without a super-admin; make "
	               "another one first",
	               who->org);
}

/* ---- calls ---------------------------------------------------------------- */

static const char *const kinds[] = {
	ROLE_ORGANIZATION, "endpoints", "interlays",
	"templates",       "apis",      "migrations"
};

static int
check_place(struct auth *a, const struct identity *who,
            const struct role_on *on, enum role *ret_have, struct err *err)
{
	bool is_known = false;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		is_known = is_known || strcmp(kinds[i], on->kind) == 0;
	if (!is_known)
		return err_set(err, ERR_MISSING,
		               "there are no roles on \"%.32s\", but on "
		               "organizations, endpoints, interlays, "
		               "templates, apis and migrations",
		               on->kind);
	if (strcmp(on->kind, ROLE_ORGANIZATION) == 0 &&
	    strcmp(on->uuid, who->org_uuid) != 0)
		return err_set(err, ERR_MISSING,
		               "that is not the organization of this token");
	*ret_have = auth_role(a, who, on->kind, on->uuid);
	return auth_may(a, who, on->kind, on->uuid, ROLE_ADMIN, err);
}

/* Grants wait for nobody who is still to come: a name must be somebody's. */
static int
check_subject(struct auth *a, const struct identity *who, const char *subject,
              struct err *err)
{
	static const char token[] = "token:";
	static const char oidc[] = "oidc:";
	json_t *row;

	if (strlen(subject) >= ROLE_SUBJECT)
		return err_set(err, ERR_BAD, "the subject is too long");
	if (strncmp(subject, oidc, sizeof(oidc) - 1) == 0)
		return subject[sizeof(oidc) - 1] != '\0'
		               ? 0
		               : err_set(err, ERR_BAD, "oidc: without a name");
	if (strncmp(subject, token, sizeof(token) - 1) == 0)
		row = token_get(a->store, who->org_uuid,
		                subject + sizeof(token) - 1, err);
	else
		row = user_get(a->store, who->org_uuid, subject, err);
	if (row == NULL)
		return -(int)err->code;
	json_decref(row);
	return 0;
}

static json_t *
grant(const struct role_on *on, const char *subject, enum role r)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "kind", on->kind, "entity",
	                 on->uuid, "subject", subject, "role", role_name(r));
}

int
auth_rbac_get(struct auth *a, const struct identity *who, const char *kind,
              const char *uuid, const char *subject, json_t **ret,
              struct err *err)
{
	struct role_on on = { .org_uuid = who->org_uuid,
		              .kind = kind,
		              .uuid = uuid };
	enum role r = ROLE_NONE;
	int rc = check_place(a, who, &on, &r, err);

	*ret = NULL;
	if (rc != 0)
		return rc;
	if (subject == NULL) {
		json_t *rows = role_list(a->store, &on, err);

		if (rows == NULL)
			return -(int)err->code;
		*ret = json_pack("{s:s, s:s, s:o}", "kind", kind, "entity",
		                 uuid, "subjects", rows);
	} else if (role_get(a->store, &on, subject, &r)) {
		*ret = grant(&on, subject, r);
	} else {
		return err_set(err, ERR_MISSING,
		               "\"%.64s\" has no role of its own here",
		               subject);
	}
	return *ret != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

/* What the subject has here now must be no more than what the caller has. */
static int
check_taken(struct auth *a, const struct identity *who,
            const struct role_on *on, const char *subject, enum role have,
            struct err *err)
{
	enum role was = ROLE_NONE;

	(void)role_get(a->store, on, subject, &was);
	return may_give(who, have, was, err);
}

int
auth_rbac_put(struct auth *a, const struct identity *who, const char *kind,
              const char *uuid, const char *subject, const json_t *body,
              json_t **ret, struct err *err)
{
	struct role_on on = { .org_uuid = who->org_uuid,
		              .kind = kind,
		              .uuid = uuid };
	enum role have = ROLE_NONE;
	enum role r = ROLE_NONE;
	int rc = check_place(a, who, &on, &have, err);

	*ret = NULL;
	if (rc == 0 && json_object_get(body, "role") == NULL)
		rc = err_set(err, ERR_BAD, "role: is missing");
	if (rc == 0)
		rc = field_role(body, &r, err);
	if (rc == 0)
		rc = may_give(who, have, r, err);
	if (rc == 0)
		rc = store_begin(a->store, err);
	if (rc != 0)
		return rc;
	rc = check_subject(a, who, subject, err);
	if (rc == 0)
		rc = check_taken(a, who, &on, subject, have, err);
	if (rc == 0)
		rc = role_put(a->store, &on, subject, r, who->subject, err);
	if (rc == 0)
		rc = may_leave(a, who, err);
	rc = store_end(a->store, rc, err);
	if (rc != 0)
		return rc;
	*ret = grant(&on, subject, r);
	return *ret != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

int
auth_rbac_delete(struct auth *a, const struct identity *who, const char *kind,
                 const char *uuid, const char *subject, struct err *err)
{
	struct role_on on = { .org_uuid = who->org_uuid,
		              .kind = kind,
		              .uuid = uuid };
	enum role have = ROLE_NONE;
	int rc = check_place(a, who, &on, &have, err);

	if (rc == 0)
		rc = store_begin(a->store, err);
	if (rc != 0)
		return rc;
	rc = check_taken(a, who, &on, subject, have, err);
	if (rc == 0)
		rc = role_remove(a->store, &on, subject, err);
	if (rc == 0)
		rc = may_leave(a, who, err);
	return store_end(a->store, rc, err);
}
