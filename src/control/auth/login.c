/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/login.c: a name and a password become a token.
 *
 * An unknown organization or user takes the same way as a wrong password: the
 * same hash is computed, the same attempt is counted, the same text is answered.
 */
#include <stdio.h>

#include "control/auth/bearer.h"
#include "control/auth/parts.h"
#include "control/store/organization.h"
#include "control/store/user.h"

static int
refuse(struct err *err)
{
	return err_set(err, ERR_UNAUTHORIZED,
	               "organization, user or password are not right");
}

/* Whose attempt it is. */
struct attempt {
	const struct bearer *b;
	const char *org; /* as it was sent */
	const char *peer;
	json_t *org_row; /* NULL: no such organization */
	json_t *user;    /* NULL: no such user */
};

static int
find(struct auth *a, struct attempt *t, struct err *err)
{
	t->org_row = organization_get(a->store, t->org, err);
	if (t->org_row != NULL)
		t->user = user_get(a->store, field_text(t->org_row, "uuid"),
		                   t->b->user, err);
	if (t->user == NULL && err->code != ERR_MISSING)
		return -(int)err->code;
	return 0;
}

/* In the audit log: who came in, and who tried to. */
static int
note(struct auth *a, const struct attempt *t, const char *result,
     struct err *err)
{
	struct auth_entry e = { .org_uuid = field_text(t->org_row, "uuid"),
		                .subject = t->b->user,
		                .peer = t->peer,
		                .action = "POST /api/v1/auth/login",
		                .result = result };

	return auth_audit(a, &e, NULL, err);
}

/* Under this the attempts are counted: one user has one name and a uuid. */
static void
count_name(const json_t *row, const char *org, const char *user, char *ret,
           size_t n)
{
	if (row != NULL)
		(void)snprintf(ret, n, "%s", field_text(row, "uuid"));
	else
		(void)snprintf(ret, n, "%.64s/%.64s", org, user);
}

/* Made again with the cost of today; a failure is no reason to refuse. */
static void
renew(struct auth *a, const json_t *row, const char *password)
{
	char hash[PASSWORD_HASH];

	if (password_hash(&a->gate, password, hash, NULL) == 0)
		(void)!user_set_hash(a->store, field_text(row, "uuid"), hash,
		                     false, NULL);
}

static int
prove(struct auth *a, const struct attempt *t, uint32_t *ret_wait_s,
      struct err *err)
{
	char name[160];
	bool is_right;
	bool is_stale;
	int rc;

	count_name(t->user, t->org, t->b->user, name, sizeof(name));
	*ret_wait_s = throttle_take(&a->throttle, name, t->peer, a->wall_ms());
	if (*ret_wait_s != 0)
		return err_set(err, ERR_LIMIT,
		               "too many attempts to log in; wait %u s",
		               *ret_wait_s);
	rc = password_check(&a->gate, t->b->password,
	                    field_text(t->user, "hash"), &is_right, &is_stale,
	                    err);
	if (rc == -ERR_LIMIT)
		*ret_wait_s = 1;
	if (rc != 0 || is_right)
		throttle_pass(&a->throttle, name, t->peer);
	if (rc != 0)
		return rc;
	if (!is_right) {
		(void)!note(a, t, err_name(ERR_UNAUTHORIZED), NULL);
		return refuse(err);
	}
	if (is_stale)
		renew(a, t->user, t->b->password);
	return note(a, t, "ok", err);
}

static int
log_in(struct auth *a, struct attempt *t, json_t **ret, uint32_t *ret_wait_s,
       struct err *err)
{
	struct session s = { .began_s = a->wall_ms() / 1000 };
	int rc = find(a, t, err);

	if (rc == 0)
		rc = prove(a, t, ret_wait_s, err);
	if (rc == 0) {
		s.user = field_text(t->user, "uuid");
		s.version =
			json_integer_value(json_object_get(t->user, "version"));
		rc = session_make(a, &s, ret, err);
	}
	json_decref(t->user);
	json_decref(t->org_row);
	return rc;
}

int
auth_login(struct auth *a, const struct auth_request *r, json_t **ret,
           uint32_t *ret_wait_s, struct err *err)
{
	struct bearer b;
	struct attempt t = { .b = &b,
		             .org = r->org,
		             .peer = r->peer != NULL ? r->peer : "" };
	int rc;

	*ret = NULL;
	*ret_wait_s = 0;
	rc = bearer_parse(r->authorization, &b, err);
	if (rc == 0 && b.kind != BEARER_BASIC)
		rc = err_set(err, ERR_UNAUTHORIZED,
		             "POST /auth/login needs Authorization: Basic with "
		             "user and password");
	if (rc == 0 && (r->org == NULL || r->org[0] == '\0'))
		rc = err_set(err, ERR_BAD,
		             "X-Org-Id: is missing; it names the organization "
		             "(the first one is \"%s\")",
		             ORGANIZATION_DEFAULT);
	if (rc == 0)
		rc = log_in(a, &t, ret, ret_wait_s, err);
	bearer_clear(&b);
	return rc;
}
