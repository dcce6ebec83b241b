/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/place.h: a place in a stream.
 */
#pragma once

#include <stdint.h>

/* An offset and the database selected there. */
struct place {
	uint64_t at;
	uint32_t db;
};
