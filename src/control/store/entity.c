/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/entity.c: the named things of an organization.
 */
#include "control/store/entity.h"

#include "base/check.h"

static const char *const names[ENTITY_N] = {
	[ENTITY_ENDPOINT] = "endpoint",   [ENTITY_INTERLAY] = "interlay",
	[ENTITY_TEMPLATE] = "template",   [ENTITY_API] = "api",
	[ENTITY_MIGRATION] = "migration",
};

static const char *const plurals[ENTITY_N] = {
	[ENTITY_ENDPOINT] = "endpoints",   [ENTITY_INTERLAY] = "interlays",
	[ENTITY_TEMPLATE] = "templates",   [ENTITY_API] = "apis",
	[ENTITY_MIGRATION] = "migrations",
};

static const char *const steps[] = {
	"CREATE TABLE entity("
	" uuid TEXT PRIMARY KEY, org TEXT NOT NULL, kind TEXT NOT NULL,"
	" id TEXT NOT NULL, version INTEGER NOT NULL,"
	" created_at TEXT NOT NULL, created_by TEXT NOT NULL,"
	" updated_at TEXT NOT NULL, body_json TEXT NOT NULL,"
	" UNIQUE(org, kind, id)) STRICT;"
	"CREATE TABLE link("
	" source TEXT NOT NULL REFERENCES entity(uuid) ON DELETE CASCADE,"
	" target TEXT NOT NULL REFERENCES entity(uuid) ON DELETE RESTRICT,"
	" PRIMARY KEY(source, target)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX link_target ON link(target);",
};

const char *
entity_name(enum entity_kind k)
{
	REQUIRE((unsigned)k < ENTITY_N);
	return names[k];
}

const char *
entity_plural(enum entity_kind k)
{
	REQUIRE((unsigned)k < ENTITY_N);
	return plurals[k];
}

int
entity_open(struct store *s, struct err *err)
{
	return store_schema(s, "entity", steps, 1, err);
}

json_t *
entity_get(struct store *s, const char *org, enum entity_kind k, const char *id,
           struct err *err)
{
	json_t *row = store_row(s, err,
	                        "SELECT * FROM entity WHERE org=? AND kind=? "
	                        "AND id=?",
	                        "sss", org, names[k], id);

	if (row == NULL && err->code == ERR_MISSING && store_is_uuid(id))
		row = store_row(s, err,
		                "SELECT * FROM entity WHERE org=? AND kind=? "
		                "AND uuid=lower(?)",
		                "sss", org, names[k], id);
	if (row == NULL && err->code == ERR_MISSING)
		(void)err_set(err, ERR_MISSING, "no %s \"%.100s\"", names[k],
		              id);
	return row;
}

json_t *
entity_by_uuid(struct store *s, const char *uuid, struct err *err)
{
	return store_row(s, err, "SELECT * FROM entity WHERE uuid=?", "s",
	                 uuid);
}

json_t *
entity_list(struct store *s, const char *org, enum entity_kind k,
            const char *after, uint32_t limit, struct err *err)
{
	if (org == NULL)
		return store_rows(s, err,
		                  "SELECT * FROM entity WHERE kind=? ORDER BY "
		                  "org, id LIMIT ?",
		                  "si", names[k], (int64_t)limit);
	return store_rows(s, err,
	                  "SELECT * FROM entity WHERE org=? AND kind=? AND "
	                  "id>? ORDER BY id LIMIT ?",
	                  "sssi", org, names[k], after != NULL ? after : "",
	                  (int64_t)limit);
}

json_t *
entity_add(struct store *s, const char *org, enum entity_kind k,
           const char *uuid, const char *id, const char *by, const json_t *body,
           struct err *err)
{
	char made[STORE_UUID];
	char now[STORE_TIME];
	int64_t n;

	(void)store_now(now);
	if (uuid == NULL)
		uuid = store_uuid(made);
	n = store_run(s, err, "INSERT INTO entity VALUES(?,?,?,?,1,?,?,?,?)",
	              "sssssssj", uuid, org, names[k], id, now, by, now, body);
	if (n == -ERR_EXISTS)
		(void)err_set(err, ERR_EXISTS,
		              "there is already %s %s \"%.100s\"; choose "
		              "another id, or change that one with PATCH",
		              k == ENTITY_ENDPOINT || k == ENTITY_INTERLAY ||
		                              k == ENTITY_API
		                      ? "an"
		                      : "a",
		              names[k], id);
	return n == 1 ? entity_by_uuid(s, uuid, err) : NULL;
}

static int
stale(const json_t *row, struct err *err)
{
	return err_set(err, ERR_STALE,
	               "%.64s was changed by somebody else; read it again",
	               entity_id(row));
}

int
entity_set(struct store *s, json_t *row, json_t *body, struct err *err)
{
	char now[STORE_TIME];
	int64_t n = store_run(s, err,
	                      "UPDATE entity SET body_json=?, updated_at=?, "
	                      "version=version+1 WHERE uuid=? AND version=?",
	                      "jssi", body, store_now(now), entity_uuid(row),
	                      entity_version(row));

	if (n < 0)
		return (int)n;
	if (n == 0)
		return stale(row, err);
	(void)json_object_set(row, "body", body);
	(void)json_object_set_new(row, "updated_at", json_string(now));
	(void)json_object_set_new(row, "version",
	                          json_integer(entity_version(row) + 1));
	return 0;
}

int
entity_delete(struct store *s, const json_t *row, struct err *err)
{
	json_t *user;
	int64_t n;

	user = store_row(s, err,
	                 "SELECT e.kind, e.id FROM link l JOIN entity e ON "
	                 "e.uuid=l.source WHERE l.target=? LIMIT 1",
	                 "s", entity_uuid(row));
	if (user != NULL) {
		int rc = err_set(
			err, ERR_STATE,
			"%.64s is used by the %s \"%.64s\"; delete or change "
			"that first",
			entity_id(row),
			json_string_value(json_object_get(user, "kind")),
			json_string_value(json_object_get(user, "id")));

		json_decref(user);
		return rc;
	}
	n = store_run(s, err, "DELETE FROM entity WHERE uuid=? AND version=?",
	              "si", entity_uuid(row), entity_version(row));
	if (n < 0)
		return (int)n;
	return n == 1 ? 0 : stale(row, err);
}

int
entity_needs(struct store *s, const json_t *row, const json_t *uuids,
             struct err *err)
{
	const char *source = entity_uuid(row);
	int rc = store_begin(s, err);
	int64_t n;

	if (rc != 0)
		return rc;
	n = store_run(s, err, "DELETE FROM link WHERE source=?", "s", source);
	for (size_t i = 0; i < json_array_size(uuids) && n >= 0; i++)
		n = store_run(s, err, "INSERT OR IGNORE INTO link VALUES(?,?)",
		              "ss", source,
		              json_string_value(json_array_get(uuids, i)));
	return store_end(s, n < 0 ? (int)n : 0, err);
}

json_t *
entity_users(struct store *s, const char *uuid, enum entity_kind k,
             struct err *err)
{
	return store_rows(s, err,
	                  "SELECT e.* FROM link l JOIN entity e ON "
	                  "e.uuid=l.source WHERE l.target=? AND e.kind=? "
	                  "ORDER BY e.id",
	                  "ss", uuid, names[k]);
}

static const char *
text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL ? text : "";
}

const char *
entity_uuid(const json_t *row)
{
	return text_of(row, "uuid");
}

const char *
entity_id(const json_t *row)
{
	return text_of(row, "id");
}

json_t *
entity_body(const json_t *row)
{
	return json_object_get(row, "body");
}

int64_t
entity_version(const json_t *row)
{
	return json_integer_value(json_object_get(row, "version"));
}

const char *
entity_text(const json_t *row, const char *name)
{
	return text_of(entity_body(row), name);
}
