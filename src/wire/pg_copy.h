/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_copy.h: the binary format of PostgreSQL's COPY, as bytes.
 *
 *   | PGCOPY \n \377 \r \n \0 | flags 4 | extension n 4 | n bytes |
 *   | columns 2 | length 4, -1: NULL | bytes | ... |     a row, and so on
 *   | -1 2 |                                             the end
 *
 * Works on any cut, across CopyData messages, and copies no value: one of 1 GiB
 * comes in the pieces in which it arrives.
 *
 * Source: https://www.postgresql.org/docs/15/sql-copy.html (Binary Format).
 *
 * Owns:   nothing; spans point into the caller's input.
 * Limits: PG_VALUE_MAX bytes a value (WIRE_BAD beyond: the server has none such),
 *         PG_COPY_EXTENSION_MAX bytes of the header's extension (WIRE_BIG).
 * Thread: any, one at a time for each struct pg_copy.
 */
#pragma once

#include "wire/pg_list.h"

#define PG_COPY_EXTENSION_MAX 65536u

/* Flags in the upper half change the format: none is known (bit 16, rows with
 * OIDs, ended with version 12), so one that is set is WIRE_BAD. */
#define PG_COPY_CRITICAL 0xffff0000u

enum pg_copy_kind {
	PG_COPY_HEADER, /* flags; the extension was skipped                  */
	PG_COPY_ROW,    /* a row begins: columns                             */
	PG_COPY_NULL,   /* column                                            */
	PG_COPY_VALUE,  /* column, size, the next bytes of it, left behind   */
	PG_COPY_END,    /* the trailer; nothing may follow                   */
};

struct pg_copy_part {
	enum pg_copy_kind kind;
	uint32_t flags;
	uint16_t columns;  /* of this row                                  */
	uint16_t column;   /* 0 and so on                                  */
	uint32_t size;     /* of the whole value                           */
	uint32_t left;     /* of it behind bytes; 0: this is its last part */
	struct span bytes; /* empty in one part only when size is 0        */
};

struct pg_copy {
	uint8_t state;
	uint8_t head_n;
	uint8_t head[19];
	uint16_t columns;
	uint16_t column;
	uint32_t flags;
	uint32_t size;
	uint32_t left;
};

void pg_copy_init(struct pg_copy *c);

/* WIRE_PART: *part is set (valid until the next call); take *ret_used bytes (0 is
 * possible), call again with what is left. WIRE_MORE: all of in was used. After
 * WIRE_BAD and WIRE_BIG c stays dead. */
enum wire_rc pg_copy_feed(struct pg_copy *c, struct span in,
                          struct pg_copy_part *part, size_t *ret_used) MUST;

/* May the bytes end here? Only behind the trailer. */
bool pg_copy_is_done(const struct pg_copy *c);

/* The writer: header, then for each row its columns and so many pg_put_value()
 * or pg_put_null(), then the trailer. */
void pg_put_copy_header(struct buf *b);
void pg_put_copy_row(struct buf *b, uint16_t columns);
void pg_put_copy_end(struct buf *b);
