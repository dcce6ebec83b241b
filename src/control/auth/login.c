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

/* The user's row; *ret is NULL for one that is not there. */
static int
find(struct auth *a, const char *org, const char *user, json_t **ret,
     struct err *err)
{
	json_t *row = organization_get(a->store, org, err);

	*ret = NULL;
	if (row != NULL) {
		*ret = user_get(a->store, field_text(row, "uuid"), user, err);
		json_decref(row);
	}
	if (*ret == NULL && err->code != ERR_MISSING)
		return -(int)err->code;
	return 0;
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
prove(struct auth *a, const struct bearer *b, const char *org, const char *peer,
      json_t **ret, uint32_t *ret_wait_s, struct err *err)
{
	char name[160];
	json_t *row;
	bool is_right;
	bool is_stale;
	int rc = find(a, org, b->user, &row, err);

	*ret = NULL;
	if (rc != 0)
		return rc;
	count_name(row, org, b->user, name, sizeof(name));
	*ret_wait_s = throttle_take(&a->throttle, name, peer, a->wall_ms());
	if (*ret_wait_s != 0) {
		json_decref(row);
		return err_set(err, ERR_LIMIT,
		               "too many attempts to log in; wait %u s",
		               *ret_wait_s);
	}
	rc = password_check(&a->gate, b->password, field_text(row, "hash"),
	                    &is_right, &is_stale, err);
	if (rc == -ERR_LIMIT)
		*ret_wait_s = 1;
	if (rc != 0 || is_right)
		throttle_pass(&a->throttle, name, peer);
	if (rc == 0 && !is_right)
		rc = refuse(err);
	if (rc == 0 && is_stale)
		renew(a, row, b->password);
	if (rc == 0)
		rc = session_make(a, field_text(row, "uuid"),
		                  a->wall_ms() / 1000, ret, err);
	json_decref(row);
	return rc;
}

int
auth_login(struct auth *a, const struct auth_request *r, json_t **ret,
           uint32_t *ret_wait_s, struct err *err)
{
	struct bearer b;
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
		rc = prove(a, &b, r->org, r->peer != NULL ? r->peer : "", ret,
		           ret_wait_s, err);
	bearer_clear(&b);
	return rc;
}
