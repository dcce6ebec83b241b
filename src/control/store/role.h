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

const char *role_name(enum role r); /* "super_admin" */
/* "super_admin", "SuperAdmin", "Super_Admin"; false: no such role. */
bool role_parse(const char *text, enum role *ret);
