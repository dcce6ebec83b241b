/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/build.c: indexes and keys, when the rows are there.
 *
 * conf->build is what pg_dump says behind the data. Indexes and keys that need no
 * other one are built side by side, the rest in its order behind them. What exists
 * already was built by an earlier process.
 */
#include "base/check.h"
#include "engine/postgres/mover/state.h"
#include "wire/pg_split.h"

/* All lanes are at work for so long: another one. */
#define WIDEN_NS (40 * MILLI)

/* conf->build ends with an ANALYZE of small samples. This is the one that the server
 * would do, beside the stream; what an earlier process did of it is done. */
#define SQL_FULLY                                                             \
	"DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT c.oid FROM pg_class" \
	" c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN"     \
	" ('r', 'p', 'm') AND NOT relispartition AND relpersistence = 'p'"    \
	" AND nspname NOT LIKE 'pg\\_%%' AND nspname NOT LIKE 'godwit\\_%%'"  \
	" AND nspname <> 'information_schema' AND"                            \
	" pg_stat_get_analyze_count(c.oid) < 2 LOOP BEGIN EXECUTE 'ANALYZE '" \
	" || t; EXCEPTION WHEN OTHERS THEN NULL; END; COMMIT; END LOOP; END $$"

static bool
has(struct span s, struct span word)
{
	for (size_t i = 0; i + word.n <= s.n; i++) {
		if (memcmp(s.p + i, word.p, word.n) == 0)
			return true;
	}
	return false;
}

/* Needs nothing but its table. */
static bool
is_free(struct span s)
{
	if (span_has_prefix(s, SPAN("CREATE INDEX ")) ||
	    span_has_prefix(s, SPAN("CREATE UNIQUE INDEX ")))
		return true;
	return span_has_prefix(s, SPAN("ALTER TABLE ")) &&
	       (has(s, SPAN(" PRIMARY KEY (")) || has(s, SPAN(" UNIQUE (")));
}

/* A session's settings are Godwit's own. */
static bool
is_setting(struct span s)
{
	return span_has_prefix(s, SPAN("SET ")) ||
	       span_has_prefix(s, SPAN("SELECT pg_catalog.set_config"));
}

/* First those that are free, then the others. */
static uint32_t
split(struct span text, struct span *ret, uint32_t *ret_free)
{
	uint32_t n = 0;

	for (int pass = 0; pass < 2; pass++) {
		struct pg_statement found;
		struct pg_split p;

		pg_split_init(&p, text, true);
		while (pg_split_next_of_script(&p, &found)) {
			struct span s = found.text;

			if (is_setting(s) || is_free(s) != (pass == 0))
				continue;
			if (ret != NULL)
				ret[n] = s;
			n++;
		}
		if (pass == 0)
			*ret_free = n;
	}
	return n;
}

void
pg_build_begin(struct pg_mover *m)
{
	struct span text =
		m->conf->build != NULL ? span_str(m->conf->build) : SPAN("");
	uint32_t n = split(text, NULL, &m->statement_free);

	for (uint32_t i = 0; i < m->table_n; i++) {
		/* Its rows are put, whatever is there: all of the stream counts. */
		if (m->table[i].is_mixed) {
			pg_since_raise(m, m->table[i].lsn);
			continue;
		}
		if (!pg_since_put(m, m->table[i].oid, m->table[i].lsn))
			pg_mover_fail(m, ERR_NOMEM, "out of memory");
	}
	m->statement = mem_alloc(m->port->mem, (n + 1) * sizeof(struct span));
	if (m->statement == NULL) {
		pg_mover_fail(m, ERR_NOMEM, "out of memory");
		return;
	}
	m->statement_n = split(text, m->statement, &m->statement_free);
	m->statement_next = 0;
	m->statement_done = 0;
	for (int i = 0; i < PG_MOVER_LANES; i++)
		m->lane[i].builds = false;
	pg_build_next(m);
}

void
pg_build_forget(struct pg_mover *m)
{
	mem_free(m->port->mem, m->statement,
	         (m->statement_n + 1) * sizeof(struct span));
	m->statement = NULL;
	m->statement_n = 0;
	m->tight = TIGHT_DUE;
	if (m->fully != FULLY_DONE)
		m->fully = FULLY_DUE;
}

/* Tables of several snapshots agree when the stream is behind the last one. Then what
 * compares them (foreign keys) may be built. */
static bool
is_apart(const struct pg_mover *m)
{
	return m->since_min != m->since_max &&
	       m->feed[SIDE_OLD].done < m->since_max;
}

bool
pg_build_waits(const struct pg_mover *m)
{
	return m->statement != NULL;
}

static void
build(struct pg_mover *m, struct pg_lane *l)
{
	struct span s = m->statement[m->statement_next++];

	l->builds = true;
	pg_conn_query(&l->to, "%.*s", (int)s.n, (const char *)s.p);
}

/* A lane more when all are at work for a while: most statements take less time than a
 * login. */
static void
widen(struct pg_mover *m, bool is_short)
{
	uint64_t now = m->port->now_ns;

	if (!is_short) {
		m->build_ns = 0;
		return;
	}
	if (m->build_ns == 0)
		m->build_ns = now;
	if (now < m->build_ns + WIDEN_NS)
		return;
	m->build_ns = now;
	for (int i = 0; i < PG_MOVER_LANES; i++) {
		struct pg_lane *l = &m->lane[i];

		if (l->to.link != NULL)
			continue;
		if (pg_conn_open(&l->to) != 0)
			pg_mover_fail(m, ERR_NOMEM, "out of memory");
		return;
	}
}

void
pg_build_next(struct pg_mover *m)
{
	for (int i = 0; i < PG_MOVER_LANES; i++) {
		struct pg_lane *l = &m->lane[i];

		if (i == 0 && l->to.link == NULL && pg_conn_open(&l->to) != 0)
			pg_mover_fail(m, ERR_NOMEM, "out of memory");
		if (l->to.state != PG_CONN_IDLE)
			continue;
		if (l->builds)
			m->statement_done++;
		l->builds = false;
	}
	if (!pg_loose_end(m, &m->lane[0].to))
		return;
	for (int i = 0; i < PG_MOVER_LANES; i++) {
		uint32_t at = m->statement_next;
		bool alone = at >= m->statement_free;

		if (at == m->statement_n ||
		    m->lane[i].to.state != PG_CONN_IDLE ||
		    (alone && (m->statement_done < at || is_apart(m))))
			continue;
		build(m, &m->lane[i]);
	}
	widen(m, m->statement_next < m->statement_free);
	/* Else the stream goes on meanwhile. */
	if (m->statement_done < m->statement_n &&
	    !(m->stage == STAGE_BUILD && is_apart(m) &&
	      m->statement_done == m->statement_free))
		return;
	if (m->statement_done == m->statement_n) {
		pg_build_forget(m);
		pg_copy_forget(m);
		m->fill_done = true;
	}
	if (m->stage == STAGE_BUILD)
		pg_mover_stage(m, STAGE_BACK);
}

void
pg_build_fully(struct pg_mover *m)
{
	struct pg_conn *c = &m->lane[0].to;

	if (m->fully == FULLY_DONE || m->conf->build == NULL)
		return;
	if (m->fully == FULLY_RUNS) {
		if (c->state == PG_CONN_BUSY)
			return;
		pg_conn_close(c);
		m->fully = FULLY_DONE;
	} else if (m->from != SIDE_OLD) {
		m->fully = FULLY_DONE;
	} else if (c->link == NULL) {
		if (pg_conn_open(c) != 0)
			pg_mover_fail(m, ERR_NOMEM, "out of memory");
	} else if (c->state == PG_CONN_IDLE) {
		pg_conn_query(c, SQL_FULLY);
		m->fully = FULLY_RUNS;
	}
}

bool
pg_build_lost(struct pg_mover *m, const struct pg_conn *c)
{
	if (m->stage != STAGE_IN_STEP || c != &m->lane[0].to)
		return false;
	m->fully = FULLY_DONE;
	return true;
}

/* 42P07 relation, 42710 object, 42P16 a second primary key. */
static bool
is_there(const char *state)
{
	static const char *const codes[] = { "42P07", "42710", "42P16" };

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (memcmp(state, codes[i], 5) == 0)
			return true;
	}
	return false;
}

bool
pg_build_hear(struct pg_mover *m, struct pg_lane *l, struct pg_conn *c,
              const struct pg_message *msg)
{
	(void)l;
	if (msg->type == PG_ERROR_RESPONSE && m->fully != FULLY_RUNS &&
	    !is_there(c->state_5))
		pg_mover_fail(m, ERR_REFUSED, "%s: %s", c->side->label,
		              c->said);
	return true;
}
