/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/keeper.c: snapshots of the authority, one at a time.
 *
 * What a statement says twice of the same rows may still differ: by the clock, say. A
 * transaction is held open while its snapshot is used in two others.
 */
#include "engine/postgres/relay/inside.h"

static const char keep[] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
			   "SELECT pg_catalog.pg_export_snapshot()";

void
pg_keeper_init(struct pg_relay *r)
{
	struct pg_keeper *k = &r->shadow->keeper;

	k->owner = OWNER_KEEPER;
	k->r = r;
	k->c.id = r->conf->id;
	k->c.what = "snapshot";
	pg_conn_init(&k->c, r->port);
}

void
pg_keeper_fini(struct pg_relay *r)
{
	pg_conn_close(&r->shadow->keeper.c);
	pg_conn_fini(&r->shadow->keeper.c);
}

/* The other way round: what waits for it is judged without. */
static void
lost(struct pg_keeper *k)
{
	struct pg_ask *a = k->ask;

	k->r->shadow->retry_ns[k->r->route.authority] =
		k->r->port->now_ns + 1000 * MILLI;
	k->ask = NULL;
	k->name[0] = '\0';
	if (a != NULL && a->at == ASK_SNAPSHOT)
		pg_shadow_lost(k->r, a, SHADOW_DROP_DOWN);
}

static bool
hear(void *self, struct pg_conn *c, const struct pg_message *m)
{
	struct pg_keeper *k = self;
	struct pg_values row;
	struct pg_value v;
	struct span rest;

	(void)c;
	if (m->type != PG_DATA_ROW || !pg_read_row(m->body, &row))
		return true;
	rest = row.items;
	if (!pg_value_next(&rest, &v) || v.bytes.n >= sizeof(k->name))
		return true;
	memcpy(k->name, v.bytes.p, v.bytes.n);
	k->name[v.bytes.n] = '\0';
	return true;
}

const char *
pg_keeper_name(struct pg_relay *r, struct pg_ask *a)
{
	struct pg_shadow *x = r->shadow;
	struct pg_keeper *k = &x->keeper;
	enum side side = r->route.authority;

	if (k->ask != NULL && k->ask != a)
		return NULL;
	if (k->c.state == PG_CONN_OFF) {
		if (r->port->now_ns < x->retry_ns[side])
			return NULL;
		k->c.side = &r->conf->side[side];
		if (pg_conn_open(&k->c) == 0)
			k->c.link->owner = k;
		return NULL;
	}
	if (k->c.state != PG_CONN_IDLE)
		return NULL;
	if (k->ask == a)
		return k->name[0] != '\0' ? k->name : NULL;
	k->ask = a;
	k->name[0] = '\0';
	pg_conn_query(&k->c, "%s", keep);
	return NULL;
}

void
pg_keeper_leave(struct pg_relay *r, const struct pg_ask *a)
{
	struct pg_keeper *k = &r->shadow->keeper;

	if (k->ask != a)
		return;
	k->ask = NULL;
	k->name[0] = '\0';
	if (k->c.state == PG_CONN_IDLE)
		pg_conn_query(&k->c, "ROLLBACK");
	else
		pg_conn_close(&k->c);
}

void
pg_keeper_up(struct pg_keeper *k)
{
	if (pg_conn_up(&k->c) != 0)
		lost(k);
}

void
pg_keeper_take(struct pg_keeper *k, struct span bytes)
{
	if (pg_conn_take(&k->c, bytes, hear, k) != 0)
		lost(k);
	else if (k->ask != NULL && k->c.state == PG_CONN_IDLE &&
	         k->name[0] == '\0') {
		/* It was refused. */
		pg_conn_close(&k->c);
		lost(k);
	}
}

void
pg_keeper_down(struct pg_keeper *k, const struct err *err)
{
	pg_conn_down(&k->c, err);
	lost(k);
}
