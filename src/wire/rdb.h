/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb.h: a Redis snapshot (RDB) as a stream of values.
 * Source: redis/src/rdb.h, rdb.c of Redis 7.0 (format version 1 to 11), and what a
 * redis-server 8.0.2 writes (12).
 *
 * Finds where each value starts and ends without decoding it, so that it can be
 * passed on as the payload of RESTORE: type byte + value + RDB version (2 bytes,
 * little endian) + CRC64 (8 bytes, little endian, Jones polynomial).
 *
 * The bytes are given in one contiguous, growing window by the caller. A value
 * whose raw bytes are more than window_max is reported as RDB_BIG, then in
 * RDB_ELEM parts, then RDB_BIG_END:
 *
 *   form         RDB_ELEM                              RDB_BIG's numbers
 *   RDB_STRING   elem[0]: the next bytes of the string bytes: decoded length
 *   RDB_LIST     elem[0]: the next item, head first    count, 0 if not known
 *   RDB_SET      elem[0]: a member                     count
 *   RDB_HASH     elem[0], elem[1]: field and value     count
 *   RDB_ZSET     elem[0], elem[1]: member and score    count
 *   RDB_OPAQUE   none: streams, modules, and packed values over window_max
 *
 * An element that does not fit (raw over window_max, or decoded over the
 * scratch) ends the elements early. So look at RDB_BIG_END: when complete is
 * false (always for RDB_OPAQUE) the key has to be copied in another way.
 *
 * Owns:   nothing; the scratch is lent by the caller until the end.
 * Limits: keys, metadata and functions must fit window_max and the scratch
 *         (else WIRE_BIG); a newer format version is WIRE_BIG as well. The
 *         caller's window must be able to hold window_max + RDB_EXTRA bytes
 *         beside a key.
 * Thread: any, one at a time for each struct rdb.
 */
#pragma once

#include "base/buf.h"
#include "wire/wire.h"

#define RDB_VERSION_MAX 12
#define RDB_EXTRA       64
#define RDB_SCRATCH_MIN 16384
#define RDB_RANGE       262144 /* most bytes of one part of a big string */

enum rdb_kind {
	RDB_HEADER,     /* version is set                                     */
	RDB_AUX,        /* key, body: strings of the file's metadata          */
	RDB_SELECT,     /* db                                                 */
	RDB_SIZES,      /* keys_n, expires_n (RESIZEDB)                       */
	RDB_FUNCTION,   /* body: the library's source (FUNCTION2)             */
	RDB_VALUE,      /* type, key, body (raw value), expires_ms            */
	RDB_BIG,        /* type, form, key, expires_ms, bytes, count          */
	RDB_ELEM,       /* type, form, elem[0..elem_n): one element           */
	RDB_BIG_END,    /* type, form, complete                               */
	RDB_MODULE_AUX, /* skipped                                            */
	RDB_END,        /* EOF opcode; the checksum (if any) was read         */
};

enum rdb_form {
	RDB_STRING,
	RDB_LIST,
	RDB_SET,
	RDB_HASH,
	RDB_ZSET,
	RDB_OPAQUE,
};

struct rdb_part {
	enum rdb_kind kind;
	uint32_t version;
	uint32_t db;
	uint64_t keys_n;
	uint64_t expires_n;
	uint8_t type;       /* the byte in the file (and in a DUMP)           */
	struct span key;    /* decoded (LZF and integer encodings undone)     */
	struct span body;   /* RDB_VALUE: raw bytes after the key             */
	int64_t expires_ms; /* absolute; -1: none                             */
	int64_t idle_s;     /* seconds since last used (LRU); -1: not told    */
	int32_t freq;       /* LFU counter; -1: not told                      */
	enum rdb_form form;
	bool complete;  /* RDB_BIG_END: every element was given           */
	uint64_t bytes; /* RDB_BIG of RDB_STRING: decoded length          */
	uint64_t count; /* RDB_BIG: elements to come; 0: not known        */
	struct span elem[3];
	uint32_t elem_n;
};

struct rdb {
	size_t window_max; /* a value longer than this becomes RDB_BIG       */
	uint8_t *scratch;  /* the caller's; for decoded keys and elements    */
	size_t scratch_n;
	/* Check the file's own checksum (set it after rdb_init, before the
	 * first byte; off by default because it costs a pass over the bytes);
	 * a wrong one is WIRE_BAD instead of RDB_END. */
	bool verify;
	/* After WIRE_MORE: bytes the window must have at least before it is
	 * worth calling again; a hint for sizing it. */
	size_t need;
	/* progress */
	uint8_t state;
	uint8_t type;
	uint8_t form;
	uint8_t pc;    /* next step of the type's layout                     */
	uint8_t depth; /* loops of the layout we are in                      */
	bool key_in_scratch;
	bool blob_in_scratch;
	bool lost; /* elements ended early                               */
	uint32_t version;
	int32_t freq;
	int64_t idle_s;
	int64_t expires_ms;
	uint64_t loops[3];
	uint64_t crc;
	uint64_t elems_left;
	uint64_t bytes_left;
	uint64_t full_left; /* decoded bytes still to come of a string        */
	size_t key_at;      /* in the window or in the scratch                */
	size_t key_n;
	size_t body; /* where the value starts in the window           */
	size_t at;   /* how far into the window or blob we have looked */
	size_t blob; /* a list's node: where it starts in the window   */
	size_t blob_n;
	size_t past_n; /* LZF: bytes in the scratch that were given      */
	size_t out_n;  /* LZF: bytes behind them that were not           */
};

/* scratch: at least RDB_SCRATCH_MIN bytes; window_max bytes are a good choice
 * (a compressed key or list node must fit when decoded). window_max: 64 at the
 * least. */
void rdb_init(struct rdb *r, size_t window_max, uint8_t *scratch,
              size_t scratch_n);

/* `in` starts at the first byte not yet consumed. WIRE_PART: *part is set (its
 * spans point into `in` or the scratch, until the next call), take ret_used
 * bytes (0 is possible). WIRE_MORE: take ret_used bytes (often 0), keep the
 * rest, call again with more behind it. After RDB_END nothing is used. */
enum wire_rc rdb_feed(struct rdb *r, struct span in, struct rdb_part *part,
                      size_t *ret_used) MUST;

/* The text of a string's value (type, body of a part). It is in body, or decoded
 * to room (n bytes). False: not a string, damaged, or no room. */
bool rdb_text(uint8_t type, struct span body, uint8_t *room, size_t n,
              struct span *ret);

#define RDB_LOWER_MIN 9 /* of Redis 5.0 and 6 */

/* Does a server that writes this version know the type? */
bool rdb_is_known(uint8_t type, uint32_t version);

/* Append to ret the payload of RESTORE (footer included) for a server that reads
 * up to this version, RDB_LOWER_MIN at the least. room: scratch, overwritten.
 * WIRE_BAD: damaged; WIRE_BIG: a type that cannot be said so, or no memory; then
 * what is in ret is of no use. */
enum wire_rc rdb_lower(uint8_t type, struct span body, uint32_t version,
                       struct buf *room, struct buf *ret) MUST;

/* The version of a payload (of DUMP, FUNCTION DUMP), and what stands before its
 * footer. False: too short. */
bool rdb_payload(struct span payload, uint32_t *ret_version,
                 struct span *ret_body);

#define RDB_MODULE_NAME  10
#define RDB_MODULE_FRONT 10 /* type byte, length byte, the number */

/* Is it a module's value? Then the name of its type; "?" when the front of body
 * is too short to tell. */
bool rdb_module(uint8_t type, struct span body, char ret[RDB_MODULE_NAME]);

/* The 10 bytes behind a RESTORE payload (type byte + body). crc starts with
 * base/hash.h's hash_crc64(0, type byte), then body; this adds the version. */
void rdb_footer(uint32_t version, uint64_t crc_of_type_and_body,
                uint8_t ret_footer[10]);
