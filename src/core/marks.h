/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/marks.h: keys that were written, from one relay to the mover (Mode M).
 *
 * A ring of records with one writer and one reader. A mark is put when the reply
 * has come and before the client sees it; a number drawn from the board after that
 * (board_mark) is behind it. When there is no room, or a key is too long, the
 * reader is told that it does not know everything: a mark is never lost silently.
 *
 * Owns:   nothing; the memory is the caller's and outlives both ends.
 * Limits: keys of MARKS_KEY_MAX bytes.
 * Thread: marks_put() one, marks_take() and marks_lost() another one.
 */
#pragma once

#include <stdatomic.h>

#include "base/span.h"

#define MARKS_KEY_MAX 4096

enum mark_kind {
	MARK_KEY,       /* key of db was written on side          */
	MARK_FUNCTIONS, /* libraries of functions changed on side */
};

struct marks_item {
	uint8_t kind; /* enum mark_kind */
	uint8_t side;
	uint16_t n; /* bytes of the key */
	uint32_t db;
	uint8_t key[MARKS_KEY_MAX];
};

struct marks {
	uint8_t *p;
	size_t cap;            /* a power of two                           */
	_Atomic uint64_t head; /* the writer's, free running               */
	_Atomic uint64_t tail; /* the reader's                             */
	_Atomic uint32_t lost; /* something had no room                    */
};

/* cap: a power of two, above MARKS_KEY_MAX + 8. */
void marks_init(struct marks *m, uint8_t *p, size_t cap);
void marks_put(struct marks *m, enum mark_kind kind, uint8_t side, uint32_t db,
               struct span key);
/* False: none is there. */
bool marks_take(struct marks *m, struct marks_item *ret);
/* Since the last time: was something not put? */
bool marks_lost(struct marks *m);
/* Whoever cannot say which keys were written. */
void marks_lose(struct marks *m);
