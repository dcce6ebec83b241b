/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb_string.h: lengths and strings of an RDB (private to rdb*.c).
 *
 *   00xxxxxx              6 bits          11000000 + 1   int8  as a string
 *   01xxxxxx + 1          14 bits         11000001 + 2   int16 as a string
 *   10000000 + 4          32 bits, BE     11000010 + 4   int32 as a string
 *   10000001 + 8          64 bits, BE     11000011       LZF: packed length,
 *                                                        length, packed bytes
 */
#pragma once

#include "wire/wire.h"

#define RDB_SLOT    32 /* bytes for a number's text                */
#define RDB_SLOTS   3  /* kept free at the end of the scratch      */
#define RDB_LEN_MAX (UINT64_C(1) << 40) /* of a string; more is not an RDB */

enum rdb_coding {
	RDB_PLAIN,
	RDB_INT,
	RDB_LZF,
};

struct rdb_string {
	enum rdb_coding coding;
	size_t head_n;   /* bytes of the length(s)               */
	uint64_t data_n; /* bytes behind them                    */
	uint64_t full_n; /* bytes when decoded; RDB_INT: 0       */
};

/* A length at the front of s: *ret_n bytes long. An encoded one is WIRE_BAD. */
enum wire_rc rdb_len(struct span s, uint64_t *ret_v, size_t *ret_n);

/* What stands at the front of s; needs the length's bytes only. */
enum wire_rc rdb_string_head(struct span s, struct rdb_string *ret);

/* Where decoded strings go. */
struct rdb_space {
	uint8_t *p; /* free room for LZF          */
	size_t n;
	uint8_t *slots; /* RDB_SLOTS * RDB_SLOT bytes */
	uint32_t slot;
};

/* The decoded string; s holds all its bytes. WIRE_BIG: no room. */
enum wire_rc rdb_string_decode(struct span s, const struct rdb_string *str,
                               struct rdb_space *space, struct span *ret);

/* One LZF run after another from *in to out, while whole runs are there and
 * fewer than `enough` bytes are out. *at: bytes already in out, grows; bytes
 * before it may be referred to. cap >= enough + RDB_LZF_RUN, or the exact size.
 * WIRE_MORE: in ends inside a run, or enough; WIRE_BAD: not LZF. */
#define RDB_LZF_RUN  264
#define RDB_LZF_PAST 8192
enum wire_rc rdb_lzf(struct span *in, uint8_t *out, size_t *at, size_t cap,
                     size_t enough);

static inline uint64_t
rdb_le(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static inline uint64_t
rdb_be(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* n bytes, little endian, two's complement. */
static inline int64_t
rdb_le_signed(const uint8_t *p, size_t n)
{
	uint64_t sign = UINT64_C(1) << (8 * n - 1);

	return (int64_t)((rdb_le(p, n) ^ sign) - sign);
}
