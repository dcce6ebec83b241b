/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/spool.c: a change stream between its coming and its applying.
 */
#include "engine/postgres/mover/spool.h"

#include "base/check.h"
#include "base/hash.h"
#include "wire/pg_bytes.h"

#define HEAD_N   24
#define RECORD_N 16
#define MAGIC    "GWSPOOL1"

static uint32_t
digest(uint64_t at, struct span payload)
{
	uint64_t h = hash_bytes(payload, at);

	return (uint32_t)(h ^ h >> 32);
}

static void
put_record(struct buf *b, uint64_t at, struct span payload)
{
	pg_put_u32(b, (uint32_t)payload.n);
	pg_put_u32(b, digest(at, payload));
	pg_put_u64(b, at);
	buf_put_span(b, payload);
}

/* Where in the last segment the tail begins. */
static uint64_t
base(const struct pg_spool *s)
{
	return s->has_file ? s->written : buf_len(&s->head);
}

static void
build_head(struct pg_spool *s)
{
	buf_clear(&s->head);
	buf_put_str(&s->head, MAGIC);
	pg_put_u64(&s->head, s->whole);
	pg_put_u64(&s->head, 0);
	map_each(e, &s->raw)
		put_record(&s->head, 0, buf_span(map_value(e)));
	s->is_new = false;
}

static void
put_u64_at(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

/* The last segment is a new one, in memory. */
static void
begin(struct pg_spool *s)
{
	s->has_file = false;
	s->written = 0;
	if (s->is_new || buf_len(&s->head) < HEAD_N)
		build_head(s);
	else
		put_u64_at(s->head.p + s->head.off + 8, s->whole);
	buf_clear(&s->tail);
	s->whole_at = buf_len(&s->head);
	s->failed = s->failed || buf_failed(&s->head);
}

void
spool_init(struct pg_spool *s, struct mem *mem, struct disk *disk,
           uint64_t seed)
{
	s->mem = mem;
	s->disk = disk;
	map_init(&s->raw, mem, sizeof(struct buf), seed);
	buf_init(&s->head, mem);
	buf_init(&s->tail, mem);
	buf_init(&s->ends, mem);
	buf_init(&s->window, mem);
	s->first = 1;
	s->last = 1;
	s->at_n = 1;
	begin(s);
}

static void
forget_raw(struct pg_spool *s)
{
	map_each(e, &s->raw)
		buf_fini(map_value(e));
	map_clear(&s->raw);
	s->is_new = true;
}

void
spool_fini(struct pg_spool *s)
{
	forget_raw(s);
	map_fini(&s->raw);
	buf_fini(&s->head);
	buf_fini(&s->tail);
	buf_fini(&s->ends);
	buf_fini(&s->window);
}

/* ---- writing ------------------------------------------------------------------ */

static void
note_relation(struct pg_spool *s, struct span payload)
{
	struct map_entry *e;
	struct buf *b;
	bool is_new;

	if (payload.n < 5)
		return;
	e = map_put(&s->raw, span_of(payload.p + 1, 4), &is_new);
	if (e == NULL) {
		s->failed = true;
		return;
	}
	b = map_value(e);
	if (is_new)
		buf_init(b, s->mem);
	buf_clear(b);
	buf_put_span(b, payload);
	s->failed = s->failed || buf_failed(b);
	s->is_new = true;
}

/* What a payload says of transactions. True: one is whole with it. */
static bool
note(struct pg_spool *s, struct span payload)
{
	if (payload.n == 0)
		return false;
	switch (payload.p[0]) {
	case 'R': note_relation(s, payload); return false;
	case 'B': s->in_tx = true; return false;
	case 'C':
		s->in_tx = false;
		if (payload.n < 18)
			return false;
		s->whole = spool_get_u64(payload.p + 10);
		return true;
	case 'k':
		if (payload.n < 9 || s->in_tx)
			return false;
		s->whole = spool_get_u64(payload.p + 1);
		return true;
	default: return false;
	}
}

static void
roll(struct pg_spool *s)
{
	pg_put_u64(&s->ends, s->whole);
	s->failed = s->failed || buf_failed(&s->ends);
	s->last++;
	begin(s);
}

/* At most one file before the last one is not durable. */
static bool
may_roll(struct pg_spool *s)
{
	size_t n = buf_len(&s->ends);

	spool_look(s);
	if (n > 0 && spool_get_u64(buf_span(&s->ends).p + n - 8) > s->durable)
		return false;
	spool_flush(s);
	return buf_len(&s->tail) == 0;
}

void
spool_put(struct pg_spool *s, uint64_t at, struct span payload)
{
	bool is_whole = note(s, payload);

	put_record(&s->tail, at, payload);
	if (is_whole)
		s->whole_at = base(s) + buf_len(&s->tail);
	s->failed = s->failed || buf_failed(&s->tail);
	if (buf_len(&s->tail) >= SPOOL_TAIL && !s->is_stuck)
		spool_flush(s);
	if (is_whole && s->has_file && s->written >= SPOOL_FILE && may_roll(s))
		roll(s);
}

void
spool_put_idle(struct pg_spool *s, uint64_t lsn)
{
	uint8_t k[9] = { 'k' };

	put_u64_at(k + 1, lsn);
	if (!s->in_tx && lsn > s->whole)
		spool_put(s, lsn, span_of(k, sizeof(k)));
}

void
spool_flush(struct pg_spool *s)
{
	const struct disk_ops *ops = s->disk != NULL ? s->disk->ops : NULL;
	size_t n = buf_len(&s->tail);

	if (ops == NULL || n == 0 || s->is_cut)
		return;
	if (!s->has_file) {
		s->is_stuck =
			ops->append(s->disk, s->last, buf_span(&s->head)) != 0;
		if (s->is_stuck)
			return;
		s->has_file = true;
		s->written = buf_len(&s->head);
		s->filed_at = s->written;
	}
	s->is_stuck = ops->append(s->disk, s->last, buf_span(&s->tail)) != 0;
	if (s->is_stuck)
		return;
	s->written += n;
	buf_clear(&s->tail);
	s->filed = s->whole;
	s->filed_at = s->whole_at;
}

bool
spool_is_full(const struct pg_spool *s)
{
	return buf_len(&s->tail) >= SPOOL_FULL;
}

void
spool_sync(struct pg_spool *s)
{
	if (s->disk == NULL || s->filed <= s->durable || s->asked > s->durable)
		return;
	s->asked = s->filed;
	s->asked_n++;
	s->disk->ops->sync(s->disk);
}

void
spool_look(struct pg_spool *s)
{
	if (s->disk != NULL && s->asked > s->durable &&
	    s->disk->ops->synced(s->disk) >= s->asked_n)
		s->durable = s->asked;
}

/* ---- reading ------------------------------------------------------------------- */

/* A whole record at the front of in, or NONE. */
static enum spool_rc
take(struct span in, bool is_checked, struct span *ret, uint64_t *at)
{
	uint32_t n;

	if (in.n < RECORD_N)
		return SPOOL_NONE;
	n = pg_get_u32(in.p);
	if (in.n - RECORD_N < n)
		return SPOOL_NONE;
	*at = spool_get_u64(in.p + 8);
	*ret = span_of(in.p + RECORD_N, n);
	if (is_checked && digest(*at, *ret) != pg_get_u32(in.p + 4))
		return SPOOL_BAD;
	return SPOOL_SOME;
}

/* At least n bytes of the file at s->at are in the window; false: it has no more. What a
 * torn record says of its length is not believed: room is made as bytes come. */
static bool
fill(struct pg_spool *s, size_t n)
{
	if (s->window_n == s->at_n && s->at >= s->window_at &&
	    s->at - s->window_at <= buf_len(&s->window))
		buf_take(&s->window, (size_t)(s->at - s->window_at));
	else
		buf_clear(&s->window);
	s->window_n = s->at_n;
	s->window_at = s->at;
	while (buf_len(&s->window) < n) {
		size_t have = buf_len(&s->window);
		uint8_t *to = buf_room(&s->window, SPOOL_WINDOW);
		int64_t k;

		if (to == NULL) {
			s->failed = true;
			return false;
		}
		k = s->disk->ops->read(s->disk, s->at_n, s->at + have, to,
		                       SPOOL_WINDOW);
		if (k <= 0)
			return false;
		buf_grew(&s->window, (size_t)k);
	}
	return true;
}

static enum spool_rc
peek_file(struct pg_spool *s, struct span *ret, uint64_t *at)
{
	uint32_t n;

	if (s->at == 0)
		s->at = HEAD_N;
	if (!fill(s, RECORD_N))
		return buf_len(&s->window) == 0 ? SPOOL_NONE : SPOOL_BAD;
	n = pg_get_u32(buf_span(&s->window).p);
	if (!fill(s, (size_t)RECORD_N + n))
		return SPOOL_BAD;
	return take(buf_span(&s->window), true, ret, at);
}

/* Of the last segment, in memory. */
static enum spool_rc
peek_memory(struct pg_spool *s, struct span *ret, uint64_t *at)
{
	if (!s->has_file && s->at == 0)
		s->at = HEAD_N;
	if (!s->has_file && s->at < buf_len(&s->head))
		return take(span_skip(buf_span(&s->head), s->at), false, ret,
		            at);
	return take(span_skip(buf_span(&s->tail), (size_t)(s->at - base(s))),
	            false, ret, at);
}

enum spool_rc
spool_peek(struct pg_spool *s, struct span *ret, uint64_t *at)
{
	enum spool_rc rc;

	while (s->at_n < s->last) {
		rc = peek_file(s, ret, at);
		if (rc != SPOOL_NONE)
			return rc;
		s->at_n++;
		s->at = 0;
	}
	if (s->at == 0)
		s->at = HEAD_N;
	if (s->has_file && s->at < s->written) {
		rc = peek_file(s, ret, at);
		return rc == SPOOL_NONE ? SPOOL_BAD : rc;
	}
	rc = peek_memory(s, ret, at);
	/* A transaction that neither memory nor the disk has room for is read once. */
	if (rc == SPOOL_NONE && spool_is_full(s) && s->in_tx) {
		buf_clear(&s->tail);
		s->at = base(s);
		s->is_cut = true;
	}
	return rc;
}

void
spool_skip(struct pg_spool *s, size_t n)
{
	s->at += RECORD_N + n;
}

bool
spool_rewind(struct pg_spool *s)
{
	s->at_n = s->first;
	s->at = 0;
	return !s->is_cut;
}

void
spool_end(struct pg_spool *s)
{
	if (!s->is_cut && s->whole_at >= base(s)) {
		s->tail.end = s->tail.off + (uint32_t)(s->whole_at - base(s));
	} else if (s->has_file) {
		buf_clear(&s->tail);
		s->is_stuck =
			s->disk->ops->cut(s->disk, s->last, s->filed_at) != 0;
		s->written = s->filed_at;
		s->whole = s->filed;
		s->whole_at = s->filed_at;
	} else {
		/* Not told to the server, so it says it again. */
		s->whole = s->first < s->last ? s->filed : 0;
		begin(s);
	}
	s->in_tx = false;
	s->is_cut = false;
	buf_release(&s->window);
	s->window_n = 0;
	s->at_n = s->first;
	s->at = 0;
}

/* ---- forgetting ------------------------------------------------------------------ */

static void
remove_first(struct pg_spool *s)
{
	s->disk->ops->remove(s->disk, s->first++);
	if (buf_len(&s->ends) > 0)
		buf_take(&s->ends, 8);
}

void
spool_done(struct pg_spool *s, uint64_t lsn)
{
	while (s->first < s->last && s->at_n > s->first &&
	       spool_get_u64(buf_span(&s->ends).p) <= lsn)
		remove_first(s);
}

bool
spool_is_read(const struct pg_spool *s)
{
	return s->at_n == s->last && s->at >= base(s) + buf_len(&s->tail);
}

bool
spool_is_used(const struct pg_spool *s)
{
	return s->has_file || s->first < s->last || buf_len(&s->tail) > 0;
}

void
spool_reset(struct pg_spool *s)
{
	while (s->first < s->last)
		remove_first(s);
	if (s->has_file)
		s->disk->ops->remove(s->disk, s->last++);
	s->first = s->last;
	begin(s);
	s->filed = s->whole;
	s->durable = s->whole;
	s->asked = s->whole;
	s->is_cut = false;
	s->is_stuck = false;
	s->at_n = s->last;
	s->at = buf_len(&s->head);
	if (buf_len(&s->window) > 0)
		buf_release(&s->window);
}

void
spool_clear(struct pg_spool *s)
{
	uint64_t first = s->first;
	uint64_t end = s->last;

	if (s->disk != NULL) {
		s->disk->ops->range(s->disk, &first, &end);
		for (uint64_t n = first; n < end; n++)
			s->disk->ops->remove(s->disk, n);
	}
	s->first = end;
	s->last = end;
	buf_clear(&s->ends);
	forget_raw(s);
	s->has_file = false;
	s->whole = 0;
	s->in_tx = false;
	spool_reset(s);
}

/* ---- what another process left ----------------------------------------------------- */

/* File n: to its last whole transaction. False: not even its head is whole. */
static bool
scan(struct pg_spool *s, uint64_t n)
{
	struct span payload;
	uint64_t at;

	s->at_n = n;
	s->at = 0;
	s->window_n = 0;
	s->whole_at = HEAD_N;
	if (!fill(s, HEAD_N) || memcmp(buf_span(&s->window).p, MAGIC, 8) != 0)
		return false;
	s->whole = spool_get_u64(buf_span(&s->window).p + 8);
	while (peek_file(s, &payload, &at) == SPOOL_SOME) {
		bool is_whole = note(s, payload);

		spool_skip(s, payload.n);
		/* The tables in front are of the head. */
		if (is_whole || (at == 0 && !s->in_tx))
			s->whole_at = s->at;
	}
	s->in_tx = false;
	return true;
}

/* Heads tell where each one before ends. */
static bool
read_whole(struct pg_spool *s, uint64_t n, uint64_t *ret)
{
	s->at_n = n;
	s->at = 0;
	s->window_n = 0;
	if (!fill(s, HEAD_N) || memcmp(buf_span(&s->window).p, MAGIC, 8) != 0)
		return false;
	*ret = spool_get_u64(buf_span(&s->window).p + 8);
	return true;
}

/* The last file goes on, or begins anew behind the one before it, which alone may not
 * be durable either. */
static bool
load_last(struct pg_spool *s)
{
	const struct disk_ops *ops = s->disk->ops;
	uint64_t whole = 0;
	uint64_t told = 0;

	if (s->first < s->last) {
		if (!scan(s, s->last - 1) ||
		    ops->cut(s->disk, s->last - 1, s->whole_at) != 0)
			return false;
		whole = s->whole;
		pg_put_u64(&s->ends, whole);
	}
	s->has_file = read_whole(s, s->last, &told) &&
	              (s->first == s->last || told == whole) &&
	              scan(s, s->last);
	if (!s->has_file) {
		s->whole = whole;
		s->is_new = true;
		begin(s);
		s->filed = whole;
		return ops->cut(s->disk, s->last, 0) == 0;
	}
	s->written = s->whole_at;
	s->filed_at = s->whole_at;
	s->filed = s->whole;
	build_head(s);
	return ops->cut(s->disk, s->last, s->written) == 0;
}

bool
spool_load(struct pg_spool *s)
{
	uint64_t whole;
	uint64_t end;

	if (s->disk == NULL)
		return true;
	s->disk->ops->range(s->disk, &s->first, &end);
	if (s->first == end) {
		s->last = end;
		spool_reset(s);
		return true;
	}
	s->last = end - 1;
	for (uint64_t n = s->first + 1; n < s->last; n++) {
		if (!read_whole(s, n, &whole))
			return false;
		pg_put_u64(&s->ends, whole);
	}
	buf_clear(&s->tail);
	if (!load_last(s) || buf_failed(&s->ends))
		return false;
	/* It may not have been made durable: that is asked for again. */
	s->durable = 0;
	s->asked = 0;
	s->window_n = 0;
	return spool_rewind(s);
}
