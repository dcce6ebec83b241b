/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/spool.h: a change stream between its coming and its applying.
 *
 * In memory while it is applied as it comes; else in segments on a disk, so that the
 * server need not keep its log for us. A segment begins between two transactions and
 * tells the tables that are known there, so what is kept can be read from its first
 * segment on, again and by another process.
 *
 *   segment   "GWSPOOL1" | whole 8 | 0 8 | record ...
 *   record    n 4 | digest 4 | at 8 | payload of n bytes
 *
 * payload: of an XLogData; or 'k' and a position: all before it has come.
 *
 * Owns:   its memory; the files of its disk.
 * Limits: SPOOL_FULL bytes in memory (is_full: read no more), a record whole.
 * Thread: one at a time.
 */
#pragma once

#include "base/map.h"
#include "engine/disk.h"
#include "wire/pg_bytes.h"

#define SPOOL_TAIL   ((size_t)1024 * 1024)
#define SPOOL_FULL   ((size_t)4 * 1024 * 1024)
#define SPOOL_FILE   ((uint64_t)16 * 1024 * 1024)
#define SPOOL_WINDOW ((size_t)256 * 1024)

static inline uint64_t
spool_get_u64(const uint8_t *p)
{
	return (uint64_t)pg_get_u32(p) << 32 | pg_get_u32(p + 4);
}

struct pg_spool {
	struct disk *disk; /* NULL, or not now: memory alone */
	struct mem *mem;
	struct map raw;  /* oid (4 bytes) -> struct buf: its last Relation */
	struct buf head; /* of the last segment                        */
	struct buf tail; /* of the last segment, not in its file       */
	bool is_new;     /* a table that head does not tell as it is   */
	bool has_file;   /* the last segment                           */
	bool is_stuck;   /* there was no room                          */
	bool is_cut;     /* some was read and forgotten: not again     */
	bool in_tx;      /* as it was put                              */
	bool failed;     /* out of memory                              */
	uint64_t first;
	uint64_t last;
	struct buf ends;   /* 8 bytes: `whole` behind each before the last */
	uint64_t written;  /* bytes of the last segment in its file    */
	uint64_t whole;    /* end of the last transaction that was put */
	uint64_t whole_at; /* ... in the last segment                  */
	uint64_t filed;    /* the same of what is in files             */
	uint64_t filed_at;
	uint64_t durable; /* the same of what would outlive us         */
	uint64_t asked;   /* ... when sync number asked_n has ended    */
	uint64_t asked_n;
	uint64_t at_n; /* what is read next                            */
	uint64_t at;
	struct buf window; /* of a file, from window_at on             */
	uint64_t window_n;
	uint64_t window_at;
};

void spool_init(struct pg_spool *s, struct mem *mem, struct disk *disk,
                uint64_t seed);
void spool_fini(struct pg_spool *s);
/* What another process has left: to its last whole transaction. False: it cannot be
 * read; disk.why tells. */
bool spool_load(struct pg_spool *s) MUST;
/* Nothing is kept any more, neither in files. */
void spool_clear(struct pg_spool *s);

/* One payload. */
void spool_put(struct pg_spool *s, uint64_t at, struct span payload);
/* All before lsn has come. */
void spool_put_idle(struct pg_spool *s, uint64_t lsn);
/* Into files, as far as there is room. */
void spool_flush(struct pg_spool *s);
/* More than memory should hold. */
bool spool_is_full(const struct pg_spool *s);

enum spool_rc {
	SPOOL_SOME,
	SPOOL_NONE, /* all was read */
	SPOOL_BAD,  /* a file is not as it was written */
};

/* The next payload; valid until the next call. Again: the same one. */
enum spool_rc spool_peek(struct pg_spool *s, struct span *ret, uint64_t *at);
void spool_skip(struct pg_spool *s, size_t n); /* n: of the payload */
/* Begin with what is kept. False: some is no longer there. */
bool spool_rewind(struct pg_spool *s) MUST;
/* The stream ended: it will come again from `whole` on. Read from the beginning. */
void spool_end(struct pg_spool *s);

/* Whole transactions up to there are applied: files before are removed. */
void spool_done(struct pg_spool *s, uint64_t lsn);
/* All was read, and all is applied: begin anew, in memory. */
void spool_reset(struct pg_spool *s);
bool spool_is_read(const struct pg_spool *s);
/* Is there anything that a spool_reset() would end? */
bool spool_is_used(const struct pg_spool *s);
/* What is in files is to be durable; is it? */
void spool_sync(struct pg_spool *s);
void spool_look(struct pg_spool *s);
