/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/databases.c: which databases a server has.
 */
#include "control/postgres/databases.h"

#include "control/limit.h"
#include "control/postgres/backend.h"

/* Every server has it, for people and programs to come in by. */
#define SPARE "postgres"

static const char names[] =
	"SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT"
	" datistemplate ORDER BY datname";

/* A row, when the database holds something of people's. */
static const char things[] =
	"SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON"
	" n.oid = relnamespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <>"
	" 'information_schema' AND NOT EXISTS (SELECT 1 FROM"
	" pg_catalog.pg_depend d WHERE d.objid = c.oid AND deptype = 'e')"
	" UNION ALL SELECT 1 FROM pg_catalog.pg_largeobject_metadata LIMIT 1";

static int
ask(const struct url *at, const char *label, const char *database,
    const char *sql, PGresult **ret, struct err *err)
{
	struct backend b = { .conf = { .url = at,
		                       .database = database,
		                       .name = "godwit:migrate",
		                       .label = label } };
	int rc = backend_open(&b, LIMIT_PREFLIGHT_MS, err);

	*ret = NULL;
	if (rc == 0)
		rc = backend_ask(&b, LIMIT_PREFLIGHT_MS, sql, NULL, ret, err);
	backend_close(&b);
	return rc;
}

static int
is_used(const struct url *at, const char *label, bool *ret, struct err *err)
{
	PGresult *res;
	int rc = ask(at, label, SPARE, things, &res, err);

	if (rc == 0)
		*ret = PQntuples(res) > 0;
	PQclear(res);
	return rc;
}

int
pg_databases(const struct url *at, const char *label, json_t **ret,
             struct err *err)
{
	PGresult *res;
	int rc = ask(at, label, NULL, names, &res, err);

	*ret = json_array();
	for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
		const char *name = PQgetvalue(res, i, 0);
		bool counts = true;

		if (strcmp(name, SPARE) == 0)
			rc = is_used(at, label, &counts, err);
		if (rc == 0 && counts)
			(void)json_array_append_new(*ret, json_string(name));
	}
	PQclear(res);
	if (rc == 0)
		return 0;
	json_decref(*ret);
	*ret = NULL;
	return rc;
}
