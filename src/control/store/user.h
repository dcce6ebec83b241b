/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/user.h: people with a password, per organization.
 *
 * A user's role in the organization is a grant (store/role.h) of the subject
 * that is its name. The version grows when the password changes or the sessions
 * are ended: tokens of an older version are no longer valid.
 *
 * Owns: table user. Thread: any.
 */
#pragma once

#include "control/store/store.h"

struct user_new {
	const char *org_uuid;
	const char *name;
	const char *hash;        /* of the password, as control/auth made it */
	const char *description; /* or NULL, as the next two             */
	const char *email;
	const char *display_name;
};

int user_open(struct store *s, struct err *err) MUST; /* the table */

int user_add(struct store *s, const struct user_new *u,
             char ret_uuid[STORE_UUID], struct err *err) MUST;
/* {"name","uuid","hash","version","description","email","display_name","created_at"} by name or uuid,
 * or NULL with ERR_MISSING. */
json_t *user_get(struct store *s, const char *org_uuid, const char *name,
                 struct err *err);
/* What a session needs: {"name","uuid","version","org_uuid","org","role" (null:
 * no grant in the organization)}, or NULL with ERR_MISSING. */
json_t *user_find(struct store *s, const char *uuid, struct err *err);
/* Without the hashes; each with its "role" (null: none of its own). */
json_t *user_list(struct store *s, const char *org_uuid, struct err *err);
/* is_new: another password, so that the version grows; else only its hash was
 * made again. */
int user_set_hash(struct store *s, const char *uuid, const char *hash,
                  bool is_new, struct err *err) MUST;
int user_set_description(struct store *s, const char *uuid, const char *text,
                         struct err *err) MUST;
int user_remove(struct store *s, const char *uuid, struct err *err) MUST;
