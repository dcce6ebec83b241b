/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/ddl.c: a change of the schema, said again on the other side.
 *
 * What control/postgres/ddl.c put into Godwit's table: a reason, a role, four settings
 * and the words, chr(1) between. With a reason it is not carried, but named. It is
 * said in the transaction in which it was said, by the same role; the server takes
 * one statement only in this way, so that nothing can hide behind the first one.
 */
#include "engine/postgres/mover/state.h"
#include "wire/pg_text.h"

#define TOLD_MAX 64 /* of the words, where a person reads them */

enum part {
	PART_REASON,
	PART_ROLE,
	PART_SETTING, /* the first of them */
	PART_TEXT = PART_SETTING + 4,
	PART_N,
};

static const char *const settings[] = { "search_path", "TimeZone", "DateStyle",
	                                "IntervalStyle" };

/* The last one has all that is left. */
static bool
split(struct span content, struct span ret[PART_N])
{
	size_t at = 0;

	for (int i = 0; i < PART_N; i++) {
		size_t from = at;

		while (at < content.n && (i == PART_TEXT || content.p[at] != 1))
			at++;
		if (i < PART_TEXT && at == content.n)
			return false;
		ret[i] = span_of(content.p + from, at - from);
		at++;
	}
	return true;
}

static void
say(struct pg_mover *m, struct pg_apply *a, struct buf *sql)
{
	if (buf_failed(sql))
		a->failed = true;
	else
		pg_apply_statement(m, a, buf_span(sql));
	buf_clear(sql);
}

static void
carry(struct pg_mover *m, struct pg_apply *a, const struct span part[PART_N])
{
	struct buf sql;

	buf_init(&sql, m->port->mem);
	pg_batch_say(m, a);
	pg_sets_forget(m, a);
	pg_apply_plans(a, true);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		buf_putf(&sql, "SELECT pg_catalog.set_config('%s', ",
		         settings[i]);
		pg_put_literal(&sql, part[PART_SETTING + i]);
		buf_put_str(&sql, ", true)");
		say(m, a, &sql);
	}
	buf_put_str(&sql, "SET LOCAL ROLE ");
	pg_put_ident(&sql, part[PART_ROLE]);
	say(m, a, &sql);
	pg_apply_statement(m, a, part[PART_TEXT]);
	/* Rows may come behind it, in the same transaction. */
	pg_apply_statement(m, a, SPAN("SET LOCAL ROLE NONE"));
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		buf_putf(&sql, "SET LOCAL %s TO DEFAULT", settings[i]);
		say(m, a, &sql);
	}
	pg_apply_renew(a);
	pg_apply_plans(a, false);
	buf_fini(&sql);
}

void
pg_ddl_take(struct pg_mover *m, struct pg_apply *a, struct span content)
{
	struct span part[PART_N];
	struct span told;

	if (!split(content, part)) {
		pg_mover_fail(m, ERR_PROTO,
		              "a change of the schema that is "
		              "none");
		return;
	}
	if (part[PART_REASON].n == 0) {
		carry(m, a, part);
		return;
	}
	told = part[PART_TEXT];
	told.n = told.n < TOLD_MAX ? told.n : TOLD_MAX;
	pg_mover_owe(m, "not carried, %.*s: %.*s; say it on %s, too",
	             (int)part[PART_REASON].n,
	             (const char *)part[PART_REASON].p, (int)told.n,
	             (const char *)told.p, m->conf->side[a->side].label);
}
