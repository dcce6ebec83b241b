/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/entity.h: the named things of an organization.
 *
 * Endpoints, interlays, templates, apis and migrations are rows of one table: an
 * id (unique per organization and kind), a uuid, a version that grows with each
 * change, and a body of JSON. A link says that one thing needs another: what is
 * needed cannot be deleted.
 *
 * A row is an object: {"uuid","org","kind","id","version","created_at",
 * "created_by","updated_at","body":{...}}.
 *
 * Owns:   tables entity and link.
 * Thread: any.
 */
#pragma once

#include "control/store/store.h"

enum entity_kind {
	ENTITY_ENDPOINT,
	ENTITY_INTERLAY,
	ENTITY_TEMPLATE,
	ENTITY_API,
	ENTITY_MIGRATION,
	ENTITY_N,
};

const char *entity_name(enum entity_kind k);   /* "endpoint"  */
const char *entity_plural(enum entity_kind k); /* "endpoints" */

int entity_open(struct store *s, struct err *err) MUST; /* makes the tables */

/* By id or uuid (new reference). NULL: ERR_MISSING names the thing, or ERR_IO. */
json_t *entity_get(struct store *s, const char *org, enum entity_kind k,
                   const char *id, struct err *err);
/* By uuid alone, in any organization. */
json_t *entity_by_uuid(struct store *s, const char *uuid, struct err *err);

/* At most limit rows by id, those after the id of that name ("" or NULL: from
 * the first). org NULL: of all organizations (then after is not looked at). */
json_t *entity_list(struct store *s, const char *org, enum entity_kind k,
                    const char *after, uint32_t limit, struct err *err);

/* A new row (new reference). uuid NULL: a random one; body is borrowed.
 * ERR_EXISTS names the thing. */
json_t *entity_add(struct store *s, const char *org, enum entity_kind k,
                   const char *uuid, const char *id, const char *by,
                   const json_t *body, struct err *err);

/* Another body; row is changed, too. ERR_STALE: somebody else changed it since
 * row was read. */
int entity_set(struct store *s, json_t *row, json_t *body,
               struct err *err) MUST;

/* ERR_STATE names who needs it; ERR_STALE as above. */
int entity_delete(struct store *s, const json_t *row, struct err *err) MUST;

/* The things that row needs, from now on: uuids (an array of texts, doubles are
 * fine). */
int entity_needs(struct store *s, const json_t *row, const json_t *uuids,
                 struct err *err) MUST;
/* Who needs it, of one kind: rows. */
json_t *entity_users(struct store *s, const char *uuid, enum entity_kind k,
                     struct err *err);

/* Members of a row; "" and 0 when they are not there. */
const char *entity_uuid(const json_t *row);
const char *entity_id(const json_t *row);
json_t *entity_body(const json_t *row); /* borrowed */
int64_t entity_version(const json_t *row);
/* A text of the body, "" when it is not there. */
const char *entity_text(const json_t *row, const char *name);
