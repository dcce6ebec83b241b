/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/proxy2.c: the header that a proxy in front puts before a client's bytes.
 */
#include "wire/proxy2.h"

#include "base/check.h"

enum {
	CMD_LOCAL = 0x20,
	CMD_PROXY = 0x21,
	FAMILY_NONE = 0x00,
	FAMILY_TCP4 = 0x11,
	FAMILY_UDP4 = 0x12,
	FAMILY_TCP6 = 0x21,
	FAMILY_UDP6 = 0x22,
	FAMILY_UNIX_STREAM = 0x31,
	FAMILY_UNIX_DATAGRAM = 0x32,
};

static const uint8_t signature[12] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
	                               0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };

static uint16_t
be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Bytes of the addresses; SIZE_MAX: no such family. */
static size_t
address_size(uint8_t family)
{
	switch (family) {
	case FAMILY_NONE: return 0;
	case FAMILY_TCP4:
	case FAMILY_UDP4: return 12;
	case FAMILY_TCP6:
	case FAMILY_UDP6: return 36;
	case FAMILY_UNIX_STREAM:
	case FAMILY_UNIX_DATAGRAM: return 216;
	default: return SIZE_MAX;
	}
}

static void
read_address(const uint8_t *p, uint8_t family, struct proxy2 *ret)
{
	if (family == FAMILY_TCP4) {
		ret->address[10] = 0xff;
		ret->address[11] = 0xff;
		memcpy(ret->address + 12, p, 4);
		ret->port = be16(p + 8);
		ret->has_address = true;
	} else if (family == FAMILY_TCP6) {
		memcpy(ret->address, p, 16);
		ret->port = be16(p + 32);
		ret->has_address = true;
	}
}

/* Do the TLVs end where the header ends? */
static bool
are_whole(struct span tlvs)
{
	while (tlvs.n >= 3) {
		size_t n = 3u + be16(tlvs.p + 1);

		if (n > tlvs.n)
			return false;
		tlvs = span_skip(tlvs, n);
	}
	return tlvs.n == 0;
}

enum wire_rc
proxy2_read(struct span in, struct proxy2 *ret)
{
	size_t n = in.n < sizeof(signature) ? in.n : sizeof(signature);
	size_t size;
	uint8_t command;

	*ret = (struct proxy2){ .has_address = false };
	if (n > 0 && memcmp(in.p, signature, n) != 0)
		return WIRE_BAD;
	if (in.n < PROXY2_HEAD)
		return WIRE_MORE;
	command = in.p[12];
	size = address_size(in.p[13]);
	n = be16(in.p + 14);
	if ((command != CMD_LOCAL && command != CMD_PROXY) ||
	    n > PROXY2_MAX - PROXY2_HEAD)
		return WIRE_BAD;
	/* A LOCAL header may say anything about addresses. */
	if (command == CMD_PROXY && (size == SIZE_MAX || n < size))
		return WIRE_BAD;
	if (in.n < PROXY2_HEAD + n)
		return WIRE_MORE;
	ret->n = PROXY2_HEAD + n;
	if (command == CMD_LOCAL)
		return WIRE_PART;
	read_address(in.p + PROXY2_HEAD, in.p[13], ret);
	ret->tlvs = span_of(in.p + PROXY2_HEAD + size, n - size);
	return are_whole(ret->tlvs) ? WIRE_PART : WIRE_BAD;
}

struct span
proxy2_tlv(const struct proxy2 *h, uint8_t type)
{
	struct span s = h->tlvs;

	while (s.n >= 3) {
		size_t n = be16(s.p + 1);

		REQUIRE(3 + n <= s.n);
		if (s.p[0] == type)
			return span_of(s.p + 3, n);
		s = span_skip(s, 3 + n);
	}
	return span_of(NULL, 0);
}
