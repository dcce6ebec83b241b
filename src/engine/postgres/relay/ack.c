/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/ack.c: answers that wait for the other side (ack both).
 *
 * The bytes wait in the session, in order; marks say which of them leave together. An
 * answer that the server has given is never given to the client before its position was
 * passed, nor after the server is lost: nobody can say then whether the other side will
 * ever have it, so its client is closed.
 */
#include "engine/postgres/relay/ack.h"

#include "engine/postgres/relay/inside.h"

/* So many waiting sessions are let go by whoever tells the position. */
#define LEND_MAX 4

void
pg_acks_init(struct pg_relay *r)
{
	r->acks.side = r->route.authority;
	pg_ack_ask_init(r);
}

void
pg_acks_fini(struct pg_relay *r)
{
	pg_ack_ask_fini(r);
}

bool
pg_acks_is_on(const struct pg_relay *r)
{
	return r->route.ack == ACK_BOTH && r->route.moved == 0 &&
	       !r->acks.is_unbound && r->conf->board != NULL;
}

bool
pg_ack_is_withheld(const struct pg_session *s)
{
	return s->ack.p != NULL && buf_len(&s->ack.p->marks) > 0;
}

/* ---- in --------------------------------------------------------------------- */

static void
set_mark(struct pg_withheld *w, size_t at, const struct pg_ack_mark *m)
{
	memcpy(w->marks.p + w->marks.off + at, m, sizeof(*m));
}

static struct pg_ack_mark
get_mark(const struct pg_withheld *w, size_t at)
{
	struct pg_ack_mark ret;

	memcpy(&ret, buf_span(&w->marks).p + at, sizeof(ret));
	return ret;
}

static struct pg_ack_mark
last_mark(const struct pg_withheld *w)
{
	return get_mark(w, buf_len(&w->marks) - sizeof(struct pg_ack_mark));
}

bool
pg_ack_put(struct pg_session *s, struct span raw)
{
	struct pg_withheld *w = s->ack.p;
	struct pg_ack_mark m;

	if (!pg_ack_is_withheld(s))
		return false;
	m = last_mark(w);
	m.n += raw.n;
	set_mark(w, buf_len(&w->marks) - sizeof(m), &m);
	buf_put_span(&w->bytes, raw);
	if (!s->b.slow && buf_len(&w->bytes) > PG_RELAY_TX_MAX) {
		s->b.slow = true;
		s->r->port->ops->read(s->r->port, s->b.link, false);
	}
	return true;
}

/* What is given from now on waits for the next probe. False: no memory. */
static bool
mark(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_withheld *w = s->ack.p;
	struct pg_ack_mark m = { .probe = r->acks.sent + 1,
		                 .at_ns = r->port->now_ns };

	if (w == NULL) {
		w = mem_zero(r->mem, sizeof(*w));
		if (w == NULL)
			return false;
		w->s = s;
		buf_init(&w->bytes, r->mem);
		buf_init(&w->marks, r->mem);
		s->ack.p = w;
	}
	if (!pg_ack_is_withheld(s))
		pg_acks_out_push(&r->acks.out, w);
	else if (last_mark(w).probe == m.probe)
		return true;
	r->acks.waited++;
	buf_put(&w->marks, &m, sizeof(m));
	if (!buf_failed(&w->marks))
		return true;
	if (!pg_ack_is_withheld(s))
		pg_acks_out_remove(&r->acks.out, w);
	return false;
}

bool
pg_ack_wants(const struct pg_session *s, uint8_t type)
{
	return (type == PG_READY && s->ack.wrote) ||
	       (type == PG_ERROR_RESPONSE && s->ack.was_refused) ||
	       (type == PG_COMMAND_COMPLETE && s->ack.wrote &&
	        pg_acks_is_on(s->r));
}

/* Inside of a transaction block only some commands commit. */
static bool
may_commit(const struct pg_session *s, struct span body)
{
	static const char *const verbs[] = { "COMMIT", "CALL", "DO",
		                             "PREPARE TRANSACTION",
		                             "COMMIT PREPARED" };
	struct span tag;

	if (s->status == PG_IDLE || !pg_read_complete(body, &tag))
		return true;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (span_eq(tag, span_str(verbs[i])))
			return true;
	}
	return false;
}

bool
pg_ack_complete(struct pg_session *s, struct span body)
{
	return !pg_acks_is_on(s->r) || !may_commit(s, body) || mark(s);
}

bool
pg_ack_ready(struct pg_session *s)
{
	struct pg_acking *a = &s->ack;
	bool is_over = s->status == PG_IDLE;
	bool ret = !is_over || !a->wrote || !pg_acks_is_on(s->r) || mark(s);

	/* What was sent since may have written as well. */
	if (!is_over || s->due_query > 0 || s->due_sync > 0 || s->in_extended)
		return ret;
	a->wrote = false;
	a->was_refused = false;
	a->parses = 0;
	/* Before its end the catalog did not show it. */
	if (a->is_schema)
		s->r->acks.verdicts.is_stale = true;
	a->is_schema = false;
	return ret;
}

/* ---- out ---------------------------------------------------------------------- */

static void
give(struct pg_withheld *w, size_t n)
{
	struct pg_session *s = w->s;

	buf_put(&s->client->tx, buf_span(&w->bytes).p, n);
	buf_take(&w->bytes, n);
	s->r->n.bytes_out += n;
	port_touch(s->r->port, s->client);
}

/* Nothing of it is withheld any more. */
static void
settle(struct pg_withheld *w)
{
	struct pg_session *s = w->s;

	pg_acks_out_remove(&s->r->acks.out, w);
	buf_release(&w->bytes);
	buf_release(&w->marks);
	pg_turn_settle(s);
	if (!s->b.slow || s->b.link == NULL)
		return;
	if (buf_len(&s->client->tx) > PG_RELAY_TX_MAX) {
		s->client->want_drained = true;
		return;
	}
	s->b.slow = false;
	s->r->port->ops->read(s->r->port, s->b.link, true);
}

/* The position of a probe, or of a later one; UINT64_MAX: not known. */
static uint64_t
position(const struct pg_acks *a, uint64_t probe)
{
	if (probe > a->done)
		return UINT64_MAX;
	if (probe + PG_ACK_PROBES <= a->done)
		probe = a->done - PG_ACK_PROBES + 1;
	return a->position[probe % PG_ACK_PROBES];
}

static void
let_go(struct pg_relay *r, struct pg_withheld *w, uint64_t passed)
{
	while (buf_len(&w->marks) > 0) {
		struct pg_ack_mark m = get_mark(w, 0);

		if (position(&r->acks, m.probe) > passed)
			return;
		give(w, m.n);
		buf_take(&w->marks, sizeof(m));
	}
	settle(w);
}

static void
let_all_go(struct pg_relay *r)
{
	list_each(pg_withheld, w, out, &r->acks.out) {
		give(w, buf_len(&w->bytes));
		buf_take(&w->marks, buf_len(&w->marks));
		settle(w);
	}
}

static void
late(struct pg_relay *r, uint64_t oldest_ns)
{
	struct mail m = { .kind = MAIL_LATE, .who = r->conf->who };
	uint64_t at_ns = oldest_ns + r->route.ack_timeout_ms * MILLI;

	if (r->route.ack_timeout_ms == 0 || r->acks.is_told)
		return;
	if (at_ns > r->port->now_ns) {
		port_wake(r->port, at_ns);
		return;
	}
	r->acks.is_told = true;
	r->port->ops->mail(r->port, &m);
}

void
pg_acks_work(struct pg_relay *r)
{
	struct pg_acks *a = &r->acks;
	struct pg_ack_due due = { .oldest_ns = UINT64_MAX };
	uint64_t passed;

	if (!pg_acks_is_on(r))
		return;
	passed = atomic_load(&r->conf->board->passed[r->route.authority]);
	list_each(pg_withheld, w, out, &a->out) {
		struct pg_ack_mark first;

		if (buf_failed(&w->bytes)) {
			pg_session_end(w->s, SPAN("53200"), "out of memory");
			continue;
		}
		let_go(r, w, passed);
		if (buf_len(&w->marks) == 0)
			continue;
		first = get_mark(w, 0);
		if (first.at_ns < due.oldest_ns)
			due.oldest_ns = first.at_ns;
		due.is_stuck = due.is_stuck || first.probe <= a->done;
		due.wants_probe =
			due.wants_probe || last_mark(w).probe > a->sent;
	}
	pg_ack_ask_work(r, &due);
	if (a->out.n > 0)
		late(r, due.oldest_ns);
}

bool
pg_acks_may_lend(const struct pg_relay *r)
{
	return r->acks.out.n > 0 && r->acks.out.n <= LEND_MAX;
}

/* ---- what changes --------------------------------------------------------------- */

void
pg_acks_route(struct pg_relay *r)
{
	struct pg_acks *a = &r->acks;

	if (a->side != r->route.authority)
		pg_ack_ask_forget(r);
	a->side = r->route.authority;
	if (r->route.ack != ACK_BOTH) {
		a->is_told = false;
		let_all_go(r);
		pg_ack_ask_forget(r);
	}
}

void
pg_acks_pair(struct pg_relay *r)
{
	struct pg_acks *a = &r->acks;

	let_all_go(r);
	pg_ack_ask_forget(r);
	a->is_behind = false;
	a->is_unbound = false;
	a->is_told = false;
}

void
pg_acks_behind(struct pg_relay *r, uint32_t flag)
{
	struct pg_acks *a = &r->acks;

	a->is_behind = flag != 0;
	a->is_unbound = flag == 2;
	a->is_told = flag == 1; /* it is known already */
	if (a->is_unbound)
		let_all_go(r);
}

void
pg_ack_free(struct pg_session *s)
{
	struct pg_withheld *w = s->ack.p;

	if (w == NULL)
		return;
	if (pg_ack_is_withheld(s))
		pg_acks_out_remove(&s->r->acks.out, w);
	buf_fini(&w->bytes);
	buf_fini(&w->marks);
	mem_free(s->r->mem, w, sizeof(*w));
	s->ack.p = NULL;
}
