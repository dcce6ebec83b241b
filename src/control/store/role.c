/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/role.c: who may do how much, per organization and per entity.
 */
#include "control/store/role.h"

#include "base/check.h"

static const char *const names[ROLE_N] = {
	[ROLE_NONE] = "none",
	[ROLE_READ] = "read",
	[ROLE_WRITE] = "write",
	[ROLE_ADMIN] = "admin",
	[ROLE_SUPER_ADMIN] = "super_admin",
};

const char *
role_name(enum role r)
{
	REQUIRE((unsigned)r < ROLE_N);
	return names[r];
}

/* Equal but for case and underscores. */
static bool
is_like(const char *text, const char *name)
{
	for (;; text++, name++) {
		int c;

		while (*text == '_')
			text++;
		while (*name == '_')
			name++;
		c = *text >= 'A' && *text <= 'Z' ? *text + 32 : *text;
		if (c != *name)
			return false;
		if (c == '\0')
			return true;
	}
}

bool
role_parse(const char *text, enum role *ret)
{
	for (int i = 0; i < ROLE_N; i++) {
		if (is_like(text, names[i])) {
			*ret = (enum role)i;
			return true;
		}
	}
	return false;
}

int
role_open(struct store *s, struct err *err)
{
	static const char *const steps[] = {
		"CREATE TABLE role(org_uuid TEXT NOT NULL, kind TEXT NOT NULL,"
		" entity TEXT NOT NULL, subject TEXT NOT NULL,"
		" role TEXT NOT NULL, granted_by TEXT NOT NULL,"
		" granted_at TEXT NOT NULL,"
		" PRIMARY KEY(org_uuid, kind, entity, subject))"
		" STRICT, WITHOUT ROWID;",
	};

	return store_schema(s, "role", steps, 1, err);
}

bool
role_get(struct store *s, const struct role_on *on, const char *subject,
         enum role *ret)
{
	struct err err = { 0 };
	json_t *row =
		store_row(s, &err,
	                  "SELECT role FROM role WHERE org_uuid=? AND "
	                  "kind=? AND entity=? AND subject=?",
	                  "ssss", on->org_uuid, on->kind, on->uuid, subject);
	const char *text = json_string_value(json_object_get(row, "role"));

	if (row == NULL && err.code == ERR_MISSING)
		return false;
	/* What cannot be read, or is of another version, allows nothing. */
	if (text == NULL || !role_parse(text, ret))
		*ret = ROLE_NONE;
	json_decref(row);
	return true;
}

json_t *
role_list(struct store *s, const struct role_on *on, struct err *err)
{
	return store_rows(s, err,
	                  "SELECT subject, role, granted_by, granted_at FROM "
	                  "role WHERE org_uuid=? AND kind=? AND entity=? "
	                  "ORDER BY subject",
	                  "sss", on->org_uuid, on->kind, on->uuid);
}

int
role_put(struct store *s, const struct role_on *on, const char *subject,
         enum role r, const char *by, struct err *err)
{
	char now[STORE_TIME];
	int64_t n = store_run(s, err,
	                      "INSERT OR REPLACE INTO role(org_uuid, kind, "
	                      "entity, subject, role, granted_by, granted_at)"
	                      " VALUES(?,?,?,?,?,?,?)",
	                      "sssssss", on->org_uuid, on->kind, on->uuid,
	                      subject, role_name(r), by, store_now(now));

	return n < 0 ? (int)n : 0;
}

int
role_remove(struct store *s, const struct role_on *on, const char *subject,
            struct err *err)
{
	int64_t n =
		store_run(s, err,
	                  "DELETE FROM role WHERE org_uuid=? AND kind=? "
	                  "AND entity=? AND subject=?",
	                  "ssss", on->org_uuid, on->kind, on->uuid, subject);

	if (n == 0)
		return err_set(err, ERR_MISSING,
		               "\"%.64s\" has no grant of its own on these %s",
		               subject, on->kind);
	return n < 0 ? (int)n : 0;
}

int64_t
role_count_super(struct store *s, const char *org_uuid)
{
	return store_number(s,
	                    "SELECT count(*) FROM role WHERE org_uuid=? AND "
	                    "kind='organizations' AND role='super_admin'",
	                    "s", org_uuid);
}

int
role_forget_subject(struct store *s, const char *org_uuid, const char *subject,
                    struct err *err)
{
	int64_t n = store_run(s, err,
	                      "DELETE FROM role WHERE org_uuid=? AND subject=?",
	                      "ss", org_uuid, subject);

	return n < 0 ? (int)n : 0;
}

int
role_forget_entity(struct store *s, const struct role_on *on, struct err *err)
{
	int64_t n = store_run(s, err,
	                      "DELETE FROM role WHERE org_uuid=? AND kind=? "
	                      "AND entity=?",
	                      "sss", on->org_uuid, on->kind, on->uuid);

	return n < 0 ? (int)n : 0;
}
