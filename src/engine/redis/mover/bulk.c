/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/bulk.c: the first copy from the RDB of a full sync.
 *
 * Each value is passed on as the payload of RESTORE without being decoded, but
 * short strings without expiry, where the other side has nothing of its own that
 * could be in the way: those go many at a time by MSET, at half of the cost.
 * Values longer than the window are written element by element; nothing else
 * touches such a key meanwhile, because the stream only marks.
 */
#include "base/check.h"
#include "base/hash.h"
#include "engine/redis/mover/state.h"

#define SCRATCH    ((size_t)2 << 20)
#define PAIRS_MAX  64    /* of one MSET: so long is a stop of the server */
#define PAIRS_ROOM 16384 /* bytes of it                                  */
#define PAIR_ROOM \
	((size_t)1024) /* of one value, decoded                      */

/* A source on this machine waits for cores that we and the other side keep busy;
 * one elsewhere does not, and turns would only take time. */
static bool
is_gentle(const struct mover *m)
{
	const struct address *at = &m->conf->side[m->from].at;
	struct span host = span_str(at->host);

	if (m->conf->pace != MOVER_PACE_AUTO)
		return m->conf->pace == MOVER_PACE_GENTLE;
	return (at->port == 0 && !at->by_sentinel) ||
	       span_has_prefix(host, SPAN("127.")) ||
	       span_eq(host, SPAN("localhost")) || span_eq(host, SPAN("::1"));
}

void
bulk_start(struct mover *m)
{
	struct bulk *b = &m->bulk;
	bool gentle = is_gentle(m);

	if (b->scratch == NULL)
		b->scratch = mem_alloc(m->port->mem, SCRATCH);
	if (b->scratch == NULL) {
		mover_fail(m, ERR_NOMEM, "no memory for the copy");
		return;
	}
	b->db = 0;
	b->at = 0;
	b->is_done = false;
	b->is_used = true;
	b->big_skip = false;
	b->is_deaf = false;
	b->plain = (m->conf->rule == MOVER_RULE_REPLACE || !m->keep_extra) &&
	           !m->in_cluster;
	b->pair_n = 0;
	buf_clear(&b->pairs);
	pace_init(&b->pace, gentle,
	          gentle ? m->limits.turn : m->limits.writer_tx,
	          m->port->now_ns);
	buf_clear(&b->flushes);
	rdb_init(&b->rdb, m->limits.window, b->scratch, SCRATCH);
	feed_open(m, &m->bulk_feed);
}

void
bulk_stop(struct mover *m)
{
	struct bulk *b = &m->bulk;

	feed_close(m, &m->bulk_feed);
	if (b->is_used)
		conn_hold(m, &m->cmd[side_other(m->from)], false);
	mem_free(m->port->mem, b->scratch, SCRATCH);
	b->scratch = NULL;
	b->is_used = false;
	buf_release(&b->flushes);
	buf_release(&b->big_key);
	buf_release(&b->pairs);
}

/* The stream has emptied this database since the snapshot. */
static bool
is_void(const struct bulk *b, uint32_t db)
{
	struct span in = buf_span(&b->flushes);
	struct flush f;

	for (; in.n >= sizeof(f); in = span_skip(in, sizeof(f))) {
		memcpy(&f, in.p, sizeof(f));
		if (f.at > b->at && (f.db == DB_ALL || f.db == db))
			return true;
	}
	return false;
}

/* Somebody else takes care of this key, or nobody needs to. */
static bool
is_skipped(struct mover *m, struct span key)
{
	return whose_is_other(m, key) || is_void(&m->bulk, m->bulk.db) ||
	       pend_find(&m->pend, m->bulk.db, key) != NULL ||
	       bucket_has(&m->pend.buckets, m->bulk.db, key);
}

/* What was gathered leaves. Nothing of the stream is looked at between. */
static void
put_pairs(struct mover *m)
{
	struct conn *c = &m->cmd[side_other(m->from)];
	struct bulk *b = &m->bulk;
	struct span in = buf_span(&b->pairs);
	struct want *w;
	struct buf *out;

	if (b->pair_n == 0)
		return;
	conn_select(m, c, b->db);
	out = conn_out(m, c);
	resp_put_array(out, 1 + 2 * (size_t)b->pair_n);
	resp_put_bulk_str(out, "MSET");
	buf_put_span(out, in);
	w = conn_want(m, c, WANT_WRITE, 1);
	for (uint32_t i = 0; i < b->pair_n; i++) {
		struct resp_item key;
		struct resp_item value;

		REQUIRE(resp_read(&in, &key) == WIRE_PART &&
		        resp_read(&in, &value) == WIRE_PART);
		conn_key(c, w, b->db, key.text);
	}
	b->pair_n = 0;
	buf_clear(&b->pairs);
}

/* False: not a value that goes this way. */
static bool
put_plain(struct mover *m, const struct rdb_part *part)
{
	struct bulk *b = &m->bulk;
	uint8_t room[PAIR_ROOM];
	struct span text;

	if (!b->plain || part->expires_ms >= 0 || part->body.n > PAIR_ROOM ||
	    !rdb_text(part->type, part->body, room, sizeof(room), &text))
		return false;
	resp_put_bulk(&b->pairs, part->key);
	resp_put_bulk(&b->pairs, text);
	if (buf_failed(&b->pairs)) {
		mover_fail(m, ERR_NOMEM, "no memory for the copy");
		return true;
	}
	board_copied(m->conf->board, 1, part->body.n);
	if (++b->pair_n >= PAIRS_MAX || buf_len(&b->pairs) > PAIRS_ROOM)
		put_pairs(m);
	return true;
}

/* Type, value and footer, as they are or in an older version. */
static void
put_payload(struct mover *m, const struct rdb_part *part, struct span lowered)
{
	struct buf *b = conn_out(m, &m->cmd[side_other(m->from)]);
	uint8_t footer[10];
	uint64_t crc;

	if (lowered.n > 0) {
		buf_put_span(b, lowered);
		return;
	}
	crc = hash_crc64(hash_crc64(0, span_of(&part->type, 1)), part->body);
	buf_put(b, &part->type, 1);
	buf_put_span(b, part->body);
	rdb_footer(m->bulk.rdb.version, crc, footer);
	buf_put(b, footer, sizeof(footer));
}

static void
put_value(struct mover *m, const struct rdb_part *part)
{
	struct conn *c = &m->cmd[side_other(m->from)];
	bool replace = m->conf->rule == MOVER_RULE_REPLACE;
	struct span lowered = { NULL, 0 };
	struct want *w;
	struct buf *b;

	if (m->bulk.rdb.version > lower_max(m)) {
		lowered = lower_value(m, part->type, part->body, m->bulk.db,
		                      part->key);
		if (lowered.n == 0)
			return;
	}
	conn_select(m, c, m->bulk.db);
	b = conn_out(m, c);
	resp_put_array(b, replace ? 6 : 5);
	copy_restore_head(b, part->key,
	                  part->expires_ms < 0 ? 0 : part->expires_ms,
	                  lowered.n > 0 ? lowered.n : part->body.n + 11);
	put_payload(m, part, lowered);
	if (replace)
		buf_put_span(b, SPAN("\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n"));
	else
		buf_put_span(b, SPAN("\r\n$6\r\nABSTTL\r\n"));
	w = conn_want(m, c, WANT_WRITE, 1);
	if (!replace)
		conn_fill(c, w);
	conn_key(c, w, m->bulk.db, part->key);
	board_copied(m->conf->board, 1, part->body.n);
}

/* What writes elements of a big value of this form; NULL: no such command. */
static const char *
big_verb(enum rdb_form form)
{
	switch (form) {
	case RDB_STRING: return "APPEND";
	case RDB_LIST: return "RPUSH";
	case RDB_SET: return "SADD";
	case RDB_HASH: return "HSET";
	case RDB_ZSET: return "ZADD";
	case RDB_OPAQUE: break;
	}
	return NULL;
}

static void
put_big_key(struct mover *m, const char *verb, size_t args)
{
	struct conn *c = &m->cmd[side_other(m->from)];
	struct span key = buf_span(&m->bulk.big_key);
	struct buf *b;

	conn_select(m, c, m->bulk.db);
	b = conn_out(m, c);
	resp_put_array(b, 2 + args);
	resp_put_bulk_str(b, verb);
	resp_put_bulk(b, key);
	conn_key(c, conn_want(m, c, WANT_WRITE, 1), m->bulk.db, key);
}

/* The big key in hand is read by COPY later on. */
static void
copy_big(struct mover *m)
{
	struct mark *k;

	mover_unsettle(m);
	k = pend_mark(&m->pend, m->bulk.db, buf_span(&m->bulk.big_key),
	              tail_place(m), 0);
	if (k == NULL)
		mover_fail(m, ERR_NOMEM, "out of memory");
	else {
		k->is_fill = m->conf->rule != MOVER_RULE_REPLACE;
		if (k->state != MARK_AHEAD)
			pend_hold(&m->pend, k);
	}
}

static void
on_big(struct mover *m, const struct rdb_part *part)
{
	struct bulk *b = &m->bulk;
	const char *verb = big_verb(part->form);

	b->big_skip = is_skipped(m, part->key);
	b->big_expires = part->expires_ms;
	buf_clear(&b->big_key);
	buf_put_span(&b->big_key, part->key);
	if (b->big_skip)
		return;
	if (verb == NULL || m->conf->rule != MOVER_RULE_REPLACE) {
		/* Streams and modules, or a rule to keep: as a dirty key. */
		b->big_skip = true;
		copy_big(m);
		return;
	}
	put_big_key(m,
	            m->server[side_other(m->from)].lazy_expire ? "DEL"
	                                                       : "UNLINK",
	            0);
	board_copied(m->conf->board, 1, 0);
}

static void
on_elem(struct mover *m, const struct rdb_part *part)
{
	const char *verb = big_verb(part->form);
	struct buf *b;
	uint32_t n = part->elem_n;
	bool scored;

	if (m->bulk.big_skip || verb == NULL || n == 0)
		return;
	put_big_key(m, verb, n);
	b = conn_out(m, &m->cmd[side_other(m->from)]);
	/* A sorted set's element is member, score; ZADD wants them turned. */
	scored = part->form == RDB_ZSET && n == 2;
	for (uint32_t i = 0; i < n; i++)
		resp_put_bulk(b, part->elem[scored ? 1 - i : i]);
}

static void
on_big_end(struct mover *m, const struct rdb_part *part)
{
	struct bulk *b = &m->bulk;
	struct buf *out;

	if (!b->big_skip && !part->complete) {
		copy_big(m);
	} else if (!b->big_skip && b->big_expires >= 0) {
		put_big_key(m, "PEXPIREAT", 1);
		out = conn_out(m, &m->cmd[side_other(m->from)]);
		resp_put_bulk_i64(out, b->big_expires);
	}
	b->big_skip = false;
}

static void
on_part(struct mover *m, const struct rdb_part *part)
{
	struct bulk *b = &m->bulk;

	switch (part->kind) {
	case RDB_SELECT:
		put_pairs(m);
		b->db = part->db;
		break;
	case RDB_VALUE:
		if (!is_skipped(m, part->key) && !put_plain(m, part) &&
		    !copy_is_module(m, part->type, part->body, b->db,
		                    part->key))
			put_value(m, part);
		break;
	case RDB_BIG: on_big(m, part); break;
	case RDB_ELEM: on_elem(m, part); break;
	case RDB_BIG_END: on_big_end(m, part); break;
	case RDB_END: b->is_done = true; break;
	case RDB_HEADER:
	case RDB_AUX:
	case RDB_SIZES:
	case RDB_FUNCTION:
	case RDB_MODULE_AUX: break;
	}
}

size_t
bulk_bytes(struct mover *m, struct span in)
{
	size_t used = 0;

	/* Behind the end comes the mark of a diskless transfer. */
	if (m->bulk.is_done)
		return in.n;
	while (!m->bulk.is_done && !m->failed) {
		struct rdb_part part;
		size_t n = 0;
		enum wire_rc rc =
			rdb_feed(&m->bulk.rdb, span_skip(in, used), &part, &n);

		used += n;
		if (rc < 0) {
			mover_fail(m, ERR_PROTO,
			           "%s: the snapshot cannot be read (a newer "
			           "RDB version, or damaged); try --copy-mode "
			           "scan",
			           m->conf->side[m->from].label);
			return used;
		}
		if (rc == WIRE_MORE)
			break;
		on_part(m, &part);
	}
	put_pairs(m);
	return m->bulk.is_done ? in.n : used;
}

/* Is the source read, are commands sent? Once a batch; so a turn is longer than
 * its limit by what one batch reads. */
void
bulk_run(struct mover *m)
{
	struct conn *out = &m->cmd[side_other(m->from)];
	struct bulk *b = &m->bulk;
	struct pace_do go;

	if (!b->is_used || m->stage != STAGE_FILL || out->link == NULL)
		return;
	go = pace_look(&b->pace, &(struct pace_see){
					 .now_ns = m->port->now_ns,
					 .waiting = conn_backlog(out),
					 .asked = conn_wants(out),
					 .is_over = b->is_done,
					 .is_paused = m->paused,
				 });
	conn_hold(m, out, !go.send);
	if (m->bulk_feed.link != NULL && b->is_deaf == go.read) {
		b->is_deaf = !go.read;
		m->port->ops->read(m->port, m->bulk_feed.link, go.read);
	}
	if (!go.read && conn_backlog(out) > 0)
		out->link->want_drained = true;
	if (go.look_ns != UINT64_MAX)
		port_wake(m->port, go.look_ns);
}
