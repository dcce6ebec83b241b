/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb_big.h: values that are read element by element (private to rdb*.c).
 */
#pragma once

#include "wire/rdb.h"
#include "wire/rdb_string.h"

/* States of struct rdb; those from RDB_BIG_PLAIN on belong to rdb_big.c. */
enum rdb_state {
	RDB_AT_HEADER,
	RDB_AT_RECORD,
	RDB_AT_VALUE,
	RDB_AT_END,
	RDB_DEAD,
	RDB_BIG_PLAIN, /* bytes_left of a string                        */
	RDB_BIG_LZF,   /* bytes_left of a packed string                 */
	RDB_BIG_ITEMS, /* elems_left elements                           */
	RDB_BIG_NODES, /* elems_left nodes of a list                    */
	RDB_BIG_NODE,  /* inside a node                                 */
	RDB_BIG_SKIP,  /* the rest of the value is not looked at        */
};

/* Beside enum wire_rc: *ret_used bytes are done, look again. */
#define RDB_AGAIN 2

/* Free room of the scratch. */
struct rdb_space rdb_space(const struct rdb *r);

static inline bool
rdb_in_scratch(const struct rdb *r, const uint8_t *p)
{
	return (uintptr_t)p >= (uintptr_t)r->scratch &&
	       (uintptr_t)p < (uintptr_t)r->scratch + r->scratch_n;
}

/* The value at r->body is over the window: fill the RDB_BIG part. Its first
 * length is in the window. */
int rdb_big_start(struct rdb *r, struct span in, struct rdb_part *part,
                  size_t *ret_used);

/* One step in the states above: enum wire_rc or RDB_AGAIN. */
int rdb_big_feed(struct rdb *r, struct span in, struct rdb_part *part,
                 size_t *ret_used);

/* Between two values. */
void rdb_next_record(struct rdb *r);
