/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/tail.c: the authority's stream, unit by unit.
 *
 * The rules are those of redis_peers.md 6.3; e is the end of the unit in hand:
 *   units up to the margin R, or under pressure: written keys are marked;
 *   a key of the unit is being read now: wait for that reply (so that a hot key
 *     converges, and is neither copied twice nor applied twice);
 *   no key is pending at e: apply the unit as it is;
 *   it has one key: skip it, the copy covers it;
 *   else: mark what it writes, apply nothing of it.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

struct place
tail_place(struct mover *m)
{
	const struct feed *f = &m->feed[m->from];
	bool inside = f->is_huge || f->is_skipping;

	return inside ? f->unit_at : (struct place){ f->pos, f->db };
}

/* ---- barriers -------------------------------------------------------- */

static void
note_flush(struct mover *m, uint32_t db, uint64_t end)
{
	struct flush c = { end, db };

	if (m->bulk.is_used)
		buf_put(&m->bulk.flushes, &c, sizeof(c));
	map_each(e, &m->kept) {
		uint32_t of;

		memcpy(&of, map_key(&m->kept, e).p, 4);
		if (db == DB_ALL || of == db)
			map_drop(&m->kept, e);
	}
	chunk_flush(m, db);
	map_each(e, &m->pend.map) {
		struct mark *k = map_value(e);

		if (k->state == MARK_AHEAD && k->at > end &&
		    (db == DB_ALL || mark_db(k) == db)) {
			mover_unsettle(m);
			/* Copied already, and now emptied again. */
			dirty_mark(m, mark_db(k), mark_key(&m->pend, k),
			           tail_place(m), UINT64_MAX);
		}
	}
}

static void
forward_plain(struct mover *m, struct span request, uint32_t db)
{
	struct conn *c = &m->cmd[side_other(m->from)];

	conn_select(m, c, db);
	buf_put_span(conn_out(m, c), request);
	(void)conn_want(m, c, WANT_BARRIER, 1);
	m->need_probe = true;
}

/* FLUSHDB, FLUSHALL, SWAPDB in a unit that ends at at.at, with at.db selected.
 * False: wait for what is being read. */
static bool
barrier(struct mover *m, const struct word *w, struct span request,
        struct place at)
{
	struct feed *f = &m->feed[m->from];
	uint32_t two[2] = { 0, 0 };

	if (whose_is_shared(m)) {
		whose_emptied(m, f);
		return false;
	}
	if (m->pend.reading.n > 0 || m->pend.judging.n > 0 ||
	    m->cmd[side_other(m->from)].fills > 0) {
		m->quiet = true;
		return false;
	}
	m->quiet = false;
	if (w->cls == WORD_SWAPDB) {
		if (!swap_read(request, two) || !swap_can(m, at.at)) {
			m->need_rescan = true;
			mover_fail(m, ERR_POSTPONED,
			           "%s: SWAPDB during the copy; comparing "
			           "everything again",
			           m->conf->side[m->from].label);
			return false;
		}
		swap_begin(m, two[0], two[1]);
		if (m->failed)
			return false;
	} else {
		note_flush(m, w->cls == WORD_FLUSHALL ? DB_ALL : at.db, at.at);
	}
	forward_plain(m, request, at.db);
	if (w->cls == WORD_SWAPDB)
		swap_end(m, two[0], two[1]);
	if (m->feed[side_other(m->from)].by_marks &&
	    m->feed[side_other(m->from)].is_ready && w->cls != WORD_SWAPDB)
		m->own_flushes++;
	if (m->stage == STAGE_FILL && m->has_note)
		attach_note_put(m);
	return true;
}

/* ---- one unit -------------------------------------------------------- */

struct unit {
	struct span bytes;
	bool multi;
	uint64_t end;
	uint32_t db; /* selected before it; then: behind it           */
	size_t keys_n;
	bool one_key;
	bool by_state;    /* its effect must be copied                     */
	bool relative;    /* it builds on elements that it does not name   */
	bool removes;     /* ... or removes some, perhaps the last ones    */
	bool swaps;       /* SWAPDB is among its commands                  */
	bool has_library; /* a command about functions is in it            */
	uint32_t carried; /* commands with keys of the application         */
};

static struct unit_key *
keys_of(struct mover *m)
{
	return (struct unit_key *)(void *)m->keys.p;
}

static void
add_key(struct mover *m, struct unit *u, const struct words_key *wk)
{
	struct unit_key uk = { .w = *wk };
	struct unit_key *first = u->keys_n > 0 ? keys_of(m) : NULL;

	uk.is_other = whose_is_other(m, wk->key);
	if (!uk.is_other) {
		uk.mark = pend_find(&m->pend, wk->db, wk->key);
		uk.is_kept = dirty_is_kept(m, wk->db, wk->key);
		uk.united = (uint8_t)merge_what(m, wk->db, wk->key);
		uk.is_bucket = uk.mark == NULL &&
		               bucket_has(&m->pend.buckets, wk->db, wk->key);
	}
	if (first != NULL &&
	    (first->w.db != wk->db || !span_eq(first->w.key, wk->key))) {
		u->one_key = false;
		/* Scripts may do so; the other side would refuse it. */
		if (m->in_cluster &&
		    hash_slot(first->w.key) != hash_slot(wk->key))
			u->by_state = true;
	}
	buf_put(&m->keys, &uk, sizeof(uk));
	REQUIRE(!buf_failed(&m->keys));
	u->keys_n++;
}

/* In a split: what this server deleted of the other mover's keys. */
static void
note_foreign(struct mover *m, const struct resp_cmd *cmd, const struct word *w,
             const struct words_key *wk)
{
	if (w->cls == WORD_DELETE &&
	    whose_is_own_deletion(m, m->from, cmd->argv[0]) &&
	    whose_is_other(m, wk->key))
		whose_note(m, &m->feed[m->from], wk->db, wk->key);
}

static bool
is_barrier(const struct word *w)
{
	return w->cls == WORD_FLUSHDB || w->cls == WORD_FLUSHALL ||
	       w->cls == WORD_SWAPDB;
}

/* A command of a module ("FT.CREATE") need not name the keys that it writes. */
static void
look_for_module(struct mover *m, const struct word *w, struct span name)
{
	if (w->name[0] != '?' || memchr(name.p, '.', name.n) == NULL)
		return;
	m->need_rescan = true;
	mover_fail(m, ERR_UNABLE,
	           "%s: a command of a module came by the stream (%.*s), whose "
	           "records cannot be known; comparing everything again",
	           m->conf->side[m->from].label,
	           (int)(name.n < 40 ? name.n : 40), (const char *)name.p);
}

/* What a command of the unit is, whatever its keys are. */
static void
note_command(struct mover *m, struct unit *u, const struct word *w,
             const struct resp_cmd *cmd)
{
	u->swaps |= w->cls == WORD_SWAPDB;
	u->has_library |= w->cls == WORD_PASS;
	if (m->conf->rule == MOVER_RULE_MERGE) {
		if (w->cls == WORD_SWAPDB)
			merge_swapped(m);
		u->relative |= merge_is_relative(cmd);
		u->removes |= merge_is_removal(cmd);
	}
	if (w->cls == WORD_STATE || w->cls == WORD_UNKNOWN ||
	    (u->multi && is_barrier(w)) || older_by_state(m, cmd) ||
	    (w->cls == WORD_DELETE && moved_may_delete(m)))
		u->by_state = true;
}

/* All keys of the unit into m->keys. */
static void
collect(struct mover *m, struct unit *u)
{
	struct resp_cmd cmd;
	struct span one;
	size_t pos = 0;
	uint32_t db = u->db;

	buf_clear(&m->keys);
	u->one_key = true;
	while (feed_walk(u->bytes, &pos, &cmd, &one)) {
		const struct word *w;
		struct words_key wk;
		struct words_at at = { 0 };
		uint64_t v;
		size_t before = u->keys_n;

		if (cmd.argc == 0)
			continue;
		w = words_find(cmd.argv[0]);
		look_for_module(m, w, cmd.argv[0]);
		if (w->cls == WORD_SELECT && cmd.argc == 2 &&
		    words_number(cmd.argv[1], &v))
			db = (uint32_t)v;
		note_command(m, u, w, &cmd);
		while (words_key(w, one, cmd.argc, db, &at, &wk)) {
			/* the first argument is the command itself */
			if (wk.key.p == cmd.argv[0].p)
				continue;
			if (m->conf->rule == MOVER_RULE_MERGE &&
			    merge_is_expiry(&cmd))
				merge_note_time(m, wk.db, wk.key);
			add_key(m, u, &wk);
			if (m->scope != NULL)
				note_foreign(m, &cmd, w, &wk);
		}
		if (u->keys_n > before || w->cls == WORD_PASS)
			u->carried++;
	}
	u->db = db;
}

/* A transaction with SWAPDB: the key may have come into each of its databases. */
static void
mark_swapped(struct mover *m, const struct unit *u, struct span key)
{
	struct resp_cmd cmd;
	struct span one;
	size_t pos = 0;
	uint32_t two[2];

	while (feed_walk(u->bytes, &pos, &cmd, &one)) {
		if (cmd.argc == 0 ||
		    words_find(cmd.argv[0])->cls != WORD_SWAPDB ||
		    !swap_read(one, two))
			continue;
		for (int i = 0; i < 2 && !m->failed; i++)
			dirty_mark(m, two[i], key, tail_place(m), u->end);
	}
}

static void
mark_written(struct mover *m, const struct unit *u)
{
	struct place since = tail_place(m);

	for (size_t i = 0; i < u->keys_n && !m->failed; i++) {
		struct unit_key *uk = &keys_of(m)[i];

		if ((uk->w.use & WORD_WRITE) == 0 || uk->is_chunk)
			continue;
		dirty_mark(m, uk->w.db, uk->w.key, since, u->end);
		if (u->swaps && !m->failed)
			mark_swapped(m, u, uk->w.key);
	}
}

enum verdict {
	APPLY,
	SKIP,
	MARK,
	STALL
};

/* A RESTORE is under way that the rule may refuse: the unit would build on what the
 * other side keeps. A union comes behind it, and heals one key. */
static bool
is_in_doubt(const struct mover *m, const struct unit *u)
{
	return m->cmd[side_other(m->from)].fills > 0 &&
	       (m->conf->rule != MOVER_RULE_MERGE || !u->one_key);
}

static enum verdict
judge(struct mover *m, const struct unit *u)
{
	const struct unit_key *uk = keys_of(m);
	bool pending = u->by_state;
	bool kept = false;
	bool other = false;
	bool reading = false;
	bool bucket = false;

	if (m->conf->naive)
		return APPLY;
	for (size_t i = 0; i < u->keys_n; i++) {
		const struct mark *k = uk[i].mark;

		kept |= uk[i].is_kept ||
		        (uk[i].united != MERGE_NOT &&
		         (u->relative || !u->one_key ||
		          (u->removes && uk[i].united == MERGE_TIMED)));
		other |= uk[i].is_other;
		bucket |= uk[i].is_bucket;
		if (k == NULL || uk[i].is_chunk)
			continue;
		reading |= k->state == MARK_READING;
		pending |= k->state != MARK_AHEAD || k->at >= u->end;
	}
	if (m->margin == UINT64_MAX || m->is_pressed)
		return MARK;
	if (reading || is_in_doubt(m, u))
		return STALL;
	/* Without a bulk the other side need not have what the unit builds on. */
	if (u->end <= m->margin || kept || bucket || (other && !u->one_key) ||
	    u->by_state || m->extra_many ||
	    m->conf->copy_mode == MOVER_FILL_NONE)
		return MARK;
	if (!pending)
		return APPLY;
	return u->one_key ? SKIP : MARK;
}

/* Our own deletions carry the verb that the server does not use for its own. */
static struct span
verb_of(const struct mover *m, enum side side)
{
	return m->server[side].lazy_expire ? SPAN("DEL") : SPAN("UNLINK");
}

static void
put_command(struct mover *m, struct conn *c, const struct word *w,
            const struct resp_cmd *cmd, struct span request)
{
	struct buf *b = conn_out(m, c);
	size_t behind;

	if (w->cls != WORD_DELETE) {
		buf_put_span(b, request);
		return;
	}
	resp_put_array(b, cmd->argc);
	resp_put_bulk(b, verb_of(m, c->side));
	behind = (size_t)(cmd->argv[0].p - request.p) + cmd->argv[0].n + 2;
	buf_put_span(b, span_skip(request, behind));
}

static void
put_keys(struct mover *m, struct conn *c, struct want *w, struct unit *u)
{
	const struct unit_key *uk = keys_of(m);

	for (size_t i = 0; i < u->keys_n; i++)
		if ((uk[i].w.use & WORD_WRITE) != 0 && !uk[i].is_chunk)
			conn_key(c, w, uk[i].w.db, uk[i].w.key);
}

static void
put_want(struct mover *m, struct conn *c, const struct word *w, struct unit *u)
{
	if (u->multi)
		(void)conn_want(m, c, WANT_SKIP, 1);
	else if (w->cls == WORD_PASS)
		conn_want(m, c, WANT_QUIET, 1)->is_library = true;
	else
		put_keys(m, c, conn_want(m, c, WANT_WRITE, 1), u);
}

static void
apply(struct mover *m, struct unit *u, uint32_t db)
{
	struct conn *c = &m->cmd[side_other(m->from)];
	struct resp_cmd cmd;
	struct want *want;
	struct span one;
	size_t pos = 0;

	if (u->multi) {
		resp_put_cmd(conn_out(m, c), "MULTI", NULL);
		(void)conn_want(m, c, WANT_SKIP, 1);
	}
	while (feed_walk(u->bytes, &pos, &cmd, &one)) {
		const struct word *w;
		uint64_t v;

		if (cmd.argc == 0)
			continue;
		w = words_find(cmd.argv[0]);
		if (w->cls == WORD_SELECT && cmd.argc == 2 &&
		    words_number(cmd.argv[1], &v))
			db = (uint32_t)v;
		if (w->first == 0 && w->cls != WORD_PASS)
			continue;
		if (w->first == 1 && cmd.argc > 1 &&
		    chunk_has(m, db, cmd.argv[1]))
			continue;
		conn_select(m, c, db);
		put_command(m, c, w, &cmd, one);
		spread_note(m, w, one, cmd.argc, db);
		put_want(m, c, w, u);
	}
	if (u->multi) {
		resp_put_cmd(conn_out(m, c), "EXEC", NULL);
		want = conn_want(m, c, WANT_EXEC, 1);
		want->is_library = u->has_library;
		put_keys(m, c, want, u);
	}
}

/* The covering copy must be read at u->end or later. */
static void
skip(struct mover *m, const struct unit *u)
{
	struct mark *k = keys_of(m)[0].mark;

	ENSURE(k != NULL);
	ENSURE(k->state != MARK_AHEAD || k->at >= u->end);
	if (dirty_is_refusable(m, k) || k->merge) {
		mark_written(m, u);
		return;
	}
	if (k->state == MARK_READING && k->skipped < u->end)
		k->skipped = u->end;
	k->is_fill = false;
}

static bool
all_other(struct mover *m, const struct unit *u)
{
	const struct unit_key *uk = keys_of(m);

	for (size_t i = 0; i < u->keys_n; i++)
		if (!uk[i].is_other)
			return false;
	return u->keys_n > 0;
}

static bool
all_chunks(struct mover *m, const struct unit *u)
{
	const struct unit_key *uk = keys_of(m);

	for (size_t i = 0; i < u->keys_n; i++)
		if (!uk[i].is_chunk)
			return false;
	return true;
}

/* The verifier's marker says that all before it is there, so it waits until that
 * has passed: what is being copied, or was deleted by the other side itself. */
static bool
hold_marker(struct mover *m, const struct unit *u)
{
	const struct words_key *w = &keys_of(m)[0].w;

	if (u->multi || !u->one_key || w->db != 0 ||
	    !span_eq(w->key, whose_marker(m)))
		return false;
	buf_clear(&m->marker);
	buf_put_span(&m->marker, u->bytes);
	REQUIRE(!buf_failed(&m->marker));
	m->verify_at = u->end;
	return true;
}

void
tail_verify(struct mover *m)
{
	struct unit u = { .bytes = buf_span(&m->marker) };
	struct span key = whose_marker(m);

	if (m->verify_at == 0 || m->frozen || m->stage < STAGE_CATCH ||
	    m->passed[m->from].at < m->verify_at)
		return;
	m->verify_at = 0;
	if (mark_is_on(m) || pend_find(&m->pend, 0, key) != NULL) {
		dirty_mark(m, 0, key, tail_place(m), UINT64_MAX);
		return;
	}
	collect(m, &u);
	apply(m, &u, 0);
}

/* False: not now. */
static bool
do_unit(struct mover *m, struct unit *u)
{
	uint32_t db = u->db;
	struct board *board = m->conf->board;
	enum verdict v;

	collect(m, u);
	if (m->failed)
		return false;
	if (u->carried == 0 || all_other(m, u)) {
		if (u->has_library)
			library_owe(m);
		return true;
	}
	if (u->keys_n == 0) {
		if (whose_is_keyless(m))
			apply(m, u, db);
		return true;
	}
	if (hold_marker(m, u))
		return true;
	if (!chunk_look(m, u->bytes, db, u->end))
		return false;
	v = judge(m, u);
	if (v == STALL)
		return false;
	chunk_unit(m, u->bytes, db, u->end);
	if (u->has_library && (v != APPLY || all_chunks(m, u)))
		library_owe(m);
	if (all_chunks(m, u))
		return true;
	switch (v) {
	case STALL: break;
	case APPLY:
		apply(m, u, db);
		m->units++;
		atomic_store_explicit(&board->stream_units, m->units,
		                      memory_order_relaxed);
		break;
	case SKIP: skip(m, u); break;
	case MARK: mark_written(m, u); break;
	}
	return true;
}

/* A heartbeat that has come round, or something else. */
static void
on_beat(struct mover *m, const struct resp_cmd *cmd)
{
	uint64_t v;

	if (!beat_read(m, cmd, &v) || v != m->heartbeat)
		return;
	m->heartbeat = 0;
	atomic_store_explicit(&m->conf->board->reverse_proven_ns,
	                      m->port->now_ns, memory_order_relaxed);
	m->port->ops->mail(m->port, &(struct mail){ .kind = MAIL_HEARTBEAT_BACK,
	                                            .token = v });
}

/* A command without application keys; of its unit as barrier() says. */
static bool
lone(struct mover *m, struct feed *f, const struct resp_cmd *cmd,
     struct span request, struct place at)
{
	const struct word *w = words_find(cmd->argv[0]);

	switch ((enum word_class)w->cls) {
	case WORD_FLUSHDB:
	case WORD_FLUSHALL:
	case WORD_SWAPDB: return barrier(m, w, request, at);
	case WORD_DROP:
		if (span_is_word(cmd->argv[0], SPAN("publish")))
			on_beat(m, cmd);
		else if (cmd->argc >= 2 &&
		         span_is_word(cmd->argv[1], SPAN("getack")))
			feed_ack(m, f, m->passed[m->from].at);
		return true;
	case WORD_KEYS:
		if (m->in_cluster)
			on_beat(m, cmd);
		break;
	case WORD_DELETE:
	case WORD_STATE:
	case WORD_UNKNOWN:
	case WORD_SELECT:
	case WORD_MULTI:
	case WORD_EXEC:
	case WORD_PASS: break;
	}
	return true;
}

/* Barriers and messages inside a transaction are looked at one by one; it may select
 * other databases on its way. */
static bool
do_lone(struct mover *m, struct feed *f, struct span unit, uint64_t end)
{
	struct place at = { end, f->db };
	struct resp_cmd cmd;
	struct span one;
	size_t pos = 0;
	uint64_t v;

	if (m->lone_end == end)
		return true; /* the rest of the unit had to wait */
	while (feed_walk(unit, &pos, &cmd, &one)) {
		if (cmd.argc == 2 &&
		    words_find(cmd.argv[0])->cls == WORD_SELECT &&
		    words_number(cmd.argv[1], &v))
			at.db = (uint32_t)v;
		if (cmd.argc > 0 && !lone(m, f, &cmd, one, at))
			return false;
	}
	m->lone_end = end;
	return true;
}

/* Far enough: what comes behind waits for the flip or the thaw. Not while a copy
 * is ahead: its offset has to be reached. */
static bool
is_at_barrier(struct mover *m)
{
	uint64_t s = tail_place(m).at;

	return m->barrier && s >= m->barrier_at && s >= m->pend.at_max &&
	       pend_todo(&m->pend) == 0;
}

void
tail_run(struct mover *m)
{
	struct feed *f = &m->feed[m->from];
	struct span bytes;
	bool multi;

	if (f->state != FEED_STREAM)
		return;
	if (f->by_marks) {
		mark_run(m, f);
		return;
	}
	while (!m->frozen && !m->failed && !is_at_barrier(m) &&
	       feed_unit(m, f, &bytes, &multi)) {
		struct unit u = { .bytes = bytes,
			          .multi = multi,
			          .end = f->pos + bytes.n,
			          .db = f->db };
		struct resp_cmd cmd;
		struct span one;
		size_t pos = 0;

		if (!f->is_ready) {
			while (feed_walk(bytes, &pos, &cmd, &one))
				watch_seek_db(m, f, &cmd);
			feed_take(f, bytes.n);
			continue;
		}
		if (!do_lone(m, f, bytes, u.end) || m->failed ||
		    !do_unit(m, &u)) {
			/* Look at it again when the reply is there. */
			f->unit_n = 0;
			f->in_multi = false;
			resp_cmd_init(&f->cmd);
			return;
		}
		f->db = u.db;
		m->units_seen++;
		feed_take(f, bytes.n);
		pend_pass(&m->pend, f->pos);
		chunk_pass(m, f->pos);
		m->need_probe = true;
	}
}

/* A command of a unit that is too long to be looked at as a whole. request n 0:
 * of the command itself only the first arguments are there. */
void
tail_huge(struct mover *m, struct feed *f, const struct resp_cmd *cmd,
          struct span request)
{
	struct span rx = buf_span(&f->rx);
	const struct word *w;
	struct words_key wk = { .db = f->db, .use = WORD_WRITE };
	struct words_at at = { 0 };
	uint64_t v;
	uint32_t n = cmd->args_seen < RESP_SPANS ? cmd->args_seen : RESP_SPANS;

	if (f->side != m->from) {
		if (request.n > 0)
			watch_command(m, f, cmd, request);
		return;
	}
	if (request.n == 0) {
		w = words_find(resp_cmd_arg(cmd, rx, 0));
		if (w->first == 1 && w->last == 1 && n >= 2) {
			dirty_mark(m, f->db, resp_cmd_arg(cmd, rx, 1),
			           tail_place(m), UINT64_MAX);
			return;
		}
		/* Its keys are in what is thrown away. */
		if (w->first != 0)
			dirty_overflow(m);
		else if (w->cls == WORD_PASS)
			library_owe(m);
		return;
	}
	if (cmd->argc == 0)
		return;
	w = words_find(cmd->argv[0]);
	if (w->cls == WORD_SELECT && words_number(cmd->argv[1], &v))
		f->db = (uint32_t)v;
	if (is_barrier(w))
		dirty_overflow(m);
	if (w->cls == WORD_PASS)
		library_owe(m);
	while (words_key(w, request, cmd->argc, f->db, &at, &wk)) {
		if (m->scope != NULL)
			note_foreign(m, cmd, w, &wk);
		if ((wk.use & WORD_WRITE) != 0)
			dirty_mark(m, wk.db, wk.key, tail_place(m), UINT64_MAX);
	}
}
