/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/user.c: people with a password, per organization.
 */
#include "control/store/user.h"

int
user_open(struct store *s, struct err *err)
{
	static const char *const steps[] = {
		"CREATE TABLE user(uuid TEXT PRIMARY KEY,"
		" org_uuid TEXT NOT NULL, name TEXT NOT NULL,"
		" hash TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 1,"
		" description TEXT, email TEXT, display_name TEXT, created_at TEXT NOT NULL,"
		" UNIQUE(org_uuid, name)) STRICT;",
	};

	return store_schema(s, "user", steps, 1, err);
}

int
user_add(struct store *s, const struct user_new *u, char ret_uuid[STORE_UUID],
         struct err *err)
{
	char now[STORE_TIME];
	int64_t n = store_run(s, err,
	                      "INSERT INTO user(uuid, org_uuid, name, hash, "
	                      "description, email, display_name, created_at) "
	                      "VALUES(?,?,?,?,?,?,?,?)",
	                      "ssssssss", store_uuid(ret_uuid), u->org_uuid,
	                      u->name, u->hash, u->description, u->email,
	                      u->display_name, store_now(now));

	if (n == -ERR_EXISTS)
		return err_set(err, ERR_EXISTS,
		               "the user \"%.64s\" is there already", u->name);
	return n < 0 ? (int)n : 0;
}

json_t *
user_get(struct store *s, const char *org_uuid, const char *name,
         struct err *err)
{
	json_t *row = store_row(s, err,
	                        "SELECT name, uuid, hash, version, "
	                        "description, email, display_name, created_at "
	                        "FROM user WHERE "
	                        "org_uuid=?1 AND (uuid=?2 OR name=?2) "
	                        "ORDER BY uuid=?2 DESC LIMIT 1",
	                        "ss", org_uuid, name);

	if (row == NULL && err != NULL && err->code == ERR_MISSING)
		(void)err_set(err, ERR_MISSING, "no user \"%.64s\"", name);
	return row;
}

json_t *
user_find(struct store *s, const char *uuid, struct err *err)
{
	return store_row(s, err,
	                 "SELECT u.name, u.uuid, u.version, u.org_uuid, o.id "
	                 "AS org, r.role FROM user u JOIN organization o ON "
	                 "o.uuid=u.org_uuid LEFT JOIN role r ON "
	                 "r.org_uuid=u.org_uuid AND r.kind='organizations' AND "
	                 "r.entity=u.org_uuid AND r.subject=u.name "
	                 "WHERE u.uuid=?",
	                 "s", uuid);
}

json_t *
user_list(struct store *s, const char *org_uuid, struct err *err)
{
	return store_rows(
		s, err,
		"SELECT u.name AS username, u.uuid, r.role, "
		"u.description, u.email, u.display_name, u.created_at FROM user u LEFT JOIN "
		"role r ON r.org_uuid=u.org_uuid AND "
		"r.kind='organizations' AND r.entity=u.org_uuid AND "
		"r.subject=u.name WHERE u.org_uuid=? ORDER BY u.name",
		"s", org_uuid);
}

int
user_set_hash(struct store *s, const char *uuid, const char *hash, bool is_new,
              struct err *err)
{
	int64_t n = store_run(
		s, err,
		"UPDATE user SET hash=?, version=version+? WHERE uuid=?", "sis",
		hash, (int64_t)is_new, uuid);

	return n < 0 ? (int)n : 0;
}

int
user_set_description(struct store *s, const char *uuid, const char *text,
                     struct err *err)
{
	int64_t n =
		store_run(s, err, "UPDATE user SET description=? WHERE uuid=?",
	                  "ss", text, uuid);

	return n < 0 ? (int)n : 0;
}

int
user_remove(struct store *s, const char *uuid, struct err *err)
{
	int64_t n =
		store_run(s, err, "DELETE FROM user WHERE uuid=?", "s", uuid);

	return n < 0 ? (int)n : 0;
}
