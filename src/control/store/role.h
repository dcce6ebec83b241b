/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/role.h: who may do how much, per organization and per entity.
 *
 * A grant names an organization, a kind of entity ("organizations", "endpoints",
 * "interlays", "templates", "apis", "migrations"), the entity's uuid, a subject
 * and a role. The grant with kind "organizations" is the subject's role
 * everywhere in that organization; one for an entity takes its place there.
 *
 * Subjects: a user by its name, an API token as "token:<id>", somebody known to
 * an OIDC issuer as "oidc:<sub>" (names of users have no colon).
 *
 * Owns:   table role. Thread: any.
 */
#pragma once

#include "control/store/store.h"

enum role {
	ROLE_NONE,
	ROLE_READ,
	ROLE_WRITE,
	ROLE_ADMIN,
	ROLE_SUPER_ADMIN,
	ROLE_N,
};

#define ROLE_SUBJECT 192 /* bytes of a subject, NUL included */

/* The kind of the grant that holds everywhere in an organization; its entity is
 * the organization's uuid. */
#define ROLE_ORGANIZATION "organizations"

const char *role_name(enum role r); /* "super_admin" */
/* "super_admin", "SuperAdmin", "Super_Admin"; false: no such role. */
bool role_parse(const char *text, enum role *ret);

struct role_on {
	const char *org_uuid;
	const char *kind;
	const char *uuid; /* of the entity */
};

int role_open(struct store *s, struct err *err) MUST; /* the table */

/* false: no grant. */
bool role_get(struct store *s, const struct role_on *on, const char *subject,
              enum role *ret);
/* [{"subject","role","granted_by","granted_at"}], by subject; NULL with *err. */
json_t *role_list(struct store *s, const struct role_on *on, struct err *err);
int role_put(struct store *s, const struct role_on *on, const char *subject,
             enum role r, const char *by, struct err *err) MUST;
/* ERR_MISSING: there was none. */
int role_remove(struct store *s, const struct role_on *on, const char *subject,
                struct err *err) MUST;
/* Subjects that are super-admins of the organization. */
int64_t role_count_super(struct store *s, const char *org_uuid);
/* Every grant of a subject in an organization, or every grant on an entity. */
int role_forget_subject(struct store *s, const char *org_uuid,
                        const char *subject, struct err *err) MUST;
int role_forget_entity(struct store *s, const struct role_on *on,
                       struct err *err) MUST;
