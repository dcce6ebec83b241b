/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/mmdb.h: what a MaxMind database file says of an address.
 *
 * Reads the file's bytes in place; nothing in it is trusted: a damaged file says
 * nothing, it never reads beyond its end and never walks for ever.
 *
 * Source: the MaxMind DB file format specification, version 2.0.
 *
 * Owns:   nothing; the bytes stay the caller's.
 * Thread: any.
 */
#pragma once

#include "wire/wire.h"

struct mmdb {
	struct span file;
	struct span data; /* the data section */
	uint32_t nodes;
	uint32_t record_bits; /* 24, 28 or 32 */
	uint32_t first_v4;    /* node (or record) after 96 zero bits */
	bool is_v6;
};

/* WIRE_PART: *ret can be asked; WIRE_BAD: it is no such file, or a damaged one. */
enum wire_rc mmdb_open(struct span file, struct mmdb *ret);

/* The text at a path ("country.iso_code") of what is known of an address (IPv4 as
 * ::ffff:a.b.c.d); p NULL: none. */
struct span mmdb_find(const struct mmdb *db, const uint8_t address[16],
                      const char *path);
