/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/organization.c: the tenants; everything else belongs to one.
 */
#include "control/store/organization.h"

int
organization_open(struct store *s, struct err *err)
{
	static const char *const steps[] = {
		"CREATE TABLE organization(uuid TEXT PRIMARY KEY,"
		" id TEXT NOT NULL UNIQUE, description TEXT,"
		" created_at TEXT NOT NULL) STRICT;",
	};

	return store_schema(s, "organization", steps, 1, err);
}

int
organization_add(struct store *s, const char *id, const char *description,
                 char uuid[STORE_UUID], struct err *err)
{
	char now[STORE_TIME];
	int64_t n;

	if (uuid[0] == '\0')
		(void)store_uuid(uuid);
	n = store_run(s, err,
	              "INSERT INTO organization(uuid, id, description, "
	              "created_at) VALUES(?,?,?,?)",
	              "ssss", uuid, id, description, store_now(now));

	if (n == -ERR_EXISTS)
		return err_set(err, ERR_EXISTS,
		               "the organization \"%.64s\" is there already",
		               id);
	return n < 0 ? (int)n : 0;
}

json_t *
organization_get(struct store *s, const char *id, struct err *err)
{
	/* A uuid first: nobody can take one of another's as a name. */
	json_t *row = store_row(s, err,
	                        "SELECT id, uuid, description, created_at FROM "
	                        "organization WHERE uuid=?1 OR id=?1 "
	                        "ORDER BY uuid=?1 DESC LIMIT 1",
	                        "s", id);

	if (row == NULL && err != NULL && err->code == ERR_MISSING)
		(void)err_set(err, ERR_MISSING, "no organization \"%.64s\"",
		              id);
	return row;
}

int64_t
organization_count(struct store *s)
{
	return store_number(s, "SELECT count(*) FROM organization", "");
}
