/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/chunk_tail.c: units of the stream on keys in chunks, element
 * by element.
 */
#include "base/check.h"
#include "engine/redis/mover/chunk.h"
#include "engine/redis/mover/state.h"

#define ELEMS_MAX   200000
#define ELEMS_BYTES ((size_t)24 << 20)

/* ---- commands about named elements --------------------------------------- */

/* From argument 2 (behind the options) on in groups of `step`; each group is
 * about the element at place `elem` of it and about nothing else. step 0: about
 * the key's expiry. */
struct verb {
	const char *name;
	uint8_t step;
	uint8_t elem;
	bool has_options;
};

static const struct verb verbs[] = {
	{ "hset", 2, 0, false },         { "hmset", 2, 0, false },
	{ "hsetnx", 2, 0, false },       { "hincrby", 2, 0, false },
	{ "hincrbyfloat", 2, 0, false }, { "hdel", 1, 0, false },
	{ "sadd", 1, 0, false },         { "srem", 1, 0, false },
	{ "zadd", 2, 1, true },          { "zincrby", 2, 1, false },
	{ "zrem", 1, 0, false },         { "geoadd", 3, 2, true },
	{ "expire", 0, 0, false },       { "pexpire", 0, 0, false },
	{ "expireat", 0, 0, false },     { "pexpireat", 0, 0, false },
	{ "persist", 0, 0, false },
};

static const struct verb *
verb_find(struct span name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (span_is_word(name, span_str(verbs[i].name)))
			return &verbs[i];
	return NULL;
}

static bool
is_option(struct span arg)
{
	static const char *const words[] = { "nx", "xx", "gt",
		                             "lt", "ch", "incr" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (span_is_word(arg, span_str(words[i])))
			return true;
	return false;
}

/* Where the groups begin; 0: there are none. *ret_args: arguments before. */
static size_t
groups_at(const struct verb *v, struct span request, uint32_t *ret_args)
{
	struct span arg;
	size_t pos = 0;
	size_t before;

	/* the command itself and the key */
	for (*ret_args = 0; *ret_args < 2; ++*ret_args)
		if (!resp_cmd_walk(request, &pos, &arg))
			return 0;
	for (;;) {
		before = pos;
		if (!v->has_options || !resp_cmd_walk(request, &pos, &arg) ||
		    !is_option(arg))
			return before;
		++*ret_args;
	}
}

/* The next group: its bytes and its element. */
static bool
group_next(const struct verb *v, struct span request, size_t *pos,
           struct span *ret_bytes, struct span *ret_elem)
{
	size_t start = *pos;
	struct span arg;

	for (uint8_t i = 0; i < v->step; i++) {
		if (!resp_cmd_walk(request, pos, &arg))
			return false;
		if (i == v->elem)
			*ret_elem = arg;
	}
	*ret_bytes = span_of(request.p + start, *pos - start);
	return v->step > 0;
}

/* ---- the stream ---------------------------------------------------------------- */

static struct conn *
writer(struct mover *m)
{
	return &m->cmd[side_other(m->from)];
}

/* Is the stream's unit only to mark? */
static bool
only_marks(const struct mover *m, uint64_t end)
{
	return m->margin == UINT64_MAX || m->is_pressed || end <= m->margin;
}

static struct unit_key *
keys_of(struct mover *m, size_t *ret_n)
{
	*ret_n = buf_len(&m->keys) / sizeof(struct unit_key);
	return (struct unit_key *)(void *)m->keys.p;
}

/* The chunk that a key belongs to, if it has one. */
static struct chunk *
chunk_at(struct mover *m, uint32_t db, struct span key)
{
	const struct mark *k = pend_find(&m->pend, db, key);

	return k == NULL ? NULL : chunk_of(m, k);
}

bool
chunk_has(struct mover *m, uint32_t db, struct span key)
{
	return m->chunks.n > 0 && chunk_at(m, db, key) != NULL;
}

/* A command on a key in chunks: must it wait? */
static bool
must_wait(struct mover *m, const struct chunk *c, const struct verb *v,
          struct span request, uint64_t end)
{
	struct span bytes;
	struct span name = { NULL, 0 };
	uint32_t args;
	size_t pos = groups_at(v, request, &args);

	if (only_marks(m, end))
		return false;
	if (c->phase == CHUNK_CLOCK)
		return true;
	if (c->reading.n == 0)
		return false;
	while (group_next(v, request, &pos, &bytes, &name)) {
		const struct elem *x = map_get(&c->elems, name);

		if (x != NULL && x->state == ELEM_READING)
			return true;
	}
	return false;
}

/* One command: keys written as a whole are to be copied again. False: wait. */
/* The same for a string, list or stream. Sets *ret_wait, or starts it again. */
static void
look_ordered(struct mover *m, struct chunk *c, struct span name, uint64_t end,
             bool *ret_wait)
{
	uint8_t restarts = c->k->restarts;

	if (!order_knows(c, name) || c->k->is_stale) {
		chunk_restart(m, c, false);
	} else if (only_marks(m, end) && order_is_touched(c)) {
		struct mark *k = c->k;

		/* Nothing may be written now; that is not the key's fault. */
		chunk_restart(m, c, false);
		k->restarts = restarts;
	} else if (c->is_asked) {
		*ret_wait = true;
	}
}

static bool
look(struct mover *m, const struct resp_cmd *cmd, struct span request,
     uint32_t db, uint64_t end)
{
	const struct verb *v = verb_find(cmd->argv[0]);
	const struct word *w = words_find(cmd->argv[0]);
	struct words_key wk;
	struct words_at at = { 0 };
	bool wait = false;

	while (!wait && words_key(w, request, cmd->argc, db, &at, &wk)) {
		struct chunk *c;

		if ((wk.use & WORD_WRITE) == 0 ||
		    (c = chunk_at(m, wk.db, wk.key)) == NULL)
			continue;
		if (chunk_is_ordered(c))
			look_ordered(m, c, cmd->argv[0], end, &wait);
		else if (v == NULL || c->k->is_stale)
			chunk_restart(m, c, false);
		else if (must_wait(m, c, v, request, end))
			return false;
	}
	return !wait;
}

static void
follow_select(const struct resp_cmd *cmd, uint32_t *db)
{
	uint64_t v;

	if (cmd->argc == 2 && span_is_word(cmd->argv[0], SPAN("select")) &&
	    words_number(cmd->argv[1], &v))
		*db = (uint32_t)v;
}

bool
chunk_look(struct mover *m, struct span unit, uint32_t db, uint64_t end)
{
	struct resp_cmd cmd;
	struct span one;
	size_t pos = 0;
	size_t n;
	struct unit_key *uk = keys_of(m, &n);

	if (m->chunks.n == 0)
		return true;
	while (feed_walk(unit, &pos, &cmd, &one)) {
		if (cmd.argc == 0)
			continue;
		follow_select(&cmd, &db);
		if (!look(m, &cmd, one, db, end))
			return false;
	}
	for (size_t i = 0; i < n; i++)
		uk[i].is_chunk = uk[i].mark != NULL &&
		                 (uk[i].w.use & WORD_WRITE) != 0 &&
		                 chunk_of(m, uk[i].mark) != NULL;
	return true;
}

/* The element has to be read after `end`. */
static void
mark_elem(struct chunk *c, struct span name, uint64_t end)
{
	bool is_new = false;
	struct map_entry *e = map_put(&c->elems, name, &is_new);
	struct elem *x;

	if (e == NULL || c->elems.count > ELEMS_MAX ||
	    c->elems.bytes > ELEMS_BYTES) {
		c->k->is_stale = true;
		if (e == NULL)
			return;
	}
	x = map_value(e);
	if (is_new) {
		x->state = ELEM_QUEUED;
		elem_turn_push(&c->queued, x);
	} else if (x->state == ELEM_READING) {
		if (end > x->skipped)
			x->skipped = end;
	} else if (x->state == ELEM_AHEAD && x->at < end) {
		elem_turn_remove(&c->ahead, x);
		x->state = ELEM_QUEUED;
		elem_turn_push(&c->queued, x);
	}
}

/* Does the unit's write to this element go on at once? Else it is covered. */
static bool
is_open(struct mover *m, struct chunk *c, struct span name, uint64_t end)
{
	const struct elem *x;

	if (only_marks(m, end) || c->phase == CHUNK_SCAN || end <= c->last) {
		mark_elem(c, name, end);
		return false;
	}
	x = map_get(&c->elems, name);
	if (x != NULL && x->state == ELEM_AHEAD && x->at < end)
		mark_elem(c, name, end);
	return x == NULL;
}

/* The groups that may go on, as a command for the other side. */
static void
do_command(struct mover *m, struct chunk *c, const struct verb *v,
           struct span request, uint64_t end)
{
	struct conn *out = writer(m);
	struct span bytes;
	struct span name = { NULL, 0 };
	uint32_t args = 0;
	size_t start = groups_at(v, request, &args);
	size_t pos = start;
	size_t head = 0;
	size_t open = 0;
	struct buf *b;

	/* The expiry is read at the end; what is read then may not be late. */
	if (only_marks(m, end) &&
	    (c->phase == CHUNK_CLOCK || c->phase == CHUNK_TIMED)) {
		c->phase = CHUNK_SETTLE;
		c->is_asked = false;
		c->serial = ++m->chunks.serial;
	}
	buf_clear(&m->wrong);
	while (group_next(v, request, &pos, &bytes, &name)) {
		if (!is_open(m, c, name, end))
			continue;
		buf_put_span(&m->wrong, bytes);
		open++;
	}
	if (open == 0)
		return;
	REQUIRE(!buf_failed(&m->wrong));
	while (request.p[head++] != '\n')
		;
	conn_select(m, out, mark_db(c->k));
	b = conn_out(m, out);
	resp_put_array(b, args + open * v->step);
	buf_put_span(b, span_of(request.p + head, start - head));
	buf_put_span(b, buf_span(&m->wrong));
	conn_key(out, conn_want(m, out, WANT_WRITE, 1), mark_db(c->k),
	         mark_key(&m->pend, c->k));
}

static void
do_ordered(struct mover *m, struct chunk *c, struct span request, uint32_t argc,
           uint64_t end)
{
	/* Not touched yet, or chunk_look() had started it again. */
	if (only_marks(m, end))
		return;
	if (!order_command(m, c, request, argc))
		c->k->is_stale = true;
	else if (!c->is_sure && c->phase <= CHUNK_COUNT)
		order_count(m, c);
}

void
chunk_unit(struct mover *m, struct span unit, uint32_t db, uint64_t end)
{
	struct resp_cmd cmd;
	struct span one;
	size_t pos = 0;

	if (m->chunks.n == 0)
		return;
	while (feed_walk(unit, &pos, &cmd, &one)) {
		const struct verb *v;
		struct chunk *c;

		if (cmd.argc == 0)
			continue;
		follow_select(&cmd, &db);
		if (cmd.argc < 2 || (c = chunk_at(m, db, cmd.argv[1])) == NULL)
			continue;
		if (chunk_is_ordered(c)) {
			do_ordered(m, c, one, cmd.argc, end);
			continue;
		}
		v = verb_find(cmd.argv[0]);
		if (v != NULL)
			do_command(m, c, v, one, end);
	}
}
