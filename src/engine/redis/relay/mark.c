/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/mark.c: written keys that the server tells nobody (Mode M).
 *
 * CLIENT TRACKING is blind to what changes a stream's groups, to libraries of
 * functions and to databases that change places. Such a request is kept until its reply comes; then, before the client
 * sees that, its keys go to the mover (core/marks.h). What was under way on a lost
 * connection is marked likewise: nobody knows whether it was done. Those of a
 * transaction are kept with its EXEC.
 */
#include "core/marks.h"
#include "engine/redis/relay/inside.h"

#define BODY_MAX ((size_t)1024 * 1024)

static struct marks *
ring_of(struct relay *r)
{
	if (r->board == NULL || r->board->rings == NULL ||
	    r->conf->who >= r->board->ring_n)
		return NULL;
	return &r->board->rings[r->conf->who];
}

bool
mark_is_blind(const struct command *c)
{
	struct span name = span_of((const uint8_t *)c->name, c->name_n);

	if (c->kind != COMMAND_WRITE)
		return false;
	if (span_has_prefix(name, SPAN("function|")) ||
	    span_eq(name, SPAN("swapdb")))
		return true;
	return name.p[0] == 'x' && !span_eq(name, SPAN("xadd")) &&
	       !span_eq(name, SPAN("xdel")) && !span_eq(name, SPAN("xtrim"));
}

/* XREADGROUP: the first half of what stands behind STREAMS. */
static void
put_streams(struct marks *m, uint8_t side, uint32_t db, struct span raw,
            uint32_t argc)
{
	struct span arg;
	size_t pos = 0;
	uint32_t first = 0;

	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		/* Behind GROUP, its two names, which may be any words. */
		if (first == 0 && i > 3 && span_is_word(arg, SPAN("streams")))
			first = i + 1;
		else if (first != 0 && i < first + (argc - first) / 2)
			marks_put(m, MARK_KEY, side, db, arg);
	}
}

/* The keys of one request. */
static void
put_one(struct relay *r, struct marks *m, const struct lane *lane,
        const struct resp_cmd *q, struct span raw)
{
	const struct command *c = command_find(&r->commands, q->argv[0]);
	uint8_t side = lane->side;
	struct span arg;
	size_t pos = 0;

	if (c != NULL && c->handler == COMMAND_CONTAINER && q->argc > 1)
		c = command_find_sub(&r->commands, c, q->argv[1]);
	if (c == NULL || c->name[0] == 's') {
		marks_lose(m); /* SWAPDB: any key */
	} else if (c->name[0] == 'f') {
		marks_put(m, MARK_FUNCTIONS, side, 0, span_of(NULL, 0));
	} else if (c->first == 0) {
		put_streams(m, side, lane->db, raw, q->argc);
	} else {
		for (int i = 0; resp_cmd_walk(raw, &pos, &arg); i++)
			if (i == c->first)
				marks_put(m, MARK_KEY, side, lane->db, arg);
	}
}

void
mark_done(struct relay *r, const struct lane *lane, struct span raw)
{
	struct marks *m = ring_of(r);
	struct resp_cmd q;

	/* Where there is a stream nobody empties the ring. */
	if (m == NULL || !r->board->by_marks[lane->side])
		return;
	while (raw.n > 0) {
		resp_cmd_init(&q);
		if (resp_cmd_feed(&q, raw) != WIRE_PART || q.argc == 0) {
			marks_lose(m);
			return;
		}
		put_one(r, m, lane, &q, span_of(raw.p, q.used));
		raw = span_skip(raw, q.used);
	}
}

void
mark_collect(struct relay *r, struct session *s, struct span raw)
{
	struct wide *w = session_wide(r, s);

	if (w == NULL || w->marks_lost)
		return;
	if (buf_len(&w->marks) + raw.n <= BODY_MAX)
		buf_put_span(&w->marks, raw);
	if (buf_len(&w->marks) + raw.n > 2 * BODY_MAX ||
	    buf_failed(&w->marks) || raw.n > BODY_MAX) {
		buf_fini(&w->marks);
		w->marks_lost = true;
	}
}

void
mark_exec(struct relay *r, struct session *s, struct lane *lane, bool is_exec)
{
	struct wide *w = s->wide;
	struct marks *m = ring_of(r);
	struct pending *e;
	size_t n;

	if (w == NULL || (buf_len(&w->marks) == 0 && !w->marks_lost))
		return;
	if (m != NULL && !r->board->by_marks[lane->side])
		m = NULL;
	if (is_exec && m != NULL && w->marks_lost) {
		marks_lose(m);
	} else if (is_exec && m != NULL && ring_n(&lane->fifo) > 0) {
		n = buf_len(&w->marks);
		e = ring_at(&lane->fifo, ring_n(&lane->fifo) - 1);
		buf_put_span(&lane->keep, buf_span(&w->marks));
		if (buf_failed(&lane->keep)) {
			lane->keep.failed = false;
			marks_lose(m);
		} else {
			e->kept += (uint32_t)n; /* to a node behind EXEC */
			e->flags |= PEND_F_KEPT | PEND_F_MARK;
		}
	}
	w->marks_lost = false;
	buf_release(&w->marks);
}
