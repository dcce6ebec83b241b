/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/organization.h: the tenants; everything else belongs to one.
 *
 * Owns: table organization. Thread: any.
 */
#pragma once

#include "control/store/store.h"

#define ORGANIZATION_DEFAULT "default" /* made at the first start */

int organization_open(struct store *s, struct err *err) MUST; /* the table */

/* uuid "": one is made. ERR_EXISTS: the id or the uuid is taken. */
int organization_add(struct store *s, const char *id, const char *description,
                     char uuid[STORE_UUID], struct err *err) MUST;
/* By id or uuid: {"id","uuid","description","created_at"}, or NULL with
 * ERR_MISSING. */
json_t *organization_get(struct store *s, const char *id, struct err *err);
int64_t organization_count(struct store *s);
