/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/attach.c: questions before the copy, and between.
 *
 * Each side has one connection for questions. A list of them is asked one after the
 * other; its last answer leads to the next stage.
 */
#include "base/check.h"
#include "engine/postgres/mover/state.h"

/* %1: slot, origin and schema. What another process left behind goes first: its
 * walsender still holds the slot. */
#define SQL_STALE                                      \
	"SELECT pg_terminate_backend(active_pid) FROM" \
	" pg_replication_slots WHERE slot_name = '%s' AND active"
#define SQL_NO_SLOT                                       \
	"SELECT pg_drop_replication_slot(slot_name) FROM" \
	" pg_replication_slots WHERE slot_name = '%s'"
#define SQL_NO_ORIGIN                                    \
	"SELECT pg_replication_origin_drop(roname) FROM" \
	" pg_replication_origin WHERE roname = '%s'"
#define SQL_NO_HOLD                                          \
	"SELECT count(pg_terminate_backend(pid, 5000)) FROM" \
	" pg_stat_activity WHERE application_name = 'godwit:%s:hold'"
#define SQL_ORIGIN                                            \
	"SELECT pg_replication_origin_create('%s') WHERE NOT" \
	" EXISTS (SELECT 1 FROM pg_replication_origin WHERE roname = '%s')"
/* A copy that was not finished is begun again. */
#define SQL_EMPTY                                                           \
	"DO $$ DECLARE t text; BEGIN SELECT string_agg(format('%%I.%%I',"   \
	" n.nspname, c.relname), ',') INTO t FROM pg_class c JOIN"          \
	" pg_namespace n ON n.oid = c.relnamespace WHERE" PG_MOVER_THEIRS   \
	" AND"                                                              \
	" format('%%I.%%I', n.nspname, c.relname) NOT IN (SELECT h.t"       \
	" FROM %s.there h);"                                                \
	" IF t IS NOT NULL THEN EXECUTE 'TRUNCATE ' || t || ' CASCADE';"    \
	" END IF;"                                                          \
	" PERFORM set_config('session_replication_role', 'replica', true);" \
	" FOR t IN SELECT h.t FROM %s.there h WHERE is_both AND NOT"        \
	" has_rows LOOP EXECUTE 'DELETE FROM ONLY ' || t; END LOOP; END $$"
/* Values whose bytes name no object of a server mean the same everywhere. */
#define SQL_TABLES                                                             \
	"SELECT format('%%I.%%I', n.nspname, c.relname),"                      \
	" coalesce(string_agg(quote_ident(a.attname), ',' ORDER BY"            \
	" a.attnum), ''), pg_relation_size(c.oid) /"                           \
	" current_setting('block_size')::int, greatest(c.reltuples,"           \
	" 0)::bigint, coalesce(bool_and((t.oid < 16384 AND t.typname !~"       \
	" '^_?(reg|aclitem)') OR t.typtype = 'e'), true)::int, c.oid,"         \
	" coalesce(pg_relation_filenode(c.oid), 0), format('\"%%s\".\"%%s\"'," \
	" replace(n.nspname, '\"', '\"\"'), replace(c.relname, '\"', '\"\"'))" \
	" FROM pg_class c JOIN"                                                \
	" pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_attribute a"   \
	" ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND"   \
	" a.attgenerated = '' LEFT JOIN pg_type t ON t.oid = a.atttypid"       \
	" WHERE" PG_MOVER_THEIRS                                               \
	" GROUP BY c.oid, n.nspname, c.relname, c.reltuples"                   \
	" ORDER BY 3 DESC"
#define SQL_SINCE "SELECT t, min(lsn) FROM %s.chunk GROUP BY t"
/* A server that was put in the place of another one may have no slots. */
#define SQL_SLOT                                                    \
	"SELECT count(*) FROM pg_replication_slots WHERE slot_name" \
	" = '%s' AND wal_status IS DISTINCT FROM 'lost'"
#define SQL_BACK                                                      \
	"SELECT pg_create_logical_replication_slot('%s', 'pgoutput')" \
	" WHERE NOT EXISTS (SELECT 1 FROM pg_replication_slots WHERE" \
	" slot_name = '%s')"

/* Question m->at of SET_UP; false: there are no more. */
static bool
set_up(struct pg_mover *m)
{
	switch (m->at++) {
	case 0:
	case 1:
		/* Ours may go on. */
		if (m->feed[m->at - 1].runs)
			pg_conn_query(&m->ask[m->at - 1], "SELECT 1");
		else
			pg_conn_query(&m->ask[m->at - 1], SQL_STALE, m->slot);
		return true;
	case 2:
		pg_conn_query(&m->ask[0], SQL_ORIGIN, m->slot, m->slot);
		return true;
	case 3:
		pg_conn_query(&m->ask[1], SQL_ORIGIN, m->slot, m->slot);
		return true;
	case 4: pg_there_ask(m); return true;
	case 5:
		if (m->fill_done)
			pg_conn_query(&m->ask[SIDE_NEW], SQL_SINCE, m->slot);
		else if (m->is_strict)
			pg_loose_none(m);
		return m->fill_done || m->is_strict;
	case 6:
		if (m->fill_done)
			pg_conn_query(&m->ask[m->from], SQL_SLOT, m->slot);
		return m->fill_done;
	default: return false;
	}
}

/* Does the stream bring what is behind rows of new's own? */
static bool
has_mixed(const struct pg_mover *m)
{
	map_each(e, &m->there) {
		if (((const struct pg_there *)map_value(e))->has_rows)
			return true;
	}
	return false;
}

/* The authority keeps nothing for us any more: what it did meanwhile is not known. Old's
 * rows are copied anew; new's are not, while old may be the way back. */
static void
lost(struct pg_mover *m)
{
	struct mail mail = { .kind = MAIL_STALE, .side = m->from, .flag = 1 };
	const char *why =
		m->from == SIDE_NEW
			? "old misses changes, and cannot follow any more; "
			  "complete (--force), then migrate the other way"
		: m->is_both ? "new misses changes; roll back"
		: has_mixed(m)
			? "what was copied cannot be told from new's own rows; "
			  "begin anew, with another --state"
			: NULL;

	if (why == NULL) {
		atomic_store(&m->conf->board->passed[m->from], 0);
		m->port->ops->mail(m->port, &mail);
	}
	pg_mover_fail(m, ERR_STATE, "%s: its replication slot is gone: %s",
	              m->conf->side[m->from].label,
	              why != NULL ? why : "all is copied anew");
}

/* The same of WIPE. That anything is on new is forgotten before what it came from
 * goes. */
static bool
wipe(struct pg_mover *m)
{
	enum side to = side_other(m->from);
	uint8_t at = m->at++;

	switch (at) {
	case 0:
		pg_conn_query(&m->ask[to],
		              "DELETE FROM %s.snapshot; DELETE FROM %s.chunk",
		              m->slot, m->slot);
		return true;
	case 1:
		pg_conn_query(&m->ask[m->from], SQL_NO_HOLD, m->conf->id);
		return true;
	case 2:
	case 3:
		pg_conn_query(&m->ask[at - 2], SQL_NO_SLOT, m->slot);
		return true;
	case 4:
	case 5:
		pg_conn_query(&m->ask[at - 4], SQL_NO_ORIGIN, m->slot);
		return true;
	case 6:
	case 7:
		pg_conn_query(&m->ask[at - 6], SQL_ORIGIN, m->slot, m->slot);
		return true;
	case 8:
		if (!m->refills)
			return false;
		pg_conn_query(&m->ask[to], SQL_EMPTY, m->slot, m->slot);
		return true;
	default: return false;
	}
}

/* One question after the other, of both sides; behind the last one: where to? */
static void
next_list(struct pg_mover *m)
{
	enum stage to;
	bool more;

	if (m->ask[0].state != PG_CONN_IDLE || m->ask[1].state != PG_CONN_IDLE)
		return;
	switch ((int)m->stage) {
	case STAGE_SET_UP:
		more = set_up(m);
		to = m->fill_done ? STAGE_BACK
		     : m->refills ? STAGE_LOOK
		                  : STAGE_WIPE;
		break;
	case STAGE_LOOK:
		more = pg_resume_look(m);
		to = more ? STAGE_LOOK : pg_resume_way(m);
		break;
	case STAGE_EMPTY:
		more = pg_resume_empty(m);
		to = pg_resume_go_on(m);
		break;
	default:
		more = wipe(m);
		to = STAGE_SLOT;
		break;
	}
	if (more)
		return;
	if (to == STAGE_BACK || (m->stage == STAGE_LOOK && to != STAGE_WIPE))
		m->streams = true;
	if (m->streams)
		pg_feed_load(m);
	pg_mover_stage(m, to);
}

static void
next_slot(struct pg_mover *m)
{
	struct pg_conn *c = &m->snap;

	if (c->link == NULL) {
		c->side = &m->conf->side[m->from];
		if (pg_conn_open(c) != 0)
			pg_mover_fail(m, ERR_NOMEM, "out of memory");
		return;
	}
	if (c->state != PG_CONN_IDLE)
		return;
	if (m->snapshot[0] != '\0') {
		pg_mover_stage(m, STAGE_HOLD);
		return;
	}
	m->refills = true;
	/* Only a snapshot and its position are wanted where the slot of the
	 * stream is there. */
	pg_conn_query(c,
	              "CREATE_REPLICATION_SLOT \"%s%s LOGICAL pgoutput "
	              "EXPORT_SNAPSHOT",
	              m->slot, m->has_slot ? "_again\" TEMPORARY" : "\"");
}

void
pg_attach_ask_tables(struct pg_mover *m)
{
	pg_conn_query(&m->ask[m->from], SQL_TABLES);
}

static void
next_tables(struct pg_mover *m)
{
	struct pg_conn *c = &m->ask[m->from];

	if (c->state != PG_CONN_IDLE ||
	    m->ask[side_other(m->from)].state != PG_CONN_IDLE)
		return;
	switch (m->ask_at[m->from]++) {
	case 0:
		pg_conn_query(
			c,
			"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
			"SET TRANSACTION SNAPSHOT '%s'",
			m->snapshot);
		break;
	case 1: pg_attach_ask_tables(m); break;
	case 2: pg_loose_ask(m); break;
	case 3:
		pg_conn_query(c, "COMMIT");
		pg_loose_begin(m);
		break;
	default: pg_mover_stage(m, STAGE_COPY);
	}
}

static void
next_back(struct pg_mover *m)
{
	bool done = true;

	for (int s = 0; s < SIDE_N; s++) {
		struct pg_conn *c = &m->ask[s];

		if (c->state == PG_CONN_IDLE && m->ask_at[s] == 0) {
			m->ask_at[s]++;
			/* The authority's is there, or its position is lost. */
			if ((enum side)s == m->from)
				continue;
			pg_conn_query(c, SQL_BACK, m->slot, m->slot);
		}
		done = done && c->state == PG_CONN_IDLE;
	}
	if (done)
		pg_mover_stage(m, STAGE_STREAM);
}

void
pg_attach_dial(struct pg_mover *m)
{
	for (int s = 0; s < SIDE_N; s++) {
		struct pg_conn *both[] = { &m->apply[s].c, &m->feed[s].c };

		for (int i = 0; i < 2; i++) {
			if (both[i]->link == NULL && pg_conn_open(both[i]) != 0)
				pg_mover_fail(m, ERR_NOMEM, "out of memory");
		}
	}
}

/* Appliers, then feeds. */
static void
next_stream(struct pg_mover *m)
{
	pg_attach_dial(m);
	for (int s = 0; s < SIDE_N; s++) {
		struct pg_apply *a = &m->apply[s];
		struct pg_feed *f = &m->feed[side_other((enum side)s)];

		if (a->c.state == PG_CONN_IDLE && !a->is_ready)
			pg_apply_begin_session(m, a);
		if (a->is_ready && f->c.state == PG_CONN_IDLE && !f->runs)
			pg_feed_start(m, f);
	}
}

/* Nobody needs the snapshot any more. */
static void
next_build(struct pg_mover *m)
{
	if (m->at > 0 || m->ask[m->from].state != PG_CONN_IDLE)
		return;
	m->at++;
	pg_conn_query(&m->ask[m->from], SQL_NO_HOLD, m->conf->id);
}

void
pg_attach_next(struct pg_mover *m)
{
	switch (m->stage) {
	case STAGE_DIAL:
		if (m->ask[SIDE_OLD].state == PG_CONN_IDLE &&
		    m->ask[SIDE_NEW].state == PG_CONN_IDLE)
			pg_mover_stage(m, STAGE_SET_UP);
		break;
	case STAGE_SET_UP:
	case STAGE_LOOK:
	case STAGE_EMPTY:
	case STAGE_WIPE: next_list(m); break;
	case STAGE_SLOT: next_slot(m); break;
	case STAGE_HOLD: pg_keep_next(m); break;
	case STAGE_TABLES: next_tables(m); break;
	case STAGE_BUILD: next_build(m); break;
	case STAGE_BACK: next_back(m); break;
	case STAGE_STREAM: next_stream(m); break;
	case STAGE_IDLE:
	case STAGE_COPY:
	case STAGE_IN_STEP:
	case STAGE_BROKEN:
	case STAGE_STOPPED:
	case STAGE_N: break;
	}
}

static bool
hear_since(struct pg_mover *m, struct pg_values row)
{
	struct span rest = row.items;
	struct pg_value v[2];
	struct pg_lsn lsn;
	uint64_t oid = 0;

	if (m->at == 5)
		return pg_there_hear(m, row);
	if (m->at == 7) {
		(void)pg_value_next(&rest, &v[0]);
		if (span_eq(v[0].bytes, SPAN("0")))
			lost(m);
		return true;
	}
	if (m->at != 6 || row.n != 2)
		return true;
	(void)pg_value_next(&rest, &v[0]);
	(void)pg_value_next(&rest, &v[1]);
	for (size_t i = 0; i < v[0].bytes.n; i++)
		oid = oid * 10 + (uint64_t)(v[0].bytes.p[i] - '0');
	return pg_lsn_parse(v[1].bytes, &lsn) &&
	       pg_since_put(m, (uint32_t)oid, lsn.v);
}

static bool
hear_row(struct pg_mover *m, struct pg_values row)
{
	/* The one behind the list. */
	if (m->stage == STAGE_TABLES && m->ask_at[m->from] == 3)
		return pg_loose_hear(m, row);
	if (m->stage == STAGE_TABLES)
		return pg_copy_add_table(m, row);
	if (m->stage == STAGE_LOOK)
		return pg_resume_hear(m, row);
	return hear_since(m, row);
}

/* Do commits wait for standbys there? We may be one. */
static void
hear_beat(struct pg_mover *m, struct span body)
{
	struct pg_values row;
	struct pg_value v;
	struct span rest;

	if (!pg_read_row(body, &row) || row.n != 2)
		return;
	rest = row.items;
	(void)pg_value_next(&rest, &v);
	(void)pg_value_next(&rest, &v);
	m->is_awaited = span_eq(v.bytes, SPAN("t"));
}

bool
pg_attach_hear(struct pg_mover *m, enum side s, const struct pg_message *msg)
{
	struct pg_values row;

	if (msg->type == PG_ERROR_RESPONSE)
		pg_mover_fail(m, ERR_REFUSED, "%s: %s", m->conf->side[s].label,
		              m->ask[s].said);
	if (msg->type == PG_DATA_ROW && m->apply[s].asked != 0) {
		if (pg_read_row(msg->body, &row))
			pg_sets_hear(m, s, row);
		return true;
	}
	/* new's word that it was told is nothing to read. */
	if (msg->type == PG_DATA_ROW && s != m->from &&
	    m->stage == STAGE_TABLES)
		return true;
	if (msg->type == PG_DATA_ROW && s == m->from &&
	    (m->stage == STAGE_STREAM || m->stage == STAGE_IN_STEP))
		hear_beat(m, msg->body);
	if (msg->type != PG_DATA_ROW ||
	    (m->stage != STAGE_TABLES && m->stage != STAGE_LOOK &&
	     m->stage != STAGE_SET_UP))
		return true;
	if (!pg_read_row(msg->body, &row) || !hear_row(m, row))
		pg_mover_fail(m, ERR_PROTO, "%s: a list of tables that is none",
		              m->conf->side[s].label);
	return true;
}

bool
pg_attach_slot(struct pg_mover *m, const struct pg_message *msg)
{
	struct pg_values row;
	struct pg_value v[3];
	struct pg_lsn lsn;
	struct span rest;

	if (msg->type == PG_ERROR_RESPONSE)
		pg_mover_fail(m, ERR_REFUSED, "%s: %s",
		              m->conf->side[m->from].label, m->snap.said);
	if (msg->type != PG_DATA_ROW)
		return true;
	if (!pg_read_row(msg->body, &row) || row.n < 3)
		return true;
	rest = row.items;
	for (int i = 0; i < 3; i++)
		(void)pg_value_next(&rest, &v[i]);
	if (!pg_lsn_parse(v[1].bytes, &lsn) ||
	    v[2].bytes.n >= sizeof(m->snapshot)) {
		pg_mover_fail(m, ERR_PROTO, "%s: a slot that is none",
		              m->conf->side[m->from].label);
		return true;
	}
	m->consistent = lsn.v;
	memcpy(m->snapshot, v[2].bytes.p, v[2].bytes.n);
	m->snapshot[v[2].bytes.n] = '\0';
	return true;
}

bool
pg_attach_emit(struct pg_mover *m, enum side s, const char *prefix,
               uint64_t token)
{
	struct pg_conn *c = &m->ask[s];

	if (c->state != PG_CONN_IDLE)
		return false;
	pg_conn_query(c,
	              "SELECT pg_logical_emit_message(true, '%s', '%llu'),"
	              " current_setting('synchronous_standby_names') <> ''",
	              prefix, (unsigned long long)token);
	return true;
}
