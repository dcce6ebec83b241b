/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb_pack.h: the entries of a listpack or ziplist (private to rdb*.c).
 */
#pragma once

#include "wire/wire.h"

enum rdb_pack {
	RDB_LISTPACK,
	RDB_ZIPLIST,
};

/*
 * The next entry of a whole pack. *at starts at 0. Numbers are written to slot
 * (RDB_SLOT bytes). WIRE_PART: *ret; WIRE_MORE: that was the last one; WIRE_BAD:
 * not a pack.
 */
enum wire_rc rdb_pack_next(enum rdb_pack pack, struct span s, size_t *at,
                           uint8_t *slot, struct span *ret);
