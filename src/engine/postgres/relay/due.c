/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/due.c: which answer is which message's.
 *
 * Answers come in the order of what was asked, and an error ends all up to the next
 * Sync, a Query among it as well: turn.due is what is expected.
 */
#include "base/hash.h"
#include "engine/postgres/relay/inside.h"

/* Types of people's own have other numbers on another server. */
#define OWN_TYPE 16384u

void
pg_due_expect(struct pg_session *s, enum due_kind kind, const uint64_t *digest)
{
	struct pg_due d;

	if (s->turn.skips)
		return;
	memset(&d, 0, sizeof(d));
	d.kind = kind;
	if (digest != NULL)
		memcpy(d.digest, digest, sizeof(d.digest));
	buf_put(&s->turn.due, &d, sizeof(d));
}

static bool
front(const struct pg_session *s, struct pg_due *ret)
{
	if (buf_len(&s->turn.due) < sizeof(*ret))
		return false;
	memcpy(ret, buf_span(&s->turn.due).p, sizeof(*ret));
	return true;
}

void
pg_due_begin(struct pg_session *s, bool is_same)
{
	s->turn.is_prepared = s->turn.is_prepared && is_same;
	s->turn.waits_shape = false;
	s->turn.skips = false;
	s->turn.is_fresh = true;
	buf_clear(&s->turn.due);
}

/* ---- what the client says -------------------------------------------------------- */

void
pg_due_note(struct pg_session *s, uint8_t type)
{
	s->turn.is_divided = false;
	switch (type) {
	case PG_QUERY:
	case PG_FUNCTION_CALL:
		if (s->turn.skips)
			break;
		if (type == PG_QUERY) {
			buf_release(&s->unnamed);
			s->turn.is_prepared = true;
		}
		s->turn.series++;
		pg_due_expect(s, DUE_QUERY, NULL);
		break;
	case PG_SYNC:
		s->turn.skips = false;
		if (s->copies_in)
			break;
		s->turn.series++;
		pg_due_expect(s, DUE_SYNC, NULL);
		break;
	default: break;
	}
}

void
pg_due_copies(struct pg_session *s)
{
	struct pg_due d = { .kind = DUE_SYNC };
	bool by_query = front(s, &d) && d.kind == DUE_QUERY;

	/* A Sync that was sent ahead is passed over; what else is behind it makes an
	 * end of the COPY, and nobody knows what is left of it. */
	if (buf_len(&s->turn.due) > sizeof(d) ||
	    (!by_query && d.kind != DUE_SYNC))
		s->turn.pins |= PIN_ORDER;
	if (by_query)
		return;
	s->due_query = 0;
	s->due_sync = 0;
	pg_due_clear(s);
}

void
pg_due_clear(struct pg_session *s)
{
	buf_clear(&s->turn.due);
	s->turn.heard = s->turn.series - 1;
	s->turn.waits_shape = false;
	s->turn.skips = false;
}

/* ---- what the server says -------------------------------------------------------- */

static void
take(struct pg_session *s)
{
	buf_take(&s->turn.due, sizeof(struct pg_due));
}

/* One that the server passes over. */
static void
pass_over(struct pg_session *s, const struct pg_due *d)
{
	if (d->kind == DUE_QUERY) {
		s->turn.heard++;
		if (s->due_query > 0)
			s->due_query--;
		else if (s->due_sync > 0)
			s->due_sync--;
	} else if (d->kind == DUE_PARSE && d->digest[0] == 0) {
		buf_release(&s->unnamed);
	}
	take(s);
}

/* What was to be gone behind these is there still. */
static void
keep_closing(struct pg_session *s, uint32_t first, uint32_t last)
{
	map_each(e, &s->named) {
		struct pg_alias *a = &((struct pg_named *)map_value(e))->alias;

		if (a->closing >= first && a->closing <= last)
			a->closing = 0;
	}
}

/* DEALLOCATE was done, of all or of one. */
static void
forget_closing(struct pg_session *s, uint32_t series)
{
	map_each(e, &s->named) {
		struct pg_named *n = map_value(e);

		if (n->alias.closing == series)
			pg_alias_forget(s, e);
	}
}

/* All that was asked for up to the next Sync is not done; but a Query that fails does so
 * alone. */
static void
fail(struct pg_session *s)
{
	struct pg_due d;
	uint32_t first = s->turn.heard + 1;
	bool any = false;

	if (front(s, &d) && d.kind == DUE_QUERY) {
		if (s->turn.deallocates)
			keep_closing(s, first, first);
		return;
	}
	while (front(s, &d) && d.kind != DUE_SYNC) {
		pass_over(s, &d);
		any = true;
	}
	s->turn.skips = !front(s, &d) && (s->in_extended || any);
	s->in_extended = s->in_extended || s->turn.skips;
	s->turn.waits_shape = false;
	s->turn.shape = 0;
	keep_closing(s, first, s->turn.heard + 1);
	map_each(e, &s->named) {
		struct pg_alias *a = &((struct pg_named *)map_value(e))->alias;

		if (a->series >= first && a->series <= s->turn.heard + 1)
			pg_alias_forget(s, e);
	}
}

/* ReadyForQuery: of whatever was said up to there nothing more will come. */
static void
ready(struct pg_session *s)
{
	struct pg_due d;

	while (front(s, &d) && d.kind != DUE_QUERY && d.kind != DUE_SYNC)
		take(s);
	if (front(s, &d))
		take(s);
	s->turn.heard++;
	if (s->turn.deallocates)
		forget_closing(s, s->turn.heard);
	if (s->turn.deallocates && s->turn.server != NULL)
		map_clear(&s->turn.server->has);
	s->turn.deallocates = s->turn.deallocates && buf_len(&s->turn.due) > 0;
}

static void
parsed(struct pg_session *s, const struct pg_due *d)
{
	struct map_entry *e;

	if (d->digest[0] == 0 && d->digest[1] == 0)
		return;
	e = map_put(&s->turn.server->has, pg_alias_key(d->digest), NULL);
	if (e != NULL)
		memset(map_value(e), 0, sizeof(uint64_t));
	if (d->kind != DUE_PARSE)
		return;
	map_each(m, &s->named) {
		struct pg_named *n = map_value(m);

		if (n->alias.series == s->turn.heard + 1 &&
		    memcmp(n->alias.digest, d->digest, sizeof(d->digest)) == 0)
			n->alias.series = 0;
	}
}

static void
closed(struct pg_session *s, const struct pg_due *d)
{
	if (d->digest[1] == 0)
		return;
	map_each(e, &s->named) {
		struct pg_named *n = map_value(e);

		if (n->alias.closing != 0 &&
		    hash_bytes(map_key(&s->named, e), s->r->turns.seed[0]) ==
		            d->digest[0])
			pg_alias_forget(s, e);
	}
}

static bool
is_ours(enum due_kind kind)
{
	return kind == DUE_OUR_PARSE || kind == DUE_OUR_CLOSE ||
	       kind == DUE_OUR_DESCRIBE;
}

bool
pg_due_hear(struct pg_session *s, uint8_t type, bool *ret_reads)
{
	struct pg_due d;

	*ret_reads = false;
	s->turn.fails = false;
	if (!front(s, &d)) {
		if (type != PG_ERROR_RESPONSE)
			return false;
		memset(&d, 0, sizeof(d));
	}
	switch (type) {
	case PG_PARSE_COMPLETE:
	case PG_CLOSE_COMPLETE:
		if (d.kind == DUE_PARSE || d.kind == DUE_OUR_PARSE)
			parsed(s, &d);
		else if (d.kind == DUE_CLOSE)
			closed(s, &d);
		if (d.kind != DUE_QUERY && d.kind != DUE_SYNC)
			take(s);
		return is_ours(d.kind);
	case PG_PARAMETER_DESCRIPTION:
		*ret_reads = d.kind == DUE_OUR_DESCRIBE;
		return *ret_reads;
	case PG_ROW_DESCRIPTION:
	case PG_NO_DATA:
		if (d.kind == DUE_DESCRIBE)
			take(s);
		*ret_reads = d.kind == DUE_OUR_DESCRIBE;
		return *ret_reads;
	case PG_ERROR_RESPONSE:
		s->turn.fails = d.kind == DUE_FAILURE;
		*ret_reads =
			s->turn.fails || map_count(&s->turn.server->has) > 0;
		fail(s);
		return s->turn.fails;
	case PG_READY: ready(s); return false;
	default: return false;
	}
}

static uint64_t
shape_of(struct span body, uint64_t seed)
{
	struct pg_fields fields;
	struct pg_field f;
	struct span rest;
	uint64_t h = seed;

	if (!pg_read_fields(body, &fields))
		return seed;
	rest = fields.items;
	while (pg_field_next(&rest, &f)) {
		uint32_t type = f.type < OWN_TYPE ? f.type : OWN_TYPE;

		h = hash_mix(h ^ hash_bytes(f.name, seed)) +
		    hash_mix((uint64_t)type << 32 | (uint32_t)f.modifier);
	}
	return h;
}

uint64_t
pg_due_shape(const struct pg_session *s, struct span body)
{
	return shape_of(body, s->r->turns.seed[0]) | 1;
}

/* What the client knows, of all names that it has for it. */
static void
described(struct pg_session *s, const struct pg_due *d, uint64_t shape)
{
	uint64_t *known =
		map_get(&s->turn.server->has, pg_alias_key(d->digest));

	if (known != NULL)
		*known = shape;
	map_each(e, &s->named) {
		struct pg_named *n = map_value(e);

		if (n->alias.shape == 0 &&
		    memcmp(n->alias.digest, d->digest, sizeof(d->digest)) == 0)
			n->alias.shape = shape;
	}
	s->turn.shape = s->turn.waits_shape ? shape : 0;
	s->turn.waits_shape = false;
}

void
pg_due_body(struct pg_session *s, uint8_t type, struct span body)
{
	struct pg_error e = { .severity = SPAN("ERROR"),
		              .severity_plain = SPAN("ERROR"),
		              .code = SPAN("0A000"),
		              .message = SPAN("cached plan must not change "
		                              "result type"),
		              .routine = SPAN("RevalidateCachedQuery") };
	uint64_t seed = s->r->turns.seed[0];
	struct pg_due d;
	struct buf told;

	if (type == PG_ERROR_RESPONSE && s->turn.fails) {
		buf_init(&told, s->r->mem);
		pg_put_error(&told, PG_ERROR_RESPONSE, &e);
		pg_backend_give(&s->b, buf_span(&told));
		buf_fini(&told);
		return;
	}
	if (type == PG_ERROR_RESPONSE) {
		/* Somebody took it away by a function's hand. */
		if (pg_read_error(body, &e) && span_eq(e.code, SPAN("26000")))
			map_clear(&s->turn.server->has);
		return;
	}
	/* The parameters' types are of the Parse. */
	if (type == PG_PARAMETER_DESCRIPTION || !front(s, &d) ||
	    d.kind != DUE_OUR_DESCRIBE)
		return;
	take(s);
	described(s, &d,
	          type == PG_ROW_DESCRIPTION ? pg_due_shape(s, body)
	                                     : seed | 1);
}
