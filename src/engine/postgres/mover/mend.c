/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/mend.c: rows that are to be as the authority's.
 *
 * What control/postgres/verify_mend.c put into Godwit's table mend on the side that
 * rules, in a transaction in which nobody else could write these rows: so they are
 * right at that place of the stream, and what is newer comes behind it. The function
 * refuses nothing: what it could not do it keeps for the verifier.
 */
#include "engine/postgres/mover/state.h"
#include "wire/pg_text.h"

void
pg_mend_take(struct pg_mover *m, struct pg_apply *a, struct span words)
{
	struct buf sql;

	buf_init(&sql, m->port->mem);
	buf_put_str(&sql, "SELECT ");
	pg_put_ident(&sql, span_str(m->slot));
	buf_put_str(&sql, ".mended($1)");
	if (buf_failed(&sql))
		a->failed = true;
	else
		pg_apply_call(m, a, buf_span(&sql), words);
	buf_fini(&sql);
}
