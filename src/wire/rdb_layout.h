/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb_layout.h: how the values of each type are laid out (private to
 * rdb*.c).
 *
 * A layout is a row of steps, so that a value can be walked in any pieces
 * without knowing its type: struct rdb's pc, depth and loops say where.
 */
#pragma once

#include "wire/rdb.h"

enum rdb_step {
	RDB_STEP_END,
	RDB_STEP_STRING,
	RDB_STEP_LEN,
	RDB_STEP_RAW8,
	RDB_STEP_RAW16,
	RDB_STEP_SCORE,  /* a double as text, its length in one byte  */
	RDB_STEP_MODULE, /* a module's coded fields, until their end  */
	RDB_STEP_LOOP,   /* a length n: n times what is before NEXT   */
	RDB_STEP_NEXT,
};

/* Not a type of the format: the value behind a MODULE_AUX opcode. */
#define RDB_TYPE_MODULE_AUX 0xf7

/* NULL: no such type, or one whose end cannot be found. */
const uint8_t *rdb_layout(uint8_t type);

/* Bytes of the step that stands at the front of s, data included, and the
 * number in it (LEN, LOOP, MODULE). WIRE_MORE: too few bytes to tell. */
enum wire_rc rdb_step_size(uint8_t step, struct span s, uint64_t *ret_n,
                           uint64_t *ret_v);

/* Go on to the next step; v is what rdb_step_size answered. */
void rdb_step_done(struct rdb *r, const uint8_t *layout, uint64_t v);
