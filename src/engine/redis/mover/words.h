/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/words.h: what a command of a replication stream touches.
 * Source: redis/src/commands of 7.0 (write commands; of 8.0: COMMAND LIST) and what call() and
 * alsoPropagate() make of them.
 *
 * Only commands that a master propagates are listed; anything else is
 * WORD_UNKNOWN, and then every argument counts as a written key (I12).
 *
 * Thread: pure functions.
 */
#pragma once

#include "base/span.h"

enum word_class {
	WORD_KEYS,    /* touches the keys that words_keys() tells          */
	WORD_DELETE,  /* DEL, UNLINK: written keys only                    */
	WORD_STATE,   /* as KEYS, but its result depends on clock or on keys
	               * it does not name: copy what it wrote              */
	WORD_UNKNOWN, /* all arguments may be keys; copy them              */
	WORD_DROP,    /* PING, PUBLISH, REPLCONF: not forwarded            */
	WORD_SELECT,
	WORD_MULTI,
	WORD_EXEC,
	WORD_FLUSHDB,
	WORD_FLUSHALL,
	WORD_SWAPDB,
	WORD_PASS, /* no keys; forwarded as it is (FUNCTION, SCRIPT)    */
};

enum word_use {
	WORD_READ = 1,
	WORD_WRITE = 2
};

struct word {
	const char *name; /* lower case */
	uint8_t cls;      /* enum word_class */
	/* keys: argument `first` to `last` (negative: from the end) by step */
	int8_t first, last, step;
	uint8_t use;
	/* a second set, read only; numkeys: argument that holds their number */
	int8_t first2, last2, numkeys;
};

/* The entry of a command by its name (any case); never NULL. */
const struct word *words_find(struct span name);

struct words_key {
	struct span key;
	uint32_t db;
	uint8_t use; /* enum word_use, both possible */
};

/* How far words_key() has come; all zero to begin. */
struct words_at {
	size_t pos;
	uint32_t i;
};

/* The next key of a complete request, or false at the end.
 * db: the selected one (COPY and MOVE name another). */
bool words_key(const struct word *w, struct span request, uint32_t argc,
               uint32_t db, struct words_at *at, struct words_key *ret);

/* Decimal digits only, below 2^64 - 9; else false. */
bool words_number(struct span s, uint64_t *ret);
