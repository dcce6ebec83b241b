/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/resume.c: a first copy that goes on where it was left.
 *
 * Each chunk is written into new's list in its own transaction. The snapshot is kept
 * by a session of old that outlives us (its statement does not look at its client),
 * so that a later process copies the other chunks of the very same moment. When that
 * session is gone, too (old was restarted), tables that are complete stay; the others
 * are copied whole from a new snapshot, and the stream, which begins at the first
 * one, is counted for each table from the snapshot that it is of.
 */
#include "base/check.h"
#include "engine/postgres/mover/state.h"

/* A snapshot is kept so long without any session of ours: seconds. */
#define HOLD_ALONE_S 600

/* %1: schema. */
#define SQL_RECORD "SELECT holder, name, lsn, 0 FROM %s.snapshot"
/* A chunk of a process that is dead may just be committing. */
#define SQL_LEFT                                             \
	"SELECT count(pg_terminate_backend(pid, 5000)) FROM" \
	" pg_stat_activity WHERE application_name = 'godwit:%s:copy'"
#define SQL_KEPT                                                           \
	"SELECT (SELECT count(*) FROM pg_replication_slots WHERE"          \
	" slot_name = '%s' AND wal_status IS DISTINCT FROM 'lost'),"       \
	" (SELECT count(*) FROM pg_stat_activity WHERE application_name =" \
	" 'godwit:%s:hold' AND pid || '/' || extract(epoch FROM"           \
	" backend_start) = '%s')"
#define SQL_CHUNKS                                                    \
	"SELECT t, min(node), max(node), min(lsn), max(lsn),"         \
	" coalesce(min(page) FILTER (WHERE is_last), -1), sum(rows)," \
	" string_agg(page::text, ',') FROM %s.chunk GROUP BY t"
/* Of it nothing is undone by a later step, so it goes first. */
#define SQL_FORGET "DELETE FROM %s.chunk WHERE t IN ("

#define SQL_EXPORT                                                      \
	"SELECT pg_export_snapshot(), pid || '/' || extract(epoch FROM" \
	" backend_start), (SELECT count(*) FROM %s.dumped WHERE digest" \
	" = %s.digest()) FROM pg_stat_activity WHERE pid ="             \
	" pg_backend_pid()"
/* It looks at no client, and ends when nobody is left who could want it. */
#define SQL_SETTINGS                                                      \
	"SELECT set_config(name, '0', false) FROM pg_settings WHERE name" \
	" IN ('client_connection_check_interval', 'transaction_timeout'," \
	" 'idle_in_transaction_session_timeout', 'idle_session_timeout')"
#define SQL_HOLD                                                            \
	"DO $$ DECLARE alone int := 0; BEGIN WHILE alone < %d AND EXISTS"   \
	" (SELECT 1 FROM pg_replication_slots WHERE slot_name = '%s') LOOP" \
	" PERFORM pg_sleep(1); PERFORM pg_stat_clear_snapshot(); alone :="  \
	" CASE WHEN EXISTS (SELECT 1 FROM pg_stat_activity WHERE"           \
	" starts_with(application_name, 'godwit:%s:') AND pid <>"           \
	" pg_backend_pid()) THEN 0 ELSE alone + 1 END; END LOOP; END $$"
#define SQL_RECORDED                                                          \
	"INSERT INTO %s.snapshot (name, holder, lsn) VALUES ('%s', '%s',"     \
	" '%s') ON CONFLICT (one) DO UPDATE SET name = excluded.name, holder" \
	" = excluded.holder, lsn = excluded.lsn"

static uint64_t
number_of(struct span s)
{
	uint64_t v = 0;

	for (size_t i = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	return v;
}

static bool
keep_text(char *to, size_t n, struct span s)
{
	if (s.n >= n)
		return false;
	if (s.n > 0)
		memcpy(to, s.p, s.n);
	to[s.n] = '\0';
	return true;
}

/* ---- what is there ---------------------------------------------------------- */

bool
pg_resume_look(struct pg_mover *m)
{
	struct pg_conn *to = &m->ask[side_other(m->from)];
	struct pg_conn *from = &m->ask[m->from];

	switch (m->at++) {
	case 0:
		m->has_mixed = false;
		m->is_recorded = false;
		m->has_slot = false;
		m->has_holder = false;
		pg_conn_query(to, SQL_RECORD, m->slot);
		return true;
	case 1: pg_conn_query(to, SQL_LEFT, m->conf->id); return true;
	case 2:
		pg_conn_query(from, SQL_KEPT, m->slot, m->conf->id, m->holder);
		return true;
	case 3: pg_attach_ask_tables(m); return true;
	case 4: pg_conn_query(to, SQL_CHUNKS, m->slot); return true;
	default: return false;
	}
}

static bool
hear_record(struct pg_mover *m, const struct pg_value *v)
{
	struct pg_lsn lsn;

	m->is_recorded =
		keep_text(m->holder, sizeof(m->holder), v[0].bytes) &&
		keep_text(m->snapshot, sizeof(m->snapshot), v[1].bytes) &&
		pg_lsn_parse(v[2].bytes, &lsn);
	if (m->is_recorded)
		m->consistent = lsn.v;
	return true;
}

/* The pages of `list`, which begin chunks, are done; up to `last` if that is known.
 * Answers whether that is all of it. */
static bool
note_done(struct pg_table *t, struct span list, bool has_last, uint64_t last)
{
	static const uint8_t no[1];
	size_t n;

	if (has_last && last < t->pages)
		t->pages = (uint32_t)last + 1;
	else if (has_last)
		has_last = false;
	n = (t->pages - 1) / CHUNK_PAGES + 1;
	for (size_t i = 0; i < n; i++)
		buf_put(&t->done, no, 1);
	if (buf_failed(&t->done))
		return false;
	for (size_t at = 0; at < list.n; at++) {
		size_t chunk = number_of(span_skip(list, at)) / CHUNK_PAGES;

		if (chunk < n)
			t->done.p[t->done.off + chunk] = 1;
		while (at < list.n && list.p[at] != ',')
			at++;
	}
	return has_last && memchr(buf_span(&t->done).p, 0, n) == NULL;
}

static bool
hear_chunks(struct pg_mover *m, const struct pg_value *v)
{
	struct pg_table *t = NULL;
	struct pg_lsn first;
	struct pg_lsn last;
	uint32_t node;
	bool is_one;
	bool has_last;

	for (uint32_t i = 0; i < m->table_n && t == NULL; i++) {
		if (m->table[i].oid == (uint32_t)number_of(v[0].bytes))
			t = &m->table[i];
	}
	/* Of a table that is no longer there. */
	if (t == NULL)
		return true;
	if (!pg_lsn_parse(v[3].bytes, &first) ||
	    !pg_lsn_parse(v[4].bytes, &last))
		return false;
	node = (uint32_t)number_of(v[1].bytes);
	is_one = first.v == last.v && span_eq(v[1].bytes, v[2].bytes);
	has_last = v[5].bytes.n > 0 && v[5].bytes.p[0] != '-';
	t->lsn = first.v;
	/* Complete; or of the snapshot that is still there. */
	t->is_stale =
		!note_done(t, v[7].bytes, has_last, number_of(v[5].bytes)) &&
		!(m->has_holder && node == t->node && first.v == m->consistent);
	t->is_stale = t->is_stale || !is_one;
	/* Whatever it is of: the stream puts it right from the first one on. */
	if (t->is_mixed) {
		m->has_mixed = true;
		t->is_stale =
			node != t->node || !span_eq(v[1].bytes, v[2].bytes);
	}
	if (!t->is_stale)
		board_copied(m->conf->board, number_of(v[6].bytes), 0);
	return !buf_failed(&t->done);
}

bool
pg_resume_hear(struct pg_mover *m, struct pg_values row)
{
	struct span rest = row.items;
	struct pg_value v[8];
	uint16_t n = row.n < 8 ? row.n : 8;

	for (uint16_t i = 0; i < n; i++)
		(void)pg_value_next(&rest, &v[i]);
	if (m->at == 4)
		return pg_copy_add_table(m, row);
	if (m->at == 1 && n == 4)
		return hear_record(m, v);
	if (m->at == 3 && n == 2) {
		m->has_slot = span_eq(v[0].bytes, SPAN("1"));
		m->has_holder = span_eq(v[1].bytes, SPAN("1"));
	}
	if (m->at == 5)
		return n == 8 && hear_chunks(m, v);
	return true;
}

static bool
is_complete(const struct pg_table *t)
{
	return !t->is_stale && buf_len(&t->done) > 0 &&
	       memchr(buf_span(&t->done).p, 0, buf_len(&t->done)) == NULL;
}

/* What is not of the snapshot that is copied from is copied anew. */
enum stage
pg_resume_way(struct pg_mover *m)
{
	bool all = m->is_recorded && m->has_slot;
	bool stale = false;

	if (!all && m->has_mixed) {
		pg_mover_fail(
			m, ERR_STATE,
			"the first copy would begin anew, but what it had "
			"brought cannot be told from new's own rows; restore "
			"new and begin with another state file");
		return STAGE_LOOK;
	}
	if (!all) {
		pg_copy_forget(m);
		m->snapshot[0] = '\0';
		m->consistent = 0;
		m->has_slot = false;
		atomic_store(&m->conf->board->total_records, 0);
		atomic_store(&m->conf->board->copied_records, 0);
		return STAGE_WIPE;
	}
	for (uint32_t i = 0; i < m->table_n; i++) {
		all = all && is_complete(&m->table[i]);
		stale = stale || m->table[i].is_stale;
	}
	if (all)
		return STAGE_BUILD;
	if (!m->has_holder)
		m->snapshot[0] = '\0';
	return stale ? STAGE_EMPTY : pg_resume_go_on(m);
}

enum stage
pg_resume_go_on(const struct pg_mover *m)
{
	return m->snapshot[0] != '\0' ? STAGE_COPY : STAGE_SLOT;
}

/* ---- tables that begin again -------------------------------------------------- */

/* Of tables that were there nothing is cut off: others may refer to them. Rows that
 * came to rows of new's own stay. */
static void
put_emptied(struct pg_mover *m, struct buf *b, bool was_there)
{
	uint32_t n = 0;

	buf_put_str(b, was_there ? "SET LOCAL session_replication_role = "
	                           "replica; "
	                         : "BEGIN; ");
	for (uint32_t i = 0; i < m->table_n; i++) {
		const struct pg_table *t = &m->table[i];

		if (!t->is_stale || t->is_mixed || t->was_there != was_there)
			continue;
		if (was_there)
			buf_put_str(b, "DELETE FROM ONLY ");
		else
			buf_put_str(b, n > 0 ? "," : "TRUNCATE ONLY ");
		buf_put_span(b, buf_span(&t->name));
		buf_put_str(b, was_there ? "; " : "");
		n++;
	}
	if (!was_there && n > 0)
		buf_put_str(b, "; ");
}

bool
pg_resume_empty(struct pg_mover *m)
{
	struct buf b;
	uint32_t n = 0;

	if (m->at++ > 0)
		return false;
	buf_init(&b, m->port->mem);
	put_emptied(m, &b, false);
	put_emptied(m, &b, true);
	for (uint32_t i = 0; i < m->table_n; i++)
		n += m->table[i].is_stale;
	buf_putf(&b, SQL_FORGET, m->slot);
	for (uint32_t i = 0; i < m->table_n; i++) {
		if (!m->table[i].is_stale)
			continue;
		buf_putf(&b, --n > 0 ? "%u," : "%u); COMMIT", m->table[i].oid);
		m->table[i].is_stale = false;
		m->table[i].lsn = 0;
		buf_clear(&m->table[i].done);
	}
	if (buf_failed(&b))
		pg_mover_fail(m, ERR_NOMEM, "out of memory");
	else
		pg_conn_query(&m->ask[side_other(m->from)], "%.*s",
		              (int)buf_len(&b), (const char *)buf_span(&b).p);
	buf_fini(&b);
	return true;
}

/* ---- the snapshot that outlives us ---------------------------------------------- */

void
pg_keep_dial(struct pg_mover *m)
{
	struct pg_conn *c = &m->hold;

	if (c->link != NULL)
		return;
	m->hold_at = 0;
	c->side = &m->conf->side[m->from];
	if (pg_conn_open(c) != 0)
		pg_mover_fail(m, ERR_NOMEM, "out of memory");
}

void
pg_keep_next(struct pg_mover *m)
{
	struct pg_conn *c = &m->hold;
	struct pg_conn *to = &m->ask[side_other(m->from)];
	char lsn[PG_LSN_TEXT_MAX];

	pg_keep_dial(m);
	if (m->hold_at == 4 && to->state == PG_CONN_IDLE) {
		m->hold_at++;
		/* The slot of a snapshot alone ends with its connection. */
		pg_conn_close(&m->snap);
		m->streams = true;
		pg_mover_stage(m, m->table_n > 0 ? STAGE_COPY : STAGE_TABLES);
	}
	if (c->state != PG_CONN_IDLE || to->state != PG_CONN_IDLE ||
	    m->hold_at > 3)
		return;
	switch (m->hold_at++) {
	case 0: pg_conn_query(c, SQL_SETTINGS); return;
	case 1:
		pg_conn_query(c,
		              "BEGIN ISOLATION LEVEL REPEATABLE READ READ "
		              "ONLY; SET TRANSACTION SNAPSHOT '%s'",
		              m->snapshot);
		m->holder[0] = '\0';
		return;
	case 2: pg_conn_query(c, SQL_EXPORT, m->slot, m->slot); return;
	default: break;
	}
	pg_conn_query(c, SQL_HOLD, HOLD_ALONE_S, m->slot, m->conf->id);
	(void)pg_lsn_print((struct pg_lsn){ m->consistent }, lsn);
	pg_conn_query(to, SQL_RECORDED, m->slot, m->snapshot, m->holder, lsn);
}

/* Old's schema was changed between its dump and this snapshot. */
static void
stale(struct pg_mover *m)
{
	struct mail mail = { .kind = MAIL_STALE, .side = m->from };

	m->port->ops->mail(m->port, &mail);
	pg_mover_fail(m, ERR_STATE,
	              "%s: its schema has changed since it was dumped; it is "
	              "dumped again",
	              m->hold.side->label);
}

bool
pg_keep_hear(struct pg_mover *m, const struct pg_message *msg)
{
	struct pg_values row;
	struct pg_value v[3];
	struct span rest;

	if (msg->type == PG_ERROR_RESPONSE)
		pg_mover_fail(m, ERR_REFUSED, "%s: %s", m->hold.side->label,
		              m->hold.said);
	if (msg->type != PG_DATA_ROW || m->hold_at != 3)
		return true;
	if (!pg_read_row(msg->body, &row) || row.n < 3)
		return true;
	rest = row.items;
	for (int i = 0; i < 3; i++)
		(void)pg_value_next(&rest, &v[i]);
	/* From a slot on changes of the schema are in its stream. */
	if (!m->has_slot && span_eq(v[2].bytes, SPAN("0")))
		stale(m);
	if (!keep_text(m->snapshot, sizeof(m->snapshot), v[0].bytes) ||
	    !keep_text(m->holder, sizeof(m->holder), v[1].bytes))
		pg_mover_fail(m, ERR_PROTO, "%s: a snapshot that is none",
		              m->hold.side->label);
	return true;
}

void
pg_keep_end(struct pg_mover *m)
{
	pg_conn_close(&m->hold);
}

/* ---- from which moment a table is ------------------------------------------------- */

bool
pg_since_put(struct pg_mover *m, uint32_t oid, uint64_t lsn)
{
	struct map_entry *e =
		map_put(&m->since, span_of(&oid, sizeof(oid)), NULL);

	if (e == NULL)
		return false;
	*(uint64_t *)map_value(e) = lsn;
	if (m->since_min == 0 || lsn < m->since_min)
		m->since_min = lsn;
	if (lsn > m->since_max)
		m->since_max = lsn;
	return true;
}

void
pg_since_raise(struct pg_mover *m, uint64_t lsn)
{
	m->since_min = 1;
	if (lsn > m->since_max)
		m->since_max = lsn;
}

bool
pg_since_has(const struct pg_mover *m, const struct pg_feed *f, uint32_t oid)
{
	const uint64_t *lsn;

	if (f->side != SIDE_OLD || f->commit_lsn >= m->since_max)
		return false;
	lsn = map_get(&m->since, span_of(&oid, sizeof(oid)));
	return lsn != NULL && f->commit_lsn < *lsn;
}
