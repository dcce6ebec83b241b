/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/hash.c: numbers made from bytes.
 *
 * A CRC is linear: the entry of a byte is the exclusive or of the entries of
 * its bits. So the tables are written as their eight one-bit entries, and the
 * compiler makes the rest; nothing has to be initialised at run time.
 */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t
hash_bytes(struct span s, uint64_t seed)
{
	/* xxhash refuses NULL in some builds, an empty span may be one. */
	return XXH3_64bits_withSeed(s.n == 0 ? (const uint8_t *)"" : s.p, s.n,
	                            seed);
}

#define BIT(i, b, v) (((i) >> (b)) & 1 ? (v) : 0)

#define ROW16(F, i)                                                         \
	F((i) + 0), F((i) + 1), F((i) + 2), F((i) + 3), F((i) + 4),         \
		F((i) + 5), F((i) + 6), F((i) + 7), F((i) + 8), F((i) + 9), \
		F((i) + 10), F((i) + 11), F((i) + 12), F((i) + 13),         \
		F((i) + 14), F((i) + 15)

#define TABLE256(F)                                                          \
	ROW16(F, 0), ROW16(F, 16), ROW16(F, 32), ROW16(F, 48), ROW16(F, 64), \
		ROW16(F, 80), ROW16(F, 96), ROW16(F, 112), ROW16(F, 128),    \
		ROW16(F, 144), ROW16(F, 160), ROW16(F, 176), ROW16(F, 192),  \
		ROW16(F, 208), ROW16(F, 224), ROW16(F, 240)

/* CRC64_k(i) is the CRC of byte i followed by k zero bytes. */
#define CRC64_0(i)                                                         \
	(BIT(i, 0, 0x7ad870c830358979u) ^ BIT(i, 1, 0xf5b0e190606b12f2u) ^ \
	 BIT(i, 2, 0xc038e5739841b68fu) ^ BIT(i, 3, 0xab28ecb46814fe75u) ^ \
	 BIT(i, 4, 0x7d08ff3b88be6f81u) ^ BIT(i, 5, 0xfa11fe77117cdf02u) ^ \
	 BIT(i, 6, 0xdf7adabd7a6e2d6fu) ^ BIT(i, 7, 0x95ac9329ac4bc9b5u))
#define CRC64_1(i)                                                         \
	(BIT(i, 0, 0x89e99ffd73bddf69u) ^ BIT(i, 1, 0x388a19a9bfec2db9u) ^ \
	 BIT(i, 2, 0x711433537fd85b72u) ^ BIT(i, 3, 0xe22866a6ffb0b6e4u) ^ \
	 BIT(i, 4, 0xef09eb1ea7f6fea3u) ^ BIT(i, 5, 0xf54af06e177a6e2du) ^ \
	 BIT(i, 6, 0xc1ccc68f76634f31u) ^ BIT(i, 7, 0xa8c0ab4db4510d09u))
#define CRC64_2(i)                                                         \
	(BIT(i, 0, 0xf4125129ce4038beu) ^ BIT(i, 1, 0xc37d8400c417e217u) ^ \
	 BIT(i, 2, 0xada22e52d0b85745u) ^ BIT(i, 3, 0x701d7af6f9e73de1u) ^ \
	 BIT(i, 4, 0xe03af5edf3ce7bc2u) ^ BIT(i, 5, 0xeb2ccd88bf0b64efu) ^ \
	 BIT(i, 6, 0xfd00bd4226815ab5u) ^ BIT(i, 7, 0xd1585cd715952601u))
#define CRC64_3(i)                                                         \
	(BIT(i, 0, 0x8ce168638c796306u) ^ BIT(i, 1, 0x329bf69440655567u) ^ \
	 BIT(i, 2, 0x6537ed2880caaaceu) ^ BIT(i, 3, 0xca6fda510195559cu) ^ \
	 BIT(i, 4, 0xbf8692f15bbd3853u) ^ BIT(i, 5, 0x545403b1efede3cdu) ^ \
	 BIT(i, 6, 0xa8a80763dfdbc79au) ^ BIT(i, 7, 0x7a092894e7201c5fu))
#define CRC64_4(i)                                                         \
	(BIT(i, 0, 0x3504e58b9ba6dd1eu) ^ BIT(i, 1, 0x6a09cb17374dba3cu) ^ \
	 BIT(i, 2, 0xd413962e6e9b7478u) ^ BIT(i, 3, 0x837e0a0f85a17b9bu) ^ \
	 BIT(i, 4, 0x2da5324c53d5645du) ^ BIT(i, 5, 0x5b4a6498a7aac8bau) ^ \
	 BIT(i, 6, 0xb694c9314f559174u) ^ BIT(i, 7, 0x4670b431c63cb183u))
#define CRC64_5(i)                                                         \
	(BIT(i, 0, 0xe39d1389931b9354u) ^ BIT(i, 1, 0xec6301407ea0b5c3u) ^ \
	 BIT(i, 2, 0xf39f24d3a5d6f8edu) ^ BIT(i, 3, 0xcc676ff4133a62b1u) ^ \
	 BIT(i, 4, 0xb397f9bb7ee35609u) ^ BIT(i, 5, 0x4c76d525a5513f79u) ^ \
	 BIT(i, 6, 0x98edaa4b4aa27ef2u) ^ BIT(i, 7, 0x1a8272c5cdd36e8fu))
#define CRC64_6(i)                                                         \
	(BIT(i, 0, 0x62a95de6e302eff2u) ^ BIT(i, 1, 0xc552bbcdc605dfe4u) ^ \
	 BIT(i, 2, 0xa1fc51c8d49c2ca3u) ^ BIT(i, 3, 0x68a185c2f1afca2du) ^ \
	 BIT(i, 4, 0xd1430b85e35f945au) ^ BIT(i, 5, 0x89df31589e28bbdfu) ^ \
	 BIT(i, 6, 0x38e744e264c6e4d5u) ^ BIT(i, 7, 0x71ce89c4c98dc9aau))
#define CRC64_7(i)                                                         \
	(BIT(i, 0, 0x381d0015c96f4444u) ^ BIT(i, 1, 0x703a002b92de8888u) ^ \
	 BIT(i, 2, 0xe074005725bd1110u) ^ BIT(i, 3, 0xebb126fd13edb14bu) ^ \
	 BIT(i, 4, 0xfc3b6ba97f4cf1fdu) ^ BIT(i, 5, 0xd32ff101a60e7091u) ^ \
	 BIT(i, 6, 0x8d06c450148b7249u) ^ BIT(i, 7, 0x3154aef3718177f9u))

static const uint64_t crc64_tables[8][256] = {
	{ TABLE256(CRC64_0) }, { TABLE256(CRC64_1) }, { TABLE256(CRC64_2) },
	{ TABLE256(CRC64_3) }, { TABLE256(CRC64_4) }, { TABLE256(CRC64_5) },
	{ TABLE256(CRC64_6) }, { TABLE256(CRC64_7) },
};

#define CRC16(i)                                                               \
	(uint16_t)(BIT(i, 0, 0x1021) ^ BIT(i, 1, 0x2042) ^ BIT(i, 2, 0x4084) ^ \
	           BIT(i, 3, 0x8108) ^ BIT(i, 4, 0x1231) ^ BIT(i, 5, 0x2462) ^ \
	           BIT(i, 6, 0x48c4) ^ BIT(i, 7, 0x9188))

static const uint16_t crc16_table[256] = { TABLE256(CRC16) };

/* Eight bytes as a number, the first byte lowest. */
static uint64_t
load_le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

uint64_t
hash_crc64(uint64_t crc, struct span s)
{
	const uint64_t(*t)[256] = crc64_tables;
	const uint8_t *p = s.p;
	size_t n = s.n;

	while (n >= 8) {
		uint64_t v = crc ^ load_le64(p);

		crc = t[7][v & 0xff] ^ t[6][(v >> 8) & 0xff] ^
		      t[5][(v >> 16) & 0xff] ^ t[4][(v >> 24) & 0xff] ^
		      t[3][(v >> 32) & 0xff] ^ t[2][(v >> 40) & 0xff] ^
		      t[1][(v >> 48) & 0xff] ^ t[0][v >> 56];
		p += 8;
		n -= 8;
	}
	while (n-- > 0)
		crc = t[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return crc;
}

/* The part of a key that decides its slot. */
static struct span
slot_tag(struct span key)
{
	const uint8_t *open;
	const uint8_t *close;

	if (key.n == 0)
		return key;
	open = memchr(key.p, '{', key.n);
	if (open == NULL)
		return key;
	open++;
	close = memchr(open, '}', key.n - (size_t)(open - key.p));
	if (close == NULL || close == open)
		return key;
	return span_of(open, (size_t)(close - open));
}

uint32_t
hash_slot(struct span key)
{
	struct span tag = slot_tag(key);
	uint32_t crc = 0;

	for (size_t i = 0; i < tag.n; i++) {
		uint32_t at = ((crc >> 8) ^ tag.p[i]) & 0xff;

		crc = ((crc << 8) ^ crc16_table[at]) & 0xffff;
	}
	return crc & (HASH_SLOTS - 1);
}
