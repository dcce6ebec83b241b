/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/both_told.c: what the rule met, for the status and the events.
 */
#define _DEFAULT_SOURCE
#include <stdlib.h>
#include <string.h>

#include "control/postgres/both.h"

#define LOOK_NS (2000 * NS_PER_MS)

/* How many of each table and kind, the first of them by name; the same for an event. */
static const char look[] =
	"SELECT json_build_object('rows', coalesce((SELECT sum(n) FROM"
	" @.conflicts), 0), 'tables', (SELECT coalesce(json_agg(x), '[]') FROM"
	" (SELECT t AS \"table\", json_object_agg(kind, n) AS rows FROM"
	"  @.conflicts GROUP BY t ORDER BY t LIMIT 100) x), 'examples', (SELECT"
	" coalesce(json_agg(x), '[]') FROM (SELECT t AS \"table\", name AS key,"
	"  kind, why FROM @.conflict ORDER BY kind IN ('kept', 'replaced',"
	"  'merged'), t, at LIMIT 20) x))::text,"
	" (SELECT coalesce(string_agg(y, '; '), '') FROM (SELECT t || ': ' ||"
	"  string_agg(n || ' ' || replace(kind, '_', ' '), ', ' ORDER BY kind)"
	"  FROM @.conflicts GROUP BY t ORDER BY t LIMIT 8) z(y))";

static int
ask(struct run *r, struct pg_side *p, struct err *err)
{
	PGresult *res;
	json_t *now;
	const char *text;
	int rc = pg_ask(r, SIDE_NEW, look, NULL, &res, err);

	if (rc != 0)
		return rc;
	now = json_loads(PQgetvalue(res, 0, 0), 0, NULL);
	text = PQgetvalue(res, 0, 1);
	if (now != NULL && !json_equal(now, p->conflicts)) {
		json_decref(p->conflicts);
		p->conflicts = json_incref(now);
		p->conflicts_owed = text[0] != '\0';
	}
	if (p->conflicts_owed && r->move == MOVE_IN_STEP) {
		p->conflicts_owed = false;
		run_event(r, "conflicts", "%.200s", text);
	}
	json_decref(now);
	PQclear(res);
	return 0;
}

void
pg_both_look(struct run *r)
{
	struct pg_side *p = r->at[SIDE_NEW].pg;
	uint64_t now = os_mono_ns();
	struct err err;

	if (p == NULL || !pg_both_is_said(r) || !r->at[SIDE_NEW].is_up ||
	    !r->at[SIDE_NEW].users_made || r->state == LIFE_COMPLETED ||
	    now < p->conflicts_ns)
		return;
	p->conflicts_ns = now + LOOK_NS;
	/* Then later. */
	(void)ask(r, p, &err);
}

json_t *
pg_both_told(const struct run *r)
{
	const struct pg_side *p = r->at[SIDE_NEW].pg;

	return p != NULL ? json_incref(p->conflicts) : NULL;
}
