/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb.h: a Redis snapshot (RDB) as a stream of values.
 * Source: redis/src/rdb.h, rdb.c of Redis 7.0 (format version 1 to 11).
 *
 * Finds where each value starts and ends without decoding it, so that it can be
 * passed on as the payload of RESTORE: type byte + value + RDB version (2 bytes,
 * little endian) + CRC64 (8 bytes, little endian, Jones polynomial).
 *
 * The bytes are given in one contiguous, growing window by the caller; values
 * bigger than the window limit are reported as RDB_BIG and can be read on
 * element by element (strings: byte ranges).
 */
#pragma once

#include "wire/wire.h"

enum rdb_kind {
	RDB_HEADER,   /* version is set                                       */
	RDB_AUX,      /* key, body: strings of the file's metadata            */
	RDB_SELECT,   /* db                                                   */
	RDB_SIZES,    /* keys_n, expires_n (RESIZEDB)                         */
	RDB_FUNCTION, /* body: the library's source (FUNCTION2)               */
	RDB_VALUE,    /* type, key, body (raw value), expires_ms              */
	RDB_BIG,      /* type, key, expires_ms; the value follows in elements */
	RDB_ELEM,     /* type, key (empty), elem[0..elem_n): one element      */
	RDB_BIG_END,  /* the big value is complete                            */
	RDB_MODULE_AUX, /* skipped                                            */
	RDB_END, /* EOF opcode; the checksum (if any) was read           */
};

struct rdb_part {
	enum rdb_kind kind;
	uint32_t version;
	uint32_t db;
	uint64_t keys_n;
	uint64_t expires_n;
	uint8_t type;       /* RDB_TYPE_*                                     */
	struct span key;    /* decoded (LZF and integer encodings undone)     */
	struct span body;   /* RDB_VALUE: raw bytes after the key             */
	int64_t expires_ms; /* absolute; -1: none                             */
	struct span elem[3];
	uint32_t elem_n;
};

struct rdb {
	size_t window_max; /* a value longer than this becomes RDB_BIG       */
	uint8_t *scratch;  /* the caller's; for LZF keys and elements        */
	size_t scratch_n;
	/* progress */
	uint8_t state;
	uint32_t version;
	int64_t expires_ms;
	uint8_t type;
	uint64_t elems_left;
	uint64_t bytes_left;
	size_t at; /* how far into the window we have looked         */
};

void rdb_init(struct rdb *r, size_t window_max, uint8_t *scratch,
              size_t scratch_n);

/* `in` starts at the first byte not yet consumed. WIRE_PART: *part is set (its
 * spans point into `in` or the scratch), take ret_used bytes. WIRE_MORE: take
 * ret_used bytes (often 0), keep the rest, call again with more behind it. */
enum wire_rc rdb_feed(struct rdb *r, struct span in, struct rdb_part *part,
                      size_t *ret_used) MUST;

/* The 10 bytes behind a RESTORE payload (type byte + body). crc starts with
 * base/hash.h's hash_crc64(0, type byte), then body. */
void rdb_footer(uint32_t version, uint64_t crc_of_type_and_body,
                uint8_t ret_footer[10]);
