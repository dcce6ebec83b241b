/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/session.c: the tokens of a login: short-lived JWTs of our own.
 *
 * HS256 with a key that comes from the key file. The claims say who and since
 * when; the role is looked up on each call, so that a grant or its end counts at
 * once. A token ends by its time, by logout or refresh (its jti is remembered
 * until then), and with the password or the user (claim "ver").
 */
#include <stdio.h>
#include <stdlib.h>

#include "control/auth/jwt.h"
#include "control/auth/parts.h"
#include "control/limit.h"
#include "control/store/token.h"
#include "control/store/user.h"

#define ISSUER "godwit"

static int
refuse(struct err *err)
{
	return err_set(err, ERR_UNAUTHORIZED,
	               "the token is not valid here (any more); log in again");
}

static int64_t
claim_number(const json_t *claims, const char *name)
{
	return json_integer_value(json_object_get(claims, name));
}

/* The user as it is now, or NULL: gone, or with another password. */
static json_t *
user_of(struct auth *a, const struct jwt *j, struct err *err)
{
	json_t *row = user_find(a->store, jwt_text(j, "uid"), err);

	if (row == NULL) {
		if (err->code == ERR_MISSING)
			(void)refuse(err);
		return NULL;
	}
	if (claim_number(row, "version") != claim_number(j->claims, "ver") ||
	    strcmp(field_text(row, "org_uuid"), jwt_text(j, "org_uuid")) != 0) {
		json_decref(row);
		(void)refuse(err);
		return NULL;
	}
	return row;
}

static enum role
role_of(const json_t *row)
{
	const char *text = field_text(row, "role");
	enum role r = ROLE_NONE;

	if (text != NULL)
		(void)role_parse(text, &r);
	return r;
}

int
session_check(struct auth *a, const struct jwt *j, struct identity *ret,
              struct err *err)
{
	const char *jti = jwt_text(j, "jti");
	json_t *row;
	int rc;

	if (!jwt_is_signed(j, a->key->jwt) ||
	    strcmp(jwt_text(j, "iss"), ISSUER) != 0 || !jwt_is_for(j, ISSUER) ||
	    !store_is_uuid(jti))
		return refuse(err);
	rc = jwt_check_times(j, a->wall_ms(), err);
	if (rc != 0)
		return rc;
	if (token_is_ended(a->store, jti))
		return refuse(err);
	row = user_of(a, j, err);
	if (row == NULL)
		return -(int)err->code;
	ret->kind = IDENTITY_USER;
	ret->role = role_of(row);
	ret->expires_ms = claim_number(j->claims, "exp") * 1000;
	ret->version = claim_number(row, "version");
	ret->began_ms = claim_number(j->claims, "auth_time") * 1000;
	(void)snprintf(ret->org, sizeof(ret->org), "%s",
	               field_text(row, "org"));
	(void)snprintf(ret->org_uuid, sizeof(ret->org_uuid), "%s",
	               field_text(row, "org_uuid"));
	(void)snprintf(ret->subject, sizeof(ret->subject), "%s",
	               field_text(row, "name"));
	(void)snprintf(ret->user, sizeof(ret->user), "%s",
	               field_text(row, "uuid"));
	(void)snprintf(ret->token, sizeof(ret->token), "%s", jti);
	json_decref(row);
	return 0;
}

int
session_make(struct auth *a, const struct session *s, json_t **ret,
             struct err *err)
{
	int64_t now = a->wall_ms() / 1000;
	json_t *row = user_find(a->store, s->user, err);
	json_t *claims;
	char *text;
	char jti[STORE_UUID];
	char at[STORE_TIME];

	*ret = NULL;
	if (row == NULL)
		return err->code == ERR_MISSING ? refuse(err) : -(int)err->code;
	if (claim_number(row, "version") != s->version) {
		json_decref(row);
		return refuse(err);
	}
	claims = json_pack(
		"{s:s, s:s, s:O, s:O, s:O, s:O, s:s, s:O, s:I, s:I, s:I, s:s}",
		"iss", ISSUER, "aud", ISSUER, "sub",
		json_object_get(row, "name"), "uid",
		json_object_get(row, "uuid"), "org",
		json_object_get(row, "org"), "org_uuid",
		json_object_get(row, "org_uuid"), "role",
		role_name(role_of(row)), "ver", json_object_get(row, "version"),
		"auth_time", (json_int_t)s->began_s, "iat", (json_int_t)now,
		"exp", (json_int_t)now + LIMIT_TOKEN_S, "jti", store_uuid(jti));
	text = claims != NULL ? jwt_sign(a->key->jwt, claims) : NULL;
	if (text != NULL)
		*ret = json_pack("{s:s, s:s, s:O, s:s}", "token", text,
		                 "expires_at",
		                 store_time(at, (now + LIMIT_TOKEN_S) * 1000),
		                 "organization", json_object_get(row, "org"),
		                 "role", role_name(role_of(row)));
	json_decref(claims);
	json_decref(row);
	if (text != NULL)
		digest_clear(text, strlen(text));
	free(text);
	return *ret != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

/* ---- calls ---------------------------------------------------------------- */

static int
only_sessions(const struct identity *who, struct err *err)
{
	if (who->kind == IDENTITY_USER)
		return 0;
	if (who->kind == IDENTITY_TOKEN)
		return err_set(err, ERR_FORBIDDEN,
		               "an API token is no login; end it with DELETE "
		               "/iam/tokens/{id}");
	return err_set(
		err, ERR_FORBIDDEN,
		"this token was made by the OIDC issuer; renew or end it "
		"there");
}

int
auth_refresh(struct auth *a, const struct identity *who, json_t **ret,
             struct err *err)
{
	struct session s = { .user = who->user,
		             .version = who->version,
		             .began_s = who->began_ms / 1000 };
	int64_t now = a->wall_ms();
	int rc = only_sessions(who, err);

	*ret = NULL;
	if (rc != 0)
		return rc;
	if (now - who->began_ms >= LIMIT_TOKEN_SESSION_S * 1000LL)
		return err_set(err, ERR_UNAUTHORIZED,
		               "the login is older than %d hours; log in again",
		               LIMIT_TOKEN_SESSION_S / 3600);
	rc = store_begin(a->store, err);
	if (rc != 0)
		return rc;
	rc = token_end(a->store, who->token,
	               who->expires_ms + LIMIT_CLOCK_SLACK_S * 1000LL, now,
	               err);
	if (rc == -ERR_EXISTS) /* somebody else used it at the same time */
		rc = refuse(err);
	if (rc == 0)
		rc = session_make(a, &s, ret, err);
	rc = store_end(a->store, rc, err);
	if (rc != 0) {
		json_decref(*ret);
		*ret = NULL;
	}
	return rc;
}

int
auth_logout(struct auth *a, const struct identity *who, struct err *err)
{
	int rc = only_sessions(who, err);

	if (rc != 0)
		return rc;
	rc = token_end(a->store, who->token,
	               who->expires_ms + LIMIT_CLOCK_SLACK_S * 1000LL,
	               a->wall_ms(), err);
	return rc == -ERR_EXISTS ? 0 : rc;
}
