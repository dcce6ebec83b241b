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

int
pg_carry(struct run *r, enum side from, struct err *err)
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
	return rc == 0 ? pg_object_carry(r, from, err) : rc;
}
