/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/reads.c: what all sessions' reads elsewhere need.
 *
 * A probe asks the authority where it is. One that was sent behind the answers of many
 * sessions holds for all of them: nothing that they saw is behind its position.
 */
#include "base/hash.h"
#include "engine/postgres/relay/inside.h"
#include "wire/pg_text.h"

#define RETRY_NS (1000 * MILLI)
#define PROBE_NS MILLI /* between two that nobody waits for */
#define WAIT_NS  (MILLI / 2)

static void
look_init(struct pg_relay *r, struct pg_look *l, const char *what)
{
	l->owner = OWNER_LOOK;
	l->c.id = r->conf->id;
	l->c.what = what;
	pg_conn_init(&l->c, r->port);
}

void
pg_reads_init(struct pg_relay *r)
{
	struct pg_reads *a = &r->reads;

	for (int s = 0; s < SIDE_N; s++)
		look_init(r, &a->look[s], "names");
	look_init(r, &a->probe, "probe");
	a->probe.is_probe = true;
	a->seed[0] = r->port->entropy(r->port);
	a->seed[1] = r->port->entropy(r->port);
	pg_verdicts_init(&a->verdicts, r->mem, PG_READ_CACHE_N, a->seed);
	sql_scope_init(&a->scope, r->mem, a->seed[0]);
	map_init(&a->refused, r->mem, 0, a->seed[0]);
}

static void
look_close(struct pg_look *l)
{
	pg_conn_close(&l->c);
	l->asked = false;
	l->done = false;
}

static void
stop_loading(struct pg_reads *a)
{
	if (a->verdicts.is_loading)
		sql_scope_fini(&a->next_scope);
	pg_verdicts_stop(&a->verdicts);
	for (int s = 0; s < SIDE_N; s++)
		look_close(&a->look[s]);
}

static void
clear_shares(struct pg_reads *a)
{
	if (a->shares != NULL)
		memset(a->shares, 0, PG_READ_CACHE_N * sizeof(*a->shares));
}

/* What was known of the servers' names. */
static void
forget_names(struct pg_reads *a)
{
	pg_verdicts_forget(&a->verdicts);
	sql_scope_fini(&a->scope);
	clear_shares(a);
}

void
pg_reads_forget(struct pg_relay *r)
{
	struct pg_reads *a = &r->reads;

	stop_loading(a);
	look_close(&a->probe);
	pg_shadow_reset(r);
	a->sent = a->done;
	forget_names(a);
	list_each(pg_session, s, all, &r->sessions) {
		s->reading.ruled = 0;
		s->reading.is_seen = false;
		s->reading.seen = 0;
		s->reading.probe = a->sent;
		s->reading.like = LIKE_UNKNOWN;
		s->reading.is_wild = true;
		s->reading.wants_census = false;
		/* Nobody looked at what its transaction did. */
		s->reading.is_schema = !pg_session_is_quiet(s);
	}
	list_each(pg_reader, x, all, &a->readers) {
		if (x->of == NULL || x->of->at == READ_NONE)
			pg_reader_close(x);
	}
}

void
pg_reads_fini(struct pg_relay *r)
{
	struct pg_reads *a = &r->reads;

	pg_reads_forget(r);
	for (int s = 0; s < SIDE_N; s++)
		pg_conn_fini(&a->look[s].c);
	pg_conn_fini(&a->probe.c);
	map_fini(&a->refused);
	pg_verdicts_fini(&a->verdicts);
	mem_free(r->mem, a->shares, PG_READ_CACHE_N * sizeof(*a->shares));
	a->shares = NULL;
}

void
pg_reads_route(struct pg_relay *r)
{
	struct pg_reads *a = &r->reads;
	const struct route_shadow *shadow = &r->route.shadow;
	bool on = (r->route.read_ppm > 0 || shadow->ppm > 0) &&
	          r->route.scope == NULL && r->route.moved == 0 &&
	          r->conf->board != NULL && !a->is_behind && !r->held;

	if (r->shadow != NULL &&
	    (!on || shadow->ppm == 0 || shadow->inflight != r->shadow->cap))
		pg_shadow_reset(r);
	if (on == a->is_on)
		return;
	a->is_on = on;
	pg_reads_forget(r);
}

/* ---- verdicts ------------------------------------------------------------------- */

static struct span
key_of(const uint64_t digest[2])
{
	return span_of(digest, 2 * sizeof(digest[0]));
}

enum sql_class
pg_reads_judge(struct pg_relay *r, struct span text, uint64_t ret_digest[2])
{
	struct pg_reads *a = &r->reads;
	uint64_t form[2];
	int known;

	ret_digest[0] = hash_bytes(text, a->seed[0]);
	ret_digest[1] = hash_bytes(text, a->seed[1]);
	pg_verdicts_form(&a->verdicts, text, form);
	known = pg_verdicts_find(&a->verdicts, form);
	if (known < 0) {
		known = (int)sql_judge(&a->verdicts.names, text);
		pg_verdicts_put(&a->verdicts, form, (uint8_t)known);
	}
	if (known == SQL_READ && map_count(&a->refused) > 0 &&
	    map_find(&a->refused, key_of(ret_digest)) != NULL)
		return SQL_WRITE;
	return (enum sql_class)known;
}

void
pg_reads_refuse(struct pg_relay *r, const uint64_t digest[2])
{
	struct pg_reads *a = &r->reads;

	/* Without room it is tried, and refused, again. */
	if (map_count(&a->refused) < PG_READ_REFUSED_MAX)
		(void)!map_put(&a->refused, key_of(digest), NULL);
}

uint32_t
pg_reads_share(struct pg_session *s, const struct sql_asker *who,
               struct span text)
{
	struct pg_relay *r = s->r;
	struct pg_reads *a = &r->reads;
	struct pg_share *v;
	uint64_t key[2] = { hash_bytes(text, a->seed[0]) ^
		                    hash_bytes(who->path, a->seed[1]),
		            hash_bytes(text, a->seed[1]) ^
		                    hash_mix(who->possible ^
		                             hash_mix(r->route.generation)) };

	if (a->shares == NULL)
		a->shares =
			mem_zero(r->mem, PG_READ_CACHE_N * sizeof(*a->shares));
	if (a->shares == NULL || !a->scope.is_done)
		return 0;
	v = &a->shares[key[0] % PG_READ_CACHE_N];
	if (!v->is_known || v->key[0] != key[0] || v->key[1] != key[1])
		*v = (struct pg_share){
			.key = { key[0], key[1] },
			.ppm = sql_scope_share(&a->scope, who, text),
			.is_known = true,
		};
	return v->ppm;
}

/* ---- catalogs and probes ------------------------------------------------------------ */

static void
lost(struct pg_relay *r, struct pg_look *l)
{
	struct pg_reads *a = &r->reads;

	a->retry_ns = r->port->now_ns + RETRY_NS;
	if (l->is_probe) {
		look_close(l);
		a->sent = a->done;
		return;
	}
	stop_loading(a);
	/* What changed there is not known any more. */
	forget_names(a);
}

void
pg_look_up(struct pg_relay *r, struct pg_look *l)
{
	if (pg_conn_up(&l->c) != 0)
		lost(r, l);
}

static void
add_row(struct pg_relay *r, const struct pg_look *l, struct span body)
{
	struct pg_reads *a = &r->reads;
	struct pg_values row;
	struct span text[3];
	struct pg_value v;
	struct pg_lsn at;

	if (l->is_probe) {
		if (pg_read_row(body, &row) && row.n == 1 &&
		    pg_value_next(&row.items, &v) && pg_lsn_parse(v.bytes, &at))
			a->position[(a->done + 1) % PG_READ_PROBES] = at.v;
		return;
	}
	if (!a->verdicts.is_loading || !pg_verdicts_read(body, text))
		return;
	if (text[0].n == 1 && text[0].p[0] == SQL_SCOPE_KIND)
		sql_scope_add(&a->next_scope, text);
	else
		pg_verdicts_row(&a->verdicts, l->side, text);
}

static void
all_there(struct pg_relay *r)
{
	struct pg_reads *a = &r->reads;

	if (!a->look[SIDE_OLD].done || !a->look[SIDE_NEW].done)
		return;
	pg_verdicts_done(&a->verdicts, r->port->now_ns);
	if (a->loads_scope)
		sql_scope_done(&a->next_scope);
	sql_scope_fini(&a->scope);
	a->scope = a->next_scope;
	clear_shares(a);
}

static bool
hear(void *self, struct pg_conn *c, const struct pg_message *m)
{
	struct pg_relay *r = self;
	struct pg_look *l = c->link->owner;

	if (m->type == PG_DATA_ROW && l->asked)
		add_row(r, l, m->body);
	/* The answer is not there: as a connection that is lost. */
	if (m->type == PG_ERROR_RESPONSE)
		l->done = false;
	if (m->type != PG_READY || !l->asked)
		return true;
	l->asked = false;
	l->done = c->state_5[0] == '\0';
	if (l->is_probe && l->done)
		r->reads.done++;
	return true;
}

void
pg_look_take(struct pg_relay *r, struct pg_look *l, struct span bytes)
{
	bool asked = l->asked;

	if (pg_conn_take(&l->c, bytes, hear, r) != 0) {
		lost(r, l);
		return;
	}
	if (asked && !l->asked && !l->done)
		lost(r, l);
	else if (!l->is_probe && l->done && r->reads.verdicts.is_loading)
		all_there(r);
}

void
pg_look_down(struct pg_relay *r, struct pg_look *l, const struct err *err)
{
	pg_conn_down(&l->c, err);
	lost(r, l);
}

/* Connect, or ask: a question and what is put behind it. */
static void
ask(struct pg_relay *r, struct pg_look *l, const char *question,
    const char *more)
{
	if (l->c.state == PG_CONN_OFF) {
		l->c.side = &r->conf->side[l->side];
		l->asked = false;
		if (pg_conn_open(&l->c) != 0)
			lost(r, l);
		else
			l->c.link->owner = l;
		return;
	}
	if (l->c.state != PG_CONN_IDLE || l->asked)
		return;
	l->asked = true;
	l->done = false;
	pg_conn_query(&l->c, "%s%s", question, more);
}

static void
load(struct pg_relay *r)
{
	struct pg_reads *a = &r->reads;
	struct pg_verdicts *v = &a->verdicts;
	bool wants_scope = pg_rule_names_tables(r);

	if (v->is_loading && a->loads_scope != wants_scope)
		stop_loading(a);
	if (!v->is_loading && !pg_verdicts_is_due(v, r->port->now_ns) &&
	    (a->scope.is_done || !wants_scope))
		return;
	if (!v->is_loading) {
		pg_verdicts_begin(v);
		a->loads_scope = wants_scope;
		sql_scope_init(&a->next_scope, r->mem, a->seed[1]);
		for (int s = 0; s < SIDE_N; s++) {
			a->look[s].side = (enum side)s;
			a->look[s].done = false;
		}
	}
	for (int s = 0; s < SIDE_N && v->is_loading; s++) {
		if (!a->look[s].done)
			ask(r, &a->look[s], sql_names_question,
			    wants_scope ? sql_scope_question : "");
	}
}

/* No row where commits wait for standbys: what is on the other side already may not
 * be visible on the authority for long, and reads would go back in time. */
static const char where_it_is[] =
	"SELECT pg_current_wal_insert_lsn() WHERE"
	" current_setting('synchronous_standby_names') = ''";

static void
probe(struct pg_relay *r)
{
	struct pg_reads *a = &r->reads;
	struct pg_look *l = &a->probe;
	uint64_t now = r->port->now_ns;
	bool idle;

	if (!a->wants_probe || (a->out.n == 0 && now < a->sent_ns + PROBE_NS))
		return;
	l->side = r->route.authority;
	idle = l->c.state == PG_CONN_IDLE && !l->asked;
	if (idle) {
		a->sent++;
		a->position[a->sent % PG_READ_PROBES] = UINT64_MAX;
		a->sent_ns = now;
		a->wants_probe = false;
	}
	if (idle || l->c.state == PG_CONN_OFF)
		ask(r, l, where_it_is, "");
}

void
pg_reads_work(struct pg_relay *r)
{
	struct pg_reads *a = &r->reads;

	list_each(pg_away, rd, out, &a->out) {
		pg_away_look(rd);
		pg_away_settle(rd);
	}
	if (a->is_on && r->port->now_ns >= a->retry_ns) {
		load(r);
		probe(r);
	}
	pg_reader_work(r);
	if (a->out.n > 0)
		port_wake(r->port, r->port->now_ns + WAIT_NS);
}

/* ---- positions --------------------------------------------------------------------------- */

void
pg_reads_answered(struct pg_session *s)
{
	s->reading.is_seen = false;
	s->reading.probe = s->r->reads.sent;
	s->r->reads.wants_probe = true;
}

bool
pg_reads_position(const struct pg_relay *r, uint64_t probe, uint64_t *ret)
{
	const struct pg_reads *a = &r->reads;
	uint64_t k = probe + 1;

	if (a->done < k)
		return false;
	if (k + PG_READ_PROBES <= a->done)
		k = a->done - PG_READ_PROBES + 1;
	*ret = a->position[k % PG_READ_PROBES];
	return true;
}

bool
pg_reads_passed(struct pg_session *s)
{
	struct pg_reads *a = &s->r->reads;
	struct board *b = s->r->conf->board;

	if (!s->reading.is_seen) {
		a->wants_probe = a->wants_probe || a->sent <= s->reading.probe;
		if (!pg_reads_position(s->r, s->reading.probe,
		                       &s->reading.seen))
			return false;
		s->reading.is_seen = true;
	}
	return atomic_load(&b->unsettled) % 2 == 0 &&
	       atomic_load(&b->passed[s->r->route.authority]) >=
	               s->reading.seen;
}
