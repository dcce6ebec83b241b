/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/compare/big.h: one value too big to be read whole.
 *
 * Compares it in chunks, so that no server stands still and the memory used is
 * that of two chunks. A machine: ask what is to be sent to which side, give it
 * the answers, until it is done.
 *
 *   string         GETRANGE of both sides, piece by piece
 *   list           LRANGE of both sides
 *   stream         XRANGE of both sides, then XINFO STREAM FULL COUNT 1, then
 *                  XPENDING of each group
 *   set, hash,     SSCAN/HSCAN/ZSCAN of one side, each page probed on the other
 *   sorted set     (SMISMEMBER, HMGET, ZMSCORE). Equal lengths and every
 *                  element of the authority found equal: equal. Else the other
 *                  side is scanned as well, for its extra elements.
 *
 * Elements that differ are kept by name (the first BIG_SUSPECTS), so that a
 * value that changes all the time can be looked at again element by element.
 * Not compared in a big stream: the delivery time of pending entries.
 *
 * Owns:   its bufs, from the struct mem of big_init.
 * Thread: one at a time.
 */
#pragma once

#include "engine/redis/compare/value.h"

#define BIG_SUSPECTS 64
#define BIG_EQUAL    0xff /* strikes of a suspect that was found equal     */

enum big_step {
	BIG_LENGTH, /* both: how many                                       */
	BIG_RANGE,  /* both: the next range                                 */
	BIG_SCAN,   /* one side: a page of elements                         */
	BIG_PROBE,  /* the other one: the same elements                     */
	BIG_META,   /* both: XINFO STREAM FULL COUNT 1                      */
	BIG_GROUPS, /* authority: XINFO GROUPS                              */
	BIG_PEND,   /* both: XPENDING of one group                          */
	BIG_DONE,
};

struct big {
	enum big_step step;
	enum value_type type;
	const struct value_rule *rule;
	struct buf key;
	uint64_t bytes;      /* estimate of the whole value                 */
	uint64_t length[2];  /* by side: authority 0, other 1               */
	uint64_t at;         /* ranges: the next index                      */
	uint32_t scanned;    /* the side whose elements are walked          */
	struct buf cursor;   /* of SCAN; the last id of XRANGE, XPENDING    */
	struct buf page;     /* elements of the page to probe, as RESP      */
	uint32_t page_n;     /* bulk strings in it                          */
	struct buf groups;   /* names still to do, as RESP bulk strings     */
	struct buf suspects; /* names of elements, as RESP bulk strings     */
	uint32_t suspect_n;  /* all that differed, also those not kept      */
	uint64_t seen;       /* suspects that were equal at one of two reads */
	uint32_t unseen_n;   /* open ones of the last big_judge that were not */
	enum value_diff diff;
	struct err why; /* ERR_DIVERGED and where, when diff is set    */
};

/* bytes: the larger of the two memory estimates; chooses the chunks. The key is
 * copied; rule must outlive b. */
void big_init(struct big *b, struct mem *mem, enum value_type type,
              struct span key, uint64_t bytes, const struct value_rule *rule);
void big_fini(struct big *b);

/* Append what is to be sent to each side; ret_replies: how many answers each
 * will give (0 or 1). False: done, see diff and why. */
bool big_ask(struct big *b, struct buf *const out[2], uint32_t ret_replies[2]);

/* The answers to what big_ask asked for (empty where nothing was). A key that
 * vanished or changed its type ends with DIFF_DATA. ERR_REFUSED, ERR_PROTO,
 * ERR_NOMEM. */
int big_take(struct big *b, const struct span reply[2], struct err *err) MUST;

/* Ask for the suspects of a finished comparison: one request, one reply, the
 * same for both sides. False: there are none, or not all were kept. */
bool big_ask_suspects(const struct big *b, struct buf *out);

/* Read before a marker from the authority (x1), after it from the other side
 * (y), then from the authority again (x2); count strikes for suspects that did
 * not change and differ, forget those equal to both. *ret_open: how many are
 * neither equal nor have `enough` strikes; *ret_struck: how many have. The first
 * of these is named in b->why. */
int big_judge(struct big *b, const struct span reads[3],
              uint8_t strikes[BIG_SUSPECTS], uint8_t enough, uint32_t *ret_open,
              uint32_t *ret_struck, struct err *err) MUST;
