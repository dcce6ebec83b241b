/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/parts.h: what the files of this folder share.
 */
#pragma once

#include "control/auth/auth.h"
#include "control/auth/digest.h"
#include "control/auth/jwt.h"
#include "control/auth/key.h"
#include "control/auth/password.h"
#include "control/auth/throttle.h"

struct oidc;

struct auth {
	struct store *store;
	struct key *key;
	struct oidc *oidc; /* NULL: none is configured */
	struct password_gate gate;
	struct throttle throttle;
	bool has_new_token; /* of POST /new */
	uint8_t new_token[DIGEST_SIZE];
	int64_t (*wall_ms)(void);
};

/* ---- first.c -------------------------------------------------------------- */

/* Tables, key, and at the first start the organization and its token. */
int first_start(struct auth *a, const struct auth_conf *c,
                struct err *err) MUST;

/* ---- session.c ------------------------------------------------------------ */

/* A token that this process (or one with the same key) made. */
int session_check(struct auth *a, const struct jwt *j, struct identity *ret,
                  struct err *err) MUST;
struct session {
	const char *user; /* uuid */
	int64_t version;  /* of the user, when it was looked at */
	int64_t began_s;  /* when the password was given */
};

/* A new token. *ret: the answer of a login. UNAUTHORIZED: the user has changed
 * meanwhile. */
int session_make(struct auth *a, const struct session *s, json_t **ret,
                 struct err *err) MUST;

/* ---- apitoken.c ----------------------------------------------------------- */

#define APITOKEN_HEAD "gwt_"
#define APITOKEN_LEN  80 /* bytes, NUL included */

struct apitoken {
	const char *org_uuid;
	const char *id;
	enum role role;
	int64_t expires_ms; /* 0: never */
	const char *by;
	const char *description; /* or NULL */
};

/* Make one; ret is the only time it is seen: digest_clear it. */
int apitoken_make(struct auth *a, const struct apitoken *t,
                  char ret[APITOKEN_LEN], struct err *err) MUST;
int apitoken_check(struct auth *a, struct span token, struct identity *ret,
                   struct err *err) MUST;

/* ---- users.c -------------------------------------------------------------- */

struct users_new {
	const char *org_uuid;
	enum role role; /* in the organization */
	const char *by;
	const char *hash; /* of the password */
};

/* Fields as of auth_user_new's body. Joins an open transaction. */
int users_add(struct auth *a, const struct users_new *u, const json_t *fields,
              char ret_uuid[STORE_UUID], struct err *err) MUST;

/* ---- fields of bodies, which the API has checked by shape ------------------ */

/* A member that is a string, or NULL. */
const char *field_text(const json_t *body, const char *name);
/* Its role; r stays where there is none. ERR_BAD. */
int field_role(const json_t *body, enum role *r, struct err *err) MUST;
/* ERR_BAD, with the length that is wanted. */
int field_password(const json_t *body, const char *name, const char **ret,
                   struct err *err) MUST;
/* Names of users, organizations and tokens: api.md, "Ids"; users also with @. */
int field_id(const json_t *body, const char *name, bool may_at,
             const char **ret, struct err *err) MUST;

/* RFC 3339 to milliseconds; false: no time. */
bool field_time(const char *text, int64_t *ret_ms);

/* ---- may.c ------------------------------------------------------------------- */

/* Is the caller at least `needed` in the organization? */
int may_here(struct auth *a, const struct identity *who, enum role needed,
             struct err *err) MUST;
/* Nobody hands out more than they have. */
int may_give(const struct identity *who, enum role have, enum role given,
             struct err *err) MUST;
/* After a change, in its transaction: somebody must be left who can undo it. */
int may_leave(struct auth *a, const struct identity *who, struct err *err) MUST;
