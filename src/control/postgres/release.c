/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/release.c: the fence of a completed migration is lifted.
 *
 * Godwit's role, which the completion left there, is the one that may; who had LOGIN
 * is in the server (own.c).
 */
#define _DEFAULT_SOURCE
#include "control/postgres/release.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/journal.h"
#include "control/limit.h"
#include "control/postgres/backend.h"

struct names {
	char schema[64];
	char role[64];
	char pass[96];
	bool is_plain; /* the role is the URL's user */
};

static int
read_names(struct journal *j, struct names *ret, struct err *err)
{
	char *id = journal_meta(j, "id");
	char *pass = journal_meta(j, "old_pass");
	char *role = journal_meta(j, "old_role");
	int rc = 0;

	if (id == NULL || pass == NULL)
		rc = err_set(err, ERR_BAD, "the state file is no migration's");
	else {
		(void)snprintf(ret->schema, sizeof(ret->schema), "godwit_%s",
		               id);
		(void)snprintf(ret->role, sizeof(ret->role), "godwit-%s", id);
		(void)snprintf(ret->pass, sizeof(ret->pass), "%s", pass);
	}
	ret->is_plain = role != NULL;
	free(id);
	free(pass);
	free(role);
	return rc;
}

/* Identities that were made for the stream, and then all that is Godwit's. */
static int
lift(struct backend *b, const struct names *n, uint64_t epoch, unsigned *ret,
     struct err *err)
{
	char sql[900];
	PGresult *res;
	int rc;

	(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s.closed",
	               n->schema);
	rc = backend_ask(b, LIMIT_PREFLIGHT_MS, sql, NULL, &res, err);
	if (rc != 0)
		return rc;
	*ret = (unsigned)strtoul(PQgetvalue(res, 0, 0), NULL, 10);
	PQclear(res);
	(void)snprintf(sql, sizeof(sql),
	               "SELECT %s.lift(%llu); SELECT %s.unname_rows();"
	               "DROP SCHEMA %s CASCADE",
	               n->schema, (unsigned long long)epoch, n->schema,
	               n->schema);
	rc = backend_run(b, LIMIT_PREFLIGHT_MS, sql, err);
	if (rc == -ERR_REFUSED && strstr(err->text, "godwit: stale") != NULL)
		return err_set(err, ERR_STATE,
		               "%s carries the fence of a later epoch than "
		               "%llu: another migration holds it now",
		               b->conf.label, (unsigned long long)epoch);
	return rc;
}

int
pg_release(struct journal *j, const struct url *url, unsigned *ret_roles,
           struct err *err)
{
	struct names n;
	struct backend b = { .conf = { .url = url,
		                       .user = n.role,
		                       .pass = n.pass,
		                       .name = "godwit:release",
		                       .label = url->label } };
	char sql[120];
	int rc = read_names(j, &n, err);

	*ret_roles = 0;
	if (rc == 0 && n.is_plain)
		b.conf.user = NULL;
	if (rc == 0)
		rc = backend_open(&b, LIMIT_PREFLIGHT_MS, err);
	if (rc == 0)
		rc = lift(&b, &n, journal_authority(j).epoch, ret_roles, err);
	backend_close(&b);
	if (rc != 0 || n.is_plain)
		return rc;
	/* A role cannot remove itself. */
	b.conf.user = NULL;
	rc = backend_open(&b, LIMIT_PREFLIGHT_MS, err);
	(void)snprintf(sql, sizeof(sql), "DROP ROLE IF EXISTS \"%s\"", n.role);
	if (rc == 0)
		rc = backend_run(&b, LIMIT_PREFLIGHT_MS, sql, err);
	backend_close(&b);
	return rc;
}
