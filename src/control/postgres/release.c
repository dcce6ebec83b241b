/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/release.c: what a migration that is over left on a side is removed.
 *
 * Godwit's role, which was left there with the fence, is the one that may; who had
 * LOGIN is in the server (own.c).
 */
#define _DEFAULT_SOURCE
#include "control/postgres/release.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/journal.h"
#include "control/limit.h"
#include "control/postgres/side.h"

struct names {
	char schema[64];
	char role[64];
	char pass[96];
	bool is_plain; /* the role is the URL's user */
};

static int
read_names(struct journal *j, enum side s, struct names *ret, struct err *err)
{
	bool old = s == SIDE_OLD;
	char *id = journal_meta(j, "id");
	char *pass = journal_meta(j, old ? "old_pass" : "new_pass");
	char *role = journal_meta(j, old ? "old_role" : "new_role");
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

static int
say(struct backend *b, const struct names *n, const char *sql, struct err *err)
{
	char *text = pg_text_of(n->schema, sql);
	int rc = text != NULL ? backend_run(b, LIMIT_PREFLIGHT_MS, text, err)
	                      : err_set(err, ERR_NOMEM, "out of memory");

	free(text);
	return rc;
}

/* The one number of a question; @ as everywhere. */
static int
count(struct backend *b, const struct names *n, const char *sql, unsigned *ret,
      struct err *err)
{
	char *text = pg_text_of(n->schema, sql);
	PGresult *res = NULL;
	int rc = text != NULL ? backend_ask(b, LIMIT_PREFLIGHT_MS, text, NULL,
	                                    &res, err)
	                      : err_set(err, ERR_NOMEM, "out of memory");

	*ret = rc == 0 ? (unsigned)strtoul(PQgetvalue(res, 0, 0), NULL, 10) : 0;
	PQclear(res);
	free(text);
	return rc;
}

/* The roles, the stream, identities that were made for it, all that is Godwit's. */
static int
lift(struct backend *b, const struct names *n, uint64_t epoch, bool alone,
     unsigned *ret, struct err *err)
{
	unsigned is_there;
	char sql[80];
	int rc = count(b, n, "SELECT (to_regnamespace('@') IS NOT NULL)::int",
	               &is_there, err);

	*ret = 0;
	if (rc == 0 && is_there)
		rc = count(b, n, "SELECT count(*) FROM @.closed", ret, err);
	(void)snprintf(sql, sizeof(sql), "SELECT @.lift(%llu)",
	               (unsigned long long)epoch);
	if (rc == 0 && is_there)
		rc = say(b, n, sql, err);
	if (rc == -ERR_REFUSED && strstr(err->text, "godwit: stale") != NULL)
		return err_set(err, ERR_STATE,
		               "%s carries the fence of a later epoch than "
		               "%llu: another migration holds it now",
		               b->conf.label, (unsigned long long)epoch);
	for (int i = 0; rc == 0 && alone && i < PG_ENDS_N; i++)
		rc = say(b, n, pg_ends[i], err);
	if (rc == 0 && is_there)
		rc = say(b, n,
		         "DO $$ BEGIN PERFORM @.unname_rows(); IF"
		         " to_regproc('@.tighten') IS NOT NULL THEN PERFORM"
		         " @.tighten(); END IF; END $$; DROP SCHEMA @ CASCADE",
		         err);
	return rc;
}

int
pg_release(struct journal *j, enum side s, const struct url *url,
           struct journal *own, unsigned *ret_roles, struct err *err)
{
	struct names n;
	struct backend b = { .conf = { .url = url,
		                       .user = n.role,
		                       .pass = n.pass,
		                       .name = "godwit:release",
		                       .label = url->label } };
	char sql[120];
	int rc = read_names(j, s, &n, err);

	*ret_roles = 0;
	if (rc == 0 && n.is_plain)
		b.conf.user = NULL;
	if (rc == 0)
		rc = backend_open(&b, LIMIT_PREFLIGHT_MS, err);
	/* The role is gone: nothing but what it left can be there. */
	if (rc == -ERR_AUTH && !n.is_plain) {
		b.conf.user = NULL;
		rc = backend_open(&b, LIMIT_PREFLIGHT_MS, err);
	}
	if (rc == 0 && own != NULL && s == SIDE_NEW)
		rc = pg_left_opens(own, &b, err);
	if (rc == 0)
		rc = lift(&b, &n, journal_authority(j).epoch, own != NULL,
		          ret_roles, err);
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
