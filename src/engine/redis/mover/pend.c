/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/pend.c: the keys that the stream must not touch yet.
 */
#include "engine/redis/mover/pend.h"

#include "base/check.h"

#define RISE_STEPS 256

void
pend_init(struct pend *p, struct mem *mem, uint64_t seed)
{
	*p = (struct pend){ 0 };
	map_init(&p->map, mem, sizeof(struct mark), seed);
	bucket_init(&p->buckets, mem, seed);
}

void
pend_clear(struct pend *p)
{
	map_clear(&p->map);
	p->stream = (struct mark_order_list){ 0 };
	p->repair = (struct mark_order_list){ 0 };
	p->ahead = (struct mark_order_list){ 0 };
	p->queued = (struct mark_turn_list){ 0 };
	p->judging = (struct mark_turn_list){ 0 };
	p->reading = (struct mark_turn_list){ 0 };
	p->asking = (struct mark_turn_list){ 0 };
	p->big = (struct mark_turn_list){ 0 };
	bucket_clear(&p->buckets);
	p->found_n = 0;
	p->at_max = 0;
}

void
pend_fini(struct pend *p)
{
	pend_clear(p);
	mem_free(p->map.mem, p->key, p->key_cap);
	p->key = NULL;
	p->key_cap = 0;
	map_fini(&p->map);
}

/* Database and key in one piece, in the scratch; p NULL: out of memory. */
static struct span
join(struct pend *p, uint32_t db, struct span key)
{
	if (p->key_cap < key.n + 4) {
		size_t cap = key.n + 256;
		uint8_t *to = mem_resize(p->map.mem, p->key, p->key_cap, cap);

		if (to == NULL)
			return (struct span){ NULL, 0 };
		p->key = to;
		p->key_cap = cap;
	}
	for (size_t i = 0; i < 4; i++)
		p->key[i] = (uint8_t)(db >> (8 * i));
	if (key.n > 0)
		memcpy(p->key + 4, key.p, key.n);
	return span_of(p->key, key.n + 4);
}

/* The value follows its entry (base/map.h). */
static struct map_entry *
entry_of(struct mark *k)
{
	return (struct map_entry *)(void *)k - 1;
}

struct span
mark_key(const struct pend *p, const struct mark *k)
{
	const struct map_entry *e =
		(const struct map_entry *)(const void *)k - 1;

	return span_skip(map_key(&p->map, e), 4);
}

uint32_t
mark_db(const struct mark *k)
{
	const uint8_t *b = (const uint8_t *)(k + 1);

	_Static_assert(sizeof(struct mark) % 8 == 0, "the key follows at once");
	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
	       (uint32_t)b[3] << 24;
}

struct mark *
pend_find(struct pend *p, uint32_t db, struct span key)
{
	struct span id;

	if (p->map.count == 0)
		return NULL;
	id = join(p, db, key);
	if (id.p == NULL)
		return NULL;
	return map_get(&p->map, id);
}

static struct mark *
mark_new(struct pend *p, uint32_t db, struct span key, bool *is_new)
{
	struct span id = join(p, db, key);
	struct map_entry *e;

	if (id.p == NULL)
		return NULL;
	e = map_put(&p->map, id, is_new);
	return e == NULL ? NULL : map_value(e);
}

/* Into the queue, and into the list that bounds `passed`. */
static void
enqueue(struct pend *p, struct mark *k, struct place since, bool is_repair)
{
	k->state = MARK_QUEUED;
	k->since = since;
	k->is_repair = is_repair;
	if (is_repair)
		mark_order_push(&p->repair, k);
	else
		mark_order_push(&p->stream, k);
	mark_turn_push(&p->queued, k);
}

static void
not_found(struct pend *p, struct mark *k)
{
	if (!k->is_found)
		return;
	k->is_found = false;
	p->found_n--;
}

struct mark *
pend_mark(struct pend *p, uint32_t db, struct span key, struct place since,
          uint64_t end)
{
	bool is_new = false;
	struct mark *k = mark_new(p, db, key, &is_new);

	if (k == NULL)
		return NULL;
	not_found(p, k);
	if (is_new) {
		enqueue(p, k, since, false);
	} else if (k->state == MARK_AHEAD) {
		if (end != 0 && k->at >= end)
			return k; /* the copy has seen it */
		mark_order_remove(&p->ahead, k);
		enqueue(p, k, since, false);
	} else if (k->state == MARK_READING && end > k->skipped) {
		k->skipped = end;
	} else if (k->state == MARK_CHUNK) {
		k->is_stale = true;
	}
	return k;
}

struct mark *
pend_repair(struct pend *p, uint32_t db, struct span key, struct place since)
{
	bool is_new = false;
	struct mark *k = mark_new(p, db, key, &is_new);

	if (k == NULL)
		return NULL;
	not_found(p, k);
	if (is_new) {
		enqueue(p, k, since, true);
		return k;
	}
	if (k->state == MARK_AHEAD)
		mark_order_remove(&p->ahead, k);
	else if (k->is_repair)
		mark_order_remove(&p->repair, k);
	else
		mark_order_remove(&p->stream, k);
	/* The older bound stays when it is the lower one. */
	if (k->state != MARK_AHEAD && k->since.at < since.at)
		since = k->since;
	if (k->state == MARK_AHEAD) {
		enqueue(p, k, since, true);
		return k;
	}
	/* In flight: what is being read may be passed on before the other side
	 * deletes it; only another read is surely later. */
	if (k->state == MARK_READING)
		k->skipped = UINT64_MAX;
	if (k->state == MARK_CHUNK)
		k->is_stale = true;
	k->since = since;
	k->is_repair = true;
	k->has_digest = false;
	k->compare = false;
	if (p->repair.last != NULL && p->repair.last->since.at > since.at) {
		/* In front, so at least as low as what is there. */
		if (p->repair.first->since.at < since.at)
			k->since = p->repair.first->since;
		mark_order_push_front(&p->repair, k);
	} else {
		mark_order_push(&p->repair, k);
	}
	return k;
}

void
pend_judge(struct pend *p, struct mark *k)
{
	REQUIRE(k->state == MARK_QUEUED);
	mark_turn_remove(&p->queued, k);
	k->state = MARK_JUDGING;
	k->has_digest = false;
	mark_turn_push(&p->judging, k);
}

void
pend_read(struct pend *p, struct mark *k)
{
	REQUIRE(k->state == MARK_QUEUED || k->state == MARK_JUDGING);
	mark_turn_remove(k->state == MARK_QUEUED ? &p->queued : &p->judging, k);
	k->state = MARK_READING;
	k->skipped = 0;
	mark_turn_push(&p->reading, k);
}

void
pend_ask(struct pend *p, struct mark *k)
{
	REQUIRE(k->state == MARK_QUEUED);
	mark_turn_remove(&p->queued, k);
	k->state = MARK_ASKING;
	mark_turn_push(&p->asking, k);
}

void
pend_sized(struct pend *p, struct mark *k, bool is_big)
{
	REQUIRE(k->state == MARK_ASKING);
	mark_turn_remove(&p->asking, k);
	if (is_big) {
		not_found(p, k);
		k->state = MARK_BIG;
		mark_turn_push(&p->big, k);
		return;
	}
	k->is_sized = true;
	k->state = MARK_QUEUED;
	mark_turn_push(&p->queued, k);
}

void
pend_take(struct pend *p, struct mark *k)
{
	REQUIRE(k->state == MARK_BIG);
	mark_turn_remove(&p->big, k);
	k->state = MARK_TAKEN;
}

void
pend_chunk(struct pend *p, struct mark *k)
{
	(void)p;
	REQUIRE(k->state == MARK_TAKEN);
	k->state = MARK_CHUNK;
	k->is_stale = false;
}

void
pend_requeue(struct pend *p, struct mark *k, bool is_sized)
{
	REQUIRE(k->state == MARK_TAKEN || k->state == MARK_CHUNK);
	k->state = MARK_QUEUED;
	k->is_sized = is_sized;
	k->is_stale = false;
	mark_turn_push(&p->queued, k);
}

void
pend_piece(struct pend *p, uint64_t at)
{
	REQUIRE(at >= p->at_max);
	p->at_max = at;
}

/* Out of the list that bounds `passed`. */
static void
unbound(struct pend *p, struct mark *k)
{
	if (k->is_repair)
		mark_order_remove(&p->repair, k);
	else
		mark_order_remove(&p->stream, k);
}

void
pend_chunked(struct pend *p, struct mark *k)
{
	REQUIRE(k->state == MARK_CHUNK && !k->is_stale);
	unbound(p, k);
	map_drop(&p->map, entry_of(k));
}

void
pend_hold(struct pend *p, struct mark *k)
{
	REQUIRE(k->state != MARK_AHEAD);
	unbound(p, k);
	k->since = (struct place){ 0, 0 };
	k->is_repair = false;
	mark_order_push_front(&p->stream, k);
}

void
pend_found(struct pend *p, struct mark *k)
{
	REQUIRE(!k->is_found);
	pend_hold(p, k);
	k->is_found = true;
	p->found_n++;
}

void
pend_again(struct pend *p, struct mark *k)
{
	REQUIRE(k->state == MARK_READING || k->state == MARK_JUDGING);
	mark_turn_remove(k->state == MARK_READING ? &p->reading : &p->judging,
	                 k);
	k->state = MARK_QUEUED;
	k->compare = false;
	k->has_digest = false;
	mark_turn_push(&p->queued, k);
}

/* Without a stream: this copy has what was written up to `at`, so that is no
 * longer in doubt, although the key is copied again. In its place among the
 * others, if that is near. */
static void
rise(struct pend *p, struct mark *k, uint64_t at)
{
	struct mark *prev = p->stream.last;

	if (!p->by_state || k->is_repair || k->merge || k->since.at >= at)
		return;
	for (int i = 0; prev != NULL && (prev == k || prev->since.at > at);
	     i++) {
		if (i == RISE_STEPS)
			return;
		prev = prev->order.prev;
	}
	mark_order_remove(&p->stream, k);
	k->since.at = at;
	if (prev == NULL)
		mark_order_push_front(&p->stream, k);
	else
		mark_order_insert(&p->stream, prev, k);
}

void
pend_lose(struct pend *p, struct mark *k)
{
	REQUIRE(k->state == MARK_READING || k->state == MARK_JUDGING);
	not_found(p, k);
	mark_turn_remove(k->state == MARK_READING ? &p->reading : &p->judging,
	                 k);
	unbound(p, k);
	map_drop(&p->map, entry_of(k));
}

void
pend_copied(struct pend *p, struct mark *k, uint64_t at, uint64_t s)
{
	REQUIRE(k->state == MARK_READING);
	/* I4: reads of one connection are in order, so are their offsets. */
	REQUIRE(at >= p->at_max);
	p->at_max = at;
	not_found(p, k);
	if (k->skipped > at) {
		rise(p, k, at);
		pend_again(p, k);
		return;
	}
	mark_turn_remove(&p->reading, k);
	unbound(p, k);
	if (at <= s) {
		map_drop(&p->map, entry_of(k));
		return;
	}
	k->state = MARK_AHEAD;
	k->at = at;
	k->compare = false;
	k->is_repair = false;
	mark_order_push(&p->ahead, k);
}

void
pend_pass(struct pend *p, uint64_t s)
{
	while (p->ahead.first != NULL && p->ahead.first->at <= s) {
		struct mark *k = mark_order_pop(&p->ahead);

		map_drop(&p->map, entry_of(k));
	}
}

struct place
pend_floor(const struct pend *p)
{
	struct place floor = { UINT64_MAX, 0 };

	if (p->stream.first != NULL)
		floor = p->stream.first->since;
	if (p->repair.first != NULL && p->repair.first->since.at < floor.at)
		floor = p->repair.first->since;
	bucket_floor(&p->buckets, &floor);
	return floor;
}
