/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/spread.c: what a wrong key has made wrong.
 *
 * The other side deletes a key by itself, and before we hear of it a command is
 * applied there that reads the key and writes another one (SUNIONSTORE, LMOVE):
 * that one is wrong as well. So the commands that carry a value from key to key
 * are remembered until their probe is settled; a repair goes through them in
 * order and repairs what they wrote. Each name stands for the key in every database
 * that swaps on their way may have brought it to (swap.c).
 */
#include "base/check.h"
#include "base/hash.h"
#include "engine/redis/mover/state.h"

struct spread_head {
	uint64_t probe; /* settled with this one: forget it */
	uint32_t keys_n;
	uint32_t bytes; /* of its keys */
};

struct spread_key {
	uint64_t hash;
	uint32_t db;
	uint32_t n; /* bytes behind it */
	uint32_t use;
	uint32_t pad;
};

static uint64_t
hash_of(uint32_t db, struct span key)
{
	return hash_bytes(key, db);
}

void
spread_note(struct mover *m, const struct word *w, struct span request,
            uint32_t argc, uint32_t db)
{
	struct spread_head head = { .probe = m->probes_sent + 1 };
	struct words_key wk;
	struct words_at at = { 0 };
	size_t start = buf_len(&m->spread);

	if (w->first2 == 0 && (w->use & WORD_READ) == 0)
		return;
	buf_put(&m->spread, &head, sizeof(head));
	while (words_key(w, request, argc, db, &at, &wk)) {
		struct spread_key k = {
			.hash = hash_of(wk.db, wk.key),
			.db = wk.db,
			.n = (uint32_t)wk.key.n,
			.use = wk.use,
		};

		buf_put(&m->spread, &k, sizeof(k));
		buf_put_span(&m->spread, wk.key);
		head.keys_n++;
	}
	REQUIRE(!buf_failed(&m->spread));
	head.bytes = (uint32_t)(buf_len(&m->spread) - start - sizeof(head));
	memcpy(m->spread.p + m->spread.off + start, &head, sizeof(head));
}

void
spread_trim(struct mover *m)
{
	struct spread_head head;

	while (buf_len(&m->spread) > 0) {
		memcpy(&head, buf_span(&m->spread).p, sizeof(head));
		if (head.probe > m->probes_done)
			return;
		buf_take(&m->spread, sizeof(head) + head.bytes);
	}
}

static bool
is_wrong(const struct mover *m, uint64_t hash)
{
	struct span in = buf_span(&m->wrong);
	uint64_t h;

	for (; in.n >= sizeof(h); in = span_skip(in, sizeof(h))) {
		memcpy(&h, in.p, sizeof(h));
		if (h == hash)
			return true;
	}
	return false;
}

/* Does one of these keys that is read belong to the wrong ones? */
static bool
reads_wrong(const struct mover *m, struct span keys)
{
	struct spread_key k;

	while (keys.n > 0) {
		memcpy(&k, keys.p, sizeof(k));
		if ((k.use & WORD_READ) != 0 && is_wrong(m, k.hash))
			return true;
		keys = span_skip(keys, sizeof(k) + k.n);
	}
	return false;
}

/* The key is wrong, wherever it is by now. */
static void
repair_key(struct mover *m, uint32_t db, struct span key)
{
	uint32_t dbs[SWAP_PLACES_MAX];
	size_t n = swap_places(m, db, dbs);

	if (n == 0)
		dirty_overflow(m);
	for (size_t i = 0; i < n && !m->failed; i++) {
		uint64_t hash = hash_of(dbs[i], key);

		dirty_repair(m, dbs[i], key);
		if (!is_wrong(m, hash))
			buf_put(&m->wrong, &hash, sizeof(hash));
	}
}

static void
repair_written(struct mover *m, struct span keys)
{
	struct spread_key k;

	while (keys.n > 0 && !m->failed) {
		memcpy(&k, keys.p, sizeof(k));
		if ((k.use & WORD_WRITE) != 0)
			repair_key(m, k.db, span_of(keys.p + sizeof(k), k.n));
		keys = span_skip(keys, sizeof(k) + k.n);
	}
}

void
spread_repair(struct mover *m, uint32_t db, struct span key)
{
	struct span in = buf_span(&m->spread);
	struct spread_head head;

	buf_clear(&m->wrong);
	repair_key(m, db, key);
	while (in.n > 0 && !m->failed) {
		struct span keys;

		memcpy(&head, in.p, sizeof(head));
		keys = span_of(in.p + sizeof(head), head.bytes);
		if (reads_wrong(m, keys))
			repair_written(m, keys);
		in = span_skip(in, sizeof(head) + head.bytes);
	}
}
