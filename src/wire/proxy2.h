/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/proxy2.h: the header that a proxy in front puts before a client's bytes.
 *
 * Version 2 only. What it says is believed: the listener must be reachable by the
 * proxy alone.
 *
 * Source: the PROXY protocol, sections 2.2 (header), 2.2.1 to 2.2.7 (TLVs).
 *
 * Limits: PROXY2_MAX bytes.
 * Thread: a value.
 */
#pragma once

#include "wire/wire.h"

#define PROXY2_HEAD 16
#define PROXY2_MAX  4096 /* bytes of a header; TLVs are small */

struct proxy2 {
	bool has_address;    /* false: LOCAL, or a family without one */
	uint8_t address[16]; /* of the client; IPv4 as ::ffff:a.b.c.d */
	uint16_t port;
	struct span tlvs; /* into the input */
	size_t n;         /* bytes of the header */
};

/* WIRE_PART: *ret is filled; WIRE_MORE: not all of it is there; WIRE_BAD: it is
 * no such header. */
enum wire_rc proxy2_read(struct span in, struct proxy2 *ret);

/* The value of the first TLV of that type; p NULL: none. */
struct span proxy2_tlv(const struct proxy2 *h, uint8_t type);
