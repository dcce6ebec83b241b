/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/feed.c: a replica connection: PSYNC, snapshot, stream.
 * Source: redis/src/replication.c of 7.0.
 *
 *   OFF -[feed_open]-> DIALING -[feed_up]-> LOGIN -> ASKED --+CONTINUE--> STREAM
 *                                                     |                     ^
 *                                                +FULLRESYNC                |
 *                                                     v                     |
 *                                                   HEAD --> SNAPSHOT ------+
 *
 * PSYNC must be the only command in flight: the server refuses it while replies
 * are pending. Newlines may come before each answer.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

/* Where it goes on: the authority's stream behind what has passed, the other
 * side's behind what was looked at. */
static struct place
place_of(const struct mover *m, const struct feed *f)
{
	return f->side == m->from ? m->passed[f->side] : m->watched[f->side];
}

static bool
is_resumable(const struct mover *m, const struct feed *f)
{
	uint64_t at = place_of(m, f).at;

	return !f->is_bulk && !f->by_marks && !m->need_rescan &&
	       m->history[f->side][0] != '\0' && at != 0 &&
	       server_has(&m->server[f->side], m->history[f->side], at);
}

void
feed_open(struct mover *m, struct feed *f)
{
	const struct server *sv = &m->server[f->side];

	REQUIRE(f->link == NULL);
	f->state = FEED_DIALING;
	f->is_ready = false;
	f->is_resumed = false;
	f->filter_ok = false;
	f->unit_n = 0;
	f->in_multi = false;
	f->is_huge = false;
	f->is_skipping = false;
	f->left = 0;
	f->is_eof = false;
	resp_cmd_init(&f->cmd);
	f->heard_ns = m->port->now_ns;
	f->by_marks = m->conf->board->by_marks[f->side];
	/* The delay would cost seconds where a snapshot is needed. */
	if (!f->by_marks && (f->is_bulk || !sv->has_backlog))
		server_hurry(m, f->side);
	f->link = m->port->ops->open(m->port, &m->conf->side[f->side].at, f);
	if (f->link == NULL)
		mover_fail(m, ERR_NOMEM, "%s: no memory for a connection",
		           m->conf->side[f->side].label);
}

void
feed_close(struct mover *m, struct feed *f)
{
	if (f->link != NULL)
		m->port->ops->close(m->port, f->link, false);
	f->link = NULL;
	f->state = FEED_OFF;
	f->is_ready = false;
	buf_release(&f->rx);
}

void
feed_up(struct mover *m, struct feed *f)
{
	struct buf *b = &f->link->tx;

	f->heard_ns = m->port->now_ns;
	port_touch(m->port, f->link);
	if (f->by_marks) {
		mark_up(m, f);
		return;
	}
	login_put(m, f->side, b, &f->replies);
	resp_put_cmd(b, "REPLCONF", "capa", "eof", "capa", "psync2", NULL);
	if (f->is_bulk)
		resp_put_cmd(b, "REPLCONF", "rdb-only", "1", NULL);
	else
		resp_put_cmd(b, "REPLCONF", "rdb-filter-only", "", NULL);
	f->replies += 2;
	f->state = FEED_LOGIN;
}

static void
ask(struct mover *m, struct feed *f)
{
	const struct server *sv = &m->server[f->side];
	struct buf *b = &f->link->tx;

	port_touch(m->port, f->link);
	f->state = FEED_ASKED;
	resp_put_array(b, 3);
	resp_put_bulk_str(b, "PSYNC");
	if (is_resumable(m, f)) {
		resp_put_bulk_str(b, m->history[f->side]);
		resp_put_bulk_u64(b, place_of(m, f).at + 1);
	} else if (!f->is_bulk && sv->has_backlog) {
		f->pos = sv->offset;
		memcpy(f->history, sv->replid, sizeof(f->history));
		resp_put_bulk_str(b, sv->replid);
		resp_put_bulk_u64(b, sv->offset + 1);
	} else {
		resp_put_bulk_str(b, "?");
		resp_put_bulk_str(b, "-1");
	}
}

/* Force the number of the stream's database into the stream. */
static void
ask_db(struct mover *m, struct feed *f)
{
	struct conn *c = &m->cmd[f->side];
	struct buf *b;

	conn_select(m, c, 0);
	b = conn_out(m, c);
	f->nonce = (m->port->entropy(m->port) >> 4) | 1;
	resp_put_array(b, 3);
	resp_put_bulk_str(b, "PUBLISH");
	resp_put_bulk_str(b, "__godwit:db");
	resp_put_bulk_u64(b, f->nonce);
	(void)conn_want(m, c, WANT_SKIP, 1);
}

void
feed_ack(struct mover *m, struct feed *f, uint64_t at)
{
	struct buf *b = &f->link->tx;

	port_touch(m->port, f->link);
	resp_put_array(b, 3);
	resp_put_bulk_str(b, "REPLCONF");
	resp_put_bulk_str(b, "ACK");
	resp_put_bulk_u64(b, at);
}

static void
start_stream(struct mover *m, struct feed *f)
{
	f->state = FEED_STREAM;
	if (!f->is_bulk)
		foreign_begin(&m->foreign[f->side], f->pos);
	server_restore(m, f->side);
	feed_ack(m, f, f->pos);
	if (m->in_cluster) {
		/* There is one database, and no PUBLISH in the stream. */
		f->db = 0;
		f->is_ready = true;
	} else if (!f->is_ready) {
		ask_db(m, f);
	}
}

/* "+CONTINUE[ id]" */
static void
on_continue(struct mover *m, struct feed *f, struct span line)
{
	bool resumed = is_resumable(m, f);

	if (resumed) {
		f->pos = place_of(m, f).at;
		f->db = place_of(m, f).db;
		memcpy(f->history, m->history[f->side], sizeof(f->history));
		f->is_resumed = true;
		f->is_ready = true;
	}
	if (line.n >= 10 + 40) {
		memcpy(f->history, line.p + 10, 40);
		f->history[40] = '\0';
	}
	start_stream(m, f);
}

/* "+FULLRESYNC id offset" */
static bool
on_fullresync(struct mover *m, struct feed *f, struct span line)
{
	uint64_t at;

	if (line.n < 12 + 41 + 1 ||
	    !words_number(span_skip(line, 12 + 41), &at))
		return false;
	memcpy(f->history, line.p + 12, 40);
	f->history[40] = '\0';
	f->pos = at;
	f->state = FEED_HEAD;
	if (f->is_bulk)
		m->bulk.at = at;
	return true;
}

static void
on_refused(struct mover *m, struct feed *f, struct span line)
{
	if (f->is_bulk) {
		m->bulk.is_refused = true;
		feed_close(m, f);
		return;
	}
	mover_fail(m, ERR_REFUSED,
	           "%s: PSYNC refused: %.*s; allow replication for Godwit",
	           m->conf->side[f->side].label,
	           (int)(line.n < 60 ? line.n : 60), (const char *)line.p);
}

/* One line of the handshake. */
static void
on_line(struct mover *m, struct feed *f, struct span line)
{
	if (line.n == 0)
		return; /* a newline that keeps the connection alive */
	if (f->state == FEED_LOGIN) {
		/* The last two are options a server may not know. */
		if (line.p[0] == '-' && f->replies > 2) {
			mover_fail(m, ERR_AUTH, "%s: login refused: %.*s",
			           m->conf->side[f->side].label,
			           (int)(line.n < 80 ? line.n : 80),
			           (const char *)line.p);
			return;
		}
		f->filter_ok = line.p[0] == '+';
		if (--f->replies == 0)
			ask(m, f);
	} else if (f->state == FEED_ASKED) {
		if (span_has_prefix(line, SPAN("+CONTINUE")))
			on_continue(m, f, line);
		else if (!span_has_prefix(line, SPAN("+FULLRESYNC ")) ||
		         !on_fullresync(m, f, line))
			on_refused(m, f, line);
	} else if (span_has_prefix(line, SPAN("$EOF:")) && line.n >= 45) {
		f->is_eof = true;
		memcpy(f->mark, line.p + 5, 40);
		memset(f->tail, 0, sizeof(f->tail));
		f->state = FEED_SNAPSHOT;
		server_restore(m, f->side);
	} else if (line.p[0] == '$' &&
	           words_number(span_skip(line, 1), &f->left)) {
		f->state = FEED_SNAPSHOT;
		server_restore(m, f->side);
	} else {
		on_refused(m, f, line);
	}
}

/* Keep the last 40 bytes of a snapshot that ends with a mark. */
static bool
tail_is_mark(struct feed *f, struct span in)
{
	if (in.n >= 40) {
		memcpy(f->tail, in.p + in.n - 40, 40);
	} else {
		memmove(f->tail, f->tail + in.n, 40 - in.n);
		memcpy(f->tail + 40 - in.n, in.p, in.n);
	}
	return memcmp(f->tail, f->mark, 40) == 0;
}

/* The snapshot of a feed is empty or of no use; the bulk's is everything. */
static size_t
snapshot(struct mover *m, struct feed *f, struct span in)
{
	size_t n = in.n;

	if (f->is_bulk)
		return bulk_bytes(m, in);
	if (f->is_eof) {
		/* The server sends the stream only after our ACK. */
		if (tail_is_mark(f, in))
			start_stream(m, f);
		return n;
	}
	if (n > f->left)
		n = (size_t)f->left;
	f->left -= n;
	if (f->left == 0)
		start_stream(m, f);
	return n;
}

static size_t
handshake(struct mover *m, struct feed *f, struct span in)
{
	const uint8_t *end = memchr(in.p, '\n', in.n);
	size_t n;

	if (end == NULL) {
		if (in.n > 4096)
			mover_fail(m, ERR_PROTO, "%s: not a Redis reply",
			           m->conf->side[f->side].label);
		return 0;
	}
	n = (size_t)(end - in.p);
	on_line(m, f, span_of(in.p, n > 0 && in.p[n - 1] == '\r' ? n - 1 : n));
	return n + 1;
}

void
feed_bytes(struct mover *m, struct feed *f, struct span in)
{
	bool kept = buf_len(&f->rx) > 0;
	size_t used = 0;

	f->heard_ns = m->port->now_ns;
	if (f->by_marks) {
		mark_bytes(m, f, in);
		return;
	}
	if (kept) {
		buf_put_span(&f->rx, in);
		in = buf_span(&f->rx);
	}
	while (used < in.n && f->state != FEED_STREAM) {
		struct span rest = span_skip(in, used);
		size_t n = f->state == FEED_SNAPSHOT ? snapshot(m, f, rest)
		                                     : handshake(m, f, rest);

		if (m->failed || f->link == NULL)
			return;
		used += n;
		if (n == 0)
			break;
	}
	if (kept)
		buf_take(&f->rx, used);
	else
		buf_put_span(&f->rx, span_skip(in, used));
	if (buf_failed(&f->rx))
		mover_fail(m, ERR_NOMEM, "%s: stream: out of memory",
		           m->conf->side[f->side].label);
}

/* Over a command that is too long to be kept. */
static void
skip_huge(struct feed *f)
{
	struct span in = buf_span(&f->rx);
	size_t used = 0;

	if (resp_skip_feed(&f->skip, in, &used) == WIRE_PART)
		f->is_skipping = false;
	buf_take(&f->rx, used);
	f->pos += used;
}

/* The unit is too long: its commands are marked one by one from here on. */
static void
go_huge(struct mover *m, struct feed *f)
{
	struct span unit = span_of(buf_span(&f->rx).p, f->unit_n);
	struct resp_cmd cmd;
	struct span one;
	size_t pos = 0;

	if (!f->is_huge)
		f->unit_at = (struct place){ f->pos, f->db };
	while (feed_walk(unit, &pos, &cmd, &one))
		tail_huge(m, f, &cmd, one);
	feed_take(f, f->unit_n);
	if (f->in_multi)
		f->is_huge = true;
	if (f->cmd.args_seen >= 1) {
		/* Its first arguments are all there is to know. */
		tail_huge(m, f, &f->cmd, (struct span){ NULL, 0 });
		resp_skip_init(&f->skip);
		f->is_skipping = true;
		resp_cmd_init(&f->cmd);
		skip_huge(f);
	}
}

void
feed_take(struct feed *f, size_t n)
{
	REQUIRE(n == f->unit_n);
	f->pos += n;
	f->unit_n = 0;
	buf_take(&f->rx, n);
}

/* One more command of the unit is complete. True: and so is the unit. */
static bool
grow_unit(struct mover *m, struct feed *f)
{
	const struct word *w;
	bool one;

	f->unit_n += f->cmd.used;
	if (f->cmd.argc == 0) {
		/* a bare newline: keep-alive; counted like the rest */
		return !f->in_multi;
	}
	w = words_find(f->cmd.argv[0]);
	if (w->cls == WORD_MULTI && !f->in_multi) {
		f->in_multi = true;
		return false;
	}
	one = !f->in_multi;
	if (w->cls == WORD_EXEC)
		f->in_multi = false;
	if (!f->is_huge)
		return one || !f->in_multi;
	if (w->cls == WORD_EXEC)
		f->is_huge = false;
	tail_huge(m, f, &f->cmd, span_of(buf_span(&f->rx).p, f->cmd.used));
	feed_take(f, f->unit_n);
	return false;
}

/* The unit is not complete. True: look again, something was taken away. */
static bool
wait_for_more(struct mover *m, struct feed *f)
{
	if (buf_len(&f->rx) <= UNIT_MAX)
		return false;
	if (f->cmd.args_seen < 2 && f->unit_n == 0)
		return false;
	go_huge(m, f);
	return f->is_skipping;
}

bool
feed_unit(struct mover *m, struct feed *f, struct span *ret, bool *ret_multi)
{
	while (!m->failed) {
		struct span in = buf_span(&f->rx);
		enum wire_rc rc;
		bool multi = f->in_multi;

		if (in.n == f->unit_n)
			return false;
		if (f->is_skipping) {
			skip_huge(f);
			continue;
		}
		rc = resp_cmd_feed(&f->cmd, span_skip(in, f->unit_n));
		if (rc < 0) {
			mover_fail(m, ERR_PROTO, "%s: the stream is broken: %s",
			           m->conf->side[f->side].label, f->cmd.why);
			return false;
		}
		if (rc == WIRE_MORE && !wait_for_more(m, f))
			return false;
		if (rc == WIRE_MORE)
			continue;
		if (grow_unit(m, f)) {
			*ret = span_of(buf_span(&f->rx).p, f->unit_n);
			*ret_multi = multi;
			resp_cmd_init(&f->cmd);
			return true;
		}
		resp_cmd_init(&f->cmd);
	}
	return false;
}

bool
feed_walk(struct span unit, size_t *pos, struct resp_cmd *cmd, struct span *ret)
{
	if (*pos >= unit.n)
		return false;
	resp_cmd_init(cmd);
	if (resp_cmd_feed(cmd, span_skip(unit, *pos)) != WIRE_PART)
		return false;
	*ret = span_of(unit.p + *pos, cmd->used);
	*pos += cmd->used;
	return true;
}
