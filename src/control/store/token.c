/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/token.c: API tokens by their hash, and ended sessions.
 */
#include "control/store/token.h"

#define HASH_SIZE 32

int
token_open(struct store *s, struct err *err)
{
	static const char *const steps[] = {
		"CREATE TABLE token(handle TEXT PRIMARY KEY,"
		" org_uuid TEXT NOT NULL, id TEXT NOT NULL,"
		" hash BLOB NOT NULL, role TEXT NOT NULL,"
		" expires_ms INTEGER NOT NULL, description TEXT,"
		" created_by TEXT NOT NULL, created_at TEXT NOT NULL,"
		" UNIQUE(org_uuid, id)) STRICT, WITHOUT ROWID;"
		"CREATE TABLE token_ended(jti TEXT PRIMARY KEY,"
		" until_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
		"CREATE INDEX token_ended_until ON token_ended(until_ms);",
	};

	return store_schema(s, "token", steps, 1, err);
}

int
token_add(struct store *s, const struct token_new *t, struct err *err)
{
	char now[STORE_TIME];
	int64_t n =
		store_run(s, err,
	                  "INSERT INTO token(handle, org_uuid, id, hash, role, "
	                  "expires_ms, description, created_by, created_at) "
	                  "VALUES(?,?,?,?,?,?,?,?,?)",
	                  "sssbsisss", t->handle, t->org_uuid, t->id,
	                  (const void *)t->hash, (size_t)HASH_SIZE, t->role,
	                  t->expires_ms, t->description, t->by, store_now(now));

	if (n == -ERR_EXISTS)
		return err_set(err, ERR_EXISTS,
		               "the token \"%.64s\" is there already", t->id);
	return n < 0 ? (int)n : 0;
}

json_t *
token_find(struct store *s, const char *handle, struct err *err)
{
	return store_row(s, err,
	                 "SELECT t.id, t.handle, t.hash, t.role, t.expires_ms, "
	                 "t.org_uuid, o.id AS org FROM token t JOIN "
	                 "organization o ON o.uuid=t.org_uuid WHERE "
	                 "t.handle=?",
	                 "s", handle);
}

json_t *
token_list(struct store *s, const char *org_uuid, struct err *err)
{
	return store_rows(s, err,
	                  "SELECT id, role, expires_ms, description, "
	                  "created_by, created_at FROM token WHERE org_uuid=? "
	                  "ORDER BY id",
	                  "s", org_uuid);
}

json_t *
token_get(struct store *s, const char *org_uuid, const char *id,
          struct err *err)
{
	json_t *row = store_row(
		s, err, "SELECT id, role FROM token WHERE org_uuid=? AND id=?",
		"ss", org_uuid, id);

	if (row == NULL && err != NULL && err->code == ERR_MISSING)
		(void)err_set(err, ERR_MISSING, "no token \"%.64s\"", id);
	return row;
}

int
token_remove(struct store *s, const char *org_uuid, const char *id,
             struct err *err)
{
	int64_t n =
		store_run(s, err, "DELETE FROM token WHERE org_uuid=? AND id=?",
	                  "ss", org_uuid, id);

	if (n == 0)
		return err_set(err, ERR_MISSING, "no token \"%.64s\"", id);
	return n < 0 ? (int)n : 0;
}

int64_t
token_count_super(struct store *s, const char *org_uuid, int64_t now_ms)
{
	return store_number(s,
	                    "SELECT count(*) FROM token WHERE org_uuid=? AND "
	                    "role='super_admin' AND (expires_ms=0 OR "
	                    "expires_ms>?)",
	                    "si", org_uuid, now_ms);
}

int
token_end(struct store *s, const char *jti, int64_t until_ms, int64_t now_ms,
          struct err *err)
{
	int64_t n =
		store_run(s, err, "DELETE FROM token_ended WHERE until_ms<?",
	                  "i", now_ms);

	if (n >= 0)
		n = store_run(s, err,
		              "INSERT INTO token_ended(jti, until_ms) "
		              "VALUES(?,?)",
		              "si", jti, until_ms);
	return n < 0 ? (int)n : 0;
}

bool
token_is_ended(struct store *s, const char *jti)
{
	json_t *rows = store_rows(s, NULL,
	                          "SELECT 1 AS ended FROM token_ended WHERE "
	                          "jti=?",
	                          "s", jti);
	/* What cannot be read is not valid. */
	bool ret = rows == NULL || json_array_size(rows) != 0;

	json_decref(rows);
	return ret;
}
