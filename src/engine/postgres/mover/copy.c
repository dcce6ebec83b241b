/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/copy.c: the snapshot, chunk by chunk.
 *
 * A chunk is a range of pages of a table: COPY out of it on one side is COPY in on
 * the other, whose messages pass as they are. Each lane takes the next chunk when
 * both of its connections are idle. That a chunk is there is written in the same
 * transaction, so that a later process goes on behind it (resume.c).
 */
#include "base/check.h"
#include "engine/postgres/mover/state.h"

/* Rows in one message to the target, but for a row that is longer. */
#define PACK_BYTES  ((size_t)32 * 1024)
/* So many tables keep a lane busy, however small they are. */
#define LANE_TABLES 8

enum lane_at {
	LANE_DIALS,
	LANE_IMPORTS, /* the snapshot           */
	LANE_READY,
	LANE_OPENS,  /* COPY .. FROM was asked  */
	LANE_COPIES, /* both                    */
	LANE_MARKS,  /* ... and it is written   */
	LANE_BUILDS, /* build.c's               */
	LANE_DONE,
};

static uint64_t
number_of(struct span s)
{
	uint64_t v = 0;

	for (size_t i = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	return v;
}

static bool
grow(struct pg_mover *m)
{
	uint32_t cap = m->table_cap > 0 ? m->table_cap * 2 : 64;
	struct pg_table *t =
		mem_resize(m->port->mem, m->table, m->table_cap * sizeof(*t),
	                   cap * sizeof(*t));

	if (t == NULL)
		return false;
	m->table = t;
	m->table_cap = cap;
	return true;
}

bool
pg_copy_add_table(struct pg_mover *m, struct pg_values row)
{
	struct span rest = row.items;
	struct pg_value v[8];
	const struct pg_there *there;
	struct pg_table *t;
	struct board *b = m->conf->board;

	if (row.n != 8 || (m->table_n == m->table_cap && !grow(m)))
		return false;
	for (int i = 0; i < 8; i++)
		(void)pg_value_next(&rest, &v[i]);
	t = &m->table[m->table_n];
	memset(t, 0, sizeof(*t));
	buf_init(&t->name, m->port->mem);
	buf_init(&t->columns, m->port->mem);
	buf_init(&t->done, m->port->mem);
	buf_put_span(&t->name, v[0].bytes);
	buf_put_span(&t->columns, v[1].bytes);
	t->pages = (uint32_t)number_of(v[2].bytes);
	/* That there was nothing is to be known as well. */
	t->pages = t->pages > 0 ? t->pages : 1;
	t->rows = number_of(v[3].bytes);
	t->is_binary = span_eq(v[4].bytes, SPAN("1"));
	t->oid = (uint32_t)number_of(v[5].bytes);
	t->node = (uint32_t)number_of(v[6].bytes);
	there = pg_there_find(m, v[7].bytes);
	t->was_there = there != NULL;
	t->is_mixed = there != NULL && there->has_rows;
	m->table_n++;
	atomic_fetch_add(&b->total_records, t->rows);
	return !buf_failed(&t->name) && !buf_failed(&t->columns);
}

void
pg_copy_forget(struct pg_mover *m)
{
	for (uint32_t i = 0; i < m->table_n; i++) {
		buf_fini(&m->table[i].name);
		buf_fini(&m->table[i].columns);
		buf_fini(&m->table[i].done);
	}
	mem_free(m->port->mem, m->table, m->table_cap * sizeof(*m->table));
	m->table = NULL;
	m->table_n = 0;
	m->table_cap = 0;
	for (int i = 0; i < PG_MOVER_LANES; i++) {
		pg_conn_close(&m->lane[i].from);
		pg_conn_close(&m->lane[i].to);
		m->lane[i].at = LANE_DIALS;
		m->lane[i].table = NULL;
		m->lane[i].is_slow = false;
		m->lane[i].packs = false;
	}
}

/* So many lanes have something to do: a connection costs what thousands of rows do. */
static uint32_t
lanes_for(const struct pg_mover *m)
{
	uint64_t pages = 0;
	uint64_t n;

	for (uint32_t i = 0; i < m->table_n; i++)
		pages += m->table[i].pages;
	n = pages / CHUNK_PAGES + m->table_n / LANE_TABLES;
	if (n > PG_MOVER_LANES)
		return PG_MOVER_LANES;
	return n > 0 ? (uint32_t)n : 1;
}

void
pg_copy_dial(struct pg_mover *m, uint32_t n)
{
	for (uint32_t i = 0; i < n && !m->failed; i++) {
		struct pg_lane *l = &m->lane[i];

		if (l->from.link != NULL)
			continue;
		l->from.side = &m->conf->side[m->from];
		l->to.side = &m->conf->side[side_other(m->from)];
		l->at = LANE_DIALS;
		if (pg_conn_open(&l->from) != 0 || pg_conn_open(&l->to) != 0)
			pg_mover_fail(m, ERR_NOMEM, "out of memory");
	}
}

void
pg_copy_begin(struct pg_mover *m)
{
	atomic_store(&m->conf->board->copy_started_ns, m->port->now_ns);
	m->lane_n = lanes_for(m);
	pg_copy_dial(m, m->lane_n);
}

static bool
is_done(const struct pg_table *t, uint32_t page)
{
	size_t at = page / CHUNK_PAGES;

	return at < buf_len(&t->done) && buf_span(&t->done).p[at] != 0;
}

/* The next pages of a table that has some left. */
static struct pg_table *
next_table(struct pg_mover *m)
{
	for (uint32_t i = 0; i < m->table_n; i++) {
		struct pg_table *t = &m->table[i];

		while (t->next_page < t->pages && is_done(t, t->next_page))
			t->next_page = t->next_page + CHUNK_PAGES < t->pages
			                       ? t->next_page + CHUNK_PAGES
			                       : t->pages;
		if (t->next_page < t->pages)
			return t;
	}
	return NULL;
}

static const char *
format_of(const struct pg_table *t)
{
	return t->is_binary ? "binary" : "text";
}

static void
ask_in(struct pg_lane *l)
{
	const struct pg_table *t = l->table;
	struct span name = buf_span(&t->name);
	struct span cols = buf_span(&t->columns);

	l->at = LANE_OPENS;
	if (t->is_mixed) {
		pg_settle_open(l, format_of(t));
		return;
	}
	pg_conn_query(&l->to, "BEGIN; COPY %.*s%s%.*s%s FROM STDIN (FORMAT %s)",
	              (int)name.n, (const char *)name.p, cols.n > 0 ? " (" : "",
	              (int)cols.n, (const char *)cols.p, cols.n > 0 ? ")" : "",
	              format_of(t));
}

/* Its pages are taken when it is asked. */
static void
ask_out(struct pg_lane *l)
{
	struct pg_table *t = l->table;
	struct span name = buf_span(&t->name);
	struct span cols = buf_span(&t->columns);
	uint32_t from = l->page;
	char until[48] = "";
	struct buf b;

	buf_init(&b, l->from.port->mem);
	if (!l->is_last)
		buf_putf(&b, " AND ctid < '(%u,0)'::tid", from + CHUNK_PAGES);
	if (buf_len(&b) > 0 && buf_len(&b) < sizeof(until)) {
		memcpy(until, buf_span(&b).p, buf_len(&b));
		until[buf_len(&b)] = '\0';
	}
	buf_fini(&b);
	l->at = LANE_COPIES;
	pg_conn_query(&l->from,
	              "COPY (SELECT %.*s FROM ONLY %.*s WHERE ctid >= "
	              "'(%u,0)'::tid%s) TO STDOUT (FORMAT %s)",
	              (int)cols.n, (const char *)cols.p, (int)name.n,
	              (const char *)name.p, from, until, format_of(t));
}

static void
chunk_begin(struct pg_mover *m, struct pg_lane *l)
{
	struct pg_table *t = m->paused ? NULL : next_table(m);

	if (t == NULL)
		return;
	l->table = t;
	l->page = t->next_page;
	t->next_page = l->page + CHUNK_PAGES < t->pages ? l->page + CHUNK_PAGES
	                                                : t->pages;
	l->is_last = t->next_page == t->pages;
	l->rows = 0;
	l->bytes = 0;
	t->lsn = m->consistent;
	m->chunks_open++;
	ask_in(l);
}

/* Into new's own list, with the rows. */
static void
chunk_mark(struct pg_mover *m, struct pg_lane *l)
{
	char lsn[PG_LSN_TEXT_MAX];
	struct buf b;

	(void)pg_lsn_print((struct pg_lsn){ m->consistent }, lsn);
	l->at = LANE_MARKS;
	buf_init(&b, m->port->mem);
	pg_settle_put(m, l, &b);
	if (buf_failed(&b))
		pg_mover_fail(m, ERR_NOMEM, "out of memory");
	pg_conn_query(&l->to,
	              "%.*sINSERT INTO %s.chunk VALUES (%u, %u, %u, '%s', %s, "
	              "%llu); COMMIT",
	              (int)buf_len(&b), (const char *)buf_span(&b).p, m->slot,
	              l->table->oid, l->page, l->table->node, lsn,
	              l->is_last ? "true" : "false",
	              (unsigned long long)l->rows);
	buf_fini(&b);
}

static void
chunk_end(struct pg_mover *m, struct pg_lane *l)
{
	board_copied(m->conf->board, l->rows, l->bytes);
	l->table = NULL;
	l->at = LANE_READY;
	m->chunks_open--;
}

/* ---- rows on their way ------------------------------------------------------ */

/* Before the bytes leave. */
static void
pack_end(struct pg_lane *l)
{
	if (l->packs)
		pg_put_end(&l->to.link->tx, l->pack_at);
	l->packs = false;
}

/* A server says one row a message, and reads several in one with less work. */
static void
pack(struct pg_lane *l, struct span row)
{
	struct buf *tx = &l->to.link->tx;

	if (l->packs && buf_len(tx) - l->pack_at + row.n > PACK_BYTES)
		pack_end(l);
	if (!l->packs)
		l->pack_at = pg_put_begin(tx, PG_COPY_DATA);
	l->packs = true;
	buf_put_span(tx, row);
}

/* ---- what is due --------------------------------------------------------------- */

void
pg_copy_next(struct pg_mover *m)
{
	bool ready = true;

	for (uint32_t i = 0; i < m->lane_n; i++) {
		struct pg_lane *l = &m->lane[i];

		pack_end(l);
		if (l->at == LANE_DIALS && l->from.state == PG_CONN_IDLE) {
			l->at = LANE_IMPORTS;
			pg_conn_query(
				&l->from,
				"BEGIN ISOLATION LEVEL REPEATABLE READ "
				"READ ONLY; SET TRANSACTION SNAPSHOT '%s'",
				m->snapshot);
		}
		if (l->at == LANE_IMPORTS && l->from.state == PG_CONN_IDLE &&
		    l->to.state == PG_CONN_IDLE)
			l->at = LANE_READY;
		if (l->at == LANE_COPIES && l->from.state == PG_CONN_IDLE &&
		    l->to.state == PG_CONN_IDLE)
			chunk_mark(m, l);
		if (l->at == LANE_MARKS && l->to.state == PG_CONN_IDLE)
			chunk_end(m, l);
		if (l->at == LANE_READY)
			chunk_begin(m, l);
		ready = ready && l->at == LANE_READY;
	}
	if (!ready || next_table(m) != NULL)
		return;
	atomic_store(&m->conf->board->copy_ended_ns, m->port->now_ns);
	for (uint32_t i = 0; i < PG_MOVER_LANES; i++)
		pg_conn_close(&m->lane[i].from);
	pg_keep_end(m);
	pg_mover_stage(m, STAGE_BUILD);
}

static void
slow_down(struct pg_mover *m, struct pg_lane *l)
{
	if (l->is_slow || buf_len(&l->to.link->tx) < LANE_TX_MAX)
		return;
	l->is_slow = true;
	l->to.link->want_drained = true;
	m->port->ops->read(m->port, l->from.link, false);
}

void
pg_copy_drained(struct pg_mover *m)
{
	for (int i = 0; i < PG_MOVER_LANES; i++) {
		struct pg_lane *l = &m->lane[i];

		if (!l->is_slow || l->to.link == NULL || l->from.link == NULL ||
		    buf_len(&l->to.link->tx) >= LINK_LOW)
			continue;
		l->is_slow = false;
		m->port->ops->read(m->port, l->from.link, true);
	}
}

static void
hear_from(struct pg_mover *m, struct pg_lane *l, const struct pg_message *msg)
{
	struct span tag;

	switch (msg->type) {
	case PG_COPY_DATA:
		l->bytes += msg->body.n;
		pack(l, msg->body);
		port_touch(m->port, l->to.link);
		slow_down(m, l);
		break;
	case PG_COPY_DONE:
		pack_end(l);
		pg_put_empty(&l->to.link->tx, PG_COPY_DONE);
		port_touch(m->port, l->to.link);
		break;
	case PG_COMMAND_COMPLETE:
		if (pg_read_complete(msg->body, &tag))
			l->rows = pg_tag_of(tag).rows;
		break;
	default: break;
	}
}

bool
pg_copy_hear(struct pg_mover *m, struct pg_lane *l, struct pg_conn *c,
             const struct pg_message *msg)
{
	if (msg->type == PG_ERROR_RESPONSE) {
		struct span t = l->table != NULL ? buf_span(&l->table->name)
		                                 : SPAN("the copy");

		m->is_strict = m->is_strict || c == &l->to;
		pg_mover_fail(m, ERR_REFUSED, "%s: %.*s: %s", c->side->label,
		              (int)t.n, (const char *)t.p, c->said);
		return true;
	}
	if (c == &l->to && msg->type == PG_COPY_IN_RESPONSE &&
	    l->at == LANE_OPENS && l->from.state == PG_CONN_IDLE)
		ask_out(l);
	else if (c == &l->to && msg->type == PG_DATA_ROW && l->at == LANE_MARKS)
		pg_settle_hear(m, msg);
	else if (c == &l->from && l->to.link != NULL && l->at == LANE_COPIES)
		hear_from(m, l, msg);
	return true;
}
