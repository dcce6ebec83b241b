/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/apply.c: changes as pipelined statements on the other side.
 *
 * No Sync is sent while all goes well: after an error the server passes over
 * everything up to the next Sync, so that nothing behind a failed change is ever
 * done, however much was sent ahead. Flush brings the answers. Each transaction says
 * in itself how far it has come (its origin), so it is done once.
 */
#include "base/check.h"
#include "engine/postgres/mover/state.h"

#define RING PG_APPLY_RING

/* How far the authority has come with what this transaction holds. */
#define SQL_MARK                                              \
	"SELECT pg_catalog.pg_replication_origin_xact_setup(" \
	"$1, pg_catalog.to_timestamp($2))"

/* Rows are looked up by their key, and however large a table has become, since a plan
 * was made it is the right one. */
#define SQL_PLANS                                                       \
	"SET plan_cache_mode = force_generic_plan; SET jit = off; SET " \
	"enable_seqscan = off; SET enable_hashjoin = off; SET "         \
	"enable_mergejoin = off"
#define SQL_FREE                                                      \
	"SELECT pg_catalog.set_config(n, $1, true) FROM "             \
	"pg_catalog.unnest(ARRAY['enable_seqscan','enable_hashjoin'," \
	"'enable_mergejoin']) AS n"

bool
pg_apply_has_room(const struct pg_apply *a)
{
	return a->due_n < APPLY_OPEN_MAX &&
	       (a->c.link == NULL || buf_len(&a->c.link->tx) < LANE_TX_MAX);
}

void
pg_apply_begin_session(struct pg_mover *m, struct pg_apply *a)
{
	if (a->begins) {
		a->is_ready = true;
		a->begins = false;
		pg_feed_rest(m, &m->feed[side_other(a->side)]);
		return;
	}
	a->begins = true;
	pg_conn_query(&a->c,
	              SQL_PLANS
	              "; "
	              "SELECT pg_replication_origin_session_setup('%s'); "
	              "SELECT pg_replication_origin_session_progress(true)",
	              m->slot);
}

/* How far what is there has come. */
static void
hear_progress(struct pg_mover *m, struct pg_apply *a, struct span body)
{
	struct pg_feed *f = &m->feed[side_other(a->side)];
	struct pg_values row;
	struct pg_value v;
	struct pg_lsn lsn;
	struct span rest;

	if (!pg_read_row(body, &row))
		return;
	rest = row.items;
	if (!pg_value_next(&rest, &v) || v.is_null ||
	    !pg_lsn_parse(v.bytes, &lsn))
		return;
	f->start = lsn.v;
	f->done = lsn.v;
	f->read = lsn.v;
	(void)m;
}

static void
expect(struct pg_apply *a, int kind, uint64_t lsn)
{
	struct pg_due *d = &a->due[(a->due_at + a->due_n) % RING];

	REQUIRE(a->due_n < RING);
	a->due_n++;
	d->lsn = lsn;
	d->rows = 1;
	if (kind == DUE_ROW)
		d->kind = DUE_ROW;
	else if (kind == DUE_COMMIT)
		d->kind = DUE_COMMIT;
	else
		d->kind = DUE_QUIET;
	a->wants_flush = true;
}

static void
put_parse(struct pg_apply *a, struct span name, struct span text)
{
	struct pg_parse p = { .name = name,
		              .text = text,
		              .types = { .width = 4 } };

	pg_put_parse(&a->c.link->tx, &p);
}

static void
put_execute(struct pg_apply *a)
{
	struct pg_execute e = { .portal = { NULL, 0 } };

	pg_put_execute(&a->c.link->tx, e);
}

static struct span
name_of(uint32_t number, char ret[16])
{
	size_t n = 0;
	char digits[12];
	size_t d = 0;

	ret[n++] = 's';
	do {
		digits[d++] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	while (d > 0)
		ret[n++] = digits[--d];
	return span_of(ret, n);
}

/* The prepared statement of this text, made when it is new. 0: no memory. */
static uint32_t
prepare(struct pg_apply *a, struct span text)
{
	bool is_new;
	struct map_entry *e = map_put(&a->statements, text, &is_new);
	uint32_t *number;
	char name[16];

	if (e == NULL)
		return 0;
	number = map_value(e);
	if (is_new) {
		*number = ++a->statement_n;
		put_parse(a, name_of(*number, name), text);
	}
	return *number;
}

/* Head of a Bind; n values follow, then bind_end(). */
static size_t
bind_begin(struct pg_apply *a, uint32_t number, uint16_t n, bool is_binary)
{
	struct buf *tx = &a->c.link->tx;
	size_t at = pg_put_begin(tx, PG_BIND);
	char name[16];

	buf_put(tx, "", 1);
	buf_put_span(tx, name_of(number, name));
	buf_put(tx, "", 1);
	pg_put_u16(tx, is_binary ? 1 : 0);
	if (is_binary)
		pg_put_u16(tx, 1);
	pg_put_u16(tx, n);
	return at;
}

static void
bind_end(struct pg_apply *a, size_t at)
{
	pg_put_u16(&a->c.link->tx, 0);
	pg_put_end(&a->c.link->tx, at);
}

/* A statement without parameters. */
static void
run(struct pg_apply *a, struct span text, int kind, uint64_t lsn)
{
	uint32_t number = prepare(a, text);

	if (number == 0) {
		a->failed = true;
		return;
	}
	bind_end(a, bind_begin(a, number, 0, false));
	put_execute(a);
	expect(a, kind, lsn);
}

static void
open_tx(struct pg_apply *a)
{
	if (a->is_open)
		return;
	a->is_open = true;
	a->rows = 0;
	run(a, SPAN("BEGIN"), DUE_QUIET, 0);
}

static void
put_cell(struct buf *tx, const struct pg_cell *c)
{
	if (c->kind == PG_CELL_NULL)
		pg_put_null(tx);
	else
		pg_put_value(tx, c->bytes);
}

/* The values that name the row. Answers how many; NULL: only counts. */
static uint16_t
put_names(struct buf *tx, const struct pg_relation *r,
          const struct pg_tuple *old)
{
	struct span rest = old->items;
	struct pg_cell c;
	uint16_t n = 0;

	for (uint16_t i = 0; i < r->n && pg_cell_next(&rest, &c); i++) {
		if (!pg_relation_names(r, i) || c.kind == PG_CELL_UNCHANGED)
			continue;
		n++;
		if (tx != NULL)
			put_cell(tx, &c);
	}
	return n;
}

static uint16_t
put_sets(struct buf *tx, const struct pg_relation *r,
         const struct pg_output_part *p)
{
	struct span rest = p->new.items;
	struct pg_cell c;
	uint16_t n = 0;

	for (uint16_t i = 0; i < r->n && pg_cell_next(&rest, &c); i++) {
		if (p->kind == PG_CHANGE_UPDATE &&
		    !pg_relation_sets(r, p, i, c.kind))
			continue;
		n++;
		if (tx != NULL)
			put_cell(tx, &c);
	}
	return n;
}

static uint16_t
put_values(struct buf *tx, const struct pg_relation *r,
           const struct pg_output_part *p)
{
	const struct pg_tuple *old =
		p->old.kind != PG_TUPLE_NONE ? &p->old : &p->new;
	uint16_t n = 0;

	if (p->kind != PG_CHANGE_DELETE)
		n = put_sets(tx, r, p);
	if (p->kind != PG_CHANGE_INSERT)
		n = (uint16_t)(n + put_names(tx, r, old));
	return n;
}

size_t
pg_apply_set_begin(struct pg_apply *a, struct span text, uint16_t n)
{
	uint32_t number = prepare(a, text);

	if (number == 0) {
		a->failed = true;
		return 0;
	}
	return bind_begin(a, number, n, true);
}

void
pg_apply_set_end(struct pg_apply *a, size_t at, uint32_t rows)
{
	bind_end(a, at);
	put_execute(a);
	expect(a, rows > 0 ? DUE_ROW : DUE_QUIET, 0);
	a->due[(a->due_at + a->due_n - 1) % RING].rows = rows;
}

void
pg_apply_plans(struct pg_apply *a, bool are_free)
{
	uint32_t number;
	size_t at;

	open_tx(a);
	number = prepare(a, SPAN(SQL_FREE));
	if (number == 0) {
		a->failed = true;
		return;
	}
	at = bind_begin(a, number, 1, false);
	pg_put_value(&a->c.link->tx, are_free ? SPAN("on") : SPAN("off"));
	bind_end(a, at);
	put_execute(a);
	expect(a, DUE_QUIET, 0);
}

void
pg_apply_change(struct pg_mover *m, struct pg_apply *a, struct pg_relation *r,
                const struct pg_output_part *p)
{
	/* A row of nothing but its key, written as it was. */
	if (p->kind == PG_CHANGE_UPDATE && put_sets(NULL, r, p) == 0)
		return;
	open_tx(a);
	a->rows++;
	if (pg_batch_take(m, a, r, p))
		return;
	pg_batch_say_of(m, a, r);
	pg_apply_row(m, a, r, p);
}

void
pg_apply_row(struct pg_mover *m, struct pg_apply *a,
             const struct pg_relation *r, const struct pg_output_part *p)
{
	const struct pg_feed *f = &m->feed[side_other(a->side)];
	struct buf sql;
	uint32_t number;
	size_t at;

	/* A set could not do it. */
	if (r->is_mixed && p->kind == PG_CHANGE_INSERT &&
	    f->commit_lsn < a->by_row) {
		pg_mixed_put(m, a, r, p);
		return;
	}
	buf_init(&sql, m->port->mem);
	pg_relation_put_sql(r, p, &sql);
	number = buf_failed(&sql) ? 0 : prepare(a, buf_span(&sql));
	buf_fini(&sql);
	if (number == 0) {
		a->failed = true;
		return;
	}
	at = bind_begin(a, number, put_values(NULL, r, p), false);
	(void)put_values(&a->c.link->tx, r, p);
	bind_end(a, at);
	put_execute(a);
	/* Of markers some may be on one side only: they are put before the
	 * stream begins, too. */
	expect(a, r->is_mark || r->is_mixed ? DUE_QUIET : DUE_ROW, 0);
	port_touch(m->port, a->c.link);
}

void
pg_apply_truncate(struct pg_mover *m, struct pg_feed *f, struct pg_apply *a,
                  const struct pg_output_part *p)
{
	struct pg_take t = pg_take_from(p->items);
	struct buf sql;
	uint32_t n = 0;

	pg_batch_say(m, a);
	buf_init(&sql, m->port->mem);
	buf_put_str(&sql, "TRUNCATE ONLY ");
	for (uint32_t i = 0; i < p->n; i++) {
		uint32_t oid = pg_take_u32(&t);
		struct pg_relation *r = pg_relation_find(f, oid);

		if (r == NULL || r->is_own || pg_since_has(m, f, oid))
			continue;
		if (n++ > 0)
			buf_put(&sql, ",", 1);
		buf_put_span(&sql, buf_span(&r->target));
	}
	if ((p->flags & PG_TRUNCATE_RESTART_IDENTITY) != 0)
		buf_put_str(&sql, " RESTART IDENTITY");
	if (n > 0) {
		open_tx(a);
		run(a, buf_span(&sql), DUE_QUIET, 0);
		a->rows++;
	}
	if (buf_failed(&sql))
		a->failed = true;
	buf_fini(&sql);
}

void
pg_apply_statement(struct pg_mover *m, struct pg_apply *a, struct span text)
{
	open_tx(a);
	pg_batch_say(m, a);
	run(a, text, DUE_QUIET, 0);
	port_touch(m->port, a->c.link);
}

void
pg_apply_renew(struct pg_apply *a)
{
	map_clear(&a->statements);
	a->rows = APPLY_GROUP_MAX;
	a->alters = true;
	a->alters_lsn = 0;
}

void
pg_apply_call(struct pg_mover *m, struct pg_apply *a, struct span text,
              struct span value)
{
	uint32_t number;
	size_t at;

	open_tx(a);
	pg_batch_say(m, a);
	number = prepare(a, text);
	if (number == 0) {
		a->failed = true;
		return;
	}
	at = bind_begin(a, number, 1, false);
	pg_put_value(&a->c.link->tx, value);
	bind_end(a, at);
	put_execute(a);
	expect(a, DUE_QUIET, 0);
	a->rows++;
	port_touch(m->port, a->c.link);
}

/* Microseconds since 2000 as the server reads them. */
static void
put_time(struct buf *b, int64_t us)
{
	int64_t s = us / 1000000;
	int64_t left = us % 1000000;

	s += PG_EPOCH_UNIX_S;
	left = left < 0 ? -left : left;
	buf_putf(b, "%lld.%06lld", (long long)s, (long long)left);
}

static void
put_mark(struct pg_mover *m, struct pg_apply *a)
{
	uint32_t number = prepare(a, SPAN(SQL_MARK));
	char lsn[PG_LSN_TEXT_MAX];
	size_t n = pg_lsn_print((struct pg_lsn){ a->lsn }, lsn);
	struct buf time;
	size_t at;

	buf_init(&time, m->port->mem);
	put_time(&time, a->time_us);
	if (number == 0 || buf_failed(&time)) {
		a->failed = true;
		buf_fini(&time);
		return;
	}
	at = bind_begin(a, number, 2, false);
	pg_put_value(&a->c.link->tx, span_of(lsn, n));
	pg_put_value(&a->c.link->tx, buf_span(&time));
	bind_end(a, at);
	put_execute(a);
	expect(a, DUE_QUIET, 0);
	buf_fini(&time);
}

static void
commit(struct pg_mover *m, struct pg_apply *a)
{
	pg_batch_say(m, a);
	put_mark(m, a);
	/* Of what is not whole nothing is to be committed. */
	if (a->failed) {
		pg_mover_fail(m, ERR_NOMEM, "out of memory");
		return;
	}
	run(a, SPAN("COMMIT"), DUE_COMMIT, a->lsn);
	a->commits++;
	if (a->alters && a->alters_lsn == 0)
		a->alters_lsn = a->lsn;
	a->is_open = false;
	a->lsn = 0;
}

void
pg_apply_begin(struct pg_mover *m, struct pg_apply *a)
{
	if (a->is_open && a->lsn != 0 && a->rows >= APPLY_GROUP_MAX)
		commit(m, a);
}

void
pg_apply_flush(struct pg_mover *m, struct pg_apply *a)
{
	const struct pg_feed *f = &m->feed[side_other(a->side)];

	if (a->c.link == NULL)
		return;
	if (a->failed) {
		pg_mover_fail(m, ERR_NOMEM, "out of memory");
		return;
	}
	/* Half of the next one may be in it. While the target is at work more
	 * may join. */
	if (a->is_open && a->lsn != 0 && !f->in_tx &&
	    (a->commits < APPLY_COMMITS_MAX || a->rows >= APPLY_GROUP_MAX))
		commit(m, a);
	if (!a->wants_flush)
		return;
	pg_put_empty(&a->c.link->tx, PG_FLUSH);
	a->wants_flush = false;
	a->c.state = PG_CONN_BUSY;
	port_touch(m->port, a->c.link);
}

void
pg_apply_commit(struct pg_apply *a, uint64_t end_lsn, int64_t time_us)
{
	REQUIRE(a->is_open);
	a->lsn = end_lsn;
	a->time_us = time_us;
}

void
pg_apply_raise(struct pg_apply *a, uint64_t lsn)
{
	struct pg_due *d;

	if (a->is_open) {
		if (a->lsn != 0 && a->lsn < lsn)
			a->lsn = lsn;
		return;
	}
	if (a->due_n == 0)
		return;
	d = &a->due[(a->due_at + a->due_n - 1) % RING];
	if (d->kind == DUE_COMMIT && d->lsn < lsn)
		d->lsn = lsn;
}

static void
done(struct pg_mover *m, struct pg_apply *a, uint64_t lsn)
{
	struct pg_feed *f = &m->feed[side_other(a->side)];

	a->commits--;
	if (a->alters && a->alters_lsn != 0 && lsn >= a->alters_lsn) {
		a->alters = false;
		a->alters_lsn = 0;
	}
	if (lsn > f->done)
		f->done = lsn;
	pg_mover_moved(m);
}

/* What a set cannot do is said row by row: in the order of the source it may be right,
 * and what is wrong is named. */
static void
fall_back(struct pg_mover *m, struct pg_apply *a)
{
	const struct pg_feed *f = &m->feed[side_other(a->side)];

	a->by_row = f->commit_lsn + 1;
	a->falls++;
	m->failed = true;
}

/* Did the last error come of values? And may it come of a set? */
static bool
may_be_of_set(const struct pg_mover *m, const struct pg_apply *a)
{
	static const char *const classes[] = { "22", "23", "42", "54", "0A" };

	if (m->feed[side_other(a->side)].commit_lsn < a->by_row)
		return false;
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		if (memcmp(a->c.state_5, classes[i], 2) == 0)
			return a->is_ready;
	}
	return false;
}

static bool
hear_complete(struct pg_mover *m, struct pg_apply *a,
              const struct pg_message *msg)
{
	struct pg_due d = a->due[a->due_at];
	struct span text;
	struct pg_tag tag;

	if (a->due_n == 0 || !pg_read_complete(msg->body, &text)) {
		pg_mover_fail(m, ERR_PROTO, "an answer that nobody asked for");
		return true;
	}
	a->due_at = (a->due_at + 1) % RING;
	a->due_n--;
	tag = pg_tag_of(text);
	if (d.kind == DUE_ROW && tag.has_rows && tag.rows != d.rows)
		pg_mover_fail(m, ERR_DIVERGED,
		              "%s: a change of %u rows met %llu; the sides are "
		              "not equal",
		              m->conf->side[a->side].label, d.rows,
		              (unsigned long long)tag.rows);
	else if (d.kind == DUE_COMMIT)
		done(m, a, d.lsn);
	return true;
}

bool
pg_apply_hear(struct pg_mover *m, struct pg_apply *a,
              const struct pg_message *msg)
{
	switch (msg->type) {
	case PG_COMMAND_COMPLETE:
		return a->is_ready ? hear_complete(m, a, msg) : true;
	case PG_DATA_ROW:
		if (!a->is_ready)
			hear_progress(m, a, msg->body);
		return true;
	case PG_ERROR_RESPONSE:
		if (may_be_of_set(m, a))
			fall_back(m, a);
		else
			pg_mover_fail(m, ERR_REFUSED, "%s: %s",
			              m->conf->side[a->side].label, a->c.said);
		return true;
	default: return true;
	}
}

void
pg_apply_forget(struct pg_mover *m, struct pg_apply *a)
{
	pg_conn_close(&a->c);
	map_clear(&a->statements);
	a->statement_n = 0;
	a->is_ready = false;
	a->begins = false;
	a->is_open = false;
	a->rows = 0;
	a->commits = 0;
	a->lsn = 0;
	a->due_at = 0;
	a->due_n = 0;
	a->wants_flush = false;
	a->failed = false;
	a->asked = 0;
	a->wants = 0;
	a->alters = false;
	a->alters_lsn = 0;
	pg_batch_forget(a);
	(void)m;
}
