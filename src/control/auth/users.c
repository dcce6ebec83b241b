/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/users.c: people with a password, and new organizations.
 */
#include <stdio.h>

#include "control/auth/bearer.h"
#include "control/auth/parts.h"
#include "control/store/organization.h"
#include "control/store/user.h"

#define SUPER_ADMINS_MAX 16

/* ---- users ---------------------------------------------------------------- */

int
users_add(struct auth *a, const struct users_new *u, const json_t *fields,
          char ret_uuid[STORE_UUID], struct err *err)
{
	struct role_on on = { .org_uuid = u->org_uuid,
		              .kind = ROLE_ORGANIZATION,
		              .uuid = u->org_uuid };
	struct user_new row = { .org_uuid = u->org_uuid,
		                .hash = u->hash,
		                .description =
		                        field_text(fields, "description"),
		                .email = field_text(fields, "email"),
		                .display_name =
		                        field_text(fields, "display_name") };
	int rc = field_id(fields, "username", true, &row.name, err);

	if (rc == 0)
		rc = user_add(a->store, &row, ret_uuid, err);
	if (rc == 0)
		rc = role_put(a->store, &on, row.name, u->role, u->by, err);
	return rc;
}

/* What the API shows of a user. */
static int
show(struct auth *a, const char *org_uuid, const char *name, json_t **ret,
     struct err *err)
{
	struct role_on on = { .org_uuid = org_uuid,
		              .kind = ROLE_ORGANIZATION,
		              .uuid = org_uuid };
	enum role r = ROLE_NONE;
	json_t *row = user_get(a->store, org_uuid, name, err);

	*ret = NULL;
	if (row == NULL)
		return -(int)err->code;
	(void)role_get(a->store, &on, field_text(row, "name"), &r);
	*ret = json_pack("{s:O, s:O, s:s, s:O, s:O, s:O, s:O}", "username",
	                 json_object_get(row, "name"), "uuid",
	                 json_object_get(row, "uuid"), "role", role_name(r),
	                 "description", json_object_get(row, "description"),
	                 "email", json_object_get(row, "email"), "display_name",
	                 json_object_get(row, "display_name"), "created_at",
	                 json_object_get(row, "created_at"));
	json_decref(row);
	return *ret != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

int
auth_user_new(struct auth *a, const struct identity *who, const json_t *body,
              json_t **ret, struct err *err)
{
	char hash[PASSWORD_HASH];
	char uuid[STORE_UUID];
	struct users_new u = { .org_uuid = who->org_uuid,
		               .role = ROLE_NONE,
		               .by = who->subject,
		               .hash = hash };
	const char *password;
	int rc = may_here(a, who, ROLE_ADMIN, err);

	*ret = NULL;
	if (rc == 0)
		rc = field_role(body, &u.role, err);
	if (rc == 0)
		rc = may_give(who, who->role, u.role, err);
	if (rc == 0)
		rc = field_password(body, "password", &password, err);
	/* Outside the transaction: it takes a while. */
	if (rc == 0)
		rc = password_hash(&a->gate, password, hash, err);
	if (rc == 0)
		rc = store_begin(a->store, err);
	if (rc != 0)
		return rc;
	rc = users_add(a, &u, body, uuid, err);
	rc = store_end(a->store, rc, err);
	return rc != 0 ? rc : show(a, who->org_uuid, uuid, ret, err);
}

int
auth_user_list(struct auth *a, const struct identity *who, json_t **ret,
               struct err *err)
{
	int rc = may_here(a, who, ROLE_ADMIN, err);

	*ret = NULL;
	if (rc != 0)
		return rc;
	*ret = user_list(a->store, who->org_uuid, err);
	return *ret != NULL ? 0 : -(int)err->code;
}

/* The caller's own password proves who it is; an admin's role does for others. */
static int
check_right(struct auth *a, const struct identity *who, const json_t *row,
            const json_t *body, struct err *err)
{
	struct role_on on = { .org_uuid = who->org_uuid,
		              .kind = ROLE_ORGANIZATION,
		              .uuid = who->org_uuid };
	bool is_self = who->kind == IDENTITY_USER &&
	               strcmp(who->user, field_text(row, "uuid")) == 0;
	const char *old = field_text(body, "old_password");
	enum role was = ROLE_NONE;
	bool is_right = false;
	bool is_stale;
	int rc;

	(void)role_get(a->store, &on, field_text(row, "name"), &was);
	if (is_self && json_object_get(body, "role") == NULL) {
		if (json_object_get(body, "password") == NULL)
			return 0;
		if (old == NULL)
			return err_set(err, ERR_BAD,
			               "old_password: is needed to change "
			               "one's own password");
		if (throttle_take(&a->throttle, field_text(row, "uuid"),
		                  who->peer, a->wall_ms()) != 0)
			return err_set(err, ERR_LIMIT,
			               "too many wrong passwords; wait a "
			               "minute");
		rc = password_check(&a->gate, old, field_text(row, "hash"),
		                    &is_right, &is_stale, err);
		if (rc == 0 && !is_right)
			rc = err_set(err, ERR_FORBIDDEN,
			             "old_password: is not right");
		if (rc == 0)
			throttle_pass(&a->throttle, field_text(row, "uuid"),
			              who->peer);
		return rc;
	}
	rc = may_here(a, who, ROLE_ADMIN, err);
	return rc != 0 ? rc : may_give(who, who->role, was, err);
}

/* Everything that the body names, in one transaction. */
static int
change(struct auth *a, const struct identity *who, const json_t *row,
       const json_t *body, const char *hash, struct err *err)
{
	struct role_on on = { .org_uuid = who->org_uuid,
		              .kind = ROLE_ORGANIZATION,
		              .uuid = who->org_uuid };
	const json_t *text = json_object_get(body, "description");
	const char *uuid = field_text(row, "uuid");
	enum role r = ROLE_NONE;
	int rc = field_role(body, &r, err);

	if (rc == 0 && json_object_get(body, "role") != NULL) {
		rc = may_give(who, who->role, r, err);
		if (rc == 0)
			rc = role_put(a->store, &on, field_text(row, "name"), r,
			              who->subject, err);
		if (rc == 0)
			rc = may_leave(a, who, err);
	}
	if (rc == 0 && hash[0] != '\0')
		rc = user_set_hash(a->store, uuid, hash, true, err);
	if (rc == 0 && text != NULL)
		rc = user_set_description(a->store, uuid,
		                          json_string_value(text), err);
	return rc;
}

int
auth_user_patch(struct auth *a, const struct identity *who, const char *user,
                const json_t *body, json_t **ret, struct err *err)
{
	char hash[PASSWORD_HASH] = "";
	const char *password;
	json_t *row;
	int rc = 0;

	*ret = NULL;
	/* Who may not look at users does not learn which there are. */
	if (who->kind != IDENTITY_USER ||
	    (strcmp(user, who->subject) != 0 && strcmp(user, who->user) != 0))
		rc = may_here(a, who, ROLE_ADMIN, err);
	if (rc != 0)
		return rc;
	row = user_get(a->store, who->org_uuid, user, err);
	if (row == NULL)
		return -(int)err->code;
	rc = check_right(a, who, row, body, err);
	if (rc == 0 && json_object_get(body, "password") != NULL) {
		rc = field_password(body, "password", &password, err);
		if (rc == 0)
			rc = password_hash(&a->gate, password, hash, err);
	}
	if (rc == 0)
		rc = store_begin(a->store, err);
	if (rc == 0) {
		rc = change(a, who, row, body, hash, err);
		rc = store_end(a->store, rc, err);
	}
	if (rc == 0)
		rc = show(a, who->org_uuid, field_text(row, "uuid"), ret, err);
	json_decref(row);
	return rc;
}

int
auth_user_delete(struct auth *a, const struct identity *who, const char *user,
                 struct err *err)
{
	struct role_on on = { .org_uuid = who->org_uuid,
		              .kind = ROLE_ORGANIZATION,
		              .uuid = who->org_uuid };
	enum role was = ROLE_NONE;
	json_t *row;
	int rc = may_here(a, who, ROLE_ADMIN, err);

	if (rc == 0)
		rc = store_begin(a->store, err);
	if (rc != 0)
		return rc;
	row = user_get(a->store, who->org_uuid, user, err);
	if (row == NULL) {
		rc = -(int)err->code;
	} else {
		(void)role_get(a->store, &on, field_text(row, "name"), &was);
		rc = may_give(who, who->role, was, err);
	}
	if (rc == 0)
		rc = user_remove(a->store, field_text(row, "uuid"), err);
	if (rc == 0)
		rc = role_forget_subject(a->store, who->org_uuid,
		                         field_text(row, "name"), err);
	if (rc == 0)
		rc = may_leave(a, who, err);
	json_decref(row);
	return store_end(a->store, rc, err);
}

/* ---- organizations -------------------------------------------------------- */

static int
check_new_token(struct auth *a, const struct auth_request *r,
                uint32_t *ret_wait_s, struct err *err)
{
	const char *peer = r->peer != NULL ? r->peer : "";
	uint8_t hash[DIGEST_SIZE];
	struct bearer b;
	int rc = bearer_parse(r->authorization, &b, err);

	if (rc == 0 && b.kind != BEARER_TOKEN)
		rc = err_set(err, ERR_UNAUTHORIZED,
		             "POST /new needs the new-organization token as "
		             "Authorization: Bearer");
	bearer_clear(&b);
	if (rc != 0)
		return rc;
	if (!a->has_new_token)
		return err_set(err, ERR_FORBIDDEN,
		               "no new-organization token is configured; set "
		               "it to make organizations");
	*ret_wait_s = throttle_take(&a->throttle, NULL, peer, a->wall_ms());
	if (*ret_wait_s != 0)
		return err_set(err, ERR_LIMIT,
		               "too many wrong tokens; wait %u s", *ret_wait_s);
	digest_sha256(b.token, hash);
	if (!digest_is_equal(hash, a->new_token))
		return err_set(err, ERR_UNAUTHORIZED,
		               "this is not the new-organization token");
	throttle_pass(&a->throttle, NULL, peer);
	return 0;
}

static int
hash_all(struct auth *a, const json_t *list,
         char hashes[SUPER_ADMINS_MAX][PASSWORD_HASH], struct err *err)
{
	size_t n = json_array_size(list);
	const char *password;
	const char *name;
	int rc = 0;

	if (n == 0 || n > SUPER_ADMINS_MAX)
		return err_set(err, ERR_BAD,
		               "super_admins: 1 to %d of them, not %zu",
		               SUPER_ADMINS_MAX, n);
	/* Everything is looked at before the slow part. */
	for (size_t i = 0; i < n && rc == 0; i++) {
		const json_t *u = json_array_get(list, i);

		rc = field_id(u, "username", true, &name, err);
		if (rc == 0)
			rc = field_password(u, "password", &password, err);
	}
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = password_hash(
			&a->gate,
			field_text(json_array_get(list, i), "password"),
			hashes[i], err);
	return rc;
}

static int
make(struct auth *a, const json_t *body, const char *id, char uuid[STORE_UUID],
     char hashes[SUPER_ADMINS_MAX][PASSWORD_HASH], struct err *err)
{
	const json_t *list = json_object_get(body, "super_admins");
	const char *given = field_text(body, "uuid");
	struct users_new u = { .org_uuid = uuid,
		               .role = ROLE_SUPER_ADMIN,
		               .by = "new organization" };
	char user[STORE_UUID];
	int rc;

	(void)snprintf(uuid, STORE_UUID, "%s",
	               given != NULL && store_is_uuid(given) ? given : "");
	rc = organization_add(a->store, id, field_text(body, "description"),
	                      uuid, err);
	for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
		u.hash = hashes[i];
		rc = users_add(a, &u, json_array_get(list, i), user, err);
	}
	return rc;
}

static int
note(struct auth *a, const struct auth_request *r, const char *uuid,
     const char *id, struct err *err)
{
	struct auth_entry e = { .org_uuid = uuid,
		                .subject = "new organization",
		                .peer = r->peer,
		                .action = "POST /api/v1/new",
		                .kind = ROLE_ORGANIZATION,
		                .id = id,
		                .result = "ok" };

	return auth_audit(a, &e, NULL, err);
}

int
auth_organization_new(struct auth *a, const struct auth_request *r,
                      const json_t *body, json_t **ret, uint32_t *ret_wait_s,
                      struct err *err)
{
	char hashes[SUPER_ADMINS_MAX][PASSWORD_HASH];
	char uuid[STORE_UUID];
	const char *id = NULL;
	int rc;

	*ret = NULL;
	*ret_wait_s = 0;
	rc = check_new_token(a, r, ret_wait_s, err);
	if (rc == 0)
		rc = field_id(body, "id", false, &id, err);
	if (rc == 0)
		rc = hash_all(a, json_object_get(body, "super_admins"), hashes,
		              err);
	if (rc == 0)
		rc = store_begin(a->store, err);
	if (rc != 0)
		return rc;
	rc = make(a, body, id, uuid, hashes, err);
	if (rc == 0)
		rc = note(a, r, uuid, id, err);
	rc = store_end(a->store, rc, err);
	if (rc != 0)
		return rc;
	*ret = json_pack("{s:s, s:s}", "id", id, "uuid", uuid);
	return *ret != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}
