/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/auth.h: who is asking, what may they, and what did they do.
 *
 * The one door of the API to identity: a request's headers go in, an identity
 * comes out; roles are asked with it; what it changed is written down with it.
 * Passwords, tokens and keys never leave this folder but in the answer that
 * makes them; nothing here logs.
 *
 * HTTP status of a refusal is that of its code (tables/err.tbl): UNAUTHORIZED
 * 401, FORBIDDEN 403, LIMIT 429 (with Retry-After: ret_wait_s),
 * BAD 400, MISSING 404, EXISTS 409.
 *
 * *err must be there (not NULL) where a call takes it.
 *
 * Owns:   the keys (from <state>.key), the login limits, the OIDC cache; its
 *         tables in the store.
 * Limits: tables/limit.tbl, LOGIN_*, TOKEN_*, OIDC_*.
 * Thread: any.
 */
#pragma once

#include <jansson.h>

#include "control/store/role.h"
#include "control/store/store.h"

struct auth;

struct auth_conf {
	const char *state; /* path of the state file; the key is <state>.key */

	/* First start: the super-admin's token goes into this file (0600), or
	 * else to first_token (once, before the organization is committed). */
	const char *admin_token_file; /* NULL: none */
	void (*first_token)(void *arg, const char *token);
	void *arg;

	const char
		*new_organization_token; /* NULL or "": POST /new is refused */

	/* {"issuer","audience","organization","claim","roles":{value: role},
	 * "default_role","allow_http_loopback"} or NULL; docs/guide/security.md.
	 * Borrowed during auth_new. */
	const json_t *oidc;

	int64_t (*wall_ms)(
		void);        /* NULL: the real clock (tests bring theirs) */
	uint32_t scrypt_log2; /* 0: LIMIT_PASSWORD_LOG2 (tests are cheaper) */
};

/* The store is borrowed until auth_free. ERR_BAD: a key file that others can
 * read, or that belongs to another state file; ERR_MISSING: the state file has
 * secrets and its key is gone; ERR_USAGE: the OIDC configuration. */
struct auth *auth_new(struct store *s, const struct auth_conf *c,
                      struct err *err);
void auth_free(struct auth *a); /* NULL is fine; keys are wiped */

/* ---- who -------------------------------------------------------------------- */

/* A request as far as identity goes. Strings are borrowed; NULL: no such header. */
struct auth_request {
	const char *authorization;
	const char *org;  /* X-Org-Id or X-Org-Uuid: an id or a uuid */
	const char *peer; /* address of the other end, without the port */
};

enum identity_kind {
	IDENTITY_USER,  /* our own JWT, after a login            */
	IDENTITY_TOKEN, /* an API token                          */
	IDENTITY_OIDC,  /* a JWT of the configured OIDC issuer   */
};

struct identity {
	enum identity_kind kind;
	enum role role; /* in the organization; never more than the token's */
	char org[65];
	char org_uuid[STORE_UUID];
	char subject[ROLE_SUBJECT];
	char user[STORE_UUID];  /* IDENTITY_USER: its uuid, else "" */
	char token[STORE_UUID]; /* jti, or the handle of the API token */
	int64_t expires_ms;     /* wall clock; 0: never */
	int64_t began_ms;       /* IDENTITY_USER: when the password was given */
	int64_t version;        /* IDENTITY_USER: of the user's row */
	char peer[64];
};

/* Bearer JWT (ours or the OIDC issuer's) or Bearer API token. Checks signature,
 * issuer, expiry, revocation, and X-Org-Id where there is one. Basic is refused
 * here (only auth_login takes it). UNAUTHORIZED, FORBIDDEN (another
 * organization's X-Org-Id). */
int auth_check(struct auth *a, const struct auth_request *r,
               struct identity *ret, struct err *err) MUST;

/* ---- may -------------------------------------------------------------------- */

/* The role on one entity. uuid NULL: in the organization itself. A super-admin
 * is one everywhere in the organization. */
enum role auth_role(struct auth *a, const struct identity *who,
                    const char *kind, const char *uuid);
/* 0, or FORBIDDEN with a text that names what is needed and what there is. Does
 * not say whether the entity exists: look it up afterwards. */
int auth_may(struct auth *a, const struct identity *who, const char *kind,
             const char *uuid, enum role needed, struct err *err) MUST;
/* The entity is gone: its grants go with it. Joins an open transaction. */
int auth_forget_entity(struct auth *a, const char *org_uuid, const char *kind,
                       const char *uuid, struct err *err) MUST;

/* ---- the calls of the API; *ret is a new reference: the data of the answer -- */

/* The first two write their own row of the audit log, good or bad (but for LIMIT:
 * nobody shall fill it by asking). */

/* Basic and X-Org-Id: {"token","expires_at","organization","role"}. LIMIT:
 * *ret_wait_s says how long to wait (Retry-After); else it is 0. */
int auth_login(struct auth *a, const struct auth_request *r, json_t **ret,
               uint32_t *ret_wait_s, struct err *err) MUST;
/* A new token, the one that asked is revoked. */
int auth_refresh(struct auth *a, const struct identity *who, json_t **ret,
                 struct err *err) MUST;
int auth_logout(struct auth *a, const struct identity *who,
                struct err *err) MUST;

/* POST /new: the Authorization is the new-organization token (not an identity).
 * body: {"id","description"?,"super_admins":[{"username","password",...}]}.
 * Limited as logins are. *ret: {"id","uuid"}. */
int auth_organization_new(struct auth *a, const struct auth_request *r,
                          const json_t *body, json_t **ret,
                          uint32_t *ret_wait_s, struct err *err) MUST;

/* Users of the caller's organization; needs admin there, a role up to one's own.
 * body: {"username","password","role"?,"description"?}. */
int auth_user_new(struct auth *a, const struct identity *who,
                  const json_t *body, json_t **ret, struct err *err) MUST;
int auth_user_list(struct auth *a, const struct identity *who, json_t **ret,
                   struct err *err) MUST;
/* {"password"} and/or {"role"} and/or {"description"}; one's own password needs
 * no role but {"old_password"}. Ends the user's sessions when the password
 * changes. */
int auth_user_patch(struct auth *a, const struct identity *who,
                    const char *user, const json_t *body, json_t **ret,
                    struct err *err) MUST;
int auth_user_delete(struct auth *a, const struct identity *who,
                     const char *user, struct err *err) MUST;

/* API tokens; need admin. body: {"id","role","expires_at" or "expires_in_s",
 * "description"?}. *ret has "token" this one time only. */
int auth_token_new(struct auth *a, const struct identity *who,
                   const json_t *body, json_t **ret, struct err *err) MUST;
int auth_token_list(struct auth *a, const struct identity *who, json_t **ret,
                    struct err *err) MUST;
int auth_token_revoke(struct auth *a, const struct identity *who,
                      const char *id, struct err *err) MUST;

/* Grants on one entity; need admin on it, a role up to one's own. kind and uuid
 * as in store/role.h (the caller resolves ids); body of put: {"role"}. subject
 * NULL in get: all of them. */
int auth_rbac_get(struct auth *a, const struct identity *who, const char *kind,
                  const char *uuid, const char *subject, json_t **ret,
                  struct err *err) MUST;
int auth_rbac_put(struct auth *a, const struct identity *who, const char *kind,
                  const char *uuid, const char *subject, const json_t *body,
                  json_t **ret, struct err *err) MUST;
int auth_rbac_delete(struct auth *a, const struct identity *who,
                     const char *kind, const char *uuid, const char *subject,
                     struct err *err) MUST;

/* ---- audit ------------------------------------------------------------------ */

struct auth_entry {
	const struct identity *who; /* NULL: nobody known (a failed login) */
	const char *org_uuid;       /* where who is NULL; may be NULL      */
	const char *subject;        /* likewise: the name that was claimed */
	const char *peer;           /* likewise                            */
	const char *action;         /* "POST /migrations/{m}/promote"      */
	const char *kind;           /* "migrations", or NULL               */
	const char *id;             /* the entity's id, or NULL            */
	const char *reason;         /* of the body, or NULL                */
	const char *result; /* "begun", then "ok" or the code of the error */
	const char *request_id; /* or NULL                             */
};

/* One row, on disk when this answers 0 (or with the open transaction). *ret_seq
 * (may be NULL): its number. */
int auth_audit(struct auth *a, const struct auth_entry *e, int64_t *ret_seq,
               struct err *err) MUST;
/* The result of a row that was written before its call had ended; id NULL: as it
 * is. */
int auth_audit_end(struct auth *a, int64_t seq, const char *result,
                   const char *id, struct err *err) MUST;
/* Newest first, of the caller's organization; needs admin. before: the "seq" of
 * the last row of the page before (0: from the newest); subject, kind and id
 * NULL: all. */
struct auth_filter {
	int64_t before;
	uint32_t limit;
	const char *subject;
	const char *kind;
	const char *id;
};

int auth_audit_list(struct auth *a, const struct identity *who,
                    const struct auth_filter *f, json_t **ret,
                    struct err *err) MUST;

/* ---- secrets ---------------------------------------------------------------- */

/* Encrypt for the state file (AES-256-GCM). name says whose it is ("endpoints/
 * <uuid>/url"): it is bound in, so that a row cannot be put in another's place.
 * Malloced text, or NULL. */
char *auth_seal(struct auth *a, const char *name, const char *secret,
                struct err *err);
/* The secret again; give it back with auth_wipe. ERR_BAD: damaged, or sealed
 * under another name or key. */
char *auth_open(struct auth *a, const char *name, const char *sealed,
                struct err *err);
/* Clear and free a secret; NULL is fine. */
void auth_wipe(char *secret);
