/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/alias.c: statements of the protocol, by names of ours.
 *
 * What a client calls s1 is on a server the digest of its text, types and settings, so
 * that many clients share it, on each server that one of them was on. A client's own
 * Parse is always the server's Parse; on another server it is prepared again when it
 * is used. Its description has to be the same one there: what a client has been told
 * of the columns it keeps, so a change of them is told as PostgreSQL tells it.
 */
#include "base/hash.h"
#include "engine/postgres/relay/inside.h"

/* A statement that is not bound by its end may be so long until it is. */
#define WORDS_MAX    ((size_t)2 * 1024)
#define NAME_N       39 /* "godwit_" and 32 digits */
/* A block of the statement without a name that is kept for the next one. */
#define UNNAMED_KEEP ((size_t)1024)

/* Eight digits, the first one highest: each gets a byte. */
static void
put_hex(uint32_t v, char *ret)
{
	uint64_t n = v;
	uint64_t letters;

	n = (n | n << 16) & 0x0000ffff0000ffffull;
	n = (n | n << 8) & 0x00ff00ff00ff00ffull;
	n = (n | n << 4) & 0x0f0f0f0f0f0f0f0full;
	letters = (n + 0x0606060606060606ull) >> 4 & 0x0101010101010101ull;
	n += 0x3030303030303030ull + letters * ('a' - '0' - 10);
	for (int i = 0; i < 8; i++)
		ret[i] = (char)(n >> (56 - 8 * i));
}

static struct span
name_of(const uint64_t digest[2], char ret[NAME_N])
{
	struct span lead = SPAN("godwit_");

	memcpy(ret, lead.p, lead.n);
	for (size_t i = 0; i < 4; i++)
		put_hex((uint32_t)(digest[i / 2] >> (i % 2 == 0 ? 32 : 0)),
		        ret + lead.n + 8 * i);
	return span_of(ret, NAME_N);
}

/* ---- on a server ----------------------------------------------------------------- */

/* Room for one more: the one that was not used for the longest time goes. */
static void
make_room(struct pg_session *s)
{
	struct pg_server *x = s->turn.server;
	struct map_entry *e = x->has.first;
	struct pg_target t = { .is_portal = false };
	char name[NAME_N];
	uint64_t digest[2];

	if (map_count(&x->has) < PG_RELAY_ALIAS_MAX)
		return;
	memcpy(digest, map_key(&x->has, e).p, sizeof(digest));
	t.name = name_of(digest, name);
	pg_put_target(&s->b.link->tx, PG_CLOSE, t);
	pg_due_expect(s, DUE_OUR_CLOSE, NULL);
	map_drop(&x->has, e);
}

void
pg_alias_divide(struct pg_session *s, uint8_t type)
{
	struct pg_target t = { .is_portal = true, .name = SPAN("godwit_none") };

	if ((type != PG_QUERY && type != PG_FUNCTION_CALL) || !s->in_extended ||
	    !pg_frame_is_between(&s->in) || s->turn.skips ||
	    s->turn.is_divided || s->copies_in)
		return;
	s->turn.is_divided = true;
	pg_put_target(&s->b.link->tx, PG_CLOSE, t);
	pg_due_expect(s, DUE_OUR_CLOSE, NULL);
	port_touch(s->r->port, s->b.link);
}

/* Parse and Describe under its alias; a Close in front, so that none is in the way. */
static void
put_parse(struct pg_session *s, const struct pg_parse *p,
          const uint64_t digest[2], bool is_ours)
{
	struct buf *tx = &s->b.link->tx;
	struct pg_parse m = *p;
	struct pg_target t = { .is_portal = false };
	char name[NAME_N];

	make_room(s);
	t.name = name_of(digest, name);
	m.name = t.name;
	pg_put_target(tx, PG_CLOSE, t);
	pg_due_expect(s, DUE_OUR_CLOSE, NULL);
	pg_put_parse(tx, &m);
	pg_due_expect(s, is_ours ? DUE_OUR_PARSE : DUE_PARSE, digest);
	pg_put_target(tx, PG_DESCRIBE, t);
	pg_due_expect(s, DUE_OUR_DESCRIBE, digest);
	(void)map_remove(&s->turn.server->has, pg_alias_key(digest));
	port_touch(s->r->port, s->b.link);
}

/* Is the statement there, and the one that the client knows? ALIAS_DONE: yes.
 * ALIAS_MORE: it is made. ALIAS_NOT: it cannot be; that was said instead. */
static enum alias_rc
ensure(struct pg_session *s, struct pg_named *n)
{
	struct pg_alias *a = &n->alias;
	struct pg_server *x = s->turn.server;
	struct map_entry *e = map_find(&x->has, pg_alias_key(a->digest));
	uint64_t *shape = e != NULL ? map_value(e) : NULL;
	struct pg_execute none = { .portal = SPAN("godwit_none") };
	struct pg_parse p;

	/* Its own Parse is on its way, or the server passes over everything. */
	if (s->turn.skips || a->series != 0)
		return ALIAS_DONE;
	if (shape != NULL &&
	    (a->shape == 0 || *shape == 0 || *shape == a->shape)) {
		if (a->shape == 0)
			a->shape = *shape;
		map_renew(&x->has, e);
		s->turn.shape = 0;
		return ALIAS_DONE;
	}
	/* It was just made, and is not what it was. */
	if (shape != NULL && s->turn.shape == *shape) {
		s->turn.shape = 0;
		pg_put_execute(&s->b.link->tx, none);
		pg_due_expect(s, DUE_FAILURE, NULL);
		return ALIAS_NOT;
	}
	if (!pg_read_parse(span_skip(buf_span(&n->raw), 5), &p))
		return ALIAS_DONE;
	put_parse(s, &p, a->digest, true);
	pg_put_empty(&s->b.link->tx, PG_FLUSH);
	s->in_extended = true;
	s->turn.waits_shape = true;
	return ALIAS_MORE;
}

/* ---- what the client says -------------------------------------------------------- */

/* The frame of a whole message, which is not passed on as it is. */
static bool
frame(struct pg_session *s, struct span in, struct pg_message *m)
{
	return pg_frame_whole(&s->in, in, m) == WIRE_PART;
}

/* The bytes of a message whose head is at the front; 0: not even that is there. */
static size_t
size_of(struct span in)
{
	return in.n < 5 ? 0 : (size_t)pg_get_u32(in.p + 1) + 1;
}

void
pg_alias_forget(struct pg_session *s, struct map_entry *e)
{
	struct pg_named *n = map_value(e);

	s->named_bytes -= buf_len(&n->raw);
	buf_fini(&n->raw);
	map_drop(&s->named, e);
}

static void
digest_of(struct pg_session *s, const struct pg_parse *p, uint64_t ret[2])
{
	for (int i = 0; i < 2; i++) {
		uint64_t seed = s->r->turns.seed[i];

		ret[i] = hash_bytes(p->text, seed) ^
		         hash_mix(hash_bytes(p->types.items, seed) +
		                  s->turn.dress);
		/* What it may have set since is not known yet. */
		if (s->turn.is_wild)
			ret[i] ^= hash_mix(s->c.number + 1);
	}
}

/* The first word of a statement, as far as it matters: DEALLOCATE or DISCARD, with
 * what it is about. */
static bool
drops(struct span text, struct span *ret_name, struct span *ret_rest,
      bool *ret_all)
{
	static const char *const words[] = { "deallocate", "discard",
		                             "prepare" };
	size_t n;
	bool found = false;

	*ret_all = false;
	while (text.n > 0 && text.p[0] <= ' ')
		text = span_skip(text, 1);
	if (text.n == 0 || ((text.p[0] | 32) != 'd' && (text.p[0] | 32) != 'p'))
		return false;
	for (size_t i = 0; i < 3; i++) {
		struct span word = span_str(words[i]);

		while (text.n > 0 && text.p[0] <= ' ')
			text = span_skip(text, 1);
		if (text.n > word.n &&
		    span_is_word(span_of(text.p, word.n), word) &&
		    (text.p[word.n] <= ' ' || text.p[word.n] == '"') &&
		    (i < 2 || found)) {
			text = span_skip(text, word.n);
			*ret_all = i == 1;
			found = true;
		}
	}
	while (text.n > 0 && text.p[0] <= ' ')
		text = span_skip(text, 1);
	for (n = 0; n < text.n && text.p[n] > ' ' && text.p[n] != ';'; n++) {
	}
	*ret_name = span_of(text.p, n);
	*ret_rest = span_skip(text, n);
	if (n > 1 && text.p[0] == '"' && text.p[n - 1] == '"')
		*ret_name = span_of(text.p + 1, n - 2);
	if (!found)
		return false;
	if (span_is_word(*ret_name, SPAN("all")))
		*ret_all = true;
	else if (*ret_all)
		return false; /* DISCARD of something else */
	return true;
}

/* DEALLOCATE of what the protocol made. True: text is to be said instead. */
static bool
deallocate(struct pg_session *s, struct span text, struct buf *ret)
{
	struct map_entry *e;
	struct span name;
	struct span rest;
	char alias[NAME_N];
	bool all;

	if (s->turn.skips || !drops(text, &name, &rest, &all))
		return false;
	/* They are gone when the server has said so (due.c). */
	if (all) {
		map_each(n, &s->named)
			((struct pg_named *)map_value(n))->alias.closing =
				s->turn.series;
		return false;
	}
	e = map_find(&s->named, name);
	if (e == NULL)
		return false;
	name = name_of(((struct pg_named *)map_value(e))->alias.digest, alias);
	if (map_remove(
		    &s->turn.server->has,
		    pg_alias_key(
			    ((struct pg_named *)map_value(e))->alias.digest))) {
		buf_put_str(ret, "DEALLOCATE ");
		buf_put_span(ret, name);
	} else {
		buf_put_str(ret, "DEALLOCATE ALL");
	}
	buf_put_span(ret, rest);
	((struct pg_named *)map_value(e))->alias.closing = s->turn.series;
	return true;
}

/* Remember it as the client's. False: it cannot be kept. */
static bool
keep(struct pg_session *s, const struct pg_message *m, const struct pg_parse *p,
     const uint64_t digest[2])
{
	bool is_new;
	struct map_entry *e = map_put(&s->named, p->name, &is_new);
	struct pg_named *n;

	if (e == NULL)
		return false;
	n = map_value(e);
	if (is_new)
		buf_init(&n->raw, s->r->mem);
	else
		s->named_bytes -= buf_len(&n->raw);
	buf_clear(&n->raw);
	buf_put_span(&n->raw, m->raw);
	s->named_bytes += buf_len(&n->raw);
	memset(&n->alias, 0, sizeof(n->alias));
	memcpy(n->alias.digest, digest, sizeof(n->alias.digest));
	n->alias.series = s->turn.skips ? 0 : s->turn.series;
	return !buf_failed(&n->raw) && s->named_bytes <= PG_RELAY_KEEP_MAX;
}

static void
keep_unnamed(struct pg_session *s, struct span raw)
{
	/* Most have room where the one before was; a large one leaves none behind. */
	if (raw.n == 0 || s->unnamed.cap > UNNAMED_KEEP)
		buf_release(&s->unnamed);
	buf_clear(&s->unnamed);
	if (raw.n <= PG_RELAY_KEEP_MAX)
		buf_put_span(&s->unnamed, raw);
	s->turn.is_prepared = true;
}

static void
refuse(struct pg_session *s)
{
	pg_session_end(s, SPAN("54000"),
	               "statements of more than %u bytes cannot be prepared "
	               "with transaction pooling",
	               (unsigned)PG_RELAY_KEEP_MAX);
}

static enum alias_rc
on_parse(struct pg_session *s, const struct pg_message *m)
{
	struct pg_parse p;
	struct buf text;
	uint64_t digest[2];

	if (!pg_read_parse(m->body, &p)) {
		buf_put_span(&s->b.link->tx, m->raw);
		return ALIAS_DONE;
	}
	pg_turn_note(s, p.text, true);
	if (!s->turn.is_plain)
		pg_custom_scan(s, p.text);
	buf_init(&text, s->r->mem);
	if (deallocate(s, p.text, &text))
		p.text = buf_span(&text);
	if (p.name.n == 0) {
		pg_put_parse(&s->b.link->tx, &p);
		pg_due_expect(s, DUE_PARSE, NULL);
		if (buf_len(&text) == 0 && !s->turn.skips)
			keep_unnamed(s, m->raw);
		s->turn.noted = s->turn.series;
		buf_fini(&text);
		return ALIAS_DONE;
	}
	digest_of(s, &p, digest);
	put_parse(s, &p, digest, false);
	buf_fini(&text);
	/* The server passes over it. */
	if (s->turn.skips || keep(s, m, &p, digest))
		return ALIAS_DONE;
	refuse(s);
	return ALIAS_END;
}

bool
pg_alias_learn(struct pg_session *s, const struct pg_message *m)
{
	struct pg_parse p;
	uint64_t digest[2];

	if (!pg_read_parse(m->body, &p))
		return true;
	if (p.name.n == 0) {
		keep_unnamed(s, m->raw);
		s->turn.is_prepared = false;
		return true;
	}
	digest_of(s, &p, digest);
	if (!keep(s, m, &p, digest))
		return false;
	((struct pg_named *)map_get(&s->named, p.name))->alias.series = 0;
	return true;
}

void
pg_alias_end_unnamed(struct pg_session *s)
{
	buf_release(&s->unnamed);
	s->turn.is_prepared = false;
}

/* The statement without a name, as this client left it. */
static void
prepare_unnamed(struct pg_session *s)
{
	struct pg_target t = { .name = { (const uint8_t *)"", 0 } };

	if (s->turn.is_prepared)
		return;
	s->turn.is_prepared = true;
	if (buf_len(&s->unnamed) > 0) {
		buf_put_span(&s->b.link->tx, buf_span(&s->unnamed));
		pg_due_expect(s, DUE_OUR_PARSE, NULL);
	} else {
		pg_put_target(&s->b.link->tx, PG_CLOSE, t);
		pg_due_expect(s, DUE_OUR_CLOSE, NULL);
	}
}

/* The Bind of one whose Parse came before another Sync, perhaps on another server. */
static void
note_unnamed(struct pg_session *s)
{
	struct pg_parse p = { .text = { NULL, 0 } };

	if (buf_len(&s->unnamed) > 5)
		(void)!pg_read_parse(span_skip(buf_span(&s->unnamed), 5), &p);
	pg_ack_note_text(s, p.text);
	if (s->turn.noted != s->turn.series && p.text.p != NULL)
		pg_turn_note(s, p.text, true);
	s->turn.noted = s->turn.series;
}

/* It is gone when the server says so. */
static void
note_close(struct pg_session *s, struct span name)
{
	struct pg_named *n = map_get(&s->named, name);
	uint64_t digest[2] = { hash_bytes(name, s->r->turns.seed[0]), 1 };

	if (n != NULL)
		n->alias.closing = s->turn.series;
	pg_due_expect(s, DUE_CLOSE, n != NULL ? digest : NULL);
}

/* Use of a statement. ALIAS_DONE: *ret_name is what it is there. */
static enum alias_rc
use(struct pg_session *s, struct span name, char alias[NAME_N],
    struct span *ret_name)
{
	struct pg_named *n;
	enum alias_rc rc;
	struct pg_parse p = { .text = { NULL, 0 } };

	*ret_name = name;
	if (name.n == 0) {
		prepare_unnamed(s);
		note_unnamed(s);
		return ALIAS_DONE;
	}
	n = map_get(&s->named, name);
	if (n == NULL || n->alias.closing != 0) {
		/* The server says that there is none, or SQL made it. */
		pg_turn_note(s, span_of(name.p, 0), false);
		pg_ack_note_text(s, p.text);
		return ALIAS_DONE;
	}
	rc = ensure(s, n);
	*ret_name = name_of(n->alias.digest, alias);
	if (rc == ALIAS_DONE &&
	    pg_read_parse(span_skip(buf_span(&n->raw), 5), &p))
		pg_turn_note_again(s, p.text, n->alias.form);
	if (rc == ALIAS_DONE)
		pg_ack_note_text(s, p.text);
	return rc;
}

static enum alias_rc
on_target(struct pg_session *s, const struct pg_message *m)
{
	struct pg_target t;
	char alias[NAME_N];
	enum alias_rc rc = ALIAS_DONE;

	if (!pg_read_target(m->body, &t)) {
		buf_put_span(&s->b.link->tx, m->raw);
		return ALIAS_DONE;
	}
	if (m->type == PG_CLOSE) {
		if (!t.is_portal && t.name.n == 0 && !s->turn.skips)
			keep_unnamed(s, t.name);
		/* Others have it as well: the server is told of one that it
		 * has not, which is no error. */
		if (t.is_portal || s->turn.skips)
			pg_due_expect(s, DUE_CLOSE, NULL);
		else
			note_close(s, t.name);
	} else if (!t.is_portal) {
		rc = use(s, t.name, alias, &t.name);
	}
	if (rc != ALIAS_DONE)
		return rc;
	if (m->type == PG_DESCRIBE)
		pg_due_expect(s, DUE_DESCRIBE, NULL);
	pg_put_target(&s->b.link->tx, m->type, t);
	return ALIAS_DONE;
}

/* The head of a Bind of size bytes, and its names; they were n bytes, with the head. */
static void
put_names(struct buf *tx, size_t size, size_t n, struct span portal,
          struct span name)
{
	uint8_t head[5] = { PG_BIND };

	pg_set_u32(head + 1,
	           (uint32_t)(size - 1 + portal.n + name.n + 2 - (n - 5)));
	buf_put_span(tx, span_of(head, sizeof(head)));
	buf_put_span(tx, portal);
	buf_put(tx, "", 1);
	buf_put_span(tx, name);
	buf_put(tx, "", 1);
}

void
pg_alias_put_bind(struct buf *tx, struct span raw, const struct pg_named *to)
{
	struct span rest = span_skip(raw, 5);
	struct span portal;
	struct span name;
	char alias[NAME_N];

	if (!pg_text_come(&rest, &portal) || !pg_text_come(&rest, &name))
		return;
	put_names(tx, raw.n, raw.n - rest.n, portal,
	          name_of(to->alias.digest, alias));
	buf_put_span(tx, rest);
}

/* Its names are at the front: what is behind them passes as it comes. */
static enum alias_rc
on_bind(struct pg_session *s, struct span in, size_t *ret_used)
{
	struct span portal;
	struct span name;
	struct span rest = span_skip(in, 5);
	size_t size = size_of(in);
	struct pg_part p;
	char alias[NAME_N];
	enum alias_rc rc;
	size_t used = 0;
	size_t n;

	if (!pg_text_come(&rest, &portal) || !pg_text_come(&rest, &name))
		return in.n >= size || in.n > WORDS_MAX ? ALIAS_NOT
		                                        : ALIAS_MORE;
	n = in.n - rest.n;
	if (n > size)
		return ALIAS_NOT;
	if (s->names_by_value && in.n < size && size < PG_RELAY_HELD_MAX)
		return ALIAS_MORE;
	rc = use(s, name, alias, &name);
	if (rc == ALIAS_MORE)
		return rc;
	/* The frame goes along. */
	while (used < n) {
		if (pg_frame_feed(&s->in, span_of(in.p + used, n - used), &p,
		                  ret_used) != WIRE_PART)
			return ALIAS_NOT;
		used += *ret_used;
	}
	*ret_used = n;
	if (s->names_by_value && in.n >= size)
		pg_custom_bind(s, span_of(in.p + 5, size - 5));
	if (rc == ALIAS_NOT) {
		s->turn.drops = s->in.left > 0;
		return ALIAS_DONE;
	}
	put_names(&s->b.link->tx, size, n, portal, name);
	return ALIAS_DONE;
}

/* Only what may be about our names is looked at as a whole. */
static enum alias_rc
on_query(struct pg_session *s, struct span in, size_t *ret_used)
{
	struct pg_message m;
	struct span text;
	struct buf other;

	if (in.n < size_of(in) && size_of(in) <= WORDS_MAX)
		return ALIAS_MORE;
	if (in.n < size_of(in) || size_of(in) < 6)
		return ALIAS_NOT;
	text = span_of(in.p + 5, size_of(in) - 6);
	buf_init(&other, s->r->mem);
	if (!deallocate(s, text, &other)) {
		buf_fini(&other);
		return ALIAS_NOT;
	}
	if (!frame(s, in, &m)) {
		buf_fini(&other);
		return ALIAS_NOT;
	}
	*ret_used = m.raw.n;
	pg_turn_note(s, text, true);
	pg_ack_note_text(s, text);
	pg_put_query(&s->b.link->tx, buf_span(&other));
	buf_fini(&other);
	return ALIAS_DONE;
}

enum alias_rc
pg_alias_take(struct pg_session *s, struct span in, size_t *ret_used)
{
	struct pg_message m;
	uint8_t type = in.p[0];
	enum alias_rc rc;

	*ret_used = 0;
	if (in.n < 5)
		return ALIAS_MORE;
	if (type == PG_BIND)
		return on_bind(s, in, ret_used);
	if (type == PG_QUERY)
		return on_query(s, in, ret_used);
	if (type != PG_PARSE && type != PG_DESCRIBE && type != PG_CLOSE)
		return ALIAS_NOT;
	if (size_of(in) > PG_RELAY_KEEP_MAX) {
		refuse(s);
		return ALIAS_END;
	}
	if (in.n < size_of(in)) {
		s->turn.wants = size_of(in);
		return ALIAS_MORE;
	}
	{
		struct pg_frame was = s->in;

		if (!frame(s, in, &m))
			return ALIAS_NOT; /* which says what is wrong */
		rc = type == PG_PARSE ? on_parse(s, &m) : on_target(s, &m);
		if (rc == ALIAS_END)
			return rc;
		if (rc == ALIAS_MORE)
			s->in = was;
		else
			*ret_used = m.raw.n;
	}
	s->turn.wants = 0;
	return rc == ALIAS_NOT ? ALIAS_DONE : rc;
}
