/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/chunk.h: big values, piece by piece.
 *
 * One read of a big key stops the authority for long (a DUMP of a million fields:
 * 0.8 s). So its size is asked for before it is read, and a big one goes through
 * here:
 *
 *   TYPE    what is it? Modules are read whole all the same
 *   CLAIM   is there one on the other side already? (rule: keep what is there)
 *   SCAN    removed on the other side, then piece by piece:
 *           MULTI; HSCAN k cursor COUNT n; ROLE; EXEC -> HSET k ...
 *   SETTLE  elements that were written meanwhile are read again:
 *           MULTI; HMGET k f...; ROLE; EXEC -> HSET, HDEL
 *   CLOCK   MULTI; PEXPIRETIME k; ROLE; EXEC: the expiry at that offset
 *   TIMED   the stream has to come to that offset; then the expiry is set
 *
 * `last` is the offset of the last piece. Units up to it, and units during SCAN,
 * only make their elements dirty (QUEUED, READING, AHEAD, as pend.h has it for
 * keys). Later ones are applied at once, element by element, but for those dirty.
 * So: an element that is not in `elems` has, when the stream is at s >= last, the
 * value that the authority had at s. It is returned by the scan (present all the
 * time), or was written by a unit in between, which made it dirty.
 *
 * Strings, lists and streams have no elements with names: chunk_order.c says what
 * SCAN is for them. They have nothing to settle.
 *
 * A command that is not about named elements starts the copy of the key again;
 * after a few times it is read whole.
 *
 * Thread: that of the mover.
 */
#pragma once

#include "base/buf.h"
#include "engine/redis/mover/pend.h"

struct conn;
struct mover;
struct want;

#define CHUNKS      2    /* keys at a time                            */
#define CHUNK_SMALL 8192 /* hashes of keys known to be small          */

enum elem_state {
	ELEM_QUEUED,
	ELEM_READING,
	ELEM_AHEAD
};

/* An element that the stream must not touch yet. Its name follows, see map.h. */
struct elem {
	LIST_LINK(elem) turn;
	uint64_t at;      /* AHEAD: offset of the read */
	uint64_t skipped; /* highest end of a unit skipped while READING */
	uint8_t state;    /* enum elem_state */
};

LIST_OF(elem, turn, elem_turn);

enum chunk_phase {
	CHUNK_FREE,
	CHUNK_TYPE,
	CHUNK_CLAIM,
	CHUNK_SCAN,
	CHUNK_COUNT, /* a list: how long is it on the other side? */
	CHUNK_SETTLE,
	CHUNK_CLOCK,
	CHUNK_TIMED
};

enum chunk_kind {
	CHUNK_HASH,
	CHUNK_SET,
	CHUNK_ZSET,
	CHUNK_STRING, /* from here on: chunk_order.c */
	CHUNK_LIST,
	CHUNK_STREAM
};

struct chunk {
	uint8_t phase; /* enum chunk_phase */
	uint8_t kind;  /* enum chunk_kind */
	bool is_asked; /* a reply is to come */
	bool is_first; /* part of the first copy */
	struct mark *k;
	uint64_t serial; /* replies of another one are of no interest */
	uint64_t cursor;
	uint32_t count;
	uint64_t last; /* offset of the last piece */
	struct map elems;
	struct elem_turn_list queued;
	struct elem_turn_list reading;
	struct elem_turn_list ahead; /* by at, growing */
	int64_t expires_ms;
	uint64_t expires_at; /* offset */

	/* chunk_order.c: what the other side has is a prefix */
	uint64_t have;    /* bytes or elements of it */
	bool is_sure;     /* of `have` */
	bool has_piece;   /* waits for the stream to come to piece_at */
	int64_t len;      /* list: of the authority's at s; -1: not known */
	uint64_t from;    /* list: index where the piece begins */
	uint64_t guard;   /* list: elements read twice, for pops meanwhile */
	uint64_t asked;   /* bytes, elements or entries of the piece */
	struct buf piece; /* the replies */
	uint64_t piece_at;
	uint8_t after_n; /* stream: "(" and the last entry's id */
	char after[47];
};

struct chunks {
	struct chunk at[CHUNKS];
	uint32_t n; /* not FREE */
	bool off;   /* the server does not tell sizes */
	uint64_t serial;
	uint64_t small_ns; /* the table is emptied then */
	uint32_t small[CHUNK_SMALL];
};

void chunk_init(struct mover *m);
/* Everything is forgotten (the links are closed); frees what it holds. */
void chunk_reset(struct mover *m);
/* Ask for sizes, start chunks, go on with them. */
void chunk_run(struct mover *m);
/* May this QUEUED key be read whole, as far as is known? */
bool chunk_is_sized(struct mover *m, struct mark *k);
void chunk_size(struct mover *m, struct span reply);
void chunk_reply(struct mover *m, const struct want *w, struct span reply);

/* The unit in hand, whose keys are in m->keys. False: not now. Sets
 * unit_key.is_chunk on those that chunk_unit() takes care of. Keys written as a
 * whole are QUEUED behind it. */
bool chunk_look(struct mover *m, struct span unit, uint32_t db, uint64_t end);
/* Elements are marked or written. */
void chunk_unit(struct mover *m, struct span unit, uint32_t db, uint64_t end);
/* Was this command done by chunk_unit()? key: its first. */
bool chunk_has(struct mover *m, uint32_t db, struct span key);
/* The stream has come to s. */
void chunk_pass(struct mover *m, uint64_t s);
/* A database was emptied (DB_ALL: all). */
void chunk_flush(struct mover *m, uint32_t db);
/* The first copy ends: the big ones, copied after it, keep `passed` down. */
void chunk_hold(struct mover *m);

/* ---- between the files of chunks ---- */

/* All of the key again; whole: in one read. The slot is free then. */
void chunk_restart(struct mover *m, struct chunk *c, bool whole);
void chunk_free(struct mover *m, struct chunk *c);
/* The slot that takes care of this key's elements, or NULL. */
struct chunk *chunk_of(struct mover *m, const struct mark *k);
/* A command on the key to the other side; `args` more arguments follow. */
struct buf *chunk_write(struct mover *m, const struct chunk *c,
                        const char *verb, size_t args);
void chunk_remove(struct mover *m, const struct chunk *c);
/* MULTI in front of a read, EXEC behind `reads` of them. */
struct buf *chunk_put_multi(struct mover *m, const struct chunk *c);
void chunk_put_exec(struct mover *m, struct chunk *c, uint32_t reads);
/* The next piece's size, after one of so many bytes. */
void chunk_adapt(struct chunk *c, size_t bytes);
void chunk_count(struct mover *m, const struct chunk *c, uint64_t bytes,
                 uint64_t records);
struct span chunk_name(const struct chunk *c, const struct elem *x);
/* TYPE on the authority, EXISTS on the other side. */
void chunk_ask(struct mover *m, struct chunk *c, struct conn *of,
               const char *word);

/* chunk_order.c: strings, lists, streams */
static inline bool
chunk_is_ordered(const struct chunk *c)
{
	return c->kind >= CHUNK_STRING;
}
void order_begin(struct mover *m, struct chunk *c);
void order_ask(struct mover *m, struct chunk *c);
/* The replies of a piece, in front of ROLE; *in moves behind them. */
bool order_take(struct mover *m, struct chunk *c, struct span *in);
/* The stream is at the offset of the piece in hand. */
void order_join(struct mover *m, struct chunk *c);
/* LLEN of the other side: the question, the reply. */
void order_count(struct mover *m, struct chunk *c);
void order_counted(struct mover *m, struct chunk *c, struct span reply);
/* Was anything written or asked? */
bool order_is_touched(const struct chunk *c);
/* chunk_order_tail.c */
bool order_knows(const struct chunk *c, struct span name);
/* A command of the stream. False: all of the key has to be copied again. */
bool order_command(struct mover *m, struct chunk *c, struct span request,
                   uint32_t argc);
