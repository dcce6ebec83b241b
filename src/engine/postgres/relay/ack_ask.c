/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/ack_ask.c: what the authority is asked for acks.
 *
 * Where its log ends is behind all that it has answered. The stream passes that place
 * when the next transaction, or a word of the server that there is none, lies behind it;
 * when that takes too long Godwit puts something into the log itself, which has to be
 * durable before the stream has it, and is for nobody.
 */
#include "engine/postgres/relay/inside.h"
#include "wire/pg_text.h"

#define RETRY_NS  (100 * MILLI)
/* The stream has not passed a position that has been known for so long. */
#define STUCK_NS  (1 * MILLI)
/* Between two words of ours. */
#define MARKER_NS (20 * MILLI)

static const char where_it_is[] = "SELECT pg_current_wal_insert_lsn()";
static const char marker[] =
	"SELECT pg_logical_emit_message(true, 'godwit:ack', '')";

void
pg_ack_ask_init(struct pg_relay *r)
{
	struct pg_acks *a = &r->acks;
	struct pg_ack_ask *both[] = { &a->probe, &a->look };
	uint64_t seed[2];

	for (int i = 0; i < 2; i++) {
		both[i]->owner = OWNER_ACK;
		both[i]->is_names = i == 1;
		both[i]->c.id = r->conf->id;
		both[i]->c.what = i == 1 ? "names" : "acks";
		pg_conn_init(&both[i]->c, r->port);
	}
	seed[0] = r->port->entropy(r->port);
	seed[1] = r->port->entropy(r->port);
	pg_verdicts_init(&a->verdicts, r->mem, PG_ACK_CACHE, seed);
}

static void
forget_names(struct pg_acks *a)
{
	pg_conn_close(&a->look.c);
	a->look.asked = false;
	pg_verdicts_forget(&a->verdicts);
}

static void
forget_probe(struct pg_acks *a)
{
	pg_conn_close(&a->probe.c);
	a->probe.asked = false;
	a->sent = a->done;
}

void
pg_ack_ask_forget(struct pg_relay *r)
{
	forget_names(&r->acks);
	forget_probe(&r->acks);
}

void
pg_ack_ask_fini(struct pg_relay *r)
{
	struct pg_acks *a = &r->acks;

	pg_ack_ask_forget(r);
	pg_conn_fini(&a->probe.c);
	pg_conn_fini(&a->look.c);
	pg_verdicts_fini(&a->verdicts);
}

/* ---- answers -------------------------------------------------------------------- */

static void
lost(struct pg_relay *r, struct pg_ack_ask *l)
{
	r->acks.retry_ns = r->port->now_ns + RETRY_NS;
	if (l->is_names)
		forget_names(&r->acks);
	else
		forget_probe(&r->acks);
}

void
pg_ack_ask_up(struct pg_relay *r, struct pg_ack_ask *l)
{
	if (pg_conn_up(&l->c) != 0)
		lost(r, l);
}

void
pg_ack_ask_down(struct pg_relay *r, struct pg_ack_ask *l, const struct err *err)
{
	pg_conn_down(&l->c, err);
	lost(r, l);
}

static void
take_row(struct pg_relay *r, struct pg_ack_ask *l, struct span body)
{
	struct pg_acks *a = &r->acks;
	struct pg_values row;
	struct span text[3];
	struct pg_value v;
	struct pg_lsn at;

	if (!l->is_names) {
		if (pg_read_row(body, &row) && row.n == 1 &&
		    pg_value_next(&row.items, &v) &&
		    pg_lsn_parse(v.bytes, &at)) {
			a->position[a->sent % PG_ACK_PROBES] = at.v;
			l->failed = false;
		}
		return;
	}
	if (pg_verdicts_read(body, text))
		pg_verdicts_row_both(&a->verdicts, text);
}

static void
answered(struct pg_relay *r, struct pg_ack_ask *l)
{
	struct pg_acks *a = &r->acks;

	if (!l->is_names) {
		a->done = a->sent;
		a->known_ns = r->port->now_ns;
		return;
	}
	pg_verdicts_done(&a->verdicts, r->port->now_ns);
}

static bool
hear(void *self, struct pg_conn *c, const struct pg_message *m)
{
	struct pg_relay *r = self;
	struct pg_ack_ask *l = c->link->owner;

	if (!l->asked)
		return true;
	if (m->type == PG_DATA_ROW)
		take_row(r, l, m->body);
	if (m->type == PG_ERROR_RESPONSE)
		l->failed = true;
	if (m->type != PG_READY)
		return true;
	l->asked = false;
	if (!l->failed)
		answered(r, l);
	return true;
}

void
pg_ack_ask_take(struct pg_relay *r, struct pg_ack_ask *l, struct span bytes)
{
	bool asked = l->asked;

	if (pg_conn_take(&l->c, bytes, hear, r) != 0 ||
	    (asked && !l->asked && l->failed))
		lost(r, l);
}

/* ---- questions ------------------------------------------------------------------- */

/* Is it there, with nothing to answer? Else it is opened. */
static bool
is_idle(struct pg_relay *r, struct pg_ack_ask *l)
{
	if (l->c.state != PG_CONN_OFF)
		return l->c.state == PG_CONN_IDLE && !l->asked;
	l->c.side = &r->conf->side[r->route.authority];
	l->asked = false;
	if (pg_conn_open(&l->c) != 0)
		lost(r, l);
	else
		l->c.link->owner = l;
	return false;
}

static void
ask(struct pg_ack_ask *l, const char *question)
{
	l->asked = true;
	l->failed = !l->is_names; /* until there is a position */
	pg_conn_query(&l->c, "%s", question);
}

static void
load(struct pg_relay *r)
{
	struct pg_acks *a = &r->acks;

	if (!pg_verdicts_is_due(&a->verdicts, r->port->now_ns) ||
	    !is_idle(r, &a->look))
		return;
	pg_verdicts_begin(&a->verdicts);
	ask(&a->look, sql_names_question);
}

/* What is known is not passed: does the log need a push? */
static bool
wants_marker(struct pg_relay *r, const struct pg_ack_due *due)
{
	struct pg_acks *a = &r->acks;
	uint64_t at_ns = a->known_ns + STUCK_NS;
	/* Who has waited for long waits for more than a push. */
	uint64_t pause_ns = (r->port->now_ns - due->oldest_ns) / 4;

	if (!due->is_stuck)
		return false;
	if (pause_ns < MARKER_NS)
		pause_ns = MARKER_NS;
	if (at_ns < a->marker_ns + pause_ns)
		at_ns = a->marker_ns + pause_ns;
	if (at_ns <= r->port->now_ns)
		return true;
	port_wake(r->port, at_ns);
	return false;
}

void
pg_ack_ask_work(struct pg_relay *r, const struct pg_ack_due *due)
{
	struct pg_acks *a = &r->acks;
	bool pushes = wants_marker(r, due);

	if (r->port->now_ns < a->retry_ns) {
		port_wake(r->port, a->retry_ns);
		return;
	}
	load(r);
	/* Opened before somebody waits for it. */
	if (!is_idle(r, &a->probe) || (!due->wants_probe && !pushes))
		return;
	a->sent++;
	if (pushes)
		a->marker_ns = r->port->now_ns;
	ask(&a->probe, pushes ? marker : where_it_is);
}
