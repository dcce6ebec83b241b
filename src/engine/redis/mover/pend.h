/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/pend.h: the keys that the stream must not touch yet.
 *
 * A key is in here while its value on the other side is not the value that the
 * authority had at the processed position s:
 *   QUEUED   to be copied (pend = infinite)
 *   JUDGING  its value on the other side is being read, to compare
 *   READING  its value is being read on the authority
 *   ASKING   its size is being asked for
 *   BIG      too big for one read: waits for chunk.c; TAKEN: it is its turn
 *   CHUNK    chunk.c reads it piece by piece and knows each element's state
 *   AHEAD    copied as it was at offset `at`, and s has not come there yet
 * "since" is the position up to which the other side is right in spite of it.
 *
 *   (none) --[pend_mark]--> QUEUED --[pend_judge]--> JUDGING
 *     ^                      |  ^                      | [pend_read]
 *     |                      +--|------[pend_read]---> READING
 *     |                         +--[pend_copied, skipped > at]--+
 *     +--[pend_pass]-- AHEAD <--------[pend_copied]-------------+
 *
 * Owns:   copies of the keys.
 * Limits: the caller looks at pend_count(), and uses the buckets beyond its limit.
 * Thread: one at a time.
 */
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "engine/redis/mover/bucket.h"
#include "engine/redis/mover/place.h"

enum mark_state {
	MARK_QUEUED,
	MARK_JUDGING,
	MARK_READING,
	MARK_AHEAD,
	MARK_ASKING,
	MARK_BIG,
	MARK_TAKEN,
	MARK_CHUNK
};

struct mark {
	LIST_LINK(mark) order; /* stream, repair or ahead              */
	LIST_LINK(mark) turn;  /* queued, judging or reading           */
	struct place since;
	uint64_t skipped; /* highest end of a unit skipped for it       */
	uint64_t at;      /* AHEAD: offset of the copy                  */
	uint64_t digest;  /* of the other side's value                  */
	uint8_t state;    /* enum mark_state                            */
	bool is_repair;   /* in the list of repairs                     */
	/* Nobody wrote it: the conflict rule applies. AHEAD: it applied, so the
	 * other side may have kept its own. */
	bool is_fill;
	bool compare; /* equal values are not written again         */
	bool has_digest;
	bool merge; /* unite it with what the other side has; AHEAD: it was */
	bool is_sized; /* not big, or to be read whole in spite of it */
	bool is_stale; /* CHUNK: all of it has to be read again       */
	bool is_found; /* by the fill's scan, and not touched since   */
	uint8_t restarts;
};

LIST_OF(mark, order, mark_order);
LIST_OF(mark, turn, mark_turn);

struct pend {
	struct map map;                /* 4 bytes of database, then the key */
	struct mark_order_list stream; /* by since, growing            */
	struct mark_order_list repair; /* by since, growing            */
	struct mark_order_list ahead;  /* by at, growing               */
	struct mark_turn_list queued;
	struct mark_turn_list judging;
	struct mark_turn_list reading;
	struct mark_turn_list asking;
	struct mark_turn_list big;
	struct buckets buckets; /* keys for which there is no room     */
	bool by_state;          /* no stream: everything is copied       */
	size_t found_n;         /* marks with is_found                 */
	uint64_t at_max;        /* highest offset ever copied                 */
	uint8_t *key;           /* scratch for database and key               */
	size_t key_cap;
};

void pend_init(struct pend *p, struct mem *mem, uint64_t seed);
void pend_fini(struct pend *p);
void pend_clear(struct pend *p);

static inline size_t
pend_count(const struct pend *p)
{
	return p->map.count;
}

/* Keys whose copy is not on the other side yet, and buckets of such. */
static inline size_t
pend_todo(const struct pend *p)
{
	return p->stream.n + p->repair.n + bucket_count(&p->buckets);
}

struct mark *pend_find(struct pend *p, uint32_t db, struct span key);

/* The authority's value must be copied again, read at `end` or later (end 0: any
 * later read will do). NULL: out of memory. */
struct mark *pend_mark(struct pend *p, uint32_t db, struct span key,
                       struct place since, uint64_t end) MUST;
/* The same for a key that the other side changed by itself. */
struct mark *pend_repair(struct pend *p, uint32_t db, struct span key,
                         struct place since) MUST;

uint32_t mark_db(const struct mark *k);
struct span mark_key(const struct pend *p, const struct mark *k);

void pend_judge(struct pend *p, struct mark *k); /* QUEUED -> JUDGING   */
void pend_read(struct pend *p, struct mark *k);  /* -> READING          */
/* READING -> AHEAD, QUEUED again, or gone. s: the processed position. */
void pend_copied(struct pend *p, struct mark *k, uint64_t at, uint64_t s);
void pend_ask(struct pend *p, struct mark *k); /* QUEUED -> ASKING    */
/* ASKING -> BIG, or QUEUED and sized. */
void pend_sized(struct pend *p, struct mark *k, bool is_big);
void pend_take(struct pend *p, struct mark *k);  /* BIG -> TAKEN         */
void pend_chunk(struct pend *p, struct mark *k); /* TAKEN -> CHUNK       */
/* TAKEN or CHUNK -> QUEUED: all of it again. sized: in one read. */
void pend_requeue(struct pend *p, struct mark *k, bool is_sized);
/* A piece was read at `at`. */
void pend_piece(struct pend *p, uint64_t at);
/* CHUNK -> gone: the other side has what the authority had at s. */
void pend_chunked(struct pend *p, struct mark *k);
/* Nothing passes before this key is copied (a scan found it, so no unit of the
 * stream would bring it back after a loss). */
void pend_hold(struct pend *p, struct mark *k);
/* The same for a new mark of the fill; found_n counts it until it is copied, is
 * big, or is written by somebody. */
void pend_found(struct pend *p, struct mark *k);
/* The copy could not be made: READING or JUDGING -> QUEUED. */
/* Nobody here has to copy it any more (READING, JUDGING). */
void pend_lose(struct pend *p, struct mark *k);
void pend_again(struct pend *p, struct mark *k);
/* The stream has come to s. */
void pend_pass(struct pend *p, uint64_t s);
/* Everything up to here is right on the other side but for AHEAD keys; none is
 * waiting: at == UINT64_MAX. */
struct place pend_floor(const struct pend *p);
