/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/loose.c: columns of a fixed length, while rows are copied.
 *
 * A server counts the characters of each value that goes into a char(n), one by one:
 * two fifths of the work of a COPY into a table with such a column. What comes from a
 * char(n) of the same n has that length (both databases have one encoding). So new takes these
 * columns without a length as long as the copy runs, and has it back before the first
 * index is built (control/postgres/own.c, docs/decisions/0057). Where a COPY fails they
 * have it back at once, and nothing of this is done again.
 */
#include "engine/postgres/mover/state.h"

/* Of tables of 1 MiB and more, alone: the row of a leaf has to be one of its parent.
 * No row: there are none. */
#define SQL_WHICH                                                             \
	"SELECT json_agg(json_build_object('t', format('%%I.%%I', n.nspname," \
	" c.relname), 'c', a.attname, 'm', a.atttypmod))::text"               \
	" FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"      \
	" JOIN pg_attribute a ON a.attrelid = c.oid WHERE" PG_MOVER_THEIRS    \
	" AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"    \
	" AND a.atttypid = 'bpchar'::regtype AND a.atttypmod > 4"             \
	" AND c.reloftype = 0 AND NOT EXISTS (SELECT 1 FROM pg_inherits"      \
	" WHERE c.oid IN (inhrelid, inhparent))"                              \
	" AND pg_relation_size(c.oid) >= 1048576 HAVING count(*) > 0"

void
pg_loose_ask(struct pg_mover *m)
{
	buf_clear(&m->loose);
	if (m->is_strict)
		return;
	pg_conn_query(&m->ask[m->from], SQL_WHICH);
}

bool
pg_loose_hear(struct pg_mover *m, struct pg_values row)
{
	struct span rest = row.items;
	struct pg_value v;

	if (row.n != 1 || !pg_value_next(&rest, &v))
		return false;
	pg_put_literal(&m->loose, v.bytes);
	return !buf_failed(&m->loose);
}

void
pg_loose_begin(struct pg_mover *m)
{
	if (buf_len(&m->loose) == 0)
		return;
	pg_conn_query(&m->ask[side_other(m->from)], "SELECT %s.loosen(%.*s)",
	              m->slot, (int)buf_len(&m->loose),
	              (const char *)buf_span(&m->loose).p);
	buf_release(&m->loose);
}

bool
pg_loose_end(struct pg_mover *m, struct pg_conn *c)
{
	if (m->tight == TIGHT_DONE)
		return true;
	if (c->state != PG_CONN_IDLE)
		return false;
	if (m->tight == TIGHT_ASKED) {
		m->tight = TIGHT_DONE;
		return true;
	}
	m->tight = TIGHT_ASKED;
	pg_conn_query(c, "SELECT %s.tighten()", m->slot);
	return false;
}

void
pg_loose_none(struct pg_mover *m)
{
	pg_conn_query(&m->ask[SIDE_NEW], "SELECT %s.tighten()", m->slot);
}
