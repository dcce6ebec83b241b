/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/guard.c: a connection of Godwit's becomes what a session is, and
 * read only.
 */
#include "engine/postgres/relay/guard.h"

#define READ_ONLY "'default_transaction_read_only'"

bool
pg_guard_ask(struct pg_conn *c, struct span settings, uint32_t timeout_ms)
{
	struct buf sql;
	bool ret;

	buf_init(&sql, c->port->mem);
	buf_put_span(&sql, settings);
	if (timeout_ms > 0)
		buf_putf(&sql,
		         "SELECT pg_catalog.set_config('statement_timeout',"
		         " '%u', false); ",
		         timeout_ms);
	buf_put_str(&sql, "SELECT pg_catalog.set_config(" READ_ONLY
	                  ", 'on', false); SELECT session_user,"
	                  " pg_catalog.current_setting(" READ_ONLY ")");
	pg_put_query(&c->link->tx, buf_span(&sql));
	c->state_5[0] = '\0';
	pg_conn_asked(c);
	ret = !buf_failed(&sql);
	buf_fini(&sql);
	return ret;
}

void
pg_guard_hear(const struct pg_message *m, struct span user, bool *is_guarded)
{
	struct pg_values row;
	struct pg_value v[2];

	if (m->type != PG_DATA_ROW || !pg_read_row(m->body, &row) || row.n != 2)
		return;
	(void)pg_value_next(&row.items, &v[0]);
	(void)pg_value_next(&row.items, &v[1]);
	*is_guarded =
		span_eq(v[0].bytes, user) && span_eq(v[1].bytes, SPAN("on"));
}
