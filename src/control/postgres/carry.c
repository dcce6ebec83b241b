/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/carry.c: sequences, which no stream carries. (Large objects:
 * object.c.)
 *
 * Between the barrier and the commit, when nobody can take a value on the losing
 * side: a sequence of the other side is set to the same value, and only forwards,
 * so that no value is ever handed out twice, in either direction.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/object.h"

/* A publication that names its tables (rights.c) misses one that was made since. */
static int
check_published(struct run *r, enum side from, struct err *err)
{
	char *missed;
	int rc;

	if (!r->at[from].pg->is_plain)
		return 0;
	rc = pg_ask_text(r, from,
	                 "SELECT coalesce(min(t), '') FROM (SELECT"
	                 " format('%I.%I', nspname, relname) AS t " PG_TABLES
	                 " EXCEPT SELECT format('%I.%I', schemaname, tablename)"
	                 " FROM pg_publication_tables WHERE pubname = '@') x",
	                 &missed, err);
	if (rc == 0 && missed[0] != '\0')
		rc = err_set(err, ERR_STATE,
		             "%s: table %s was made while the migration ran, "
		             "and is not carried; drop it, or begin again",
		             r->side[from].label, missed);
	free(missed);
	return rc;
}

/* Roles that somebody made meanwhile: their sessions will not find them there. */
static int
tell_roles(struct run *r, struct err *err)
{
	enum side from = run_authority(r);
	struct pg_side *p = r->at[side_other(from)].pg;
	const char *param[] = { NULL, NULL };
	PGresult *res = NULL;
	char *list;
	int rc = pg_ask_text(r, from,
	                     "SELECT coalesce(json_agg(rolname), '[]')::text"
	                     " FROM pg_roles WHERE rolname !~ '^(pg_|godwit-)'",
	                     &list, err);

	param[0] = list;
	if (rc == 0)
		rc = pg_ask(
			r, side_other(from),
			"SELECT coalesce(string_agg(quote_ident(n), ', ' ORDER BY"
			" n), '') FROM json_array_elements_text($1::json) n"
			" WHERE n NOT IN (SELECT rolname FROM pg_roles)",
			param, &res, err);
	if (rc == 0 && strncmp(p->lacks, PQgetvalue(res, 0, 0),
	                       sizeof(p->lacks) - 1) != 0) {
		(void)snprintf(p->lacks, sizeof(p->lacks), "%s",
		               PQgetvalue(res, 0, 0));
		if (p->lacks[0] != '\0')
			run_event(r, "users",
			          "not on %s, made since the start: %s; make "
			          "them there",
			          side_name(side_other(from)), p->lacks);
	}
	PQclear(res);
	free(list);
	return rc;
}

int
pg_ready(struct run *r, struct err *err)
{
	int rc = tell_roles(r, err);

	return rc == 0 ? pg_object_ready(r, err) : rc;
}

int
pg_carry(struct run *r, enum side from, struct err *err)
{
	int rc = pg_carry_sequences(r, from, err);

	return rc == 0 ? pg_object_carry(r, from, err) : rc;
}

int
pg_carry_sequences(struct run *r, enum side from, struct err *err)
{
	enum side to = side_other(from);
	char *list;
	int rc = check_published(r, from, err);

	if (rc != 0)
		return rc;
	/* As JSON: one text, whatever is in a name. Of a sequence that was set and not
	 * called since, the value is the next one: pg_sequences does not tell it. */
	rc = pg_ask_text(r, from,
	                 "SELECT coalesce(json_agg(q)::text, '[]')"
	                 " FROM @.sequences() q",
	                 &list, err);
	if (rc != 0)
		return rc;
	if (strcmp(list, "[]") != 0)
		rc = pg_tell(r, to, "SELECT @.set_sequences($1::json)", list,
		             err);
	free(list);
	return rc;
}
