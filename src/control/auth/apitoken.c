/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/apitoken.c: long-lived tokens of programs.
 *
 * gwt_<handle>_<secret>: 8 random bytes in hex to find the row, 32 in base64url
 * that only the hash is kept of. A secret of 256 random bits needs no slow hash.
 */
#include <stdio.h>

#include "base/base64.h"
#include "control/auth/parts.h"
#include "control/limit.h"
#include "control/store/token.h"

#define HANDLE     8
#define HANDLE_LEN ((size_t)2 * HANDLE)
#define HEAD_LEN   (sizeof(APITOKEN_HEAD) - 1)

int
apitoken_make(struct auth *a, const struct apitoken *t, char ret[APITOKEN_LEN],
              struct err *err)
{
	uint8_t raw[HANDLE];
	uint8_t secret[32];
	uint8_t hash[DIGEST_SIZE];
	char handle[HANDLE_LEN + 1];
	char text[BASE64_LEN(32)];
	struct token_new row = { .org_uuid = t->org_uuid,
		                 .id = t->id,
		                 .handle = handle,
		                 .hash = hash,
		                 .role = role_name(t->role),
		                 .expires_ms = t->expires_ms,
		                 .by = t->by,
		                 .description = t->description };

	digest_random(raw, sizeof(raw));
	digest_random(secret, sizeof(secret));
	digest_hex(raw, sizeof(raw), handle);
	(void)base64_put(BASE64_URL, span_of(secret, sizeof(secret)), text);
	(void)snprintf(ret, APITOKEN_LEN, APITOKEN_HEAD "%s_%s", handle, text);
	digest_clear(secret, sizeof(secret));
	digest_clear(text, sizeof(text));
	digest_sha256(span_str(ret), hash);
	return token_add(a->store, &row, err);
}

/* The same text whatever is wrong with it. */
static int
refuse(struct err *err)
{
	return err_set(err, ERR_UNAUTHORIZED,
	               "the API token is not known, or was revoked; make "
	               "another with POST /iam/tokens");
}

static int
fill(struct auth *a, const json_t *row, struct identity *ret, struct err *err)
{
	const char *role = field_text(row, "role");
	const char *id = field_text(row, "id");

	ret->kind = IDENTITY_TOKEN;
	ret->expires_ms =
		json_integer_value(json_object_get(row, "expires_ms"));
	if (ret->expires_ms != 0 && a->wall_ms() >= ret->expires_ms)
		return err_set(err, ERR_UNAUTHORIZED,
		               "the API token \"%.64s\" has expired; make "
		               "another with POST /iam/tokens",
		               id);
	if (!role_parse(role, &ret->role))
		return refuse(err);
	(void)snprintf(ret->org, sizeof(ret->org), "%s",
	               field_text(row, "org"));
	(void)snprintf(ret->org_uuid, sizeof(ret->org_uuid), "%s",
	               field_text(row, "org_uuid"));
	(void)snprintf(ret->subject, sizeof(ret->subject), "token:%s", id);
	(void)snprintf(ret->token, sizeof(ret->token), "%s",
	               field_text(row, "handle"));
	return 0;
}

int
apitoken_check(struct auth *a, struct span token, struct identity *ret,
               struct err *err)
{
	uint8_t have[DIGEST_SIZE];
	uint8_t want[DIGEST_SIZE];
	char handle[HANDLE_LEN + 1] = "";
	json_t *row;
	int rc;

	if (token.n <= HEAD_LEN + HANDLE_LEN || token.n >= APITOKEN_LEN ||
	    token.p[HEAD_LEN + HANDLE_LEN] != '_')
		return refuse(err);
	memcpy(handle, token.p + HEAD_LEN, HANDLE_LEN);
	row = token_find(a->store, handle, err);
	if (row == NULL)
		return err->code == ERR_MISSING ? refuse(err) : -(int)err->code;
	digest_sha256(token, have);
	if (digest_unhex(field_text(row, "hash"), want, DIGEST_SIZE) &&
	    digest_is_equal(have, want))
		rc = fill(a, row, ret, err);
	else
		rc = refuse(err);
	json_decref(row);
	return rc;
}

/* ---- calls ---------------------------------------------------------------- */

/* When it ends (only the token of the first start never does). */
static int
expiry(struct auth *a, const json_t *body, int64_t *ret, struct err *err)
{
	const char *at = field_text(body, "expires_at");
	int64_t in_s =
		json_integer_value(json_object_get(body, "expires_in_s"));
	int64_t now = a->wall_ms();

	if (at != NULL && in_s != 0)
		return err_set(err, ERR_BAD,
		               "expires_at: there is expires_in_s as well; "
		               "give one of them");
	if (at == NULL)
		*ret = now + (in_s != 0 ? in_s : LIMIT_TOKEN_DEFAULT_S) * 1000;
	else if (!field_time(at, ret))
		return err_set(err, ERR_BAD,
		               "expires_at: \"%.40s\" is no time as "
		               "2026-12-31T23:59:59Z",
		               at);
	if (in_s < 0 || *ret <= now ||
	    *ret - now > LIMIT_TOKEN_YEARS_S * 1000LL)
		return err_set(err, ERR_BAD,
		               "expires_at: must lie ahead, and by at most ten "
		               "years");
	return 0;
}

/* A row as the API shows it. */
static int
show(json_t *row, struct err *err)
{
	char at[STORE_TIME];
	int64_t ms = json_integer_value(json_object_get(row, "expires_ms"));

	(void)json_object_del(row, "expires_ms");
	if (json_object_set_new(row, "expires_at",
	                        ms == 0 ? json_null()
	                                : json_string(store_time(at, ms))) != 0)
		return err_set(err, ERR_NOMEM, "out of memory");
	return 0;
}

int
auth_token_new(struct auth *a, const struct identity *who, const json_t *body,
               json_t **ret, struct err *err)
{
	struct apitoken t = { .org_uuid = who->org_uuid,
		              .role = ROLE_NONE,
		              .by = who->subject,
		              .description = field_text(body, "description") };
	char token[APITOKEN_LEN];
	char at[STORE_TIME];
	int rc = may_here(a, who, ROLE_ADMIN, err);

	*ret = NULL;
	if (rc == 0)
		rc = field_id(body, "id", false, &t.id, err);
	if (rc == 0)
		rc = field_role(body, &t.role, err);
	if (rc == 0)
		rc = may_give(who, who->role, t.role, err);
	if (rc == 0)
		rc = expiry(a, body, &t.expires_ms, err);
	if (rc == 0)
		rc = apitoken_make(a, &t, token, err);
	if (rc != 0)
		return rc;
	*ret = json_pack("{s:s, s:s, s:s, s:s, s:s?}", "id", t.id, "token",
	                 token, "role", role_name(t.role), "expires_at",
	                 store_time(at, t.expires_ms), "description",
	                 t.description);
	digest_clear(token, sizeof(token));
	return *ret != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

int
auth_token_list(struct auth *a, const struct identity *who, json_t **ret,
                struct err *err)
{
	int rc = may_here(a, who, ROLE_ADMIN, err);

	*ret = NULL;
	if (rc != 0)
		return rc;
	*ret = token_list(a->store, who->org_uuid, err);
	if (*ret == NULL)
		return -(int)err->code;
	for (size_t i = 0; i < json_array_size(*ret) && rc == 0; i++)
		rc = show(json_array_get(*ret, i), err);
	return rc;
}

int
auth_token_revoke(struct auth *a, const struct identity *who, const char *id,
                  struct err *err)
{
	char subject[ROLE_SUBJECT];
	enum role r = ROLE_SUPER_ADMIN;
	json_t *row;
	int rc = may_here(a, who, ROLE_ADMIN, err);

	if (rc == 0)
		rc = store_begin(a->store, err);
	if (rc != 0)
		return rc;
	row = token_get(a->store, who->org_uuid, id, err);
	if (row == NULL) {
		rc = -(int)err->code;
	} else {
		(void)role_parse(field_text(row, "role"), &r);
		rc = may_give(who, who->role, r, err);
	}
	(void)snprintf(subject, sizeof(subject), "token:%s", id);
	if (rc == 0)
		rc = token_remove(a->store, who->org_uuid, id, err);
	/* Another token of this name must not inherit its grants. */
	if (rc == 0)
		rc = role_forget_subject(a->store, who->org_uuid, subject, err);
	if (rc == 0)
		rc = may_leave(a, who, err);
	json_decref(row);
	return store_end(a->store, rc, err);
}
