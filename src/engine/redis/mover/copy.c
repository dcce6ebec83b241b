/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/copy.c: COPY(k), the universal primitive.
 *
 *   authority:  MULTI; (PEXPIRETIME k; DUMP k) x n; ROLE; EXEC
 *   other side: nothing -> UNLINK k
 *               value   -> RESTORE k <abs ms> <payload> REPLACE ABSTTL
 *
 * The reply is taken apart as it arrives; a long payload is passed on piecewise,
 * and what else goes to the other side waits meanwhile (conn.late). Keys with
 * little time left get RESTORE without a time and PEXPIREAT, which leaves a
 * trace in the feed when it comes too late.
 */
#include "base/check.h"
#include "base/hash.h"
#include "engine/redis/mover/state.h"

enum copy_state {
	COPY_HEAD,   /* *N of the EXEC                                       */
	COPY_EXPIRE, /* :ms                                                  */
	COPY_VALUE,  /* $n or nil                                            */
	COPY_PASS,   /* bytes of a long payload                              */
	COPY_CRLF,   /* behind it                                            */
	COPY_ROLE,
};

#define COPY_BYTES ((size_t)512 << 10) /* aim of one batch */

static void
put_batch(struct mover *m, struct conn *c, enum want_kind kind, uint32_t n,
          uint32_t db)
{
	struct buf *b;
	const struct mark_turn_list *l =
		kind == WANT_COPY ? &m->pend.reading : &m->pend.judging;
	const struct mark *k = l->last;

	conn_select(m, c, db);
	b = conn_out(m, c);
	resp_put_cmd(b, "MULTI", NULL);
	for (uint32_t i = 1; i < n; i++)
		k = k->turn.prev;
	for (; k != NULL; k = k->turn.next) {
		struct span key = mark_key(&m->pend, k);

		older_put_expiry(m, c->side, b, key);
		resp_put_array(b, 2);
		resp_put_bulk_str(b, "DUMP");
		resp_put_bulk(b, key);
	}
	if (!mark_is_on(m))
		resp_put_cmd(b, "ROLE", NULL);
	resp_put_cmd(b, "EXEC", NULL);
	(void)conn_want(m, c, WANT_SKIP, (mark_is_on(m) ? 1 : 2) + 2 * n);
	/* Without a stream: it has whatever is known to be dirty by now. */
	conn_want(m, c, kind, n)->at = m->feed[m->from].pos;
	m->copies_flying++;
}

/* May it stand in one transaction with a key of that slot? A cluster wants one. */
static bool
is_beside(const struct mover *m, const struct mark *k, uint32_t slot)
{
	return !m->in_cluster || hash_slot(mark_key(&m->pend, k)) == slot;
}

/* As many keys of one database as one batch takes. */
static void
send_batch(struct mover *m)
{
	struct mark *k = m->pend.queued.first;
	uint32_t db = mark_db(k);
	bool judge = k->compare && !k->has_digest;
	uint64_t size = m->copy_size + 16;
	uint32_t max = size * COPY_BATCH > COPY_BYTES
	                       ? (uint32_t)(COPY_BYTES / size) + 1
	                       : COPY_BATCH;
	uint32_t slot = m->in_cluster ? hash_slot(mark_key(&m->pend, k)) : 0;
	uint32_t n = 0;

	while (k != NULL && n < max && mark_db(k) == db &&
	       is_beside(m, k, slot) &&
	       (k->compare && !k->has_digest) == judge &&
	       chunk_is_sized(m, k)) {
		struct mark *next = k->turn.next;

		if (judge)
			pend_judge(&m->pend, k);
		else
			pend_read(&m->pend, k);
		k = next;
		n++;
	}
	if (judge)
		put_batch(m, &m->cmd[side_other(m->from)], WANT_JUDGE, n, db);
	else
		put_batch(m, &m->cmd[m->from], WANT_COPY, n, db);
}

void
copy_run(struct mover *m)
{
	const struct conn *out = &m->cmd[side_other(m->from)];
	/* All that the scan has found is copied: let the writer come to its end;
	 * hot keys would keep it busy for ever. */
	bool is_filled = m->scan.phase == SCAN_DONE && m->pend.found_n == 0;
	bool may = m->margin != UINT64_MAX ||
	           (m->stage == STAGE_FILL && !m->bulk.is_used &&
	            !moved_is_paused(m) && !is_filled);

	if (!may || m->quiet || m->frozen || m->failed)
		return;
	if (m->port->now_ns < m->held_off_ns) {
		port_wake(m->port, m->held_off_ns);
		return;
	}
	chunk_run(m);
	while (m->pend.queued.n > 0 && m->copies_flying < m->flights_max &&
	       chunk_is_sized(m, m->pend.queued.first) &&
	       conn_backlog(out) < m->limits.writer_tx / 4)
		send_batch(m);
}

/* ---- to the other side ------------------------------------------------ */

void
copy_restore_head(struct buf *b, struct span key, int64_t expires_ms,
                  size_t payload_n)
{
	resp_put_bulk_str(b, "RESTORE");
	resp_put_bulk(b, key);
	resp_put_bulk_i64(b, expires_ms);
	buf_put(b, "$", 1);
	buf_put_u64(b, payload_n);
	buf_put(b, "\r\n", 2);
}

static void
put_delete(struct mover *m, const struct mark *k)
{
	enum side to = side_other(m->from);
	struct conn *c = &m->cmd[to];
	struct span key = mark_key(&m->pend, k);
	struct buf *b;

	conn_select(m, c, mark_db(k));
	b = conn_out(m, c);
	resp_put_array(b, 2);
	resp_put_bulk_str(b, m->server[to].lazy_expire ? "DEL" : "UNLINK");
	resp_put_bulk(b, key);
	conn_key(c, conn_want(m, c, WANT_WRITE, 1), mark_db(k), key);
}

/* How the key in hand is written; decided once, at its head. */
static void
decide(struct mover *m, struct copy_read *r)
{
	r->merge = r->k->merge;
	r->replace = !r->k->is_fill || r->k->compare || r->merge ||
	             m->conf->rule == MOVER_RULE_REPLACE;
	r->near = r->replace && !r->merge && r->expires_ms > 0 &&
	          r->expires_ms < m->port->wall_ms + NEAR_MS;
}

static void
restore_begin(struct mover *m, struct copy_read *r, size_t n)
{
	struct conn *c = &m->cmd[side_other(m->from)];
	struct span key = mark_key(&m->pend, r->k);
	uint32_t db = mark_db(r->k);
	struct want *w;
	struct buf *b;

	/* What is ahead of `passed` must not be read by clients. */
	REQUIRE((atomic_load(&m->conf->board->unsettled) & 1) == 1);
	decide(m, r);
	conn_select(m, c, db);
	b = conn_out(m, c);
	resp_put_array(b, 5 + (size_t)r->replace);
	copy_restore_head(b, r->merge ? SPAN(MERGE_KEY) : key,
	                  r->near || r->expires_ms < 0 ? 0 : r->expires_ms, n);
	w = conn_want(m, c, WANT_WRITE, 1);
	if (!r->replace)
		conn_fill(c, w);
	if (!r->near && r->expires_ms > 0)
		w->expires_ms = r->expires_ms;
	conn_key(c, w, db, key);
	if (r->near || r->merge)
		conn_key(c, conn_want(m, c, WANT_WRITE, 1), db, key);
	if (r->merge && r->expires_ms > 0)
		merge_note_time(m, db, key);
}

/* The bytes behind the payload. */
static void
restore_end(struct mover *m, struct copy_read *r)
{
	struct conn *c = &m->cmd[side_other(m->from)];
	struct buf *b = &c->link->tx;

	port_touch(m->port, c->link);
	buf_put(b, "\r\n", 2);
	if (r->replace)
		resp_put_bulk_str(b, "REPLACE");
	resp_put_bulk_str(b, "ABSTTL");
	if (r->merge)
		merge_put(b, mark_key(&m->pend, r->k));
	if (!r->near)
		return;
	resp_put_array(b, 3);
	resp_put_bulk_str(b, "PEXPIREAT");
	resp_put_bulk(b, mark_key(&m->pend, r->k));
	resp_put_bulk_i64(b, r->expires_ms);
}

static void
count(struct mover *m, uint64_t bytes)
{
	/* Grows at once, falls slowly: a batch of big values would be a long
	 * stop for the source and much memory for its reply. */
	m->copy_size = (m->copy_size * 63 + bytes) / 64;
	if (bytes > m->copy_size)
		m->copy_size = bytes;
	if (m->stage == STAGE_FILL)
		board_copied(m->conf->board, 1, bytes);
}

/* Two equal values have equal lengths, checksums and expiries. */
static uint64_t
digest(int64_t expires_ms, uint64_t n, const uint8_t last[8])
{
	uint64_t v;

	memcpy(&v, last, 8);
	return hash_mix(hash_mix(v ^ n) + (uint64_t)expires_ms);
}

/* ---- the reply --------------------------------------------------------- */

static void
next_key(struct conn *c)
{
	c->copy.k = c->copy.k->turn.next;
	c->copy.left--;
	c->copy.state = c->copy.left == 0 ? COPY_ROLE : COPY_EXPIRE;
}

void
copy_name(struct span key, char *ret, size_t n)
{
	size_t len = key.n < n - 1 ? key.n : n - 1;

	if (len > 0)
		memcpy(ret, key.p, len);
	for (size_t i = 0; i < len; i++)
		if (ret[i] <= ' ' || ret[i] > '~')
			ret[i] = '?';
	ret[len] = '\0';
	if (len < key.n)
		memcpy(ret + len - 3, "...", 3);
}

bool
copy_is_module(struct mover *m, uint8_t type, struct span body, uint32_t db,
               struct span key)
{
	char module[RDB_MODULE_NAME];
	char name[48];

	if (!rdb_module(type, body, module))
		return false;
	copy_name(key, name, sizeof(name));
	mover_fail(m, ERR_UNABLE,
	           "%s: the record %s of database %u is of the module type "
	           "%s, which cannot be moved; remove it",
	           m->conf->side[m->from].label, name, db, module);
	return true;
}

/* The payload in hand, from its front. */
static bool
is_module(struct mover *m, const struct copy_read *r, struct span payload)
{
	return payload.n > 1 &&
	       copy_is_module(m, payload.p[0], span_skip(payload, 1),
	                      mark_db(r->k), mark_key(&m->pend, r->k));
}

/* A whole value; n 0: there is none. */
static void
on_value(struct mover *m, struct conn *c, const struct want *w,
         struct span payload)
{
	struct copy_read *r = &c->copy;
	struct mark *k = r->k;
	uint64_t d = 0;

	if (payload.n >= 8)
		d = digest(r->expires_ms, payload.n, payload.p + payload.n - 8);
	if (w->kind == WANT_JUDGE) {
		k->digest = d;
		k->has_digest = true;
	} else if (k->compare && k->has_digest && k->digest == d) {
		count(m, payload.n);
	} else if (m->rebuild && k->is_fill && k->has_digest &&
	           k->digest != 0) {
		dirty_keep(m, mark_db(k), mark_key(&m->pend, k));
	} else if (payload.n == 0) {
		put_delete(m, k);
		count(m, 0);
	} else if (is_module(m, r, payload)) {
		return;
	} else {
		payload = lower_payload(m, payload, mark_db(k),
		                        mark_key(&m->pend, k));
		if (payload.n == 0)
			return;
		restore_begin(m, r, payload.n);
		buf_put_span(&m->cmd[side_other(m->from)].link->tx, payload);
		restore_end(m, r);
		count(m, payload.n);
	}
	next_key(c);
}

/* The reply is an error: no key of the batch was read. */
/* Its slot is on another node by now. */
static bool
is_lost(const struct mover *m, const struct want *w)
{
	const struct mark *k = w->kind == WANT_COPY ? m->pend.reading.first
	                                            : m->pend.judging.first;

	return moved_is_away(m, mark_key(&m->pend, k));
}

static void
on_batch_error(struct mover *m, struct conn *c, struct want *w,
               struct span line)
{
	while (w->n > 0 && is_lost(m, w)) {
		pend_lose(&m->pend, w->kind == WANT_COPY
		                            ? m->pend.reading.first
		                            : m->pend.judging.first);
		w->n--;
	}
	if (w->n == 0) {
		m->copies_flying--;
		m->settle_after = m->probes_sent + 1;
		m->need_probe = true;
		return;
	}
	mover_trouble(m, ERR_REFUSED, 1000, "%s: reading keys: %.*s",
	              m->conf->side[c->side].label,
	              (int)(line.n < 90 ? line.n : 90), (const char *)line.p);
	m->held_off_ns = m->port->now_ns + SECOND;
	for (uint32_t i = 0; i < w->n; i++)
		pend_again(&m->pend, w->kind == WANT_COPY
		                             ? m->pend.reading.first
		                             : m->pend.judging.first);
	m->copies_flying--;
	w->n = 0;
}

/* All of the batch was read at `at`. */
static void
on_batch(struct mover *m, struct conn *c, struct want *w, uint64_t at)
{
	struct conn *out = &m->cmd[side_other(m->from)];

	m->copies_flying--;
	if (m->copy_size > 8192)
		m->flights_max = 1;
	else if (m->flights_max < COPY_FLIGHTS)
		m->flights_max++;
	for (uint32_t i = 0; i < w->n; i++) {
		struct mark *k;

		if (w->kind == WANT_JUDGE) {
			k = m->pend.judging.first;
			pend_read(&m->pend, k);
			continue;
		}
		k = m->pend.reading.first;
		pend_copied(&m->pend, k, at, tail_place(m).at);
	}
	if (w->kind == WANT_JUDGE)
		put_batch(m, &m->cmd[m->from], WANT_COPY, w->n,
		          mark_db(m->pend.reading.last));
	/* Only a probe sent from now on proves that it is there. */
	m->settle_after = m->probes_sent + 1;
	m->need_probe = true;
	w->n = 0;
	if (c->side == m->from && conn_backlog(out) > m->limits.writer_tx) {
		m->port->ops->read(m->port, c->link, false);
		out->link->want_drained = true;
	}
}

/* A line at the front of in, without CRLF; false: not complete. */
static bool
line_of(struct span in, struct span *ret, size_t *ret_used)
{
	const uint8_t *end = memchr(in.p, '\n', in.n);

	if (end == NULL || end == in.p)
		return false;
	*ret = span_of(in.p, (size_t)(end - in.p) - 1);
	*ret_used = (size_t)(end - in.p) + 1;
	return true;
}

static size_t
on_value_head(struct mover *m, struct conn *c, struct want *w, struct span in)
{
	struct copy_read *r = &c->copy;
	struct span line;
	size_t used;
	uint64_t n;

	if (!line_of(in, &line, &used))
		return 0;
	if (line.p[0] == '-') {
		mover_fail(m, ERR_REFUSED, "%s: DUMP: %.*s",
		           m->conf->side[c->side].label,
		           (int)(line.n < 80 ? line.n : 80),
		           (const char *)line.p);
		return 0;
	}
	if (!words_number(span_skip(line, 1), &n)) {
		on_value(m, c, w, (struct span){ NULL, 0 });
		return used;
	}
	if (n <= STREAM_VALUE || lower_is_needed(m)) {
		if (in.n < used + n + 2)
			return 0;
		on_value(m, c, w, span_of(in.p + used, (size_t)n));
		return m->failed ? 0 : used + (size_t)n + 2;
	}
	if (in.n < used + RDB_MODULE_FRONT)
		return 0;
	r->passing = n;
	r->state = COPY_PASS;
	r->drop = w->kind == WANT_JUDGE;
	if (!r->drop && is_module(m, r, span_skip(in, used)))
		return 0;
	if (!r->drop) {
		restore_begin(m, r, (size_t)n);
		m->cmd[side_other(m->from)].is_passing = true;
		count(m, n);
	}
	return used;
}

/* Everything that waited behind the long payload. */
static void
pass_end(struct mover *m, struct conn *c)
{
	struct conn *out = &m->cmd[side_other(m->from)];
	struct copy_read *r = &c->copy;

	if (!r->drop) {
		struct buf late = out->late;

		REQUIRE(out->is_passing);
		restore_end(m, r);
		buf_put_span(&out->link->tx, buf_span(&late));
		buf_clear(&out->late);
		out->is_passing = false;
	}
	next_key(c);
}

static size_t
on_pass(struct mover *m, struct conn *c, struct span in)
{
	struct copy_read *r = &c->copy;
	struct conn *out = &m->cmd[side_other(m->from)];
	size_t n = in.n < r->passing ? in.n : (size_t)r->passing;

	if (!r->drop) {
		buf_put(&out->link->tx, in.p, n);
		port_touch(m->port, out->link);
		if (buf_len(&out->link->tx) > m->limits.writer_tx) {
			m->port->ops->read(m->port, c->link, false);
			out->link->want_drained = true;
		}
	}
	r->passing -= n;
	if (r->passing == 0)
		r->state = COPY_CRLF;
	return n;
}

void
copy_resume(struct mover *m)
{
	struct conn *c = &m->cmd[m->from];

	if (c->link != NULL)
		m->port->ops->read(m->port, c->link, true);
}

static size_t
on_head(struct mover *m, struct conn *c, struct want *w, struct span in)
{
	struct span line;
	size_t used;
	uint64_t n;

	if (!line_of(in, &line, &used))
		return 0;
	if (line.p[0] != '*' || !words_number(span_skip(line, 1), &n)) {
		on_batch_error(m, c, w, line);
		return used;
	}
	if (n != 2 * (uint64_t)w->n + (mark_is_on(m) ? 0 : 1)) {
		mover_fail(m, ERR_PROTO, "%s: a reply of the wrong size",
		           m->conf->side[c->side].label);
		return 0;
	}
	c->copy.left = w->n;
	c->copy.k = w->kind == WANT_COPY ? m->pend.reading.first
	                                 : m->pend.judging.first;
	c->copy.state = COPY_EXPIRE;
	return used;
}

static size_t
on_expire(struct mover *m, struct conn *c, struct span in)
{
	struct span line;
	size_t used;
	uint64_t v;

	if (!line_of(in, &line, &used))
		return 0;
	if (line.p[0] != ':') {
		mover_fail(m, ERR_REFUSED, "%s: PEXPIRETIME: %.*s",
		           m->conf->side[c->side].label,
		           (int)(line.n < 80 ? line.n : 80),
		           (const char *)line.p);
		return 0;
	}
	c->copy.expires_ms =
		words_number(span_skip(line, 1), &v) ? (int64_t)v : -1;
	c->copy.state = COPY_VALUE;
	return used;
}

static size_t
on_role(struct mover *m, struct conn *c, struct want *w, struct span in)
{
	int64_t n = resp_reply_len(in);
	int64_t at;

	if (n == 0)
		return 0;
	at = n < 0 ? -1 : role_offset(span_of(in.p, (size_t)n));
	if (at < 0) {
		mover_fail(m, ERR_REFUSED,
		           "%s: is not a master any more; make it one",
		           m->conf->side[c->side].label);
		return 0;
	}
	c->copy.state = COPY_HEAD;
	on_batch(m, c, w, (uint64_t)at);
	return (size_t)n;
}

static size_t
take(struct mover *m, struct conn *c, struct want *w, struct span in)
{
	switch ((enum copy_state)c->copy.state) {
	case COPY_HEAD: return on_head(m, c, w, in);
	case COPY_EXPIRE: return on_expire(m, c, in);
	case COPY_VALUE: return on_value_head(m, c, w, in);
	case COPY_PASS: return on_pass(m, c, in);
	case COPY_CRLF:
		if (in.n < 2)
			return 0;
		pass_end(m, c);
		return 2;
	case COPY_ROLE: return on_role(m, c, w, in);
	}
	NEVER("a state of the copy");
}

/* Take what can be taken of the reply of a batch. w->n becomes 0 at its end. */
size_t
copy_bytes(struct mover *m, struct conn *c, struct want *w, struct span in)
{
	size_t n = take(m, c, w, in);

	if (c->copy.state == COPY_ROLE && mark_is_on(m) && !m->failed) {
		c->copy.state = COPY_HEAD;
		on_batch(m, c, w, w->at);
	}
	return n;
}
